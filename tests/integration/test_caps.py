"""CPU in parts: a guest that may use one and a half of its two vCPUs, wherever it goes and whatever becomes of policyd; and guests of different
importance on CPUs that are too few for them."""
import os
import signal
import subprocess
import time

from ballast import Group, wait_for
from cgroups import cpu_mount, group_of, quota
from moves import Pair

LIMIT_S = 400
SMALL = dict(vcpus={"min": 1, "boot": 2, "max": 2}, memory={"min": "96M", "boot": "128M", "max": "128M"})
TICKS = os.sysconf("SC_CLK_TCK")


def pid_of(host, name):
    return host.json("show", name)["launched"]["pid"]


def used_s(pid):
    return sum(map(int, open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[11:13])) / TICKS


def used_in(pids, seconds):
    """CPU seconds a second of each."""
    before, began = [used_s(p) for p in pids], time.monotonic()
    time.sleep(seconds)  # a rate needs a while
    return [(used_s(p) - b) / (time.monotonic() - began) for p, b in zip(pids, before)]


def weight(group):
    """Of a CPU group, in tasks; v1 and v2."""
    _, v2 = cpu_mount()
    with open(os.path.join(group, "cpu.weight" if v2 else "cpu.shares")) as f:
        return int(f.read()) / (100 if v2 else 1024)


def test_a_move_gets_its_share(env):
    """policyd in a group of its own, as a service is, and guests in theirs: nice counts within a group only, so the worker of a move gets one beside theirs, for
    as long as it runs. And where policyd is in the top group, nice is enough."""
    mount, _ = cpu_mount()
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(**SMALL)
    service = os.path.join(mount, "bt-%d-service" % os.getpid())
    os.mkdir(service)
    env.on_exit(lambda: os.rmdir(service))

    def worker_group(host, other):
        move = subprocess.Popen(host.ctl_argv("migrate", "--wait", "--bandwidth", "4M", web, other.name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("the transfer", lambda: next(iter(host.json("list", "-o", "status", web)["operations"]), {}).get("phase_name") == "transfer", 60)
        worker = host.worker_pids()[0]
        group = group_of(worker)
        return move, worker, group
    with open(os.path.join(service, "cgroup.procs"), "w") as f:
        f.write(str(alpha.process.pid))
    try:
        alpha.ctl("set-vcpu", web, "1.5")
        guests = os.path.dirname(group_of(pid_of(alpha, web)))
        move, worker, group = worker_group(alpha, beta)
        assert group == guests + "-moves/" + web, (group, guests)
        tasks = os.cpu_count() * 1.25 ** 5  # migration.boost is 5 steps of nice
        print("weights: the move %.1f, all guests %.1f" % (weight(group), weight(guests)))
        assert abs(weight(group) - tasks) < 0.1 and abs(weight(os.path.dirname(group)) - tasks) < 0.1 and weight(guests) <= os.cpu_count()
        alpha.ctl("set-migration", web, "--bandwidth", "unlimited")
        assert move.wait(60) == 0, move.stderr.read()
        assert pair.whole(web) is beta
        assert not os.path.exists(os.path.dirname(group)), "it is taken back"
    finally:
        with open(os.path.join(mount, "cgroup.procs"), "w") as f:
            f.write(str(alpha.process.pid))
    move, worker, group = worker_group(beta, alpha)
    assert os.path.normpath(group) == mount and os.getpriority(os.PRIO_PROCESS, worker) == os.getpriority(os.PRIO_PROCESS, beta.process.pid) - 5, group
    beta.ctl("set-migration", web, "--bandwidth", "unlimited")
    assert move.wait(60) == 0, move.stderr.read()
    assert pair.whole(web) is alpha


def test_part_of_a_vcpu(env):
    cpu_mount()
    pair = Pair(env)
    alpha, beta = pair.hosts
    web = pair.guest(**SMALL)
    pid = pid_of(alpha, web)
    assert quota(pid) is None
    assert "below its minimum of 1" in alpha.refused("set-vcpu", web, "0.5")
    assert "no number of vCPUs" in alpha.refused("set-vcpu", web, "1.555")
    assert alpha.ctl("set-vcpu", web, "1.5") == "web1 2 -> 2 vcpus, of which it may use 1.5\n"
    group = group_of(pid)
    assert (quota(pid), alpha.domain(web)["cpu_cap"], alpha.domain(web)["vcpus"]) == (150, 150, 2)
    assert "it may use 1.5 of its 2 vcpus, set by an operator" in alpha.ctl("show", web)
    assert [line.split()[4] for line in alpha.ctl("list").splitlines()] == ["VCPU", "1.5"]
    assert alpha.json("show", web)["entitlement"]["cpu_percent"] == 150
    # it is held to it, and what it would like to have is seen: it wants all of what it may use, and more
    alpha.agent(web).cmd("cpu 100 2")
    wait_for("its demand to be seen", lambda: alpha.json("show", web)["statistics"]["util_fast"] > 105)
    used, = used_in([pid], 3)
    print("capped to 1.5: used %.2f" % used)
    assert used < 1.65, used
    # policyd is killed: the cap stays; it comes back: it knows
    alpha.kill(signal.SIGKILL)
    assert quota(pid) == 150
    alpha.start(debug=True)
    wait_for("adoption", lambda: alpha.json("version")["settled"])
    assert (quota(pid), group_of(pid), alpha.domain(web)["cpu_cap"]) == (150, group, 150)
    # it goes along in a move, and is nowhere left behind
    alpha.agent(web).cmd("cpu 0")
    pair.connected()
    alpha.ctl("migrate", "--wait", web, "beta")
    assert pair.whole(web) is beta
    there = pid_of(beta, web)
    assert (quota(there), beta.domain(web)["cpu_cap"]) == (150, 150)
    assert not os.path.exists(group), group
    # and ends where nobody wants it any more
    group = group_of(there)
    assert beta.ctl("add-vcpu", web, "0.5") == "web1 2 -> 2 vcpus\n"
    assert quota(there) is None and "cpu_cap" not in beta.domain(web) and not os.path.exists(group)
    beta.ctl("set-vcpu", web, "1.25")
    group = group_of(there)
    beta.ctl("stop", "-f", web)
    wait_for("its group to go with it", lambda: not os.path.exists(group))


def test_importance(env):
    """Two guests that want all of this machine: the important one gets several times as much."""
    env.need_root("a host is a network namespace")
    cpu_mount()
    alpha = Group(env).add("alpha").start()
    n = max(2, len(os.sched_getaffinity(0)))
    names, beats = ("high1", "low1"), []
    for name, importance in zip(names, (90, 10)):
        alpha.add_domain(name, importance=importance, vcpus={"min": 1, "boot": n, "max": n}, memory=SMALL["memory"])
        beats.append(alpha.heartbeats(name))
        alpha.ctl("start", name)
    for follow in beats:
        follow.wait_ready()
    for name in names:
        alpha.agent(name).cmd("cpu 100 %d" % n)
    high, low = used_in([pid_of(alpha, name) for name in names], 5)
    print("importance 90 used %.2f CPUs, importance 10 used %.2f" % (high, low))
    assert high > 2 * low, (high, low)
    for name in names:
        alpha.agent(name).cmd("cpu 0")
    group = group_of(pid_of(alpha, "low1"))
    alpha.ctl("stop", "-f", "low1")
    wait_for("its group to go with it", lambda: not os.path.exists(group))
