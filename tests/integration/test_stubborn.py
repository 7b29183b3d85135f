"""Guests that do not do what they are asked for, and loads that policy answers: one that refuses to give a vCPU up, one without a balloon driver, a
busy one and its donors."""
import os
import sys
import time

from ballast import CMDLINE, MIB, Group, Skip, wait_for
from cgroups import cpu_mount, quota

LIMIT_S = 500
SMALL = dict(vcpus={"min": 1, "boot": 2, "max": 2}, memory={"min": "96M", "boot": "160M", "max": "160M"})


def one_host(env, **settings):
    env.need_root("a host is a network namespace")
    return Group(env).add("alpha", **settings).start()


def started(host, *names, **spec):
    beats = [host.heartbeats(n) for n in names if not host.add_domain(n, **{**SMALL, **spec}) or True]
    for name in names:
        host.ctl("start", name)
    for follow in beats:
        follow.wait_ready()
    return beats


def sh(host, name, command):
    return host.agent(name).cmd("sh " + command)


def test_refuses_unplug(env):
    """It keeps its vCPU, the operator reads that, policy lets it be for a while; what it may use of them needs no consent."""
    alpha = one_host(env)
    beats, = started(alpha, "web1")
    sh(alpha, "web1", "echo 0 > /sys/firmware/acpi/hotplug/processor/enabled")
    said = alpha.refused("set-vcpu", "web1", "1")
    print(said)
    assert "refused" in said and "it has 2 of the 1 vcpus asked for" in said, said
    assert alpha.domain("web1")["vcpus"] == 2 and alpha.agent("web1").stat()["cpus"] == 2
    cpu_mount()
    alpha.ctl("set-vcpu", "web1", "1.2")
    assert quota(alpha.json("show", "web1")["launched"]["pid"]) == 120 and alpha.domain("web1")["vcpus"] == 2
    beats.wait_beats(3)


def test_no_balloon_driver(env):
    """Nothing is taken from a guest that does not say how it is, and it is told so; growing and everything else goes on."""
    alpha = one_host(env)
    beats, = started(alpha, "web1")
    sh(alpha, "web1", "rmmod virtio_balloon")
    said = alpha.refused("set-memory", "web1", "110M")
    print(said)
    assert "web1" in said and ("statistics" in said or "driver" in said), said
    assert alpha.domain("web1")["mem_bytes"] == 160 * MIB
    assert alpha.agent("web1").stat()["memtotal_kb"] > 110 << 10
    beats.wait_beats(3)


def test_ignores_unplug_of_memory(env):
    """Memory above the boot size that its driver no longer gives back: the balloon gives it instead, as far as the guest is well; what virtio-mem
    has stays counted, and is no longer asked for."""
    alpha = one_host(env)
    beats, = started(alpha, "web1", memory={"min": "96M", "boot": "160M", "max": "256M"}, cmdline=CMDLINE + " swiotlb=512")

    def memory():
        e = alpha.json("show", "web1")["entitlement"]
        print(e)
        return e["mem_bytes"] // MIB, e["vmem_bytes"] // MIB, e["vmem_requested"] // MIB
    alpha.ctl("set-memory", "web1", "256M")
    assert memory() == (256, 96, 96)
    sh(alpha, "web1", "for d in /sys/bus/virtio/drivers/virtio_mem/virtio*; do echo ${d##*/} > /sys/bus/virtio/drivers/virtio_mem/unbind; done")
    assert "virtio" not in sh(alpha, "web1", "cd /sys/bus/virtio/drivers/virtio_mem && echo v*").replace("v*", "")
    alpha.ctl("set-memory", "web1", "176M")
    assert memory() == (176, 96, 96)
    said = alpha.refused("set-memory", "web1", "96M")  # the balloon would have to take all that it booted with
    print(said)
    assert "web1" in said and "stopped giving" in said and "96M was asked for" in said, said
    total, vmem, asked = memory()
    assert vmem == asked == 96 < total <= 176, (total, vmem, asked)
    alpha.ctl("set-memory", "web1", "256M")
    assert memory() == (256, 96, 96)
    beats.wait_beats(3)


def test_pressure_wakes(env):
    """Pressure on the host is looked at when the kernel reports it: with an hour between decisions nothing else would make one."""
    if not os.path.exists("/proc/pressure/cpu"):
        raise Skip("this kernel has no PSI")
    alpha = one_host(env, host={"capacity": {"vcpus": 4, "memory": "1G"}}, decide={"dwell": "1s", "boot-grace": "0s", "interval": "1h"},
                     policies=[{"name": "web", "cpu": {"util-upper": 60, "util-lower": 5, "sample-rate": 1}}])
    started(alpha, "web1", vcpus={"min": 1, "boot": 1, "max": 2})
    if "pressure triggers" in open(alpha.log).read():
        raise Skip("this kernel has no pressure triggers, or not for us")
    alpha.agent("web1").cmd("cpu 100 1")
    for _ in range(2 * len(os.sched_getaffinity(0)) + 2):
        env.popen([sys.executable, "-c", "while True: pass"])
    wait_for("a decision that nobody but the kernel asked for", lambda: alpha.domain("web1")["vcpus"] == 2, 60)


def test_load_step_and_donors(env):
    """A busy guest has its second vCPU soon, of what a donor that refuses gives by a cap; and a guest short of memory has that of idle ones, which
    neither swap nor kill anybody."""
    cpu_mount()
    alpha = one_host(env, host={"capacity": {"vcpus": 3, "memory": "480M", "keep-memory": "0M"}},
                     decide={"dwell": "2s", "boot-grace": "0s", "interval": "500ms"},
                     policies=[{"name": "web", "match": {"domain": "web*"}, "importance": 60,
                                "cpu": {"util-upper": 75, "util-lower": 10, "sample-rate": 1},
                                "memory": {"free-lower": 30, "free-upper": 60, "sample-rate": 1}}])
    beats = started(alpha, "batch1")
    sh(alpha, "batch1", "echo 0 > /sys/firmware/acpi/hotplug/processor/enabled")
    beats += started(alpha, "web1", vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "96M", "boot": "320M", "max": "320M"})
    alpha.ctl("hold", "web1")
    alpha.ctl("set-memory", "web1", "128M", check=False)
    start = alpha.domain("web1")["mem_bytes"]
    alpha.refused("set-vcpu", "batch1", "1")  # from now on policy does not ask it
    alpha.agent("web1").cmd("cpu 100 1")
    alpha.ctl("release", "web1")
    began = time.monotonic()
    wait_for("a second vCPU", lambda: alpha.agent("web1").stat()["cpus"] == 2, 90)
    print("demand -> vCPU online: %.1f s" % (time.monotonic() - began))
    donor, web = alpha.domain("batch1"), alpha.domain("web1")  # how much depends on how idle the donor was just then
    print("batch1 may use %d %%, web1 %s %%" % (donor["cpu_cap"], web.get("cpu_cap", 200)))
    assert donor["vcpus"] == 2 and 100 <= donor["cpu_cap"] < 200, donor
    assert donor["cpu_cap"] + web.get("cpu_cap", 200) <= 300, (donor, web)
    assert quota(alpha.json("show", "batch1")["launched"]["pid"]) == donor["cpu_cap"]
    assert "by a cap" in alpha.ctl("history", "batch1")
    alpha.agent("web1").cmd("cpu 0")
    # memory, in steps
    alpha.agent("web1").cmd("fill 20M")
    alpha.agent("web1").cmd("fill 20M")
    began = time.monotonic()
    wait_for("memory", lambda: alpha.domain("web1")["mem_bytes"] > start, 60)
    print("demand -> memory: %.1f s; %d -> %d MiB" % (time.monotonic() - began, start // MIB, alpha.domain("web1")["mem_bytes"] // MIB))
    for name in ("web1", "batch1"):
        assert alpha.agent(name).stat()["swapin"] == 0
        assert "|" not in sh(alpha, name, "dmesg | grep -i 'killed process' || true")
    assert alpha.agent("web1").cmd("verify") == "verify 10240"
    # nobody needs it any more: the donor's cap goes when web1 gives its vCPU back, or there is room
    alpha.ctl("stop", "-f", "web1")
    wait_for("the donor to be itself again", lambda: "cpu_cap" not in alpha.domain("batch1"), 60)
    for follow in beats[:1]:
        follow.wait_beats(3)
