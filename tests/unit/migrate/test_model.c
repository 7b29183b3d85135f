/* The model of the hand-off (tests/model): sound with faults of every kind, and unsound as soon as one rule is taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/handoff_model.h"

static void run(const struct model_conf *conf, struct model_result *r)
{
	assert_int_equal(model_run(conf, r), 0);
	print_message(
		"crashes %u, power cuts %u, cuts %u, QEMU kills %u, without \"%s\": %zu states, %zu steps%s%s%s\n",
		conf->n_crashes, conf->n_power_cuts, conf->n_cuts, conf->n_qemu_kills, mutation_name(conf->mutation),
		r->n_states, r->n_edges, r->two ? ", TWO RUN" : "", r->none ? ", NONE RUNS" : "",
		r->lost ? ", MEMORY LOST" : "");
}

static void sound(const struct model_conf *conf)
{
	static struct model_result r;

	run(conf, &r);
	if (r.two || r.none || r.lost)
		print_message("%s", r.trace);
	assert_false(r.two);
	assert_false(r.none);
	assert_false(r.lost);
	assert_true(r.n_good > 0);
	assert_true(r.reached_moved && r.reached_stayed);
}

static void no_fault(void **state)
{
	(void)state;
	sound(&(struct model_conf){0});
}

static void every_fault(void **state)
{
	const char *deep = getenv("MODEL_DEEP"); /* make model */

	(void)state;
	sound(&(struct model_conf){.n_crashes = 2, .n_cuts = 1, .n_qemu_kills = 1});
	sound(&(struct model_conf){.n_power_cuts = 2, .n_cuts = 1});
	sound(&(struct model_conf){.n_crashes = 1, .n_power_cuts = 1, .n_cuts = 1, .n_qemu_kills = 1});
	for (int i = 0; i < 2; i++) /* post-copy: the guest runs before the source may let go */
		sound(&(struct model_conf){.postcopy = true,
			.n_crashes = i ? 1 : 2,
			.n_power_cuts = (unsigned)i,
			.n_cuts = 1,
			.n_qemu_kills = 1});
	if (deep) {
		sound(&(struct model_conf){
			.postcopy = true, .n_crashes = 3, .n_power_cuts = 1, .n_cuts = 2, .n_qemu_kills = 1});
		sound(&(struct model_conf){.n_crashes = 3, .n_power_cuts = 1, .n_cuts = 2, .n_qemu_kills = 1});
		sound(&(struct model_conf){.n_crashes = 2, .n_power_cuts = 2, .n_cuts = 2, .n_qemu_kills = 1});
	}
}

/* A model that holds for anything proves nothing. */
static void each_rule_is_needed(void **state)
{
	static struct model_result r;

	(void)state;
	for (int mut = MUT_NONE + 1; mut < MUT_COUNT; mut++) {
		struct model_conf conf = {.mutation = mut,
			.n_crashes = 2,
			.n_power_cuts = 1,
			.n_cuts = 1,
			.n_qemu_kills = 1,
			.postcopy = mut == MUT_GONE_WHILE_PARTIAL || mut == MUT_REFUSE_PARTIAL};

		run(&conf, &r);
		assert_true(r.two || r.none || r.lost);
		assert_true(strlen(r.trace) > 0);
		if (mut == MUT_NO_QUERY)
			assert_true(r.none);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_fault),
		cmocka_unit_test(every_fault),
		cmocka_unit_test(each_rule_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
