"""A guest with a network, moved while somebody pings it across the switches between: the network learns at once where it is now. The guest sends
nothing by itself, so without the announcement the switches would go on sending its frames to the host it has left."""
import os
import subprocess
import sys

from ballast import wait_for
from hosts import enter
from lan import SWITCH, Lan
from moves import Pair

LIMIT_S = 300


def port_of(group, mac):
    """Behind which port of the switch in the middle it is seen."""
    out = group.hub_run("bridge", "fdb", "show", "br", "lan0").splitlines()
    return next((line.split()[2] for line in out if line.startswith(mac + " ")), None)


HEAR_RARP = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x8035))
s.bind(("lan0", 0x8035))
print("hearing", flush=True)
while True:
    print(s.recv(2048)[6:12].hex(":"), flush=True)
"""


def hear_rarp(env, group):
    """What comes over the switch in the middle as RARP: a process that prints who sent each."""
    p = env.popen([*enter(group.hub), sys.executable, "-c", HEAR_RARP], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "hearing\n"
    return p


def test_ping_across_a_move(env):
    pair = Pair(env, SWITCH, SWITCH)
    lan = Lan(pair.group)
    alpha, beta = pair.hosts
    mac, address = "52:54:00:ba:11:a5", lan.address(2)
    web = pair.guest(networks=[{"switch": "lan0", "mac": mac}])
    alpha.agent(web).cmd("sh ip addr add %s/24 dev eth0 && ip link set eth0 up" % address)
    pinger = env.popen([*enter(pair.group.hub), sys.executable, os.path.join(os.path.dirname(__file__), "..", "lib", "pinger.py"), address],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert pinger.stdout.readline() == "first\n"
    wait_for("the guest seen behind alpha's port", lambda: port_of(pair.group, mac) == "l1", 30)
    rarp = hear_rarp(env, pair.group)
    for src, dst, port in ((alpha, beta, "l2"), (beta, alpha, "l1")):
        result = src.json("migrate", "--wait", web, dst.name)
        wait_for("the guest seen behind %s's port" % dst.name, lambda: port_of(pair.group, mac) == port, 30)
        assert pair.whole(web) is dst
        assert rarp.stdout.readline().strip() == mac, "announced by RARP"
        print("moved to %s: blackout %d ms" % (dst.name, result["blackout_ms"]))
    # It fails after the target's QEMU has loaded the device state, which makes that QEMU announce itself: the guest runs on at the source.
    pair.fault(beta, "target:fail:loaded")
    alpha.refused("migrate", "--wait", web, "beta")
    wait_for("the guest seen behind alpha's port again", lambda: port_of(pair.group, mac) == "l1", 30)
    assert pair.whole(web) is alpha
    out, _ = pinger.communicate(timeout=30)
    sent, answered, worst_ms = out.split()
    print("ping every 10 ms: %s sent, %s answered, longest time without an answer %s ms" % (sent, answered, worst_ms))
    assert 0 <= float(worst_ms) < 5000, "no answer for %s ms: the network did not learn where the guest is" % worst_ms
