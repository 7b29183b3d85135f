/* See boost.h. */
#include "policyd/act/boost.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "policyd/act/cap_name.h"

#define NICE_STEP                                                                                                      \
	1.25 /* a step of nice is so much of the CPU beside another task, sched(7) and the kernel's sched_prio_to_weight */

struct boost {
	struct policyd *p;
	struct cap cap;
};

static int moves_fs(const struct policyd *p, struct cap_fs *out, struct err *e)
{
	size_t n;

	if (cap_name_fs(p, out, e))
		return -e->code;
	n = strlen(out->base);
	snprintf(out->base + n, sizeof(out->base) - n, "-moves");
	return 0;
}

/* As much as tasks of its nice on every CPU would have; all moves together as much as one, for each ends the sooner the fewer there are. */
static int weigh(struct boost *b, unsigned steps, struct err *e)
{
	unsigned percent = (unsigned)(100.0 * (double)sysconf(_SC_NPROCESSORS_ONLN) * pow(NICE_STEP, steps));
	int r = cap_weigh(&b->cap, percent, e);

	return r ? r : cap_weigh_base(&b->cap.fs, percent, e);
}

static struct boost *own_group(struct policyd *p, const char *domain, pid_t pid, unsigned steps, struct err *e)
{
	struct boost *b = calloc(1, sizeof(*b));
	struct cap_fs fs;
	int r;

	if (!b) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	b->p = p;
	r = moves_fs(p, &fs, e);
	if (!r)
		r = cap_open(&b->cap, &fs, domain, pid, e);
	if (r) {
		free(b);
		return NULL;
	}
	if (!strcmp(b->cap.before, fs.mount)) /* beside the groups of guests already, where its nice counts */
		e->code = 0;
	else if (!weigh(b, steps, e))
		return b;
	boost_end(b);
	return NULL;
}

static void told(struct policyd *p, const char *why)
{
	if (!p->boost_told)
		plog(p, "migration.boost: moves get no more CPU than guests: %s", why);
	p->boost_told = true;
}

struct boost *boost_begin(struct policyd *p, const char *domain, pid_t pid)
{
	unsigned steps = p->conf->migration.boost;
	struct boost *b = NULL;
	struct err e = {0};
	char why[160];

	if (!steps)
		return NULL;
	if (setpriority(PRIO_PROCESS, (id_t)pid, getpriority(PRIO_PROCESS, 0) - (int)steps)) {
		snprintf(why, sizeof(why), "%s; policyd needs CAP_SYS_NICE for that", strerror(errno));
		told(p, why);
	}
	if (!p->cpu_groups_weight)
		return NULL;
	b = own_group(p, domain, pid, steps, &e);
	if (!b && e.code)
		told(p, e.msg);
	return b;
}

void boost_end(struct boost *b)
{
	struct err e;

	if (b && cap_close(&b->cap, &e) < 0)
		plog(b->p, "migration.boost: %s", e.msg);
	free(b);
}

void boost_leave(struct boost *b)
{
	free(b);
}

void boost_sweep(struct policyd *p)
{
	struct cap_fs fs;
	struct err e;

	if (!moves_fs(p, &fs, &e) && cap_sweep(&fs, NULL, NULL, &e) < 0)
		plog(p, "%s", e.msg);
}
