"""vCPUs and memory of a real guest, up and down, by the code that policyd uses (resize_drive.c), and what watch sees of it."""
import json
import os
import subprocess

from ballast import CMDLINE, MIB, Qemu, wait_for

PARALLEL = True
LIMIT_S = 600


def booted(env, **how):
    q = Qemu(env, mem_mib=256, maxcpus=4, **how)
    q.heartbeats().wait_ready()
    return q


def drive(env, q, *words):
    run = subprocess.run([env.program("tests/integration/resize_drive"), q.path("qmp.sock"), *map(str, words)], capture_output=True,
                         text=True, timeout=180)
    assert run.returncode == 0, run.stderr
    print(words, run.stdout.strip(), run.stderr.strip().replace("\n", "; "))
    return json.loads(run.stdout)


def test_vcpus(env):
    q = booted(env)
    r = drive(env, q, "vcpu", 3, 20000)
    assert (r["code"], r["before"], r["after"]) == (0, 1, 3), r
    wait_for("three CPUs online", lambda: q.stat()["cpus"] == 3)
    assert drive(env, q, "watch", q.pid, q.ram, 3)["vcpus"] == 3
    r = drive(env, q, "vcpu", 1, 20000)
    assert (r["code"], r["before"], r["after"]) == (0, 3, 1), r
    assert q.stat()["cpus"] == 1
    r = drive(env, q, "vcpu", 5, 20000)
    assert r["code"] == 34 and "at most 4" in r["error"], r


def test_demand(env):
    q = booted(env, vcpus=2)
    idle = drive(env, q, "watch", q.pid, q.ram, 6)
    q.cmd("cpu 100 1")  # one of two
    half = drive(env, q, "watch", q.pid, q.ram, 8)
    q.cmd("cpu 100 2")
    full = drive(env, q, "watch", q.pid, q.ram, 8)
    q.cmd("cpu 0")
    assert idle["util_slow"] < 35 < half["util_slow"] < 75 < full["util_slow"] <= 110, (idle, half, full)
    assert full["over_upper"] >= 3 and idle["under_lower"] >= 3
    assert idle["mem_known"] and 50 < idle["available_mib"] < 256
    assert 20 < idle["resident_mib"] <= 256


def test_memory(env):
    q = booted(env)
    r = drive(env, q, "memory", 128, 96, 256)
    assert (r["code"], r["before_mib"], r["after_mib"]) == (0, 256, 128), r
    wait_for("the RAM file to shrink", lambda: q.resident_mib() < 140)
    r = drive(env, q, "memory", 256, 96, 256)
    assert (r["code"], r["after_mib"]) == (0, 256), r
    q.cmd("fill 110M")
    assert q.cmd("verify") == "verify 28160"


def test_a_guest_keeps_what_it_needs(env):
    q = booted(env)
    q.cmd("fill 120M")
    r = drive(env, q, "memory", 96, 96, 256)
    assert r["code"] == 11 and 140 < r["after_mib"] < 250, r  # EAGAIN: in part, the guest needs the rest
    s = q.stat()
    assert s["memavail_kb"] > 8 << 10 and s["swapin"] == 0, s
    assert q.cmd("verify") == "verify 30720"
    r = drive(env, q, "memory", 256, 96, 256)
    assert r["code"] == 0, r


def test_cancel(env):
    q = booted(env)
    r = drive(env, q, "memory", 128, 96, 256, 245)
    assert r["code"] == 125 and 128 < r["after_mib"] <= 245, r
    stays = q.qmp("query-balloon")["actual"]
    assert abs(stays / (1 << 20) - r["after_mib"]) <= 2


def plugged_mib(q):
    qmp = q.open_qmp()  # the other monitor: resize_drive has the first
    try:
        return qmp("query-memory-devices")[0]["data"]["size"] / MIB
    finally:
        qmp.close()


def test_virtio_mem(env):
    """One number: below boot size by the balloon, above it by virtio-mem; grown, shrunk, filled, and shrunk under data that stays."""
    q = Qemu(env, mem_mib=192, vmem_mib=128, cmdline=CMDLINE + " swiotlb=512")
    q.heartbeats().wait_ready()
    r = drive(env, q, "memory", 288, 96, 320, 0, 192)
    assert (r["code"], r["before_mib"], r["after_mib"], r["vmem_mib"]) == (0, 192, 288, 96), r
    assert plugged_mib(q) == 96
    wait_for("the guest to use it", lambda: q.stat()["memtotal_kb"] > 240 << 10)
    q.cmd("fill 150M")  # more than it booted with could hold
    r = drive(env, q, "memory", 128, 96, 320, 0, 192)
    assert r["code"] == 11 and r["after_mib"] > 165, r  # EAGAIN: the guest needs the rest
    assert q.stat()["swapin"] == 0 and q.cmd("verify") == "verify 38400"
    q.cmd("free")
    r = drive(env, q, "memory", 128, 96, 320, 0, 192)
    assert (r["code"], r["after_mib"], r["vmem_mib"]) == (0, 128, 0), r
    wait_for("the file to be empty", lambda: os.stat(q.vmem).st_blocks == 0)
    r = drive(env, q, "memory", 320, 96, 320, 0, 192)
    assert (r["code"], r["after_mib"], r["vmem_mib"]) == (0, 320, 128), r
