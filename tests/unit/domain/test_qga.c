/* The guest agent's client against an agent in the same loop that is sane, silent, late, or mad. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "domain/qga.h"
#include "tests/unit/support/fake_agent.h"

struct rig {
	struct fake_agent a;
	struct qga *q;
	bool silent, mad, stale, endless, long_sync; /* how the agent is */
	unsigned ups, done;
	struct err e;
	char ret[200];
};

/* More than what is read at once, and no line end in it. */
static void say_much(struct rig *r, char first)
{
	static char much[3 << 20];

	memset(much, ' ', sizeof(much));
	much[0] = first;
	fake_agent_say(&r->a, much, sizeof(much));
}

static void on_sync(struct rig *r, const json_t *args)
{
	if (r->stale) /* an answer that an earlier client did not wait for, whole and in part */
		fake_agent_say_text(&r->a, "{\"return\": {\"stale\": 1}}\n\xff{\"return\": 5}\n{\"ret");
	fake_agent_sync(&r->a, args);
}

/* The right answer, but with blanks before it that a guest could go on with for ever. */
static void on_long_sync(struct rig *r, const json_t *args)
{
	char text[100];

	say_much(r, '\xff');
	snprintf(
		text, sizeof(text), "{\"return\": %lld}\n", (long long)json_integer_value(json_object_get(args, "id")));
	fake_agent_say_text(&r->a, text);
}

static void on_command(struct fake_agent *a, const char *cmd, const json_t *args)
{
	struct rig *r = a->arg;

	if (r->silent)
		;
	else if (r->endless)
		say_much(r, ' ');
	else if (r->mad)
		fake_agent_say_text(a, "{{{{\n");
	else if (!strcmp(cmd, "guest-sync-delimited"))
		(r->long_sync ? on_long_sync : on_sync)(r, args);
	else if (!strcmp(cmd, "guest-get-vcpus"))
		fake_agent_say_text(a, "{\"return\": [{\"online\": true, \"logical-id\": 0}]}\n");
	else
		fake_agent_say_text(a,
			"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command has not been found\"}}\n");
}

static void on_up(void *arg)
{
	((struct rig *)arg)->ups++;
}

static void on_done(void *arg, const json_t *ret, const struct err *e)
{
	struct rig *r = arg;
	char *text = ret ? json_dumps(ret, JSON_COMPACT) : NULL;

	r->done++;
	r->e = *e;
	snprintf(r->ret, sizeof(r->ret), "%s", text ? text : "");
	free(text);
}

static void start(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	fake_agent_start(&r->a, on_command, r);
	r->q = qga_new(r->a.base, r->a.path, on_up, r);
	assert_non_null(r->q);
}

static void until(struct rig *r, const unsigned *counter, unsigned at_least)
{
	fake_agent_until(&r->a, counter, at_least);
}

static void start_up(struct rig *r)
{
	start(r);
	qga_poke(r->q);
	until(r, &r->ups, 1);
}

static void stop(struct rig *r)
{
	qga_free(r->q);
	fake_agent_stop(&r->a);
}

static void test_sane(void **state)
{
	struct rig r;

	(void)state;
	start(&r);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), -ENOTCONN);
	r.stale = true; /* what is left from before does not confuse it */
	qga_poke(r.q);
	until(&r, &r.ups, 1);
	assert_true(qga_ready(r.q));
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	assert_int_equal(qga_command(r.q, "guest-dance", json_object(), 0, on_done, &r), 0); /* waits for its turn */
	until(&r, &r.done, 1);
	assert_int_equal(r.e.code, 0);
	assert_string_equal(r.ret, "[{\"online\":true,\"logical-id\":0}]");
	until(&r, &r.done, 2);
	assert_int_equal(r.e.code, EREMOTEIO);
	assert_string_equal(r.e.msg, "guest agent: guest-dance: The command has not been found");
	assert_true(qga_ready(r.q));
	stop(&r);
}

static void test_falls_silent(void **state)
{
	struct rig r;

	(void)state;
	start_up(&r);
	r.silent = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 30, on_done, &r), 0);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 30, on_done, &r), 0);
	until(&r, &r.done, 2);
	assert_int_equal(r.e.code, ETIMEDOUT);
	assert_false(qga_ready(r.q));
	r.silent = false; /* and comes back */
	qga_poke(r.q);
	until(&r, &r.ups, 2);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 3);
	assert_int_equal(r.e.code, 0);
	stop(&r);
}

static void test_mad(void **state)
{
	struct rig r;

	(void)state;
	start_up(&r);
	r.mad = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 1);
	assert_int_equal(r.e.code, EPROTO);
	assert_false(qga_ready(r.q));
	stop(&r);
}

/* Lines in single bytes are lines all the same. */
static void test_dribbles(void **state)
{
	static const char answer[] = "\n{\"return\": [1]}\n";
	struct rig r;

	(void)state;
	start_up(&r);
	r.silent = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.a.heard, 2);
	for (const char *p = answer; *p; p++) {
		fake_agent_say(&r.a, p, 1);
		event_base_loop(r.a.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		event_base_loop(r.a.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
	until(&r, &r.done, 1);
	assert_string_equal(r.ret, "[1]");
	stop(&r);
}

/* A line without an end is not waited for, be it an answer or what comes before the end of a synchronisation. */
static void test_endless(void **state)
{
	struct rig r;

	(void)state;
	start_up(&r);
	r.endless = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 1);
	assert_int_equal(r.e.code, EMSGSIZE);
	assert_string_equal(r.e.msg, "guest agent: guest-get-vcpus: it sent more than 1024 KiB without a line end");
	assert_false(qga_ready(r.q));
	until(&r, &r.a.gone, 1);
	r.endless = false;
	r.long_sync = true;
	qga_poke(r.q);
	while (r.a.gone < 2 && r.ups < 2)
		event_base_loop(r.a.base, EVLOOP_ONCE);
	assert_int_equal(r.ups, 1);
	r.long_sync = false;
	qga_poke(r.q); /* and comes back */
	until(&r, &r.ups, 2);
	stop(&r);
}

static void on_done_free(void *arg, const json_t *ret, const struct err *e)
{
	struct rig *r = arg;

	on_done(arg, ret, e);
	qga_free(r->q);
	r->q = NULL;
}

/* Freed with a command under way, and from inside an answer. */
static void test_freed(void **state)
{
	struct rig r;

	(void)state;
	start_up(&r);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done_free, &r), 0);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 2);
	assert_int_equal(r.e.code, ECANCELED);
	stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sane), cmocka_unit_test(test_falls_silent),
		cmocka_unit_test(test_mad), cmocka_unit_test(test_dribbles), cmocka_unit_test(test_endless),
		cmocka_unit_test(test_freed)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
