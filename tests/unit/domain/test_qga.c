/* The guest agent's client against an agent in the same loop that is sane, silent, late, or mad. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "domain/qga.h"

struct rig {
	struct event_base *base;
	char dir[32], path[64];
	struct evconnlistener *listener;
	struct bufferevent *guest; /* the agent's end of the last connection */
	struct qga *q;
	bool silent, mad, stale, endless; /* how the agent is */
	unsigned heard, ups, done;
	struct err e;
	char ret[200];
};

static void say(struct rig *r, const char *text)
{
	bufferevent_write(r->guest, text, strlen(text));
}

/* A line without an end; to a synchronisation, one that seems to be the answer. */
static void say_endlessly(struct rig *r)
{
	static char much[3 << 20];

	memset(much, ' ', sizeof(much));
	if (!qga_ready(r->q))
		much[0] = '\xff';
	bufferevent_write(r->guest, much, sizeof(much));
}

static void on_sync(struct rig *r, json_int_t id)
{
	char text[100];

	if (r->stale) /* an answer that an earlier client did not wait for, whole and in part */
		say(r, "{\"return\": {\"stale\": 1}}\n\xff{\"return\": 5}\n{\"ret");
	snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n", (long long)id);
	say(r, text);
}

static void on_command(struct rig *r, const char *line)
{
	json_t *j = json_loads(line + (*line == '\xff'), 0, NULL);
	const char *cmd = json_string_value(json_object_get(j, "execute"));

	assert_non_null(cmd);
	r->heard++;
	if (r->silent)
		;
	else if (r->endless)
		say_endlessly(r);
	else if (r->mad)
		say(r, "{{{{\n");
	else if (!strcmp(cmd, "guest-sync-delimited"))
		on_sync(r, json_integer_value(json_object_get(json_object_get(j, "arguments"), "id")));
	else if (!strcmp(cmd, "guest-get-vcpus"))
		say(r, "{\"return\": [{\"online\": true, \"logical-id\": 0}]}\n");
	else
		say(r, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command has not been found\"}}\n");
	json_decref(j);
}

static void on_guest_read(struct bufferevent *bev, void *arg)
{
	struct rig *r = arg;
	size_t n;
	char *line;

	while (bev == r->guest && (line = evbuffer_readln(bufferevent_get_input(bev), &n, EVBUFFER_EOL_LF))) {
		on_command(r, line);
		free(line);
	}
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct rig *r = arg;

	(void)l, (void)sa, (void)len;
	if (r->guest)
		bufferevent_free(r->guest);
	r->guest = bufferevent_socket_new(r->base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(r->guest, on_guest_read, NULL, NULL, r);
	bufferevent_enable(r->guest, EV_READ | EV_WRITE);
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
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/qga-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/qga.sock", r->dir);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", r->path);
	r->base = event_base_new();
	r->listener = evconnlistener_new_bind(
		r->base, on_accept, r, LEV_OPT_CLOSE_ON_FREE, 4, (struct sockaddr *)&sa, sizeof(sa));
	assert_non_null(r->listener);
	r->q = qga_new(r->base, r->path, on_up, r);
	assert_non_null(r->q);
}

static void stop(struct rig *r)
{
	qga_free(r->q);
	if (r->guest)
		bufferevent_free(r->guest);
	evconnlistener_free(r->listener);
	event_base_free(r->base);
	unlink(r->path);
	rmdir(r->dir);
}

static void until(struct rig *r, const unsigned *counter, unsigned at_least)
{
	for (unsigned i = 0; i < 1000 && *counter < at_least; i++)
		event_base_loop(r->base, EVLOOP_ONCE);
	assert_true(*counter >= at_least);
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
	start(&r);
	qga_poke(r.q);
	until(&r, &r.ups, 1);
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
	start(&r);
	qga_poke(r.q);
	until(&r, &r.ups, 1);
	r.mad = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 1);
	assert_int_equal(r.e.code, EPROTO);
	assert_false(qga_ready(r.q));
	stop(&r);
}

/* Lines in single bytes are lines all the same; a line without an end is not waited for. */
static void test_dribbles(void **state)
{
	static const char answer[] = "\n{\"return\": [1]}\n";
	struct rig r;

	(void)state;
	start(&r);
	qga_poke(r.q);
	until(&r, &r.ups, 1);
	r.silent = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.heard, 2);
	for (const char *p = answer; *p; p++) {
		bufferevent_write(r.guest, p, 1);
		bufferevent_flush(r.guest, EV_WRITE, BEV_FLUSH);
		event_base_loop(r.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		event_base_loop(r.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	}
	until(&r, &r.done, 1);
	assert_string_equal(r.ret, "[1]");
	r.silent = false;
	r.endless = true;
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 2);
	assert_int_equal(r.e.code, EMSGSIZE);
	assert_false(qga_ready(r.q));
	qga_poke(r.q); /* nor where it begins as it should */
	until(&r, &r.heard, 4);
	for (unsigned i = 0; i < 20; i++)
		event_base_loop(r.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_false(qga_ready(r.q));
	r.endless = false;
	qga_poke(r.q); /* and it is well again: it had been given up, or this would do nothing */
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
	start(&r);
	qga_poke(r.q);
	until(&r, &r.ups, 1);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done_free, &r), 0);
	assert_int_equal(qga_command(r.q, "guest-get-vcpus", NULL, 0, on_done, &r), 0);
	until(&r, &r.done, 2);
	assert_int_equal(r.e.code, ECANCELED);
	stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sane), cmocka_unit_test(test_falls_silent),
		cmocka_unit_test(test_mad), cmocka_unit_test(test_dribbles), cmocka_unit_test(test_freed)};

	signal(SIGPIPE, SIG_IGN); /* as policyd does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
