/* Which host could be switched off, which is wanted on, and what speaks against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/decide/power.h"
#include "tests/unit/support/decide_rig.h"

static struct snapshot s;
static struct power_advice advice; /* expect's */

static void a_peer(struct snap_peer *p, const char *name, uint64_t mem_given, double cpu)
{
	snap_peer_init(p);
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->up = p->accepts = true;
	p->vcpus_total = 8;
	p->vcpus_given = 2;
	p->mem_total = 4096 * MIB;
	p->mem_given = mem_given;
	p->cpu_util = cpu;
}

/* alpha runs one idle domain of 256 MiB; beta and gamma have more, and room. */
static int setup(void **state)
{
	struct snap_domain *d;

	(void)state;
	snapshot_init(&s);
	snprintf(s.host, sizeof(s.host), "alpha");
	s.now_ms = RIG_NOW;
	s.vcpus_total = 8;
	s.mem_total = 4096 * MIB;
	s.host_cpu_util = 10;
	s.decide.power_off_below = 60;
	s.decide.power_rest_ms = 3600000;
	s.decide.max_moves = 1;
	s.max_blackout_ms = 300;
	s.domains = calloc(1, sizeof(*s.domains));
	s.peers = calloc(2, sizeof(*s.peers));
	s.n_domains = 1;
	s.n_peers = 2;
	d = s.domains;
	snap_domain_init(d);
	snprintf(d->spec.name, sizeof(d->spec.name), "web1");
	d->spec.vcpus_min = d->spec.vcpus_boot = d->spec.vcpus_max = d->vcpus = 1;
	d->spec.mem_min = d->spec.mem_boot = d->spec.mem_max = d->mem_bytes = d->resident_bytes = 256 * MIB;
	d->util_fast = d->util_slow = 5;
	s.vcpus_given = 1;
	s.mem_given = 256 * MIB;
	a_peer(&s.peers[0], "beta", 1024 * MIB, 20);
	a_peer(&s.peers[1], "gamma", 1024 * MIB, 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	snapshot_fini(&s);
	return 0;
}

static void expect(enum power want, const char *part)
{
	struct plan p;

	assert_int_equal(decide(&s, &p), 0);
	assert_int_equal(power_advise(&s, &p, &advice), 0);
	if (advice.what != want || !strstr(advice.text, part) || (!*part && *advice.text))
		fail_msg("%d, not %d: \"%s\" (\"%s\" was expected)", (int)advice.what, (int)want, advice.text, part);
	plan_fini(&p);
}

static void test_off(void **state)
{
	(void)state;
	expect(POWER_OFF, "alpha could be emptied and switched off: 1 domain leaves");
	/* 10 + 20 + 20 % of 8 each on 16; 256 + 2048 of 8192 MiB */
	expect(POWER_OFF, "use 25 % of their CPU and 28 % of their memory: policyctl evacuate alpha");
	s.domains->state = DOM_INACTIVE;
	s.mem_given = s.vcpus_given = 0;
	expect(POWER_OFF, "alpha runs nothing and could be switched off");
	assert_string_equal(advice.stays, "web1"); /* it could not be started while its host is off */
	expect(POWER_OFF, "web1, which does not run, would be out of reach");
	s.decide.power_off_below = 0;
	expect(POWER_KEEP, "");
}

static void test_stays(void **state)
{
	(void)state;
	s.decide.power_off_below = 27;
	expect(POWER_KEEP, "28 % of their memory; decide.power-off-below is 27");
	s.decide.power_off_below = 28;
	expect(POWER_KEEP, "decide.power-off-below is 28"); /* 28.1 */
	s.decide.power_off_below = 60;
	s.peers[0].cpu_util = s.peers[1].cpu_util = 60;
	expect(POWER_KEEP, "65 % of their CPU");
	s.peers[0].cpu_util = s.peers[1].cpu_util = 20;
	s.domains->pinned = true;
	snprintf(s.domains->pin_reason, sizeof(s.domains->pin_reason), "licence");
	expect(POWER_KEEP, "web1 does not leave: ");
	expect(POWER_KEEP, "licence");
	s.domains->pinned = false;
	s.domains->moves_last_hour = 1;
	expect(POWER_KEEP, "web1 has not been at rest");
	s.domains->moves_last_hour = 0;
	s.domains->arrived_ms = RIG_NOW - 3599999;
	expect(POWER_KEEP, "web1 has not been at rest");
	s.domains->arrived_ms = RIG_NOW - 3600000;
	expect(POWER_OFF, "alpha could be emptied");
	s.domains->started_ms = RIG_NOW - 60000;
	expect(POWER_KEEP, "web1 has not been at rest");
	s.domains->started_ms = 0;
	s.moves_last_hour = 1;
	expect(POWER_KEEP, "it has not been at rest");
	s.moves_last_hour = 0;
	s.awake_since_ms = RIG_NOW - 3599999; /* else it would go off again before anything has come */
	expect(POWER_KEEP, "it has not been at rest for 60 min");
	s.awake_since_ms = RIG_NOW - 3600000;
	expect(POWER_OFF, "alpha could be emptied");
	assert_string_equal(advice.stays, "");
	s.decide.power_rest_ms = 60000; /* then the hour does not matter */
	s.moves_last_hour = s.domains->moves_last_hour = 1;
	s.domains->last_move_ms = RIG_NOW - 59999;
	expect(POWER_KEEP, "web1 has not been at rest for 1 min");
	s.domains->last_move_ms = RIG_NOW - 60000;
	expect(POWER_OFF, "alpha could be emptied");
	s.host_cpu_util = -1;
	expect(POWER_KEEP, "not measured yet");
}

static void test_one_at_a_time(void **state)
{
	(void)state;
	s.peers[1].mem_given = 255 * MIB;
	expect(POWER_KEEP, "gamma has less to move away");
	s.peers[1].mem_given = 256 * MIB;
	expect(POWER_OFF, "alpha"); /* the same, and its name comes first */
	s.peers[0].asleep = true;   /* what leaves it counts nowhere yet */
	expect(POWER_KEEP, "beta is being emptied to be switched off");
	s.peers[0].asleep = false;
	snprintf(s.host, sizeof(s.host), "zeta");
	expect(POWER_KEEP, "gamma has less to move away");
	s.peers[1].excluded = true; /* takes nothing: it is not asked, and its load counts with nobody */
	expect(POWER_OFF, "use 30 % of their CPU");
	s.peers[0].up = false;
	expect(POWER_KEEP, "no other host is up that takes domains");
}

static void test_on(void **state)
{
	struct snap_domain *d = s.domains;

	(void)state;
	d->policy.cpu = (struct cpu_policy){.set = true,
		.util_lower = 30,
		.util_upper = 80,
		.vcpu_min = 1,
		.vcpu_max = 4,
		.attack = 1,
		.decay = 1,
		.sample_rate_s = 1};
	d->spec.vcpus_max = 4;
	d->util_fast = d->util_slow = 100;
	d->over_upper = s.decide.sustain_window;
	d->need_since_ms = RIG_NOW - 3600000;
	s.vcpus_given = s.vcpus_total;
	s.peers[0].vcpus_given = s.peers[0].vcpus_total;
	s.peers[1].up = false;
	expect(POWER_ON, "no host has room for what web1 needs, and gamma is not up: switch it on");
	s.peers[1].up = true;
	s.peers[1].accepts = false;
	expect(POWER_ON, "gamma is in maintenance: policyctl maintenance off gamma");
	assert_true(!advice.asleep && advice.up); /* an operator's: not policy's to end */
	s.peers[1].asleep = true;
	expect(POWER_ON, "gamma is being emptied to be switched off");
	assert_true(advice.asleep && advice.up && !strcmp(advice.host, "gamma"));
	s.peers[1].up = false;
	expect(POWER_ON, "gamma is switched off: switch it on");
	assert_true(advice.asleep && !advice.up);
	/* one that sleeps before one in maintenance before one that is down */
	s.peers[0].up = false;
	expect(POWER_ON, "gamma is switched off");
	s.peers[0].up = true;
	s.peers[0].accepts = false;
	expect(POWER_ON, "gamma is switched off");
	s.peers[1].asleep = false;
	expect(POWER_ON, "beta is in maintenance");
	s.peers[0].accepts = true;
	s.peers[1].up = true;
	s.peers[1].accepts = true;
	s.peers[1].vcpus_given = s.peers[1].vcpus_total;
	expect(POWER_KEEP, "at rest"); /* all are on, and full */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_on, setup, teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
