"""Moves between two policyds, with real guests: live and cold, what they keep, what they refuse, and cancelling."""
import json
import os
import subprocess
import time

from ballast import CommandFailed, wait_for
from moves import Pair, go_on, stopped_worker

LIMIT_S = 900


def history(host, name, kind):
    return [e for e in host.json("history", name)["entries"] if e["kind"] == kind]


def test_live(env):
    """There, back and there again; while it dirties; with a hot-plugged vCPU, less memory and a hold. Not a byte and not a beat is lost."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    alpha.ctl("set-vcpu", web, "2")
    alpha.ctl("set-memory", web, "128M")
    alpha.ctl("hold", web, "--reason", "load test")
    alpha.ctl("prefer", web, "beta", "--reason", "near its data")
    result = alpha.json("migrate", "--wait", web, "beta")
    assert result["blackout_ms"] > 0 and result["ram_bytes"] > 32 << 20 and result["predicted"]["total_s"] > 0, result
    assert pair.whole(web) is beta
    d = beta.domain(web)
    assert d["vcpus"] == 2 and abs(d["mem_bytes"] - (128 << 20)) <= 4 << 20 and d["flags"].startswith("hn"), d
    assert "load test" in json.dumps(beta.json("show", web))
    assert d["marks"]["prefer"]["host"] == "beta" and d["marks"]["prefer"]["reason"] == "near its data", d
    wait_for("the vCPU in the guest", lambda: beta.agent(web).stat()["cpus"] == 2)
    beta.agent(web).cmd("dirty 30")
    assert beta.json("migrate", "--wait", web, "alpha")["rounds"] >= 1
    assert pair.whole(web) is alpha
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta
    report = pair.beats.report()
    assert report.lost == 0 and report.repeated == 0 and report.blackout_ms < 3000, str(report)
    entry = history(alpha, web, "migration")[0]
    assert entry["ok"] and entry["predicted"]["total_s"] > 0 and entry["actual"]["total_ms"] > 0 and entry["peer"] == "beta", entry
    assert history(beta, web, "incoming")
    measured = next(h for h in alpha.json("hosts")["hosts"] if h["name"] == "beta")["link_bps"]
    assert measured > 1 << 20, measured
    beta.ctl("set-memory", web, "144M")  # and it can still be resized
    beta.ctl("set-vcpu", web, "1")


def test_new_name_and_paused(env):
    """HOST:NEWNAME arrives under it; a suspended guest stays suspended."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    alpha.ctl("suspend", web)
    alpha.ctl("migrate", "--wait", web, "beta:web9")
    wait_for("web9 suspended on beta", lambda: (beta.domain("web9") or {}).get("state") == "suspended")
    assert alpha.domain(web) is None
    before = len(pair.beats.beats)
    beta.ctl("resume", "web9")
    follow = beta.heartbeats("web9")
    follow.wait_beats(5)
    assert len(pair.beats.beats) == before
    assert int(beta.agent("web9").cmd("verify").split()[-1]) > 0


def test_dry_run_tells_all(env):
    """Every reason at once, on both ends; nothing is changed; exit 1. When all is well: figures and exit 0."""
    pair = Pair(env, alpha={"host": {"volumes": [{"name": "vol01", "path": os.path.join(env.tmp, "vol01")}],
                                     "consoles": [{"name": "vcc0", "ports": "5000-5005"}]}},
                beta={"host": {"capacity": {"vcpus": 1, "memory": "256M", "keep-memory": "128M"}}})
    alpha, beta = pair.hosts
    with open(os.path.join(env.tmp, "vol01"), "wb") as f:
        f.truncate(4 << 20)
    alpha.add_domain("web1", vcpus={"min": 1, "boot": 2, "max": 2}, memory={"min": "64M", "boot": "160M", "max": "160M"},
                     disks=[{"volume": "vol01"}], console="vcc0")
    beta.add_domain("web1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "64M", "max": "64M"})
    beats = alpha.heartbeats("web1")
    alpha.ctl("start", "web1")
    beats.wait_ready()
    text = alpha.refused("migrate", "-n", "web1", "beta")
    for word in ("volume", "vol01", "console", "vcc0", "memory", "vcpus", "name", "beta:NEWNAME"):
        assert word in text, (word, text)
    whole = alpha.refused("migrate", "--wait", "web1", "beta")  # the move itself says the same
    assert "would fail" in whole and "vol01" in whole and "memory" in whole, whole
    assert alpha.domain("web1")["state"] == "active" and beta.domain("web1")["state"] == "inactive"
    beta.write_conf(host={"capacity": {"vcpus": 8, "memory": "4G", "keep-memory": "128M"}, "consoles": [{"name": "vcc0", "ports": "5000-5005"}],
                          "volumes": [{"name": "vol01", "path": os.path.join(env.tmp, "vol01")}]})
    beta.ctl("reload")
    text = alpha.refused("migrate", "-n", "web1", "beta")
    assert "name" in text and "volume" not in text, text
    good = alpha.ctl("migrate", "-n", "web1", "beta:web2")
    assert "would work" in good and "blackout" in good and "bytes" in good, good
    assert beta.domain("web2") is None
    beats.wait_beats(3)


def test_refusals(env):
    """One clear sentence each; the guest does not notice."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    assert 'no host "nowhere"' in alpha.refused("migrate", web, "nowhere")
    assert "already" in alpha.refused("migrate", "--keep", web, "alpha")
    assert "web7" in alpha.refused("migrate", "web7", "beta")
    assert "no name" in alpha.refused("migrate", web, "beta:..")
    alpha.ctl("suspend", web)
    alpha.ctl("resume", web)
    pair.fault(alpha, "source:stop:transfer")
    first = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "beta"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pid = stopped_worker(alpha)
    for command in (("migrate", web, "beta"), ("set-memory", web, "128M"), ("stop", web), ("remove", web)):
        text = alpha.refused(*command)
        assert "busy" in text and "migration to beta" in text, text
    assert "busy" in beta.refused("stop", web) or "transition" in beta.refused("stop", web)
    pair.no_faults()
    go_on(pid)
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 0, out
    assert pair.whole(web) is beta


def test_untrusted(env):
    """A certificate that is not in the trust folder: both sides say so, the move is refused, the guest runs on; then it is put there."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    beta.distrust(alpha)
    beta.ctl("reload")
    wait_for("alpha to see it", lambda: not pair.link_up(alpha, beta), 60)
    wait_for("the reason", lambda: "trust" in alpha.ctl("hosts"), 60)
    text = alpha.refused("migrate", web, "beta")
    assert "beta" in text and "trust" in text, text
    beta.trust(alpha)
    beta.ctl("reload")
    pair.connected()
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta


def test_expired_certificate(env):
    """A host whose own certificate has expired: it looks after its guests alone and says why."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    from ballast import certificate
    certificate(alpha.path("etc"), "alpha", expired=True)
    alpha.restart()
    assert alpha.domain(web)["state"] == "active"
    assert "expired" in alpha.refused("migrate", web, "beta")
    assert "expired" in alpha.ctl("hosts")
    certificate(alpha.path("etc"), "alpha")
    beta.trust(alpha)
    alpha.ctl("reload")
    beta.ctl("reload")
    pair.connected()
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta


def test_cancel_in_each_phase(env):
    """Before the hand-off a cancel takes it all back: the guest runs on at once, the target is clean. After it: refused, with the reason."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    for host, step, phase in ((alpha, "checks", 3), (alpha, "connect", 3), (alpha, "track", 3), (beta, "receive", 3), (alpha, "pause", 4),
                              (alpha, "last-round", 4), (alpha, "loaded", 4)):
        role = "source" if host is alpha else "target"
        pair.fault(host, "%s:hold:%s" % (role, step))
        move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "beta"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_for("the worker at " + step, lambda: '"event":"held"' in log_since(host, move), 60)
        assert alpha.json("list", "-o", "status", web)["operations"][0]["phase"] == phase, step  # as operators count them
        alpha.ctl("cancel-operation", web)
        out, _ = move.communicate(timeout=60)
        assert move.returncode == 1 and "cancel" in out, (step, out)
        pair.no_faults()
        assert pair.whole(web) is alpha, step
    pair.fault(alpha, "source:stop:commit")
    move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "beta"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pid = stopped_worker(alpha)
    assert "hand-off" in alpha.refused("cancel-operation", web)
    go_on(pid)
    out, _ = move.communicate(timeout=60)
    assert move.returncode == 0, out
    pair.no_faults()
    assert pair.whole(web) is beta


_offsets = {}


def log_since(host, move):
    """The host's log since this move began."""
    with open(host.log, errors="replace") as f:
        if (host.log, move.pid) not in _offsets:
            _offsets[host.log, move.pid] = max(0, os.path.getsize(host.log) - 200)
        f.seek(_offsets[host.log, move.pid])
        return f.read()


def test_interrupting_wait_cancels(env):
    """As with ldm: ^C on a waiting migrate cancels it."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    pair.fault(alpha, "source:hold:transfer")
    move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", web, "beta"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for("the transfer", lambda: '"event":"held"' in log_since(alpha, move), 60)
    move.terminate()
    move.communicate(timeout=60)
    pair.no_faults()
    assert pair.whole(web) is alpha


# ---- cold ------------------------------------------------------------------------------------------------------------------

def hook(env, name, script):
    path = os.path.join(env.tmp, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\necho \"$BALLAST_HOOK $BALLAST_DOMAIN $BALLAST_SOURCE $BALLAST_TARGET\" >> %s/hooks.log\n%s\n" % (env.tmp, script))
    os.chmod(path, 0o755)
    return path


def hooks_log(env):
    try:
        with open(os.path.join(env.tmp, "hooks.log")) as f:
            return f.read().split("\n")[:-1]
    except OSError:
        return []


def cold_pair(env, drain="exit 0", min_available=0):
    clusters = [{"name": "orders", "min-available": min_available, "drain": hook(env, "drain", drain), "rejoin": hook(env, "rejoin", "exit 0"),
                 "timeout": "60s"}]
    policies = [{"name": "nodes", "match": {"cluster": "orders"}, "relocate": "cold"}]
    settings = {"clusters": clusters, "policies": policies}
    return Pair(env, alpha=dict(settings), beta=dict(settings))


def test_cold(env):
    """A node of a cluster moves cold by policy: drained, shut down, defined and started there, rejoined; its definition is in one place."""
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    pair.beats.expect_restart()
    result = alpha.json("migrate", "--wait", db, "beta")
    assert result["method"] == "cold" and not result["forced"], result
    pair.beats.wait_ready()
    assert pair.settled_on(db) is beta
    assert hooks_log(env) == ["drain db1 alpha beta", "rejoin db1 alpha beta"], hooks_log(env)
    assert any("drain hook" in e["text"] for e in alpha.json("history", db)["entries"])
    beta.ctl("stop", db)
    beta.ctl("migrate", "--wait", db, "alpha")  # stopped: only the definition moves, no hook
    assert alpha.domain(db)["state"] in ("inactive", "bound") and beta.domain(db) is None
    assert len(hooks_log(env)) == 2


def test_cold_refused_and_reversed(env):
    """A drain that refuses: the guest was never touched. Below min-available: refused. A start that fails there: started here again, rejoined."""
    pair = cold_pair(env, drain='if [ -e "%s/no" ]; then echo "quorum would be lost"; exit 3; fi' % env.tmp)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    with open(os.path.join(env.tmp, "no"), "w"):
        pass
    text = alpha.refused("migrate", "--wait", db, "beta")
    assert "quorum would be lost" in text and "runs on here" in text, text
    assert pair.whole(db) is alpha
    os.unlink(os.path.join(env.tmp, "no"))
    alpha.write_conf(clusters=[{"name": "orders", "min-available": 1}])
    alpha.ctl("reload")
    text = alpha.refused("migrate", "--wait", db, "beta")
    assert "min-available 1" in text, text
    assert pair.whole(db) is alpha
    alpha.write_conf(clusters=[{"name": "orders", "min-available": 0, "rejoin": hook(env, "rejoin", "exit 0")}])
    alpha.ctl("reload")
    beta.write_conf(paths={"qemu": "/bin/false"})
    beta.ctl("reload")
    pair.beats.expect_restart()
    text = alpha.refused("migrate", "--wait", db, "beta")
    assert "QEMU ended while it started" in text and "runs on here" in text, text
    pair.beats.wait_ready()
    assert pair.settled_on(db) is alpha
    assert hooks_log(env)[-1].startswith("rejoin db1"), hooks_log(env)
