/* The cheapest change that would allow it (decide/allow.c): snapshots of the decide tables, and what is said of them; and that what is said is true. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/allow.h"

#define CASES "tests/unit/decide/cases/"

static void load(const char *name, struct snapshot *out)
{
	char path[256];
	json_t *body;
	struct err e = {0};

	snprintf(path, sizeof(path), CASES "%s.json", name);
	body = json_load_file(path, 0, NULL);
	assert_non_null(body);
	assert_int_equal(snapshot_from_json(json_object_get(body, "snapshot"), out, &e), 0);
	json_decref(body);
}

static const struct {
	const char *name, *domain, *says; /* NULL: nothing is to be said; "": no single change */
} rows[] = {
	/* time by itself */
	{"calm-young", "web1",
		"it will be helped by itself within 60 s, if all else stays as it is: web1 moves live to beta"},
	{"calm-return", "web1", "it will be helped by itself within 6 h"},
	{"cpu-donor-dwells", "web1", "it will be helped by itself within "},
	{"calm-boot", "web1", "it will be helped by itself within 60 s"},
	{"calendar-day", "web1", "it will be helped by itself within 12 h"},
	/* an operator's word */
	{"cpu-donor-held", "web1",
		"it would be helped if b1 were released from its hold (policyctl release b1): b1 4 -> 3 vcpus"},
	{"cpu-need-held", "web1", "web1 were released"},
	{"pin", "web1", "it would be helped if web1 were not pinned (policyctl unpin web1): web1 moves live to beta"},
	/* limits */
	{"move-limit-now", "web1", "decide.max-moves were at least 2: web1 moves live to beta"},
	{"move-limit-hour", "web1", "decide.moves-per-hour were at least 13"},
	{"budget-blackout", "web1", "the hour's budgets of bytes and blackout were higher"},
	{"way-live-not", "web1", "migration.max-blackout were "},
	{"way-nothing", "web1", "decide.min-gain-ratio were "},
	{"move-too-dear", "web1", "policy \"std\" let web1 be moved live (relocate)"},
	/* other hosts */
	{"rule-exclude", "web1", "beta were not excluded (decide.exclude-hosts)"},
	{"move-no-room-itself", "web1", "beta had 1 vcpu and 4.0G free (it has 12 and 1.0G): web1 moves live to beta"},
	/* policies and definitions */
	{"cpu-ceiling-domain", "web1", "its limit were more than 4 vcpus (vcpus.max, vcpu-max): web1 4 -> 5 vcpus"},
	{"cpu-ceiling-policy", "web1", "its limit were more than 2 vcpus"},
	{"cpu-donor-floor", "web1", "the minimum of b1 were 1 vcpu (vcpus.min, vcpu-min): b1 2 -> 1 vcpu"},
	{"cpu-donor-refused", "web1", "it will be helped by itself within 60 s"},
	/* nobody needs to be told */
	{"cpu-free", "web1", NULL},
	{"steady", "web1", NULL},
	{"move-batch", "web1", NULL},
	/* nothing that is known here helps */
	{"move-no-peer", "web1", ""},
};

static void test_rows(void **state)
{
	char text[ALLOW_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snapshot s;
		struct plan pl;
		bool wanted, found;

		load(rows[i].name, &s);
		assert_int_equal(decide(&s, &pl), 0);
		wanted = allow_wanted(&s, &pl, rows[i].domain);
		if (wanted != (rows[i].says != NULL))
			fail_msg("%s: %s is %swanted to be told", rows[i].name, rows[i].domain, wanted ? "" : "not ");
		found = wanted && allow_find(&s, &pl, rows[i].domain, text);
		if (wanted && found != (rows[i].says[0] != 0))
			fail_msg("%s: says \"%s\"", rows[i].name, found ? text : "nothing");
		if (found && !strstr(text, rows[i].says))
			fail_msg("%s: says \"%s\", not \"%s\"", rows[i].name, text, rows[i].says);
		plan_fini(&pl);
		snapshot_fini(&s);
	}
}

/* A pin and a hold that are taken away do what was said of them, and the snapshot that was asked about is as it was. */
static void test_true(void **state)
{
	char text[ALLOW_TEXT];
	struct plan pl, after;
	struct snapshot s;
	json_t *before, *now;

	(void)state;
	load("pin", &s);
	before = snapshot_to_json(&s);
	assert_int_equal(decide(&s, &pl), 0);
	assert_int_equal(pl.n_actions, 0);
	assert_true(allow_find(&s, &pl, "web1", text));
	now = snapshot_to_json(&s);
	assert_true(json_equal(before, now));
	s.domains[0].pinned = false;
	assert_int_equal(decide(&s, &after), 0);
	assert_int_equal(after.n_actions, 1);
	assert_string_equal(after.actions[0].target, "beta");
	assert_false(allow_find(&s, &after, "nobody", text));
	plan_fini(&pl);
	plan_fini(&after);
	json_decref(before);
	json_decref(now);
	snapshot_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_true)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
