"""examples/etcd: a three-member etcd cluster in real guests, its data on shared disks. The member that leads is moved cold while a client writes on
and on: the leader changes first, the cluster goes on meanwhile, and nothing that was acknowledged is lost, on no member. Only one member goes
at a time; and one whose companions are down stays where it is."""
import json
import os
import subprocess
import tempfile

from ballast import wait_for
from nodes import Nodes

LIMIT_S = 900
NAMES = ("etcd1", "etcd2", "etcd3")


class Etcd(Nodes):
    def __init__(self, env, shared):
        self.ctl_path = env.program("guest/etcdctl")
        super().__init__(env, "etcd", "orders.cfg", [("etcdctl=etcdctl", "etcdctl=" + self.ctl_path)])
        volumes = [{"name": "vol-" + n, "path": os.path.join(shared, n + ".img")} for n in NAMES]
        for v in volumes:
            subprocess.run(["mkfs.ext4", "-q", "-F", v["path"], "256M"], check=True, timeout=60)
        for host in self.pair.hosts:
            host.write_conf(host={**host.settings["host"], "volumes": volumes})
            host.ctl("reload")
        self.urls = {n: "http://%s:2379" % self.lan.address(11 + i) for i, n in enumerate(NAMES)}
        members = ",".join("%s=http://%s:2380" % (n, self.lan.address(11 + i)) for i, n in enumerate(NAMES))
        for i, (name, host) in enumerate(zip(NAMES, (self.alpha, self.alpha, self.beta))):
            self.start(host, name, 11 + i, "ballast.members=" + members, mem="256M", initrd="etcd.initrd", disks=[{"volume": "vol-" + name}])

    def etcdctl(self, name, *args):
        """Through that member; None when it says no."""
        r = subprocess.run(["nsenter", "--net=/run/netns/" + self.hub, self.ctl_path, "--endpoints=" + self.urls[name], *args],
                           capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        return r.stdout if r.returncode == 0 else None

    def status(self, name):
        """id, leads."""
        fields = (self.etcdctl(name, "endpoint", "status") or "").strip().split(", ")
        return (fields[1], fields[4] == "true") if len(fields) > 5 else (None, False)

    def leader(self):
        return next((n for n in NAMES if self.status(n)[1]), None)

    def make_leader(self, name):
        def done():
            leads = self.leader()
            return leads == name or (leads and self.etcdctl(leads, "move-leader", self.status(name)[0]) and False)
        wait_for("%s to lead" % name, done, 300, pause=0.5)

    def healthy(self, *names):
        wait_for("health of %s" % ", ".join(names), lambda: all(self.etcdctl(n, "endpoint", "health") is not None for n in names), 300, pause=0.5)

    def numbers(self, name):
        return {int(x) for x in self.visit("etcd_client.py", "read", self.urls[name])}


def acked(lines):
    return [int(line.split()[1]) for line in lines if line.startswith("acked ")]


def test_members_move(env):
    with tempfile.TemporaryDirectory(dir=env.build, prefix="shared-") as shared:  # not on tmpfs: a disk is opened for direct I/O
        etcd = Etcd(env, shared)
        alpha, beta = etcd.alpha, etcd.beta
        etcd.healthy(*NAMES)
        etcd.make_leader("etcd1")
        writer = etcd.visitor("etcd_client.py", "write", *etcd.urls.values())
        wait_for("the first writes", lambda: len(acked(writer.lines)) > 5, 300)
        move = subprocess.Popen(alpha.ctl_argv("--json", "migrate", "--wait", "etcd1", "beta"), stdout=subprocess.PIPE, text=True)
        wait_for("etcd1 down", lambda: any(text.startswith("check") for text, _ in etcd.hooks(alpha, "etcd1")), 300)
        for host, other, to in ((alpha, "etcd2", "beta"), (beta, "etcd3", "alpha")):  # one at a time
            said = host.refused("migrate", "--wait", other, to)
            assert 'cluster "orders" would be below min-available 2' in said, said
        wait_for("its guest's end", lambda: (alpha.domain("etcd1") or {}).get("state") not in ("active", "stopping"), 300)
        # Each a request of its own. The writer says nothing of this: etcd may leave what was under way when its leader changed unanswered, for longer
        # than the whole move takes.
        meanwhile = 0
        while move.poll() is None:
            meanwhile += etcd.etcdctl("etcd2", "put", "meanwhile", str(meanwhile)) is not None
        out = move.stdout.read()
        assert move.returncode == 0, out
        assert etcd.where("etcd1") is beta
        hooks = etcd.hooks(alpha, "etcd1")
        assert hooks[0] == ("drain hook: etcd1 led; now etcd2 leads", True), hooks
        assert hooks[-1] == ("rejoin hook: etcd1 is healthy again", True), hooks
        assert meanwhile > 0, "nothing was written while etcd1 was away"
        assert not json.loads(out)["forced"], out  # etcd and its disk were closed in order
        etcd.healthy("etcd1")

        # Policy moves one as well: its host is to be emptied. The writer goes on, and nothing is lost of what it writes (below).
        etcd.emptied(alpha, "etcd2", beta)
        etcd.healthy(*NAMES)

        # Two of three are down: the drain hook says no, and the node is left alone.
        for name in ("etcd2", "etcd3"):
            etcd.where(name).agent(name).cmd("sh killall -9 etcd")
        said = beta.refused("migrate", "--wait", "etcd1", "alpha")
        assert "not healthy: etcd2 etcd3" in said and "it runs on here" in said, said
        assert etcd.where("etcd1") is beta
        for name in ("etcd2", "etcd3"):
            etcd.where(name).agent(name).cmd("sh sh /etc/rc >/dev/null 2>&1 &")
        etcd.healthy(*NAMES)
        so_far = len(acked(writer.lines))
        wait_for("writes again", lambda: len(acked(writer.lines)) > so_far + 5, 300)
        numbers = acked(writer.end())
        for name in NAMES:
            wait_for("%s to have all" % name, lambda: set(numbers) <= etcd.numbers(name), 300, pause=0.5)
        print("%d acknowledged writes, all on all three members; etcd2 took %d while etcd1 was away" % (len(numbers), meanwhile))
