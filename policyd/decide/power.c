/* What is recommended about switching hosts off and on: see power.h. */
#include "policyd/decide/power.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/leave.h"

#define HOUR_MS 3600000

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

/* Where @off is what a need would go to, if it were there, and no other host is. */
static bool for_want_of(const struct snapshot *s, const struct candidate *c, const struct snap_peer *off)
{
	char reason[NAME_MAX_LEN + 32]; /* as moves.c has it */

	for (unsigned i = 0; i < s->n_peers; i++)
		if (takes(&s->peers[i]))
			return false;
	snprintf(reason, sizeof(reason), "%s %s", off->name, off->up ? "accepts nothing" : "does not answer");
	return c->verdict == CAND_NOT_ALLOWED && strstr(c->why, reason);
}

/* A domain for whose need no host has room, or none but @off is there at all, and for which nothing else is done; NULL = none. */
static const char *without_room(const struct snapshot *s, const struct plan *p, const struct snap_peer *off)
{
	const char *found = NULL;

	for (unsigned i = 0; i < p->n_candidates; i++) {
		const struct candidate *c = &p->candidates[i];

		if ((c->verdict == CAND_NO_ROOM || for_want_of(s, c, off)) && !served(p, c->need) &&
			(!found || strcmp(c->need, found) < 0))
			found = c->need;
	}
	return found;
}

/* In the order in which they are woken: those that policy put to sleep, then those in maintenance, before those that are down. */
static unsigned order(const struct snap_peer *p)
{
	return (p->asleep ? 0 : 2) + (p->up ? 0 : 1);
}

/* One that could help if it were on; by name where two could as well. */
static const struct snap_peer *sleeper(const struct snapshot *s)
{
	const struct snap_peer *best = NULL;

	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct snap_peer *p = &s->peers[i];

		if (p->excluded || (p->up && p->accepts))
			continue;
		if (!best || order(p) < order(best) || (order(p) == order(best) && strcmp(p->name, best->name) < 0))
			best = p;
	}
	return best;
}

static bool wanted_on(const struct snapshot *s, const struct plan *p, struct power_advice *out)
{
	const struct snap_peer *off = sleeper(s);
	const char *domain = off ? without_room(s, p, off) : NULL;

	if (!domain)
		return false;
	out->what = POWER_ON;
	out->asleep = off->asleep;
	out->up = off->up;
	snprintf(out->host, sizeof(out->host), "%s", off->name);
	if (off->up)
		snprintf(out->text, POWER_TEXT,
			"no host has room for what %s needs, and %s is %s: policyctl maintenance off %s", domain,
			off->name, off->asleep ? "being emptied to be switched off" : "in maintenance", off->name);
	else
		snprintf(out->text, POWER_TEXT, "no host has room for what %s needs, and %s is %s: switch it on",
			domain, off->name, off->asleep ? "switched off" : "not up");
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

static const char *going_off(const struct snapshot *s)
{
	for (unsigned i = 0; i < s->n_peers; i++)
		if (s->peers[i].asleep && s->peers[i].up)
			return s->peers[i].name;
	return NULL;
}

static bool lately(const struct snapshot *s, int64_t t_ms)
{
	return t_ms && s->now_ms - t_ms < s->decide.power_rest_ms;
}

/* Moves are counted by the hour: where a shorter rest is enough, their times tell. */
static bool moved_lately(const struct snapshot *s, unsigned last_hour)
{
	return last_hour && s->decide.power_rest_ms >= HOUR_MS;
}

/* Something here is not at rest; NULL = all is. */
static const char *restless(const struct snapshot *s)
{
	for (unsigned i = 0; i < s->n_domains; i++) {
		const struct snap_domain *d = &s->domains[i];

		if (d->need_since_ms || d->busy || moved_lately(s, d->moves_last_hour) || lately(s, d->last_move_ms) ||
			lately(s, d->arrived_ms) || lately(s, d->started_ms))
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
	else if ((name = going_off(s)) != NULL)
		snprintf(out, POWER_TEXT, "%s stays on: %s is being emptied to be switched off", s->host, name);
	else if ((name = smaller(s)) != NULL)
		snprintf(out, POWER_TEXT, "%s stays on: %s has less to move away", s->host, name);
	else if (s->moves_now || moved_lately(s, s->moves_last_hour) || lately(s, s->awake_since_ms) ||
		(name = restless(s)) != NULL)
		snprintf(out, POWER_TEXT, "%s stays on: %s has not been at rest for %.3g min (decide.power-rest)",
			s->host, name ? name : "it", s->decide.power_rest_ms / 60000.0);
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

/* One that does not run; NULL = none. */
static const char *defined_only(const struct snapshot *s)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (!domain_state_runs(s->domains[i].state))
			return s->domains[i].spec.name;
	return NULL;
}

static void advise_off(
	const struct snapshot *s, unsigned n, double outage_s, double cpu, double mem, struct power_advice *out)
{
	const char *stays = defined_only(s);
	size_t at;

	out->what = POWER_OFF;
	if (n)
		snprintf(out->text, POWER_TEXT,
			"%s could be emptied and switched off: %u domain%s leave%s with %.2g s of outage in all, the others would "
			"use %.0f %% of their CPU and %.0f %% of their memory: policyctl evacuate %s",
			s->host, n, n == 1 ? "" : "s", n == 1 ? "s" : "", outage_s, cpu, mem, s->host);
	else
		snprintf(out->text, POWER_TEXT,
			"%s runs nothing and could be switched off: the others use %.0f %% of their CPU and %.0f %% of their "
			"memory: policyctl maintenance on %s",
			s->host, cpu, mem, s->host);
	if (!stays)
		return;
	snprintf(out->stays, sizeof(out->stays), "%s", stays);
	at = strlen(out->text);
	snprintf(out->text + at, POWER_TEXT - at, " (%s, which does not run, would be out of reach)", stays);
}

static int look_off(const struct snapshot *s, struct power_advice *out)
{
	struct rest r;
	double cpu, mem, outage_s;
	unsigned n;
	bool all;

	rest_of(s, &r);
	cpu = r.cpu_total > 0 ? 100 * r.cpu_used / r.cpu_total : 100;
	mem = r.mem_total > 0 ? 100 * r.mem_used / r.mem_total : 100;
	if (stays_on(s, &r, cpu, mem, out->text))
		return 0;
	if (all_leave(s, &all, &n, &outage_s, out->text))
		return -ENOMEM;
	if (all)
		advise_off(s, n, outage_s, cpu, mem, out);
	return 0;
}

int power_advise(const struct snapshot *s, const struct plan *p, struct power_advice *out)
{
	*out = (struct power_advice){.what = POWER_KEEP};
	if (!s->decide.power_off_below || wanted_on(s, p, out))
		return 0;
	return look_off(s, out);
}
