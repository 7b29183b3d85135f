/* A source's hand-off whose worker is gone: the journal says what holds, the target's answer decides what is in doubt. docs/worker.md, design 7.
 *
 *	read -> NONE                -> resume
 *	        RUN, PAUSED         -> record ABORT -> resume
 *	        ABORT               -> resume
 *	        OFFERED             -> ask the target until it answers: OWNER -> record GONE -> moved; REFUSED -> record ABORT -> resume;
 *	                               PARTIAL (post-copy: the guest runs there, some of its memory is here) -> a worker sends the rest -> read
 *	        GONE                -> moved
 *
 * A record that the journal's table refuses is read again: somebody (a worker that still lived) was faster, and the table says what
 * holds now. A disk that cannot be written is waited for: until ABORT is durable the guest is not resumed. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/move.h"
#include "policyd/act/worker.h"

#define AGAIN_MS 1000
#define ASK_TIMEOUT_MS 20000
#define CONT_TRIES 20
#define FETCH_SILENT_MS 90000 /* of that worker: longer than it waits for anything */

struct resolve { /* freed by resolve_free, or, while a thread has it, when the thread's answer comes */
	struct dom *d;
	struct journal_entry entry;
	char target[NAME_MAX_LEN];
	bool was_paused;
	const struct resolve_ops *ops;
	void *arg;
	struct event *timer;
	void (*again)(struct resolve *r);
	struct peer_call *call;
	struct worker *w; /* sends the rest of a post-copy */
	unsigned busy;    /* journal work or QMP commands under way */
	bool dead;
	unsigned cont_tries;
};

static void step_read(struct resolve *r);
static void step_ask(struct resolve *r);
static void step_cont(struct resolve *r);

static void resolve_reap(struct resolve *r)
{
	if (r->dead && !r->busy)
		free(r);
}

static void again_later(struct resolve *r, void (*again)(struct resolve *r), bool doubt, const char *why)
{
	struct timeval tv = {AGAIN_MS / 1000, (AGAIN_MS % 1000) * 1000};

	r->again = again;
	evtimer_add(r->timer, &tv);
	r->ops->on_wait(r->arg, doubt, why);
}

static void on_timer_again(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *r = arg;

	(void)fd;
	(void)what;
	r->again(r);
}

/* ---- the journal ---- */

static void by_state(struct resolve *r, enum handoff_state found);

static void on_journal_recorded(void *arg, enum handoff_state found, const struct err *e)
{
	struct resolve *r = arg;

	(void)found;
	r->busy--;
	if (r->dead)
		resolve_reap(r);
	else if (e->code == EPROTO)
		step_read(r);
	else if (e->code)
		again_later(r, step_read, true, e->msg);
	else
		by_state(r, r->entry.state);
}

static void record(struct resolve *r, enum handoff_state to)
{
	struct err e;

	r->entry.state = to;
	r->busy++;
	if (journal_record_async(r->d->p, &r->entry, on_journal_recorded, r, &e) < 0) {
		r->busy--;
		again_later(r, step_read, true, e.msg);
	}
}

static void by_state(struct resolve *r, enum handoff_state found)
{
	switch (found) {
	case HO_RUN:
	case HO_PAUSED:
		record(r, HO_ABORT);
		return;
	case HO_OFFERED:
		step_ask(r);
		return;
	case HO_GONE:
		r->ops->on_done(r->arg, RESOLVED_MOVED);
		return;
	default: /* NONE, ABORT; a target's states cannot be in a source's journal */
		step_cont(r);
	}
}

static void on_journal_read(void *arg, enum handoff_state found, const struct err *e)
{
	struct resolve *r = arg;

	r->busy--;
	if (r->dead)
		resolve_reap(r);
	else if (e->code)
		again_later(r, step_read, true, e->msg);
	else
		by_state(r, found);
}

static void step_read(struct resolve *r)
{
	struct err e;

	r->busy++;
	if (journal_read_async(r->d->p, r->entry.uuid, r->entry.epoch, HO_SOURCE, on_journal_read, r, &e) < 0) {
		r->busy--;
		again_later(r, step_read, true, e.msg);
	}
}

/* ---- the target ---- */

static void on_fetch_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	(void)arg, (void)w, (void)event, (void)line;
}

/* Whatever it says, the journal knows: GONE, or OFFERED still, and then the target is asked again. */
static void on_fetch_end(void *arg, const json_t *done, const char *how)
{
	struct resolve *r = arg;
	const char *error = json_string_value(json_object_get(done, "error"));
	char why[ERR_MSG_MAX];

	r->w = NULL;
	if (json_is_true(json_object_get(done, "ok"))) {
		step_read(r);
		return;
	}
	snprintf(why, sizeof(why), "%.400s", error && *error ? error : how ? how : "the worker gave no reason");
	again_later(r, step_read, true, why);
}

/* The guest runs there and waits for what is here. */
static void send_rest(struct resolve *r, const json_t *answer)
{
	static const struct worker_ops ops = {on_fetch_event, on_fetch_end};
	const struct conf_peer *peer = cluster_conf_peer(r->d->p, r->target);
	const char *address = json_string_value(json_object_get(answer, "address"));
	const char *token = json_string_value(json_object_get(answer, "token"));
	struct worker_conf wc = {.p = r->d->p, .domain = r->d->spec.name, .verb = "run", .ops = &ops, .arg = r};
	char why[ERR_MSG_MAX];
	struct err e = {0};

	if (!r->d->launched.pid) {
		snprintf(why, sizeof(why),
			"the guest runs at %s, but the rest of its memory was here and is lost with its QEMU: end it there (policyctl stop --force), and start it anew",
			r->target);
		again_later(r, step_ask, true, why);
		return;
	}
	wc.start = move_worker_line(r->d, "source", r->target, r->entry.epoch);
	if (wc.start)
		json_object_update_new(wc.start,
			json_pack("{s:s, s:I, s:s, s:b}", "address",
				address && *address ? address
					: peer      ? peer->address
						    : "",
				"port", (json_int_t)json_integer_value(json_object_get(answer, "port")), "token",
				token ? token : "", "resume", 1));
	if (worker_start(&wc, &r->w, &e) < 0) {
		again_later(r, step_ask, true, e.msg);
		return;
	}
	worker_guard(r->w, FETCH_SILENT_MS);
	snprintf(why, sizeof(why),
		"the guest runs at %s, and the rest of its memory, which is here, is being sent again", r->target);
	r->ops->on_wait(r->arg, true, why);
}

static void on_answer_query(void *arg, const json_t *answer, const struct err *e)
{
	struct resolve *r = arg;
	const char *state = json_string_value(json_object_get(answer, "state"));
	char why[ERR_MSG_MAX];

	r->call = NULL;
	if (!e->code && state && !strcmp(state, "OWNER")) {
		record(r, HO_GONE);
	} else if (!e->code && state && !strcmp(state, "REFUSED")) {
		record(r, HO_ABORT);
	} else if (!e->code && state && !strcmp(state, "PARTIAL")) {
		send_rest(r, answer);
	} else {
		snprintf(why, sizeof(why),
			"the hand-off to %s was cut; the guest is held until %s says whether it has it (%.300s)",
			r->target, r->target, e->code ? e->msg : "it gave no clear answer");
		again_later(r, step_ask, true, why);
	}
}

static void step_ask(struct resolve *r)
{
	struct err e;

	if (cluster_call(r->d->p, r->target, "handoff-query", move_query_args(r->d, r->entry.epoch), ASK_TIMEOUT_MS,
		    on_answer_query, r, &r->call, &e) < 0)
		on_answer_query(r, NULL, &e);
}

/* ---- the guest runs on ---- */

static void on_qmp_cont(void *arg, const json_t *ret, const struct err *e)
{
	struct resolve *r = arg;

	(void)ret;
	r->busy--;
	if (r->dead)
		resolve_reap(r);
	else if (e->code && r->d->launched.pid && r->cont_tries++ < CONT_TRIES)
		again_later(r, step_cont, false, e->msg);
	else
		r->ops->on_done(r->arg, RESOLVED_STAYED);
}

static void on_qmp_cancelled(void *arg, const json_t *ret, const struct err *e)
{
	struct resolve *r = arg;

	(void)ret;
	(void)e; /* there may have been nothing to cancel */
	r->busy--;
	if (r->dead) {
		resolve_reap(r);
		return;
	}
	/* 7.2 may leave its migration thread asleep after a cancel (docs/worker.md); refused, and harmless, when it is not */
	if (r->d->qmp)
		qmp_command(r->d->qmp, "migrate-continue", json_pack("{s:s}", "state", "cancelling"), 0, NULL, NULL);
	r->busy++;
	if (r->was_paused) {
		on_qmp_cont(r, NULL, &(struct err){0});
	} else if (!r->d->qmp || qmp_command(r->d->qmp, "cont", NULL, 0, on_qmp_cont, r) < 0) {
		r->busy--;
		again_later(r, step_cont, false, "QEMU does not answer");
	}
}

static void step_cont(struct resolve *r)
{
	if (!r->d->launched.pid) { /* its QEMU ended: nothing to resume, but it is ours */
		r->ops->on_done(r->arg, RESOLVED_STAYED);
		return;
	}
	r->busy++;
	if (!r->d->qmp || qmp_command(r->d->qmp, "migrate_cancel", NULL, 0, on_qmp_cancelled, r) < 0) {
		r->busy--;
		again_later(r, step_cont, false, "QEMU does not answer yet");
	}
}

struct resolve *resolve_start(
	struct dom *d, const char *target, uint64_t epoch, bool was_paused, const struct resolve_ops *ops, void *arg)
{
	struct resolve *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->d = d;
	r->ops = ops;
	r->arg = arg;
	r->was_paused = was_paused;
	r->entry.epoch = epoch;
	r->entry.role = HO_SOURCE;
	snprintf(r->target, sizeof(r->target), "%s", target);
	snprintf(r->entry.uuid, sizeof(r->entry.uuid), "%s", d->spec.uuid);
	snprintf(r->entry.peer, sizeof(r->entry.peer), "%s", target);
	snprintf(r->entry.domain, sizeof(r->entry.domain), "%s", d->spec.name);
	r->timer = evtimer_new(d->p->base, on_timer_again, r);
	if (!r->timer) {
		free(r);
		return NULL;
	}
	step_read(r);
	return r;
}

void resolve_free(struct resolve *r)
{
	if (!r)
		return;
	r->dead = true;
	event_free(r->timer);
	r->timer = NULL;
	peer_call_forget(r->call);
	worker_leave(r->w); /* if policyd ends: it goes on by itself */
	r->w = NULL;
	resolve_reap(r);
}
