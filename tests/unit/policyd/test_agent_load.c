/* What a guest says of its load: a guest may say anything. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/act/agent_load.h"

static void test_parse(void **state)
{
	static const char *const wrong[] = {
		"", "0.10", "0.10 0.20", "a b c", "0.10 -1 0.3", "nan 0 0", "inf 0 0", "1e9 0 0", "0.1,0.2,0.3"};
	double avg[3] = {7, 7, 7};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(agent_load_parse(wrong[i], avg), -EPROTO);
		assert_true(avg[0] == 7 && avg[1] == 7 && avg[2] == 7);
	}
	assert_int_equal(agent_load_parse("0.42 0.30 12.05 2/91 1334\n", avg), 0);
	assert_true(avg[0] == 0.42 && avg[1] == 0.30 && avg[2] == 12.05);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
