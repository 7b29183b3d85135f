"""A guest with a disk on shared storage: it moves live and its reads and writes go on; and where the volume of that name is other storage, it does
not move at all."""
import os
import shutil
import tempfile

from ballast import wait_for
from moves import Pair

LIMIT_S = 300
DISK_MIB = 8


def volume(path):
    return {"host": {"volumes": [{"name": "vol01", "path": path}]}}


def test_shared_and_other(env):
    # Not on tmpfs: a disk is opened for direct I/O. One folder that two hosts know by two names, as shared storage is mounted.
    with tempfile.TemporaryDirectory(dir=env.build, prefix="shared-") as shared:
        disk = os.path.join(shared, "vol01.img")
        with open(disk, "wb") as f:
            f.truncate(DISK_MIB << 20)
        there = os.path.join(env.tmp, "mnt")
        os.symlink(shared, there)
        pair = Pair(env, volume(disk), volume(os.path.join(there, "vol01.img")))
        alpha, beta = pair.hosts
        web = pair.guest(disks=[{"volume": "vol01"}])
        alpha.agent(web).cmd("diskfill /dev/vda %dM" % DISK_MIB)
        alpha.agent(web).cmd("readloop /dev/vda %dM" % DISK_MIB)
        for src, dst in ((alpha, beta), (beta, alpha)):
            reads = src.agent(web).stat()["disk_reads"]
            wait_for("direct reads", lambda: src.agent(web).stat()["disk_reads"] > reads + 10)
            src.ctl("migrate", "--wait", web, dst.name)
            assert pair.whole(web) is dst
        reads = alpha.agent(web).stat()["disk_reads"]
        wait_for("a whole round of reads", lambda: alpha.agent(web).stat()["disk_reads"] > reads + (DISK_MIB << 2))
        alpha.agent(web).cmd("readloop /dev/vda 0")  # checks what was read last
        # The same name and size, and another file: what the guest has written would be missing there.
        other = os.path.join(shared, "other.img")
        shutil.copyfile(disk, other)
        beta.settings = {**beta.settings, **volume(other)}
        beta.restart()
        pair.connected()
        for args in (["migrate", "-n", web, "beta"], ["migrate", "--wait", web, "beta"], ["migrate", "--wait", "-m", "cold", web, "beta"]):
            text = alpha.refused(*args)
            assert "not the same storage" in text and other in text, text
        assert pair.whole(web) is alpha
