"""What the tests of moves share: two hosts that trust each other, a guest that knows its memory, faults on order in the workers, and the
question that matters after each of them: is there exactly one running copy, and is it whole?"""
import os
import re
import signal

from env import wait_for
from hosts import Group

GUEST = dict(vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "64M", "boot": "160M", "max": "160M"})
WRAPPER = """#!/bin/sh
# what a worker shall suffer next: the file beside it, used once
f=%(file)s
if [ "$1" = run ] && [ -s "$f" ]; then POLICYD_MIGRATE_FAULT=$(cat "$f"); export POLICYD_MIGRATE_FAULT; fi
exec %(worker)s "$@"
"""


class Pair:
    """alpha and beta, up and connected. self.fault(host, SPEC) sets what the next worker on that host suffers (migrate/fault.h)."""

    def __init__(self, env, alpha=None, beta=None, **group):
        env.need_root("hosts are network namespaces")
        self.env, self.group = env, Group(env, **group)
        self.alpha, self.beta = self.group.add("alpha", **(alpha or {})), self.group.add("beta", **(beta or {}))
        self.hosts = [self.alpha, self.beta]
        self.group.trust_all()
        for h in self.hosts:
            self._wrap(h)
            h.start(debug=True)
        env.on_exit(self._end)
        self.connected()

    def _end(self):
        """Stop both in order (leaks are reported then), and look for what sanitizers and asserts said."""
        for h in self.hosts:
            h.kill(signal.SIGTERM)
        for h in self.hosts:
            with open(h.log, errors="replace") as f:
                bad = [line for line in f if re.search(r"Sanitizer|runtime error|Assertion", line)]
            assert not bad, "%s: %s" % (h.name, "".join(bad[:5]))
            assert h.process.returncode == 0, "policyd of %s ended with %r" % (h.name, h.process.returncode)

    def _wrap(self, host):
        path = host.path("etc", "worker")
        with open(path, "w") as f:
            f.write(WRAPPER % {"file": host.path("etc", "fault"), "worker": os.path.join(self.env.build, "policyd-migrate")})
        os.chmod(path, 0o755)
        host.settings = {**host.settings, "paths": {**host.settings.get("paths", {}), "worker": path}}

    def other(self, host):
        return self.beta if host is self.alpha else self.alpha

    def fault(self, host, spec):
        with open(host.path("etc", "fault"), "w") as f:
            f.write(spec)

    def no_faults(self):
        for h in self.hosts:
            self.fault(h, "")

    @staticmethod
    def link_up(host, peer):
        return any(h["name"] == peer.name and h.get("up") for h in host.json("hosts")["hosts"])

    def connected(self):
        for h in self.hosts:
            wait_for("%s connected to its peer" % h.name, lambda: self.link_up(h, self.other(h)), 60)

    # ---- the guest ----
    def guest(self, name="web1", fill="32M", host=None, **spec):
        """Define, start, fill; self.beats follows it everywhere."""
        host = host or self.alpha
        host.add_domain(name, **{**GUEST, **spec})
        self.beats = host.heartbeats(name)
        host.ctl("start", name)
        self.beats.wait_ready()
        host.agent(name).cmd("fill " + fill)
        return name

    def states(self, name):
        return {h.name: (h.domain(name) or {}).get("state") for h in self.hosts}

    def settled_on(self, name, timeout=90):
        """The one host that has it, active; no second definition, no second QEMU, no worker."""
        found = []

        def one():
            found[:] = [h for h in self.hosts if (h.domain(name) or {}).get("state") == "active"]
            defined = [h for h in self.hosts if h.domain(name)]
            qemus = {h.name: len(qemus_of(h, name)) for h in self.hosts}
            workers = sum(len(h.worker_pids()) for h in self.hosts)
            return len(found) == 1 and defined == found and sum(qemus.values()) == 1 and qemus[found[0].name] == 1 and not workers

        try:
            wait_for("exactly one running copy", one, timeout)
        except Exception as e:
            raise AssertionError("%s\nstates %r, qemus %r, workers %r" % (
                e, self.states(name), {h.name: qemus_of(h, name) for h in self.hosts}, {h.name: h.worker_pids() for h in self.hosts})) from e
        return found[0]

    def whole(self, name, expect=None):
        """Exactly one copy (on @expect), its heart beats on, its memory is right to the last byte. The host that has it."""
        host = self.settled_on(name)
        assert expect is None or host is expect, "on %s, expected %s" % (host.name, expect.name)
        self.beats.wait_beats(3)
        pages = int(re.search(r"verify (\d+)", host.agent(name).cmd("verify")).group(1))
        assert pages > 0
        self.beats.check()
        return host


def qemus_of(host, name):
    """Pids of the host's QEMUs that run domain @name."""
    out = []
    for pid in host.qemu_pids():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                if ("/run/%s/" % name).encode() in f.read():
                    out.append(pid)
        except OSError:
            pass
    return out


def stopped_worker(host):
    """The worker that a "stop" fault has stopped, waited for."""
    def there():
        for pid in host.worker_pids():
            try:
                with open("/proc/%d/stat" % pid) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "T":
                        return pid
            except OSError:
                pass
        return None
    return wait_for("a stopped worker on %s" % host.name, there, 60)


def go_on(pid):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
