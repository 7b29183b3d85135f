/* The pre-copy rule: after each round, go on copying, stop the guest, or say that it will not converge. Pure: all it knows is in struct precopy_view.
 *
 * Blackout = fixed part + dirty bytes / rate. How much will be dirty after a round of so many seconds is read off what was measured: after t seconds
 * d pages had been written at least once. Such a curve only flattens (a page counts once), so between 0 and a measured point it lies above the
 * straight line, and beyond a point not below it: an estimate that flatters the guest. Where even that never fits, no round will. */
#ifndef MIGRATE_PRECOPY_H
#define MIGRATE_PRECOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRECOPY_SAMPLES 4 /* of the last rounds: what the guest did before that says little */

struct precopy_sample { /* @pages were written at least once in the @us since all were clean; time as the guest had it: less where it was slowed */
	uint64_t us, pages;
};

struct precopy_view {
	unsigned round; /* of the one just finished, 0 = the full pass */
	unsigned max_rounds;
	unsigned max_blackout_ms;   /* what policy allows */
	unsigned fixed_blackout_ms; /* device state, digest, commit: measured or default */
	uint64_t dirty_pages;       /* pages dirty now (peek) */
	uint64_t dirty_prev;        /* the same after the round before; UINT64_MAX = none */
	uint64_t page_bytes;
	uint64_t rate_bps; /* guest bytes a second that the last round moved */
	uint64_t dirty_rate_bps;
	/* What is known from before; all zero = nothing. */
	unsigned n_fit;   /* rounds before this one after which it could have stopped, too */
	unsigned n_stuck; /* rounds in a row before this one that were stuck (precopy_stuck) */
	struct precopy_sample samples[PRECOPY_SAMPLES]; /* newest first */
	unsigned n_samples;
	/* Percent that the guest's CPU time is cut by now, and may be cut by at most (0 = never) */
	unsigned slow_percent, slow_max;
	bool faster_next; /* the next round sends only what differs: this one's rate says nothing of it */
	bool patient;     /* never gives up: something else ends the move (its deadline) */
};

enum precopy_verdict { PRECOPY_AGAIN, PRECOPY_STOP, PRECOPY_WILL_NOT_CONVERGE, PRECOPY_SLOW };

/* What to do after a round, and the blackout if it stopped now.
 *
 * STOP when the blackout fits what is allowed and either little of it is memory or another round would not take a quarter off that: a local minimum. AGAIN while
 * a later round can be expected to fit. When two rounds in a row are stuck: SLOW (the guest, by precopy_slow percent, then again) where that is allowed and
 * helps, else WILL_NOT_CONVERGE (one round later where that is known to be faster); that too when max_rounds is reached. A patient one goes on instead. */
enum precopy_verdict precopy_next(const struct precopy_view *v, unsigned *blackout_ms_out);

/* No later round will fit as the guest writes now, and this one has not left clearly less than the one before. */
bool precopy_stuck(const struct precopy_view *v);

/* By how many percent to cut the guest's CPU time, so that each round leaves at most 60 % of the one before: half the time, half the way along the
 * measured curve. More than now; 0: what is allowed is used up, or would not be enough. */
unsigned precopy_slow(const struct precopy_view *v);

/* Pages that will have been written @us after all were clean; at least so many. */
uint64_t precopy_written(const struct precopy_view *v, uint64_t us);

/* The oldest sample falls out. @us passed outside, with the guest slowed as @v says. */
void precopy_add_sample(struct precopy_view *v, uint64_t us, uint64_t pages);

/* How fast the guest, not slowed, writes pages that were clean, bytes a second: the highest of what was measured, for long windows hide rewriting. */
uint64_t precopy_dirty_bps(const struct precopy_view *v);

/* "does not converge: dirties 310 MB/s, the link gives 110 MB/s; it would stand for 8.2 s, 300 ms are allowed; raise ...". @bandwidth_bps: the limit that is in
 * force (0 = none). @no_slow: why the guest cannot be slowed here (NULL: it can). */
void precopy_why(const struct precopy_view *v, uint64_t bandwidth_bps, const char *no_slow, char *out, size_t size);

#endif
