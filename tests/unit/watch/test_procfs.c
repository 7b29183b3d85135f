/* Parsers of /proc, with texts that were recorded and with broken ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policyd/watch/procfs.h"

static void test_schedstat(void **state)
{
	struct schedstat s = {1, 2};

	(void)state;
	assert_int_equal(schedstat_parse("103929652 17288351 412\n", &s), 0);
	assert_int_equal(s.run_ns, 103929652);
	assert_int_equal(s.delay_ns, 17288351);
	assert_int_equal(schedstat_parse("18446744073709551615 0 1", &s), 0);
	assert_true(s.run_ns == UINT64_MAX);
	assert_int_equal(schedstat_parse("", &s), -EINVAL);
	assert_int_equal(schedstat_parse("12 13", &s), -EINVAL);
	assert_int_equal(schedstat_parse("a b c", &s), -EINVAL);
	assert_true(s.run_ns == UINT64_MAX); /* untouched */
}

static const char stat_text[] = "cpu  5391 18 1872 180000 2000 3 97 619 0 0\n"
				"cpu0 2700 9 936 90000 1000 1 50 300 0 0\n"
				"cpu1 2691 9 936 90000 1000 2 47 319 0 0\n"
				"intr 1234 0 0\nctxt 99\nbtime 1700000000\n";

static void test_cpu_times(void **state)
{
	struct cpu_times t = {0};

	(void)state;
	assert_int_equal(cpu_times_parse(stat_text, &t), 0);
	assert_int_equal(t.n_cpus, 2);
	assert_int_equal(t.busy, 5391 + 18 + 1872 + 3 + 97 + 619);
	assert_int_equal(t.total - t.busy, 182000);
	assert_int_equal(cpu_times_parse("cpu 1 2 3 4\n", &t), 0); /* Linux 2.4 */
	assert_int_equal(t.busy, 6);
	assert_int_equal(cpu_times_parse("cpu 1 2 3", &t), -EINVAL);
	assert_int_equal(cpu_times_parse("", &t), -EINVAL);
	assert_int_equal(cpu_times_parse("intr 1 2 3 4 5", &t), -EINVAL);
}

static void test_meminfo(void **state)
{
	struct meminfo m = {0};

	(void)state;
	assert_int_equal(
		meminfo_parse("MemTotal:        8131072 kB\nMemFree:  100 kB\nMemAvailable:    6123456 kB\n"
			      "SwapCached:            0 kB\nSwapTotal:       1048576 kB\nSwapFree:        1000000 kB\n",
			&m),
		0);
	assert_true(m.total_bytes == 8131072ULL << 10);
	assert_true(m.available_bytes == 6123456ULL << 10);
	assert_true(m.swap_total_bytes == 1048576ULL << 10 && m.swap_free_bytes == 1000000ULL << 10);
	assert_int_equal(meminfo_parse("MemTotal: 8 kB\nMemAvailable: 4 kB\n", &m), 0);
	assert_int_equal(m.swap_total_bytes, 0);
	assert_int_equal(meminfo_parse("MemTotal: 8 kB\n", &m), -EINVAL);
	assert_int_equal(meminfo_parse("MemTotal: x kB\nMemAvailable: 4 kB\n", &m), -EINVAL);
	assert_int_equal(meminfo_parse("", &m), -EINVAL);
	assert_int_equal(m.total_bytes, 8192);
}

static void test_psi(void **state)
{
	struct psi p = {0};

	(void)state;
	assert_int_equal(psi_parse("some avg10=1.85 avg60=1.99 avg300=0.67 total=7899421\n"
				   "full avg10=0.18 avg60=0.03 avg300=0.09 total=4154770\n",
				 &p),
		0);
	assert_true(p.some.known && p.full.known);
	assert_true(p.some.avg10 > 1.84 && p.some.avg10 < 1.86 && p.full.avg300 > 0.08);
	assert_int_equal(p.some.total_us, 7899421);
	assert_int_equal(psi_parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", &p), 0); /* no full */
	assert_true(p.some.known && !p.full.known);
	assert_int_equal(psi_parse("full avg10=0.18 avg60=0.03 avg300=0.09 total=4154770\n", &p), -EINVAL);
	assert_int_equal(psi_parse("some avg10=0.18 avg60", &p), -EINVAL);
	assert_int_equal(psi_parse("", &p), -EINVAL);
}

/* Every text cut at every place, and random bytes, must be survived. */
static void test_broken_texts(void **state)
{
	char *cut;
	struct cpu_times t;
	struct meminfo m;
	struct psi p;
	struct schedstat s;

	(void)state;
	for (size_t n = 0; n < sizeof(stat_text); n++) {
		cut = strndup(stat_text, n); /* on the heap: a read beyond the end is seen */
		cpu_times_parse(cut, &t);
		meminfo_parse(cut, &m);
		psi_parse(cut, &p);
		schedstat_parse(cut, &s);
		free(cut);
	}
	srand(3);
	for (int i = 0; i < 20000; i++) {
		size_t n = (size_t)rand() % 60;

		cut = calloc(1, n + 1);
		for (size_t k = 0; k < n; k++)
			cut[k] = "cpu some=avg10: 0123456789.\nMemTotal"[rand() % 37];
		cpu_times_parse(cut, &t);
		meminfo_parse(cut, &m);
		psi_parse(cut, &p);
		schedstat_parse(cut, &s);
		free(cut);
	}
}

static void test_read(void **state)
{
	char buf[64], small[5];
	char *root;

	(void)state;
	assert_true(procfs_read(buf, sizeof(buf), "/proc", "%s/schedstat", "self") > 4);
	assert_int_equal(procfs_read(small, sizeof(small), "/proc", "stat"), 4);
	assert_string_equal(small, "cpu ");
	assert_int_equal(procfs_read(buf, sizeof(buf), "/proc", "nothing/here"), -ENOENT);
	assert_int_equal(procfs_read(buf, sizeof(buf), "/proc", "self"), -EISDIR);
	root = calloc(1, 1000);
	memset(root, 'a', 999);
	assert_int_equal(procfs_read(buf, sizeof(buf), root, "x"), -ENAMETOOLONG);
	assert_int_equal(procfs_read(buf, sizeof(buf), "/proc", "%s", root), -ENAMETOOLONG);
	free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schedstat),
		cmocka_unit_test(test_cpu_times),
		cmocka_unit_test(test_meminfo),
		cmocka_unit_test(test_psi),
		cmocka_unit_test(test_broken_texts),
		cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
