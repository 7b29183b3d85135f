/* What is remembered of past moves, and what a snapshot is told of it; how long a failure is waited for. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/calm.h"
#include "policyd/decide/past.h"

#define NOW 1800000000000LL
#define MIN_MS 60000LL

/* A row of history, @minutes ago. */
static void add(struct past *p, int64_t minutes, const char *text)
{
	json_t *row = json_loads(text, 0, NULL);
	struct past_move m;

	assert_non_null(row);
	json_object_set_new(row, "t", json_integer(NOW - minutes * MIN_MS));
	assert_true(past_from_history(row, &m));
	past_add(p, &m);
	json_decref(row);
}

static struct snap_domain figures(const struct past *p, const char *name)
{
	struct snap_domain d;

	snap_domain_init(&d);
	snprintf(d.spec.name, sizeof(d.spec.name), "%s", name);
	past_fill_domain(p, NOW, &d);
	return d;
}

static void test_figures(void **state)
{
	struct past *p = past_new();
	struct snapshot s;
	struct snap_domain d;

	(void)state;
	assert_non_null(p);
	add(p, 25 * 60, "{\"domain\": \"web1\", \"kind\": \"incoming\", \"peer\": \"gamma\", \"ok\": true}");
	add(p, 300, "{\"domain\": \"web1\", \"kind\": \"incoming\", \"peer\": \"beta\", \"ok\": true}");
	add(p, 90,
		"{\"domain\": \"db1\", \"kind\": \"migration\", \"peer\": \"beta\", \"ok\": true, \"actual\": {\"wire_bytes\": 1000, "
		"\"blackout_ms\": 40.6}}");
	add(p, 50,
		"{\"domain\": \"db1\", \"kind\": \"migration\", \"peer\": \"beta\", \"ok\": true, \"actual\": {\"wire_bytes\": 5000, "
		"\"blackout_ms\": 40.6}}");
	add(p, 40,
		"{\"domain\": \"db2\", \"kind\": \"cold move\", \"peer\": \"beta\", \"ok\": true, \"actual\": {\"outage_ms\": 9000}}");
	add(p, 30,
		"{\"domain\": \"web1\", \"kind\": \"migration\", \"peer\": \"beta\", \"ok\": false, \"actual\": {\"failed\": \"link\"}}");
	add(p, 10,
		"{\"domain\": \"web1\", \"kind\": \"migration\", \"peer\": \"gamma\", \"ok\": false, \"actual\": {\"failed\": "
		"\"no-convergence\"}}");
	snapshot_init(&s);
	s.now_ms = NOW;
	past_fill_host(p, &s);
	assert_int_equal(s.bytes_last_hour, 5000);
	assert_int_equal(s.blackout_last_hour_ms, 9040);
	d = figures(p, "web1");
	assert_string_equal(d.came_from, "beta");
	assert_int_equal(d.arrived_ms, NOW - 300 * MIN_MS);
	assert_int_equal(d.fails, 2);
	assert_int_equal(d.last_fail, FAIL_CONVERGE);
	assert_string_equal(d.last_fail_peer, "gamma");
	assert_int_equal(d.last_fail_ms, NOW - 10 * MIN_MS);
	d = figures(p, "db1");
	assert_true(d.moves_last_hour == 1 && d.bytes_last_hour == 5000 && d.blackout_last_hour_ms == 40);
	add(p, 0, "{\"domain\": \"web1\", \"kind\": \"migration\", \"peer\": \"gamma\", \"ok\": true}");
	assert_int_equal(figures(p, "web1").fails, 0); /* one that worked ends the row */
	snapshot_fini(&s);
	past_free(p);
}

static void test_rows_left_out(void **state)
{
	static const char *const rows[] = {"{\"kind\": \"memory\", \"ok\": true}", "{}",
		"{\"kind\": \"migration\", \"ok\": false, \"who\": \"uid 0 (pid 7)\", \"actual\": {\"failed\": \"cancelled\"}}",
		"{\"kind\": \"migration\", \"ok\": false, \"who\": \"policyd\"}"}; /* found unfinished: it ends in a row of its own */
	struct past_move m;

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *row = json_loads(rows[i], 0, NULL);

		assert_false(past_from_history(row, &m));
		json_decref(row);
	}
}

static void test_many(void **state)
{
	struct past *p = past_new();
	struct past_move m = {.domain = "a", .peer = "beta", .end_ms = NOW, .bytes = 1};

	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		past_add(p, &m);
	assert_true(figures(p, "a").moves_last_hour >= 500); /* the oldest are forgotten, nothing else */
	past_free(p);
}

/* Each kind: the first wait, its doubling, its end; and what errno means which. */
static void test_backoff(void **state)
{
	static const struct {
		int code;
		enum fail_kind kind;
		bool peer;
		unsigned first, third, most;
	} rows[] = {{-EINVAL, FAIL_REFUSED, true, 5, 20, 60}, {ECANCELED, FAIL_CANCELLED, false, 360, 1440, 1440},
		{EAGAIN, FAIL_CONVERGE, false, 60, 240, 480}, {EPIPE, FAIL_LINK, true, 10, 40, 120},
		{EBADMSG, FAIL_FAULT, false, 60, 240, 480}, {EINTR, FAIL_INTERRUPTED, false, 0, 2, 60}};
	bool peer;

	(void)state;
	assert_int_equal(past_fail_kind(0), FAIL_NONE);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(past_fail_kind(rows[i].code), rows[i].kind);
		assert_int_equal(calm_backoff_ms(rows[i].kind, 1, &peer), rows[i].first * MIN_MS);
		assert_int_equal(peer, rows[i].peer);
		assert_int_equal(calm_backoff_ms(rows[i].kind, 3, &peer), rows[i].third * MIN_MS);
		assert_int_equal(calm_backoff_ms(rows[i].kind, 100, &peer), rows[i].most * MIN_MS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures), cmocka_unit_test(test_rows_left_out),
		cmocka_unit_test(test_many), cmocka_unit_test(test_backoff)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
