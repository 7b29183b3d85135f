/* What predictions are made of: see forecast.h. */
#include "policyd/act/forecast_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MS 600000 /* older figures of a guest or a link say nothing of now */
#define LINK_FULL 0.7  /* a move that used more of what a link was thought to carry says what it carries */
#define LINK_MOVE_S 0.5

/* ---- history --------------------------------------------------------------------------------------------- */

static void learn_row(
	struct forecast *f, const char *domain, const char *peer, const json_t *predicted, const json_t *actual)
{
	struct learn_move m;

	if (learn_from_json(domain, peer, predicted, actual, &m) == 0)
		learn_add(&f->learn, &m);
}

/* Newest first; what was learnt while it was read is newer than all of it. */
static void on_store_moves(void *arg, json_t *rows, const struct err *e)
{
	struct policyd *p = arg;
	struct learn since;

	if (!p->forecast || e->code)
		return;
	since = p->forecast->learn;
	p->forecast->learn.n = 0;
	for (size_t i = json_array_size(rows); i-- > 0;) {
		const json_t *row = json_array_get(rows, i);

		learn_row(p->forecast, json_string_value(json_object_get(row, "domain")),
			json_string_value(json_object_get(row, "peer")), json_object_get(row, "predicted"),
			json_object_get(row, "actual"));
	}
	for (unsigned i = 0; i < since.n; i++)
		learn_add(&p->forecast->learn, &since.v[i]);
}

void forecast_note_move(
	struct policyd *p, const char *domain, const char *peer, const json_t *predicted, const json_t *actual)
{
	struct learn_move m;
	double wire;

	if (!p->forecast || learn_from_json(domain, peer, predicted, actual, &m) < 0)
		return;
	learn_add(&p->forecast->learn, &m);
	wire = m.first_s >= LINK_MOVE_S ? m.first_wire_bytes / m.first_s : 0;
	if (m.link_bps > 0 &&
		wire > LINK_FULL * m.link_bps) /* it was the limit, and this a longer look than any probe */
		forecast_note_link(p, peer, wire, 0);
}

/* ---- what was measured ----------------------------------------------------------------------------------- */

static struct seen_guest *guest_of(struct forecast *f, const char *domain)
{
	struct seen_guest *g;

	SLIST_FOREACH(g, &f->guests, link)
		if (!strcmp(g->domain, domain))
			break;
	return g;
}

static struct seen_link *link_of(struct forecast *f, const char *peer)
{
	struct seen_link *l;

	SLIST_FOREACH(l, &f->links, link)
		if (!strcmp(l->peer, peer))
			break;
	return l;
}

/* So that names that have gone do not pile up. */
static void forget_old(struct forecast *f)
{
	struct seen_guest *g, *next;
	int64_t now = now_mono_ms();

	for (g = SLIST_FIRST(&f->guests); g; g = next) {
		next = SLIST_NEXT(g, link);
		if (now - g->t_ms <= KEEP_MS)
			continue;
		SLIST_REMOVE(&f->guests, g, seen_guest, link);
		free(g);
	}
}

void forecast_note_guest(struct policyd *p, const char *domain, const struct predict_guest *g)
{
	struct forecast *f = p->forecast;
	struct seen_guest *s;

	if (!f)
		return;
	forget_old(f);
	s = guest_of(f, domain);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return;
		snprintf(s->domain, sizeof(s->domain), "%s", domain);
		SLIST_INSERT_HEAD(&f->guests, s, link);
	}
	s->t_ms = now_mono_ms();
	s->g = *g;
}

double forecast_writes_bps(const struct policyd *p, const char *domain, int64_t since_ms)
{
	const struct seen_guest *s = p->forecast ? guest_of(p->forecast, domain) : NULL;
	const struct rounds_point *last = s && s->g.n_written ? &s->g.written[s->g.n_written - 1] : NULL;

	return last && s->t_ms >= since_ms && last->s > 0 ? last->bytes / last->s : -1;
}

/* Peers are those of the configuration: a handful, kept. */
void forecast_note_link(struct policyd *p, const char *peer, double bps, double octet_ns)
{
	struct forecast *f = p->forecast;
	struct seen_link *l;

	if (!f || bps <= 0)
		return;
	l = link_of(f, peer);
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return;
		snprintf(l->peer, sizeof(l->peer), "%s", peer);
		SLIST_INSERT_HEAD(&f->links, l, link);
	}
	l->t_ms = now_mono_ms();
	l->bps = bps;
	if (octet_ns > 0)
		l->octet_ns = octet_ns;
}

bool forecast_link_known(struct policyd *p, const char *peer, int64_t age_ms)
{
	const struct seen_link *l = p->forecast ? link_of(p->forecast, peer) : NULL;

	return l && now_mono_ms() - l->t_ms <= age_ms;
}

void forecast_fill(struct policyd *p, const char *domain, const char *peer, struct predict_in *in)
{
	struct forecast *f = p->forecast;
	const struct seen_guest *g;
	const struct seen_link *l;

	if (!f)
		return;
	g = guest_of(f, domain);
	l = link_of(f, peer);
	if (g && now_mono_ms() - g->t_ms <= KEEP_MS)
		in->guest = g->g;
	if (l && now_mono_ms() - l->t_ms <= KEEP_MS)
		in->path.wire_bps = l->bps, in->path.octet_ns = l->octet_ns;
	learn_path(&f->learn, domain, peer, &in->path);
}

void forecast_snap_domain(struct policyd *p, struct snap_domain *out)
{
	struct forecast *f = p->forecast;
	const struct seen_guest *g = f ? guest_of(f, out->spec.name) : NULL;
	double dirty;

	if (!g || now_mono_ms() - g->t_ms > KEEP_MS)
		return;
	out->send_bytes = g->g.data_bytes * (1 - g->g.zero_share);
	out->wire_ratio = g->g.ratio;
	out->delta_share = g->g.delta_share;
	predict_guest_writes(&g->g, &out->hot_bytes, &dirty);
	if (out->dirty_bps < 0)
		out->dirty_bps = dirty;
}

void forecast_snap_peer(struct policyd *p, struct snap_peer *out)
{
	struct predict_in in = {.cold = false};

	forecast_fill(p, "", out->name, &in); /* "" is no domain's name: what holds for all */
	out->wire_bps = in.path.wire_bps;
	out->engine_bps = in.path.engine_bps;
	out->setup_s = in.path.setup_s;
	out->dark_ms = in.path.dark_ms;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

int forecast_start(struct policyd *p, struct err *e)
{
	struct forecast *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	SLIST_INIT(&f->guests);
	SLIST_INIT(&f->links);
	TAILQ_INIT(&f->running);
	TAILQ_INIT(&f->sinks);
	p->forecast = f;
	store_moves_get(p->store, LEARN_MAX, on_store_moves, p);
	return 0;
}

void forecast_stop(struct policyd *p)
{
	struct forecast *f = p->forecast;
	struct seen_guest *g;
	struct seen_link *l;

	if (!f)
		return;
	measure_abandon_all(p);
	sink_abandon_all(p);
	while ((g = SLIST_FIRST(&f->guests)) != NULL) {
		SLIST_REMOVE_HEAD(&f->guests, link);
		free(g);
	}
	while ((l = SLIST_FIRST(&f->links)) != NULL) {
		SLIST_REMOVE_HEAD(&f->links, link);
		free(l);
	}
	free(f);
	p->forecast = NULL;
}
