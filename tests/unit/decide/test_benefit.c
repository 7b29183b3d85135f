/* Predicted and actual benefit: what a plan is to bring, when it is looked at, and how cautious outcomes make. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "policyd/decide/benefit.h"

#define CASES "tests/unit/decide/cases/"
#define MIN_MS 60000LL

static void near(double is, double want)
{
	if (is < want - 0.005 || is > want + 0.005)
		fail_msg("%g, not %g", is, want);
}

static void test_predict(void **state)
{
	/* web1 at 95 % of 80: severity 0.75; shares of what it wants that are missing */
	static const struct {
		const char *name, *domain;
		double before, predicted; /* before 0: nothing is done for it */
	} rows[] = {
		{"cpu-free", "web1", 0.25, 0},           /* 2 of 3 */
		{"cpu-donor", "web1", 0.375, 0},         /* 1 of 2, a donor gives it */
		{"move-and-in-place", "web1", 0.5, 0},   /* 2 of 4: one in place, one by a move */
		{"choice-meets-not", "web1", 0.5, 0.25}, /* half of it */
		{"way-cold", "web1", 0.375, 0}, {"cpu-donor-held", "web1", 0, 0}, {"steady", "web1", 0, 0},
		{"leave-one", "w2", 0, 0}, /* leaves, but for no need */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct benefit b = {0};
		struct snapshot s;
		struct plan pl;
		char path[256];
		json_t *body;
		bool any;

		snprintf(path, sizeof(path), CASES "%s.json", rows[i].name);
		body = json_load_file(path, 0, NULL);
		assert_int_equal(snapshot_from_json(json_object_get(body, "snapshot"), &s, NULL), 0);
		assert_int_equal(decide(&s, &pl), 0);
		any = benefit_predict(&s, &pl, rows[i].domain, &b);
		if (any != (rows[i].before > 0))
			fail_msg("%s: %d", rows[i].name, any);
		if (any &&
			(b.before < rows[i].before - 0.005 || b.before > rows[i].before + 0.005 ||
				b.predicted < rows[i].predicted - 0.005 || b.predicted > rows[i].predicted + 0.005))
			fail_msg("%s: %g -> %g", rows[i].name, b.before, b.predicted);
		plan_fini(&pl);
		snapshot_fini(&s);
		json_decref(body);
	}
}

static void test_due(void **state)
{
	struct benefit b = {.t_ms = 1000, .after = {-1, -1}};

	(void)state;
	assert_int_equal(benefit_due(&b, 1000 + 15 * MIN_MS - 1), BENEFIT_LOOKS);
	assert_int_equal(benefit_due(&b, 1000 + 15 * MIN_MS), 0);
	assert_int_equal(benefit_due(&b, 1000 + 25 * MIN_MS), BENEFIT_LOOKS); /* missed: policyd was away */
	assert_int_equal(benefit_due(&b, 1000 + 60 * MIN_MS), 1);
	b.after[0] = 0;
	assert_int_equal(benefit_due(&b, 1000 + 15 * MIN_MS), BENEFIT_LOOKS); /* once */
}

static void add(struct benefits *b, double before, double predicted, double after15, double after60)
{
	benefits_add(b, &(struct benefit){.before = before, .predicted = predicted, .after = {after15, after60}});
}

static void test_caution(void **state)
{
	struct benefits b = {.n = 0};

	(void)state;
	near(benefits_caution(&b), 1);
	add(&b, 0.5, 0, -1, -1); /* not looked at: says nothing */
	near(benefits_caution(&b), 1);
	add(&b, 0.5, 0, 0.5, -1); /* nothing came: one odd outcome among two imagined right ones */
	near(benefits_caution(&b), 1);
	add(&b, 0.5, 0, 0.4, -1); /* a fifth */
	near(benefits_caution(&b), 0.6);
	add(&b, 0.5, 0, 0, 0.4); /* the later look counts */
	near(benefits_caution(&b), 0.2 > BENEFIT_CAUTION_MIN ? 0.2 : BENEFIT_CAUTION_MIN);
	for (unsigned i = 0; i < 16; i++) /* good ones since: all forgotten */
		add(&b, 0.4, 0.2, 0.2, 0);
	near(benefits_caution(&b), 1);
	for (unsigned i = 0; i < 2 * BENEFIT_MAX; i++)
		add(&b, 0.4, 0.2, 0.6, -1); /* worse than before: none, not less than none */
	assert_int_equal(b.n, BENEFIT_MAX);
	near(benefits_caution(&b), BENEFIT_CAUTION_MIN);
}

static void test_json(void **state)
{
	struct benefit b = {.t_ms = 5, .before = 0.5, .predicted = 0.1, .after = {0.2, -1}}, back = {.decision = 7};
	json_t *j = benefit_to_json(&b), *bad;

	(void)state;
	assert_int_equal(benefit_from_json(j, &back), 0);
	assert_int_equal(back.decision, 7);
	near(back.before, 0.5);
	near(back.after[0], 0.2);
	near(back.after[1], -1);
	json_decref(j);
	bad = json_pack("{s:I, s:f}", "t", (json_int_t)1, "before", 1.0);
	assert_true(benefit_from_json(bad, &back) < 0);
	near(back.before, 0.5);
	json_decref(bad);
	assert_true(benefit_from_json(NULL, &back) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_predict), cmocka_unit_test(test_due),
		cmocka_unit_test(test_caution), cmocka_unit_test(test_json)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
