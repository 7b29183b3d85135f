/* What a decision waits for: see calm.h. */
#include "policyd/decide/calm.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000LL

static bool because(char why[CALM_WHY], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool because(char why[CALM_WHY], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, CALM_WHY, fmt, ap);
	va_end(ap);
	return true;
}

/* "40 s", "12 min", "5.5 h" */
static const char *span(int64_t ms, char out[24])
{
	if (ms < 120000)
		snprintf(out, 24, "%.0f s", (double)ms / 1000);
	else if (ms < 2 * HOUR_MS)
		snprintf(out, 24, "%.0f min", (double)ms / 60000);
	else
		snprintf(out, 24, "%.1f h", (double)ms / HOUR_MS);
	return out;
}

/* ---- rest ---- */

bool calm_rests(const struct snapshot *s, const struct snap_domain *d, char why[CALM_WHY])
{
	int64_t last = d->last_resize_ms > d->last_move_ms ? d->last_resize_ms : d->last_move_ms;
	int64_t dwell = last + (int64_t)s->decide.dwell_s * 1000 - s->now_ms;
	int64_t grace = d->started_ms + (int64_t)s->decide.boot_grace_s * 1000 - s->now_ms;
	char a[24], b[24];

	if (last && dwell > 0)
		return because(why, "was changed %s ago and is left alone for %s more", span(s->now_ms - last, a),
			span(dwell, b));
	if (d->started_ms && grace > 0)
		return because(why, "booted %s ago, and a booting guest looks busy: it is left alone for %s more",
			span(s->now_ms - d->started_ms, a), span(grace, b));
	return false;
}

/* ---- any move ---- */

bool calm_no_move(const struct snapshot *s, const struct snap_domain *need, char why[CALM_WHY])
{
	const struct conf_decide *c = &s->decide;
	int64_t young = need->need_since_ms + (int64_t)c->move_after_s * 1000 - s->now_ms;
	char a[24], b[24];

	if (s->moves_now >= c->max_moves)
		return because(why, "%u move%s under way, at most %u at a time (decide.max-moves)", s->moves_now,
			s->moves_now == 1 ? " is" : "s are", c->max_moves);
	if (s->moves_last_hour >= c->moves_per_hour)
		return because(why, "%u moves in the last hour, at most %u (decide.moves-per-hour)", s->moves_last_hour,
			c->moves_per_hour);
	if (need->need_since_ms && young > 0)
		return because(why,
			"the need has lasted %s; something is moved for one that lasts %s (decide.move-after)",
			span(s->now_ms - need->need_since_ms, a), span((int64_t)c->move_after_s * 1000, b));
	return false;
}

/* ---- a domain ---- */

/* What is waited for, and whether it lies with the way to that one host: then others may still be tried. It doubles with each failure in a
 * row (from none: to a minute). A refusal can be over soon; a restart is over; a guest that writes too fast does so for a while; an operator's no is a no. */
static const struct {
	unsigned first_min, most_min;
	bool peer;
	const char *text;
} backoffs[FAIL_KIND_COUNT] = {
	[FAIL_NONE] = {0, 0, false, ""},
	[FAIL_REFUSED] = {5, 60, true, "was refused there"},
	[FAIL_CANCELLED] = {360, 1440, false, "was cancelled"},
	[FAIL_CONVERGE] = {60, 480, false, "would not converge"},
	[FAIL_LINK] = {10, 120, true, "lost its connection"},
	[FAIL_FAULT] = {60, 480, false, "failed"},
	[FAIL_INTERRUPTED] = {0, 60, false, "was interrupted by a restart of policyd"},
};

int64_t calm_backoff_ms(enum fail_kind kind, unsigned fails, bool *peer_out)
{
	int64_t min = backoffs[kind].first_min;

	*peer_out = backoffs[kind].peer;
	for (unsigned i = 1; i < fails && min < backoffs[kind].most_min; i++)
		min = min ? 2 * min : 1;
	return (min < backoffs[kind].most_min ? min : backoffs[kind].most_min) * 60000;
}

static bool backs_off(const struct snapshot *s, const struct snap_domain *d, const char *peer, char why[CALM_WHY])
{
	char a[24], b[24];
	bool only_peer;
	int64_t left = d->fails ? d->last_fail_ms + calm_backoff_ms(d->last_fail, d->fails, &only_peer) - s->now_ms : 0;

	if (left <= 0 || only_peer != (peer != NULL) || (peer && strcmp(peer, d->last_fail_peer) != 0))
		return false;
	return because(why, "its last move%s%s %s %s ago (%u in a row); not again for %s", peer ? " to " : "",
		peer ? peer : "", backoffs[d->last_fail].text, span(s->now_ms - d->last_fail_ms, a), d->fails,
		span(left, b));
}

bool calm_failed(
	const struct snapshot *s, const struct snap_domain *d, const char *peer, int64_t since_ms, char why[CALM_WHY])
{
	return d->last_fail_ms >= since_ms && backs_off(s, d, peer, why);
}

bool calm_no_move_of(const struct snapshot *s, const struct snap_domain *d, char why[CALM_WHY])
{
	const struct conf_decide *c = &s->decide;
	int64_t left = d->last_move_ms + (int64_t)c->cooldown_s * 1000 - s->now_ms;
	char a[24], b[24];

	if (d->last_move_ms && left > 0)
		return because(why, "its last move was %s ago; not again for %s (decide.cooldown)",
			span(s->now_ms - d->last_move_ms, a), span(left, b));
	if (d->moves_last_hour >= c->domain_moves_per_hour)
		return because(why, "it was moved %u times in the last hour, at most %u (decide.domain-moves-per-hour)",
			d->moves_last_hour, c->domain_moves_per_hour);
	return backs_off(s, d, NULL, why);
}

/* ---- a way ---- */

bool calm_no_move_to(const struct snapshot *s, const struct snap_domain *d, const struct snap_peer *p,
	const struct snap_domain *need, char why[CALM_WHY])
{
	const struct conf_decide *c = &s->decide;
	int64_t left = d->arrived_ms + (int64_t)c->return_after_s * 1000 - s->now_ms;
	bool new_need = need->need_since_ms > d->arrived_ms + (int64_t)c->cooldown_s * 1000;
	char a[24], b[24];

	if (*d->came_from && strcmp(d->came_from, p->name) == 0 && left > 0 && !new_need)
		return because(why,
			"it came from %s %s ago and does not go back for %s, but for a new need (decide.return-after)",
			p->name, span(s->now_ms - d->arrived_ms, a), span(left, b));
	return backs_off(s, d, p->name, why);
}

/* ---- budgets ---- */

static bool over_bytes(double used, double more, uint64_t most, const char *whose, const char *key, char why[CALM_WHY])
{
	char a[16], b[16], c[16];

	if (!most || used + more <= (double)most)
		return false;
	size_format((uint64_t)(more < 0x1p62 ? more : 0x1p62), a);
	size_format((uint64_t)(used < 0x1p62 ? used : 0x1p62), b);
	size_format(most, c);
	return because(
		why, "it would send %s; %s sent %s in the last hour, at most %s (decide.%s)", a, whose, b, c, key);
}

static bool over_blackout(
	double used_ms, double more_ms, double most_ms, const char *whose, const char *key, char why[CALM_WHY])
{
	if (most_ms <= 0 || used_ms + more_ms <= most_ms)
		return false;
	return because(why,
		"it would stand still for %.3g s; %s stood still for %.3g s in the last hour, at most %.3g s (decide.%s)",
		more_ms / 1000, whose, used_ms / 1000, most_ms / 1000, key);
}

bool calm_over_budget(
	const struct snapshot *s, const struct snap_domain *d, double bytes, double outage_ms, char why[CALM_WHY])
{
	const struct conf_decide *c = &s->decide;

	return over_bytes((double)s->bytes_last_hour, bytes, c->bytes_per_hour, "moves of this host", "bytes-per-hour",
		       why) ||
		over_bytes((double)d->bytes_last_hour, bytes, c->domain_bytes_per_hour, "its moves",
			"domain-bytes-per-hour", why) ||
		over_blackout(s->blackout_last_hour_ms, outage_ms, c->blackout_per_hour_ms, "domains of this host",
			"blackout-per-hour", why) ||
		over_blackout(d->blackout_last_hour_ms, outage_ms, c->domain_blackout_per_hour_ms, "it",
			"domain-blackout-per-hour", why);
}
