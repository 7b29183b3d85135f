/* A running guest's memory, one number: by the balloon up to what it booted with, by virtio-mem above that (resize/vmem.h).
 * Shrinking goes in steps, closed loop on the guest's own statistics; growing at once. Asynchronous on the loop thread. The step rule is
 * the pure function shrink_next (resize/shrink.h). */
#ifndef RESIZE_BALLOON_H
#define RESIZE_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/qmp.h"
#include "resize/shrink.h"

struct qga;

struct guest_mem_stats { /* as virtio-balloon gives them; bytes; UINT64_MAX = the guest does not say */
	uint64_t total, free, available, disk_caches;
	uint64_t swap_in, swap_out;          /* bytes since boot */
	uint64_t major_faults, minor_faults; /* counts since boot */
	int64_t last_update_s;               /* guest's statistics age: 0 = never */
};

struct balloon_limits {
	uint64_t min_bytes, max_bytes;
	uint64_t
		boot_bytes; /* what it booted with; 0 or >= max_bytes: there is no virtio-mem device, all is the balloon's */
	struct qga *agent; /* may be NULL: asked for the guest's memory pressure, and must outlive the job */
	struct shrink_rules rules;
	unsigned timeout_ms;  /* of the whole; 0 = 60 s */
	unsigned patience_ms; /* to wait for fresh statistics, and for a guest that has stopped giving; 0 = 8 s */
};

struct balloon_job;
struct balloon_result {
	uint64_t before, after, wanted; /* bytes; before = after = 0: ended before QEMU said */
	uint64_t vmem_after;            /* of after: what of the virtio-mem device is plugged, or is still to be */
	uint64_t last_step;             /* of a shrink; 0 = none was taken */
	double faults_before_ps;        /* major faults a second before the first step; < 0 = not known */
	bool backed_off;                /* stopped by signs of pressure, some was given back; the reason is in @e */
	unsigned elapsed_ms;
};
/* Once, from the loop or from inside balloon_cancel; the job is gone after it. @e->code: 0 as wanted; EAGAIN partial: the guest needs the rest (reason in the message); ETIMEDOUT; ENODEV no driver, of
 * the balloon or of virtio-mem; ECANCELED; ERANGE, EPIPE, ENOMEM. In every case but 0 the guest is told to stay where it is by then. */
typedef void balloon_done_fn(void *arg, const struct balloon_result *r, const struct err *e);
typedef void balloon_progress_fn(void *arg, uint64_t now_bytes, uint64_t wanted_bytes);

/* @limits is copied. NULL: no memory. @q must be ready and outlive the job: cancel before qmp_free. Growing asks at once; shrinking
 * follows shrink_next, and switches statistics polling on (1 s) by itself. */
struct balloon_job *balloon_set(struct event_base *base, struct qmp *q, uint64_t wanted_bytes,
	const struct balloon_limits *limits, balloon_progress_fn *progress, balloon_done_fn *done, void *arg);
void balloon_cancel(struct balloon_job *job); /* NULL does nothing */

/* Switch statistics polling on (set again after every migration, facts.md). */
int balloon_poll_stats(struct qmp *q, unsigned seconds);
/* Parse the answer of qom-get guest-stats. -ENODATA: driver not there (all-ones or never updated). Pure. */
int balloon_stats_parse(const json_t *ret, struct guest_mem_stats *out);
#define BALLOON_QOM_PATH "/machine/peripheral/balloon0"

#endif
