"""kill -9 of everything that takes part in a live move, at every step: the workers, the target's QEMU, either policyd. Each time: exactly one
running copy, its memory right to the last byte, no heartbeat twice, and a sentence for the operator."""
import os
import signal
import subprocess

from ballast import end_process, wait_for
from moves import Pair, go_on, qemus_of, stopped_worker

LIMIT_S = 1500
SOURCE_STEPS = ("checks", "connect", "channels", "run", "track", "transfer", "pause", "stop", "last-round", "device-state", "loaded", "offer",
                "commit", "owner", "gone", "quit")
TARGET_STEPS = ("setup", "prepared", "listen", "accept", "channels", "receive", "root", "device-state", "loaded", "commit", "own", "resume",
                "owner", "announce", "farewell")


def move(src, name, dst):
    return subprocess.Popen(src.ctl_argv("migrate", "--wait", name, dst.name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(process, host, moved):
    """The waiting command came back, and said something with sense in it."""
    out, _ = process.communicate(timeout=120)
    if moved:
        assert process.returncode == 0 or "connection" in out or "policyd" in out, out
    else:
        assert process.returncode == 1 and len(out.strip().split("\n")[-1]) > 20, (process.returncode, out)
    return out


def each_step(pair, name, role, steps, kill):
    """Order a stop of that role's worker before each step, call kill(worker's host, pid), and look at what is left."""
    for step in steps:
        src = pair.settled_on(name)
        dst = pair.other(src)
        victim = src if role == "source" else dst
        pair.fault(victim, "%s:stop:%s" % (role, step))
        process = move(src, name, dst)
        pid = stopped_worker(victim)
        pair.no_faults()
        kill(src, dst, pid)
        host = pair.whole(name)
        out = told(process, src, host is dst)
        print("%-14s of %-6s: on %-5s %s" % (step, role, "target" if host is dst else "source", out.strip().split("\n")[-1][:150]))


def test_source_worker(env):
    pair = Pair(env)
    web = pair.guest()
    each_step(pair, web, "source", SOURCE_STEPS, lambda src, dst, pid: end_process(pid))


def test_target_worker(env):
    pair = Pair(env)
    web = pair.guest()
    each_step(pair, web, "target", TARGET_STEPS, lambda src, dst, pid: end_process(pid))


def test_target_qemu(env):
    """Until it is the owner's: the guest goes on at the source. (From "own" on it is the guest itself that is killed; nothing could help.)"""
    pair = Pair(env)
    web = pair.guest()

    def kill(src, dst, pid):
        for qemu in qemus_of(dst, web):
            end_process(qemu)
        go_on(pid)

    each_step(pair, web, "target", TARGET_STEPS[:TARGET_STEPS.index("commit")], kill)


def killed_policyd(pair, host, web, pid, process):
    host.kill()
    go_on(pid)
    host.start(debug=True)
    pair.connected()


def test_source_policyd(env):
    """policyd of the source killed while its worker is at each step: the worker rolls back or finishes alone, the new policyd settles the rest."""
    pair = Pair(env)
    web = pair.guest()

    def kill(src, dst, pid):
        src.kill()
        go_on(pid)
        src.start(debug=True)
        pair.connected()

    each_step(pair, web, "source", ("connect", "transfer", "stop", "loaded", "commit", "owner", "gone", "quit"), kill)


def test_target_policyd(env):
    pair = Pair(env)
    web = pair.guest()

    def kill(src, dst, pid):
        dst.kill()
        go_on(pid)
        dst.start(debug=True)
        pair.connected()

    each_step(pair, web, "target", ("prepared", "accept", "receive", "loaded", "commit", "own", "resume", "farewell"), kill)


def test_target_ends_while_it_is_adopted(env):
    """policyd and worker of the target killed; the new policyd finds the target's QEMU, which ends before the hand-off is settled. Nothing that
    could be started is left there, for the guest runs at the source."""
    pair = Pair(env)
    web = pair.guest()
    for step in ("receive", "loaded"):
        src, dst = pair.alpha, pair.beta
        pair.fault(dst, "target:stop:" + step)
        process = move(src, web, dst)
        pid = stopped_worker(dst)
        pair.no_faults()
        dst.kill()
        end_process(pid)
        qemu = qemus_of(dst, web)[0]
        os.kill(qemu, signal.SIGSTOP)  # it cannot answer, so it is still being adopted
        dst.start(debug=True, wait=False)
        wait_for("the target found", lambda: "%s: found running (pid %d)" % (web, qemu) in open(dst.log, errors="replace").read())
        end_process(qemu)
        assert pair.whole(web) is src
        told(process, src, False)
        pair.connected()


def test_policyd_and_worker(env):
    """Both at once, on either side, where it hurts most."""
    pair = Pair(env)
    web = pair.guest()

    def kill_source(src, dst, pid):
        src.kill()
        end_process(pid)
        src.start(debug=True)
        pair.connected()

    def kill_target(src, dst, pid):
        dst.kill()
        end_process(pid)
        dst.start(debug=True)
        pair.connected()

    each_step(pair, web, "source", ("transfer", "last-round", "offer", "commit", "owner", "quit"), kill_source)
    each_step(pair, web, "target", ("receive", "loaded", "commit", "own", "resume", "owner"), kill_target)


def test_in_doubt_while_the_peer_is_away(env):
    """The source's worker dies after the offer and the target's policyd is gone: the guest is held, the operator is told why and cannot start it
    by hand; when the target's policyd is back it settles by itself."""
    pair = Pair(env)
    web = pair.guest()
    alpha, beta = pair.hosts
    pair.fault(alpha, "source:stop:commit")
    process = move(alpha, web, beta)
    pid = stopped_worker(alpha)
    pair.no_faults()
    beta.kill()
    end_process(pid)
    wait_for("the doubt to be shown", lambda: (alpha.domain(web) or {}).get("state") == "suspended", 60)
    text = alpha.refused("resume", web)
    assert "beta" in text, text
    shown = str(alpha.json("show", web))
    assert "held until beta says" in shown, shown
    alpha.restart()  # and a restart in the middle of it changes nothing
    wait_for("the doubt to be shown again", lambda: (alpha.domain(web) or {}).get("state") == "suspended", 60)
    beta.start(debug=True)
    host = pair.whole(web)
    told(process, alpha, host is beta)


def test_cut_link(env):
    """The cable is pulled for a while during the transfer, and between offer and commit."""
    pair = Pair(env)
    web = pair.guest()

    def cut(src, dst, pid):
        dst.cut()
        go_on(pid)
        wait_for("the worker's end", lambda: not src.worker_pids(), 120)
        dst.mend()
        pair.connected()

    each_step(pair, web, "source", ("transfer", "commit"), cut)
