/* What the kernel says in /proc: small texts, read in one go and parsed by pure functions.
 *
 * The root ("/proc") is a parameter, so that tests can lay out their own. Reading these is short and never waits on a device;
 * it is allowed on the loop. Any thread. */
#ifndef POLICYD_WATCH_PROCFS_H
#define POLICYD_WATCH_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Read "<root>/<leaf>" into @buf (ended by 0; cut where longer). Bytes read or -errno. @fmt makes the leaf. */
ssize_t procfs_read(char *buf, size_t size, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct schedstat {
	uint64_t run_ns, delay_ns; /* on a CPU; runnable and waiting for one; since the thread began */
};
int schedstat_parse(const char *text, struct schedstat *out); /* -EINVAL */

/* From a cgroup's cpu.stat: ns for which its threads were held back by its quota (v2 throttled_usec, v1 throttled_time); UINT64_MAX = it
 * does not say. */
uint64_t throttled_parse(const char *text);

struct cpu_times { /* first line of /proc/stat, in ticks; guest time is within user */
	uint64_t busy, total;
	unsigned n_cpus; /* cpuN lines */
};
int cpu_times_parse(const char *text, struct cpu_times *out);

struct meminfo {
	uint64_t total_bytes, available_bytes, swap_total_bytes, swap_free_bytes;
};
int meminfo_parse(const char *text, struct meminfo *out);

struct psi_line {
	bool known;
	double avg10, avg60, avg300; /* percent of time */
	uint64_t total_us;
};
struct psi {
	struct psi_line some, full; /* cpu of older kernels has no full */
};
int psi_parse(const char *text, struct psi *out);

#endif
