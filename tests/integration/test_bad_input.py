"""The operator who makes every mistake, on a real daemon: files, commands, the control socket. Each mistake gets one clear sentence and
a refusal, and nothing has changed."""
import json
import os
import shutil
import re
import signal
import socket
import subprocess

import ballast
from ballast import wait_for
from mistakes import MIB, add, ctl, domain_text, domains, expect, one, policyd, sentence

PARALLEL = True


def test_configuration(env):
    alpha = one(env, start=False, host={"volumes": [{"name": "vol01", "path": "/tmp/x.img"}], "consoles": [{"name": "vcc0", "ports": "5000-5001"}]})
    good = open(alpha.conf_path).read()
    path = alpha.path("etc", "t.cfg")

    def check(text, *parts):
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        for args in (["-n", "-f", path], ["-f", path]):  # checked only, and meant
            code, said = policyd(alpha, *args)
            assert code == 1, (args, code, said)
            for part in parts:
                assert part in said, (part, said)
            lines = said.strip().splitlines()
            assert lines[-1] == "%d mistake%s; nothing was changed" % (len(lines) - 1, "" if len(lines) == 2 else "s"), said
            for line in lines[:-1]:
                assert re.match(r"\S+:\d+: ", sentence(line)), line

    assert policyd(alpha, "-n", "-f", alpha.conf_path)[0] == 0
    check("", "host: is missing")
    check("host = { name = ;", "t.cfg:1:", "syntax error")
    check(good + "securty = { };", 't.cfg:5: securty: unknown key; did you mean "security"?')
    check(good.replace("certificate", "certifcate"), 'security.certifcate: unknown key; did you mean "certificate"?')
    check(good.replace("port = 8101", "port = 99999"), "host.port: 99999 is out of range; allowed: 1..65535")
    check(good.replace('"4G"', '"64M"'), "keep-memory: 128M leaves nothing of 64M for domains")
    check(good.replace("5000-5001", "5001-5000"), "host.consoles[0].ports")
    check(good.replace(alpha.crt, "/nonexistent.crt"), "security.certificate: /nonexistent.crt: No such file")
    check(good.replace(alpha.key, "/nonexistent.key"), "security.key: /nonexistent.key: No such file")
    check(good.replace(alpha.path("trust"), "/nonexistent"), "security.trust: /nonexistent: No such file")
    check(good.replace(alpha.path("ram"), "/nonexistent/x/ram"), "paths.ram: /nonexistent/x/ram cannot be made: there is no folder /nonexistent/x")
    check(good.replace(alpha.path("run"), alpha.path("run") + "/" + "x" * 100), "too long for a socket")
    check(good + 'cluster = { };', "duplicate")
    check(good + '@include "none.cfg"\n', "@include:", "none.cfg: No such file")
    check(good + 'policies = ( { name = "p"; cpu = { util-upper = 30; util-lower = 45; }; relocate = "sometimes"; } );', "util-upper", "relocate")
    check("(" * 100000, "nested too deep")
    check(b"\xff\xfe" + good.encode(), "t.cfg:1:")
    check(b"host = \0", "not a text file")
    for args, code, part in [(["-f", "/nonexistent.cfg"], 1, "cannot be read: No such file"), (["-f", "/tmp"], 1, "not a regular file"), (["-x"], 2, "invalid option"),
                             (["start"], 2, '"start" is one word too many'), (["-f"], 2, "requires an argument")]:
        status, said = policyd(alpha, *args)
        assert status == code and part in said, (args, status, said)
    assert not os.listdir(alpha.path("run")) and not os.listdir(alpha.path("state")), "a wrong configuration left something"


def test_domain_files(env):
    alpha = one(env, host={"volumes": [{"name": "vol01", "path": "/nonexistent/vol01.img"}], "switches": [{"name": "sw0", "bridge": "nobr0"}]})
    add_ok = alpha.add_domain("web1", uuid="11111111-0000-4000-8000-000000000001", memory={"boot": "64M"})
    assert "web1 is defined" in add_ok
    before = domains(alpha)
    for changes, part in [
        ({"vcpsu": {"min": 1}}, 'domain.vcpsu: unknown key; did you mean "vcpus"?'),
        ({"memory": {"min": "128M", "boot": "64M"}}, "domain.memory.boot: 64M is below min (128M)"),
        ({"memory": {"boot": "64M", "max": "32M"}}, "domain.memory.boot: 64M is above max (32M)"),
        ({"memory": {"boot": "1M"}}, "out of range; allowed: 16M..4.0T"),
        ({"memory": {"boot": "5T"}}, "out of range; allowed: 16M..4.0T"),
        ({"memory": {"boot": "65M"}}, "not a multiple of 2M"),
        ({"memory": None}, "domain.memory: is missing"),
        ({"vcpus": {"boot": 0}}, "domain.vcpus.boot: 0 is out of range; allowed: 1..240"),
        ({"vcpus": {"max": 4096}}, "domain.vcpus.max: 4096 is out of range; allowed: 1..240"),
        ({"vcpus": {"boot": 4, "max": 2}}, "domain.vcpus.boot: 4 is above max (2)"),
        ({"kernel": "/nonexistent/vmlinuz"}, "d1: its kernel /nonexistent/vmlinuz cannot be read on alpha"),
        ({"initrd": "/nonexistent/initrd"}, "d1: its initrd /nonexistent/initrd cannot be read on alpha"),
        ({"kernel": None}, "it needs a disk or a kernel to boot from"),
        ({"uuid": "12345"}, 'domain.uuid: "12345" is not a UUID'),
        ({"name": "../x"}, 'domain.name: "../x" is not a name'),
        ({"name": "n" * 70}, "at most 63"),
        ({"name": None}, "domain.name: is missing"),
        ({"disks": [{"volume": "vol9"}]}, 'alpha has no volume "vol9"; add it under host.volumes'),
        ({"networks": [{"switch": "sw9"}]}, 'alpha has no switch "sw9"; add it under host.switches'),
        ({"networks": [{"switch": "sw0", "mac": "zz"}]}, "not a MAC address"),
        ({"console": "vcc9"}, 'alpha has no console group "vcc9"; add it under host.consoles'),
        ({"name": "web1"}, 'alpha has a domain "web1" already; choose another name'),
        ({"uuid": "11111111-0000-4000-8000-000000000001"}, 'is domain "web1" on alpha already; leave uuid out'),
    ]:
        said = add(alpha, domain_text(alpha, **changes))
        assert part in said, (changes, part, said)
        assert len([line for line in said.splitlines() if "nothing was changed" not in line]) == 1, said
    for text, part in [("domain = { name = ", "new.cfg:1: syntax error"), ("", "domain: is missing"), ("# " + "x" * MIB, "larger than 512K"),
                       (b"domain = {};\0", "not a text file"), (b'domain = { name = "\xff"; };', "not a text file"), ("{" * 100000, "nested too deep"),
                       ('@include "x"\n', "not possible here"), (open(alpha.conf_path).read(), '"host" belongs into policyd.cfg')]:
        said = add(alpha, text)
        assert part in said, (part, said)
    assert "No such file" in ctl(alpha, "add-domain", "/nonexistent")
    assert "Is a directory" in ctl(alpha, "add-domain", "/tmp")
    assert "stdin:1: syntax error" in ctl(alpha, "add-domain", "-", stdin=b"domain = {")
    assert domains(alpha) == before
    # what the host's names stand for is looked at when it is needed
    for name, changes, part in [("v1", {"disks": [{"volume": "vol01"}]}, '/nonexistent/vol01.img, which is not there; attach the storage'),
                                ("s1", {"networks": [{"switch": "sw0"}]}, 'is the bridge nobr0, which is not there; make it')]:
        alpha.add_domain(name, memory={"boot": "64M"}, **changes)
        for verb in ("start", "bind"):
            assert part in ctl(alpha, verb, name)
        assert alpha.domain(name)["state"] == "inactive"
    assert not os.listdir(alpha.path("ram"))


# ---- commands ----

def test_commands(env):
    alpha = one(env, start=False)
    assert "no policyd answers at" in ctl(alpha, "list")
    alpha.start()
    for name in ("idle1", "run1"):
        alpha.add_domain(name, vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    alpha.ctl("start", "run1")
    before = domains(alpha)
    expect(alpha, [
        (["strat", "run1"], 2, 'no command "strat"; did you mean "start"?'),
        (["help", "migrat"], 2, 'did you mean "migrate"?'),
        (["frobnicate"], 2, 'no command "frobnicate" (policyctl help lists them)'),
        (["--jsn", "list"], 2, "no option --jsn"),
        (["start"], 2, "start needs DOMAIN"),
        (["migrate", "run1"], 2, "migrate needs DOMAIN HOST"),
        (["start", "a", "b"], 2, '"b" is one word too many'),
        (["stop", "--frob", "run1"], 2, "no option --frob"),
        (["hold", "run1", "--for"], 2, "--for needs a TIME"),
        (["hold", "run1", "--for", "soon"], 2, "a time such as"),
        (["set-vcpu", "run1", "two"], 2, '"two" is no number of vCPUs'),
        (["set-vcpu", "run1", "-1"], 2, '"-1" is no number of vCPUs'),
        (["set-memory", "run1", "-5M"], 2, '"-5M" is no size'),
        (["set-memory", "run1", "99999999T"], 2, "is no size"),
        (["list", b"run\xff"], 2, "not valid UTF-8"),
        (["hold", "run1", "--reason", b"\xff"], 2, "not valid UTF-8"),
        (["migrate", "run1", ":x"], 2, "names no host"),
        (["migrate", "run1", "beta:a b"], 2, "is no name for a domain"),
        (["migrate", "-m", "tepid", "run1", "beta"], 2, "live, warm or cold"),
        (["cancel", "frob", "run1"], 2, 'no operations of kind "frob"'),
        (["history", "--limit=-3"], 2, "a whole number above 0"),
        (["set-vcpu", "idle1", "0"], 1, "idle1: 0 vcpus is below its minimum of 1"),
        (["set-vcpu", "run1", "0"], 1, "run1: 0 vcpus is below its minimum of 1"),
        (["set-vcpu", "run1", "9"], 1, "run1: 9 vcpus is above its maximum of 2"),
        (["set-memory", "run1", "1M"], 1, "run1: 1.0M is below its minimum of 64M"),
        (["set-memory", "run1", "2G"], 1, "run1: 2.0G is above its maximum of 128M"),
        (["set-memory", "idle1", "127M"], 1, "127M is no multiple of it"),
        (["remove-vcpu", "run1", "5"], 1, "run1 has only 1 vcpus; 5 cannot be taken"),
        (["remove-memory", "run1", "5G"], 1, "run1 has only 128M; 5.0G cannot be taken"),
        (["start", "run1"], 1, "run1 is active already"),
        (["bind", "run1"], 1, "not possible while it is active"),
        (["unbind", "idle1"], 1, "not possible while it is inactive"),
        (["stop", "idle1"], 1, "idle1 is not running (inactive)"),
        (["stop", "--force", "idle1"], 1, "idle1 is not running (inactive)"),
        (["suspend", "idle1"], 1, "only an active domain can be suspended"),
        (["resume", "run1"], 1, "only a suspended domain can be resumed"),
        (["remove", "run1"], 1, "run1 is active; stop it first: policyctl stop run1"),
        (["release", "run1"], 1, "run1 is not held"),
        (["cancel", "run1"], 1, "run1 has no operation under way"),
        (["migrate", "--keep", "run1", "alpha"], 1, "run1 is on alpha already, so this is a move to another QEMU there"),
        (["migrate", "-n", "-m", "cold", "run1", "alpha"], 1, "leave them out, or name another host"),
        (["migrate", "idle1", "alpha"], 1, "idle1 is on alpha already, and inactive: only one that runs can be moved to another QEMU there"),
        (["migrate", "run1", "gamma"], 1, 'there is no host "gamma" under cluster.peers'),
        (["migrate", "-n", "run1", "gamma"], 1, 'there is no host "gamma" under cluster.peers'),
    ] + [([verb, "nope"] + more, 1, 'alpha has no domain "nope"') for verb, *more in (
        ["start"], ["stop"], ["remove"], ["show"], ["hold"], ["list"], ["history"], ["explain"], ["bind"], ["cancel"], ["set-vcpu", "1"], ["migrate", "beta"])])
    assert domains(alpha) == before
    assert all(e["domain"] in ("idle1", "run1") and e["ok"] for e in alpha.json("history")["entries"] if e["kind"] in ("add-domain", "start"))
    assert {e["kind"] for e in alpha.json("history")["entries"]} == {"add-domain", "start"}, "a refused command is in the history"


def test_reload_mistakes(env):
    alpha = one(env, policies=[{"name": "p", "relocate": "never"}])
    alpha.add_domain("idle1", memory={"boot": "64M"})
    good = open(alpha.conf_path).read()
    for text, part in [(good[:-20], "syntax error"), ("", "host: is missing"), (good.replace("never", "sometimes"), "relocate"),
                       (good.replace('"alpha"', '"omega"', 1), "host.name: cannot change while policyd runs"),
                       (good.replace('"%s"' % alpha.path("state"), '"%s"' % alpha.path("other")), "paths.state: cannot change while policyd runs"),
                       (good.replace(alpha.crt, "/nonexistent"), "No such file"), (good + "frob = 1;", "frob: unknown key")]:
        with open(alpha.conf_path, "w") as f:
            f.write(text)
        said = ctl(alpha, "reload")
        assert part in said and said.endswith("nothing was changed"), said
        assert alpha.json("show", "idle1")["policy"]["relocate"] == "never"
    os.unlink(alpha.conf_path)
    assert "cannot be read: No such file" in ctl(alpha, "reload")
    alpha.process.send_signal(signal.SIGHUP)
    wait_for("the log", lambda: "nothing was changed" in alpha.log_tail())
    assert alpha.json("show", "idle1")["policy"]["relocate"] == "never"


# ---- the control socket ----

def answers(host, data):
    s = host.control()
    s.sendall(data)
    return s.makefile(errors="replace").readline()


def test_broken_requests(env):
    alpha = one(env)
    alpha.add_domain("idle1", memory={"boot": "64M"})
    before = domains(alpha)
    for data in (b"{nonsense", b"[" * 100000, b'{"a":' * 50000 + b"1" + b"}" * 50000, b'{"cmd": "\xff\xfe"}', b"\xff\xfe\xfd", b'{"cmd": "list\\u0000"}',
                 b'{"cmd": "li\0st"}', b'{"cmd": "list", "cmd": "stop"}', b"[1]", b"5", b'"list"', b"{}", b'{"cmd": 5}', b'{"cmd": "list", "args": []}',
                 b'{"id": {}, "cmd": "list"}', b'{"cmd": "strat"}', b'{"cmd": "set-vcpu", "args": {"domain": "idle1", "n": 1.5}}',
                 b'{"cmd": "set-vcpu", "args": {"domain": "idle1", "n": -1}}', b'{"cmd": "set-vcpu", "args": {"domain": 1, "n": 1}}',
                 b'{"cmd": "set-vcpu", "args": {"domain": "idle1", "n": 99999999999999999999999}}', b'{"cmd": "start", "args": {"domain": "idle1", "forse": true}}',
                 b'{"cmd": "remove", "args": {}}', b'{"cmd": "migrate", "args": {"domain": "idle1", "host": "a\\u0000b"}}'):
        answer = json.loads(answers(alpha, data + b"\n"))
        assert answer["ok"] is False and answer["code"] == "usage" and sentence(answer["error"]), (data[:80], answer)
    assert 'did you mean "start"?' in json.loads(answers(alpha, b'{"cmd": "strat"}\n'))["error"]
    for data in (b'{"cmd": "set-vcpu", "args": {"domain": "idle1", "n": 9223372036854775807}}\n',
                 b'{"cmd": "set-memory", "args": {"domain": "idle1", "bytes": 9223372036854775806}}\n',
                 b'{"cmd": "stop", "args": {"domain": "idle1", "timeout_s": 9223372036854775807}}\n'):
        assert json.loads(answers(alpha, data))["code"] == "refused"
    until = json.loads(answers(alpha, b'{"cmd": "hold", "args": {"domain": "idle1", "for_ms": 9223372036854775807}}\n'))["result"]["until_ms"]
    assert until > 0, "a time that is too long became one in the past"
    alpha.ctl("release", "idle1")
    s = alpha.control()
    try:
        s.sendall(b'{"cmd": "' + b"x" * (3 * MIB) + b'"}\n{"cmd": "remove", "args": {"domain": "idle1"}}\n')
    except OSError:
        pass  # it was cut off, as it should be
    answer = json.loads(s.makefile().readline())
    assert "longer than 1048576 bytes" in answer["error"], answer
    try:
        assert not s.recv(1), "the connection is still there"
    except ConnectionResetError:
        pass
    assert domains(alpha) == before


def test_clients_that_misbehave(env):
    """Half a line and silence, no reading, a hundred at once, gone in the middle: the others are served all the time."""
    alpha = one(env)
    alpha.add_domain("idle1", memory={"boot": "64M"})
    hanging = [alpha.control() for _ in range(20)]
    for s in hanging:
        s.sendall(b'{"cmd": "pi')
    deaf = alpha.control()
    deaf.setblocking(False)
    try:
        while True:
            deaf.send(b'{"cmd": "show", "args": {"domain": "idle1"}}\n' * 50)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass
    for _ in range(50):  # asks and is gone
        s = socket.socket(socket.AF_UNIX)
        s.connect(alpha.socket_path)
        s.sendall(b'{"cmd": "history"}\n{"cmd": "hold", "args": {"domain": "idle1"}}\n')
        s.close()
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    for s in crowd:
        s.connect(alpha.socket_path)  # without a time limit it waits when the queue is full
        s.settimeout(60)
    for i, s in enumerate(crowd):
        s.sendall(b'{"id": %d, "cmd": "list"}\n' % i)
    for i, s in enumerate(crowd):
        answer = json.loads(s.makefile().readline())
        assert answer["id"] == i and answer["result"]["domains"][0]["name"] == "idle1", answer
    for s in hanging:
        s.sendall(b'ng"}\n')
        assert json.loads(s.makefile().readline())["result"] == "pong"
    assert "policyd is there" in alpha.ctl("ping")


def test_others_may_only_look(env):
    alpha = one(env)
    alpha.add_domain("idle1", memory={"boot": "64M"})
    before = domains(alpha)
    for folder in (env.tmp, alpha.dir, alpha.path("run")):
        os.chmod(folder, 0o755)
    ctl = os.path.join(env.tmp, "policyctl")  # the build folder may be below one that nobody may not enter
    shutil.copy(os.path.join(env.build, "policyctl"), ctl)
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ctl, "-s", alpha.socket_path]
    if subprocess.run(as_nobody + ["--version"], capture_output=True).returncode:
        raise ballast.Skip("user nobody cannot run a program of %s here" % env.tmp)
    r = subprocess.run(as_nobody + ["list"], capture_output=True, text=True)
    assert r.returncode == 1 and "you may not use" in r.stderr, r  # 0660
    os.chmod(alpha.socket_path, 0o666)
    assert "idle1" in subprocess.run(as_nobody + ["list"], capture_output=True, text=True, check=True).stdout
    for args in (["start", "idle1"], ["remove", "idle1"], ["hold", "idle1"], ["reload"], ["set-vcpu", "idle1", "1"], ["migrate", "-n", "idle1", "beta"]):
        r = subprocess.run(as_nobody + args, capture_output=True, text=True)
        assert r.returncode == 1 and "uid 65534 may only look" in sentence(r.stderr), r
    assert domains(alpha) == before
