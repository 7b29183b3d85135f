"""A domain is removed and defined again with its uuid: the journals of its earlier life are still on the hosts where it was, and must say nothing
about this one."""
from ballast import wait_for
from moves import Pair, qemus_of

PARALLEL = True
UUID = "11111111-2222-4333-8444-555555555555"


def second_life(env, method):
    """Moved from alpha to beta and removed there; defined and started on alpha again."""
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(uuid=UUID)
    pair.beats.expect_restart()
    alpha.ctl("migrate", "--wait", "--method", method, web, "beta")
    beta.ctl("stop", "--force", web)
    beta.ctl("remove-domain", web)
    return pair, pair.guest(uuid=UUID)


def test_live_again(env):
    """The target's journal says OWNER, the source's GONE: neither is about this move."""
    pair, web = second_life(env, "live")
    alpha, beta = pair.hosts
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta


def test_cold_again(env):
    pair, web = second_life(env, "cold")
    alpha, beta = pair.hosts
    pair.beats.expect_restart()
    alpha.ctl("migrate", "--wait", "--method", "cold", web, "beta")
    pair.beats.wait_ready()
    assert pair.settled_on(web) is beta


def test_policyd_restarted(env):
    """A GONE of the earlier life must not end the guest of this one when policyd looks at its journals."""
    pair, web = second_life(env, "live")
    alpha, _ = pair.hosts
    pid = qemus_of(alpha, web)
    for _ in range(2):  # each start takes an epoch: come by the one of the move
        pair.beats.expect_restart()
        alpha.ctl("stop", "--force", web)
        alpha.ctl("start", web)
        pair.beats.wait_ready()
        pid = qemus_of(alpha, web)
        alpha.restart()
        wait_for("start-up", lambda: alpha.ctl("list"))
        assert pair.settled_on(web) is alpha and qemus_of(alpha, web) == pid

