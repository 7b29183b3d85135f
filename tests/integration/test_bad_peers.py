"""Certificates, peers and targets that are wrong: hosts, a dry run and the move itself say what and what to do, and both hosts stay as
they were."""
import json
import os
import re
import subprocess

from ballast import Group, certificate, wait_for
from mistakes import MIB, ctl, domains, sentence

PARALLEL = True


def test_certificates(env):
    """One good host, and a peer for each thing that can be wrong with certificates: hosts and a dry run say which, at both ends."""
    env.need_root("hosts are network namespaces")
    group = Group(env)
    alpha = group.add("alpha")
    peers = {name: group.add(name) for name in ("good", "expired", "mismatch", "misnamed", "garbage", "untrusted", "distrusts", "down")}
    group.trust_all()
    p = peers
    p["expired"].crt, p["expired"].key = certificate(p["expired"].path("etc"), "expired", expired=True)
    _, p["mismatch"].key = certificate(p["mismatch"].path("etc"), "other")
    p["misnamed"].crt, p["misnamed"].key = certificate(p["misnamed"].path("etc"), "gamma")
    with open(p["garbage"].crt, "w") as f:
        f.write("no certificate\n")
    alpha.distrust(p["untrusted"])
    p["distrusts"].distrust(alpha)
    others = [{"name": "alpha", "address": alpha.address}]
    wrong = {"name": "wronghost", "address": p["good"].address}
    alpha.write_conf(cluster={"peers": alpha.default_settings()["cluster"]["peers"] + [wrong | {"port": 8102}]})
    p["good"].write_conf(host={"port": 8101})
    for name, host in peers.items():
        if name != "down":
            host.write_conf(cluster={"peers": others})
            host.start()
    alpha.start()
    alpha.add_domain("idle1", memory={"boot": "64M"})

    def error_of(host, peer):
        return next(h for h in host.json("hosts")["hosts"] if h["name"] == peer)["error"]

    wait_for("good", lambda: error_of(alpha, "good") == "" and next(h for h in alpha.json("hosts")["hosts"] if h["name"] == "good")["up"])
    for peer, here, there in [
            ("expired", "refuses connections; is policyd running there?", "expired on 2020-02-01"),
            ("mismatch", "refuses connections", "other.key does not match certificate"),
            ("misnamed", "refuses connections", 'is a certificate for "gamma" but host.name is "misnamed"; they must be the same'),
            ("garbage", "refuses connections", "no PEM certificate in it"),
            ("untrusted", "untrusted's certificate is not in our trust directory", "alpha does not trust us: our certificate is not in its trust directory"),
            ("distrusts", "distrusts does not trust us: our certificate is not in its trust directory", "alpha's certificate is not in our trust directory"),
            ("down", "refuses connections; is policyd running there?", None)]:
        wait_for("alpha's word about " + peer, lambda: here in error_of(alpha, peer))
        sentence(error_of(alpha, peer))
        if there:
            wait_for("%s's word about alpha" % peer, lambda: there in error_of(peers[peer], "alpha"))
            sentence(error_of(peers[peer], "alpha"))
        for args in (["-n"], [], ["--wait"]):
            said = ctl(alpha, "migrate", *args, "idle1", peer)
            assert "%s cannot be reached: " % peer in said and here in said, said
    own = peers["expired"]
    own.add_domain("idle2", memory={"boot": "64M"})
    assert "this host has no connection to others: certificate" in ctl(own, "migrate", "-n", "idle2", "alpha")
    assert [d["name"] for d in domains(alpha)] == ["idle1"] and all(not domains(h) for n, h in peers.items() if n not in ("down", "expired"))
    # mended: a reload is enough
    alpha.trust(p["untrusted"])
    alpha.ctl("reload")
    wait_for("trust", lambda: error_of(alpha, "untrusted") == "")
    own.crt, own.key = certificate(own.path("etc"), "expired")
    own.write_conf()
    alpha.trust(own)
    own.ctl("reload")
    alpha.ctl("reload")
    wait_for("a new certificate", lambda: error_of(alpha, "expired") == "" and error_of(own, "alpha") == "")


def test_wrong_peer(env):
    """The host that answers at a peer's address is another one."""
    env.need_root("hosts are network namespaces")
    group = Group(env)
    alpha, beta = group.add("alpha"), group.add("beta")
    group.trust_all()
    alpha.write_conf(cluster={"peers": [{"name": "gamma", "address": beta.address}]})
    alpha.start()
    beta.start()
    said = wait_for("alpha's word", lambda: next(h["error"] for h in alpha.json("hosts")["hosts"] if h["name"] == "gamma"))
    wait_for("the reason", lambda: 'has a certificate for "beta"; check the address and name of gamma under cluster.peers'
             in next(h["error"] for h in alpha.json("hosts")["hosts"] if h["name"] == "gamma"))
    sentence(said)
    wait_for("beta's word", lambda: 'there is no host "beta" under cluster.peers of alpha; add it there'
             in next(h["error"] for h in beta.json("hosts")["hosts"] if h["name"] == "alpha"))


def test_targets_that_cannot(env):
    """A dry run says every reason at once; the move itself is refused with the same, and both hosts are as they were."""
    env.need_root("hosts are network namespaces")
    group = Group(env)
    disk = os.path.join(env.tmp, "vol01.img")
    with open(disk, "wb") as f:
        f.truncate(MIB)
    alpha = group.add("alpha", host={"volumes": [{"name": "vol01", "path": disk}], "switches": [{"name": "sw0", "bridge": "br7"}],
                                     "consoles": [{"name": "vcc0", "ports": "5000-5001"}]})
    beta = group.add("beta", host={"capacity": {"vcpus": 1, "memory": "100M", "keep-memory": "20M"}})
    alpha.run("ip", "link", "add", "br7", "type", "bridge")
    group.trust_all()
    alpha.start()
    beta.start()
    uuid = "11111111-0000-4000-8000-000000000001"
    alpha.add_domain("web1", uuid=uuid, vcpus={"boot": 2, "max": 2}, memory={"min": "64M", "boot": "128M", "max": "128M"}, disks=[{"volume": "vol01"}],
                     networks=[{"switch": "sw0"}], console="vcc0")
    beta.add_domain("web1", memory={"boot": "64M"})
    beta.add_domain("twin", uuid=uuid, memory={"boot": "64M"})
    alpha.ctl("start", "web1")
    wait_for("beta", lambda: all(h["up"] for h in alpha.json("hosts")["hosts"]))
    before = domains(alpha), domains(beta)
    reasons = {"volume": 'beta has no volume "vol01"; add it under host.volumes', "switch": 'beta has no switch "sw0"', "console": 'beta has no console group "vcc0"',
               "uuid": "beta has a domain with this uuid already (twin); remove it there first", "name": 'beta has a domain "web1" already; move it as beta:NEWNAME',
               "memory": "needs 128M, beta has 80M free after its keep-memory", "vcpus": "needs 2, beta has 1 of 1 free"}
    said = ctl(alpha, "migrate", "-n", "web1", "beta")
    for what, why in reasons.items():
        assert re.search(r"(?m)^\s+%s\s+.*%s" % (what, re.escape(why)), said), (what, said)
    r = subprocess.run(alpha.ctl_argv("--json", "migrate", "-n", "web1", "beta"), capture_output=True, text=True)
    dry = json.loads(r.stdout)
    assert r.returncode == 1 and dry["ok"] is False and {f["what"] for f in dry["failures"]} >= set(reasons), dry
    for args in ([], ["--wait"], ["-m", "live", "--wait"]):
        r = subprocess.run(alpha.ctl_argv("migrate", *args, "web1", "beta"), capture_output=True, text=True, timeout=120)
        if args:
            assert r.returncode == 1 and reasons["uuid"] in sentence(r.stderr) and "more, see: policyctl migrate -n" in r.stderr, r
        wait_for("the end of it", lambda: not alpha.json("list", "-o", "status")["operations"])
    strip = [[{k: v for k, v in d.items() if k != "flags"} for d in side] for side in before]
    assert [[{k: v for k, v in d.items() if k != "flags"} for d in domains(h)] for h in (alpha, beta)] == strip
    assert len(alpha.qemu_pids()) == 1 and not beta.qemu_pids() and not os.listdir(beta.path("ram"))
    # and one at a time, until nothing is wrong: another name is enough for the name
    assert "name " not in ctl(alpha, "migrate", "-n", "web1", "beta:web9").replace("NEWNAME", "")


def test_moves_that_cannot_begin(env):
    """While a domain is being moved: no second move, no stop, no resize, no remove; a peer that is gone; and it can still be cancelled."""
    env.need_root("hosts are network namespaces")
    group = Group(env)
    alpha, beta = group.add("alpha"), group.add("beta")
    group.trust_all()
    alpha.start()
    beta.start()
    alpha.add_domain("web1", vcpus={"boot": 1, "max": 2}, memory={"min": "96M", "boot": "128M", "max": "128M"})
    beats = alpha.heartbeats("web1")
    alpha.ctl("start", "web1")
    beats.wait_ready()
    alpha.agent("web1").cmd("fill 24M")
    wait_for("beta", lambda: all(h["up"] for h in alpha.json("hosts")["hosts"]))
    assert 'no host "gamma"' in ctl(alpha, "migrate", "--wait", "web1", "gamma")
    alpha.slow("8mbit")
    alpha.ctl("migrate", "web1", "beta")

    def phase():
        return next((o["phase_name"] for o in alpha.json("list", "-o", "status")["operations"]), None)

    wait_for("the transfer", lambda: phase() == "transfer")
    for args in (["migrate", "web1", "beta"], ["migrate", "--wait", "web1", "beta"], ["stop", "web1"], ["stop", "--force", "web1"], ["suspend", "web1"],
                 ["set-vcpu", "web1", "2"], ["set-memory", "web1", "96M"], ["start", "web1"], ["remove", "web1"]):
        said = ctl(alpha, *args)
        assert "web1 is busy: migration to beta (" in said and "policyctl cancel-operation web1" in said, (args, said)
    said = ctl(beta, "remove", "web1")
    assert "web1" in said and len(said.splitlines()) == 1, said
    assert ctl(beta, "start", "web1") and phase() == "transfer"
    assert "migration cancelled" in alpha.ctl("cancel", "web1")
    alpha.slow(None)
    wait_for("beta being rid of it", lambda: not domains(beta) and not beta.qemu_pids())
    assert alpha.domain("web1")["state"] == "active"
    # the peer is gone
    beta.kill()
    wait_for("alpha noticing", lambda: not alpha.json("hosts")["hosts"][0]["up"])
    for args in (["-n"], ["--wait"]):
        assert "beta cannot be reached: " in ctl(alpha, "migrate", *args, "web1", "beta")
    assert alpha.domain("web1")["state"] == "active"
    alpha.agent("web1").cmd("verify")
    report = beats.report()
    assert not report.failures, report
