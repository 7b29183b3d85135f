/* Safety: each invariant by a table of steps that must not begin, beside the same step where it may; and every plan of random groups of up to
 * 50 hosts, walked through in random orders of beginnings and ends: no step of it is ever unsafe. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/rules.h"
#include "policyd/decide/safe.h"
#include "tests/unit/support/decide_rig.h"

/* ---- each invariant ---- */

static const char *const base =
	"{\"host\": \"alpha\", \"vcpus_total\": 4, \"mem_total\": 4294967296, \"decide\": {\"max_moves\": 1}, \"domains\": [{\"spec\": {\"name\": \"a\", "
	"\"uuid\": \"00000000-0000-4000-8000-000000000001\", \"vcpus\": {\"min\": 1, \"boot\": 2, \"max\": 8}, \"memory\": {\"min\": 536870912, "
	"\"boot\": 4294967296, \"max\": 4294967296}, \"disks\": [{\"volume\": \"v\"}], \"cluster\": \"c\"}, \"vcpus\": 2, \"mem_bytes\": 1073741824, "
	"\"cluster_available\": 3, \"cluster_min\": 2}], \"peers\": [{\"name\": \"beta\", \"vcpus_total\": 4, \"vcpus_given\": 2, "
	"\"mem_total\": 4294967296, \"mem_given\": 3221225472}], \"rules\": [{\"name\": \"r\", \"members\": [{\"domain\": \"a\", \"host\": \"alpha\"}]}]}";

static struct snapshot base_snapshot(void)
{
	json_t *j = json_loads(base, 0, NULL);
	struct err e = {0};
	struct snapshot s;

	assert_non_null(j);
	if (snapshot_from_json(j, &s, &e))
		fail_msg("%s", e.msg);
	json_decref(j);
	return s;
}

static void add_stranger(struct snapshot *s)
{
	struct snap_rule *r = &s->rules[0];

	r->members = realloc(r->members, 2 * sizeof(*r->members));
	assert_non_null(r->members);
	snprintf(r->members[1].domain, NAME_MAX_LEN, "b");
	snprintf(r->members[1].host, NAME_MAX_LEN, "beta");
	r->n_members = 2;
}

enum change {
	NOTHING,
	GIVEN,     /* the host has no vCPU left */
	GIVEN_MEM, /* and no memory */
	HELD,
	BUSY,
	STOPPED,
	DOWN,
	MAINTENANCE,
	EXCLUDED,
	FULL,
	FULL_MEM,
	MOVING,
	MOVING_THERE,
	LAST_NODE,
	STRANGER,
	IMMOVABLE,
	NEVER
};

static void make(struct snapshot *s, enum change c)
{
	struct snap_domain *d = &s->domains[0];
	struct snap_peer *p = &s->peers[0];

	s->vcpus_given = c == GIVEN ? 4 : 0;
	s->mem_given = c == GIVEN_MEM ? s->mem_total : 0;
	d->held = c == HELD;
	d->busy = c == BUSY;
	d->state = c == STOPPED ? DOM_BOUND : DOM_ACTIVE;
	p->up = c != DOWN;
	p->accepts = c != MAINTENANCE;
	p->excluded = c == EXCLUDED;
	p->vcpus_given = c == FULL ? 3 : 2;
	p->mem_given += c == FULL_MEM ? 1 : 0;
	s->moves_now = c == MOVING;
	p->moves = c == MOVING_THERE;
	d->cluster_available = c == LAST_NODE ? 2 : 3;
	d->movable = c != IMMOVABLE;
	d->policy.relocate = c == NEVER ? RELOCATE_NEVER : RELOCATE_LIVE;
	if (c == STRANGER)
		add_stranger(s);
}

#define MOVE(k)                                                                                                        \
	{                                                                                                              \
		.kind = (k), .domain = "a", .target = "beta"                                                           \
	}

static void test_table(void **state)
{
	static const struct {
		struct action a;
		enum change with;
		const char *why; /* NULL: it may */
	} rows[] = {
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 4}, NOTHING, NULL},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 5}, NOTHING, "more than its 4 vcpus"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 3}, GIVEN, "more than its 4 vcpus"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 1}, NOTHING, NULL},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 1}, GIVEN, NULL},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 0}, NOTHING, "fewer vcpus than its minimum"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 3, .cpu_cap = 210}, GIVEN, "more than its 4 vcpus"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 2, .cpu_cap = 150}, GIVEN, NULL},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 2, .cpu_cap = 90}, NOTHING,
			"fewer vcpus than its minimum"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 3}, HELD, "is held"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 3}, BUSY, "is busy"},
		{{.kind = ACT_SET_VCPUS, .domain = "a", .vcpus = 3}, STOPPED, "does not run here"},
		{{.kind = ACT_SET_VCPUS, .domain = "b", .vcpus = 3}, NOTHING, "does not run here"},
		{{.kind = ACT_SET_MEMORY, .domain = "a", .mem_bytes = 4096 * MIB}, NOTHING, NULL},
		{{.kind = ACT_SET_MEMORY, .domain = "a", .mem_bytes = 4098 * MIB}, NOTHING, "more memory given away"},
		{{.kind = ACT_SET_MEMORY, .domain = "a", .mem_bytes = 1026 * MIB}, GIVEN_MEM, "more memory given away"},
		{{.kind = ACT_SET_MEMORY, .domain = "a", .mem_bytes = 512 * MIB}, NOTHING, NULL},
		{{.kind = ACT_SET_MEMORY, .domain = "a", .mem_bytes = 510 * MIB}, NOTHING,
			"less memory than its minimum"},
		{MOVE(ACT_LIVE_MOVE), NOTHING, NULL},
		{MOVE(ACT_WARM_MOVE), NOTHING, NULL},
		{{.kind = ACT_TRIM_MOVE, .domain = "a", .target = "beta", .mem_bytes = 512 * MIB}, FULL_MEM, NULL},
		{{.kind = ACT_TRIM_MOVE, .domain = "a", .target = "beta", .mem_bytes = 500 * MIB}, NOTHING,
			"less memory than its minimum"},
		{MOVE(ACT_LIVE_MOVE), DOWN, "beta takes nothing"},
		{MOVE(ACT_LIVE_MOVE), MAINTENANCE, "beta takes nothing"},
		{MOVE(ACT_LIVE_MOVE), EXCLUDED, "beta takes nothing"},
		{{.kind = ACT_LIVE_MOVE, .domain = "a", .target = "gamma"}, NOTHING, "gamma takes nothing"},
		{MOVE(ACT_LIVE_MOVE), FULL, "beta would have more than its 4 vcpus"},
		{MOVE(ACT_LIVE_MOVE), FULL_MEM, "beta would have more memory"},
		{MOVE(ACT_LIVE_MOVE), MOVING, "alpha has 1 moves under way"},
		{MOVE(ACT_LIVE_MOVE), MOVING_THERE, "beta has 1 moves under way"},
		{MOVE(ACT_LIVE_MOVE), IMMOVABLE, "cannot be moved"},
		{MOVE(ACT_LIVE_MOVE), NEVER, "cannot be moved"},
		{MOVE(ACT_LIVE_MOVE), STRANGER, "rule r keeps it apart from b"},
		{MOVE(ACT_COLD_MOVE), NOTHING, NULL},
		{MOVE(ACT_COLD_MOVE), LAST_NODE, "fewer than 2 nodes"},
		{MOVE(ACT_LIVE_MOVE), LAST_NODE, NULL},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snapshot s = base_snapshot();
		char why[SAFE_WHY] = "";
		bool ok;

		make(&s, rows[i].with);
		ok = safe_step(&s, &rows[i].a, why);
		if (ok != !rows[i].why || (rows[i].why && !strstr(why, rows[i].why)))
			fail_msg("row %u: %s \"%s\"", i, ok ? "safe" : "unsafe", why);
		snapshot_fini(&s);
	}
}

/* A second node of the same cluster, a second move to the same host, a second one of the same rule: not while the first is on its way. */
static void test_in_passing(void **state)
{
	struct action a = MOVE(ACT_COLD_MOVE), b = MOVE(ACT_COLD_MOVE);
	struct snapshot s = base_snapshot();
	char why[SAFE_WHY];

	(void)state;
	s.domains = realloc(s.domains, 2 * sizeof(*s.domains));
	assert_non_null(s.domains);
	s.domains[1] = s.domains[0];
	snprintf(s.domains[1].spec.name, NAME_MAX_LEN, "b");
	snprintf(b.domain, sizeof(b.domain), "b");
	s.n_domains = 2;
	s.decide.max_moves = 4;
	s.peers[0].vcpus_total = 100;
	s.peers[0].mem_total *= 100;
	assert_true(safe_step(&s, &a, why) && safe_step(&s, &b, why));
	assert_int_equal(safe_begin(&s, &a), 0);
	assert_false(safe_step(&s, &b, why));
	assert_non_null(strstr(why, "cluster c would have fewer than 2 nodes"));
	assert_int_equal(s.rules[0].n_members, 2); /* at both ends */
	safe_end(&s, &a);
	assert_int_equal(s.rules[0].n_members, 1);
	assert_string_equal(s.rules[0].members[0].host, "beta");
	assert_true(safe_step(&s, &b, why));
	assert_false(safe_step(&s, &a, why)); /* it is gone */
	snapshot_fini(&s);
}

/* ---- every plan, in any order ---- */

static void random_rules(struct snapshot *s, unsigned n)
{
	s->rules = calloc(n ? n : 1, sizeof(*s->rules));
	assert_non_null(s->rules);
	s->n_rules = n;
	for (unsigned i = 0; i < n; i++) {
		struct snap_rule *r = &s->rules[i];

		snprintf(r->name, sizeof(r->name), "r%u", i);
		r->keep = rig_rnd(4);
		r->hard = rig_chance(70);
		r->n_hosts = r->keep >= KEEP_ON ? 1 + rig_rnd(4) : 0;
		for (unsigned k = 0; k < r->n_hosts; k++)
			snprintf(r->hosts[k].name, NAME_MAX_LEN, "peer%u", rig_rnd(s->n_peers + 1));
		r->members = calloc(s->n_domains + 4, sizeof(*r->members));
		assert_non_null(r->members);
		for (unsigned k = 0; k < s->n_domains + 4; k++) {
			struct snap_member *m = &r->members[r->n_members];

			if (rig_chance(60))
				continue;
			snprintf(m->domain, NAME_MAX_LEN, "d%u", k);
			if (k < s->n_domains)
				snprintf(m->host, NAME_MAX_LEN, "alpha");
			else
				snprintf(m->host, NAME_MAX_LEN, "peer%u", rig_rnd(s->n_peers + 1));
			r->n_members++;
		}
	}
}

enum step { WAITS, RUNS, DONE };

static bool may_begin(const struct plan *p, const enum step *at, unsigned i)
{
	return at[i] == WAITS && (p->actions[i].after < 0 || at[p->actions[i].after] == DONE);
}

/* What must hold of the state as a whole, given that it held at first. */
static void check_state(const struct snapshot *s)
{
	uint64_t cpu = 0, mem = 0;

	for (unsigned i = 0; i < s->n_domains; i++) {
		const struct snap_domain *d = &s->domains[i];

		cpu += d->state == DOM_INACTIVE ? 0 : rule_cpu_entitled(d);
		mem += d->state == DOM_INACTIVE ? 0 : d->mem_bytes;
	}
	assert_true(cpu <= (uint64_t)s->vcpus_total * 100 && mem <= s->mem_total);
	assert_true(s->moves_now <= s->decide.max_moves);
	for (unsigned i = 0; i < s->n_peers; i++)
		if (s->peers[i].moves)
			assert_true(s->peers[i].moves <= s->decide.max_moves || s->peers[i].moves == 1);
}

/* One random order of beginnings and ends. */
static void walk(const json_t *j, const struct plan *p, uint64_t k)
{
	enum step at[64] = {WAITS};
	unsigned left = 2 * p->n_actions;
	struct snapshot s;
	char why[SAFE_WHY];

	assert_true(p->n_actions <= 64);
	assert_int_equal(snapshot_from_json(j, &s, NULL), 0);
	while (left) {
		unsigned i = rig_rnd(p->n_actions);

		if (may_begin(p, at, i)) {
			if (!safe_step(&s, &p->actions[i], why))
				fail_msg("seed %llu: %s, step %u of %u: %s", (unsigned long long)k,
					p->actions[i].domain, i + 1, p->n_actions, why);
			assert_int_equal(safe_begin(&s, &p->actions[i]), 0);
			at[i] = RUNS;
		} else if (at[i] == RUNS) {
			safe_end(&s, &p->actions[i]);
			at[i] = DONE;
		} else {
			continue;
		}
		check_state(&s);
		left--;
	}
	snapshot_fini(&s);
}

static void test_plans(void **state)
{
	unsigned steps = 0, moves = 0;

	(void)state;
	for (uint64_t k = 1; k <= 1500; k++) {
		struct snapshot s;
		struct plan p;
		json_t *j;

		rig_seed(k + 500000);
		rig_snapshot(&s, rig_rnd(20), rig_rnd(50));
		s.decide.max_moves = 1 + rig_rnd(3);
		random_rules(&s, rig_rnd(4));
		assert_int_equal(decide(&s, &p), 0);
		j = snapshot_to_json(&s);
		assert_non_null(j);
		for (unsigned turn = 0; turn < 4; turn++)
			walk(j, &p, k);
		steps += p.n_actions;
		for (unsigned i = 0; i < p.n_actions; i++)
			moves += p.actions[i].kind != ACT_SET_VCPUS && p.actions[i].kind != ACT_SET_MEMORY;
		json_decref(j);
		plan_fini(&p);
		snapshot_fini(&s);
	}
	assert_true(steps > 2000 && moves > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_in_passing), cmocka_unit_test(test_plans)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
