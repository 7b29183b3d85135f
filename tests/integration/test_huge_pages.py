"""RAM on huge pages (paths.ram on a hugetlbfs): moves to, from and between such hosts, what fits into the pool, and what policy leaves alone there."""
import os
import subprocess

from ballast import MIB, wait_for
from env import Skip
from hosts import sh
from moves import Pair

LIMIT_S = 600
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
PAGE = 2 * MIB


class Pool:
    """@mib more of huge pages for the test, taken back at its end, and a hugetlbfs of @size MiB (default: all of the pool) below the test's folder."""

    def __init__(self, env, mib):
        env.need_root("huge pages are made by writing " + POOL)
        self.path = os.path.join(env.tmp, "huge")
        os.makedirs(self.path)
        try:
            self.before = self._read()
            env.on_exit(self._end)
            self._write(self.before + mib * MIB // PAGE)
        except OSError as e:
            raise Skip("no huge pages on this machine: %s" % e) from None
        if self._read() < self.before + mib * MIB // PAGE:
            raise Skip("the kernel gives no %d MiB of huge pages" % mib)
        sh("mount", "-t", "hugetlbfs", "-o", "pagesize=2M,size=%dM" % mib, "none", self.path)

    @staticmethod
    def _read():
        with open(POOL) as f:
            return int(f.read())

    @staticmethod
    def _write(n):
        with open(POOL, "w") as f:
            f.write(str(n))

    def folder(self, name):
        return {"paths": {"ram": os.path.join(self.path, name)}}

    def _end(self):
        if os.path.ismount(self.path):  # a guest of a test that failed takes a moment to end
            wait_for("the huge pages to be free", lambda: subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode == 0, 30)
        self._write(self.before)


def test_moves(env):
    """Between a host of huge pages and one of small ones, both ways, with virtio-mem plugged, while it writes; then between two of huge pages."""
    pool = Pool(env, 640)
    pair = Pair(env, alpha=pool.folder("alpha"))
    alpha, beta = pair.hosts
    web = pair.guest(fill="50M", memory={"min": "96M", "boot": "192M", "max": "320M"})
    shown = alpha.ctl("show", web)
    assert "huge pages of 2M" in shown, shown
    alpha.ctl("set-memory", web, "288M")
    alpha.agent(web).cmd("fill 60M")
    for there in (beta, alpha):
        pair.other(there).agent(web).cmd("dirty 30")
        # each write makes a whole huge page dirty: where CPUs are short that is more than the default blackout allows
        pair.other(there).ctl("migrate", "--wait", "--max-blackout", "10s", web, there.name)
        assert pair.whole(web) is there
    alpha.agent(web).cmd("dirty 0")
    alpha.agent(web).cmd("free 80M")  # pages that were given back lost their reservation: they are touched again, and there
    alpha.agent(web).cmd("fill 75M")
    beta.kill()
    beta.settings = {**beta.settings, "paths": {**beta.settings["paths"], "ram": os.path.join(pool.path, "beta")}}
    beta.start()
    pair.connected()
    result = alpha.json("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta and "huge pages of 2M" in beta.ctl("show", web)
    beta.ctl("set-memory", web, "272M")
    report = pair.beats.report()
    print("blackout between huge pages %.0f ms; %s" % (result["blackout_ms"], report))
    assert report.lost == 0 and report.repeated == 0, str(report)


def test_what_fits(env):
    """All of a guest's RAM files counts, touched or not: a guest that finds the pool empty is killed by the kernel. On start and before a move."""
    pool = Pool(env, 320)
    pair = Pair(env, alpha=pool.folder("alpha"))
    alpha, beta = pair.hosts
    beta.add_domain("far", memory={"min": "64M", "boot": "96M", "max": "96M"})
    follow = beta.heartbeats("far")
    beta.ctl("start", "far")
    pair.guest(memory={"min": "64M", "boot": "256M", "max": "256M"})
    alpha.add_domain("web2", memory={"min": "64M", "boot": "96M", "max": "96M"})
    why = alpha.refused("start", "web2")
    assert "needs 96M of huge pages" in why and "64M for it" in why and "vm.nr_hugepages" in why, why
    alpha.add_domain("web3", memory={"min": "48M", "boot": "48M", "max": "112M"})
    why = alpha.refused("start", "web3")  # its virtio-mem: 128M
    assert "needs 176M of huge pages" in why, why
    follow.wait_ready()
    why = beta.refused("migrate", "-n", "far", "alpha")
    assert "needs 96M of huge pages" in why and "64M free" in why, why
    alpha.ctl("stop", "web1")
    boots = alpha.heartbeats("web2")
    alpha.ctl("start", "web2")
    alpha.ctl("migrate", "--wait", "web2", "alpha")  # to another QEMU here, while it boots: the same pages, no further ones
    boots.wait_ready()
    alpha.agent("web2").cmd("fill 16M")
    assert int(alpha.agent("web2").cmd("verify").split()[1]) > 0
    beta.ctl("migrate", "--wait", "far", "alpha")
    assert pair.settled_on("far") is alpha


def test_policy_takes_no_memory_there(env):
    """The same two guests under the same policy on a full host, one idle, one in need: with small pages the idle one gives, with huge ones nothing
    would be gained by that, and it keeps what it booted with."""
    pool = Pool(env, 704)
    more = {"host": {"capacity": {"vcpus": 4, "memory": "432M", "keep-memory": "0M"}},
            "policies": [{"name": "lean", "memory": {"free-lower": 20, "free-upper": 40}}]}
    pair = Pair(env, alpha={**pool.folder("alpha"), **more}, beta=more)
    for host in pair.hosts:
        follows = []
        for name, boot in (("idle", 224), ("hungry", 192)):
            host.add_domain(name + host.name[0], memory={"min": "96M", "boot": "%dM" % boot, "max": "320M"})
            follows.append(host.heartbeats(name + host.name[0]))
            host.ctl("start", name + host.name[0])
        for follow in follows:
            follow.wait_ready()
        agent = host.agent("hungry" + host.name[0])
        agent.cmd("fill %dM" % (int(agent.stat()["memavail_kb"]) // 1024 - 14))
    given = lambda host, name: host.domain(name + host.name[0])["mem_bytes"] // MIB
    wait_for("the idle one to give", lambda: given(pair.beta, "idle") < 224, 180)
    wait_for("the one in need to have what was free", lambda: given(pair.alpha, "hungry") >= 204, 60)
    assert given(pair.alpha, "idle") == 224
    print({h.name: (given(h, "idle"), given(h, "hungry")) for h in pair.hosts})
