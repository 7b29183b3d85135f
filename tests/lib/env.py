"""One test's surroundings: its folder on tmpfs, what to undo at the end, and waiting. Everything a test starts is registered here with
on_exit, so that a failed test leaves nothing behind; what a killed test left is swept away by the next one."""
import fcntl
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback

_numbers = itertools.count()
PREFIX = "bt-"
TMPFS_MAGIC_FREE = 2 << 30  # bytes that /dev/shm must have to hold guests' memory
LOG_MAX = 4 << 20


class Skip(Exception):
    """This test cannot run here; the text says why."""


class Timeout(Exception):
    """Something did not happen in time."""


def wait_for(what, fn, timeout=60, pause=0.02):
    """Call @fn until it returns something true; that value. Errors that mean "not yet" are fn's to turn into False.
    The time is only a guard against hangs: be generous, the machine may be busy."""
    end = time.monotonic() + timeout
    while True:
        value = fn()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout("%s: not within %g s (last: %r)" % (what, timeout, value))
        time.sleep(pause)


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def processes_naming(text):
    """Pids of processes with @text in their command line, ours excepted."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                line = f.read()
        except OSError:
            continue
        if text.encode() in line and int(pid) not in (os.getpid(), os.getppid()):
            out.append(int(pid))
    return out


def end_process(pid, sig=signal.SIGKILL, timeout=30):
    """Send the signal and wait until it is gone (or a zombie, whose parent reaps it)."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return
    wait_for("the end of process %d" % pid, lambda: not alive(pid), timeout)


def _memory_folder():
    """Where guests' memory goes: /dev/shm where it is large enough (containers have 64 MiB there)."""
    st = os.statvfs("/dev/shm")
    return "/dev/shm" if st.f_bavail * st.f_frsize >= TMPFS_MAGIC_FREE else "/tmp"


def _own_tmpfs(folder):
    """A tmpfs of our own on @folder if it is not on one; fine without (tests are slower then)."""
    if not folder.startswith("/dev/shm") and os.geteuid() == 0:
        return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=75%", "ballast-tests", folder], capture_output=True).returncode == 0
    return False


def _claim(folder):
    """A lock that lives as long as we do: what tells a folder in use from a leftover. (Not the pid: another pid namespace, a chroot's
    test run, may share this /dev/shm.)"""
    lock = open(os.path.join(folder, ".lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _abandoned(folder):
    """Nobody holds its lock; one without a lock is just being made, or very old."""
    try:
        if not os.path.exists(os.path.join(folder, ".lock")):
            return time.time() - os.stat(folder).st_mtime > 60
        _claim(folder).close()
        return True
    except OSError:
        return False


def _sweep():
    """Remove what tests of processes that are gone have left: processes, folders, namespaces."""
    for base in ("/dev/shm", "/tmp"):
        for name in os.listdir(base):
            folder = os.path.join(base, name)
            if re.fullmatch(PREFIX + r"(\d+)-\d+", name) and _abandoned(folder):
                for pid in processes_naming(folder + "/"):
                    end_process(pid)
                subprocess.run(["umount", folder], capture_output=True)
                shutil.rmtree(folder, ignore_errors=True)
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        m = re.match(r"bt(\d+)-", name)
        if m and not os.path.exists("/proc/" + m.group(1)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Env:
    """.tmp: a folder of this test's own on tmpfs, with a short name (sockets' paths must fit 107 characters). .build: build/."""

    def __init__(self, build, name, keep=False):
        self.build, self.name, self.keep = os.path.abspath(build), name, keep
        self._undo, self._failed = [], False
        _sweep()
        self.tmp = self._new_folder()
        self._mounted = _own_tmpfs(self.tmp)
        self._lock = _claim(self.tmp)

    @staticmethod
    def _new_folder():
        while True:
            folder = os.path.join(_memory_folder(), "%s%d-%d" % (PREFIX, os.getpid(), next(_numbers)))
            try:
                os.makedirs(folder)
                return folder
            except FileExistsError:  # a process of the same number in another pid namespace
                continue

    def on_exit(self, fn):
        """Call @fn at the end, last registered first."""
        self._undo.append(fn)

    def failed(self):
        """Keep the logs."""
        self._failed = True

    def need_root(self, why):
        if os.geteuid() != 0:
            raise Skip("needs root: " + why)

    @property
    def build_root(self):
        """build/, whatever sanitizer's folder below it the programs come from: the guest is built once."""
        return os.path.dirname(self.build) if os.path.basename(self.build).startswith("san-") else self.build

    def program(self, name):
        """A program of the build; not being built is a failure, not a reason to skip."""
        for path in (os.path.join(self.build, name), os.path.join(self.build_root, name)):
            if os.access(path, os.X_OK):
                return path
        raise AssertionError("%s is not in %s; run make first" % (name, self.build))

    def popen(self, argv, **how):
        """Start a process that ends with the test at the latest."""
        how.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(argv, start_new_session=True, **how)

        def end():
            if process.poll() is None:
                process.kill()
            process.wait(60)
        self.on_exit(end)
        return process

    @property
    def log_folder(self):
        return os.path.join(self.build, "tests", "log", self.name)

    def _save_logs(self):
        """Copy what is small and not a guest's memory to build/tests/log/NAME."""
        shutil.rmtree(self.log_folder, ignore_errors=True)
        for folder, _, names in os.walk(self.tmp):
            for name in names:
                path = os.path.join(folder, name)
                to = os.path.join(self.log_folder, os.path.relpath(path, self.tmp))
                if os.path.isfile(path) and os.path.getsize(path) < LOG_MAX and not name.endswith((".ram", ".vmem", ".img")):
                    os.makedirs(os.path.dirname(to), exist_ok=True)
                    shutil.copyfile(path, to)
        print("logs of %s: %s" % (self.name, self.log_folder), file=sys.stderr)

    def close(self):
        """Undo everything. Returns what could not be undone, as sentences."""
        problems = []
        if self._failed:
            try:
                self._save_logs()
            except OSError as e:
                problems.append("saving logs: %s" % e)
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as e:  # one that cannot be undone must not keep the others from it
                traceback.print_exc()
                problems.append("%s: %s" % (type(e).__name__, e))
        for pid in processes_naming(self.tmp + "/"):
            end_process(pid)
        if self.keep:
            print("kept: %s" % self.tmp, file=sys.stderr)
            return problems
        if self._mounted:
            subprocess.run(["umount", "-l", self.tmp], capture_output=True)
        shutil.rmtree(self.tmp, ignore_errors=True)
        if os.path.exists(self.tmp):
            problems.append("%s cannot be removed" % self.tmp)
        return problems
