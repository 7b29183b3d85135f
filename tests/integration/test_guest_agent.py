"""QEMU's guest agent, the real one: used where a guest runs it, and nothing is missed where it does not, has stopped, or starts later."""
import os

from ballast import CMDLINE, Group, Qmp, wait_for

LIMIT_S = 300
START = ("for p in /sys/class/virtio-ports/*; do grep -q org.qemu.guest_agent.0 $p/name && port=${p##*/}; done; "
         "/qga/ld.so --library-path /qga/lib /qga/qemu-ga -d -m virtio-serial -p /dev/$port -t /qga/state -f /qga/pid && echo started")


def test_agent(env):
    env.need_root("a host is a network namespace")
    alpha = Group(env).add("alpha").start()
    initrd = os.path.join(env.tmp, "initrd")
    with open(initrd, "wb") as out:
        for part in ("initrd", "agent.initrd"):
            with open(os.path.join(env.build_root, "guest", part), "rb") as f:
                out.write(f.read())
    alpha.add_domain("web1", initrd=initrd, cmdline=CMDLINE + " psi=1", vcpus={"min": 1, "boot": 1, "max": 4}, memory={"min": "96M", "boot": "192M", "max": "192M"})
    beats = alpha.heartbeats("web1")
    alpha.ctl("start", "web1")
    beats.wait_ready()

    def answers():
        return alpha.json("show", "web1")["guest_agent"]
    # there is a channel and nobody at its end
    assert not answers()
    assert "online" not in alpha.json("set-vcpu", "web1", "2")
    # the agent starts: it is found at once, and says how many CPUs the guest uses
    assert "started" in alpha.agent("web1").cmd("sh " + START)
    wait_for("the agent to be heard", answers, 10)
    assert alpha.json("set-vcpu", "web1", "3")["online"] == 3
    wait_for("its load", lambda: alpha.json("show", "web1")["guest_load"], 30)
    assert len(alpha.json("show", "web1")["guest_load"]) == 3 and "its load is " in alpha.ctl("show", "web1")
    # how long its tasks wait for memory is asked when it is shrunk: nothing is wrong, then a count that says half of the time
    alpha.ctl("set-memory", "web1", "184M")
    guest = alpha.agent("web1")
    guest.cmd("sh touch /psi; mount --bind /psi /proc/pressure/memory")
    guest.cmd("sh (n=0; while sleep 0.2; do n=$((n + 100000)); "
              "printf 'some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\\n' $n > /psi; done) >/dev/null 2>&1 & echo $! > /psi.pid")
    # the guard of the shrink just now hears that as well, and gives back what was taken
    wait_for("the guard", lambda: any("gives back: tasks in the guest wait for memory" in str(e) for e in alpha.json("history", "web1")["entries"]), 60)
    wait_for("memory given back", lambda: alpha.domain("web1")["mem_bytes"] >= 190 << 20 and not alpha.json("list", "-o", "status")["operations"], 30)
    said = alpha.refused("set-memory", "web1", "128M")
    assert "tasks in the guest wait for memory" in said, said
    assert alpha.json("show", "web1")["mem_bytes"] > 128 << 20
    guest.cmd("sh kill $(cat /psi.pid); umount /proc/pressure/memory")
    # another policyd finds it too
    alpha.restart()
    wait_for("adoption", lambda: alpha.json("version")["settled"])
    wait_for("the agent to be heard again", answers, 10)
    # it stops answering in the middle (frozen): a command ends in time and says nothing of it
    alpha.agent("web1").cmd("sh kill -STOP $(cat /qga/pid)")
    assert "online" not in alpha.json("set-vcpu", "web1", "4")
    alpha.agent("web1").cmd("sh kill -CONT $(cat /qga/pid)")
    # and it goes
    alpha.agent("web1").cmd("sh kill $(cat /qga/pid)")
    wait_for("the agent to be missed", lambda: not answers(), 10)
    assert alpha.domain("web1")["vcpus"] == 4
    beats.wait_beats(3)
    Qmp(alpha.path("run", "web1", "qmp-worker.sock"))("query-status")

    # a guest that does not heed the power button is shut down by its agent
    beats.expect_restart()
    alpha.ctl("stop", "web1")
    alpha.ctl("start", "web1")
    beats.wait_ready()
    guest = alpha.agent("web1")
    guest.cmd("sh for b in /sys/bus/acpi/drivers/button/*:*; do echo ${b##*/} > /sys/bus/acpi/drivers/button/unbind; done")
    guest.cmd("sh mkdir -p /sbin; printf '#!/bin/sh\\nbusybox poweroff -f\\n' > /sbin/shutdown; chmod 755 /sbin/shutdown")
    assert "started" in guest.cmd("sh " + START)
    wait_for("the agent to be heard", answers, 10)
    alpha.ctl("stop", "web1")
    asked = [e["text"] for e in alpha.json("history", "web1")["entries"] if "guest agent was asked to shut it down" in (e["text"] or "")]
    assert len(asked) == 1, alpha.json("history", "web1")
