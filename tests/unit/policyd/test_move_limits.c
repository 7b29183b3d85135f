/* Limits of a live move: what is asked, what the configuration says, what is changed later; ranges and words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "policyd/act/move_limits.h"

static const struct conf_migration conf = {.bandwidth_bps = 100 << 20, .max_blackout_ms = 300, .throttle_max = 30};

static void asked_goes_before_configured(void **state)
{
	struct move_limits l = {.has_blackout = true, .max_blackout_ms = 50};

	(void)state;
	move_limits_complete(&l, &conf);
	assert_true(l.has_bandwidth && l.has_blackout && l.has_throttle);
	assert_int_equal(l.throttle_max, 30);
	assert_int_equal(l.bandwidth_bps, 100 << 20);
	assert_int_equal(l.max_blackout_ms, 50);
	move_limits_merge(&l, &(struct move_limits){.has_bandwidth = true}); /* unlimited; the other stays */
	assert_int_equal(l.bandwidth_bps, 0);
	assert_int_equal(l.max_blackout_ms, 50);
	move_limits_merge(&l, &(struct move_limits){.bandwidth_bps = 7, .max_blackout_ms = 7}); /* nothing is set */
	assert_int_equal(l.bandwidth_bps, 0);
	assert_int_equal(l.max_blackout_ms, 50);
}

static void only_what_is_set_is_said(void **state)
{
	const struct move_limits none = {0}, one = {.has_blackout = true, .max_blackout_ms = 1500},
				 both = {.has_bandwidth = true,
					 .bandwidth_bps = 50 << 20,
					 .has_blackout = true,
					 .max_blackout_ms = 40};
	char text[160];
	json_t *j = move_limits_json(&one);

	(void)state;
	assert_false(move_limits_any(&none));
	assert_true(move_limits_any(&one));
	assert_int_equal(json_object_size(j), 1);
	assert_int_equal(json_integer_value(json_object_get(j, "max_blackout_ms")), 1500);
	json_decref(j);
	move_limits_text(&none, text, sizeof(text));
	assert_string_equal(text, "");
	move_limits_text(&one, text, sizeof(text));
	assert_string_equal(text, "max-blackout 1.5 s");
	move_limits_text(&both, text, sizeof(text));
	assert_string_equal(text, "bandwidth 50M a second, max-blackout 40 ms");
	move_limits_text(&(struct move_limits){.has_bandwidth = true, .has_throttle = true, .throttle_max = 40}, text,
		sizeof(text));
	assert_string_equal(text, "bandwidth unlimited, throttle 40 %");
}

static void a_deadline_makes_patient(void **state)
{
	struct move_limits l = {.has_deadline = true, .deadline_ms = 1700000000000, .deadline_suspend = true};
	char text[160];
	json_t *j = move_limits_json(&l);

	(void)state;
	assert_true(move_limits_any(&l) && move_limits_patient(&l));
	assert_true(json_is_true(json_object_get(j, "patient")));
	assert_string_equal(json_string_value(json_object_get(j, "at_deadline")), "suspend");
	json_decref(j);
	move_limits_text(&l, text, sizeof(text));
	assert_int_equal(strncmp(text, "deadline ", 9), 0);
	assert_non_null(strstr(text, "(suspend)"));
	move_limits_merge(&l, &(struct move_limits){.has_deadline = true}); /* taken back */
	assert_false(move_limits_patient(&l));
	j = move_limits_json(&l);
	assert_true(json_is_false(json_object_get(j, "patient")) && json_is_null(json_object_get(j, "deadline_ms")));
	json_decref(j);
	move_limits_text(&l, text, sizeof(text));
	assert_string_equal(text, "no deadline");
}

static void impossible_values(void **state)
{
	const struct {
		struct move_limits l;
		const char *say; /* NULL = possible */
	} rows[] = {
		{{.has_bandwidth = true, .bandwidth_bps = 0}, NULL},
		{{.has_bandwidth = true, .bandwidth_bps = MOVE_BANDWIDTH_MIN}, NULL},
		{{.has_bandwidth = true, .bandwidth_bps = MOVE_BANDWIDTH_MIN - 1}, "64K to 1024G"},
		{{.has_bandwidth = true, .bandwidth_bps = MOVE_BANDWIDTH_MAX + 1}, "64K to 1024G"},
		{{.has_blackout = true, .max_blackout_ms = 1}, NULL},
		{{.has_blackout = true, .max_blackout_ms = 0}, "1ms to 10m"},
		{{.has_blackout = true, .max_blackout_ms = MOVE_BLACKOUT_MAX_MS + 1}, "1ms to 10m"},
		{{.max_blackout_ms = 0}, NULL}, /* not set */
		{{.has_throttle = true, .throttle_max = 0}, NULL},
		{{.has_throttle = true, .throttle_max = 99}, NULL},
		{{.has_throttle = true, .throttle_max = 100}, "0 (never) to 99"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err e = {0};
		int rc = move_limits_check(&rows[i].l, &e);

		assert_int_equal(rc, rows[i].say ? -EDOM : 0);
		if (rows[i].say && !strstr(e.msg, rows[i].say))
			fail_msg("row %u: %s", i, e.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asked_goes_before_configured),
		cmocka_unit_test(only_what_is_set_is_said),
		cmocka_unit_test(a_deadline_makes_patient),
		cmocka_unit_test(impossible_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
