/* A same-host move: its second QEMU comes up and waits, and gets the state of the first one's devices, for which the guest is stopped. See move_here.h. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "migrate/vm.h"
#include "policyd/act/move_here_int.h"

#define TARGET_MS 60000 /* for the second QEMU to come up and to be set up */
#define STATE_MS 30000  /* for the state of the devices to get across */
#define LAST_WORDS_MS 500

/* ---- 2 target: the second QEMU comes up and waits ---- */

static json_t *arg_state_socket(struct here *h, const json_t *before)
{
	char path[SPEC_PATH_MAX] = "";

	(void)before;
	rundir_path(&h->j->p->conf->host, h->j->dom->spec.name, LAUNCH_MOVE_SOCKET, path, NULL);
	return json_pack("{s:s+}", "uri", "unix:", path);
}

static json_t *arg_parameters(struct here *h, const json_t *before)
{
	(void)h, (void)before;
	return vm_parameters();
}

static json_t *arg_capabilities(struct here *h, const json_t *before)
{
	(void)h;
	return vm_capabilities(before, false);
}

static const struct step {
	bool second; /* to the second QEMU, else to the first */
	const char *cmd;
	json_t *(*args)(struct here *h, const json_t *before); /* @before: the answer to the step before */
} steps[] = {
	{false, "query-migrate-capabilities", NULL},
	{false, "migrate-set-capabilities", arg_capabilities},
	{false, "migrate-set-parameters", arg_parameters},
	{true, "query-migrate-capabilities", NULL},
	{true, "migrate-set-capabilities", arg_capabilities},
	{true, "migrate-set-parameters", arg_parameters},
	{true, "migrate-incoming", arg_state_socket},
};
#define N_STEPS (sizeof(steps) / sizeof(steps[0]))

static void on_step(void *arg, const json_t *ret, const struct err *e);
static void step_go(struct here *h, const json_t *before)
{
	const struct step *s = &steps[h->step];
	struct qmp *q = s->second ? h->qmp : h->j->dom->qmp;
	struct err e;

	if (here_ask(h, q, s->cmd, s->args ? s->args(h, before) : NULL, on_step))
		return;
	err_set(&e, ENOTCONN, "%s: its %sQEMU does not answer", h->j->dom->spec.name, s->second ? "new " : "");
	here_back(h, &e);
}

static void on_step(void *arg, const json_t *ret, const struct err *e)
{
	struct here *h = arg;
	struct err own = *e;

	if (!here_answered(h) || h->why.code || own.code == EPIPE || own.code == ECANCELED)
		return; /* it has ended, which is seen elsewhere, or its monitor has, and the timer sees to it */
	if (own.code) {
		err_wrap(&own, "%s: %s QEMU, %s", h->j->dom->spec.name, steps[h->step].second ? "new" : "its",
			steps[h->step].cmd);
		here_back(h, &own);
	} else if (++h->step == N_STEPS) {
		job_next(h->j);
	} else {
		step_go(h, ret);
	}
}

static void on_next_ready(void *arg)
{
	struct here *h = arg;

	if (h->j && h->j->phase == H_TARGET && !h->step)
		step_go(h, NULL);
}

static void across(struct here *h);

static void on_next_event(void *arg, const char *event, const json_t *data)
{
	struct here *h = arg;
	const char *status = json_string_value(json_object_get(data, "status"));

	if (!h->j)
		return;
	if (!strcmp(event, "MIGRATION") && status && !strcmp(status, "completed")) {
		h->arrived = true;
		across(h);
	} else if (!strcmp(event, "RESUME") && !h->ran_ms) {
		h->ran_ms = now_mono_ms();
	}
}

static const struct qmp_handlers next_handlers = {.on_ready = on_next_ready, .on_event = on_next_event};

static int next_ended(const struct here *h, struct err *e)
{
	const struct dom *d = h->j->dom;
	char tail[300];

	launch_next_stderr_tail(&d->p->conf->host, &h->next, tail, sizeof(tail));
	return err_set(e, ECHILD, "%s: its new QEMU ended: %s", d->spec.name, tail[0] ? tail : "it said nothing");
}

static void on_next_exit(evutil_socket_t fd, short what, void *arg)
{
	struct here *h = arg;
	struct err e;

	(void)fd, (void)what;
	launch_alive(&h->next); /* reaps it */
	next_ended(h, &e);
	qmp_free(h->qmp);
	h->qmp = NULL;
	if (h->j->phase == H_BACK) {
		job_goto(h->j, H_BACK); /* it was waited for */
	} else if (h->owned) {          /* it may have run there, so what the first one has is out of date */
		h->why = e;
		if (h->old_gone || h->detached)
			here_lost(h);
		else if (launch_alive(&h->old))
			kill(h->old.pid, SIGKILL); /* here_on_exit follows */
	} else {
		here_back(h, &e);
	}
}

static int watch_next(struct here *h, struct err *e)
{
	struct dom *d = h->j->dom;
	char path[SPEC_PATH_MAX];
	int r = launch_next_path(&d->p->conf->host, &h->next, "qmp-worker.sock", path, e);

	if (r)
		return r;
	h->next_fd = launch_pidfd(&h->next);
	if (h->next_fd < 0)
		return next_ended(h, e);
	h->ev_next_exit = event_new(d->p->base, h->next_fd, EV_READ, on_next_exit, h);
	h->qmp = qmp_new(d->p->base, path, true, &next_handlers, h);
	if (!h->ev_next_exit || !h->qmp || event_add(h->ev_next_exit, NULL))
		return err_set(e, ENOMEM, "%s: no memory to watch its new QEMU", d->spec.name);
	return 0;
}

int here_enter_target(struct job *j, struct err *e)
{
	struct here *h = j->priv;
	struct dom *d = j->dom;
	struct launch_conf lc = {.spec = &h->old.spec,
		.services = &d->p->conf->host,
		.incoming = true,
		.no_guest_agent = !d->launched.guest_agent,
		.n_vcpu_ids = h->facts.n_vcpu_ids,
		.machine = h->old.machine,
		.replaces = &h->old};
	struct err bad;
	int r;

	h->old = d->launched;
	lc.resume = h->ran = d->guest_running;
	memcpy(lc.vcpu_ids, h->facts.vcpu_ids, sizeof(lc.vcpu_ids));
	r = dom_console_port(d->p, &h->old.spec, &lc.console_port, e);
	if (!r)
		r = dom_step(d, DEV_MIGRATE, e);
	if (r)
		return r;
	here_say(h, 10);
	here_timer(h, TARGET_MS);
	r = launch_start(&lc, &h->next, &bad);
	if (!r)
		r = watch_next(h, &bad);
	if (r)
		here_back(h, &bad);
	return 0;
}

void here_cancel_target(struct job *j)
{
	struct err e;

	err_set(&e, ECANCELED, "%s: same-host move cancelled", j->dom->spec.name);
	here_back(j->priv, &e);
}

/* ---- 3 state: it gets across, and the guest stands ---- */

static void on_migrate(void *arg, const json_t *ret, const struct err *e)
{
	struct here *h = arg;
	struct err own = *e;

	(void)ret;
	if (!here_answered(h) || !own.code)
		return;
	err_wrap(&own, "%s: QEMU, migrate", h->j->dom->spec.name);
	here_back(h, &own);
}

int here_enter_state(struct job *j, struct err *e)
{
	struct here *h = j->priv;

	here_say(h, 40);
	here_timer(h, STATE_MS);
	if (!here_ask(h, j->dom->qmp, "migrate", arg_state_socket(h, NULL), on_migrate)) {
		err_set(e, ENOTCONN, "%s: its QEMU does not answer", j->dom->spec.name);
		here_back(h, e);
	}
	return 0;
}

static void on_next_status(void *arg, const json_t *ret, const struct err *e)
{
	struct here *h = arg;
	const char *status = json_string_value(json_object_get(ret, "status"));
	struct err bad;

	if (!here_answered(h) || h->why.code || h->j->phase != H_STATE)
		return;
	if (!e->code && status && !strcmp(status, "paused")) {
		job_next(h->j);
		return;
	}
	err_set(&bad, EPROTO, "%s: its new QEMU has its state, and is \"%s\": %s", h->j->dom->spec.name,
		status ? status : "?", e->code ? e->msg : "that was not to be expected");
	here_back(h, &bad);
}

/* Both have said so: the new one stands with all it needs, the old one stands for good. */
static void across(struct here *h)
{
	struct err e;

	if (!h->sent || !h->arrived || h->why.code || h->j->phase != H_STATE)
		return;
	if (here_ask(h, h->qmp, "query-status", NULL, on_next_status))
		return;
	err_set(&e, ENOTCONN, "%s: its new QEMU does not answer", h->j->dom->spec.name);
	here_back(h, &e);
}

void here_on_event(struct job *j, const char *event, const json_t *data)
{
	struct here *h = j->priv;
	const char *status = json_string_value(json_object_get(data, "status"));

	if (!strcmp(event, "STOP") && !h->stopped_ms)
		h->stopped_ms = now_mono_ms();
	if (j->phase == H_FINISH && !strcmp(event, "QMP_READY")) {
		h->answers = true;
		job_goto(j, H_FINISH);
		return;
	}
	if (j->phase != H_STATE || strcmp(event, "MIGRATION") || !status)
		return;
	if (!strcmp(status, "completed")) {
		h->sent = true;
		across(h);
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		here_timer(h, LAST_WORDS_MS); /* its reason is the second's, which ends soon, with its words */
	}
}
