/* Cold move, the source's side: shut down here, the definition moves, start there. docs/peers.md (adopt, cold-query), docs/hooks.md.
 *
 *	checks -> claim -> drain -> check -> stop -> adopt -> ask -> rejoin          moved: the domain leaves this host
 *	                          \________________________\-> back -> rejoin-here   stayed: started here again, and put back
 *
 * Each hook may say "not now". A failure before "stop" leaves the guest untouched. From "adopt" on the target's one durable word decides
 * ("ask" repeats cold-query until it answers); after a restart the job begins there. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/cold_int.h"

#define ADOPT_TIMEOUT_MS 90000
#define ASK_AGAIN_MS 1000
#define BACK_MS 60000

void cold_unref(struct cold *c)
{
	if (--c->refs)
		return;
	admit_request_fini(&c->ar);
	free(c);
}

static void cold_fini(struct job *j, const struct err *e)
{
	struct cold *c = j->priv;

	move_note_try(j, e);
	c->j = NULL;
	move_checks_cancel(c->checks);
	claim_cancel(c->claim);
	hook_cancel(c->hook);
	peer_call_forget(c->call);
	event_free(c->timer);
	cold_unref(c);
}

void cold_timer_ms(struct cold *c, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(c->timer, &tv);
}

void cold_because(struct cold *c, const struct err *e)
{
	if (!c->why.code)
		c->why = *e;
}

const struct conf_cluster_def *cold_cluster(const struct dom *d)
{
	for (unsigned i = 0; i < d->p->conf->n_clusters; i++)
		if (d->spec.cluster[0] && !strcmp(d->p->conf->clusters[i].name, d->spec.cluster))
			return &d->p->conf->clusters[i];
	return NULL;
}

json_t *cold_detail(const struct cold *c, const char *host)
{
	return json_pack("{s:s, s:I, s:b, s:b, s:b, s:s}", "host", host, "epoch", (json_int_t)c->epoch, "running",
		c->was_running, "stopping", c->stopping, "keep", c->rq.keep, "name", c->rq.name);
}

/* ---- the two ends ------------------------------------------------------------------------------------------------------------ */

void cold_end_moved(struct cold *c)
{
	struct job *j = c->j;
	struct policyd *p = j->p;
	j->drop = true;
	/* How long the guest was away ends with its boot, which only its own heartbeat knows: no blackout is claimed here. The outage is what budgets
	 * count: none where the other nodes of its cluster served meanwhile. */
	j->result = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "host", j->target, "method", "cold", "total_ms",
		(json_int_t)(now_wall_ms() - j->started_ms), "down_ms",
		(json_int_t)(c->stop_ms ? now_mono_ms() - c->stop_ms : 0), "outage_ms",
		(json_int_t)(c->stop_ms && !j->dom->spec.cluster[0] ? now_mono_ms() - c->stop_ms : 0), "forced",
		c->forced);
	if (c->rejoin_why.code)
		json_object_set_new(j->result, "rejoin_error", json_string(c->rejoin_why.msg));
	if (j->predicted)
		json_object_set(j->result, "predicted", j->predicted);
	move_keep(j, c->rq.keep, c->rq.name);
	job_end(j, NULL);
	cluster_report_now(p);
}

void cold_end_stayed(struct cold *c)
{
	struct job *j = c->j;
	struct dom *d = j->dom;
	const char *where = d->launched.pid ? "; it runs on here"
		: c->was_running            ? "; it does not run"
					    : "; it stays here";
	struct err e;

	d->doubt_peer[0] = 0;
	if (!c->why.code)
		err_set(&c->why, EINTR, "it was interrupted");
	if (c->why.code == ECANCELED)
		err_set(&e, ECANCELED, "%s -> %s cancelled%s", d->spec.name, j->target, where);
	else
		err_set(&e, c->why.code, "%s -> %s failed: %.350s%s", d->spec.name, j->target, c->why.msg, where);
	job_end(j, &e);
	cluster_report_now(d->p); /* it serves again */
}

void cold_stay(struct cold *c, const struct err *why)
{
	cold_because(c, why);
	if (c->was_running && !c->j->dom->launched.pid)
		job_goto(c->j, PC_BACK);
	else if (c->drained)
		job_goto(c->j, PC_REJOIN_HERE);
	else
		cold_end_stayed(c);
}

/* ---- checks -------------------------------------------------------------------------------------------------------------------- */

static void on_cold_checked(void *arg, const struct admit_failures *f, const struct volume_id *volumes)
{
	struct cold *c = arg;
	struct err e;
	char text[380];

	c->checks = NULL;
	memcpy(c->ar.volumes, volumes, sizeof(c->ar.volumes));
	if (!f->n) {
		job_next(c->j);
		return;
	}
	admit_text(f, text, sizeof(text));
	err_set(&e, EINVAL, "%s -> %s would fail: %s", c->j->dom->spec.name, c->j->target, text);
	c->j->result = json_pack("{s:o}", "failures", admit_to_json(f));
	job_end(c->j, &e);
}

static int enter_checks(struct job *j, struct err *e)
{
	struct cold *c = j->priv;

	c->checks = move_checks_start(j->dom, &c->rq, false, on_cold_checked, c);
	return c->checks ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* ---- adopt, ask ----------------------------------------------------------------------------------------------------------------------- */

static void moved_there(struct cold *c)
{
	c->j->dom->doubt_peer[0] = 0;
	c->j->dom->gone = true; /* nobody may start it here any more */
	if (c->was_running)
		job_goto(c->j, PC_REJOIN);
	else
		cold_end_moved(c);
}

static void on_answer_adopt(void *arg, const json_t *answer, const struct err *e)
{
	struct cold *c = arg;

	(void)answer;
	c->call = NULL;
	if (!e->code) {
		moved_there(c);
		return;
	}
	cold_because(c, e);
	job_goto(c->j, PC_ASK); /* whatever went wrong: its word decides */
}

static void on_epoch_durable(void *arg, const struct err *e)
{
	struct cold *c = arg;
	struct dom *d;
	json_t *args;
	struct err bad = *e;

	if (!c->j) {
		cold_unref(c);
		return;
	}
	c->refs--;
	d = c->j->dom;
	if (bad.code) {
		cold_stay(c, &bad);
		return;
	}
	c->ar.time_ms = now_wall_ms(); /* hooks may have taken minutes */
	args = admit_request_json(&c->ar);
	json_object_update_new(args,
		json_pack("{s:s, s:I, s:b, s:{s:b}}", "uuid", d->spec.uuid, "epoch", (json_int_t)c->epoch, "start",
			c->was_running, "settings", "bound", c->was_bound));
	json_object_set_new(json_object_get(args, "settings"), "marks", dom_marks_json(d) ?: json_object());
	if (d->hold.on)
		json_object_set_new(json_object_get(args, "settings"), "hold",
			json_pack("{s:s, s:I, s:s}", "reason", d->hold.reason, "until_ms", (json_int_t)d->hold.until_ms,
				"by", d->hold.by));
	if (cluster_call(d->p, c->j->target, "adopt", args, ADOPT_TIMEOUT_MS, on_answer_adopt, c, &c->call, &bad) < 0)
		cold_stay(c, &bad); /* it was not even sent */
}

static int enter_adopt(struct job *j, struct err *e)
{
	struct cold *c = j->priv;

	(void)e;
	c->refs++;
	move_take_epoch(j->dom, c->epoch, on_epoch_durable, c);
	return 0;
}

static void on_answer_query(void *arg, const json_t *answer, const struct err *e)
{
	struct cold *c = arg;
	const char *state = json_string_value(json_object_get(answer, "state"));
	struct dom *d = c->j->dom;

	c->call = NULL;
	if (!e->code && state && !strcmp(state, "adopted")) {
		moved_there(c);
	} else if (!e->code && state && !strcmp(state, "none")) {
		d->doubt_peer[0] = 0;
		cold_stay(c, &c->why);
	} else {
		snprintf(d->doubt_peer, sizeof(d->doubt_peer), "%s", c->j->target);
		snprintf(d->last_error, sizeof(d->last_error),
			"the move to %s was cut; it stays down until %s says whether it has it (%.300s)", c->j->target,
			c->j->target, e->code ? e->msg : "it gave no clear answer");
		snprintf(c->j->progress.text, sizeof(c->j->progress.text), "%.150s", d->last_error);
		job_progressed(c->j);
		cold_timer_ms(c, ASK_AGAIN_MS);
	}
}

static int enter_ask(struct job *j, struct err *e)
{
	struct cold *c = j->priv;
	struct err bad;

	(void)e;
	if (cluster_call(j->p, j->target, "cold-query", move_query_args(j->dom, c->epoch), 0, on_answer_query, c,
		    &c->call, &bad) < 0)
		on_answer_query(c, NULL, &bad);
	return 0;
}

/* ---- back ------------------------------------------------------------------------------------------------------------------------------- */

static int enter_back(struct job *j, struct err *e)
{
	struct cold *c = j->priv;
	struct dom *d = j->dom;
	struct dom_launch opt = {0};
	struct err bad;
	int r = 0;

	(void)e;
	if (d->state == DOM_INACTIVE)
		r = dom_step(d, DEV_BIND, &bad);
	if (!r)
		r = dom_step(d, DEV_START, &bad);
	if (!r)
		r = dom_launch(d, &opt, &bad);
	if (r < 0) {
		plog(d->p, "%s: cannot be started here again: %s", d->spec.name, bad.msg);
		if (d->state == DOM_STARTING)
			dom_ended(d, true, bad.msg);
		cold_end_stayed(c);
		return 0;
	}
	cold_timer_ms(c, BACK_MS);
	return 0;
}

static void cold_on_event(struct job *j, const char *event, const json_t *data)
{
	struct cold *c = j->priv;

	(void)data;
	if (j->ended || j->phase != PC_BACK || strcmp(event, "QMP_READY") != 0)
		return;
	evtimer_del(c->timer);
	dom_step(j->dom, DEV_RUNNING, NULL);
	j->dom->started_ms = now_wall_ms();
	dom_save(j->dom, NULL, NULL);
	job_goto(j, PC_REJOIN_HERE);
}

static void on_timer_cold(evutil_socket_t fd, short what, void *arg)
{
	struct cold *c = arg;

	(void)fd;
	(void)what;
	switch (c->j->phase) {
	case PC_STOP:
		cold_press(c);
		return;
	case PC_ASK:
		job_goto(c->j, PC_ASK);
		return;
	case PC_BACK:
		plog(c->j->p, "%s: QEMU does not answer; ended", c->j->dom->spec.name);
		dom_kill(c->j->dom);
		return;
	default:
		cold_run_hook(c);
	}
}

static const struct job_phase cold_phases[PC_COUNT] = {
	[PC_CHECKS] = {"checks", enter_checks, NULL, NULL},
	[PC_CLAIM] = {"claim", cold_enter_claim, cold_cancel_claim, NULL},
	[PC_DRAIN] = {"drain", cold_enter_hook, cold_cancel_hook, NULL},
	[PC_CHECK] = {"cluster check", cold_enter_hook, cold_cancel_hook, NULL},
	[PC_STOP] = {"stop", cold_enter_stop, NULL,
		"its guest is being shut down; it is started again where the move ends"},
	[PC_ADOPT] = {"adopt", enter_adopt, NULL, "the target is taking it"},
	[PC_ASK] = {"ask", enter_ask, NULL, "only the target can say whether it has it"},
	[PC_REJOIN] = {"rejoin", cold_enter_hook, NULL, "it has moved already"},
	[PC_BACK] = {"start again", enter_back, NULL, "it is being started here again"},
	[PC_REJOIN_HERE] = {"rejoin here", cold_enter_hook, NULL, "it is being put back into its cluster"},
};

/* As operators count them: the claim is one of the checks. */
static const unsigned cold_numbers[PC_COUNT] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 9};

static const struct job_type cold_type = {.kind = JOB_COLD_MOVE,
	.operation = "cold move",
	.phases = cold_phases,
	.numbers = cold_numbers,
	.n_phases = PC_COUNT,
	.on_exit = cold_on_exit,
	.on_event = cold_on_event,
	.fini = cold_fini};

/* After a restart: ask first. Of a guest that still runs adopt was never sent; where its power button may have been pressed it goes down first. */
static int enter_settle(struct job *j, struct err *e)
{
	struct cold *c = j->priv;

	(void)e;
	if (j->dom->launched.pid && c->stopping) {
		job_goto(j, PC_STOP);
	} else if (j->dom->launched.pid) {
		c->drained = cold_cluster(j->dom) != NULL;
		cold_stay(c, &c->why);
	} else {
		job_goto(j, PC_ASK);
	}
	return 0;
}

static const struct job_phase cold_settle_phases[PC_COUNT] = {
	[PC_CHECKS] = {"settle", enter_settle, NULL, "policyd is settling what was interrupted"},
	[PC_CLAIM] = {"claim", cold_enter_claim, cold_cancel_claim, NULL},
	[PC_DRAIN] = {"drain", cold_enter_hook, NULL, NULL},
	[PC_CHECK] = {"cluster check", cold_enter_hook, NULL, NULL},
	[PC_STOP] = {"stop", cold_enter_stop, NULL, NULL},
	[PC_ADOPT] = {"adopt", enter_adopt, NULL, NULL},
	[PC_ASK] = {"ask", enter_ask, NULL, "only the target can say whether it has it"},
	[PC_REJOIN] = {"rejoin", cold_enter_hook, NULL, "it has moved already"},
	[PC_BACK] = {"start again", enter_back, NULL, "it is being started here again"},
	[PC_REJOIN_HERE] = {"rejoin here", cold_enter_hook, NULL, "it is being put back into its cluster"},
};

static const struct job_type cold_settle_type = {.kind = JOB_COLD_MOVE,
	.operation = "cold move",
	.phases = cold_settle_phases,
	.numbers = cold_numbers,
	.n_phases = PC_COUNT,
	.on_exit = cold_on_exit,
	.on_event = cold_on_event,
	.fini = cold_fini};

static struct cold *cold_new(struct dom *d)
{
	struct cold *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->was_running = d->launched.pid != 0;
	c->was_bound = d->bound;
	c->timer = evtimer_new(d->p->base, on_timer_cold, c);
	if (c->timer)
		return c;
	free(c);
	return NULL;
}

static int cold_job(struct cold *c, struct dom *d, struct job_request *jr, struct job **out, struct err *e)
{
	json_t *detail = cold_detail(c, jr->target);
	int r;

	jr->detail = detail;
	jr->priv = c;
	r = job_start(d, jr, &c->j, e);
	json_decref(detail);
	if (r < 0) {
		event_free(c->timer);
		cold_unref(c);
	} else if (out) {
		*out = c->j;
	}
	return r;
}

int cold_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e)
{
	struct cold *c = cold_new(d);
	struct predict_out p;
	struct job_request jr = {.type = &cold_type, .origin = rq->origin, .target = rq->host, .reason = rq->reason};

	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->rq = *rq;
	c->epoch = dom_next_epoch(d);
	move_admit_request(d, rq, false, NULL, &c->ar);
	move_predict(d, rq, true, 0, &p);
	jr.predicted = predict_to_json(&p);
	return cold_job(c, d, &jr, out, e);
}

int cold_settle(struct dom *d, const json_t *op, struct err *e)
{
	const json_t *detail = json_object_get(op, "detail");
	const char *host = json_string_value(json_object_get(detail, "host")),
		   *name = json_string_value(json_object_get(detail, "name"));
	struct job_request jr = {.type = &cold_settle_type,
		.origin = {.kind = BY_SELF},
		.target = host,
		.reason = "policyd was restarted during this move"};
	struct cold *c;

	if (!host)
		return err_set(e, EINVAL, "%s: an unfinished cold move without a host", d->spec.name);
	c = cold_new(d);
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->restart = true;
	c->drained = true;
	c->epoch = (uint64_t)json_integer_value(json_object_get(detail, "epoch"));
	c->was_running = json_is_true(json_object_get(detail, "running"));
	c->rq.keep = json_is_true(json_object_get(detail, "keep"));
	snprintf(c->rq.name, sizeof(c->rq.name), "%s", name ? name : "");
	c->stopping = json_is_true(json_object_get(detail, "stopping"));
	err_set(&c->why, EINTR, "policyd was restarted during the move");
	return cold_job(c, d, &jr, NULL, e);
}
