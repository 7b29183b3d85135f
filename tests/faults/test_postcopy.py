"""Post-copy by hand (docs/worker.md): a guest that writes faster than the link carries is stopped, runs at the target, and its last pages follow
it. Both workers are killed and the connection is cut while pages are missing: the guest waits for what it needs, reads nothing else, never
runs twice, and goes on when both ends are started again. Its own check of every page is the proof."""
import os
import signal
import subprocess

import moves
from ballast import Worker, start_line, wait_for
from wirepeer import OldSource
from worker_pair import Pair

LIMIT_S = 600
FAST, SLOW = 60 << 20, 3 << 20  # octets a second: less than the guest writes; so few that the post-copy is still under way when we look


class Late(Pair):
    def resume_target(self):
        self.dst = Worker(self.env)
        self.dst.send(**start_line("target", self.target, self.there, self.here, self.state(self.there), self.tls[self.there], self.epoch,
                                   address="127.0.0.1", port=0, resume=True))
        return self.dst.wait("listening", 60)["port"]

    def refuses_a_new_transfer(self):
        """A source that knows nothing of the post-copy would begin anew, over the memory of a guest that runs."""
        tls = {**self.tls[self.here], "peer": self.tls[self.there]["certificate"]}
        peer = OldSource(tls, self.there, self.resume_target())
        peer.hello(self.target, self.epoch, (1, 2), "")  # whose hello is as an honest one's otherwise
        done = self.end(self.dst)
        assert done["outcome"] == "in-doubt" and "begins a new transfer" in done["error"], done

    def resume_workers(self):
        """What both policyds do when the target's journal says PARTIAL."""
        port = self.resume_target()
        self.src = Worker(self.env)
        self.src.send(**start_line("source", self.guest, self.here, self.there, self.state(self.here), self.tls[self.here], self.epoch,
                                   address="127.0.0.1", port=port, resume=True))

    def partial(self):
        """Until the guest runs at the target with pages missing, and for long."""
        self.begin("source:hold:offer", postcopy=True, bandwidth_bps=FAST, max_blackout_ms=200)
        self.src.wait("held", 120)
        self.src.send(op="limits", bandwidth_bps=SLOW)
        self.src.wait("limits", 10)
        self.src.go()
        self.src.wait("phase", 60, name="postcopy")
        self.dst.wait("phase", 60, name="postcopy")

    def whole(self):
        src, dst = self.end(self.src), self.end(self.dst)
        assert src["outcome"] == dst["outcome"] == "moved", (src, dst)
        assert self.journal(self.here, "show", *self.key("source"))["state"] == "GONE"
        assert self.journal(self.there, "show", *self.key("target"))["state"] == "OWNER"
        self.check_one(True)
        self.verify()
        return src, dst


def hot(env):
    p = Late(env, mem_mib=192, fill="64M", dirty=0)
    p.guest.cmd("dirty max uniform whole")
    return p


def test_moves_what_does_not_converge(env):
    p = hot(env)
    p.begin(bandwidth_bps=FAST, max_blackout_ms=200)
    assert "does not converge" in p.end(p.src)["error"]
    p.end(p.dst)
    p.resolve()
    p.begin(postcopy=True, bandwidth_bps=FAST, max_blackout_ms=200)
    src, dst = p.end(p.src), p.end(p.dst)
    assert src["ok"] and dst["ok"], (src["error"], dst["error"])
    states = [[e["state"] for e in w.events if e["event"] == "journal"] for w in (p.src, p.dst)]
    assert states == [["RUN", "PAUSED", "OFFERED", "GONE"], ["PREPARED", "LOADED", "PARTIAL", "OWNER"]], states
    assert [e["name"] for e in p.src.events if e["event"] == "phase"][-2:] == ["postcopy", "hand-off"]
    s = src["stats"]
    print("blackout %d ms; %d pages came after it, %d of them were waited for; %.1f s" % (
        s["blackout_ms"], s["postcopy_pages"], dst["stats"]["postcopy_faults"], s["total_ms"] / 1000))
    assert s["postcopy_pages"] > 1000, s
    p.check_one(True)
    p.verify()


def test_cut_in_the_middle(env):
    p = hot(env)
    for what in ("source", "target", "both"):
        p.partial()
        if what != "target":
            p.src.kill()
        if what != "source":
            p.dst.kill()
        for w in (p.src, p.dst):
            w.join()
            w.wait("eof", 60)
            for done in [e for e in w.events if e["event"] == "done"]:  # the survivor; with both killed, perhaps the second
                assert done["outcome"] == "in-doubt" and "memory" in done["error"], done
                print(what, "killed:", done["error"])
        # the source asks, and the answer lets it neither go on nor go
        assert p.journal(p.here, "resolve", "--apply", *p.key("source"))["action"] == "ask"
        answer = p.journal(p.there, "resolve", "--apply", *p.key("target"))
        assert answer["state"] == "PARTIAL" and answer["action"] == "fetch", answer
        assert p.guest.qmp("query-status")["status"] in ("postmigrate", "paused")
        p.refuses_a_new_transfer()
        p.resume_workers()
        p.dst.wait("phase", 60, name="postcopy")
        src, dst = p.whole()
        print("went on with %d pages; %d were waited for" % (src["stats"]["postcopy_pages"], dst["stats"]["postcopy_faults"]))


# ---- the same between two policyds ----------------------------------------------------------------------------------------------

def under_way(pair, src, dst, web):
    """A move that does not converge, its guest running at the target and most of the memory not: the worker that would push it is stopped."""
    pair.fault(src, "source:stop:postcopy")
    move = subprocess.Popen(src.ctl_argv("migrate", "--wait", "--postcopy", "--bandwidth", "8M", "--max-blackout", "100ms", web, dst.name),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pusher = moves.stopped_worker(src)  # it has heard that the guest runs there
    pair.no_faults()
    return move, pusher


def test_between_hosts(env):
    """Both policyds bring it together again by themselves, after a link that was cut, and after the death of both workers and both policyds. When its
    QEMU dies on the way it has ended at the target, as any guest's does, and is nowhere else."""
    pair = moves.Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="1M")
    alpha.agent(web).cmd("fill 16M rand")
    alpha.agent(web).cmd("dirty max uniform whole")
    said = alpha.refused("migrate", "--postcopy", "--suspend", web, "beta")
    assert "--postcopy is for live moves" in said, said
    for how in ("link", "all", "qemu"):
        src = pair.settled_on(web)
        dst = pair.other(src)
        move, pusher = under_way(pair, src, dst, web)
        if how == "link":
            src.cut()
            moves.go_on(pusher)
            wait_for("both workers' end", lambda: not src.worker_pids(), 60)
            assert len(moves.qemus_of(src, web)) == len(moves.qemus_of(dst, web)) == 1
            src.mend()
        elif how == "all":
            for h in (src, dst):
                h.kill()
                for pid in h.worker_pids():
                    os.kill(pid, signal.SIGKILL)
            for h in (src, dst):
                h.start(debug=True)
        else:
            os.kill(moves.qemus_of(dst, web)[0], signal.SIGKILL)
            moves.go_on(pusher)
        out = move.communicate(timeout=180)[0]
        print(how, "->", out.strip().split("\n")[-1][:200])
        if how != "qemu":
            assert pair.whole(web) is dst, how
            pair.connected()
    wait_for("it to have ended at its target only", lambda: pair.states(web)[src.name] is None and pair.states(web)[dst.name] in ("bound", "inactive"), 60)
    assert not moves.qemus_of(src, web) and not moves.qemus_of(dst, web)


def test_source_lost(env):
    """The source host dies for good in the middle: the guest waits at the target, an operator ends it there by force and starts it anew; the source,
    back after all, does not run it."""
    pair = moves.Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="1M")
    alpha.agent(web).cmd("fill 16M rand")
    alpha.agent(web).cmd("dirty max uniform whole")
    move, _ = under_way(pair, alpha, beta, web)
    wait_for("beta to know that it runs there", lambda: "postcopy" in beta.ctl("list", "-o", "status"), 60)
    said = beta.refused("stop", web)
    assert "some of its memory is still at alpha" in said and "stop --force " + web in said, said
    said = beta.refused("cancel", web)
    assert "runs here already" in said, said
    dead = [*alpha.worker_pids(), *moves.qemus_of(alpha, web)]
    alpha.kill()
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    move.communicate(timeout=60)
    wait_for("beta to wait for alpha", lambda: "waits for alpha" in beta.ctl("list", "-o", "status"), 60)
    print(beta.ctl("list", "-o", "status"), beta.ctl("stop", "--force", web))
    wait_for("it to have ended", lambda: (beta.domain(web) or {}).get("state") in ("bound", "inactive") and not moves.qemus_of(beta, web), 60)
    follow = beta.heartbeats(web)
    beta.ctl("start", web)
    follow.wait_ready()
    alpha.start(debug=True)
    pair.connected()
    wait_for("alpha to have settled", lambda: alpha.json("version")["settled"] and not alpha.domain(web), 90)
    assert not moves.qemus_of(alpha, web) and beta.domain(web)["state"] == "active"


def test_by_policy(env):
    """Two guests that write faster than their link carries: policy moves one of them, by post-copy, for its policy allows that."""
    settings = dict(host={"capacity": {"vcpus": 2, "memory": "1G", "keep-memory": "0M"}},
                    migration={"bandwidth": "8M", "max-blackout": "100ms", "throttle-max": 0},
                    decide={"interval": "1s", "dwell": "2s", "boot-grace": "0s", "sustain-samples": 3, "sustain-window": 5, "move-after": "3s"},
                    policies=[{"name": "all", "postcopy": "allow"},
                              {"name": "web", "match": {"domain": "web*"}, "importance": 80, "cpu": {"util-upper": 70, "util-lower": 10, "sample-rate": 1}}])
    pair = moves.Pair(env, alpha=settings, beta={**settings, "host": {"capacity": {"vcpus": 4, "memory": "1G", "keep-memory": "0M"}}})
    alpha, beta = pair.hosts
    names = ("batch1", "web1")
    for name in names:
        pair.guest(name, fill="16M", vcpus={"min": 1, "boot": 1, "max": 1 + (name == "web1")})
        alpha.agent(name).cmd("dirty max uniform whole")
    assert "allowed where a move would not converge" in alpha.ctl("show", "web1")
    wait_for("policy to move one of them", lambda: any(not alpha.domain(n) for n in names), 240)
    name = next(n for n in names if not alpha.domain(n))
    entry = next(e for e in alpha.json("history", name)["entries"] if e["kind"] == "migration")
    print({k: entry["actual"].get(k) for k in ("postcopy_pages", "blackout_ms", "total_ms")}, {k: entry["predicted"][k] for k in ("blackout_ms", "total_s")})
    assert entry["who"].startswith("policy") and entry["ok"] and entry["actual"]["postcopy_pages"] > 0, entry
    assert pair.settled_on(name) is beta and int(beta.agent(name).cmd("verify").split()[-1]) > 0
