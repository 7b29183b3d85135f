"""Live moves that wait for a quiet moment: begin when the guest writes little, at the latest when the time is over; can be cancelled meanwhile."""
from ballast import wait_for
from moves import Pair
from test_move_methods import begin, finish, status

LIMIT_S = 600


def waiting(host, name):
    """Its operation, once it waits and has looked at the guest; and how that was said."""
    wait_for("%s to be measured" % name, lambda: "writes" in status(host, name).get("text", ""), 60)
    now = status(host, name)
    print(now["text"])
    assert now["phase_name"] == "quiet" and "waits for a quiet moment until" in now["text"], now
    assert "waits for a quiet moment until" in host.ctl("list", "-o", "status") and "waits for a quiet moment until" in host.ctl("show", name)
    return now


def test_begins_when_it_writes_little(env):
    """A guest that writes as fast as it can is let be; as soon as it rests, it goes. The time waited is no part of the move's own."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="48M")
    alpha.agent(web).cmd("dirty max uniform")
    move = begin(alpha, "--quiet-moment", "10m", web, "beta")
    waiting(alpha, web)
    assert not beta.domain(web)  # nothing is asked of the target yet
    said = alpha.refused("set-vcpu", web, "2")
    assert "migration" in said, said
    alpha.agent(web).cmd("dirty 0")
    done = finish(move)
    assert pair.whole(web) is beta
    print({k: done.get(k) for k in ("quiet_ms", "total_ms", "blackout_ms", "rounds")})
    assert done["quiet_ms"] >= 500 and done["total_ms"] > 0, done
    assert "it writes next to nothing" in open(alpha.log).read()
    # an idle guest does not wait for its time to be over
    done = finish(begin(beta, "--quiet-moment", "10m", web, "alpha"))
    assert done["quiet_ms"] > 0 and "it writes next to nothing" in open(beta.log).read(), done
    assert pair.whole(web) is alpha


def test_deadline_and_cancel(env):
    """No quiet moment comes: it begins in any case. Cancelled while it waits, or its host killed: it runs on, and may be moved again."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(fill="48M")
    alpha.agent(web).cmd("dirty max uniform")
    for args, sentence in ((("--quiet-moment", "soon"), "an hour at most"), (("--quiet-moment", "2h"), "an hour at most"),
                           (("--quiet-moment", "1m", "--suspend"), "for live moves"), (("--quiet-moment", "1m", "--method", "cold"), "for live moves")):
        said = alpha.refused("migrate", *args, web, "beta")
        assert sentence in said, said
    said = alpha.ctl("migrate", "-n", "--max-blackout", "60s", "--quiet-moment", "1m", web, "beta")
    print(said)
    assert "live, at a quiet moment within" in said
    move = begin(alpha, "--quiet-moment", "10m", web, "beta")
    waiting(alpha, web)
    alpha.ctl("cancel", web)
    _, err = move.communicate(timeout=60)
    assert move.returncode != 0 and "runs on here" in err, err
    assert pair.whole(web) is alpha and not alpha.worker_pids()
    move = begin(alpha, "--quiet-moment", "10m", web, "beta")
    waiting(alpha, web)
    said = alpha.refused("set-migration", web, "--quiet-moment", "soon")
    assert "none: it begins now" in said, said
    alpha.refused("set-migration", web, "--quiet-moment", "1m", "--throttle", "20")
    assert "more for a quiet moment" in alpha.ctl("set-migration", web, "--quiet-moment", "20m")
    assert status(alpha, web)["phase_name"] == "quiet"
    alpha.kill()
    move.communicate(timeout=60)
    alpha.start(debug=True)
    pair.connected()
    wait_for("the move settled", lambda: not status(alpha, web), 60)
    assert pair.whole(web) is alpha
    done = finish(begin(alpha, "--quiet-moment", "4s", "--max-blackout", "60s", web, "beta"))
    assert done["quiet_ms"] >= 3900, done
    assert pair.whole(web) is beta
    move = begin(beta, "--quiet-moment", "1h", "--max-blackout", "60s", web, "alpha")
    waiting(beta, web)
    assert "it begins" in beta.ctl("set-migration", web, "--quiet-moment", "none")
    finish(move)
    assert pair.whole(web) is alpha and "an operator said so" in open(beta.log).read()
    assert "is not being moved" in alpha.refused("set-migration", web, "--quiet-moment", "none")
    assert "no quiet moment came in time" in open(alpha.log).read()
    # a deadline that is over first: suspended and moved
    done = finish(begin(alpha, "--quiet-moment", "10m", "--deadline", "4s", "--at-deadline", "suspend", web, "beta"))
    assert done["method"] == "warm" and done["quiet_ms"] > 0 and "its deadline has come" in open(alpha.log).read(), done
    assert pair.whole(web) is beta


def busy_pair(env, quiet):
    """alpha is full and both of its guests are busy: policy wants one of them on beta, and waits so long. Their names."""
    settings = dict(host={"capacity": {"vcpus": 2, "memory": "1G", "keep-memory": "0M"}}, migration={"max-blackout": "60s"},
                    decide={"interval": "1s", "dwell": "2s", "boot-grace": "0s", "sustain-samples": 3, "sustain-window": 5, "move-after": "3s"},
                    policies=[{"name": "all", "quiet-moment": quiet},
                              {"name": "web", "match": {"domain": "web*"}, "importance": 80, "cpu": {"util-upper": 70, "util-lower": 10, "sample-rate": 1}}])
    pair = Pair(env, alpha=settings, beta={**settings, "host": {"capacity": {"vcpus": 4, "memory": "1G", "keep-memory": "0M"}}})
    assert "quiet moment waited for" in show_of(pair, "batch1", vcpus={"min": 1, "boot": 1, "max": 1})
    show_of(pair, "web1")
    names = ("batch1", "web1")
    for name in names:
        pair.alpha.agent(name).cmd("dirty max uniform")
    return pair, names


def test_by_policy(env):
    """A move that policy decides waits as its key says; what was decided and what came of it is recorded."""
    pair, names = busy_pair(env, "6s")
    alpha, beta = pair.hosts
    wait_for("policy to move one of them", lambda: any(beta.domain(n) for n in names), 180)
    name = next(n for n in names if beta.domain(n))
    wait_for("the move's record", lambda: moves_of(alpha, name), 60)
    entry = moves_of(alpha, name)[0]
    print(entry)
    assert entry["who"].startswith("policy") and entry["actual"]["quiet_ms"] >= 5900, entry
    assert "no quiet moment came in time" in open(alpha.log).read()


def test_overruled(env):
    """An operator who does not want what policy waits for: hold and pin say what is under way and how to end it; cancelled, the guest stays."""
    pair, names = busy_pair(env, "1h")
    alpha, beta = pair.hosts
    wait_for("policy to wait for one of them", lambda: any("writes" in status(alpha, n).get("text", "") for n in names), 180)
    name = next(n for n in names if status(alpha, n).get("phase_name") == "quiet")
    for verb in ("hold", "pin"):
        said = alpha.refused(verb, name)
        assert "migration to beta" in said and "policyctl cancel-operation " + name in said, said
    alpha.ctl("cancel", name)
    alpha.ctl("hold", name)
    said = alpha.ctl("history", name)
    print(said)
    assert "cancelled; it runs on here" in said, said
    assert all(alpha.domain(n)["state"] == "active" for n in names) and not any(beta.domain(n) for n in names)


def show_of(pair, name, **spec):
    """@name, running and filled, and what show says of it."""
    pair.guest(name, fill="24M", **spec)
    return pair.alpha.ctl("show", name)


def moves_of(host, name):
    return [e for e in host.json("history", name)["entries"] if e["kind"] == "migration" and e["ok"] and e.get("actual")]
