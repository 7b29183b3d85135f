/* The end of an incoming move without its guest, and what the journal says of the others: see incoming.c. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/incoming_int.h"

#define LEFT_WORKER_MS 60000

/* ---- the end without the guest ---------------------------------------------------------------------------------------- */

void incoming_end_refused(struct incoming *in)
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

void incoming_refused(struct incoming *in)
{
	in->refused = true;
	incoming_answer(in, "REFUSED");
	incoming_prepare_fail(in, in->why.code ? &in->why : &(struct err){.code = ECANCELED, .msg = "cancelled"});
	if (dom_kill(in->j->dom) == -ESRCH)
		incoming_end_refused(in);
}

/* ---- settle: what does the journal say? --------------------------------------------------------------------------------- */

static void record(struct incoming *in, enum handoff_state to);

static void on_outcome_recorded(void *arg, enum handoff_state found, const struct err *e)
{
	struct incoming *in = arg;

	if (!incoming_answered(in))
		return;
	if (!e->code && in->recording == HO_REFUSED) {
		incoming_refused(in);
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
		incoming_timer(in, INCOMING_AGAIN_MS);
	}
}

void incoming_record_refused(struct incoming *in)
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
		incoming_timer(in, INCOMING_AGAIN_MS);
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
	incoming_record_refused(in);
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

int incoming_enter_settle(struct job *j, struct err *e)
{
	struct incoming *in = j->priv;

	(void)e;
	evtimer_del(in->timer);
	if (in->owner)
		job_goto(j, IN_ACTIVATE);
	else if (!in->is_restart || !wait_for_left_worker(in))
		incoming_record_refused(in);
	return 0;
}

bool incoming_settling(const struct incoming *in)
{
	return in->j->phase == IN_SETTLE || (in->is_restart && in->j->phase < IN_SETTLE);
}

void incoming_outcome(struct incoming *in, const struct err *why)
{
	incoming_because(in, why);
	job_goto(in->j, IN_SETTLE);
}
