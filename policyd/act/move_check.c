/* Checks before a move: the source's worker looks at QEMU, kernel and disks; the target looks at itself. Both at once, all reasons kept. Used by
 * the dry run and as the first phase of each move. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/forecast.h"
#include "policyd/act/move.h"

#define PRECHECK_TIMEOUT_MS 15000
#define CHECK_TIMEOUT_S 15
#define DRY_LINK_AGE_MS 20000 /* a younger figure of the link needs no new probe */

struct move_checks {
	struct policyd *p;
	char uuid[37];
	struct move_request rq;
	bool live;
	struct look *look;
	struct volume_id volumes[SPEC_DISKS_MAX];
	struct admit_failures f;
	struct worker *w;
	struct peer_call *call;
	struct event *turn, *deadline; /* turn: the end, from the loop */
	bool heard;                    /* the worker gave its list */
	bool worker_pending, peer_pending, done_called;
	struct measure_wait measure; /* for the prediction; of no use where the move fails anyway */
	move_checks_fn *done;
	void *arg;
};

static void checks_free(struct move_checks *c)
{
	measure_leave(&c->measure);
	worker_discard(c->w);
	peer_call_forget(c->call);
	look_forget(c->look);
	if (c->turn)
		event_free(c->turn);
	if (c->deadline)
		event_free(c->deadline);
	free(c);
}

static void maybe_done(struct move_checks *c)
{
	if (!c->worker_pending && !c->peer_pending && (!c->measure.m || c->f.n))
		event_active(c->turn, EV_TIMEOUT, 0);
}

static void on_turn_done(evutil_socket_t fd, short what, void *arg)
{
	struct move_checks *c = arg;

	(void)fd;
	(void)what;
	if (c->done_called)
		return;
	c->done_called = true;
	c->done(c->arg, &c->f, c->volumes);
	checks_free(c);
}

static void on_timer_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct move_checks *c = arg;

	(void)fd;
	(void)what;
	worker_kill(c->w);
}

static void on_check_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct move_checks *c = arg;

	(void)w;
	if (strcmp(event, "check") != 0)
		return;
	c->heard = true;
	admit_from_json(json_object_get(line, "failures"), &c->f);
}

static void on_check_end(void *arg, const json_t *done, const char *how)
{
	struct move_checks *c = arg;

	(void)done;
	if (!c->heard)
		admit_fail(&c->f, "checks", "%s; see worker.log in its run folder",
			how[0] ? how : "policyd-migrate check gave no answer");
	c->w = NULL;
	c->worker_pending = false;
	maybe_done(c);
}

static const struct worker_ops check_ops = {on_check_event, on_check_end};

static void on_answer_precheck(void *arg, const json_t *answer, const struct err *e)
{
	struct move_checks *c = arg;

	c->call = NULL;
	if (e->code)
		admit_fail(&c->f, "host", "%s", e->msg);
	else
		admit_from_json(json_object_get(answer, "failures"), &c->f);
	c->peer_pending = false;
	maybe_done(c);
}

static void on_measured(void *arg)
{
	maybe_done(arg);
}

static void ask_worker(struct move_checks *c, struct dom *d, const char *host)
{
	struct worker_conf wc = {.p = d->p, .domain = d->spec.name, .verb = "check", .ops = &check_ops, .arg = c};
	struct timeval tv = {CHECK_TIMEOUT_S, 0};
	struct err e;

	wc.start = move_worker_line(d, "source", host, d->epoch + 1);
	if (worker_start(&wc, &c->w, &e) < 0) {
		admit_fail(&c->f, "checks", "%s", e.msg);
		return;
	}
	c->worker_pending = true;
	evtimer_add(c->deadline, &tv);
}

static void ask_peer(struct move_checks *c, struct dom *d)
{
	struct admit_request ar;
	struct err e;

	move_admit_request(d, &c->rq, c->live, c->volumes, &ar);
	if (cluster_call(d->p, c->rq.host, "precheck", admit_request_json(&ar), PRECHECK_TIMEOUT_MS, on_answer_precheck,
		    c, &c->call, &e) < 0)
		admit_fail(&c->f, "host", "%s", e.msg);
	else
		c->peer_pending = true;
	admit_request_fini(&ar);
}

/* ---- our own storage: the target compares its own with it ---- */

static void take_volumes(struct move_checks *c, const struct dom *d, const struct look_list *l)
{
	const struct host_services *h = &d->p->conf->host;

	for (unsigned i = 0; i < d->spec.n_disks; i++) {
		const struct volume *v = services_volume(h, d->spec.disks[i].volume);
		const struct look_path *lp = v ? look_find(l, v->path) : NULL;

		if (lp && lp->found == LOOKED_HUNG)
			admit_fail(&c->f, "storage",
				"%s on %s did not answer within %d s: its storage hangs; mend that first", v->path,
				h->host_name, LOOK_MS / 1000);
		else if (lp)
			c->volumes[i] = lp->id;
	}
}

static void on_own_looked(void *arg, const struct look_list *l)
{
	struct move_checks *c = arg;
	struct dom *d = dom_find_uuid(c->p, c->uuid);

	c->look = NULL;
	c->peer_pending = false;
	if (!d) {
		admit_fail(&c->f, "domain", "it has been removed");
	} else {
		take_volumes(c, d, l);
		ask_peer(c, d);
	}
	maybe_done(c);
}

static void look_at_own(struct move_checks *c, struct dom *d)
{
	struct look_list paths = {.n = 0};
	const struct volume *v;

	for (unsigned i = 0; i < d->spec.n_disks; i++) {
		v = services_volume(&d->p->conf->host, d->spec.disks[i].volume);
		if (v)
			look_add(&paths, v->path, true);
	}
	if (!paths.n) {
		ask_peer(c, d);
		return;
	}
	c->look = look_start(d->p, &paths, on_own_looked, c);
	if (c->look)
		c->peer_pending = true;
	else
		admit_fail(&c->f, "storage", "it could not be looked at: out of memory or threads");
}

void move_check_cluster(struct dom *d, const json_t *leaving, struct admit_failures *f)
{
	const struct conf *conf = d->p->conf;
	bool runs = d->state == DOM_ACTIVE;
	unsigned running = cluster_nodes(d->p, d->spec.cluster, d->spec.uuid, leaving) + runs;

	for (unsigned i = 0; i < conf->n_clusters; i++)
		if (!strcmp(conf->clusters[i].name, d->spec.cluster))
			admit_cluster(d->spec.cluster, running, runs, conf->clusters[i].min_available, f);
}

struct move_checks *move_checks_start(
	struct dom *d, const struct move_request *rq, bool live, move_checks_fn *done, void *arg)
{
	struct move_checks *c = calloc(1, sizeof(*c));
	bool measure = live && !d->job; /* a dry run; a move measures by itself, and nothing is measured into one */

	if (!c)
		return NULL;
	c->p = d->p;
	c->measure.done = on_measured;
	c->measure.arg = c;
	c->done = done;
	c->arg = arg;
	c->rq = *rq;
	c->live = live;
	snprintf(c->uuid, sizeof(c->uuid), "%s", d->spec.uuid);
	c->turn = event_new(d->p->base, -1, 0, on_turn_done, c);
	c->deadline = evtimer_new(d->p->base, on_timer_deadline, c);
	if (!c->turn || !c->deadline) {
		checks_free(c);
		return NULL;
	}
	look_at_own(c, d);
	if (live && dom_no_live_move(d))
		admit_fail(&c->f, "vcpu", "%s", dom_no_live_move(d));
	if (live)
		ask_worker(c, d, rq->host);
	else if (d->spec.cluster[0])
		move_check_cluster(d, NULL, &c->f);
	if (measure)
		measure_start(d, rq->host, DRY_LINK_AGE_MS, &c->measure);
	maybe_done(c);
	return c;
}

void move_checks_cancel(struct move_checks *c)
{
	if (c)
		checks_free(c);
}
