/* Watching one domain: how much CPU its vCPU threads use and wait for, what its guest says about memory, what its RAM file holds.
 *
 * Loop thread only. The owner (policyd's core) makes one for each running QEMU, calls watch_domain_sample once a second and
 * watch_domain_fill whenever a snapshot is made. QMP questions are asked in the background by sample, so fill gives what was
 * known last, with freshness where it matters. demand util = (run + wait) / (elapsed x vCPU threads), percent: 100 means
 * that every vCPU ran, or wanted to run, all the time. wait: the run delay, or the time for which a cap held its threads back where that is
 * more (kernels before 6.18 count held-back threads as delayed, newer ones do not). */
#ifndef POLICYD_WATCH_WATCH_DOMAIN_H
#define POLICYD_WATCH_WATCH_DOMAIN_H

#include <stdint.h>
#include <sys/types.h>

#include "domain/qmp.h"
#include "policyd/decide/snapshot.h"
#include "policyd/watch/series.h"
#include "resize/shrink.h"

struct watch_domain_conf {
	pid_t pid;            /* QEMU */
	const char *ram_file; /* copied; NULL = residency is not watched */
	const char
		*vmem_file; /* copied; of its virtio-mem device; NULL = it has none, all its memory is the balloon's */
	const char
		*cap_group; /* copied; folder of the cgroup that QEMU has for itself while it is capped; NULL = none */
	unsigned poll_stats_s; /* balloon statistics interval; 0 = 1 s */
	const char *proc_root; /* copied; NULL = "/proc" */
	/* New memory statistics of the guest have just come: watch_domain_health has them. Must not free the watch. May be NULL. */
	void (*on_stats)(void *arg);
	void *arg;
};

struct watch_domain;

/* @q is borrowed and may be NULL (nothing that needs QMP is known then); it need not be ready yet. Free the watch before the
 * qmp. NULL: no memory. */
struct watch_domain *watch_domain_new(struct qmp *q, const struct watch_domain_conf *conf);
void watch_domain_free(struct watch_domain *w);

/* One sample; @now_ms is CLOCK_MONOTONIC. Reads a few small /proc files and asks QMP (query-cpus-fast, query-balloon, guest-stats),
 * answers come later. 0; -ESRCH the process is gone (a gap is recorded). */
int watch_domain_sample(struct watch_domain *w, int64_t now_ms);

/* After a vCPU came or went, and after a migration (QEMU forgets the polling interval): ask at once, not at the next turn. */
void watch_domain_changed(struct watch_domain *w);

struct watch_bounds { /* from the policy in force; counts are made when asked, so a new policy counts from the old samples */
	double util_upper, util_lower; /* percent */
	double free_lower;             /* percent of the memory that the guest has been given */
	unsigned window;               /* sustain_window: how many of the last samples are looked at */
	unsigned cpu_every_ms; /* a sample is the mean of this long (policy's sample-rate); 0 = each 1 s sample */
	unsigned mem_every_ms;
};

/* Sets the measured fields of @out: vcpus, mem_bytes, resident_bytes (these three stay as they are while unknown), util_fast, util_slow,
 * util_p95 (-1: unknown), over_upper, under_lower, mem_known, mem_available, mem_free (0 while not mem_known), swap_in_bps, major_faults_ps
 * (-1: unknown), mem_short, dirty_bps (-1). @now_ms is CLOCK_MONOTONIC, as for sample. */
void watch_domain_fill(
	const struct watch_domain *w, const struct watch_bounds *b, int64_t now_ms, struct snap_domain *out);

/* The guest's memory statistics for the law of shrinking: sets stats_known, stats_age_ms, stale_ms, available_bytes, free_bytes and the two
 * rates of @out. */
void watch_domain_health(const struct watch_domain *w, int64_t now_ms, struct shrink_view *out);

/* For show, top and the status page. Percent; mem: what is available, in percent of what the guest has been given. */
const struct series *watch_domain_util(const struct watch_domain *w);
const struct series *watch_domain_mem(const struct watch_domain *w);
/* Part of the last sample's demand that was waiting, percent of the time of all vCPUs; -1 unknown. */
double watch_domain_delay(const struct watch_domain *w);

#endif
