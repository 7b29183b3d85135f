/* What a pre-copy would do, before the first byte: the rounds played through on figures. Pure; any thread.
 *
 * The rule that ends the rounds is the engine's own (precopy_next), so that a forecast stops where the engine would. How much the guest writes
 * comes as a curve, "after so many seconds so many bytes were written at least once" (migrate/measure.c): a hot set that is rewritten
 * over and over counts once. Beyond its last point the curve goes on with its last slope, over what has not been written yet. */
#ifndef MIGRATE_ROUNDS_H
#define MIGRATE_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#define ROUNDS_CURVE_MAX 8

struct rounds_point {
	double s,
		bytes; /* seconds since all pages were clean; bytes of pages written at least once since. Both rising */
};

struct rounds_in {
	double data_bytes; /* what has content: the first pass sends it */
	double zero_bytes; /* read in the first pass and found to be zeros: costs time, no bytes */
	double wire_ratio; /* bytes on the wire per byte of content; 1 = raw */
	double rate_bps;   /* bytes of content that can be sent a second, all limits counted; > 0 */
	double round_s;    /* what each round costs besides: scan, re-arm, barrier */
	double pause_s;    /* between the decision to stop and the stop */
	double dark_ms;    /* blackout besides the last round: device state, durable records, start */
	/* A page that comes again (from the third round on) in octets and in time, by what it takes the first time; 0 or 1 = as much */
	double again_octets, again_time;
	struct rounds_point curve[ROUNDS_CURVE_MAX];
	unsigned n_curve; /* 0 = it writes nothing */
	uint32_t page_bytes;
	/* the engine's limits */
	unsigned max_rounds, max_blackout_ms, fixed_blackout_ms;
	unsigned slow_max; /* percent by which the engine may slow the guest; 0 = not at all */
};

struct rounds_out {
	double copy_s;        /* while the guest runs */
	double blackout_ms;   /* dark_ms and the last round */
	double content_bytes; /* all rounds; >= data_bytes */
	double wire_bytes;
	double dirty_bps; /* what the last round while it ran left, a second */
	unsigned n_rounds;
	unsigned slow_percent; /* the guest was slowed by so much in the end */
	bool converges;        /* false: the engine would give up, and blackout_ms is what it would have been */
};

/* Such a curve in brief: its last line, at second 0 (a hot set that is written all the time) and its slope. */
void rounds_writes(const struct rounds_point *curve, unsigned n, double *hot_bytes, double *bps);
/* Bytes written at least once within @s seconds. */
double rounds_written(const struct rounds_in *in, double s);
/* Any figures give finite results; negative ones count as 0. */
void rounds_simulate(const struct rounds_in *in, struct rounds_out *out);

#endif
