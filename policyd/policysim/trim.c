/* Sizing along a trace: see trim.h. A law is a row of laws[]: it is told each sample and then asked for a size. */
#include "policyd/policysim/trim.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_S 86400
#define PEAK_MARGIN 1.25

const struct trim_rules trim_rules_default = {.min_mib = 64, .shrink_below = 0.8, .warm_s = DAY_S, .clamp = true};

/* What the laws remember of one domain. */
struct memory {
	const struct trim_run *run;
	struct sizing sizing;
	const struct trace_sample **queue; /* of the last day: uses that fall; the first is its maximum */
	unsigned first, end;
};

/* 1.25 x the maximum of the last 24 hours. */
static double peak24h(struct memory *m, const struct trace_sample *s, double now_mib)
{
	(void)now_mib;
	while (m->end > m->first && m->queue[m->end - 1]->used_mib <= s->used_mib)
		m->end--;
	m->queue[m->end++] = s;
	while (m->queue[m->first]->t_s <= s->t_s - DAY_S)
		m->first++;
	return PEAK_MARGIN * m->queue[m->first]->used_mib;
}

static double ours(struct memory *m, const struct trace_sample *s, double now_mib)
{
	sizing_add(&m->sizing, &m->run->sizing, s->t_s * 1000, s->used_mib);
	return sizing_advise(&m->sizing, &m->run->sizing, now_mib, 0).target_mib;
}

static const struct {
	const char *name;
	double (*target)(struct memory *m, const struct trace_sample *s, double now_mib);
} laws[TRIM_N_LAWS] = {
	[TRIM_PEAK24H] = {"peak24h", peak24h},
	[TRIM_OURS] = {"ours", ours},
};

const char *trim_law_name(enum trim_law law)
{
	return laws[law].name;
}

struct totals {
	double alloc, prov, used, lacking;
};

static double by_rules(const struct trim_rules *r, double target, double size, double cap)
{
	if (r->clamp && target > cap)
		target = cap;
	if (target < r->min_mib)
		target = r->min_mib;
	return target > size || target < r->shrink_below * size ? target : size;
}

static void count(struct trim_result *out, struct totals *sum, const struct trace_sample *s, double size)
{
	out->n_samples++;
	out->n_violating += s->used_mib > size;
	sum->alloc += size;
	sum->prov += s->cap_mib;
	sum->used += s->used_mib;
	sum->lacking += s->used_mib > size ? s->used_mib - size : 0;
}

static void run_vm(struct memory *m, const struct trace_vm *vm, struct trim_result *out, struct totals *sum)
{
	const struct trim_run *run = m->run;
	double size = vm->samples[0].cap_mib, next;
	unsigned long violating = out->n_violating;
	const struct trace_sample *s, *last = &vm->samples[vm->n - 1];
	int64_t from_s = vm->samples[0].t_s + (int64_t)run->rules.warm_s;
	unsigned i;

	m->first = m->end = 0;
	sizing_init(&m->sizing);
	for (i = 0; i < vm->n; i++) {
		s = &vm->samples[i];
		if (s->t_s >= from_s)
			count(out, sum, s, size);
		next = by_rules(&run->rules, laws[run->law].target(m, s, size), size, s->cap_mib);
		if (s->t_s >= from_s) {
			out->n_resizes += next != size;
			out->n_grown += next > size;
		}
		size = next;
		if (run->on_decision)
			run->on_decision(run->arg, vm, i, size);
	}
	if (last->t_s >= from_s) {
		out->n_vms++;
		out->n_hit += out->n_violating > violating;
		out->vm_days += (double)(last->t_s - from_s) / DAY_S;
	}
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

int trim_run(const struct trace *t, const struct trim_run *run, struct trim_result *out)
{
	struct memory m = {.run = run};
	struct trim_result r = {0};
	struct totals sum = {0};
	unsigned i, most = 1;

	for (i = 0; i < t->n; i++)
		most = t->vms[i].n > most ? t->vms[i].n : most;
	m.queue = calloc(most, sizeof(struct trace_sample *));
	if (!m.queue)
		return -ENOMEM;
	for (i = 0; i < t->n; i++)
		if (t->vms[i].n && (run->parts < 2 || i % run->parts == run->part))
			run_vm(&m, &t->vms[i], &r, &sum);
	free(m.queue);
	r.alloc_over_prov = ratio(sum.alloc, sum.prov);
	r.used_over_prov = ratio(sum.used, sum.prov);
	r.short_over_used_pct = 100 * ratio(sum.lacking, sum.used);
	r.violating_pct = 100 * ratio((double)r.n_violating, (double)r.n_samples);
	r.vms_hit_pct = 100 * ratio(r.n_hit, r.n_vms);
	r.resizes_per_vm_day = ratio((double)r.n_resizes, r.vm_days);
	*out = r;
	return 0;
}
