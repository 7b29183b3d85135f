"""The other side is of an earlier version (docs/wire.md, Versions): a scripted peer, written from the text alone, on either side of a real worker."""
import os
import shutil

from ballast import Worker, start_line
from wirecheck import PAGE, _xxh, check, unlz4
from wirepeer import DIGEST, SUSPENDED, WELCOME, OldSource, OldTarget
from worker_pair import Pair

MACHINE = "pc-q35-7.2-machine"


def tls_of(p, host):
    return {**p.tls[host], "peer": p.tls["beta" if host == "alpha" else "alpha"]["certificate"]}


def take_all_ram(env, p, version, codecs, n=2):
    """A real source with a real guest sends all of it to a scripted target, which then aborts. What was in the records."""
    p.epoch += 1
    target = OldTarget(tls_of(p, "beta"), version, codecs)
    src = Worker(env)
    src.send(**start_line("source", p.guest, "alpha", "beta", p.state("alpha"), p.tls["alpha"], p.epoch, address="127.0.0.1", port=target.port,
                          channels=n))
    target.welcome(n)
    assert target.offered == (1, 2), target.offered
    target.accept_data(n)
    target.receive()
    ram = os.path.join(env.tmp, "taken.ram")
    shutil.copyfile(p.guest.ram, ram)  # the guest stands: this is what was sent. The check itself takes long
    target.control.abort("enough seen")
    names = []
    for i, stream in enumerate(target.streams):
        names.append(os.path.join(env.tmp, "v%d.%d" % (version, i)))
        with open(names[-1], "wb") as f:
            f.write(stream)
    rounds, counts = check([ram], names, target.root, version)
    done = p.end(src)
    assert done["outcome"] == "stayed" and "enough seen" in done["error"], done
    assert p.journal("alpha", "show", *p.key("source"))["state"] == "ABORT"
    p.beats.wait_beats(3)
    p.verify()
    print("version %d: %d rounds, %s" % (version, rounds, counts))
    return counts


def test_target_of_version_1(env):
    p = Pair(env, mem_mib=96, fill="8M", dirty=2)
    new, old = take_all_ram(env, p, 2, 6), take_all_ram(env, p, 1, None)
    assert new["zstd"] > 0, "it would send zstd to who unpacks it"
    assert old["zstd"] == 0 and old["lz4"] > 0, old


def test_target_says_what_was_not_offered(env):
    p = Pair(env, mem_mib=96, fill="1M", dirty=0)
    for version in (0, 3):
        p.epoch += 1
        target = OldTarget(tls_of(p, "beta"), version, 6)
        src = Worker(env)
        src.send(**start_line("source", p.guest, "alpha", "beta", p.state("alpha"), p.tls["alpha"], p.epoch, address="127.0.0.1", port=target.port))
        target.welcome(1)
        done = p.end(src)
        assert done["outcome"] == "stayed" and "version %d" % version in done["error"] and "1 to 2" in done["error"], done
        p.verify()


def waiting(env, p, q):
    p.epoch += 1
    dst = Worker(env)
    dst.send(**start_line("target", q, "beta", "alpha", p.state("beta"), p.tls["beta"], p.epoch, address="127.0.0.1", port=0))
    return dst, OldSource(tls_of(p, "alpha"), "beta", dst.wait("listening", 60)["port"])


def test_source_of_version_1(env):
    p = Pair(env, mem_mib=96, fill="1M", dirty=0)
    q = p.guest.target(p.base("beta"))
    q.open_qmp("qmp.sock").close()
    dst, src = waiting(env, p, q)
    src.hello(q, p.epoch, (1, 1), MACHINE)
    payload = src.control.expect(WELCOME)
    qemu_len = int.from_bytes(payload[4:6], "big")
    assert payload[:4] == bytes([0, 1, 0, 1]) and len(payload) == 6 + qemu_len, payload  # no octet of a later version
    src.channels(1)
    src.geometry(q.mem_mib << 20)
    page = b"\xab" * PAGE
    packed = b"\x1f\xab\x01\x00" + b"\xff" * 15 + bytes([4090 - 19 - 15 * 255]) + b"\x50" + b"\xab" * 5  # one literal, one match, five literals
    assert unlz4(packed, PAGE) == page
    one = _xxh.XXH3_64bits(page, PAGE).to_bytes(8, "big")
    src.pages(0, 5000, [page], _xxh.XXH3_64bits(one, 8), 1, packed)
    src.pages(0, 5007, [page], _xxh.XXH3_64bits(one, 8), 0, page)
    src.barrier(0, 2, 1)
    assert src.landed(0) == (2, 0)
    with open(q.ram, "rb") as f:
        f.seek(5000 * PAGE)
        landed = f.read(8 * PAGE)
    assert landed == page + bytes(6 * PAGE) + page
    src.control.say(SUSPENDED, b"\0")
    src.control.say(DIGEST, bytes(16) + b"\0")  # not what landed: the end of it
    done = p.end(dst)
    assert done["outcome"] == "stayed" and "root digests differ" in done["error"], done
    assert p.journal("beta", "show", *p.key("target"))["state"] == "REFUSED"


def test_source_without_a_common_version(env):
    p = Pair(env, mem_mib=96, fill="1M", dirty=0)
    for versions in ((3, 9), (0, 0)):
        q = p.guest.target(p.base("beta"))
        q.open_qmp("qmp.sock").close()
        dst, src = waiting(env, p, q)
        src.hello(q, p.epoch, versions, MACHINE)
        try:
            src.control.expect(WELCOME)
            raise AssertionError("it was welcome")
        except ConnectionAbortedError as e:
            assert "versions %d to %d" % versions in str(e) and "1 to 2" in str(e), e
        done = p.end(dst)
        assert done["outcome"] == "stayed" and "versions %d to %d" % versions in done["error"], done
    p.verify()
