/* Pre-copy on paper: guests and links whose outcome can be reckoned by hand, and what must hold for all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "migrate/rounds.h"

#define MB 1e6

static struct rounds_in guest(double data, double rate)
{
	return (struct rounds_in){.data_bytes = data,
		.wire_ratio = 1,
		.rate_bps = rate,
		.dark_ms = 40,
		.max_rounds = 30,
		.max_blackout_ms = 300,
		.fixed_blackout_ms = 60,
		.page_bytes = 4096};
}

static void curve(struct rounds_in *in, double hot, double bps)
{
	const double at[] = {0.05, 0.1, 0.2, 0.4};

	in->n_curve = 4;
	for (unsigned i = 0; i < 4; i++)
		in->curve[i] = (struct rounds_point){at[i], hot + bps * at[i]};
}

/* ---- by hand --------------------------------------------------------------------------------------------- */

static void the_curve(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);

	(void)state;
	assert_true(rounds_written(&in, 5) == 0); /* no curve: it writes nothing */
	curve(&in, 20 * MB, 10 * MB);
	assert_true(rounds_written(&in, 0) == 0);
	assert_true(fabs(rounds_written(&in, 0.1) - 21 * MB) < 1);
	assert_true(fabs(rounds_written(&in, 0.3) - 23 * MB) < 1);
	assert_true(fabs(rounds_written(&in, 1) - 30 * MB) < MB); /* the hot set counts once */
	assert_true(rounds_written(&in, 1e6) <= 1000 * MB);       /* and no more than there is */
	assert_true(rounds_written(&in, 1e6) > 999 * MB);
}

/* 100 MB/s carry 20; it converges when it may be slowed enough, in more rounds and with the same limit kept, and not when it may not. */
static void slowed(void **state)
{
	struct rounds_in in = guest(1000 * MB, 20 * MB);
	struct rounds_out out;

	(void)state;
	curve(&in, 0, 100 * MB);
	in.max_blackout_ms = 300;
	rounds_simulate(&in, &out);
	assert_true(!out.converges && out.slow_percent == 0);
	in.slow_max = 30;
	rounds_simulate(&in, &out);
	assert_true(!out.converges && out.slow_percent == 0);
	in.slow_max = 95;
	rounds_simulate(&in, &out);
	assert_true(out.converges && out.slow_percent > 80 && out.slow_percent <= 95);
	assert_true(out.blackout_ms <= 340);
}

static void idle(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);
	struct rounds_out out;

	(void)state;
	in.wire_ratio = 0.5;
	rounds_simulate(&in, &out);
	assert_true(out.converges && out.n_rounds == 1);
	assert_true(fabs(out.copy_s - 10) < 0.01 && fabs(out.blackout_ms - 40) < 0.01);
	assert_true(fabs(out.wire_bytes - 500 * MB) < 1);
}

/* 100 MB/s, 10 MB/s are dirtied: of 1000 MB about 45 are written again before their turn and left for later; the 9.5 s of the rest leave about 91 MB (some pages
 * twice), those 0.91 s leave 9.1 MB, which would fit into 240 ms; a further round makes them 0.91 MB, which is less than three quarters, and little enough. */
static void dirtying(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);
	struct rounds_out out;

	(void)state;
	curve(&in, 0, 10 * MB);
	rounds_simulate(&in, &out);
	assert_true(out.converges && out.n_rounds == 3);
	assert_true(fabs(out.copy_s - 10.55) < 0.05);
	assert_true(fabs(out.blackout_ms - 49.5) < 1);
	assert_true(fabs(out.content_bytes - 1055 * MB) < 5 * MB);
}

/* A hot set of 20 MB rewritten all the time fits (200 ms at 100 MB/s); one of 40 MB never does, however often it is sent. */
static void hot(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);
	struct rounds_out out;

	(void)state;
	curve(&in, 20 * MB, 0);
	rounds_simulate(&in, &out);
	assert_true(out.converges && out.n_rounds == 1 && fabs(out.blackout_ms - 240) < 1);
	curve(&in, 40 * MB, 0);
	rounds_simulate(&in, &out);
	assert_false(out.converges);
	assert_true(out.blackout_ms > 400 && out.n_rounds < 10);
	in.max_blackout_ms = 500; /* allowed: it works */
	rounds_simulate(&in, &out);
	assert_true(out.converges);
}

/* The same hot set of 40 MB, of which a sixth goes out from the third round on: it is stuck after two, and fits after the third. */
static void again_is_less(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);
	struct rounds_out out;

	(void)state;
	curve(&in, 40 * MB, 0);
	in.again_octets = in.again_time = 1.0 / 6;
	rounds_simulate(&in, &out);
	assert_true(out.converges && out.n_rounds >= 2 && out.n_rounds < 10);
	assert_true(fabs(out.blackout_ms - (40 + 400 / 6.0)) < 1);
	in.again_octets = in.again_time = 0.8; /* 320 ms and what is fixed: no */
	rounds_simulate(&in, &out);
	assert_false(out.converges);
	/* A guest that writes anywhere meets few of the pages that were sent again. */
	in = guest(1000 * MB, 100 * MB);
	curve(&in, 0, 10 * MB);
	rounds_simulate(&in, &out);
	double before = out.wire_bytes;
	in.again_octets = in.again_time = 0.1;
	rounds_simulate(&in, &out);
	assert_true(out.wire_bytes <= before && out.wire_bytes > 0.98 * before);
}

static void too_fast(void **state)
{
	struct rounds_in in = guest(1000 * MB, 100 * MB);
	struct rounds_out out;

	(void)state;
	curve(&in, 0, 300 * MB);
	rounds_simulate(&in, &out);
	assert_false(out.converges);
	assert_true(out.dirty_bps > 50 * MB);
	in.max_rounds = 1;
	curve(&in, 0, 20 * MB);
	rounds_simulate(&in, &out);
	assert_false(out.converges); /* no further round is allowed */
}

static void zeros_cost_time_not_bytes(void **state)
{
	struct rounds_in in = guest(100 * MB, 100 * MB);
	struct rounds_out a, b;

	(void)state;
	rounds_simulate(&in, &a);
	in.zero_bytes = 4000 * MB;
	rounds_simulate(&in, &b);
	assert_true(b.copy_s > a.copy_s + 0.5 && b.wire_bytes == a.wire_bytes);
}

/* ---- always ---------------------------------------------------------------------------------------------- */

static double uniform(double low, double high)
{
	return low + (high - low) * (double)random() / (double)RAND_MAX;
}

static struct rounds_in any(void)
{
	struct rounds_in in = guest(pow(10, uniform(5, 11)), pow(10, uniform(6, 10)));
	double at = 0, bytes = 0;

	in.wire_ratio = uniform(0.05, 1.05);
	in.round_s = random() % 2 ? uniform(0, 0.1) : 0;
	in.pause_s = random() % 2 ? uniform(0, 0.05) : 0;
	in.zero_bytes = random() % 2 ? pow(10, uniform(5, 10)) : 0;
	in.max_blackout_ms = (unsigned)uniform(60, 1000);
	in.n_curve = (unsigned)random() % (ROUNDS_CURVE_MAX + 1);
	for (unsigned i = 0; i < in.n_curve; i++) {
		at += uniform(0.01, 0.3);
		bytes += random() % 3 ? uniform(0, 0.05) * in.data_bytes : 0;
		in.curve[i] = (struct rounds_point){at, bytes};
	}
	return in;
}

static void whatever_the_figures(void **state)
{
	(void)state;
	srandom(11);
	for (int i = 0; i < 20000; i++) {
		struct rounds_in in = any();
		struct rounds_out out;

		rounds_simulate(&in, &out);
		assert_true(isfinite(out.copy_s) && isfinite(out.blackout_ms) && isfinite(out.wire_bytes));
		assert_true(out.content_bytes >= in.data_bytes);
		assert_true(out.wire_bytes >= in.data_bytes * in.wire_ratio * 0.999999);
		assert_true(
			out.copy_s + (out.blackout_ms - in.dark_ms) / 1000 >= in.data_bytes / in.rate_bps * 0.999999);
		assert_true(out.blackout_ms >= in.dark_ms);
		assert_true(out.n_rounds >= 1 && out.n_rounds <= in.max_rounds);
		for (double s = 0.01, last = 0; s < 100; s *= 1.7) {
			double now = rounds_written(&in, s);

			assert_true(now >= last * 0.999999999);
			last = now;
		}
	}
}

/* A guest that writes more, or a slower way, is never done both sooner and with less blackout (a further round may trade one for the other). Octets may be fewer on a
 * slower way: more of a hot set is left for later. */
static void more_is_never_better(void **state)
{
	unsigned both = 0;

	(void)state;
	srandom(12);
	for (int i = 0; i < 20000; i++) {
		struct rounds_in in = any(), more = in;
		struct rounds_out a, b;
		double by = uniform(1, 3);

		if (i % 2)
			for (unsigned k = 0; k < more.n_curve; k++)
				more.curve[k].bytes *= by;
		else
			more.rate_bps /= by;
		rounds_simulate(&in, &a);
		rounds_simulate(&more, &b);
		if (b.converges && a.converges)
			assert_true(b.blackout_ms >= a.blackout_ms * 0.999 ||
				b.copy_s + b.blackout_ms / 1000 >= (a.copy_s + a.blackout_ms / 1000) * 0.999);
		if (b.converges && a.converges && b.n_rounds == a.n_rounds)
			assert_true(b.copy_s + b.blackout_ms / 1000 >= (a.copy_s + a.blackout_ms / 1000) * 0.999 &&
				(!(i % 2) || b.wire_bytes >= a.wire_bytes * 0.999));
		both += a.converges && b.converges;
	}
	assert_true(both > 5000);
}

static void nonsense_is_borne(void **state)
{
	struct rounds_in in = {.data_bytes = -1, .zero_bytes = (double)NAN, .rate_bps = 0, .round_s = -5, .n_curve = 2};
	struct rounds_out out;

	(void)state;
	rounds_simulate(&in, &out);
	assert_true(isfinite(out.copy_s) && isfinite(out.blackout_ms) && out.content_bytes == 0);
	in.curve[0] = (struct rounds_point){0, 5};
	in.curve[1] = (struct rounds_point){0, 3};
	in.data_bytes = 1e300;
	rounds_simulate(&in, &out);
	assert_true(isfinite(out.copy_s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_curve),
		cmocka_unit_test(slowed),
		cmocka_unit_test(idle),
		cmocka_unit_test(dirtying),
		cmocka_unit_test(hot),
		cmocka_unit_test(again_is_less),
		cmocka_unit_test(too_fast),
		cmocka_unit_test(zeros_cost_time_not_bytes),
		cmocka_unit_test(whatever_the_figures),
		cmocka_unit_test(more_is_never_better),
		cmocka_unit_test(nonsense_is_borne),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
