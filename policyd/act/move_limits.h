/* What a live move may cost, and changing that while it runs. Plain data and pure functions; the job that obeys is in move_live.c. */
#ifndef POLICYD_ACT_MOVE_LIMITS_H
#define POLICYD_ACT_MOVE_LIMITS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "domain/err.h"

#define MOVE_BANDWIDTH_MIN (64ULL << 10) /* as migration.bandwidth */
#define MOVE_BANDWIDTH_MAX (1ULL << 40)
#define MOVE_BLACKOUT_MAX_MS 600000
#define MOVE_THROTTLE_MAX 99

struct move_limits { /* only those whose has_ is set count */
	bool has_bandwidth, has_blackout, has_throttle, has_deadline;
	uint64_t bandwidth_bps; /* bytes a second on the wire; 0 = unlimited */
	unsigned max_blackout_ms;
	unsigned throttle_max; /* percent by which the guest may be slowed; 0 = never */
	int64_t deadline_ms;   /* wall clock; 0 = none. Until then it does not give up for not converging */
	bool deadline_suspend; /* what is done then: suspend the guest and finish; false: cancel */
};

/* What is set in @change goes over what is in @l. */
void move_limits_merge(struct move_limits *l, const struct move_limits *change);
/* What is not set yet comes from the configuration; afterwards all is set. */
void move_limits_complete(struct move_limits *l, const struct conf_migration *conf);
bool move_limits_any(const struct move_limits *l);
/* -EDOM: a value that no move can have, and what is possible. */
int move_limits_check(const struct move_limits *l, struct err *e);
/* The worker goes on trying until a deadline: "patient" of docs/worker.md. */
bool move_limits_patient(const struct move_limits *l);
/* What is set, by the names of docs/worker.md and docs/control.md. New reference. */
json_t *move_limits_json(const struct move_limits *l);
/* "bandwidth 1.0M a second, max-blackout 300 ms, throttle 30 %" */
void move_limits_text(const struct move_limits *l, char *out, size_t size);

#endif
