#!/usr/bin/env python3
"""make demo: two hosts, three guests, and Ballast at work, told in one line a step. Exit 0 only if every claim was measured to be true.

Files come from examples/demo; hosts are network namespaces; guests are real and check their own memory (docs/guest.md)."""
import argparse
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import ballast  # noqa: E402
import hosts  # noqa: E402

EXAMPLES = os.path.join(HERE, "..", "..", "examples", "demo")
BEGAN = time.monotonic()


class Broken(Exception):
    """The demo's claim did not hold."""


def say(text):
    print("%5.1f s  %s" % (time.monotonic() - BEGAN, text), flush=True)


def title(text):
    print("\n        \033[1m%s\033[0m" % text if sys.stdout.isatty() else "\n        %s" % text, flush=True)


def mib(n):
    return "%.0fM" % (n / 2**20)


def until(what, test, timeout):
    """Wait until test() is true; its value. Polls: the figures come from policyctl, as an operator would look."""
    end = time.monotonic() + timeout
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise Broken("%s did not happen within %d s" % (what, timeout))
        time.sleep(0.25)


class DemoHost(hosts.Host):
    """A host whose policyd.cfg is examples/demo/NAME.cfg."""

    def write_conf(self, **_):
        return self.conf_path

    def __init__(self, *args):
        super().__init__(*args)
        self.folder = os.path.join(self.env.tmp, "demo")
        os.makedirs(self.folder, exist_ok=True)
        base = os.path.join(self.folder, self.name)
        os.rename(self.dir, base)
        self.dir, self.log = base, os.path.join(base, "policyd.log")
        for kind in ("crt", "key"):
            os.rename(self.path("etc", "%s.%s" % (self.name, kind)), self.path("host." + kind))
        self.crt, self.key = self.path("host.crt"), self.path("host.key")

    @property
    def conf_path(self):
        return os.path.join(self.folder, self.name + ".cfg")


class Demo:
    def __init__(self, env):
        self.env = env
        self.rows = []     # the closing table
        self.where = {}    # domain -> host
        self.beats = {}    # domain -> heartbeat watcher
        self.reported = {} # domain -> [blackout of each live move in ms]

    # ---- set-up ----
    def hosts_up(self):
        self.group = hosts.Group(self.env, DemoHost)
        self.alpha, self.beta = self.group.add("alpha"), self.group.add("beta")
        self.group.trust_all()
        self.copy_examples()
        for host in (self.alpha, self.beta):
            host.start()
        until("the two hosts seeing each other", lambda: all(h["up"] for x in (self.alpha, self.beta) for h in x.json("hosts")["hosts"]), 60)
        say("hosts alpha (4 vcpus, 800M) and beta (4 vcpus, 336M) are up and trust each other's certificates")

    def copy_examples(self):
        """examples/demo with its two placeholders filled in."""
        fill = {"@BUILD@": self.env.build, "@NET@": self.alpha.address.rsplit(".", 1)[0]}
        for folder, _, names in os.walk(EXAMPLES):
            to = os.path.join(self.alpha.folder, os.path.relpath(folder, EXAMPLES))
            os.makedirs(to, exist_ok=True)
            for name in names:
                path = os.path.join(to, name)
                text = open(os.path.join(folder, name)).read()
                for key, value in fill.items():
                    text = text.replace(key, value)
                with open(path, "w") as f:
                    f.write(text)
                shutil.copymode(os.path.join(folder, name), path)

    def guests_up(self):
        for name in ("web1", "batch1", "db1"):
            self.alpha.ctl("add-domain", os.path.join(self.alpha.folder, name + ".cfg"))
            self.alpha.ctl("hold", name, "--reason", "it boots")  # a boot is a load that policy would answer
            self.start(name)
            if name == "web1":
                self.alpha.ctl("set-memory", "web1", "224M")
        self.guest("web1").cmd("fill 24M")
        self.guest("batch1").cmd("hb 50")  # its blackout will be looked at closely
        self.guest("batch1").cmd("fill 40M")
        self.guest("batch1").cmd("dirty 2")
        self.guest("db1").cmd("fill 24M")
        # Their boot is still in the minute's average, and a busy guest gives nothing: let it fade before policy looks.
        until("the guests coming to rest after their boot", lambda: all(self.statistics(n)["util_slow"] < 30 for n in self.where), 240)
        for name in self.where:
            self.alpha.ctl("release", name)
        say("web1 (1 vcpu, 224M), batch1 (1 vcpu, 320M) and db1 (2 vcpus, 256M) run on alpha: alpha is full, no CPU and no memory is free")

    def start(self, name):
        self.beats[name] = ballast.Heartbeats(self.env, [os.path.join(h.path("run"), name, "console.log") for h in (self.alpha, self.beta)])
        self.reported[name] = []
        self.alpha.ctl("start", name)
        self.where[name] = self.alpha
        self.beats[name].wait_ready()

    def guest(self, name):
        return ballast.Agent(os.path.join(self.where[name].path("run"), name, "agent.sock"))

    # ---- looking ----
    def given(self, name):
        d = self.where[name].domain(name)
        if not d:
            raise Broken("%s is not on %s" % (name, self.where[name].name))
        return d

    def statistics(self, name):
        return self.where[name].json("show", name)["statistics"]

    def row(self, name, what, predicted, actual, extra="-"):
        self.rows.append((name, what, predicted, actual, extra))

    # ---- 1 ----
    def cpu(self):
        title("1  CPU: a guest's load rises; the vCPU comes from an idle neighbour")
        began = time.monotonic()
        self.guest("web1").cmd("cpu 100 1")
        until("db1 giving a vCPU", lambda: self.given("db1")["vcpus"] == 1, 90)
        gave = time.monotonic() - began
        until("web1 getting a vCPU", lambda: self.given("web1")["vcpus"] == 2, 90)
        online = until("the new vCPU being online in the guest", lambda: self.guest("web1").stat()["cpus"] == 2 and time.monotonic() - began, 30)
        say("web1 burns all of its vCPU: policyd took one from db1 after %.1f s and web1 runs on 2 after %.1f s" % (gave, online))
        self.why("web1")

    def why(self, name, host=None):
        for line in (host or self.where[name]).ctl("explain", name).splitlines()[:14]:
            print("           | " + line, flush=True)

    # ---- 2 ----
    def memory(self):
        title("2  memory: a guest runs short; an idle neighbour gives, step by step, as long as it stays healthy")
        self.guest("web1").cmd("cpu 0")
        before = {n: self.given(n)["mem_bytes"] for n in ("web1", "batch1")}
        began = time.monotonic()
        self.guest("web1").cmd("fill 110M")
        until("web1's memory growing", lambda: self.given("web1")["mem_bytes"] > before["web1"] + 2**24, 120)
        until("memory policy coming to rest", lambda: not self.alpha.json("list", "-o", "status")["operations"], 60)
        took = time.monotonic() - began
        after = {n: self.given(n)["mem_bytes"] for n in before}
        stat = self.guest("batch1").stat()
        if stat["swapin"] or after["batch1"] >= before["batch1"]:
            raise Broken("batch1 did not give in good health: %s" % stat)
        say("web1 filled 110M more: batch1 gave %s -> %s (no swap-in, %s still available there), web1 got %s -> %s, in %.1f s" % (
            mib(before["batch1"]), mib(after["batch1"]), mib(stat["memavail_kb"] * 1024), mib(before["web1"]), mib(after["web1"]), took))
        self.why("web1")

    # ---- 3 ----
    def full(self):
        title("3  the host is full and donors are at their floor: the cheapest move that meets the need")
        self.guest("web1").cmd("cpu 100 3")
        moved = until("policy moving a guest to beta", lambda: [d for d in self.beta.json("list")["domains"]
                      if d.get("host", "beta") == "beta" and d["state"] == "active"], 180)
        name = moved[0]["name"]
        self.where[name] = self.beta
        until("web1 getting the freed vCPU", lambda: self.given("web1")["vcpus"] == 3, 90)
        self.guest("web1").cmd("cpu 0")  # before it asks for a fourth
        entry = until("the move's record", lambda: self.last_move(self.alpha, name), 60)
        self.tell_move(name, "trim + live, by policy", entry)
        self.why(name, self.alpha)
        if name != "batch1" or "batch1 is trimmed to" not in self.alpha.ctl("explain", name):
            raise Broken("policy moved %s; batch1 was to be trimmed and moved: it meets the need at the lowest price" % name)
        say("web1 got its third vCPU")

    def last_move(self, host, name, kind="migration"):
        for entry in host.json("history", name)["entries"]:
            if entry["kind"] == kind and entry.get("actual") and entry.get("ok"):
                return entry
        return None

    def tell_move(self, name, what, entry):
        predicted, actual = entry.get("predicted") or {}, entry["actual"]
        blackout = actual["blackout_ms"]
        self.reported[name].append(blackout)
        beats = self.beats[name]
        beats.wait_beats(10, stream="new")
        seen = beats.report().moves[-1]
        # it is predicted anew, for what is left, when it has been trimmed and measured
        trim_s = actual.get("trim_ms", 0) / 1000
        moved_s = actual["total_ms"] / 1000 - trim_s
        say("%s is on %s after %s%.1f s (predicted %.1f s): blackout %.0f ms (predicted %.0f ms; the guest's clock stood %.0f ms), %s sent; %s" % (
            name, self.where[name].name, "a trim of %.1f s and " % trim_s if trim_s else "", moved_s, predicted["total_s"], blackout, predicted["blackout_ms"], seen.stood_ms,
            mib(actual["wire_bytes"]), entry["text"]))
        parts = (("holes", ("pages_hole",)), ("zero", ("pages_zero",)), ("packed", ("pages_lz4", "pages_zstd")), ("differences", ("pages_delta",)), ("raw", ("pages_raw",)))
        total = sum(actual.get(k, 0) for _, kinds in parts for k in kinds)
        share = ", ".join("%s %d %%" % (part, round(100 * sum(actual.get(k, 0) for k in kinds) / total)) for part, kinds in parts) if total else "-"
        self.row(name, what, "%.1f s, %.0f ms, %s" % (predicted["total_s"], predicted["blackout_ms"], mib(predicted["bytes"])),
                 "%s%.1f s, %.0f ms (guest saw %.0f ms), %s" % ("%.1f + " % trim_s if trim_s else "", moved_s, blackout, seen.stood_ms, mib(actual["wire_bytes"])), share)

    # ---- 4 ----
    def operator(self):
        title("4  the operator overrides")
        self.alpha.ctl("hold", "web1", "--reason", "demo")
        self.alpha.ctl("set-vcpu", "web1", "2")
        self.guest("web1").cmd("cpu 100 2")
        time.sleep(12)  # the claim is that nothing happens: several decisions long
        if self.given("web1")["vcpus"] != 2:
            raise Broken("policy touched web1 although it is held")
        say("web1 is held (\"demo\"), set to 2 vCPUs and burning: policy left it alone for 12 s")
        self.guest("web1").cmd("cpu 0")
        self.alpha.ctl("set-vcpu", "web1", "1")
        self.alpha.ctl("set-memory", "web1", "264M")
        self.alpha.ctl("release", "web1")
        say("set-vcpu web1 1, set-memory web1 264M: %d vcpu, %s; released" % (self.given("web1")["vcpus"], mib(self.given("web1")["mem_bytes"])))
        self.beta.ctl("migrate", "--wait", "batch1", "alpha", timeout=300)
        self.where["batch1"] = self.alpha
        self.tell_move("batch1", "live, by operator", until("the move's record", lambda: self.last_move(self.beta, "batch1"), 30))
        self.cancelled()

    def cancelled(self):
        self.alpha.slow("60mbit")
        self.guest("batch1").cmd("dirty 1")
        self.alpha.ctl("migrate", "batch1", "beta")

        def halfway():
            ops = [o for o in self.alpha.json("list", "-o", "status")["operations"] if o["domain"] == "batch1"]
            return ops and ops[0]["percent"] >= 30 and ops[0]
        op = until("the second migration being half-way", halfway, 120)
        began = time.monotonic()
        self.alpha.ctl("cancel-operation", "migration", "batch1")
        took = time.monotonic() - began
        until("batch1 being active on alpha", lambda: self.given("batch1")["state"] == "active", 30)
        until("beta having nothing of batch1", lambda: not self.beta.domain("batch1"), 30)
        self.alpha.slow(None)
        say("a second migration over a link slowed to 60 Mbit/s was cancelled at %d %%: answered in %.0f ms, batch1 runs on alpha, beta has nothing of it"
            % (op["percent"], took * 1000))

    # ---- 5 ----
    def cold(self):
        title("5  a cluster node is moved cold, because that is nearly free")
        say(self.alpha.ctl("migrate", "-n", "db1", "beta").strip().replace("\n", "\n         "))
        self.beats["db1"].expect_restart()
        self.alpha.ctl("migrate", "--wait", "db1", "beta", timeout=300)
        self.where["db1"] = self.beta
        self.beats["db1"].wait_ready()
        members = open(os.path.join(self.alpha.folder, "orders.members")).read().split()
        if members != ["db1"] or self.alpha.domain("db1"):
            raise Broken("db1 is not where it should be: members %s" % members)
        entry = until("the move's record", lambda: self.last_move(self.alpha, "db1", "cold move"), 30)
        dark = self.beats["db1"].restart_gap_s()
        say("db1 is on beta: drained, shut down, moved as a definition, started, rejoined in %.1f s; %.1f s without a heartbeat, its boot included" % (
            entry["actual"]["total_ms"] / 1000, dark))
        self.row("db1", "cold, by policy's method", "%.1f s" % entry["predicted"]["total_s"], "%.1f s (guest saw %.1f s)" % (
            entry["actual"]["total_ms"] / 1000, dark))
        self.guest("db1").cmd("fill 24M")

    # ---- 6 ----
    def checks(self):
        title("6  each guest's own word")
        for name in ("web1", "batch1", "db1"):
            pages = self.guest(name).cmd("verify").split()[-1]
            beats = self.beats[name].report()
            say("%-7s verified %s pages, all right; %d heartbeats, %d lost, %d repeated" % (name, pages, beats.count, beats.lost, beats.repeated))
            if beats.lost or beats.repeated or beats.failures:
                raise Broken("%s: heartbeats lost or repeated, or the guest found a wrong byte: %s" % (name, beats))
            if len(beats.moves) != len(self.reported[name]):
                raise Broken("%s: %d live moves reported, its heartbeats changed hosts %d times" % (name, len(self.reported[name]), len(beats.moves)))
            for move, reported in zip(beats.moves, self.reported[name]):
                say("        moved: its clock stood %.0f ms, reported %.0f ms; its next heartbeat was %.0f ms late (cold start)" % (
                    move.stood_ms, reported, move.late_ms))
                if move.stood_ms > reported + ballast.ARRIVAL_MS:
                    raise Broken("%s did not run for %.0f ms, but %.0f ms were reported" % (name, move.stood_ms, reported))

    def table(self):
        head = ("GUEST", "MOVE", "PREDICTED", "ACTUAL", "SHARES OF RAM")
        rows = [head] + self.rows
        widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
        print()
        for r in rows:
            print("        " + "  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())

    def run(self):
        self.hosts_up()
        self.guests_up()
        for step in (self.cpu, self.memory, self.full, self.operator, self.cold, self.checks):
            step()
        self.table()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make demo: needs root, for network namespaces; run it as root")
    env = ballast.Env(os.path.abspath(args.build), "demo", keep=args.keep)
    demo = Demo(env)
    try:
        demo.run()
    except (Broken, hosts.CommandFailed, subprocess.TimeoutExpired, RuntimeError) as e:
        say("FAILED: %s" % e)
        for host in getattr(demo, "group", None) and demo.group.hosts or []:
            print("---- policyd of %s\n%s" % (host.name, host.log_tail(40)))
        env.failed()
        return 1
    finally:
        env.close()
    print("\n        everything above was measured, and held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
