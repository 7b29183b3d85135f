/* Private to move_cold.c (the course, the two ends, and what the target answers), cold_leave.c (claim and hooks) and cold_stop.c: a cold move at its
 * source. Loop thread. */
#ifndef POLICYD_ACT_COLD_INT_H
#define POLICYD_ACT_COLD_INT_H

#include "policyd/act/hooks.h"
#include "policyd/act/move.h"
#include "policyd/cluster/claim.h"

enum {
	PC_CHECKS,
	PC_CLAIM,
	PC_DRAIN,
	PC_CHECK,
	PC_STOP,
	PC_ADOPT,
	PC_ASK,
	PC_REJOIN,
	PC_BACK,
	PC_REJOIN_HERE,
	PC_COUNT
};

struct cold {
	struct job *j; /* NULL: ended */
	unsigned refs;
	struct move_request rq;
	uint64_t epoch;
	bool was_running, was_bound, drained, forced, restart;
	unsigned presses; /* of the power button */
	bool stopping; /* durable before the first press of the power button: a restart must expect the guest to go down */
	char not_now[ERR_MSG_MAX]; /* what a hook said last */
	struct admit_request ar;   /* as it was before it was shut down */
	struct move_checks *checks;
	struct claim *claim;
	struct hook *hook;
	struct peer_call *call;
	struct event *timer;
	int64_t deadline_ms, stop_ms; /* interval clock */
	struct err why, rejoin_why;
};

/* The first reason stays. */
void cold_because(struct cold *c, const struct err *e);
void cold_timer_ms(struct cold *c, unsigned ms);
void cold_unref(struct cold *c);
/* Its cluster's definition; NULL: it is in none. */
const struct conf_cluster_def *cold_cluster(const struct dom *d);
/* What a restart needs. New reference. */
json_t *cold_detail(const struct cold *c, const char *host);

/* ---- the ends ---- */
void cold_end_moved(struct cold *c);
void cold_end_stayed(struct cold *c);
/* Undo what was done so far, and end. */
void cold_stay(struct cold *c, const struct err *why);

/* ---- cold_leave.c ---- */
/* Do enough nodes stay without this one, and without those (@leaving, uuids, may be NULL) that others are known to take away? */
bool cold_may_go(struct cold *c, const json_t *leaving, struct err *e);
int cold_enter_claim(struct job *j, struct err *e);
void cold_cancel_claim(struct job *j);
int cold_enter_hook(struct job *j, struct err *e);
void cold_cancel_hook(struct job *j);
/* "Not now" a while ago: asked again. */
int cold_run_hook(struct cold *c);

/* ---- cold_stop.c ---- */
int cold_enter_stop(struct job *j, struct err *e);
/* The power button again, or the last resort. */
void cold_press(struct cold *c);
void cold_on_exit(struct job *j);

#endif
