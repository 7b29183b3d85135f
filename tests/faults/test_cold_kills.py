"""Cold moves that are interrupted: either policyd killed at each step, the link cut around adopt. The definition is always in exactly one place,
at most one guest runs, and the node is back in its cluster."""
import os
import signal
import subprocess

from ballast import Group, processes_naming, wait_for
from moves import Pair, qemus_of

LIMIT_S = 1200


def hook(env, name):
    """Waits as long as env.tmp/NAME.hold is there, so that a test can act meanwhile."""
    path = os.path.join(env.tmp, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\necho $BALLAST_HOOK >> %(tmp)s/hooks.log\ntouch %(tmp)s/%(name)s.here\n"
                "while [ -e %(tmp)s/%(name)s.hold ]; do sleep 0.1; done\nrm -f %(tmp)s/%(name)s.here\n" % {"tmp": env.tmp, "name": name})
    os.chmod(path, 0o755)
    return path


def cold_settings(env, min_available):
    clusters = [{"name": "orders", "min-available": min_available, "drain": hook(env, "drain"), "rejoin": hook(env, "rejoin"), "timeout": "60s"}]
    return {"clusters": clusters, "policies": [{"name": "nodes", "match": {"cluster": "orders"}, "relocate": "cold"}]}


def cold_pair(env, min_available=0):
    settings = cold_settings(env, min_available)
    pair = Pair(env, alpha=dict(settings), beta=dict(settings))
    pair.hold = lambda name: open(os.path.join(env.tmp, name + ".hold"), "w").close()
    pair.let_go = lambda name: os.unlink(os.path.join(env.tmp, name + ".hold"))
    pair.in_hook = lambda name: wait_for("the %s hook" % name, lambda: os.path.exists(os.path.join(env.tmp, name + ".here")), 60)
    return pair


def move(src, name, dst):
    return subprocess.Popen(src.ctl_argv("migrate", "--wait", name, dst.name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def log_has(host, text, since):
    with open(host.log, errors="replace") as f:
        f.seek(since)
        return text in f.read()


def size(host):
    return os.path.getsize(host.log)


def hooks(env):
    with open(os.path.join(env.tmp, "hooks.log")) as f:
        return f.read().split()


def test_killed_while_draining(env):
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    pair.hold("drain")
    process = move(alpha, db, beta)
    pair.in_hook("drain")
    alpha.kill()
    wait_for("the end of its hook", lambda: not processes_naming(os.path.join(env.tmp, "drain")), 30)  # it would act beside the next rejoin
    pair.let_go("drain")
    alpha.start(debug=True)
    process.communicate(timeout=60)
    assert pair.whole(db) is alpha  # it was never shut down
    wait_for("rejoin", lambda: "rejoin" in hooks(env), 60)


def test_cancelled_while_draining(env):
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    pair.hold("drain")
    process = move(alpha, db, beta)
    pair.in_hook("drain")
    alpha.ctl("cancel-operation", db)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "cancel" in out, out
    assert pair.whole(db) is alpha
    assert hooks(env)[-1] == "rejoin"


def test_killed_while_the_guest_goes_down(env):
    """The button has been pressed, the guest takes its time, and it goes down only when policyd is back: it is started here again."""
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders", fill="8M")
    alpha.agent(db).cmd("sh echo 'while [ ! -e /go ]; do sleep 0.1; done' >/etc/rc.stop")
    pair.beats.expect_restart()
    process = move(alpha, db, beta)
    pair.beats.wait_line("BG stop")
    alpha.kill()
    alpha.start(debug=True)
    process.communicate(timeout=60)
    wait_for("policyd to wait for its end", lambda: (alpha.domain(db) or {}).get("state") == "stopping", 60)
    assert "rejoin" not in hooks(env)
    alpha.agent(db).cmd("sh : >/go")
    pair.beats.wait_ready(120)
    assert pair.settled_on(db) is alpha
    wait_for("rejoin", lambda: "rejoin" in hooks(env), 60)


def test_one_at_a_time(env):
    """While one node is on its way no other one goes, of whichever host, not even when the first runs again and has not rejoined."""
    pair = cold_pair(env, min_available=1)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    beta.add_domain("db2", cluster="orders", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "96M", "max": "96M"})
    beta.ctl("start", "db2")
    wait_for("db2 in alpha's eyes", lambda: any(d["name"] == "db2" and d["state"] == "active" for d in alpha.json("list", "-a")["domains"]), 60)
    pair.hold("drain")
    pair.hold("rejoin")
    pair.beats.expect_restart()
    process = move(alpha, db, beta)
    pair.in_hook("drain")
    assert "below min-available 1" in beta.refused("migrate", "--wait", "db2", "alpha")
    pair.let_go("drain")
    pair.in_hook("rejoin")
    wait_for("db1 on beta", lambda: (beta.domain(db) or {}).get("state") == "active", 60)
    assert "below min-available 1" in beta.refused("migrate", "--wait", "db2", "alpha")
    pair.let_go("rejoin")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    # Alpha gives its claim on the cluster back when its move has ended; beta hears of that a moment later, and refuses until then.
    wait_for("db2's turn", lambda: "would work" in beta.ctl("migrate", "-n", "-m", "cold", "db2", "alpha", check=False), 30)


def in_drain(host, name):
    return any(op["domain"] == name and op["phase_name"] == "drain" for op in host.json("list", "-o", "status")["operations"])


def test_two_at_once(env):
    """Either host begins to take its node away at the same moment, again and again: never are both on their way, and who may not go says why."""
    pair = cold_pair(env, min_available=1)
    alpha, beta = pair.hosts
    pair.guest("db1", cluster="orders")
    beta.add_domain("db2", cluster="orders", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "96M", "max": "96M"})
    beta.ctl("start", "db2")
    for host in pair.hosts:
        wait_for("both in %s's eyes" % host.name, lambda: sum(d["state"] == "active" for d in host.json("list", "-a")["domains"]) == 2, 60)
    pair.hold("drain")  # so no guest ever goes down here
    went = []
    for i in range(12):
        tries = [(host, name, move(host, name, to)) for host, name, to in ((alpha, "db1", beta), (beta, "db2", alpha))[::1 if i % 2 else -1]]
        wait_for("each to have been let go or refused", lambda: all(p.poll() is not None or in_drain(h, n) for h, n, p in tries), 60)
        going = [(h, n, p) for h, n, p in tries if p.poll() is None]
        assert len(going) < 2, "round %d: both nodes are on their way" % i
        for h, n, p in tries:
            if p.poll() is not None:
                assert "below min-available 1" in p.stdout.read(), n
        for h, n, p in going:
            h.ctl("cancel-operation", n)
            p.communicate(timeout=60)
        wait_for("quiet", lambda: not any(h.json("list", "-o", "status")["operations"] for h in pair.hosts), 60)
        went.append(len(going))
    print("went in each round:", went)
    pair.let_go("drain")


def test_silent_host(env):
    """A third host hangs: as long as it was heard of just now no node goes, for it might be letting one go; then it counts for nothing."""
    env.need_root("hosts are network namespaces")
    group = Group(env)
    alpha, beta, gamma = (group.add(name, **cold_settings(env, 1)) for name in ("alpha", "beta", "gamma"))
    group.trust_all()
    for host in group.hosts:
        host.start(debug=True)
    for host, name in ((alpha, "db1"), (beta, "db2")):
        host.add_domain(name, cluster="orders", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "96M", "max": "96M"})
        host.ctl("start", name)
    wait_for("all in alpha's eyes", lambda: sum(d["state"] == "active" for d in alpha.json("list", "-a")["domains"]) == 2 and
             all(Pair.link_up(alpha, h) for h in (beta, gamma)), 60)
    open(os.path.join(env.tmp, "drain.hold"), "w").close()
    os.kill(gamma.process.pid, signal.SIGSTOP)
    try:
        says = alpha.refused("migrate", "--wait", "db1", "beta")
        assert "gamma does not say whether it takes a node of the same cluster away" in says and "it runs on here" in says, says
        wait_for("gamma's report to be old", lambda: not any(h["name"] == "gamma" and (h.get("age_ms") or 99999) < 10000 for h in alpha.json("hosts")["hosts"]), 60)
        process = move(alpha, "db1", beta)
        wait_for("drain", lambda: process.poll() is not None or in_drain(alpha, "db1"), 60)
        assert process.poll() is None, process.stdout.read()
    finally:
        os.kill(gamma.process.pid, signal.SIGCONT)
    alpha.ctl("cancel-operation", "db1")
    process.communicate(timeout=60)
    os.unlink(os.path.join(env.tmp, "drain.hold"))


def killed_at(env, victim_name, phase):
    """Kill that host's policyd as soon as the source's job is in @phase; start it again; look."""
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    victim = alpha if victim_name == "alpha" else beta
    db = pair.guest("db1", cluster="orders")
    since = size(alpha)
    pair.beats.expect_restart()
    process = move(alpha, db, beta)
    wait_for(phase, lambda: log_has(alpha, phase, since), 60)
    victim.kill()
    victim.start(debug=True)
    process.communicate(timeout=120)
    host = pair.settled_on(db)  # killed before the button was pressed: its guest has never gone down
    pair.beats.wait_beats(3, 120)
    assert sum(len(qemus_of(h, db)) for h in pair.hosts) == 1
    wait_for("rejoin", lambda: "rejoin" in hooks(env), 60)
    host.agent(db).cmd("fill 8M")
    print("%s killed in %s: on %s" % (victim_name, phase, host.name))


def test_source_killed_while_it_stops(env):
    killed_at(env, "alpha", "phase 4 stop")


def test_source_killed_in_adopt(env):
    killed_at(env, "alpha", "phase 5 adopt")


def test_source_killed_in_rejoin(env):
    killed_at(env, "alpha", "phase 7 rejoin")


def test_target_killed_in_adopt(env):
    killed_at(env, "beta", "phase 5 adopt")


def test_link_cut_before_adopt(env):
    """The target cannot be asked: the domain stays down and says why, nobody can start it, and it settles when the link is back."""
    pair = cold_pair(env)
    alpha, beta = pair.hosts
    db = pair.guest("db1", cluster="orders")
    pair.hold("drain")
    pair.beats.expect_restart()
    process = move(alpha, db, beta)
    pair.in_hook("drain")
    beta.cut()
    pair.let_go("drain")
    wait_for("the doubt", lambda: "was cut" in str(alpha.json("show", db)), 120)
    assert "beta" in alpha.refused("start", db)
    beta.mend()
    out, _ = process.communicate(timeout=120)
    pair.beats.wait_ready(120)
    pair.settled_on(db)
    wait_for("rejoin", lambda: "rejoin" in hooks(env), 60)
