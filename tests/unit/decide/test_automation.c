/* How far actions go by themselves: the policy's word before decide.automation, and the strictest among all that serve one need. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/automation.h"
#include "tests/unit/support/decide_rig.h"

/* web1 is in need and batch1 gives: one need, two actions; db1, in need too, gets what is free. */
static void fill(struct snapshot *s)
{
	static const char *const names[] = {"batch1", "db1", "web1"};

	snapshot_init(s);
	s->now_ms = RIG_NOW;
	snprintf(s->host, sizeof(s->host), "alpha");
	s->vcpus_total = 9;
	s->mem_total = 64ULL << 30;
	s->domains = calloc(3, sizeof(*s->domains));
	s->n_domains = 3;
	for (unsigned i = 0; i < 3; i++) {
		struct snap_domain *d = &s->domains[i];

		snap_domain_init(d);
		snprintf(d->spec.name, sizeof(d->spec.name), "%s", names[i]);
		d->spec.vcpus_max = 8;
		d->vcpus = i ? 2 : 4;
		d->spec.mem_max = d->mem_bytes = 1ULL << 30;
		d->policy.importance = i ? 50 + i : 10;
		d->policy.cpu = (struct cpu_policy){.set = i > 0,
			.util_lower = 20,
			.util_upper = 80,
			.vcpu_max = 8,
			.attack = 1,
			.elastic_margin = 5};
		rig_measure(d, i ? 2 : 0.1, 500 * MIB);
	}
}

static void levels(
	struct snapshot *s, enum automation of_batch, enum automation of_db, enum automation of_web, char out[256])
{
	static const char letters[] = "fcm";
	struct plan p;

	s->domains[0].policy.automation = of_batch;
	s->domains[1].policy.automation = of_db;
	s->domains[2].policy.automation = of_web;
	assert_int_equal(decide(s, &p), 0);
	out[0] = 0;
	for (unsigned i = 0; i < p.n_actions; i++)
		snprintf(out + strlen(out), 256 - strlen(out), "%s=%c ", p.actions[i].domain,
			letters[automation_level(s, &p, i)]);
	plan_fini(&p);
}

static void test_levels(void **state)
{
	struct snapshot s;
	char got[256];

	(void)state;
	fill(&s);
	levels(&s, AUTO_UNSET, AUTO_UNSET, AUTO_UNSET, got);
	assert_string_equal(got, "web1=f batch1=f db1=f ");
	s.decide.automation = AUTO_CONFIRM;
	levels(&s, AUTO_UNSET, AUTO_UNSET, AUTO_UNSET, got);
	assert_string_equal(got, "web1=c batch1=c db1=c ");
	levels(&s, AUTO_UNSET, AUTO_UNSET, AUTO_FULL, got); /* the policy's word goes before the host's */
	assert_string_equal(got, "web1=f batch1=c db1=c ");
	s.decide.automation = AUTO_FULL;
	levels(&s, AUTO_MANUAL, AUTO_CONFIRM, AUTO_UNSET, got); /* what gives is of the need that it serves: db1's */
	assert_string_equal(got, "web1=f batch1=m db1=m ");
	levels(&s, AUTO_FULL, AUTO_CONFIRM, AUTO_UNSET, got);
	assert_string_equal(got, "web1=f batch1=c db1=c ");
	snapshot_fini(&s);
}

static void test_parts(void **state)
{
	struct plan p, part;
	struct snapshot s;

	(void)state;
	fill(&s);
	s.domains[1].policy.automation = AUTO_CONFIRM;
	snprintf(s.domains[1].policy.automation_from, CONF_NAME, "careful");
	assert_int_equal(decide(&s, &p), 0);
	assert_int_equal(p.n_actions, 3);
	assert_null(strstr(p.actions[0].why, "approval"));
	assert_non_null(strstr(p.actions[1].why, "waits for approval, by policy careful"));
	assert_non_null(strstr(p.actions[2].why, "waits for approval, by policy careful"));
	assert_int_equal(automation_part(&s, &p, 1u << AUTO_FULL, &part), 0);
	assert_int_equal(part.n_actions, 1);
	assert_string_equal(part.actions[0].domain, "web1");
	plan_fini(&part);
	assert_int_equal(automation_part(&s, &p, 1u << AUTO_CONFIRM, &part), 0);
	assert_int_equal(part.n_actions, 2);
	assert_string_equal(part.actions[0].domain, "batch1");
	assert_int_equal(part.actions[0].after, -1);
	assert_int_equal(part.actions[1].after, 0); /* free first, then give: by the new numbers */
	plan_fini(&part);
	assert_int_equal(automation_part(&s, &p, 1u << AUTO_MANUAL, &part), 0);
	assert_int_equal(part.n_actions, 0);
	plan_fini(&part);
	plan_fini(&p);
	snapshot_fini(&s);
}

/* Of random plans: the parts are the whole, and nothing follows what is in another part. */
static void test_random(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 300; k++) {
		struct snapshot s;
		struct plan p, part;
		unsigned n = 0;

		rig_seed(k + 1);
		rig_snapshot(&s, 1 + rig_rnd(20), rig_rnd(3));
		s.decide.automation = rig_rnd(3);
		for (unsigned i = 0; i < s.n_domains; i++)
			s.domains[i].policy.automation = rig_rnd(4);
		assert_int_equal(decide(&s, &p), 0);
		for (unsigned level = AUTO_FULL; level <= AUTO_MANUAL; level++) {
			assert_int_equal(automation_part(&s, &p, 1u << level, &part), 0);
			for (unsigned i = 0; i < part.n_actions; i++)
				assert_true(part.actions[i].after < (int)i);
			n += part.n_actions;
			plan_fini(&part);
		}
		assert_int_equal(n, p.n_actions);
		for (unsigned i = 0; i < p.n_actions; i++)
			if (p.actions[i].after >= 0)
				assert_int_equal(automation_level(&s, &p, i),
					automation_level(&s, &p, (unsigned)p.actions[i].after));
		plan_fini(&p);
		snapshot_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels), cmocka_unit_test(test_parts), cmocka_unit_test(test_random)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
