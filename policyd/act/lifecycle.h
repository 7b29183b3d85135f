/* Starting and stopping a domain, and giving it CPU and memory: the jobs that act on this host only (run_job.c, resize_job.c). Loop thread.
 *
 * All of them refuse at once (-errno and a sentence) what can be seen at once; what shows later ends the job. *@out may be NULL. */
#ifndef POLICYD_ACT_LIFECYCLE_H
#define POLICYD_ACT_LIFECYCLE_H

#include "policyd/act/job.h"

/* From inactive or bound. Done when QEMU answers and the guest runs. */
int start_job(struct dom *d, const struct origin *o, struct job **out, struct err *e);

/* ACPI power button, then waits @timeout_ms (0 = 90 s) for the guest to end; @force: quit at once. */
int stop_job(struct dom *d, bool force, unsigned timeout_ms, const struct origin *o, struct job **out, struct err *e);

/* Stop the guest's clock, or let it run on. */
int suspend_job(struct dom *d, bool resume, const struct origin *o, struct job **out, struct err *e);

/* -EBUSY when a hand-off of @d is in doubt: only its peer can settle it. */
int doubt_check(const struct dom *d, struct err *e);

/* A running domain to @n vCPUs within its min..max, of which it may use @cap percent of one CPU (0: all of them); @reason may be NULL. Growing
 * reserves first: -ENOSPC. -ENOTSUP: this host cannot cap. */
int cpu_job(struct dom *d, unsigned n, unsigned cap, const struct origin *o, const char *reason, struct job **out,
	struct err *e);

/* A running domain to @bytes, a multiple of 2 MiB within its min..boot size. Shrinking stops where the guest needs the rest (-EAGAIN at the end). */
int memory_job(
	struct dom *d, uint64_t bytes, const struct origin *o, const char *reason, struct job **out, struct err *e);

/* The same for a domain that does not run: changes what it will start with. -ERANGE. The caller saves. */
int define_vcpus(struct dom *d, unsigned n, struct err *e);
int define_memory(struct dom *d, uint64_t bytes, struct err *e);

#endif
