#!/usr/bin/env python3
"""The decide tables: one case a rule, written here in short and spelled out as cases/NAME.json.

    python3 tests/unit/decide/make_cases.py && BALLAST_CASES_WRITE=1 build/tests/unit/decide/test_tables

A case is a snapshot, `expect` (the actions, by hand: this is the rule) and what must be said (`says`: parts of candidates' and notes'
texts). test_tables checks those, then compares the plan, but for predicted figures, with the recorded one."""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
M, G = 1 << 20, 1 << 30
NOW = 1_800_000_000_000
CASES = []


def merge(a, b):
    for k, v in b.items():
        if isinstance(v, dict) and isinstance(a.get(k), dict):
            merge(a[k], v)
        else:
            a[k] = v
    return a


def dom(name, vcpus=1, mem=1 * G, util=20, avail=0.30, tags=(), cluster="", vmin=1, vmax=8, mmin=128 * M, mboot=8 * G, **over):
    """A running domain with a CPU and a memory policy; util in percent, avail as a share."""
    n = sum(ord(c) * 31 ** i for i, c in enumerate(name)) % (1 << 48)
    d = {
        "spec": {"name": name, "uuid": "00000000-0000-4000-8000-%012x" % n, "vcpus": {"min": vmin, "boot": vmin, "max": vmax},
                 "memory": {"min": mmin, "boot": mboot, "max": mboot}, "disks": [{"volume": "v-" + name}], "tags": list(tags),
                 "cluster": cluster},
        "vcpus": vcpus, "mem_bytes": mem, "resident_bytes": int(mem * (1 - avail)) + 32 * M,
        "util_fast": util, "util_slow": util, "over_upper": 5 if util > 80 else 0, "under_lower": 5 if util < 30 else 0,
        "mem_known": True, "mem_available": int(mem * avail), "mem_free": int(mem * avail / 2), "swap_in_bps": 0, "major_faults_ps": 0,
        "mem_short": 5 if avail < 0.15 else 0, "dirty_bps": 2e6, "started_ms": NOW - 7_200_000,
        "policy": {"cpu": {"set": True, "util_lower": 30, "util_upper": 80, "attack": 1, "decay": 1}, "memory": {"set": True},
                   "importance": 50, "cpu_from": "std", "memory_from": "std", "relocate_from": "std"},
    }
    return merge(d, over)


def batch(name, **kw):
    """A donor without bounds of its own."""
    return dom(name, **merge({"util": 3, "avail": 0.70, "policy": {"cpu": {"set": False}, "memory": {"set": False}, "importance": 10,
                                                                "cpu_from": "", "memory_from": ""}}, kw))


def peer(name="beta", vcpus=(16, 4), mem=(64 * G, 8 * G), **over):
    return merge({"name": name, "vcpus_total": vcpus[0], "vcpus_given": vcpus[1], "mem_total": mem[0], "mem_given": mem[1],
                  "cpu_util": 20, "link_bps": 400_000_000}, over)


def case(name, about, domains, expect, says=(), peers=(), vcpus=None, mem=None, **over):
    """vcpus, mem: the host's total; None = exactly what the domains have, so nothing is free."""
    s = {"version": 1, "now_ms": NOW, "minute_of_day": 600, "weekday": 0, "host": "alpha",
         "vcpus_total": sum(d["vcpus"] for d in domains) if vcpus is None else vcpus,
         "mem_total": sum(d["mem_bytes"] for d in domains) if mem is None else mem,
         "domains": list(domains), "peers": list(peers)}
    CASES.append((name, {"about": about, "expect": list(expect), "says": list(says), "snapshot": merge(s, over)}))


# ---- calm ----
case("steady", "all within bounds: nothing, and each domain's figures say why", [dom("web1", util=70), dom("web3", util=71)], [],
     ["web3 stays: util 71 %, bounds 30..80 %"], peers=[peer()])
case("no-policy", "no policy, no opinion, however busy it is", [batch("batch1", util=100, avail=0.02)], [], ["no policy bounds its cpu"], vcpus=4, mem=8 * G)
case("unknown", "nothing measured: no need, no giving", [dom("web1", vcpus=2, util=99), batch("new1", vcpus=4, util=-1, mem_known=False)], [],
     ["web1 needs 1 vcpu more"])
case("inactive", "an inactive domain holds nothing and is not spoken of", [dom("web1", util=95), dom("old1", vcpus=4, state="inactive")],
     ["web1 set-vcpus 2"], vcpus=2, mem=1 * G)

# ---- CPU in place ----
case("cpu-free", "free vCPUs go to the needy first, as many as attack allows", [dom("web1", vcpus=2, util=95, policy={"cpu": {"attack": 2}})],
     ["web1 set-vcpus 3"], ["in place: alpha has 1 vcpu free"], vcpus=8)
case("cpu-attack-unlimited", "attack 0: as many as the load asks for", [dom("web1", vcpus=4, util=100, policy={"cpu": {"attack": 0, "util_upper": 60, "util_lower": 20}})],
     ["web1 set-vcpus 7"], vcpus=16)
case("cpu-not-sustained", "above the bound, but not for long enough", [dom("web1", util=95, over_upper=2)], [],
     ["above in 2 of the last 5 samples, 3 are needed"], vcpus=8)
case("cpu-gone-already", "was above the bound, is not any more", [dom("web1", util=60, over_upper=4)], [], vcpus=8)
case("cpu-ceiling-domain", "at the domain's own maximum", [dom("web1", vcpus=4, vmax=4, util=95)], [], ["it has its limit of 4 vcpus"], vcpus=8)
case("cpu-ceiling-policy", "at the policy's maximum", [dom("web1", vcpus=2, util=95, policy={"cpu": {"vcpu_max": 2}})], [],
     ["it has its limit of 2 vcpus"], vcpus=8)
case("cpu-given-elsewhere", "what incoming domains have reserved is not free", [dom("web1", util=95)], [], ["web1 needs 1 vcpu more"], vcpus=4,
     vcpus_given=4, mem=8 * G)
case("cpu-donor", "nothing free: the idle donor gives, then the needy one gets", [dom("web1", util=95), batch("batch1", vcpus=2)],
     ["batch1 set-vcpus 1", "web1 set-vcpus 2 after batch1"], ["in place: batch1 gives 1 vcpu (idle 97 %)"])
case("cpu-donor-importance", "the least important donor first, even if another is more idle",
     [dom("web1", util=95), batch("b1", vcpus=2, util=20), batch("b2", vcpus=4, util=1, policy={"importance": 20})],
     ["b1 set-vcpus 1", "web1 set-vcpus 2 after b1"])
case("cpu-donor-idle", "of equally important donors the more idle one", [dom("web1", util=95), batch("b1", vcpus=2, util=30), batch("b2", vcpus=2, util=2)],
     ["b2 set-vcpus 1", "web1 set-vcpus 2 after b2"])
case("cpu-donors-chain", "two donors for one need: one after the other, then the growth",
     [dom("web1", vcpus=2, util=100, policy={"cpu": {"attack": 2, "util_upper": 50, "util_lower": 20}}), batch("b1", vcpus=2), batch("b2", vcpus=2)],
     ["b1 set-vcpus 1", "b2 set-vcpus 1 after b1", "web1 set-vcpus 4 after b2"])
case("cpu-donor-floor", "a donor at its floor gives nothing", [dom("web1", util=95), batch("b1", vcpus=2, vmin=2)], [], ["web1 needs 1 vcpu more"])
case("cpu-donor-busy-itself", "a donor that would be above its own bound afterwards gives nothing", [dom("web1", util=95), dom("web2", vcpus=2, util=45)], [],
     ["web1 needs 1 vcpu more"])
case("cpu-donor-held", "a held donor is left alone", [dom("web1", util=95), batch("b1", vcpus=4, held=True, hold_reason="load test")], [],
     ["b1 is held (load test)"])
case("cpu-need-held", "a held domain in need is left alone too", [dom("web1", util=95, held=True)], [], ["web1 is in need, but is held"], vcpus=8)
case("cpu-need-busy", "one thing at a time", [dom("web1", util=95, busy=True)], [], ["is in need, but has an operation under way"], vcpus=8)
case("cpu-need-dwells", "not again so soon after the last change", [dom("web1", util=95, last_resize_ms=NOW - 4000)], [],
     ["was changed 4 s ago and is left alone for 11 s more"], vcpus=8)
case("cpu-donor-dwells", "a donor that only rests is waited for; nothing is moved meanwhile",
     [dom("web1", util=95), batch("b1", vcpus=4, last_resize_ms=NOW - 5000)], [], ["web1 needs 1 vcpu more", "waits: b1 could give"], peers=[peer()])
case("cpu-two-needs", "the more important need gets the only free vCPU", [dom("web1", util=99), dom("web2", util=85, policy={"importance": 70})],
     ["web2 set-vcpus 2"], ["web1 needs 1 vcpu more"], vcpus=3)
case("cpu-release", "below util-lower for long enough: decay gives one back", [dom("web1", vcpus=4, util=10)], ["web1 set-vcpus 3"],
     ["gives 1 vcpu back (util 10 %, below 30 %"], vcpus=8)
case("cpu-release-all", "decay 0: down to what the load needs", [dom("web1", vcpus=8, util=12, policy={"cpu": {"decay": 0}})], ["web1 set-vcpus 2"], vcpus=8)
case("cpu-release-margin", "what is left would be within elastic-margin of the bound: it keeps it",
     [dom("web1", vcpus=2, util=29, policy={"cpu": {"util_upper": 60, "elastic_margin": 5}})], [], ["web1 stays"], vcpus=8)
case("cpu-release-slow", "a short lull is no reason: the minute's average is above", [dom("web1", vcpus=4, util=10, util_slow=50)], [], vcpus=8)
case("cpu-release-floor", "never below vcpu-min", [dom("web1", vcpus=2, util=1, policy={"cpu": {"vcpu_min": 2}})], [], vcpus=8)

# ---- parts of vCPUs, where the host can cap ----
case("part-donor", "no whole vCPU is to be had: a donor that uses 1.2 of 2 is capped to what leaves it below its bound, and the need gets that",
     [dom("web1", util=95), batch("b1", vcpus=2, util=60)], ["b1 set-vcpus 2 at most 150 %", "web1 set-vcpus 2 at most 150 % after b1"],
     ["b1 gives 0.5 of a vcpu by a cap (idle 40 %)"], caps=True)
case("part-no-caps", "the same where the host cannot cap", [dom("web1", util=95), batch("b1", vcpus=2, util=60)], [], ["web1 needs 1 vcpu more"])
case("part-whole-first", "a whole vCPU is preferred", [dom("web1", util=95), batch("b1", vcpus=2, util=60), batch("b2", vcpus=2, util=10)],
     ["b2 set-vcpus 1", "web1 set-vcpus 2 after b2"], caps=True)
case("part-refused", "a guest that does not give its vCPU up is not asked: it is capped",
     [dom("web1", util=95), batch("b1", vcpus=4, unplug_frozen_until_ms=NOW + 60000)],
     ["b1 set-vcpus 4 at most 300 %", "web1 set-vcpus 2 after b1"], caps=True)
case("part-floor", "never below its floor", [dom("web1", util=95), batch("b1", vcpus=2, vmin=2, util=5)], [], ["web1 needs 1 vcpu more"], caps=True)
case("part-free", "what is free of a vCPU counts", [dom("web1", util=95), batch("b1", vcpus=2, cpu_cap=130, util=78)],
     ["web1 set-vcpus 2 at most 170 %"], ["alpha has 0.7 of a vcpu free"], caps=True, vcpus=3)
case("part-grow", "who has a part already gets the rest of the vCPU", [dom("web1", vcpus=2, cpu_cap=150, util=95)], ["web1 set-vcpus 2"], caps=True, vcpus=4)
case("part-then-whole", "a capped donor that has come to rest gives the vCPU itself",
     [dom("web1", vcpus=2, cpu_cap=150, util=95), batch("b1", vcpus=2, cpu_cap=150, util=10)], ["b1 set-vcpus 1", "web1 set-vcpus 2 after b1"], caps=True,
     vcpus=3)
case("part-lift", "a cap that policy set is lifted when there is room", [dom("web1", vcpus=2, cpu_cap=150, cpu_cap_by_policy=True, util=50)],
     ["web1 set-vcpus 2"], ["its cap is lifted"], caps=True, vcpus=4)
case("part-lift-operator", "an operator's is not", [dom("web1", vcpus=2, cpu_cap=150, util=50)], [], caps=True, vcpus=4)
case("part-lift-no-room", "nor one whose part another has", [dom("web1", vcpus=2, cpu_cap=150, cpu_cap_by_policy=True, util=50)], [], caps=True, vcpus=2,
     cpu_given=200)
case("part-two-donors", "several parts make a whole one",
     [dom("web1", util=95), batch("b1", vcpus=2, util=60), batch("b2", vcpus=2, util=60, policy={"importance": 20})],
     ["b1 set-vcpus 2 at most 150 %", "b2 set-vcpus 2 at most 150 % after b1", "web1 set-vcpus 2 after b2"], caps=True)

# ---- memory in place ----
case("mem-free", "short of memory, the host has some: up to free-lower + 10 percent available", [dom("web1", avail=0.05)], ["web1 set-memory 1298M"],
     ["in place: alpha has 274M free"], mem=8 * G)
case("mem-not-sustained", "short for a moment only", [dom("web1", avail=0.12, mem_short=1)], [], ["below in 1 of the last 5 samples, 3 are needed"], mem=8 * G)
case("mem-ceiling", "has all that it may have", [dom("web1", avail=0.05, mboot=1 * G)], [], ["it has its limit of 1.0G"], mem=8 * G)
case("mem-ceiling-policy", "memory-max ends the growth", [dom("web1", avail=0.05, policy={"memory": {"mem_max": 1100 * M}})], ["web1 set-memory 1100M"], mem=8 * G)
case("mem-no-statistics", "a guest without balloon statistics has no need that can be seen", [dom("web1", avail=0.01, mem_known=False)], [],
     ["memory statistics are not there"], mem=8 * G)
case("cpu-donor-refused", "a guest that refused to give a vCPU up is not asked again for a while",
     [dom("web1", util=95), batch("b1", vcpus=4, unplug_frozen_until_ms=NOW + 60000)], [], ["web1 needs 1 vcpu more"])
case("cpu-release-refused", "nor for nobody's need", [dom("web1", vcpus=4, util=5, unplug_frozen_until_ms=NOW + 60000)], [])
case("mem-release", "what the use of days says that it will not need is given back, without anybody's need",
     [dom("web1", util=50, avail=0.70, mem_advised=600 * M, policy={"memory": {"sizing": True}})], ["web1 set-memory 600M"])
case("mem-release-floor", "not below 1.3 times what it uses now",
     [dom("web1", util=50, avail=0.50, mem_advised=200 * M, policy={"memory": {"sizing": True}})], ["web1 set-memory 666M"])
case("mem-release-small", "a small gain is not worth it",
     [dom("web1", util=50, avail=0.70, mem_advised=900 * M, policy={"memory": {"sizing": True}})], [])
case("mem-release-not-asked", "only where the policy says so", [dom("web1", util=50, avail=0.70, mem_advised=600 * M)], [])
case("dry-run", "what a dry run would do is said; the other one's is done",
     [dom("web1", util=95, policy={"cpu_dry": True}), dom("web2", util=95)], ["web1 set-vcpus 2", "web2 set-vcpus 2"], vcpus=8)
case("mem-emergency", "a reserve that is gone does not wait for more samples, nor for the dwell time",
     [dom("web1", avail=0.08, mem_short=1, last_resize_ms=NOW - 5000)], ["web1 set-memory 1258M"], mem=8 * G)
case("mem-emergency-in-place", "but it moves nothing", [dom("web1", avail=0.08, mem_short=1, need_since_ms=NOW - 2000)], [], ["the need has lasted 2 s"],
     mem=1 * G, peers=[peer()])
case("mem-emergency-free-rule", "the plain rule knows no emergency",
     [dom("web1", avail=0.08, mem_short=1, policy={"memory": {"law": "free-rule"}})], [], mem=8 * G)
case("mem-above-boot", "virtio-mem: up to the domain's maximum",
     [dom("web1", avail=0.05, spec={"memory": {"boot": 1 * G, "max": 2 * G}})], ["web1 set-memory 1298M"], mem=8 * G)
case("mem-tax", "idle memory is taxed: the more important donor that uses a tenth of it gives before one that uses half",
     [dom("web1", avail=0.05), batch("rich", mem=2 * G, avail=0.90, policy={"importance": 60}), batch("thrifty", mem=2 * G, avail=0.50, policy={"importance": 50})],
     ["rich set-memory 1774M", "web1 set-memory 1298M after rich"])
case("mem-tax-not", "not one that is far more important",
     [dom("web1", avail=0.05), batch("rich", mem=2 * G, avail=0.90, policy={"importance": 90}), batch("thrifty", mem=2 * G, avail=0.50, policy={"importance": 50})],
     ["thrifty set-memory 1774M", "web1 set-memory 1298M after thrifty"])
case("mem-donor", "the idle donor is shrunk by what is needed, then the needy one grows", [dom("web1", avail=0.05), batch("batch1", mem=2 * G)],
     ["batch1 set-memory 1774M", "web1 set-memory 1298M after batch1"], ["in place: batch1 gives 274M (70 % available)"])
case("mem-donor-huge", "the same in huge pages: what its balloon would take frees nothing", [dom("web1", avail=0.05), batch("batch1", mem=2 * G, huge_pages=True)], [])
case("mem-donor-floor", "not below 1.3 times what it uses", [dom("web1", avail=0.0, mem=2 * G), batch("batch1", mem=1 * G, avail=0.5)],
     ["batch1 set-memory 666M", "web1 set-memory 2406M after batch1"], ["web1 needs 326M more"])
case("mem-donor-lower", "not so far that it would be in need itself",
     [dom("web1", avail=0.0, mem=2 * G), dom("web2", mem=1 * G, avail=0.61, util=50, policy={"memory": {"free_lower": 50, "free_upper": 60}})],
     ["web2 set-memory 834M", "web1 set-memory 2238M after web2"])
case("mem-donor-upper", "a donor within its own bounds gives nothing", [dom("web1", avail=0.05), dom("web2", avail=0.39, util=50)], [], ["web1 needs 274M more"])
case("mem-donor-frozen", "a donor whose last shrink had to be stopped is left alone",
     [dom("web1", avail=0.05), batch("batch1", mem=2 * G, shrink_frozen_until_ms=NOW + 60000)], [], ["web1 needs 274M more"])
case("mem-given-elsewhere", "what incoming domains have reserved is not free", [dom("web1", avail=0.05)], [], ["web1 needs 274M more"], mem=8 * G,
     mem_given=8 * G)
case("cpu-donor-short-of-memory", "a domain in need of memory gets that, and is not asked for CPU meanwhile",
     [dom("web1", util=95, policy={"importance": 70}), dom("web2", vcpus=4, util=10, avail=0.05)],
     ["web2 set-memory 1298M"], ["web1 needs 1 vcpu more"], mem=8 * G)
case("mem-before-cpu", "in need of both: the worse one first, one thing at a time", [dom("web1", util=82, avail=0.02)], ["web1 set-memory 1340M"], vcpus=8, mem=8 * G)
case("mem-swapping", "a guest that swaps in is worse off than one that is only short",
     [dom("web1", avail=0.05), dom("web2", avail=0.10, swap_in_bps=4096)], ["web2 set-memory 1230M"], mem=2 * G + 206 * M)

# ---- moves ----
FULL = dict(vcpus=1, util=95)
case("move-batch", "nothing free, donors at their floor: the cheap one is moved away, trimmed first because that is cheaper",
     [dom("web1", **FULL), batch("batch1", mem=1 * G, avail=0.7, resident_bytes=1 * G), dom("db1", vcpus=2, mem=8 * G, util=75, avail=0.2, policy={"importance": 90})],
     ["batch1 trim-move beta 478M"], ["move batch1: trim to ", "untrimmed for", "move db1: live to beta"], peers=[peer()])
case("move-no-trim", "nothing to trim away: plainly live", [dom("web1", **FULL), batch("batch1", mem=512 * M, avail=0.1, mem_known=False, resident_bytes=200 * M)],
     ["batch1 live-move beta"], peers=[peer()])
case("move-needy-itself", "the only domain goes where there is more", [dom("web1", vcpus=4, util=95)], ["web1 live-move beta"],
     ["finds 1 vcpu"], peers=[peer()])
case("move-for-memory", "memory is what is missing", [dom("web1", avail=0.05, mem=1 * G), dom("web2", mem=1 * G, avail=0.3, util=50, policy={"importance": 20})],
     ["web2 live-move beta"], ["frees 274M"], peers=[peer()])
case("move-best-peer", "the peer with the faster, proven link", [dom("web1", **FULL), batch("b1", util=50)], ["b1 live-move gamma"], ["move b1: live to gamma"],
     peers=[peer("beta", link_bps=50_000_000), peer("gamma", link_bps=800_000_000)])
case("move-cold", "a cluster node goes cold, which costs next to nothing", [dom("web1", mem=8 * G, avail=0.2, **FULL), dom("db1", cluster="orders", util=70, cluster_available=3, cluster_min=2,
     policy={"relocate": "cold", "importance": 90}), dom("big1", mem=16 * G, mboot=16 * G, avail=0.2, util=70, policy={"importance": 90})],
     ["db1 cold-move beta"], ["move db1: cold to beta"], peers=[peer()])
case("move-cold-min", "but not below the cluster's min-available", [dom("web1", **FULL), dom("db1", cluster="orders", util=70, cluster_available=2, cluster_min=2,
     policy={"relocate": "cold"}), dom("self", util=70, movable=False, immovable_why="a device is passed through")],
     ["web1 live-move beta"], ["cluster \"orders\" would be below min-available 2 (2 run now)", "cannot be moved: a device is passed through"], peers=[peer()])
case("move-never", "relocate = never, held, moved lately, busy: each says so", [dom("web1", policy={"relocate": "never", "relocate_from": "pinned"}, **FULL),
     dom("w2", util=70, last_move_ms=NOW - 600_000), dom("w3", util=70, held=True), dom("w4", util=70, busy=True)], [],
     ["never moved, by policy \"pinned\"", "its last move was 10 min ago; not again for 50 min (decide.cooldown)", "w3 is held", "has an operation under way"], peers=[peer()])
case("move-no-room", "no peer has room", [dom("web1", policy={"relocate": "never"}, **FULL), dom("w2", vcpus=2, util=70, mem=4 * G)], [],
     ["beta has 1 of the 2 vcpus free that it needs; gamma has 1.0G of the"], peers=[peer("beta", vcpus=(4, 3)), peer("gamma", mem=(8 * G, 7 * G))])
case("move-no-room-itself", "no room for the one in need itself", [dom("web1", mem=4 * G, **FULL)], [], ["beta has 1.0G of the 4.0G free that it needs"],
     peers=[peer(mem=(8 * G, 7 * G))])
case("move-overload", "a peer that would be overloaded by it", [dom("web1", policy={"relocate": "never"}, **FULL), dom("w2", vcpus=2, util=75)], [],
     ["beta would be at 89 % of its CPU"], peers=[peer(cpu_util=80)])
case("move-peer-states", "down, in maintenance, failing, busy", [dom("web1", **FULL)], [],
     ["a-down does not answer; b-maint accepts nothing (maintenance); the last 3 moves to c-fails failed; d-busy has 1 move under way"],
     peers=[peer("a-down", up=False), peer("b-maint", accepts=False), peer("c-fails", recent_failures=3), peer("d-busy", moves=1)])
case("move-no-peer", "there is nobody else", [dom("web1", **FULL)], [], ["there is no other host"])
case("move-limit-now", "one move at a time", [dom("web1", **FULL)], [], ["1 move is under way, at most 1 at a time"], peers=[peer()], moves_now=1)
case("move-limit-hour", "and so many in an hour", [dom("web1", **FULL)], [], ["12 moves in the last hour, at most 12"], peers=[peer()], moves_last_hour=12)
case("move-too-dear", "a slight need of an unimportant domain is not worth moving 200G",
     [dom("web1", util=81, policy={"importance": 5, "relocate": "never"}), dom("big1", mem=200 * G, mboot=200 * G, avail=0.05, mem_short=0, util=70, policy={"importance": 95})], [],
     ["times its price is wanted", "no move is possible and worth it"], peers=[peer(mem=(512 * G, 0))])
case("move-blackout", "it writes faster than the link carries", [dom("web1", dirty_bps=2e9, **FULL)], [], ["it would stand still for"], peers=[peer()])
case("move-gain-for-price", "none meets all of it: the best gain for its price, not the cheapest",
     [dom("web1", vcpus=2, util=100, policy={"relocate": "never", "cpu": {"attack": 0, "util_upper": 40, "util_lower": 10}}),
      dom("w1", vcpus=1, util=70, mem=400 * M), dom("w2", vcpus=2, util=70, mem=600 * M)],
     ["w2 live-move beta"], ["move w1: live to beta", "does not meet the need; moving w2 does more"], peers=[peer()])
case("move-one", "two needs, one move", [dom("web1", vcpus=2, util=95), dom("web2", vcpus=2, util=95), dom("w3", vcpus=4, util=70)], ["w3 live-move beta"],
     ["web2 needs 1 vcpu more"], peers=[peer()])
case("move-and-in-place", "what can be had in place is taken, the rest is made by a move",
     [dom("web1", vcpus=2, util=100, policy={"cpu": {"attack": 4, "util_upper": 50, "util_lower": 20}}), batch("b1", vcpus=2), dom("w2", vcpus=2, util=70)],
     ["b1 set-vcpus 1", "web1 set-vcpus 3 after b1", "w2 live-move beta"], peers=[peer()])


# ---- calm ----
def tight(**kw):
    """One domain in need on a full host, with nowhere to grow but elsewhere."""
    return dom("web1", **merge(dict(FULL), kw))


H = 3_600_000
case("calm-boot", "a booting guest looks busy: it is left alone for a while", [dom("web1", util=100, started_ms=NOW - 20_000)], [],
     ["web1 is in need, but booted 20 s ago, and a booting guest looks busy: it is left alone for 40 s more"], vcpus=8)
case("calm-boot-over", "the same a minute after its boot", [dom("web1", util=100, started_ms=NOW - 61_000)], ["web1 set-vcpus 2"], vcpus=8)
case("calm-boot-donor", "a booting donor is waited for, as one that rests; nothing is moved meanwhile",
     [dom("web1", util=95), batch("b1", vcpus=4, started_ms=NOW - 5_000)], [], ["waits: b1 could give, but booted 5 s ago"], peers=[peer()])
case("calm-young", "in place at once, but nothing is moved for a need that is young", [tight(need_since_ms=NOW - 20_000)], [],
     ["the need has lasted 20 s; something is moved for one that lasts 60 s (decide.move-after)"], peers=[peer()])
case("calm-old-enough", "the same need a little later", [tight(need_since_ms=NOW - 60_000)], ["web1 live-move beta"], peers=[peer()])
case("calm-return", "it came from beta two hours ago, and its need is as old: not back", [tight(came_from="beta", arrived_ms=NOW - 2 * H,
     last_move_ms=NOW - 2 * H, need_since_ms=NOW - 2 * H + 60_000)], [],
     ["it came from beta 2.0 h ago and does not go back for 4.0 h, but for a new need (decide.return-after)"], peers=[peer()])
case("calm-return-elsewhere", "but it may go on to gamma", [tight(came_from="beta", arrived_ms=NOW - 2 * H, last_move_ms=NOW - 2 * H,
     need_since_ms=NOW - 2 * H + 60_000)], ["web1 live-move gamma"], peers=[peer(), peer("gamma")])
case("calm-return-new", "back, because the need began long after it came", [tight(came_from="beta", arrived_ms=NOW - 2 * H, last_move_ms=NOW - 2 * H,
     need_since_ms=NOW - H // 2)], ["web1 live-move beta"], peers=[peer()])
case("calm-return-later", "back, because six hours are over", [tight(came_from="beta", arrived_ms=NOW - 6 * H, last_move_ms=NOW - 6 * H)],
     ["web1 live-move beta"], peers=[peer()])
for word, minutes, says in (("cancelled", 300, "its last move was cancelled 300 min ago (1 in a row); not again for 60 min"),
                            ("no-convergence", 59, "its last move would not converge 59 min ago (1 in a row); not again for 60 s"),
                            ("fault", 30, "its last move failed 30 min ago (1 in a row); not again for 30 min")):
    says = says.replace("300 min ago", "5.0 h ago")
    case("calm-failed-" + word, "a failure that lies with the domain: no other host is tried either", [tight(fails=1, last_fail=word,
         last_fail_ms=NOW - minutes * 60_000, last_fail_peer="beta")], [], [says], peers=[peer(), peer("gamma")])
for word, minutes, says in (("refused", 4, "its last move to beta was refused there 4 min ago (1 in a row); not again for 60 s"),
                            ("link", 9, "its last move to beta lost its connection 9 min ago (1 in a row); not again for 60 s")):
    says = says.replace("4 min ago", "4 min ago")
    case("calm-failed-" + word, "a failure that lies with the way: another host is tried", [tight(fails=1, last_fail=word,
         last_fail_ms=NOW - minutes * 60_000, last_fail_peer="beta")], ["web1 live-move gamma"], peers=[peer(), peer("gamma")])
    case("calm-failed-%s-only" % word, "and where there is no other, it waits", [tight(fails=1, last_fail=word, last_fail_ms=NOW - minutes * 60_000,
         last_fail_peer="beta")], [], [says], peers=[peer()])
case("calm-failed-doubles", "each failure in a row doubles the wait", [tight(fails=3, last_fail="link", last_fail_ms=NOW - 39 * 60_000, last_fail_peer="beta")],
     [], ["39 min ago (3 in a row); not again for 60 s"], peers=[peer()])
case("calm-failed-over", "then it is tried again", [tight(fails=3, last_fail="link", last_fail_ms=NOW - 40 * 60_000, last_fail_peer="beta")],
     ["web1 live-move beta"], peers=[peer()])
case("budget-domain-moves", "moved too often in this hour", [tight(moves_last_hour=2)], [], ["it was moved 2 times in the last hour, at most 2"], peers=[peer()])
case("budget-bytes", "the hour's bytes are nearly spent: the smaller one goes, though the larger would do as well",
     [tight(policy={"relocate": "never"}), dom("w2", util=70, mem=2 * G), dom("w3", util=70, mem=1 * G, policy={"importance": 90})], ["w3 live-move beta"],
     ["it would send 1."], peers=[peer()], bytes_last_hour=9 * G, decide={"bytes_per_hour": 10 * G})
case("budget-domain-bytes", "one domain's bytes", [tight(bytes_last_hour=3 * G)], [], ["its moves sent 3.0G in the last hour, at most 3.5G (decide.domain-bytes-per-hour)"],
     peers=[peer()], decide={"domain_bytes_per_hour": 3584 * M})
case("budget-blackout", "the hour's blackout is spent", [tight()], [],
     ["domains of this host stood still for 60 s in the last hour, at most 60 s (decide.blackout-per-hour)"], peers=[peer()], blackout_last_hour_ms=60_000)
case("budget-domain-blackout", "one domain's blackout", [tight(blackout_last_hour_ms=30_000)], [],
     ["it stood still for 30 s in the last hour, at most 30 s (decide.domain-blackout-per-hour)"], peers=[peer()])
case("budget-cold", "a cold move of a drained node is no outage", [tight(policy={"relocate": "never"}), dom("db1", cluster="orders", util=70,
     cluster_available=3, cluster_min=2, policy={"relocate": "cold"})], ["db1 cold-move beta"], peers=[peer()], blackout_last_hour_ms=60_000)


# ---- each method, because it is cheapest; and the near-miss where it is not ----
def stuck(**kw):
    """One in need that never moves itself."""
    return dom("web1", **merge(dict(FULL, policy={"relocate": "never"}), kw))


case("way-bursts", "a host where it would fit, but for its bursts", [stuck(), batch("b1", util=30, vcpus=4, vmin=4, util_p95=100)], [],
     ["beta would be at 87 % of its CPU, more than 85 %"], peers=[peer(cpu_util=62)])
case("way-bursts-not", "the same without bursts", [stuck(), batch("b1", util=30, vcpus=4, vmin=4, util_p95=30)], ["b1 live-move beta"], [], peers=[peer(cpu_util=62)])
case("way-resize", "in place costs nothing, so nothing is moved", [stuck(), batch("b1", vcpus=2)], ["b1 set-vcpus 1", "web1 set-vcpus 2 after b1"], peers=[peer()])
case("way-resize-not", "the same donor at its floor: moved instead", [stuck(), batch("b1", vcpus=2, vmin=2)], ["b1 live-move beta"], peers=[peer()])
case("way-trim", "much that is there and not in use: less to copy is worth the trim", [stuck(), batch("b1", mem=4 * G, avail=0.8, resident_bytes=4 * G)],
     ["b1 trim-move beta 1066M"], ["untrimmed for"], peers=[peer()])
case("way-trim-part", "in use are two thirds: a small trim presses little, a deep one more than it saves",
     [stuck(), dom("w2", mem=4 * G, avail=0.5, resident_bytes=4 * G, util=70, policy={"importance": 50})], ["w2 trim-move beta 2664M"], ["untrimmed for"],
     peers=[peer()])
case("way-trim-not", "the same, but what is free was never touched: there is nothing to save", [stuck(), batch("b1", mem=4 * G, avail=0.8, resident_bytes=900 * M)],
     ["b1 live-move beta"], peers=[peer()])
case("way-live", "a busy guest of which little can be trimmed", [stuck(), dom("w2", util=70, avail=0.2)], ["w2 live-move beta"], peers=[peer()])
case("way-live-not", "the same, but it writes faster than the link carries: nothing", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=2e9)], [],
     ["it would stand still for", "web1 goes short for about 5 min"], peers=[peer()])
HOT = dict(util=70, avail=0.2, dirty_bps=1e6, send_bytes=700e6, wire_ratio=0.5, hot_bytes=100e6)
case("way-differences", "a hot set too large to be sent while it stands, but little of a page changes", [stuck(), dom("w2", delta_share=0.05, **HOT)],
     ["w2 live-move beta"], peers=[peer(wire_bps=118e6)])
case("way-differences-not", "the same, but whole pages change", [stuck(), dom("w2", delta_share=1, **HOT)], [], ["it would stand still for"], peers=[peer(wire_bps=118e6)])
case("way-warm", "the same, but its policy lets it stand still", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=2e9, policy={"relocate": "warm"})],
     ["w2 warm-move beta"], ["move w2: warm to beta"], peers=[peer()])
case("way-warm-not", "it may stand still, but another one need not", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=2e9, policy={"relocate": "warm"}),
     dom("w3", util=70, avail=0.2)], ["w3 live-move beta"], ["move w2: warm to beta"], peers=[peer()])
case("way-postcopy", "the same, but its policy lets post-copy finish it", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=2e9, policy={"postcopy": "allow"})],
     ["w2 live-move beta"], [", by post-copy"], peers=[peer()])
case("way-postcopy-not", "it may, but another one need not", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=2e9, policy={"postcopy": "allow"}),
     dom("w3", util=70, avail=0.2)], ["w3 live-move beta"], ["move w2: live to beta", "by post-copy"], peers=[peer()])
case("way-quiet-long", "a need that has lasted for an hour: policy's ten minutes are worth it", [stuck(need_since_ms=NOW - 3_600_000), dom("w2", util=70, avail=0.2, policy={"quiet_ms": 600_000})],
     ["w2 live-move beta"], [", at a quiet moment within 600 s"], peers=[peer()])
case("way-quiet", "its policy lets it wait for a quiet moment: no longer than half of what its need is expected to last", [stuck(), dom("w2", util=70, avail=0.2, policy={"quiet_ms": 600_000, "postcopy": "allow"})],
     ["w2 live-move beta"], [", at a quiet moment within 150 s"], peers=[peer()])
case("way-bandwidth", "an operator's limit on the bandwidth makes the first one's move long", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=15e6), dom("w3", util=70, avail=0.2, dirty_bps=1e5)],
     ["w3 live-move beta"], ["it would stand still for"], peers=[peer()], bandwidth_bps=10_000_000)
case("way-bandwidth-not", "the same without that limit", [stuck(), dom("w2", util=70, avail=0.2, dirty_bps=15e6), dom("w3", util=70, avail=0.2, dirty_bps=1e5, policy={"relocate": "never"})],
     ["w2 live-move beta"], peers=[peer()])
case("way-cold", "a drained node costs next to nothing: before a small live move", [stuck(), dom("db1", cluster="orders", util=70, cluster_available=3, cluster_min=2,
     policy={"relocate": "cold"}), dom("w2", util=70, avail=0.2)], ["db1 cold-move beta"], peers=[peer()])
case("way-cold-not", "the same without others that serve: its outage is dearer than a live move", [stuck(), dom("db1", util=70, policy={"relocate": "cold"}),
     dom("w2", util=70, avail=0.2)], ["w2 live-move beta"], ["move db1: cold to beta: 16.2 s"], peers=[peer()])
SLIGHT = [dom("web1", util=81, policy={"importance": 5, "relocate": "never"}), dom("big1", mem=16 * G, mboot=16 * G, avail=0.05, mem_short=0, util=70, policy={"importance": 60})]
case("way-nothing", "a slight need that has just begun is not worth moving 16G", SLIGHT, [], ["web1 goes short for about 5 min", "times its price is wanted"],
     peers=[peer(mem=(512 * G, 0))])
case("way-nothing-not", "the same need after an hour: it will last", [merge(dom("web1"), dict(SLIGHT[0], need_since_ms=NOW - 3_600_000)), SLIGHT[1]],
     ["big1 live-move beta"], ["gains 18"], peers=[peer(mem=(512 * G, 0))])
case("choice-caution", "decisions of late brought a tenth of what was predicted: a quarter of the gain counts, and the move is not worth it", [stuck(need_since_ms=NOW - 600_000,
     util=84, policy={"relocate": "never", "importance": 5}), dom("w2", util=70, avail=0.2, mem=2 * G)], [],
     ["4.8 times its price is wanted, for decisions of late brought less than predicted"], peers=[peer()], caution=0.1)
case("choice-caution-not", "the same with good ones", [stuck(need_since_ms=NOW - 600_000, util=84, policy={"relocate": "never", "importance": 5}),
     dom("w2", util=70, avail=0.2, mem=2 * G)], ["w2 live-move beta"], peers=[peer()])

# ---- leaving: a host in maintenance ----
def leaving(name, *domains, expect, says=(), about, **kw):
    case("leave-" + name, about, list(domains), expect, says, **merge({"peers": [peer()], "emptying": True, "emptying_since_ms": NOW - 60_000}, kw))


leaving("one", dom("w1", util=50, avail=0.2), dom("w2", util=50, mem=2 * G, avail=0.2), about="without any need: the largest first, one at a time; nothing else is done",
        expect=["w2 live-move beta"], says=["w2 leaves alpha, which is in maintenance", "as many moves as may be are under way here"])
leaving("two", dom("w1", util=50, avail=0.2), dom("w2", util=50, mem=2 * G, avail=0.2), dom("w3", util=50, mem=512 * M, avail=0.2),
        about="as many at once as max-moves allows here and there", expect=["w2 live-move beta", "w1 live-move beta"], says=["(decide.max-moves)"], decide={"max_moves": 2})
leaving("there-busy", dom("w1", util=50, avail=0.2), about="the target has as many under way as it may: later", expect=[],
        says=["as many moves as may be are under way there"], peers=[peer(moves=1)])
leaving("on-its-way", dom("w1", util=50, avail=0.2, state="transition", moving_to="beta", busy=True), dom("w2", util=50, avail=0.2), about="one is on its way: the other one waits",
        expect=[], says=["w1 is on its way to beta", "as many moves as may be"], moves_now=1)
leaving("methods", dom("w1", util=50, avail=0.2, policy={"relocate": "warm"}), batch("b1", mem=4 * G, avail=0.8, resident_bytes=4 * G),
        dom("c1", mem=3 * G, avail=0.2, util=50, policy={"relocate": "cold"}), about="each by the cheapest way that its policy allows", expect=["b1 trim-move beta 1066M", "c1 cold-move beta",
        "w1 warm-move beta"], says=["the cheapest way that its policy allows"], decide={"max_moves": 5})
leaving("blocked", dom("p1", pinned=True, pin_reason="licence"), dom("h1", held=True, hold_reason="load test"), dom("n1", policy={"relocate": "never"}),
        dom("i1", movable=False, immovable_why="a device is passed through"), dom("s1", state="suspended"), dom("big1", mem=100 * G, mboot=100 * G, avail=0.1, mem_short=0),
        about="what may not leave says why; nobody is touched", expect=[], says=["p1 does not leave alpha: is pinned here (licence)", "h1 does not leave alpha: is held (load test)",
        "n1 does not leave alpha: never moved, by policy", "i1 does not leave alpha: cannot be moved: a device is passed through", "s1 does not leave alpha: is suspended",
        "big1 does not leave alpha: beta has 56G"], decide={"max_moves": 9})
leaving("calm", dom("w1", util=50, avail=0.2, last_move_ms=NOW - 600_000, last_resize_ms=NOW - 1000, came_from="beta", arrived_ms=NOW - 600_000, moves_last_hour=2,
        started_ms=NOW - 5000), about="an operator's word: cool-down, dwell, budgets and the way back do not count", expect=["w1 live-move beta"], moves_last_hour=50, blackout_last_hour_ms=60_000)
leaving("failed", dom("w1", util=50, avail=0.2, fails=1, last_fail="fault", last_fail_ms=NOW - 1000, last_fail_peer="beta"), about="a move of this evacuation that failed is waited out",
        expect=[], says=["its last move failed 1 s ago"])
leaving("failed-before", dom("w1", util=50, avail=0.2, fails=1, last_fail="fault", last_fail_ms=NOW - 61_000, last_fail_peer="beta"), about="one that failed before it was asked for is not",
        expect=["w1 live-move beta"])
leaving("nodes", *[dom("db%d" % i, cluster="orders", util=50, avail=0.2, cluster_available=3, cluster_min=1, policy={"relocate": "cold"}) for i in (1, 2)],
        about="one node of a cluster at a time", expect=["db1 cold-move beta"], says=["another node of its cluster is moving"], decide={"max_moves": 5})
leaving("deadline", dom("w1", util=50, mem=8 * G, avail=0.1, mem_short=0), about="it would not be there before the deadline: not begun", expect=[],
        says=["and the deadline is in 5 s: not begun"], empty_by_ms=NOW + 5000)
leaving("deadline-fits", dom("w1", util=50, mem=8 * G, avail=0.1, mem_short=0), about="with more time", expect=["w1 live-move beta"], empty_by_ms=NOW + 3_600_000)
leaving("room", dom("w1", util=50, mem=3 * G, avail=0.2), dom("w2", util=50, mem=2 * G, avail=0.2), about="what those before it take there is gone: the next one goes to another host",
        expect=["w1 live-move beta", "w2 live-move gamma"], peers=[peer(mem=(4 * G, 0)), peer("gamma", mem=(4 * G, 0), cpu_util=65)], decide={"max_moves": 2})
SPARSE = batch("b1", mem=4 * G, avail=0.8, resident_bytes=900 * M)  # little is there to be sent: a trim alone does not pay
leaving("roomy", SPARSE, dom("w1", util=50, mem=2 * G, avail=0.2), about="both fit as they are", expect=["b1 live-move beta", "w1 live-move beta"], peers=[peer(mem=(64 * G, 0))],
        decide={"max_moves": 2})
leaving("dense", SPARSE, dom("w1", util=50, mem=2 * G, avail=0.2), about="as they are only one of them fits there: the one that may be trimmed is", expect=["b1 trim-move beta 1066M",
        "w1 live-move beta"], peers=[peer(mem=(4352 * M, 0))], decide={"max_moves": 2})
leaving("dense-not", SPARSE, dom("w1", util=50, mem=3500 * M, avail=0.2), about="no trim makes room for both: one goes as is cheapest", expect=["b1 trim-move beta 1066M"], says=["w1 does not leave alpha: beta has"],
        peers=[peer(mem=(4352 * M, 0))], decide={"max_moves": 2})
leaving("unknown", dict(SPARSE, mem_known=False), about="what it uses is not known yet: not trimmed, and said", expect=[], says=["it cannot be trimmed to fit"], peers=[peer(mem=(2 * G, 0))])
leaving("need", dom("w1", util=95), dom("w2", policy={"relocate": "never"}, util=95), batch("b1", vcpus=4, policy={"relocate": "never"}),
        about="meanwhile donors are left alone", expect=["w1 live-move beta"])
case("back-wanted", "another host asks for it back: there, and the cool-down does not count", [dom("w1", util=50, avail=0.2, wanted_on="gamma", came_from="gamma",
     arrived_ms=NOW - 60_000, last_move_ms=NOW - 60_000), dom("w2", util=50)], ["w1 live-move gamma"], ["goes back to gamma, which asks for it"], peers=[peer(), peer("gamma", cpu_util=60)])
BACK = dict(util=50, avail=0.2, wanted_on="beta", wanted_since_ms=NOW - 10_000, fails=1, last_fail="refused", last_fail_peer="beta")
case("back-failed-before", "what failed before it was asked for does not count", [dom("w1", last_fail_ms=NOW - 20_000, **BACK)], ["w1 live-move beta"], peers=[peer()])
case("back-failed", "what failed since is waited out", [dom("w1", last_fail_ms=NOW - 5_000, **BACK)], [], ["its last move to beta was refused there 5 s ago"], peers=[peer()])
case("back-pinned", "but it is pinned here by now", [dom("w1", util=50, avail=0.2, wanted_on="gamma", pinned=True)], [], ["w1 does not leave alpha: is pinned here"],
     peers=[peer(), peer("gamma")])

# ---- the choice: of what meets the need the cheapest ----
RELIEF = [dom("w2", util=70, avail=0.2, mem=512 * M), dom("w3", vcpus=2, util=79, avail=0.2, mem=1 * G)]
case("choice-cheapest", "both meet the need: the cheaper one, though the other relieves the crowded host more", [stuck()] + RELIEF, ["w2 live-move beta"],
     ["meets the need for", "moving w2 does for"], peers=[peer()], host_cpu_util=95)
case("choice-cheapest-not", "the same, but one vcpu is not enough any more: the other one", [stuck(util=100, policy={"relocate": "never", "cpu": {"attack": 2, "util_upper": 40,
     "util_lower": 10}})] + RELIEF, ["w3 live-move beta"], ["does not meet the need; moving w3 does"], peers=[peer()], host_cpu_util=95)
HALF = dict(vcpus=2, util=100, policy={"relocate": "never", "cpu": {"attack": 2, "util_upper": 50, "util_lower": 10}})
BIG = dict(vcpus=2, util=45, mem=20 * G, mboot=20 * G, avail=0.2, policy={"importance": 100, "cpu": {"util_upper": 60}})
case("choice-meets", "half of the need for nearly nothing, or all of it for much: all of it", [stuck(**HALF), dom("w1", util=55, mem=256 * M, avail=0.2,
     policy={"cpu": {"util_upper": 60}}), dom("w2", **BIG)], ["w2 live-move beta"], ["does not meet the need; moving w2 does"],
     peers=[peer(link_bps=50_000_000)], decide={"bytes_per_hour": 0, "domain_bytes_per_hour": 0})
case("choice-meets-not", "the same, but all of it is not worth that much: half of it", [stuck(**HALF), dom("w1", util=55, mem=256 * M, avail=0.2,
     policy={"cpu": {"util_upper": 60}}), dom("w2", **dict(BIG, mem=40 * G, mboot=40 * G))], ["w1 live-move beta"], ["times its price is wanted"],
     peers=[peer(link_bps=50_000_000)], decide={"bytes_per_hour": 0, "domain_bytes_per_hour": 0})
THIRSTY = dom("web1", avail=0.05, policy={"relocate": "never"})
case("choice-memory-met", "less than it asks for, but enough that it is no need any more: met, and cheaper", [THIRSTY, dom("w2", mem=200 * M, util=50),
     dom("w3", mem=2 * G, util=50)], ["w2 live-move beta"], ["frees 200M", "meets the need for"], peers=[peer()])
case("choice-memory-not-met", "a little less, and it would still be a need", [THIRSTY, dom("w2", mem=100 * M, mmin=64 * M, util=50), dom("w3", mem=2 * G, util=50)],
     ["w3 live-move beta"], ["does not meet the need; moving w3 does"], peers=[peer()])
case("gain-both", "one that helps two is moved before a cheaper one that helps one", [stuck(vcpus=2), dom("web2", vcpus=2, util=95, policy={"relocate": "never"}),
     dom("w3", vcpus=1, util=70, mem=512 * M), dom("w4", vcpus=2, util=70, mem=2 * G)], ["w4 live-move beta"], ["move w3: live to beta"], peers=[peer()])
case("gain-crowded", "two ways alike but for how busy the targets are", [stuck(), dom("w2", util=70, avail=0.2)], ["w2 live-move gamma"],
     peers=[peer("beta", cpu_util=75), peer("gamma", cpu_util=40)])
case("flight-leaver", "one is leaving already: what it frees is waited for", [stuck(), dom("w2", vcpus=2, util=70, avail=0.2, state="transition", moving_to="beta"),
     dom("w3", util=70, avail=0.2)], [], ["waits: w2 is on its way to beta and makes room"], peers=[peer()], moves_now=1, decide={"max_moves": 2})
case("flight-target", "what is on its way there has no report yet, but takes its room", [stuck(), dom("w3", util=70, avail=0.2),
     dom("w2", vcpus=3, util=70, avail=0.2, state="inactive", moving_to="beta")], [], ["beta has 0 of the 1 vcpus free that it needs"],
     peers=[peer(vcpus=(7, 4))], vcpus=2, decide={"max_moves": 2})


# ---- rules of company, place and time ----
def rule(name, keep, where, hard=True, hosts=()):
    """where: {domain: host or hosts}"""
    members = [{"domain": d, "host": h} for d, hs in sorted(where.items()) for h in ([hs] if isinstance(hs, str) else hs)]
    return {"name": name, "keep": keep, "hard": hard, "hosts": [{"name": h} for h in hosts], "members": members}


case("rule-apart", "apart from web2: not to beta, but to gamma", [tight()], ["web1 live-move gamma"], peers=[peer(), peer("gamma", cpu_util=50)],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": "beta"})])
case("rule-apart-only", "and where there is no other host, not at all", [tight()], [], ["rule webs keeps it apart from web2, which is on beta"], peers=[peer()],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": "beta"})])
case("rule-apart-passing", "one that is on its way is at both ends", [tight()], [], ["rule webs keeps it apart from web2, which is on beta"], peers=[peer()],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": ["beta", "gamma"]})])
case("rule-apart-others", "a rule that does not speak of it", [tight()], ["web1 live-move beta"], peers=[peer()],
     rules=[rule("dbs", "apart", {"db1": "alpha", "db2": "beta"})])
case("rule-apart-soft", "softly apart: the other host, though it is busier", [tight()], ["web1 live-move gamma"], peers=[peer(), peer("gamma", cpu_util=55)],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": "beta"}, hard=False)])
case("rule-apart-soft-broken", "softly apart: broken for a need that is worth it", [tight()], ["web1 live-move beta"], peers=[peer()],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": "beta"}, hard=False)])
case("rule-apart-soft-kept", "and kept where it is not", [dom("web1", util=81)], [], ["times its price is wanted"], peers=[peer()],
     rules=[rule("webs", "apart", {"web1": "alpha", "web2": "beta"}, hard=False)])
case("rule-together", "together with db1, which is here: it stays", [tight()], [], ["rule pair keeps it together with db1, which is on alpha"], peers=[peer()],
     rules=[rule("pair", "together", {"web1": "alpha", "db1": "alpha"})])
case("rule-together-mended", "together with db1, which is on beta: there, though gamma is less busy", [tight()], ["web1 live-move beta"],
     peers=[peer(cpu_util=50), peer("gamma", cpu_util=10)], rules=[rule("pair", "together", {"web1": "alpha", "db1": "beta"})])
case("rule-on", "only on these hosts", [tight()], ["web1 live-move gamma"], peers=[peer(), peer("gamma", cpu_util=50)],
     rules=[rule("licensed", "on", {"web1": "alpha"}, hosts=["alpha", "gamma"])])
case("rule-off", "on any but this one", [tight()], [], ["rule old-hosts keeps it off beta"], peers=[peer()],
     rules=[rule("old-hosts", "off", {"web1": "alpha"}, hosts=["beta"])])
case("rule-exclude", "a host to which policy moves nothing", [tight()], [], ["beta is excluded (decide.exclude-hosts)"], peers=[peer(excluded=True)])


case("pin", "pinned: not moved, and it says why", [tight(pinned=True, pin_reason="licence")], [], ["is pinned here (licence)"], peers=[peer()])
case("pin-resize", "pinned, but resized as ever", [tight(pinned=True)], ["web1 set-vcpus 2"], vcpus=8)
case("prefer", "the preferred host, though it is busier", [tight(prefer="gamma")], ["web1 live-move gamma"], peers=[peer(), peer("gamma", cpu_util=55)])
case("prefer-here", "preferred here: it stays for a slight need", [dom("web1", util=81, prefer="alpha")], [], ["times its price is wanted"], peers=[peer()])
case("prefer-alone", "a preference alone moves nothing", [dom("web1", prefer="beta")], [], ["web1 stays"], peers=[peer()])


def calendar(*windows):
    return {"policy": {"windows_from": "nights", "windows": [dict({"days": 127}, **w) for w in windows]}}


NIGHT = {"kind": "allow", "begin_min": 22 * 60, "end_min": 6 * 60}
case("calendar-day", "moves by night only, and it is ten in the morning", [tight(**calendar(NIGHT))], [],
     ["the calendar of policy \"nights\" has no moves at this time"], peers=[peer()])
case("calendar-night", "by night", [tight(**calendar(NIGHT))], ["web1 live-move beta"], peers=[peer()], minute_of_day=23 * 60)
case("calendar-days", "the night of Monday to Tuesday, which is not in the calendar", [tight(**calendar(dict(NIGHT, days=0x60)))], [],
     ["has no moves at this time"], peers=[peer()], minute_of_day=60, weekday=1)
case("calendar-over-midnight", "the night that began on Sunday", [tight(**calendar(dict(NIGHT, days=0x40)))], ["web1 live-move beta"], peers=[peer()], minute_of_day=60)
case("calendar-zone", "ten in the morning here, eleven at night in the policy's time zone", [merge(tight(**calendar(NIGHT)), {"policy": {"windows_shift_min": 13 * 60}})],
     ["web1 live-move beta"], peers=[peer()])
case("calendar-zone-day", "eleven at night here on Monday, Monday's morning there", [merge(tight(**calendar(NIGHT)), {"policy": {"windows_shift_min": -13 * 60}})], [],
     ["has no moves at this time"], peers=[peer()], minute_of_day=23 * 60)
case("calendar-zone-week", "Monday's first hour here, Sunday's night there", [merge(tight(**calendar(dict(NIGHT, days=0x40))), {"policy": {"windows_shift_min": -180}})],
     ["web1 live-move beta"], peers=[peer()], minute_of_day=60)
case("calendar-deny", "not in the hour of the backup, else always", [tight(**calendar({"kind": "deny", "begin_min": 600, "end_min": 660}))], [],
     ["has no moves at this time"], peers=[peer()])
case("calendar-deny-over", "after it", [tight(**calendar({"kind": "deny", "begin_min": 540, "end_min": 600}))], ["web1 live-move beta"], peers=[peer()])
case("calendar-finish", "it would not be over by six: not begun", [merge(tight(**calendar(dict(NIGHT, finish=True))), {"mem_bytes": 32 * G, "resident_bytes": 60 * G,
     "mem_known": False})], [], ["and the calendar of policy \"nights\" ends moves in 2 min: not begun"], peers=[peer()], minute_of_day=6 * 60 - 2)
case("calendar-finish-fits", "an hour earlier it would", [merge(tight(**calendar(dict(NIGHT, finish=True))), {"mem_bytes": 32 * G, "resident_bytes": 60 * G,
     "mem_known": False})], ["web1 live-move beta"], peers=[peer()], minute_of_day=5 * 60)
case("calendar-no-finish", "a window that does not look at the end", [merge(tight(**calendar(NIGHT)), {"mem_bytes": 32 * G, "resident_bytes": 60 * G,
     "mem_known": False})], ["web1 live-move beta"], peers=[peer()], minute_of_day=6 * 60 - 2)
case("calendar-resize", "a calendar is about moves: in place goes on", [tight(**calendar(NIGHT))], ["web1 set-vcpus 2"], peers=[peer()], vcpus=4)


def main():
    folder = os.path.join(HERE, "cases")
    os.makedirs(folder, exist_ok=True)
    assert len({n for n, _ in CASES}) == len(CASES)
    for name in os.listdir(folder):
        if name.endswith(".json") and name[:-5] not in {n for n, _ in CASES}:
            os.remove(os.path.join(folder, name))
    for name, body in CASES:
        path = os.path.join(folder, name + ".json")
        try:
            body["plan"] = json.load(open(path)).get("plan")
        except (OSError, ValueError):
            body["plan"] = None
        with open(path, "w") as f:
            json.dump(body, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
