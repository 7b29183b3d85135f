"""Memory above boot size with policyd: one number for the operator, charged, kept over a restart in the middle, and moved live."""
import json
import subprocess
import time

from ballast import CMDLINE, MIB, CommandFailed, Group, wait_for
from moves import Pair

LIMIT_S = 600
ABOVE = dict(memory={"min": "96M", "boot": "192M", "max": "320M"}, cmdline=CMDLINE + " swiotlb=512")


def given(host, name):
    """MiB in all, plugged, and requested of the device."""
    e = host.json("show", name)["entitlement"]
    return tuple(e[k] / MIB for k in ("mem_bytes", "vmem_bytes", "vmem_requested"))


def test_above_boot_size(env):
    pair = Pair(env, alpha={"host": {"capacity": {"vcpus": 4, "memory": "480M", "keep-memory": "0M"}}})
    alpha, beta = pair.hosts
    web = pair.guest(fill="16M", **ABOVE)
    assert given(alpha, web) == (192, 0, 0)
    alpha.ctl("set-memory", web, "288M")
    assert given(alpha, web) == (288, 96, 96) and alpha.domain(web)["mem_bytes"] == 288 * MIB
    alpha.agent(web).cmd("fill 140M")  # some of it above what it booted with
    # what is plugged is charged: there is no room for another 200M
    alpha.add_domain("web2", memory={"min": "200M", "boot": "200M", "max": "200M"})
    try:
        alpha.ctl("start", "web2")
        raise AssertionError("480M hold 288M and 200M")
    except CommandFailed as e:
        assert "192M free" in e.err, e
    # policyd ends in the middle of a shrink: the guest keeps what it has, nothing more goes on behind anybody's back
    shrink = env.popen(alpha.ctl_argv("set-memory", web, "128M"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for("the shrink to have begun", lambda: given(alpha, web)[0] < 288)
    alpha.restart()
    assert shrink.wait(30) == 1
    wait_for("adoption", lambda: alpha.json("version")["settled"])
    wait_for("a guest that stays", lambda: given(alpha, web)[1] == given(alpha, web)[2])
    total, plugged, _ = given(alpha, web)
    assert 192 < total < 288 and total == 192 + plugged, (total, plugged)
    pair.connected()
    # moved live with plugged memory, while it writes
    alpha.agent(web).cmd("dirty 20")
    result = alpha.json("migrate", "--wait", web, "beta")
    assert result["ram_bytes"] > 150 * MIB, result
    assert pair.whole(web) is beta
    assert given(beta, web) == (total, plugged, plugged)
    beta.ctl("set-memory", web, "320M")
    assert given(beta, web) == (320, 128, 128)
    beta.agent(web).cmd("dirty 0")
    beta.agent(web).cmd("free")
    beta.ctl("set-memory", web, "128M")
    assert given(beta, web) == (128, 0, 0)
    # and back, with the device empty again
    beta.ctl("migrate", "--wait", web, "alpha")
    assert pair.settled_on(web) is alpha and given(alpha, web) == (128, 0, 0)
    alpha.ctl("set-memory", web, "256M")
    assert given(alpha, web) == (256, 64, 64)
    report = pair.beats.report()
    assert report.lost == 0 and report.repeated == 0, str(report)


def sh(host, name, command):
    return host.agent(name).cmd("sh " + command)


def swap_on(host, name):
    for module in ("zsmalloc", "lzo_rle", "zram"):
        sh(host, name, "insmod /lib/modules/%s.ko" % module)
    sh(host, name, "echo 96M > /sys/block/zram0/disksize; mkswap /dev/zram0; swapon /dev/zram0; mkdir -p /t; mount -t tmpfs -o size=160M none /t")


def swapped_out(host, name):
    return int(sh(host, name, "grep pswpout /proc/vmstat").split()[1].split("|")[0])


def test_gives_back_before_it_swaps(env):
    """Two guests with swap are shrunk alike and allocate fast right after it, a policyd later. The one that is guarded has its memory back before it swaps; the
    one under the plain free rule, which never looks at pressure, swaps: so it is the guard that saves the other."""
    env.need_root("a host is a network namespace")
    memory = {"free-lower": 10, "free-upper": 60, "reserve": 20}
    alpha = Group(env).add("alpha", host={"capacity": {"vcpus": 4, "memory": "1G"}}, policies=[
        {"name": "guarded", "match": {"domain": "calm*"}, "memory": memory},
        {"name": "plain", "match": {"domain": "plain*"}, "memory": {**memory, "law": "free-rule"}}]).start()
    names = ("calm1", "plain1")
    beats = []
    for name in names:
        alpha.add_domain(name, memory={"min": "96M", "boot": "192M", "max": "192M"})
        beats.append(alpha.heartbeats(name))
        alpha.ctl("start", name)
    for name, follow in zip(names, beats):
        follow.wait_ready()
        swap_on(alpha, name)
    for name in names:
        alpha.ctl("set-memory", name, "114M")
    alpha.restart()  # the guard is kept with the guest
    wait_for("adoption", lambda: alpha.json("version")["settled"])
    wait_for("statistics", lambda: all("mem_available" in alpha.json("show", n)["statistics"] for n in names))
    swapped = {name: swapped_out(alpha, name) for name in names}
    for i in range(22):  # 6 MB/s, 66 MB in all: more than they have left
        for name in names:
            sh(alpha, name, "dd if=/dev/zero of=/t/%d bs=1M count=3" % i)
        time.sleep(0.4)  # the rate is the point
    swapped = {name: swapped_out(alpha, name) - swapped[name] for name in names}
    given = {name: alpha.domain(name)["mem_bytes"] // MIB for name in names}
    print("pages swapped out", swapped, "MiB at the end", given)
    back = [e for e in alpha.json("history", "calm1")["entries"] if "gives back" in json.dumps(e)]
    assert swapped["calm1"] == 0 and given["calm1"] > 140 and back, (swapped, given, back)
    assert swapped["plain1"] > 1000, (swapped, given)
