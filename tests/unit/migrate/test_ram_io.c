/* Where a RAM file has content: the same as a walk page by page finds, however long its extents are and wherever one looks. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/ram_io.h"

#define PAGES 6000u /* some 23 MiB: an extent may be longer than what is looked at in one go */

struct file {
	struct ram_block block;
	struct ram_io io;
	int fd;
	bool content[PAGES];
};

static void file_open(struct file *f)
{
	*f = (struct file){.block = {.bytes = PAGES * 4096ULL, .page_bytes = 4096}};
	snprintf(f->block.path, sizeof(f->block.path), "/dev/shm/test_ram_io.%d", (int)getpid());
	f->fd = open(f->block.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, (off_t)f->block.bytes), 0);
	assert_int_equal(ram_io_open(&f->io, &f->block, false, NULL), 0);
	unlink(f->block.path);
}

static void file_close(struct file *f)
{
	ram_io_close(&f->io);
	close(f->fd);
}

static void put(struct file *f, unsigned from, unsigned n)
{
	for (unsigned p = from; p < from + n && p < PAGES; p++) {
		assert_int_equal(pwrite(f->fd, "x", 1, (off_t)p * 4096), 1);
		f->content[p] = true;
	}
}

static void punch(struct file *f, unsigned from, unsigned n)
{
	n = from + n > PAGES ? PAGES - from : n;
	assert_int_equal(
		fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from * 4096, (off_t)n * 4096), 0);
	for (unsigned p = from; p < from + n; p++)
		f->content[p] = false;
}

/* Exactly the pages of [@from, @to) that have content, in runs that are as long as they can be. */
static void assert_runs(const struct file *f, unsigned from, unsigned to)
{
	uint64_t at = from * 4096ULL, start, end;
	unsigned p = from;

	while (ram_io_next_data(&f->io, at, to * 4096ULL, &start, &end)) {
		assert_true(start >= at && end > start && end <= to * 4096ULL);
		for (; p < start / 4096; p++)
			assert_false(f->content[p]);
		for (; p < end / 4096; p++)
			assert_true(f->content[p]);
		assert_true(p == to || !f->content[p]);
		at = end;
	}
	for (; p < to; p++)
		assert_false(f->content[p]);
}

static void finds_content(void **state)
{
	struct file f;
	unsigned seed = 7;

	(void)state;
	file_open(&f);
	assert_runs(&f, 0, PAGES);
	put(&f, 0, PAGES);
	assert_runs(&f, 0, PAGES);
	for (int i = 0; i < 150; i++) {
		unsigned at = (unsigned)rand_r(&seed) % PAGES, n = (unsigned)rand_r(&seed) % (i % 5 ? 5 : 2500), to;

		if (i % 2)
			punch(&f, at, n + 1);
		else
			put(&f, at, n);
		at = (unsigned)rand_r(&seed) % PAGES;
		to = at + (unsigned)rand_r(&seed) % (PAGES + 1 - at);
		assert_runs(&f, at, to);
		assert_runs(&f, 0, PAGES);
	}
	file_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(finds_content)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
