#!/usr/bin/env python3
"""make bench-predict: how far predictions lie from what then happens.

Four hosts on one bridge: alpha, and beta, gamma, delta with links of different rates (tbf both ways: none, 1 Gbit/s, 100 Mbit/s). Guests of different size,
content and activity are moved there and back, each move by "policyctl migrate --wait", which predicts before the first byte (docs/deciding.md) and
stores both. Errors are |predicted - actual| / actual of total time (as the operator sees it), blackout (as the engine reports it) and bytes on
the wire; "within" is the share of actual figures inside the predicted interval. What cannot converge counts under "convergence": was it said before?

The matrix is run in parts, so that a run can be short: --part N runs guest N only, --merge none. Figures of earlier parts (BUILD/bench/predict.runs.jsonl)
and what the hosts have learnt (their policyd.db) are kept and used again until --fresh. Writes BUILD/bench/predict.json."""
import argparse
import json
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from env import Env, wait_for  # noqa: E402
from hosts import CommandFailed, Group, enter, sh  # noqa: E402

LINKS = {"beta": None, "gamma": "1gbit", "delta": "100mbit"}
# name, MiB of RAM, what is filled, [(activity, hosts to visit from alpha and back)]
GUESTS = [
    ("half", 512, ["fill 256M half"], [("dirty 0", ("beta", "gamma", "delta"))]),
    ("rand", 384, ["fill 160M rand"], [("dirty 0", ("beta", "gamma", "delta"))]),
    ("text", 640, ["fill 384M text"], [("dirty 0", ("beta", "gamma", "delta"))]),
    ("free", 640, ["fill 420M half", "free 340M"], [("dirty 0", ("beta", "gamma", "delta"))]),
    ("slow-writer", 384, ["fill 192M half"], [("dirty 4 uniform", ("beta", "gamma", "delta"))]),
    ("hot-writer", 384, ["fill 192M half"], [("dirty 40 hot 3", ("beta", "gamma"))]),
    ("writer", 512, ["fill 256M half"], [("dirty 30 uniform", ("beta", "gamma"))]),
    ("small", 160, ["fill 48M half"], [("dirty 0", ("beta", "gamma", "delta")), ("dirty 8 seq", ("beta", "delta"))]),
    ("runaway", 512, ["fill 256M half"], [("dirty max uniform whole", ("delta",))]),
]


class Bench:
    def __init__(self, env, out_dir):
        self.env, self.out_dir = env, out_dir
        self.runs_path, self.state = os.path.join(out_dir, "predict.runs.jsonl"), os.path.join(out_dir, "predict.state")
        self.group = Group(env)
        self.alpha = self.group.add("alpha")
        self.others = {name: self.group.add(name) for name in LINKS}
        self.group.trust_all()
        for host in self.group.hosts:
            self.load(host)
            host.start()
        for name, rate in LINKS.items():
            host = self.others[name]
            host.slow(rate)
            if rate:
                sh(*enter(self.group.hub), "tc", "qdisc", "add", "dev", "p%d" % host.number, "root", "tbf", "rate", rate, "burst", "256kb",
                   "latency", "50ms")
        for name in LINKS:
            self.up(self.alpha, name)
            self.up(self.others[name], "alpha")

    @staticmethod
    def up(host, peer):
        wait_for("%s connected to %s" % (host.name, peer),
                 lambda: any(h["name"] == peer and h.get("up") for h in host.json("hosts")["hosts"]), 60)

    # ---- what a host has learnt, from part to part ----
    def load(self, host):
        kept = os.path.join(self.state, host.name + ".db")
        if os.path.exists(kept):
            shutil.copy(kept, host.path("state", "policyd.db"))

    def save(self):
        os.makedirs(self.state, exist_ok=True)
        for host in self.group.hosts:
            host.kill(15)  # in order: everything is in the file
            shutil.copy(host.path("state", "policyd.db"), os.path.join(self.state, host.name + ".db"))

    # ---- moves ----
    def record(self, run):
        with open(self.runs_path, "a") as f:
            f.write(json.dumps(run) + "\n")
        print("  %s" % line_of(run), flush=True)

    def move(self, guest, activity, src, dst):
        run = {"guest": guest, "activity": activity, "from": src.name, "to": dst.name, "link": LINKS.get(dst.name) or LINKS.get(src.name)}
        try:
            run.update(ok=True, actual=src.json("migrate", "--wait", guest, dst.name))
            run["predicted"] = run["actual"].pop("predicted")
        except CommandFailed as e:
            if "converge" not in str(e):
                raise
            entry = next(h for h in src.json("history", guest)["entries"] if h["kind"] == "migration")
            run.update(ok=False, predicted=entry["predicted"])
        run["said_converges"] = bool(run["predicted"]["converges"])
        self.record(run)
        return run["ok"]

    def guest(self, name, mib, fill, visits):
        self.alpha.add_domain(name, vcpus={"min": 1, "boot": 1, "max": 1},
                              memory={"min": "64M", "boot": "%dM" % mib, "max": "%dM" % mib})
        beats = self.alpha.heartbeats(name)
        self.alpha.ctl("start", name)
        beats.wait_ready()
        for command in fill:
            self.alpha.agent(name).cmd(command)
        if any(c.startswith("free") for c in fill):
            time.sleep(8)  # until the kernel has reported what was freed
        for activity, hosts in visits:
            for there in (self.others[h] for h in hosts):
                self.alpha.agent(name).cmd(activity)
                time.sleep(1)
                if self.move(name, activity, self.alpha, there):
                    time.sleep(1)
                    self.move(name, activity, there, self.alpha)
        self.alpha.agent(name).cmd("dirty 0")
        self.alpha.agent(name).cmd("verify")
        self.alpha.ctl("stop", "--force", name)
        self.alpha.ctl("remove", name)


def line_of(run):
    where = "%-11s %-16s %5s -> %-5s" % (run["guest"], run["activity"], run["from"], run["to"])
    if not run["ok"]:
        return where + "  did not converge; said before: %s" % ("no" if run["said_converges"] else "yes")
    p, a = run["predicted"], run["actual"]
    return where + "  total %5.2f s (%5.2f)  blackout %4.0f ms (%4.0f)  bytes %5.1f MB (%5.1f)" % (
        a["total_ms"] / 1000, p["total_s"], a["blackout_ms"], p["blackout_ms"], a["wire_bytes"] / 1e6, p["bytes"] / 1e6)


def share(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else None


def figures(runs, actual, predicted):
    errors, inside = [], 0
    for run in runs:
        was, said = actual(run["actual"]), run["predicted"]
        errors.append(abs(said[predicted % ""] - was) / was)
        inside += said[predicted % "_low"] <= was <= said[predicted % "_high"]
    return {"p50_err": round(share(errors, 0.5), 4), "p90_err": round(share(errors, 0.9), 4), "within": round(inside / len(runs), 3)}


def summary(runs):
    good = [r for r in runs if r["ok"]]
    out = {"n": len(good)}
    if good:
        out["total"] = figures(good, lambda a: a["total_ms"] / 1000, "total%s_s")
        out["blackout"] = figures(good, lambda a: max(a["blackout_ms"], 0.5), "blackout%s_ms")
        out["bytes"] = figures(good, lambda a: a["wire_bytes"], "bytes%s")
    out["convergence"] = {"n": len(runs), "said_rightly": sum(r["said_converges"] == r["ok"] for r in runs), "did_not": len(runs) - len(good)}
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--build", default="build")
    ap.add_argument("--part", type=int, action="append", help="guest by number from 0; may be given more than once (default: all)")
    ap.add_argument("--fresh", action="store_true", help="forget earlier parts and what the hosts have learnt")
    ap.add_argument("--only-merge", action="store_true", help="run nothing, write predict.json from the parts there are")
    args = ap.parse_args()
    out_dir = os.path.join(os.path.abspath(args.build), "bench")
    os.makedirs(out_dir, exist_ok=True)
    runs_path = os.path.join(out_dir, "predict.runs.jsonl")
    if args.fresh:
        shutil.rmtree(os.path.join(out_dir, "predict.state"), ignore_errors=True)
        if os.path.exists(runs_path):
            os.unlink(runs_path)
    if not args.only_merge:
        env = Env(os.path.abspath(args.build), "bench-predict")
        try:
            bench = Bench(env, out_dir)
            for i in args.part if args.part is not None else range(len(GUESTS)):
                bench.guest(*GUESTS[i])
            bench.save()
        except BaseException:
            env.failed()
            raise
        finally:
            env.close()
    with open(runs_path) as f:
        out = summary([json.loads(line) for line in f])
    with open(os.path.join(out_dir, "predict.json"), "w") as f:
        json.dump(out, f, indent=2)
        f.write("\n")
    print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
