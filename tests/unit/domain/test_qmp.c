/* QMP client against the fake peer: order, ids, errors, time-outs, events, reconnecting, bad input, freeing inside callbacks. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "domain/qmp.h"
#include "domain/qmp_json.h"
#include "tests/unit/support/fake_qmp.h"

struct env {
	struct event_base *base;
	char dir[64], path[96];
	struct fake_qmp *f;
	struct qmp *q;
	unsigned ready, downs, events, dones;
	int down_code;
	char order[256]; /* what was called, in order */
	char last_event[64];
	bool free_in_ready, free_in_down, free_in_event, free_in_done;
	struct err done_err;
	json_int_t done_value;
};

static void note(struct env *env, const char *what)
{
	strncat(env->order, what, sizeof(env->order) - strlen(env->order) - 1);
}

static void env_qmp_free(struct env *env)
{
	qmp_free(env->q);
	env->q = NULL;
}

static void on_ready(void *arg)
{
	struct env *env = arg;

	env->ready++;
	note(env, "R");
	if (env->free_in_ready)
		env_qmp_free(env);
}

static void on_event(void *arg, const char *event, const json_t *data)
{
	struct env *env = arg;

	(void)data;
	env->events++;
	strncpy(env->last_event, event, sizeof(env->last_event) - 1);
	if (env->free_in_event)
		env_qmp_free(env);
}

static void on_down(void *arg, const struct err *e)
{
	struct env *env = arg;

	env->downs++;
	env->down_code = e->code;
	note(env, "D");
	if (env->free_in_down)
		env_qmp_free(env);
}

static void on_done(void *arg, const json_t *ret, const struct err *e)
{
	struct env *env = arg;

	env->dones++;
	env->done_err = *e;
	env->done_value = json_integer_value(ret);
	note(env, e->code ? "x" : "d");
	if (env->free_in_done)
		env_qmp_free(env);
}

static const struct qmp_handlers handlers = {.on_ready = on_ready, .on_event = on_event, .on_down = on_down};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	strcpy(env->dir, "/tmp/ballast-qmp-XXXXXX");
	assert_non_null(mkdtemp(env->dir));
	strcpy(env->path, env->dir);
	strcat(env->path, "/q.sock");
	env->base = event_base_new();
	env->f = fake_qmp_new(env->base, env->path);
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	qmp_free(env->q);
	fake_qmp_free(env->f);
	event_base_free(env->base);
	assert_int_equal(rmdir(env->dir), 0);
	free(env);
	return 0;
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	fail_msg("the event that the test waits for did not come");
}

/* Run the loop until *@what is at least @n; fails after 10 s. */
static void run_until(struct env *env, const unsigned *what, unsigned n)
{
	struct timeval tv = {.tv_sec = 10};
	struct event *t = evtimer_new(env->base, on_patience, NULL);

	event_add(t, &tv);
	while (*what < n)
		event_base_loop(env->base, EVLOOP_ONCE);
	event_free(t);
}

/* Handle what is there now. */
static void run_some(struct env *env)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(env->base, EVLOOP_NONBLOCK);
}

static void start(struct env *env, bool reconnect)
{
	env->q = qmp_new(env->base, env->path, reconnect, &handlers, env);
	run_until(env, &env->ready, 1);
	assert_true(qmp_ready(env->q));
}

static void test_call(void **state)
{
	struct env *env = *state;
	json_t *ret = NULL;
	struct err e = {0};

	start(env, false);
	fake_qmp_reply(env->f, "query-x", json_pack("{s:i}", "n", 7));
	assert_int_equal(qmp_call(env->q, "query-x", json_pack("{s:s}", "a", "b"), 0, &ret, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(ret, "n")), 7);
	json_decref(ret);
	assert_string_equal(json_string_value(json_object_get(fake_qmp_args(env->f, "query-x"), "a")), "b");
	assert_int_equal(fake_qmp_calls(env->f, "qmp_capabilities"), 1);
	assert_string_equal(fake_qmp_log(env->f), "query-x");
}

static void test_remote_error(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	start(env, false);
	fake_qmp_error(env->f, "device_add", "GenericError", "Bus 'x' not found");
	assert_int_equal(qmp_call(env->q, "device_add", NULL, 0, NULL, &e), -EREMOTEIO);
	assert_string_equal(e.msg, "qmp: device_add: Bus 'x' not found");
	assert_int_equal(qmp_call(env->q, "nonsense", NULL, 0, NULL, &e), -EREMOTEIO);
	assert_non_null(strstr(e.msg, "(CommandNotFound)"));
	assert_true(qmp_ready(env->q));
}

static void test_ids_out_of_order(void **state)
{
	struct env *env = *state;

	start(env, false);
	fake_qmp_hold(env->f, "slow", json_integer(1));
	fake_qmp_reply(env->f, "fast", json_integer(2));
	assert_int_equal(qmp_command(env->q, "slow", NULL, 0, on_done, env), 0);
	assert_int_equal(qmp_command(env->q, "fast", NULL, 0, on_done, env), 0);
	run_until(env, &env->dones, 1);
	assert_int_equal(env->done_value, 2);
	fake_qmp_release(env->f, "slow");
	run_until(env, &env->dones, 2);
	assert_int_equal(env->done_value, 1);
}

static void test_timeout_then_late_answer(void **state)
{
	struct env *env = *state;

	start(env, false);
	fake_qmp_hold(env->f, "slow", NULL);
	qmp_command(env->q, "slow", NULL, 30, on_done, env);
	run_until(env, &env->dones, 1);
	assert_int_equal(env->done_err.code, ETIMEDOUT);
	fake_qmp_release(env->f, "slow"); /* late: dropped, the connection lives on */
	run_some(env);
	assert_int_equal(env->dones, 1);
	assert_true(qmp_ready(env->q));
}

static void test_events(void **state)
{
	struct env *env = *state;

	start(env, false);
	fake_qmp_event(env->f, "STOP", NULL);
	run_until(env, &env->events, 1);
	assert_string_equal(env->last_event, "STOP");
	fake_qmp_event_later(env->f, 10, "RESUME", json_pack("{s:i}", "a", 1));
	run_until(env, &env->events, 2);
	assert_string_equal(env->last_event, "RESUME");
}

static void test_drop_answers_epipe_before_down(void **state)
{
	struct env *env = *state;

	start(env, false);
	fake_qmp_silent(env->f, "a");
	qmp_command(env->q, "a", NULL, 0, on_done, env);
	qmp_command(env->q, "a", NULL, 0, on_done, env);
	run_some(env);
	fake_qmp_drop(env->f, false);
	run_until(env, &env->downs, 1);
	assert_string_equal(env->order, "RxxD");
	assert_int_equal(env->done_err.code, EPIPE);
	assert_int_equal(qmp_command(env->q, "a", json_object(), 0, on_done, env), -ENOTCONN);
	run_some(env);
	assert_int_equal(fake_qmp_connections(env->f), 1); /* no reconnect asked for */
}

static void test_reconnect(void **state)
{
	struct env *env = *state;

	start(env, true);
	fake_qmp_drop(env->f, true);
	run_until(env, &env->downs, 1);
	run_some(env);
	usleep(50000);
	run_some(env); /* attempts in between are silent */
	assert_int_equal(env->downs, 1);
	fake_qmp_listen(env->f);
	run_until(env, &env->ready, 2);
	assert_int_equal(qmp_call(env->q, "query-status", NULL, 0, NULL, NULL), 0);
}

static void test_connects_when_the_peer_comes_late(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	fake_qmp_drop(env->f, true);
	env->q = qmp_new(env->base, env->path, true, &handlers, env);
	assert_int_equal(qmp_wait_ready(env->q, 60, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.msg, "last: "));
	fake_qmp_listen(env->f);
	assert_int_equal(qmp_wait_ready(env->q, 5000, &e), 0);
	assert_int_equal(env->downs, 0);
}

static void test_no_peer_without_reconnect(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	fake_qmp_drop(env->f, true);
	env->q = qmp_new(env->base, env->path, false, &handlers, env);
	assert_int_equal(qmp_wait_ready(env->q, 5000, &e), -ECONNREFUSED);
	assert_int_equal(env->downs, 1);
	assert_int_equal(env->down_code, ECONNREFUSED);
}

static void down_after(struct env *env, const char *bytes, size_t n)
{
	start(env, false);
	fake_qmp_raw(env->f, bytes, n);
	run_until(env, &env->downs, 1);
	assert_int_equal(env->down_code, EPROTO);
}

static void test_garbage(void **state)
{
	down_after(*state, "\x01\xff{{{\r\n", 8);
}

static void test_answer_without_id(void **state)
{
	static const char s[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n";

	down_after(*state, s, sizeof(s) - 1);
}

static void test_neither_answer_nor_event(void **state)
{
	down_after(*state, "{\"a\": 1}\n", 9);
}

static void test_array_line(void **state)
{
	down_after(*state, "[1, 2]\n", 7);
}

static void test_wrong_greeting(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	fake_qmp_greeting(env->f, "{\"hello\": 1}\r\n");
	env->q = qmp_new(env->base, env->path, false, &handlers, env);
	assert_int_equal(qmp_wait_ready(env->q, 5000, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "greeting"));
	assert_int_equal(env->ready, 0);
}

static void test_event_before_greeting(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	fake_qmp_greeting(env->f,
		"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"VSERPORT_CHANGE\", \"data\": {\"open\": true, \"id\": \"agent0\"}}\r\n"
		"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \"capabilities\": []}}\r\n");
	env->q = qmp_new(env->base, env->path, false, &handlers, env);
	assert_int_equal(qmp_wait_ready(env->q, 5000, &e), 0);
	assert_int_equal(env->ready, 1);
}

static void test_oversize(void **state)
{
	struct env *env = *state;
	size_t n = 9 << 20;
	char *x = malloc(n);

	memset(x, ' ', n);
	start(env, false);
	fake_qmp_raw(env->f, x, n);
	free(x);
	run_until(env, &env->downs, 1);
	assert_int_equal(env->down_code, EMSGSIZE);
}

static void test_split_lines(void **state)
{
	struct env *env = *state;
	static const char s[] = "{\"event\": \"SPLIT\", \"data\": {}}\r\n{\"event\": \"TWO\"}\r\n\r\n";

	start(env, false);
	for (size_t i = 0; i < sizeof(s) - 1; i++) {
		fake_qmp_raw(env->f, s + i, 1);
		run_some(env);
	}
	run_until(env, &env->events, 2);
	assert_string_equal(env->last_event, "TWO");
}

static void test_all_ones(void **state)
{
	struct env *env = *state;
	static const char s[] =
		"{\"return\": {\"a\\\"18446744073709551615\": [18446744073709551615, 9223372036854775808, -5, 1e3, "
		"9223372036854775807], \"s\": \"18446744073709551615\"}, \"id\": 2}\r\n";
	json_t *j, *a;

	start(env, false);
	fake_qmp_silent(env->f, "qom-get");
	qmp_command(env->q, "qom-get", NULL, 0, on_done, env);
	fake_qmp_raw(env->f, s, sizeof(s) - 1);
	run_until(env, &env->dones, 1);
	assert_int_equal(env->done_err.code, 0);

	j = qmp_json_parse(s, sizeof(s) - 1, NULL);
	a = json_object_get(json_object_get(j, "return"), "a\"18446744073709551615");
	assert_true((uint64_t)json_integer_value(json_array_get(a, 0)) == UINT64_MAX);
	assert_true((uint64_t)json_integer_value(json_array_get(a, 1)) == 1ULL << 63);
	assert_int_equal(json_integer_value(json_array_get(a, 2)), -5);
	assert_true(json_integer_value(json_array_get(a, 4)) == INT64_MAX);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(j, "return"), "s")), "18446744073709551615");
	json_decref(j);
	assert_null(qmp_json_parse("{\"a\": 18446744073709551616}", 27, NULL)); /* above 64 bits: nobody's number */
}

static void test_free_cancels(void **state)
{
	struct env *env = *state;

	start(env, true);
	fake_qmp_silent(env->f, "a");
	qmp_command(env->q, "a", NULL, 0, on_done, env);
	qmp_command(env->q, "a", NULL, 0, on_done, env);
	env->free_in_done = true; /* free again from inside */
	env_qmp_free(env);
	assert_int_equal(env->dones, 2);
	assert_int_equal(env->done_err.code, ECANCELED);
	assert_int_equal(env->downs, 0);
	run_some(env);
}

static void test_free_inside_ready(void **state)
{
	struct env *env = *state;

	env->free_in_ready = true;
	env->q = qmp_new(env->base, env->path, true, &handlers, env);
	run_until(env, &env->ready, 1);
	run_some(env);
	assert_null(env->q);
}

static void test_free_inside_event(void **state)
{
	struct env *env = *state;

	start(env, true);
	env->free_in_event = true;
	fake_qmp_event(env->f, "A", NULL);
	fake_qmp_event(env->f, "B", NULL); /* in the same read: must not be delivered */
	run_until(env, &env->events, 1);
	run_some(env);
	assert_string_equal(env->last_event, "A");
}

static void test_free_inside_done(void **state)
{
	struct env *env = *state;

	start(env, true);
	env->free_in_done = true;
	qmp_command(env->q, "query-status", NULL, 0, on_done, env);
	qmp_command(env->q, "query-status", NULL, 0, on_done, env);
	run_until(env, &env->dones, 2); /* the first as answered, the second cancelled by the free inside */
	assert_string_equal(env->order, "Rdx");
	assert_int_equal(env->done_err.code, ECANCELED);
}

static void test_free_inside_timeout_and_down(void **state)
{
	struct env *env = *state;

	start(env, true);
	fake_qmp_silent(env->f, "a");
	env->free_in_done = true;
	qmp_command(env->q, "a", NULL, 20, on_done, env);
	run_until(env, &env->dones, 1);
	env->free_in_done = false;

	env->ready = 0;
	start(env, true);
	env->free_in_down = true;
	fake_qmp_drop(env->f, false);
	run_until(env, &env->downs, 1);
	run_some(env);
	assert_null(env->q);
}

static void test_free_during_call(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	start(env, true);
	fake_qmp_silent(env->f, "a");
	env->free_in_event = true;
	fake_qmp_event_later(env->f, 20, "A", NULL);
	assert_int_equal(qmp_call(env->q, "a", NULL, 0, NULL, &e), -ECANCELED);
}

static void on_break(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void test_call_interrupted(void **state)
{
	struct env *env = *state;
	struct timeval tv = {.tv_usec = 20000};
	struct event *t = evtimer_new(env->base, on_break, env->base);
	struct err e = {0};

	start(env, false);
	fake_qmp_hold(env->f, "a", NULL);
	event_add(t, &tv);
	assert_int_equal(qmp_call(env->q, "a", NULL, 0, NULL, &e), -EINTR);
	fake_qmp_release(env->f, "a"); /* the answer must not reach the frame that is gone */
	run_some(env);
	assert_int_equal(qmp_call(env->q, "query-status", NULL, 0, NULL, &e), 0);
	event_free(t);
}

static void test_peer_dies_during_call(void **state)
{
	struct env *env = *state;
	struct err e = {0};

	start(env, false);
	fake_qmp_greeting(env->f, NULL);
	fake_qmp_silent(env->f, "a");
	env->free_in_event = false;
	qmp_command(env->q, "a", NULL, 20, on_done, env);
	fake_qmp_silent(env->f, "b");
	assert_int_equal(qmp_call(env->q, "b", NULL, 40, NULL, &e), -ETIMEDOUT);
	assert_int_equal(env->dones, 1);
}

/* Random traffic: however the peer behaves, each command is answered exactly once. */
static void test_every_command_answered_once(void **state)
{
	struct env *env = *state;
	unsigned sent = 0, drops = 0, seed = 12345;

	fake_qmp_hold(env->f, "hold", NULL);
	fake_qmp_error(env->f, "err", "DeviceNotFound", "no");
	start(env, true);
	for (int i = 0; i < 2000; i++) {
		static const char *const cmds[] = {"hold", "err", "query-status", "unknown"};

		if (!qmp_command(env->q, cmds[rand_r(&seed) % 4], NULL, 5000, on_done, env))
			sent++;
		if (rand_r(&seed) % 10 == 0)
			fake_qmp_release(env->f, "hold");
		if (rand_r(&seed) % 100 == 0) {
			fake_qmp_drop(env->f, false);
			run_until(env, &env->downs, ++drops);
			run_until(env, &env->ready, drops + 1);
		}
		event_base_loop(env->base, EVLOOP_NONBLOCK);
		env->order[0] = 0;
	}
	env_qmp_free(env);
	assert_true(sent > 1000 && drops > 5);
	assert_int_equal(env->dones, sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_call),
		T(test_remote_error),
		T(test_ids_out_of_order),
		T(test_timeout_then_late_answer),
		T(test_events),
		T(test_drop_answers_epipe_before_down),
		T(test_reconnect),
		T(test_connects_when_the_peer_comes_late),
		T(test_no_peer_without_reconnect),
		T(test_garbage),
		T(test_answer_without_id),
		T(test_neither_answer_nor_event),
		T(test_array_line),
		T(test_wrong_greeting),
		T(test_event_before_greeting),
		T(test_oversize),
		T(test_split_lines),
		T(test_all_ones),
		T(test_free_cancels),
		T(test_free_inside_ready),
		T(test_free_inside_event),
		T(test_free_inside_done),
		T(test_free_inside_timeout_and_down),
		T(test_free_during_call),
		T(test_call_interrupted),
		T(test_peer_dies_during_call),
		T(test_every_command_answered_once),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
