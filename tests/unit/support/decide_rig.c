/* See decide_rig.h. */
#include "tests/unit/support/decide_rig.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policyd/decide/rules.h"

static uint64_t seed = 1;

unsigned rig_rnd(unsigned n) /* 0..n-1 */
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 20) % n;
}

void rig_seed(uint64_t k)
{
	seed = k * 0x9e3779b97f4a7c15ULL;
}

bool rig_chance(unsigned percent)
{
	return rig_rnd(100) < percent;
}

/* ---- random domains ---- */

static void random_policy(struct policy_effective *p)
{
	p->cpu = (struct cpu_policy){.set = rig_chance(70),
		.util_upper = 40 + rig_rnd(55),
		.elastic_margin = rig_rnd(10),
		.vcpu_min = 1 + rig_rnd(2),
		.vcpu_max = rig_chance(50) ? CONF_UNSET : 2 + rig_rnd(8),
		.attack = rig_rnd(4),
		.decay = rig_rnd(4),
		.sample_rate_s = 5};
	p->cpu.util_lower = rig_rnd(p->cpu.util_upper - p->cpu.elastic_margin);
	p->memory = (struct mem_policy){.set = rig_chance(70),
		.free_lower = 5 + rig_rnd(30),
		.step_percent = 1 + rig_rnd(5),
		.reserve_percent = rig_rnd(15),
		.mem_min = rig_chance(50) ? 0 : (64 + 2 * rig_rnd(64)) * MIB,
		.mem_max = rig_chance(50) ? 0 : (512 + 2 * rig_rnd(2048)) * MIB,
		.sample_rate_s = 5};
	p->memory.free_upper = p->memory.free_lower + p->memory.step_percent + 1 + rig_rnd(40);
	p->relocate = RELOCATE_LIVE + rig_rnd(3);
	p->importance = rig_rnd(101);
	snprintf(p->cpu_from, sizeof(p->cpu_from), "p%u", rig_rnd(5));
	snprintf(p->memory_from, sizeof(p->memory_from), "p%u", rig_rnd(5));
}

void rig_domain(struct snap_domain *d, unsigned i)
{
	snap_domain_init(d);
	snprintf(d->spec.name, sizeof(d->spec.name), "d%u", i);
	snprintf(d->spec.uuid, sizeof(d->spec.uuid), "00000000-0000-4000-8000-%012u", i);
	snprintf(d->spec.disks[d->spec.n_disks++].volume, NAME_MAX_LEN, "v%u", i);
	random_policy(&d->policy);
	d->spec.vcpus_min = 1 + rig_rnd(2);
	d->spec.vcpus_boot = d->spec.vcpus_min + rig_rnd(3);
	d->spec.vcpus_max = d->spec.vcpus_boot + rig_rnd(6);
	d->spec.mem_min = (64 + 2 * rig_rnd(200)) * MIB;
	d->spec.mem_boot = d->spec.mem_min + 2 * rig_rnd(1500) * MIB;
	d->spec.mem_max = d->spec.mem_boot + 2 * rig_rnd(100) * MIB;
	d->vcpus = d->spec.vcpus_boot;
	d->mem_bytes =
		d->spec.mem_boot - rig_rnd((unsigned)((d->spec.mem_boot - d->spec.mem_min) / MEM_STEP) + 1) * MEM_STEP;
	d->state = rig_chance(92) ? DOM_ACTIVE : (enum domain_state)rig_rnd(DOM_STATE_COUNT);
	d->held = rig_chance(8);
	d->movable = rig_chance(92);
	d->dirty_bps = rig_chance(30) ? -1.0 : rig_rnd(20000000);
	if (rig_chance(40)) { /* it was measured lately */
		d->send_bytes = (double)(d->mem_bytes / 100 * rig_rnd(100));
		d->wire_ratio = (1 + rig_rnd(100)) / 100.0;
		d->hot_bytes = rig_chance(50) ? (double)rig_rnd(100000000) : 0;
		d->delta_share = rig_chance(50) ? (1 + rig_rnd(100)) / 100.0 : 0;
	}
	d->resident_bytes = d->mem_bytes / (1 + rig_rnd(4));
	d->started_ms = RIG_NOW - 7200000;
	if (rig_chance(20)) {
		snprintf(d->spec.cluster, sizeof(d->spec.cluster), "c");
		d->cluster_available = rig_rnd(4);
		d->cluster_min = rig_rnd(3);
	}
}

/* Fill the measured figures from a true @load (in vCPUs) and @used bytes. */
void rig_measure(struct snap_domain *d, double load, uint64_t used)
{
	double util = 100 * load / rule_cpu_entitled(d) * 100;

	d->util_fast = d->util_slow = util < 100 ? util : 100;
	d->over_upper = d->util_fast > d->policy.cpu.util_upper ? 5 : 0;
	d->under_lower = d->util_fast < d->policy.cpu.util_lower ? 5 : 0;
	d->mem_known = true;
	d->mem_available = d->mem_bytes > used ? d->mem_bytes - used : 0;
	d->mem_free = d->mem_available / 2;
	d->mem_short = rule_mem_available_percent(d) < d->policy.memory.free_lower ? 5 : 0;
}

static void random_past(struct snap_domain *d)
{
	d->started_ms = rig_chance(10) ? RIG_NOW - rig_rnd(120000) : RIG_NOW - 7200000;
	d->need_since_ms = rig_chance(50) ? RIG_NOW - rig_rnd(180000) : 0;
	d->moves_last_hour = rig_chance(20) ? rig_rnd(4) : 0;
	d->blackout_last_hour_ms = rig_chance(20) ? rig_rnd(40000) : 0;
	if (rig_chance(20)) {
		d->fails = 1 + rig_rnd(4);
		d->last_fail = 1 + rig_rnd(FAIL_KIND_COUNT - 1);
		d->last_fail_ms = RIG_NOW - rig_rnd(8 * 3600000);
		snprintf(d->last_fail_peer, sizeof(d->last_fail_peer), "peer%u", rig_rnd(5));
	}
	if (rig_chance(20)) {
		d->arrived_ms = RIG_NOW - rig_rnd(8 * 3600000);
		snprintf(d->came_from, sizeof(d->came_from), "peer%u", rig_rnd(5));
	}
}

void rig_snapshot(struct snapshot *s, unsigned n, unsigned n_peers)
{
	snapshot_init(s);
	s->now_ms = RIG_NOW;
	snprintf(s->host, sizeof(s->host), "alpha");
	s->domains = calloc(n ? n : 1, sizeof(*s->domains));
	s->peers = calloc(n_peers ? n_peers : 1, sizeof(*s->peers));
	s->n_domains = n;
	s->n_peers = n_peers;
	s->caps = rig_chance(50);
	for (unsigned i = 0; i < n; i++) {
		struct snap_domain *d = &s->domains[i];

		rig_domain(d, i);
		if (s->caps && d->vcpus > d->spec.vcpus_min && rig_chance(30)) {
			d->cpu_cap = d->spec.vcpus_min * 100 + rig_rnd((d->vcpus - d->spec.vcpus_min) * 100);
			d->cpu_cap_by_policy = rig_chance(50);
		}
		rig_measure(d, rig_rnd(600) / 100.0, (uint64_t)rig_rnd((unsigned)(d->mem_bytes / MIB)) * MIB);
		d->busy = rig_chance(8);
		d->last_resize_ms = rig_chance(20) ? RIG_NOW - rig_rnd(40000) : 0;
		d->last_move_ms = rig_chance(20) ? RIG_NOW - rig_rnd(7200000) : 0;
		d->shrink_frozen_until_ms = rig_chance(10) ? RIG_NOW + 1000 : 0;
		random_past(d);
		if (d->state != DOM_INACTIVE) {
			s->vcpus_total += d->vcpus;
			s->mem_total += d->mem_bytes;
		}
	}
	s->vcpus_total += rig_rnd(3);
	s->mem_total += rig_rnd(200) * MIB;
	s->vcpus_given = rig_chance(20) ? s->vcpus_total : 0;
	s->mem_given = rig_chance(20) ? s->mem_total : 0;
	for (unsigned i = 0; i < n_peers; i++) {
		struct snap_peer *p = &s->peers[i];

		snap_peer_init(p);
		snprintf(p->name, sizeof(p->name), "peer%u", i);
		p->up = rig_chance(90);
		p->accepts = rig_chance(90);
		p->vcpus_total = 8 + rig_rnd(30);
		p->vcpus_given = rig_rnd(p->vcpus_total + 3);
		p->mem_total = (1024 + rig_rnd(16384)) * MIB;
		p->mem_given = rig_rnd((unsigned)(p->mem_total / MIB)) * MIB;
		p->cpu_util = rig_rnd(100);
		p->moves = rig_chance(10);
		p->link_bps = rig_chance(50) ? 0 : 50000000 + rig_rnd(900000000);
		if (rig_chance(40)) {
			p->wire_bps = 1e6 * (1 + rig_rnd(2000));
			p->engine_bps = rig_chance(50) ? 1e6 * (50 + rig_rnd(1000)) : 0;
			p->setup_s = rig_chance(50) ? rig_rnd(300) / 100.0 : 0;
			p->dark_ms = rig_rnd(200);
		}
		p->recent_failures = rig_chance(20) ? rig_rnd(5) : 0;
	}
}

/* ---- nothing that must not be ---- */

const struct snap_domain *rig_domain_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.name, name) == 0)
			return &s->domains[i];
	fail_msg("no domain %s", name);
	return NULL;
}

static void check_left_alone(const struct snapshot *s, const struct action *a, const struct snap_domain *d)
{
	struct need n = rule_mem_need(d, &s->decide);
	bool urgent = a->kind == ACT_SET_MEMORY && a->mem_bytes > d->mem_bytes && n.is && n.emergency;
	int64_t last = d->last_resize_ms > d->last_move_ms ? d->last_resize_ms : d->last_move_ms;

	assert_int_equal(d->state, DOM_ACTIVE);
	assert_false(d->held || d->busy);
	assert_true(last == 0 || s->now_ms - last >= (urgent ? 3000 : (int64_t)s->decide.dwell_s * 1000));
	assert_true(
		urgent || d->started_ms == 0 || s->now_ms - d->started_ms >= (int64_t)s->decide.boot_grace_s * 1000);
}

static void check_resize(const struct snapshot *s, const struct action *a, const struct snap_domain *d)
{
	if (a->kind == ACT_SET_VCPUS) {
		unsigned gets = action_cpu(a), has = rule_cpu_entitled(d);
		bool lifted = d->cpu_cap_by_policy && a->vcpus == d->vcpus && !a->cpu_cap;

		assert_true(gets != has && (!a->cpu_cap || (s->caps && a->cpu_cap < a->vcpus * 100)));
		assert_true(a->vcpus == d->vcpus || gets > (a->vcpus - 1) * 100); /* none that it cannot use */
		assert_true(
			lifted || (gets > has ? gets <= rule_cpu_ceiling(d) * 100 : gets >= rule_cpu_floor(d) * 100));
		if (gets > has && d->policy.cpu.attack && !lifted)
			assert_true(gets - has <= d->policy.cpu.attack * 100);
		return;
	}
	assert_true(a->mem_bytes != d->mem_bytes);
	assert_int_equal(a->mem_bytes % MEM_STEP, 0);
	assert_true(
		a->mem_bytes > d->mem_bytes ? a->mem_bytes <= rule_mem_ceiling(d) : a->mem_bytes >= rule_mem_floor(d));
	assert_true(a->mem_bytes > d->mem_bytes || d->shrink_frozen_until_ms <= s->now_ms);
}

static void check_calm(const struct snapshot *s, const struct action *a, const struct snap_domain *d)
{
	const struct snap_domain *need = rig_domain_of(s, a->for_domain);
	const struct conf_decide *c = &s->decide;

	assert_true(!need->need_since_ms || s->now_ms - need->need_since_ms >= (int64_t)c->move_after_s * 1000);
	assert_true(d->moves_last_hour < c->domain_moves_per_hour);
	if (strcmp(a->target, d->came_from) == 0)
		assert_true(s->now_ms - d->arrived_ms >= (int64_t)c->return_after_s * 1000 ||
			need->need_since_ms > d->arrived_ms + (int64_t)c->cooldown_s * 1000);
	if (d->fails) { /* 5 minutes is the shortest wait of all, and only for that one way */
		bool lies_there = d->last_fail == FAIL_REFUSED || d->last_fail == FAIL_LINK;

		assert_true(s->now_ms - d->last_fail_ms >= 300000 || d->last_fail == FAIL_INTERRUPTED ||
			(lies_there && strcmp(a->target, d->last_fail_peer) != 0));
	}
	if (a->kind != ACT_COLD_MOVE)
		assert_true(d->blackout_last_hour_ms + a->pred_blackout_ms <= c->domain_blackout_per_hour_ms &&
			s->blackout_last_hour_ms + a->pred_blackout_ms <= c->blackout_per_hour_ms);
}

static void check_move(const struct snapshot *s, const struct action *a, const struct snap_domain *d)
{
	const struct snap_peer *p = NULL;
	uint64_t mem = a->kind == ACT_TRIM_MOVE ? a->mem_bytes : d->mem_bytes;

	for (unsigned i = 0; i < s->n_peers; i++)
		if (strcmp(s->peers[i].name, a->target) == 0)
			p = &s->peers[i];
	assert_non_null(p);
	assert_true(p->up && p->accepts && p->moves < s->decide.max_moves && d->movable);
	assert_true(p->vcpus_given + d->vcpus <= p->vcpus_total && p->mem_given + mem <= p->mem_total);
	assert_true(p->cpu_util + d->util_fast * rule_cpu_entitled(d) / 100 / p->vcpus_total <= 85.0001);
	assert_true(d->policy.relocate == (a->kind == ACT_COLD_MOVE ? RELOCATE_COLD : RELOCATE_LIVE));
	assert_true(d->last_move_ms == 0 || s->now_ms - d->last_move_ms >= (int64_t)s->decide.cooldown_s * 1000);
	if (a->kind == ACT_COLD_MOVE && *d->spec.cluster)
		assert_true(d->cluster_available > d->cluster_min);
	check_calm(s, a, d);
	if (a->kind == ACT_TRIM_MOVE)
		assert_true(a->mem_bytes >= rule_mem_floor(d) && a->mem_bytes < d->mem_bytes);
	assert_true(a->pred_total_s > 0 && (a->kind == ACT_COLD_MOVE || a->pred_blackout_ms <= s->max_blackout_ms));
}

/* What action @i and those before it in its chain change on this host: > 0 takes, < 0 frees. */
static int64_t chain_change(const struct snapshot *s, const struct plan *p, int i, enum action_kind kind)
{
	int64_t sum = 0;

	for (; i >= 0; i = p->actions[i].after) {
		const struct snap_domain *d = rig_domain_of(s, p->actions[i].domain);

		if (p->actions[i].kind != kind)
			continue;
		sum += kind == ACT_SET_VCPUS ? (int64_t)action_cpu(&p->actions[i]) - rule_cpu_entitled(d)
					     : (int64_t)(p->actions[i].mem_bytes - d->mem_bytes);
	}
	return sum;
}

/* Growths come as early as they may, what frees elsewhere as late as it may: still there is room. */
static void check_capacity(const struct snapshot *s, const struct plan *p)
{
	int64_t cpu = (int64_t)s->vcpus_total * 100, mem = (int64_t)s->mem_total, used_c = 0, used_m = 0,
		given = s->cpu_given ? s->cpu_given : (int64_t)s->vcpus_given * 100;

	for (unsigned i = 0; i < s->n_domains; i++) {
		used_c += s->domains[i].state == DOM_INACTIVE ? 0 : rule_cpu_entitled(&s->domains[i]);
		used_m += s->domains[i].state == DOM_INACTIVE ? 0 : (int64_t)s->domains[i].mem_bytes;
	}
	cpu -= used_c > given ? used_c : given;
	mem -= used_m > (int64_t)s->mem_given ? used_m : (int64_t)s->mem_given;
	for (unsigned i = 0; i < p->n_actions; i++) {
		const struct snap_domain *d = rig_domain_of(s, p->actions[i].domain);
		int64_t change;

		if (p->actions[i].kind == ACT_SET_VCPUS && action_cpu(&p->actions[i]) > rule_cpu_entitled(d)) {
			change = chain_change(s, p, (int)i, ACT_SET_VCPUS);
			cpu -= change > 0 ? change : 0;
			assert_true(cpu >= 0);
		} else if (p->actions[i].kind == ACT_SET_MEMORY && p->actions[i].mem_bytes > d->mem_bytes) {
			change = chain_change(s, p, (int)i, ACT_SET_MEMORY);
			mem -= change > 0 ? change : 0;
			assert_true(mem >= 0);
		}
	}
}

void rig_check_plan(const struct snapshot *s, const struct plan *p)
{
	unsigned moves = 0;

	for (unsigned i = 0; i < p->n_actions; i++) {
		const struct action *a = &p->actions[i];
		const struct snap_domain *d = rig_domain_of(s, a->domain);

		check_left_alone(s, a, d);
		assert_true(a->after >= -1 && a->after < (int)i);
		assert_true(*a->why);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(p->actions[j].domain, a->domain);
		if (a->kind == ACT_SET_VCPUS || a->kind == ACT_SET_MEMORY) {
			check_resize(s, a, d);
		} else {
			check_move(s, a, d);
			moves++;
		}
	}
	assert_true(moves <= 1 &&
		(!moves || (s->moves_now < s->decide.max_moves && s->moves_last_hour < s->decide.moves_per_hour)));
	check_capacity(s, p);
	for (unsigned i = 0; i < p->n_candidates; i++)
		assert_true(*p->candidates[i].why && *p->candidates[i].text); /* every loser has its reason */
}
