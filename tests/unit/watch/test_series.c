/* Averages, ring and counts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policyd/watch/series.h"

static void assert_near(double a, double b, double by)
{
	if (fabs(a - b) > by)
		fail_msg("%f is not near %f", a, b);
}

static void test_ewma(void **state)
{
	struct ewma a;

	(void)state;
	ewma_init(&a, 5000);
	assert_true(ewma_get(&a) < 0);
	ewma_add(&a, 80, 1000);
	assert_near(ewma_get(&a), 80, 1e-9);
	ewma_add(&a, 40, 1000); /* young: near the plain mean */
	assert_near(ewma_get(&a), 58, 1.5);
	for (int i = 0; i < 100; i++)
		ewma_add(&a, 10, 1000);
	assert_near(ewma_get(&a), 10, 0.01);
	ewma_add(&a, 110, 5000); /* one time constant: 63 % of the way */
	assert_near(ewma_get(&a), 10 + 100 * (1 - exp(-1)), 0.1);
	ewma_add(&a, 1000, 0);
	assert_near(ewma_get(&a), 10 + 100 * (1 - exp(-1)), 0.1);
	ewma_reset(&a);
	assert_true(ewma_get(&a) < 0);
}

/* An average never leaves the range of its samples, not even by rounding. */
static void test_ewma_stays_in_range(void **state)
{
	struct ewma a;

	(void)state;
	srand(5);
	ewma_init(&a, 60000);
	for (int i = 0; i < 100000; i++) {
		if (i % 3 == 0)
			ewma_init(&a, i % 2 ? 5000 : 60000);
		ewma_add(&a, 100, 1 + rand() % 9000);
		assert_true(ewma_get(&a) == 100);
	}
}

/* The same load is the same average, however often it is sampled. */
static void test_ewma_does_not_depend_on_the_sampling(void **state)
{
	struct ewma often, seldom;

	(void)state;
	ewma_init(&often, 60000);
	ewma_init(&seldom, 60000);
	for (int s = 0; s < 120; s++) {
		double load = s < 60 ? 20 : 90;

		for (int i = 0; i < 10; i++)
			ewma_add(&often, load, 100);
		if (s % 4 == 3)
			ewma_add(&seldom, load, 4000);
	}
	assert_near(ewma_get(&often), ewma_get(&seldom), 1e-6);
}

static void test_ring(void **state)
{
	struct series *s = calloc(1, sizeof(*s));

	(void)state;
	assert_null(series_get(s, 0));
	for (int i = 1; i <= SERIES_MAX + 7; i++)
		series_add(s, i * 1000, 1000, i);
	assert_int_equal(s->n, SERIES_MAX);
	assert_near(series_get(s, 0)->value, SERIES_MAX + 7, 0);
	assert_near(series_get(s, SERIES_MAX - 1)->value, 8, 0);
	assert_null(series_get(s, SERIES_MAX));
	free(s);
}

static void test_mean_and_gaps(void **state)
{
	struct series *s = calloc(1, sizeof(*s));
	double m;

	(void)state;
	assert_false(series_mean(s, 0, 1000, &m));
	series_add(s, 1000, 1000, 10);
	series_add(s, 4000, 3000, 50);
	assert_true(series_mean(s, 0, 4000, &m));
	assert_near(m, (10 + 3 * 50) / 4.0, 1e-6); /* by time, not by points */
	assert_true(series_mean(s, 500, 1500, &m));
	assert_near(m, 30, 1e-6);
	series_gap(s, 5000);
	series_gap(s, 6000);
	assert_true(series_mean(s, 2000, 6000, &m)); /* half of it is known, and the gap is no zero */
	assert_near(m, 50, 1e-6);
	assert_false(series_mean(s, 3000, 6000, &m));
	assert_false(series_mean(s, 4000, 6000, &m));
	free(s);
}

static void test_counts(void **state)
{
	struct series *s = calloc(1, sizeof(*s));

	(void)state;
	assert_int_equal(series_above(s, 5, 0, 1), 0);
	for (int i = 1; i <= 10; i++)
		series_add(s, i * 1000, 1000, i % 2 ? 90 : 10);
	assert_int_equal(series_above(s, 5, 0, 85), 2);
	assert_int_equal(series_below(s, 5, 0, 60), 3);
	assert_int_equal(series_above(s, 100, 0, 85), 5);
	assert_int_equal(series_above(s, 5, 0, 90), 0);    /* above, not at */
	assert_int_equal(series_above(s, 5, 2000, 85), 0); /* means of 2 s: 50 each */
	assert_int_equal(series_above(s, 5, 2000, 49), 5);
	assert_int_equal(series_above(s, 9, 2000, 49), 5); /* older ones are not known */
	series_gap(s, 11000);
	assert_int_equal(series_above(s, 1, 0, -1), 0);
	assert_int_equal(series_below(s, 1, 0, 1000), 0);
	assert_int_equal(series_below(s, 2, 0, 60), 1);
	free(s);
}

static void test_percentile(void **state)
{
	struct series s = {0};
	double v = -7;

	(void)state;
	assert_false(series_percentile(&s, 95, 0, &v));
	for (int i = 0; i < 94; i++)
		series_add(&s, i * 1000, 1000, 20);
	series_gap(&s, 94000); /* counts for nothing */
	assert_false(series_percentile(&s, 95, 95, &v));
	assert_true(series_percentile(&s, 95, 94, &v));
	assert_near(v, 20, 0);
	for (int i = 0; i < 5; i++) /* 5 of 99 are more than five in a hundred */
		series_add(&s, (95 + i) * 1000, 1000, 90);
	assert_true(series_percentile(&s, 95, 1, &v));
	assert_near(v, 90, 0);
	series_add(&s, 100000, 1000, 19.6); /* 5 of 100 are not */
	assert_true(series_percentile(&s, 95, 1, &v));
	assert_near(v, 20, 0);
	assert_true(series_percentile(&s, 100, 1, &v));
	assert_near(v, 90, 0);
	for (int i = 0; i < SERIES_MAX; i++) /* out of range, and all that was before is forgotten */
		series_add(&s, (200 + i) * 1000, 1000, i & 1 ? 1000 : -3);
	assert_true(series_percentile(&s, 50, 1, &v));
	assert_near(v, 0, 0);
	assert_true(series_percentile(&s, 95, 1, &v));
	assert_near(v, 255, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ewma),
		cmocka_unit_test(test_ewma_stays_in_range),
		cmocka_unit_test(test_ewma_does_not_depend_on_the_sampling),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_percentile),
		cmocka_unit_test(test_mean_and_gaps),
		cmocka_unit_test(test_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
