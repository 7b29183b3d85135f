/* Averages, the ring and the counts: see series.h. Called by watch_domain.c and watch_host.c on the loop thread; no state of
 * its own. */
#include "policyd/watch/series.h"

#include <math.h>
#include <stddef.h>

void ewma_init(struct ewma *a, double tau_ms)
{
	a->tau_ms = tau_ms;
	ewma_reset(a);
}

void ewma_reset(struct ewma *a)
{
	a->value = 0;
	a->weight = 0;
}

void ewma_add(struct ewma *a, double sample, double span_ms)
{
	double keep = span_ms > 0 ? exp(-span_ms / a->tau_ms) : 1;

	a->weight = a->weight * keep + (1 - keep);
	if (a->weight > 0)
		a->value += (sample - a->value) * ((1 - keep) / a->weight); /* exactly 1 at first */
}

double ewma_get(const struct ewma *a)
{
	return a->weight > 0 ? a->value : -1;
}

static void series_put(struct series *s, struct point p)
{
	s->p[s->head] = p;
	s->head = (s->head + 1) % SERIES_MAX;
	if (s->n < SERIES_MAX)
		s->n++;
}

void series_add(struct series *s, int64_t t_ms, uint32_t span_ms, double value)
{
	series_put(s, (struct point){.t_ms = t_ms, .span_ms = span_ms, .known = true, .value = (float)value});
}

void series_gap(struct series *s, int64_t t_ms)
{
	series_put(s, (struct point){.t_ms = t_ms});
}

const struct point *series_get(const struct series *s, unsigned i)
{
	if (i >= s->n)
		return NULL;
	return &s->p[(s->head + 2 * SERIES_MAX - 1 - i) % SERIES_MAX];
}

/* The part of @p's time that lies in (from, to], ms */
static int64_t overlap_ms(const struct point *p, int64_t from_ms, int64_t to_ms)
{
	int64_t start = p->t_ms - p->span_ms, end = p->t_ms;

	if (start < from_ms)
		start = from_ms;
	if (end > to_ms)
		end = to_ms;
	return end > start ? end - start : 0;
}

bool series_mean(const struct series *s, int64_t from_ms, int64_t to_ms, double *out)
{
	const struct point *p;
	double sum = 0, weight = 0;

	for (unsigned i = 0; (p = series_get(s, i)) && p->t_ms > from_ms; i++) {
		double w = p->known ? (double)overlap_ms(p, from_ms, to_ms) : 0;

		sum += p->value * w;
		weight += w;
	}
	if (weight <= 0 || weight * 2 < (double)(to_ms - from_ms))
		return false;
	*out = sum / weight;
	return true;
}

bool series_percentile(const struct series *s, unsigned percent, unsigned least, double *out)
{
	unsigned bins[256] = {0}, n = 0, upto = 0, b = 0;
	const struct point *p;

	for (unsigned i = 0; (p = series_get(s, i)); i++) {
		if (!p->known)
			continue;
		bins[p->value < 0 ? 0 : p->value > 255 ? 255 : (unsigned)(p->value + 0.5F)]++;
		n++;
	}
	if (n < least || !n)
		return false;
	while (b < 255 && (upto += bins[b]) * 100 < n * percent)
		b++;
	*out = b;
	return true;
}

/* The i-th last sample; false where it is a gap or too old. */
static bool sample_get(const struct series *s, unsigned i, unsigned every_ms, double *out)
{
	const struct point *p = series_get(s, every_ms ? 0 : i);

	if (!p)
		return false;
	if (every_ms) {
		int64_t to_ms = p->t_ms - (int64_t)i * every_ms;

		return series_mean(s, to_ms - every_ms, to_ms, out);
	}
	*out = p->value;
	return p->known;
}

unsigned series_above(const struct series *s, unsigned n, unsigned every_ms, double bound)
{
	unsigned count = 0;
	double v;

	for (unsigned i = 0; i < n; i++)
		count += sample_get(s, i, every_ms, &v) && v > bound;
	return count;
}

unsigned series_below(const struct series *s, unsigned n, unsigned every_ms, double bound)
{
	unsigned count = 0;
	double v;

	for (unsigned i = 0; i < n; i++)
		count += sample_get(s, i, every_ms, &v) && v < bound;
	return count;
}
