/* A guest's memory pressure: what its kernel writes, as its agent sends it, over time; and an agent that says nonsense. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "domain/qga_file.h"
#include "resize/guest_psi.h"
#include "tests/unit/support/fake_agent.h"

#define FULL "full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n"

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t some_us;
	} cases[] = {
		{"some avg10=1.50 avg60=0.20 avg300=0.00 total=123456\n" FULL, 0, 123456},
		{"some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n", 0, UINT64_MAX},
		{"some avg10=0.00 avg60=0.00 avg300=0.00 tot", -EPROTO, 0}, /* cut short */
		{"some avg10=0.00\n" FULL, -EPROTO, 0},                     /* not the other line's */
		{FULL, -EPROTO, 0},
		{"", -EPROTO, 0},
	};
	uint64_t us;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		us = 0;
		assert_int_equal(guest_psi_parse(cases[i].text, &us), cases[i].rc);
		if (!cases[i].rc)
			assert_true(us == cases[i].some_us);
	}
}

static void test_base64(void **state)
{
	static const struct {
		const char *text, *out;
	} cases[] = {/* RFC 4648, section 10 */
		{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"Zm9vYmE=", "fooba"},
		{"Zm9vYmFy", NULL}, /* one more than fits */
		{"Zm9*", NULL}, {"Zg==Zg==", NULL}};
	char out[6];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(qga_unbase64(cases[i].text, out, sizeof(out)), cases[i].out ? 0 : -EPROTO);
		if (cases[i].out)
			assert_string_equal(out, cases[i].out);
	}
}

static void test_share(void **state)
{
	struct guest_psi p = {0};

	(void)state;
	guest_psi_add(&p, 5000000, 1000);
	assert_false(p.known); /* one reading */
	guest_psi_add(&p, 5250000, 2000);
	assert_true(p.known && p.percent == 25);
	guest_psi_add(&p, 5250000, 3000);
	assert_true(p.known && p.percent == 0);
	guest_psi_add(&p, 9250000, 4000);
	assert_true(p.known && p.percent == 100);
	guest_psi_add(&p, 10, 5000); /* it has booted */
	assert_false(p.known);
	guest_psi_add(&p, 100010, 6000);
	assert_true(p.known && p.percent == 10);
}

/* ---- asking, of an agent in the same loop ---- */

struct rig {
	struct fake_agent a;
	struct qga *q;
	const char *open, *read; /* its answers; NULL: none */
	unsigned ups, closed, done;
	uint64_t some_us;
	struct err e;
};

static void on_done(void *arg, uint64_t some_us, const struct err *e)
{
	struct rig *r = arg;

	r->done++;
	r->some_us = some_us;
	r->e = *e;
}

static void on_command(struct fake_agent *a, const char *cmd, const json_t *args)
{
	struct rig *r = a->arg;
	const char *say = "{\"return\": {}}\n";

	if (!strcmp(cmd, "guest-sync-delimited")) {
		fake_agent_sync(a, args);
		return;
	} else if (!strcmp(cmd, "guest-file-open")) {
		assert_string_equal(json_string_value(json_object_get(args, "path")), "/proc/pressure/memory");
		say = r->open;
	} else if (!strcmp(cmd, "guest-file-read")) {
		assert_int_equal(json_integer_value(json_object_get(args, "handle")), 1000);
		say = r->read;
	} else if (!strcmp(cmd, "guest-file-close")) {
		r->closed++;
	}
	if (say)
		fake_agent_say_text(a, say);
}

static void on_up(void *arg)
{
	((struct rig *)arg)->ups++;
}

static void ask(struct rig *r, const char *open, const char *read)
{
	unsigned before = r->done;

	r->open = open;
	r->read = read;
	assert_int_equal(guest_psi_ask(r->q, on_done, r), 0);
	fake_agent_until(&r->a, &r->done, before + 1);
}

static void test_asks(void **state)
{
	struct rig r = {0};

	(void)state;
	fake_agent_start(&r.a, on_command, &r);
	r.q = qga_new(r.a.base, r.a.path, on_up, &r);
	assert_int_equal(guest_psi_ask(NULL, on_done, &r), -ENOTCONN);
	assert_int_equal(guest_psi_ask(r.q, on_done, &r), -ENOTCONN);
	qga_poke(r.q);
	fake_agent_until(&r.a, &r.ups, 1);
	/* some avg10=0.00 avg60=0.00 avg300=0.00 total=42 */
	ask(&r, "{\"return\": 1000}\n",
		"{\"return\": {\"count\": 48, \"buf-b64\": \"c29tZSBhdmcxMD0wLjAwIGF2ZzYwPTAuMDAgYXZnMzAwPTAuMDAgdG90YWw9NDIK\", \"eof\": true}}\n");
	assert_int_equal(r.e.code, 0);
	assert_true(r.some_us == 42);
	ask(&r, "{\"return\": 1000}\n", "{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": true}}\n");
	assert_int_equal(r.e.code, EPROTO);
	ask(&r, "{\"return\": 1000}\n",
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Operation not supported\"}}\n");
	assert_int_equal(r.e.code, EREMOTEIO);
	fake_agent_until(&r.a, &r.closed, 3); /* each that was opened */
	ask(&r, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"disabled\"}}\n", NULL);
	assert_int_equal(r.e.code, EREMOTEIO);
	ask(&r, "{\"return\": {}}\n", NULL);
	assert_int_equal(r.e.code, EPROTO);
	assert_int_equal(r.closed, 3);
	r.open = NULL; /* freed while one is asked for */
	assert_int_equal(guest_psi_ask(r.q, on_done, &r), 0);
	qga_free(r.q);
	assert_int_equal(r.e.code, ECANCELED);
	assert_int_equal(r.done, 6);
	fake_agent_stop(&r.a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_base64),
		cmocka_unit_test(test_share), cmocka_unit_test(test_asks)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
