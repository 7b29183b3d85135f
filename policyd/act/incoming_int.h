/* Private to incoming.c, incoming_begin.c, incoming_outcome.c and incoming_activate.c: the job that receives a domain live. Loop thread. */
#ifndef POLICYD_ACT_INCOMING_INT_H
#define POLICYD_ACT_INCOMING_INT_H

#include <event2/util.h>
#include <sys/queue.h>

#include "policyd/act/incoming.h"

#define INCOMING_AGAIN_MS 1000 /* what failed is tried again */

enum { IN_LAUNCH, IN_LISTEN, IN_RECEIVE, IN_SETTLE, IN_POSTCOPY, IN_ACTIVATE, IN_COUNT };

struct waiter { /* an abort or handoff-query that waits for the journal */
	TAILQ_ENTRY(waiter) link;
	struct peer_req *rq;
};
TAILQ_HEAD(waiters, waiter);

struct incoming {
	struct job *j; /* NULL: ended; see refs */
	unsigned refs;
	char from[NAME_MAX_LEN];
	char token[33];
	uint64_t epoch;
	json_t *settings;
	char machine[64];
	unsigned vcpu_ids[LAUNCH_HOTPLUGGED_MAX], n_vcpu_ids;
	struct peer_req *prepare; /* not answered yet */
	struct waiters waiters;
	struct worker *w;
	struct event *timer, *left;
	int left_fd;
	enum handoff_state recording; /* REFUSED, or OWNER where its QEMU ended before all its memory was there */
	bool connected, refused, owner, paused, is_restart, no_guest_agent;
	struct err why;
};

extern const struct job_type incoming_type, incoming_settle_type;

/* ---- incoming.c ---- */
void incoming_unref(struct incoming *in);
/* What was asked for with a reference taken has come. False: the job is over, and @in may be gone. */
bool incoming_answered(struct incoming *in);
/* Why it ends; the first reason holds. */
void incoming_because(struct incoming *in, const struct err *e);
/* Its one timer; what it is for follows from the phase. */
void incoming_timer(struct incoming *in, unsigned ms);
void incoming_on_timer(evutil_socket_t fd, short what, void *arg);
/* The answer to prepare, if it was not given yet. */
void incoming_prepare_fail(struct incoming *in, const struct err *e);
/* The answer to all who asked for the outcome; @answer is stolen. */
void incoming_answer_json(struct incoming *in, json_t *answer);
void incoming_answer(struct incoming *in, const char *state);

/* ---- incoming_outcome.c ---- */
/* The phase in which the journal says how it ended. */
int incoming_enter_settle(struct job *j, struct err *e);
/* To that phase, because of @why. */
void incoming_outcome(struct incoming *in, const struct err *why);
/* The journal is being asked already. */
bool incoming_settling(const struct incoming *in);
void incoming_record_refused(struct incoming *in);
/* REFUSED is durable: nobody runs this QEMU any more. */
void incoming_refused(struct incoming *in);
/* ... and its QEMU is gone: the end of the job. */
void incoming_end_refused(struct incoming *in);

/* ---- incoming_activate.c ---- */
/* The phase in which it is ours. Entered again after a failure: each step may be done twice. */
int incoming_enter_activate(struct job *j, struct err *e);

#endif
