/* A live move while its worker is at it: what it tells, the limits and the deadline that it is held to. See live_int.h. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/live_int.h"

#define SILENT_MS 120000 /* a worker that says nothing, while the guest runs */
#define SILENT_DARK_MS                                                                                                 \
	15000 /* while it stands, and after a cancel: more than the worker itself waits for anything then */

/* ---- the worker -------------------------------------------------------------------------------------------------------- */

/* Killing it is safe at any time: its journal decides. Not killing one that hangs could keep the guest down for ever. */
static void guard_dark(struct live *l)
{
	worker_guard(l->w, SILENT_DARK_MS + move_digest_ms(l->j->dom, move_verify_full(l->j->p->conf)));
}

static void take_phase(struct live *l, const json_t *line)
{
	json_int_t ph = json_integer_value(json_object_get(line, "phase"));
	unsigned to = ph == 3 ? PH_TRANSFER : ph == 4 ? PH_SUSPEND : ph == 5 ? PH_HANDOFF : ph == 6 ? PH_POSTCOPY : 0;

	if (to <= l->j->phase)
		return;
	if (to > PH_TRANSFER) {
		l->j->progress.percent = 100;
		l->j->progress.left_s = 0;
		l->j->progress.text[0] = 0;
		guard_dark(l);
	}
	job_goto(l->j, to);
}

static void take_progress(struct live *l, const json_t *line)
{
	struct job_progress *pr = &l->j->progress;
	const json_t *left = json_object_get(line, "left_s"), *blackout = json_object_get(line, "blackout_ms");
	double rate = json_number_value(json_object_get(line, "rate_bps")),
	       dirty = json_number_value(json_object_get(line, "dirty_bps"));
	double percent = json_number_value(json_object_get(line, "percent"));
	long long slowed = (long long)json_integer_value(json_object_get(line, "throttle_percent"));

	pr->percent = percent < 0 ? 0 : percent > 100 ? 100 : (unsigned)percent;
	pr->left_s = json_is_number(left) ? json_number_value(left) : -1;
	pr->blackout_ms = json_number_value(blackout) > 0 ? json_number_value(blackout) : -1; /* 0: not known yet */
	snprintf(pr->text, sizeof(pr->text), "%.0f MB/s  round %lld, dirties %.1f MB/s", rate / 1e6,
		(long long)json_integer_value(json_object_get(line, "round")), dirty / 1e6);
	if (slowed > 0)
		snprintf(pr->text + strlen(pr->text), sizeof(pr->text) - strlen(pr->text), ", slowed by %lld %%",
			slowed);
	json_decref(pr->extra);
	pr->extra = json_copy((json_t *)line);
	job_progressed(l->j);
}

/* The worker asks for a guest that writes less, or for one that runs freely again. */
static void take_throttle(struct live *l, const json_t *line)
{
	unsigned percent = (unsigned)json_integer_value(json_object_get(line, "percent")),
		 cpu = (unsigned)json_integer_value(json_object_get(line, "cpu_percent"));
	struct dom *d = l->j->dom;
	struct err e = {0};

	if (l->j->cancel_asked) /* it was lifted for good */
		err_set(&e, ECANCELED, "cancelled");
	else if (percent > l->rq.limits.throttle_max)
		err_set(&e, EPERM, "only %u %% are allowed", l->rq.limits.throttle_max);
	else if (slow_set(&l->slow, d, percent ? cpu : 0, &e) == 0)
		plog(d->p,
			percent ? "%s: its guest is slowed by %u %% so that the move converges"
				: "%s: its guest runs freely again",
			d->spec.name, percent);
	l->slowed_percent = e.code ? l->slowed_percent : percent;
	if (e.code && e.code != ECANCELED)
		plog(d->p, "%s: its guest cannot be slowed: %s", d->spec.name, e.msg);
	worker_send(l->w, slow_answer(percent, &e));
}

static void on_worker_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct live *l = arg;

	(void)w;
	if (!strcmp(event, "throttle"))
		take_throttle(l, line);
	else if (!strcmp(event, "phase"))
		take_phase(l, line);
	else if (!strcmp(event, "progress"))
		take_progress(l, line);
	else if (!strcmp(event, "cancel-refused"))
		plog(l->j->p, "%s: too late to cancel: %s", l->j->dom->spec.name,
			json_string_value(json_object_get(line, "why")));
}

static void on_worker_end(void *arg, const json_t *done, const char *how)
{
	struct live *l = arg;
	const char *outcome = json_string_value(json_object_get(done, "outcome"));
	const char *error = json_string_value(json_object_get(done, "error"));
	int code = (int)json_integer_value(json_object_get(done, "code"));
	struct err e;

	l->w = NULL;
	live_guest_free(l);
	if (done) {
		json_decref(l->stats);
		l->stats = json_incref(json_object_get(done, "stats"));
	}
	if (outcome && !strcmp(outcome, "moved")) {
		l->end = END_MOVED;
	} else {
		if (json_is_true(json_object_get(done, "cancelled")) || (!done && l->j->cancel_asked))
			err_set(&e, ECANCELED, "cancelled");
		else if (outcome && !strcmp(outcome, "in-doubt")) /* should it stay, then because of this: */
			err_set(&e, EPIPE, "the connection broke during the hand-off, and %s has not taken it",
				l->j->target);
		else
			err_set(&e, code > 0 ? code : EIO, "%s",
				error && *error ? error
					: done  ? "the worker gave no reason"
						: how);
		live_because(l, &e); /* whatever it says of the guest: settle sees to it that it runs */
	}
	job_goto(l->j, PH_SETTLE);
}

static const struct worker_ops live_worker_ops = {on_worker_event, on_worker_end};

int live_enter_transfer(struct job *j, struct err *e)
{
	struct live *l = j->priv;
	struct dom *d = j->dom;
	struct worker_conf wc = {.p = d->p, .domain = d->spec.name, .verb = "run", .ops = &live_worker_ops, .arg = l};
	struct err bad;

	(void)e;
	if (l->w)
		return 0;
	wc.start = move_worker_line(d, "source", j->target, l->epoch);
	if (wc.start)
		json_object_update_new(wc.start,
			json_pack("{s:s, s:i, s:s, s:b, s:b, s:b}", "address", l->address, "port", (int)l->port,
				"token", l->token, "leave_paused", l->was_paused || l->rq.leave_paused, "was_paused",
				l->was_paused, "suspend", l->rq.method == MOVE_WARM));
	if (wc.start && l->rq.postcopy)
		json_object_update_new(wc.start, json_pack("{s:b, s:b}", "postcopy", 1, "verify_full", 0));
	if (wc.start) {
		json_object_update(wc.start, j->limits);
		slow_tell(d, wc.start);
	}
	if (worker_start(&wc, &l->w, &bad) < 0)
		live_prepare_failed(l, &bad);
	else
		worker_guard(l->w, SILENT_MS);
	return 0;
}

/* ---- deadline ---------------------------------------------------------------------------------------------------------- */

/* It is suspended now, or as soon as there is a worker; or the move is given up. Once the guest stands it takes no longer than it must anyway. */
static void on_timer_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct live *l = arg;
	struct job *j = l->j;
	struct err e;

	(void)fd;
	(void)what;
	if (j->ended || j->cancel_asked || j->phase > PH_TRANSFER)
		return;
	plog(j->p, "%s: its deadline has come: %s", j->dom->spec.name,
		l->rq.limits.deadline_suspend ? "its guest is suspended, the rest is copied" : "cancelled");
	if (!l->rq.limits.deadline_suspend) {
		err_set(&e, ETIMEDOUT, "it was not done by its deadline");
		live_because(l, &e);
		if (job_cancel(j, &e) < 0)
			plog(j->p, "%s", e.msg);
		return;
	}
	l->rq.method = MOVE_WARM;
	if (l->w)
		worker_send(l->w, json_pack("{s:s}", "op", "suspend"));
	live_quiet_over(l);
}

int live_deadline_arm(struct live *l, struct err *e)
{
	const struct move_limits *lim = &l->rq.limits;
	int64_t ms = lim->deadline_ms - now_wall_ms();
	struct timeval tv = {.tv_sec = ms > 0 ? ms / 1000 : 0, .tv_usec = ms > 0 ? ms % 1000 * 1000 : 1000};

	if (!lim->has_deadline)
		return 0;
	if (!l->deadline)
		l->deadline = evtimer_new(l->j->p->base, on_timer_deadline, l);
	if (!l->deadline)
		return err_set(e, ENOMEM, "out of memory");
	if (lim->deadline_ms)
		evtimer_add(l->deadline, &tv);
	else
		evtimer_del(l->deadline);
	return 0;
}

/* Before the worker is there they go into its first line, then to it. */
int live_set_limits(struct job *j, const struct move_limits *change, struct err *e)
{
	struct live *l = j->priv;
	json_t *line;

	if (j->ended || j->cancel_asked)
		return err_set(e, EBUSY, "%s: its migration is being cancelled", j->dom->spec.name);
	if (l->is_restart || j->phase > PH_SUSPEND) /* in it, the bandwidth counts when it was suspended early */
		return err_set(e, EBUSY, "%s: its migration is past the transfer; limits have no effect any more",
			j->dom->spec.name);
	line = move_limits_json(change);
	json_object_set_new(line, "op", json_string("limits"));
	if (!l->w)
		json_decref(line);
	else if (worker_send(l->w, line) < 0)
		return err_set(e, EBUSY, "%s: its migration is ending", j->dom->spec.name);
	move_limits_merge(&l->rq.limits, change);
	if (change->has_deadline && live_deadline_arm(l, e) < 0)
		return -ENOMEM;
	if (l->slow && change->has_throttle && change->throttle_max < l->slowed_percent)
		live_guest_free(l); /* at once; the worker asks for what is allowed now after its round */
	json_decref(j->limits);
	j->limits = move_limits_json(&l->rq.limits);
	job_progressed(j);
	return 0;
}

void live_cancel_worker(struct job *j)
{
	struct live *l = j->priv;

	if (!l->w)
		return;
	live_guest_free(l);
	worker_send(l->w, json_pack("{s:s}", "op", "cancel"));
	guard_dark(l);
}

int live_enter_nothing(struct job *j, struct err *e)
{
	(void)j;
	(void)e;
	return 0;
}
