"""A domain moves to another QEMU on the host where it is (a QEMU upgrade): no memory is copied, and whatever happens in the middle of it, its guest runs
on exactly once with every byte it had."""
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time

import cgroups
import qemu
from ballast import wait_for
from env import Skip
from hosts import Group
from lan import SWITCH, Lan
from moves import GUEST, qemus_of
from qemu import CMDLINE, Qmp

LIMIT_S = 600
MIB = 1 << 20
ABOVE = dict(memory={"min": "96M", "boot": "192M", "max": "320M"}, cmdline=CMDLINE + " swiotlb=512")


class Here:
    """One host, a guest that knows its memory, and two QEMUs to choose from."""

    def __init__(self, env, **settings):
        env.need_root("hosts are network namespaces")
        self.env, self.alpha = env, Group(env).add("alpha", **settings)
        self.alpha.start(debug=True)

    def guest(self, name="web1", fill="32M", **spec):
        self.alpha.add_domain(name, **{**GUEST, **spec})
        self.beats = self.alpha.heartbeats(name)
        self.alpha.ctl("start", name)
        self.beats.wait_ready()
        self.alpha.agent(name).cmd("fill " + fill)
        return name

    def use(self, path):
        """From now on host.paths.qemu is @path."""
        self.alpha.write_conf(paths={"qemu": path})
        self.alpha.ctl("reload")

    def wrapper(self, name, line):
        path = self.alpha.path("etc", name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n%s\n" % line)
        os.chmod(path, 0o755)
        return path

    def newer(self):
        """A program that is a newer QEMU than the installed one; where there is none, the installed one again."""
        try:
            found = qemu.newer_qemu()
        except Skip as e:
            print("no newer QEMU, so it is the same one again: %s" % e)
            found = {}
        return self.wrapper("newer-qemu", 'exec %s "$@"' % " ".join([found.get("qemu", "qemu-system-x86_64"), *found.get("extra", ())]))

    def beats_stand(self):
        """No heart beats: its guest stands."""
        time.sleep(0.3)
        before = len(self.beats.beats)
        time.sleep(0.7)
        return len(self.beats.beats) == before

    def version(self, name):
        mon = Qmp(self.alpha.path("run", name, "qmp-worker.sock"))
        v = mon("query-version")["qemu"]
        mon.close()
        return (v["major"], v["minor"])

    @staticmethod
    def version_of(path):
        return qemu.version(path)

    def known(self):
        """policyd has asked the QEMU that it would start now."""
        return "newer-qemu is QEMU" in open(self.alpha.log).read()

    def ram(self, name):
        """The file that is its memory."""
        found = glob.glob(self.alpha.path("ram", self.alpha.domain(name)["uuid"] + ".*"))
        assert found, os.listdir(self.alpha.path("ram"))
        return sorted((f, os.stat(f).st_ino) for f in found)

    def whole(self, name):
        """Active, one QEMU, beating, its memory right to the last byte, nothing left over. The pid."""
        wait_for("it active with one QEMU", lambda: (self.alpha.domain(name) or {}).get("state") == "active" and len(qemus_of(self.alpha, name)) == 1)
        self.beats.wait_beats(3)
        assert int(self.alpha.agent(name).cmd("verify").split()[1]) > 0
        self.beats.check()
        left = [f for f in os.listdir(self.alpha.path("run", name)) if f.endswith(".new") or "next" in f or f == "move.sock"]
        assert not left, left
        return qemus_of(self.alpha, name)[0]


def test_upgrade_and_back(env):
    """To a newer QEMU, back, and again; policyd is killed after each and finds it; then it stops like any other. While it writes its memory."""
    here = Here(env)
    alpha = here.alpha
    web = here.guest()
    alpha.agent(web).cmd("dirty 8")
    old, new = "/usr/bin/qemu-system-x86_64", here.newer()
    installed, ram, pids = here.version(web), here.ram(web), [here.whole(web)]
    for n, path in enumerate((new, old, new)):
        here.use(path)
        said = alpha.ctl("migrate", "-n", web, "alpha")
        assert "would work" in said and "memory stays" in said, said
        done = alpha.json("migrate", "--wait", web, "alpha")
        print("%s -> %s: blackout %d ms, in all %d ms" % (done["qemu_before"], done["qemu_after"], done["blackout_ms"], done["total_ms"]))
        assert done["method"] == "same-host" and done["blackout_ms"] > 0, done
        pids.append(here.whole(web))
        assert pids[-1] == done["pid"] and pids[-1] != pids[-2]
        assert (here.version(web) == installed) == (path == old or new == old), here.version(web)
        assert here.ram(web) == ram
        if n < 2:
            alpha.restart()
            assert here.whole(web) == pids[-1]
    assert alpha.agent(web).stat()["dirty_mib_s"] > 0
    with open(alpha.log) as f:
        assert "unexpectedly" not in f.read()
    alpha.ctl("stop", web)
    assert alpha.domain(web)["state"] == "inactive" and not os.listdir(alpha.path("ram")) and not os.path.exists(alpha.path("run", web))
    assert not alpha.qemu_pids()


def test_all_that_it_has(env):
    """Disk (direct I/O on an image with locks), network, console port, hot-plugged vcpu, CPU cap, balloon: all of it is there afterwards; a suspended one stays so."""
    with tempfile.TemporaryDirectory(dir=env.build, prefix="here-") as folder:  # not on tmpfs: a disk is opened for direct I/O
        disk = os.path.join(folder, "vol01.img")
        with open(disk, "wb") as f:
            f.truncate(8 * MIB)
        here = Here(env, host={"volumes": [{"name": "vol01", "path": disk}], "consoles": [{"name": "lab", "ports": "5000-5001"}], **SWITCH["host"]})
        alpha, lan = here.alpha, Lan(here.alpha.group)
        web = here.guest(disks=[{"volume": "vol01"}], networks=[{"switch": "lan0"}], console="lab")
        agent = alpha.agent(web)
        agent.cmd("sh ip addr add %s/24 dev eth0 && ip link set eth0 up" % lan.address(2))
        agent.cmd("diskfill /dev/vda 8M")
        agent.cmd("readloop /dev/vda 8M")
        alpha.ctl("set-vcpu", web, "1.5")
        alpha.ctl("set-memory", web, "128M")
        had = alpha.domain(web)
        here.use(here.newer())
        alpha.ctl("migrate", "--wait", web, "alpha")
        pid, has = here.whole(web), alpha.domain(web)
        assert {k: has.get(k) for k in ("vcpus", "cpu_cap", "mem_bytes", "uuid")} == {
            "vcpus": 2, "cpu_cap": 150, "mem_bytes": 128 * MIB, "uuid": had["uuid"]}
        assert has["cons"] in (5000, 5001) and has["cons"] != had["cons"]
        assert cgroups.quota(pid) == 150
        reads = alpha.agent(web).stat()["disk_reads"]
        wait_for("direct reads", lambda: alpha.agent(web).stat()["disk_reads"] > reads + 40)
        alpha.agent(web).cmd("readloop /dev/vda 0")  # checks what was read last
        alpha.group.hub_run("ping", "-c", "3", "-W", "2", lan.address(2))
        alpha.ctl("set-vcpu", web, "1")
        alpha.ctl("set-memory", web, "160M")
        # a vcpu was removed: QEMU under TCG would crash, so it stays
        assert "vcpu was removed" in alpha.refused("migrate", web, "--wait", "alpha")
        here.whole(web)
        other = here.guest("web2", fill="8M")
        alpha.ctl("suspend", other)
        beats = len(here.beats.beats)
        alpha.ctl("migrate", "--wait", other, "alpha")
        assert alpha.domain(other)["state"] == "suspended" and len(here.beats.beats) == beats
        alpha.ctl("resume", other)
        here.whole(other)


def test_plugged_memory(env):
    """A virtio-mem device of a QEMU before 8.1 would empty the guest's memory when it is made: refused. With one of today it moves with what is plugged."""
    here = Here(env)
    alpha = here.alpha
    if here.version_of("/usr/bin/qemu-system-x86_64") < (8, 1):
        web = here.guest("old1", fill="16M", **ABOVE)
        alpha.ctl("set-memory", web, "288M")
        for args in (["-n"], ["--wait"]):
            assert "8.1 or newer" in alpha.refused("migrate", *args, web, "alpha")
        here.whole(web)
        alpha.ctl("stop", "--force", web)
    here.use(here.newer())
    if here.version_of(alpha.path("etc", "newer-qemu")) < (8, 1):
        raise Skip("no QEMU of 8.1 or newer here")
    wait_for("the new QEMU to be known", lambda: here.known(), 30)
    web = here.guest("web1", fill="16M", **ABOVE)
    alpha.ctl("set-memory", web, "288M")
    alpha.agent(web).cmd("fill 140M")  # some of it above what it booted with
    alpha.agent(web).cmd("dirty 20")
    ram = here.ram(web)
    assert len(ram) == 2, ram
    alpha.ctl("migrate", "--wait", web, "alpha")
    here.whole(web)
    assert here.ram(web) == ram
    given = alpha.json("show", web)["entitlement"]
    assert (given["mem_bytes"], given["vmem_bytes"], given["vmem_requested"]) == (288 * MIB, 96 * MIB, 96 * MIB), given
    alpha.ctl("set-memory", web, "320M")
    here.whole(web)


def test_refused(env):
    """All that speaks against it is said before anything is done."""
    with tempfile.TemporaryDirectory(dir=env.build, prefix="here-") as folder:
        disks = [os.path.join(folder, n) for n in ("one.img", "two.img")]
        for path in disks:
            with open(path, "wb") as f:
                f.truncate(MIB)
        here = Here(env, host={"volumes": [{"name": "vol01", "path": disks[0]}], "consoles": [{"name": "lab", "ports": "5000-5000"}]})
        alpha = here.alpha
        alpha.add_domain("idle1", **GUEST)
        assert "only one that runs" in alpha.refused("migrate", "idle1", "alpha")
        web = here.guest(fill="8M", disks=[{"volume": "vol01"}], console="lab")
        for args in (["-m", "cold"], ["--suspend"], ["--postcopy"], ["--keep"], ["--paused"], ["--bandwidth", "5M"], ["--quiet-moment", "5m"]):
            assert "copies no memory" in alpha.refused("migrate", *args, web, "alpha"), args
        assert "copies no memory" in alpha.refused("migrate", web, "alpha:web9")
        pid = here.whole(web)
        alpha.write_conf(host={"volumes": [{"name": "vol01", "path": disks[1]}]})
        alpha.ctl("reload")
        said = alpha.refused("migrate", "-n", web, "alpha")
        assert "vol01" in said and disks[0] in said and disks[1] in said, said
        assert "all its ports are taken" in said or "free" in said, said  # its console needs a second one for a moment
        ram = here.ram(web)[0][0]
        os.rename(ram, ram + ".away")
        said = alpha.refused("migrate", "--wait", web, "alpha")
        assert "memory" in said, said
        os.rename(ram + ".away", ram)
        assert here.whole(web) == pid


def test_new_qemu_fails(env):
    """It does not start, does not answer, cannot take the state, ends in the middle: the guest runs on in the old one, and it can be tried again."""
    here = Here(env)
    alpha = here.alpha
    web = here.guest(fill="16M")
    alpha.agent(web).cmd("dirty 4")
    real = "/usr/bin/qemu-system-x86_64"
    # only the second QEMU of a domain is to fail: not the one that is asked for its version
    only = 'case "$*" in *"-incoming defer"*) %%s;; *) exec %s "$@";; esac' % real
    pid = here.whole(web)

    def fails(name, line, *words):
        here.use(here.wrapper(name, only % line))
        said = alpha.refused("migrate", "--wait", web, "alpha")
        assert all(w in said for w in words), said
        assert here.whole(web) == pid
        return said

    fails("dies", "echo no such thing >&2; exit 1", "ended", "no such thing")
    # it lacks a device that the guest has
    fails("lacks", 'exec %s "$@" -device virtio-rng-pci,bus=pcie.0,addr=0x5,id=more -global virtio-balloon-pci.event_idx=off '
                   "-global virtio-balloon-pci.page-poison=off -global virtio-serial-pci.max_ports=2" % real, "load")
    # one that never answers is cancelled by the operator
    here.use(here.wrapper("mute", only % "exec sleep 600"))
    move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "alpha"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for("it to wait", lambda: next(iter(alpha.json("list", "-o", "status", web)["operations"]), {}).get("phase_name") == "target")
    alpha.ctl("cancel-operation", "migration", web)
    move.communicate(timeout=60)
    assert move.returncode == 1 and here.whole(web) == pid
    # it ends by itself some time after its start; once the guest was handed over, that is a crash like any other
    for n, delay in enumerate((0.01, 0.03, 0.05, 0.06, 0.07, 0.09)):
        here.use(here.wrapper("short", only % ('(sleep %g; kill -9 $$) & exec %s "$@"' % (delay, real))))
        begun = os.stat(alpha.log).st_size
        move = subprocess.run(alpha.ctl_argv("migrate", "--wait", web, "alpha"), capture_output=True, text=True, timeout=120)
        with open(alpha.log) as f:
            f.seek(begun)
            handed_over = "phase 5 hand-off" in f.read()
        if not handed_over:
            assert move.returncode == 1 and here.whole(web) == pid, move.stderr
            continue
        print("it died after %g s, with the guest in it" % delay)
        wait_for("its end", lambda: alpha.domain(web)["state"] == "inactive" and not alpha.qemu_pids())
        assert not os.listdir(alpha.path("ram"))
        here.use(real)
        web = here.guest("web%d" % (n + 2), fill="16M")
        pid = here.whole(web)
    here.use(real)
    alpha.ctl("migrate", "--wait", web, "alpha")
    here.whole(web)


def test_policyd_dies(env):
    """policyd is killed, or stopped, at any moment of it: the next one finds one QEMU with the guest in it, ends the other, and lets it run on."""
    here = Here(env)
    alpha = here.alpha
    web = here.guest(fill="16M")
    alpha.agent(web).cmd("dirty 8")
    seen = {"old": 0, "new": 0}
    takes = 0

    def begin():
        move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "alpha"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the second QEMU", lambda: len(qemus_of(alpha, web)) == 2 or move.poll() is not None, pause=0.001)
        return move
    for _ in range(3):  # how long it takes on this machine, from the second QEMU on
        move, begun = begin(), time.monotonic()
        assert move.wait(60) == 0
        takes = max(takes, time.monotonic() - begun)
    pid = here.whole(web)
    for n in range(18):
        move = begin()
        time.sleep(n % 9 / 8 * 1.1 * takes)
        alpha.kill(signal.SIGKILL if n < 12 else signal.SIGTERM)
        move.wait(60)
        alpha.start(debug=True)
        now = here.whole(web)
        seen["old" if now == pid else "new"] += 1
        pid = now
    print("killed in it: %d times it stayed where it was, %d times it went over" % (seen["old"], seen["new"]))
    assert seen["old"] and seen["new"], seen
    alpha.ctl("migrate", "--wait", web, "alpha")
    assert here.whole(web) != pid


def test_its_qemu_dies(env):
    """The QEMU that has the guest dies in the middle: that is the end of the guest, as always, and nothing of the other is left that could run it again."""
    here = Here(env)
    alpha = here.alpha
    for n in range(4):
        web = here.guest("web%d" % n, fill="8M")
        old = here.whole(web)
        move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "alpha"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("the second QEMU", lambda: len(qemus_of(alpha, web)) == 2 or move.poll() is not None, pause=0.001)
        time.sleep(n * 0.02)
        try:
            os.kill(old, signal.SIGKILL)
        except ProcessLookupError:
            pass
        _, err = move.communicate(timeout=60)
        if move.returncode == 0:  # it was through
            here.whole(web)
            alpha.ctl("stop", "--force", web)
        else:
            assert "ended" in err, err
        wait_for("its end", lambda: alpha.domain(web)["state"] == "inactive" and not alpha.qemu_pids())
        assert not os.listdir(alpha.path("ram")) and not os.path.exists(alpha.path("run", web))


TAKE_DISK = """
import fcntl, struct, sys, time
# QEMU holds bytes 100.. (what it does with the image) and 200.. (what others must not) of an image with read locks, block/file-posix.c; writing is number 1
f = open(sys.argv[1], "r+b")
lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 201, 1, 0)
print("waiting", flush=True)
fcntl.fcntl(f, 38, lock)  # F_OFD_SETLKW
print("taken", flush=True)
sys.stdin.readline()
"""


def test_disk_is_taken(env):
    """Somebody takes the disk in the moment in which the first QEMU has let go of it: the second gets the guest, and cannot let it run. It is the first's
    again, and runs on as soon as the disk is to be had, and so after a restart of policyd."""
    with tempfile.TemporaryDirectory(dir=env.build, prefix="here-") as folder:
        disk = os.path.join(folder, "vol01.img")
        with open(disk, "wb") as f:
            f.truncate(MIB)
        here = Here(env, host={"volumes": [{"name": "vol01", "path": disk}]})
        alpha = here.alpha
        web = here.guest(fill="16M", disks=[{"volume": "vol01"}])
        pid = here.whole(web)
        for restart in (False, True):
            thief = env.popen([sys.executable, "-c", TAKE_DISK, disk], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert thief.stdout.readline() == "waiting\n"
            move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "alpha"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert thief.stdout.readline() == "taken\n"
            wait_for("the second QEMU to be gone", lambda: qemus_of(alpha, web) == [pid])
            if restart:
                alpha.restart()
            assert here.beats_stand()
            thief.communicate("\n", timeout=30)
            _, err = move.communicate(timeout=60)
            assert move.returncode == 1 and (restart or "does not let it run" in err), err
            assert here.whole(web) == pid
        alpha.ctl("migrate", "--wait", web, "alpha")
        assert here.whole(web) != pid
