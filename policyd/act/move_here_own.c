/* A same-host move: the guest is handed over, or runs on where it was. See move_here.h. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

#include "migrate/vm.h"
#include "policyd/act/move_here_int.h"
#include "policyd/act/run_on.h"

/* ---- 4 hand-off ---- */

/* It said no, or was not asked: it has not run. */
static void disown(struct here *h, const struct err *e)
{
	struct dom *d = h->j->dom;
	struct err own = *e, bad;

	err_wrap(&own, "%s: its new QEMU does not let it run", d->spec.name);
	if (launch_next_disown(&d->p->conf->host, &h->next, &h->old, &bad))
		plog(d->p, "%s: %s", d->spec.name, bad.msg); /* written again at the end */
	h->owned = false;
	if (!h->old_gone)
		d->launched = h->old;
	here_back(h, &own);
}

static void on_cont(void *arg, const json_t *ret, const struct err *e)
{
	struct here *h = arg;

	(void)ret;
	if (!here_answered(h) || h->why.code || h->j->phase != H_OWN)
		return;
	if (e->code == EREMOTEIO) {
		disown(h, e);
		return;
	}
	if (!e->code && !h->ran_ms)
		h->ran_ms = now_mono_ms();
	job_next(h->j); /* where there was no answer it may run: if it does not, it is told again */
}

int here_enter_own(struct job *j, struct err *e)
{
	struct here *h = j->priv;

	evtimer_del(h->timer);
	if (launch_next_own(&j->p->conf->host, &h->next, &h->old, e)) {
		here_back(h, e);
		return 0;
	}
	h->owned = true;
	j->dom->launched = h->next; /* as launch.json says; its monitor and its end are the first's yet */
	j->progress.percent = 80;
	if (!h->ran) {
		job_next(j);
	} else if (!here_ask(h, h->qmp, "cont", NULL, on_cont)) {
		err_set(e, ENOTCONN, "it does not answer");
		disown(h, e);
	}
	return 0;
}

/* ---- 5 the first is ended, the second is policyd's ---- */

static void on_saved(struct job *j, const struct err *e)
{
	struct here *h = j->priv;
	struct err own = *e;

	if (own.code)
		plog(j->p, "%s: its definition cannot be stored: %s", j->dom->spec.name, own.msg);
	json_object_set_new(j->result, "total_ms", json_integer((json_int_t)(now_wall_ms() - j->started_ms)));
	if (h->ran && h->stopped_ms && h->ran_ms)
		json_object_set_new(j->result, "blackout_ms", json_integer((json_int_t)(h->ran_ms - h->stopped_ms)));
	job_end(j, NULL);
}

static void on_old_exit(evutil_socket_t fd, short what, void *arg)
{
	struct here *h = arg;

	(void)fd, (void)what;
	launch_alive(&h->old); /* reaps it */
	h->old_gone = true;
	job_goto(h->j, H_FINISH);
}

/* True: it has ended already. */
static bool end_first(struct here *h)
{
	struct dom *d = h->j->dom;

	if (h->detached)
		return h->old_gone;
	h->detached = true;
	dom_detach(d); /* what becomes of it is nobody's business any more */
	h->old_fd = launch_pidfd(&h->old);
	if (h->old_fd >= 0)
		h->ev_old_exit = event_new(d->p->base, h->old_fd, EV_READ, on_old_exit, h);
	if (h->ev_old_exit)
		event_add(h->ev_old_exit, NULL);
	else
		h->old_gone = true;
	if (launch_alive(&h->old))
		kill(h->old.pid, SIGKILL);
	return h->old_gone;
}

static int take_second(struct here *h, struct err *e)
{
	struct dom *d = h->j->dom;

	if (launch_next_done(&d->p->conf->host, &h->next, e))
		plog(d->p, "%s", err_msg(e)); /* the record says so still, and the next policyd does the rest */
	event_free(h->ev_next_exit);
	h->ev_next_exit = NULL;
	close(h->next_fd);
	h->next_fd = -1;
	h->attached = true;
	return dom_attach(d, &h->next, e);
}

static void on_runs_here(void *arg)
{
	struct here *h = arg;

	run_on_free(h->run_on);
	h->run_on = NULL;
	job_goto(h->j, H_FINISH);
}

int here_enter_finish(struct job *j, struct err *e)
{
	struct here *h = j->priv;
	struct dom *d = j->dom;
	int r = 0;

	here_timer(h, FINISH_MS);
	if (!end_first(h))
		return 0;
	if (!h->attached)
		r = take_second(h, e);
	if (r) {
		dom_ended(d, true, err_msg(e));
		return r;
	}
	if (!h->answers || h->run_on || j->result)
		return 0;
	if (h->ran && !d->guest_running && (h->run_on = run_on_start(d, on_runs_here, h)))
		return 0;
	evtimer_del(h->timer);
	if (h->qmp)
		qmp_command(h->qmp, "announce-self", vm_announce_args(), 0, NULL, NULL);
	dom_step(d, h->ran ? DEV_MIGRATE_STAY : DEV_MIGRATE_HELD, NULL);
	j->result = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "host", j->target, "method", "same-host", "qemu_before",
		h->facts.from, "qemu_after", h->facts.to, "pid", (int)d->launched.pid, "cons",
		(int)d->launched.console_port);
	return job_save(j, on_saved);
}

/* ---- back ---- */

static void back_end(struct here *h)
{
	struct dom *d = h->j->dom;
	struct err e;

	dom_step(d, h->ran ? DEV_MIGRATE_STAY : DEV_MIGRATE_HELD, NULL);
	d->launched.resume = false;
	dom_keep_launched(d);
	err_set(&e, h->why.code, "%.400s; it %s in the QEMU that it had", h->why.msg, h->ran ? "runs on" : "stays");
	job_end(h->j, &e);
}

static void on_runs_on(void *arg)
{
	struct here *h = arg;

	run_on_free(h->run_on);
	h->run_on = NULL;
	back_end(h);
}

int here_enter_back(struct job *j, struct err *e)
{
	struct here *h = j->priv;
	struct dom *d = j->dom;

	evtimer_del(h->timer);
	if (h->run_on)
		return 0;
	if (h->next.pid && launch_alive(&h->next)) {
		kill(h->next.pid, SIGKILL);
		return 0;
	}
	if (h->old_gone) {
		here_lost(h);
		return 0;
	}
	if (h->next.pid && launch_next_drop(&d->p->conf->host, &h->next, e))
		plog(d->p, "%s: %s", d->spec.name, err_msg(e));
	h->next.pid = 0;
	if (!h->ran) {
		back_end(h);
		return 0;
	}
	h->run_on = run_on_start(d, on_runs_on, h);
	return h->run_on ? 0 : err_set(e, ENOMEM, "%s: no memory to let it run on", d->spec.name);
}
