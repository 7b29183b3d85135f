"""policyd-migrate by hand (docs/worker.md): what policyd does with it, from python. For bench and faults.

    src, dst = Worker(env, "source"), Worker(env, "target")
    dst.start(...); port = dst.wait("listening")["port"]; src.start(..., port=port); src.wait("done")"""
import json
import os
import socket
import threading
import time


class Worker:
    """One policyd-migrate with our end of its descriptor 3. Events are kept in .events with the time they came (seconds, monotonic)."""

    def __init__(self, env, args=("run",), ns=None, environ=None, program="policyd-migrate"):
        self.env, self.events, self._cond = env, [], threading.Condition()
        ours, theirs = socket.socketpair()
        self.sock = ours
        argv = (["nsenter", "--net=/run/netns/" + ns] if ns else []) + [env.program(program), *args, "--fd", "3"]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                fd = theirs.detach()
                if fd != 3:
                    os.dup2(fd, 3)
                    os.close(fd)
                os.set_inheritable(3, True)
                os.execvpe(argv[0], argv, dict(os.environ, **(environ or {})))
            finally:
                os._exit(127)
        theirs.close()
        self.status = self.usage = None
        env.on_exit(self.kill)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self.sock.makefile("r", encoding="utf-8", errors="replace") as f:
            try:
                for line in f:
                    with self._cond:
                        self.events.append(dict(json.loads(line), t_s=time.monotonic()))
                        self._cond.notify_all()
            except ConnectionResetError:  # killed with something of ours unread
                pass
        with self._cond:
            self.events.append({"event": "eof", "t_s": time.monotonic()})
            self._cond.notify_all()

    def send(self, **line):
        self.sock.sendall((json.dumps(line) + "\n").encode())

    def go(self):
        """Let a held worker go on; one that has ended meanwhile (its QEMU died) needs no telling: its events say how."""
        try:
            self.send(op="go")
        except BrokenPipeError:
            pass

    def wait(self, event, timeout=300, **match):
        """The first event of this name with these members; raises when the worker ends without it."""
        end = time.monotonic() + timeout
        with self._cond:
            while True:
                for e in self.events:
                    if e["event"] == event and all(e.get(k) == v for k, v in match.items()):
                        return e
                    if e["event"] in ("eof", "done") and event != "eof":
                        raise RuntimeError("the worker ended before '%s': %s" % (event, e))
                if not self._cond.wait(max(0.0, end - time.monotonic())) and time.monotonic() > end:
                    raise RuntimeError("no '%s' within %g s: %s" % (event, timeout, self.events[-3:]))

    def join(self):
        """Wait for its end; CPU seconds that it used."""
        if self.usage is None:
            _, self.status, self.usage = os.wait4(self.pid, 0)
        return self.usage.ru_utime + self.usage.ru_stime

    def kill(self, sig=9):
        if self.usage is None:
            try:
                os.kill(self.pid, sig)
            except ProcessLookupError:
                pass
            self.join()


def start_line(role, qemu, host, peer, state_dir, tls, epoch=1, **more):
    """The first line for a worker: everything that policyd would say."""
    return dict({"op": "start", "role": role, "domain": qemu.name, "uuid": qemu.uuid, "epoch": epoch, "host": host, "peer": peer,
                 "state_dir": state_dir, "ram_dir": qemu.ram_dir, "run_dir": qemu.dir, "pid": qemu.pid, "qmp": qemu.path("qmp-worker.sock"),
                 "tls": tls, "token": "0" * 31 + "1", "channels": 0, "bandwidth_bps": 0, "max_blackout_ms": 300, "max_rounds": 30,
                 "compress": True, "verify_full": False, "leave_paused": False, "was_paused": False, "n_disks_direct": 0}, **more)
