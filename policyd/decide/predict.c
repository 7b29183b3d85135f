/* The cost of a move: see predict.h. Pure. */
#include "policyd/decide/predict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "migrate/codec.h"

/* Between low and expected, expected and high, until four moves have shown how far predictions lie off (learn.h). Where the link was measured the
 * blackout, which is short and at the mercy of whatever else runs, is known least. */
#define SPREAD_TOTAL 1.5
#define SPREAD_BLACKOUT 2.0
#define SPREAD_BYTES 1.25
#define SPREAD_ASSUMED 2.5
#define SPREAD_MAX 4.0
#define ROUND_S 0.01         /* what a round costs besides its bytes: barrier, threads */
#define ROUND_S_PER_GIB 0.03 /* and scan and re-arm (facts: 15-35 ms) */
#define PAUSE_S 0.01         /* from the decision to stop to the stop: a durable record */
#define ENGINE_FIXED_MS 60   /* what the engine reckons with when it decides to stop (migrate/source.c) */
#define CHANNELS 2
/* A page that comes again costs both ends so much of what a new one does: 2.0 GB/s, four in five as differences, against 1.15 (bench-migrate hot, while the guest stood). */
#define AGAIN_ENGINE 0.55
#define PACK_STEEP 3.0 /* measured: half-compressible data packed for 30 %, text for 50-84 %, on one link */
#define ODDS_MAX 100.0
#define LZ4_PROBES 16 /* where raw is better, each 16th chunk is packed all the same (migrate/codec.c) */

static double min_d(double a, double b)
{
	return a < b ? a : b;
}

static bool measured(const struct predict_in *in)
{
	return in->guest.ram_bytes > 0;
}

/* ---- a guest in brief ------------------------------------------------------------------------------------ */

void predict_guest_brief(double mem_bytes, double send_bytes, double ratio, double hot_bytes, double dirty_bps,
	struct predict_guest *out)
{
	double hot = hot_bytes > 0 ? hot_bytes : 0, dirty = dirty_bps > 0 ? dirty_bps : 0;

	memset(out, 0, sizeof(*out));
	if (send_bytes <= 0)
		return;
	out->ram_bytes = mem_bytes > send_bytes ? mem_bytes : send_bytes;
	out->data_bytes = send_bytes;
	out->hole_bytes = out->ram_bytes - send_bytes;
	out->ratio = ratio;
	out->n_written = 2;
	out->written[0] = (struct rounds_point){0.05, hot + 0.05 * dirty};
	out->written[1] = (struct rounds_point){1, hot + dirty};
}

void predict_guest_writes(const struct predict_guest *g, double *hot_bytes, double *dirty_bps)
{
	rounds_writes(g->written, g->n_written, hot_bytes, dirty_bps);
}

/* ---- cold ------------------------------------------------------------------------------------------------ */

static void predict_cold(const struct predict_in *in, struct predict_out *out)
{
	out->total_s = (in->running ? PREDICT_STOP_S + PREDICT_START_S : 0) + 0.2;
	out->blackout_ms = in->running ? out->total_s * 1000 : 0;
	out->bytes = 4096;
	out->fits = out->converges = true; /* a cluster's service goes on elsewhere */
	if (in->running)
		snprintf(out->why, sizeof(out->why), "shut down here, started there: %.0f s and %.0f s are assumed",
			PREDICT_STOP_S, PREDICT_START_S);
	else
		snprintf(out->why, sizeof(out->why), "it does not run: only its definition moves");
}

/* ---- correction and interval ----------------------------------------------------------------------------- */

static double correct(double raw, const struct predict_factor *f)
{
	return f->by > 0 && isfinite(f->by) ? raw * f->by : raw;
}

static void interval(double v, const struct predict_factor *f, double assumed, double *low, double *high)
{
	double by = f->spread > 1 ? min_d(f->spread, SPREAD_MAX) : assumed;

	*low = v / by;
	*high = v * by;
}

static void finish(const struct predict_path *path, bool assumed, struct predict_out *out)
{
	interval(out->total_s, &path->total, assumed ? SPREAD_ASSUMED : SPREAD_TOTAL, &out->total_low_s,
		&out->total_high_s);
	interval(out->blackout_ms, &path->blackout, assumed ? SPREAD_ASSUMED : SPREAD_BLACKOUT, &out->blackout_low_ms,
		&out->blackout_high_ms);
	interval(out->bytes, &path->bytes, assumed ? SPREAD_ASSUMED : SPREAD_BYTES, &out->bytes_low, &out->bytes_high);
}

struct packer {
	double ratio, bps;
	bool zstd;
};

/* ---- what is to be moved, and how fast --------------------------------------------------------------------- */

static double trim_s(const struct predict_in *in)
{
	double bps = in->path.trim_bps > 0 ? in->path.trim_bps
					   : (double)in->mem_bytes * PREDICT_TRIM_STEP / PREDICT_TRIM_STEP_S;

	return (double)(in->mem_bytes - in->trim_bytes) / bps;
}

static void fill_guest(const struct predict_in *in, struct rounds_in *r, struct predict_out *out)
{
	const struct predict_guest *g = &in->guest;
	double data = measured(in) ? g->data_bytes : (double)in->resident_bytes, keep = 1;
	double dirty = in->dirty_bps >= 0 ? in->dirty_bps : PREDICT_DIRTY_BPS;

	if (in->trim_bytes && in->trim_bytes < in->mem_bytes) {
		out->trim_s = trim_s(in);
		keep = data > 0 ? min_d(1, (double)in->trim_bytes / data) : 1;
	}
	data *= keep;
	r->data_bytes = measured(in) ? data * (1 - g->zero_share) : data;
	r->zero_bytes = data - r->data_bytes;
	if (measured(in)) {
		memcpy(r->curve, g->written, sizeof(r->curve));
		r->n_curve = g->n_written;
	} else {
		r->curve[0] = (struct rounds_point){1, dirty};
		r->n_curve = 1;
	}
	out->dirty_assumed = !measured(in) && in->dirty_bps < 0;
	r->round_s = ROUND_S + ROUND_S_PER_GIB * (double)in->mem_bytes / 0x1p30;
}

double predict_packed_share(double ratio, double pack_cost)
{
	double odds;

	if (ratio >= 1 || pack_cost <= 0)
		return ratio >= 1 ? 0 : 1;
	odds = pow((1 - ratio) / pack_cost, PACK_STEEP);
	return odds > ODDS_MAX ? 1 : odds / (1 + odds);
}

double predict_pack_cost(double ratio, double share)
{
	double odds = share < 1 ? share / (1 - share) : ODDS_MAX;

	return (1 - ratio) / pow(odds < 1 / ODDS_MAX ? 1 / ODDS_MAX : min_d(odds, ODDS_MAX), 1 / PACK_STEEP);
}

double predict_both_limits(double a, double b)
{
	return pow(pow(a, -4) + pow(b, -4), -0.25);
}

/* What an octet of content costs so packed (migrate/codec.h): CPU time where that is short, or what it costs on a full link.
 * Which of the two is short the probe does not say; the lesser cost is the right one at either end of the scale. */
static double packed_cost(const struct packer *p, double octet_s)
{
	double busy = 1 / p->bps, link = p->ratio * octet_s;

	return min_d(busy + link, codec_cost_on_full_link(busy, link));
}

/* What the engine's channels would pack with, by what an octet on the wire costs. */
static struct packer packer_of(const struct predict_guest *g, double octet_s)
{
	struct packer lz4 = {g->ratio, g->pack_bps, false}, zstd = {g->zstd_ratio, g->zstd_bps, true};

	if (zstd.ratio <= 0 || zstd.bps <= 0 || lz4.bps <= 0)
		return lz4;
	return packed_cost(&zstd, octet_s) < packed_cost(&lz4, octet_s) ? zstd : lz4;
}

static double octet_s(const struct predict_in *in, double wire_bps)
{
	bool held = in->bandwidth_bps &&
		(double)in->bandwidth_bps < in->path.wire_bps; /* by the operator: there the wait counts */

	return in->path.octet_ns > 0 && !held ? in->path.octet_ns / 1e9 : CHANNELS / wire_bps;
}

/* How much goes through it: as it was in earlier moves to that host, else as the channels choose. */
static double wire_ratio(const struct predict_in *in, const struct packer *p, double octet_s)
{
	if (p->ratio <= 0 || p->ratio >= 1)
		return p->ratio > 0 ? p->ratio : 1;
	if (in->path.pack_cost > 0)
		return 1 - predict_packed_share(p->ratio, in->path.pack_cost) * (1 - p->ratio);
	if (p->bps <= 0 || packed_cost(p, octet_s) < octet_s)
		return p->ratio;
	return (LZ4_PROBES - 1 + p->ratio) / LZ4_PROBES;
}

static void fill_way(const struct predict_in *in, struct rounds_in *r, struct predict_out *out)
{
	double wire = in->path.wire_bps, engine = in->path.engine_bps > 0 ? in->path.engine_bps : PREDICT_ENGINE_BPS;
	double limit = in->bandwidth_bps ? (double)in->bandwidth_bps : 0, octet;
	struct packer packer;

	r->wire_ratio = in->wire_ratio > 0 ? in->wire_ratio : 1;
	if (wire > 0 && limit > 0)
		wire = min_d(wire, limit);
	octet = octet_s(in, wire > 0 ? min_d(wire, engine) : engine);
	packer = packer_of(&in->guest, octet);
	if (measured(in))
		r->wire_ratio = wire_ratio(in, &packer, octet);
	out->link_assumed = wire <= 0 && !in->link_bps;
	if (wire > 0)
		r->rate_bps = predict_both_limits(wire / r->wire_ratio, engine);
	else
		r->rate_bps = in->link_bps ? (double)in->link_bps : (double)PREDICT_LINK_BPS;
	if (wire > 0 && in->guest.delta_share > 0) {
		r->again_octets = min_d(1, in->guest.delta_share / r->wire_ratio); /* a difference is not packed */
		r->again_time = r->rate_bps /
			predict_both_limits(wire / (r->wire_ratio * r->again_octets), engine / AGAIN_ENGINE);
	}
	if (wire <= 0 && limit > 0)
		r->rate_bps = min_d(r->rate_bps, limit / r->wire_ratio);
	out->rate_bps = r->rate_bps;
	out->link_bps = wire;
	out->wire_ratio = r->wire_ratio;
	out->lz4_ratio = packer.ratio;
	out->zstd = packer.zstd;
}

/* ---- words ----------------------------------------------------------------------------------------------- */

static void explain(const struct predict_in *in, const struct rounds_in *r, struct predict_out *out)
{
	const struct predict_guest *g = &in->guest;
	char trim[64] = "", slowed[40] = "", what[96], size[16], zero[16], holds[16];

	if (out->trim_s > 0) {
		size_format(in->mem_bytes - in->trim_bytes, size);
		snprintf(trim, sizeof(trim), "trim %s in %.1f s; ", size, out->trim_s);
	}
	size_format((uint64_t)r->data_bytes, holds);
	if (measured(in)) {
		size_format((uint64_t)g->hole_bytes, size);
		size_format((uint64_t)(g->data_bytes * g->zero_share), zero);
		snprintf(what, sizeof(what), "holes %s, zero %s, %s %.1fx", size, zero,
			r->wire_ratio >= 0.95 ? "raw"
				: out->zstd   ? "zstd"
					      : "lz4",
			1 / r->wire_ratio);
	} else {
		snprintf(what, sizeof(what), "%s to send", holds);
	}
	if (out->throttle_percent)
		snprintf(slowed, sizeof(slowed), ", it will be slowed by %u %%", out->throttle_percent);
	snprintf(out->why, sizeof(out->why), "%s%s; dirties %.3g MB/s%s%s, link gives %.3g MB/s%s", trim, what,
		out->dirty_bps / 1e6, out->dirty_assumed ? " (assumed)" : "", slowed, out->rate_bps / 1e6,
		out->link_assumed ? " (assumed: nothing was moved there yet)" : "");
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

/* What it dirties while a quarter of a second is copied; a hot set counts less the longer one looks. */
static double dirty_rate(const struct rounds_in *r)
{
	return r->n_curve ? rounds_written(r, 0.25) / 0.25 : 0;
}

double predict_setup_s(const struct predict_path *path, double spent_s)
{
	double all = path->setup_s > 0 ? path->setup_s : PREDICT_SETUP_S;

	if (spent_s <= 0)
		return all;
	if (path->rest_s > 0)
		return spent_s + path->rest_s;
	return fmax(all, spent_s + PREDICT_REST_S);
}

/* Where the engine would give up it switches; what is dirty then follows the guest. */
static void by_postcopy(double dark_ms, struct rounds_out *o)
{
	o->copy_s += (o->blackout_ms - dark_ms) / 1000;
	o->blackout_ms = dark_ms;
	o->slow_percent = 0;
	o->converges = true;
}

void predict(const struct predict_in *in, struct predict_out *out)
{
	struct rounds_in r = {.pause_s = PAUSE_S,
		.dark_ms = in->path.dark_ms > 0 ? in->path.dark_ms : PREDICT_FIXED_BLACKOUT_MS,
		.page_bytes = 4096,
		.max_rounds = in->max_rounds ? in->max_rounds : 30,
		.max_blackout_ms = in->max_blackout_ms,
		.fixed_blackout_ms = ENGINE_FIXED_MS,
		.slow_max = in->throttle_max};
	struct rounds_out o;

	memset(out, 0, sizeof(*out));
	if (in->cold) {
		predict_cold(in, out);
		finish(&(struct predict_path){0}, true, out);
		return;
	}
	fill_guest(in, &r, out);
	fill_way(in, &r, out);
	rounds_simulate(&r, &o);
	out->postcopy = in->postcopy && !o.converges;
	if (out->postcopy)
		by_postcopy(r.dark_ms, &o);
	out->rounds = o.n_rounds;
	out->throttle_percent = o.converges ? o.slow_percent : 0;
	out->dirty_bps = dirty_rate(&r);
	out->raw_blackout_ms = o.blackout_ms;
	out->dark_ms = r.dark_ms;
	out->spent_s = in->path.spent_s;
	out->setup_s = predict_setup_s(&in->path, in->path.spent_s);
	out->raw_total_s = out->setup_s + o.copy_s + o.blackout_ms / 1000;
	out->raw_bytes = o.wire_bytes;
	out->total_s = correct(out->raw_total_s, &in->path.total) + out->trim_s;
	out->blackout_ms = correct(out->raw_blackout_ms, &in->path.blackout);
	out->bytes = correct(out->raw_bytes, &in->path.bytes);
	out->converges = o.converges;
	out->fits = o.converges && out->blackout_ms <= in->max_blackout_ms;
	finish(&in->path, out->link_assumed, out);
	explain(in, &r, out);
}

json_t *predict_to_json(const struct predict_out *p)
{
	json_t *j = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:b, s:b, s:s}", "total_s", p->total_s,
		"total_low_s", p->total_low_s, "total_high_s", p->total_high_s, "blackout_ms", p->blackout_ms,
		"blackout_low_ms", p->blackout_low_ms, "blackout_high_ms", p->blackout_high_ms, "bytes",
		(json_int_t)p->bytes, "bytes_low", (json_int_t)p->bytes_low, "bytes_high", (json_int_t)p->bytes_high,
		"fits", p->fits, "converges", p->converges, "why", p->why);

	if (j)
		json_object_update_new(j,
			json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "rounds", (int)p->rounds, "rate_bps",
				p->rate_bps, "dirty_bps", p->dirty_bps, "link_bps", p->link_bps, "setup_s", p->setup_s,
				"dark_ms", p->dark_ms, "wire_ratio", p->wire_ratio, "lz4_ratio", p->lz4_ratio,
				"spent_s", p->spent_s));
	if (j && p->raw_total_s > 0)
		json_object_set_new(j, "raw",
			json_pack("{s:f, s:f, s:f}", "total_s", p->raw_total_s, "blackout_ms", p->raw_blackout_ms,
				"bytes", p->raw_bytes));
	return j;
}
