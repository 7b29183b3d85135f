"""Two policyd-migrate by hand between two folders, one guest, and what both policyds would do when they have ended (docs/worker.md, docs/peers.md)."""
import json
import os
import shutil
import subprocess

from env import alive, wait_for
from hosts import certificate
from qemu import Qemu, QmpError
from worker import Worker, start_line


class Pair:
    """A guest on one of two 'hosts' (folders), and a new target for each attempt. @only: what a host has of its own, {host: arguments of Qemu}."""

    def __init__(self, env, mem_mib=128, fill="24M", dirty=4, only=None, **machine):
        self.env, self.epoch, self.n = env, 0, 0
        self.only = {"alpha": {}, "beta": {}, **(only or {})}
        self.homes, self.tls = {}, {}
        for me, other in (("alpha", "beta"), ("beta", "alpha")):
            home = self.homes[me] = os.path.join(env.tmp, me[0])
            os.makedirs(os.path.join(home, "trust"))
            os.makedirs(os.path.join(home, "state"))
            self.tls[me] = dict(zip(("certificate", "key"), certificate(home, me)), trust=os.path.join(home, "trust"), fips=False)
        for me, other in (("alpha", "beta"), ("beta", "alpha")):
            shutil.copy(self.tls[other]["certificate"], self.tls[me]["trust"])
        self.here, self.there = "alpha", "beta"
        self.guest = Qemu(env, base=self.base("alpha"), mem_mib=mem_mib, **{**machine, **self.only["alpha"]})
        self.beats = self.guest.heartbeats()
        self.beats.wait_ready()
        self.guest.cmd("fill " + fill)
        if dirty:
            self.guest.cmd("dirty %d" % dirty)
        self.target = self.src = self.dst = None

    def base(self, host):
        self.n += 1
        return os.path.join(self.homes[host], str(self.n))

    def state(self, host):
        return os.path.join(self.homes[host], "state")

    def begin(self, fault="", wait_source=True, **settings):
        """Start both workers; returns when both have begun (or the target has ended)."""
        self.epoch += 1
        self.target = self.guest.target(self.base(self.there), **self.only[self.there])
        self.beats.stop()
        self.beats = self.guest.heartbeats(self.target)
        environ = {"POLICYD_MIGRATE_FAULT": fault}
        self.dst = Worker(self.env, environ=environ)
        self.src = None
        wait_for("the target's monitor", lambda: os.path.exists(self.target.path("qmp-worker.sock")))
        self.dst.send(**start_line("target", self.target, self.there, self.here, self.state(self.there), self.tls[self.there], self.epoch,
                                   address="127.0.0.1", port=0, **settings))
        try:
            port = self.dst.wait("listening", 60)["port"]
        except RuntimeError:
            port = 9  # nobody there
        self.src = Worker(self.env, environ=environ)
        self.src.send(**start_line("source", self.guest, self.here, self.there, self.state(self.here), self.tls[self.here], self.epoch,
                                   address="127.0.0.1", port=port, **settings))

    def end(self, worker):
        """Its last word: the done line, or None when it died without one."""
        try:
            done = worker.wait("done", 120)
            worker.join()
            assert worker.status == 0, worker.status
            return done
        except RuntimeError:
            worker.join()
            return None

    def journal(self, host, *args):
        out = subprocess.run([self.env.program("policyd-migrate"), "journal", *args[:1], "--state-dir", self.state(host), *args[1:]],
                             capture_output=True, text=True)
        assert out.returncode == 0, (args, out.stderr)
        return json.loads(out.stdout.splitlines()[-1])

    def key(self, role):
        return (self.guest.uuid, str(self.epoch), role)

    def query(self):
        """docs/peers.md, handoff-query: end the worker, record REFUSED unless OWNER, answer."""
        self.dst.kill()
        return self.journal(self.there, "resolve", "--apply", *self.key("target"))["state"]

    @staticmethod
    def resume(qemu):
        """A worker may have died in the middle of QEMU's own migration: cancel that first, and give QEMU time to forget it."""
        def cont():
            try:
                qemu.qmp("cont")
                return True
            except QmpError as e:
                if "not finalized" not in str(e):
                    raise
            try:
                qemu.qmp("migrate-continue", state="cancelling")  # 7.2 may hang there: docs/worker.md
            except QmpError:
                pass
            return False
        qemu.qmp("migrate_cancel")
        wait_for("QEMU forgetting its migration", cont, 10)

    def resolve(self):
        """What both policyds do when the workers have ended. Returns the host that has the guest."""
        answer = self.journal(self.here, "resolve", "--apply", *self.key("source"))
        if answer["action"] == "ask":
            verdict = {"OWNER": "GONE", "REFUSED": "ABORT"}[self.query()]
            self.journal(self.here, "record", *self.key("source"), verdict)
            answer = self.journal(self.here, "resolve", *self.key("source"))
        other = self.journal(self.there, "resolve", "--apply", *self.key("target"))
        for qemu, a in ((self.guest, answer), (self.target, other)):
            if a["action"] == "quit":
                qemu.kill()
            elif a["action"] == "resume":
                self.resume(qemu)
        moved = other["state"] == "OWNER"
        assert (answer["state"] == "GONE") == moved, (answer, other)
        self.check_one(moved)
        return self.here

    def check_one(self, moved):
        """Exactly one runs, where it should, and the guest is well."""
        gone, runs = (self.guest, self.target) if moved else (self.target, self.guest)
        wait_for("the other QEMU's end", lambda: not alive(gone.pid))
        gone.process.wait(10)
        assert runs.qmp("query-status")["status"] == "running"
        self.beats.wait_beats(2, 60, **({"stream": "new"} if moved else {}))
        self.beats.check()
        if moved:
            self.guest, self.here, self.there = self.target, self.there, self.here

    def verify(self):
        assert self.guest.cmd("verify").startswith("verify ")
        self.beats.check()
