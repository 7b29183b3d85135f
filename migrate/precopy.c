/* The pre-copy rule: see precopy.h. */
#include "migrate/precopy.h"

#include <limits.h>
#include <stdio.h>

/* A round must leave at most this share of what the one before left, else it "has stopped improving". */
#define BETTER_NUM 9
#define BETTER_DEN 10
/* So many rounds in a row must be stuck: one may have met a burst. */
#define PATIENCE_ROUNDS 2U
/* A blackout that fits: a further round must promise to take a quarter off its memory part, which must be worth it, and not for ever. */
#define SMALL_MS 10
#define POLISH_ROUNDS 5
/* A slowed guest writes at most this share of what the link carries, so that each round leaves at most as much of the one before; if it was not
 * enough, this share of its speed is left. */
#define SLOW_SHARE 0.6
#define SLOW_FURTHER 0.7
#define SLOW_MOST 99

static unsigned ms_of(const struct precopy_view *v, uint64_t pages)
{
	double ms, bytes = (double)pages * (double)v->page_bytes;

	if (!pages)
		return v->fixed_blackout_ms;
	if (!v->rate_bps)
		return UINT_MAX;
	ms = (double)v->fixed_blackout_ms + bytes * 1000.0 / (double)v->rate_bps;
	return ms >= (double)UINT_MAX ? UINT_MAX : (unsigned)(ms + 0.999);
}

/* How long it takes to send so many; UINT64_MAX: for ever. */
static uint64_t us_of(const struct precopy_view *v, uint64_t pages)
{
	double us = v->rate_bps ? (double)pages * (double)v->page_bytes * 1e6 / (double)v->rate_bps : 1e18;

	return us >= 1e18 ? UINT64_MAX : (uint64_t)us;
}

static uint64_t written_by(const struct precopy_sample *s, uint64_t us)
{
	return !s->us || us >= s->us ? s->pages : (uint64_t)((double)s->pages * ((double)us / (double)s->us));
}

/* The guest's time in so much time outside. */
static uint64_t guest_us(const struct precopy_view *v, uint64_t us)
{
	return v->slow_percent ? us / 100 * (100 - v->slow_percent) : us;
}

uint64_t precopy_written(const struct precopy_view *v, uint64_t us)
{
	struct precopy_sample last = {.pages = v->dirty_pages};
	uint64_t most = 0;

	us = guest_us(v, us);

	for (unsigned i = 0; i < v->n_samples; i++) {
		uint64_t n = written_by(&v->samples[i], us);

		most = n > most ? n : most;
	}
	if (v->n_samples || !v->dirty_rate_bps)
		return most;
	last.us = (uint64_t)((double)v->dirty_pages * (double)v->page_bytes * 1e6 / (double)v->dirty_rate_bps);
	return written_by(&last, us);
}

void precopy_add_sample(struct precopy_view *v, uint64_t us, uint64_t pages)
{
	for (unsigned i = PRECOPY_SAMPLES - 1; i > 0; i--)
		v->samples[i] = v->samples[i - 1];
	v->samples[0] = (struct precopy_sample){guest_us(v, us), pages};
	v->n_samples += v->n_samples < PRECOPY_SAMPLES;
}

uint64_t precopy_dirty_bps(const struct precopy_view *v)
{
	uint64_t most = v->dirty_rate_bps * 100 / (100 - v->slow_percent);

	for (unsigned i = 0; i < v->n_samples; i++) {
		const struct precopy_sample *s = &v->samples[i];
		uint64_t bps = s->us ? (uint64_t)((double)s->pages * (double)v->page_bytes * 1e6 / (double)s->us) : 0;

		most = bps > most ? bps : most;
	}
	return most;
}

/* Play the coming rounds through. */
static bool will_fit(const struct precopy_view *v)
{
	uint64_t pages = v->dirty_pages, next;

	for (unsigned round = v->round + 1; round < v->max_rounds; round++) {
		next = precopy_written(v, us_of(v, pages));
		if (ms_of(v, next) <= v->max_blackout_ms)
			return true;
		if (next >= pages)
			return false; /* the curve is flat from here: it stays so */
		pages = next;
	}
	return false;
}

static bool improved(const struct precopy_view *v)
{
	return v->dirty_prev != UINT64_MAX && v->dirty_pages * BETTER_DEN <= v->dirty_prev * BETTER_NUM;
}

bool precopy_stuck(const struct precopy_view *v)
{
	return v->rate_bps && ms_of(v, v->dirty_pages) > v->max_blackout_ms && !improved(v) && !will_fit(v);
}

/* Slowed by so much, would a later round fit? */
static bool will_fit_at(const struct precopy_view *v, unsigned slow_percent)
{
	struct precopy_view slowed = *v;

	slowed.slow_percent = slow_percent;
	return will_fit(&slowed);
}

/* Sized by how fast it writes: see precopy_slow. */
static unsigned slow_wanted(const struct precopy_view *v)
{
	double bps = (double)precopy_dirty_bps(v), left = bps > 0 ? SLOW_SHARE * (double)v->rate_bps / bps : 1;
	double further = (100 - v->slow_percent) / 100.0 * SLOW_FURTHER;

	if (v->slow_percent && left > further)
		left = further; /* what it has now was not enough, whatever was measured */
	return left >= 1 ? 1 : left <= 0.01 ? SLOW_MOST : 100 - (unsigned)(left * 100);
}

unsigned precopy_slow(const struct precopy_view *v)
{
	unsigned most = v->slow_max < SLOW_MOST ? v->slow_max : SLOW_MOST, want = slow_wanted(v);

	if (v->slow_percent >= most || !will_fit_at(v, most))
		return 0;
	return want > most ? most : want > v->slow_percent ? want : v->slow_percent + 1;
}

/* It could stop now: would another round make the blackout much shorter? */
static bool polish(const struct precopy_view *v, unsigned blackout_ms)
{
	unsigned memory_ms = blackout_ms - v->fixed_blackout_ms, next_ms;

	if (memory_ms <= SMALL_MS || v->n_fit >= POLISH_ROUNDS || v->round + 1 >= v->max_rounds || !v->n_samples)
		return false;
	next_ms = ms_of(v, precopy_written(v, us_of(v, v->dirty_pages))) - v->fixed_blackout_ms;
	return (uint64_t)next_ms * 4 <= (uint64_t)memory_ms * 3;
}

enum precopy_verdict precopy_next(const struct precopy_view *v, unsigned *blackout_ms_out)
{
	unsigned blackout_ms = ms_of(v, v->dirty_pages);

	*blackout_ms_out = blackout_ms;
	if (blackout_ms <= v->max_blackout_ms)
		return polish(v, blackout_ms) ? PRECOPY_AGAIN : PRECOPY_STOP;
	if (v->round + 1 >= v->max_rounds)
		return v->patient ? PRECOPY_AGAIN : PRECOPY_WILL_NOT_CONVERGE;
	if (!precopy_stuck(v) || v->n_stuck + 1 < PATIENCE_ROUNDS + (v->faster_next ? 1 : 0))
		return PRECOPY_AGAIN;
	if (precopy_slow(v))
		return PRECOPY_SLOW;
	return v->patient ? PRECOPY_AGAIN : PRECOPY_WILL_NOT_CONVERGE;
}

static void text_ms(unsigned ms, char out[24])
{
	if (ms == UINT_MAX)
		snprintf(out, 24, "no end");
	else if (ms >= 1000)
		snprintf(out, 24, "%.3g s", ms / 1000.0);
	else
		snprintf(out, 24, "%u ms", ms);
}

/* What would help: "; allow --throttle 80", or nothing. */
static void text_slow(const struct precopy_view *v, const char *no_slow, char out[160])
{
	struct precopy_view free = *v;
	unsigned want;

	free.slow_max = SLOW_MOST;
	want = precopy_slow(&free);
	if (no_slow)
		snprintf(out, 160, " (the guest cannot be slowed here: %.100s)", no_slow);
	else if (want > v->slow_max)
		snprintf(out, 160, ", allow --throttle %u%%", want);
	else
		out[0] = 0;
}

void precopy_why(const struct precopy_view *v, uint64_t bandwidth_bps, const char *no_slow, char *out, size_t size)
{
	char stand[24], allowed[24], slow[160], slowed[40] = "";

	text_ms(ms_of(v, v->dirty_pages), stand);
	text_ms(v->max_blackout_ms, allowed);
	text_slow(v, no_slow, slow);
	if (v->slow_percent)
		snprintf(slowed, sizeof(slowed), " when not slowed by %u %%", v->slow_percent);
	snprintf(out, size,
		"does not converge: dirties %.3g MB/s%s, link gives %.3g MB/s; it would stand for %s, %s are allowed; raise "
		"--max-blackout%s%s, wait for a quieter moment (--deadline), or use --suspend or --method cold",
		(double)precopy_dirty_bps(v) / 1e6, slowed, (double)v->rate_bps / 1e6, stand, allowed,
		bandwidth_bps ? " or --bandwidth" : "", slow);
}
