/* RAM files from outside: this process plays QEMU and maps files of its own. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "domain/ram.h"

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define SIZE (1 << 20)
#define PAGE 4096

struct env {
	char dir[64], path[128];
	int fd;
	char *map;
};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	strcpy(env->dir, "/dev/shm/balt ram-XXXXXX"); /* with a space: maps is not split by words */
	assert_non_null(mkdtemp(env->dir));
	snprintf(env->path, sizeof(env->path), "%s/" UUID ".ram", env->dir);
	env->fd = open(env->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_int_equal(ftruncate(env->fd, SIZE), 0);
	env->map = MAP_FAILED;
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	if (env->map != MAP_FAILED)
		munmap(env->map, SIZE);
	close(env->fd);
	unlink(env->path);
	assert_int_equal(rmdir(env->dir), 0);
	free(env);
	return 0;
}

static int find(struct env *env, struct ram_block *out, unsigned *n, struct err *e)
{
	return ram_find(getpid(), env->dir, UUID, out, n, e);
}

static void map(struct env *env, size_t bytes, int flags)
{
	env->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, env->fd, 0);
	assert_ptr_not_equal(env->map, MAP_FAILED);
}

static void test_find(void **state)
{
	struct env *env = *state;
	struct ram_block b[RAM_BLOCKS_MAX];
	unsigned n = 77;
	struct err e;

	assert_int_equal(find(env, b, &n, &e), -ENOENT);
	assert_int_equal(n, 77);
	map(env, SIZE, MAP_SHARED);
	assert_int_equal(find(env, b, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_string_equal(b[0].path, env->path);
	assert_true(b[0].qemu_addr == (uintptr_t)env->map);
	assert_int_equal(b[0].bytes, SIZE);
	assert_int_equal(b[0].page_bytes, sysconf(_SC_PAGESIZE));
	assert_int_equal(ram_find(getpid(), env->dir, "01234567-89ab-cdef-0123-456789abcdee", b, &n, &e), -ENOENT);
	assert_int_equal(ram_find(getpid(), "/dev/shm/balt", UUID, b, &n, &e), -ENOENT); /* a folder, not a prefix */
	assert_int_equal(ram_find(0x7ffffff0, env->dir, UUID, b, &n, &e), -ENOENT);
}

static void test_cut_in_pieces_is_one_block(void **state)
{
	struct env *env = *state;
	struct ram_block b[RAM_BLOCKS_MAX];
	unsigned n;

	map(env, SIZE, MAP_SHARED);
	assert_int_equal(mprotect(env->map + SIZE / 2, PAGE, PROT_READ), 0);
	assert_int_equal(find(env, b, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_true(b[0].qemu_addr == (uintptr_t)env->map);
}

static void assert_unfit(struct env *env, const char *part)
{
	struct ram_block b[RAM_BLOCKS_MAX];
	struct err e;
	unsigned n;

	assert_int_equal(find(env, b, &n, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, part));
}

static void test_unfit(void **state)
{
	struct env *env = *state;
	char *twice;

	map(env, SIZE, MAP_PRIVATE);
	assert_unfit(env, "private");
	munmap(env->map, SIZE);
	map(env, SIZE / 2, MAP_SHARED);
	assert_unfit(env, "as a whole");
	munmap(env->map, SIZE / 2);
	map(env, SIZE, MAP_SHARED);
	munmap(env->map + SIZE / 2, PAGE);
	assert_unfit(env, "as a whole");
	munmap(env->map, SIZE);
	map(env, SIZE, MAP_SHARED);
	twice = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, env->fd, 0);
	assert_unfit(env, "as a whole");
	munmap(twice, SIZE);
}

static void test_removed(void **state)
{
	struct env *env = *state;
	struct ram_block b[RAM_BLOCKS_MAX];
	struct err e;
	unsigned n;

	map(env, SIZE, MAP_SHARED);
	unlink(env->path);
	assert_int_equal(find(env, b, &n, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "cannot be reached"));
}

/* Random pages written: the extents name these pages and no other, in order, merged. */
static void test_extents(void **state)
{
	struct env *env = *state;
	bool data[SIZE / PAGE] = {false};
	unsigned seed = 5;

	for (int round = 0; round < 200; round++) {
		unsigned page = (unsigned)rand_r(&seed) % (SIZE / PAGE), n_pages = 0;
		struct ram_extent *v = NULL;
		uint64_t end = 0;
		size_t n = 0;

		data[page] = rand_r(&seed) % 3 != 0;
		if (data[page])
			assert_int_equal(pwrite(env->fd, "x", 1, (off_t)page * PAGE), 1);
		else
			assert_int_equal(fallocate(env->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						 (off_t)page * PAGE, PAGE),
				0);
		assert_int_equal(ram_data_extents(env->fd, SIZE, &v, &n, NULL), 0);
		for (size_t i = 0; i < n; i++) {
			assert_true(v[i].start < v[i].end && v[i].end <= SIZE && (i == 0 || v[i].start > end));
			end = v[i].end;
			for (uint64_t p = v[i].start / PAGE; p < v[i].end / PAGE; p++, n_pages++)
				assert_true(data[p]);
		}
		for (size_t p = 0; p < SIZE / PAGE; p++)
			n_pages -= data[p];
		assert_int_equal(n_pages, 0);
		free(v);
	}
}

static void test_extents_edges(void **state)
{
	struct env *env = *state;
	struct ram_extent *v = (void *)1;
	size_t n = 9;

	assert_int_equal(ram_data_extents(env->fd, SIZE, &v, &n, NULL), 0); /* nothing but a hole */
	assert_int_equal(n, 0);
	free(v);
	assert_int_equal(ram_resident_bytes(env->path), 0);
	assert_int_equal(fallocate(env->fd, 0, 0, SIZE), 0);
	assert_int_equal(
		ram_data_extents(env->fd, SIZE, &v, &n, NULL), 0); /* allocated ahead: resident, but no data yet */
	assert_int_equal(n, 0);
	assert_int_equal(ram_resident_bytes(env->path), SIZE);
	map(env, SIZE, MAP_SHARED);
	memset(env->map, 0, SIZE);
	assert_int_equal(ram_data_extents(env->fd, SIZE / 2, &v, &n, NULL), 0); /* cut at what was asked for */
	assert_int_equal(n, 1);
	assert_true(v[0].start == 0 && v[0].end == SIZE / 2);
	free(v);
	assert_int_equal(ram_resident_bytes(env->path), SIZE);
	assert_int_equal(ram_resident_bytes("/nonexistent"), 0);
	assert_int_equal(ram_data_extents(-1, SIZE, &v, &n, NULL), -EBADF);
}

/* On tmpfs; a hugetlbfs needs root and is in tests/integration/test_huge_pages.py. */
static void test_room(void **state)
{
	struct env *env = *state;
	struct ram_room r;

	assert_int_equal(ram_room(env->dir, &r), 0);
	assert_true(r.page_bytes == SPEC_PAGE_BYTES && r.pool_bytes == UINT64_MAX && r.reserved_bytes == 0);
	assert_true(r.free_bytes > 0);
	assert_int_equal(ram_room("/nonexistent", &r), -1);
	assert_true(r.free_bytes == UINT64_MAX && r.page_bytes == SPEC_PAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_find),
		T(test_cut_in_pieces_is_one_block),
		T(test_unfit),
		T(test_removed),
		T(test_extents),
		T(test_extents_edges),
		T(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
