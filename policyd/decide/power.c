/* What is recommended about switching hosts off and on: see power.h. */
#include "policyd/decide/power.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/leave.h"

#define REST_MS 3600000

static bool takes(const struct snap_peer *p)
{
	return p->up && p->accepts && !p->excluded;
}

/* ---- on ---- */

static bool served(const struct plan *p, const char *need)
{
	for (unsigned i = 0; i < p->n_actions; i++)
		if (!strcmp(p->actions[i].for_domain, need))
			return true;
	return false;
}

/* A domain for whose need no host has room, and for which nothing else is done; NULL = none. */
static const char *without_room(const struct plan *p)
{
	const char *found = NULL;

	for (unsigned i = 0; i < p->n_candidates; i++) {
		const struct candidate *c = &p->candidates[i];

		if (c->verdict == CAND_NO_ROOM && !served(p, c->need) && (!found || strcmp(c->need, found) < 0))
			found = c->need;
	}
	return found;
}

/* One that could help if it were on: in maintenance before down, then by name. */
static const struct snap_peer *sleeper(const struct snapshot *s)
{
	const struct snap_peer *best = NULL;

	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct snap_peer *p = &s->peers[i];

		if (p->excluded || (p->up && p->accepts))
			continue;
		if (!best || (p->up && !best->up) || (p->up == best->up && strcmp(p->name, best->name) < 0))
			best = p;
	}
	return best;
}

static bool wanted_on(const struct snapshot *s, const struct plan *p, char out[POWER_TEXT])
{
	const struct snap_peer *off = sleeper(s);
	const char *domain = without_room(p);

	if (!off || !domain)
		return false;
	if (off->up)
		snprintf(out, POWER_TEXT,
			"no host has room for what %s needs, and %s is in maintenance: policyctl maintenance off %s",
			domain, off->name, off->name);
	else
		snprintf(out, POWER_TEXT, "no host has room for what %s needs, and %s is not up: switch it on", domain,
			off->name);
	return true;
}

/* ---- off ---- */

struct rest { /* those that would be left */
	double cpu_used, cpu_total;
	double mem_used, mem_total;
	unsigned n;
};

/* What is there without this host, with what it has now. */
static void rest_of(const struct snapshot *s, struct rest *r)
{
	*r = (struct rest){.cpu_used = s->host_cpu_util * s->vcpus_total / 100, .mem_used = (double)s->mem_given};
	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct snap_peer *p = &s->peers[i];

		if (!takes(p))
			continue;
		r->cpu_used += p->cpu_util * p->vcpus_total / 100;
		r->cpu_total += p->vcpus_total;
		r->mem_used += (double)p->mem_given;
		r->mem_total += (double)p->mem_total;
		r->n++;
	}
}

static const char *smaller(const struct snapshot *s)
{
	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct snap_peer *p = &s->peers[i];

		if (takes(p) &&
			(p->mem_given < s->mem_given || (p->mem_given == s->mem_given && strcmp(p->name, s->host) < 0)))
			return p->name;
	}
	return NULL;
}

static bool lately(const struct snapshot *s, int64_t t_ms)
{
	return t_ms && s->now_ms - t_ms < REST_MS;
}

/* Something here is not at rest; NULL = all is. */
static const char *restless(const struct snapshot *s)
{
	for (unsigned i = 0; i < s->n_domains; i++) {
		const struct snap_domain *d = &s->domains[i];

		if (d->need_since_ms || d->busy || d->moves_last_hour || lately(s, d->arrived_ms) ||
			lately(s, d->started_ms))
			return d->spec.name;
	}
	return NULL;
}

/* Why it stays on, of what can be said without looking at each domain's way out; false: nothing speaks against it. */
static bool stays_on(const struct snapshot *s, const struct rest *r, double cpu, double mem, char out[POWER_TEXT])
{
	unsigned below = s->decide.power_off_below;
	const char *name;

	if (!r->n)
		snprintf(out, POWER_TEXT, "%s stays on: no other host is up that takes domains", s->host);
	else if ((name = smaller(s)) != NULL)
		snprintf(out, POWER_TEXT, "%s stays on: %s has less to move away", s->host, name);
	else if (s->moves_now || s->moves_last_hour || (name = restless(s)) != NULL)
		snprintf(out, POWER_TEXT, "%s stays on: %s has not been at rest for an hour", s->host,
			name ? name : "it");
	else if (s->host_cpu_util < 0)
		snprintf(out, POWER_TEXT, "%s stays on: its load is not measured yet", s->host);
	else if (cpu > below || mem > below)
		snprintf(out, POWER_TEXT,
			"%s stays on: without it the others would use %.0f %% of their CPU and %.0f %% of their memory; "
			"decide.power-off-below is %u",
			s->host, cpu, mem, below);
	else
		return false;
	return true;
}

/* The way out of each of the @n_out that run here; false: one has none, and @out says which. */
static int all_leave(const struct snapshot *s, bool *all, unsigned *n_out, double *outage_s, char out[POWER_TEXT])
{
	struct leaving *l;
	unsigned n;
	int r = leave_list(s, &l, &n);

	if (r)
		return r;
	*all = true;
	*n_out = n;
	*outage_s = 0;
	for (unsigned i = 0; i < n && *all; i++) {
		*outage_s += l[i].outage_s;
		*all = l[i].what == LEAVE_NOW || l[i].what == LEAVE_LATER;
		if (!*all)
			snprintf(out, POWER_TEXT, "%s stays on: %s does not leave: %s", s->host, l[i].domain,
				*l[i].why ? l[i].why : "it is on its way");
	}
	free(l);
	return 0;
}

static int may_be_off(const struct snapshot *s, bool *may, char out[POWER_TEXT])
{
	struct rest r;
	double cpu, mem, outage_s;
	unsigned n;
	bool all;

	*may = false;
	rest_of(s, &r);
	cpu = r.cpu_total > 0 ? 100 * r.cpu_used / r.cpu_total : 100;
	mem = r.mem_total > 0 ? 100 * r.mem_used / r.mem_total : 100;
	if (stays_on(s, &r, cpu, mem, out))
		return 0;
	if (all_leave(s, &all, &n, &outage_s, out))
		return -ENOMEM;
	if (!all)
		return 0;
	*may = true;
	if (n)
		snprintf(out, POWER_TEXT,
			"%s could be emptied and switched off: %u domain%s leave%s with %.2g s of outage in all, the others would "
			"use %.0f %% of their CPU and %.0f %% of their memory: policyctl evacuate %s",
			s->host, n, n == 1 ? "" : "s", n == 1 ? "s" : "", outage_s, cpu, mem, s->host);
	else
		snprintf(out, POWER_TEXT,
			"%s runs nothing and could be switched off: the others use %.0f %% of their CPU and %.0f %% of their "
			"memory: policyctl maintenance on %s",
			s->host, cpu, mem, s->host);
	return 0;
}

int power_advice(const struct snapshot *s, const struct plan *p, enum power *what, char out[POWER_TEXT])
{
	bool may;
	int r;

	*what = POWER_KEEP;
	out[0] = 0;
	if (!s->decide.power_off_below)
		return 0;
	if (wanted_on(s, p, out)) {
		*what = POWER_ON;
		return 0;
	}
	r = may_be_off(s, &may, out);
	if (!r && may)
		*what = POWER_OFF;
	return r;
}
