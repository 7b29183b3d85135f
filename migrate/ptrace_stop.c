/* Waiting for stops of traced threads; see ptrace_stop.h. */
#include "migrate/ptrace_stop.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

int ptrace_wait_stop(pid_t tid, unsigned ms, int *status)
{
	for (uint64_t us = 0; us < ms * 1000ULL; us += us < 5000 ? 50 : 500) {
		pid_t got = waitpid(tid, status, __WALL | WNOHANG);

		if (got == tid)
			return WIFSTOPPED(*status) ? 0 : -ESRCH;
		if (got < 0 && errno != EINTR)
			return -ESRCH;
		nanosleep(&(struct timespec){.tv_nsec = us < 5000 ? 50000 : 500000}, NULL);
	}
	return -ETIMEDOUT;
}

bool ptrace_is_trap(int status)
{
	return status >> 16 == PTRACE_EVENT_STOP;
}

int ptrace_wait_trap(pid_t tid, unsigned ms)
{
	int status, ret;

	while (!(ret = ptrace_wait_stop(tid, ms, &status)) && !ptrace_is_trap(status))
		if (ptrace(PTRACE_CONT, tid, NULL, (void *)(long)WSTOPSIG(status)))
			return -errno;
	return ret;
}

int ptrace_interrupt(pid_t tid, unsigned ms)
{
	return ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) ? -errno : ptrace_wait_trap(tid, ms);
}

int ptrace_seize_failure(pid_t pid, int code, struct err *e)
{
	char path[64], line[128];
	int tracer = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	if (f)
		fclose(f);
	if (tracer)
		return err_set(e, EPERM,
			"QEMU (process %d) is being traced by process %d; end that (strace, gdb) first", (int)pid,
			tracer);
	return err_set(e, code, "cannot trace QEMU (process %d): %s; the worker must run as root or as QEMU's user",
		(int)pid, strerror(code));
}
