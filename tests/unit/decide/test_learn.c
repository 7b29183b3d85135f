/* What earlier moves teach: fixed times, speeds and corrections come out as they were put in; odd ones, few ones and old ones count little. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/decide/learn.h"

static struct learn l;

static int setup(void **state)
{
	(void)state;
	memset(&l, 0, sizeof(l));
	return 0;
}

/* 100 MB of content at 200 MB/s over a link of 1 GB/s, 0.6 s around it, 30 ms of blackout of which 10 ms are the last round. All but the bytes was
 * predicted rightly; these @wrong times too small. */
static struct learn_move a_move(const char *domain, const char *peer, double wrong)
{
	struct learn_move m = {.raw_total_s = 1.13,
		.raw_blackout_ms = 30,
		.raw_bytes = 50e6 / wrong,
		.total_s = 1.13,
		.blackout_ms = 30,
		.bytes = 50e6,
		.copy_s = 0.5,
		.first_s = 0.5,
		.first_ram_bytes = 100e6,
		.first_wire_bytes = 50e6,
		.last_ram_bytes = 2e6,
		.link_bps = 1e9,
		.rate_bps = 200e6,
		.wire_ratio = 0.5,
		.lz4_ratio = 0.5,
		.setup_s = 0.6,
		.dark_ms = 20};

	strcpy(m.domain, domain);
	strcpy(m.peer, peer);
	return m;
}

static void add(const char *domain, const char *peer, double wrong)
{
	struct learn_move m = a_move(domain, peer, wrong);

	learn_add(&l, &m);
}

static struct predict_path path(const char *domain, const char *peer)
{
	struct predict_path p = {0};

	learn_path(&l, domain, peer, &p);
	return p;
}

static void near(double v, double expected)
{
	if (fabs(v - expected) > 0.01 * fabs(expected))
		fail_msg("%g, expected %g", v, expected);
}

static void nothing_is_known(void **state)
{
	struct predict_path p = path("web1", "beta");

	(void)state;
	assert_true(p.setup_s == 0 && p.dark_ms == 0 && p.engine_bps == 0 && p.total.by == 0 && p.total.spread == 0);
}

static void fixed_times_and_speed(void **state)
{
	struct predict_path p;

	(void)state;
	add("web1", "beta", 1);
	p = path("web1", "beta");
	near(p.setup_s, 0.6);
	near(p.dark_ms, 20);
	near(p.engine_bps, 200e6);
	near(predict_packed_share(0.5, p.pack_cost), 1);
	near(p.total.by, 1);
	p = path("db1",
		"gamma"); /* nobody has moved there: the other host's times are the best guess, its errors are not */
	near(p.setup_s, 0.6);
	assert_true(p.total.by == 0);
}

static void a_full_link_says_nothing_of_the_engine(void **state)
{
	struct learn_move m = a_move("web1", "beta", 1);

	(void)state;
	m.link_bps = 110e6; /* 100 MB/s of it were used */
	learn_add(&l, &m);
	assert_true(path("web1", "beta").engine_bps == 0);
	m.link_bps = 0; /* not known */
	learn_add(&l, &m);
	assert_true(path("web1", "beta").engine_bps == 0);
}

/* Within one machine a probe finds no faster link than the engine has: then it was at least as fast as it went. A slow link says nothing of it. */
static void the_engine_was_at_least_so_fast(void **state)
{
	struct learn_move m = a_move("web1", "beta", 1);

	(void)state;
	m.first_ram_bytes = 330e6;
	m.first_wire_bytes = 320e6;
	m.first_s = 0.33;
	m.link_bps = 870e6;
	learn_add(&l, &m);
	near(path("web1", "beta").engine_bps, 1e9);
	add("web1", "gamma", 1); /* 200 MB/s where the link had room */
	near(path("db1", "gamma").engine_bps, 200e6);
	l.n = 0;
	m.first_s = 3.3;
	m.link_bps = 100e6;
	learn_add(&l, &m);
	assert_true(path("web1", "beta").engine_bps == 0);
}

static void corrections_grow_with_proof(void **state)
{
	double last = 1;

	(void)state;
	for (int i = 0; i < 6; i++) {
		add("web1", "beta", 2); /* always twice as long as said */
		assert_true(path("db1", "beta").bytes.by > last && path("db1", "beta").bytes.by < 2);
		last = path("db1", "beta").bytes.by;
	}
	assert_true(last > 1.6);
	near(path("db1", "beta").total.by, 1);
	assert_true(path("db1", "gamma").bytes.by == 0);
}

/* A move that is predicted when part of its set-up is over knows that part. */
static void what_has_gone_by(void **state)
{
	struct learn_move m = a_move("web1", "beta", 1);
	struct predict_path p;

	(void)state;
	m.spent_s = 0.4; /* of 0.6 s */
	learn_add(&l, &m);
	p = path("web1", "beta");
	near(p.setup_s, 0.6);
	near(p.rest_s, 0.2);
	near(p.total.by, 1);
	near(predict_setup_s(&p, 0), 0.6);
	near(predict_setup_s(&p, 1.5), 1.7);
	p.rest_s = 0; /* never seen: at least what has gone by, at least what it takes as a rule */
	near(predict_setup_s(&p, 0.1), 0.6);
	near(predict_setup_s(&p, 1.5), 1.5 + PREDICT_REST_S);
}

/* What the fixed times and speeds explain once they are known is not corrected a second time. */
static void nothing_is_corrected_twice(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		struct learn_move m = a_move("web1", "beta", 1);

		m.setup_s = 0.3; /* reckoned with; it took 0.6 s */
		m.dark_ms = 10;  /* 20 */
		m.rate_bps = 400e6;
		m.wire_ratio = 1; /* half of it was packed away */
		m.raw_blackout_ms = 15;
		m.raw_total_s = 0.3 + 0.25 + 0.015;
		m.raw_bytes = 100e6;
		learn_add(&l, &m);
	}
	near(path("web1", "beta").total.by, 1);
	near(path("web1", "beta").blackout.by, 1);
	near(path("web1", "beta").bytes.by, 1);
	near(path("web1", "beta").setup_s, 0.6);
}

/* A probe that finds both hosts slower than before (half the octets a second) says that the engine will be slower too; it is believed by half. */
static void busier_than_before(void **state)
{
	struct predict_path p = {.wire_bps = 0.5e9};

	(void)state;
	add("web1", "beta", 1);
	learn_path(&l, "web1", "beta", &p);
	near(p.engine_bps, 200e6 * 0.7071);
	p = (struct predict_path){.wire_bps = 100e6}; /* slower than the engine: the link is, and that says nothing */
	learn_path(&l, "web1", "beta", &p);
	near(p.engine_bps, 200e6);
}

static void one_odd_move(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		add("web1", "beta", 1);
	add("web1", "beta", 8);
	near(path("web1", "beta").bytes.by, 1);
	add("web1", "beta", 1000); /* no measure of anything */
	near(path("web1", "beta").bytes.by, 1);
}

/* db1 is always twice as slow as the others on the same link. */
static void per_domain(void **state)
{
	struct predict_path web, db;

	(void)state;
	for (int i = 0; i < 10; i++) {
		add("web1", "beta", 1);
		add("web2", "beta", 1);
		add("db1", "beta", 2);
	}
	web = path("web1", "beta");
	db = path("db1", "beta");
	assert_true(web.bytes.by > 0.9 && web.bytes.by < 1.1);
	assert_true(db.bytes.by > 1.7 && db.bytes.by < 2.1);
	assert_true(web.bytes.spread >= 1.05 && web.bytes.spread < 2.2);
}

/* A domain's own, to any host; what was not trimmed says nothing. */
static void how_fast_it_shrinks(void **state)
{
	struct learn_move m = a_move("web1", "gamma", 1);

	(void)state;
	add("web1", "beta", 1);
	assert_true(path("web1", "beta").trim_bps == 0);
	m.trim_s = 4;
	m.trimmed_bytes = 40e6;
	learn_add(&l, &m);
	near(path("web1", "beta").trim_bps, 10e6);
	assert_true(path("db1", "gamma").trim_bps == 0);
}

static void what_was_long_ago(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		add("web1", "beta", 3);
	for (int i = 0; i < 7; i++)
		add("web1", "beta", 1);
	assert_true(path("db1", "beta").bytes.by < 1.1);
}

static void spread_follows_the_errors(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		add("web1", "beta", 1);
	assert_true(path("web1", "beta").bytes.spread == 0); /* too few */
	for (int i = 0; i < 10; i++)
		add("web1", "beta", 1);
	assert_true(path("web1", "beta").bytes.spread < 1.1);
	for (int i = 0; i < 12; i++)
		add("web1", "beta", i % 2 ? 1.5 : 0.7);
	assert_true(path("web1", "beta").bytes.spread > 1.3);
}

static void no_more_than_fits(void **state)
{
	(void)state;
	for (int i = 0; i < 3 * LEARN_MAX; i++)
		add(i % 2 ? "web1" : "db1", i % 3 ? "beta" : "gamma", 1 + (i % 7) / 10.0);
	assert_int_equal(l.n, LEARN_MAX);
	assert_true(path("web1", "beta").bytes.by > 1 && path("web1", "beta").bytes.by < 1.7);
}

static void from_history(void **state)
{
	struct learn_move m = {.total_s = 7};
	json_t *predicted = json_loads(
		"{\"raw\": {\"total_s\": 1.5, \"blackout_ms\": 40, \"bytes\": 1000}, \"link_bps\": 5}", 0, NULL);
	json_t *actual = json_loads(
		"{\"method\": \"live\", \"total_ms\": 2000, \"blackout_ms\": 50, \"wire_bytes\": 2000, "
		"\"copy_ms\": 900, \"first_ms\": 800, \"first_ram_bytes\": 9, \"trim_ms\": 100, \"trimmed_bytes\": 7}",
		0, NULL);

	(void)state;
	assert_int_equal(learn_from_json("web1", "beta", predicted, actual, &m), 0);
	assert_true(m.raw_total_s == 1.5 && m.total_s == 2 && m.copy_s == 0.9 && m.link_bps == 5 && m.trim_s == 0.1 &&
		m.trimmed_bytes == 7);
	assert_int_equal(learn_from_json("web1", "beta", NULL, actual, &m),
		0); /* an older policyd's entry: no prediction to compare */
	assert_true(m.raw_total_s == 0);
	learn_add(&l, &m);
	assert_true(path("web1", "beta").total.by == 0 && path("web1", "beta").setup_s > 0);
	assert_int_equal(learn_from_json("web1", NULL, predicted, actual, &m), -EINVAL);
	assert_int_equal(learn_from_json("web1", "beta", predicted, NULL, &m), -EINVAL);
	json_object_set_new(actual, "method", json_string("cold"));
	assert_int_equal(learn_from_json("web1", "beta", predicted, actual, &m), -EINVAL);
	json_decref(predicted);
	json_decref(actual);
}

static double uniform(double low, double high)
{
	return low + (high - low) * (double)random() / (double)RAND_MAX;
}

/* Whatever the figures: finite, and corrections within what is plausible. */
static void any_history(void **state)
{
	(void)state;
	srandom(3);
	for (int i = 0; i < 3000; i++) {
		struct learn_move m = {.raw_total_s = uniform(-1, 10),
			.raw_blackout_ms = uniform(-10, 1000),
			.raw_bytes = pow(10, uniform(0, 12)),
			.total_s = uniform(0, 100),
			.blackout_ms = random() % 4 ? uniform(0, 1000) : 0,
			.bytes = pow(10, uniform(0, 12)),
			.copy_s = uniform(-1, 50),
			.first_s = random() % 4 ? uniform(0, 50) : 0,
			.first_ram_bytes = pow(10, uniform(0, 11)),
			.first_wire_bytes = pow(10, uniform(0, 11)),
			.last_ram_bytes = pow(10, uniform(0, 9)),
			.link_bps = random() % 3 ? pow(10, uniform(5, 10)) : 0,
			.rate_bps = random() % 3 ? pow(10, uniform(5, 10)) : 0,
			.wire_ratio = uniform(-0.1, 1.1),
			.lz4_ratio = uniform(-0.1, 1.1),
			.setup_s = uniform(-1, 5),
			.spent_s = uniform(-1, 5),
			.dark_ms = uniform(-1, 100)};
		struct predict_path p = {0};

		strcpy(m.domain, random() % 2 ? "a" : "b");
		strcpy(m.peer, random() % 2 ? "x" : "y");
		learn_add(&l, &m);
		learn_path(&l, "a", "x", &p);
		assert_true(isfinite(p.setup_s) && p.setup_s >= 0 && isfinite(p.dark_ms) && p.dark_ms >= 0);
		assert_true(isfinite(p.engine_bps) && p.engine_bps >= 0);
		assert_true(p.total.by == 0 || (p.total.by > 1 / 400.0 && p.total.by < 400));
		assert_true(p.bytes.spread == 0 || (p.bytes.spread >= 1.05 && isfinite(p.bytes.spread)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_is_known, setup),
		cmocka_unit_test_setup(fixed_times_and_speed, setup),
		cmocka_unit_test_setup(a_full_link_says_nothing_of_the_engine, setup),
		cmocka_unit_test_setup(the_engine_was_at_least_so_fast, setup),
		cmocka_unit_test_setup(corrections_grow_with_proof, setup),
		cmocka_unit_test_setup(what_has_gone_by, setup),
		cmocka_unit_test_setup(nothing_is_corrected_twice, setup),
		cmocka_unit_test_setup(busier_than_before, setup),
		cmocka_unit_test_setup(one_odd_move, setup),
		cmocka_unit_test_setup(per_domain, setup),
		cmocka_unit_test_setup(how_fast_it_shrinks, setup),
		cmocka_unit_test_setup(what_was_long_ago, setup),
		cmocka_unit_test_setup(spread_follows_the_errors, setup),
		cmocka_unit_test_setup(no_more_than_fits, setup),
		cmocka_unit_test_setup(from_history, setup),
		cmocka_unit_test_setup(any_history, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
