/* Leaving a host: see leave.h. The ways and their prices are moves.c's. */
#include "policyd/decide/leave.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/price.h"

struct row {
	struct vdom *d;
	struct move m;
	enum leave_what what;
	const char *waits; /* LEAVE_LATER: for what */
};

static bool runs(const struct snap_domain *d)
{
	return domain_state_runs(d->state);
}

static bool to_leave(const struct snapshot *s, const struct snap_domain *d)
{
	return runs(d) && (s->emptying || (*d->wanted_on && strcmp(d->wanted_on, s->host) != 0));
}

static struct vpeer *peer_of(struct view *v, const struct move *m)
{
	return &v->peers[m->peer - v->peers];
}

/* Another node of its cluster is away, or goes now: one at a time. */
static bool node_goes(const struct view *v, const struct row *rows, unsigned n, const struct snap_domain *d)
{
	for (unsigned i = 0; *d->spec.cluster && i < v->n_doms; i++)
		if (*v->doms[i].d->moving_to && strcmp(v->doms[i].d->spec.cluster, d->spec.cluster) == 0)
			return true;
	for (unsigned i = 0; *d->spec.cluster && i < n; i++)
		if (rows[i].what == LEAVE_NOW && strcmp(rows[i].d->d->spec.cluster, d->spec.cluster) == 0)
			return true;
	return false;
}

static unsigned count_now(const struct row *rows, unsigned n, bool ruled)
{
	unsigned now = 0;

	for (unsigned i = 0; i < n; i++)
		now += rows[i].what == LEAVE_NOW && (!ruled || rows[i].d->ruled);
	return now;
}

/* NULL: it may begin beside what has begun (rows 0..@n-1). */
static const char *waits_for(const struct view *v, const struct row *rows, unsigned n, const struct row *r)
{
	if (v->s->moves_now + count_now(rows, n, false) >= v->s->decide.max_moves)
		return "as many moves as may be are under way here (decide.max-moves)";
	if (r->m.peer->moves >= v->s->decide.max_moves)
		return "as many moves as may be are under way there (decide.max-moves)";
	if (r->m.method == BY_COLD && node_goes(v, rows, n, r->d->d))
		return "another node of its cluster is moving";
	if (r->d->ruled && count_now(rows, n, true))
		return "rules of company: one at a time";
	return NULL;
}

/* Blocked by what will be over with a move that is under way. */
static const char *blocked_for_now(const struct view *v, const struct row *rows, unsigned n, const struct row *r)
{
	const struct snap_domain *d = r->d->d;

	if (d->busy && !*d->moving_to && !d->held && d->state != DOM_SUSPENDED)
		return "an operation is under way on it";
	if (d->policy.relocate == RELOCATE_COLD && d->cluster_available <= d->cluster_min && node_goes(v, rows, n, d))
		return "another node of its cluster is moving";
	return NULL;
}

static void too_late(const struct view *v, struct row *r)
{
	int64_t left_ms = v->s->empty_by_ms - v->s->now_ms;

	if (!v->s->emptying || !v->s->empty_by_ms || *r->m.why_not || r->m.pred.total_high_s * 1000 <= (double)left_ms)
		return;
	snprintf(r->m.why_not, sizeof(r->m.why_not),
		"it would take up to %.0f s, and the deadline is in %.0f s: not begun", r->m.pred.total_high_s,
		left_ms > 0 ? (double)left_ms / 1000 : 0);
}

/* How @r leaves, beside those before it; what it takes there is taken off. */
static void row_fill(struct view *v, struct row *rows, unsigned n, struct row *r)
{
	const char *only = v->s->emptying ? "" : r->d->d->wanted_on;
	struct vpeer *p;

	if (*r->d->d->moving_to) {
		r->what = LEAVE_UNDER_WAY;
		return;
	}
	move_away(v, r->d, only, &r->m);
	too_late(v, r);
	if (*r->m.why_not) {
		r->waits = blocked_for_now(v, rows, n, r);
		r->what = r->waits ? LEAVE_LATER : LEAVE_BLOCKED;
		r->m.peer = NULL;
		return;
	}
	r->waits = waits_for(v, rows, n, r);
	r->what = r->waits ? LEAVE_LATER : LEAVE_NOW;
	p = peer_of(v, &r->m);
	p->vcpus_free -= r->d->d->vcpus;
	p->mem_free -= r->m.mem_bytes;
	p->moves += r->what == LEAVE_NOW;
}

/* Large ones first: they find room least easily. Then by name. */
static int by_size(const void *a, const void *b)
{
	const struct snap_domain *x = ((const struct row *)a)->d->d, *y = ((const struct row *)b)->d->d;

	if (x->mem_bytes != y->mem_bytes)
		return x->mem_bytes > y->mem_bytes ? -1 : 1;
	return strcmp(x->spec.name, y->spec.name);
}

static unsigned without_room(const struct row *rows, unsigned n)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++)
		k += rows[i].what == LEAVE_BLOCKED && rows[i].m.no_room;
	return k;
}

static void rows_fill(struct view *v, struct row *rows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		rows[i] = (struct row){.d = rows[i].d};
		row_fill(v, rows, i, &rows[i]);
	}
}

/* The cheapest way of each takes what room it takes. Where that leaves none for another, all are trimmed as far as they may be; kept if more leave so. */
static void rows_fit(struct view *v, struct row *rows, unsigned n)
{
	struct vpeer *peers = malloc((v->n_peers ? v->n_peers : 1) * sizeof(*peers));
	unsigned blocked;

	if (!peers) {
		v->no_memory = true;
		return;
	}
	memcpy(peers, v->peers, v->n_peers * sizeof(*peers));
	rows_fill(v, rows, n);
	blocked = without_room(rows, n);
	for (unsigned pass = 0; pass < 2 && blocked; pass++) { /* dense; and back, where that does not help */
		v->dense = pass == 0;
		memcpy(v->peers, peers, v->n_peers * sizeof(*peers));
		rows_fill(v, rows, n);
		if (without_room(rows, n) < blocked)
			break;
	}
	v->dense = false;
	free(peers);
}

/* malloc'd; NULL: no memory (v->no_memory). */
static struct row *rows_make(struct view *v, unsigned *n_out)
{
	struct row *rows = calloc(v->n_doms ? v->n_doms : 1, sizeof(*rows));
	unsigned n = 0;

	if (!rows) {
		v->no_memory = true;
		return NULL;
	}
	for (unsigned i = 0; i < v->n_doms; i++)
		if (to_leave(v->s, v->doms[i].d))
			rows[n++].d = &v->doms[i];
	qsort(rows, n, sizeof(*rows), by_size);
	rows_fit(v, rows, n);
	*n_out = n;
	return rows;
}

/* ---- into the plan ---- */

static void add_candidate(struct view *v, const struct row *r)
{
	struct candidate *c = view_candidate(v, r->d);
	char how[160];

	if (!c)
		return;
	snprintf(c->text, sizeof(c->text), "leave");
	snprintf(c->why, sizeof(c->why), "%s", r->waits ? r->waits : r->m.why_not);
	c->verdict = r->what == LEAVE_NOW ? CAND_CHOSEN
		: r->what == LEAVE_LATER  ? CAND_LATER
		: r->m.no_room            ? CAND_NO_ROOM
					  : CAND_NOT_ALLOWED;
	if (!r->m.peer)
		return;
	move_how(&r->m, how, sizeof(how));
	snprintf(c->text, sizeof(c->text), "leave: %.150s", how);
	c->price = r->m.price;
	if (r->what == LEAVE_NOW)
		snprintf(c->why, sizeof(c->why), "the cheapest way that its policy allows");
}

static void add_row(struct view *v, const struct row *r)
{
	const char *host = v->s->host, *wanted = r->d->d->wanted_on;
	struct action *a;

	if (r->what == LEAVE_UNDER_WAY) {
		view_note(v, r->d, "is on its way to %s", r->d->d->moving_to);
		return;
	}
	add_candidate(v, r);
	if (r->what == LEAVE_BLOCKED)
		view_note(v, r->d, "does not leave %s: %s", host, r->m.why_not);
	else
		view_note(v, r->d,
			v->s->emptying ? "leaves %s, which is in maintenance" : "goes back to %s, which asks for it",
			v->s->emptying ? host : wanted);
	a = r->what == LEAVE_NOW ? move_action(v, &r->m, r->d->d->spec.name) : NULL;
	if (!a)
		return;
	snprintf(a->policy, sizeof(a->policy), "%s", LEAVE_POLICY);
	if (v->s->emptying)
		snprintf(a->why, sizeof(a->why), "leaves %s, which is in maintenance (price %.3g)", host, r->m.price);
	else
		snprintf(a->why, sizeof(a->why),
			"goes back to %s, which asks for it after its maintenance (price %.3g)", wanted, r->m.price);
}

void leave_add(struct view *v)
{
	unsigned n = 0;
	struct row *rows = rows_make(v, &n);

	for (unsigned i = 0; i < n && !v->no_memory; i++)
		add_row(v, &rows[i]);
	free(rows);
}

/* ---- as a list ---- */

static void list_row(const struct row *r, struct leaving *out)
{
	snprintf(out->domain, sizeof(out->domain), "%s", r->d->d->spec.name);
	out->what = r->what;
	snprintf(out->why, sizeof(out->why), "%s", r->waits ? r->waits : r->m.why_not);
	if (r->what == LEAVE_UNDER_WAY)
		snprintf(out->target, sizeof(out->target), "%s", r->d->d->moving_to);
	if (!r->m.peer || r->what == LEAVE_UNDER_WAY)
		return;
	snprintf(out->target, sizeof(out->target), "%s", r->m.peer->p->name);
	move_how(&r->m, out->how, sizeof(out->how));
	out->total_s = r->m.pred.total_s;
	out->outage_s = r->m.method != BY_COLD ? r->m.pred.blackout_ms / 1000
		: price_service_goes_on(&r->m) ? 0
					       : r->m.pred.total_s;
}

int leave_list(const struct snapshot *s, struct leaving **out, unsigned *n_out)
{
	struct snapshot own = *s;
	struct plan plan = {0};
	struct view v;
	struct row *rows = NULL;
	struct leaving *list = NULL;
	unsigned n = 0, k = 0;

	own.emptying = true;
	if (view_init(&v, &own, &plan) == 0)
		rows = rows_make(&v, &n);
	if (rows)
		list = calloc(n ? n : 1, sizeof(*list));
	for (unsigned pass = 0; list && pass < 2; pass++)
		for (unsigned i = 0; i < n; i++)
			if ((rows[i].what == LEAVE_BLOCKED) == (pass == 0))
				list_row(&rows[i], &list[k++]);
	free(rows);
	view_fini(&v);
	if (!list)
		return -ENOMEM;
	*out = list;
	*n_out = n;
	return 0;
}
