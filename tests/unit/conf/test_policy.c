/* policy_for: matching, windows over midnight, priority, groups merged one by one, and that the file's order plays no part. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

#define AT(minute, day) (&(const struct policy_when){"alpha", 0, minute, day})

static struct policy make(const char *name, unsigned priority)
{
	struct policy p = {
		.enable = true, .priority = priority, .days = 0x7f, .importance = CONF_UNSET, .quiet_ms = CONF_UNSET};

	snprintf(p.name, sizeof(p.name), "%s", name);
	return p;
}

static struct domain_spec domain(const char *name, const char *tag, const char *cluster)
{
	struct domain_spec s;

	spec_init(&s);
	snprintf(s.name, sizeof(s.name), "%s", name);
	snprintf(s.cluster, sizeof(s.cluster), "%s", cluster);
	if (tag)
		snprintf(s.tags[s.n_tags++], NAME_MAX_LEN, "%s", tag);
	return s;
}

static void test_nothing(void **state)
{
	struct domain_spec s = domain("a", NULL, "");
	struct policy_effective e;

	(void)state;
	policy_for(NULL, 0, &s, AT(0, 0), &e);
	assert_false(e.cpu.set || e.memory.set);
	assert_int_equal(e.relocate, RELOCATE_LIVE);
	assert_int_equal(e.importance, 50);
	assert_string_equal(e.cpu_from, "");
	s.importance = 3;
	policy_for(NULL, 0, &s, AT(0, 0), &e);
	assert_int_equal(e.importance, 3);
}

static void test_match(void **state)
{
	struct domain_spec web = domain("web1", "web", ""), db = domain("db3", "db", "orders");
	struct policy p = make("p", 1);
	struct policy_effective e;

	(void)state;
	p.importance = 9;
	p.n_tags = 2;
	strcpy(p.tags[0], "www");
	strcpy(p.tags[1], "web");
	policy_for(&p, 1, &web, AT(0, 0), &e);
	assert_int_equal(e.importance, 9);
	policy_for(&p, 1, &db, AT(0, 0), &e);
	assert_int_equal(e.importance, 50);
	strcpy(p.domain_glob, "web[2-9]"); /* all that is given must hold */
	policy_for(&p, 1, &web, AT(0, 0), &e);
	assert_int_equal(e.importance, 50);
	p.n_tags = 0;
	strcpy(p.domain_glob, "db*");
	strcpy(p.cluster, "orders");
	policy_for(&p, 1, &db, AT(0, 0), &e);
	assert_int_equal(e.importance, 9);
	strcpy(p.cluster, "others");
	policy_for(&p, 1, &db, AT(0, 0), &e);
	assert_int_equal(e.importance, 50);
	p.cluster[0] = '\0';
	p.enable = false;
	policy_for(&p, 1, &db, AT(0, 0), &e);
	assert_int_equal(e.importance, 50);
}

static bool holds(const struct policy *p, unsigned day, unsigned minute)
{
	struct domain_spec s = domain("a", NULL, "");
	struct policy_effective e;

	policy_for(p, 1, &s, AT(minute, day), &e);
	return e.importance == 9;
}

static void test_window(void **state)
{
	struct policy p = make("p", 1);

	(void)state;
	p.importance = 9;
	p.days = 0x1f;
	assert_true(holds(&p, 4, 1439)); /* no window: whole days */
	assert_false(holds(&p, 5, 0));
	p.tod_begin_min = 480;
	p.tod_end_min = 1200;
	assert_false(holds(&p, 0, 479));
	assert_true(holds(&p, 0, 480));
	assert_true(holds(&p, 0, 1199));
	assert_false(holds(&p, 0, 1200));
	assert_false(holds(&p, 6, 600));
	p.tod_begin_min = 1320; /* 22:00 to 06:00, Friday's goes into Saturday, Sunday's never begins */
	p.tod_end_min = 360;
	assert_true(holds(&p, 4, 1320));
	assert_true(holds(&p, 5, 359));
	assert_false(holds(&p, 5, 360));
	assert_false(holds(&p, 5, 1400));
	assert_false(holds(&p, 0, 100)); /* Monday early belongs to Sunday's window */
	assert_true(holds(&p, 1, 100));
	p.tod_end_min = 0; /* to midnight */
	assert_true(holds(&p, 0, 1439));
	assert_false(holds(&p, 1, 0));
}

/* The window goes by the policy's own local time, and the calendar's shift says by how much that is ahead. */
static void test_zone(void **state)
{
	struct domain_spec s = domain("a", NULL, "");
	struct policy p = make("p", 1);
	/* 2026-07-06 is a Monday; 21:30 in UTC is 23:30 in Berlin, and 06:30 of Tuesday in Tokyo; the host is in New York, 17:30 */
	struct policy_when w = {"alpha", 1783373400, 17 * 60 + 30, 0};
	struct policy_effective e;

	(void)state;
	p.importance = 9;
	p.n_windows = 1;
	p.tod_begin_min = 23 * 60;
	p.tod_end_min = 24 * 60 - 1;
	p.days = 1;
	assert_false(policy_open(&p, &w));
	snprintf(p.zone.name, sizeof(p.zone.name), "Europe/Berlin");
	assert_int_equal(zone_rule("CET-1CEST,M3.5.0,M10.5.0/3", &p.zone), 0);
	assert_true(policy_open(&p, &w));
	policy_for(&p, 1, &s, &w, &e);
	assert_int_equal(e.windows_shift_min, 6 * 60);
	w.now_s += 1800; /* midnight there */
	w.minute_of_day += 30;
	assert_false(policy_open(&p, &w));
	w.now_s -= 180 * 86400; /* in winter it is an hour less: Wednesday, 22:00 in UTC, 23:00 in Berlin */
	w.weekday = 2;
	w.minute_of_day = 17 * 60;
	p.days = 4;
	assert_true(policy_open(&p, &w));
	w.now_s -= 60;
	w.minute_of_day--;
	assert_false(policy_open(&p, &w));
	assert_int_equal(zone_rule("JST-9", &p.zone), 0); /* over midnight, and over the week's end */
	p.zone.saves = false;
	w = (struct policy_when){
		"alpha", 1783373400 - 86400, 17 * 60 + 30, 6}; /* Sunday in New York, Monday 06:30 in Tokyo */
	p.days = 1;
	p.tod_begin_min = 6 * 60;
	p.tod_end_min = 7 * 60;
	assert_true(policy_open(&p, &w));
	policy_for(&p, 1, &s, &w, &e);
	assert_int_equal(e.windows_shift_min, 13 * 60);
}

static void test_hosts(void **state)
{
	struct domain_spec s = domain("a", NULL, "");
	struct policy p = make("p", 1);
	struct policy_effective e;

	(void)state;
	p.importance = 9;
	strcpy(p.hosts[p.n_hosts++], "beta");
	policy_for(&p, 1, &s, AT(0, 0), &e);
	assert_int_equal(e.importance, 50);
	strcpy(p.hosts[p.n_hosts++], "alpha");
	policy_for(&p, 1, &s, AT(0, 0), &e);
	assert_int_equal(e.importance, 9);
	assert_false(policy_matches(&p, &s, NULL));
}

static void test_merge_and_order(void **state)
{
	struct domain_spec s = domain("web1", "web", "");
	struct policy p[5] = {make("e", 50), make("d", 10), make("c", 10), make("b", 20), make("a", 99)};
	struct policy_effective want, e;

	(void)state;
	p[0].cpu = (struct cpu_policy){.set = true, .util_upper = 50};
	p[1].cpu = (struct cpu_policy){.set = true, .util_upper = 10};
	p[2].memory = (struct mem_policy){.set = true, .free_lower = 10};
	p[3].relocate = RELOCATE_COLD;
	p[4].relocate = RELOCATE_NEVER;
	p[4].importance = 80;
	p[3].importance = 20;
	p[4].quiet_ms = 60000;
	p[3].quiet_ms = 0; /* said, and goes before what comes later */
	p[4].postcopy = POSTCOPY_ALLOW;
	policy_for(p, 5, &s, AT(0, 0), &want);
	assert_int_equal(want.cpu.util_upper, 10);
	assert_string_equal(want.cpu_from, "d");
	assert_int_equal(want.memory.free_lower, 10);
	assert_string_equal(want.memory_from, "c");
	assert_int_equal(want.relocate, RELOCATE_COLD);
	assert_string_equal(want.relocate_from, "b");
	assert_int_equal(want.importance, 20);
	assert_int_equal(want.quiet_ms, 0);
	assert_int_equal(want.postcopy, POSTCOPY_ALLOW);
	srandom(1);
	for (unsigned i = 0; i < 500; i++) {
		unsigned x = (unsigned)random() % 5, y = (unsigned)random() % 5;
		struct policy t = p[x];

		p[x] = p[y];
		p[y] = t;
		policy_for(p, 5, &s, AT(0, 0), &e);
		assert_memory_equal(&e, &want, sizeof(e));
	}
	s.importance = 0; /* the domain's own goes first, 0 too */
	policy_for(p, 5, &s, AT(0, 0), &e);
	assert_int_equal(e.importance, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing), cmocka_unit_test(test_match),
		cmocka_unit_test(test_window), cmocka_unit_test(test_zone), cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_merge_and_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
