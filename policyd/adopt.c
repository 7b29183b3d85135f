/* Start-up: see adopt.h. */
#include "policyd/adopt.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/run_on.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster.h"
#include "policyd/dom.h"

#define ANSWER_TIMEOUT_S 15 /* a QEMU that does not answer is not waited for; it is adopted whenever it does */

struct adopt {
	struct policyd *p;
	unsigned waiting; /* adopted and not answered yet */
	bool reconciling;
	struct event *timer;
	json_t *unfinished;
};

static void on_store_domain(void *arg, const struct store_domain *sd)
{
	struct policyd *p = arg;
	struct err e = {0};
	struct dom *d;

	if (dom_new(p, &sd->spec, &d, &e)) {
		plog(p, "store: %s", err_msg(&e));
		return;
	}
	d->stored = true;
	d->bound = sd->bound;
	d->vcpus = sd->vcpus;
	d->mem_bytes = d->mem_saved = sd->mem_bytes;
	d->epoch = sd->epoch;
	d->started_ms =
		sd->running ? (sd->started_ms ? sd->started_ms : 1) : 0; /* who is not found running has ended */
	d->last_resize_ms = sd->last_resize_ms;
	d->last_move_ms = sd->last_move_ms;
	d->hold.on = sd->hold;
	d->hold.until_ms = sd->hold_until_ms;
	memcpy(d->hold.reason, sd->hold_reason, sizeof(d->hold.reason));
	memcpy(d->hold.by, sd->hold_by, sizeof(d->hold.by));
	dom_marks_take(d, sd->marks);
	d->marks_stored = sd->marks != NULL;
}

static void note(struct policyd *p, const char *domain, const char *kind, const char *text, bool ok)
{
	struct store_event ev = {
		.domain = domain, .kind = kind, .who = "policyd", .text = text, .ok = ok, .error = ok ? NULL : text};

	plog(p, "%s: %s", domain, text);
	store_history_add(p->store, &ev);
}

static void adopt_one(struct adopt *a, struct dom *d, const struct launched *l)
{
	struct err e = {0};
	char text[128];

	dom_step(d, DEV_BIND, NULL);
	dom_step(d, l->incoming ? DEV_MIGRATE : DEV_START, NULL);
	if (dom_attach(d, l, &e)) {
		plog(a->p, "%s", err_msg(&e));
		d->launched.incoming = l->incoming;
		dom_ended_unattended(d, true, err_msg(&e));
		return;
	}
	d->adopting = true;
	a->waiting++;
	if (d->started_ms <= 1)
		d->started_ms = now_wall_ms();
	snprintf(text, sizeof(text), "found running (pid %d)%s", (int)l->pid,
		l->incoming ? ", a migration's target" : "");
	note(a->p, d->spec.name, "adopt", text, true);
}

static void on_launch_found(void *arg, const struct launched *l)
{
	struct adopt *a = arg;
	struct dom *d = dom_find_uuid(a->p, l->spec.uuid);
	struct err e = {0};

	if (!l->pid) {
		plog(a->p, "%s: leftovers of a QEMU that is gone; cleaned", l->spec.name);
		if (launch_cleanup(&a->p->conf->host, &l->spec, &e))
			plog(a->p, "%s: %s", l->spec.name, err_msg(&e));
		return;
	}
	if (d && d->launched.pid) {
		plog(a->p, "%s: a second QEMU (pid %d) with its uuid; left alone, look at it", d->spec.name,
			(int)l->pid);
		return;
	}
	if (!d && dom_new(a->p, &l->spec, &d, &e)) {
		plog(a->p, "%s: running, but cannot be adopted: %s", l->spec.name, err_msg(&e));
		return;
	}
	if (!d->stored && !l->incoming)
		dom_save(d, NULL, NULL); /* the store was lost; launch.json has the definition */
	adopt_one(a, d, l);
}

/* Ran when we were last there, and has no QEMU now. */
static void note_ended(struct policyd *p)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link) {
		if (d->launched.pid)
			continue;
		if (d->started_ms)
			note(p, d->spec.name, "ended", "its guest ended while policyd was away", true);
		if (d->bound && d->state == DOM_INACTIVE)
			dom_step(d, DEV_BIND, NULL);
		if (!d->started_ms)
			continue;
		d->started_ms = 0;
		d->vcpus = d->spec.vcpus_boot;
		d->mem_bytes = d->spec.mem_boot;
		dom_save(d, NULL, NULL);
	}
}

static void end_unfinished(struct adopt *a)
{
	json_t *row;
	size_t i;

	json_array_foreach(a->unfinished, i, row) {
		const char *name = json_string_value(json_object_get(row, "domain"));
		const char *kind = json_string_value(json_object_get(row, "kind"));
		struct dom *d = dom_find(a->p, name);
		struct err e;

		err_set(&e, EINTR, "%s: %s was interrupted: policyd ended during it; the domain is as show says", name,
			kind);
		store_op_end(a->p->store, (int64_t)json_integer_value(json_object_get(row, "id")), false, e.msg);
		note(a->p, name, kind, e.msg, false);
		if (d && !d->job)
			dom_note_result(d, kind, &e);
	}
}

static void on_reconciled(struct policyd *p)
{
	if (!p->adopt)
		return;
	end_unfinished(p->adopt);
	adopt_free(p);
	p->settled = true;
	plog(p, "ready: %u domains", p->n_doms);
	control_settled(p);
}

static void reconcile(struct adopt *a)
{
	if (a->reconciling)
		return;
	a->reconciling = true;
	cluster_reconcile(a->p, a->unfinished, on_reconciled);
}

static void arm(struct adopt *a, int sec)
{
	struct timeval tv = {sec, 0};

	evtimer_add(a->timer, &tv);
}

/* A balloon or an unplug may be on its way to where the last policyd sent it, on a reservation that ended with it: it stays where it is now.
 * A guest that plugs what was recorded as its own (it was reset just now) goes on. */
static void hold_memory(struct dom *d)
{
	if (d->qmp_up && !d->launched.incoming && d->balloon_bytes + d->vmem_requested != d->mem_saved)
		dom_let_memory(d, 0);
}

static void on_runs_on(void *arg)
{
	struct dom *d = arg;

	run_on_free(d->run_on);
	d->run_on = NULL;
	note(d->p, d->spec.name, "adopt", "a same-host move was cut off; its guest, which that had stopped, runs on",
		true);
	adopt_on_answer(d);
}

/* True: not yet, its guest stands because of a same-host move that was cut off. */
static bool must_run_first(struct dom *d)
{
	if (!d->launched.pid || !d->launched.resume)
		return false;
	if (!d->guest_running && !d->run_on)
		d->run_on = run_on_start(d, on_runs_on, d);
	if (!d->guest_running && d->run_on)
		return true;
	d->launched.resume = false;
	dom_keep_launched(d);
	return false;
}

void adopt_on_answer(struct dom *d)
{
	struct adopt *a = d->p->adopt;

	if (!d->adopting || must_run_first(d))
		return;
	d->adopting = false;
	if (d->launched.pid) {
		hold_memory(d);
		if (d->state == DOM_STARTING)
			dom_step(d, d->guest_running ? DEV_RUNNING : DEV_SUSPEND, NULL);
		if (d->stored)
			dom_save(d, NULL, NULL);
	}
	if (a && !--a->waiting && !a->reconciling)
		arm(a, 0);
}

static void on_adopt_timer(evutil_socket_t fd, short what, void *arg)
{
	struct adopt *a = arg;

	(void)fd, (void)what;
	if (a->waiting)
		plog(a->p, "%u QEMU do not answer; going on without them", a->waiting);
	reconcile(a);
}

int adopt_start(struct policyd *p, struct err *e)
{
	struct adopt *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return err_set(e, ENOMEM, "no memory");
	a->p = p;
	p->adopt = a;
	a->timer = evtimer_new(p->base, on_adopt_timer, a);
	a->unfinished = store_op_unfinished(p->store, e);
	if (!a->timer || !a->unfinished)
		return a->timer ? -EIO : err_set(e, ENOMEM, "no memory");
	rc = store_domain_each(p->store, on_store_domain, p, e);
	if (!rc)
		rc = launch_scan(&p->conf->host, on_launch_found, a, e);
	if (rc == -EBADMSG) { /* the others were found */
		plog(p, "%s; a QEMU that runs there is left alone and its domain cannot be started: end it by hand",
			err_msg(e));
		rc = 0;
	}
	if (rc)
		return rc;
	note_ended(p);
	arm(a, a->waiting ? ANSWER_TIMEOUT_S : 0);
	return 0;
}

void adopt_free(struct policyd *p)
{
	struct adopt *a = p->adopt;

	if (!a)
		return;
	p->adopt = NULL;
	event_free(a->timer);
	json_decref(a->unfinished);
	free(a);
}
