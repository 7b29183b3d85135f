/* Any steady load on a few hosts that decide side by side: after a while nobody does anything any more, for days. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/past.h"
#include "policyd/decide/rules.h"
#include "tests/unit/support/decide_rig.h"

/* ---- a steady load is left alone ---- */

#define HOSTS 3u
#define DOMS 12u

struct world {
	struct snap_domain d[DOMS];
	double load[DOMS];
	uint64_t used[DOMS];
	unsigned at[DOMS];
	unsigned vcpus[HOSTS];
	uint64_t mem[HOSTS];
	unsigned link[HOSTS];
	struct past *past[HOSTS];
	int64_t moves_at[HOSTS][64]; /* ring */
	unsigned n_moves[HOSTS];
	int64_t need_since[DOMS];
	int64_t now;
	double noise; /* measured figures are off by up to this share */
	unsigned actions, parts;
	bool caps;
};

static void host_sums(const struct world *w, unsigned h, unsigned *vcpus, uint64_t *mem, double *load)
{
	unsigned cpu = 0;

	*mem = 0;
	*load = 0;
	for (unsigned i = 0; i < DOMS; i++) {
		if (w->at[i] != h)
			continue;
		cpu += rule_cpu_entitled(&w->d[i]);
		*mem += w->d[i].mem_bytes;
		*load += w->load[i] < w->d[i].vcpus ? w->load[i] : w->d[i].vcpus;
	}
	*vcpus = (cpu + 99) / 100;
}

static void world_init(struct world *w, double noise)
{
	memset(w, 0, sizeof(*w));
	w->now = RIG_NOW;
	w->noise = noise;
	for (unsigned i = 0; i < DOMS; i++) {
		rig_domain(&w->d[i], i);
		w->d[i].state = DOM_ACTIVE;
		w->d[i].cluster_available = 2;
		w->d[i].cluster_min = 1;
		if (noise > 0) { /* a dead band must be wider than the noise; the configuration's defaults are */
			w->d[i].policy.cpu.elastic_margin = 5;
			w->d[i].policy.cpu.util_upper = 60 + rig_rnd(35);
			w->d[i].policy.cpu.util_lower = rig_rnd(w->d[i].policy.cpu.util_upper - 10);
			w->d[i].policy.memory.step_percent = 3;
			w->d[i].policy.memory.free_upper = w->d[i].policy.memory.free_lower + 8 + rig_rnd(40);
		}
		w->load[i] = rig_rnd(500) / 100.0;
		w->used[i] = (uint64_t)rig_rnd((unsigned)(w->d[i].mem_bytes / MIB)) * MIB;
		w->at[i] = rig_rnd(HOSTS);
	}
	for (unsigned h = 0; h < HOSTS; h++) {
		double load;

		w->past[h] = past_new();
		assert_non_null(w->past[h]);
		host_sums(w, h, &w->vcpus[h], &w->mem[h], &load);
		w->vcpus[h] += rig_rnd(4);
		w->mem[h] += rig_rnd(400) * MIB;
		w->link[h] = 100000000 + rig_rnd(100000000);
	}
}

static void world_fini(struct world *w)
{
	for (unsigned h = 0; h < HOSTS; h++)
		past_free(w->past[h]);
}

static double blur(const struct world *w)
{
	return 1 + w->noise * ((double)rig_rnd(2001) / 1000 - 1);
}

/* What the daemon does in act/brain.c. */
static void fill_past(struct world *w, unsigned h, unsigned i, const struct conf_decide *c, struct snap_domain *d)
{
	if (rule_cpu_need(d, c).is || rule_mem_need(d, c).is)
		w->need_since[i] = w->need_since[i] ? w->need_since[i] : w->now;
	else
		w->need_since[i] = 0;
	d->need_since_ms = w->need_since[i];
	past_fill_domain(w->past[h], w->now, d);
}

static void world_snapshot(struct world *w, unsigned h, struct snapshot *s)
{
	snapshot_init(s);
	s->now_ms = w->now;
	snprintf(s->host, sizeof(s->host), "h%u", h);
	s->vcpus_total = w->vcpus[h];
	s->mem_total = w->mem[h];
	s->caps = w->caps;
	s->domains = calloc(DOMS, sizeof(*s->domains));
	s->peers = calloc(HOSTS, sizeof(*s->peers));
	for (unsigned i = 0; i < DOMS; i++) {
		if (w->at[i] != h)
			continue;
		rig_measure(&w->d[i], w->load[i] * blur(w), (uint64_t)((double)w->used[i] * blur(w)));
		s->domains[s->n_domains] = w->d[i];
		fill_past(w, h, i, &s->decide, &s->domains[s->n_domains++]);
	}
	for (unsigned i = 0; i < 64 && i < w->n_moves[h]; i++)
		s->moves_last_hour += w->now - w->moves_at[h][i] < 3600000;
	past_fill_host(w->past[h], s);
	for (unsigned o = 0; o < HOSTS; o++) {
		struct snap_peer *p = &s->peers[s->n_peers];
		double load;

		if (o == h)
			continue;
		snap_peer_init(p);
		snprintf(p->name, sizeof(p->name), "h%u", o);
		host_sums(w, o, &p->vcpus_given, &p->mem_given, &load);
		p->vcpus_total = w->vcpus[o];
		p->mem_total = w->mem[o];
		p->cpu_util = p->vcpus_total ? 100 * load / p->vcpus_total : 0;
		p->link_bps = w->link[o];
		s->n_peers++;
	}
}

static void world_move(struct world *w, unsigned h, const struct action *a, unsigned k)
{
	struct past_move m = {
		.end_ms = w->now, .bytes = (uint64_t)a->pred_bytes, .outage_ms = (unsigned)a->pred_blackout_ms};
	unsigned to = (unsigned)strtoul(a->target + 1, NULL, 10);

	snprintf(m.domain, sizeof(m.domain), "%s", a->domain);
	snprintf(m.peer, sizeof(m.peer), "h%u", to);
	past_add(w->past[h], &m);
	m.arrival = true;
	snprintf(m.peer, sizeof(m.peer), "h%u", h);
	past_add(w->past[to], &m);
	w->at[k] = to;
	w->d[k].last_move_ms = w->now;
	w->moves_at[h][w->n_moves[h]++ % 64] = w->now;
}

static void world_apply(struct world *w, unsigned h, const struct plan *p)
{
	for (unsigned i = 0; i < p->n_actions; i++) {
		const struct action *a = &p->actions[i];
		unsigned k = (unsigned)strtoul(a->domain + 1, NULL, 10);
		struct snap_domain *d = &w->d[k];

		w->actions++;
		if (a->kind == ACT_SET_VCPUS) {
			w->parts += a->cpu_cap > 0;
			d->vcpus = a->vcpus;
			d->cpu_cap = a->cpu_cap;
			d->cpu_cap_by_policy = a->cpu_cap > 0;
			d->last_resize_ms = w->now;
		} else if (a->kind == ACT_SET_MEMORY) {
			d->mem_bytes = a->mem_bytes;
			d->last_resize_ms = w->now;
		} else {
			if (a->kind == ACT_TRIM_MOVE)
				d->mem_bytes = a->mem_bytes;
			world_move(w, h, a, k);
		}
	}
}

/* One decision of each host; the number of actions. */
static unsigned world_round(struct world *w, int64_t step_ms)
{
	unsigned before = w->actions;

	for (unsigned h = 0; h < HOSTS; h++) {
		struct snapshot s;
		struct plan p;

		world_snapshot(w, h, &s);
		assert_int_equal(decide(&s, &p), 0);
		rig_check_plan(&s, &p);
		world_apply(w, h, &p);
		plan_fini(&p);
		snapshot_fini(&s);
	}
	w->now += step_ms;
	return w->actions - before;
}

/* Eight hours to come to rest - cool-downs, budgets and the way back (6 h) must have come and gone - then days without anything. */
static void run_worlds(uint64_t first, unsigned n, double noise, unsigned days, bool caps)
{
	static struct world w;
	unsigned total = 0, parts = 0;

	for (uint64_t k = first; k < first + n; k++) {
		unsigned late = 0;

		rig_seed(k);
		world_init(&w, noise);
		w.caps = caps;
		for (unsigned r = 0; r < 8 * 60; r++)
			world_round(&w, 60000);
		total += w.actions;
		for (unsigned r = 0; r < days * 24 * 12; r++)
			late += world_round(&w, 300000);
		world_fini(&w);
		parts += w.parts;
		if (late)
			fail_msg("world %llu: %u actions in %u days of steady load", (unsigned long long)k, late, days);
	}
	assert_true(caps ? parts > n / 2 : !parts);
	assert_true(total > 3 * n); /* there was something to do at first */
}

static void test_steady(void **state)
{
	(void)state;
	run_worlds(90001, 80, 0, 3, false);
}

/* The same with figures that are never twice the same. */
static void test_noise(void **state)
{
	(void)state;
	run_worlds(190001, 40, 0.01, 3, false);
}

/* Parts of vCPUs come to rest too. */
static void test_caps(void **state)
{
	(void)state;
	run_worlds(290001, 16, 0, 2, true);
	run_worlds(390001, 12, 0.01, 2, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steady), cmocka_unit_test(test_noise), cmocka_unit_test(test_caps)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
