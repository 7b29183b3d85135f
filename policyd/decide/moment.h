/* Is this a quiet moment to begin a live move? By what its guest wrote a second, measured every few seconds while it waits. Pure; any thread.
 *
 * IDLE: it writes so little beside what the way carries (5 %) that no later moment could be worth more. LOW: it has been seen to write at least twice as
 * much as at its quietest, and now, twice in a row, it is in the lowest quarter of what was seen; a single low reading may lie between two bursts. A guest
 * that always writes alike has no quiet moment: who waits for it waits until the time is over. */
#ifndef POLICYD_DECIDE_MOMENT_H
#define POLICYD_DECIDE_MOMENT_H

#define MOMENT_IDLE_SHARE 0.05
#define MOMENT_KNOWN 6 /* readings before "low" means anything */

enum moment { MOMENT_WAIT, MOMENT_IDLE, MOMENT_LOW };

struct moment_seen { /* all 0: nothing yet. Bytes a second */
	double last, before, low, high;
	unsigned n;
};

void moment_add(struct moment_seen *s, double bps);
/* @way_bps: guest bytes a second that the way carries; 0 = not known. */
enum moment moment_now(const struct moment_seen *s, double way_bps);

#endif
