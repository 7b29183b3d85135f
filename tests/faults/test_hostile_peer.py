"""A peer with a valid certificate that says what no policyd would say: used epochs, lies about whose guest it is, half lines, floods. The
host that hears it keeps its guests, its answers are sentences, and an honest move works right after."""
import json

from ballast import wait_for
from moves import Pair, qemus_of
from rawpeer import Raw

PARALLEL = True
UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"


def prepare_args(host, name, epoch, **spec):
    shown = host.json("show", name)
    return dict(spec={**shown["spec"], **spec}, name=spec.get("name", name), vcpus=1, mem_bytes=160 << 20, method="live", running=True, accel="tcg",
                epoch=epoch, machine="", vcpu_ids=[], settings={"channels": 1, "verify_full": False, "max_blackout_ms": 300, "max_rounds": 30, "paused": False})


def test_lies_about_guests(env):
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(uuid=UUID)
    alpha.ctl("migrate", "--wait", web, "beta")
    taken = prepare_args(beta, web, beta.json("show", web)["epoch"])
    here = qemus_of(beta, web)
    beta.ctl("migrate", "--wait", web, "alpha")
    pair.whole(web, alpha)
    alpha.kill()  # its place is taken by one that lies
    raw = Raw(env, alpha, beta)
    answer = raw.ask("prepare", **taken)
    print(answer)
    assert not answer["ok"] and "epoch" in answer["error"] and "used" in answer["error"], answer
    assert not beta.domain(web) and not qemus_of(beta, web) and here
    for epoch in (0, -1, 1.5, "1", None, 2 ** 63, 2 ** 64):  # no epochs
        try:
            answer = raw.ask("prepare", **{**taken, "epoch": epoch})
            print(epoch, answer)
            assert not answer["ok"], answer
        except AssertionError as e:
            assert epoch in (2 ** 63, 2 ** 64) and "closed" in str(e), e
            raw = Raw(env, alpha, beta)
    assert not beta.domain(web)
    # asked what nobody offered: refused for ever, and only that epoch
    answer = raw.ask("handoff-query", uuid=OTHER, epoch=5, domain="x" * 500)
    assert answer["ok"] and answer["state"] == "REFUSED", answer
    for bad in ("../../../../etc/passwd", "", "x" * 36, UUID + "/..", None, 5):
        answer = raw.ask("handoff-query", uuid=bad, epoch=1, domain="web1")
        assert not answer["ok"] and len(answer["error"]) > 10, answer
    alpha.start(debug=True)
    pair.connected()
    pair.whole(web, alpha)
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta


def test_floods(env):
    """A prepare for each of a hundred domains: as many as there is room for are taken, none stays after the peer has gone."""
    pair = Pair(env, beta={"host": {"capacity": {"vcpus": 8, "memory": "1G", "keep-memory": "128M"}}})
    alpha, beta = pair.hosts
    web = pair.guest(uuid=UUID)
    args = prepare_args(alpha, web, 7)
    spare = pair.guest("spare", host=beta)
    alpha.kill()
    raw = Raw(env, alpha, beta)
    for i in range(60):
        uuid = "%08d-2222-4333-8444-555555555555" % i
        raw.send({"id": 1000 + i, "req": "prepare", **args, "spec": {**args["spec"], "uuid": uuid, "name": "f%d" % i}, "name": "f%d" % i})
    answers = {}
    while len(answers) < 60:
        line = json.loads(raw.p.stdout.readline())
        if line.get("id", 0) >= 1000:
            answers[line["id"]] = line
    taken = [i for i, a in answers.items() if a["ok"]]
    print("%d taken; %s" % (len(taken), next(a["error"] for a in answers.values() if not a["ok"])))
    assert 0 < len(taken) <= 5
    assert beta.domain(spare)["state"] == "active"
    raw.p.stdin.close()
    pair.beats.wait_beats(3)
    for i in taken:
        raw2 = Raw(env, alpha, beta)
        answer = raw2.ask("abort", uuid="%08d-2222-4333-8444-555555555555" % (i - 1000), epoch=7, domain="f%d" % (i - 1000))
        assert answer["ok"] and answer["state"] == "REFUSED", answer
    wait_for("nothing left of them", lambda: [d["name"] for d in beta.json("list")["domains"]] == [spare], 30)
    assert not beta.worker_pids()
    for garbage in (b"\0" * 5000 + b"\n", b"{\"id\": 1, \"req\": \"prepare\"", b"x" * (2 << 20), b"[" * 100000 + b"\n", b"{\"report\": 5}\n" * 100):
        raw = Raw(env, alpha, beta)
        try:
            raw.raw(garbage)
            raw.p.stdin.close()
        except BrokenPipeError:
            pass
        raw.closed()
        assert beta.domain(spare)["state"] == "active"
    alpha.start(debug=True)
    pair.connected()
    assert alpha.domain(web)["state"] == "active"
