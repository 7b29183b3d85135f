/* What if: what each statement changes, what is refused and how it is said; another policy for a recorded snapshot. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/whatif.h"

/* One busy domain on a full host; its only peer is full, too. */
static struct snapshot tight(void)
{
	json_error_t je;
	json_t *body = json_load_file("tests/unit/decide/cases/calm-old-enough.json", 0, &je);
	struct snapshot s;
	struct err e = {0};

	assert_non_null(body);
	if (snapshot_from_json(json_object_get(body, "snapshot"), &s, &e))
		fail_msg("%s", e.msg);
	json_decref(body);
	s.peers[0].vcpus_given = s.peers[0].vcpus_total;
	return s;
}

static void decided(const struct snapshot *s, char out[256])
{
	struct plan p;

	assert_int_equal(decide(s, &p), 0);
	snprintf(out, 256, "nothing");
	if (p.n_actions)
		snprintf(out, 256, "%s %s %s", p.actions[0].domain, action_kind_name(p.actions[0].kind),
			p.actions[0].target);
	plan_fini(&p);
}

static void test_statements(void **state)
{
	static const struct {
		const char *what, *plan;
	} rows[] = {{"", "nothing"}, {"add-host gamma", "nothing"}, {"add-host gamma vcpus=2", "web1 live-move gamma"},
		{"add-host gamma vcpus=1", "nothing"}, {"add-host gamma memory=512M", "nothing"},
		{"add-host gamma vcpus=4 memory=8G; fail-host gamma", "nothing"},
		{"add-host gamma vcpus=4; remove-host gamma", "nothing"}, {"domain web1 load=10", "nothing"},
		{" add-host gamma vcpus=4 ;; domain web1 load=99% ", "web1 live-move gamma"},
		{"add-host gamma vcpus=4 memory=8G; domain web1 load=50 available=2", "web1 live-move gamma"}};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snapshot s = tight();
		struct err e = {0};
		char plan[256];

		if (whatif_apply(&s, rows[i].what, &e))
			fail_msg("%s: %s", rows[i].what, e.msg);
		decided(&s, plan);
		if (strcmp(plan, rows[i].plan) != 0)
			fail_msg("%s: %s, not %s", rows[i].what, plan, rows[i].plan);
		snapshot_fini(&s);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *what, *says;
	} rows[] = {{"dance", "\"dance\" is not known"}, {"add-host", "needs a name"},
		{"add-host beta", "is there already"}, {"add-host alpha", "is there already"},
		{"add-host g vcpu=3", "\"vcpu=3\" is not known"}, {"add-host g vcpus=many", "must be a number"},
		{"add-host g memory=big", "must be a size"}, {"remove-host gamma", "no host \"gamma\""},
		{"fail-host gamma", "no host \"gamma\""}, {"domain web9 load=3", "no domain \"web9\""},
		{"domain web1", "say load=PERCENT"}, {"domain web1 load=101", "from 0 to 100"},
		{"domain web1 a b c d e f g", "one word too many"}};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snapshot s = tight();
		struct err e = {0};

		assert_true(whatif_apply(&s, rows[i].what, &e) < 0);
		if (!strstr(e.msg, rows[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].what, e.msg, rows[i].says);
		snapshot_fini(&s);
	}
}

/* The same load under another file: bounds, company and hosts as it says. */
static void test_policy(void **state)
{
	static const struct {
		const char *text, *plan;
	} rows[] = {
		{"policies = ( { name = \"p\"; cpu = { util-upper = 80; util-lower = 30; }; } );",
			"web1 live-move gamma"},
		{"policies = ( { name = \"p\"; cpu = { util-upper = 96; util-lower = 30; }; } );", "nothing"},
		{"policies = ();", "nothing"},
		{"host = { name = \"x\"; }; paths = { run = \"/nowhere/at/all\"; }; policies = ( { name = \"p\"; cpu = { util-upper = 80; util-lower = "
		 "30; }; } );",
			"web1 live-move gamma"}, /* a whole host file */
		{"decide = { exclude-hosts = [ \"gamma\" ]; }; policies = ( { name = \"p\"; cpu = { util-upper = 80; util-lower = 30; }; } );",
			"nothing"},
		{"policies = ( { name = \"p\"; cpu = { util-upper = 80; util-lower = 30; }; } ); rules = ( { name = \"r\"; match = { domain = "
		 "\"web*\"; }; keep = \"on\"; hosts = [ \"alpha\" ]; } );",
			"nothing"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct snapshot s = tight();
		struct conf_mistakes m;
		struct conf *c = NULL;
		struct err e = {0};
		char plan[256];

		if (conf_parse_policy(rows[i].text, "text", &c, &m))
			fail_msg("%s: %s", rows[i].text, m.v[0]);
		assert_int_equal(whatif_apply(&s, "add-host gamma vcpus=8 memory=64G", &e), 0);
		assert_int_equal(whatif_policy(&s, c, &e), 0);
		decided(&s, plan);
		if (strcmp(plan, rows[i].plan) != 0)
			fail_msg("%s: %s, not %s", rows[i].text, plan, rows[i].plan);
		conf_free(c);
		snapshot_fini(&s);
	}
}

static void test_policy_mistakes(void **state)
{
	struct conf_mistakes m;
	struct conf *c = NULL;

	(void)state;
	assert_int_equal(
		conf_parse_policy("policies = ( { name = \"p\"; cpu = { util-upper = 20; }; } );", "text", &c, &m),
		-EINVAL);
	assert_non_null(strstr(m.v[0], "util-upper"));
	assert_null(c);
	conf_mistakes_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_statements), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_policy), cmocka_unit_test(test_policy_mistakes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
