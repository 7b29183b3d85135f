/* Sizes, times, ports, days: what is taken, what is refused (and then leaves the output alone), and that formatting is near. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/schema.h"
#include "conf/units.h"

struct row {
	const char *text;
	int err;
	uint64_t v;
};

static void test_sizes(void **state)
{
	static const struct row rows[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"64K", 0, 65536},
		{"512M", 0, 512ULL << 20},
		{"1.5G", 0, 3ULL << 29},
		{"2g", 0, 2ULL << 30},
		{"1T", 0, 1ULL << 40},
		{"18446744073709551615", 0, UINT64_MAX},
		{"16777215T", 0, 16777215ULL << 40},
		{"18446744073709551616", -EINVAL, 0},
		{"16777216T", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"-1M", -EINVAL, 0},
		{" 1M", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"1MB", -EINVAL, 0},
		{"1.M", -EINVAL, 0},
		{"1.5", -EINVAL, 0},
		{"1.12345678G", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1M\n", -EINVAL, 0},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = 77;
		int err = size_parse(rows[i].text, &v);

		if (err != rows[i].err || v != (err ? 77 : rows[i].v))
			fail_msg("\"%s\": %d, %llu", rows[i].text, err, (unsigned long long)v);
	}
}

static void test_cpus(void **state)
{
	static const struct row rows[] = {{"1", 0, 100}, {"1.5", 0, 150}, {"0.25", 0, 25}, {"12.05", 0, 1205},
		{"0", 0, 0}, {"1.555", -EINVAL, 0}, {"", -EINVAL, 0}, {"-1", -EINVAL, 0}, {"1.", -EINVAL, 0},
		{"two", -EINVAL, 0}, {"1 vcpu", -EINVAL, 0}, {"99999999999", -EINVAL, 0}};
	char text[16];

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned v = 77;
		int err = cpu_parse(rows[i].text, &v);

		if (err != rows[i].err || v != (err ? 77 : rows[i].v))
			fail_msg("\"%s\": %d, %u", rows[i].text, err, v);
		if (err)
			continue;
		cpu_format(v, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void test_durations(void **state)
{
	static const struct row rows[] = {
		{"300ms", 0, 300},
		{"5s", 0, 5000},
		{"1m", 0, 60000},
		{"2h", 0, 7200000},
		{"7d", 0, 604800000},
		{"1.5s", 0, 1500},
		{"0ms", 0, 0},
		{"5", -EINVAL, 0},
		{"5 s", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"5min", -EINVAL, 0},
		{"-5s", -EINVAL, 0},
		{"999999999999999999d", -EINVAL, 0},
		{"0.5ms", -EINVAL, 0},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = 77;
		int err = duration_parse(rows[i].text, &v);

		if (err != rows[i].err || v != (err ? 77 : rows[i].v))
			fail_msg("\"%s\": %d, %llu", rows[i].text, err, (unsigned long long)v);
	}
}

static void test_ports_tod_days(void **state)
{
	uint16_t a = 7, b = 7;
	unsigned v = 7;

	(void)state;
	assert_int_equal(ports_parse("5000-5100", &a, &b), 0);
	assert_true(a == 5000 && b == 5100);
	assert_int_equal(ports_parse("65535", &a, &b), 0);
	assert_true(a == 65535 && b == 65535);
	assert_int_equal(ports_parse("5100-5000", &a, &b), -EINVAL);
	assert_int_equal(ports_parse("0-10", &a, &b), -EINVAL);
	assert_int_equal(ports_parse("1-65536", &a, &b), -EINVAL);
	assert_int_equal(ports_parse("1-2-3", &a, &b), -EINVAL);
	assert_true(a == 65535 && b == 65535);
	assert_int_equal(tod_parse("8:00", &v), 0);
	assert_int_equal(v, 480);
	assert_int_equal(tod_parse("24:00", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(tod_parse("23:59", &v), 0);
	assert_int_equal(v, 1439);
	assert_int_equal(tod_parse("24:01", &v), -EINVAL);
	assert_int_equal(tod_parse("12:60", &v), -EINVAL);
	assert_int_equal(tod_parse("12:5", &v), -EINVAL);
	assert_int_equal(tod_parse("12", &v), -EINVAL);
	assert_int_equal(v, 1439);
	assert_int_equal(days_parse("Mon-Fri", &v), 0);
	assert_int_equal(v, 0x1f);
	assert_int_equal(days_parse("Sat,sun", &v), 0);
	assert_int_equal(v, 0x60);
	assert_int_equal(days_parse("Sat-Mon, Wed", &v), 0);
	assert_int_equal(v, 0x65);
	assert_int_equal(days_parse("Mon-Mon", &v), 0);
	assert_int_equal(v, 1);
	assert_int_equal(days_parse("", &v), -EINVAL);
	assert_int_equal(days_parse("Mon,", &v), -EINVAL);
	assert_int_equal(days_parse("Mon-", &v), -EINVAL);
	assert_int_equal(days_parse("Monday", &v), -EINVAL);
	assert_int_equal(v, 1);
}

static void test_format(void **state)
{
	static const struct {
		uint64_t v;
		const char *text;
	} rows[] = {{0, "0"}, {999, "999"}, {1000, "1.0K"}, {1024, "1.0K"}, {640ULL << 20, "640M"},
		{3ULL << 29, "1.5G"}, {10ULL << 30, "10G"}, {1023ULL << 20, "1.0G"}, {64ULL << 30, "64G"},
		{UINT64_MAX, "16E"}};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[16];

		size_format(rows[i].v, out);
		assert_string_equal(out, rows[i].text);
	}
	srandom(5);
	for (unsigned i = 0; i < 20000; i++) { /* what is shown can be read, and is within 6 % of the truth */
		uint64_t v = ((uint64_t)random() << 31 | (uint64_t)random()) >> (random() % 55 + 7), back;
		char out[16];

		size_format(v, out);
		assert_int_equal(size_parse(out, &back), 0);
		assert_true((double)back >= (double)v * 0.94 - 1 && (double)back <= (double)v * 1.06 + 1);
	}
}

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(edit_distance("", ""), 0);
	assert_int_equal(edit_distance("abc", ""), 3);
	assert_int_equal(edit_distance("certifcate", "certificate"), 1);
	assert_int_equal(edit_distance("prots", "ports"), 1);
	assert_int_equal(edit_distance("kitten", "sitting"), 3);
	assert_null(schema_nearest(&schema_host, "x"));
	assert_string_equal(schema_nearest(&schema_host, "hots")->name, "host");
	assert_string_equal(schema_nearest(&schema_host, "migrations")->name, "migration");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_durations), cmocka_unit_test(test_ports_tod_days), cmocka_unit_test(test_format),
		cmocka_unit_test(test_distance)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
