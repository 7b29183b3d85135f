/* Figures and tables as policyctl prints them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/api/format.h"

static void test_figures(void **state)
{
	static const struct {
		double v;
		const char *seconds, *ms, *percent, *rate;
	} rows[] = {
		{-1, "-", "-", "-", "-"},
		{0, "0.00 s", "0 ms", "0 %", "0 B/s"},
		{0.42, "0.42 s", "0.4 ms", "0 %", "0 B/s"},
		{0.999, "1.0 s", "1.0 ms", "1 %", "1 B/s"},
		{4.2, "4.2 s", "4.2 ms", "4 %", "4 B/s"},
		{9.96, "10 s", "10 ms", "10 %", "10 B/s"},
		{37.4, "37 s", "37 ms", "37 %", "37 B/s"},
		{125, "2m 5s", "125 ms", "125 %", "125 B/s"},
		{1200, "20m 0s", "1.2 s", "1200 %", "1.2 kB/s"},
		{310e6, NULL, NULL, NULL, "310 MB/s"},
		{1.25e9, NULL, NULL, NULL, "1.2 GB/s"},
	};
	char out[24];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fmt_rate(rows[i].v, out);
		assert_string_equal(out, rows[i].rate);
		if (!rows[i].seconds)
			continue;
		fmt_seconds(rows[i].v, out);
		assert_string_equal(out, rows[i].seconds);
		fmt_ms(rows[i].v, out);
		assert_string_equal(out, rows[i].ms);
		fmt_percent(rows[i].v, out);
		assert_string_equal(out, rows[i].percent);
	}
}

static void test_uptime(void **state)
{
	static const struct {
		int64_t s;
		const char *want;
	} rows[] = {{-1, "-"}, {0, "0s"}, {59, "59s"}, {60, "1m 0s"}, {7620, "2h 7m"}, {86400 * 9, "9d"},
		{86400 * 9 + 7200, "9d 2h"}, {86400LL * 200 + 7200, "200d"}};
	char out[24];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fmt_uptime(rows[i].s, out);
		assert_string_equal(out, rows[i].want);
	}
}

static void test_bar(void **state)
{
	char out[13];

	(void)state;
	fmt_bar(0, 10, out);
	assert_string_equal(out, "[----------]");
	fmt_bar(62, 10, out);
	assert_string_equal(out, "[######----]");
	fmt_bar(250, 10, out);
	assert_string_equal(out, "[##########]");
}

static void test_table(void **state)
{
	static const char want[] = "NAME   STATE   MEMORY\n"
				   "web1   active  2.0G\n"
				   "m\xc3\xa4x    -       640M\n";
	struct table t;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	table_init(&t, 3);
	table_row(&t, "NAME ", "STATE", "MEMORY");
	table_row(&t, "web1", "active", "2.0G");
	table_row(&t, "m\xc3\xa4x", NULL, "640M");
	table_print(&t, f);
	fclose(f);
	assert_string_equal(text, want);
	free(text);
	table_fini(&t);
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"list", "list-domain", "start", "stop", "migrate", "set-vcpu", NULL};

	(void)state;
	assert_string_equal(nearest("lsit", names), "list");
	assert_string_equal(nearest("migrat", names), "migrate");
	assert_string_equal(nearest("set-vpcu", names), "set-vcpu");
	assert_null(nearest("frobnicate", names));
	assert_null(nearest("", names));
	assert_null(nearest("a-word-that-is-much-longer-than-any-command-could-be", names));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_uptime),
		cmocka_unit_test(test_bar),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
