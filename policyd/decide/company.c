/* Rules of company, place and time: see company.h. */
#include "policyd/decide/company.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DAY_MIN 1440u
#define WEEK_MIN (7 * DAY_MIN)

/* ---- company and place ---- */

static bool speaks_of(const struct snap_rule *r, const char *domain)
{
	for (unsigned i = 0; i < r->n_members; i++)
		if (strcmp(r->members[i].domain, domain) == 0)
			return true;
	return false;
}

static bool lists(const struct snap_rule *r, const char *host)
{
	for (unsigned i = 0; i < r->n_hosts; i++)
		if (strcmp(r->hosts[i].name, host) == 0)
			return true;
	return false;
}

/* Another one that the rule speaks of, on @host (or, with @elsewhere, anywhere but there); first by name. NULL: none. */
static const struct snap_member *other(const struct snap_rule *r, const char *domain, const char *host, bool elsewhere)
{
	const struct snap_member *found = NULL;

	for (unsigned i = 0; i < r->n_members; i++) {
		const struct snap_member *m = &r->members[i];

		if (strcmp(m->domain, domain) == 0 || (strcmp(m->host, host) == 0) == elsewhere)
			continue;
		if (!found || strcmp(m->domain, found->domain) < 0 ||
			(strcmp(m->domain, found->domain) == 0 && strcmp(m->host, found->host) < 0))
			found = m;
	}
	return found;
}

/* Does @domain on @host break @r? */
static bool breaks(const struct snap_rule *r, const char *domain, const char *host, char why[CALM_WHY])
{
	const struct snap_member *m = NULL;
	bool on = lists(r, host);

	switch (r->keep) {
	case KEEP_APART:
		m = other(r, domain, host, false);
		if (m)
			snprintf(why, CALM_WHY, "rule %.40s keeps it apart from %.40s, which is on %.40s", r->name,
				m->domain, host);
		return m;
	case KEEP_TOGETHER:
		m = other(r, domain, host, true);
		if (m)
			snprintf(why, CALM_WHY, "rule %.40s keeps it together with %.40s, which is on %.40s", r->name,
				m->domain, m->host);
		return m;
	case KEEP_ON:
		snprintf(why, CALM_WHY, "rule %.40s keeps it on other hosts than %.40s", r->name, host);
		return !on;
	case KEEP_OFF:
		snprintf(why, CALM_WHY, "rule %.40s keeps it off %.40s", r->name, host);
		return on;
	}
	return false;
}

bool company_speaks_of(const struct snapshot *s, const char *domain)
{
	for (unsigned i = 0; i < s->n_rules; i++)
		if (speaks_of(&s->rules[i], domain))
			return true;
	return false;
}

/* The first hard rule by name; the order of the snapshot plays no part. One that is broken here as well does not keep it here: a move that
 * breaks it no further may mend another. Apart is never broken anew. */
bool company_forbids(const struct snapshot *s, const struct snap_domain *d, const char *host, char why[CALM_WHY])
{
	const struct snap_rule *first = NULL;
	char text[CALM_WHY];

	for (unsigned i = 0; i < s->n_rules; i++) {
		const struct snap_rule *r = &s->rules[i];

		if (!r->hard || !speaks_of(r, d->spec.name) || !breaks(r, d->spec.name, host, text))
			continue;
		if (r->keep == KEEP_TOGETHER && breaks(r, d->spec.name, s->host, text))
			continue;
		if (!first || strcmp(r->name, first->name) < 0)
			first = r;
	}
	return first && breaks(first, d->spec.name, host, why);
}

int company_broken(const struct snapshot *s, const struct snap_domain *d, const char *host)
{
	char text[CALM_WHY];
	int n = 0;

	for (unsigned i = 0; i < s->n_rules; i++) {
		const struct snap_rule *r = &s->rules[i];

		if ((r->hard && r->keep != KEEP_TOGETHER) || !speaks_of(r, d->spec.name))
			continue;
		n += breaks(r, d->spec.name, host, text);
		n -= breaks(r, d->spec.name, s->host, text);
	}
	return n;
}

/* ---- time ---- */

/* Is this minute of the week (0 = Monday 00:00) in the window? One over midnight belongs to the day on which it begins. */
static bool in_window(const struct move_window *w, unsigned week_min)
{
	unsigned day = week_min / DAY_MIN % 7, minute = week_min % DAY_MIN;
	bool today = w->days >> day & 1, yesterday = w->days >> ((day + 6) % 7) & 1;

	if (w->begin_min == w->end_min)
		return today;
	if (w->begin_min < w->end_min)
		return today && minute >= w->begin_min && minute < w->end_min;
	return (today && minute >= w->begin_min) || (yesterday && minute < w->end_min);
}

/* May moves run in this minute? @only_finish: windows that look at the end of a move, too. */
static bool minute_allowed(const struct policy_effective *p, unsigned week_min, bool only_finish)
{
	bool any = false, in = false;

	for (unsigned i = 0; i < p->n_windows; i++) {
		const struct move_window *w = &p->windows[i];

		if (only_finish && !w->finish)
			continue;
		if (w->kind == WINDOW_DENY && in_window(w, week_min))
			return false;
		any |= w->kind == WINDOW_ALLOW;
		in |= w->kind == WINDOW_ALLOW && in_window(w, week_min);
	}
	return !any || in;
}

bool calendar_forbids(const struct snapshot *s, const struct snap_domain *d, double seconds, char why[CALM_WHY])
{
	const struct policy_effective *p = &d->policy;
	int here = (int)(s->weekday % 7 * DAY_MIN + s->minute_of_day % DAY_MIN) + p->windows_shift_min % (int)WEEK_MIN;
	unsigned now = (unsigned)(here + (int)WEEK_MIN) % WEEK_MIN;
	double minutes = ceil((seconds + (double)(s->now_ms % 60000) / 1000) / 60);
	unsigned last = minutes < WEEK_MIN ? (unsigned)minutes : WEEK_MIN;

	if (!p->n_windows)
		return false;
	if (!minute_allowed(p, now, false)) {
		snprintf(why, CALM_WHY, "the calendar of policy \"%s\" has no moves at this time", p->windows_from);
		return true;
	}
	for (unsigned i = 1; i < last; i++) {
		if (minute_allowed(p, (now + i) % WEEK_MIN, true))
			continue;
		snprintf(why, CALM_WHY,
			"it would take up to %.0f s, and the calendar of policy \"%s\" ends moves in %u min: not begun",
			seconds, p->windows_from, i);
		return true;
	}
	return false;
}
