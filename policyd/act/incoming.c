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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "policyd/act/cpu_group.h"
#include "policyd/act/incoming.h"
#include "policyd/kept.h"
#include "resize/balloon.h"

#define LAUNCH_MS 30000
#define CONNECT_MS 60000 /* the source must connect within this */
#define AGAIN_MS 1000
#define LEFT_WORKER_MS 60000
#define SILENT_MS 120000     /* a worker that says nothing */
#define SILENT_DARK_MS 30000 /* while the guest stands: the source's side gives up before, and asks */

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

static void incoming_unref(struct incoming *in)
{
	if (--in->refs)
		return;
	json_decref(in->settings);
	free(in);
}

static void because(struct incoming *in, const struct err *e)
{
	if (!in->why.code)
		in->why = *e;
}

static void timer_ms(struct incoming *in, unsigned ms)
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

static void prepare_fail(struct incoming *in, const struct err *e)
{
	if (in->prepare)
		peer_req_fail(in->prepare, e);
	in->prepare = NULL;
}

/* @answer is stolen. */
static void answer_waiters_json(struct incoming *in, json_t *answer)
{
	struct waiter *wt;

	while ((wt = TAILQ_FIRST(&in->waiters))) {
		TAILQ_REMOVE(&in->waiters, wt, link);
		peer_req_answer(wt->rq, json_copy(answer));
		free(wt);
	}
	json_decref(answer);
}

static void answer_waiters(struct incoming *in, const char *state)
{
	answer_waiters_json(in, json_pack("{s:s}", "state", state));
}

static void incoming_fini(struct job *j, const struct err *e)
{
	struct incoming *in = j->priv;
	struct waiter *wt;

	in->j = NULL;
	prepare_fail(in, e);
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

/* ---- the end without the guest ---------------------------------------------------------------------------------------- */

static void end_refused(struct incoming *in)
{
	struct job *j = in->j;
	struct dom *d = j->dom;
	struct policyd *p = d->p;
	struct err e;

	if (!in->why.code)
		err_set(&in->why, ECANCELED, "the source gave up");
	err_set(&e, in->why.code, "%s from %s: %.400s", d->spec.name, in->from, in->why.msg);
	dom_cleanup(d);
	if (d->state == DOM_TRANSITION)
		dom_step(d, DEV_MIGRATE_GONE, NULL);
	j->drop = true;
	job_end(j, &e);
	cluster_report_now(p);
}

/* REFUSED is durable: nobody runs this QEMU any more. */
static void refused(struct incoming *in)
{
	in->refused = true;
	answer_waiters(in, "REFUSED");
	prepare_fail(in, in->why.code ? &in->why : &(struct err){.code = ECANCELED, .msg = "cancelled"});
	if (dom_kill(in->j->dom) == -ESRCH)
		end_refused(in);
}

/* ---- settle: what does the journal say? --------------------------------------------------------------------------------- */

static void record_refused(struct incoming *in);
static void record(struct incoming *in, enum handoff_state to);

static void on_outcome_recorded(void *arg, enum handoff_state found, const struct err *e)
{
	struct incoming *in = arg;

	if (!in->j) {
		incoming_unref(in);
		return;
	}
	in->refs--;
	if (!e->code && in->recording == HO_REFUSED) {
		refused(in);
	} else if (e->code == EPROTO && found == HO_PARTIAL && in->j->dom->launched.pid) {
		job_goto(in->j, IN_POSTCOPY);
	} else if (e->code == EPROTO &&
		found == HO_PARTIAL) { /* as any guest whose QEMU ends: there is nothing to bring together any more */
		record(in, HO_OWNER);
	} else if (!e->code || (e->code == EPROTO && found == HO_OWNER)) {
		in->owner = true;
		job_goto(in->j, IN_ACTIVATE);
	} else {
		plog(in->j->p, "%s: %s; trying again", in->j->dom->spec.name, e->msg);
		timer_ms(in, AGAIN_MS);
	}
}

static void record_refused(struct incoming *in)
{
	record(in, HO_REFUSED);
}

static void record(struct incoming *in, enum handoff_state to)
{
	struct journal_entry entry = {.epoch = in->epoch, .role = HO_TARGET, .state = to};
	struct dom *d = in->j->dom;
	struct err e;

	snprintf(entry.uuid, sizeof(entry.uuid), "%s", d->spec.uuid);
	snprintf(entry.peer, sizeof(entry.peer), "%s", in->from);
	snprintf(entry.domain, sizeof(entry.domain), "%s", d->spec.name);
	in->recording = to;
	in->refs++;
	if (journal_record_async(d->p, &entry, on_outcome_recorded, in, &e) < 0) {
		in->refs--;
		plog(d->p, "%s: %s; trying again", d->spec.name, e.msg);
		timer_ms(in, AGAIN_MS);
	}
}

static void on_left_worker_end(evutil_socket_t fd, short what, void *arg)
{
	struct incoming *in = arg;

	(void)fd;
	(void)what;
	event_free(in->left);
	close(in->left_fd);
	in->left = NULL;
	record_refused(in);
}

/* A worker that an earlier policyd started finishes by itself; give it the time. */
static bool wait_for_left_worker(struct incoming *in)
{
	struct timeval tv = {LEFT_WORKER_MS / 1000, 0};

	in->left_fd = worker_find_left(in->j->p, in->j->dom->spec.name);
	if (in->left_fd < 0)
		return false;
	in->left = event_new(in->j->p->base, in->left_fd, EV_READ, on_left_worker_end, in);
	if (in->left && event_add(in->left, &tv) == 0)
		return true;
	if (in->left)
		event_free(in->left);
	in->left = NULL;
	close(in->left_fd);
	return false;
}

static int enter_settle(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;

	(void)e;
	evtimer_del(in->timer);
	if (in->owner)
		job_goto(j, IN_ACTIVATE);
	else if (!in->is_restart || !wait_for_left_worker(in))
		record_refused(in);
	return 0;
}

/* The journal is being asked already. */
static bool settling(const struct incoming *in)
{
	return in->j->phase == IN_SETTLE || (in->is_restart && in->j->phase < IN_SETTLE);
}

static void settle(struct incoming *in, const struct err *why)
{
	because(in, why);
	job_goto(in->j, IN_SETTLE);
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
		because(in, &bad);
		refused(in);
		return 0;
	}
	timer_ms(in, LAUNCH_MS);
	if (dom_launch(j->dom, &opt, &bad) < 0)
		settle(in, &bad);
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

	pr->percent = percent < 0 ? 0 : percent > 100 ? 100 : (unsigned)percent;
	json_decref(pr->extra);
	pr->extra = json_copy((json_t *)line);
	job_progressed(in->j);
}

/* What a restart needs is on disk since before the first phase: the source may connect. */
static void take_listening(struct incoming *in, int port)
{
	if (in->j->phase == IN_POSTCOPY) {
		answer_waiters_json(in,
			json_pack("{s:s, s:i, s:s, s:s}", "state", "PARTIAL", "port", port, "address",
				in->j->p->conf->address, "token", in->token));
		return;
	}
	prepare_answer(
		in, json_pack("{s:i, s:s, s:s}", "port", port, "address", in->j->p->conf->address, "token", in->token));
	timer_ms(in, CONNECT_MS);
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

static void postcopy_again(struct incoming *in, const struct err *why)
{
	struct dom *d = in->j->dom;

	snprintf(in->j->progress.text, sizeof(in->j->progress.text), "waits for %s, which has some of its memory",
		in->from);
	if (strcmp(d->last_error, why->msg) != 0)
		plog(d->p, "%s: %s (if %s's memory of it is lost for good: end process %d, then start it anew)",
			d->spec.name, why->msg, in->from, (int)d->launched.pid);
	snprintf(d->last_error, sizeof(d->last_error), "%s", why->msg);
	job_progressed(in->j);
	timer_ms(in, AGAIN_MS);
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
		settle(in, &e);
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
		settle(in, &bad);
	else
		timer_ms(in, LAUNCH_MS);
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
	return 0;
}

static int enter_receive(struct job *j, struct err *e)
{
	(void)j;
	(void)e;
	return 0;
}

/* Launch, listen or the source took too long; or a record must be tried again. */
static void on_timer_incoming(evutil_socket_t fd, short what, void *arg)
{
	struct incoming *in = arg;
	struct err e;

	(void)fd;
	(void)what;
	if (settling(in)) {
		record_refused(in);
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
		because(in, &e);
		worker_kill(in->w);
	} else {
		settle(in, &e);
	}
}

/* ---- activate: it is ours ------------------------------------------------------------------------------------------------ */

static void on_saved(void *arg, const struct err *e)
{
	struct incoming *in = arg;
	struct policyd *p;

	if (!in->j) {
		incoming_unref(in);
		return;
	}
	in->refs--;
	p = in->j->p;
	if (e->code) {
		plog(p, "%s: its definition cannot be stored: %s; trying again", in->j->dom->spec.name, e->msg);
		timer_ms(in, AGAIN_MS);
		return;
	}
	answer_waiters(in, "OWNER");
	job_end(in->j, NULL);
	cluster_report_now(p);
}

static void save(struct incoming *in)
{
	kept_del(in->j->p, in->j->dom->spec.uuid, NULL, NULL); /* it is back */
	in->refs++;
	dom_save(in->j->dom, on_saved, in);
}

/* It gave memory away for the move; there is room here, so it gets it back. */
static void untrim(struct incoming *in)
{
	uint64_t wanted = (uint64_t)json_integer_value(json_object_get(in->settings, "mem_wanted_bytes"));
	struct dom *d = in->j->dom;

	if (wanted > d->mem_bytes && wanted <= d->spec.mem_max && dom_reserve(d, d->vcpus, wanted, NULL) == 0)
		dom_let_memory(d, wanted);
}

static void on_refreshed(void *arg, const struct err *e)
{
	struct incoming *in = arg;

	if (!in->j) {
		incoming_unref(in);
		return;
	}
	in->refs--;
	if (e->code == ECANCELED)
		return; /* its QEMU ended just now: on_exit comes */
	untrim(in);
	save(in);
}

static void on_qmp_cont(void *arg, const json_t *ret, const struct err *e)
{
	struct incoming *in = arg;
	struct dom *d;

	(void)ret;
	if (!in->j) {
		incoming_unref(in);
		return;
	}
	in->refs--;
	if (e->code == ECANCELED)
		return;
	d = in->j->dom;
	if (e->code) {
		plog(d->p, "%s: cont: %s; trying again", d->spec.name, e->msg);
		timer_ms(in, AGAIN_MS);
		return;
	}
	balloon_poll_stats(d->qmp, 1);
	in->refs++;
	dom_refresh(d, on_refreshed, in);
}

/* What it was entitled to at its source it is here. Where this host cannot cap it, it has its whole vCPUs, which were reserved. */
static void take_cap(struct incoming *in)
{
	json_int_t cap = json_integer_value(json_object_get(in->settings, "cpu_cap"));
	struct dom *d = in->j->dom;
	struct err e;

	if (cap <= 0 || cap >= (json_int_t)d->vcpus * 100)
		return;
	d->launched.cpu_cap = (unsigned)cap;
	d->launched.cpu_cap_by_policy = json_is_true(json_object_get(in->settings, "cpu_cap_by_policy"));
	if (!d->launched.pid || cpu_group_apply(d, &e) == 0)
		return;
	plog(d->p, "%s: it has all of its %u vcpus, its cap cannot be set here: %s", d->spec.name, d->vcpus, e.msg);
	d->launched.cpu_cap = 0;
}

static void take_over(struct incoming *in)
{
	struct dom *d = in->j->dom;
	struct err e;

	d->epoch = in->epoch;
	d->last_move_ms = now_wall_ms();
	d->started_ms = json_integer_value(json_object_get(in->settings, "started_ms"));
	if (!d->started_ms)
		d->started_ms = now_wall_ms();
	d->bound = json_is_true(json_object_get(in->settings, "bound"));
	incoming_take_hold(d, json_object_get(in->settings, "hold"));
	dom_marks_take(d, json_object_get(in->settings, "marks"));
	if (d->state == DOM_TRANSITION)
		dom_step(d, DEV_MIGRATE_STAY, NULL);
	if (in->paused && d->state == DOM_ACTIVE)
		dom_step(d, DEV_SUSPEND, NULL);
	d->launched.incoming = false;
	take_cap(in);
	if (d->launched.pid && launch_update(&d->p->conf->host, &d->launched, &e) < 0)
		plog(d->p, "%s: %s", d->spec.name, e.msg);
}

/* Entered again after a failure: each step may be done twice. */
static int enter_activate(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;
	struct dom *d = j->dom;

	(void)e;
	take_over(in);
	prepare_fail(in, &(struct err){.code = EPROTO, .msg = "it is here already"});
	if (!d->launched.pid) { /* it ran here and ended */
		dom_ended(d, true, "its QEMU ended right after it arrived");
		save(in);
		return 0;
	}
	in->refs++;
	if (!d->qmp || qmp_command(d->qmp, in->paused ? "query-status" : "cont", NULL, 0, on_qmp_cont, in) < 0) {
		in->refs--;
		timer_ms(in, AGAIN_MS);
	}
	return 0;
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
		end_refused(in);
		return;
	}
	launch_stderr_tail(&j->p->conf->host, j->dom->spec.name, tail, sizeof(tail));
	err_set(&e, ESRCH, "the target's QEMU ended%s%s", tail[0] ? ": " : "", tail);
	if (j->phase == IN_ACTIVATE)
		job_goto(j, IN_ACTIVATE);
	else if (j->phase == IN_POSTCOPY && in->w)
		worker_kill(in->w);
	else if (in->w)
		because(in, &e); /* the worker sees it too */
	else if (!settling(in))
		settle(in, &e);
	if (in->w && !in->connected)
		worker_kill(in->w);
}

#define NO_CANCEL "it is cancelled at its source host"
static const struct job_phase incoming_phases[IN_COUNT] = {
	[IN_LAUNCH] = {"prepare", enter_launch, NULL, NO_CANCEL},
	[IN_LISTEN] = {"listen", enter_listen, NULL, NO_CANCEL},
	[IN_RECEIVE] = {"receive", enter_receive, NULL, NO_CANCEL},
	[IN_SETTLE] = {"settle", enter_settle, NULL, NO_CANCEL},
	[IN_POSTCOPY] = {"postcopy", enter_postcopy, NULL, NO_CANCEL},
	[IN_ACTIVATE] = {"activate", enter_activate, NULL, NO_CANCEL},
};

static const unsigned incoming_numbers[IN_COUNT] = {2, 2, 3, 5, 6, 5}; /* the source's phases, as it tells them */

static const struct job_type incoming_type = {.kind = JOB_INCOMING,
	.operation = "incoming",
	.phases = incoming_phases,
	.numbers = incoming_numbers,
	.n_phases = IN_COUNT,
	.on_exit = incoming_on_exit,
	.on_event = incoming_on_event,
	.fini = incoming_fini};

/* After a restart: settle is all there is to do; job_goto(IN_ACTIVATE) must work too, so the table is the same and launch is replaced. */
static const struct job_phase settle_phases[IN_COUNT] = {
	[IN_LAUNCH] = {"settle", enter_settle, NULL, NO_CANCEL},
	[IN_LISTEN] = {"settle", enter_settle, NULL, NO_CANCEL},
	[IN_RECEIVE] = {"settle", enter_settle, NULL, NO_CANCEL},
	[IN_SETTLE] = {"settle", enter_settle, NULL, NO_CANCEL},
	[IN_POSTCOPY] = {"postcopy", enter_postcopy, NULL, NO_CANCEL},
	[IN_ACTIVATE] = {"activate", enter_activate, NULL, NO_CANCEL},
};

static const struct job_type incoming_settle_type = {.kind = JOB_INCOMING,
	.operation = "incoming",
	.phases = settle_phases,
	.n_phases = IN_COUNT,
	.on_exit = incoming_on_exit,
	.on_event = NULL,
	.fini = incoming_fini};

/* ---- begin, ask, settle ------------------------------------------------------------------------------------------------------- */

void incoming_take_hold(struct dom *d, const json_t *hold)
{
	if (!json_is_object(hold))
		return;
	d->hold.on = true;
	d->hold.until_ms = json_integer_value(json_object_get(hold, "until_ms"));
	snprintf(d->hold.reason, sizeof(d->hold.reason), "%s",
		json_is_string(json_object_get(hold, "reason")) ? json_string_value(json_object_get(hold, "reason"))
								: "");
	snprintf(d->hold.by, sizeof(d->hold.by), "%s",
		json_is_string(json_object_get(hold, "by")) ? json_string_value(json_object_get(hold, "by")) : "");
}

static int make_token(char out[33])
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return -EIO;
	for (unsigned i = 0; i < sizeof(b); i++)
		snprintf(out + 2 * i, 3, "%02x", b[i]);
	return 0;
}

static struct incoming *incoming_new(struct policyd *p, const char *from, uint64_t epoch, const json_t *settings)
{
	struct incoming *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->refs = 1;
	in->left_fd = -1;
	in->epoch = epoch;
	TAILQ_INIT(&in->waiters);
	snprintf(in->from, sizeof(in->from), "%s", from);
	in->settings = settings ? json_deep_copy(settings) : json_object();
	in->paused = json_is_true(json_object_get(settings, "paused"));
	in->timer = evtimer_new(p->base, on_timer_incoming, in);
	if (!in->timer || !in->settings || make_token(in->token) < 0) {
		if (in->timer)
			event_free(in->timer);
		json_decref(in->settings);
		free(in);
		return NULL;
	}
	return in;
}

static void take_machine(struct incoming *in, const json_t *args)
{
	const char *machine = json_string_value(json_object_get(args, "machine"));
	const json_t *ids = json_object_get(args, "vcpu_ids");

	snprintf(in->machine, sizeof(in->machine), "%s", machine ? machine : "");
	in->no_guest_agent = !json_is_true(json_object_get(args, "guest_agent"));
	for (size_t i = 0; i < json_array_size(ids) && in->n_vcpu_ids < LAUNCH_HOTPLUGGED_MAX; i++)
		in->vcpu_ids[in->n_vcpu_ids++] = (unsigned)json_integer_value(json_array_get(ids, i));
}

/* The domain object with its room, and the job on it. */
int incoming_begin(struct policyd *p, const char *from, const struct admit_request *ar, uint64_t epoch,
	const json_t *args, struct peer_req *rq, struct err *e)
{
	struct job_request jr = {.type = &incoming_type, .origin = {.kind = BY_PEER}, .source = from};
	struct domain_spec spec = ar->spec;
	json_t *detail = json_pack("{s:s, s:I, s:O}", "from", from, "epoch", (json_int_t)epoch, "args", (json_t *)args);
	struct incoming *in = incoming_new(p, from, epoch, json_object_get(args, "settings"));
	struct dom *d = NULL;
	int r = -ENOMEM;

	snprintf(spec.name, sizeof(spec.name), "%s", ar->name);
	snprintf(jr.origin.name, sizeof(jr.origin.name), "%s", from);
	if (!in || !detail) {
		r = err_set(e, ENOMEM, "out of memory");
		goto fail;
	}
	take_machine(in, args);
	r = dom_new(p, &spec, &d, e);
	if (!r) {
		d->vcpus = ar->vcpus;
		d->mem_bytes = ar->mem_bytes;
		d->epoch = epoch;
		r = dom_reserve(d, ar->vcpus, ar->mem_bytes, e);
	}
	if (!r)
		r = dom_step(d, DEV_BIND, e);
	if (!r)
		r = dom_step(d, DEV_MIGRATE, e);
	jr.priv = in;
	jr.detail = detail;
	if (!r)
		r = job_start(d, &jr, &in->j, e);
	if (!r) {
		json_decref(detail);
		in->prepare = rq;
		return 0;
	}
fail:
	json_decref(detail);
	if (d)
		dom_free(d);
	if (in) {
		event_free(in->timer);
		incoming_unref(in);
	}
	return r;
}

static struct incoming *incoming_of(struct policyd *p, const char *uuid, uint64_t epoch)
{
	struct dom *d = dom_find_uuid(p, uuid);
	struct incoming *in;

	if (!d || !d->job || (d->job->type != &incoming_type && d->job->type != &incoming_settle_type))
		return NULL;
	in = d->job->priv;
	return in->epoch == epoch ? in : NULL;
}

bool incoming_ask(struct policyd *p, struct peer_req *rq, const char *from, const char *uuid, uint64_t epoch)
{
	struct incoming *in = incoming_of(p, uuid, epoch);
	struct waiter *wt;
	struct err e;

	if (!in)
		return false;
	wt = strcmp(in->from, from) == 0 ? calloc(1, sizeof(*wt)) : NULL;
	if (!wt) {
		err_set(&e, EACCES, "%s comes from %s, not from %s", in->j->dom->spec.name, in->from, from);
		peer_req_fail(rq, &e);
		return true;
	}
	wt->rq = rq;
	TAILQ_INSERT_TAIL(&in->waiters, wt, link);
	err_set(&e, ECANCELED, "%s gave it up", from);
	because(in, &e);
	if (in->refused)
		answer_waiters(in, "REFUSED");
	else if (in->left)
		syscall(SYS_pidfd_send_signal, in->left_fd, SIGKILL, NULL, 0);
	else if (in->w)
		worker_kill(in->w); /* its end leads to settle */
	else if (in->j->phase == IN_LAUNCH && !settling(in))
		settle(in, &e);
	return true;
}

int incoming_settle(struct dom *d, const char *source, uint64_t epoch, const json_t *detail, struct err *e)
{
	const json_t *args = json_object_get(detail, "args");
	struct incoming *in = incoming_new(d->p, source, epoch, json_object_get(args, "settings"));
	struct job_request jr = {.type = &incoming_settle_type,
		.origin = {.kind = BY_SELF},
		.source = source,
		.detail = detail,
		.priv = in};
	int r;

	if (!in)
		return err_set(e, ENOMEM, "out of memory");
	in->is_restart = true;
	err_set(&in->why, EINTR, "policyd was restarted during the migration");
	if (d->state == DOM_INACTIVE)
		dom_step(d, DEV_BIND, NULL);
	if (d->state != DOM_TRANSITION)
		dom_step(d, DEV_MIGRATE, NULL);
	r = job_start(d, &jr, &in->j, e);
	if (r < 0) {
		event_free(in->timer);
		incoming_unref(in);
	}
	return r;
}
