"""QEMU by hand, for tests that need a guest or a migration worker without policyd: the same argument list, folder and file names
as domain/launch.h, a small synchronous QMP client, and the guest's agent."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import uuid as uuid_module

from beats import Heartbeats
from env import Skip, Timeout, alive, end_process, wait_for

MACHINE = "pc-q35-7.2"
# All after panic=1 only saves boot time (docs/guest.md).
CMDLINE = ("console=hvc0 quiet panic=1 mitigations=off nokaslr tsc=reliable cryptomgr.notests no_timer_check lpj=4000000 "
           "initcall_blacklist=load_system_certificate_list,cubictcp_register,init_blk_tracer")
MIB = 1 << 20


def connect(path, timeout=60):
    """A stream to a unix socket that may not be there yet, and whose path may be longer than 107 characters."""
    def attempt():
        s = socket.socket(socket.AF_UNIX)
        folder = os.open(os.path.dirname(path), os.O_PATH) if os.path.isdir(os.path.dirname(path)) else -1
        try:
            s.connect("/proc/self/fd/%d/%s" % (folder, os.path.basename(path)))
            return s
        except OSError:
            s.close()
            return None
        finally:
            if folder >= 0:
                os.close(folder)
    return wait_for("a listener on %s" % path, attempt, timeout)


def version(qemu="qemu-system-x86_64", extra=()):
    """(7, 2, 22)"""
    text = subprocess.run([qemu, *extra, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(int(n) for n in re.search(r"version (\d+)\.(\d+)\.(\d+)", text).groups())


def newer_qemu():
    """Arguments for Qemu() that take a QEMU of at least 9.0: the installed one, or that of the release's backports. Raises Skip with the reason."""
    if version() >= (9, 0):
        return {}
    cache = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".cache", "qemu")
    r = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest", "fetch_qemu.sh"), cache], stdin=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True)
    if r.returncode:
        raise Skip(r.stderr.strip().splitlines()[-1] if r.stderr.strip() else "fetch_qemu.sh failed")
    root = os.path.join(os.path.realpath(cache), "root/usr")
    return {"qemu": os.path.join(root, "bin/qemu-system-x86_64"), "extra": ("-L", os.path.join(root, "share/qemu"))}


class Lines:
    """Whole lines from a socket, with a time limit."""

    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def get(self, timeout):
        """The next line without its end; None when the other side has closed."""
        end = time.monotonic() + timeout
        while b"\n" not in self.buf:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise Timeout("no line within %g s (so far: %r)" % (timeout, self.buf[-200:]))
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def put(self, text):
        self.sock.sendall(text.encode() + b"\n")


class QmpError(Exception):
    """QEMU's answer was an error: .cls and the text."""

    def __init__(self, cmd, error):
        super().__init__("%s: %s" % (cmd, error.get("desc")))
        self.cls = error.get("class")


class Qmp:
    """qmp = Qmp(path); qmp("query-status"); qmp("device_add", driver=..., id=...). Events that come meanwhile are in .events."""

    def __init__(self, path, timeout=60):
        self.path, self.events, self._n = path, [], 0
        self.lines = Lines(connect(path, timeout))
        first = self._get(timeout)
        while "event" in first:  # told between QEMU's taking the connection and its greeting
            first = self._get(timeout)
        assert "QMP" in first, "no QMP greeting on %s: %r" % (path, first)
        self("qmp_capabilities")

    def _get(self, timeout):
        line = self.lines.get(timeout)
        if line is None:
            raise ConnectionError("QEMU closed %s" % self.path)
        return json.loads(line)

    def __call__(self, cmd, _timeout=60, **args):
        """Run a command; its "return". _ in names of arguments stands for -."""
        self._n += 1
        self.lines.put(json.dumps({"execute": cmd, "id": self._n, "arguments": {k.replace("_", "-"): v for k, v in args.items()}}))
        while True:
            answer = self._get(_timeout)
            if "event" in answer:
                self.events.append(answer)
            elif answer.get("id") == self._n:
                if "error" in answer:
                    raise QmpError(cmd, answer["error"])
                return answer["return"]

    def wait_event(self, name, timeout=60, match=lambda data: True):
        """The data of the first event of this name that is new or not yet taken."""
        end = time.monotonic() + timeout
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name and match(e.get("data", {})):
                    del self.events[i]
                    return e.get("data", {})
            answer = self._get(max(0.0, end - time.monotonic()))
            if "event" in answer:
                self.events.append(answer)

    def close(self):
        self.lines.sock.close()


class AgentError(Exception):
    """The guest's answer began with "error"."""


class Agent:
    """The guest's command port. One connection a command, since QEMU serves one client at a time."""

    def __init__(self, path):
        self.path = path

    def cmd(self, line, timeout=120):
        """Send a command (docs/guest.md); the answer after "ok "."""
        sock = connect(self.path, timeout)
        try:
            lines = Lines(sock)
            lines.put(line)
            answer = lines.get(timeout)
        finally:
            sock.close()
        if answer is None:
            raise ConnectionError("%s: the guest went away" % line)
        word, _, rest = answer.partition(" ")
        if word != "ok":
            raise AgentError("%s: %s" % (line, answer))
        return rest

    def stat(self):
        """stat's figures as a dict of ints (uptime_s: float)."""
        pairs = (p.split("=") for p in self.cmd("stat").split())
        return {k: float(v) if "." in v else int(v) for k, v in pairs}


class Qemu:
    """One QEMU with the test guest. Folder run/NAME and ram/UUID.ram below @base (default: the test's)."""

    def __init__(self, env, name="g1", mem_mib=128, vcpus=1, maxcpus=4, base=None, ns=None, incoming=False, paused=False, uuid=None,
                 cmdline=CMDLINE, cpu="max", qemu="qemu-system-x86_64", extra=(), hotplugged=(), vmem_mib=0, start=True):
        self.env, self.name, self.mem_mib, self.ns = env, name, mem_mib, ns
        self.base = base or env.tmp
        self.run, self.ram_dir = os.path.join(self.base, "run"), os.path.join(self.base, "ram")
        self.dir = os.path.join(self.run, name)
        self.uuid = uuid or str(uuid_module.uuid4())
        self.ram = os.path.join(self.ram_dir, self.uuid + ".ram")
        self.cpu, self.vcpus, self.maxcpus, self.incoming, self.paused = cpu, vcpus, maxcpus, incoming, paused
        self.cmdline, self.qemu, self.extra, self.hotplugged = cmdline, qemu, list(extra), list(hotplugged)
        self.vmem_mib, self.vmem = vmem_mib, os.path.join(self.ram_dir, self.uuid + ".vmem")
        self.agent = Agent(self.path("agent.sock"))
        self.process, self._qmp = None, None
        if start:
            self.start()

    def path(self, leaf):
        return os.path.join(self.dir, leaf)

    def target(self, base, **changes):
        """A QEMU that this one can be migrated to: the same machine, held at -incoming defer, below another base folder."""
        same = dict(name=self.name, mem_mib=self.mem_mib, vcpus=self.vcpus, maxcpus=self.maxcpus, uuid=self.uuid, cmdline=self.cmdline,
                    cpu=self.cpu, qemu=self.qemu, extra=self.extra, hotplugged=self.hotplugged, vmem_mib=self.vmem_mib, incoming=True)
        same.update(changes)
        return Qemu(self.env, base=base, **same)

    def cpu_args(self, core):
        return "%s-x86_64-cpu,id=cpu-%d,socket-id=0,core-id=%d,thread-id=0" % (self.cpu, core, core)

    def argv(self):
        """As domain/launch_argv.c makes it."""
        guest = os.path.join(self.env.build_root, "guest")
        a = [self.qemu, "-name", "guest=%s,debug-threads=on" % self.name, "-uuid", self.uuid, "-nodefaults", "-no-user-config", "-display",
             "none", "-machine", MACHINE + ",memory-backend=ram,usb=off,vmport=off,dump-guest-core=off", "-accel", "tcg,thread=multi",
             "-cpu", self.cpu, "-smp", "cpus=1,maxcpus=%d,sockets=1,cores=%d,threads=1" % (self.maxcpus, self.maxcpus)]
        for core in self.hotplugged or range(1, self.vcpus):
            a += ["-device", self.cpu_args(core)]
        more = ",slots=1,maxmem=%dM" % (self.mem_mib + self.vmem_mib) if self.vmem_mib else ""
        a += ["-m", "size=%dM%s" % (self.mem_mib, more), "-object",
              "memory-backend-file,id=ram,size=%dM,mem-path=%s,share=on,prealloc=off" % (self.mem_mib, self.ram),
              "-kernel", os.path.join(guest, "vmlinuz"), "-initrd", os.path.join(guest, "initrd"), "-append", self.cmdline,
              "-device", "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on,bus=pcie.0,addr=0x3",
              "-chardev", "socket,id=console0,path=%s,server=on,wait=off,logfile=%s,logappend=on" % (
                  self.path("console.sock"), self.path("console.log")),
              "-chardev", "socket,id=agent0,path=%s,server=on,wait=off" % self.path("agent.sock"),
              "-device", "virtio-serial-pci,id=serial0,max_ports=4,bus=pcie.0,addr=0x4",
              "-device", "virtconsole,id=console,chardev=console0,name=org.ballast.console.0,bus=serial0.0,nr=0",
              "-device", "virtserialport,id=agent,chardev=agent0,name=org.ballast.guest.0,bus=serial0.0,nr=1"]
        if self.vmem_mib:
            a += ["-object", "memory-backend-file,id=vmem,size=%dM,mem-path=%s,share=on,prealloc=off" % (self.vmem_mib, self.vmem),
                  "-device", "virtio-mem-pci,id=vmem0,memdev=vmem,requested-size=0,block-size=2M,bus=pcie.0,addr=0x5"]
        for i, leaf in enumerate(("qmp.sock", "qmp-worker.sock")):
            a += ["-chardev", "socket,id=qmp%d,path=%s,server=on,wait=off" % (i, self.path(leaf)), "-mon", "chardev=qmp%d,mode=control" % i]
        if self.incoming:
            a += ["-incoming", "defer"]
        if self.paused:
            a += ["-S"]
        return a + self.extra

    def start(self):
        for leaf in ("vmlinuz", "initrd"):
            assert os.path.exists(os.path.join(self.env.build_root, "guest", leaf)), "the test guest is not built; run make guest"
        os.makedirs(self.dir, exist_ok=True)
        os.makedirs(self.ram_dir, exist_ok=True)
        ns = ["nsenter", "--net=/run/netns/" + self.ns] if self.ns else []
        with open(self.path("qemu.log"), "ab") as log:
            self.process = self.env.popen(ns + self.argv(), stdout=log, stderr=log)
        self.pid = self.process.pid
        return self

    @property
    def qmp(self):
        """The first monitor (policyd's), connected when first used."""
        if not self._qmp:
            self._qmp = self.open_qmp("qmp.sock")
        return self._qmp

    def open_qmp(self, leaf="qmp-worker.sock"):
        def there():
            if self.process.poll() is not None:
                raise RuntimeError("QEMU of %s ended with %d: %s" % (self.name, self.process.returncode, self.log_tail()))
            return os.path.exists(self.path(leaf))
        wait_for("QEMU's monitor", there)
        return Qmp(self.path(leaf))

    def cmd(self, line, timeout=120):
        return self.agent.cmd(line, timeout)

    def stat(self):
        return self.agent.stat()

    def heartbeats(self, *others):
        """Follow this guest here and on @others (Qemus that it may move to)."""
        return Heartbeats(self.env, [q.path("console.log") for q in (self, *others)])

    def console(self):
        with open(self.path("console.log"), errors="replace") as f:
            return f.read()

    def log_tail(self):
        with open(self.path("qemu.log"), errors="replace") as f:
            return f.read()[-1500:].strip()

    def resident_mib(self):
        """What the RAM file holds (holes do not count)."""
        return os.stat(self.ram).st_blocks * 512 / MIB

    def wait_end(self, timeout=60):
        """Until QEMU has ended; its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout("QEMU of %s has not ended within %g s" % (self.name, timeout)) from None

    def kill(self, sig=signal.SIGKILL):
        if alive(self.pid):
            end_process(self.pid, sig)
        self.process.wait(30)
