/* A probe over loopback through TLS: both ends come to their end, bounded in bytes; neither is kept by an end that breaks off or talks nonsense. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/probe.h"
#include "tests/unit/support/certs.h"

struct rig {
	char dir[64];
	struct tls_ctx *a, *b;
	struct xfer_limits limits[2];
	int cancel_fd, sink_rc;
	unsigned n;
	struct session *src, *dst;
	uint16_t port;
	struct err sink_err;
	pthread_t thread;
	bool joined;
};

static struct session_conf conf_of(struct rig *r, bool source)
{
	struct session_conf c = {.tls = source ? r->a : r->b,
		.peer = source ? "beta" : "alpha",
		.address = "127.0.0.1",
		.port = source ? r->port : 0,
		.limits = &r->limits[!source],
		.cancel_fd = r->cancel_fd};

	return c;
}

static void *sink_thread(void *arg)
{
	struct rig *r = arg;

	r->sink_rc = session_accept(r->dst, 20000, &r->sink_err);
	if (r->sink_rc == 0)
		r->sink_rc = session_accept_data(r->dst, r->n, 20000, &r->sink_err);
	if (r->sink_rc == 0)
		r->sink_rc = probe_sink(r->dst, &r->sink_err);
	return NULL;
}

static void open_both(struct rig *r, unsigned n)
{
	struct session_conf c;
	struct err e = {0};

	memset(r, 0, sizeof(*r));
	cert_pair(r->dir, "alpha", "beta");
	r->a = cert_ctx(r->dir, "alpha");
	r->b = cert_ctx(r->dir, "beta");
	r->n = n;
	r->cancel_fd = eventfd(0, EFD_CLOEXEC);
	c = conf_of(r, false);
	assert_int_equal(session_listen(&c, &r->dst, &r->port, &e), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, sink_thread, r), 0);
	c = conf_of(r, true);
	assert_int_equal(session_connect(&c, &r->src, &e), 0);
	assert_int_equal(session_connect_data(r->src, n, &e), 0);
}

/* Returns how the sink ended. */
static int sink_join(struct rig *r)
{
	if (!r->joined)
		pthread_join(r->thread, NULL);
	r->joined = true;
	return r->sink_rc;
}

static int close_both(struct rig *r)
{
	session_free(r->src);
	sink_join(r);
	session_free(r->dst);
	tls_ctx_free(r->a);
	tls_ctx_free(r->b);
	close(r->cancel_fd);
	remove_tree(r->dir);
	return r->sink_rc;
}

static void a_probe(void **state)
{
	struct probe_out out = {0};
	struct err e = {0};
	struct rig r;

	(void)state;
	open_both(&r, 2);
	assert_int_equal(probe_send(r.src, &out, &e), 0);
	assert_int_equal(sink_join(&r), 0);
	assert_true(out.bps > 1e6 && out.bps < 1e11);
	assert_true(out.octet_ns > 0 && out.octet_ns < 1e6);
	assert_true(out.bytes >= 2 << 16 && out.bytes <= PROBE_BYTES + 4 * 65540ULL);
	assert_int_equal(close_both(&r), 0);
}

static void the_source_breaks_off(void **state)
{
	uint8_t head[4] = {0, 0, 0x80, 0};
	struct err e = {0};
	struct rig r;

	(void)state;
	open_both(&r, 1);
	assert_int_equal(tls_write(session_data(r.src, 0), head, sizeof(head), &e), 0); /* a block that never comes */
	assert_true(close_both(&r) < 0);
}

static void the_target_breaks_off(void **state)
{
	struct probe_out out = {.bps = 7};
	struct err e = {0};
	struct rig r;

	(void)state;
	open_both(&r, 2);
	session_break(r.dst);
	assert_true(probe_send(r.src, &out, &e) < 0);
	assert_true(out.bps == 7 && e.msg[0]);
	assert_true(close_both(&r) < 0);
}

static void too_long_a_block(void **state)
{
	uint8_t head[4] = {0xff, 0, 0, 0};
	struct err e = {0};
	struct rig r;

	(void)state;
	open_both(&r, 1);
	assert_int_equal(tls_write(session_data(r.src, 0), head, sizeof(head), &e), 0);
	assert_int_equal(sink_join(&r), -EPROTO);
	close_both(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_probe),
		cmocka_unit_test(the_source_breaks_off),
		cmocka_unit_test(the_target_breaks_off),
		cmocka_unit_test(too_long_a_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
