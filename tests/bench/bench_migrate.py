#!/usr/bin/env python3
"""make bench-migrate: the same guest moved by QEMU's own migration (multifd; multifd+TLS; multifd+zstd+TLS) and by policyd-migrate, alternating,
in one run.

A guest is booted for each case and then moved back and forth between two folders on this machine; who moves it changes each time. Total time is
from the command to the source's QEMU being out of use. Blackout is the longest gap between two heartbeats around the move, less the usual
interval, for all the same. CPU seconds are those of both QEMUs without their vCPU threads, and of both workers. wire_mib is what the
network device carried, both directions, TCP/IP's own included (QEMU's own count takes compressed pages for whole ones). Between the moves bench_limit measures what the machine could do at best.

Writes BUILD/bench/migrate.json: a case that was not run this time stays as it is there. Everything is a median; beside it the spread, and
every single move under "samples". Ratios are the fastest TLS peer's figure divided by ours: above 1 is better.

    bench_migrate.py [--cases NAME,...] [--runs N] [--add]          or BENCH_CASES=, BENCH_RUNS=, so that a case fits into a few minutes; --add (or
BENCH_ADD=1) adds the runs to those of that case which the file has: alternating as well, only some time later"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import ballast  # noqa: E402
import links  # noqa: E402
import movers  # noqa: E402
from qemu import newer_qemu, version  # noqa: E402

HB_HZ = 100
TLS_PEERS = ("qemu multifd+tls", "qemu multifd+zstd+tls")

# fill: MiB of the guest's memory with content of that kind; dirty: as the guest's agent takes it; keep: MiB that stay when the rest is freed
CASES = {
    "idle": dict(mib=1024, fill=563, kind="half", what="1 GiB guest, 563 MiB of half-compressible content, nothing writes"),
    "half": dict(mib=1024, fill=563, kind="half", dirty="20 uniform", what="as idle, and 20 MiB/s of it rewritten, anywhere"),
    "incompressible": dict(mib=1024, fill=563, kind="rand", what="1 GiB guest, 563 MiB of random content, nothing writes"),
    "free": dict(mib=4096, fill=1024, keep=32, kind="half", what="4 GiB guest that has freed all but 32 MiB of 1 GiB; nothing writes"),
    "hot": dict(mib=1024, fill=563, kind="half", dirty="max hot 2", what="as idle, and a hot set of 11 MiB (90 % of the writes) rewritten as fast as the guest can"),
    "link-1g": dict(mib=512, fill=280, kind="half", dirty="5 uniform", rate="1gbit", what="512 MiB guest, 280 MiB half-compressible, 5 MiB/s rewritten, link of 1 Gbit/s"),
    "link-100m": dict(mib=128, fill=48, kind="half", dirty="1 uniform", rate="100mbit", what="128 MiB guest, 48 MiB half-compressible, 1 MiB/s rewritten, link of 100 Mbit/s"),
    "size-256m": dict(mib=256, fill=140, kind="half", what="256 MiB guest, 140 MiB half-compressible"),
    "size-1g": dict(mib=1024, fill=563, kind="half", what="1 GiB guest, 563 MiB half-compressible"),
    "size-4g": dict(mib=4096, fill=2252, kind="half", what="4 GiB guest, 2252 MiB half-compressible"),
}


def ended_children_s():
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


class VcpuTime:
    """CPU seconds of a QEMU's vCPU threads and of the whole process, looked at until it ends: what the guest uses is not the mover's."""

    def __init__(self, pid):
        self.tasks = "/proc/%d/task" % pid
        self.vcpu_s = self.all_s = 0.0
        self._tids = {t: self._read(t, "comm").startswith("CPU ") for t in os.listdir(self.tasks)}
        self.look()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _read(self, tid, leaf):
        with open("%s/%s/%s" % (self.tasks, tid, leaf)) as f:
            return f.read()

    def look(self):
        try:
            with open("%s/../stat" % self.tasks) as f:
                fields = f.read().rpartition(")")[2].split()
            vcpu = sum(int(self._read(t, "schedstat").split()[0]) for t, is_vcpu in self._tids.items() if is_vcpu)
            self.vcpu_s, self.all_s = vcpu / 1e9, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return False
        return True

    def _follow(self):
        while not self._over.wait(0.02) and self.look():
            pass

    def stop(self):
        self._over.set()
        self._thread.join()


class Limit:
    """What the machine could do at best, measured between the moves."""

    def __init__(self, env, link):
        self.env, self.link, self.program, self.samples = env, link, env.program("tests/bench/bench_limit"), []

    def run(self, *argv, ns=None):
        return subprocess.run((["nsenter", "--net=/run/netns/" + ns] if ns else []) + [self.program, *argv], check=True, capture_output=True,
                              text=True, timeout=120).stdout

    def measure(self):
        figures = json.loads(self.run("parts", self.env.tmp, "384", str(movers.CHANNELS)))
        if self.link.rate:
            left, right = self.link.ends
            listener = self.env.popen(["nsenter", "--net=/run/netns/" + right, self.program, "listen", self.link.address(right)],
                                      stdout=subprocess.PIPE, text=True)
            port = listener.stdout.readline().strip()
            mib = "32" if self.link.rate.endswith("gbit") else "8"
            figures["link_tcp_mb_s"] = float(self.run("send", self.link.address(right), port, mib, ns=left))
            listener.wait(30)
        self.samples.append(figures)

    def result(self, ours):
        med = {k: statistics.median(s[k] for s in self.samples) for k in self.samples[0]}
        best_s = ours["ram_mib"] * 1.048576 / med["copy_mb_s"]
        how = ("between the moves of this run, medians: copy_mb_s is a bare copy by two processes of %d threads (read shared memory, AES-128-GCM, loopback "
               "TCP, AES-128-GCM, write fresh shared memory; no digests, no set-up, no guest); the parts alone beside it" % movers.CHANNELS)
        if "link_tcp_mb_s" in med:
            best_s = max(best_s, ours["wire_mib"] * 1.048576 / med["link_tcp_mb_s"])
            how += "; link_tcp_mb_s is plain TCP over the limited link, and counts here for the octets that we put on the wire"
        return dict(med, seconds=best_s, how=how + "; seconds is what our octets would take so, share_of_limit is that by our total time")


def forget_ram(qemu):
    """Its RAM file would stay until the case ends: 24 moves of 1 GiB are more than this machine has."""
    if os.path.exists(qemu.ram):
        os.unlink(qemu.ram)


class Bench:
    def __init__(self, env, name, runs, plain, version):
        self.version = version  # what Qemu() is given
        self.env, self.name, self.case, self.runs = env, name, CASES[name], runs
        self.link = links.Limited(env, self.case["rate"]) if "rate" in self.case else links.Loopback(env)
        kinds = movers.MOVERS + ((movers.OursPlain,) if plain else ())
        self.movers = [m(env, os.path.join(env.tmp, "%s-%d" % (name, i)), self.link) for i, m in enumerate(kinds)]
        self.samples = {m.name: [] for m in self.movers}
        self.harmed = {}  # moves after which the guest was not what it had been, by mover
        self.limit, self.n = Limit(env, self.link), 0

    def boot(self):
        self.qemu = ballast.Qemu(self.env, mem_mib=self.case["mib"], base=self.base(), ns=self.link.ends[0], **self.version)
        self.qemu.creds = False
        beats = self.qemu.heartbeats()
        beats.wait_ready()
        beats.stop()
        self.qemu.cmd("hb %d" % HB_HZ)
        self.qemu.cmd("fill %dM %s" % (self.case["fill"], self.case["kind"]))
        if "keep" in self.case:
            self.qemu.cmd("free %dM" % (self.case["fill"] - self.case["keep"]))
        if "dirty" in self.case:
            self.qemu.cmd("dirty " + self.case["dirty"])

    def base(self):
        self.n += 1
        return os.path.join(self.env.tmp, "%s.%d" % (self.name, self.n))

    def make_holes(self, q):
        """QEMU's own migration leaves a page for each hole at either end; free-page reporting does not report it again. As it was before."""
        q.qmp("stop")
        self.limit.run("punch", q.ram)
        q.qmp("cont")

    def one(self, mover):
        """One move: its figures, or None: a peer did not bring the guest over, and another one was made."""
        src = self.qemu
        dst = src.target(self.base(), ns=self.link.other(src.ns))
        dst.creds = False
        beats = src.heartbeats(dst)
        dst.qmp("query-status")
        if "keep" in self.case:
            self.make_holes(src)
        beats.wait_beats(HB_HZ // 2)
        filled = src.stat()["filled"]
        began = beats.mark()
        at_src, at_dst, ended = VcpuTime(src.pid), VcpuTime(dst.pid), ended_children_s()
        src_before, dst_before, guest_before = at_src.all_s, at_dst.all_s, at_src.vcpu_s + at_dst.vcpu_s
        wire = self.link.bytes(dst.pid)
        try:
            figures = mover.move(src, dst)
        except (OSError, RuntimeError, ballast.Timeout) as why:
            if mover.name.startswith("ours"):
                raise
            beats.stop()
            return self.lost(mover, repr(why), src, dst)
        figures["wire_mib"] = (self.link.bytes(dst.pid) - wire) / 2**20
        src.wait_end(60)
        forget_ram(src)
        for v in (at_src, at_dst):
            v.stop()
        at_dst.look()
        # All children that ended meanwhile are the source's QEMU (its whole life: what it had used before is taken off) and the workers.
        used = ended_children_s() - ended - src_before + at_dst.all_s - dst_before
        figures["cpu_s"] = max(0.0, used - (at_src.vcpu_s + at_dst.vcpu_s - guest_before))
        try:
            beats.wait_beats(HB_HZ // 2, timeout=30, stream="new")
            alive = dst.stat()["filled"] == filled
        except ballast.Timeout:
            alive = False
        report = beats.report(since=began)
        wrong = report.lost + report.repeated  # QEMU's own may print a heartbeat twice over a slow link
        beats.stop()
        self.qemu = dst
        if mover.name.startswith("ours") and (not alive or report.failures or wrong):
            raise RuntimeError("the guest was harmed: %s" % report)
        if not alive or report.failures:
            # Seen with QEMU 7.2's multifd+zstd under dirtying: the guest came up anew and empty, or stood for good.
            return self.lost(mover, report, dst)
        figures["blackout_ms"], figures["worst_quiet_gap_ms"], figures["beats_wrong"] = report.blackout_ms, report.worst_quiet_gap_ms, wrong
        return figures

    def lost(self, mover, why, *qemus):
        """A peer did not bring the guest over: the next one shall not move that."""
        print("%-14s %-21s did not bring the guest over (%s); another one is made" % (self.name, mover.name, why), flush=True)
        self.harmed[mover.name] = self.harmed.get(mover.name, 0) + 1
        for q in qemus:
            q.kill()
            forget_ram(q)
        self.boot()

    def run(self):
        self.boot()
        for i in range(self.runs + 1):
            for mover in self.movers if i % 2 else reversed(self.movers):
                f = self.one(mover)
                if not f:
                    continue
                print("%-14s %-21s %s%s" % (self.name, mover.name, "  ".join("%s %.3g" % kv for kv in f.items()), "" if i else "  (warm-up)"), flush=True)
                if i:
                    self.samples[mover.name].append(f)
            self.limit.measure()
        if "dirty" in self.case:
            self.qemu.cmd("dirty 0")
        self.qemu.cmd("verify", timeout=300)
        self.qemu.kill()

    def result(self, old):
        """The case's entry of the file; @old: samples of earlier runs to be added to, or {}."""
        samples = {n: old.get("samples", {}).get(n, []) + fs for n, fs in self.samples.items()}
        self.limit.samples = old.get("limit_samples", []) + self.limit.samples
        ours = medians(samples["ours"])
        harmed = {n: old.get("harmed", {}).get(n, 0) + self.harmed.get(n, 0) for n in {*old.get("harmed", {}), *self.harmed}}
        return dict(evaluate(samples, self.limit.result(ours)), harmed=harmed, case=self.name, what=self.case["what"], guest_mib=self.case["mib"], samples=samples,
                    limit_samples=self.limit.samples)


def medians(figures):
    return {k: statistics.median(f[k] for f in figures) for k in figures[0]}


def evaluate(samples, limit):
    """Medians, spread and ratios of all moves of a case."""
    peers = {n: medians(fs) for n, fs in samples.items() if fs}
    ours = peers.pop("ours")
    best = min((n for n in TLS_PEERS if n in peers), key=lambda n: peers[n]["total_s"])

    def ratio(k, peer):
        return peers[peer][k] / ours[k] if ours[k] else None
    out = {"runs": len(samples["ours"]), "ours": ours, "peers": peers, "fastest_tls_peer": best, "ratio_total": ratio("total_s", best),
           "ratio_blackout": ratio("blackout_ms", best), "ratio_cpu": ratio("cpu_s", best),
           "ratio_total_plain_multifd": ratio("total_s", "qemu multifd") if "qemu multifd" in peers else None, "limit": limit, "share_of_limit": limit["seconds"] / ours["total_s"],
           "spread": {n: {k: [min(f[k] for f in fs), max(f[k] for f in fs)] for k in fs[0]} for n, fs in samples.items() if fs}}
    if movers.OursPlain.name in peers:
        out["without_tls"] = peers.pop(movers.OursPlain.name)
        out["tls_costs"] = ours["total_s"] / out["without_tls"]["total_s"] - 1
    return out


def p99(values):
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))] if values else None


def read(path):
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        return {c["case"]: c for c in json.load(f)["cases"]}


def write(path, case):
    """Put @case into the file, in the place of the one of its name."""
    cases = dict(read(path), **{case["case"]: case})
    ordered = [cases[n] for n in CASES if n in cases]
    blackouts = {}
    for c in ordered:
        for name, samples in c["samples"].items():
            blackouts.setdefault(name, []).extend(s["blackout_ms"] for s in samples)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        json.dump({"blackout_p99_ms": {n: p99(v) for n, v in blackouts.items()}, "moves": {n: len(v) for n, v in blackouts.items()},
                   "cases": ordered}, f, indent=1)
    os.replace(path + ".new", path)


def say(c):
    peer = c["peers"][c["fastest_tls_peer"]]
    print("%s: total %.2f s against %.2f s of %s (%.2fx; %.2fx its plain multifd), blackout %.0f against %.0f ms, CPU %.2f against %.2f s, wire %.0f against "
          "%.0f MiB, %.0f %% of the limit" % (c["case"], c["ours"]["total_s"], peer["total_s"], c["fastest_tls_peer"], c["ratio_total"],
                                             c["ratio_total_plain_multifd"] or 0, c["ours"]["blackout_ms"], peer["blackout_ms"], c["ours"]["cpu_s"],
                                             peer["cpu_s"], c["ours"]["wire_mib"], peer["wire_mib"], 100 * c["share_of_limit"]), flush=True)


def choose_qemu():
    """The QEMU that is measured, by us and by its own migration. Before 9.0 the latter loses writes under TCG (tests/README.md), so a newer one is
    taken where it can be had."""
    try:
        chosen = newer_qemu()
    except ballast.Skip as why:
        print("measured with the installed QEMU, whose own migration may lose writes of a guest that is emulated: %s" % why, flush=True)
        chosen = {}
    return chosen, "%d.%d.%d" % version(chosen.get("qemu", "qemu-system-x86_64"), chosen.get("extra", ()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS") or 5))
    parser.add_argument("--cases", default=os.environ.get("BENCH_CASES") or ",".join(CASES))
    parser.add_argument("--add", action="store_true", default=bool(os.environ.get("BENCH_ADD")))
    parser.add_argument("--plain", action="store_true", help="also our engine without TLS, to measure what TLS costs")
    args = parser.parse_args()
    names = args.cases.split(",")
    if set(names) - set(CASES) or args.runs < 1:
        parser.error("cases are %s; runs at least 1" % ", ".join(CASES))
    out = os.path.join(args.build, "bench", "migrate.json")
    chosen, qemu = choose_qemu()
    for name in names:
        env = ballast.Env(os.path.abspath(args.build), "bench-migrate")
        try:
            bench = Bench(env, name, args.runs, args.plain or name == "size-1g", chosen)
            bench.run()
            case = dict(bench.result(read(out).get(name, {}) if args.add else {}), qemu=qemu)
        except BaseException:
            env.failed()
            raise
        finally:
            env.close()
        write(out, case)
        say(case)
    print(out)


if __name__ == "__main__":
    main()
