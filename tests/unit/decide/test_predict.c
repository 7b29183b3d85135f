/* The prediction of a move from measured figures: which limit counts, what is sent, what is said; then what must hold whatever was measured. What it
 * assumes where nothing was measured: tests/unit/policyd/test_admit.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/decide/predict.h"

#define MB 1e6

/* 1 GB of RAM: 400 MB holes, of the rest a tenth zeros; half-compressible; the link carries 100 MB/s, the engine 1 GB/s. */
static struct predict_in a_guest(void)
{
	struct predict_in in = {.resident_bytes = (uint64_t)(600 * MB),
		.mem_bytes = (uint64_t)(1000 * MB),
		.dirty_bps = -1,
		.max_blackout_ms = 300,
		.guest = {.ram_bytes = 1000 * MB,
			.hole_bytes = 400 * MB,
			.data_bytes = 600 * MB,
			.zero_share = 0.1,
			.ratio = 0.5,
			.pack_bps = 800 * MB},
		.path = {.wire_bps = 100 * MB, .engine_bps = 1000 * MB, .setup_s = 0.5, .dark_ms = 30}};

	for (unsigned i = 0; i < 4; i++)
		in.guest.written[in.guest.n_written++] = (struct rounds_point){0.05 * (1 << i), 0.5 * MB};
	return in;
}

static void near(double v, double expected, double by)
{
	if (fabs(v - expected) > by * fabs(expected))
		fail_msg("%g, expected %g", v, expected);
}

static void the_link_is_the_limit(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p;

	(void)state;
	predict(&in, &p);
	near(p.bytes, 270 * MB, 0.01); /* 540 MB of content at 0.5 */
	near(p.total_s, 0.5 + 2.7, 0.05);
	near(p.rate_bps, 200 * MB, 0.01);
	near(p.blackout_ms, 30 + 2.5, 0.05);
	assert_true(p.fits && p.converges && !p.link_assumed && !p.dirty_assumed);
	assert_non_null(strstr(p.why, "holes 381M, zero 57M, lz4 2.0x"));
	assert_non_null(strstr(p.why, "link gives 200 MB/s"));
	in.bandwidth_bps = (uint64_t)(50 * MB); /* half of it allowed */
	predict(&in, &p);
	near(p.rate_bps, 100 * MB, 0.01);
}

static void the_engine_is_the_limit(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p;

	(void)state;
	in.path.wire_bps = 5000 * MB;
	predict(&in, &p);
	near(p.rate_bps, 1000 * MB, 0.01);
}

/* On a slow link the better packer pays, on a fast one the quicker. */
static void packs_as_the_channels_would(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p;

	(void)state;
	in.guest.zstd_ratio = 0.25;
	in.guest.zstd_bps = 250 * MB;
	in.path.wire_bps = 12 * MB;
	predict(&in, &p);
	near(p.bytes, 135 * MB, 0.05);
	assert_true(p.zstd && strstr(p.why, "zstd 4.0x"));
	in.path.wire_bps = 800 * MB;
	in.path.octet_ns = 5;
	predict(&in, &p);
	near(p.bytes, 270 * MB, 0.05);
	assert_true(!p.zstd && strstr(p.why, "lz4 2.0x"));
}

static void raw_where_packing_costs_more_than_sending(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p;

	(void)state;
	in.path.wire_bps = in.path.engine_bps = 8000 * MB;
	in.guest.pack_bps = 300 * MB;
	predict(&in, &p);
	near(p.bytes, 540 * MB, 0.05);
	assert_non_null(strstr(p.why, "raw"));
	in.path.wire_bps = 800 * MB; /* so slow that packing pays, were it not the CPUs that make it slow */
	in.guest.pack_bps = 1000 * MB;
	predict(&in, &p);
	near(p.bytes, 270 * MB, 0.05);
	in.path.octet_ns = 0.8;
	predict(&in, &p);
	near(p.bytes, 540 * MB, 0.05);
	in.bandwidth_bps = (uint64_t)(100 * MB);
	predict(&in, &p);
	near(p.bytes, 270 * MB, 0.05);
	in.bandwidth_bps = 0;
	in.path.octet_ns = 0;
	in.path.wire_bps = 8000 * MB;
	in.guest.pack_bps = 300 * MB;
	in.path.pack_cost = 0.5; /* but earlier moves show what the engine does */
	predict(&in, &p);
	near(p.bytes, 540 * MB * 0.75, 0.01);
	in = a_guest();
	in.guest.ratio = 1.002; /* does not pack */
	predict(&in, &p);
	near(p.bytes, 541 * MB, 0.01);
}

/* A cost tells a share and is told by it; what packs better is packed more, and a cost of nothing packs all. */
static void packed_shares(void **state)
{
	(void)state;
	for (double ratio = 0.1; ratio < 0.85; ratio += 0.1)
		for (double share = 0.05; share < 0.96; share += 0.1) {
			double cost = predict_pack_cost(ratio, share);

			near(predict_packed_share(ratio, cost), share, 0.001);
			assert_true(predict_packed_share(ratio / 2, cost) > share);
			assert_true(predict_packed_share(ratio, cost / 2) > share);
		}
	near(predict_packed_share(0.5, predict_pack_cost(0.5, 1)), 1, 0.02);
	assert_true(predict_packed_share(0.5, predict_pack_cost(0.5, 0)) < 0.02);
	assert_true(predict_packed_share(1, 0.5) == 0 && predict_packed_share(0.5, 0) == 1);
}

static void trimmed_first(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p;

	(void)state;
	in.trim_bytes = (uint64_t)(300 * MB);
	predict(&in, &p);
	near(p.bytes, 135 * MB, 0.01);
	assert_true(p.trim_s > 1 && p.total_s > p.trim_s + 1.3);
	in.path.trim_bps = (double)(in.mem_bytes - in.trim_bytes) / 3; /* as it went before */
	predict(&in, &p);
	near(p.trim_s, 3, 0.001);
}

static void will_not_converge(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out p, q;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		in.guest.written[i].bytes = in.guest.written[i].s * 900 * MB;
	predict(&in, &p);
	assert_false(p.converges || p.fits);
	assert_true(p.dirty_bps > 500 * MB && p.blackout_ms > 300);
	in.postcopy = true;
	predict(&in, &q);
	assert_true(q.postcopy && q.converges && q.fits && q.blackout_ms < 300 && q.rounds == p.rounds);
	assert_true(q.bytes == p.bytes && fabs(q.total_s - p.total_s) < 0.001); /* the same is sent, only later */
	in.postcopy = false;
	in.path.blackout.by = 0.01; /* no correction makes it fit */
	predict(&in, &p);
	assert_false(p.fits);
}

/* The raw figures, which the next correction is made from, do not know of this one. */
static void corrected_once(void **state)
{
	struct predict_in in = a_guest();
	struct predict_out a, b;

	(void)state;
	predict(&in, &a);
	in.path.total = (struct predict_factor){1.5, 1.2};
	in.path.blackout = (struct predict_factor){2, 3};
	in.path.bytes = (struct predict_factor){0.9, 1.05};
	predict(&in, &b);
	near(b.total_s, 1.5 * a.total_s, 1e-9);
	near(b.blackout_ms, 2 * a.blackout_ms, 1e-9);
	near(b.bytes, 0.9 * a.bytes, 1e-9);
	near(b.total_high_s, 1.2 * b.total_s, 1e-9);
	near(b.blackout_low_ms, b.blackout_ms / 3, 1e-9);
	assert_true(
		a.raw_total_s == b.raw_total_s && a.raw_blackout_ms == b.raw_blackout_ms && a.raw_bytes == b.raw_bytes);
}

static double uniform(double low, double high)
{
	return low + (high - low) * (double)random() / (double)RAND_MAX;
}

static struct predict_in any(void)
{
	struct predict_in in = a_guest();
	double at = 0, bytes = 0;

	in.guest.ram_bytes = pow(10, uniform(6, 11));
	in.guest.data_bytes = in.guest.ram_bytes * uniform(0, 1);
	in.guest.hole_bytes = in.guest.ram_bytes - in.guest.data_bytes;
	in.guest.zero_share = uniform(0, 1);
	in.guest.ratio = uniform(0, 1.1);
	in.guest.pack_bps = random() % 3 ? pow(10, uniform(7, 10)) : 0;
	in.mem_bytes = (uint64_t)in.guest.ram_bytes;
	in.path.wire_bps = random() % 3 ? pow(10, uniform(5, 10)) : 0;
	in.path.engine_bps = random() % 3 ? pow(10, uniform(7, 10)) : 0;
	in.path.setup_s = random() % 3 ? uniform(0, 3) : 0;
	in.path.total = (struct predict_factor){random() % 2 ? uniform(0.2, 5) : 0, random() % 2 ? uniform(1, 10) : 0};
	in.path.bytes = in.path.blackout = in.path.total;
	in.link_bps = random() % 2 ? (uint64_t)random() : 0;
	in.bandwidth_bps = random() % 3 ? 0 : (uint64_t)random();
	in.guest.n_written = (unsigned)random() % (ROUNDS_CURVE_MAX + 1);
	for (unsigned i = 0; i < in.guest.n_written; i++) {
		at += uniform(0.01, 0.2);
		bytes += uniform(0, 0.1) * in.guest.data_bytes;
		in.guest.written[i] = (struct rounds_point){at, bytes};
	}
	return in;
}

static void whatever_was_measured(void **state)
{
	(void)state;
	srandom(5);
	for (int i = 0; i < 20000; i++) {
		struct predict_in in = any(), more;
		struct predict_out p, q;

		predict(&in, &p);
		assert_true(isfinite(p.total_s) && isfinite(p.blackout_ms) && isfinite(p.bytes) && p.total_s > 0);
		assert_true(p.total_low_s <= p.total_s && p.total_s <= p.total_high_s);
		assert_true(p.blackout_low_ms <= p.blackout_ms && p.blackout_ms <= p.blackout_high_ms);
		assert_true(p.bytes_low <= p.bytes && p.bytes <= p.bytes_high);
		if (in.guest.ratio > 0 && in.guest.ratio <= 1)
			assert_true(p.raw_bytes >=
				in.guest.data_bytes * (1 - in.guest.zero_share) * in.guest.ratio * 0.999999);
		more = in;
		for (unsigned k = 0; k < more.guest.n_written; k++)
			more.guest.written[k].bytes *= 1.5;
		predict(&more, &q);
		if (p.converges && q.converges && p.rounds == q.rounds)
			assert_true(q.raw_total_s >= p.raw_total_s * 0.999999 && q.raw_bytes >= p.raw_bytes * 0.999999);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_link_is_the_limit),
		cmocka_unit_test(the_engine_is_the_limit),
		cmocka_unit_test(packs_as_the_channels_would),
		cmocka_unit_test(raw_where_packing_costs_more_than_sending),
		cmocka_unit_test(packed_shares),
		cmocka_unit_test(trimmed_first),
		cmocka_unit_test(will_not_converge),
		cmocka_unit_test(corrected_once),
		cmocka_unit_test(whatever_was_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
