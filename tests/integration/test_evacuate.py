"""A host in maintenance: emptied by each domain's cheapest way, what stays is said first; killed meanwhile; refilled afterwards."""
import re

from ballast import wait_for
from moves import Pair, qemus_of

LIMIT_S = 600

POLICIES = [
    {"name": "batch", "match": {"tags": ["batch"]}, "importance": 1},
    {"name": "nodes", "match": {"tags": ["node"]}, "relocate": "cold", "importance": 10},
]
# name: (memory min, boot, vcpus boot, tags, filled)
GUESTS = {
    "live1": ("160M", "160M", 1, ["web"], "24M"),
    "trim1": ("96M", "512M", 1, ["batch"], "16M"),
    "cold1": ("128M", "128M", 1, ["node"], "8M"),
    "pinned1": ("128M", "128M", 1, ["web"], "8M"),
    "fixed1": ("128M", "128M", 2, ["web"], "8M"),
}
GO = ("live1", "trim1", "cold1")


def settings(memory="2G"):
    return {"policies": POLICIES, "decide": {"interval": "1s", "max-moves": 2}, "migration": {"max-blackout": "2s"},
            "host": {"capacity": {"vcpus": 16, "memory": memory, "keep-memory": "64M"}}}


def known(host, name):
    """Have two readings of its balloon's statistics come? Until then nobody knows how far it may be trimmed."""
    return host.json("show", name)["statistics"].get("mem_available", -1) > 0


def guests(alpha):
    """All five, started together; their heartbeats."""
    beats = {}
    for name, (least, boot, vcpus, tags, _) in GUESTS.items():
        alpha.add_domain(name, vcpus={"min": 1, "boot": vcpus, "max": 2}, memory={"min": least, "boot": boot, "max": boot}, tags=tags)
        beats[name] = alpha.heartbeats(name)
        alpha.ctl("start", name)
    for name in GUESTS:
        beats[name].wait_ready()
        alpha.agent(name).cmd("fill " + GUESTS[name][4])
    wait_for("trim1's use of memory to be known", lambda: known(alpha, "trim1"), 60)
    return beats


def where(pair, name):
    """The one host that has it; not more than one, and one QEMU in all."""
    host = pair.settled_on(name)
    assert sum(len(qemus_of(h, name)) for h in pair.hosts) == 1
    return host


def arrived(pair, names, host, timeout=240):
    def there():
        return all((host.domain(n) or {}).get("state") == "active" for n in names)
    wait_for("%s on %s" % (", ".join(names), host.name), there, timeout)
    for n in names:
        assert where(pair, n) is host


def maintenance(host):
    return host.json("hosts").get("maintenance")


def check_refusals(alpha):
    """Each wrong command in one sentence, nothing changed."""
    for args, sentence in ((("evacuate", "nosuch"), "no host \"nosuch\""), (("maintenance", "off", "alpha"), "not in maintenance"),
                           (("evacuate", "alpha", "--deadline", "soon"), "a time from now"), (("maintenance", "maybe", "alpha"), "on or off"),
                           (("maintenance", "on", "alpha", "--refill"), "maintenance off")):
        said = alpha.refused(*args)
        assert sentence in said and len(said.splitlines()) <= 2, (args, said)
    assert maintenance(alpha) is None


def check_outlook(alpha):
    """-n: what stays first, and why; what leaves and how; nothing is done."""
    look = alpha.json("evacuate", "-n", "alpha")
    rows = {r["domain"]: r for r in look["leaving"]}
    assert [r["domain"] for r in look["leaving"][:2]] == ["fixed1", "pinned1"] and look["blocking"] == 2 and look["moves"] == 3, look
    assert "licence" in rows["pinned1"]["why"] and "vcpu was removed" in rows["fixed1"]["why"], look
    assert rows["live1"]["how"].startswith("live to beta") and rows["cold1"]["how"].startswith("cold to beta"), look
    assert rows["trim1"]["how"].startswith("trim to "), look
    assert abs(look["outage_s"] - sum(r["outage_s"] for r in look["leaving"])) < 0.001 and look["outage_s"] > rows["cold1"]["outage_s"] > 1, look
    print(look["text"])
    assert maintenance(alpha) is None and all(alpha.domain(n)["state"] == "active" for n in GUESTS)


def methods(host):
    return {e["domain"]: e["kind"] for e in host.json("history")["entries"] if e["ok"] and e["kind"] in ("migration", "cold move")}


def test_commands(env):
    """Without guests: what is refused, what is shown, what is kept when policyd is killed."""
    pair = Pair(env, alpha=settings(), beta=settings())
    alpha, beta = pair.hosts
    check_refusals(alpha)
    assert alpha.json("evacuate", "-n", "alpha")["moves"] == 0 and maintenance(alpha) is None
    said = alpha.ctl("maintenance", "on", "alpha")
    assert "0 domains leave" in said and "is in maintenance" in said, said
    wait_for("it to be empty", lambda: not maintenance(alpha)["emptying"], 30)
    alpha.restart()
    assert maintenance(alpha) and "is in maintenance since" in alpha.ctl("hosts")
    assert [e["text"] for e in alpha.json("history")["entries"] if e["kind"] == "maintenance"][0] == "alpha is empty: 0 domains left it"
    pair.connected()
    wait_for("beta to hear of it", lambda: beta.json("hosts")["hosts"][0]["maintenance"], 30)
    assert "maintenance" in beta.ctl("hosts")
    assert "already" in alpha.refused("maintenance", "on", "alpha")
    assert "not in maintenance any more" in alpha.ctl("maintenance", "off", "alpha", "--refill")
    assert maintenance(alpha) is None
    alpha.restart()
    assert maintenance(alpha) is None


def test_from_another_host(env):
    """A peer is asked for its maintenance: done by its own policyd, with who asked; its refusals come back; one that is not there is said."""
    pair = Pair(env, alpha=settings(), beta=settings())
    alpha, beta = pair.hosts
    pair.connected()
    assert alpha.json("evacuate", "-n", "beta")["moves"] == 0 and maintenance(beta) is None
    assert alpha.refused("maintenance", "off", "beta") == "beta is not in maintenance"
    assert "beta is in maintenance" in alpha.ctl("evacuate", "beta", "--deadline", "10m")
    assert maintenance(alpha) is None and re.fullmatch(r"uid 0 \(pid \d+\) at alpha", maintenance(beta)["by"]), maintenance(beta)
    assert maintenance(beta)["deadline_ms"] > 0
    assert "already" in alpha.refused("maintenance", "on", "beta")
    assert "not in maintenance any more" in alpha.ctl("maintenance", "off", "beta")
    assert maintenance(beta) is None
    beta.kill()
    said = alpha.refused("evacuate", "beta")
    assert "beta" in said and len(said.splitlines()) == 1, said
    print(said)
    beta.start()
    assert maintenance(beta) is None


def test_evacuate(env):
    """Five guests: live, cold, trimmed; pinned, not movable. policyd is killed in the middle of it."""
    pair = Pair(env, alpha=settings(), beta=settings("544M"))  # 480M of room there: trim1 with its 512M does not fit
    alpha, beta = pair.hosts
    beats = guests(alpha)
    alpha.ctl("pin", "pinned1", "--reason", "licence")
    alpha.ctl("set-vcpu", "fixed1", "1")  # under TCG it cannot be moved live any more
    check_refusals(alpha)
    check_outlook(alpha)
    status = alpha.ctl("list", "-o", "status")
    assert "fixed1 cannot be moved: a vcpu was removed" in status and "pinned1 cannot be moved: it is pinned (licence)" in status, status
    assert "cannot move  a vcpu was removed" in alpha.ctl("show", "fixed1")

    beats["cold1"].expect_restart()
    said = alpha.ctl("evacuate", "alpha", "--deadline", "30m")
    assert said.index("pinned1") < said.index("live1") and "outage" in said, said
    wait_for("a move to be under way", lambda: alpha.json("list", "-o", "status")["operations"], 30)
    alpha.restart()  # killed: what it was about is kept
    assert maintenance(alpha)["emptying"]
    arrived(pair, GO, beta)
    for n in ("pinned1", "fixed1"):
        assert where(pair, n) is alpha
    assert methods(alpha) == {"live1": "migration", "trim1": "migration", "cold1": "cold move"}, methods(alpha)
    assert beta.domain("trim1")["mem_bytes"] <= 224 << 20
    trims = [e for e in alpha.json("history", "trim1")["entries"] if e["ok"]]
    assert "maintenance" in trims[0]["who"] and "in maintenance" in trims[0]["text"], trims
    for n in ("live1", "trim1", "pinned1", "fixed1"):
        host = beta if n in GO else alpha
        beats[n].wait_beats(3)
        assert int(re.search(r"verify (\d+)", host.agent(n).cmd("verify")).group(1)) > 0
        beats[n].check()
    beats["cold1"].wait_ready()

    # it stays in maintenance: it admits and starts nothing, here and over there it shows
    now = maintenance(alpha)
    assert {b["domain"] for b in now["blocking"]} == {"pinned1", "fixed1"} and {m["domain"] for m in now["moved"]} == set(GO), now
    assert "stays: is pinned here (licence)" in alpha.ctl("hosts") and "is in maintenance" in alpha.ctl("list")
    wait_for("beta to hear of it", lambda: beta.json("hosts")["hosts"][0]["maintenance"], 30)
    assert "in maintenance" in beta.refused("migrate", "--wait", "live1", "alpha")
    alpha.add_domain("new1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "64M", "max": "64M"})
    assert "in maintenance" in alpha.refused("start", "new1")
    assert "already" in alpha.refused("maintenance", "on", "alpha")

    # and back
    beats["cold1"].expect_restart()
    alpha.ctl("maintenance", "off", "alpha", "--refill")
    arrived(pair, GO, alpha)
    assert maintenance(alpha) is None
    for n in ("live1", "trim1"):
        beats[n].wait_beats(3)
        assert int(re.search(r"verify (\d+)", alpha.agent(n).cmd("verify")).group(1)) > 0
        beats[n].check()
    wait_for("the end of the refill", lambda: any("is back" in (e["text"] or "") for e in alpha.json("history")["entries"]), 60)


def test_rules_of_the_target(env):
    """A move by policy is refused by the target's own rules of company, though its source knows nothing of them; it waits then, and says why. An operator's
    move overrides them."""
    rule = {"rules": [{"name": "web-apart", "match": {"tags": ["web"]}, "keep": "apart"}]}
    pair = Pair(env, alpha=settings(), beta={**settings(), **rule})
    alpha, beta = pair.hosts
    beats = {}
    for name, host in (("n1", alpha), ("n2", beta)):
        host.add_domain(name, vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "128M", "boot": "128M", "max": "128M"}, tags=["web"])
        beats[name] = host.heartbeats(name)
        host.ctl("start", name)
    for b in beats.values():
        b.wait_ready()
    alpha.ctl("evacuate", "alpha")
    refused = wait_for("beta to refuse n1", lambda: [e for e in alpha.json("history", "n1")["entries"] if not e["ok"]], 90)
    assert "rule web-apart keeps it apart from n2" in refused[0]["error"], refused
    assert where(pair, "n1") is alpha
    assert "n1 stays: its last move to beta was refused there" in alpha.ctl("hosts"), alpha.ctl("hosts")
    alpha.ctl("maintenance", "off", "alpha")
    alpha.ctl("migrate", "--wait", "n1", "beta")
    assert where(pair, "n1") is beta


def test_power(env):
    """Which host could be switched off: plan says so on that host, and on the other why not. Nothing is done by itself."""
    both = {"decide": {"interval": "1s", "power-off-below": 60}, "host": {"capacity": {"vcpus": 4, "memory": "1G", "keep-memory": "64M"}}}
    pair = Pair(env, alpha=both, beta=both)
    alpha, beta = pair.hosts
    web = pair.guest(fill="8M")

    def power(host):
        return host.json("plan").get("power", {})
    wait_for("alpha to know beta's load", lambda: "less to move" in power(alpha).get("text", ""), 60)
    wait_for("beta to be measured, and to have heard that alpha runs something", lambda: not any(
        words in power(beta).get("text", "not measured") for words in ("not measured", "alpha has less")), 60)
    said = alpha.ctl("plan"), beta.ctl("plan")
    print("\n".join(said))
    assert "power: alpha stays on: beta has less to move away" in said[0], said[0]
    busy = "power: beta stays on: without it the others would use" in said[1]  # both hosts see the CPUs of this one machine, with all that runs on it
    assert busy or "power: beta runs nothing and could be switched off" in said[1] and "policyctl maintenance on beta" in said[1], said[1]
    assert maintenance(beta) is None and where(pair, web) is alpha
    both = alpha.ctl("plan", "--all-hosts")
    print(both)
    assert "this host:" in both and "\nbeta:\n" in both and "power: alpha stays on" in both and "power: beta " in both, both
    assert "goes without" in alpha.refused("plan", "--all-hosts", "--what-if", "remove-host beta")
    assert "nothing to do" in alpha.ctl("explain", "beta") and "ask there" in alpha.refused("explain", "beta", "--at", "10m")
    beta.ctl("maintenance", "on", "beta")
    assert not power(beta)  # it is what was recommended
    wait_for("alpha to know", lambda: "no other host is up that takes domains" in power(alpha)["text"], 60)
    beta.cut()
    wait_for("beta to be missed", lambda: not pair.link_up(alpha, beta), 90)
    assert "beta:\nnot known: " in alpha.ctl("plan", "--all-hosts")
    beta.mend()
