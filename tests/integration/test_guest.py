"""The test guest itself: if it did not notice a wrong byte, no other test would mean anything."""
import os
import shutil

import ballast
from ballast import MIB, AgentError, Qemu, wait_for

PARALLEL = True
LIMIT_S = 900
PAGE = 4096
MAGIC = b"BLGAGUEB"


def booted(env, **how):
    q = Qemu(env, **how)
    beats = q.heartbeats()
    beats.wait_ready()
    return q, beats


def refused(q, command):
    try:
        q.cmd(command)
    except AgentError as e:
        return str(e)
    raise AssertionError("%s was not refused" % command)


def a_page(q, number):
    """Where page @number of the filled memory is in the RAM file."""
    with open(q.ram, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        for at in range(0, size, PAGE):
            head = os.pread(f.fileno(), 16, at)
            if head == MAGIC + number.to_bytes(8, "little"):
                return at
    raise AssertionError("page %d is not in %s" % (number, q.ram))


def test_commands(env):
    q, beats = booted(env)
    for kind, mib in (("half", 24), ("rand", 8), ("text", 8)):
        q.cmd("fill %dM %s" % (mib, kind))
    assert q.cmd("verify") == "verify %d" % (40 * MIB // PAGE)
    assert q.stat()["filled"] == 40 * MIB
    assert "stay free" in refused(q, "fill 4G")
    for bad in ("fill", "fill 1X", "dirty fast", "dirty 5 hot", "dirty 5 hot 0", "cpu 101", "hb 0", "hb 201", "nonsense"):
        refused(q, bad)
    for pattern in ("uniform", "hot 10", "seq"):
        before = q.stat()
        q.cmd("dirty 20 " + pattern)
        wait_for("1000 rewrites, %s" % pattern, lambda b=before: q.stat()["versions"] > b["versions"] + 1000)
    wait_for("the rate being near 20 MiB/s", lambda: 15 <= q.stat()["dirty_mib_s"] <= 22)
    assert q.cmd("verify") == "verify %d" % (40 * MIB // PAGE)
    before = q.stat()["verified_pages"]
    wait_for("the verifier going round by itself", lambda: q.stat()["verified_pages"] > before + 3000)
    # what is freed becomes holes in the RAM file
    q.cmd("dirty 0")
    full = q.resident_mib()
    q.cmd("free 32M")
    wait_for("holes for 24 of 32 MiB (%.0f now)" % full, lambda: q.resident_mib() < full - 24)
    assert q.cmd("verify") == "verify %d" % (8 * MIB // PAGE)
    assert q.cmd("sh echo a; echo b") == "a|b|"
    # the heartbeat keeps its rate while everything else is busy
    q.cmd("hb 50")
    q.cmd("dirty max")
    q.cmd("cpu 100 4")
    mark = beats.mark()
    beats.wait_beats(100)
    busy = beats.report(since=mark)
    assert abs(busy.interval_ms - 20) < 4, busy.interval_ms
    beats.check()
    q.cmd("cpu 0")
    q.cmd("dirty 0")
    q.cmd("verify")


def ends_loudly(q, beats, what):
    line = beats.wait_line("BG fail", timeout=120)
    assert what in line, line
    q.wait_end()
    assert beats.report().failures == [line]


def test_wrong_byte(env):
    q, beats = booted(env)
    q.cmd("fill 16M")
    at = a_page(q, 1234) + 2001
    with open(q.ram, "r+b") as f:
        old = os.pread(f.fileno(), 1, at)
        os.pwrite(f.fileno(), bytes([old[0] ^ 1]), at)
    ends_loudly(q, beats, "page 1234 of 4096")  # nobody asked it to verify


def test_old_page(env):
    q, beats = booted(env)
    q.cmd("fill 16M")
    at = a_page(q, 77)
    with open(q.ram, "r+b") as f:
        old = os.pread(f.fileno(), PAGE, at)
        q.cmd("dirty max seq")
        wait_for("page 77 being rewritten", lambda: os.pread(f.fileno(), PAGE, at) != old)
        q.cmd("dirty 0")
        os.pwrite(f.fileno(), old, at)  # sound in itself, but of the past: what a migration that missed a write would leave
    ends_loudly(q, beats, "an old version")


def test_resize(env):
    q, _ = booted(env, maxcpus=4)
    assert q.stat()["cpus"] == 1
    for core in (1, 2):
        q.qmp("device_add", driver="max-x86_64-cpu", id="cpu-%d" % core, socket_id=0, core_id=core, thread_id=0)
        wait_for("CPU %d being online" % core, lambda c=core: q.stat()["cpus"] == c + 1)
    q.qmp("device_del", id="cpu-2")
    # QEMU 7.2 under TCG tells only of the CPU's lapic, with a path and no "device"
    q.qmp.wait_event("DEVICE_DELETED", match=lambda d: d["path"].startswith("/machine/peripheral/cpu-2"))
    wait_for("the CPU being out of the list", lambda: sum("qom-path" in c for c in q.qmp("query-hotpluggable-cpus")) == 2)
    assert q.stat()["cpus"] == 2
    q.cmd("fill 24M")
    before = q.stat()["memavail_kb"]
    q.qmp("balloon", value=104 * MIB)
    wait_for("the balloon being inflated", lambda: q.qmp("query-balloon")["actual"] == 104 * MIB)
    assert q.stat()["memavail_kb"] <= before - 20 * 1024  # MemTotal stays: the balloon's driver leaves it with deflate-on-oom
    q.cmd("verify")
    q.qmp("balloon", value=128 * MIB)
    wait_for("the balloon being deflated", lambda: q.qmp("query-balloon")["actual"] == 128 * MIB)
    wait_for("all memory being back", lambda: q.stat()["memavail_kb"] > before - 4 * 1024)
    # more taken than it can do without: it gives back rather than die
    q.qmp("balloon", value=48 * MIB)
    q.cmd("dirty 5")
    rewrites = q.stat()["versions"]
    wait_for("the guest working on although it is squeezed", lambda: q.stat()["versions"] > rewrites + 3000)
    q.cmd("verify")
    q.qmp("balloon", value=128 * MIB)


def test_power_button_and_disk(env):
    image = os.path.join(env.tmp, "disk.img")
    with open(image, "wb") as f:
        f.truncate(16 * MIB)
    q, beats = booted(env, extra=["-blockdev", "driver=file,node-name=f0,filename=%s" % image, "-device", "virtio-blk-pci,drive=f0,addr=0x8"])
    q.cmd("diskfill /dev/vda 16M")
    q.cmd("readloop /dev/vda 16M")
    wait_for("two rounds over the disk", lambda: q.stat()["disk_reads"] > 130)
    q.cmd("readloop /dev/vda 0")
    q.qmp("system_powerdown")
    beats.wait_line("BG stop")
    assert q.wait_end() == 0
    assert not beats.report().failures


def test_moved(env):
    """By QEMU itself, RAM by cp: heartbeats are followed from one console.log to the other, and memory is right there too."""
    q, _ = booted(env, vcpus=2)
    t = q.target(os.path.join(env.tmp, "b"))
    beats = q.heartbeats(t)
    q.cmd("fill 32M")
    q.cmd("hb 50")
    q.cmd("dirty 10")
    beats.wait_beats(50)
    caps = [{"capability": c, "state": True} for c in ("x-ignore-shared", "events")]
    for side in (q, t):
        side.qmp("migrate-set-capabilities", capabilities=caps)
    sock = os.path.join(env.tmp, "m.sock")
    t.qmp("migrate-incoming", uri="unix:" + sock)
    q.qmp("stop")
    begin = beats.mark()
    shutil.copyfile(q.ram, t.ram)
    q.qmp("migrate", uri="unix:" + sock)
    for side in (q, t):
        side.qmp.wait_event("MIGRATION", match=lambda d: d["status"] == "completed")
    t.qmp("cont")
    stood_ms = (beats.mark() - begin) / 1e6
    q.kill()
    beats.wait_beats(20, stream="new")
    t.cmd("verify")
    r = beats.check()
    moved = [g for g in r.gaps if g.moved]
    assert len(moved) == 1 and moved[0].ms >= stood_ms - 20, (moved, stood_ms)
    assert t.stat()["filled"] == 32 * MIB
    assert ballast.alive(t.pid)
