"""Hosts that policy switches off and on by itself: one that the others can do without is emptied and switched off by a program of the operator; where a
domain then needs more than the rest can give, it is switched on again. Here a host is switched off by ending its policyd, and on by starting it."""
import os
import signal
import time

from ballast import wait_for
from moves import Pair

LIMIT_S = 600
MIB = 1 << 20


class Hosts(Pair):
    """Two hosts with power-off and power-on programs that write down what they are told, and do as the file beside them says."""

    def __init__(self, env, **decide):
        self.env = env
        self.rest = {"interval": "1s", "power-off-below": 95, "power-rest": "3s", "boot-grace": "1s", "move-after": "3s", **decide}
        super().__init__(env, alpha=self.settings(env, "alpha"), beta=self.settings(env, "beta"))

    def settings(self, env, name):
        programs = {}
        for which in ("power-off", "power-on"):
            path = os.path.join(env.tmp, "%s-%s" % (name, which))
            with open(path, "w") as f:
                f.write("#!/bin/sh\necho $BALLAST_HOOK $BALLAST_SOURCE $BALLAST_TARGET >> %s.log\necho as it was told\n"
                        "[ ! -e %s.exit ] || exit $(cat %s.exit)\n" % (path, path, path))
            os.chmod(path, 0o755)
            programs[which] = path
        return {"decide": {**self.rest, **programs}, "host": {"capacity": {"vcpus": 2, "memory": "1G", "keep-memory": "64M"}},
                "policies": [{"name": "cpu", "cpu": {"util-upper": 80, "util-lower": 30}}]}

    def said(self, name, which):
        try:
            with open(os.path.join(self.env.tmp, "%s-%s.log" % (name, which))) as f:
                return f.read().split("\n")[:-1]
        except FileNotFoundError:
            return []

    def refuses(self, name, which, code):
        path = os.path.join(self.env.tmp, "%s-%s.exit" % (name, which))
        if code is None:
            os.unlink(path)
            return
        with open(path, "w") as f:
            f.write(str(code))

    def boot(self, host, n):
        """Start it as after a boot."""
        path = os.path.join(self.env.tmp, "boot-%s-%d" % (host.name, n))
        with open(path, "w") as f:
            f.write("boot %s %d\n" % (host.name, n))
        os.environ["POLICYD_BOOT_ID"] = path
        host.start(debug=True)
        del os.environ["POLICYD_BOOT_ID"]


def power_history(host):
    return [e["text"] for e in host.json("history")["entries"] if e["kind"] == "power"]


def state(host, name):
    return next((("asleep" if h["asleep"] else "up" if h["up"] else "down") for h in host.json("hosts")["hosts"] if h["name"] == name), None)


def test_off_and_on(env):
    pair = Hosts(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="8M", vcpus={"min": 1, "boot": 1, "max": 1})
    # beta runs nothing and is switched off, once it has been calm and alpha is measured
    wait_for("beta's program to be called", lambda: pair.said("beta", "power-off"), 120)
    assert pair.said("beta", "power-off") == ["power-off beta beta"]
    wait_for("beta to sleep", lambda: any("is switched off" in t for t in power_history(beta)), 30)
    assert not pair.said("alpha", "power-off"), "one at a time"
    assert state(alpha, "beta") == "asleep"
    beta.kill(signal.SIGTERM)
    wait_for("beta to be gone", lambda: not pair.link_up(alpha, beta), 90)
    assert state(alpha, "beta") == "asleep" and "asleep" in alpha.ctl("hosts"), alpha.ctl("hosts")
    alpha.restart()  # it is remembered
    assert state(alpha, "beta") == "asleep"
    # two busy guests on two CPUs, of which one wants a second one: there is no room
    alpha.add_domain("db1", vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "64M", "boot": "96M", "max": "96M"})
    follow = alpha.heartbeats("db1")
    alpha.ctl("start", "db1")
    follow.wait_ready()
    assert not pair.said("alpha", "power-on")
    alpha.agent("db1").cmd("cpu 100 1")
    wait_for("beta to be woken", lambda: pair.said("alpha", "power-on"), 180)
    assert pair.said("alpha", "power-on") == ["power-on alpha beta"]
    pair.boot(beta, 1)
    pair.connected()
    wait_for("beta to take domains again", lambda: any(h["name"] == "beta" and h["accepts"] for h in alpha.json("hosts")["hosts"]), 60)
    assert state(alpha, "beta") == "up" and any("switched on again" in t for t in power_history(beta)), power_history(beta)
    assert pair.whole(web) in pair.hosts
    print("\n".join(alpha.ctl("history").split("\n")[-20:]))


def test_emptied_first(env):
    """The host with less is emptied, live, before its program is called. One that refuses has it in service again; one that says yes leaves nothing
    to be run there until the next boot."""
    pair = Hosts(env)
    alpha, beta = pair.hosts
    pair.refuses("alpha", "power-off", 3)
    beta.add_domain("big1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "256M", "max": "256M"})
    beta.ctl("start", "big1")
    web = pair.guest(fill="8M", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    wait_for("alpha's program to be called", lambda: pair.said("alpha", "power-off"), 180)
    assert pair.whole(web) is beta and not pair.said("beta", "power-off")
    wait_for("alpha in service again", lambda: not alpha.json("hosts").get("maintenance"), 30)
    ends = [e for e in alpha.json("history")["entries"] if e["kind"] == "power" and not e["ok"]]
    assert ends and "refused (exit status 3): as it was told" in ends[0]["error"], ends
    pair.refuses("alpha", "power-off", None)
    wait_for("it to be called again, later", lambda: any("is switched off" in t for t in power_history(alpha)), 120)
    # from now on it may end at any moment: nothing may run there, whoever wants it
    assert "alpha is being switched off" in alpha.refused("maintenance", "off", "alpha")
    alpha.kill(signal.SIGTERM)
    pair.boot(alpha, 1)
    pair.connected()
    wait_for("alpha in service after its boot", lambda: not alpha.json("hosts").get("maintenance"), 30)


def test_an_operator_has_it(env):
    """An operator who ends the maintenance, or makes it his own, while policy empties the host: it is his, and is not switched off."""
    pair = Hosts(env)
    alpha, beta = pair.hosts
    beta.add_domain("big1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "256M", "max": "256M"})
    beta.ctl("start", "big1")
    alpha.slow("4mbit")
    web = pair.guest(fill="16M", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    wait_for("policy to empty alpha", lambda: (alpha.json("hosts").get("maintenance") or {}).get("by") == "policy power", 180)
    wait_for("beta to know", lambda: state(beta, "alpha") == "asleep", 30)
    alpha.ctl("evacuate", "alpha")  # now it is an operator's
    wait_for("policy to let go of it", lambda: any("not policy's any more" in t for t in power_history(alpha)), 30)
    alpha.slow(None)
    wait_for("it to be empty", lambda: "is empty" in alpha.ctl("history"), 120)
    time.sleep(6)  # twice power-rest
    assert not pair.said("alpha", "power-off") and alpha.json("hosts")["maintenance"]["by"] != "policy power"
    assert pair.whole(web) is beta and state(beta, "alpha") == "up"


def test_only_recommended(env):
    """Without full automation, and with a domain that would be out of reach, nothing is done, and plan says why."""
    pair = Hosts(env, automation="confirm")
    alpha, beta = pair.hosts
    pair.guest(fill="8M", vcpus={"min": 1, "boot": 1, "max": 1})
    said = wait_for("the recommendation", lambda: (lambda t: t if "could be switched off" in t else None)(beta.ctl("plan")), 60)
    assert "policyctl maintenance on beta" in said and "policy does that" not in said
    beta.add_domain("idle1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "64M", "max": "64M"})
    beta.write_conf(decide={"automation": "full"})
    beta.ctl("reload")
    wait_for("it to be said", lambda: "idle1, which does not run, would be out of reach" in beta.ctl("plan"), 30)
    time.sleep(6)  # twice power-rest
    assert not pair.said("beta", "power-off") and not beta.json("hosts").get("maintenance")
    beta.ctl("remove", "idle1")
    wait_for("it to be announced", lambda: "policy does that" in beta.ctl("plan") or pair.said("beta", "power-off"), 30)
    wait_for("its program to be called", lambda: pair.said("beta", "power-off"), 60)
    bad = beta.write_conf(decide={"power-on": None})
    text = beta.run(os.path.join(env.build, "policyd"), "-n", "-f", bad, check=False) + beta.refused("reload")
    assert "decide.power-on" in text and "could not be switched on again" in text, text


def test_defined_meanwhile(env):
    """A domain that is defined on the host while policy empties it would be out of reach: the host stays on, and says why."""
    pair = Hosts(env)
    alpha, beta = pair.hosts
    beta.add_domain("big1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "256M", "max": "256M"})
    beta.ctl("start", "big1")
    alpha.slow("8mbit")
    web = pair.guest(fill="16M", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    wait_for("policy to empty alpha", lambda: (alpha.json("hosts").get("maintenance") or {}).get("by") == "policy power", 180)
    alpha.add_domain("late1", vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": "64M", "boot": "64M", "max": "64M"})
    alpha.slow(None)
    end = wait_for("it to stay on", lambda: [e for e in alpha.json("history")["entries"] if e["kind"] == "power" and not e["ok"]], 120)
    assert "late1, which does not run, would be out of reach" in end[0]["error"], end
    wait_for("it in service", lambda: not alpha.json("hosts").get("maintenance"), 30)
    assert not pair.said("alpha", "power-off") and pair.whole(web) is beta
