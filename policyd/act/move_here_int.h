/* Private to move_here.c (the job, its end and the dry run), move_here_target.c (the second QEMU, and how it gets the state) and move_here_own.c (hand-off and
 * way back). Loop thread. */
#ifndef POLICYD_ACT_MOVE_HERE_INT_H
#define POLICYD_ACT_MOVE_HERE_INT_H

#include "policyd/act/job.h"
#include "policyd/act/move_here.h"

struct run_on;

#define FINISH_MS 15000 /* then the log says what is waited for */

enum { H_CHECKS, H_TARGET, H_STATE, H_OWN, H_FINISH, H_BACK, H_COUNT };

struct here {
	struct job *j; /* NULL: ended, but for the answers that are to come */
	unsigned refs;
	struct here_checks *checks;
	struct here_facts facts;
	struct launched old, next; /* next.pid 0 = not started */
	struct event *ev_next_exit, *ev_old_exit, *timer;
	int next_fd, old_fd;
	struct qmp *qmp; /* the second's monitor for workers */
	unsigned step;
	bool sent, arrived;      /* the first says that its state is away, the second that it is there */
	bool ran;                /* its guest ran when this began */
	bool owned;              /* the second has been made the owner */
	bool detached, attached; /* policyd from the first, to the second */
	bool old_gone, answers;
	int64_t stopped_ms, ran_ms; /* interval clock; 0 = has not */
	struct run_on *run_on;
	struct err why;
};

/* ---- move_here.c ---- */
/* What was asked for by here_ask has come. False: the job is over, and @h may be gone. */
bool here_answered(struct here *h);
/* False: it could not be asked. @done gets @h. */
bool here_ask(struct here *h, struct qmp *q, const char *cmd, json_t *args, qmp_done_fn *done);
/* Its one timer; what it is for follows from the phase. */
void here_timer(struct here *h, unsigned ms);
void here_say(struct here *h, unsigned percent);
/* It does not happen, because of @e: back to how it was. The first reason holds. */
void here_back(struct here *h, const struct err *e);
/* Neither QEMU has its guest any more: the end of the job. */
void here_lost(struct here *h);

/* ---- move_here_target.c ---- */
int here_enter_target(struct job *j, struct err *e);
void here_cancel_target(struct job *j);
int here_enter_state(struct job *j, struct err *e);
void here_on_event(struct job *j, const char *event, const json_t *data);

/* ---- move_here_own.c ---- */
int here_enter_own(struct job *j, struct err *e);
/* Entered again when the first has ended, and when the second has answered. */
int here_enter_finish(struct job *j, struct err *e);
/* Entered again when the second has ended: as long as it is there the guest stands, for it may hold the disks. */
int here_enter_back(struct job *j, struct err *e);

#endif
