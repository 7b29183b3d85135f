/* A job: one long operation on one domain, from the request to its end. A domain has at most one.
 *
 * A kind of job is a table of phases (struct job_type). A phase's enter() starts work and returns; when that work is through, its callback
 * calls job_next (the phase after it), job_goto, or job_end. So a job's course can be read from its table. Loop thread only.
 *
 * The framework: refuses a second job, journals begin and end in the store (a job without an end is found at start-up and recorded as
 * interrupted), keeps progress, tells listeners (waiting clients), writes history, sets the domain's error flag, gives reservations
 * back, and frees the job after the callback in which it ended. */
#ifndef POLICYD_ACT_JOB_H
#define POLICYD_ACT_JOB_H

#include <jansson.h>
#include <sys/queue.h>

#include "policyd/dom.h"
#include "policyd/policyd.h"

enum job_kind {
	JOB_START,
	JOB_STOP,
	JOB_CPU,
	JOB_MEMORY,
	JOB_MIGRATE,
	JOB_COLD_MOVE,
	JOB_INCOMING,
	JOB_SUSPEND,
	JOB_MOVE_HERE,
	JOB_KIND_COUNT
};

struct job;

struct job_phase {
	const char *name; /* the operator's word: "transfer" */
	/* Start the phase's work. 0; -errno: the job ends with @e. May call job_next/job_goto/job_end itself. */
	int (*enter)(struct job *j, struct err *e);
	/* Asked to cancel: make it stop; job_end(-ECANCELED) may come now or later, or the job may succeed after all. NULL: the job
	 * ends at once. */
	void (*cancel)(struct job *j);
	const char *no_cancel; /* not NULL: cannot be cancelled here, and this is why (a sentence) */
};

struct job_type {
	enum job_kind kind;
	const char *
		operation; /* "migration", "memory", "cpu", "start", "stop", "incoming": what status and cancel-operation call it */
	const struct job_phase *phases;
	const unsigned *numbers; /* of the phases, as operators count them; NULL = their places in the table */
	unsigned n_phases;
	/* While the job is on: the domain's QEMU ended (d->launched.pid is 0 by then; states and cleaning are the job's: dom_ended does the usual).
	 * NULL: dom_ended, and the job ends with a sentence. A QMP event came; "QMP_READY" (ours): the monitor is there, or there again. */
	void (*on_exit)(struct job *j);
	void (*on_event)(struct job *j, const char *event, const json_t *data);
	/* Its QMP connection is about to be freed: cancel what uses it (resize does), and expect on_exit next. */
	void (*on_detach)(struct job *j);
	/* Last call, before listeners hear of it: release what j->priv holds and free it. The domain is still there. */
	void (*fini)(struct job *j, const struct err *e);
};

struct job_progress {
	unsigned percent;
	double left_s;      /* < 0 unknown */
	double blackout_ms; /* < 0 unknown */
	char text[160];     /* "310 MB/s  round 2, dirties 12 MB/s": what a progress line shows beside the bar */
	json_t *extra;      /* all that the worker said, for --json; owned; may be NULL */
};

/* Someone who waits for a job (a control connection, a plan's next action). Embedded by its owner; each callback on the loop thread. */
struct job_listener {
	TAILQ_ENTRY(job_listener) link;
	struct job *job;                                                  /* NULL = not listening */
	void (*on_progress)(struct job_listener *l, const struct job *j); /* may be NULL; also at each new phase */
	void (*on_end)(
		struct job_listener *l, const struct job *j, const struct err *e); /* once; l is off the list already */
};

struct job {
	const struct job_type *type;
	struct policyd *p;
	struct dom *dom;
	int64_t id; /* the store's operation id */
	struct origin origin;
	unsigned phase;                    /* index into type->phases */
	bool entered, ended, cancel_asked; /* entered: its first phase has begun */
	bool unrecorded;                   /* the store could not write that it begins: a restart will not find it */
	bool drop; /* set by the kind before job_end: the domain is not ours any more; it is deleted from the store and freed after the end */
	int64_t started_ms, phase_ms;                    /* wall clock; interval clock when the phase began */
	char target[NAME_MAX_LEN], source[NAME_MAX_LEN]; /* hosts, for status; "" = none */
	char reason[256];                                /* why it was asked for (policy's sentence), for history */
	struct job_progress progress;
	json_t *limits;    /* what it has to keep within now, for status; owned; may be NULL */
	json_t *predicted; /* kept with the outcome; owned; may be NULL */
	json_t *result;    /* the answer's "result" when it succeeds; owned; may be NULL */
	void *priv;        /* the kind's own */
	TAILQ_HEAD(, job_listener) listeners;
	TAILQ_ENTRY(job) link;  /* on p->ended */
	struct job_token *save; /* job_save under way */
	struct event *ev;       /* the framework's: enters the next phase from the loop, frees the ended job */
};

struct job_request {
	const struct job_type *type;
	struct origin origin;
	const char *target, *source; /* borrowed, may be NULL */
	const char *reason;          /* borrowed, may be NULL */
	const json_t *detail;        /* borrowed: for a restart */
	json_t *predicted;           /* stolen, may be NULL; on failure too */
	void *priv;                  /* the job's on success, the caller's still on failure */
};
/* Makes the job and enters its first phase from the loop, when the store has recorded that it begins. -EBUSY: the domain has a job (the sentence says
 * which, and what can be done); -ESHUTDOWN; -ENOMEM. */
int job_start(struct dom *d, const struct job_request *rq, struct job **out, struct err *e);

void job_next(struct job *j);
void job_goto(struct job *j, unsigned phase);
/* The end: @e NULL or code 0 = done. Once; later calls do nothing. @j stays valid until the callback returns to the loop, its domain too. */
void job_end(struct job *j, const struct err *e);
/* policyd stops: free the job without an end (the store keeps it as unfinished). main.c only. */
void job_abandon(struct job *j);
void jobs_reap(struct policyd *p); /* free those that have ended; outside of callbacks only */
/* Ask it to stop. 0: it is stopping (or has); -EBUSY: this phase cannot be cancelled, the sentence says why. */
int job_cancel(struct job *j, struct err *e);

/* dom_save, and @then when it is on disk; dropped when the job ends before. -ENOMEM: @then is not called. */
int job_save(struct job *j, void (*then)(struct job *j, const struct err *e));

/* Tell listeners that j->progress (or the phase) changed. */
void job_progressed(struct job *j);
void job_listen(struct job *j, struct job_listener *l);
void job_unlisten(struct job_listener *l); /* NULL job: does nothing */

/* One entry of status (docs/control.md). New reference. */
json_t *job_json(const struct job *j);
/* "migration to beta (3 transfer, 34 %)". */
void job_text(const struct job *j, char out[160]);
/* -EBUSY: "web1 is busy: migration to beta (3 transfer, 34 %); wait for it, or: ..", and where it can be cancelled, if it can. */
int job_busy(const struct job *j, struct err *e);

#endif
