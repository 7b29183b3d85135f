#!/usr/bin/env python3
"""make bench-resize: how quickly, how smoothly and how steadily guests are resized in place; ours beside a law like MoM's.

One host, one small guest at a time, the same load steps for each law (policies "ours" and "mom-like"; the second is `law = "free-rule"`: 5 % a
step, down and up, around 20 % available, no look at pressure, no CPU policy). Decisions every second, CPU and memory sampled each second, 3 of 5
samples, a dwell time of 3 s: the figures are of the laws, not of the defaults' patience. Writes BUILD/bench/resize.json, each figure the median of
--runs:

    react_cpu_s           from one busy thread on one vCPU to the second vCPU online in the guest; null: the law knows no CPU
    react_mem_s           from the first page of a step (60 MiB at once, less than the guest has available) to the guest having more memory
    shrink_mib_s          192M -> as near to 112M as the law takes it: MiB taken by seconds
    grow_mib_s            and back to 192M
    overshoot             the most that it was given after the step, by what it was left with 30 s later, less 1
    steady_actions_per_h  resizes of an hour of steady use (12 % noise within each five minutes), replayed by policysim trim; must be 0
    peers                 {"mom-like": the same}"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from env import Env, wait_for  # noqa: E402
from hosts import Group  # noqa: E402
from qemu import MIB  # noqa: E402

MEMORY = {"free-lower": 20, "free-upper": 60, "sample-rate": 1, "freeze": 5, "memory-min": "96M"}
POLICIES = [
    {"name": "ours", "match": {"domain": "ours*"}, "memory": MEMORY,
     "cpu": {"util-upper": 80, "util-lower": 20, "attack": 1, "decay": 1, "sample-rate": 1}},
    {"name": "mom-like", "match": {"domain": "mom*"}, "memory": {**MEMORY, "law": "free-rule"}},
]
DECIDE = {"interval": "1s", "dwell": "3s", "boot-grace": "0s"}


class Guest:
    """A guest of one law, up and at rest."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        host.add_domain(name, vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "96M", "boot": "192M", "max": "192M"})
        beats = host.heartbeats(name)
        host.ctl("start", name)
        host.ctl("hold", name, "--reason", "set-up")
        beats.wait_ready()
        self.agent = host.agent(name)
        self.agent.cmd("sh mkdir -p /t")
        self.agent.cmd("sh mount -t tmpfs -o size=160M none /t")

    def memory(self):
        return self.host.domain(self.name)["mem_bytes"] / MIB

    def sized(self, to):
        """An operator's set-memory: MiB a second, and how far it came."""
        before, began = self.memory(), time.monotonic()
        self.host.ctl("set-memory", self.name, to, check=False)
        return abs(self.memory() - before) / (time.monotonic() - began)

    def cpu_step(self, knows_cpu):
        if not knows_cpu:
            return None
        wait_for("a quiet guest", lambda: 0 <= self.host.json("show", self.name)["statistics"]["util_slow"] < 40, 90)
        assert self.agent.stat()["cpus"] == 1
        self.host.ctl("release", self.name)
        self.agent.cmd("cpu 100 1")
        began = time.monotonic()
        wait_for("a second vCPU", lambda: self.agent.stat()["cpus"] == 2, 90)
        took = time.monotonic() - began
        self.agent.cmd("cpu 0")
        self.host.ctl("hold", self.name, "--reason", "next step")
        return took

    def memory_step(self):
        """Seconds to more memory, and the overshoot."""
        self.host.ctl("release", self.name)
        before, began, most, reacted = self.memory(), time.monotonic(), 0, None
        self.agent.cmd("sh dd if=/dev/zero of=/t/step bs=1M count=60")
        while time.monotonic() - began < 45:
            now = self.memory()
            most = max(most, now)
            if reacted is None and now > before:
                reacted = time.monotonic() - began
            if reacted is not None and time.monotonic() - began > reacted + 30:
                break
            time.sleep(0.1)  # a sample
        self.agent.cmd("sh rm /t/step")
        self.host.ctl("hold", self.name, "--reason", "next step")
        return reacted, most / self.memory() - 1


def one_run(host, law, number):
    g = Guest(host, "%s%d" % (law[:4].rstrip("-"), number))
    out = {"react_cpu_s": g.cpu_step(law == "ours"), "shrink_mib_s": g.sized("112M")}
    out["grow_mib_s"] = g.sized("192M")
    host.ctl("set-memory", g.name, "128M", check=False)
    out["react_mem_s"], out["overshoot"] = g.memory_step()
    host.ctl("stop", "-f", g.name)
    print("  %-9s %s" % (law, "  ".join("%s %s" % (k, "-" if v is None else "%.2f" % v) for k, v in out.items())), flush=True)
    return out


def steady_use():
    """(seconds, MiB): a day to learn from, then the hour that counts; one sample, the peak of five minutes."""
    random.seed(1)
    return [(i * 300, 2048 * (1 + 0.12 * random.random())) for i in range(49 * 12)]


def steady_ours(build, folder):
    path = os.path.join(folder, "steady.csv")
    with open(path, "w") as f:
        f.write("vm,t_s,mem_cap_mib,mem_used_mib\n" + "".join("web1,%d,8192,%.1f\n" % row for row in steady_use()))
    run = subprocess.run([os.path.join(build, "policysim"), "trim", "--json", "--rules", "warm_s=%d" % (48 * 3600), path], capture_output=True,
                         text=True, check=True)
    return json.loads(run.stdout)["resizes"]


def steady_mom(build, folder):
    """5 % a step while 20 % stay available, and back when they do not."""
    size, resizes = 8192.0, 0
    for t_s, used in steady_use():
        available, shrunk = 1 - used / size, 1 - used / (size * 0.95)
        step = 1.05 if available < 0.20 and size < 8192 else 0.95 if shrunk >= 0.20 else 1
        size = min(8192, size * step)
        resizes += step != 1 and t_s >= 48 * 3600
    return resizes


def median(runs, key):
    values = [r[key] for r in runs if r[key] is not None]
    return round(statistics.median(values), 3) if values else None


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default="build")
    p.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS", "3")))
    args = p.parse_args()
    build = os.path.abspath(args.build)
    results = {}
    env = Env(build, "bench-resize")
    try:
        host = Group(env).add("alpha", host={"capacity": {"vcpus": 4, "memory": "1G"}}, policies=POLICIES, decide=DECIDE).start()
        for law in ("ours", "mom-like"):
            runs = [one_run(host, law, i) for i in range(args.runs)]
            results[law] = {key: median(runs, key) for key in runs[0]}
            results[law]["steady_actions_per_h"] = (steady_ours if law == "ours" else steady_mom)(build, env.tmp)
    finally:
        env.close()
    out = {**results["ours"], "runs": args.runs, "peers": {"mom-like": results["mom-like"]}}
    os.makedirs(os.path.join(build, "bench"), exist_ok=True)
    path = os.path.join(build, "bench", "resize.json")
    with open(path, "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")
    print(json.dumps(out, indent=1))
    print(path)
    return 0 if out["steady_actions_per_h"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
