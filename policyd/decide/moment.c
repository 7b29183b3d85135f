/* Quiet moments: see moment.h. */
#include "policyd/decide/moment.h"

#include <stdbool.h>

#define LOW_PART 0.25
#define VARIES 2.0

void moment_add(struct moment_seen *s, double bps)
{
	s->before = s->n ? s->last : bps;
	s->last = bps;
	s->low = s->n && s->low < bps ? s->low : bps;
	s->high = s->n && s->high > bps ? s->high : bps;
	s->n++;
}

enum moment moment_now(const struct moment_seen *s, double way_bps)
{
	double bound = s->low + LOW_PART * (s->high - s->low);
	bool varies = s->high >= VARIES * s->low;

	if (s->n && s->last <= MOMENT_IDLE_SHARE * way_bps)
		return MOMENT_IDLE;
	if (s->n >= MOMENT_KNOWN && varies && s->last <= bound && s->before <= bound)
		return MOMENT_LOW;
	return MOMENT_WAIT;
}
