"""Direct reads of a slow disk during a move: the data lands in guest memory long after the page was seen as written (when the read was submitted).
With the disks drained between harvest and copy nothing is missed; the same move without the drain must be seen to miss it."""
import os
import tempfile

from ballast import Skip, wait_for
from worker_pair import Pair

LIMIT_S = 400
DISK_MIB = 2
SLOW_BPS = 512 << 10  # a read of 256 KiB is in flight for half a second: longer than a round takes to copy its pages


def whole_disk(path):
    """MAJOR:MINOR of the disk that holds @path; what a throttle is set on."""
    dev = os.stat(path).st_dev
    node = "/sys/dev/block/%d:%d" % (os.major(dev), os.minor(dev))
    if not os.path.exists(node):
        raise Skip("%s is not on a disk of its own (%d:%d), so its reads cannot be slowed" % (path, os.major(dev), os.minor(dev)))
    if os.path.exists(node + "/partition"):
        node = os.path.dirname(os.path.realpath(node))
    with open(node + "/dev") as f:
        return f.read().strip()


def slow_group(env, disk):
    """A cgroup whose processes read @disk slowly: v1, or v2 where io is delegated to us. Made before the processes, so that it outlives them."""
    for base, leaf, text in (("/sys/fs/cgroup/blkio", "blkio.throttle.read_bps_device", "%s %d" % (disk, SLOW_BPS)),
                             ("/sys/fs/cgroup", "io.max", "%s rbps=%d" % (disk, SLOW_BPS))):
        group = os.path.join(base, "ballast-test-%d" % os.getpid())
        try:
            os.mkdir(group)
            env.on_exit(lambda: os.rmdir(group))
            with open(os.path.join(group, leaf), "w") as f:
                f.write(text)
            return group
        except OSError as e:
            why = e
    raise Skip("no cgroup that throttles reads can be had here: %s" % why)


def disk_args(path):
    """As domain/launch_argv.c makes them for cache = none."""
    return ["-blockdev", "driver=file,node-name=file-disk0,filename=%s,read-only=off,cache.direct=on,cache.no-flush=off,locking=on" % path,
            "-blockdev", "driver=raw,node-name=disk0,file=file-disk0,read-only=off,cache.direct=on,cache.no-flush=off",
            "-device", "virtio-blk-pci,id=vd0,drive=disk0,share-rw=off,write-cache=on,bus=pcie.0,addr=0x10"]


def test_reads_in_flight(env):
    env.need_root("reads are slowed by a cgroup")
    with tempfile.NamedTemporaryFile(dir=env.build, prefix="slow-disk-") as f:  # not on tmpfs: that has no direct I/O to wait for
        f.truncate(DISK_MIB << 20)
        group = slow_group(env, whole_disk(f.name))
        p = Pair(env, fill="8M", dirty=1, extra=disk_args(f.name))
        p.guest.cmd("diskfill /dev/vda %dM" % DISK_MIB)
        p.guest.cmd("readloop /dev/vda %dM" % DISK_MIB)
        with open(os.path.join(group, "cgroup.procs"), "w") as procs:
            procs.write(str(p.guest.pid))
        reads = p.guest.stat()["disk_reads"]
        wait_for("slow direct reads in the guest", lambda: p.guest.stat()["disk_reads"] > reads + 3)

        p.begin(verify_full=True, n_disks_direct=0)  # a lie: nothing is drained
        src = p.end(p.src)
        assert src["outcome"] == "stayed" and "a write was missed" in src["error"], src
        p.resolve()

        p.begin(verify_full=True, n_disks_direct=1)
        src = p.end(p.src)
        assert src["outcome"] == "moved" and src["stats"]["verified_full"], src
        assert src["stats"]["drain_ms"] > 0, src
        print("drained %.0f ms in %d rounds" % (src["stats"]["drain_ms"], src["stats"]["rounds"]))
        p.check_one(True)
        reads = p.guest.stat()["disk_reads"]
        wait_for("reads going on at the target", lambda: p.guest.stat()["disk_reads"] > reads + 2 * (DISK_MIB << 20) // (256 << 10))
        p.guest.cmd("readloop /dev/vda 0")  # checks what the last round read
        p.verify()
