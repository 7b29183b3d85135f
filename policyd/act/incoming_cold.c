/* Cold move, the target's side: adopt and cold-query (docs/peers.md).
 *
 *	launch -> record -> save
 *
 * The guest is started before the definition is taken, so that a start that fails leaves the definition where it was. What decides is one
 * durable word about this epoch in the store: ADOPTED or REFUSED, whichever is written first, once and for ever. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "policyd/act/incoming.h"
#include "policyd/kept.h"

#define START_MS 60000
#define AGAIN_MS 1000

enum { CI_LAUNCH, CI_RECORD, CI_SAVE, CI_COUNT };

struct query { /* a cold-query that waits for our QEMU to be gone, or for the store */
	TAILQ_ENTRY(query) link;
	struct peer_req *rq;
};
TAILQ_HEAD(queries, query);

struct cold_in {
	struct job *j; /* NULL: ended */
	unsigned refs;
	char from[NAME_MAX_LEN], uuid[37];
	uint64_t epoch;
	json_t *settings;
	bool start, refused, adopted;
	struct peer_req *adopt;
	struct queries queries;
	struct event *timer;
	struct err why;
};

static void cold_in_unref(struct cold_in *c)
{
	if (--c->refs)
		return;
	json_decref(c->settings);
	free(c);
}

static void answer_queries(struct cold_in *c, const char *state)
{
	struct query *q;

	while ((q = TAILQ_FIRST(&c->queries))) {
		TAILQ_REMOVE(&c->queries, q, link);
		peer_req_answer(q->rq, json_pack("{s:s}", "state", state));
		free(q);
	}
}

static void cold_in_fini(struct job *j, const struct err *e)
{
	struct cold_in *c = j->priv;
	struct query *q;

	c->j = NULL;
	if (c->adopt)
		peer_req_fail(c->adopt, e);
	c->adopt = NULL;
	while ((q = TAILQ_FIRST(&c->queries))) { /* only when policyd ends */
		TAILQ_REMOVE(&c->queries, q, link);
		peer_req_fail(q->rq, e);
		free(q);
	}
	event_free(c->timer);
	cold_in_unref(c);
}

static void timer_ms(struct cold_in *c, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(c->timer, &tv);
}

/* ---- the end without it -------------------------------------------------------------------------------------------------- */

static void end_refused(struct cold_in *c)
{
	struct job *j = c->j;
	struct dom *d = j->dom;
	struct policyd *p = d->p;
	struct err e;

	if (!c->why.code)
		err_set(&c->why, ECANCELED, "%s gave it up", c->from);
	err_set(&e, c->why.code, "%s from %s: %.400s", d->spec.name, c->from, c->why.msg);
	dom_cleanup(d);
	if (d->state == DOM_STARTING || d->state == DOM_ACTIVE || d->state == DOM_STOPPING)
		dom_step(d, DEV_EXITED, NULL);
	if (d->state == DOM_BOUND)
		dom_step(d, DEV_UNBIND, NULL);
	answer_queries(c, "none"); /* our QEMU is gone: the source may start it */
	j->drop = true;
	job_end(j, &e);
	cluster_report_now(p);
}

static void refused(struct cold_in *c)
{
	c->refused = true;
	if (c->j->dom->launched.pid)
		dom_kill(c->j->dom);
	else
		end_refused(c);
}

/* ---- the one word -------------------------------------------------------------------------------------------------------- */

static void on_cold_recorded(void *arg, enum store_cold recorded, const struct err *e)
{
	struct cold_in *c = arg;

	if (!c->j) {
		cold_in_unref(c);
		return;
	}
	c->refs--;
	if (e->code) {
		plog(c->j->p, "%s: %s; trying again", c->j->dom->spec.name, e->msg);
		timer_ms(c, AGAIN_MS);
	} else if (recorded == STORE_COLD_ADOPTED) {
		c->adopted = true;
		job_goto(c->j, CI_SAVE);
	} else {
		refused(c);
	}
}

static void record(struct cold_in *c, enum store_cold what)
{
	c->refs++;
	store_cold_set(c->j->p->store, c->uuid, c->epoch, what, on_cold_recorded, c);
}

/* Something is wrong: from now on it can only be refused. */
static void give_up(struct cold_in *c, const struct err *why)
{
	if (!c->why.code)
		c->why = *why;
	record(c, STORE_COLD_REFUSED);
}

static int enter_record(struct job *j, struct err *e)
{
	(void)e;
	record(j->priv, STORE_COLD_ADOPTED);
	return 0;
}

/* ---- launch --------------------------------------------------------------------------------------------------------------- */

static int enter_launch(struct job *j, struct err *e)
{
	struct cold_in *c = j->priv;
	struct dom_launch opt = {0};
	struct err bad;

	(void)e;
	if (!c->start) {
		job_goto(j, CI_RECORD);
		return 0;
	}
	timer_ms(c, START_MS);
	if (dom_step(j->dom, DEV_START, &bad) < 0 || dom_launch(j->dom, &opt, &bad) < 0)
		give_up(c, &bad);
	return 0;
}

static void cold_in_on_event(struct job *j, const char *event, const json_t *data)
{
	struct cold_in *c = j->priv;

	(void)data;
	if (j->ended || j->phase != CI_LAUNCH || strcmp(event, "QMP_READY") != 0 || c->why.code)
		return;
	evtimer_del(c->timer);
	dom_step(j->dom, DEV_RUNNING, NULL);
	j->dom->started_ms = now_wall_ms();
	job_goto(j, CI_RECORD);
}

static void cold_in_on_exit(struct job *j)
{
	struct cold_in *c = j->priv;
	struct err e;

	if (j->ended || c->adopted) {
		dom_ended(j->dom, true, "its QEMU ended");
		return;
	}
	if (c->refused) {
		end_refused(c);
		return;
	}
	dom_ended_starting(j->dom, &e);
	give_up(c, &e);
}

/* ---- save: it is ours --------------------------------------------------------------------------------------------------------- */

static void on_saved(void *arg, const struct err *e)
{
	struct cold_in *c = arg;
	struct policyd *p;

	if (!c->j) {
		cold_in_unref(c);
		return;
	}
	c->refs--;
	p = c->j->p;
	if (e->code) {
		plog(p, "%s: its definition cannot be stored: %s; trying again", c->j->dom->spec.name, e->msg);
		timer_ms(c, AGAIN_MS);
		return;
	}
	if (c->adopt)
		peer_req_answer(c->adopt, NULL);
	c->adopt = NULL;
	answer_queries(c, "adopted");
	job_end(c->j, NULL);
	cluster_report_now(p);
}

static int enter_save(struct job *j, struct err *e)
{
	struct cold_in *c = j->priv;
	struct dom *d = j->dom;

	(void)e;
	d->epoch = c->epoch;
	d->last_move_ms = now_wall_ms();
	d->bound = json_is_true(json_object_get(c->settings, "bound"));
	incoming_take_hold(d, json_object_get(c->settings, "hold"));
	dom_marks_take(d, json_object_get(c->settings, "marks"));
	if (!d->launched.pid && d->state == DOM_BOUND && !d->bound)
		dom_step(d, DEV_UNBIND, NULL);
	kept_del(j->p, d->spec.uuid, NULL, NULL); /* it is back */
	c->refs++;
	dom_save(d, on_saved, c);
	return 0;
}

static void on_timer_cold_in(evutil_socket_t fd, short what, void *arg)
{
	struct cold_in *c = arg;
	struct err e;

	(void)fd;
	(void)what;
	if (c->adopted) {
		job_goto(c->j, CI_SAVE);
	} else if (c->j->phase == CI_LAUNCH && !c->why.code) {
		err_set(&e, ETIMEDOUT, "QEMU did not answer within %d s", START_MS / 1000);
		give_up(c, &e);
	} else {
		record(c, c->why.code ? STORE_COLD_REFUSED : STORE_COLD_ADOPTED);
	}
}

#define NO_CANCEL "it is cancelled at its source host"
static const struct job_phase cold_in_phases[CI_COUNT] = {
	[CI_LAUNCH] = {"launch", enter_launch, NULL, NO_CANCEL},
	[CI_RECORD] = {"record", enter_record, NULL, NO_CANCEL},
	[CI_SAVE] = {"save", enter_save, NULL, NO_CANCEL},
};

static const struct job_type cold_in_type = {.kind = JOB_INCOMING,
	.operation = "incoming cold",
	.phases = cold_in_phases,
	.n_phases = CI_COUNT,
	.on_exit = cold_in_on_exit,
	.on_event = cold_in_on_event,
	.fini = cold_in_fini};

/* After a restart the word that is there is asked for by refusing: if it is ADOPTED, that is the answer. */
static int enter_settle(struct job *j, struct err *e)
{
	struct cold_in *c = j->priv;

	(void)e;
	give_up(c, &c->why);
	return 0;
}

static const struct job_phase cold_settle_phases[CI_COUNT] = {
	[CI_LAUNCH] = {"settle", enter_settle, NULL, NO_CANCEL},
	[CI_RECORD] = {"record", enter_settle, NULL, NO_CANCEL},
	[CI_SAVE] = {"save", enter_save, NULL, NO_CANCEL},
};

static const struct job_type cold_in_settle_type = {.kind = JOB_INCOMING,
	.operation = "incoming cold",
	.phases = cold_settle_phases,
	.n_phases = CI_COUNT,
	.on_exit = cold_in_on_exit,
	.fini = cold_in_fini};

/* ---- requests ------------------------------------------------------------------------------------------------------------------- */

static struct cold_in *cold_in_new(
	struct policyd *p, const char *from, const char *uuid, uint64_t epoch, const json_t *args)
{
	struct cold_in *c = calloc(1, sizeof(*c));
	const json_t *settings = json_object_get(args, "settings");

	if (!c)
		return NULL;
	c->refs = 1;
	c->epoch = epoch;
	c->start = json_is_true(json_object_get(args, "start"));
	TAILQ_INIT(&c->queries);
	snprintf(c->from, sizeof(c->from), "%s", from);
	snprintf(c->uuid, sizeof(c->uuid), "%s", uuid);
	c->settings = settings ? json_deep_copy(settings) : json_object();
	c->timer = evtimer_new(p->base, on_timer_cold_in, c);
	if (c->timer && c->settings)
		return c;
	if (c->timer)
		event_free(c->timer);
	json_decref(c->settings);
	free(c);
	return NULL;
}

static int cold_in_begin(
	struct policyd *p, struct cold_in *c, const struct admit_request *ar, const json_t *args, struct err *e)
{
	struct job_request jr = {.type = &cold_in_type, .origin = {.kind = BY_PEER}, .source = c->from, .priv = c};
	json_t *detail =
		json_pack("{s:s, s:I, s:O}", "from", c->from, "epoch", (json_int_t)c->epoch, "args", (json_t *)args);
	struct domain_spec spec = ar->spec;
	struct dom *d = NULL;
	int r;

	snprintf(spec.name, sizeof(spec.name), "%s", ar->name);
	snprintf(jr.origin.name, sizeof(jr.origin.name), "%s", c->from);
	jr.detail = detail;
	r = dom_new(p, &spec, &d, e);
	if (!r && c->start)
		r = dom_reserve(d, d->spec.vcpus_boot, d->spec.mem_boot, e);
	if (!r)
		r = dom_step(d, DEV_BIND, e);
	if (!r)
		r = job_start(d, &jr, &c->j, e);
	if (r < 0 && d)
		dom_free(d);
	json_decref(detail);
	return r;
}

static void adopt_go(struct asked *a)
{
	struct cold_in *c;
	char text[400];
	struct err e;

	if (strcmp(a->uuid, a->ar.spec.uuid) != 0)
		admit_fail(&a->f, "uuid", "the request names another uuid than its spec");
	if (a->f.n) {
		admit_text(&a->f, text, sizeof(text));
		err_set(&e, ENOSPC, "%s", text);
		peer_req_fail(a->rq, &e);
		return;
	}
	c = cold_in_new(a->p, a->from, a->uuid, a->epoch, a->args);
	if (!c || cold_in_begin(a->p, c, &a->ar, a->args, &e) < 0) {
		if (c) {
			event_free(c->timer);
			cold_in_unref(c);
		} else {
			err_set(&e, ENOMEM, "out of memory");
		}
		peer_req_fail(a->rq, &e);
		return;
	}
	c->adopt = a->rq;
}

void on_req_adopt(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct asked *a = NULL;
	struct err e;

	if (asked_new(arg, rq, from, args, &a, &e) < 0 || incoming_args(args, a->uuid, &a->epoch, &e) < 0) {
		peer_req_fail(rq, &e);
		asked_drop(a);
		return;
	}
	asked_admit(a, adopt_go);
}

static void on_query_recorded(void *arg, enum store_cold recorded, const struct err *e)
{
	struct peer_req *rq = arg;

	if (e->code)
		peer_req_fail(rq, e);
	else
		peer_req_answer(rq, json_pack("{s:s}", "state", recorded == STORE_COLD_ADOPTED ? "adopted" : "none"));
}

void on_req_cold_query(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct policyd *p = arg;
	struct cold_in *c = NULL;
	struct query *q;
	struct dom *d;
	char uuid[37];
	uint64_t epoch;
	struct err e;

	if (incoming_args(args, uuid, &epoch, &e) < 0) {
		peer_req_fail(rq, &e);
		return;
	}
	if (!p->settled) { /* a guest of that epoch may run here unsettled */
		err_set(&e, EAGAIN, "policyd there is starting; ask again");
		peer_req_fail(rq, &e);
		return;
	}
	d = dom_find_uuid(p, uuid);
	if (d && d->job && (d->job->type == &cold_in_type || d->job->type == &cold_in_settle_type))
		c = d->job->priv;
	if (!c || c->epoch != epoch) {
		store_cold_set(p->store, uuid, epoch, STORE_COLD_REFUSED, on_query_recorded, rq);
		return;
	}
	q = strcmp(c->from, from) == 0 ? calloc(1, sizeof(*q)) : NULL;
	if (!q) {
		err_set(&e, EACCES, "it comes from %s, not from %s", c->from, from);
		peer_req_fail(rq, &e);
		return;
	}
	q->rq = rq;
	TAILQ_INSERT_TAIL(&c->queries, q, link);
	if (!c->adopted && !c->refused) {
		err_set(&e, ECANCELED, "%s gave it up", from);
		give_up(c, &e);
	}
}

/* ---- after a restart ------------------------------------------------------------------------------------------------------------- */

int incoming_cold_settle(struct policyd *p, const json_t *op, struct err *e)
{
	const json_t *detail = json_object_get(op, "detail"), *args = json_object_get(detail, "args");
	const char *from = json_string_value(json_object_get(detail, "from"));
	struct job_request jr = {
		.type = &cold_in_settle_type, .origin = {.kind = BY_SELF}, .source = from, .detail = detail};
	struct admit_request ar;
	struct cold_in *c;
	char uuid[37];
	uint64_t epoch;
	struct dom *d;
	int r;

	if (!from || incoming_args(args, uuid, &epoch, e) < 0 || admit_request_parse(args, &ar, e) < 0)
		return err_wrap(e, "an unfinished cold move in the store");
	admit_request_fini(&ar);
	snprintf(ar.spec.name, sizeof(ar.spec.name), "%s", ar.name);
	d = dom_find_uuid(p, uuid);
	if (!d) {
		r = dom_new(p, &ar.spec, &d, e);
		if (r < 0)
			return r;
		dom_step(d, DEV_BIND, NULL);
	}
	if (d->job || d->epoch > epoch)
		return 0;
	c = cold_in_new(p, from, uuid, epoch, args);
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	err_set(&c->why, EINTR, "policyd was restarted during the move");
	jr.priv = c;
	r = job_start(d, &jr, &c->j, e);
	if (r < 0) {
		event_free(c->timer);
		cold_in_unref(c);
	}
	return r;
}
