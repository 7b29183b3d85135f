/* Live move, the target's side: the job that receives a domain (what peers ask is in asked.c).
 *
 *	launch -> listen -> receive -> settle -> activate
 *	                                 \-> postcopy -/   PARTIAL is there: the guest runs, and a worker waits for the rest of its memory
 *
 * The domain is an object of ours from the first moment (so that its room is taken and everybody can see it) but not in the store. Whatever ends the
 * worker, the journal decides in "settle": REFUSED is recorded, or OWNER is there already. Who asks for the outcome (abort, handoff-query) is
 * answered only after that is durable. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/incoming_int.h"

#define LAUNCH_MS 30000
#define CONNECT_MS 60000     /* the source must connect within this */
#define SILENT_MS 120000     /* a worker that says nothing */
#define SILENT_DARK_MS 30000 /* while the guest stands: the source's side gives up before, and asks */

void incoming_unref(struct incoming *in)
{
	if (--in->refs)
		return;
	json_decref(in->settings);
	free(in);
}

bool incoming_answered(struct incoming *in)
{
	if (in->j) {
		in->refs--;
		return true;
	}
	incoming_unref(in);
	return false;
}

void incoming_because(struct incoming *in, const struct err *e)
{
	if (!in->why.code)
		in->why = *e;
}

void incoming_timer(struct incoming *in, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(in->timer, &tv);
}

static void prepare_answer(struct incoming *in, json_t *fields)
{
	if (in->prepare)
		peer_req_answer(in->prepare, fields);
	else
		json_decref(fields);
	in->prepare = NULL;
}

void incoming_prepare_fail(struct incoming *in, const struct err *e)
{
	if (in->prepare)
		peer_req_fail(in->prepare, e);
	in->prepare = NULL;
}

void incoming_answer_json(struct incoming *in, json_t *answer)
{
	struct waiter *wt;

	while ((wt = TAILQ_FIRST(&in->waiters))) {
		TAILQ_REMOVE(&in->waiters, wt, link);
		peer_req_answer(wt->rq, json_copy(answer));
		free(wt);
	}
	json_decref(answer);
}

void incoming_answer(struct incoming *in, const char *state)
{
	incoming_answer_json(in, json_pack("{s:s}", "state", state));
}

static void incoming_fini(struct job *j, const struct err *e)
{
	struct incoming *in = j->priv;
	struct waiter *wt;

	in->j = NULL;
	incoming_prepare_fail(in, e);
	while ((wt = TAILQ_FIRST(&in->waiters))) { /* only when policyd ends: they ask again */
		TAILQ_REMOVE(&in->waiters, wt, link);
		peer_req_fail(wt->rq, e);
		free(wt);
	}
	worker_leave(in->w);
	in->w = NULL;
	event_free(in->timer);
	if (in->left) {
		event_free(in->left);
		close(in->left_fd);
	}
	incoming_unref(in);
}

/* ---- launch ------------------------------------------------------------------------------------------------------------- */

static int enter_launch(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;
	struct dom_launch opt = {.incoming = true,
		.vcpu_ids = in->vcpu_ids,
		.n_vcpu_ids = in->n_vcpu_ids,
		.no_guest_agent = in->no_guest_agent,
		.machine = in->machine[0] ? in->machine : NULL};
	struct err bad;

	(void)e;
	if (j->unrecorded) { /* nothing has happened for this epoch, and nothing will */
		err_set(&bad, EIO, "%s cannot record it in its policyd.db (its log says why); mend that and try again",
			j->p->conf->host.host_name);
		incoming_because(in, &bad);
		incoming_refused(in);
		return 0;
	}
	incoming_timer(in, LAUNCH_MS);
	if (dom_launch(j->dom, &opt, &bad) < 0)
		incoming_outcome(in, &bad);
	return 0;
}

static void incoming_on_event(struct job *j, const char *event, const json_t *data)
{
	(void)data;
	if (!j->ended && j->phase == IN_LAUNCH && !strcmp(event, "QMP_READY"))
		job_next(j);
}

/* ---- listen ----------------------------------------------------------------------------------------------------------- */

static void take_progress(struct incoming *in, const json_t *line)
{
	struct job_progress *pr = &in->j->progress;
	double percent = json_number_value(json_object_get(line, "percent"));

	pr->text[0] = 0;
	pr->percent = percent < 0 ? 0 : percent > 100 ? 100 : (unsigned)percent;
	json_decref(pr->extra);
	pr->extra = json_copy((json_t *)line);
	job_progressed(in->j);
}

/* What a restart needs is on disk since before the first phase: the source may connect. */
static void take_listening(struct incoming *in, int port)
{
	if (in->j->phase == IN_POSTCOPY) {
		incoming_answer_json(in,
			json_pack("{s:s, s:i, s:s, s:s}", "state", "PARTIAL", "port", port, "address",
				in->j->p->conf->address, "token", in->token));
		return;
	}
	prepare_answer(
		in, json_pack("{s:i, s:s, s:s}", "port", port, "address", in->j->p->conf->address, "token", in->token));
	incoming_timer(in, CONNECT_MS);
	if (in->j->phase == IN_LISTEN)
		job_next(in->j);
}

static unsigned dark_ms(const struct incoming *in)
{
	return SILENT_DARK_MS + move_digest_ms(in->j->dom, json_is_true(json_object_get(in->settings, "verify_full")));
}

static void on_worker_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct incoming *in = arg;

	if (!strcmp(event, "listening")) {
		take_listening(in, (int)json_integer_value(json_object_get(line, "port")));
	} else if (!strcmp(event, "progress") ||
		(!strcmp(event, "phase") && json_integer_value(json_object_get(line, "phase")) >= 3)) {
		in->connected = true;
		evtimer_del(in->timer);
		worker_guard(w, json_integer_value(json_object_get(line, "phase")) > 3 ? dark_ms(in) : SILENT_MS);
		if (!strcmp(event, "progress"))
			take_progress(in, line);
		else if (json_integer_value(json_object_get(line, "phase")) == 6 && in->j->phase < IN_POSTCOPY)
			job_goto(in->j, IN_POSTCOPY); /* this worker is at it already */
	}
}

static void say_waits(struct incoming *in)
{
	snprintf(in->j->progress.text, sizeof(in->j->progress.text), "waits for %s, which has some of its memory",
		in->from);
	job_progressed(in->j);
}

static void postcopy_again(struct incoming *in, const struct err *why)
{
	struct dom *d = in->j->dom;

	if (strcmp(d->last_error, why->msg) != 0)
		plog(d->p,
			"%s: %s (if %s's memory of it is lost for good: policyctl stop --force %s, then start it anew)",
			d->spec.name, why->msg, in->from, d->spec.name);
	snprintf(d->last_error, sizeof(d->last_error), "%s", why->msg);
	say_waits(in);
	incoming_timer(in, INCOMING_AGAIN_MS);
}

static void on_worker_end(void *arg, const json_t *done, const char *how)
{
	struct incoming *in = arg;
	const char *outcome = json_string_value(json_object_get(done, "outcome"));
	const char *error = json_string_value(json_object_get(done, "error"));
	struct err e;

	in->w = NULL;
	if (outcome && !strcmp(outcome, "moved")) {
		in->owner = true;
		in->j->result = json_incref(json_object_get(done, "stats"));
	}
	err_set(&e, EIO, "%s", error && *error ? error : done ? "the worker gave no reason" : how);
	if (in->j->phase == IN_POSTCOPY && !in->owner && in->j->dom->launched.pid)
		postcopy_again(in, &e);
	else
		incoming_outcome(in, &e);
}

static const struct worker_ops incoming_worker_ops = {on_worker_event, on_worker_end};

static int enter_listen(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;
	struct dom *d = j->dom;
	const struct conf *c = d->p->conf;
	struct worker_conf wc = {
		.p = d->p, .domain = d->spec.name, .verb = "run", .ops = &incoming_worker_ops, .arg = in};
	struct err bad;

	(void)e;
	wc.start = move_worker_line(d, "target", in->from, in->epoch);
	if (wc.start)
		json_object_update_new(wc.start,
			json_pack("{s:s, s:i, s:[i, i], s:s, s:b, s:b, s:i, s:b}", "address", c->address, "port", 0,
				"ports", (int)c->migration.port_first, (int)c->migration.port_last, "token", in->token,
				"leave_paused", in->paused, "was_paused", in->paused, "channels",
				(int)json_integer_value(json_object_get(in->settings, "channels")), "verify_full",
				json_is_true(json_object_get(in->settings, "verify_full"))));
	if (worker_start(&wc, &in->w, &bad) < 0)
		incoming_outcome(in, &bad);
	else
		incoming_timer(in, LAUNCH_MS);
	return 0;
}

/* The guest runs, and waits where it needs what is not here yet. Until that is here: a worker that the source's can connect to. */
static int enter_postcopy(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;
	struct worker_conf wc = {
		.p = j->p, .domain = j->dom->spec.name, .verb = "run", .ops = &incoming_worker_ops, .arg = in};
	const struct conf *c = j->p->conf;
	struct err bad;

	(void)e;
	evtimer_del(in->timer);
	if (in->w)
		return 0;
	wc.start = move_worker_line(j->dom, "target", in->from, in->epoch);
	if (wc.start)
		json_object_update_new(wc.start,
			json_pack("{s:s, s:i, s:[i, i], s:s, s:b, s:b, s:b}", "address", c->address, "port", 0, "ports",
				(int)c->migration.port_first, (int)c->migration.port_last, "token", in->token,
				"leave_paused", in->paused, "was_paused", in->paused, "resume", 1));
	if (worker_start(&wc, &in->w, &bad) < 0)
		postcopy_again(in, &bad);
	else
		say_waits(in); /* until it tells of progress */
	return 0;
}

static int enter_receive(struct job *j, struct err *e)
{
	(void)j;
	(void)e;
	return 0;
}

/* Launch, listen or the source took too long; or a record must be tried again. */
void incoming_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct incoming *in = arg;
	struct err e;

	(void)fd;
	(void)what;
	if (incoming_settling(in)) {
		incoming_record_refused(in);
		return;
	}
	if (in->j->phase == IN_ACTIVATE) {
		job_goto(in->j, IN_ACTIVATE);
		return;
	}
	if (in->j->phase == IN_POSTCOPY) {
		if (!in->w)
			job_goto(in->j, IN_POSTCOPY);
		return;
	}
	if (in->j->phase == IN_RECEIVE)
		err_set(&e, ETIMEDOUT, "%s did not connect within %d s", in->from, CONNECT_MS / 1000);
	else
		err_set(&e, ETIMEDOUT, "%s was not ready to receive within %d s", in->j->dom->spec.name,
			LAUNCH_MS / 1000);
	if (in->w) {
		incoming_because(in, &e);
		worker_kill(in->w);
	} else {
		incoming_outcome(in, &e);
	}
}

static void incoming_on_exit(struct job *j)
{
	struct incoming *in = j->priv;
	char tail[300] = "";
	struct err e;

	if (j->ended) {
		dom_ended(j->dom, true, "its QEMU ended");
		return;
	}
	if (in->refused) {
		incoming_end_refused(in);
		return;
	}
	launch_stderr_tail(&j->p->conf->host, j->dom->spec.name, tail, sizeof(tail));
	err_set(&e, ESRCH, "the target's QEMU ended%s%s", tail[0] ? ": " : "", tail);
	if (j->phase == IN_ACTIVATE)
		job_goto(j, IN_ACTIVATE);
	else if (j->phase == IN_POSTCOPY && in->w)
		worker_kill(in->w);
	else if (in->w)
		incoming_because(in, &e); /* the worker sees it too */
	else if (!incoming_settling(in))
		incoming_outcome(in, &e);
	if (in->w && !in->connected)
		worker_kill(in->w);
}

bool incoming_in_postcopy(const struct job *j)
{
	return j->type->kind == JOB_INCOMING && j->phase == IN_POSTCOPY;
}

#define NO_CANCEL "it is cancelled at its source host"
#define NO_CANCEL_POSTCOPY "its guest runs here already, and waits for memory that is at its source host"
static const struct job_phase incoming_phases[IN_COUNT] = {
	[IN_LAUNCH] = {"prepare", enter_launch, NULL, NO_CANCEL},
	[IN_LISTEN] = {"listen", enter_listen, NULL, NO_CANCEL},
	[IN_RECEIVE] = {"receive", enter_receive, NULL, NO_CANCEL},
	[IN_SETTLE] = {"settle", incoming_enter_settle, NULL, NO_CANCEL},
	[IN_POSTCOPY] = {"postcopy", enter_postcopy, NULL, NO_CANCEL_POSTCOPY},
	[IN_ACTIVATE] = {"activate", incoming_enter_activate, NULL, NO_CANCEL},
};

static const unsigned incoming_numbers[IN_COUNT] = {2, 2, 3, 5, 6, 5}; /* the source's phases, as it tells them */

const struct job_type incoming_type = {.kind = JOB_INCOMING,
	.operation = "incoming",
	.phases = incoming_phases,
	.numbers = incoming_numbers,
	.n_phases = IN_COUNT,
	.on_exit = incoming_on_exit,
	.on_event = incoming_on_event,
	.fini = incoming_fini};

/* After a restart: settle is all there is to do; job_goto(IN_ACTIVATE) must work too, so the table is the same and launch is replaced. */
static const struct job_phase settle_phases[IN_COUNT] = {
	[IN_LAUNCH] = {"settle", incoming_enter_settle, NULL, NO_CANCEL},
	[IN_LISTEN] = {"settle", incoming_enter_settle, NULL, NO_CANCEL},
	[IN_RECEIVE] = {"settle", incoming_enter_settle, NULL, NO_CANCEL},
	[IN_SETTLE] = {"settle", incoming_enter_settle, NULL, NO_CANCEL},
	[IN_POSTCOPY] = {"postcopy", enter_postcopy, NULL, NO_CANCEL_POSTCOPY},
	[IN_ACTIVATE] = {"activate", incoming_enter_activate, NULL, NO_CANCEL},
};

const struct job_type incoming_settle_type = {.kind = JOB_INCOMING,
	.operation = "incoming",
	.phases = settle_phases,
	.n_phases = IN_COUNT,
	.on_exit = incoming_on_exit,
	.on_event = NULL,
	.fini = incoming_fini};
