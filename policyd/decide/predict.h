/* What a move would cost: total time, blackout, bytes. One formula for everybody: decide prices candidates with it, migrate -n and the
 * final table show it, and what then happened is stored beside it. Pure; any thread.
 *
 * Live: the rounds are played through (migrate/rounds.h) on what is known: of the guest (policyd-migrate measure, else its resident bytes and what
 * watch saw), of the way (a probe, else what earlier moves made), of both hosts (learn.h). Then it is corrected by what earlier
 * predictions were wrong by. What nobody has measured yet is assumed, and the result says so. */
#ifndef POLICYD_DECIDE_PREDICT_H
#define POLICYD_DECIDE_PREDICT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/rounds.h"

/* Assumptions where nothing was measured; shown as such. */
#define PREDICT_LINK_BPS 100000000ULL /* guest bytes a second to a host that nothing was moved to yet */
#define PREDICT_ENGINE_BPS                                                                                             \
	700e6 /* and where the link is not the limit (measured: 0.9-1.05 GB/s on two quiet cores for both ends) */
#define PREDICT_DIRTY_BPS 2000000.0 /* an ordinary idle guest */
#define PREDICT_TRIM_STEP 0.02      /* closed-loop shrink: share of the size a step (the policy's default) */
#define PREDICT_TRIM_STEP_S 1.0 /* and its time: a step waits for the guest's next statistics, which come each second */
#define PREDICT_SETUP_S 0.5 /* checks, target's QEMU, channels, arming, farewell (measured: 0.4 s on two busy cores) */
#define PREDICT_REST_S 0.1  /* of that, from the first byte on: channels, farewell (measured: 0.05-0.14 s) */
#define PREDICT_FIXED_BLACKOUT_MS                                                                                      \
	30.0                /* device state, digests, commit, the first instructions there (measured: 14-41) */
#define PREDICT_STOP_S 8.0  /* cold: ordered shutdown */
#define PREDICT_START_S 8.0 /* cold: start until it answers */

struct predict_guest { /* what policyd-migrate measure saw of it; all 0: nothing */
	double ram_bytes, hole_bytes, data_bytes;
	double zero_share;           /* of data */
	double ratio;                /* lz4: bytes on the wire per byte of content */
	double pack_bps;             /* lz4, one core; 0 unknown */
	double zstd_ratio, zstd_bps; /* the same by zstd; 0 unknown */
	double delta_share;          /* what differs in a page that it rewrites, by the page; 0 unknown */
	struct rounds_point written[ROUNDS_CURVE_MAX];
	unsigned n_written;
};

/* The same from what a snapshot keeps of it: @send_bytes of content (0: nothing is known and @out is all 0), @hot_bytes that are rewritten all the time, and
 * @dirty_bps beside them. */
void predict_guest_brief(double mem_bytes, double send_bytes, double ratio, double hot_bytes, double dirty_bps,
	struct predict_guest *out);
/* And back: what the curve comes to. */
void predict_guest_writes(const struct predict_guest *g, double *hot_bytes, double *dirty_bps);

struct predict_factor {
	double by;     /* what happened / what was predicted, lately; 0 = 1 */
	double spread; /* and most lie within 1/spread .. spread of that; 0 = not known */
};

struct predict_path {    /* the way to one host, and both ends: what was measured and learnt; 0 = not known */
	double wire_bps; /* through TLS */
	double octet_ns; /* what sending one costs a channel, by a probe; where CPUs are short that is less than the link's share of time */
	double engine_bps; /* content a second, where the link was not the limit */
	double pack_cost; /* of lz4, in what sending as much raw costs, as channels seem to find it; predict_packed_share */
	double setup_s; /* all that is neither copying nor blackout */
	double spent_s; /* of that, gone by already when the prediction is made (a move knows it, a dry run does not) */
	double rest_s;  /* and what is left then */
	double dark_ms; /* blackout besides the last round */
	double trim_bps; /* what this domain gave back a second before earlier moves */
	struct predict_factor total, blackout, bytes;
};

struct predict_in {
	uint64_t resident_bytes; /* what its RAM file holds now */
	uint64_t mem_bytes;      /* given now (balloon's actual) */
	uint64_t trim_bytes;     /* shrink to so much first; 0 = do not */
	double dirty_bps;        /* bytes written a second; < 0 unknown */
	uint64_t link_bps;       /* guest bytes a second that the last moves to that host made; 0 = unknown */
	double wire_ratio;       /* bytes on the wire per guest byte in the last moves; <= 0 unknown (1 is assumed) */
	unsigned max_blackout_ms;
	unsigned max_rounds;    /* 0 = 30 */
	unsigned throttle_max;  /* percent by which the guest may be slowed */
	uint64_t bandwidth_bps; /* the configured limit; 0 = none */
	bool postcopy;          /* one that does not converge may be finished by post-copy */
	bool cold;              /* the rest is not looked at */
	bool running;           /* cold: 0 blackout where it does not run anyway */
	struct predict_guest guest;
	struct predict_path path;
};

struct predict_out {
	double total_s, total_low_s, total_high_s;
	double blackout_ms, blackout_low_ms, blackout_high_ms;
	double bytes, bytes_low, bytes_high;            /* on the wire */
	double trim_s;                                  /* of total_s */
	double raw_total_s, raw_blackout_ms, raw_bytes; /* before the correction: what learn.h compares; 0 = cold */
	double rate_bps, dirty_bps;                     /* of content; of pages */
	double link_bps;                                /* on the wire; 0 unknown */
	double wire_ratio,
		lz4_ratio; /* bytes on the wire per byte of content: as it will be; if all of it is packed, by lz4 or zstd, 0 unknown */
	bool zstd; /* the second is zstd's */
	double spent_s;
	double setup_s, dark_ms; /* of raw_total_s, raw_blackout_ms: what does not depend on the guest */
	unsigned rounds;
	unsigned throttle_percent; /* by which the guest will be slowed; 0 = not at all */
	bool postcopy;             /* by it: blackout_ms is that of a move with nothing left to send */
	bool converges;            /* within the limits; false: why says with which figures */
	bool fits;                 /* converges, and blackout_ms <= max_blackout_ms */
	bool link_assumed, dirty_assumed;
	char why[256]; /* "holes 0.9G, zero 0.3G, lz4 1.6x; dirties 12 MB/s, link gives 410 MB/s" */
};

void predict(const struct predict_in *in, struct predict_out *out);
/* All that is neither copying nor blackout, by what is known of the way; @spent_s as in struct predict_path. */
double predict_setup_s(const struct predict_path *path, double spent_s);

/* How much of content that packs to @ratio is packed: a channel takes lz4 where pack_cost + ratio < 1, and what it measures for either varies from chunk
 * to chunk: odds = ((1 - ratio) / pack_cost)^3. And back, what cost it shows that @share was. */
double predict_packed_share(double ratio, double pack_cost);
double predict_pack_cost(double ratio, double share);

/* Two limits, of which the lower one counts, and both where they are near each other. > 0. */
double predict_both_limits(double a, double b);

/* {total_s, total_low_s, total_high_s, blackout_ms, blackout_low_ms, blackout_high_ms, bytes, bytes_low, bytes_high, rounds, rate_bps, dirty_bps,
 * link_bps, wire_ratio, lz4_ratio, setup_s, spent_s, dark_ms, fits, converges, why, raw: {total_s, blackout_ms, bytes}}. New reference. */
json_t *predict_to_json(const struct predict_out *p);

#endif
