/* A CPU bandwidth cap on a running process by cgroup: v2 cpu.max, or v1 cpu.cfs_quota_us where a host still has that; and its weight
 * beside others (cpu.weight, cpu.shares).
 *
 * Between whole vCPUs, and for migrations (slow the guest so that pre-copy converges; hold others back while a worker works). The
 * process is moved into a group of its own, <mount>/<base>/<name>, and back to where it was by cap_close. Few short
 * writes to cgroupfs; loop thread or any other, one cap from one thread at a time. */
#ifndef RESIZE_CAP_H
#define RESIZE_CAP_H

#include <stdbool.h>
#include <sys/types.h>

#include "domain/err.h"

enum cap_kind { CAP_NONE, CAP_V2, CAP_V1 };

struct cap_fs { /* what this host has */
	enum cap_kind kind;
	char mount[256];     /* of the hierarchy that has the cpu controller */
	char base[64];       /* our part of it: cap_detect says "ballast"; two policyds on one machine need two */
	char proc_root[256]; /* "/proc"; tests lay out their own */
};

/* Find it from <proc_root>/self/mountinfo (NULL = "/proc"). 0; -ENOTSUP: no cpu controller with bandwidth control; the
 * message says which was looked for. */
int cap_detect(const char *proc_root, struct cap_fs *out, struct err *e);

struct cap {
	struct cap_fs fs;
	char group[512];  /* ours */
	char before[512]; /* where the process was */
	pid_t pid;
};

/* Make the group and move all threads of @pid into it; not limited yet, unless it was in that group already: then all stays as it was. -ENOTSUP, -ESRCH, -EACCES, -EEXIST (a group of that name
 * holds another process). On failure nothing is left behind. */
int cap_open(struct cap *c, const struct cap_fs *fs, const char *name, pid_t pid, struct err *e);
/* @percent of one CPU: 150 = one and a half. At least 1. */
int cap_set(struct cap *c, unsigned percent, struct err *e);
int cap_clear(struct cap *c, struct err *e);
/* How much it gets beside others when the CPUs are short: 100 = as much as one ordinary task, 250 = two and a half. Cut to what the kernel takes. */
int cap_weigh(struct cap *c, unsigned percent, struct err *e);
/* The same for <mount>/<base>, all our groups together, beside what else runs on the host. Nothing where there is no group. */
int cap_weigh_base(const struct cap_fs *fs, unsigned percent, struct err *e);
/* What cap_set (@percent 0: cap_clear) does, for a process that only hears of it: writing @text to @path sets the limit of group @name, if there is
 * one. */
void cap_lift(const struct cap_fs *fs, const char *name, unsigned percent, char *path, size_t path_size, char *text,
	size_t text_size);
/* Clear, move back (to the top group where the old one is gone), remove the group. The process may be dead. May be called twice. */
int cap_close(struct cap *c, struct err *e);
/* After a crash: unlimit and remove whatever is below <mount>/<base>, but for the groups that @keep (NULL: none) knows; processes go to the top
 * group. How many groups, or -errno. */
int cap_sweep(const struct cap_fs *fs, bool (*keep)(void *arg, const char *name), void *arg, struct err *e);

#endif
