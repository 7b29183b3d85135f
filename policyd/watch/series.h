/* Numbers over time: smoothed averages, a ring of the last ten minutes, and "k of the last n" counts.
 *
 * Pure data structures for watch/ (no clock, no I/O; times are monotonic ms given by the caller). A gap in the data is a
 * gap: it is stored as one, counts for nothing and never reads as zero. */
#ifndef POLICYD_WATCH_SERIES_H
#define POLICYD_WATCH_SERIES_H

#include <stdbool.h>
#include <stdint.h>

#define SERIES_MAX 600      /* points: ten minutes at one a second */
#define SERIES_GAP_MS 10000 /* two samples further apart than this say nothing about the time between them */

struct ewma { /* exponentially weighted average; the weight follows from the time between samples */
	double tau_ms;
	double value, weight; /* while it is young (weight < 1) it is the plain mean of what it has seen */
};
void ewma_init(struct ewma *a, double tau_ms);
/* @span_ms: the time that @sample stands for, over 0. */
void ewma_add(struct ewma *a, double sample, double span_ms);
/* -1 while nothing is known: no valid value is negative. */
double ewma_get(const struct ewma *a);
/* Forget: after a gap the next sample starts anew. */
void ewma_reset(struct ewma *a);

struct point {
	int64_t t_ms; /* monotonic; end of the time it stands for */
	uint32_t span_ms;
	bool known; /* false: a gap */
	float value;
};

struct series { /* a ring, oldest overwritten */
	struct point p[SERIES_MAX];
	unsigned head, n;
};
void series_add(struct series *s, int64_t t_ms, uint32_t span_ms, double value);
void series_gap(struct series *s, int64_t t_ms);
/* i = 0: the newest. NULL beyond the oldest. */
const struct point *series_get(const struct series *s, unsigned i);
/* Average over (from_ms, to_ms], weighted by span; false where less than half of that time is known. */
bool series_mean(const struct series *s, int64_t from_ms, int64_t to_ms, double *out);

/* The value that @percent of all known points do not exceed, in whole numbers (0..255; more counts as 255). False where fewer than @least are known. */
bool series_percentile(const struct series *s, unsigned percent, unsigned least, double *out);

/* Of the last @n samples, how many are above (below) @bound? A sample is one point when every_ms = 0, else the mean of every_ms,
 * counted back from the newest point. Gaps do not count. */
unsigned series_above(const struct series *s, unsigned n, unsigned every_ms, double bound);
unsigned series_below(const struct series *s, unsigned n, unsigned every_ms, double bound);

#endif
