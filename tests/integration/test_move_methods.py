"""Ways to move other than live: warm (suspend, copy, resume), at a deadline, left suspended, definition only."""
import json
import os
import signal
import subprocess

from ballast import wait_for
from moves import Pair, qemus_of

LIMIT_S = 600


def begin(host, *args):
    return subprocess.Popen(host.ctl_argv("--json", "migrate", "--wait", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(move):
    out, err = move.communicate(timeout=120)
    assert move.returncode == 0, err
    return json.loads(out)


def status(host, name):
    return next(iter(host.json("list", "-o", "status", name)["operations"]), {})


def test_warm(env):
    """Suspended, copied once, resumed there; left suspended there; killed meanwhile: runs on here. Not a beat and not a byte is lost."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="24M")
    alpha.agent(web).cmd("dirty max uniform whole")  # would not converge: that does not matter
    assert "suspend, copy, resume" in alpha.ctl("migrate", "-n", "--suspend", web, "beta")
    assert "not live" in alpha.refused("migrate", "--suspend", "--method", "live", web, "beta")
    move = begin(alpha, "--suspend", "--bandwidth", "2M", web, "beta")
    wait_for("it to stand", lambda: status(alpha, web).get("phase_name") == "suspend" and status(alpha, web).get("extra", {}).get("wire_bytes"), 60)
    os.kill(alpha.worker_pids()[0], signal.SIGKILL)
    move.communicate(timeout=60)
    assert move.returncode == 1
    assert pair.whole(web) is alpha
    pair.connected()
    done = finish(begin(alpha, "--suspend", web, "beta"))
    assert done["method"] == "warm" and done["rounds"] == 1 and done["blackout_ms"] > 0, done
    assert pair.whole(web) is beta
    assert beta.agent(web).stat()["dirty_mib_s"] > 0  # as it was left
    done = finish(begin(beta, "--suspend", "--paused", web, "alpha"))
    wait_for("it suspended on alpha", lambda: (alpha.domain(web) or {}).get("state") == "suspended")
    assert beta.domain(web) is None and not qemus_of(beta, web)
    before = len(pair.beats.beats)
    alpha.ctl("resume", web)
    assert pair.whole(web) is alpha
    assert len(pair.beats.beats) > before
    finish(begin(alpha, "--paused", "--max-blackout", "20s", web, "beta"))  # live, too
    wait_for("it suspended on beta", lambda: (beta.domain(web) or {}).get("state") == "suspended")
    beta.ctl("resume", web)
    assert pair.whole(web) is beta


HOT = ("--bandwidth", "10M", "--max-blackout", "100ms", "--throttle", "never")


def test_deadline(env):
    """A move that does not converge goes on until its deadline; then its guest is suspended and arrives, or it is cancelled and runs on. Set while
    it runs, in the middle of a round."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="1M")
    alpha.agent(web).cmd("fill 16M rand")
    alpha.agent(web).cmd("dirty max uniform whole")
    for args, sentence in ((("--deadline", "5s"), "--at-deadline"), (("--deadline", "soon", "--at-deadline", "cancel"), "a time from now"),
                           (("--deadline", "5s", "--at-deadline", "pray"), "suspend or cancel"), (("--at-deadline", "cancel"), "missing")):
        assert sentence in alpha.refused("migrate", *args, web, "beta"), args
    said = alpha.refused("migrate", "--wait", *HOT, "--deadline", "9s", "--at-deadline", "cancel", web, "beta")
    assert "not done by its deadline" in said and "runs on here" in said, said
    assert pair.whole(web) is alpha
    move = begin(alpha, *HOT, "--deadline", "10m", "--at-deadline", "cancel", web, "beta")
    now = wait_for("more rounds than it would try without a deadline", lambda: (lambda s: s if s.get("extra", {}).get("round", 0) >= 3 else None)(
        status(alpha, web)), 60)
    assert now["limits"]["at_deadline"] == "cancel" and now["limits"]["deadline_ms"] > 0, now
    alpha.ctl("set-migration", web, "--deadline", "1s", "--at-deadline", "suspend")
    done = finish(move)
    assert done["method"] == "warm" and done["rounds"] >= 4, done
    assert pair.whole(web) is beta
    # within a round: one that would take for ever
    move = begin(beta, "--bandwidth", "1M", web, "alpha")
    wait_for("the crawl", lambda: status(beta, web).get("extra", {}).get("wire_bytes"), 60)
    beta.ctl("set-migration", web, "--deadline", "1s", "--at-deadline", "suspend")
    now = wait_for("it to stand", lambda: (lambda s: s if s.get("phase_name") == "suspend" else None)(status(beta, web)), 60)
    assert now["extra"]["round"] == 0, now
    beta.ctl("set-migration", web, "--bandwidth", "unlimited")
    done = finish(move)
    assert done["method"] == "warm" and done["rounds"] == 2, done
    assert pair.whole(web) is alpha


def test_definition_only(env):
    """Inactive and bound domains: the definition moves, and the reservation with it; under another name, too; limits are refused."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    for name in ("idle1", "bound1"):
        alpha.add_domain(name, vcpus={"min": 1, "boot": 2, "max": 2}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    alpha.ctl("bind", "bound1")
    uuids = {n: alpha.domain(n)["uuid"] for n in ("idle1", "bound1")}
    assert "definition" in alpha.ctl("migrate", "-n", "idle1", "beta") + alpha.refused("migrate", "--method", "live", "idle1", "beta")
    assert "no bandwidth" in alpha.refused("migrate", "--bandwidth", "1M", "idle1", "beta")
    finish(begin(alpha, "idle1", "beta:idle2"))
    finish(begin(alpha, "bound1", "beta"))
    assert alpha.json("list")["domains"] == []
    assert {n: (beta.domain(n)["state"], beta.domain(n)["uuid"]) for n in ("idle2", "bound1")} == {
        "idle2": ("inactive", uuids["idle1"]), "bound1": ("bound", uuids["bound1"])}
    assert beta.json("hosts")["self"]["vcpus_given"] == 2  # bound1's
    assert not beta.qemu_pids() and not alpha.qemu_pids()
