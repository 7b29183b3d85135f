/* Time zones say what the C library says: for rules (which need no file), and for the zone files of this machine, at many moments. Broken files and
 * names are refused. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/zone.h"

#define FROM_S 1420070400LL /* 2015 */
#define TO_S 2840140800LL   /* 2060 */

static int32_t libc_offset(int64_t utc_s)
{
	time_t t = (time_t)utc_s;
	struct tm tm;

	localtime_r(&t, &tm);
	return (int32_t)tm.tm_gmtoff;
}

static void like_libc(const struct zone *z, const char *tz, const char *what)
{
	setenv("TZ", tz, 1);
	tzset();
	srandom(7);
	for (int64_t t = FROM_S; t < TO_S; t += 20000 + random() % 90000)
		if (zone_offset_s(z, t) != libc_offset(t))
			fail_msg("%s at %lld: %d, the C library says %d", what, (long long)t, zone_offset_s(z, t),
				libc_offset(t));
	for (int64_t day = FROM_S; day < FROM_S + 3 * 366 * 86400LL;
		day += 1800) /* each change of three years, to the half hour */
		if (zone_offset_s(z, day) != libc_offset(day) || zone_offset_s(z, day - 1) != libc_offset(day - 1))
			fail_msg("%s at %lld: %d, the C library says %d", what, (long long)day, zone_offset_s(z, day),
				libc_offset(day));
}

static void test_rules(void **state)
{
	static const char *const rules[] = {"UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0",
		"<+0330>-3:30", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "AEST-10AEDT,M10.1.0,M4.1.0/3",
		"IST-1GMT0,M10.5.0,M3.5.0/1", "XXX3YYY,J60,J300/1:30", "XXX3YYY,59/0,299/26",
		"<-02>2<-01>,M3.5.0/-1,M10.5.0/0"};
	static const char *const wrong[] = {"", "C", "CET", "CET-", "<CET-1", "CET-1CEST", "CET-1CEST,M3.5.0",
		"CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0", "CET-1CEST,M3.5.0,M10.5.0/3x",
		"CET-1CEST,J0,J366", "CET-1CEST,M3.5,M10.5.0", "CET-999"};

	(void)state;
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct zone z = {0};

		assert_int_equal(zone_rule(rules[i], &z), 0);
		like_libc(&z, rules[i], rules[i]);
	}
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct zone z = {0};

		if (zone_rule(wrong[i], &z) != -EINVAL)
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_false(z.ruled);
	}
}

static void test_files(void **state)
{
	static const char *const names[] = {"Europe/Berlin", "America/New_York", "Europe/Dublin", "Asia/Kolkata",
		"Africa/Casablanca", "Australia/Lord_Howe", "Asia/Tehran", "America/Sao_Paulo", "Pacific/Apia", "UTC",
		"America/St_Johns"};
	unsigned n = 0;
	char reason[256];

	(void)state;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct zone z;

		if (zone_load(names[i], &z, reason, sizeof(reason)))
			continue;
		assert_string_equal(z.name, names[i]);
		if (strcmp(names[i], "Africa/Casablanca") != 0) { /* whose changes are listed beyond what is kept */
			like_libc(&z, names[i], names[i]);
			n++;
		}
	}
	if (n <= 1) {
		print_message("skipped: no time zone files on this machine (package tzdata)\n");
		skip();
	}
}

/* A file as zic makes it: one change in 2020 from +1 h to +2 h, then a rule. */
static size_t make_file(unsigned char out[256], const char *rule)
{
	static const unsigned char header[] = {'T', 'Z', 'i', 'f', '2', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4};
	static const unsigned char types[] = {0, 0, 0x0e, 0x10, 0, 0, 0, 0, 0x1c, 0x20, 1, 0};
	static const unsigned char at[] = {0, 0, 0, 0, 0x5e, 0x0b, 0xe1, 0x00}; /* 2020-01-01 */
	size_t n = 0;

	for (unsigned block = 0; block < 2; block++) {
		memcpy(out + n, header, sizeof(header));
		n += sizeof(header);
		memcpy(out + n, block ? at : at + 4, block ? 8 : 4);
		n += block ? 8 : 4;
		out[n++] = 1;
		memcpy(out + n, types, sizeof(types));
		n += sizeof(types);
		memcpy(out + n, "AAA", 4);
		n += 4;
	}
	return n + (size_t)sprintf((char *)out + n, "\n%s\n", rule);
}

static void test_format(void **state)
{
	unsigned char file[256], *whole;
	size_t n = make_file(file, "");
	struct zone z;

	(void)state;
	assert_int_equal(zone_parse(file, n, &z), 0);
	assert_int_equal(zone_offset_s(&z, 0x5e0be0ff), 3600);
	assert_int_equal(zone_offset_s(&z, 0x5e0be100), 7200);
	n = make_file(file, "BBB-5");
	assert_int_equal(zone_parse(file, n, &z), 0);
	assert_int_equal(zone_offset_s(&z, 0x5e0be0ff), 3600);
	assert_int_equal(zone_offset_s(&z, 0x5e0be100), 5 * 3600);
	for (size_t cut = 0; cut < n - strlen("\nBBB-5\n"); cut++) { /* cut anywhere, exactly so long in memory */
		whole = malloc(cut ? cut : 1);
		memcpy(whole, file, cut);
		assert_int_equal(zone_parse(whole, cut, &z), -EINVAL);
		free(whole);
	}
	for (size_t i = 0; i < n; i++) { /* no byte of it is trusted */
		unsigned char was = file[i];

		file[i] = (unsigned char)~was;
		zone_parse(file, n, &z);
		file[i] = was;
	}
	n = make_file(file, "nonsense");
	assert_int_equal(zone_parse(file, n, &z), -EINVAL);
}

static void test_names(void **state)
{
	static const char *const wrong[] = {"", "../etc/passwd", "/etc/localtime", "Europe/../Berlin", "Europe/Berlin ",
		"Nowhere/Atall", "Europe", "1", "x\ny"};
	char reason[512];
	struct zone z;

	(void)state;
	memset(&z, 0x5a, sizeof(z));
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(zone_load(wrong[i], &z, reason, sizeof(reason)), -EINVAL);
		assert_non_null(strstr(reason, "Europe/Berlin")); /* says how to write it */
		assert_int_equal(z.first_s, 0x5a5a5a5a);
	}
	setenv("TZDIR", "/nonexistent", 1);
	assert_int_equal(zone_load("UTC", &z, reason, sizeof(reason)), 0); /* needs no file */
	assert_int_equal(zone_offset_s(&z, FROM_S), 0);
	assert_int_equal(zone_load("Europe/Berlin", &z, reason, sizeof(reason)), -EINVAL);
	assert_non_null(strstr(reason, "tzdata"));
	unsetenv("TZDIR");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_files),
		cmocka_unit_test(test_format), cmocka_unit_test(test_names)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
