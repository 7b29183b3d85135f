"""policyd is killed in the middle of a resize: afterwards the guest has what policyd says that it has, nothing goes on behind anybody's back, and
history says what became of it. (virtio-mem: test_memory. The guard after a shrink: test_memory::test_gives_back_before_it_swaps.)"""
import signal
import subprocess
import time

from ballast import MIB, Group, Qmp, wait_for
from cgroups import cpu_mount, quota

LIMIT_S = 400


def started(env, name="web1", **spec):
    env.need_root("a host is a network namespace")
    alpha = Group(env).add("alpha").start()
    alpha.add_domain(name, **{"vcpus": {"min": 1, "boot": 2, "max": 2}, "memory": {"min": "96M", "boot": "192M", "max": "192M"}, **spec})
    beats = alpha.heartbeats(name)
    alpha.ctl("start", name)
    beats.wait_ready()
    return alpha, name, beats


def begun(env, alpha, *command):
    return env.popen(alpha.ctl_argv(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed_and_back(alpha):
    alpha.kill(signal.SIGKILL)
    alpha.start()
    wait_for("adoption", lambda: alpha.json("version")["settled"])


def told(alpha, name, kind):
    """The entries of history that say that it was interrupted."""
    return [e for e in alpha.json("history", name)["entries"] if e["kind"] == kind and "interrupted" in (e.get("error") or "")]


def says(alpha, text):
    return any(text in op["text"] for op in alpha.json("list", "-o", "status")["operations"])


def test_vcpu(env):
    alpha, name, beats = started(env)
    qemu = Qmp(alpha.path("run", name, "qmp-worker.sock"))
    waits = begun(env, alpha, "set-vcpu", name, "1")
    wait_for("the guest to have been asked", lambda: says(alpha, "waits for the guest to give up cpu-1"))
    killed_and_back(alpha)
    assert waits.wait(30) == 1 and told(alpha, name, "cpu")
    # its guest answers whenever it answers: policyd hears of it although no operation waits for that
    wait_for("the guest to have given it up", lambda: len(qemu("query-cpus-fast")) == 1)
    wait_for("policyd to know", lambda: alpha.domain(name)["vcpus"] == 1, 10)
    killed_and_back(alpha)
    assert alpha.domain(name)["vcpus"] == 1
    beats.wait_beats(3)


def test_balloon(env):
    alpha, name, beats = started(env)
    qemu = Qmp(alpha.path("run", name, "qmp-worker.sock"))
    waits = begun(env, alpha, "set-memory", name, "110M")
    wait_for("the shrink to have begun", lambda: alpha.domain(name)["mem_bytes"] < 190 * MIB)
    killed_and_back(alpha)
    assert waits.wait(30) == 1 and told(alpha, name, "memory")

    def stands():
        before = qemu("query-balloon")["actual"]
        time.sleep(1)  # long enough for a balloon that is on its way
        return qemu("query-balloon")["actual"] == before
    wait_for("a guest that stays", stands)
    has = qemu("query-balloon")["actual"]
    assert 110 * MIB < has < 192 * MIB, has / MIB
    wait_for("policyd to know", lambda: alpha.domain(name)["mem_bytes"] == has, 10)
    alpha.ctl("set-memory", name, "192M")
    beats.wait_beats(3)


def test_cap(env):
    cpu_mount()
    alpha, name, beats = started(env)
    pid = alpha.json("show", name)["launched"]["pid"]
    ends = set()
    for i, after_s in enumerate((0.005, 0.02, 0.05, 0.01, 0.1, 0.03)):
        begun(env, alpha, "set-vcpu", name, "1.5" if i % 2 == 0 else "2")
        time.sleep(after_s)  # anywhere in it
        killed_and_back(alpha)
        says = alpha.domain(name).get("cpu_cap")
        assert quota(pid) == says and says in (None, 150), (i, quota(pid), says)
        ends.add(says)
    print("ended with", ends)
    assert alpha.domain(name)["vcpus"] == 2
    beats.wait_beats(3)
