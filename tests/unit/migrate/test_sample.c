/* Samples of RAM files whose content is known: shares and ratios come out right, holes stay holes. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/sample.h"

#define PAGE 4096u
#define MIB (1ULL << 20)

static struct ram_block make(uint64_t bytes)
{
	struct ram_block b = {.bytes = bytes, .page_bytes = PAGE};
	int fd;

	snprintf(b.path, sizeof(b.path), "/dev/shm/ballast-sample-XXXXXX");
	fd = mkstemp(b.path);
	assert_true(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	close(fd);
	return b;
}

enum content { ZEROS, HALF, RANDOM };

static void put(const struct ram_block *b, uint64_t from, uint64_t n, enum content what)
{
	int fd = open(b->path, O_WRONLY);
	uint8_t page[PAGE];

	memset(page, 0, sizeof(page));
	for (uint64_t off = from; off < from + n; off += PAGE) {
		for (unsigned i = 0; what != ZEROS && i < (what == HALF ? PAGE / 2 : PAGE); i += 4) {
			uint32_t r = (uint32_t)random() << 8 ^ (uint32_t)random();

			memcpy(page + i, &r, 4);
		}
		assert_int_equal(pwrite(fd, page, PAGE, (off_t)off), PAGE);
	}
	close(fd);
}

static struct sample take(const struct ram_block *b, unsigned n)
{
	atomic_bool stop = false;
	struct sample s;
	struct err e = {0};

	assert_int_equal(sample_ram(b, n, &stop, &s, &e), 0);
	return s;
}

static void all_holes(void **state)
{
	struct ram_block b = make(64 * MIB);
	struct sample s = take(&b, 1);

	(void)state;
	assert_true(s.hole_bytes == 64 * MIB && s.data_bytes == 0 && s.pages_read == 0 && s.ratio == 1);
	assert_true(ram_resident_bytes(b.path) == 0);
	unlink(b.path);
}

/* 40 MiB of half-compressible data in a lump, 24 MiB of zeros elsewhere, the rest holes. */
static void lumps(void **state)
{
	struct ram_block b = make(256 * MIB);
	struct sample s;

	(void)state;
	put(&b, 100 * MIB, 40 * MIB, HALF);
	put(&b, 200 * MIB, 24 * MIB, ZEROS);
	s = take(&b, 1);
	assert_true(s.data_bytes == 64 * MIB && s.hole_bytes == 192 * MIB);
	assert_true(fabs(s.zero_share - 24.0 / 64) < 0.01);
	assert_true(s.ratio > 0.48 && s.ratio < 0.56);
	assert_true(s.pages_read >= 4096 && s.pack_bps > 0);
	assert_true(s.zstd_ratio > 0.3 && s.zstd_ratio < 0.56 && s.zstd_bps > 0);
	assert_true(ram_resident_bytes(b.path) == 64 * MIB); /* nothing was filled in by looking */
	unlink(b.path);
}

static void what_does_not_pack_is_raw(void **state)
{
	struct ram_block b = make(32 * MIB);
	struct sample s;

	(void)state;
	put(&b, 0, 32 * MIB, RANDOM);
	s = take(&b, 1);
	assert_true(s.ratio > 1 && s.ratio < 1.01 && s.zero_share == 0);
	unlink(b.path);
}

static void two_blocks_and_small_ones(void **state)
{
	struct ram_block b[2] = {make(1 * MIB), make(16 * MIB)};
	struct sample s;

	(void)state;
	put(&b[0], 0, PAGE, RANDOM);
	s = take(b, 1); /* one page */
	assert_true(s.data_bytes == PAGE && s.pages_read == 1);
	put(&b[1], 8 * MIB, 4 * MIB, HALF);
	put(&b[1], 2 * MIB, 4 * MIB, ZEROS);
	s = take(b, 2);
	assert_true(s.data_bytes == 8 * MIB + PAGE && s.ram_bytes == 17 * MIB);
	assert_true(fabs(s.zero_share - 0.5) < 0.02);
	unlink(b[0].path);
	unlink(b[1].path);
}

static void stopped(void **state)
{
	struct ram_block b = make(4 * MIB);
	atomic_bool stop = true;
	struct sample s = {.ram_bytes = 77};
	struct err e = {0};

	(void)state;
	put(&b, 0, 4 * MIB, HALF);
	assert_int_equal(sample_ram(&b, 1, &stop, &s, &e), -ECANCELED);
	assert_true(s.ram_bytes == 77);
	unlink(b.path);
	assert_true(sample_ram(&b, 1, &stop, &s, &e) < 0); /* the file has gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_holes),
		cmocka_unit_test(lumps),
		cmocka_unit_test(what_does_not_pack_is_raw),
		cmocka_unit_test(two_blocks_and_small_ones),
		cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
