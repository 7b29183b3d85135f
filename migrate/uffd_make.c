/* See uffd_make.h. */
#include "migrate/uffd_make.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/inject.h"

static int pidfd_take(pid_t pid, int their_fd, struct err *e)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, their_fd, 0);
	int code = errno;

	if (pidfd >= 0)
		close(pidfd);
	return fd < 0 ? err_set(e, code, "cannot fetch the userfaultfd from QEMU: %s", strerror(code)) : fd;
}

int uffd_make(pid_t pid, unsigned flags, int *theirs_out, struct err *e)
{
	const uint64_t args[6] = {O_CLOEXEC | O_NONBLOCK | flags};
	struct inject *in = NULL;
	int64_t theirs = -1, unused;
	int fd = -1, ret = inject_open(pid, &in, e);

	if (!ret)
		ret = inject_call(in, SYS_userfaultfd, args, &theirs, e);
	if (!ret && theirs < 0)
		ret = err_set(e, (int)-theirs, "userfaultfd in QEMU: %s", strerror((int)-theirs));
	if (!ret) {
		fd = pidfd_take(pid, (int)theirs, e);
		ret = fd < 0 ? fd : 0;
		/* A descriptor that nobody asked to leave behind would keep the guest slow after us. */
		if (ret || !theirs_out)
			inject_call(in, SYS_close, (const uint64_t[6]){(uint64_t)theirs}, &unused, NULL);
		else
			*theirs_out = (int)theirs;
	}
	inject_close(in);
	return ret ? ret : fd;
}

int uffd_fetch(pid_t pid, int theirs, struct err *e)
{
	char path[64], what[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, theirs);
	n = readlink(path, what, sizeof(what) - 1);
	what[n < 0 ? 0 : n] = 0;
	if (!strstr(what, "[userfaultfd]"))
		return err_set(e, EBADF, "QEMU (process %d) no longer holds the userfaultfd %d", (int)pid, theirs);
	return pidfd_take(pid, theirs, e);
}

int uffd_drop(pid_t pid, int theirs, struct err *e)
{
	struct inject *in = NULL;
	int64_t unused;
	int ret = inject_open(pid, &in, e);

	if (!ret)
		ret = inject_call(in, SYS_close, (const uint64_t[6]){(uint64_t)theirs}, &unused, e);
	inject_close(in);
	return ret;
}
