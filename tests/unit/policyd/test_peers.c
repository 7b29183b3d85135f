/* Peers: two or three hosts in one event loop, over loopback, with real certificates. Each test waits for a condition, never for time alone. */
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "policyd/cluster/peer.h"
#include "tests/unit/support/certs.h"

#define HOSTS 3
static const char *const names[HOSTS] = {"alpha", "beta", "gamma"};

struct host {
	struct world *w;
	struct peers *p;
	unsigned reports, ups, requests;
	struct peer_req *kept;
	char log[2048];
};

struct world {
	struct event_base *base;
	char dir[64];
	struct host h[HOSTS];
	struct peers_timing timing;
};

struct answer {
	bool done;
	struct err e;
	json_t *j;
};

static void on_answer(void *arg, const json_t *answer, const struct err *e)
{
	struct answer *a = arg;

	assert_false(a->done);
	a->done = true;
	a->e = *e;
	a->j = answer ? json_deep_copy(answer) : NULL;
}

static void on_log(void *arg, const char *peer, const char *text)
{
	struct host *h = arg;
	size_t n = strlen(h->log);

	snprintf(h->log + n, sizeof(h->log) - n, "[%s] %s\n", peer ? peer : "-", text);
}

static json_t *make_report(void *arg)
{
	(void)arg;
	return json_pack("{s:i}", "t", 1);
}

static void on_req_echo(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct host *h = arg;

	h->requests++;
	peer_req_answer(rq, json_pack("{s:s, s:O}", "from", from, "args", (json_t *)args));
}

static void on_req_refuse(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct err e;

	(void)arg, (void)from, (void)args;
	err_set(&e, ENOSPC, "beta has no room; make some");
	peer_req_fail(rq, &e);
}

static void on_req_keep(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct host *h = arg;

	(void)from, (void)args;
	assert_null(h->kept);
	h->kept = rq;
}

static const struct peer_handler handlers[] = {
	{"echo", on_req_echo}, {"refuse", on_req_refuse}, {"keep", on_req_keep}, {NULL, NULL}};

static void on_up(void *arg, const char *peer)
{
	struct host *h = arg;

	(void)peer;
	h->ups++;
}

static void on_report(void *arg, const char *peer)
{
	struct host *h = arg;

	(void)peer;
	h->reports++;
}

static void host_start(struct world *w, unsigned i, struct tls_ctx *tls)
{
	struct peers_conf c = {.base = w->base,
		.tls = tls,
		.address = "127.0.0.1",
		.timing = w->timing,
		.handlers = handlers,
		.report = make_report,
		.log = on_log,
		.arg = &w->h[i]};
	struct err e = {0};

	snprintf(c.own.name, sizeof(c.own.name), "%s", names[i]);
	c.own.protocol = MSG_PROTOCOL;
	strcpy(c.own.version, "test");
	w->h[i].w = w;
	assert_int_equal(peers_new(&c, &w->h[i].p, &e), 0);
	peers_set_watch(w->h[i].p, &(struct peers_watch){on_up, on_report, &w->h[i]});
}

/* Certificates for all, everybody trusts everybody. */
static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	char path[128];

	signal(SIGPIPE, SIG_IGN);
	w->base = event_base_new();
	strcpy(w->dir, "/tmp/ballast-peers-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->timing = (struct peers_timing){.report = 50,
		.stale = 400,
		.retry_min = 20,
		.retry_max = 100,
		.handshake = 2000,
		.silence = 1000,
		.stuck = 1000};
	for (unsigned i = 0; i < HOSTS; i++) {
		cert_make(w->dir, names[i], &(struct cert_opts){.cn = names[i], .dns = names[i]});
		snprintf(path, sizeof(path), "%s/trust-%s", w->dir, names[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	for (unsigned i = 0; i < HOSTS; i++)
		for (unsigned k = 0; k < HOSTS; k++) {
			snprintf(path, sizeof(path), "trust-%s", names[i]);
			if (i != k)
				cert_copy(w->dir, names[k], path);
		}
	return w;
}

static struct conf_peer peer_conf(struct world *w, unsigned i)
{
	struct conf_peer c = {.address = "127.0.0.1", .port = peers_port(w->h[i].p)};

	snprintf(c.name, sizeof(c.name), "%s", names[i]);
	return c;
}

/* Host @i knows host @k. */
static void knows(struct world *w, unsigned i, unsigned k)
{
	struct conf_peer c = peer_conf(w, k);

	assert_int_equal(peers_update(w->h[i].p, &c, 1, NULL, NULL), 0);
}

static void world_free(struct world *w)
{
	for (unsigned i = 0; i < HOSTS; i++)
		peers_free(w->h[i].p);
	event_base_loop(w->base, EVLOOP_NONBLOCK);
	event_base_free(w->base);
	remove_tree(w->dir);
	free(w);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

/* Run the loop until @cond; 10 s are more than any test needs. */
#define until(w, cond)                                                                                                 \
	do {                                                                                                           \
		struct event *tick_ = event_new((w)->base, -1, EV_PERSIST, on_tick, NULL);                             \
		struct timeval every_ = {0, 5000};                                                                     \
		int64_t end_ = now_ms() + 10000;                                                                       \
		event_add(tick_, &every_);                                                                             \
		while (!(cond) && now_ms() < end_)                                                                     \
			event_base_loop((w)->base, EVLOOP_ONCE);                                                       \
		event_free(tick_);                                                                                     \
		if (!(cond))                                                                                           \
			fail_msg("never came: %s\nalpha:\n%sbeta:\n%s", #cond, (w)->h[0].log, (w)->h[1].log);          \
	} while (0)

static struct peer_status status(struct world *w, unsigned i, unsigned k)
{
	struct peer_status st = {0};

	assert_true(peers_status(w->h[i].p, names[k], &st));
	return st;
}

static struct world *pair_up(void)
{
	struct world *w = world_new();

	for (unsigned i = 0; i < 2; i++)
		host_start(w, i, cert_ctx(w->dir, names[i]));
	knows(w, 0, 1);
	knows(w, 1, 0);
	until(w, status(w, 0, 1).up && status(w, 1, 0).up && w->h[0].reports && w->h[1].reports);
	return w;
}

static void test_talk(void **state)
{
	struct world *w = pair_up();
	struct answer a = {0}, b = {0}, c = {0};
	struct err e;

	(void)state;
	assert_int_equal(
		peer_call(w->h[0].p, "beta", "echo", json_pack("{s:i}", "n", 7), 0, on_answer, &a, NULL, &e), 0);
	assert_int_equal(peer_call(w->h[1].p, "alpha", "refuse", NULL, 0, on_answer, &b, NULL, &e), 0);
	assert_int_equal(peer_call(w->h[1].p, "alpha", "no-such", NULL, 0, on_answer, &c, NULL, &e), 0);
	assert_false(a.done);
	until(w, a.done && b.done && c.done);
	assert_int_equal(a.e.code, 0);
	assert_string_equal(json_string_value(json_object_get(a.j, "from")), "alpha");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(a.j, "args"), "n")), 7);
	assert_int_equal(b.e.code, EREMOTEIO);
	assert_string_equal(b.e.msg, "beta has no room; make some");
	assert_int_equal(c.e.code, EREMOTEIO);
	assert_int_equal(peer_call(w->h[0].p, "delta", "echo", NULL, 0, on_answer, &a, NULL, &e), -ENOENT);
	assert_non_null(status(w, 0, 1).report);
	json_decref(a.j);
	world_free(w);
}

static void test_timeout_late_answer(void **state)
{
	struct world *w = pair_up();
	struct answer a = {0}, b = {0};
	struct err e;

	(void)state;
	assert_int_equal(peer_call(w->h[0].p, "beta", "keep", NULL, 60, on_answer, &a, NULL, &e), 0);
	until(w, a.done);
	assert_int_equal(a.e.code, ETIMEDOUT);
	assert_non_null(w->h[1].kept);
	peer_req_answer(w->h[1].kept, NULL); /* late: falls on nobody */
	assert_int_equal(peer_call(w->h[0].p, "beta", "echo", NULL, 0, on_answer, &b, NULL, &e), 0);
	until(w, b.done);
	assert_int_equal(b.e.code, 0);
	json_decref(b.j);
	world_free(w);
}

static void test_peer_ends_and_returns(void **state)
{
	struct world *w = pair_up();
	struct answer a = {0};
	struct conf_peer c = peer_conf(w, 1);
	struct peer_call *forgotten;
	struct answer never = {0};
	struct err e;

	(void)state;
	assert_int_equal(peer_call(w->h[0].p, "beta", "keep", NULL, 0, on_answer, &a, NULL, &e), 0);
	until(w, w->h[1].kept);
	assert_int_equal(peer_call(w->h[0].p, "beta", "echo", NULL, 0, on_answer, &never, &forgotten, &e), 0);
	peer_call_forget(forgotten);
	peers_free(w->h[1].p);
	w->h[1].p = NULL;
	peer_req_answer(w->h[1].kept, NULL); /* its connection is gone: nothing happens */
	until(w, a.done && !status(w, 0, 1).up);
	assert_int_equal(a.e.code, EPIPE);
	until(w, strstr(status(w, 0, 1).error, "refuses connections"));
	assert_int_equal(peer_call(w->h[0].p, "beta", "echo", NULL, 0, on_answer, &a, NULL, &e), -ENOTCONN);
	assert_non_null(strstr(e.msg, "is policyd running there?"));
	until(w, !status(w, 0, 1).report); /* a stale report is none */
	assert_int_not_equal(status(w, 0, 1).report_age_ms, UINT_MAX);
	host_start(w, 1, cert_ctx(w->dir, "beta"));
	c.port = peers_port(w->h[1].p); /* it came back elsewhere, and reload says so */
	assert_int_equal(peers_update(w->h[0].p, &c, 1, NULL, NULL), 0);
	knows(w, 1, 0);
	until(w, status(w, 0, 1).up && status(w, 0, 1).report);
	assert_string_equal(status(w, 0, 1).error, "");
	assert_false(never.done);
	world_free(w);
}

static void test_not_trusted(void **state)
{
	struct world *w = world_new();
	char path[160];

	(void)state;
	snprintf(path, sizeof(path), "%s/trust-beta/alpha.pem", w->dir);
	assert_int_equal(unlink(path), 0);
	for (unsigned i = 0; i < 2; i++)
		host_start(w, i, cert_ctx(w->dir, names[i]));
	knows(w, 0, 1);
	knows(w, 1, 0);
	/* beta does not trust alpha: both say so, each in its own words; neither direction is up */
	until(w, strstr(status(w, 1, 0).error, "trust") && strstr(status(w, 0, 1).error, "trust"));
	assert_false(status(w, 0, 1).up);
	assert_false(status(w, 1, 0).up);
	assert_int_equal(w->h[1].reports, 0);
	world_free(w);
}

/* gamma's certificate is trusted by alpha, but alpha has no such peer; and where "beta" is expected gamma cannot stand in. */
static void test_wrong_name(void **state)
{
	struct world *w = world_new();
	struct conf_peer c;

	(void)state;
	for (unsigned i = 0; i < HOSTS; i++)
		host_start(w, i, cert_ctx(w->dir, names[i]));
	knows(w, 2, 0);
	until(w, strstr(status(w, 2, 0).error, "there is no host \"gamma\" under cluster.peers of alpha"));
	c = peer_conf(w, 2);
	strcpy(c.name, "beta");
	assert_int_equal(peers_update(w->h[0].p, &c, 1, NULL, NULL), 0);
	until(w, strstr(status(w, 0, 1).error, "gamma"));
	assert_false(status(w, 0, 1).up);
	assert_false(status(w, 2, 0).up);
	world_free(w);
}

static void test_expired(void **state)
{
	struct world *w = world_new();
	char path[160];
	struct tls_ctx *tls;
	int64_t t0 = now_ms();

	(void)state;
	snprintf(path, sizeof(path), "%s/trust-alpha/beta.pem", w->dir);
	assert_int_equal(unlink(path), 0);
	cert_make(w->dir, "beta", &(struct cert_opts){.cn = "beta", .dns = "beta", .from_s = -3600, .to_s = 2});
	cert_copy(w->dir, "beta", "trust-alpha");
	tls = cert_ctx(w->dir, "beta");
	host_start(w, 0, cert_ctx(w->dir, "alpha"));
	host_start(w, 1, tls);
	until(w, now_ms() > t0 + 3100); /* the only way to hold an expired certificate: have it expire */
	knows(w, 0, 1);
	until(w, strstr(status(w, 0, 1).error, "expired"));
	world_free(w);
}

/* A plain TCP client that sends @n bytes of @c and then whatever the other side answers is read away. */
static int raw_connect(struct world *w, unsigned i)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(peers_port(w->h[i].p)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void test_garbage_and_silence(void **state)
{
	static const char garbage[] = "GET / HTTP/1.1\r\n\r\n";
	struct world *w;
	int mute, loud;

	(void)state;
	w = pair_up();
	w->h[0].log[0] = 0;
	mute = raw_connect(w, 0);
	loud = raw_connect(w, 0);
	assert_int_equal(write(loud, garbage, sizeof(garbage) - 1), (ssize_t)sizeof(garbage) - 1);
	until(w, strstr(w->h[0].log, "refused a connection from 127.0.0.1"));
	until(w, strstr(w->h[0].log, "handshake was not finished in time"));
	assert_true(status(w, 0, 1).up); /* the others do not notice */
	assert_non_null(status(w, 0, 1).report);
	close(mute);
	close(loud);
	world_free(w);
}

/* A trusted peer that breaks the rules of the lines: said on both sides, that connection ends, nothing else. */
struct bad_line {
	const char *line;
	const char *said;
};

static void test_oversize_request(void **state)
{
	struct world *w = pair_up();
	char *big = malloc(MSG_LINE_MAX + 10);
	struct answer a = {0};
	struct err e;

	(void)state;
	memset(big, 'x', MSG_LINE_MAX + 9);
	big[MSG_LINE_MAX + 9] = 0;
	assert_int_equal(
		peer_call(w->h[0].p, "beta", "echo", json_pack("{s:s}", "big", big), 0, on_answer, &a, NULL, &e),
		-EMSGSIZE);
	big[MSG_LINE_MAX - 200] = 0;
	assert_int_equal(
		peer_call(w->h[0].p, "beta", "echo", json_pack("{s:s}", "big", big), 0, on_answer, &a, NULL, &e), 0);
	until(w, w->h[1].requests == 1); /* its echo would be too long: no answer, but nothing breaks */
	assert_true(status(w, 0, 1).up);
	free(big);
	world_free(w);
	assert_true(a.done);
	assert_int_equal(a.e.code, ECANCELED);
}

static void test_flood_of_requests(void **state)
{
	struct world *w = pair_up();
	struct answer a[80] = {0};
	struct err e;
	unsigned sent = 0;
	int r = 0;

	(void)state;
	while (sent < 80 && (r = peer_call(w->h[0].p, "beta", "echo", NULL, 0, on_answer, &a[sent], NULL, &e)) == 0)
		sent++;
	assert_int_equal(r, -EBUSY);
	assert_in_range(sent, 60, 64);
	until(w, a[sent - 1].done);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(a[i].e.code, 0);
		json_decref(a[i].j);
	}
	world_free(w);
}

static void test_reload_certificates(void **state)
{
	struct world *w = pair_up();
	struct conf_peer c = peer_conf(w, 1);
	unsigned ups = w->h[0].ups;

	(void)state;
	assert_int_equal(peers_update(w->h[0].p, &c, 1, NULL, NULL), 0);
	assert_true(status(w, 0, 1).up); /* same peer: nothing was cut */
	assert_int_equal(peers_update(w->h[0].p, &c, 1, cert_ctx(w->dir, "alpha"), NULL), 0);
	assert_false(status(w, 0, 1).up);
	until(w, w->h[0].ups > ups && status(w, 1, 0).up);
	assert_int_equal(peers_update(w->h[0].p, NULL, 0, NULL, NULL), 0);
	assert_int_equal(peers_count(w->h[0].p), 0);
	until(w, strstr(status(w, 1, 0).error, "there is no host"));
	world_free(w);
}

/* ---- messages ------------------------------------------------------------------------------------------------- */

static const struct bad_line bad_lines[] = {
	{"", "not JSON"},
	{"{", "not JSON"},
	{"[]", "must be an object"},
	{"7", "not JSON"},
	{"{\"id\": 1}", "neither"},
	{"{\"hello\": 1}", "hello must be"},
	{"{\"report\": []}", "report must be"},
	{"{\"id\": 0, \"req\": \"x\"}", "id must be"},
	{"{\"id\": -3, \"req\": \"x\"}", "id must be"},
	{"{\"id\": \"1\", \"req\": \"x\"}", "id must be"},
	{"{\"id\": 1, \"req\": 5}", "req must be"},
	{"{\"id\": 1, \"req\": \"\"}", "req must be"},
	{"{\"id\": 1, \"req\": \"0123456789012345678901234567890123456789\"}", "req must be"},
	{"{\"id\": 1, \"ok\": 1}", "ok must be"},
	{"{\"bye\": 1}", "bye must be"},
	{"{\"id\": 1, \"id\": 2, \"req\": \"x\"}", "not JSON"},
	{"{\"report\": {\"a\": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}}", "nested deeper"},
	{"{\"report\": {\"a\": \"\\ud800\"}}", "not JSON"},
	{"{\"report\": {\"a\": \"\xff\"}}", "not JSON"},
};

static void test_bad_lines(void **state)
{
	struct peer_msg m = {.id = 77};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_lines) / sizeof(bad_lines[0]); i++) {
		assert_int_equal(msg_parse(bad_lines[i].line, strlen(bad_lines[i].line), &m, &e), -EINVAL);
		if (!strstr(e.msg, bad_lines[i].said))
			fail_msg("%s: said \"%s\"", bad_lines[i].line, e.msg);
		assert_int_equal(m.id, 77);
	}
}

static void test_good_lines(void **state)
{
	static const char answer[] = "{\"ok\": false, \"id\": 3, \"error\": \"no\"}",
			  deep[] = "{\"report\":{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[\"}}";
	struct peer_msg m;
	struct err e;
	json_t *j = json_pack("{s:i, s:s}", "id", 99, "req", "fake");
	json_t *line = msg_request(5, "precheck", j);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(line, "id")), 5); /* ours wins */
	assert_string_equal(json_string_value(json_object_get(line, "req")), "precheck");
	json_decref(line);
	json_decref(j);
	assert_int_equal(msg_parse(answer, strlen(answer), &m, &e), 0);
	assert_int_equal(m.kind, MSG_ANSWER);
	assert_false(m.ok);
	assert_string_equal(m.error, "no");
	msg_fini(&m);
	assert_int_equal(msg_parse(deep, strlen(deep), &m, &e), 0); /* brackets in a string are no depth */
	msg_fini(&m);
}

static void test_hello(void **state)
{
	struct peer_hello own = {.name = "alpha", .protocol = 1, .version = "0.1"}, out = {.protocol = 9};
	struct err e;
	struct {
		const char *text;
		bool fips;
		int ret;
		const char *said;
	} t[] = {
		{"{\"name\":\"beta\",\"protocol\":1}", false, 0, NULL},
		{"{\"name\":\"beta\",\"protocol\":1,\"fips\":true}", true, 0, NULL},
		{"{\"name\":\"beta\",\"protocol\":1}", true, -EPERM, "security.fips"},
		{"{\"name\":\"gamma\",\"protocol\":1}", false, -EACCES, "its certificate is for beta"},
		{"{\"name\":\"beta\",\"protocol\":2,\"version\":\"9\"}", false, -EPROTONOSUPPORT, "one version"},
		{"{\"name\":\"../beta\",\"protocol\":1}", false, -EINVAL, "no valid name"},
		{"{\"protocol\":1}", false, -EINVAL, "no valid name"},
		{"{\"name\":\"beta\"}", false, -EINVAL, "no protocol"},
		{"{\"name\":\"beta\",\"protocol\":\"1\"}", false, -EINVAL, "no protocol"},
		{"{\"name\":\"beta\",\"protocol\":1,\"protocol_max\":7}", false, 0, NULL},
		{"{\"name\":\"beta\",\"protocol\":2,\"protocol_max\":7}", false, -EPROTONOSUPPORT, "protocols 2 to 7"},
		{"{\"name\":\"beta\",\"protocol\":2,\"protocol_max\":1}", false, -EINVAL, "from 2 to 1"},
		{"{\"name\":\"beta\",\"protocol\":1,\"protocol_max\":\"7\"}", false, -EINVAL, "no protocol"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		json_t *j = json_loads(t[i].text, 0, NULL);

		own.fips = t[i].fips;
		assert_int_equal(hello_check(j, "beta", &own, &out, &e), t[i].ret);
		if (t[i].said && !strstr(e.msg, t[i].said))
			fail_msg("%s: said \"%s\"", t[i].text, e.msg);
		json_decref(j);
	}
}

/* A release that speaks two: with the one before it, with its own and with the next one, and what it says of itself is taken by the first release,
 * which knows "protocol" alone and wants it to be 1. */
static void test_hello_of_two_protocols(void **state)
{
	static const struct {
		unsigned low, high;
		int ret;
	} t[] = {{1, 0, 0}, {1, 1, 0}, {1, 2, 0}, {2, 2, 0}, {2, 3, 0}, {3, 4, -EPROTONOSUPPORT},
		{3, 0, -EPROTONOSUPPORT}};
	struct peer_hello own = {.name = "alpha", .protocol = 1, .protocol_max = 2, .version = "0.2"}, out;
	json_t *mine = hello_to_json(&own);
	struct err e;

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(json_object_get(mine, "hello"), "protocol")), 1);
	json_decref(mine);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct peer_hello other = {.name = "beta", .protocol = t[i].low, .protocol_max = t[i].high};
		json_t *j = hello_to_json(&other);

		assert_int_equal(hello_check(json_object_get(j, "hello"), "beta", &own, &out, &e), t[i].ret);
		json_decref(j);
	}
}

/* Any bytes: parsed or refused, never more. The seed is fixed; the fuzzer in tests/fuzz goes further. */
static void test_random_lines(void **state)
{
	static const char base[] =
		"{\"id\": 12, \"req\": \"prepare\", \"spec\": {\"name\": \"web1\", \"n\": [1, 2.5, null, true]}}";
	char line[sizeof(base)];
	struct peer_msg m;
	struct err e;

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		memcpy(line, base, sizeof(base));
		for (int k = random() % 4; k >= 0; k--)
			line[(size_t)random() % (sizeof(base) - 1)] = (char)random();
		if (msg_parse(line, sizeof(base) - 1 - (size_t)random() % 8, &m, &e) == 0)
			msg_fini(&m);
		else
			assert_true(e.msg[0] != 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_good_lines),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_hello_of_two_protocols),
		cmocka_unit_test(test_random_lines),
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_timeout_late_answer),
		cmocka_unit_test(test_peer_ends_and_returns),
		cmocka_unit_test(test_not_trusted),
		cmocka_unit_test(test_wrong_name),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_garbage_and_silence),
		cmocka_unit_test(test_oversize_request),
		cmocka_unit_test(test_flood_of_requests),
		cmocka_unit_test(test_reload_certificates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
