/* Watching this host: CPU in use, memory, PSI (pressure) with triggers, so that trouble wakes the loop at once.
 *
 * Loop thread only. The owner calls watch_host_sample once a second. Where the kernel has no PSI, or none for us, its
 * figures are -1 and there is no trigger; nothing else changes. */
#ifndef POLICYD_WATCH_WATCH_HOST_H
#define POLICYD_WATCH_WATCH_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "policyd/decide/snapshot.h"
#include "policyd/watch/procfs.h"
#include "policyd/watch/series.h"

struct event_base;
struct watch_host;

enum watch_pressure { PRESSURE_CPU, PRESSURE_MEMORY };
/* Some task waited for it for more than the threshold within the window. At most once a window (1-2 s). */
typedef void watch_pressure_fn(void *arg, enum watch_pressure what);

struct watch_host_conf {
	const char *proc_root;          /* copied; NULL = "/proc" */
	watch_pressure_fn *on_pressure; /* NULL = no triggers */
	void *arg;
	unsigned cpu_stall_ms; /* per second of window; 0 = 500 */
	unsigned mem_stall_ms; /* 0 = 100 */
};

/* @base may be NULL when there are no triggers. NULL: no memory. */
struct watch_host *watch_host_new(struct event_base *base, const struct watch_host_conf *conf);
void watch_host_free(struct watch_host *h);

/* @now_ms is CLOCK_MONOTONIC. 0, or -errno of what could not be read (the rest is taken). */
int watch_host_sample(struct watch_host *h, int64_t now_ms);

struct watch_host_view {
	unsigned n_cpus;                       /* 0 = unknown */
	double cpu_fast, cpu_slow;             /* percent of all CPUs, averages over 5 s and 60 s; -1 unknown */
	struct meminfo mem;                    /* total_bytes 0 = unknown */
	double psi_cpu, psi_mem, psi_mem_full; /* avg10; -1 unknown */
	bool triggers;                         /* the kernel wakes us */
};
void watch_host_view(const struct watch_host *h, struct watch_host_view *out);
/* Sets host_cpu_util, psi_cpu and psi_mem. */
void watch_host_fill(const struct watch_host *h, struct snapshot *out);
const struct series *watch_host_cpu(const struct watch_host *h);

#endif
