/* CPU caps and weights of domains: see cpu_group.h. */
#include "policyd/act/cpu_group.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/cap_name.h"
#include "resize/cap.h"

#define UNKNOWN 0xffffffffu

struct cpu_group {
	struct cap cap;
	bool open;
	unsigned quota, weight; /* percent, as the kernel has them; quota 0 = none; UNKNOWN */
	unsigned slow;          /* percent of one CPU that a move allows; 0 = no limit */
	unsigned failed_weight; /* could not be set; not tried again until another one is wanted */
};

bool cpu_group_possible(const struct policyd *p)
{
	struct cap_fs fs;
	struct err e;

	return cap_name_fs(p, &fs, &e) == 0;
}

/* ---- what is wanted ---- */

static unsigned importance_of(const struct dom *d)
{
	struct policy_effective pe;

	policyd_policy(d->p, &d->spec, &pe);
	return pe.importance;
}

/* While it is moved nobody is more important: its QEMU saves and loads the device state, in the same group as its vCPUs, and what it waits for a CPU
 * then is its blackout. */
static unsigned weight_of(const struct dom *d, unsigned importance)
{
	unsigned counts = d->state == DOM_TRANSITION && importance < 100 ? 100 : importance;
	double w = 100.0 * d->vcpus * exp2(((double)counts - 50) / 25);

	return w < 1 ? 1 : (unsigned)w;
}

static unsigned quota_of(const struct dom *d)
{
	unsigned own = d->launched.cpu_cap, slow = d->cpu_group ? d->cpu_group->slow : 0;

	return !own || (slow && slow < own) ? slow : own;
}

/* All of them together, beside what else runs on the host: no more than that many tasks can run at once, else few busy vCPUs would have the weight of all,
 * and the workers of a move, which run outside, too little to keep up with a guest. */
static int weigh_all(struct policyd *p, const struct cap_fs *fs, struct err *e)
{
	unsigned long long sum = 0, most = 100ULL * (unsigned long long)sysconf(_SC_NPROCESSORS_ONLN);
	const struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (d->cpu_group && d->cpu_group->open && d->cpu_group->weight != UNKNOWN)
			sum += d->cpu_group->weight;
	sum = sum < most ? sum : most;
	if (!sum || sum == p->cpu_groups_weight)
		return 0;
	p->cpu_groups_weight = sum;
	return cap_weigh_base(fs, sum > 1000000 ? 1000000 : (unsigned)sum, e);
}

/* ---- making it so ---- */

static int group_open(struct dom *d, struct err *e)
{
	struct cpu_group *g = d->cpu_group;
	struct cap_fs fs;
	int rc = d->launched.pid ? cap_name_fs(d->p, &fs, e) : err_set(e, ESRCH, "its QEMU has ended");

	if (!rc)
		rc = cap_open(&g->cap, &fs, d->spec.name, d->launched.pid, e);
	if (rc)
		return rc;
	g->open = true;
	g->quota = g->weight = UNKNOWN;
	return 0;
}

static void group_close(struct dom *d)
{
	struct cpu_group *g = d->cpu_group;
	struct cap_fs fs = g->cap.fs;
	struct err e;

	if (!g->open)
		return;
	if (cap_close(&g->cap, &e) < 0)
		plog(d->p, "%s: %s", d->spec.name, e.msg);
	g->open = false;
	d->p->cpu_groups_weight = 0;
	if (weigh_all(d->p, &fs, &e) < 0)
		plog(d->p, "%s", e.msg);
}

static int set_weight(struct dom *d, unsigned weight, struct err *e)
{
	struct cpu_group *g = d->cpu_group;
	int rc;

	if (g->weight == weight)
		return 0;
	rc = cap_weigh(&g->cap, weight, e);
	if (rc)
		return rc;
	g->weight = weight;
	return weigh_all(d->p, &g->cap.fs, e);
}

static int set_quota(struct cpu_group *g, unsigned quota, struct err *e)
{
	int rc;

	if (g->quota == quota)
		return 0;
	rc = quota ? cap_set(&g->cap, quota, e) : cap_clear(&g->cap, e);
	if (!rc)
		g->quota = quota;
	return rc;
}

int cpu_group_apply(struct dom *d, struct err *e)
{
	unsigned importance = importance_of(d), weight = weight_of(d, importance), quota = quota_of(d);
	bool wanted = quota || importance != 50;
	int rc = 0;

	if (!d->cpu_group && !wanted)
		return 0;
	if (!d->cpu_group)
		d->cpu_group = calloc(1, sizeof(*d->cpu_group));
	if (!d->cpu_group)
		return err_set(e, ENOMEM, "out of memory");
	if (!wanted) {
		group_close(d);
		return 0;
	}
	if (!d->cpu_group->open)
		rc = group_open(d, e);
	if (!rc)
		rc = set_weight(d, weight, e);
	if (!rc)
		rc = set_quota(d->cpu_group, quota, e);
	return rc;
}

int cpu_group_slow(struct dom *d, unsigned percent, struct err *e)
{
	unsigned before = d->cpu_group ? d->cpu_group->slow : 0;
	int rc;

	if (percent == before)
		return 0;
	if (!d->cpu_group)
		d->cpu_group = calloc(1, sizeof(*d->cpu_group));
	if (!d->cpu_group)
		return err_set(e, ENOMEM, "out of memory");
	d->cpu_group->slow = percent;
	rc = cpu_group_apply(d, e);
	if (rc && percent)
		d->cpu_group->slow = before;
	return rc;
}

void cpu_group_drop(struct dom *d)
{
	if (!d->cpu_group)
		return;
	if (!d->p->stopping)
		group_close(d);
	free(d->cpu_group);
	d->cpu_group = NULL;
}

/* ---- following ---- */

static void follow(struct dom *d)
{
	unsigned weight = weight_of(d, importance_of(d));
	struct err e;

	if (d->cpu_group && d->cpu_group->failed_weight == weight)
		return;
	if (cpu_group_apply(d, &e) == 0)
		return;
	plog(d->p, "%s: its importance does not count for the kernel: %s", d->spec.name, e.msg);
	if (d->cpu_group)
		d->cpu_group->failed_weight = weight;
}

void cpu_group_follow(struct policyd *p)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (d->launched.pid && !d->adopting)
			follow(d);
}

/* ---- after a crash ---- */

static bool is_ours(void *arg, const char *name)
{
	const struct dom *d = dom_find(arg, name);

	return d && d->cpu_group && d->cpu_group->open;
}

void cpu_group_sweep(struct policyd *p)
{
	struct cap_fs fs;
	struct err e;
	int n;

	if (cap_name_fs(p, &fs, &e) < 0)
		return; /* nothing can have been limited */
	n = cap_sweep(&fs, is_ours, p, &e);
	if (n < 0)
		plog(p, "%s", e.msg);
	else if (n > 0)
		plog(p, "%d CPU cap%s of an earlier policyd that nobody wants any more: lifted", n, n == 1 ? "" : "s");
}
