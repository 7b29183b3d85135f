/* Why nothing is done for a domain, with the figures that say so. Called by decide.c last. Pure. */
#include <stdio.h>
#include <string.h>

#include "policyd/decide/view.h"

static bool noted(const struct view *v, const struct vdom *d)
{
	for (unsigned i = 0; i < v->plan->n_notes; i++)
		if (strcmp(v->plan->notes[i].domain, d->d->spec.name) == 0)
			return true;
	return false;
}

/* "util 71 % (5 s), 64 % (60 s), bounds 30..80 %" */
static int cpu_text(const struct vdom *d, const struct conf_decide *c, char *out, size_t size)
{
	const struct cpu_policy *p = &d->d->policy.cpu;

	if (!p->set)
		return snprintf(out, size, "no policy bounds its cpu");
	if (!rule_cpu_known(d->d))
		return snprintf(out, size, "its cpu is not measured yet");
	if (rule_cpu_at_ceiling(d->d, c))
		return snprintf(out, size, "util %.0f %%, bound %u %%, but it has its limit of %u vcpus",
			d->d->util_fast, p->util_upper, rule_cpu_ceiling(d->d));
	if (d->d->over_upper >= c->sustain_samples)
		return snprintf(out, size, "util %.0f %% again, was above %u %% in %u of the last %u samples",
			d->d->util_fast, p->util_upper, d->d->over_upper, c->sustain_window);
	if (d->d->util_fast > p->util_upper || d->d->over_upper)
		return snprintf(out, size,
			"util %.0f %%, bound %u %%: above in %u of the last %u samples, %u are needed", d->d->util_fast,
			p->util_upper, d->d->over_upper, c->sustain_window, c->sustain_samples);
	return snprintf(out, size, "util %.0f %%, bounds %u..%u %%", d->d->util_fast, p->util_lower, p->util_upper);
}

static void mem_text(const struct vdom *d, const struct conf_decide *c, char *out, size_t size)
{
	const struct mem_policy *p = &d->d->policy.memory;
	double available = rule_mem_available_percent(d->d);
	char limit[16];

	size_format(rule_mem_ceiling(d->d), limit);
	if (!p->set)
		snprintf(out, size, "no policy bounds its memory");
	else if (available < 0)
		snprintf(out, size, "its memory statistics are not there");
	else if (rule_mem_at_ceiling(d->d, c))
		snprintf(out, size, "memory %.0f %% available, bound %u %%, but it has its limit of %s", available,
			p->free_lower, limit);
	else if (d->d->mem_short >= c->sustain_samples)
		snprintf(out, size, "memory %.0f %% available again, was below %u %% in %u of the last %u samples",
			available, p->free_lower, d->d->mem_short, c->sustain_window);
	else if (available < p->free_lower || d->d->mem_short)
		snprintf(out, size,
			"memory %.0f %% available, bound %u %%: below in %u of the last %u samples, %u are needed",
			available, p->free_lower, d->d->mem_short, c->sustain_window, c->sustain_samples);
	else
		snprintf(out, size, "memory %.0f %% available, bounds %u..%u %%", available, p->free_lower,
			p->free_upper);
}

static void note_one(struct view *v, struct vdom *d)
{
	char cpu[120], mem[120];

	if (*d->blocked && (d->cpu.is || d->mem.is)) {
		view_note(v, d, "is in need, but %s", d->blocked);
		return;
	}
	if (*d->blocked) {
		view_note(v, d, "%s", d->blocked);
		return;
	}
	cpu_text(d, &v->s->decide, cpu, sizeof(cpu));
	mem_text(d, &v->s->decide, mem, sizeof(mem));
	view_note(v, d, "stays: %s; %s", cpu, mem);
}

void notes_add(struct view *v)
{
	for (unsigned i = 0; i < v->n_doms && !v->no_memory; i++)
		if (!v->doms[i].acts && v->doms[i].d->state != DOM_INACTIVE && !noted(v, &v->doms[i]))
			note_one(v, &v->doms[i]);
}
