/* What must hold for any snapshot: the order plays no part, JSON loses nothing; nobody is touched who must be left alone; floors, ceilings,
 * limits and capacity hold in every order in which the actions may run. (A steady load: test_steady.c.) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/support/decide_rig.h"

/* ---- the order plays no part ---- */

static void shuffle(void *v, size_t size, unsigned n)
{
	char t[sizeof(struct snap_domain)], *p = v;

	for (unsigned i = n; i > 1; i--) {
		unsigned j = rig_rnd(i);

		memcpy(t, p + j * size, size);
		memcpy(p + j * size, p + (i - 1) * size, size);
		memcpy(p + (i - 1) * size, t, size);
	}
}

static json_t *decided(const struct snapshot *s)
{
	struct plan p;
	json_t *j;

	assert_int_equal(decide(s, &p), 0);
	j = plan_to_json(&p);
	plan_fini(&p);
	return j;
}

static void test_order(void **state)
{
	unsigned acted = 0;

	(void)state;
	for (uint64_t k = 1; k <= 300; k++) {
		struct snapshot s;
		json_t *a, *b;

		rig_seed(k);
		rig_snapshot(&s, rig_rnd(14), rig_rnd(5));
		a = decided(&s);
		acted += json_array_size(json_object_get(a, "actions")) > 0;
		for (unsigned turn = 0; turn < 4; turn++) {
			shuffle(s.domains, sizeof(*s.domains), s.n_domains);
			shuffle(s.peers, sizeof(*s.peers), s.n_peers);
			b = decided(&s);
			if (!json_equal(a, b))
				fail_msg("seed %llu: the plan depends on the order", (unsigned long long)k);
			json_decref(b);
		}
		json_decref(a);
		snapshot_fini(&s);
	}
	assert_true(acted > 100); /* or this test would say nothing */
}

/* ---- JSON loses nothing ---- */

static void test_round_trip(void **state)
{
	(void)state;
	for (uint64_t k = 1; k <= 200; k++) {
		struct snapshot s, t;
		json_t *a, *b;
		char *text;

		rig_seed(k + 5000);
		rig_snapshot(&s, rig_rnd(8), rig_rnd(4));
		for (unsigned i = 0; i < s.n_domains; i++)
			s.domains[i].util_slow = rig_rnd(1000000) / 7919.0; /* no short decimal */
		a = snapshot_to_json(&s);
		text = json_dumps(a, 0);
		b = json_loads(text, 0, NULL);
		assert_int_equal(snapshot_from_json(b, &t, NULL), 0);
		for (unsigned i = 0; i < s.n_domains; i++)
			assert_true(s.domains[i].util_slow == t.domains[i].util_slow);
		json_decref(b);
		b = snapshot_to_json(&t);
		assert_true(json_equal(a, b));
		json_decref(a);
		json_decref(b);
		free(text);
		snapshot_fini(&s);
		snapshot_fini(&t);
	}
}

/* ---- nothing that must not be ---- */

static void test_invariants(void **state)
{
	unsigned kinds[5] = {0};

	(void)state;
	for (uint64_t k = 1; k <= 2000; k++) {
		struct snapshot s;
		struct plan p;

		rig_seed(k + 20000);
		rig_snapshot(&s, rig_rnd(20), rig_rnd(6));
		s.moves_now = rig_chance(10);
		s.moves_last_hour = rig_rnd(14);
		assert_int_equal(decide(&s, &p), 0);
		rig_check_plan(&s, &p);
		for (unsigned i = 0; i < p.n_actions; i++)
			kinds[p.actions[i].kind]++;
		plan_fini(&p);
		snapshot_fini(&s);
	}
	for (unsigned i = 0; i < 5; i++)
		assert_true(kinds[i] > 10); /* each kind was seen */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_invariants)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
