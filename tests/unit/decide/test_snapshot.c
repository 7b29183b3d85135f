/* Reading snapshots and plans: what is refused and how it is said, what absent keys mean (the same as in conf's schema), and how a
 * plan reads. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/text.h"

#define SPEC                                                                                                           \
	"\"spec\": {\"name\": \"a\", \"uuid\": \"00000000-0000-4000-8000-000000000001\", \"vcpus\": {\"min\": 1, "     \
	"\"boot\": 1, \"max\": 1},"                                                                                    \
	"\"memory\": {\"min\": 134217728, \"boot\": 134217728, \"max\": 134217728}, \"disks\": [{\"volume\": \"v\"}]}"

static void test_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"[]", "must be an object"},
		{"{\"version\": 2}", "version 2"},
		{"{\"verson\": 1}", "snapshot: verson: unknown key"},
		{"{\"vcpus_total\": -1}", "vcpus_total: -1 is out of range"},
		{"{\"vcpus_total\": 4294967296}", "vcpus_total: 4294967296 is out of range"},
		{"{\"mem_total\": 1.5}", "mem_total: must be a whole number"},
		{"{\"host\": 1}", "host: must be a string"},
		{"{\"host\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
			"longer than 63"},
		{"{\"psi_cpu\": \"x\"}", "psi_cpu: must be a number"},
		{"{\"domains\": {}}", "domains: must be a list"},
		{"{\"domains\": [{}]}", "domains[0]: spec: is missing"},
		{"{\"domains\": [{" SPEC "}, {" SPEC ", \"state\": \"lost\"}]}",
			"domains[1]: state: \"lost\" is not known"},
		{"{\"domains\": [{" SPEC ", \"busy\": 1}]}", "busy: must be true or false"},
		{"{\"domains\": [{" SPEC ", \"policy\": {\"cpu\": {\"util\": 1}}}]}", "policy: cpu: util: unknown key"},
		{"{\"peers\": [{\"name\": 3}]}", "peers[0]: name: must be a string"},
		{"{\"decide\": {\"automation\": \"maybe\"}}", "decide: automation: \"maybe\" is not known"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *j = json_loads(rows[i].text, 0, NULL);
		struct snapshot s, before;
		struct err e = {0};

		assert_non_null(j);
		memset(&s, 0x5a, sizeof(s));
		before = s;
		assert_int_equal(snapshot_from_json(j, &s, &e), -EINVAL);
		assert_memory_equal(&s, &before, sizeof(s));
		if (!strstr(e.msg, rows[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, e.msg, rows[i].says);
		json_decref(j);
	}
}

/* Absent keys mean what the configuration's defaults mean. */
static void test_defaults(void **state)
{
	char path[] = "/tmp/ballast-defaults-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");
	json_t *j = json_loads("{\"domains\": [{" SPEC "}], \"peers\": [{}]}", 0, NULL);
	struct conf_mistakes m;
	struct conf *c = NULL;
	struct snapshot s;

	(void)state;
	assert_non_null(f);
	fputs("host = { name = \"a\"; }; policies = ( { name = \"p\"; cpu = { }; memory = { }; } );\n", f);
	fclose(f);
	assert_int_equal(conf_load(path, &c, &m), 0);
	unlink(path);
	assert_int_equal(snapshot_from_json(j, &s, NULL), 0);
	assert_int_equal(s.decide.automation, c->decide.automation);
	assert_int_equal(s.decide.interval_ms, c->decide.interval_ms);
	assert_int_equal(s.decide.sustain_samples, c->decide.sustain_samples);
	assert_int_equal(s.decide.sustain_window, c->decide.sustain_window);
	assert_int_equal(s.decide.dwell_s, c->decide.dwell_s);
	assert_int_equal(s.decide.cooldown_s, c->decide.cooldown_s);
	assert_int_equal(s.decide.boot_grace_s, c->decide.boot_grace_s);
	assert_int_equal(s.decide.move_after_s, c->decide.move_after_s);
	assert_int_equal(s.decide.return_after_s, c->decide.return_after_s);
	assert_int_equal(s.decide.moves_per_hour, c->decide.moves_per_hour);
	assert_int_equal(s.decide.bytes_per_hour, c->decide.bytes_per_hour);
	assert_int_equal(s.decide.blackout_per_hour_ms, c->decide.blackout_per_hour_ms);
	assert_int_equal(s.decide.domain_moves_per_hour, c->decide.domain_moves_per_hour);
	assert_int_equal(s.decide.domain_bytes_per_hour, c->decide.domain_bytes_per_hour);
	assert_int_equal(s.decide.domain_blackout_per_hour_ms, c->decide.domain_blackout_per_hour_ms);
	assert_int_equal(s.decide.max_moves, c->decide.max_moves);
	assert_int_equal(s.decide.power_off_below, c->decide.power_off_below);
	assert_true(s.decide.min_gain_ratio == c->decide.min_gain_ratio);
	assert_int_equal(s.max_blackout_ms, c->migration.max_blackout_ms);
	s.domains[0].policy.cpu.set = s.domains[0].policy.memory.set = true;
	assert_memory_equal(&s.domains[0].policy.cpu, &c->policies[0].cpu, sizeof(struct cpu_policy));
	assert_memory_equal(&s.domains[0].policy.memory, &c->policies[0].memory, sizeof(struct mem_policy));
	assert_true(s.domains[0].state == DOM_ACTIVE && s.domains[0].movable && s.domains[0].dirty_bps < 0 &&
		s.domains[0].util_fast < 0);
	assert_true(s.peers[0].up && s.peers[0].accepts && s.peers[0].cpu_util < 0);
	snapshot_fini(&s);
	conf_free(c);
	json_decref(j);
}

static void test_plan_refused(void **state)
{
	static const char *const rows[] = {"[]", "{\"actions\": [{\"kind\": \"dance\"}]}",
		"{\"notes\": [{\"txt\": \"\"}]}", "{\"candidates\": 3}"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		json_t *j = json_loads(rows[i], 0, NULL);
		struct plan p;
		struct err e = {0};

		assert_int_equal(plan_from_json(j, &p, &e), -EINVAL);
		assert_int_equal(strncmp(e.msg, "plan: ", 6), 0);
		json_decref(j);
	}
}

/* Only what is about the domain that was asked for; web1 is not web10. */
static void test_text(void **state)
{
	struct action actions[] = {{.kind = ACT_SET_VCPUS,
					   .domain = "batch1",
					   .for_domain = "web10",
					   .vcpus = 1,
					   .after = -1,
					   .why = "gives"},
		{.kind = ACT_SET_VCPUS,
			.domain = "web10",
			.for_domain = "web10",
			.vcpus = 3,
			.after = 0,
			.why = "needs 1 vcpu more"}};
	struct candidate candidates[] = {
		{.need = "web10", .text = "in place: batch1 gives 1 vcpu", .gain = 2, .why = "importance 10"},
		{.need = "web10", .text = "move db1", .verdict = CAND_NOT_ALLOWED, .why = "is held"}};
	struct note notes[] = {{"web1", "stays: all is well"}};
	struct plan p = {actions, 2, candidates, 2, notes, 1};
	static const char about_web10[] =
		"14:02:10  web10 needs 1 vcpu more\n"
		"   1  in place: batch1 gives 1 vcpu  gain 2      price 0      <- chosen: importance 10\n"
		"   2  move db1                       -                        not allowed: is held\n"
		"1. batch1 -> 1 vcpu\n   batch1 gives\n"
		"2. web10 -> 3 vcpus  (after 1)\n   web10 needs 1 vcpu more\n";
	char *text;

	(void)state;
	text = plan_text(&p, "web10", "14:02:10");
	assert_string_equal(text, about_web10);
	free(text);
	text = plan_text(&p, "web1", "");
	assert_string_equal(text, "web1 stays: all is well\n");
	free(text);
	text = plan_text(&p, "db1", "");
	assert_non_null(strstr(text, "move db1"));
	assert_null(strstr(text, "-> 3 vcpus"));
	free(text);
	p.n_actions = p.n_candidates = 0;
	text = plan_text(&p, NULL, "");
	assert_string_equal(text, "nothing to do\nweb1 stays: all is well\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_plan_refused), cmocka_unit_test(test_text)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
