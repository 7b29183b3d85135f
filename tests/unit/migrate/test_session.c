/* The session of two workers over loopback: strangers turned away, frames in order, relay-sized floods both ways, loss, cancel. The target's side runs
 * in a thread of its own. Clean under SAN=thread. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/session.h"
#include "tests/unit/support/certs.h"

#define N_DATA 3

struct rig {
	char dir[64];
	struct tls_ctx *a, *b;
	struct xfer_limits limits[2];
	int cancel_fd;
	struct session *src, *dst;
	uint16_t port;
	int accept_rc, data_rc;
	unsigned accept_ms;
	struct err accept_err;
	pthread_t thread;
	_Atomic unsigned n_notes;
};

static void on_note(void *arg, const struct control_note *n)
{
	struct rig *r = arg;

	r->n_notes += n->round;
}

static void *target_main(void *arg)
{
	struct rig *r = arg;

	r->accept_rc = session_accept(r->dst, r->accept_ms, &r->accept_err);
	if (r->accept_rc == 0)
		r->data_rc = session_accept_data(r->dst, N_DATA, r->accept_ms, &r->accept_err);
	return NULL;
}

static struct session_conf conf_of(struct rig *r, bool source)
{
	struct session_conf c = {.tls = source ? r->a : r->b,
		.peer = source ? "beta" : "alpha",
		.address = "127.0.0.1",
		.limits = &r->limits[!source],
		.cancel_fd = r->cancel_fd,
		.on_note = on_note,
		.arg = r};

	c.port = source ? r->port : 0;
	memset(c.token, 7, sizeof(c.token));
	return c;
}

static int setup(void **state)
{
	static struct rig rig;
	struct rig *r = &rig;
	struct session_conf c;
	struct err e = {0};

	memset(r, 0, sizeof(*r));
	cert_pair(r->dir, "alpha", "beta");
	r->a = cert_ctx(r->dir, "alpha");
	r->b = cert_ctx(r->dir, "beta");
	r->cancel_fd = eventfd(0, EFD_CLOEXEC);
	r->accept_ms = 20000;
	c = conf_of(r, false);
	assert_int_equal(session_listen(&c, &r->dst, &r->port, &e), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	session_free(r->src);
	session_free(r->dst);
	tls_ctx_free(r->a);
	tls_ctx_free(r->b);
	close(r->cancel_fd);
	remove_tree(r->dir);
	return 0;
}

static void target_start(struct rig *r)
{
	assert_int_equal(pthread_create(&r->thread, NULL, target_main, r), 0);
}

static void both_open(struct rig *r)
{
	struct session_conf c = conf_of(r, true);
	struct err e = {0};

	target_start(r);
	assert_int_equal(session_connect(&c, &r->src, &e), 0);
	assert_int_equal(session_connect_data(r->src, N_DATA, &e), 0);
	pthread_join(r->thread, NULL);
	assert_int_equal(r->accept_rc, 0);
	assert_int_equal(r->data_rc, 0);
	assert_int_equal(session_n_data(r->dst), N_DATA);
}

/* The next frame, waited for on the eventfd as the engine does. */
static int take(struct session *s, struct session_frame *f, struct err *e)
{
	struct pollfd p = {.fd = session_event_fd(s), .events = POLLIN};
	uint64_t n;
	int rc;

	while ((rc = session_take(s, f, e)) == -EAGAIN) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_int_equal(read(p.fd, &n, sizeof(n)), sizeof(n));
	}
	return rc;
}

/* Plain TCP, a stranger's token, a data channel first: none of them ends the wait for the right one. */
static void strangers(void **state)
{
	struct rig *r = *state;
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(r->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct session_conf c = conf_of(r, true);
	struct session *other = NULL;
	struct err e = {0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	target_start(r);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
	memset(c.token, 8, sizeof(c.token));
	assert_int_equal(session_connect(&c, &other, &e), 0); /* TLS is in order; the token is looked at after */
	close(fd);
	c = conf_of(r, true);
	assert_int_equal(session_connect(&c, &r->src, &e), 0);
	assert_int_equal(session_connect_data(r->src, N_DATA, &e), 0);
	pthread_join(r->thread, NULL);
	assert_int_equal(r->accept_rc, 0);
	assert_int_equal(r->data_rc, 0);
	session_free(other);
}

static void nobody_comes(void **state)
{
	struct rig *r = *state;

	r->accept_ms = 50;
	target_start(r);
	pthread_join(r->thread, NULL);
	assert_int_equal(r->accept_rc, -ETIMEDOUT);
	assert_non_null(strstr(r->accept_err.msg, "alpha did not connect in time"));
}

static void cancel_ends_waiting(void **state)
{
	struct rig *r = *state;
	uint64_t one = 1;

	target_start(r);
	assert_int_equal(write(r->cancel_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(r->thread, NULL);
	assert_int_equal(r->accept_rc, -ECANCELED);
}

static void *flood(void *arg)
{
	static const uint8_t bytes[CONTROL_STATE_MAX];
	struct control_msg msg = {.type = CT_STATE, .state = {.bytes = bytes, .n = sizeof(bytes)}};
	struct err e = {0};

	for (unsigned i = 0; i < 300; i++) /* 19 MB, above the queue's limit */
		if (session_send(arg, &msg, &e) != 0)
			return arg;
	return NULL;
}

static void frames_in_order_and_floods(void **state)
{
	struct rig *r = *state;
	struct session_frame f;
	struct err e = {0};
	pthread_t threads[2];
	void *bad[2];

	both_open(r);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(
			session_send(r->src, &(struct control_msg){.type = CT_STATE_END, .state_bytes = i}, &e), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(take(r->dst, &f, &e), 0);
		assert_int_equal(f.msg.state_bytes, i);
		session_frame_free(&f);
	}
	assert_int_equal(session_send(r->src, &(struct control_msg){.type = CT_NOTE, .note = {.round = 5}}, &e), 0);
	pthread_create(&threads[0], NULL, flood, r->src);
	pthread_create(&threads[1], NULL, flood, r->dst);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(take(r->dst, &f, &e), 0);
		assert_int_equal(f.msg.state.n, CONTROL_STATE_MAX);
		session_frame_free(&f);
		assert_int_equal(take(r->src, &f, &e), 0);
		session_frame_free(&f);
	}
	pthread_join(threads[0], &bad[0]);
	pthread_join(threads[1], &bad[1]);
	assert_null(bad[0]);
	assert_null(bad[1]);
	assert_int_equal(r->n_notes, 5);
	assert_false(session_pending(r->dst));
}

/* What was sent before the end arrives; then the loss is told, the data channels are aborted and the engine is told to come back. */
static void last_words(void **state)
{
	struct rig *r = *state;
	struct control_msg msg = {.type = CT_ABORT, .abort = {.reason = "no such device", .cancelled = false}};
	struct session_frame f;
	struct err e = {0};
	char c;

	both_open(r);
	assert_int_equal(session_send(r->src, &msg, &e), 0);
	session_free(r->src);
	r->src = NULL;
	assert_int_equal(take(r->dst, &f, &e), 0);
	assert_int_equal(f.msg.type, CT_ABORT);
	assert_string_equal(f.msg.abort.reason, "no such device");
	session_frame_free(&f);
	assert_true(session_lost(r->dst));
	assert_int_equal(take(r->dst, &f, &e), -EPIPE);
	assert_true(r->limits[1].cancel);
	assert_true(tls_read(session_data(r->dst, 0), &c, 1, &e) < 0);
	assert_true(session_send(r->dst, &(struct control_msg){.type = CT_READY}, &e) < 0);
}

static void broken_off(void **state)
{
	struct rig *r = *state;
	struct session_frame f;
	struct err e = {0};

	both_open(r);
	session_break(r->src);
	assert_int_equal(take(r->src, &f, &e), -ECANCELED);
	assert_true(session_send(r->src, &(struct control_msg){.type = CT_COMMIT}, &e) < 0);
	session_linger(r->src, 5000); /* lost already: returns at once */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(cancel_ends_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_in_order_and_floods, setup, teardown),
		cmocka_unit_test_setup_teardown(last_words, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_off, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
