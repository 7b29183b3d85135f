/* All threads of another process held still for some milliseconds, without a signal of ours and without its knowledge: what soft-dirty
 * tracking needs between reading the marks and clearing them. By ptrace and not by SIGSTOP or a cgroup's freezer, because then the
 * process goes on by itself when we are killed. Between open and close: same thread of ours; one freeze a process. */
#ifndef MIGRATE_FREEZE_H
#define MIGRATE_FREEZE_H

#include <sys/types.h>

#include "domain/err.h"

struct freeze;

/* Returns when no thread of @pid runs in user mode, nor in a system call. -EPERM (another tracer, not ours to trace), -ESRCH, -ETIMEDOUT (a thread
 * would not stop), -ENOTSUP: the kernel works for it on threads that nobody can stop (io_uring's). On failure it goes on as before. */
int freeze_open(pid_t pid, struct freeze **out, struct err *e);
/* Let it go on. NULL does nothing. */
void freeze_close(struct freeze *f);

#endif
