"""Hosts that have IPv6 addresses and no others: peers, probes, control and data channels of moves."""
from hosts import certificate
from moves import Pair, qemus_of


def bracketed(host, port=None):
    return "[%s]%s" % (host.address, ":%d" % port if port else "")


def test_hosts_on_ipv6(env):
    """Addresses as operators write them: bare, in brackets, with a port; certificates with addresses among their names."""
    pair = Pair(env, ipv6=True)
    alpha, beta = pair.hosts
    web = pair.guest(fill="8M")
    print(alpha.ctl("hosts"))
    assert "would work" in alpha.ctl("migrate", "-n", web, "beta")
    done = alpha.json("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta and done["blackout_ms"] >= 0

    # beta on another port, in each of the two ways to write it; alpha's certificate says its address too, beta's nothing but that
    certificate(alpha.path("etc"), "alpha", san="DNS:alpha,IP:" + alpha.address)
    certificate(beta.path("etc"), "beta", san="IP:" + beta.address)
    pair.group.trust_all()
    qemu = qemus_of(beta, web)
    for h in pair.hosts:
        h.kill()
    beta.write_conf(host={"address": bracketed(beta), "port": 8111}, cluster={"peers": [{"name": "alpha", "address": bracketed(alpha)}]})
    alpha.write_conf(cluster={"peers": [{"name": "beta", "address": bracketed(beta, 8111)}]})
    for h in pair.hosts:
        h.start(debug=True)
    pair.connected()
    assert qemus_of(beta, web) == qemu
    beta.json("migrate", "--wait", web, "alpha")
    assert pair.whole(web) is alpha
    alpha.ctl("migrate", "--wait", "--method", "cold", web, "beta")
    assert beta.domain(web)["state"] == "active" and not alpha.domain(web)
