"""A guest moves to a host with another version of QEMU and back: the machine type is versioned, device state is QEMU's own, and RAM is ours."""
from qemu import newer_qemu, version
from worker_pair import Pair

LIMIT_S = 300


def test_there_and_back(env):
    newer = newer_qemu()
    old, new = version(), version(newer.get("qemu", "qemu-system-x86_64"), newer.get("extra", ()))
    print("between QEMU %s and %s" % (old, new))
    installed = {"qemu": "qemu-system-x86_64", "extra": ()}
    pair = Pair(env, fill="32M", dirty=8, only={"alpha": installed, "beta": {**installed, **newer}})
    for there in ("beta", "alpha", "beta"):
        pair.begin()
        done = pair.end(pair.src)
        assert done and done["ok"] and done["outcome"] == "moved", done
        pair.end(pair.dst)
        assert pair.resolve() == there
        assert pair.guest.qmp("query-version")["qemu"]["major"] == (new if there == "beta" else old)[0]
        pair.verify()
    pair.guest.cmd("dirty 0")
    pair.verify()
