"""What a move is checked for before anything is done: a dry run shows every line that fails, at once; and looking blocks nobody."""
import json
import os
import re
import subprocess
import time

from ballast import wait_for
from hung import HungStorage
from moves import Pair
from qemu import Qmp
from rawpeer import Raw

LIMIT_S = 300

# A QEMU that is another than ours: what it says of itself when it is asked; else the real one.
FAKE_QEMU = """#!/usr/bin/env python3
import json, os, socket, sys
if "none" not in " ".join(a for a in sys.argv if a.startswith("none,")).split(","):
    os.execvp("qemu-system-x86_64", ["qemu-system-x86_64"] + sys.argv[1:])
path = next(a for a in sys.argv if a.startswith("unix:"))[5:].split(",")[0]
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(1)
c = s.accept()[0]
f, out = c.makefile("r"), c.makefile("w")
print(json.dumps({"QMP": {"version": {"qemu": {"major": 6, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}), file=out, flush=True)
answers = {"query-version": {"qemu": {"major": 6, "minor": 2, "micro": 0}, "package": ""}, "query-machines": [{"name": "pc-q35-6.2"}],
           "query-cpu-definitions": [{"name": "Nehalem-v1", "unavailable-features": ["sse4.2"]}],
           "query-cpu-model-expansion": {"model": {"name": "max", "props": {"sse2": True}}}}
for line in f:
    r = json.loads(line)
    print(json.dumps({"return": answers.get(r["execute"], {}), "id": r.get("id")}), file=out, flush=True)
"""

TAKE_PORT = """
import socket, sys, time
for a in sys.argv[1:]:
    host, port = a.rsplit(":", 1)
    s = socket.socket(); s.bind((host, int(port))); s.listen(1); globals()["s" + port] = s
print("taken", flush=True)
time.sleep(1000)
"""


def lines(text):
    """A dry run's failures: {what: [why, ...]}"""
    out = {}
    for line in text.splitlines()[1:]:
        what, why = line.strip().split(None, 1)
        out.setdefault(what, []).append(why)
    return out


def take_ports(env, host, *addresses):
    p = env.popen(host.in_ns("python3", "-c", TAKE_PORT, *addresses), stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"taken\n"
    return p


def qemu_known(host, peer):
    """@host has heard which QEMU @peer has."""
    return wait_for("the version of %s's QEMU" % peer.name, lambda: next(h for h in host.json("hosts")["hosts"] if h["name"] == peer.name).get("qemu"), 60)


def test_each_line(env):
    consoles = {"host": {"consoles": [{"name": "vcc0", "ports": "5000-5000"}]}}
    pair = Pair(env, alpha=consoles, beta={**consoles, "migration": {"ports": "49152-49152"}})
    alpha, beta = pair.hosts
    web = pair.guest(fill="1M", console="vcc0")
    native = "web2"
    alpha.add_domain(native, vcpus={"boot": 1}, memory={"boot": "128M"}, cpu_arch="native")
    alpha.ctl("start", native)
    assert re.match(r"\d+\.\d+\.\d+$", qemu_known(alpha, beta)), "no version"
    assert "would work" in alpha.ctl("migrate", "-n", web, "beta") and "would work" in alpha.ctl("migrate", "-n", native, "beta")

    fake = beta.path("etc", "qemu")
    with open(fake, "w") as f:
        f.write(FAKE_QEMU)
    os.chmod(fake, 0o755)
    beta.write_conf(paths={"qemu": fake})
    beta.ctl("reload")
    wait_for("another version", lambda: qemu_known(alpha, beta) == "6.2.0", 60)
    port = take_ports(env, beta, "127.0.0.1:5000", beta.address + ":49152")
    worker = Qmp(alpha.path("run", web, "qmp-worker.sock"))
    worker("device_add", driver="virtserialport", id="byhand", bus="serial0.0", nr=3)
    worker.close()
    found = lines(alpha.refused("migrate", "-n", web, "beta"))
    print(json.dumps(found, indent=1))
    assert "beta has QEMU 6.2.0; 7.2 or newer is needed" in found["qemu"][0]
    assert "pc-q35-7.2, which QEMU 6.2.0 of beta does not have; it comes from QEMU" in found["machine"][0]
    assert 'cannot run cpu-arch "generic" (Nehalem-v1): sse4.2' in found["cpu"][0]
    assert 'console group "vcc0" of beta has no free port' in found["console"][0]
    assert "all ports of beta from 49152 to 49152 are in use" in found["ports"][0]
    assert 'device "byhand" (virtserialport) was added by hand' in found["device"][0]
    assert set(found) == {"qemu", "machine", "cpu", "console", "ports", "device"}, found
    said = alpha.refused("migrate", web, "beta", "--wait")
    assert "would fail" in said and "6.2.0" in said and "more, see: policyctl migrate -n" in said, said
    found = lines(alpha.refused("migrate", "-n", native, "beta"))
    assert "lacks what it may be using" in found["cpu"][0] and "and" in found["cpu"][0], found

    # what QEMU itself could not move is known without a move: lists say so, and policy leaves it alone
    worker = Qmp(alpha.path("run", native, "qmp-worker.sock"))
    worker("blockdev-add", driver="vvfat", dir=beta.path("etc"), rw=True, **{"node-name": "fat0"})
    why = wait_for("the reason in show", lambda: alpha.json("show", native)["immovable"], 30)
    assert why.startswith("QEMU cannot move it: ") and "does not support live migration" in why, why
    assert native + " cannot be moved: QEMU cannot move it" in alpha.ctl("list", "-o", "status")
    worker("blockdev-del", **{"node-name": "fat0"})
    worker.close()
    wait_for("it to be movable again", lambda: not alpha.json("show", native)["immovable"], 30)

    # all of it mended: it moves
    port.kill()
    beta.write_conf(paths={"qemu": "/usr/bin/qemu-system-x86_64"})
    beta.ctl("reload")
    wait_for("the version of before", lambda: qemu_known(alpha, beta) != "6.2.0", 60)
    worker = Qmp(alpha.path("run", web, "qmp-worker.sock"))
    worker("device_del", id="byhand")
    worker.close()
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta


def test_clock_and_fips(env):
    """What two hosts of one machine cannot differ in is asked of beta by hand, as alpha would."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    alpha.add_domain("web1", vcpus={"boot": 1}, memory={"boot": "64M"})
    spec = alpha.json("show", "web1")["spec"]
    alpha.kill()
    raw = Raw(env, alpha, beta)
    now_ms = int(time.time() * 1000)
    for more, what in ((dict(time_ms=now_ms), None), (dict(time_ms=now_ms - 120000), "clock"), (dict(time_ms=now_ms + 120000), "clock"),
                       (dict(time_ms=-5), None), (dict(time_ms="x"), None), (dict(fips=True), "fips"), (dict(fips=False), None)):
        answer = raw.ask("precheck", spec=spec, name="web1", vcpus=1, mem_bytes=64 << 20, method="live", running=True, accel="tcg", **more)
        assert answer["ok"], answer
        print(more, answer["failures"])
        assert [f["what"] for f in answer["failures"]] == ([what] if what else []), answer
    alpha.start(debug=True)
    pair.connected()


def test_hung_storage(env):
    """A volume whose storage hangs, at the target or at the source: said in one line, and neither policyd waits for it."""
    folders = {h: os.path.join(env.tmp, h + "-storage") for h in ("alpha", "beta")}
    hung = {h: HungStorage(env, f) for h, f in folders.items()}
    shared = os.path.join(env.tmp, "vol.img")
    with open(shared, "wb") as f:
        f.truncate(1 << 20)
    for f in folders.values():
        os.link(shared, os.path.join(f, "vol.img"))
    volumes = {h: {"host": {"volumes": [{"name": "vol01", "path": os.path.join(f, "vol.img")}]}} for h, f in folders.items()}
    pair = Pair(env, alpha=volumes["alpha"], beta=volumes["beta"])
    alpha, beta = pair.hosts
    alpha.add_domain("web1", vcpus={"boot": 1}, memory={"boot": "64M"}, disks=[{"volume": "vol01"}])
    assert "would work" in alpha.ctl("migrate", "-n", "web1", "beta")
    for host in (beta, alpha):
        hung[host.name].mount()
        begun = time.monotonic()
        dry = env.popen(alpha.ctl_argv("migrate", "-n", "web1", "beta"), stdout=-1, stderr=-1, text=True)
        answered = 0
        while dry.poll() is None:
            for h in pair.hosts:
                t = time.monotonic()
                h.ctl("ping")
                assert time.monotonic() - t < 3, "policyd of %s waited" % h.name
                answered += 1
        out, err = dry.communicate()
        print("%s hangs: %.1f s, %d pings: %s" % (host.name, time.monotonic() - begun, answered, (out + err).strip()))
        assert dry.returncode == 1 and answered > 5
        found = lines(out + err)
        assert set(found) == {"storage"} and len(found["storage"]) == 1, found
        assert "%s on %s did not answer within 5 s: its storage hangs" % (os.path.join(folders[host.name], "vol.img"), host.name) in found["storage"][0]
        hung[host.name].release()
        assert "would work" in alpha.ctl("migrate", "-n", "web1", "beta")
    # more at once than there are threads for it: refused at once, and all is well afterwards
    hung["alpha"].mount()
    runs = [env.popen(alpha.ctl_argv("migrate", "-n", "web1", "beta"), stdout=-1, stderr=-1, text=True) for _ in range(12)]
    for r in runs:
        r.communicate(timeout=60)
        assert r.returncode == 1
    begun = time.monotonic()
    assert "storage hangs" in alpha.refused("migrate", "-n", "web1", "beta")
    print("the next one: %.2f s" % (time.monotonic() - begun))
    hung["alpha"].release()
    wait_for("the threads back", lambda: "would work" in alpha.ctl("migrate", "-n", "web1", "beta", check=False), 30)
