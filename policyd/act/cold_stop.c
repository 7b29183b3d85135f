/* A cold move's guest goes down: the power button, pressed until it is heeded, and a last resort. See cold_int.h. */
#include <errno.h>
#include <event2/event.h>

#include "policyd/act/cold_int.h"
#include "policyd/act/power_button.h"

#define STOP_DEFAULT_MS 90000

void cold_press(struct cold *c)
{
	struct dom *d = c->j->dom;
	struct err e;

	if (now_mono_ms() >= c->deadline_ms && c->restart) {
		dom_step(d, DEV_RUNNING, NULL); /* it does not move, so nothing is forced */
		cold_stay(c, &c->why);
		return;
	}
	if (now_mono_ms() >= c->deadline_ms) {
		plog(d->p, "%s: its guest did not heed the power button; last resort: QEMU is ended", d->spec.name);
		c->forced = true;
		dom_kill(d);
		return;
	}
	power_button_press(d, &c->presses, &e);
	cold_timer_ms(c, POWER_BUTTON_AGAIN_MS);
}

static void begin_stop(struct cold *c)
{
	const struct conf_cluster_def *def = cold_cluster(c->j->dom);
	struct err e;

	if (dom_step(c->j->dom, DEV_STOP, &e) < 0) {
		cold_stay(c, &e);
		return;
	}
	c->stop_ms = now_mono_ms();
	c->deadline_ms = c->stop_ms + (def && def->timeout_ms ? def->timeout_ms : STOP_DEFAULT_MS);
	cold_press(c);
}

static void on_stop_recorded(void *arg, const struct err *e)
{
	struct cold *c = arg;

	if (!c->j) {
		cold_unref(c);
		return;
	}
	c->refs--;
	if (c->j->phase != PC_STOP)
		return; /* its guest ended by itself meanwhile */
	if (e->code)
		cold_stay(c, e);
	else
		begin_stop(c);
}

int cold_enter_stop(struct job *j, struct err *e)
{
	struct cold *c = j->priv;
	json_t *detail;

	c->stop_ms = now_mono_ms();
	if (!c->was_running) {
		job_next(j);
	} else if (c->stopping) { /* after a restart: it goes down, and is started here again */
		begin_stop(c);
	} else if (!cold_may_go(c, NULL, e)) { /* in hooks that took their time another node may have gone */
		cold_stay(c, e);
	} else {
		c->stopping = true;
		c->refs++;
		detail = cold_detail(c, j->target);
		store_op_detail(j->p->store, j->id, detail, on_stop_recorded, c);
		json_decref(detail);
	}
	return 0;
}

void cold_on_exit(struct job *j)
{
	struct cold *c = j->priv;
	struct err e;

	evtimer_del(c->timer);
	dom_ended(j->dom, false, NULL);
	if (j->ended)
		return;
	if (j->phase == PC_STOP && c->restart) {
		cold_stay(c, &c->why);
	} else if (j->phase == PC_STOP) {
		job_next(j);
	} else if (j->phase == PC_BACK) {
		err_set(&e, ECHILD, "QEMU ended while it was started here again");
		cold_because(c, &e);
		cold_end_stayed(c);
	} else if (j->phase < PC_STOP) {
		err_set(&e, ESRCH, "its guest ended during the move");
		move_checks_cancel(c->checks);
		c->checks = NULL;
		claim_cancel(c->claim);
		c->claim = NULL;
		cold_because(c, &e);
		cold_end_stayed(c);
	}
}
