/* Which policies hold for a domain now, and what they say together: policy_for of conf.h. Pure. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

#define DAY_MIN 1440
#define WEEK_MIN (7 * DAY_MIN)

static bool tagged(const char tags[][NAME_MAX_LEN], unsigned n, const struct domain_spec *spec)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < spec->n_tags; j++)
			if (strcmp(tags[i], spec->tags[j]) == 0)
				return true;
	return n == 0;
}

static bool named(const char *glob, const char *cluster, const struct domain_spec *spec)
{
	return (!*glob || fnmatch(glob, spec->name, 0) == 0) && (!*cluster || strcmp(cluster, spec->cluster) == 0);
}

static bool placed(const struct policy *p, const char *host)
{
	for (unsigned i = 0; host && i < p->n_hosts; i++)
		if (strcmp(p->hosts[i], host) == 0)
			return true;
	return p->n_hosts == 0;
}

bool policy_matches(const struct policy *p, const struct domain_spec *spec, const char *host)
{
	return tagged(p->tags, p->n_tags, spec) && named(p->domain_glob, p->cluster, spec) && placed(p, host);
}

bool rule_matches(const struct conf_rule *r, const struct domain_spec *spec)
{
	return tagged(r->tags, r->n_tags, spec) && named(r->domain_glob, r->cluster, spec);
}

/* Minutes by which the policy's local time is ahead of the host's. */
static int shift_min(const struct policy *p, const struct policy_when *w)
{
	int64_t local_min = w->now_s / 60 + zone_offset_s(&p->zone, w->now_s) / 60;
	int ahead;

	if (!*p->zone.name)
		return 0;
	/* 1970-01-01 was a Thursday; whole weeks fall out */
	ahead = (int)((local_min + 3 * DAY_MIN) % WEEK_MIN) -
		(int)(w->weekday % 7 * DAY_MIN + w->minute_of_day % DAY_MIN);
	return ahead > WEEK_MIN / 2 ? ahead - WEEK_MIN : ahead < -WEEK_MIN / 2 ? ahead + WEEK_MIN : ahead;
}

/* A window that goes over midnight belongs to the day on which it begins. */
bool policy_open(const struct policy *p, const struct policy_when *w)
{
	int at = (int)(w->weekday % 7 * DAY_MIN + w->minute_of_day % DAY_MIN) + shift_min(p, w) + WEEK_MIN;
	unsigned minute = (unsigned)at % DAY_MIN, weekday = (unsigned)at / DAY_MIN % 7;
	unsigned today = 1u << weekday, yesterday = 1u << ((weekday + 6) % 7);

	if (p->tod_begin_min == p->tod_end_min)
		return p->days & today;
	if (p->tod_begin_min < p->tod_end_min)
		return (p->days & today) && minute >= p->tod_begin_min && minute < p->tod_end_min;
	return ((p->days & today) && minute >= p->tod_begin_min) || ((p->days & yesterday) && minute < p->tod_end_min);
}

bool policy_before(const struct policy *a, const struct policy *b)
{
	return a->priority != b->priority ? a->priority < b->priority : strcmp(a->name, b->name) < 0;
}

/* The next one that holds after @last in that order; NULL = no more. */
static const struct policy *next(const struct policy *policies, unsigned n, const struct policy *last,
	const struct domain_spec *spec, const struct policy_when *when)
{
	const struct policy *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct policy *p = &policies[i];

		if (!p->enable || !policy_matches(p, spec, when->host) || !policy_open(p, when))
			continue;
		if ((!last || policy_before(last, p)) && (!best || policy_before(p, best)))
			best = p;
	}
	return best;
}

void policy_for(const struct policy *policies, unsigned n, const struct domain_spec *spec,
	const struct policy_when *when, struct policy_effective *out)
{
	struct policy_effective e = {.importance = spec->importance, .automation = AUTO_UNSET, .quiet_ms = CONF_UNSET};
	const struct policy *p = NULL;

	while ((p = next(policies, n, p, spec, when))) {
		if (p->cpu.set && !e.cpu.set) {
			e.cpu = p->cpu;
			e.cpu_dry = p->dry_run;
			memcpy(e.cpu_from, p->name, sizeof(e.cpu_from));
		}
		if (p->memory.set && !e.memory.set) {
			e.memory = p->memory;
			e.memory_dry = p->dry_run;
			memcpy(e.memory_from, p->name, sizeof(e.memory_from));
		}
		if (p->relocate != RELOCATE_UNSET && e.relocate == RELOCATE_UNSET) {
			e.relocate = p->relocate;
			memcpy(e.relocate_from, p->name, sizeof(e.relocate_from));
		}
		if (e.quiet_ms == CONF_UNSET)
			e.quiet_ms = p->quiet_ms;
		if (e.postcopy == POSTCOPY_UNSET)
			e.postcopy = p->postcopy;
		if (p->automation != AUTO_UNSET && e.automation == AUTO_UNSET) {
			e.automation = p->automation;
			memcpy(e.automation_from, p->name, sizeof(e.automation_from));
		}
		if (p->n_windows && !e.n_windows) {
			memcpy(e.windows, p->windows, sizeof(e.windows));
			e.n_windows = p->n_windows;
			e.windows_shift_min = shift_min(p, when);
			memcpy(e.windows_from, p->name, sizeof(e.windows_from));
		}
		if (e.importance == CONF_UNSET)
			e.importance = p->importance;
	}
	if (e.relocate == RELOCATE_UNSET)
		e.relocate = RELOCATE_LIVE;
	if (e.quiet_ms == CONF_UNSET)
		e.quiet_ms = 0;
	if (e.postcopy == POSTCOPY_UNSET)
		e.postcopy = POSTCOPY_NEVER;
	if (e.importance == CONF_UNSET)
		e.importance = 50;
	*out = e;
}
