"""Hosts for tests, bench and demo: each a network namespace with its own policyd, folders and certificate, joined by a bridge.

    group = Group(env)                     # a bridge in a namespace of its own
    alpha, beta = group.add("alpha"), group.add("beta")
    group.trust_all()                      # each host's certificate into each other's trust folder
    alpha.start(); beta.start()            # writes policyd.cfg and starts policyd
    alpha.ctl("list")                      # policyctl; alpha.json("list") for its --json

Everything is below env.tmp and ends with env.close(). Needs root."""
import itertools
import json
import os
import signal
import socket
import subprocess
import time

from qemu import CMDLINE, Agent
from beats import Heartbeats

NET = "10.99.%d.%d"
NET6 = "fd99:ba11:a57:%x::%x"
_groups = itertools.count()


def enter(ns):
    """What runs a command in a namespace. Not "ip netns exec" or "ip -n": they remount /, which a chroot's / does not allow, and hide
    /sys/fs/cgroup. nsenter execs: the pid is the program's."""
    return ["nsenter", "--net=/run/netns/" + ns]


class CommandFailed(Exception):
    """A command said no: .code, .out, .err."""

    def __init__(self, argv, code, out, err):
        super().__init__("%s: exit %d: %s" % (" ".join(argv), code, (err or out).strip()))
        self.argv, self.code, self.out, self.err = argv, code, out, err


def sh(*argv, check=True, timeout=60):
    """Run a command to its end; its standard output."""
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if check and r.returncode:
        raise CommandFailed(argv, r.returncode, r.stdout, r.stderr)
    return r.stdout


def cfg_value(v):
    """A python value in libconfig's syntax."""
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, (int, float)):
        return repr(v)
    if isinstance(v, str):
        return '"%s"' % v.replace("\\", "\\\\").replace('"', '\\"')
    if isinstance(v, dict):
        return "{ %s }" % " ".join("%s = %s;" % (k, cfg_value(x)) for k, x in v.items())
    if all(isinstance(x, dict) for x in v):
        return "( %s )" % ", ".join(cfg_value(x) for x in v)
    return "[ %s ]" % ", ".join(cfg_value(x) for x in v)


def cfg_text(settings):
    """"@include" is a list of files in the same folder."""
    files = "".join('@include "%s"\n' % v for v in settings.get("@include", []))
    return "".join("%s = %s;\n" % (k, cfg_value(v)) for k, v in settings.items() if k != "@include") + files


def merged(base, over):
    """@base with @over laid on it, group by group; None removes a key."""
    out = dict(base)
    for k, v in over.items():
        if v is None:
            out.pop(k, None)
        elif isinstance(v, dict) and isinstance(out.get(k), dict):
            out[k] = merged(out[k], v)
        else:
            out[k] = v
    return out


def certificate(folder, name, days=30, expired=False, san=None):
    """A self-signed certificate for @name: folder/name.crt and .key. @san: other subject alternative names than DNS:name."""
    crt, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=" + name, "-addext", "subjectAltName=" + (san or "DNS:" + name), "-keyout", key, "-out", crt]
    if not expired:
        sh(*argv, "-days", str(days))
        return crt, key
    # openssl req knows no start date: a small CA of one, with dates in the past
    sh(*argv)
    csr, conf = os.path.join(folder, name + ".csr"), os.path.join(folder, name + ".ca.cnf")
    open(os.path.join(folder, name + ".idx"), "w").close()
    with open(conf, "w") as f:
        f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n"
                "[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:%s\n" % (os.path.join(folder, name + ".idx"), folder, name))
    sh("openssl", "req", "-new", "-key", key, "-subj", "/CN=" + name, "-out", csr)
    sh("openssl", "ca", "-batch", "-config", conf, "-selfsign", "-keyfile", key, "-in", csr, "-out", crt, "-notext",
       "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
    return crt, key


class Group:
    """A bridge in a namespace of its own, and the hosts on it. Names carry the pid, so that groups never meet."""

    def __init__(self, env, host_class=None, ipv6=False):
        """@ipv6: the hosts have IPv6 addresses, and no others."""
        self.env, self.hosts, self.host_class, self.ipv6 = env, [], host_class or Host, ipv6
        self.number = next(_groups)
        self.tag = "bt%d-%d" % (os.getpid(), self.number)
        self.subnet = (os.getpid() * 7 + self.number) % 250 + 1
        self.hub = self.tag + "-hub"
        self._namespace(self.hub)
        self.hub_run("ip", "link", "add", "br0", "type", "bridge")
        self.hub_run("ip", "link", "set", "br0", "up")

    def _namespace(self, name):
        sh("ip", "netns", "add", name)
        self.env.on_exit(lambda: sh("ip", "netns", "del", name, check=False))
        sh(*enter(name), "ip", "link", "set", "lo", "up")

    def hub_run(self, *argv):
        return sh(*enter(self.hub), *argv)

    def add(self, name, **settings):
        """A host of this name, joined to the bridge. Settings are laid over the default configuration."""
        host = self.host_class(self, name, len(self.hosts) + 1, settings)
        self._namespace(host.ns)
        sh("ip", "link", "add", "eth0", "netns", host.ns, "type", "veth", "peer", "name", "p%d" % host.number, "netns", self.hub)
        self.hub_run("ip", "link", "set", "p%d" % host.number, "master", "br0", "up")
        sh(*enter(host.ns), "ip", "addr", "add", host.address + ("/64" if self.ipv6 else "/24"), "dev", "eth0", *(["nodad"] if self.ipv6 else []))
        sh(*enter(host.ns), "ip", "link", "set", "eth0", "up")
        self.hosts.append(host)
        return host

    def trust_all(self):
        for a in self.hosts:
            for b in self.hosts:
                if a is not b:
                    a.trust(b)


class Host:
    """One host: namespace, folders, certificate, policyd."""

    def __init__(self, group, name, number, settings):
        self.group, self.env, self.name, self.number = group, group.env, name, number
        self.ns = "%s-%s" % (group.tag, name)
        self.address = (NET6 if group.ipv6 else NET) % (group.subnet, number)
        self.dir = os.path.join(self.env.tmp, "%d.%s" % (group.number, name))
        self.build = self.env.build
        self.process = None
        self.settings = settings
        for leaf in ("run", "state", "ram", "trust", "etc"):
            os.makedirs(self.path(leaf))
        self.crt, self.key = certificate(self.path("etc"), name)
        self.log = self.path("policyd.log")
        self.env.on_exit(self._end)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def trust(self, other):
        """Put the other host's certificate into our trust folder."""
        with open(other.crt) as src, open(self.path("trust", other.name + ".crt"), "w") as dst:
            dst.write(src.read())

    def distrust(self, other):
        os.unlink(self.path("trust", other.name + ".crt"))

    # ---- configuration ----
    def default_settings(self):
        return {
            "host": {"name": self.name, "address": self.address, "port": 8101, "accel": "tcg",
                     "capacity": {"vcpus": 8, "memory": "4G", "keep-memory": "128M"}},
            "paths": {"run": self.path("run"), "state": self.path("state"), "ram": self.path("ram"),
                      "worker": os.path.join(self.build, "policyd-migrate")},
            "security": {"certificate": self.crt, "key": self.key, "trust": self.path("trust")},
            "cluster": {"peers": [{"name": h.name, "address": h.address, "port": 8101} for h in self.group.hosts if h is not self]},
        }

    @property
    def conf_path(self):
        return self.path("etc", "policyd.cfg")

    def write_conf(self, **settings):
        """policyd.cfg from the defaults, what add() was given, and @settings (kept for later calls)."""
        self.settings = merged(self.settings, settings)
        text = cfg_text(merged(self.default_settings(), self.settings))
        with open(self.conf_path, "w") as f:
            f.write(text)
        return self.conf_path

    # ---- policyd ----
    def start(self, wait=True, debug=False):
        self.write_conf()
        self.launch(["-f", self.conf_path] + (["-d"] if debug else []))
        if wait:
            self.wait_up()
        return self

    def launch(self, args):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.in_ns(os.path.join(self.build, "policyd"), *args), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def in_ns(self, *argv):
        return [*enter(self.ns), *argv]

    def run(self, *argv, check=True):
        return sh(*self.in_ns(*argv), check=check)

    def wait_up(self, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("policyd of %s ended with %d: %s" % (self.name, self.process.returncode, self.log_tail()))
            try:
                self.ctl("ping", timeout=10)
                return
            except (CommandFailed, subprocess.TimeoutExpired):
                time.sleep(0.05)
        raise RuntimeError("policyd of %s does not answer: %s" % (self.name, self.log_tail()))

    def kill(self, sig=signal.SIGKILL):
        """End policyd (guests run on)."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(30)

    def restart(self, sig=signal.SIGKILL):
        self.kill(sig)
        self.start()

    def log_tail(self, lines=15):
        try:
            with open(self.log, errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    # ---- operators ----
    @property
    def socket_path(self):
        return self.path("run", "policyd.sock")

    def ctl_argv(self, *args):
        return self.in_ns(os.path.join(self.build, "policyctl"), "-s", self.socket_path, *args)

    def ctl(self, *args, check=True, timeout=180):
        return sh(*self.ctl_argv(*args), check=check, timeout=timeout)

    def refused(self, *args, timeout=180):
        """The sentence with which a command is refused; fails when it is not."""
        r = subprocess.run(self.ctl_argv(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        assert r.returncode in (1, 2), "%s: exit %d, expected a refusal: %s" % (" ".join(args), r.returncode, r.stdout)
        return (r.stderr + r.stdout).strip()

    def json(self, *args, timeout=180):
        return json.loads(self.ctl("--json", *args, timeout=timeout))

    def control(self):
        """A raw connection to the control socket."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(self.socket_path)
        return s

    def domain(self, name):
        """list's entry of a domain here, or None."""
        return next((d for d in self.json("list")["domains"] if d["name"] == name and d.get("host", self.name) == self.name), None)

    def add_domain(self, name, **spec):
        """Write a domain file of the test guest and add it. Keys with _ for -."""
        spec = {"name": name, "kernel": os.path.join(self.build_root, "guest/vmlinuz"), "initrd": os.path.join(self.build_root, "guest/initrd"),
                "cmdline": CMDLINE,
                **{k.replace("_", "-"): v for k, v in spec.items()}}
        path = self.path("etc", name + ".dom.cfg")
        with open(path, "w") as f:
            f.write(cfg_text({"domain": spec}))
        return self.ctl("add-domain", path)

    def agent(self, name):
        """The command port of domain @name, as long as it is here."""
        return Agent(self.path("run", name, "agent.sock"))

    def heartbeats(self, name):
        """Follow domain @name on every host of the group. Call it before start."""
        return Heartbeats(self.env, [h.path("run", name, "console.log") for h in self.group.hosts])

    @property
    def build_root(self):
        """build/, whatever sanitizer's folder below it the programs come from: the guest is built once."""
        b = self.build.rstrip("/")
        return os.path.dirname(b) if os.path.basename(b).startswith("san-") else b

    # ---- the link ----
    def slow(self, rate):
        """Limit what this host sends, e.g. "100mbit"; None lifts it."""
        sh(*enter(self.ns), "tc", "qdisc", "del", "dev", "eth0", "root", check=False)
        if rate:
            sh(*enter(self.ns), "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")

    def cut(self):
        self.group.hub_run("ip", "link", "set", "p%d" % self.number, "down")

    def mend(self):
        self.group.hub_run("ip", "link", "set", "p%d" % self.number, "up")

    # ---- the end ----
    def qemu_pids(self):
        """Pids of every QEMU whose command line names our folders."""
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    line = f.read()
            except OSError:
                continue
            if b"qemu-system" in line.split(b"\0")[0] and (self.dir + "/").encode() in line:
                out.append(int(pid))
        return out

    def worker_pids(self):
        """policyd-migrate processes that are children of this host's namespace and folders."""
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.basename(os.readlink("/proc/%s/exe" % pid)) != "policyd-migrate":
                    continue
                if os.stat("/proc/%s/ns/net" % pid).st_ino == os.stat("/run/netns/" + self.ns).st_ino:
                    out.append(int(pid))
            except OSError:
                continue
        return out

    def _end(self):
        self.kill()
        for pid in self.qemu_pids() + self.worker_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
