/* Sizing: what size will this domain need in the next hours? The long-horizon side of trimming: resize/shrink.h decides from
 * second to second whether a guest can give a step; this says from days of memory use how far giving pays off.
 *
 * The law weighs three costs in one currency, MiB held for a day:
 *   - memory: a size of S costs S;
 *   - shortage: an hour in which the guest wants more than S costs price_mib. How many such hours a day to expect is estimated
 *     from the peaks of past hours, in two memories: one forgets within hours (what was just used comes back), one within days
 *     (what comes every day comes again). An hour that peaked at P also speaks for hours above S > P: with (P / S)^tail. That is the
 *     margin. 1 / tail is the domain's own mean jump upwards from one hour's peak to the next (as a logarithm): a steady domain
 *     gets a thin margin, a restless one a wide one, and a small one a wider one, for there it costs little;
 *   - change: a resize has to gain resize_mib, or the size stays.
 * The size with the least sum is the target. It grows at once when use comes near it and shrinks only when that pays.
 *
 * Nothing is known of the future, nothing is read from a clock: pure; any thread. A domain's state is about 1.3 KB. */
#ifndef POLICYD_DECIDE_SIZING_H
#define POLICYD_DECIDE_SIZING_H

#include <stdbool.h>
#include <stdint.h>

#define SIZING_PER_DOUBLING 12                       /* sizes are steps of 6 % */
#define SIZING_LEVELS (15 * SIZING_PER_DOUBLING + 1) /* 64 MiB .. 2 TiB */
#define SIZING_MIN_MIB 64.0
#define SIZING_BLOCK_MS 3600000LL

struct sizing_rule {
	double price_mib;   /* of an hour with a shortage, in MiB for a day */
	double resize_mib;  /* what a resize has to gain */
	double fast_h;      /* half-life of the short memory, hours */
	double slow_h;      /* of the long one */
	double fast_weight; /* 0..1, of the short memory; the rest is the long one's */
	double jump;        /* mean jump upwards of a domain that nothing is known of ... */
	double jump_h;      /* ... which counts like so many hours of its own */
};

extern const struct sizing_rule sizing_default;

struct sizing {
	float fast[SIZING_LEVELS],
		slow[SIZING_LEVELS]; /* decayed number of hours that peaked at or below level i, above i - 1 */
	float fast_n, slow_n;
	double jumps, jumps_n, last_peak_mib; /* from hour to hour; decayed like slow */
	int64_t first_ms, block;              /* the running hour, counted from the first sample */
	double peak_mib, used_mib;
	bool known;
};

struct sizing_advice {
	double target_mib;   /* = the size now where a change does not pay */
	double best_mib;     /* the cheapest size, without regard to the size now */
	double short_h_now;  /* hours a day with a shortage to expect at the size now ... */
	double short_h_best; /* ... and at best_mib */
};

void sizing_init(struct sizing *s);

/* One sample. Times must not go back (one that does counts for the hour that is running); a gap adds nothing and ages what
 * is known. */
void sizing_add(struct sizing *s, const struct sizing_rule *r, int64_t t_ms, double used_mib);

/* @max_mib: limit of the domain, 0 = none. Without any sample the size stays. */
struct sizing_advice sizing_advise(const struct sizing *s, const struct sizing_rule *r, double now_mib, double max_mib);

#endif
