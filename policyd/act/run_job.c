/* Start and stop: see lifecycle.h. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/lifecycle.h"
#include "policyd/act/move.h"
#include "policyd/act/power_button.h"

#define BOOT_TIMEOUT_MS 60000 /* for QEMU to answer; the guest's own boot is not waited for */
#define STOP_TIMEOUT_MS 90000

struct run_priv {
	struct event *timer;
	bool force;
	unsigned timeout_ms;
	unsigned presses;    /* of the power button */
	int64_t deadline_ms; /* interval clock */
};

static void timer_set(struct job *j, int64_t ms)
{
	struct run_priv *r = j->priv;
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(r->timer, &tv);
}

static void run_fini(struct job *j, const struct err *e)
{
	struct run_priv *r = j->priv;

	(void)e;
	event_free(r->timer);
	free(r);
	j->priv = NULL;
}

/* @on_timer gets the domain: its job is ours as long as the timer lives. */
static int run_start(struct dom *d, const struct job_type *type, struct run_priv conf, event_callback_fn on_timer,
	const struct origin *o, struct job **out, struct err *e)
{
	struct job_request rq = {.type = type, .origin = *o};
	struct run_priv *r = malloc(sizeof(*r));
	int rc = -ENOMEM;

	if (r) {
		*r = conf;
		r->timer = evtimer_new(d->p->base, on_timer, d);
	}
	if (!r || !r->timer) {
		err_set(e, ENOMEM, "%s: no memory", d->spec.name);
	} else {
		rq.priv = r;
		rc = job_start(d, &rq, out, e);
	}
	if (rc && r) {
		if (r->timer)
			event_free(r->timer);
		free(r);
	}
	return rc;
}

int doubt_check(const struct dom *d, struct err *e)
{
	if (!d->doubt_peer[0])
		return 0;
	return err_set(e, EBUSY,
		"%s: it may be running on %s: the hand-off was cut and only %s can say; it settles by itself as soon as %s answers",
		d->spec.name, d->doubt_peer, d->doubt_peer, d->doubt_peer);
}

/* ---- start ---- */

/* Before the launch: without a record nothing is started. */
static void on_start_recorded(struct job *j, const struct err *e)
{
	struct err own = *e;

	if (!e->code) {
		job_next(j);
		return;
	}
	err_wrap(&own, "%s: not started", j->dom->spec.name);
	job_end(j, &own);
}

/* After it the guest runs: what could not be written is found in the run folder by the next policyd. */
static void on_started_recorded(struct job *j, const struct err *e)
{
	struct err own = *e;

	if (!e->code) {
		job_next(j);
		return;
	}
	err_wrap(&own, "%s runs, but this could not be recorded", j->dom->spec.name);
	job_end(j, &own);
}

static int start_enter_checks(struct job *j, struct err *e)
{
	struct dom *d = j->dom;
	int rc = dom_services(d->p, &d->spec, true, e);

	if (!rc)
		rc = dom_reserve(d, d->spec.vcpus_boot, d->spec.mem_boot, e);
	if (!rc && d->state == DOM_INACTIVE)
		rc = dom_step(d, DEV_BIND, e);
	if (rc)
		return rc;
	d->vcpus = d->spec.vcpus_boot;
	d->mem_bytes = d->spec.mem_boot;
	d->epoch = dom_next_epoch(d);
	return job_save(j, on_start_recorded);
}

/* Back to where it was before. */
static void start_undo(struct dom *d)
{
	if (d->state == DOM_STARTING) {
		dom_step(d, DEV_EXITED, NULL);
		dom_cleanup(d);
	}
	if (d->state == DOM_BOUND && !d->bound)
		dom_step(d, DEV_UNBIND, NULL);
}

static int start_enter_launch(struct job *j, struct err *e)
{
	struct dom_launch opt = {0};
	int rc = dom_step(j->dom, DEV_START, e);

	if (!rc)
		rc = dom_launch(j->dom, &opt, e);
	if (rc)
		return rc;
	job_next(j);
	return 0;
}

static int start_enter_boot(struct job *j, struct err *e)
{
	(void)e;
	timer_set(j, BOOT_TIMEOUT_MS);
	return 0; /* QMP_READY or the end of QEMU comes */
}

static int start_enter_record(struct job *j, struct err *e)
{
	struct dom *d = j->dom;
	int rc = dom_step(d, DEV_RUNNING, e);

	if (rc)
		return rc;
	d->started_ms = now_wall_ms();
	j->result = json_pack("{s:i, s:i}", "pid", (int)d->launched.pid, "cons", (int)d->launched.console_port);
	return job_save(j, on_started_recorded);
}

static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
	struct job *j = ((struct dom *)arg)->job;
	struct err e;

	(void)fd, (void)what;
	err_set(&e, ETIMEDOUT,
		"%s: QEMU (pid %d) did not answer within %d s; it is being ended, see qemu.log in its run folder",
		j->dom->spec.name, (int)j->dom->launched.pid, BOOT_TIMEOUT_MS / 1000);
	dom_kill(j->dom);
	job_end(j, &e);
}

static void start_on_event(struct job *j, const char *event, const json_t *data)
{
	(void)data;
	if (j->phase == 2 && !strcmp(event, "QMP_READY") && j->dom->qmp_up)
		job_next(j);
}

static void start_on_exit(struct job *j)
{
	struct dom *d = j->dom;
	struct err e;

	if (j->cancel_asked)
		err_set(&e, ECANCELED, "%s: start cancelled", d->spec.name);
	else
		dom_ended_starting(d, &e);
	dom_ended(d, false, NULL);
	job_end(j, &e);
}

static void start_cancel(struct job *j)
{
	dom_kill(j->dom); /* on_exit ends the job */
}

static void start_fini(struct job *j, const struct err *e)
{
	if (e->code && !j->dom->launched.pid)
		start_undo(j->dom);
	run_fini(j, e);
}

static const struct job_phase start_phases[] = {
	{.name = "checks", .enter = start_enter_checks, .no_cancel = "it is being recorded, ask again"},
	{.name = "launch", .enter = start_enter_launch},
	{.name = "boot", .enter = start_enter_boot, .cancel = start_cancel},
	{.name = "record", .enter = start_enter_record, .no_cancel = "the guest runs already; use stop"},
};

static const struct job_type start_type = {
	.kind = JOB_START,
	.operation = "start",
	.phases = start_phases,
	.n_phases = 4,
	.on_exit = start_on_exit,
	.on_event = start_on_event,
	.fini = start_fini,
};

int start_job(struct dom *d, const struct origin *o, struct job **out, struct err *e)
{
	if (!d->job && domain_state_runs(d->state))
		return err_set(e, EALREADY, "%s is %s already", d->spec.name, domain_state_name(d->state));
	if (doubt_check(d, e))
		return -EBUSY;
	return run_start(d, &start_type, (struct run_priv){0}, on_start_timer, o, out, e);
}

/* ---- stop ---- */

static int press_button(struct job *j, struct err *e)
{
	struct run_priv *r = j->priv;
	int64_t left = r->deadline_ms - now_mono_ms();

	if (power_button_press(j->dom, &r->presses, e))
		return err_set(e, ENOTCONN, "%s: its QEMU does not answer; policyctl stop --force %s ends it",
			j->dom->spec.name, j->dom->spec.name);
	timer_set(j, left < POWER_BUTTON_AGAIN_MS ? (left > 0 ? left : 0) : POWER_BUTTON_AGAIN_MS);
	return 0;
}

static int stop_enter_wait(struct job *j, struct err *e)
{
	struct run_priv *r = j->priv;
	int rc = dom_step(j->dom, DEV_STOP, e);

	if (rc)
		return rc;
	r->deadline_ms = now_mono_ms() + r->timeout_ms;
	if (!r->force)
		return press_button(j, e);
	return dom_kill(j->dom) ? err_set(e, ESRCH, "%s: its QEMU is gone", j->dom->spec.name) : 0;
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct job *j = ((struct dom *)arg)->job;
	struct run_priv *r = j->priv;
	struct err e = {0};

	(void)fd, (void)what;
	if (now_mono_ms() < r->deadline_ms) {
		if (press_button(j, &e))
			job_end(j, &e);
		return;
	}
	err_set(&e, ETIMEDOUT,
		"%s did not shut down within %u s (its guest may ignore the power button) and runs on; policyctl stop --force %s "
		"ends it at once",
		j->dom->spec.name, r->timeout_ms / 1000, j->dom->spec.name);
	job_end(j, &e);
}

static void stop_on_exit(struct job *j)
{
	dom_ended(j->dom, false, NULL);
	job_end(j, NULL);
}

static void stop_fini(struct job *j, const struct err *e)
{
	if (e->code && j->dom->state == DOM_STOPPING && j->dom->launched.pid)
		dom_step(j->dom, DEV_RUNNING, NULL);
	run_fini(j, e);
}

static const struct job_phase stop_phases[] = {
	{.name = "wait", .enter = stop_enter_wait},
};

static const struct job_type stop_type = {
	.kind = JOB_STOP,
	.operation = "stop",
	.phases = stop_phases,
	.n_phases = 1,
	.on_exit = stop_on_exit,
	.fini = stop_fini,
};

int stop_job(struct dom *d, bool force, unsigned timeout_ms, const struct origin *o, struct job **out, struct err *e)
{
	struct run_priv r = {.force = force, .timeout_ms = timeout_ms ? timeout_ms : STOP_TIMEOUT_MS};

	if (doubt_check(d, e))
		return -EBUSY;
	if (force && d->job && d->job->type == &stop_type) { /* a patient stop is on: it becomes this one */
		((struct run_priv *)d->job->priv)->force = true;
		dom_kill(d);
		*out = d->job;
		return 0;
	}
	if (d->job && incoming_in_postcopy(d->job)) {
		if (!force)
			return err_set(e, EBUSY,
				"%s runs here, but some of its memory is still at %s: wait for it; if it is lost for good: policyctl stop --force %s, then "
				"start it anew",
				d->spec.name, d->job->source, d->spec.name);
		plog(d->p, "%s: is ended by force; what %s still has of its memory is of no use any more", d->spec.name,
			d->job->source);
		dom_kill(d);
		*out = d->job;
		return 0;
	}
	if (!d->job && !d->launched.pid)
		return err_set(e, EALREADY, "%s is not running (%s)", d->spec.name, domain_state_name(d->state));
	if (!d->job && !force && !d->guest_running)
		return err_set(e, EINVAL,
			"%s is suspended and cannot hear the power button; resume it first, or: policyctl stop --force %s",
			d->spec.name, d->spec.name);
	return run_start(d, &stop_type, r, on_stop_timer, o, out, e);
}

/* ---- suspend and resume ---- */

static void on_suspend_recorded(struct job *j, const struct err *e)
{
	job_end(j, e);
}

static void on_suspend_answer(void *arg, const json_t *ret, const struct err *e)
{
	struct job *j = arg; /* QEMU's connection goes before the job does */
	struct err own = *e;
	bool resume = j->type->phases[0].name[0] == 'r';

	(void)ret;
	if (j->ended || e->code == ECANCELED)
		return;
	if (!own.code)
		dom_step(j->dom, resume ? DEV_RESUME : DEV_SUSPEND, &own);
	if (own.code || job_save(j, on_suspend_recorded))
		job_end(j, &own);
}

static int suspend_enter(struct job *j, struct err *e)
{
	bool resume = j->type->phases[0].name[0] == 'r';

	if (!j->dom->qmp || qmp_command(j->dom->qmp, resume ? "cont" : "stop", NULL, 0, on_suspend_answer, j))
		return err_set(e, ENOTCONN, "%s: its QEMU does not answer", j->dom->spec.name);
	return 0;
}

static const struct job_phase suspend_phases[] = {
	{.name = "suspend", .enter = suspend_enter, .no_cancel = "it takes no time"}};
static const struct job_phase resume_phases[] = {
	{.name = "resume", .enter = suspend_enter, .no_cancel = "it takes no time"}};
static const struct job_type suspend_types[] = {
	{.kind = JOB_SUSPEND, .operation = "suspend", .phases = suspend_phases, .n_phases = 1},
	{.kind = JOB_SUSPEND, .operation = "resume", .phases = resume_phases, .n_phases = 1},
};

int suspend_job(struct dom *d, bool resume, const struct origin *o, struct job **out, struct err *e)
{
	struct job_request rq = {.type = &suspend_types[resume], .origin = *o};

	if (doubt_check(d, e))
		return -EBUSY;
	if (!d->job && d->state != (resume ? DOM_SUSPENDED : DOM_ACTIVE))
		return err_set(e, EALREADY, "%s is %s; only %s domain can be %s", d->spec.name,
			domain_state_name(d->state), resume ? "a suspended" : "an active",
			resume ? "resumed" : "suspended");
	return job_start(d, &rq, out, e);
}
