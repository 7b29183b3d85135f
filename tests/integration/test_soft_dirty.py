"""The soft-dirty tracker where it is needed: on a kernel before 6.7. The guest's kernel is one (Debian 12's), so it is booted with the tracker and a
process to track as its only program (soft_drive.c). On a host whose own kernel has soft-dirty marks nothing more is needed than this."""
import os
import re
import subprocess

from ballast import Skip

PARALLEL = True
LIMIT_S = 300


def initrd(env):
    """An archive with one file: /init."""
    root = os.path.join(env.tmp, "root")
    os.makedirs(os.path.join(root, "dev"))
    subprocess.run(["cp", env.program("guest/soft_drive"), os.path.join(root, "init")], check=True)
    path = os.path.join(env.tmp, "initrd")
    with open(path, "wb") as out:
        # /dev/console is what the kernel opens for init's output
        subprocess.run("mknod -m 600 dev/console c 5 1 && find . | cpio -o -H newc -R 0:0 --quiet", shell=True, cwd=root, stdout=out, check=True)
    return path


def test_tracks_every_write(env):
    if os.geteuid():
        raise Skip("only root can make the console's device node for the tiny machine")
    r = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-machine", "pc-q35-7.2", "-accel", "tcg", "-cpu", "max",
                        "-smp", "2", "-m", "192", "-serial", "stdio", "-kernel", os.path.join(env.build_root, "guest/vmlinuz"), "-initrd", initrd(env),
                        "-append", "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=240)
    print(r.stdout)
    assert "SOFT end" in r.stdout, r.stdout[-2000:]
    name, compared, copied, stale = re.search(r"SOFT tracker (\S+): (\d+) comparisons, (\d+) pages copied, (\d+) stale", r.stdout).groups()
    careless = int(re.search(r"SOFT without holding it still: (\d+) stale", r.stdout).group(1))
    assert name == "soft-dirty" and int(compared) and int(copied) > 8192, r.stdout
    assert int(stale) == 0, "%s pages were written and not seen" % stale
    assert careless > 0, "the same without holding the process still must lose writes; else nothing was proved"
