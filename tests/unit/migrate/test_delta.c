/* Pages as the lines that differ, and what is remembered for that. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/delta.h"
#include "migrate/held.h"
#include "migrate/rewrites.h"
#include "tests/unit/support/xfer_rig.h"

#define SEED 0x1234567890abcdefULL

struct page {
	uint64_t words[WIRE_PAGE_BYTES / 8];
};

static void fill(struct page *p, unsigned *seed)
{
	for (unsigned i = 0; i < WIRE_PAGE_BYTES / 8; i++)
		p->words[i] = (uint64_t)rand_r(seed) << 32 | (uint64_t)rand_r(seed);
}

/* Any few octets, changed any number of times: the target's page follows. */
static void the_target_follows(void **state)
{
	uint64_t digests[DELTA_LINES], again[DELTA_LINES];
	uint8_t out[DELTA_BYTES_MAX];
	struct page source, target;
	unsigned seed = 3;

	(void)state;
	fill(&source, &seed);
	target = source;
	delta_digest(&source, SEED, digests);
	for (int i = 0; i < 3000; i++) {
		size_t n;

		for (int k = rand_r(&seed) % 30; k > 0; k--)
			((uint8_t *)source.words)[rand_r(&seed) % WIRE_PAGE_BYTES] = (uint8_t)rand_r(&seed);
		n = delta_encode(&source, SEED, digests, out);
		assert_true(n >= DELTA_MASK_BYTES && n <= sizeof(out));
		assert_int_equal(delta_apply(&target, out, n), n);
		assert_memory_equal(&target, &source, sizeof(source));
		delta_digest(&source, SEED, again);
		assert_memory_equal(digests, again, sizeof(digests));
	}
}

static void only_what_differs_is_sent(void **state)
{
	uint64_t digests[DELTA_LINES], other[DELTA_LINES];
	uint8_t out[DELTA_BYTES_MAX];
	unsigned seed = 4;
	struct page p;

	(void)state;
	fill(&p, &seed);
	delta_digest(&p, SEED, digests);
	assert_int_equal(delta_encode(&p, SEED, digests, out), DELTA_MASK_BYTES);
	assert_int_equal(wire_get64(out), 0);
	((uint8_t *)p.words)[0] ^= 1;
	((uint8_t *)p.words)[WIRE_PAGE_BYTES - 1] ^= 128;
	assert_int_equal(delta_encode(&p, SEED, digests, out), DELTA_MASK_BYTES + 2 * DELTA_LINE_BYTES);
	assert_int_equal(wire_get64(out), 1ULL << 63 | 1);
	assert_memory_equal(out + DELTA_MASK_BYTES, &p, DELTA_LINE_BYTES);
	for (unsigned i = 0; i < DELTA_LINES_MAX; i++)
		p.words[i * 16]++;
	assert_int_equal(delta_encode(&p, SEED, digests, out), DELTA_BYTES_MAX);
	/* A line more: whole, and the digests are the new page's all the same. */
	for (unsigned i = 0; i <= DELTA_LINES_MAX; i++)
		p.words[i * 8]++;
	assert_int_equal(delta_encode(&p, SEED, digests, out), 0);
	assert_int_equal(delta_encode(&p, SEED, digests, out), DELTA_MASK_BYTES);
	/* What a guest could find out for one seed is of no use for another. */
	delta_digest(&p, SEED + 1, other);
	for (unsigned i = 0; i < DELTA_LINES; i++)
		assert_true(digests[i] != other[i]);
}

static void nothing_is_taken_from_beyond_the_end(void **state)
{
	uint8_t in[DELTA_BYTES_MAX + DELTA_LINE_BYTES] = {0};
	struct page p = {0};

	(void)state;
	wire_put64(in, 1ULL << 40 | 1ULL << 3);
	for (size_t n = 0; n < DELTA_MASK_BYTES + 2 * DELTA_LINE_BYTES; n++)
		assert_int_equal(delta_apply(&p, in, n), -EBADMSG);
	assert_int_equal(delta_apply(&p, in, sizeof(in)), DELTA_MASK_BYTES + 2 * DELTA_LINE_BYTES);
	wire_put64(in, (1ULL << (DELTA_LINES_MAX + 1)) - 1); /* a line more than may differ */
	assert_int_equal(delta_apply(&p, in, sizeof(in)), -EBADMSG);
}

static void room_is_for_so_many_pages(void **state)
{
	const struct ram_block blocks[] = {{.bytes = 40 * 4096}, {.bytes = 60 * 4096}};
	struct held h;

	(void)state;
	assert_int_equal(held_init(&h, blocks, 2, 3 * DELTA_LINES * sizeof(uint64_t) + 5), 0);
	assert_null(held_get(&h, 1, 59));
	for (unsigned i = 0; i < 3; i++) {
		uint64_t *d = held_put(&h, i % 2, 20 + i);

		assert_non_null(d);
		d[DELTA_LINES - 1] = i;
	}
	assert_null(held_put(&h, 0, 7)); /* no room */
	assert_null(held_get(&h, 0, 7));
	held_drop(&h, 0, 7);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(held_get(&h, i % 2, 20 + i)[DELTA_LINES - 1], i);
	/* Dropped: not known; its place stays its own. */
	held_drop(&h, 1, 21);
	assert_null(held_get(&h, 1, 21));
	assert_null(held_put(&h, 0, 7));
	assert_non_null(held_put(&h, 1, 21));
	assert_non_null(held_get(&h, 1, 21));
	held_fini(&h);
	/* Of none; of no more than there are. */
	assert_int_equal(held_init(&h, blocks, 2, 0), 0);
	assert_null(held_put(&h, 0, 0));
	assert_null(held_get(&h, 0, 0));
	held_drop(&h, 0, 0);
	held_fini(&h);
	assert_int_equal(held_init(&h, blocks, 2, UINT64_MAX), 0);
	assert_int_equal(h.n_max, 100);
	held_fini(&h);
	assert_true(held_room() > 0 && held_room() <= 1ULL << 30);
}

/* What a guest changes of the pages that it rewrites; of what it does not rewrite nothing is known. */
static void what_a_guest_changes(void **state)
{
	const uint64_t bytes = 2 << 20;
	unsigned seed = 8;
	struct rewrites *r = NULL;
	struct xfer_rig rig;
	double share;
	struct err e = {0};

	(void)state;
	rig_init(&rig, &bytes, 1, 1);
	for (uint64_t p = 0; p < 500; p++)
		rig_write(&rig, 0, p, FILL_RANDOM, &seed);
	assert_true(rewrites_share(NULL) == 1);
	assert_int_equal(rewrites_begin(&rig.tracker, rig.src, 1, &r, &e), 0);
	assert_true(rewrites_share(r) == 1); /* nothing was written again */
	for (uint64_t p = 0; p < 500; p++)
		rig_write(&rig, 0, p, FILL_TOUCH, &seed);
	share = rewrites_share(r);
	assert_true(share > 0.015 && share < 0.15); /* one to eight lines of 64 */
	assert_true(rewrites_share(r) == 1);        /* they are as they were when it looked last */
	for (uint64_t p = 0; p < 500; p++)
		rig_write(&rig, 0, p, FILL_RANDOM, &seed);
	assert_true(rewrites_share(r) == 1);
	rewrites_free(r);
	struct tracker_ops blind = *rig.tracker.ops;
	blind.peek_part = NULL;
	rig.tracker.ops = &blind;
	assert_int_equal(rewrites_begin(&rig.tracker, rig.src, 1, &r, &e), 0);
	assert_null(r);
	rewrites_free(r);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_target_follows),
		cmocka_unit_test(only_what_differs_is_sent),
		cmocka_unit_test(nothing_is_taken_from_beyond_the_end),
		cmocka_unit_test(room_is_for_so_many_pages),
		cmocka_unit_test(what_a_guest_changes),
	};

	return cmocka_run_group_tests_name("delta", tests, NULL, NULL);
}
