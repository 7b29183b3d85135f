"""migrate --keep: the definition stays at the source, and nothing there can start it while its domain lives elsewhere."""
import os
import signal
import subprocess

from ballast import wait_for
from moves import Pair, qemus_of

LIMIT_S = 300
SMALL = dict(memory={"min": "64M", "boot": "96M", "max": "96M"})


def kept(host, name):
    d = host.domain(name)
    return d and d["state"] == "kept" and d["kept_for"]


def cannot_run_here(host, name, there):
    """Whatever an operator may try."""
    for args in (("start", name), ("bind", name), ("migrate", name, there.name), ("migrate", "-n", name, there.name), ("set-vcpu", name, "1"),
                 ("resume", name), ("add-domain", host.path("etc", name + ".dom.cfg")), ("restore-domain", name), ("restore-domain", "--lost", name)):
        said = host.refused(*args)
        assert there.name in said and len(said.splitlines()) <= 2, (args, said)
    assert not qemus_of(host, name)


def test_kept_and_back(env):
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="1M", **SMALL)
    said = alpha.ctl("migrate", "--wait", "--keep", web, "beta")
    assert "definition is kept here" in said, said
    wait_for("beta's report", lambda: any(d.get("host") == "beta" for d in alpha.json("list", "-a")["domains"]), 30)
    for again in range(2):
        assert kept(alpha, web)["host"] == "beta", alpha.domain(web)
        assert "kept" in alpha.ctl("show", web) and "nothing can start it here" in alpha.ctl("show", web)
        cannot_run_here(alpha, web, beta)
        if not again:
            alpha.restart()
            pair.connected()
            wait_for("beta's report", lambda: any(d.get("host") == "beta" for d in alpha.json("list", "-a")["domains"]), 30)
    beta.ctl("migrate", "--wait", web, "alpha")
    assert pair.whole(web) is alpha and not kept(alpha, web) and not beta.domain(web)
    alpha.kill()
    alpha.start(debug=True)
    pair.connected()
    assert alpha.domain(web)["state"] == "active" and len([d for d in alpha.json("list")["domains"]]) == 1

    # what was asked survives policyd: it is killed when the guest is the target's already
    pair.fault(alpha, "source:hold:owner")
    move = subprocess.Popen(alpha.ctl_argv("migrate", "--wait", "--keep", web, "beta:web9"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("the hand-off", lambda: '"event": "held"' in alpha.log_tail(400) or '"event":"held"' in alpha.log_tail(400), 60)
    alpha.kill()
    for pid in alpha.worker_pids():  # it holds after COMMIT, and nobody tells it to go on
        os.kill(pid, signal.SIGKILL)
    move.wait(30)
    pair.no_faults()
    assert qemus_of(alpha, web), "policyd has not heard yet that it moved"
    alpha.start(debug=True)
    pair.connected()
    wait_for("the outcome", lambda: kept(alpha, web), 60)
    assert kept(alpha, web)["name"] == "web9"

    # the other host is lost
    beta.kill()
    for pid in qemus_of(beta, "web9"):
        os.kill(pid, signal.SIGKILL)
    wait_for("beta unheard", lambda: "cannot be asked" in alpha.refused("restore-domain", web), 60)
    alpha.ctl("restore-domain", "--lost", web)
    assert alpha.domain(web)["state"] == "inactive"
    alpha.ctl("start", web)
    assert alpha.domain(web)["state"] == "active"
    alpha.ctl("stop", "--force", web)
    beta.start(debug=True)


def test_definition_only(env):
    """Of a domain that does not run, cold; forgotten by remove-domain, restored when the other host has removed it."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    alpha.add_domain("idle1", memory={"boot": "64M"})
    uuid = alpha.json("show", "idle1")["uuid"]
    assert alpha.json("migrate", "--wait", "--keep", "idle1", "beta")["kept"]
    assert kept(alpha, "idle1") and beta.domain("idle1")["state"] == "inactive"
    beta.ctl("remove-domain", "idle1")
    wait_for("beta's word that it has it no more", lambda: "defined here again" in alpha.ctl("restore-domain", "idle1", check=False), 30, pause=0.5)
    assert alpha.domain("idle1")["state"] == "inactive" and alpha.json("show", "idle1")["uuid"] == uuid
    alpha.json("migrate", "--wait", "--keep", "idle1", "beta")
    alpha.ctl("remove-domain", "idle1")
    assert not alpha.domain("idle1") and beta.domain("idle1")
    alpha.restart()
    assert not alpha.domain("idle1")
