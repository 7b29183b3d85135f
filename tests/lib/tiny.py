"""A machine whose only program is one of ours, run as its init (tests/integration/tiny.mk), on the test guest's kernel: for what this host's own kernel does not
have."""
import os
import subprocess

from env import Skip


def _initrd(env, program):
    """An archive with one file: /init."""
    root = os.path.join(env.tmp, "root")
    os.makedirs(os.path.join(root, "dev"))
    subprocess.run(["cp", env.program("guest/" + program), os.path.join(root, "init")], check=True)
    path = os.path.join(env.tmp, "initrd")
    with open(path, "wb") as out:
        # /dev/console is what the kernel opens for init's output
        subprocess.run("mknod -m 600 dev/console c 5 1 && find . | cpio -o -H newc -R 0:0 --quiet", shell=True, cwd=root, stdout=out, check=True)
    return path


def run(env, program, cpus):
    """All that @program prints until it ends the machine."""
    if os.geteuid():
        raise Skip("only root can make the console's device node for the tiny machine")
    r = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-machine", "pc-q35-7.2", "-accel", "tcg", "-cpu", "max",
                        "-smp", str(cpus), "-m", "192", "-serial", "stdio", "-kernel", os.path.join(env.build_root, "guest/vmlinuz"), "-initrd",
                        _initrd(env, program), "-append", "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=240)
    print(r.stdout)
    return r.stdout
