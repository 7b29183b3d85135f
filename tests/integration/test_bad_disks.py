"""Folders that are taken, cannot be written or are full, a damaged store, no room for guests' memory, leftovers of the dead: one clear
sentence each, no guest lost, nothing run twice."""
import fcntl
import os
import signal
import sqlite3
import threading

import ballast
from ballast import Group, cfg_text, end_process, merged, sh, wait_for
from mistakes import MIB, add, ctl, does_not_start, domain_text, domains, fill, one, sentence, tmpfs

PARALLEL = True


def test_folders_that_are_taken(env):
    """Two policyd never share a run, state or RAM folder or a socket; and what is not a socket is not removed."""
    env.need_root("a host is a network namespace")
    group = Group(env)
    alpha, beta = group.add("alpha"), group.add("beta")
    alpha.start()
    alpha.add_domain("idle1", memory={"boot": "64M"})
    before = domains(alpha)
    for settings, part in [({"paths": {"run": alpha.path("run")}}, "another policyd (pid %d) manages" % alpha.process.pid),
                           ({"paths": {"state": alpha.path("state")}}, "another policyd (pid %d) manages" % alpha.process.pid),
                           ({"paths": {"ram": alpha.path("ram")}}, "give this one another paths.ram"),
                           ({"control": {"socket": alpha.socket_path}}, "another policyd answers there")]:
        with open(beta.conf_path, "w") as f:
            f.write(cfg_text(merged(beta.default_settings(), settings)))
        does_not_start(beta, part)
        assert domains(alpha) == before
    for leaf in ("a-file", "a-folder"):
        path = beta.path(leaf)
        os.mkdir(path) if leaf == "a-folder" else open(path, "w").close()
        with open(beta.conf_path, "w") as f:
            f.write(cfg_text(merged(beta.default_settings(), {"control": {"socket": path}})))
        does_not_start(beta, "is there and is left alone; correct control.socket")
        assert os.path.exists(path)
    beta.start()  # and nothing of it is in the way of a right start
    alpha.kill()
    assert os.path.exists(alpha.socket_path)
    with open(alpha.path("run", "policyd.lock")) as f:  # as a child that a killed policyd was just starting holds it, a moment longer
        fcntl.flock(f, fcntl.LOCK_EX)
        release = threading.Timer(0.3, fcntl.flock, (f, fcntl.LOCK_UN))
        release.start()
        alpha.start()  # a dead policyd's socket is
        release.join()


def test_folders_that_cannot_be_used(env):
    env.need_root("mounts")
    group = Group(env)
    for i, (leaf, size, options, part) in enumerate([
            ("state", "1M", ",ro", "cannot be written: Read-only file system"), ("run", "1M", ",ro", "cannot be written: Read-only file system"),
            ("state", "16k", "", "no room left on the file system of")]):
        host = group.add("h%d" % i)
        tmpfs(env, host.path(leaf), size, options)
        host.write_conf()
        does_not_start(host, part)
    full = group.add("full")
    tmpfs(env, full.path("state"), "64k")
    fill(full.path("state", "fill"))
    full.write_conf()
    does_not_start(full, "make room there")
    os.unlink(full.path("state", "fill"))
    sh("mount", "-o", "remount,size=4M", full.path("state"))
    full.start()
    ro = group.add("ro")
    tmpfs(env, ro.path("ram"), "256M", ",ro")
    ro.start()  # guests that run already must be looked after, whatever happened to the folder
    ro.add_domain("web1", memory={"boot": "64M"})
    assert "Read-only file system" in ctl(ro, "start", "web1")
    assert ro.domain("web1")["state"] == "inactive" and not os.listdir(ro.path("ram"))


def test_damaged_store(env):
    alpha = one(env)
    alpha.add_domain("idle1", memory={"boot": "64M"})
    alpha.add_domain("run1", memory={"boot": "64M"})
    alpha.ctl("start", "run1")
    alpha.kill(signal.SIGTERM)
    db = alpha.path("state", "policyd.db")
    good = open(db, "rb").read()

    def with_store(data, part):
        for extra in ("-wal", "-shm"):
            if os.path.exists(db + extra):
                os.unlink(db + extra)
        with open(db, "wb") as f:
            f.write(data)
        said = does_not_start(alpha, part)
        assert db in said and open(db, "rb").read()[:len(data)] == data, "the damaged file was changed"

    with_store(b"this is no database " * 500, "is damaged; move it away and start again")
    with_store(good[:16] + b"x" * 3000, "is damaged; move it away")
    with_store(good[:4096] + os.urandom(8192) + good[12288:], "is damaged; move it away")
    os.unlink(db)
    os.mkdir(db)
    does_not_start(alpha, "cannot be opened: Is a directory")
    os.rmdir(db)
    with open(db, "wb") as f:
        f.write(good)
    store = sqlite3.connect(db)
    store.execute("PRAGMA user_version=99")
    store.commit()
    store.close()
    does_not_start(alpha, "was written by a newer policyd")
    for leaf in os.listdir(alpha.path("state")):
        os.unlink(alpha.path("state", leaf))
    pids = alpha.qemu_pids()
    assert len(pids) == 1, "a guest ended because of policyd's store"
    alpha.start()  # what the sentence promises: running domains are found in the run folder
    wait_for("adoption", lambda: [d["name"] for d in domains(alpha) if d["state"] == "active"] == ["run1"])
    assert alpha.qemu_pids() == pids


def test_full_disk(env):
    """While the store cannot be written nothing changes, guests run on and can be stopped; afterwards all goes on."""
    alpha = one(env, start=False)
    tmpfs(env, alpha.path("state"), "600k")
    alpha.start()
    for name in ("idle1", "run1"):
        alpha.add_domain(name, vcpus={"min": 1, "boot": 1, "max": 2}, memory={"min": "64M", "boot": "128M", "max": "128M"})
    alpha.ctl("start", "run1")
    before, entries = domains(alpha), alpha.json("history")["entries"]
    fill(alpha.path("state", "fill"))
    for args in (["hold", "idle1"], ["hold", "run1"], ["set-memory", "idle1", "64M"], ["set-vcpu", "idle1", "2"], ["bind", "idle1"], ["remove", "idle1"]):
        said = ctl(alpha, *args)
        assert said.startswith(args[1] + ": nothing was changed: no room left on the file system of ") and said.endswith("; make room there"), said
        assert domains(alpha) == before, (args, domains(alpha), before)
    assert "d1: nothing was changed: no room left" in add(alpha, domain_text(alpha))
    assert "idle1: not started: no room left" in ctl(alpha, "start", "idle1")
    assert [d["state"] for d in domains(alpha)] == ["inactive", "active"] and len(alpha.qemu_pids()) == 1
    assert alpha.json("history")["entries"] == entries
    assert alpha.ctl("stop", "--force", "run1") == "run1 is stopped\n"
    assert open(alpha.log).read().count("no room left") < 8, "the log fills a disk that is full"
    os.unlink(alpha.path("state", "fill"))
    alpha.ctl("set-memory", "idle1", "64M")
    alpha.ctl("remove", "run1")
    alpha.restart()
    assert [(d["name"], d["mem_bytes"]) for d in domains(alpha)] == [("idle1", 64 * MIB)]


def test_no_room_for_memory(env):
    """A guest whose memory the RAM folder cannot hold is not started: the kernel would kill it at the first page too many."""
    alpha = one(env, start=False)
    tmpfs(env, alpha.path("ram"), "240M")
    alpha.start()
    for name, size in (("small", "128M"), ("other", "128M"), ("big", "1G")):
        alpha.add_domain(name, memory={"boot": size})
    assert ctl(alpha, "start", "big").startswith("big: needs 1.0G, but %s on alpha has 240M for it; enlarge that file system" % alpha.path("ram"))
    alpha.ctl("start", "small")  # has touched next to nothing yet, but was promised 128M
    said = ctl(alpha, "start", "other")
    assert said.startswith("other: needs 128M, but ") and "has 112M for it" in said, said
    assert "other: needs 128M" in ctl(alpha, "bind", "other")
    alpha.heartbeats("small").wait_ready()
    assert [(d["name"], d["state"]) for d in domains(alpha)] == [("big", "inactive"), ("other", "inactive"), ("small", "active")]
    assert len(os.listdir(alpha.path("ram"))) == 1
    alpha.ctl("stop", "--force", "small")
    alpha.ctl("bind", "other")
    assert "has 112M for it" in ctl(alpha, "start", "small")  # bound: promised to other


def test_leftovers(env):
    alpha = one(env)
    for name in ("web1", "web2"):
        alpha.add_domain(name, memory={"boot": "64M"})
        alpha.ctl("start", name)
    pids = {name: alpha.json("show", name)["launched"]["pid"] for name in ("web1", "web2")}
    alpha.kill()
    end_process(pids["web1"])  # dead, with its run folder and its memory
    os.makedirs(alpha.path("run", "junk"))
    with open(alpha.path("run", "junk", "launch.json"), "w") as f:
        f.write("{broken")
    with open(alpha.path("run", "a-file"), "w"):
        pass
    alpha.start()
    wait_for("settled", lambda: alpha.json("version")["settled"])
    assert [(d["name"], d["state"]) for d in domains(alpha)] == [("web1", "inactive"), ("web2", "active")], alpha.log_tail()
    assert not os.path.exists(alpha.path("run", "web1")) and len(os.listdir(alpha.path("ram"))) == 1
    junk = [line for line in open(alpha.log) if "junk" in line]
    assert len(junk) == 1 and "is left alone" in sentence(junk[0]), junk
    # a RAM file of which nobody knows whose it is
    ram = alpha.path("ram", alpha.domain("web1")["uuid"] + ".ram")
    with open(ram, "w") as f:
        f.write("somebody's")
    said = ctl(alpha, "start", "web1")
    assert said.startswith("web1: RAM file") and "remove it if none is" in said and os.path.exists(ram), said
    os.unlink(ram)
    alpha.ctl("start", "web1")
    # the record of a running one is damaged: it is not run twice
    alpha.kill()
    with open(alpha.path("run", "web2", "launch.json"), "w") as f:
        f.write("{broken")
    alpha.start()
    wait_for("settled", lambda: alpha.json("version")["settled"])
    assert ctl(alpha, "start", "web2") == "web2: it runs already"
    assert ballast.alive(pids["web2"]) and len(alpha.qemu_pids()) == 2
