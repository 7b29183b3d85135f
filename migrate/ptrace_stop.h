/* Stopping threads of another process without a signal of ours (PTRACE_SEIZE, PTRACE_INTERRUPT); what inject.c and freeze.c share. All calls
 * for one tracee on the thread that seized it (ptrace demands it). Blocks, at most for the time given. Linux, any processor. */
#ifndef MIGRATE_PTRACE_STOP_H
#define MIGRATE_PTRACE_STOP_H

#include <stdbool.h>
#include <sys/types.h>

#include "domain/err.h"

/* Next stop of the thread, at most @ms. *@status as waitpid. -ESRCH it ended, -ETIMEDOUT. */
int ptrace_wait_stop(pid_t tid, unsigned ms, int *status);
/* Is it the stop that PTRACE_INTERRUPT makes (or a group-stop, which serves as well)? */
bool ptrace_is_trap(int status);
/* After PTRACE_INTERRUPT: wait for its stop; signals on the way are delivered as if we were not there. */
int ptrace_wait_trap(pid_t tid, unsigned ms);
/* PTRACE_INTERRUPT and ptrace_wait_trap. */
int ptrace_interrupt(pid_t tid, unsigned ms);
/* The sentence for a PTRACE_SEIZE that failed with @code: another tracer is named. Returns -errno. */
int ptrace_seize_failure(pid_t pid, int code, struct err *e);

#endif
