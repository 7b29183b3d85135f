/* Balloon jobs against a fake QEMU with a guest that gives at some speed, uses some memory and sends statistics (or does not). */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "resize/balloon.h"
#include "resize/stats.h"
#include "tests/unit/support/fake_qmp.h"

#define M(n) ((uint64_t)(n) << 20)

struct fix {
	char dir[64], sock[96];
	struct event_base *base;
	struct fake_qmp *peer;
	struct qmp *q;
	struct balloon_job *job;
	/* the guest */
	uint64_t actual, target, used;
	uint64_t stuck_at;           /* gives no more below it */
	uint64_t needs_below, needs; /* once smaller than the first it uses the second */
	bool no_driver, stats_stop;
	unsigned updates; /* of the statistics; one at each reading, as though a second had passed */
	uint64_t swap_in, faults;
	uint64_t faults_each;
	uint64_t lowest;
	/* the result */
	bool done;
	unsigned progress;
	uint64_t cancel_at;
	struct balloon_result r;
	struct err e;
};

static json_t *on_balloon(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;

	(void)p;
	(void)desc;
	f->target = (uint64_t)json_integer_value(json_object_get(args, "value"));
	return json_object();
}

static json_t *on_query(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;
	uint64_t goal = f->target < f->stuck_at ? f->stuck_at : f->target;

	(void)p;
	(void)args;
	(void)desc;
	if (!f->no_driver && f->actual > goal)
		f->actual -= f->actual - goal > M(24) ? M(24) : f->actual - goal;
	else if (!f->no_driver && f->actual < f->target)
		f->actual = f->target;
	if (f->actual < f->lowest)
		f->lowest = f->actual;
	if (f->actual < f->needs_below)
		f->used = f->needs;
	return json_pack("{s:I}", "actual", (json_int_t)f->actual);
}

static json_t *on_stats(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;
	uint64_t available = f->actual > f->used ? f->actual - f->used : 0;

	(void)p;
	(void)args;
	(void)desc;
	if (f->no_driver)
		return json_pack("{s:i, s:{s:i}}", "last-update", 0, "stats", "stat-available-memory", -1);
	if (!f->stats_stop) {
		f->updates++;
		f->faults += f->faults_each;
	}
	return json_pack("{s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "last-update", (json_int_t)f->updates + 1000, "stats",
		"stat-total-memory", (json_int_t)f->actual, "stat-available-memory", (json_int_t)available,
		"stat-free-memory", (json_int_t)available, "stat-swap-in", (json_int_t)f->swap_in, "stat-major-faults",
		(json_int_t)f->faults);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct err e;

	snprintf(f->dir, sizeof(f->dir), "/tmp/balloon-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->sock, sizeof(f->sock), "%s/qmp.sock", f->dir);
	f->actual = f->target = f->lowest = M(512);
	f->used = M(60);
	f->base = event_base_new();
	f->peer = fake_qmp_new(f->base, f->sock);
	fake_qmp_handle(f->peer, "balloon", on_balloon, f);
	fake_qmp_handle(f->peer, "query-balloon", on_query, f);
	fake_qmp_handle(f->peer, "qom-get", on_stats, f);
	fake_qmp_reply(f->peer, "qom-set", NULL);
	f->q = qmp_new(f->base, f->sock, false, NULL, NULL);
	assert_int_equal(qmp_wait_ready(f->q, 5000, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	qmp_free(f->q);
	fake_qmp_free(f->peer);
	event_base_free(f->base);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void on_progress(void *arg, uint64_t now_bytes, uint64_t wanted_bytes)
{
	struct fix *f = arg;

	(void)wanted_bytes;
	f->progress++;
	if (now_bytes == f->cancel_at)
		balloon_cancel(f->job);
}

static void on_done(void *arg, const struct balloon_result *r, const struct err *e)
{
	struct fix *f = arg;

	assert_false(f->done);
	f->done = true;
	f->job = NULL;
	f->r = *r;
	f->e = *e;
}

static void start(struct fix *f, uint64_t wanted, unsigned timeout_ms)
{
	struct balloon_limits l = {.min_bytes = M(128),
		.max_bytes = M(512),
		.rules = shrink_rules_default,
		.timeout_ms = timeout_ms,
		.patience_ms = 2500};

	l.rules.step_percent = 5;
	f->done = false;
	f->job = balloon_set(f->base, f->q, wanted, &l, on_progress, on_done, f);
	assert_non_null(f->job);
	assert_false(f->done);
}

static void run(struct fix *f, uint64_t wanted, unsigned timeout_ms)
{
	struct timeval most = {.tv_sec = 40};

	start(f, wanted, timeout_ms);
	event_base_loopexit(f->base, &most);
	while (!f->done && !event_base_got_exit(f->base))
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(f->done);
	for (int i = 0; i < 10; i++) /* a last word to the guest */
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void expect(const struct fix *f, int code, uint64_t before, uint64_t after, bool backed_off)
{
	if (f->e.code != code || f->r.before != before || f->r.after != after || f->r.backed_off != backed_off)
		fail_msg("code %d (%s), %lluM -> %lluM, backed off %d, %u ms", f->e.code, f->e.msg,
			(unsigned long long)f->r.before >> 20, (unsigned long long)f->r.after >> 20, f->r.backed_off,
			f->r.elapsed_ms);
	assert_true(!code == !f->e.msg[0]);
}

static void test_shrink(void **state)
{
	struct fix *f = *state;

	run(f, M(256), 30000);
	expect(f, 0, M(512), M(256), false);
	assert_true(fake_qmp_calls(f->peer, "balloon") >= 4); /* in steps */
	assert_true(f->progress >= 4);
	assert_int_equal(json_integer_value(json_object_get(fake_qmp_args(f->peer, "qom-set"), "value")), 1);
}

static void test_grow_at_once(void **state)
{
	struct fix *f = *state;

	f->actual = f->target = M(256);
	f->stats_stop = true; /* needs no statistics */
	run(f, M(512), 5000);
	expect(f, 0, M(256), M(512), false);
	assert_int_equal(fake_qmp_calls(f->peer, "balloon"), 1);
	assert_int_equal(fake_qmp_calls(f->peer, "qom-get"), 0);
}

static void test_nothing_to_do(void **state)
{
	struct fix *f = *state;

	run(f, M(512), 5000);
	expect(f, 0, M(512), M(512), false);
	assert_int_equal(fake_qmp_calls(f->peer, "balloon"), 0);
}

static void test_reserve_stops_it(void **state)
{
	struct fix *f = *state;

	f->used = M(300);
	run(f, M(128), 30000);
	assert_int_equal(f->e.code, EAGAIN);
	assert_false(f->r.backed_off);
	assert_true(f->r.after >= M(333) && f->r.after <= M(340)); /* used = 90 % of 333M */
	assert_true(f->target == f->actual);
}

static void test_pressure_gives_back(void **state)
{
	struct fix *f = *state;

	f->needs_below = M(450); /* it wakes up */
	f->needs = M(440);
	run(f, M(128), 30000);
	assert_int_equal(f->e.code, EAGAIN);
	assert_true(f->r.backed_off);
	assert_true(f->r.after == f->actual && f->actual == f->target);
	assert_true(f->actual == M(512) || f->actual - f->lowest >= M(2) * 2);
	assert_true(f->actual - f->used >= f->actual / 10 || f->actual == M(512));
	assert_non_null(strstr(f->e.msg, "reserve"));
}

static void test_major_faults_give_back(void **state)
{
	struct fix *f = *state;

	f->needs_below = M(500);
	f->needs = M(60);
	f->faults_each = 0;
	start(f, M(128), 30000);
	while (!f->done) {
		event_base_loop(f->base, EVLOOP_ONCE);
		if (f->actual < M(500))
			f->faults_each = 1000;
	}
	assert_int_equal(f->e.code, EAGAIN);
	assert_true(f->r.backed_off && f->r.after > f->lowest);
	assert_non_null(strstr(f->e.msg, "major faults"));
}

static void test_no_driver(void **state)
{
	struct fix *f = *state;

	f->no_driver = true;
	run(f, M(256), 30000);
	expect(f, ENODEV, M(512), M(512), false);
	assert_true(f->target == M(512)); /* nothing was asked that a driver loaded later would carry out */
}

static void test_no_device(void **state)
{
	struct fix *f = *state;

	fake_qmp_error(f->peer, "query-balloon", "DeviceNotActive", "No balloon device has been activated");
	run(f, M(256), 30000);
	expect(f, ENODEV, 0, 0, false);
	assert_non_null(strstr(f->e.msg, "activated"));
}

static void test_statistics_stop(void **state)
{
	struct fix *f = *state;
	uint64_t at_stop;

	start(f, M(128), 30000);
	while (f->actual > M(450))
		event_base_loop(f->base, EVLOOP_ONCE);
	f->stats_stop = true;
	at_stop = f->target;
	while (!f->done)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(f->e.code, EAGAIN);
	assert_true(f->r.backed_off && f->r.after > at_stop && f->lowest >= at_stop - M(100));
	assert_non_null(strstr(f->e.msg, "statistics"));
}

static void test_stuck_guest_gives_back(void **state)
{
	struct fix *f = *state;

	f->stuck_at = M(400);
	run(f, M(256), 30000);
	assert_int_equal(f->e.code, EAGAIN);
	assert_true(f->r.backed_off && f->actual > M(400));
}

static void test_timeout_stays(void **state)
{
	struct fix *f = *state;

	f->stuck_at = M(500);
	run(f, M(256), 2000);
	expect(f, ETIMEDOUT, M(512), M(500), false);
	assert_true(f->target == M(500)); /* told to stay, not left to go on unseen */
}

static void test_cancel(void **state)
{
	struct fix *f = *state;

	f->cancel_at = M(512) - M(24); /* in the middle of a step, from inside progress */
	run(f, M(256), 30000);
	assert_int_equal(f->e.code, ECANCELED);
	assert_true(f->r.after == M(488) && f->target == M(488));
	f->cancel_at = 0;
	start(f, M(256), 30000);
	balloon_cancel(f->job); /* before the loop runs */
	assert_true(f->done);
	expect(f, ECANCELED, 0, 0, false);
	balloon_cancel(NULL);
}

static void test_range(void **state)
{
	struct fix *f = *state;

	run(f, M(100), 5000);
	expect(f, ERANGE, 0, 0, false);
	run(f, M(514), 5000);
	expect(f, ERANGE, 0, 0, false);
	assert_int_equal(fake_qmp_calls(f->peer, "balloon"), 0);
}

static void test_qemu_gone(void **state)
{
	struct fix *f = *state;

	start(f, M(256), 30000);
	while (f->actual == M(512))
		event_base_loop(f->base, EVLOOP_ONCE);
	fake_qmp_drop(f->peer, true);
	while (!f->done)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(f->e.code == EPIPE || f->e.code == ENOTCONN);
}

static void test_stats_parse(void **state)
{
	struct guest_mem_stats s = {.total = 7};
	json_t *j = json_pack("{s:i, s:{s:i, s:i, s:i}}", "last-update", 5, "stats", "stat-total-memory", -1,
		"stat-available-memory", 4096, "stat-swap-in", 0);

	(void)state;
	assert_int_equal(balloon_stats_parse(j, &s), 0);
	assert_true(s.total == UINT64_MAX && s.available == 4096 && s.swap_in == 0 && s.major_faults == UINT64_MAX &&
		s.last_update_s == 5);
	json_object_set_new(j, "last-update", json_integer(0));
	s.total = 7;
	assert_int_equal(balloon_stats_parse(j, &s), -ENODATA);
	json_decref(j);
	j = json_pack("{s:i, s:{s:i}}", "last-update", 9, "stats", "stat-total-memory", -1);
	assert_int_equal(balloon_stats_parse(j, &s), -ENODATA);
	json_decref(j);
	assert_int_equal(balloon_stats_parse(NULL, &s), -ENODATA);
	assert_true(s.total == 7);
}

static void test_stats_track(void **state)
{
	struct stats_track t;
	struct guest_mem_stats s = {.last_update_s = 100, .swap_in = 0, .major_faults = 10};

	(void)state;
	stats_track_init(&t);
	assert_true(stats_track_age_ms(&t, 0) == UINT32_MAX);
	assert_true(stats_track_add(&t, &s, 1000));
	assert_false(t.known); /* it may be left over from before */
	assert_false(stats_track_add(&t, &s, 2000));
	s.last_update_s = 101;
	assert_true(stats_track_add(&t, &s, 3000));
	assert_true(t.known && t.swap_in_bps == -1);
	s.last_update_s = 99; /* the clock was set back: still a new reading */
	s.swap_in = 8192;
	s.major_faults = 30;
	assert_true(stats_track_add(&t, &s, 5000));
	assert_true(t.swap_in_bps == 4096 && t.major_faults_ps == 10);
	assert_int_equal(stats_track_age_ms(&t, 7500), 2500);
	s.last_update_s = 104;
	s.swap_in = 0; /* rebooted */
	stats_track_add(&t, &s, 6000);
	assert_true(t.swap_in_bps == -1 && t.major_faults_ps == 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_shrink),
		T(test_grow_at_once),
		T(test_nothing_to_do),
		T(test_reserve_stops_it),
		T(test_pressure_gives_back),
		T(test_major_faults_give_back),
		T(test_no_driver),
		T(test_no_device),
		T(test_statistics_stop),
		T(test_stuck_guest_gives_back),
		T(test_timeout_stays),
		T(test_cancel),
		T(test_range),
		T(test_qemu_gone),
		cmocka_unit_test(test_stats_parse),
		cmocka_unit_test(test_stats_track),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
