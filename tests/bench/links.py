"""The way between the two ends of a bench move, in network namespaces of its own, so that all octets on it are the move's: one loopback for both
ends, or two namespaces joined by a link of limited rate (tbf at both ends)."""
import os

import hosts


def namespace(env, leaf):
    name = "bt%d-%s" % (os.getpid(), leaf)
    hosts.sh("ip", "netns", "add", name)
    env.on_exit(lambda: hosts.sh("ip", "netns", "del", name, check=False))
    hosts.sh(*hosts.enter(name), "ip", "link", "set", "lo", "up")
    return name


def device_bytes(pid, device):
    """(received, sent) of a device in the namespace of a process."""
    with open("/proc/%d/net/dev" % pid) as f:
        fields = next(line for line in f if line.strip().startswith(device + ":")).partition(":")[2].split()
    return int(fields[0]), int(fields[8])


class Loopback:
    rate = None

    def __init__(self, env):
        self.ends = (namespace(env, "bench"),) * 2

    @staticmethod
    def address(_ns):
        return "127.0.0.1"

    @staticmethod
    def other(ns):
        return ns

    @staticmethod
    def bytes(pid):
        """Octets that have passed so far, both directions, TCP/IP's own included, as the namespace of @pid sees it."""
        return device_bytes(pid, "lo")[1]


class Limited:
    """@rate as tc takes it ("1gbit")."""

    def __init__(self, env, rate):
        self.rate = rate
        self.ends = tuple(namespace(env, leaf) for leaf in ("left", "right"))
        hosts.sh("ip", "link", "add", "eth0", "netns", self.ends[0], "type", "veth", "peer", "name", "eth0", "netns", self.ends[1])
        for ns in self.ends:
            hosts.sh(*hosts.enter(ns), "ip", "addr", "add", self.address(ns) + "/24", "dev", "eth0")
            hosts.sh(*hosts.enter(ns), "ip", "link", "set", "eth0", "up")
            hosts.sh(*hosts.enter(ns), "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "256kb", "latency", "20ms")

    def address(self, ns):
        return "10.98.0.%d" % (1 + self.ends.index(ns))

    def other(self, ns):
        return self.ends[1 - self.ends.index(ns)]

    @staticmethod
    def bytes(pid):
        return sum(device_bytes(pid, "eth0"))
