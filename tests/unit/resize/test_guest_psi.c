/* A guest's memory pressure: what its kernel writes, as its agent sends it, over time; and an agent that says nonsense. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "resize/guest_psi.h"

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
		assert_int_equal(guest_psi_unbase64(cases[i].text, out, sizeof(out)), cases[i].out ? 0 : -EPROTO);
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
	struct event_base *base;
	char dir[32], path[64];
	struct bufferevent *guest;
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

static void on_line(struct rig *r, const char *line)
{
	json_t *j = json_loads(line + (*line == '\xff'), 0, NULL), *args = json_object_get(j, "arguments");
	const char *cmd = json_string_value(json_object_get(j, "execute")), *say = "{\"return\": {}}";
	char sync[80];

	assert_non_null(cmd);
	if (!strcmp(cmd, "guest-sync-delimited")) {
		snprintf(sync, sizeof(sync), "\xff{\"return\": %lld}",
			(long long)json_integer_value(json_object_get(args, "id")));
		say = sync;
	} else if (!strcmp(cmd, "guest-file-open")) {
		assert_string_equal(json_string_value(json_object_get(args, "path")), "/proc/pressure/memory");
		say = r->open;
	} else if (!strcmp(cmd, "guest-file-read")) {
		assert_int_equal(json_integer_value(json_object_get(args, "handle")), 1000);
		say = r->read;
	} else if (!strcmp(cmd, "guest-file-close")) {
		r->closed++;
	}
	if (say) {
		bufferevent_write(r->guest, say, strlen(say));
		bufferevent_write(r->guest, "\n", 1);
	}
	json_decref(j);
}

static void on_guest_read(struct bufferevent *bev, void *arg)
{
	size_t n;
	char *line;

	while ((line = evbuffer_readln(bufferevent_get_input(bev), &n, EVBUFFER_EOL_LF))) {
		on_line(arg, line);
		free(line);
	}
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct rig *r = arg;

	(void)l, (void)sa, (void)len;
	r->guest = bufferevent_socket_new(r->base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(r->guest, on_guest_read, NULL, NULL, r);
	bufferevent_enable(r->guest, EV_READ | EV_WRITE);
}

static void on_up(void *arg)
{
	((struct rig *)arg)->ups++;
}

static void until(struct rig *r, const unsigned *counter, unsigned at_least)
{
	for (unsigned i = 0; i < 1000 && *counter < at_least; i++)
		event_base_loop(r->base, EVLOOP_ONCE);
	assert_true(*counter >= at_least);
}

static void ask(struct rig *r, const char *open, const char *read)
{
	unsigned before = r->done;

	r->open = open;
	r->read = read;
	assert_int_equal(guest_psi_ask(r->q, on_done, r), 0);
	until(r, &r->done, before + 1);
}

static void test_asks(void **state)
{
	struct rig r = {.dir = "/tmp/psi-XXXXXX"};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct evconnlistener *l;

	(void)state;
	assert_non_null(mkdtemp(r.dir));
	snprintf(r.path, sizeof(r.path), "%s/qga.sock", r.dir);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", r.path);
	r.base = event_base_new();
	l = evconnlistener_new_bind(
		r.base, on_accept, &r, LEV_OPT_CLOSE_ON_FREE, 4, (struct sockaddr *)&sa, sizeof(sa));
	assert_non_null(l);
	r.q = qga_new(r.base, r.path, on_up, &r);
	assert_int_equal(guest_psi_ask(NULL, on_done, &r), -ENOTCONN);
	assert_int_equal(guest_psi_ask(r.q, on_done, &r), -ENOTCONN);
	qga_poke(r.q);
	until(&r, &r.ups, 1);
	/* some avg10=0.00 avg60=0.00 avg300=0.00 total=42 */
	ask(&r, "{\"return\": 1000}",
		"{\"return\": {\"count\": 48, \"buf-b64\": \"c29tZSBhdmcxMD0wLjAwIGF2ZzYwPTAuMDAgYXZnMzAwPTAuMDAgdG90YWw9NDIK\", \"eof\": true}}");
	assert_int_equal(r.e.code, 0);
	assert_true(r.some_us == 42);
	ask(&r, "{\"return\": 1000}", "{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": true}}");
	assert_int_equal(r.e.code, EPROTO);
	ask(&r, "{\"return\": 1000}",
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Operation not supported\"}}");
	assert_int_equal(r.e.code, EREMOTEIO);
	until(&r, &r.closed, 3); /* each that was opened */
	ask(&r, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"disabled\"}}", NULL);
	assert_int_equal(r.e.code, EREMOTEIO);
	ask(&r, "{\"return\": {}}", NULL);
	assert_int_equal(r.e.code, EPROTO);
	assert_int_equal(r.closed, 3);
	r.open = NULL; /* freed while one is asked for */
	assert_int_equal(guest_psi_ask(r.q, on_done, &r), 0);
	qga_free(r.q);
	assert_int_equal(r.e.code, ECANCELED);
	assert_int_equal(r.done, 6);
	bufferevent_free(r.guest);
	evconnlistener_free(l);
	event_base_free(r.base);
	unlink(r.path);
	rmdir(r.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_base64),
		cmocka_unit_test(test_share), cmocka_unit_test(test_asks)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
