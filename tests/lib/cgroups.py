"""What the kernel says of a process's CPU group: where it is, and how much it may use. v1 and v2."""
import os

from env import Skip


def cpu_mount():
    """Where this machine's CPU controller is, and whether that is v2."""
    for line in open("/proc/mounts"):
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "cpu" in options.split(","):
            return where, False
        if kind == "cgroup2" and "cpu" in open(where + "/cgroup.controllers").read().split():
            return where, True
    raise Skip("no cgroup CPU controller is mounted here")


def group_of(pid):
    """The folder of the group that a process is in."""
    mount, v2 = cpu_mount()
    for line in open("/proc/%d/cgroup" % pid):
        _, controllers, path = line.strip().split(":", 2)
        if not controllers if v2 else "cpu" in controllers.split(","):
            return mount + path
    raise AssertionError("pid %d is in no CPU group" % pid)


def quota(pid):
    """Percent of one CPU, None = no limit."""
    folder, (_, v2) = group_of(pid), cpu_mount()
    if v2:
        text = open(folder + "/cpu.max").read().split() if os.path.exists(folder + "/cpu.max") else ["max"]
    else:
        text = [open(folder + "/cpu.cfs_quota_us").read().strip(), open(folder + "/cpu.cfs_period_us").read()]
    return None if text[0] in ("max", "-1") else int(text[0]) * 100 // int(text[1])
