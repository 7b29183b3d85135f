/* When are two volumes the same storage? And what is read of real paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "domain/volume_id.h"

#define FILE_A .kind = VOLUME_FILE, .bytes = 4096, .inode = 7
#define DISK_A .kind = VOLUME_BLOCK, .bytes = 1 << 30

static void test_pairs(void **state)
{
	static const struct {
		struct volume_id there, here;
		const char *differ; /* NULL: the same */
	} pairs[] = {
		{{FILE_A}, {FILE_A}, NULL},
		{{FILE_A}, {.kind = VOLUME_UNKNOWN}, NULL},
		{{.kind = VOLUME_UNKNOWN}, {DISK_A}, NULL},
		{{FILE_A}, {DISK_A}, "a file there and a block device here"},
		{{FILE_A}, {.kind = VOLUME_FILE, .bytes = 8192, .inode = 7}, "4096 bytes there and 8192 here"},
		{{FILE_A}, {.kind = VOLUME_FILE, .bytes = 4096, .inode = 8}, "file number 7"},
		{{FILE_A, .fsid = 1}, {FILE_A, .fsid = 2}, "a file system of its own host"},
		{{FILE_A, .fsid = 1}, {FILE_A}, NULL}, /* a server's own file, and a client's view of it */
		{{DISK_A, .wwid = "naa.5"}, {DISK_A, .wwid = "naa.5"}, NULL},
		{{DISK_A, .wwid = "naa.5"}, {DISK_A, .wwid = "naa.6"}, "the disk naa.5 there and naa.6 here"},
		{{DISK_A, .wwid = "naa.5"}, {DISK_A}, NULL},
	};
	char why[192];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		bool same = volume_id_same(&pairs[i].there, &pairs[i].here, why, sizeof(why));

		assert_int_equal(same, !pairs[i].differ);
		assert_non_null(strstr(why, pairs[i].differ ? pairs[i].differ : ""));
	}
}

/* The same file by two paths is the same; its copy is not. JSON keeps all of it. */
static void test_real_files(void **state)
{
	char dir[] = "/tmp/volume-id-XXXXXX", a[64], b[64], c[64], why[192];
	struct volume_id ids[3], back;
	json_t *j;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(a, sizeof(a), "%s/a", dir);
	snprintf(b, sizeof(b), "%s/b", dir);
	snprintf(c, sizeof(c), "%s/c", dir);
	for (int i = 0; i < 2; i++) {
		FILE *f = fopen(i ? c : a, "w");

		assert_non_null(f);
		fputs("a disk", f);
		fclose(f);
	}
	assert_int_equal(symlink(a, b), 0);
	volume_id_read(a, &ids[0]);
	volume_id_read(b, &ids[1]);
	volume_id_read(c, &ids[2]);
	assert_int_equal(ids[0].kind, VOLUME_FILE);
	assert_int_equal(ids[0].bytes, 6);
	assert_true(volume_id_same(&ids[0], &ids[1], why, sizeof(why)));
	assert_false(volume_id_same(&ids[0], &ids[2], why, sizeof(why)));
	j = volume_id_to_json(&ids[0]);
	volume_id_from_json(j, &back);
	assert_memory_equal(&back, &ids[0], sizeof(back));
	json_decref(j);
	volume_id_from_json(NULL, &back);
	assert_int_equal(back.kind, VOLUME_UNKNOWN);
	volume_id_read("/nonexistent", &back);
	assert_int_equal(back.kind, VOLUME_UNKNOWN);
	unlink(a), unlink(b), unlink(c), rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_real_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
