/* An incoming domain is ours: see incoming.c. What it had at its source it gets here, it runs, and it is stored. */
#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "policyd/act/cpu_group.h"
#include "policyd/act/incoming_int.h"
#include "policyd/kept.h"
#include "resize/balloon.h"

static void on_saved(void *arg, const struct err *e)
{
	struct incoming *in = arg;
	struct policyd *p;

	if (!incoming_answered(in))
		return;
	p = in->j->p;
	if (e->code) {
		plog(p, "%s: its definition cannot be stored: %s; trying again", in->j->dom->spec.name, e->msg);
		incoming_timer(in, INCOMING_AGAIN_MS);
		return;
	}
	incoming_answer(in, "OWNER");
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

	if (!incoming_answered(in))
		return;
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
	if (!incoming_answered(in))
		return;
	if (e->code == ECANCELED)
		return;
	d = in->j->dom;
	if (e->code) {
		plog(d->p, "%s: cont: %s; trying again", d->spec.name, e->msg);
		incoming_timer(in, INCOMING_AGAIN_MS);
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

int incoming_enter_activate(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;
	struct dom *d = j->dom;

	(void)e;
	take_over(in);
	incoming_prepare_fail(in, &(struct err){.code = EPROTO, .msg = "it is here already"});
	if (!d->launched.pid) { /* it ran here and ended */
		dom_ended(d, true, "its QEMU ended right after it arrived");
		save(in);
		return 0;
	}
	in->refs++;
	if (!d->qmp || qmp_command(d->qmp, in->paused ? "query-status" : "cont", NULL, 0, on_qmp_cont, in) < 0) {
		in->refs--;
		incoming_timer(in, INCOMING_AGAIN_MS);
	}
	return 0;
}
