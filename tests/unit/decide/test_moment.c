/* Quiet moments: an idle guest goes at once, a varying one when it is near its quietest twice in a row, a steady one never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policyd/decide/moment.h"

#define WAY 100e6

/* After how many of these (MB a second) it is said to be one; 0 = after none. */
static unsigned after(const double *mbs, unsigned n, enum moment what)
{
	struct moment_seen s = {0};

	for (unsigned i = 0; i < n; i++) {
		moment_add(&s, mbs[i] * 1e6);
		if (moment_now(&s, WAY) != MOMENT_WAIT) {
			assert_int_equal(moment_now(&s, WAY), what);
			return i + 1;
		}
	}
	return 0;
}
#define AFTER(what, ...) after((double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double), MOMENT_##what)

static void test_idle(void **state)
{
	(void)state;
	assert_int_equal(AFTER(IDLE, 3), 1);
	assert_int_equal(AFTER(IDLE, 5), 1);
	assert_int_equal(AFTER(IDLE, 80, 80, 4), 3);
	assert_int_equal(AFTER(IDLE, 80, 80, 5.1), 0);
}

static void test_low(void **state)
{
	(void)state;
	assert_int_equal(AFTER(LOW, 80, 90, 100, 90, 80, 20, 21), 7);
	assert_int_equal(AFTER(LOW, 20, 20, 20, 20, 20, 90, 20, 20), 8);              /* not before six are known */
	assert_int_equal(AFTER(LOW, 80, 90, 100, 90, 80, 20, 80, 20, 80, 20), 0);     /* between bursts */
	assert_int_equal(AFTER(LOW, 80, 90, 100, 90, 80, 20, 80, 60, 60, 41, 41), 0); /* above its lowest quarter */
	assert_int_equal(AFTER(LOW, 80, 90, 100, 90, 80, 20, 80, 60, 60, 40, 40), 11);
}

static void test_steady(void **state)
{
	(void)state;
	assert_int_equal(AFTER(LOW, 80, 81, 79, 80, 82, 80, 78, 80, 79, 80, 81, 80), 0);
	assert_int_equal(AFTER(LOW, 60, 100, 60, 60, 60, 100, 60, 60, 60), 0); /* it varies, but by less than half */
}

static void test_way_unknown(void **state)
{
	struct moment_seen s = {0};

	(void)state;
	assert_int_equal(moment_now(&s, WAY), MOMENT_WAIT); /* nothing measured is nothing known */
	moment_add(&s, 1e6);
	assert_int_equal(moment_now(&s, 0), MOMENT_WAIT);
	moment_add(&s, 0);
	assert_int_equal(moment_now(&s, 0), MOMENT_IDLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_idle), cmocka_unit_test(test_low),
		cmocka_unit_test(test_steady), cmocka_unit_test(test_way_unknown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
