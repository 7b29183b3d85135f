/* Rules of shrinking from policy, and the guard after a shrink: see mem_rules.h. */
#include "policyd/act/mem_rules.h"

#include <errno.h>
#include <stdio.h>

#include "policyd/act/brain.h"
#include "policyd/act/lifecycle.h"
#include "policyd/decide/rules.h"

#define FREEZE_MS 120000
#define PSI_EVERY_MS 1000
#define PSI_FRESH_MS 5000

void mem_rules(const struct dom *d, bool by_policy, struct shrink_rules *out)
{
	struct policy_effective pe;

	policyd_policy(d->p, &d->spec, &pe);
	*out = shrink_rules_default;
	if (by_policy)
		out->headroom_percent = (unsigned)(RULE_MEM_HEADROOM * 100 + 0.5) - 100;
	if (!pe.memory.set)
		return;
	out->free_rule = pe.memory.law == LAW_FREE_RULE;
	out->step_percent = pe.memory.step_percent;
	out->reserve_percent = pe.memory.reserve_percent;
	out->swap_in_bps = (double)pe.memory.swap_in_bps;
	out->major_faults_ps = pe.memory.major_faults_ps;
	out->psi_percent = pe.memory.psi_percent;
}

int64_t mem_freeze_ms(const struct dom *d)
{
	struct policy_effective pe;

	policyd_policy(d->p, &d->spec, &pe);
	return pe.memory.set ? (int64_t)pe.memory.freeze_s * 1000 : FREEZE_MS;
}

void mem_guard_begin(struct dom *d, const struct balloon_result *r)
{
	struct mem_guard *g = &d->launched.guard;

	d->guard_psi.psi = (struct guest_psi){0}; /* what was measured before says nothing of the new size */
	d->guard_psi.refused = false;
	if (r->after >= r->before) {
		g->until_ms = r->after < g->before_bytes ? g->until_ms : 0;
		dom_keep_launched(d);
		return;
	}
	/* Several shrinks in a row are one: what may be given back is all that they took. */
	g->before_bytes = g->until_ms > now_wall_ms() && g->before_bytes > r->before ? g->before_bytes : r->before;
	g->step_bytes = r->last_step ? r->last_step : MEM_STEP;
	g->faults_before_ps = r->faults_before_ps;
	g->until_ms = now_wall_ms() + mem_freeze_ms(d);
	dom_keep_launched(d);
}

/* What of @bytes the host has for @d; multiple of MEM_STEP. */
static uint64_t what_fits(const struct dom *d, uint64_t bytes)
{
	struct capacity c;
	uint64_t room;

	policyd_capacity(d->p, &c);
	room = c.mem_total > c.mem_given ? c.mem_total - c.mem_given : 0;
	if (bytes > d->mem_bytes + room)
		bytes = d->mem_bytes + room;
	return bytes / MEM_STEP * MEM_STEP;
}

static void give_back(struct dom *d, const struct shrink_next *next)
{
	struct origin o = {.kind = BY_SELF, .name = "guard"};
	uint64_t to = what_fits(d, next->target_bytes);
	struct err e = {0};

	d->launched.shrink_frozen_until_ms = now_wall_ms() + mem_freeze_ms(d);
	d->launched.guard.step_bytes *= 2; /* if that was not enough, the next one is more */
	dom_keep_launched(d);
	if (to <= d->mem_bytes)
		snprintf(e.msg, sizeof(e.msg), "the host has nothing free");
	else if (!memory_job(d, to, &o, next->reason, NULL, &e))
		return;
	plog(d->p, "%s: %s, but not now: %s", d->spec.name, next->reason, e.msg);
}

/* What was read before the last resize ended says nothing of what the guest needs now. */
static bool read_before_resize(const struct dom *d, const struct shrink_view *v)
{
	int64_t now_ms = now_wall_ms();

	return v->stats_known && v->stats_age_ms <= v->stale_ms && d->last_resize_ms <= now_ms &&
		now_ms - (int64_t)v->stats_age_ms < d->last_resize_ms;
}

static void on_psi(void *arg, uint64_t some_us, const struct err *e)
{
	struct guard_psi *g = &((struct dom *)arg)->guard_psi;

	g->awaited = false;
	g->refused = e->code == EREMOTEIO;
	if (!e->code)
		guest_psi_add(&g->psi, some_us, now_mono_ms());
	else
		g->psi = (struct guest_psi){0};
}

/* How long its tasks waited for memory, where its agent says that: between the last two readings, both since it was shrunk. */
static void look_at_psi(struct dom *d, struct shrink_view *v)
{
	struct guard_psi *g = &d->guard_psi;
	int64_t age_ms = now_mono_ms() - g->psi.at_ms;

	if (v->rules.free_rule || v->rules.psi_percent <= 0 || g->refused)
		return;
	v->psi_known = g->psi.known && age_ms <= PSI_FRESH_MS;
	v->psi_percent = g->psi.percent;
	if (!g->awaited && age_ms >= PSI_EVERY_MS)
		g->awaited = !guest_psi_ask(d->qga, on_psi, d);
}

void mem_guard_check(struct dom *d)
{
	struct mem_guard *g = &d->launched.guard;
	struct shrink_view v = {.start_bytes = g->before_bytes, .now_bytes = d->mem_bytes};
	struct shrink_next next;

	if (!g->until_ms)
		return;
	if (now_wall_ms() >= g->until_ms || !d->launched.pid) {
		g->until_ms = 0;
		return;
	}
	if (d->job || d->state != DOM_ACTIVE || d->hold.on || !brain_mem_health(d, &v) || read_before_resize(d, &v))
		return;
	v.last_step_bytes = g->step_bytes;
	v.major_faults_before_ps = g->faults_before_ps;
	mem_rules(d, false, &v.rules);
	look_at_psi(d, &v);
	next = shrink_guard(&v);
	if (next.verdict == SHRINK_BACK_OFF && next.target_bytes > d->mem_bytes)
		give_back(d, &next);
}
