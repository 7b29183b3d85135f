/* Pre-copy on paper: see rounds.h. Pure. */
#include "migrate/rounds.h"

#include <math.h>
#include <string.h>

#include "migrate/delta.h"
#include "migrate/precopy.h"

#define LOOK_S 0.25 /* into a longer round the engine looks once how much is written already */
#define LATER_STEPS 100
#define LATER_S                                                                                                        \
	0.125 /* so often it leaves out of the first one what is written again before its turn (migrate/xfer_tx.c) */
#define ZERO_BPS 4e9 /* reading pages and finding that they are zeros (measured: 3-6 GB/s) */
#define ROUNDS_MAX 1000

static double positive(double v)
{
	return v > 0 && isfinite(v) ? v : 0;
}

/* What can be written at all: the pages that hold something. */
static double most(const struct rounds_in *in)
{
	double all = positive(in->data_bytes) + positive(in->zero_bytes);
	double seen = in->n_curve ? positive(in->curve[in->n_curve - 1].bytes) : 0;

	return seen > all ? seen : all;
}

/* Beyond the last point: its slope, on what is left. Writes that hit at random find fewer and fewer pages that are still clean. */
static double beyond(const struct rounds_in *in, double s)
{
	const struct rounds_point *last = &in->curve[in->n_curve - 1];
	const struct rounds_point *before = in->n_curve > 1 ? last - 1 : &(struct rounds_point){0};
	double room = most(in) - last->bytes, slope = 0;

	if (last->s > before->s)
		slope = positive((last->bytes - before->bytes) / (last->s - before->s));
	if (room <= 0)
		return last->bytes;
	return last->bytes + room * -expm1(-slope * (s - last->s) / room);
}

void rounds_writes(const struct rounds_point *curve, unsigned n, double *hot_bytes, double *bps)
{
	const struct rounds_point *last = n ? &curve[n - 1] : NULL;

	*bps = n > 1 && last->s > last[-1].s ? positive((last->bytes - last[-1].bytes) / (last->s - last[-1].s)) : 0;
	*hot_bytes = last ? positive(last->bytes - *bps * last->s) : 0;
}

double rounds_written(const struct rounds_in *in, double s)
{
	struct rounds_point from = {0};

	s = positive(s);
	if (!in->n_curve)
		return 0;
	for (unsigned i = 0; i < in->n_curve; i++) {
		const struct rounds_point *to = &in->curve[i];

		if (s <= to->s && to->s > from.s)
			return positive(from.bytes + (to->bytes - from.bytes) * (s - from.s) / (to->s - from.s));
		from = *to;
	}
	return beyond(in, s);
}

/* What the first pass, if it takes @s, leaves for the next round: of what goes out between two looks the share that was written until the first of them. */
static double left_for_later(const struct rounds_in *in, double s)
{
	double all = most(in), step = fmax(LATER_S, s / LATER_STEPS), left = 0;

	for (double t = step; t < s && all > 0; t += step)
		left += fmin(step, s - t) / s * rounds_written(in, t) / all;
	return fmin(left, 1) * positive(in->data_bytes);
}

/* The content of the first pass: the less is left for later the longer it takes, and the more is. */
static double first_pass(const struct rounds_in *in, double rate)
{
	double bytes = positive(in->data_bytes);

	for (int i = 0; i < 4; i++)
		bytes = positive(in->data_bytes) - left_for_later(in, bytes / rate);
	return bytes;
}

/* What of a round's @content the target knows already, @known having been sent in a round after the first: the hot set, and of the rest as much as of all that there is. */
static double known_share(const struct rounds_in *in, double known, double content)
{
	double hot, bps, rest;

	if (known <= 0 || content <= 0)
		return 0;
	rounds_writes(in->curve, in->n_curve, &hot, &bps);
	hot = fmin(hot, fmin(known, content));
	rest = most(in) - hot;
	return (hot + (rest > 0 ? (content - hot) * fmin(1, (known - hot) / rest) : 0)) / content;
}

static double factor(double again, double share)
{
	return again > 0 && again < 1 ? 1 - share * (1 - again) : 1;
}

static uint64_t whole(double v)
{
	return v < 0x1p62 ? (uint64_t)v : 1ULL << 62;
}

/* The guest's seconds in one outside. */
static double pace(const struct precopy_view *v)
{
	return (100 - v->slow_percent) / 100.0;
}

/* What the engine knows of a round when it is over (migrate/transfer.c): it looked once while it ran, if it ran so long, and at the end. */
static void take_figures(const struct rounds_in *in, struct precopy_view *v, unsigned round, double s, double dirty)
{
	v->round = round;
	v->dirty_prev = round ? v->dirty_pages : UINT64_MAX;
	v->dirty_pages = whole(dirty / (double)v->page_bytes);
	v->dirty_rate_bps = s > 0 ? whole(dirty / s) : 0;
	if (s > LOOK_S)
		precopy_add_sample(
			v, whole(LOOK_S * 1e6), whole(rounds_written(in, LOOK_S * pace(v)) / (double)v->page_bytes));
	precopy_add_sample(v, whole(s * 1e6), v->dirty_pages);
}

static enum precopy_verdict next(struct precopy_view *v)
{
	unsigned blackout_ms;
	enum precopy_verdict verdict = precopy_next(v, &blackout_ms);

	v->n_stuck = precopy_stuck(v) ? v->n_stuck + 1 : 0;
	v->n_fit += blackout_ms <= v->max_blackout_ms;
	if (verdict != PRECOPY_SLOW)
		return verdict;
	v->slow_percent = precopy_slow(v);
	v->n_stuck = 0;
	return PRECOPY_AGAIN;
}

void rounds_simulate(const struct rounds_in *in, struct rounds_out *out)
{
	double rate = in->rate_bps >= 1 ? in->rate_bps : 1, left = first_pass(in, rate), dirty = 0, s, known = 0, share;
	double octets = 0;
	struct precopy_view v = {.max_rounds = in->max_rounds ? in->max_rounds : 1,
		.max_blackout_ms = in->max_blackout_ms,
		.fixed_blackout_ms = in->fixed_blackout_ms,
		.page_bytes = in->page_bytes ? in->page_bytes : 4096,
		.slow_max = in->slow_max};
	enum precopy_verdict verdict;

	memset(out, 0, sizeof(*out));
	do {
		share = known_share(in, known, left);
		v.rate_bps = whole(rate / factor(in->again_time, share));
		v.faster_next = out->n_rounds == 1 && in->again_octets > 0 && in->again_octets < DELTA_PAYS;
		s = left / rate * factor(in->again_time, share) + positive(in->round_s) +
			(out->n_rounds ? 0 : positive(in->zero_bytes) / ZERO_BPS);
		out->copy_s += s;
		out->content_bytes += left;
		octets += left * factor(in->again_octets, share);
		known = out->n_rounds ? fmax(known, left) : 0;
		dirty = rounds_written(in, s * pace(&v));
		out->dirty_bps = s > 0 ? dirty / s : 0;
		take_figures(in, &v, out->n_rounds++, s, dirty);
		verdict = next(&v);
		left = dirty;
	} while (verdict == PRECOPY_AGAIN && out->n_rounds < ROUNDS_MAX);
	left = fmax(dirty, rounds_written(in, s * pace(&v) + positive(in->pause_s)));
	share = known_share(in, known, left);
	out->slow_percent = v.slow_percent;
	out->converges = verdict == PRECOPY_STOP;
	out->blackout_ms = positive(in->dark_ms) + left / rate * factor(in->again_time, share) * 1000;
	out->content_bytes += left;
	out->wire_bytes = (octets + left * factor(in->again_octets, share)) * positive(in->wire_ratio);
}
