/* The law of sizes: see sizing.h. Called for each memory sample of a domain; pure. */
#include "policyd/decide/sizing.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Tuned on half of the domains of one recorded week and checked on the other half (docs/traces.md has the figures and what +-30 %
 * of each does). */
const struct sizing_rule sizing_default = {
	.price_mib = 3400,
	.resize_mib = 450,
	.fast_h = 0.75,
	.slow_h = 48,
	.fast_weight = 0.65,
	.jump = 0.04,
	.jump_h = 48,
};

#define TAIL_LEAST 1.5 /* however restless it is */
#define TAIL_MOST 60   /* however steady */

static double level_mib(unsigned i)
{
	return SIZING_MIN_MIB * exp2((double)i / SIZING_PER_DOUBLING);
}

/* The lowest level that holds @mib. */
static unsigned level_above(double mib)
{
	double i = mib > SIZING_MIN_MIB ? ceil(log2(mib / SIZING_MIN_MIB) * SIZING_PER_DOUBLING - 1e-9) : 0;

	return i < SIZING_LEVELS - 1 ? (unsigned)i : SIZING_LEVELS - 1;
}

/* The highest level within @mib; the lowest of all where none is. */
static unsigned level_within(double mib)
{
	double i = mib > SIZING_MIN_MIB ? floor(log2(mib / SIZING_MIN_MIB) * SIZING_PER_DOUBLING + 1e-9) : 0;

	return i < SIZING_LEVELS - 1 ? (unsigned)i : SIZING_LEVELS - 1;
}

void sizing_init(struct sizing *s)
{
	memset(s, 0, sizeof(*s));
}

static void decay(float *hours, float *n, double half_h, int64_t blocks)
{
	float by = (float)exp2(-(double)blocks / half_h);
	unsigned i;

	for (i = 0; i < SIZING_LEVELS; i++)
		hours[i] *= by;
	*n *= by;
}

/* What the running hour says of jumps: from the peak of the hour before to its own. */
static void note_jump(struct sizing *s)
{
	double from = fmax(s->last_peak_mib, SIZING_MIN_MIB), to = fmax(s->peak_mib, SIZING_MIN_MIB);

	if (s->last_peak_mib > 0) {
		s->jumps += to > from ? log(to / from) : 0;
		s->jumps_n++;
	}
	s->last_peak_mib = s->peak_mib;
}

/* The running hour becomes history, @blocks hours pass. */
static void close_block(struct sizing *s, const struct sizing_rule *r, int64_t blocks)
{
	unsigned i = level_above(s->peak_mib);
	double by = exp2(-(double)blocks / r->slow_h);

	note_jump(s);
	s->jumps *= by;
	s->jumps_n *= by;
	s->fast[i]++;
	s->fast_n++;
	s->slow[i]++;
	s->slow_n++;
	decay(s->fast, &s->fast_n, r->fast_h, blocks);
	decay(s->slow, &s->slow_n, r->slow_h, blocks);
	s->peak_mib = 0;
}

void sizing_add(struct sizing *s, const struct sizing_rule *r, int64_t t_ms, double used_mib)
{
	int64_t block;

	assert(r->fast_h > 0 && r->slow_h > 0 && r->jump > 0);
	if (!s->known) {
		s->known = true;
		s->first_ms = t_ms;
	}
	block = (t_ms - s->first_ms) / SIZING_BLOCK_MS;
	if (block > s->block) {
		close_block(s, r, block - s->block);
		s->block = block;
	}
	s->used_mib = used_mib;
	if (used_mib > s->peak_mib)
		s->peak_mib = used_mib;
}

static double tail_of(const struct sizing *s, const struct sizing_rule *r)
{
	double jump = (r->jump * r->jump_h + s->jumps) / (r->jump_h + s->jumps_n);

	return fmin(fmax(1 / jump, TAIL_LEAST), TAIL_MOST);
}

/* Hours a day in which more than each level is wanted. The running hour counts as a whole one. */
static void expect(const struct sizing *s, const struct sizing_rule *r, double *short_h)
{
	double per_fast = r->fast_weight / (s->fast_n + 1), per_slow = (1 - r->fast_weight) / (s->slow_n + 1);
	double fall = exp2(-tail_of(s, r) / SIZING_PER_DOUBLING), beyond = 0, above = 0, share[SIZING_LEVELS];
	unsigned i;

	for (i = 0; i < SIZING_LEVELS; i++)
		share[i] = s->fast[i] * per_fast + s->slow[i] * per_slow;
	share[level_above(s->peak_mib)] += per_fast + per_slow;
	for (i = SIZING_LEVELS; i-- > 0; above += share[i])
		short_h[i] = 24 * above; /* seen above it */
	for (i = 0; i < SIZING_LEVELS; i++) {
		beyond = fall * (beyond + share[i]);
		short_h[i] += 24 * beyond; /* seen at or below it, and may go beyond */
	}
}

static double cost(const struct sizing_rule *r, const double *short_h, unsigned i)
{
	return level_mib(i) + r->price_mib * short_h[i];
}

struct sizing_advice sizing_advise(const struct sizing *s, const struct sizing_rule *r, double now_mib, double max_mib)
{
	struct sizing_advice a = {.target_mib = now_mib, .best_mib = now_mib};
	double short_h[SIZING_LEVELS], gain;
	unsigned now = level_within(now_mib), least, best, i;

	if (!s->known)
		return a;
	expect(s, r, short_h);
	least = best = level_above(s->used_mib);
	for (i = least + 1; i < SIZING_LEVELS; i++)
		if (cost(r, short_h, i) < cost(r, short_h, best))
			best = i;
	a.best_mib = fmax(level_mib(best), s->used_mib); /* use above the last level: as much as it uses */
	if (max_mib > 0 && a.best_mib > max_mib)
		a.best_mib = max_mib;
	a.short_h_now = short_h[now];
	a.short_h_best = short_h[best];
	gain = cost(r, short_h, now) - cost(r, short_h, best);
	if (now < least || gain > r->resize_mib)
		a.target_mib = a.best_mib;
	return a;
}
