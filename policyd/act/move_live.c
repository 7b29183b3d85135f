/* Live move, the source's side: a job whose course is the table below. docs/worker.md, docs/peers.md.
 *
 *	checks -> trim -> prepare -> transfer -> suspend -> hand-off -> settle
 *
 * The worker moves the guest; this job starts it and believes what it wrote to the journal. Whatever ends the worker, "settle" finds one of two
 * ends: stayed (ABORT is durable, the guest runs here, the target is told to forget it) or moved (GONE is durable, our QEMU ends, the domain leaves
 * this host). After a restart of policyd the same job begins in "settle". Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/live_int.h"
#include "resize/balloon.h"

#define QUIT_WAIT_MS 5000
#define LEFT_WORKER_MS 30000

void live_unref(struct live *l)
{
	if (--l->refs)
		return;
	json_decref(l->stats);
	free(l);
}

void live_guest_free(struct live *l)
{
	slow_free(l->slow, l->j->p);
	l->slow = NULL;
}

static void live_fini(struct job *j, const struct err *e)
{
	struct live *l = j->priv;

	move_note_try(j, e);
	live_guest_free(l);
	l->j = NULL;
	move_checks_cancel(l->checks);
	live_quiet_free(l);
	measure_leave(&l->measure);
	if (l->balloon)
		balloon_cancel(l->balloon);
	peer_call_forget(l->call);
	worker_leave(l->w); /* only when policyd ends: it rolls back, or finishes, by itself */
	resolve_free(l->resolve);
	if (l->timer)
		event_free(l->timer);
	if (l->deadline)
		event_free(l->deadline);
	if (l->left) {
		event_free(l->left);
		close(l->left_fd);
	}
	live_unref(l);
}

static void timer_ms(struct live *l, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(l->timer, &tv);
}

/* The first reason stays. */
void live_because(struct live *l, const struct err *e)
{
	if (!l->why.code)
		l->why = *e;
}

/* ---- the two ends ---------------------------------------------------------------------------------------------------- */

static void grow_back(struct live *l)
{
	struct dom *d = l->j->dom;

	if (d->mem_bytes < l->mem_before)
		dom_let_memory(d, l->mem_before);
}

static void ended(struct dom *d)
{
	bool orderly = d->end_reason[0] && strcmp(d->end_reason, "guest-panic") != 0;

	dom_ended(d, !orderly, orderly ? "its guest ended during a migration" : "its QEMU ended during a migration");
}

/* The guest is ours and runs (or its QEMU ended): say so and end. */
void live_end_stayed(struct live *l)
{
	struct job *j = l->j;
	struct dom *d = j->dom;
	struct err e;

	if (l->prepared)
		move_send_abort(d, j->target, l->epoch);
	if (!l->why.code)
		err_set(&l->why, EIO, "the migration was interrupted");
	d->doubt_peer[0] = 0;
	if (!d->launched.pid) {
		ended(d);
	} else {
		if ((d->state == DOM_TRANSITION || d->state == DOM_SUSPENDED) && dom_step(d, DEV_MIGRATE_STAY, &e) < 0)
			plog(d->p, "%s", e.msg);
		if (l->was_paused && d->state == DOM_ACTIVE)
			dom_step(d, DEV_SUSPEND, NULL);
		grow_back(l);
		balloon_poll_stats(d->qmp, 1);
	}
	if (l->why.code == ECANCELED)
		err_set(&e, ECANCELED, "%s -> %s cancelled; it runs on here", d->spec.name, j->target);
	else
		err_set(&e, l->why.code, "%s -> %s failed: %.380s%s", d->spec.name, j->target, l->why.msg,
			d->launched.pid ? "; it runs on here" : "");
	if (j->target[0] && l->prepared && l->why.code != ECANCELED)
		store_link_add(d->p->store, j->target, 0, false);
	job_end(j, &e);
	cluster_report_now(d->p);
}

static void remember_link(struct live *l)
{
	double ms = json_number_value(json_object_get(l->stats, "total_ms")) -
		json_number_value(json_object_get(l->stats, "setup_ms"));
	double bytes = json_number_value(json_object_get(l->stats, "ram_bytes"));

	if (ms >= 1 && bytes > 0)
		store_link_add(l->j->p->store, l->j->target, (uint64_t)(bytes * 1000 / ms), true);
}

/* The guest runs at the target and our QEMU has ended: the domain leaves this host. */
static void end_moved(struct live *l)
{
	struct job *j = l->j;
	struct dom *d = j->dom;
	struct policyd *p = d->p;

	dom_cleanup(d);
	dom_step(d, DEV_MIGRATE_GONE, NULL);
	j->drop = true;
	j->result = l->stats ? json_copy(l->stats) : json_object();
	if (l->stats)
		json_object_set(j->result, "worker_ms", json_object_get(l->stats, "total_ms"));
	json_object_set_new(j->result, "total_ms",
		json_integer(now_wall_ms() - j->started_ms - l->quiet_ms)); /* as the operator saw it */
	json_object_set_new(j->result, "host", json_string(j->target));
	json_object_set_new(j->result, "method", json_string(l->rq.method == MOVE_WARM ? "warm" : "live"));
	if (l->mem_before > d->mem_bytes)
		json_object_set_new(
			j->result, "trimmed_bytes", json_integer((json_int_t)(l->mem_before - d->mem_bytes)));
	if (j->predicted)
		json_object_set(j->result, "predicted", j->predicted);
	if (l->quiet_ms)
		json_object_set_new(j->result, "quiet_ms", json_integer(l->quiet_ms));
	if (l->trim_ms)
		json_object_set_new(j->result, "trim_ms", json_integer(l->trim_ms));
	if (l->stats) {
		remember_link(l);
		forecast_note_move(p, d->spec.name, j->target, j->predicted, j->result);
	}
	move_keep(j, l->rq.keep, l->rq.name);
	job_end(j, NULL);
	cluster_report_now(p);
}

static void on_timer_quit(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;

	(void)fd;
	(void)what;
	dom_kill(l->j->dom);
}

void live_moved(struct live *l, unsigned quit_wait_ms)
{
	struct dom *d = l->j->dom;

	d->doubt_peer[0] = 0;
	l->end = END_MOVED;
	if (!d->launched.pid)
		end_moved(l);
	else
		timer_ms(l, quit_wait_ms);
}

/* ---- settle ---------------------------------------------------------------------------------------------------------------- */

static void on_resolve_wait(void *arg, bool doubt, const char *why)
{
	struct live *l = arg;
	struct dom *d = l->j->dom;

	if (doubt) {
		snprintf(d->doubt_peer, sizeof(d->doubt_peer), "%s", l->j->target);
		if (d->state == DOM_TRANSITION)
			dom_step(d, DEV_MIGRATE_HELD, NULL);
	}
	if (strcmp(d->last_error, why) != 0)
		plog(d->p, "%s: %s", d->spec.name, why);
	snprintf(d->last_error, sizeof(d->last_error), "%s", why);
	snprintf(l->j->progress.text, sizeof(l->j->progress.text), "%.150s", why);
	job_progressed(l->j);
}

static void on_resolve_done(void *arg, enum resolved what)
{
	struct live *l = arg;

	resolve_free(l->resolve);
	l->resolve = NULL;
	if (what != RESOLVED_MOVED) {
		live_end_stayed(l);
		return;
	}
	json_object_del(l->stats, "blackout_ms"); /* nobody measured it: what is there was predicted */
	live_moved(l, 1);
}

static const struct resolve_ops live_resolve_ops = {on_resolve_wait, on_resolve_done};

static int resolve_now(struct live *l, struct err *e)
{
	l->resolve = resolve_start(l->j->dom, l->j->target, l->epoch, l->was_paused, &live_resolve_ops, l);
	return l->resolve ? 0 : err_set(e, ENOMEM, "out of memory");
}

static void on_left_worker_end(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct err e;

	(void)fd;
	if (what & EV_TIMEOUT)
		plog(l->j->p, "%s: the worker of before does not end by itself; settling beside it",
			l->j->dom->spec.name);
	event_free(l->left);
	close(l->left_fd);
	l->left = NULL;
	if (resolve_now(l, &e) < 0)
		job_end(l->j, &e);
}

/* After a restart the old worker may still be finishing by itself: let it. The journal keeps both of us honest if it does not end. */
static int wait_for_left_worker(struct live *l)
{
	struct timeval tv = {LEFT_WORKER_MS / 1000, 0};

	l->left_fd = worker_find_left(l->j->p, l->j->dom->spec.name);
	if (l->left_fd < 0)
		return -ENOENT;
	l->left = event_new(l->j->p->base, l->left_fd, EV_READ, on_left_worker_end, l);
	if (l->left && event_add(l->left, &tv) == 0)
		return 0;
	if (l->left)
		event_free(l->left);
	l->left = NULL;
	close(l->left_fd);
	return -ENOMEM;
}

static int enter_settle(struct job *j, struct err *e)
{
	struct live *l = j->priv;

	if (l->end == END_MOVED) {
		live_moved(l, QUIT_WAIT_MS); /* the worker has told QEMU to quit; see to it */
		return 0;
	}
	if (l->is_restart && wait_for_left_worker(l) == 0)
		return 0;
	return resolve_now(l, e);
}

/* QEMU ended while we were at it. */
static void live_on_exit(struct job *j)
{
	struct live *l = j->priv;
	char tail[300] = "";
	struct err e;

	if (j->ended) {
		ended(j->dom);
		return;
	}
	launch_stderr_tail(&j->p->conf->host, j->dom->spec.name, tail, sizeof(tail));
	if (j->dom->end_reason[0]) /* by itself, or forced: no fault of QEMU's */
		err_set(&e, ESRCH, "its guest ended during the migration (%s)", j->dom->end_reason);
	else
		err_set(&e, ESRCH, "its QEMU ended during the migration%s%s", tail[0] ? ": " : "", tail);
	live_because(l, &e);
	if (l->end == END_MOVED)
		end_moved(l);
	else if (l->w && j->phase < PH_HANDOFF)
		worker_send(l->w, json_pack("{s:s}", "op", "cancel")); /* it sees it too; its end settles the rest */
	else if (!l->w && !l->is_restart && j->phase < PH_TRANSFER)
		live_end_stayed(l);
}

static const struct job_phase live_phases[PH_COUNT] = {
	[PH_CHECKS] = {"checks", live_enter_checks, NULL, NULL},
	[PH_QUIET] = {"quiet", live_enter_quiet, live_cancel_quiet, NULL},
	[PH_TRIM] = {"trim", live_enter_trim, live_cancel_trim, NULL},
	[PH_PREPARE] = {"prepare", live_enter_prepare, live_cancel_prepare, NULL},
	[PH_TRANSFER] = {"transfer", live_enter_transfer, live_cancel_worker, NULL},
	[PH_SUSPEND] = {"suspend", live_enter_nothing, live_cancel_worker, NULL},
	[PH_HANDOFF] = {"hand-off", live_enter_nothing, NULL,
		"the hand-off has begun and takes a fraction of a second"},
	[PH_POSTCOPY] = {"postcopy", live_enter_nothing, NULL,
		"its guest runs at the target already, and the rest of its memory follows: nothing can bring it back before that is there"},
	[PH_SETTLE] = {"settle", enter_settle, NULL, "the outcome is being settled with the target"},
};

/* As operators know them: 1 checks, 2 the target is made, 3 transfer, 4 suspension, 5 hand-off; 6 what follows it by post-copy. */
static const unsigned live_numbers[PH_COUNT] = {1, 1, 2, 2, 3, 4, 5, 6, 5};

static const struct job_type live_type = {.kind = JOB_MIGRATE,
	.operation = "migration",
	.phases = live_phases,
	.numbers = live_numbers,
	.n_phases = PH_COUNT,
	.on_exit = live_on_exit,
	.fini = live_fini};

/* After a restart there is only one thing left to do. */
static const struct job_type settle_type = {.kind = JOB_MIGRATE,
	.operation = "migration",
	.phases = &live_phases[PH_SETTLE],
	.numbers = &live_numbers[PH_SETTLE],
	.n_phases = 1,
	.on_exit = live_on_exit,
	.fini = live_fini};

static struct live *live_new(struct dom *d)
{
	struct live *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->refs = 1;
	l->left_fd = -1;
	l->mem_before = d->mem_bytes;
	l->timer = evtimer_new(d->p->base, on_timer_quit, l);
	if (!l->timer) {
		free(l);
		return NULL;
	}
	return l;
}

static int live_job(struct live *l, struct dom *d, const struct job_request *rq, struct job **out, struct err *e)
{
	int r = job_start(d, rq, &l->j, e);

	if (r < 0) {
		event_free(l->timer);
		free(l);
	} else if (out) {
		*out = l->j;
	}
	return r;
}

static json_t *live_detail(const struct move_request *rq, uint64_t epoch, bool paused)
{
	return json_pack("{s:s, s:I, s:b, s:b, s:s}", "host", rq->host, "epoch", (json_int_t)epoch, "paused", paused,
		"keep", rq->keep, "name", rq->name);
}

int live_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e)
{
	struct live *l = live_new(d);
	struct predict_out p;
	struct job_request jr = {
		.type = &live_type, .origin = rq->origin, .target = rq->host, .reason = rq->reason, .priv = l};
	uint64_t epoch = dom_next_epoch(d);
	json_t *detail = live_detail(rq, epoch, d->state == DOM_SUSPENDED);
	int r;

	if (!l || !detail) {
		if (l)
			event_free(l->timer);
		free(l);
		json_decref(detail);
		return err_set(e, ENOMEM, "out of memory");
	}
	l->rq = *rq;
	l->epoch = epoch;
	move_predict(d, rq, false, 0, &p);
	jr.predicted = predict_to_json(&p);
	jr.detail = detail;
	r = live_job(l, d, &jr, out, e);
	if (!r) {
		move_limits_complete(&l->rq.limits, &d->p->conf->migration);
		l->j->limits = move_limits_json(&l->rq.limits);
		if (live_deadline_arm(l, e) < 0)
			job_end(l->j, e);
	}
	json_decref(detail);
	return r;
}

int live_settle(struct dom *d, const char *target, uint64_t epoch, const json_t *detail_was, struct err *e)
{
	const char *name = json_string_value(json_object_get(detail_was, "name"));
	bool was_paused = json_is_true(json_object_get(detail_was, "paused"));
	struct move_request rq = {.keep = json_is_true(json_object_get(detail_was, "keep"))};
	struct live *l = live_new(d);
	json_t *detail;
	struct job_request jr = {.type = &settle_type,
		.origin = {.kind = BY_SELF},
		.target = target,
		.priv = l,
		.reason = "policyd was restarted during this migration"};
	int r;

	if (!l)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(rq.host, sizeof(rq.host), "%s", target);
	snprintf(rq.name, sizeof(rq.name), "%s", name ? name : "");
	jr.detail = detail = live_detail(&rq, epoch, was_paused);
	l->rq = rq;
	l->epoch = epoch;
	l->was_paused = was_paused;
	l->is_restart = true;
	l->prepared = true;
	err_set(&l->why, EINTR, "policyd was restarted during the migration");
	r = live_job(l, d, &jr, NULL, e);
	json_decref(detail);
	return r;
}
