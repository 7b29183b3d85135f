/* The source's side of a live move, what its files share: the job's state, and its phases. The course and both ends are in move_live.c, what comes
 * before the worker (checks, trim, prepare) in live_prepare.c, waiting for a quiet moment in live_quiet.c, the worker, its limits and its deadline in live_worker.c. Loop thread. */
#ifndef POLICYD_ACT_LIVE_INT_H
#define POLICYD_ACT_LIVE_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "policyd/act/forecast.h"
#include "policyd/act/move.h"
#include "policyd/act/slow.h"

/* What is known of the link for so long is good enough: a probe would take time from the move. */
#define MOVE_LINK_AGE_MS 600000

enum {
	PH_CHECKS,
	PH_QUIET,
	PH_TRIM,
	PH_PREPARE,
	PH_TRANSFER,
	PH_SUSPEND,
	PH_HANDOFF,
	PH_POSTCOPY,
	PH_SETTLE,
	PH_COUNT
};

enum live_end { END_OPEN, END_MOVED };

struct live {
	struct job *j; /* NULL: the job has ended, callbacks that still come have nobody to serve */
	struct move_request rq;
	uint64_t epoch;
	uint64_t mem_before;
	int64_t trim_ms;  /* how long it took; from the interval clock while it lasts */
	int64_t quiet_ms; /* how long it waited for a quiet moment */
	unsigned refs;    /* the job's, and one per callback under way that cannot be taken back */
	bool was_paused, prepared, is_restart;
	enum live_end end;
	struct err why; /* of staying */
	struct move_checks *checks;
	struct volume_id volumes[SPEC_DISKS_MAX]; /* as the checks found them */
	struct measure_wait measure;
	struct live_quiet *quiet; /* NULL: it does not wait */
	struct balloon_job *balloon;
	struct peer_call *call;
	struct worker *w;
	struct resolve *resolve;
	struct slow *slow; /* NULL: its guest is not slowed */
	unsigned slowed_percent;
	struct event *timer, *deadline;
	struct event *left; /* a worker that an earlier policyd started */
	int left_fd;
	json_t *stats;
	char address[64], token[65];
	unsigned port;
	unsigned vcpu_ids[LAUNCH_HOTPLUGGED_MAX], n_vcpu_ids;
};

/* ---- move_live.c ---- */
void live_unref(struct live *l);
/* Nothing slows the guest any more. */
void live_guest_free(struct live *l);
/* Why it stays: the first reason counts. */
void live_because(struct live *l, const struct err *e);
/* The job's two ends: it runs on here; it is the target's, and our QEMU has @quit_wait_ms to end. */
void live_end_stayed(struct live *l);
void live_moved(struct live *l, unsigned quit_wait_ms);

/* ---- live_quiet.c ---- */
int live_enter_quiet(struct job *j, struct err *e);
void live_cancel_quiet(struct job *j);
/* It waits no longer and begins; nothing where it does not wait. */
void live_quiet_over(struct live *l);
void live_quiet_free(struct live *l);

/* ---- live_prepare.c ---- */
int live_enter_checks(struct job *j, struct err *e);
int live_enter_trim(struct job *j, struct err *e);
void live_cancel_trim(struct job *j);
int live_enter_prepare(struct job *j, struct err *e);
void live_cancel_prepare(struct job *j);
/* The target is told to forget it, and the job settles. */
void live_prepare_failed(struct live *l, const struct err *e);

/* ---- live_worker.c ---- */
int live_enter_transfer(struct job *j, struct err *e);
int live_enter_nothing(struct job *j, struct err *e);
void live_cancel_worker(struct job *j);
/* From now on: at the deadline that was asked for the move is suspended or cancelled. */
int live_deadline_arm(struct live *l, struct err *e);

#endif
