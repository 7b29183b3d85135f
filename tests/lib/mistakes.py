"""What the tests of bad input share: commands that must be refused, in one clear sentence, and what must be as it was."""
import os
import re
import subprocess

from ballast import Group, cfg_text, merged, sh

MIB = 1 << 20


def sentence(text):
    """Clear to a human: no numbers of errors, no prefix twice in a row, not a screenful."""
    text = text.strip()
    assert text and len(text) < 700, text
    assert not re.search(r"\berrno\b|\bError \d|\(-?\d+\)$|\bSuccess\b|0x[0-9a-f]{6}", text), text
    assert not re.search(r"\b(\w[\w ]+): \1: ", text), "says it twice: " + text
    return text


def ctl(host, *args, stdin=b"", code=1):
    """Refused with this status, in one sentence (usage adds a line of its own). Returns it."""
    r = subprocess.run([a if isinstance(a, bytes) else a.encode() for a in host.ctl_argv(*args)], input=stdin, capture_output=True, timeout=120)
    text = (r.stderr + (r.stdout if args[0] == "migrate" else b"")).decode(errors="replace")
    assert r.returncode == code, (args, r.returncode, text, r.stdout)
    assert len(text.strip().splitlines()) <= (2 if code == 2 else 12), text
    return sentence(text)


def expect(host, cases):
    """Rows of (arguments, exit status, part of the sentence)."""
    for args, code, part in cases:
        text = ctl(host, *args, code=code)
        assert part in text, (args, part, text)


def policyd(host, *args, timeout=60):
    """Run it to its end, which is expected: (status, what it says)."""
    r = subprocess.run(host.in_ns(os.path.join(host.build, "policyd"), *args), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=timeout)
    return r.returncode, r.stdout + r.stderr


def does_not_start(host, part):
    code, text = policyd(host, "-f", host.conf_path)
    assert code == 1 and part in text, (part, code, text)
    lines = [line for line in text.splitlines() if "refuses connections" not in line and "mistake" not in line]
    assert len(lines) == 1, lines
    return sentence(lines[0])


def domains(host):
    return [{k: d[k] for k in ("name", "uuid", "state", "flags", "vcpus", "mem_bytes")} for d in host.json("list")["domains"]]


def one(env, name="alpha", start=True, **settings):
    env.need_root("a host is a network namespace")
    host = Group(env).add(name, **settings)
    host.write_conf()
    return host.start() if start else host


def tmpfs(env, path, size, options=""):
    sh("mount", "-t", "tmpfs", "-o", "size=" + size + options, "ballast-test", path)
    env.on_exit(lambda: sh("umount", "-l", path, check=False))


def fill(path):
    """Not a byte is left on the file system of this file."""
    try:
        with open(path, "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
    except OSError:
        pass


def kernel(host):
    return os.path.join(host.build_root, "guest/vmlinuz")


def domain_text(host, **changes):
    """A small domain; None leaves a key out. Keys with _ for -."""
    spec = merged({"name": "d1", "kernel": kernel(host), "memory": {"boot": "64M"}}, {k.replace("_", "-"): v for k, v in changes.items()})
    return cfg_text({"domain": spec})


def add(host, text, code=1):
    path = host.path("etc", "new.cfg")
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return ctl(host, "add-domain", path, code=code)
