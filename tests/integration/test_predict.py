"""What a move would cost, looked at before its first byte: measuring a guest and a link, and what becomes of the figures."""
import os
import re

from ballast import Qemu, wait_for
from hosts import CommandFailed, certificate
from moves import Pair
from worker import Worker, start_line

LIMIT_S = 600
MIB = 1 << 20


class Ends:
    """Two ends on this machine that trust each other, for a worker by hand."""

    def __init__(self, env):
        self.env, self.tls = env, {}
        for me in ("alpha", "beta"):
            home = os.path.join(env.tmp, me)
            os.makedirs(os.path.join(home, "trust"))
            self.tls[me] = dict(zip(("certificate", "key"), certificate(home, me)), trust=os.path.join(home, "trust"), fips=False)
        for me, other in (("alpha", "beta"), ("beta", "alpha")):
            with open(self.tls[other]["certificate"]) as f, open(os.path.join(self.tls[me]["trust"], other + ".crt"), "w") as g:
                g.write(f.read())

    def sink(self):
        w = Worker(self.env, ("sink",))
        w.send(op="sink", host="beta", peer="alpha", tls=self.tls["beta"], token="0" * 31 + "1", address="127.0.0.1", port=0,
               ports=[49152, 49215], channels=2)
        return w, w.wait("listening")["port"]

    def measure(self, qemu, **more):
        w = Worker(self.env, ("measure",))
        w.send(**{**start_line("source", qemu, "alpha", "beta", self.env.tmp, self.tls["alpha"]), "op": "measure", **more})
        return w


def tracked(qemu):
    """Is its RAM watched by a userfaultfd (write-protect mode)?"""
    with open("/proc/%d/smaps" % qemu.pid) as f:
        return any(line.startswith("VmFlags:") and " uw" in line for line in f)


def measured(worker):
    found = worker.wait("measure", timeout=60)
    assert worker.wait("done")["ok"]
    worker.join()
    return found


def test_measure(env):
    """Holes, zeros, ratio and what the guest writes come out as the guest was told; the tracker is gone afterwards, also after a cancel or a kill."""
    ends, q = Ends(env), Qemu(env, mem_mib=160)
    beats = q.heartbeats()
    beats.wait_ready()
    q.cmd("fill 64M half")
    sink, port = ends.sink()
    idle = measured(ends.measure(q, address="127.0.0.1", port=port))
    assert sink.wait("done")["ok"]
    assert idle["ram_bytes"] == 160 * MIB == idle["hole_bytes"] + idle["data_bytes"], idle
    assert idle["data_bytes"] > 64 * MIB and 0.3 < idle["ratio"] < 0.75, idle
    assert q.resident_mib() < idle["data_bytes"] / MIB + 8, (q.resident_mib(), idle)  # looking filled no hole
    assert 0 < idle["delta_share"] <= 1, idle
    assert idle["link"]["bps"] > MIB and len(idle["written"]) == 4, idle
    q.cmd("dirty max hot 25")  # 16 MiB written over and over, and some of the rest
    wait_for("the guest to dirty", lambda: q.stat()["versions"] > 1000)
    busy = measured(ends.measure(q))
    curve = busy["written"]
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(curve, curve[1:])), curve
    assert curve[-1][1] > 4 * (idle["written"][-1][1] + MIB), (idle["written"], curve)
    assert curve[-1][1] < 72 * MIB and "link" not in busy, busy  # however often it writes: no more than it has
    assert 0.1 < busy["delta_share"] < 0.4, busy  # nine lines of 64 octets in each page
    q.cmd("dirty max hot 25 whole")
    assert measured(ends.measure(q))["delta_share"] > 0.95
    for how in ("cancel", "kill"):
        w = ends.measure(q)
        wait_for("its tracker", lambda: tracked(q) or w.events, 30, 0.01)  # not before: a kill in the middle of the injection would hurt the guest
        if how == "cancel":
            w.send(op="cancel")
            assert not w.wait("done", timeout=5)["ok"]
        w.kill()
    again = measured(ends.measure(q))  # what was left behind would refuse a second tracker
    assert again["written"][-1][1] > 4 * MIB
    q.cmd("dirty 0")
    q.cmd("verify")
    beats.wait_beats(3)
    beats.check()
    wait_for("no tracker", lambda: not tracked(q), 10)


def test_dry_run_and_what_is_learnt(env):
    """migrate -n looks first and says with figures; what a move took is stored beside it, changes the next prediction, and outlives a restart; a
    move that cannot converge is called so before it begins."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="48M half")
    text = alpha.ctl("migrate", "-n", web, "beta")
    for word in ("would work", "blackout", "bytes", "holes", "dirties", "link gives"):
        assert word in text, (word, text)
    packs = re.search(r"(raw|lz4) ([0-9.]+)x", text)  # what costs less here and now
    assert packs and (packs.group(1) == "raw") == (float(packs.group(2)) < 1.06), text
    first = alpha.json("migrate", "-n", web, "beta")["predicted"]
    assert first["link_bps"] > MIB and first["converges"] and first["fits"], first
    for what in ("total%s_s", "blackout%s_ms", "bytes%s"):
        assert first[what % "_low"] <= first[what % ""] <= first[what % "_high"], (what, first)
    content = 113 * MIB  # by far most of it
    assert 0.4 * content < first["bytes"] < 1.2 * content, first
    assert pair.settled_on(web) is alpha
    for there, back in ((alpha, beta), (beta, alpha)):
        done = there.json("migrate", "--wait", web, back.name)
        assert done["predicted"]["raw"]["total_s"] > 0 and done["copy_ms"] > 0 and done["first_ram_bytes"] > 40 * MIB, done
    entry = next(e for e in alpha.json("history", web)["entries"] if e["kind"] == "migration")
    assert entry["predicted"]["raw"]["bytes"] > 0 and entry["actual"]["wire_bytes"] > 0, entry
    learnt = alpha.json("migrate", "-n", web, "beta")["predicted"]
    assert learnt["setup_s"] != first["setup_s"] and learnt["dark_ms"] != first["dark_ms"], (first, learnt)
    alpha.restart()
    pair.connected()
    again = alpha.json("migrate", "-n", web, "beta")["predicted"]
    assert again["setup_s"] == learnt["setup_s"] and again["dark_ms"] == learnt["dark_ms"], (learnt, again)
    alpha.slow("20mbit")  # a figure of the link that is younger than 20 s is not taken again
    wait_for("the slow link to be seen", lambda: alpha.json("migrate", "-n", web, "beta")["predicted"]["link_bps"] < 8 * MIB, 60, 1)
    alpha.agent(web).cmd("dirty max uniform whole")
    wait_for("the guest to dirty", lambda: alpha.agent(web).stat()["versions"] > 2000)
    text = alpha.refused("migrate", "-n", web, "beta")
    assert "would fail" in text and "will not converge" in text and "MB/s" in text and "--max-blackout" in text, text
    alpha.agent(web).cmd("dirty 0")
    alpha.slow(None)
    assert pair.whole(web) is alpha


def refuses(host, *args):
    try:
        host.ctl(*args)
    except CommandFailed:
        return True
    return False


def test_differences_are_foreseen(env):
    """A guest that writes faster than its pages can be sent, but little of each: that it will converge is known before the first byte, and it does."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="32M rand")
    args = ("--bandwidth", "40M", "--max-blackout", "300ms", web, "beta")
    alpha.agent(web).cmd("dirty max uniform whole")
    wait_for("the guest to dirty", lambda: alpha.agent(web).stat()["versions"] > 10000)
    assert "will not converge" in alpha.refused("migrate", "-n", *args)
    alpha.agent(web).cmd("dirty max")
    wait_for("it to be seen", lambda: not refuses(alpha, "migrate", "-n", *args), 60, 1)
    done = alpha.json("migrate", "--wait", *args)
    assert done["predicted"]["converges"] and done["pages_delta"] > 0, done
    assert pair.whole(web) is beta


def test_without_measuring(env):
    """A measurement that dies or hangs is no reason not to move: it is predicted from what else is known, and says so."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest()
    wrapper = alpha.path("etc", "worker")
    with open(wrapper) as f:
        text = f.read()
    for instead in ("exit 3", "exec sleep 60"):
        with open(wrapper, "w") as f:
            f.write(text.replace("\n", '\nif [ "$1" = measure ]; then %s; fi\n' % instead, 1))
        said = alpha.ctl("migrate", "-n", web, "beta")
        assert "would work" in said and "to send" in said and "assumed" in said, said
    done = alpha.json("migrate", "--wait", web, "beta")  # while one still hangs
    assert done["predicted"]["total_s"] > 0, done
    assert pair.whole(web) is beta
