/* Predicted and actual benefit: see benefit.h. */
#include "policyd/decide/benefit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/rules.h"

#define LATE_MS 600000
#define RATIOS_MAX 16 /* the last ones count */
#define IMAGINED 2    /* right ones, so that one odd outcome changes little */

const unsigned benefit_look_min[BENEFIT_LOOKS] = {15, 60};

/* ---- what is missing ---- */

struct missing {
	struct need need;
	double have, left; /* left: of what it wants, after a plan */
};

static void missing_of(const struct snap_domain *d, const struct conf_decide *c, struct missing out[2])
{
	out[0] = (struct missing){.need = rule_cpu_need(d, c), .have = d->vcpus};
	out[1] = (struct missing){.need = rule_mem_need(d, c), .have = (double)d->mem_bytes};
	for (unsigned i = 0; i < 2; i++)
		out[i].left = out[i].need.is ? (double)out[i].need.want - out[i].have : 0;
}

static double share(const struct missing m[2])
{
	double sum = 0;

	for (unsigned i = 0; i < 2; i++)
		if (m[i].need.is && m[i].need.want)
			sum += m[i].need.severity * (m[i].left > 0 ? m[i].left : 0) / (double)m[i].need.want;
	return sum < 1 ? sum : 1;
}

double benefit_unmet(const struct snap_domain *d, const struct conf_decide *c)
{
	struct missing m[2];

	if (d->state != DOM_ACTIVE)
		return 0;
	missing_of(d, c, m);
	return share(m);
}

/* ---- what a plan is to bring ---- */

static const struct snap_domain *domain_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.name, name) == 0)
			return &s->domains[i];
	return NULL;
}

/* One that moves itself goes where there is more; another one leaves behind what it has. */
static void takes_off(const struct snapshot *s, const struct action *a, struct missing m[2])
{
	const struct snap_domain *d = domain_of(s, a->domain);
	bool itself = strcmp(a->domain, a->for_domain) == 0;

	if (a->kind == ACT_SET_VCPUS && itself) {
		m[0].left -= a->vcpus - m[0].have;
	} else if (a->kind == ACT_SET_MEMORY && itself) {
		m[1].left -= (double)a->mem_bytes - m[1].have;
	} else if (a->kind != ACT_SET_VCPUS && a->kind != ACT_SET_MEMORY && d) {
		m[0].left -= itself ? m[0].left : d->vcpus;
		m[1].left -= itself ? m[1].left : (double)d->mem_bytes;
	}
}

bool benefit_predict(const struct snapshot *s, const struct plan *pl, const char *domain, struct benefit *out)
{
	const struct snap_domain *d = domain_of(s, domain);
	struct missing m[2];
	bool any = false;

	if (!d)
		return false;
	missing_of(d, &s->decide, m);
	*out = (struct benefit){.t_ms = s->now_ms, .before = share(m), .after = {-1, -1}};
	memcpy(out->domain, d->spec.name, sizeof(out->domain));
	for (unsigned i = 0; i < pl->n_actions; i++)
		if (!pl->actions[i].dry && strcmp(pl->actions[i].for_domain, domain) == 0) {
			takes_off(s, &pl->actions[i], m);
			any = true;
		}
	out->predicted = share(m);
	return any && out->before > out->predicted;
}

/* ---- the last ones ---- */

struct benefit *benefits_add(struct benefits *b, const struct benefit *one)
{
	if (b->n == BENEFIT_MAX) {
		memmove(b->v, b->v + 1, (BENEFIT_MAX - 1) * sizeof(b->v[0]));
		b->n--;
	}
	b->v[b->n] = *one;
	return &b->v[b->n++];
}

unsigned benefit_due(const struct benefit *b, int64_t now_ms)
{
	for (unsigned i = 0; i < BENEFIT_LOOKS; i++) {
		int64_t late_ms = now_ms - b->t_ms - (int64_t)benefit_look_min[i] * 60000;

		if (b->after[i] < 0 && late_ms >= 0 && late_ms < LATE_MS)
			return i;
	}
	return BENEFIT_LOOKS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The later look counts where it is there. */
static double came_true(const struct benefit *b)
{
	double after = b->after[1] >= 0 ? b->after[1] : b->after[0];
	double ratio = (b->before - after) / (b->before - b->predicted);

	return ratio < 0 ? 0 : ratio > 1 ? 1 : ratio;
}

double benefits_caution(const struct benefits *b)
{
	double v[RATIOS_MAX + IMAGINED], median;
	unsigned n = 0;

	for (unsigned i = b->n; i-- > 0 && n < RATIOS_MAX;)
		if (b->v[i].after[0] >= 0 || b->v[i].after[1] >= 0)
			v[n++] = came_true(&b->v[i]);
	if (!n)
		return 1;
	for (unsigned i = 0; i < IMAGINED; i++)
		v[n++] = 1;
	qsort(v, n, sizeof(v[0]), by_value);
	median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	return median > BENEFIT_CAUTION_MIN ? median : BENEFIT_CAUTION_MIN;
}

/* ---- JSON ---- */

json_t *benefit_to_json(const struct benefit *b)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f}", "t", (json_int_t)b->t_ms, "before", b->before, "predicted",
		b->predicted, "after_15min", b->after[0], "after_60min", b->after[1]);
}

int benefit_from_json(const json_t *j, struct benefit *out)
{
	double before, predicted, a, b;
	json_int_t t;

	if (json_unpack((json_t *)j, "{s:I, s:F, s:F, s:F, s:F}", "t", &t, "before", &before, "predicted", &predicted,
		    "after_15min", &a, "after_60min", &b) ||
		!(before > predicted))
		return -EINVAL;
	out->t_ms = t;
	out->before = before;
	out->predicted = predicted;
	out->after[0] = a;
	out->after[1] = b;
	return 0;
}
