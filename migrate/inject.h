/* System calls inside another process, by ptrace: what makes a userfaultfd in QEMU's address space. Engine thread; all calls of one struct
 * inject on the same thread (ptrace demands it). Between inject_open and inject_close one thread of the process stands still (facts: 0.2-14 ms).
 * x86-64 only. If we are killed in between, the thread goes on with our registers: keep it short. */
#ifndef MIGRATE_INJECT_H
#define MIGRATE_INJECT_H

#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"

struct inject;

/* Stop one thread. -EPERM (another tracer, or not ours to trace), -ESRCH, -ETIMEDOUT (no thread would stop), -ENOTSUP. */
int inject_open(pid_t pid, struct inject **out, struct err *e);
/* Run one system call there. 0 with *@result (negative errno of the call itself), or -errno when it could not be run. */
int inject_call(struct inject *in, long nr, const uint64_t args[6], int64_t *result, struct err *e);
/* Put the thread back exactly as it was: registers, signal mask, a system call that was interrupted starts again. NULL does nothing. */
void inject_close(struct inject *in);

#endif
