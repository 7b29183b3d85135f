/* The job framework: see job.h. One job a domain; phases from a table; ended jobs are freed from the loop. */
#include "policyd/act/job.h"

#include "policyd/act/brain.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job_token { /* outlives the job when that ends first */
	struct job *j;
	void (*then)(struct job *j, const struct err *e);
};

static unsigned number(const struct job *j)
{
	return j->type->numbers ? j->type->numbers[j->phase] : j->phase + 1;
}

void job_text(const struct job *j, char out[160])
{
	size_t n = (size_t)snprintf(out, 160, "%s", j->type->operation);

	if (j->target[0])
		n += (size_t)snprintf(out + n, 160 - n, " to %s", j->target);
	else if (j->source[0])
		n += (size_t)snprintf(out + n, 160 - n, " from %s", j->source);
	snprintf(out + n, 160 - n, " (%u %s, %u %%)", number(j), j->type->phases[j->phase].name, j->progress.percent);
}

int job_busy(const struct job *j, struct err *e)
{
	const char *name = j->dom->spec.name;
	char text[160];

	job_text(j, text);
	if (j->type->kind == JOB_INCOMING)
		return err_set(e, EBUSY, "%s is busy: %s; wait for it, or cancel it on %s", name, text, j->source);
	if (j->type->phases[j->phase].no_cancel)
		return err_set(e, EBUSY, "%s is busy: %s; wait for it", name, text);
	return err_set(e, EBUSY, "%s is busy: %s; wait for it, or: policyctl cancel-operation %s", name, text, name);
}

static void enter_phase(struct job *j)
{
	const struct job_phase *ph = &j->type->phases[j->phase];
	struct err e = {0};

	if (j->p->stopping)
		return; /* it has no end in the store, so the next policyd settles it */
	j->entered = true;
	j->phase_ms = now_mono_ms();
	plog_debug(j->p, "%s: %s: phase %u %s", j->dom->spec.name, j->type->operation, number(j), ph->name);
	job_progressed(j);
	if (j->ended)
		return;
	if (ph->enter(j, &e))
		job_end(j, &e);
}

static void job_free(struct job *j)
{
	struct dom *d = j->dom;

	assert(TAILQ_EMPTY(&j->listeners));
	TAILQ_REMOVE(&j->p->ended, j, link);
	if (j->drop)
		dom_free(d); /* else @d may be gone by now */
	event_free(j->ev);
	json_decref(j->progress.extra);
	json_decref(j->limits);
	json_decref(j->predicted);
	json_decref(j->result);
	free(j);
}

static void on_store_saved(void *arg, const struct err *e)
{
	struct job_token *t = arg;

	if (t->j) {
		t->j->save = NULL;
		t->then(t->j, e);
	}
	free(t);
}

static struct job_token *token_new(struct job *j, void (*then)(struct job *j, const struct err *e))
{
	struct job_token *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	assert(!j->save);
	t->j = j;
	t->then = then;
	j->save = t;
	return t;
}

/* The store has it, or could not write it: the log says so then, and the job goes on all the same unless its kind looks at @unrecorded, for a full
 * disk must not keep an operator from stopping a guest. */
static void on_job_recorded(struct job *j, const struct err *e)
{
	j->unrecorded = e->code != 0;
	event_active(j->ev, EV_TIMEOUT, 0);
}

/* The loop's turn: a recorded job begins (if its kind has not gone on by itself), or an ended one is freed. */
static void on_job_turn(evutil_socket_t fd, short what, void *arg)
{
	struct job *j = arg;

	(void)fd, (void)what;
	if (j->ended)
		job_free(j);
	else if (!j->entered)
		enter_phase(j);
}

int job_start(struct dom *d, const struct job_request *rq, struct job **out, struct err *e)
{
	struct job_token *begun = NULL;
	struct job *j;
	char who[96];

	if (d->p->stopping) {
		json_decref(rq->predicted);
		return err_set(e, ESHUTDOWN, "policyd is stopping; ask again when it is back");
	}
	if (d->gone) {
		json_decref(rq->predicted);
		return err_set(e, ENOENT, "%s has left this host", d->spec.name);
	}
	if (d->job) {
		json_decref(rq->predicted);
		return job_busy(d->job, e);
	}
	j = calloc(1, sizeof(*j));
	if (j)
		j->ev = event_new(d->p->base, -1, 0, on_job_turn, j);
	if (j && j->ev)
		begun = token_new(j, on_job_recorded);
	if (!begun) {
		if (j && j->ev)
			event_free(j->ev);
		free(j);
		json_decref(rq->predicted);
		return err_set(e, ENOMEM, "%s: no memory for a job", d->spec.name);
	}
	j->type = rq->type;
	j->p = d->p;
	j->dom = d;
	j->origin = rq->origin;
	j->started_ms = now_wall_ms();
	j->progress.left_s = j->progress.blackout_ms = -1;
	j->predicted = rq->predicted;
	j->priv = rq->priv;
	TAILQ_INIT(&j->listeners);
	snprintf(j->target, sizeof(j->target), "%s", rq->target ? rq->target : "");
	snprintf(j->source, sizeof(j->source), "%s", rq->source ? rq->source : "");
	snprintf(j->reason, sizeof(j->reason), "%s", rq->reason ? rq->reason : "");
	origin_text(&j->origin, who);
	d->job = j;
	plog(d->p, "%s: %s asked for by %s%s%s", d->spec.name, j->type->operation, who, j->reason[0] ? ": " : "",
		j->reason);
	if (out)
		*out = j;
	j->id = store_op_begin(
		d->p->store, d->spec.uuid, d->spec.name, j->type->operation, who, rq->detail, on_store_saved, begun);
	return 0;
}

void job_goto(struct job *j, unsigned phase)
{
	if (j->ended)
		return;
	assert(phase < j->type->n_phases);
	j->phase = phase;
	enter_phase(j);
}

void job_next(struct job *j)
{
	if (j->ended)
		return;
	if (j->phase + 1 == j->type->n_phases)
		job_end(j, NULL);
	else
		job_goto(j, j->phase + 1);
}

/* History's sentence for an ended job. */
static void record_end(struct job *j, const struct err *e, bool ok)
{
	char who[96], text[512];
	const char *why = err_msg(e);
	size_t own = strlen(j->dom->spec.name);
	json_t *was = j->result ? json_object_get(j->result, "before") : NULL;
	json_t *is = j->result ? json_object_get(j->result, "after") : NULL;
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", j->type->operation);
	struct store_event ev = {.domain = j->dom->spec.name,
		.kind = j->type->operation,
		.who = who,
		.text = text,
		.ok = ok,
		.error = ok ? NULL : err_msg(e),
		.peer = j->target[0]   ? j->target
			: j->source[0] ? j->source
				       : NULL,
		.predicted = j->predicted,
		.actual = j->result};

	if (json_is_integer(was) && json_is_integer(is)) {
		if (j->type->kind == JOB_MEMORY) {
			char a[16], b[16];

			size_format((uint64_t)json_integer_value(was), a);
			size_format((uint64_t)json_integer_value(is), b);
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s -> %s", a, b);
		} else {
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %d -> %d", (int)json_integer_value(was),
				(int)json_integer_value(is));
		}
	}
	if (j->result && json_object_get(j->result, "cpu_cap")) {
		char cap[16];

		cpu_format((unsigned)json_integer_value(json_object_get(j->result, "cpu_cap")), cap);
		n += (size_t)snprintf(text + n, sizeof(text) - n, ", may use %s", cap);
	}
	if (j->target[0])
		n += (size_t)snprintf(text + n, sizeof(text) - n, " to %s", j->target);
	if (j->source[0])
		n += (size_t)snprintf(text + n, sizeof(text) - n, " from %s", j->source);
	if (j->reason[0])
		snprintf(text + n, sizeof(text) - n, ": %s", j->reason);
	origin_text(&j->origin, who);
	store_op_end(j->p->store, j->id, ok, ok ? text : err_msg(e));
	store_history_add(j->p->store, &ev);
	brain_ended(j->p, &ev);
	if (!strncmp(why, j->dom->spec.name, own) && !strncmp(why + own, ": ", 2))
		why += own + 2; /* the line begins with it already */
	plog(j->p, "%s: %s: %s", j->dom->spec.name, text, ok ? "done" : why);
}

void job_end(struct job *j, const struct err *e)
{
	struct err end = {0};
	bool ok = !e || !e->code;
	struct job_listener *l;

	if (j->ended)
		return;
	if (!ok)
		end = *e; /* @e may live in what fini frees */
	j->ended = true;
	if (j->save)
		j->save->j = NULL;
	if (j->type->fini)
		j->type->fini(j, &end);
	dom_unreserve(j->dom);
	dom_note_result(j->dom, j->type->operation, end.code == ECANCELED ? NULL : &end);
	record_end(j, &end, ok);
	if (j->drop) {
		j->dom->gone = true;
		if (j->dom->stored)
			store_domain_del(j->p->store, j->dom->spec.uuid, NULL, NULL);
	}
	j->dom->job = NULL; /* who hears of the end may start the next one */
	while ((l = TAILQ_FIRST(&j->listeners)) != NULL) {
		TAILQ_REMOVE(&j->listeners, l, link);
		l->job = NULL;
		l->on_end(l, j, &end);
	}
	TAILQ_INSERT_TAIL(&j->p->ended, j, link);
	event_active(j->ev, EV_TIMEOUT, 0);
}

void jobs_reap(struct policyd *p)
{
	while (!TAILQ_EMPTY(&p->ended))
		job_free(TAILQ_FIRST(&p->ended));
}

void job_abandon(struct job *j)
{
	struct err e;

	err_set(&e, ESHUTDOWN, "policyd stops");
	if (!j->ended) {
		j->ended = true;
		if (j->save)
			j->save->j = NULL;
		if (j->type->on_detach)
			j->type->on_detach(j);
		if (j->type->fini)
			j->type->fini(j, &e);
		j->dom->job = NULL;
		TAILQ_INSERT_TAIL(&j->p->ended, j, link);
	}
	while (!TAILQ_EMPTY(&j->listeners))
		job_unlisten(TAILQ_FIRST(&j->listeners));
	job_free(j);
}

int job_cancel(struct job *j, struct err *e)
{
	const struct job_phase *ph = &j->type->phases[j->phase];
	struct err end;

	if (j->ended)
		return 0;
	if (ph->no_cancel)
		return err_set(e, EBUSY, "%s: %s cannot be cancelled now: %s", j->dom->spec.name, j->type->operation,
			ph->no_cancel);
	if (j->cancel_asked)
		return 0;
	j->cancel_asked = true;
	plog(j->p, "%s: %s: cancel asked for in phase %u %s", j->dom->spec.name, j->type->operation, number(j),
		ph->name);
	if (ph->cancel && j->entered) {
		ph->cancel(j);
	} else {
		err_set(&end, ECANCELED, "%s: %s cancelled in phase %u %s", j->dom->spec.name, j->type->operation,
			number(j), ph->name);
		job_end(j, &end);
	}
	return 0;
}

int job_save(struct job *j, void (*then)(struct job *j, const struct err *e))
{
	struct job_token *t = token_new(j, then);

	if (!t)
		return -ENOMEM;
	dom_save(j->dom, on_store_saved, t);
	return 0;
}

void job_progressed(struct job *j)
{
	struct job_listener *l, *next;

	for (l = TAILQ_FIRST(&j->listeners); l; l = next) {
		next = TAILQ_NEXT(l, link);
		if (l->on_progress)
			l->on_progress(l, j);
	}
}

void job_listen(struct job *j, struct job_listener *l)
{
	assert(!j->ended);
	l->job = j;
	TAILQ_INSERT_TAIL(&j->listeners, l, link);
}

void job_unlisten(struct job_listener *l)
{
	if (!l->job)
		return;
	TAILQ_REMOVE(&l->job->listeners, l, link);
	l->job = NULL;
}

json_t *job_json(const struct job *j)
{
	const struct job_progress *pr = &j->progress;
	char who[96];
	json_t *o;

	origin_text(&j->origin, who);
	o = json_pack("{s:I, s:s, s:s, s:i, s:s, s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:b}", "id", (json_int_t)j->id,
		"domain", j->dom->spec.name, "operation", j->type->operation, "phase", (int)number(j), "phase_name",
		j->type->phases[j->phase].name, "percent", (int)pr->percent, "target", j->target, "source", j->source,
		"since_ms", (json_int_t)j->started_ms, "who", who, "text", pr->text, "reason", j->reason, "cancelling",
		(int)j->cancel_asked);
	if (!o)
		return NULL;
	json_object_set_new(o, "left_s", pr->left_s >= 0 ? json_real(pr->left_s) : json_null());
	json_object_set_new(o, "blackout_ms", pr->blackout_ms >= 0 ? json_real(pr->blackout_ms) : json_null());
	if (pr->extra)
		json_object_set(o, "extra", pr->extra);
	if (j->predicted)
		json_object_set(o, "predicted", j->predicted);
	if (j->limits)
		json_object_set(o, "limits", j->limits);
	return o;
}
