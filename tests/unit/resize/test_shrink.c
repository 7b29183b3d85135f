/* The law of shrinking: a table of single decisions, then random guests that are shrunk by it to the end. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "resize/shrink.h"

#define M(n) ((uint64_t)(n) << 20)

/* A guest of 512M that wants 256M, with 300M available, healthy, fresh, nothing taken yet. */
static struct shrink_view healthy(void)
{
	return (struct shrink_view){
		.start_bytes = M(512),
		.now_bytes = M(512),
		.asked_bytes = M(512),
		.wanted_bytes = M(256),
		.floor_bytes = M(128),
		.rules = shrink_rules_default,
		.settled = true,
		.stats_known = true,
		.stats_since = true,
		.stats_age_ms = 300,
		.stale_ms = 5000,
		.patience_ms = 8000,
		.available_bytes = M(300),
		.free_bytes = M(300),
		.major_faults_before_ps = -1,
		.swap_in_bps = 0,
		.major_faults_ps = 0,
	};
}

static struct shrink_view after_step(uint64_t step)
{
	struct shrink_view v = healthy();

	v.now_bytes = v.asked_bytes = M(512) - step;
	v.last_step_bytes = step;
	return v;
}

static void expect(const struct shrink_view *v, enum shrink_verdict verdict, uint64_t target)
{
	struct shrink_next n = shrink_next(v);

	if (n.verdict != verdict || (target && n.target_bytes != target))
		fail_msg("%s %lluM (%s), wanted %s %lluM", shrink_verdict_name(n.verdict),
			(unsigned long long)n.target_bytes >> 20, n.reason, shrink_verdict_name(verdict),
			(unsigned long long)target >> 20);
	assert_true(n.reason[0]);
}

static void test_steps(void **state)
{
	struct shrink_view v = healthy();

	(void)state;
	expect(&v, SHRINK_STEP, M(502)); /* 2 % of 512M, to a whole 2M */
	v = after_step(M(10));
	expect(&v, SHRINK_STEP, M(482)); /* twice the last */
	v = after_step(M(128));
	v.available_bytes = M(100); /* reserve 38.4M: half of what is over it */
	expect(&v, SHRINK_STEP, M(384) - M(30));
	v = after_step(M(8));
	v.wanted_bytes = M(500);
	expect(&v, SHRINK_STEP, M(500)); /* not beyond the goal */
	v.wanted_bytes = M(64);
	v.floor_bytes = M(502);
	expect(&v, SHRINK_STEP, M(502)); /* nor below the floor */
}

static void test_caches_go_by_single_steps(void **state)
{
	struct shrink_view v = after_step(M(10));

	(void)state;
	v.free_bytes = M(36);            /* 25M of it is kept: half of the reserve */
	expect(&v, SHRINK_STEP, M(492)); /* 2 % of 502M, though twice the last would be healthy */
	v.free_bytes = UINT64_MAX;       /* an old guest that does not say */
	expect(&v, SHRINK_STEP, M(492));
	v.free_bytes = M(46);
	expect(&v, SHRINK_STEP, M(482)); /* 20M lie idle */
}

static void test_headroom(void **state)
{
	struct shrink_view v = after_step(M(10));

	(void)state;
	v.rules.headroom_percent = 30;
	v.available_bytes = M(120); /* uses 382M: 496.6M is 1.3 times that */
	expect(&v, SHRINK_STEP, M(498));
	v.now_bytes = v.asked_bytes = M(498);
	v.available_bytes = M(116);
	expect(&v, SHRINK_STOP, 0); /* the reserve of 50M would let it go on */
	v.rules.headroom_percent = 0;
	expect(&v, SHRINK_STEP, 0);
}

static void test_free_rule(void **state)
{
	struct shrink_view v = healthy();

	(void)state;
	v.rules.free_rule = true;
	expect(&v, SHRINK_STEP, M(488)); /* 5 % */
	v.swap_in_bps = 1e9;             /* it does not look */
	expect(&v, SHRINK_STEP, M(488));
	v.available_bytes = M(110);
	expect(&v, SHRINK_STOP, 0); /* 20 % of 488M would not be left */
	v.available_bytes = M(20);
	expect(&v, SHRINK_STOP, 0);
}

static void test_guard(void **state)
{
	struct shrink_view v = after_step(M(20)); /* 492M; it had 512M */

	(void)state;
	v.start_bytes = M(600);
	assert_int_equal(shrink_guard(&v).verdict, SHRINK_WAIT);
	v.available_bytes = M(48); /* reserve 49.2M */
	assert_true(shrink_guard(&v).verdict == SHRINK_BACK_OFF && shrink_guard(&v).target_bytes == M(532));
	v.available_bytes = M(4);
	assert_true(shrink_guard(&v).target_bytes == M(584)); /* it lacks 45M: twice that */
	v.start_bytes = M(500);
	assert_true(shrink_guard(&v).target_bytes == M(500)); /* not more than was taken */
	v.rules.free_rule = true;
	assert_int_equal(shrink_guard(&v).verdict, SHRINK_WAIT);
	v = after_step(M(20));
	v.stats_age_ms = v.stale_ms + 1; /* it does not say any more: as bad as a bad figure */
	assert_int_equal(shrink_guard(&v).verdict, SHRINK_BACK_OFF);
	v.stats_known = false; /* it never did */
	assert_int_equal(shrink_guard(&v).verdict, SHRINK_WAIT);
}

static void test_ends(void **state)
{
	struct shrink_view v = after_step(M(256));

	(void)state;
	v.available_bytes = M(60);
	expect(&v, SHRINK_DONE, 0);
	v.stats_since = false; /* the last step is not judged yet */
	expect(&v, SHRINK_WAIT, 0);
	v = after_step(M(8));
	v.available_bytes = M(51); /* reserve 50.4M */
	expect(&v, SHRINK_STOP, 0);
	v = healthy();
	v.rules.reserve_percent = 100;
	expect(&v, SHRINK_STOP, 0);
}

static void test_waits(void **state)
{
	struct shrink_view v = after_step(M(10));

	(void)state;
	v.settled = false;
	v.now_bytes = M(508);
	expect(&v, SHRINK_WAIT, 0);
	v = healthy();
	v.stats_known = false;
	v.stats_age_ms = UINT_MAX;
	expect(&v, SHRINK_WAIT, 0);
	v.waited_ms = v.patience_ms;
	expect(&v, SHRINK_STOP, 0);
	v = healthy();
	v.stats_age_ms = v.stale_ms + 1;
	expect(&v, SHRINK_WAIT, 0);
	v.waited_ms = v.patience_ms;
	expect(&v, SHRINK_STOP, 0);
	v = healthy();
	v.available_bytes = UINT64_MAX; /* an old guest that does not say */
	v.waited_ms = v.patience_ms;
	expect(&v, SHRINK_STOP, 0);
}

static void test_backs_off(void **state)
{
	struct shrink_view v = after_step(M(64));

	(void)state;
	v.available_bytes = M(44);           /* reserve 44.8M */
	expect(&v, SHRINK_BACK_OFF, M(512)); /* twice 64M, but not beyond the start */
	v = after_step(M(20));
	v.start_bytes = M(1024);
	v.swap_in_bps = 100000;
	expect(&v, SHRINK_BACK_OFF, M(532));
	v.swap_in_bps = 0;
	v.major_faults_ps = 90;
	expect(&v, SHRINK_BACK_OFF, M(532));
	v.major_faults_before_ps = 60; /* it always has that many */
	expect(&v, SHRINK_STEP, 0);
	v.major_faults_ps = 0;
	v.psi_known = v.psi_since = true;
	v.psi_percent = 10;
	expect(&v, SHRINK_STEP, 0); /* as much as is allowed */
	v.psi_percent = 11;
	expect(&v, SHRINK_BACK_OFF, M(532));
	v.rules.psi_percent = 0; /* not looked at */
	expect(&v, SHRINK_STEP, 0);
	v.rules.psi_percent = 10;
	v.psi_percent = 0;
	v.psi_since = false; /* from before the step: it says nothing about it */
	expect(&v, SHRINK_WAIT, 0);
	v.waited_ms = v.patience_ms;
	expect(&v, SHRINK_STEP, 0);
	v.waited_ms = 0;
	v.psi_known = false;
	v.available_bytes = M(10); /* reserve 49.2M: it lacks more than two steps */
	expect(&v, SHRINK_BACK_OFF, M(572));
	v = after_step(M(20));
	v.settled = false; /* also while it is still giving */
	v.now_bytes = M(500);
	v.available_bytes = M(10);
	expect(&v, SHRINK_BACK_OFF, M(512));
	v = after_step(M(20));
	v.stats_since = false;
	v.waited_ms = v.patience_ms; /* too starved to answer */
	expect(&v, SHRINK_BACK_OFF, M(512));
	v = after_step(M(20));
	v.now_bytes = M(505); /* stuck */
	expect(&v, SHRINK_BACK_OFF, M(512));
}

static void test_pressure_before_the_first_step(void **state)
{
	struct shrink_view v = healthy();

	(void)state;
	v.available_bytes = M(20);
	expect(&v, SHRINK_STOP, 0);
	v = healthy();
	v.swap_in_bps = 1e6;
	expect(&v, SHRINK_STOP, 0);
}

/* ---- properties ------------------------------------------------------------------------------------------ */

static uint64_t rnd(uint64_t n)
{
	return n ? (((uint64_t)(unsigned)rand() << 31) | (unsigned)rand()) % n : 0;
}

static struct shrink_view random_view(void)
{
	struct shrink_view v = {0};

	v.start_bytes = M(16) + rnd(4096) * SHRINK_ALIGN;
	v.now_bytes =
		rnd(4) ? v.start_bytes - rnd(v.start_bytes / SHRINK_ALIGN / 2) * SHRINK_ALIGN : rnd(v.start_bytes);
	v.asked_bytes = rnd(2) ? v.now_bytes : rnd(v.start_bytes);
	v.wanted_bytes = rnd(v.start_bytes / SHRINK_ALIGN + 1) * SHRINK_ALIGN;
	v.floor_bytes = rnd(v.start_bytes / SHRINK_ALIGN + 1) * SHRINK_ALIGN;
	v.last_step_bytes = rnd(3) ? rnd(v.start_bytes) : 0;
	v.rules.step_percent = (unsigned)rnd(101);
	v.rules.reserve_percent = (unsigned)rnd(101);
	v.settled = rnd(4);
	v.stats_known = rnd(5);
	v.stats_since = rnd(4);
	v.stale_ms = 1 + (unsigned)rnd(10000);
	v.stats_age_ms = rnd(6) ? (unsigned)rnd(v.stale_ms) : (unsigned)rnd(UINT_MAX);
	v.patience_ms = (unsigned)rnd(10000);
	v.waited_ms = (unsigned)rnd(12000);
	v.available_bytes = rnd(10) ? rnd(v.now_bytes + 1) : UINT64_MAX;
	v.free_bytes = rnd(10) ? rnd(v.now_bytes + 1) : UINT64_MAX;
	v.rules.headroom_percent = rnd(3) ? 0 : (unsigned)rnd(60);
	v.rules.swap_in_bps = 65536;
	v.rules.major_faults_ps = 50;
	v.swap_in_bps = rnd(5) ? 0 : (double)rnd(1000000) - 1;
	v.major_faults_ps = rnd(5) ? 0 : (double)rnd(1000) - 1;
	v.major_faults_before_ps = (double)rnd(100) - 1;
	return v;
}

static void check_step(const struct shrink_view *v, const struct shrink_next *n)
{
	uint64_t after = v->available_bytes - (v->now_bytes - n->target_bytes);

	assert_true(n->target_bytes < v->now_bytes);
	assert_true(n->target_bytes >= v->floor_bytes);
	assert_true(n->target_bytes >= v->wanted_bytes);
	assert_true(v->stats_known && v->stats_since && v->stats_age_ms <= v->stale_ms && v->settled);
	assert_true(v->swap_in_bps <= v->rules.swap_in_bps);
	assert_true(v->available_bytes != UINT64_MAX && v->available_bytes >= v->now_bytes - n->target_bytes);
	assert_true(after + 4096 >= n->target_bytes / 100 * v->rules.reserve_percent);
}

static void test_random_views(void **state)
{
	unsigned seen[5] = {0};

	(void)state;
	srand(20261122);
	for (unsigned i = 0; i < 300000; i++) {
		struct shrink_view v = random_view();
		struct shrink_next n = shrink_next(&v);
		bool fresh = v.stats_known && v.stats_age_ms <= v.stale_ms && v.available_bytes != UINT64_MAX;
		bool starved = fresh && v.available_bytes < v.now_bytes / 100 * v.rules.reserve_percent;
		uint64_t least = v.now_bytes + 2 * v.last_step_bytes;

		seen[n.verdict]++;
		if (n.verdict == SHRINK_STEP)
			check_step(&v, &n);
		if (starved && v.last_step_bytes)
			assert_int_equal(n.verdict, SHRINK_BACK_OFF);
		if (n.verdict == SHRINK_BACK_OFF) {
			assert_true(n.target_bytes >= (least < v.start_bytes ? least : v.start_bytes));
			assert_true(n.target_bytes <= (v.start_bytes > v.now_bytes ? v.start_bytes : v.now_bytes));
			assert_true(v.last_step_bytes > 0);
		}
		if (n.verdict == SHRINK_DONE)
			assert_true(v.now_bytes <= v.wanted_bytes || v.now_bytes <= v.floor_bytes);
	}
	for (unsigned i = 0; i < 5; i++)
		assert_true(seen[i] > 100); /* the generator reaches every verdict */
}

/* A guest that uses @used bytes and gives what it is asked for; its use may jump once, its statistics may fail once. */
struct guest {
	uint64_t used;
	unsigned jump_at, silent_at;
	uint64_t jump_to;
};

static void run_guest(struct shrink_view *v, const struct guest *g, struct shrink_next *last)
{
	for (unsigned step = 0; step < 2000; step++) {
		uint64_t used = step >= g->jump_at ? g->jump_to : g->used;

		v->stats_since = step < g->silent_at;
		v->waited_ms = v->stats_since ? 0 : v->patience_ms;
		v->available_bytes = used < v->now_bytes ? v->now_bytes - used : 0;
		*last = shrink_next(v);
		if (last->verdict != SHRINK_STEP) {
			if (last->verdict == SHRINK_BACK_OFF)
				v->now_bytes = last->target_bytes;
			return;
		}
		v->last_step_bytes = v->now_bytes - last->target_bytes;
		v->now_bytes = v->asked_bytes = last->target_bytes;
	}
	fail_msg("does not end");
}

static void test_random_guests(void **state)
{
	unsigned done = 0, stopped = 0, backed_off = 0;

	(void)state;
	srand(7);
	for (unsigned i = 0; i < 20000; i++) {
		struct shrink_view v = healthy();
		struct shrink_next n;
		struct guest g = {.jump_at = UINT_MAX, .silent_at = rnd(5) ? UINT_MAX : (unsigned)rnd(10)};
		bool calm;

		v.start_bytes = v.now_bytes = v.asked_bytes = M(64) + rnd(2000) * SHRINK_ALIGN;
		v.wanted_bytes = rnd(v.start_bytes / SHRINK_ALIGN) * SHRINK_ALIGN;
		v.floor_bytes = rnd(v.wanted_bytes / SHRINK_ALIGN + 1) * SHRINK_ALIGN;
		v.rules.step_percent = 1 + (unsigned)rnd(20);
		v.rules.reserve_percent = (unsigned)rnd(40);
		g.used = rnd(v.start_bytes);
		if (rnd(3) == 0) {
			g.jump_at = (unsigned)rnd(8);
			g.jump_to = rnd(v.start_bytes);
		}
		calm = g.jump_at == UINT_MAX;
		run_guest(&v, &g, &n);
		assert_true(v.now_bytes >= v.floor_bytes && v.now_bytes <= v.start_bytes);
		assert_true(v.now_bytes >= v.wanted_bytes);
		if (calm && n.verdict != SHRINK_BACK_OFF && v.last_step_bytes) /* never taken into its reserve */
			assert_true(v.now_bytes - g.used + 4096 >= v.now_bytes / 100 * v.rules.reserve_percent);
		if (calm && g.silent_at == UINT_MAX)
			assert_int_not_equal(n.verdict, SHRINK_BACK_OFF);
		done += n.verdict == SHRINK_DONE;
		stopped += n.verdict == SHRINK_STOP;
		backed_off += n.verdict == SHRINK_BACK_OFF;
	}
	assert_true(done > 100 && stopped > 100 && backed_off > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_caches_go_by_single_steps),
		cmocka_unit_test(test_headroom),
		cmocka_unit_test(test_free_rule),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_backs_off),
		cmocka_unit_test(test_pressure_before_the_first_step),
		cmocka_unit_test(test_random_views),
		cmocka_unit_test(test_random_guests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
