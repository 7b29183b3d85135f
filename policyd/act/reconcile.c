/* After a restart: which hand-offs and moves were under way, and a job that settles each. The journals decide (they are the durable truth of a
 * hand-off); the store's unfinished operations say what the journals do not know (nothing recorded yet, cold moves, the definition that a target
 * was given). The domain is busy with that job until it is settled; everything else goes on. Loop thread; the scan on a thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/move.h"
#include "policyd/cluster/cluster.h"

struct scan {
	struct policyd *p;
	char state_dir[SPEC_PATH_MAX];
	struct journal_entry *v;
	size_t n, cap;
	struct err e;
	json_t *unfinished;
	void (*done)(struct policyd *p);
};

static void add_entry(void *arg, const struct journal_entry *entry)
{
	struct scan *s = arg;

	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct journal_entry *v = realloc(s->v, cap * sizeof(*v));

		if (!v)
			return; /* the rest waits for the next restart, or for the peer's question */
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = *entry;
}

static void scan_work(void *arg)
{
	struct scan *s = arg;

	journal_scan(s->state_dir, add_entry, s, &s->e);
}

/* The newest journal of @uuid in this role, or the one of @epoch where that is not 0; NULL = none. */
static const struct journal_entry *journal_of(
	const struct scan *s, const char *uuid, enum handoff_role role, uint64_t epoch)
{
	const struct journal_entry *best = NULL;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].role == role && !strcmp(s->v[i].uuid, uuid) && (!epoch || s->v[i].epoch == epoch) &&
			(!best || s->v[i].epoch > best->epoch))
			best = &s->v[i];
	return best;
}

static const json_t *op_of(const struct scan *s, const char *uuid, const char *kind)
{
	const json_t *row, *best = NULL;
	size_t i;

	json_array_foreach(s->unfinished, i, row) {
		const char *u = json_string_value(json_object_get(row, "uuid")),
			   *k = json_string_value(json_object_get(row, "kind"));

		if (u && k && !strcmp(u, uuid) && !strcmp(k, kind))
			best = row;
	}
	return best;
}

static void settle_failed(struct policyd *p, const char *what, const struct err *e)
{
	plog(p, "%s: not settled: %s", what, e->msg);
}

/* ---- as a target ------------------------------------------------------------------------------------------------------------ */

static void settle_incoming(struct scan *s, struct dom *d)
{
	const struct journal_entry *j = journal_of(s, d->spec.uuid, HO_TARGET, 0);
	const json_t *op = op_of(s, d->spec.uuid, "incoming"), *detail = json_object_get(op, "detail");
	const char *from = json_string_value(json_object_get(detail, "from"));
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(detail, "epoch"));
	struct err e;

	if (!epoch && j)
		epoch = j->epoch;
	if (!from && j)
		from = j->peer;
	if (!epoch) {
		plog(s->p, "%s: a migration's target that nobody knows about; its QEMU is ended", d->spec.name);
		dom_kill(d);
	} else if (incoming_settle(d, from ? from : "?", epoch, detail, &e) < 0) {
		settle_failed(s->p, d->spec.name, &e);
	}
}

/* It became ours, its QEMU is gone, and it had not been stored yet: the definition is in the operation. */
static void settle_lost_target(struct scan *s, const json_t *op)
{
	const json_t *detail = json_object_get(op, "detail");
	const char *uuid = json_string_value(json_object_get(op, "uuid")),
		   *from = json_string_value(json_object_get(detail, "from"));
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(detail, "epoch"));
	struct admit_request ar;
	struct dom *d;
	struct err e;

	if (!uuid || !from || !epoch || dom_find_uuid(s->p, uuid))
		return;
	if (admit_request_parse(json_object_get(detail, "args"), &ar, &e) < 0) {
		settle_failed(s->p, uuid, &e);
		return;
	}
	admit_request_fini(&ar);
	snprintf(ar.spec.name, sizeof(ar.spec.name), "%s", ar.name);
	if (dom_new(s->p, &ar.spec, &d, &e) < 0 || incoming_settle(d, from, epoch, detail, &e) < 0)
		settle_failed(s->p, ar.name, &e);
}

/* ---- as a source -------------------------------------------------------------------------------------------------------------- */

static bool interrupted(const struct journal_entry *j, const json_t *op)
{
	switch (j->state) {
	case HO_RUN:
	case HO_PAUSED:
	case HO_OFFERED:
	case HO_GONE: /* and the domain is still here */
		return true;
	default:
		return op != NULL;
	}
}

static void settle_source(struct scan *s, struct dom *d)
{
	const struct journal_entry *j = journal_of(s, d->spec.uuid, HO_SOURCE, d->epoch);
	const json_t *op = op_of(s, d->spec.uuid, "migration"), *detail = json_object_get(op, "detail");
	const char *host = json_string_value(json_object_get(detail, "host"));
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(detail, "epoch"));
	struct err e;
	int r = 0;

	if (j && interrupted(j, op))
		r = live_settle(d, j->peer, j->epoch, detail, &e);
	else if (host && epoch)
		r = live_settle(d, host, epoch, detail, &e);
	if (r < 0)
		settle_failed(s->p, d->spec.name, &e);
}

static void settle_ops(struct scan *s)
{
	const json_t *row;
	size_t i;

	json_array_foreach(s->unfinished, i, row) {
		const char *kind = json_string_value(json_object_get(row, "kind")),
			   *uuid = json_string_value(json_object_get(row, "uuid"));
		struct dom *d = uuid ? dom_find_uuid(s->p, uuid) : NULL;
		struct err e;
		int r = 0;

		if (!kind)
			continue;
		if (!strcmp(kind, "incoming"))
			settle_lost_target(s, row);
		else if (!strcmp(kind, "incoming cold"))
			r = incoming_cold_settle(s->p, row, &e);
		else if (!strcmp(kind, "cold move") && d && !d->job)
			r = cold_settle(d, row, &e);
		if (r < 0)
			settle_failed(s->p, uuid, &e);
	}
}

static void on_scanned(void *arg)
{
	struct scan *s = arg;
	struct dom *d, *next;

	if (s->e.code)
		plog(s->p, "hand-off journals: %s", s->e.msg);
	for (d = TAILQ_FIRST(&s->p->doms); d; d = next) {
		next = TAILQ_NEXT(d, link);
		if (d->launched.pid && d->launched.incoming)
			settle_incoming(s, d);
		else
			settle_source(s, d);
	}
	settle_ops(s);
	s->done(s->p);
	json_decref(s->unfinished);
	free(s->v);
	free(s);
}

void cluster_reconcile(struct policyd *p, const json_t *unfinished, void (*done)(struct policyd *p))
{
	struct scan *s = calloc(1, sizeof(*s));

	if (s) {
		s->p = p;
		s->done = done;
		s->unfinished = json_incref((json_t *)unfinished);
		snprintf(s->state_dir, sizeof(s->state_dir), "%s", p->conf->host.paths.state);
		if (offload(p->base, scan_work, on_scanned, s) == 0)
			return;
		json_decref(s->unfinished);
		free(s);
	}
	plog(p, "hand-off journals: no thread to read them; domains stay as they are"); /* never settled: policy may not act */
}
