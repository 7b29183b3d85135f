"""The worked examples (examples/haproxy, examples/etcd) on two hosts: their files as an operator would copy them, and three real guests whose
service runs in them (tests/guest/web, tests/guest/etcd)."""
import os
import shutil
import subprocess
import sys
import threading

from ballast import CMDLINE, sh, wait_for
from hosts import enter
from lan import EXAMPLE, SWITCH, Lan
from moves import Pair, qemus_of

LIB = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(LIB, "..", "..", "examples")


class Lines:
    """A process of tests/lib in the guests' network; .lines is what it has said so far, .end() ends it."""

    def __init__(self, env, ns, script, *args):
        self.process = env.popen([*enter(ns), sys.executable, os.path.join(LIB, script), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def end(self):
        """Its lines, when it has ended by itself or its standard input has."""
        self.process.stdin.close()
        self.process.wait(120)
        self._thread.join(60)
        assert self.process.returncode == 0, self.process.returncode
        return self.lines

    def wait_line(self, text, since=0, timeout=300):
        wait_for("a line '%s'" % text, lambda: text in self.lines[since:], timeout)


class Nodes:
    """alpha and beta with examples/EXAMPLE in their configuration: @conf is the file that policyd.cfg includes."""

    def __init__(self, env, example, conf, changes=()):
        self.env, self.example = env, example
        self.pair = Pair(env, SWITCH, SWITCH)
        self.alpha, self.beta = self.pair.hosts
        self.hub = self.pair.group.hub
        self.lan = Lan(self.pair.group)
        self.cluster = conf[:-len(".cfg")]
        self.beats = {}
        for host in self.pair.hosts:
            self.lan.join(host)
            self.copy(host.path("etc"), changes)
            host.write_conf(**{"@include": [conf]})
            host.ctl("reload")

    def copy(self, folder, changes=()):
        """The example's files into @folder, its addresses ours, and each (old, new) of @changes."""
        shutil.copytree(os.path.join(EXAMPLES, self.example), folder, dirs_exist_ok=True)
        for base, _, names in os.walk(os.path.join(EXAMPLES, self.example)):
            for name in names:
                path = os.path.join(folder, os.path.relpath(os.path.join(base, name), os.path.join(EXAMPLES, self.example)))
                with open(path) as f:
                    text = f.read().replace(EXAMPLE, self.lan.net)
                for old, new in changes:
                    text = text.replace(old, new)
                with open(path, "w") as f:
                    f.write(text)

    def start(self, host, name, number, extra="", mem="128M", initrd=None, **spec):
        """Node @name at lan.address(@number), started; not waited for."""
        guest = os.path.join(host.build_root, "guest")
        host.add_domain(name, cluster=self.cluster, vcpus={"min": 1, "boot": 1, "max": 1}, memory={"min": mem, "boot": mem, "max": mem},
                        networks=[{"switch": "lan0", "mac": "52:54:00:ba:12:%02x" % number}], initrd=os.path.join(guest, initrd),
                        cmdline="%s ballast.name=%s ballast.ip=%s %s" % (CMDLINE, name, self.lan.address(number), extra), **spec)
        self.beats[name] = host.heartbeats(name)
        host.ctl("start", name)

    def visitor(self, script, *args):
        return Lines(self.env, self.hub, script, *args)

    def visit(self, script, *args):
        """Of one that ends by itself: its lines."""
        return sh(*enter(self.hub), sys.executable, os.path.join(LIB, script), *args).split("\n")[:-1]

    def emptied(self, host, name, to):
        """@host goes into maintenance: policy moves @name, its last node, cold to @to. Ends the maintenance."""
        self.beats[name].expect_restart()
        host.ctl("evacuate", host.name)
        wait_for("policy to move %s" % name, lambda: not (host.json("hosts").get("maintenance") or {}).get("emptying", True), 400)
        moves = [e for e in host.json("history", name)["entries"] if e["kind"] == "cold move"]
        assert moves and moves[0]["ok"] and moves[0]["who"] == "policy maintenance", moves
        assert self.where(name) is to
        host.ctl("maintenance", "off", host.name)

    def where(self, name):
        return self.pair.settled_on(name)

    def running(self, name):
        return sum(len(qemus_of(h, name)) for h in self.pair.hosts)

    def hooks(self, host, name):
        """What the history of @host has of @name's hooks, oldest first: (text, ok)."""
        entries = host.json("list-history", name)["entries"]
        return [(e["text"], e["ok"]) for e in reversed(entries) if e["kind"] == "hook"]
