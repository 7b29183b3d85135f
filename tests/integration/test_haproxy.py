"""examples/haproxy: three web servers in real guests behind a real HAProxy. One of them is moved cold while a client asks on and on: no request
fails, not even one that takes long and began before the move. And where the others are down the drain hook refuses, and the node stays."""
import csv
import os

from ballast import sh, wait_for
from hosts import enter
from nodes import Nodes

LIMIT_S = 600


def balancer(env, nodes):
    """The example's HAProxy in the visitors' namespace."""
    folder = os.path.join(env.tmp, "balancer")
    nodes.copy(folder)
    lib = os.path.join(os.path.dirname(env.program("guest/haproxy")), "lib")
    with open(os.path.join(folder, "haproxy.log"), "w") as log:
        env.popen([*enter(nodes.hub), env.program("guest/haproxy"), "-db", "-f", os.path.join(folder, "haproxy.cfg")], stdout=log, stderr=log,
                  env={**os.environ, "LD_LIBRARY_PATH": lib})


def servers(nodes, column):
    """A column of HAProxy's statistics, a server each; empty while it does not listen yet. A check that is under way has a * before its last result."""
    text = sh(*enter(nodes.hub), "sh", "-c", "echo show stat web 4 -1 | socat -t 10 - TCP:%s:9999" % nodes.lan.address(1), check=False)
    return {row["svname"]: row[column].lstrip("* ") for row in csv.DictReader(text.lstrip("# ").splitlines())}


def served_by(lines):
    """Who answered; fails when a request failed."""
    failed = [line for line in lines if not line.startswith("ok ")]
    assert not failed, "%d of %d requests failed: %s" % (len(failed), len(lines), failed[:5])
    return [line[3:] for line in lines]


def test_node_moves_unnoticed(env):
    nodes = Nodes(env, "haproxy", "web.cfg")
    alpha, beta = nodes.alpha, nodes.beta
    names = ("web1", "web2", "web3")
    for i, (name, host) in enumerate(zip(names, (alpha, alpha, beta))):
        nodes.start(host, name, 11 + i, initrd="web.initrd")
    balancer(env, nodes)
    front = nodes.lan.address(1)
    # Not by their answers alone: a check that began before a guest was up may fail after it has answered, and take it out for some seconds.
    wait_for("all three behind the balancer", lambda: list(servers(nodes, "check_status").values()) == 3 * ["L7OK"], 300)
    wait_for("answers of all three", lambda: {"ok " + n for n in names} <= set(nodes.visit("asker.py", front, "/", "3")), 60)

    slow = [nodes.visitor("asker.py", front, "/cgi-bin/slow", "1") for _ in range(6)]  # in turn: two on each node
    wait_for("a slow request at web1", lambda: servers(nodes, "scur")["web1"] != "0")
    client = nodes.visitor("asker.py", front, "/")
    wait_for("the client's first answers", lambda: len(client.lines) > 5)
    nodes.beats["web1"].expect_restart()
    done = alpha.json("migrate", "--wait", "web1", "beta")
    assert done["method"] == "cold" and not done["forced"] and "rejoin_error" not in done, done
    assert nodes.where("web1") is beta
    moved_at = len(client.lines)
    client.wait_line("ok web1", since=moved_at)
    drained = [text for text, ok in nodes.hooks(alpha, "web1") if text.startswith("drain")]
    assert "is still answering" in drained[0] and "gets no requests any more" in drained[-1], drained
    assert nodes.hooks(alpha, "web1")[-1] == ("rejoin hook: web1 gets requests again", True), nodes.hooks(alpha, "web1")
    answers = [who for s in slow for who in served_by(s.end())]
    assert len(answers) == len(slow) and "web1" in answers, answers

    served = served_by(list(client.lines))  # not one failed
    assert set(served[:moved_at]) == set(names), set(served)
    print("%d requests, %d of them before it was back; web1 was away for %.1f s" % (len(served), moved_at, nodes.beats["web1"].restart_gap_s()))

    # Policy moves one as well: its host is to be emptied.
    nodes.emptied(alpha, "web2", beta)
    client.wait_line("ok web2", since=len(client.lines))
    served_by(list(client.lines))

    # The others fail: the balancer has no other server left, so the drain hook says no. (The balancer notices by failed requests.)
    for name in ("web2", "web3"):
        nodes.where(name).agent(name).cmd("sh killall httpd")
    since = len(client.lines)
    wait_for("web1 alone", lambda: len(client.lines) > since + 20 and set(client.lines[-10:]) == {"ok web1"})
    said = beta.refused("migrate", "--wait", "web1", "alpha")
    assert "only 0 other servers of web are up" in said and "it runs on here" in said, said
    assert nodes.where("web1") is beta
    since = len(client.lines)
    client.wait_line("ok web1", since=since)  # it was not left drained
    client.end()
