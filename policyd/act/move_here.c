/* The job of a same-host move: see move_here.h. A second QEMU is started on the same RAM files, waiting; the first sends it the state of its devices over a
 * unix socket, which stops the guest; a rename hands the guest over (domain/launch_next.c); the guest runs on, and the first is ended. Until that
 * rename every failure ends the second and lets the guest run on in the first. */
#include "policyd/act/move_here_int.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/lifecycle.h"
#include "policyd/act/move_limits.h"
#include "policyd/act/run_on.h"

static void here_unref(struct here *h)
{
	if (--h->refs)
		return;
	free(h);
}

bool here_answered(struct here *h)
{
	if (h->j) {
		h->refs--;
		return true;
	}
	here_unref(h);
	return false;
}

void here_timer(struct here *h, unsigned ms)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	evtimer_add(h->timer, &tv);
}

bool here_ask(struct here *h, struct qmp *q, const char *cmd, json_t *args, qmp_done_fn *done)
{
	if (!q) {
		json_decref(args);
		return false;
	}
	if (qmp_command(q, cmd, args, 0, done, h))
		return false;
	h->refs++;
	return true;
}

void here_back(struct here *h, const struct err *e)
{
	if (h->why.code)
		return;
	h->why = *e;
	job_goto(h->j, H_BACK);
}

void here_say(struct here *h, unsigned percent)
{
	h->j->progress.percent = percent;
	job_progressed(h->j);
}

/* ---- 1 pre-checks ---- */

static void on_checked(void *arg, const struct admit_failures *f, const struct here_facts *facts)
{
	struct here *h = arg;
	struct job *j = h->j;
	char text[ERR_MSG_MAX - NAME_MAX_LEN - 4];
	struct err e;

	h->checks = NULL; /* it is freed behind us */
	h->facts = *facts;
	if (!f->n) {
		snprintf(j->reason, sizeof(j->reason), "QEMU %s -> %s", facts->from, facts->to);
		snprintf(j->progress.text, sizeof(j->progress.text), "%.100s", j->reason);
		job_next(j);
		return;
	}
	admit_text(f, text, sizeof(text));
	err_set(&e, EINVAL, "%s: %s", j->dom->spec.name, text);
	job_end(j, &e);
}

static int enter_checks(struct job *j, struct err *e)
{
	struct here *h = j->priv;

	h->checks = here_checks_start(j->dom, on_checked, h);
	return h->checks ? 0 : err_set(e, ENOMEM, "%s: out of memory", j->dom->spec.name);
}

void here_lost(struct here *h)
{
	struct dom *d = h->j->dom;
	bool orderly = d->end_reason[0] && strcmp(d->end_reason, "guest-panic");
	struct err e, bad;

	if (h->why.code)
		err_set(&e, ESRCH, "%.300s; then its QEMU ended as well", h->why.msg);
	else
		err_set(&e, ESRCH, "%s: its %s during the same-host move", d->spec.name,
			orderly ? "guest ended" : "QEMU ended unexpectedly");
	if (h->next.pid && !h->attached && launch_next_drop(&d->p->conf->host, &h->next, &bad))
		plog(d->p, "%s", bad.msg);
	dom_ended(d, !orderly, e.msg);
	job_end(h->j, &e);
}

/* ---- the job ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct here *h = arg;
	char tail[300];
	struct err e;

	(void)fd, (void)what;
	if (h->j->phase == H_FINISH) {
		plog(h->j->p, "%s: its %s; waiting on", h->j->dom->spec.name,
			h->old_gone ? "new QEMU's monitor does not answer" : "old QEMU was killed and does not end");
		here_timer(h, FINISH_MS);
		return;
	}
	launch_next_stderr_tail(&h->j->p->conf->host, &h->next, tail, sizeof(tail));
	err_set(&e, ETIMEDOUT, "%s: %s%s%s", h->j->dom->spec.name,
		h->j->phase == H_TARGET ? "its new QEMU was not ready in time"
					: "the state of its devices could not be handed over",
		tail[0] ? ": " : "", tail);
	here_back(h, &e);
}

/* The QEMU that policyd is attached to has ended: the first, or at last the second. */
static void here_on_exit(struct job *j)
{
	struct here *h = j->priv;

	launch_alive(&h->old); /* reaps it */
	h->old_gone = true;
	if (!h->owned || h->why.code || h->attached)
		here_lost(h);
	/* else the second answers "cont" soon, or ends */
}

static void here_fini(struct job *j, const struct err *e)
{
	struct here *h = j->priv;

	if (e->code == ESHUTDOWN && h->next.pid &&
		!h->owned) /* its guest should not stand until the next policyd is there */
		launch_next_settle(&j->p->conf->host, j->dom->spec.name, NULL);
	h->j = NULL;
	here_checks_cancel(h->checks);
	run_on_free(h->run_on);
	qmp_free(h->qmp);
	event_free(h->timer);
	if (h->ev_next_exit)
		event_free(h->ev_next_exit);
	if (h->next_fd >= 0)
		close(h->next_fd);
	if (h->ev_old_exit)
		event_free(h->ev_old_exit);
	if (h->old_fd >= 0)
		close(h->old_fd);
	here_unref(h);
}

static const struct job_phase here_phases[H_COUNT] = {
	[H_CHECKS] = {.name = "pre-checks", .enter = enter_checks},
	[H_TARGET] = {.name = "target", .enter = here_enter_target, .cancel = here_cancel_target},
	[H_STATE] = {.name = "suspend",
		.enter = here_enter_state,
		.no_cancel = "its state is being handed over, which takes a moment"},
	[H_OWN] = {.name = "hand-off", .enter = here_enter_own, .no_cancel = "it is through in a moment"},
	[H_FINISH] = {.name = "hand-off", .enter = here_enter_finish, .no_cancel = "it is through in a moment"},
	[H_BACK] = {.name = "back", .enter = here_enter_back, .no_cancel = "it goes back to how it was"},
};
static const unsigned here_numbers[H_COUNT] = {1, 2, 4, 5, 5, 5}; /* as operators count a migration's */

static const struct job_type here_type = {
	.kind = JOB_MOVE_HERE,
	.operation = "same-host move",
	.phases = here_phases,
	.numbers = here_numbers,
	.n_phases = H_COUNT,
	.on_exit = here_on_exit,
	.on_event = here_on_event,
	.fini = here_fini,
};

static int refuse_at_once(struct dom *d, const struct move_request *rq, struct err *e)
{
	const char *name = d->spec.name;

	if (rq->origin.kind == BY_POLICY)
		return err_set(e, EINVAL, "%s is on %s already", name, rq->host);
	if (rq->name[0] || rq->keep || rq->leave_paused || rq->postcopy || rq->quiet_ms || rq->trim_bytes ||
		move_limits_any(&rq->limits) || rq->method == MOVE_COLD || rq->method == MOVE_WARM)
		return err_set(e, EINVAL,
			"%s is on %s already, so this is a move to another QEMU there, which copies no memory: it has no method, limits, name or "
			"other options; leave them out, or name another host",
			name, rq->host);
	if (d->state != DOM_ACTIVE && d->state != DOM_SUSPENDED)
		return err_set(e, EINVAL,
			"%s is on %s already, and %s: only one that runs can be moved to another QEMU there; name another host",
			name, rq->host, domain_state_name(d->state));
	if (!d->qmp_up)
		return err_set(e, EAGAIN, "%s: its QEMU does not answer just now; try again in a moment", name);
	return doubt_check(d, e) ? -EBUSY : 0;
}

int here_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e)
{
	struct job_request jr = {.type = &here_type, .origin = rq->origin, .target = rq->host};
	int r = refuse_at_once(d, rq, e);
	struct here *h;

	if (r)
		return r;
	h = calloc(1, sizeof(*h));
	if (h)
		h->timer = evtimer_new(d->p->base, on_timer, h);
	if (!h || !h->timer) {
		free(h);
		return err_set(e, ENOMEM, "%s: out of memory", d->spec.name);
	}
	h->refs = 1;
	h->next_fd = h->old_fd = -1;
	jr.priv = h;
	r = job_start(d, &jr, &h->j, e);
	if (r) {
		event_free(h->timer);
		free(h);
		return r;
	}
	if (out)
		*out = h->j;
	return 0;
}

/* ---- the dry run ---- */

struct here_dry {
	char name[NAME_MAX_LEN], host[CONF_NAME];
	move_check_fn *done;
	void *arg;
};

static void on_dry_checked(void *arg, const struct admit_failures *f, const struct here_facts *facts)
{
	struct here_dry *r = arg;
	char text[8192];
	size_t n;
	json_t *result;

	n = (size_t)snprintf(text, sizeof(text), "%s -> %s would %s", r->name, r->host, f->n ? "fail:" : "work.");
	for (unsigned i = 0; i < f->n && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n  %-12s %s", f->v[i].what, f->v[i].why);
	if (!f->n)
		snprintf(text + n, sizeof(text) - n,
			"\n  method       same-host: another QEMU takes it over, its memory stays where it is\n"
			"  QEMU         %s now, %s then%s",
			facts->from, facts->to[0] ? facts->to : "not known",
			strcmp(facts->from, facts->to) ? "" : " (the same: it is only started anew)");
	result = json_pack("{s:b, s:o, s:s, s:s, s:s, s:s}", "ok", f->n == 0, "failures", admit_to_json(f), "method",
		"same-host", "qemu_before", facts->from, "qemu_after", facts->to, "text", text);
	r->done(r->arg, result, &(struct err){0});
	json_decref(result);
	free(r);
}

int here_dry_run(struct dom *d, const struct move_request *rq, move_check_fn *done, void *arg, struct err *e)
{
	struct here_dry *run;
	int r = refuse_at_once(d, rq, e);

	if (r)
		return r;
	run = calloc(1, sizeof(*run));
	if (!run)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(run->name, sizeof(run->name), "%s", d->spec.name);
	snprintf(run->host, sizeof(run->host), "%s", rq->host);
	run->done = done;
	run->arg = arg;
	if (here_checks_start(d, on_dry_checked, run))
		return 0;
	free(run);
	return err_set(e, ENOMEM, "out of memory");
}
