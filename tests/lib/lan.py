"""The guests' network: a switch lan0 on each host, their uplinks on one switch in the middle, where visitors (clients, a balancer) sit.

    pair = Pair(env, SWITCH, SWITCH)
    lan = Lan(pair.group)                  # networks=[{"switch": "lan0", "mac": ...}] puts a guest on it
    pair.group.hub_run("curl", "http://" + lan.address(11))    # visitors are lan.address(1), in the namespace group.hub
    lan.join(host)                         # the host itself has an address on it, for hooks"""
from ballast import sh

SWITCH = {"host": {"switches": [{"name": "lan0", "bridge": "lan0"}]}}
EXAMPLE = "10.97.0."  # what stands in the files of examples/


class Lan:
    def __init__(self, group):
        self.group, self.net = group, "10.97.%d." % group.subnet
        group.hub_run("ip", "link", "add", "lan0", "type", "bridge")
        group.hub_run("ip", "addr", "add", self.address(1) + "/24", "dev", "lan0")
        group.hub_run("ip", "link", "set", "lan0", "up")
        for host in group.hosts:
            host.run("ip", "link", "add", "lan0", "type", "bridge")
            host.run("ip", "link", "set", "lan0", "up")
            sh("ip", "link", "add", "up0", "netns", host.ns, "type", "veth", "peer", "name", "l%d" % host.number, "netns", group.hub)
            group.hub_run("ip", "link", "set", "l%d" % host.number, "master", "lan0", "up")
            host.run("ip", "link", "set", "up0", "master", "lan0", "up")

    def address(self, number):
        return self.net + str(number)

    def join(self, host):
        host.run("ip", "addr", "add", self.address(200 + host.number) + "/24", "dev", "lan0")
