/* What earlier moves teach: see learn.h. Pure. */
#include "policyd/decide/learn.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECAY 0.85 /* weight of a move against the next one */
#define DRAWN 2.0
#define LOOK_BACK 24    /* moves to a host, at most */
#define OTHER_HOSTS 0.3 /* of what a move to this host says of fixed times and speeds, a move to another one */
#define LINK_FREE 0.7   /* below this share of the link in use, something else was the limit */
#define PACKABLE 0.8    /* lz4 saves something worth the name */
#define SPREAD_QUANTILE 0.85
#define SPREAD_MIN 1.05
#define SPREAD_KNOWN 4 /* moves before a spread is believed */
#define PLAUSIBLE 20.0 /* who is wrong by more than this is no measure of anything */

void learn_add(struct learn *l, const struct learn_move *m)
{
	if (l->n == LEARN_MAX)
		memmove(&l->v[0], &l->v[1], --l->n * sizeof(l->v[0]));
	l->v[l->n++] = *m;
}

/* ---- weighted quantiles ------------------------------------------------------------------------------------ */

struct weighted {
	double v, w;
};

struct set {
	struct weighted v[LEARN_MAX];
	unsigned n;
};

static void set_add(struct set *s, double v, double w)
{
	if (s->n < LEARN_MAX && isfinite(v))
		s->v[s->n++] = (struct weighted){v, w};
}

static int by_value(const void *a, const void *b)
{
	const struct weighted *x = a, *y = b;

	return x->v < y->v ? -1 : x->v > y->v;
}

/* Half-way between two where the weights meet exactly; 0 for an empty set. */
static double quantile(struct set *s, double q)
{
	double all = 0, sum = 0;

	qsort(s->v, s->n, sizeof(s->v[0]), by_value);
	for (unsigned i = 0; i < s->n; i++)
		all += s->v[i].w;
	for (unsigned i = 0; i < s->n; i++) {
		sum += s->v[i].w;
		if (sum > all * q + 1e-12 || i + 1 == s->n)
			return s->v[i].v;
		if (sum > all * q - 1e-12)
			return (s->v[i].v + s->v[i + 1].v) / 2;
	}
	return 0;
}

/* ---- one figure of the moves to a host --------------------------------------------------------------------- */

typedef double figure_fn(const struct learn_move *m);

/* Weighted median of @fn over the newest moves; what is not to @peer counts @others as much (0: not at all). fn <= 0 is "not known". 0: nothing is known. */
static double median(const struct learn *l, const char *peer, figure_fn *fn, double others)
{
	struct set s = {.n = 0};
	double w = 1;

	for (unsigned i = l->n; i-- > 0 && s.n < LOOK_BACK;) {
		double by = strcmp(l->v[i].peer, peer) != 0 ? others : 1, v = by > 0 ? fn(&l->v[i]) : 0;

		if (v <= 0)
			continue;
		set_add(&s, v, w * by);
		w *= DECAY;
	}
	return quantile(&s, 0.5);
}

static double setup_s(const struct learn_move *m)
{
	return m->copy_s > 0 ? m->total_s - m->trim_s - m->copy_s - m->blackout_ms / 1000 : 0;
}

static double rest_s(const struct learn_move *m)
{
	return m->spent_s > 0 ? setup_s(m) - m->spent_s : 0;
}

static double first_rate(const struct learn_move *m)
{
	return m->first_s > 0 ? m->first_ram_bytes / m->first_s : 0;
}

static double dark_ms(const struct learn_move *m)
{
	double rate = first_rate(m), left;

	if (m->blackout_ms <= 0 || rate <= 0)
		return 0;
	left = m->blackout_ms - m->last_ram_bytes / rate * 1000;
	return left > m->blackout_ms / 10 ? left : m->blackout_ms / 10;
}

/* Content a second where the link had room left; < 8 MB measure nothing. */
static double engine_bps(const struct learn_move *m)
{
	double wire = m->first_s > 0 ? m->first_wire_bytes / m->first_s : 0;

	return m->first_ram_bytes < 8e6 || m->link_bps <= 0 || wire > LINK_FREE * m->link_bps ? 0 : first_rate(m);
}

/* The same against what a probe just before made of the same processors. */
static double engine_share(const struct learn_move *m)
{
	double bps = engine_bps(m);

	return bps > 0 ? bps / m->link_bps : 0;
}

/* No move is faster than the engine, whatever its limit was. */
static double reached_bps(const struct learn_move *m)
{
	return m->first_ram_bytes < 8e6 ? 0 : first_rate(m);
}

static double pack_cost(const struct learn_move *m)
{
	double was = m->first_ram_bytes > 0 ? m->first_wire_bytes / m->first_ram_bytes : 0, share;

	if (was <= 0 || m->lz4_ratio <= 0 || m->lz4_ratio > PACKABLE)
		return 0;
	share = (1 - was) / (1 - m->lz4_ratio);
	return predict_pack_cost(m->lz4_ratio, share > 0 ? share : 0);
}

/* Of the domain itself, wherever it went: how fast it shrinks is a matter of its own pressure. */
static double trim_bps(const struct learn *l, const char *domain)
{
	struct set s = {.n = 0};
	double w = 1;

	for (unsigned i = l->n; i-- > 0 && s.n < LOOK_BACK;) {
		const struct learn_move *m = &l->v[i];

		if (strcmp(m->domain, domain) != 0 || m->trim_s <= 0 || m->trimmed_bytes <= 0)
			continue;
		set_add(&s, m->trimmed_bytes / m->trim_s, w);
		w *= DECAY;
	}
	return quantile(&s, 0.5);
}

/* ---- corrections ------------------------------------------------------------------------------------------- */

struct wrong { /* ln(actual / raw) of one figure, newest first; weights of the link's and of the domain's */
	double v[LEARN_MAX], w[LEARN_MAX];
	bool own[LEARN_MAX];
	unsigned n;
};

enum figure { FIG_TOTAL, FIG_BLACKOUT, FIG_BYTES, FIG_COUNT };

/* What would be predicted for @m by what is known now. */
static void again(const struct learn_move *m, const struct predict_path *now, double out[FIG_COUNT])
{
	double dark = m->dark_ms > 0 ? m->dark_ms : PREDICT_FIXED_BLACKOUT_MS, ratio = m->wire_ratio,
	       rate = m->rate_bps;
	double setup = m->setup_s > 0 ? m->setup_s : PREDICT_SETUP_S, last = m->raw_blackout_ms - dark, copy;

	copy = m->raw_total_s - setup - m->raw_blackout_ms / 1000;
	if (now->pack_cost > 0 && m->lz4_ratio > 0 && m->lz4_ratio <= PACKABLE)
		ratio = 1 - predict_packed_share(m->lz4_ratio, now->pack_cost) * (1 - m->lz4_ratio);
	if (m->link_bps > 0 && now->engine_bps > 0 && ratio > 0)
		rate = predict_both_limits(m->link_bps / ratio, now->engine_bps);
	if (m->rate_bps > 0 && rate > 0) {
		copy *= m->rate_bps / rate;
		last *= m->rate_bps / rate;
	}
	out[FIG_BLACKOUT] = (now->dark_ms > 0 ? now->dark_ms : dark) + (last > 0 ? last : 0);
	if (now->setup_s > 0)
		setup = predict_setup_s(now, m->spent_s);
	out[FIG_TOTAL] = setup + (copy > 0 ? copy : 0) + out[FIG_BLACKOUT] / 1000;
	out[FIG_BYTES] = m->wire_ratio > 0 && ratio > 0 ? m->raw_bytes * ratio / m->wire_ratio : m->raw_bytes;
}

static double ratio_of(const struct learn_move *m, const struct predict_path *now, enum figure f)
{
	const double was[FIG_COUNT] = {
		[FIG_TOTAL] = m->total_s - m->trim_s, [FIG_BLACKOUT] = m->blackout_ms, [FIG_BYTES] = m->bytes};
	double said[FIG_COUNT] = {0}, r;

	if (m->raw_total_s > 0 && m->raw_blackout_ms > 0 && m->raw_bytes > 0)
		again(m, now, said);
	r = said[f] > 0 && was[f] > 0 ? was[f] / said[f] : 0;
	return r > 1 / PLAUSIBLE && r < PLAUSIBLE ? log(r) : (double)NAN;
}

static void collect(const struct learn *l, const char *domain, const char *peer, const struct predict_path *now,
	enum figure f, struct wrong *out)
{
	double w = 1;

	out->n = 0;
	for (unsigned i = l->n; i-- > 0 && out->n < LOOK_BACK;) {
		const struct learn_move *m = &l->v[i];
		double r = ratio_of(m, now, f);

		if (strcmp(m->peer, peer) != 0 || isnan(r))
			continue;
		out->v[out->n] = r;
		out->w[out->n] = w;
		out->own[out->n++] = !strcmp(m->domain, domain);
		w *= DECAY;
	}
}

/* Few moves prove little: drawn towards 0 by two imagined moves that were predicted rightly. */
static double drawn_median(struct set *s)
{
	return quantile(s, 0.5) * s->n / (s->n + DRAWN);
}

static struct predict_factor factor(
	const struct learn *l, const char *domain, const char *peer, const struct predict_path *now, enum figure f)
{
	struct set all = {.n = 0}, own = {.n = 0}, left = {.n = 0};
	struct predict_factor out = {0};
	double link, mine, spread;
	struct wrong x;

	collect(l, domain, peer, now, f, &x);
	if (!x.n)
		return out;
	for (unsigned i = 0; i < x.n; i++)
		set_add(&all, x.v[i], x.w[i]);
	link = drawn_median(&all);
	for (unsigned i = 0; i < x.n; i++)
		if (x.own[i])
			set_add(&own, x.v[i] - link, x.w[i]);
	mine = drawn_median(&own);
	for (unsigned i = 0; i < x.n; i++)
		set_add(&left, fabs(x.v[i] - link - (x.own[i] ? mine : 0)), x.w[i]);
	out.by = exp(link + mine);
	spread = exp(quantile(&left, SPREAD_QUANTILE));
	if (x.n >= SPREAD_KNOWN)
		out.spread = spread > SPREAD_MIN ? spread : SPREAD_MIN;
	return out;
}

/* Where the link seemed to be the limit the engine is known to have been at least so fast: on a way within one machine a probe and the engine
 * have the same limit, which is its processors. */
static double engine(const struct learn *l, const char *peer)
{
	double known = median(l, peer, engine_bps, OTHER_HOSTS), reached = median(l, peer, reached_bps, OTHER_HOSTS);

	return reached > (known > 0 ? known : PREDICT_ENGINE_BPS) ? reached : known;
}

void learn_path(const struct learn *l, const char *domain, const char *peer, struct predict_path *out)
{
	double share = median(l, peer, engine_share, OTHER_HOSTS);

	out->setup_s = median(l, peer, setup_s, OTHER_HOSTS);
	out->rest_s = median(l, peer, rest_s, OTHER_HOSTS);
	out->dark_ms = median(l, peer, dark_ms, OTHER_HOSTS);
	out->trim_bps = trim_bps(l, domain);
	out->pack_cost = median(l, peer, pack_cost, 0);
	out->engine_bps = engine(l, peer);
	out->total = factor(l, domain, peer, out, FIG_TOTAL);
	out->blackout = factor(l, domain, peer, out, FIG_BLACKOUT);
	out->bytes = factor(l, domain, peer, out, FIG_BYTES);
	/* Of both, the mean: a probe is short, and the past may have been busier. A link that is slower than the engine tells nothing of it. */
	if (share * out->wire_bps > 0 && out->wire_bps > out->engine_bps)
		out->engine_bps = sqrt(out->engine_bps * share * out->wire_bps);
}

/* ---- from history ------------------------------------------------------------------------------------------ */

static double num(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

int learn_from_json(
	const char *domain, const char *peer, const json_t *predicted, const json_t *actual, struct learn_move *out)
{
	const json_t *raw = json_object_get(predicted, "raw");
	const char *method = json_string_value(json_object_get(actual, "method"));
	struct learn_move m = {.raw_total_s = num(raw, "total_s"),
		.raw_blackout_ms = num(raw, "blackout_ms"),
		.raw_bytes = num(raw, "bytes"),
		.total_s = num(actual, "total_ms") / 1000,
		.blackout_ms = num(actual, "blackout_ms"),
		.bytes = num(actual, "wire_bytes"),
		.copy_s = num(actual, "copy_ms") / 1000,
		.trim_s = num(actual, "trim_ms") / 1000,
		.trimmed_bytes = num(actual, "trimmed_bytes"),
		.first_s = num(actual, "first_ms") / 1000,
		.first_ram_bytes = num(actual, "first_ram_bytes"),
		.first_wire_bytes = num(actual, "first_wire_bytes"),
		.last_ram_bytes = num(actual, "last_ram_bytes"),
		.link_bps = num(predicted, "link_bps"),
		.rate_bps = num(predicted, "rate_bps"),
		.wire_ratio = num(predicted, "wire_ratio"),
		.lz4_ratio = num(predicted, "lz4_ratio"),
		.setup_s = num(predicted, "setup_s"),
		.spent_s = num(predicted, "spent_s"),
		.dark_ms = num(predicted, "dark_ms")};

	if (!domain || !peer || strlen(domain) >= sizeof(m.domain) || strlen(peer) >= sizeof(m.peer) || !method ||
		strcmp(method, "live") != 0 || m.total_s <= 0)
		return -EINVAL;
	memcpy(m.domain, domain, strlen(domain) + 1);
	memcpy(m.peer, peer, strlen(peer) + 1);
	*out = m;
	return 0;
}
