/* Pages that a guest writes again while it is copied: left for the next round, sent as what differs, or whole; in each case both memories are equal at
 * the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/support/xfer_rig.h"

#define MIB (1ULL << 20)

static const uint64_t small[] = {6 * MIB};

static void write_all(struct xfer_rig *r, uint64_t from, uint64_t to, enum fill fill, unsigned *seed)
{
	for (uint64_t p = from; p < to; p++)
		rig_write(r, 0, p, fill, seed);
}

/* From the second time on that a page is sent after the first round; not where the target holds something else meanwhile. */
static void rewritten_pages_go_as_differences(void **state)
{
	struct xfer_rig r;
	struct xfer_stats st;
	unsigned seed = 20;

	(void)state;
	rig_init(&r, small, 1, 2);
	r.codecs = CODEC_DELTA;
	write_all(&r, 0, 500, FILL_RANDOM, &seed);
	rig_start(&r);
	rig_round(&r, false, &st);
	write_all(&r, 0, 500, FILL_TOUCH, &seed);
	rig_round(&r, false, &st);
	assert_int_equal(st.pages_raw, 500 - 64);
	assert_int_equal(st.pages_delta, 64); /* the sample, which tells what the next round will save */
	assert_int_equal(st.pages_compared, 64);
	assert_true(st.compared_bytes < 64 * 8 * 80);
	write_all(&r, 0, 500, FILL_TOUCH, &seed);
	rig_round(&r, false, &st);
	assert_int_equal(st.pages_sent, 500);
	assert_int_equal(st.pages_delta, 500);
	assert_int_equal(st.ram_bytes, 500 * 4096);
	assert_true(st.wire_bytes < 500 * 8 * 80); /* at most eight lines of 64 octets each, and what goes with them */
	/* Written with what was there: nothing but that. Zeros, and then content again: whole. */
	tracker_fake_mark(&r.fake, 0, 0, 100);
	write_all(&r, 100, 200, FILL_ZERO, &seed);
	rig_round(&r, false, &st);
	assert_int_equal(st.pages_delta, 100);
	assert_int_equal(st.pages_zero, 100);
	assert_true(st.wire_bytes < 100 * 30);
	write_all(&r, 0, 200, FILL_TOUCH, &seed);
	write_all(&r, 200, 210, FILL_RANDOM, &seed);
	rig_round(&r, true, &st);
	assert_int_equal(st.pages_delta, 100);
	assert_int_equal(st.pages_raw, 110);
	rig_join(&r);
	assert_int_equal(r.rx_ret, 0);
	assert_int_equal(r.rx_sum.pages_delta, 764);
	rig_assert_equal(&r);
	rig_fini(&r);
}

/* Pages that are written anew as a whole: soon nothing is looked at but a sample, which finds out when that changes. */
static void differences_that_do_not_pay(void **state)
{
	struct xfer_rig r;
	struct xfer_stats st;
	unsigned seed = 21, n_delta[8];

	(void)state;
	rig_init(&r, small, 1, 1);
	r.codecs = CODEC_DELTA;
	write_all(&r, 0, 1536, FILL_RANDOM, &seed);
	rig_start(&r);
	for (int i = 0; i < 5; i++) {
		rig_round(&r, false, &st);
		assert_int_equal(st.pages_delta, 0);
		write_all(&r, 0, 1536, FILL_RANDOM, &seed);
	}
	for (int i = 0; i < 8; i++) {
		rig_round(&r, false, &st);
		n_delta[i] = (unsigned)st.pages_delta;
		write_all(&r, 0, 1536, FILL_TOUCH, &seed);
	}
	assert_int_equal(n_delta[0], 0);
	assert_int_equal(n_delta[1], 2 * 64); /* 2 of 24 parts of 64 pages */
	assert_int_equal(n_delta[7], 1536);
	rig_round(&r, true, &st);
	rig_join(&r);
	rig_assert_equal(&r);
	rig_fini(&r);
}

/* Digests are kept of as many pages as there is room for, and of none. */
static void differences_have_room(void **state)
{
	struct xfer_stats st;
	unsigned seed = 22;

	(void)state;
	for (unsigned n = 0; n <= 100; n += 100) {
		struct xfer_rig r;

		rig_init(&r, small, 1, 2);
		r.held_bytes = (uint64_t)n * 512;
		write_all(&r, 0, 300, FILL_RANDOM, &seed);
		rig_start(&r);
		for (int i = 0; i < 4; i++) {
			rig_round(&r, i == 3, &st);
			assert_int_equal(st.pages_sent, 300);
			assert_int_equal(st.pages_delta, i == 0 || !n ? 0 : i == 1 ? 64 : n);
			write_all(&r, 0, i < 3 ? 300 : 0, FILL_TOUCH, &seed);
		}
		rig_join(&r);
		rig_assert_equal(&r);
		rig_fini(&r);
	}
}

/* The guest writes as soon as the first round has begun. */
static int on_first_round(void *arg, struct err *e)
{
	struct xfer_rig *r = arg;
	unsigned seed = 24;

	(void)e;
	if (!r->fake.n_harvests)
		write_all(r, 1200, 1300, FILL_RANDOM, &seed);
	return 0;
}

/* A page that is dirty again before it was sent is not sent twice: the next round has it, whatever the first one still had to do. */
static void written_again_is_left_for_later(void **state)
{
	struct xfer_rig r;
	struct xfer_stats st;
	unsigned seed = 23;

	(void)state;
	for (int looks = 0; looks < 2; looks++) {
		rig_init(&r, small, 1, 2);
		struct tracker_ops blind = *r.tracker.ops;
		blind.peek_part = NULL;
		if (!looks)
			r.tracker.ops = &blind;
		r.drain = on_first_round;
		write_all(&r, 0, 1536, FILL_RANDOM, &seed);
		atomic_store(&r.tx_limits.bandwidth_bps, 10 * MIB); /* they are far from sent when it looks */
		rig_start(&r);
		rig_round(&r, false, &st);
		assert_int_equal(st.pages_later, looks ? 100 : 0);
		assert_int_equal(st.pages_sent, looks ? 1436 : 1536);
		atomic_store(&r.tx_limits.bandwidth_bps, 0);
		rig_round(&r, true, &st);
		assert_int_equal(st.pages_sent, 100);
		rig_join(&r);
		assert_int_equal(r.rx_ret, 0);
		rig_assert_equal(&r);
		rig_fini(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rewritten_pages_go_as_differences),
		cmocka_unit_test(differences_that_do_not_pay),
		cmocka_unit_test(differences_have_room),
		cmocka_unit_test(written_again_is_left_for_later),
	};

	return cmocka_run_group_tests_name("xfer_again", tests, NULL, NULL);
}
