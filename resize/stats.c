/* Freshness and rates of guest statistics: see stats.h. Pure. */
#include "resize/stats.h"

#include <limits.h>
#include <string.h>

void stats_track_init(struct stats_track *t)
{
	memset(t, 0, sizeof(*t));
	t->swap_in_bps = -1;
	t->major_faults_ps = -1;
}

/* Growth a second of a counter since boot; -1 where the guest does not say, or it fell (the guest rebooted). */
static double rate(uint64_t before, uint64_t now, int64_t ms)
{
	if (before == UINT64_MAX || now == UINT64_MAX || now < before || ms <= 0)
		return -1;
	return (double)(now - before) * 1000 / (double)ms;
}

bool stats_track_add(struct stats_track *t, const struct guest_mem_stats *s, int64_t now_ms)
{
	if (t->seen && s->last_update_s == t->last.last_update_s)
		return false;
	if (t->seen) {
		int64_t ms = now_ms - t->changed_ms;

		/* The time of the very first reading is when it was read, not when it was made: no rate from it. */
		t->swap_in_bps = t->known ? rate(t->last.swap_in, s->swap_in, ms) : -1;
		t->major_faults_ps = t->known ? rate(t->last.major_faults, s->major_faults, ms) : -1;
		t->known = true;
		t->n_changes++;
	}
	t->seen = true;
	t->last = *s;
	t->changed_ms = now_ms;
	return true;
}

unsigned stats_track_age_ms(const struct stats_track *t, int64_t now_ms)
{
	if (!t->known || now_ms < t->changed_ms)
		return t->known ? 0 : UINT_MAX;
	return now_ms - t->changed_ms > UINT_MAX ? UINT_MAX : (unsigned)(now_ms - t->changed_ms);
}
