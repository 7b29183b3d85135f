"""Storage that hangs: a FUSE file system whose requests nobody answers, as an NFS whose server has gone."""
import ctypes
import os
import subprocess

from env import Skip

_libc = ctypes.CDLL(None, use_errno=True)


class HungStorage:
    """mount(): whoever looks at what is below @folder waits until release()."""

    def __init__(self, env, folder):
        env.need_root("a hanging file system is mounted")
        self.folder, self.fd = folder, None
        os.makedirs(folder, exist_ok=True)
        env.on_exit(self.release)

    def mount(self):
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            raise Skip("no FUSE on this machine: %s" % e) from None
        options = "fd=%d,rootmode=40000,user_id=0,group_id=0" % self.fd
        if _libc.mount(b"ballast-hung", self.folder.encode(), b"fuse", 0, options.encode()):
            code = ctypes.get_errno()
            os.close(self.fd)
            self.fd = None
            raise Skip("FUSE cannot be mounted here: %s" % os.strerror(code))

    def release(self):
        """All who wait get an error; it is a folder again."""
        if self.fd is None:
            return
        os.close(self.fd)  # the kernel aborts what waits
        self.fd = None
        subprocess.run(["umount", "-l", self.folder], check=True)
