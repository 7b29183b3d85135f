"""Two policyd-migrate by hand, a real guest, and everything that can end in the middle: workers killed at each step, connections broken at
each step, cancels at each phase, a target's QEMU killed. The test acts as both policyds do (docs/worker.md, docs/peers.md): it asks
'policyd-migrate journal resolve' and does what that says. Afterwards exactly one QEMU runs, and the guest has lost nothing."""
import os
import signal
import subprocess
import time

from ballast import ARRIVAL_MS, Worker, certificate, start_line
from worker_pair import Pair

LIMIT_S = 1800

SOURCE_STEPS = ("qmp checks connect hello channels setup run track transfer pause stop last-round digest device-state loaded offer commit owner "
                "gone quit").split()
TARGET_STEPS = ("qmp setup prepared listen accept hello channels receive root full device-state loaded commit own resume owner announce "
                "farewell").split()


def test_move_there_and_back(env):
    p = Pair(env)
    for verify_full in (False, True):
        p.begin(verify_full=verify_full)
        src, dst = p.end(p.src), p.end(p.dst)
        assert src["ok"] and dst["ok"] and src["outcome"] == dst["outcome"] == "moved", (src, dst)
        assert src["stats"]["digest"] == dst["stats"]["digest"] != "", (src, dst)
        assert src["stats"]["verified_full"] is verify_full
        states = [e["state"] for e in p.src.events if e["event"] == "journal"], [e["state"] for e in p.dst.events if e["event"] == "journal"]
        assert states == (["RUN", "PAUSED", "OFFERED", "GONE"], ["PREPARED", "LOADED", "OWNER"]), states
        phases = [e["phase"] for e in p.src.events if e["event"] == "phase"]
        assert phases == [1, 2, 3, 4, 5], phases
        p.check_one(True)
        seen = p.beats.report().moves[-1]
        print("blackout: reported %d ms; %s; %s" % (src["stats"]["blackout_ms"], seen, src["stats"]))
        assert seen.stood_ms <= src["stats"]["blackout_ms"] + ARRIVAL_MS
    p.verify()


def test_killed_at_each_step(env):
    p = Pair(env)
    for role, steps in (("source", SOURCE_STEPS), ("target", TARGET_STEPS)):
        for step in steps:
            p.begin("%s:die:%s" % (role, step))
            if role == "source" and step in ("qmp", "checks", "connect"):
                p.end(p.src)
                p.dst.send(op="cancel")  # the source's policyd says "abort": nobody will connect
            src, dst = p.end(p.src), p.end(p.dst)
            victim, other = (src, dst) if role == "source" else (dst, src)
            assert victim is None, (role, step, victim)
            assert other["error"] or other["ok"], other
            where = p.resolve()
            print("%s killed at %-12s: the other says %-8s; the guest is on %s  %s" % (role, step, other["outcome"], where, other["error"]))
            moved = role == "source" and step in ("owner", "gone", "quit") or role == "target" and step in ("resume", "owner", "announce",
                                                                                                        "farewell")
            assert moved == (p.guest is p.target), (role, step, where)
    p.verify()


def test_connection_broken_at_each_step(env):
    p = Pair(env)
    for role, steps in (("source", SOURCE_STEPS[4:]), ("target", TARGET_STEPS[5:])):
        for step in steps:
            p.begin("%s:lose:%s" % (role, step))
            src, dst = p.end(p.src), p.end(p.dst)
            assert src and dst, (role, step)
            print("%s loses the line at %-12s: source %s, target %s: %s" % (role, step, src["outcome"], dst["outcome"], src["error"]))
            p.resolve()
            assert (dst["outcome"] == "moved") == (p.guest is p.target), (src, dst)
            assert src["outcome"] in ("in-doubt", "moved" if dst["outcome"] == "moved" else "stayed")
    p.verify()


def test_cancel_in_each_phase(env):
    p = Pair(env)
    for role, step in (("source", "checks"), ("source", "hello"), ("source", "transfer"), ("source", "pause"), ("source", "last-round"),
                       ("source", "device-state"), ("source", "loaded"), ("source", "offer"), ("target", "receive"), ("target", "loaded")):
        p.begin("%s:hold:%s" % (role, step))
        held, other = (p.src, p.dst) if role == "source" else (p.dst, p.src)
        held.wait("held", 60)
        began = time.monotonic()
        p.src.send(op="cancel")
        src = p.end(p.src)
        took_s = p.src.wait("done")["t_s"] - began
        print("cancelled at %s's %s: %.0f ms, blackout %d ms" % (role, step, took_s * 1000, src["stats"]["blackout_ms"]))
        assert took_s < 1.5, took_s
        if step == "checks":
            p.dst.send(op="cancel")  # never connected: its policyd is told by the source's
        assert src["outcome"] == "stayed" and src["cancelled"] and src["error"].startswith("cancelled"), src
        dst = p.end(p.dst)
        assert dst["outcome"] == "stayed" and not dst["ok"], dst
        assert p.resolve() == p.here
    # after OFFERED it is refused, and the move goes on
    p.begin("source:hold:commit")
    p.src.wait("held", 60)
    p.src.send(op="cancel")
    p.src.wait("cancel-refused", 10)
    p.src.send(op="go")
    assert p.end(p.src)["outcome"] == p.end(p.dst)["outcome"] == "moved"
    p.check_one(True)
    p.verify()


def test_policyd_gone(env):
    p = Pair(env)
    # a source whose policyd ends in the transfer rolls back
    p.begin("source:hold:transfer")
    p.src.wait("held", 60)
    p.src.sock.shutdown(1)
    assert p.end(p.src)["outcome"] == "stayed"
    p.end(p.dst)
    assert p.resolve() == p.here
    # after OFFERED both sides finish by themselves
    p.begin("source:hold:commit")
    p.src.wait("held", 60)
    p.src.send(op="go")
    p.src.sock.shutdown(1)
    p.dst.sock.shutdown(1)
    p.src.join(), p.dst.join()
    assert p.journal(p.here, "show", *p.key("source"))["state"] == "GONE"
    assert p.journal(p.there, "show", *p.key("target"))["state"] == "OWNER"
    p.check_one(True)
    p.verify()


def test_target_qemu_killed(env):
    p = Pair(env)
    for step in ("receive", "device-state", "commit"):
        p.begin("target:hold:" + step)
        p.dst.wait("held", 60)
        p.target.kill()
        p.dst.go()
        src, dst = p.end(p.src), p.end(p.dst)
        print("target QEMU killed at %s: %s | %s" % (step, src["error"], dst["error"]))
        assert src["outcome"] == dst["outcome"] == "stayed", (src, dst)
        assert "beta" in src["error"] or "alpha" in src["error"]
        assert p.resolve() == p.here
    p.verify()


def test_target_qemu_hangs(env):
    """A target's QEMU that hangs while the guest stands must not keep it dark for longer than 10 s and a little."""
    p = Pair(env)
    p.begin("target:hold:device-state")
    p.dst.wait("held", 60)
    os.kill(p.target.pid, signal.SIGSTOP)
    began = time.monotonic()
    p.dst.send(op="go")
    src = p.end(p.src)
    print("gave up after %.1f s: %s" % (p.src.wait("done")["t_s"] - began, src["error"]))
    assert src["outcome"] == "stayed" and "10 s" in src["error"] and src["stats"]["blackout_ms"] < 12000, src
    p.dst.kill()
    assert p.resolve() == p.here
    p.verify()


def test_refused_before_anything_happens(env):
    """Wrong token, wrong uuid, other RAM size, other machine, a certificate that is not trusted: one clear sentence, guest untouched."""
    p = Pair(env, dirty=0)
    cases = (({"token": "f" * 32}, "closed the connection"), ({"epoch": 77}, "epoch"))
    for change, words in cases:
        p.begin("source:hold:qmp")
        p.src.kill()
        p.src = Worker(env)
        line = start_line("source", p.guest, p.here, p.there, p.state(p.here), p.tls[p.here], p.epoch, address="127.0.0.1",
                          port=p.dst.wait("listening")["port"])
        p.src.send(**dict(line, **change))
        src = p.end(p.src)
        assert not src["ok"] and src["outcome"] == "stayed" and words in src["error"], src
        if "token" in change:
            p.dst.send(op="cancel")  # it still waits for the right one
        assert p.end(p.dst)["outcome"] == "stayed"
        assert p.resolve() == p.here
    # the target's QEMU has less memory
    guest, p.guest.mem_mib = p.guest.mem_mib, 112
    p.begin()
    p.guest.mem_mib = guest
    src, dst = p.end(p.src), p.end(p.dst)
    assert "RAM block \"ram\" has 128 MiB at the source, 112 MiB here" in src["error"], src
    assert p.resolve() == p.here
    # not trusted
    os.remove(os.path.join(p.tls[p.there]["trust"], p.here + ".crt"))
    p.begin()
    src = p.end(p.src)
    assert "trust" in src["error"] and p.there in src["error"], src
    p.dst.send(op="cancel")
    p.end(p.dst)
    assert p.resolve() == p.here
    p.verify()


def test_checks(env):
    """'check' names every reason; a second mapping of the RAM file is one."""
    p = Pair(env, dirty=0)

    def check(**change):
        w = Worker(env, args=("check",))
        w.send(**dict(start_line("source", p.guest, "alpha", "beta", p.state("alpha"), p.tls["alpha"]), op="check", **change))
        answer = w.wait("check", 30)
        w.join()
        return answer["ok"], {f["what"]: f["why"] for f in answer["failures"]}

    assert check() == (True, {})
    other = env.popen(["python3", "-c", "import mmap,sys;f=open(%r,'r+b');m=mmap.mmap(f.fileno(),0);print(1,flush=True);sys.stdin.read()"
                       % p.guest.ram], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    ok, why = check()
    assert not ok and list(why) == ["shared-memory"] and str(other.pid) in why["shared-memory"], why
    other.kill()
    other.wait()
    p.guest.qmp("migrate", uri="exec:sleep 60")
    ok, why = check(ram_dir="/nonexistent")
    assert not ok and {"migration", "memory-file"} <= set(why), why
    p.guest.qmp("migrate_cancel")
    ok, why = check(qmp="/nonexistent/qmp.sock")
    assert not ok and list(why) == ["qmp"], why
    p.verify()
