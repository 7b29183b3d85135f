"""Workers that hang (SIGSTOP) instead of dying, where the guest stands or the operator waits. Whoever notices ends them; the guest runs again by
itself, exactly once, and nothing is busy for ever."""
import subprocess
import time

from ballast import wait_for
from moves import Pair, stopped_worker

PARALLEL = True
LIMIT_S = 600
DARK_S = 40  # 15 s of silence at the source, 10 s for an answer of a target's worker, and a busy machine


def hang(pair, name, role, step):
    """A move whose worker of @role hangs before @step; the command, its source and target."""
    src = pair.settled_on(name)
    dst = pair.other(src)
    victim = src if role == "source" else dst
    pair.fault(victim, "%s:stop:%s" % (role, step))
    process = subprocess.Popen(src.ctl_argv("migrate", "--wait", name, dst.name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stopped_worker(victim)
    pair.no_faults()
    return process, src, dst


def test_while_the_guest_stands(env):
    pair = Pair(env)
    web = pair.guest()
    for role, step, moves in (("source", "loaded", False), ("source", "commit", False), ("target", "resume", True)):
        process, src, dst = hang(pair, web, role, step)
        begin = time.monotonic()
        pair.beats.wait_beats(3, timeout=DARK_S)
        print("%s %s: dark for %.1f s" % (role, step, time.monotonic() - begin))
        out, _ = process.communicate(timeout=60)
        last = out.strip().split("\n")[-1]
        assert pair.whole(web) is (dst if moves else src), last
        assert "blackout" not in last, "nobody measured it: " + last
        assert process.returncode == (0 if moves else 1) and len(last) > 20, last


def test_cancel_of_one_that_hangs(env):
    """The operator's cancel does not wait for a worker that cannot hear it; a target's that hangs at its farewell ends, too."""
    pair = Pair(env)
    web = pair.guest()
    process, src, _ = hang(pair, web, "source", "transfer")
    src.ctl("cancel-operation", web)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "cancelled" in out, out
    assert pair.whole(web) is src
    process, src, dst = hang(pair, web, "target", "farewell")
    assert process.communicate(timeout=60) and process.returncode == 0
    wait_for("the end of the target's job", lambda: dst.json("show", web) and not dst.worker_pids(), 60)
    assert pair.whole(web) is dst
