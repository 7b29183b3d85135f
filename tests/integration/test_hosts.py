"""What the other tests stand on: hosts in namespaces, certificates, links that can be slowed and cut, and the clean-up after all of it."""
import os
import subprocess
import time

import ballast
from ballast import Env, Group, certificate, wait_for

PARALLEL = True


def group_of(env, *names):
    env.need_root("hosts are network namespaces")
    group = Group(env)
    return group, [group.add(n) for n in names]


def reaches(a, b, wait_s="1"):
    return subprocess.run(a.in_ns("ping", "-n", "-c", "1", "-W", wait_s, b.address), capture_output=True).returncode == 0


def send_s(env, a, b, mib):
    """Seconds for @mib MiB from host a to host b over TCP."""
    sink = ("import socket; s = socket.create_server(('%s', 7)); print('up', flush=True); c, _ = s.accept()\n"
            "while c.recv(1 << 20): pass" % b.address)
    source = "import socket; c = socket.create_connection(('%s', 7)); c.sendall(bytes(%d << 20))" % (b.address, mib)
    server = env.popen(b.in_ns("python3", "-c", sink), stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"up\n"
    begin = time.monotonic()
    a.run("python3", "-c", source)
    server.wait(60)
    return time.monotonic() - begin


def test_links(env):
    _, (alpha, beta) = group_of(env, "alpha", "beta")
    wait_for("alpha reaching beta", lambda: reaches(alpha, beta))
    fast = send_s(env, alpha, beta, 8)
    alpha.slow("80mbit")
    slow = send_s(env, alpha, beta, 8)
    assert slow > 0.6 and slow > fast, (fast, slow)
    alpha.slow(None)
    assert send_s(env, alpha, beta, 8) < 0.6 or send_s(env, alpha, beta, 8) < slow
    beta.cut()
    assert not reaches(alpha, beta)
    beta.mend()
    wait_for("alpha reaching beta again", lambda: reaches(alpha, beta))


def test_certificates(env):
    crt, _ = certificate(env.tmp, "alpha")
    old, _ = certificate(env.tmp, "old", expired=True)
    assert ballast.sh("openssl", "x509", "-in", crt, "-noout", "-checkend", "3600", "-ext", "subjectAltName").count("DNS:alpha") == 1
    assert subprocess.run(["openssl", "x509", "-in", old, "-noout", "-checkend", "0"], capture_output=True).returncode == 1


def test_nothing_is_left(env):
    """An inner test that fails in the middle of everything leaves no process, folder or namespace."""
    env.need_root("hosts are network namespaces")
    inner = Env(env.build, "inner")
    group, (alpha,) = group_of(inner, "alpha")
    guest = ballast.Qemu(inner)
    beats = guest.heartbeats()
    inner.failed()
    problems = inner.close()
    assert not problems, problems
    assert not os.path.exists(inner.tmp)
    assert not ballast.alive(guest.pid) and beats._process.poll() is not None
    assert group.hub not in ballast.sh("ip", "netns", "list") and alpha.ns not in ballast.sh("ip", "netns", "list")
    assert os.path.exists(os.path.join(inner.log_folder, "run", "g1", "qemu.log"))


def test_sweep(env):
    """A test whose process was killed is cleaned up after by the next one."""
    env.need_root("namespaces")
    code = ("import sys, os, signal; sys.path.insert(0, %r); import ballast; e = ballast.Env(%r, 'killed'); g = ballast.Group(e); q = ballast.Qemu(e)\n"
            "print(e.tmp, g.hub, q.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)" % (os.path.dirname(ballast.__file__), env.build))
    r = subprocess.run(["python3", "-c", code], capture_output=True, text=True)
    folder, ns, pid = r.stdout.split()
    assert os.path.exists(folder) and ballast.alive(int(pid)), r.stderr
    Env(env.build, "next").close()
    assert not os.path.exists(folder) and not ballast.alive(int(pid))
    assert ns not in ballast.sh("ip", "netns", "list")
