/* TLS: who is trusted, and whether each refusal is explained in words an operator can act on. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "tests/unit/support/certs.h"

struct side {
	struct tls_ctx *ctx;
	bool server;
	int fd;
	const char *expect;
	struct tls_conn *conn;
	struct err e;
	int ret;
};

static void *run_side(void *arg)
{
	struct side *s = arg;

	s->ret = s->server ? tls_accept(s->ctx, s->fd, s->expect, 5000, &s->conn, &s->e)
			   : tls_connect(s->ctx, s->fd, s->expect, 5000, &s->conn, &s->e);
	if (s->ret)
		close(s->fd);
	return NULL;
}

/* Both handshakes over a socketpair. */
static void meet(struct side *c, struct side *s)
{
	pthread_t t;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	c->server = false, c->fd = fds[0];
	s->server = true, s->fd = fds[1];
	assert_int_equal(pthread_create(&t, NULL, run_side, s), 0);
	run_side(c);
	pthread_join(t, NULL);
}

static void side_fini(struct side *s)
{
	tls_conn_free(s->conn);
	tls_ctx_free(s->ctx);
}

struct place {
	char dir[64];
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	cert_pair(p->dir, "alpha", "beta");
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	remove_tree(p->dir);
	free(p);
	return 0;
}

static void has(const char *msg, const char *part)
{
	if (!strstr(msg, part))
		fail_msg("\"%s\" is not in \"%s\"", part, msg);
}

/* beta's certificate is replaced by one made with @o; alpha connects and expects @expect. */
static void with_beta(struct place *p, const struct cert_opts *o, bool trusted, struct side *a, struct side *b)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/trust-alpha/beta.pem", p->dir);
	unlink(path);
	cert_make(p->dir, "beta", o);
	if (trusted)
		cert_copy(p->dir, "beta", "trust-alpha");
	*b = (struct side){.ctx = cert_ctx(p->dir, "beta"), .expect = "alpha"};
	*a = (struct side){.ctx = cert_ctx(p->dir, "alpha"), .expect = "beta"};
}

static void pinned_peers_meet(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha"), .expect = "beta"};
	struct side b = {.ctx = cert_ctx(p->dir, "beta"), .expect = "alpha"};
	char buf[6] = "";

	assert_string_equal(tls_ctx_name(a.ctx), "alpha");
	meet(&a, &b);
	assert_int_equal(a.ret, 0);
	assert_int_equal(b.ret, 0);
	assert_string_equal(tls_conn_peer(a.conn), "beta");
	assert_string_equal(tls_conn_peer(b.conn), "alpha");
	assert_int_equal(tls_write(a.conn, "hello", 6, &a.e), 0);
	assert_int_equal(tls_read(b.conn, buf, 6, &b.e), 0);
	assert_string_equal(buf, "hello");
	assert_true(tls_bytes_out(a.conn) > 6);
	side_fini(&a);
	/* The peer closed: -EPIPE in both directions, no signal. */
	assert_int_equal(tls_read(b.conn, buf, 1, &b.e), -EPIPE);
	has(b.e.msg, "alpha closed the connection");
	side_fini(&b);
}

static void ca_in_trust_folder(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};
	char path[128];

	cert_make(p->dir, "ca", &(struct cert_opts){.cn = "Our CA", .ca = true});
	cert_copy(p->dir, "ca", "trust-alpha");
	with_beta(p, &(struct cert_opts){.dns = "beta", .issuer = "ca"}, false, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, 0);
	assert_int_equal(b.ret, 0);
	side_fini(&a), side_fini(&b);
	snprintf(path, sizeof(path), "%s/trust-alpha/ca.pem", p->dir);
	unlink(path);
}

/* A pinned certificate that some CA signed is trusted without that CA. */
static void leaf_pinned_without_its_ca(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	cert_make(p->dir, "ca", &(struct cert_opts){.cn = "Our CA", .ca = true});
	with_beta(p, &(struct cert_opts){.dns = "beta", .issuer = "ca"}, true, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, 0);
	side_fini(&a), side_fini(&b);
}

/* A trusted host whose certificate says CA:TRUE must not be able to speak for another one. */
static void host_cannot_vouch_for_another(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	cert_make(p->dir, "gamma", &(struct cert_opts){.cn = "gamma", .dns = "gamma", .ca = true});
	cert_copy(p->dir, "gamma", "trust-alpha");
	with_beta(p, &(struct cert_opts){.dns = "beta", .issuer = "gamma"}, false, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, -EACCES);
	has(a.e.msg, "beta's certificate is not in our trust directory");
	side_fini(&a), side_fini(&b);
}

static void not_trusted(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	with_beta(p, &(struct cert_opts){.dns = "beta"}, false, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, -EACCES);
	has(a.e.msg, "beta's certificate is not in our trust directory");
	assert_int_not_equal(b.ret, 0);
	has(b.e.msg, "alpha does not trust us");
	side_fini(&a), side_fini(&b);
}

/* The other way round: the server refuses the client, which in TLS 1.3 believes that its handshake is done. */
static void we_are_not_trusted(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	with_beta(p, &(struct cert_opts){.dns = "beta"}, false, &b, &a);
	b.expect = "beta"; /* alpha's context is the server now */
	meet(&a, &b);
	assert_int_equal(b.ret, -EACCES);
	has(b.e.msg, "beta's certificate is not in our trust directory");
	assert_int_equal(a.ret, -EACCES);
	has(a.e.msg, "alpha does not trust us");
	side_fini(&a), side_fini(&b);
}

static void wrong_name(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	with_beta(p, &(struct cert_opts){.dns = "delta", .cn = "beta"}, true, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, -EACCES);
	has(a.e.msg, "the host that answered as beta has a certificate for \"delta\"");
	has(b.e.msg, "refuses our certificate");
	side_fini(&a), side_fini(&b);
}

static void common_name_serves_without_san(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	with_beta(p, &(struct cert_opts){.cn = "beta"}, true, &a, &b);
	meet(&a, &b);
	assert_int_equal(a.ret, 0);
	assert_string_equal(tls_conn_peer(a.conn), "beta");
	side_fini(&a), side_fini(&b);
}

/* beta starts with a good certificate's context; time is what breaks it. So: one second of validity left. */
static void peer_certificate_expired(void **state)
{
	struct place *p = *state;
	struct side a = {0}, b = {0};

	cert_make(p->dir, "brief", &(struct cert_opts){.dns = "beta", .from_s = -10, .to_s = 1});
	cert_copy(p->dir, "brief", "trust-alpha");
	assert_int_equal(mkdir(strcat(strcpy((char[128]){0}, p->dir), "/trust-brief"), 0700), 0);
	cert_copy(p->dir, "alpha", "trust-brief");
	b.ctx = cert_ctx(p->dir, "brief");
	a = (struct side){.ctx = cert_ctx(p->dir, "alpha"), .expect = "beta"};
	nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 100000000}, NULL);
	meet(&a, &b);
	assert_int_equal(a.ret, -EKEYEXPIRED);
	has(a.e.msg, "beta's certificate expired on 20");
	assert_int_not_equal(b.ret, 0);
	has(b.e.msg, "expired");
	side_fini(&a), side_fini(&b);
}

/* Plain text to a TLS server, and TLS to a server that does not speak it. */
static void no_tls_at_all(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha")};
	pthread_t t;
	int fds[2];

	for (int server = 0; server < 2; server++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		a.server = server, a.fd = fds[0], a.expect = "beta";
		assert_int_equal(pthread_create(&t, NULL, run_side, &a), 0);
		assert_int_equal(write(fds[1], "{\"hello\": {\"name\": \"beta\"}}\n", 28), 28);
		pthread_join(t, NULL);
		close(fds[1]);
		assert_int_equal(a.ret, -EPROTO);
		has(a.e.msg, "beta does not speak TLS on this port");
	}
	side_fini(&a);
}

static void silence_and_close(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha"), .expect = "beta"};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(tls_connect(a.ctx, fds[0], "beta", 50, &a.conn, &a.e), -ETIMEDOUT);
	has(a.e.msg, "beta did not answer");
	close(fds[1]);
	assert_int_equal(tls_connect(a.ctx, fds[0], "beta", 1000, &a.conn, &a.e), -EPIPE);
	has(a.e.msg, "beta closed the connection during the TLS handshake");
	close(fds[0]);
	side_fini(&a);
}

static void *abort_thread(void *arg)
{
	nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
	tls_abort(arg);
	return NULL;
}

static void stall_and_abort(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha")}, b = {.ctx = cert_ctx(p->dir, "beta")};
	size_t n = 8 << 20;
	char *big = calloc(1, n);
	pthread_t t;

	tls_pair(a.ctx, b.ctx, &a.conn, &b.conn);
	tls_set_stall_ms(a.conn, 50);
	assert_int_equal(tls_write(a.conn, big, n, &a.e), -ETIMEDOUT);
	has(a.e.msg, "nothing moved on the connection to beta");
	assert_int_equal(pthread_create(&t, NULL, abort_thread, b.conn), 0);
	/* Nobody sends the rest, so only the abort can end this. */
	assert_int_equal(tls_read(b.conn, big, n, &b.e), -ECANCELED);
	pthread_join(t, NULL);
	free(big);
	side_fini(&a), side_fini(&b);
}

/* A TCP pair over loopback, not yet TLS, whose reader's window is small. */
static void tcp_pair(int fds[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 8192;
	socklen_t len = sizeof(at);

	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&at, len), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fds[1] >= 0);
	close(listener);
}

#define TRICKLE_BYTES (400u << 10)

static void *trickle_thread(void *arg)
{
	struct side *s = arg;
	char buf[2048];

	for (size_t left = TRICKLE_BYTES; left && !s->ret; left -= sizeof(buf)) {
		s->ret = tls_read(s->conn, buf, sizeof(buf), &s->e);
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	return NULL;
}

/* A link that carries little: the send buffer counts as full for longer than the stall limit, but octets arrive all the time. */
static void slow_is_not_stalled(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha")}, b = {.ctx = cert_ctx(p->dir, "beta"), .server = true};
	char *big = calloc(1, TRICKLE_BYTES);
	int fds[2], bytes = 128 << 10;
	pthread_t t;

	tcp_pair(fds);
	a.fd = fds[0], b.fd = fds[1];
	assert_int_equal(setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	assert_int_equal(pthread_create(&t, NULL, run_side, &b), 0);
	run_side(&a);
	pthread_join(t, NULL);
	assert_int_equal(a.ret | b.ret, 0);
	assert_int_equal(pthread_create(&t, NULL, trickle_thread, &b), 0);
	tls_set_stall_ms(a.conn, 300);
	if (tls_write(a.conn, big, TRICKLE_BYTES, &a.e))
		fail_msg("%s", a.e.msg);
	pthread_join(t, NULL);
	assert_int_equal(b.ret, 0);
	free(big);
	side_fini(&a), side_fini(&b);
}

struct pump {
	struct tls_conn *conn;
	bool out;
	unsigned seed;
	int ret;
};

#define PUMP_BYTES (6 << 20)

static void *pump_thread(void *arg)
{
	struct pump *w = arg;
	unsigned char *buf = malloc(100000);
	size_t left = PUMP_BYTES, n;
	unsigned want = w->seed, seed = 1;

	while (left && !w->ret) {
		n = (size_t)rand_r(&seed) % 100000 + 1;
		n = n > left ? left : n;
		for (size_t i = 0; w->out && i < n; i++)
			buf[i] = (unsigned char)(want++ * 31);
		w->ret = w->out ? tls_write(w->conn, buf, n, NULL) : tls_read(w->conn, buf, n, NULL);
		for (size_t i = 0; !w->out && !w->ret && i < n; i++)
			if (buf[i] != (unsigned char)(want++ * 31))
				w->ret = -EBADMSG;
		left -= n;
	}
	free(buf);
	return NULL;
}

/* Both directions of one connection at once, each end with two threads. */
static void full_duplex(void **state)
{
	struct place *p = *state;
	struct side a = {.ctx = cert_ctx(p->dir, "alpha")}, b = {.ctx = cert_ctx(p->dir, "beta")};
	struct pump w[4];
	pthread_t t[4];

	tls_pair(a.ctx, b.ctx, &a.conn, &b.conn);
	for (int i = 0; i < 4; i++) {
		w[i] = (struct pump){
			.conn = i & 1 ? b.conn : a.conn, .out = i == 0 || i == 3, .seed = i == 0 || i == 1 ? 7 : 99};
		assert_int_equal(pthread_create(&t[i], NULL, pump_thread, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].ret, 0);
	}
	side_fini(&a), side_fini(&b);
}

static void refuse(struct place *p, const char *crt, const char *key, const char *trust, int code, const char *words)
{
	char c[128], k[128], t[128];
	struct tls_conf conf = {.certificate = c, .key = k, .trust = t};
	struct tls_ctx *ctx = NULL;
	struct err e = {0};

	snprintf(c, sizeof(c), "%s/%s", p->dir, crt);
	snprintf(k, sizeof(k), "%s/%s", p->dir, key);
	snprintf(t, sizeof(t), "%s/%s", p->dir, trust);
	assert_int_equal(tls_ctx_new(&conf, &ctx, &e), -code);
	assert_null(ctx);
	has(e.msg, words);
}

static void own_files_are_checked(void **state)
{
	struct place *p = *state;
	char path[128];
	FILE *f;

	cert_make(p->dir, "old", &(struct cert_opts){.cn = "alpha", .from_s = -100, .to_s = -10});
	cert_make(p->dir, "early", &(struct cert_opts){.cn = "alpha", .from_s = 1000, .to_s = 2000});
	cert_make(p->dir, "noname", &(struct cert_opts){0});
	refuse(p, "none.crt", "alpha.key", "trust-alpha", ENOENT, "none.crt: No such file");
	refuse(p, "alpha.key", "alpha.key", "trust-alpha", EBADMSG, "no PEM certificate in it");
	refuse(p, "old.crt", "old.key", "trust-alpha", EKEYEXPIRED, "expired on");
	refuse(p, "early.crt", "early.key", "trust-alpha", EKEYREJECTED, "is not valid before");
	refuse(p, "noname.crt", "noname.key", "trust-alpha", EBADMSG, "no name in it");
	refuse(p, "alpha.crt", "none.key", "trust-alpha", ENOENT, "none.key: No such file");
	refuse(p, "alpha.crt", "alpha.crt", "trust-alpha", EBADMSG, "no PEM private key");
	refuse(p, "alpha.crt", "beta.key", "trust-alpha", EBADMSG, "does not match certificate");
	refuse(p, "alpha.crt", "alpha.key", "nowhere", ENOENT, "trust directory");
	/* A README in the trust folder is no matter, a broken certificate is. */
	snprintf(path, sizeof(path), "%s/trust-alpha/README", p->dir);
	f = fopen(path, "w");
	fputs("put certificates here\n", f);
	fclose(f);
	tls_ctx_free(cert_ctx(p->dir, "alpha"));
	f = fopen(path, "w");
	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	refuse(p, "alpha.crt", "alpha.key", "trust-alpha", EBADMSG, "README: a broken certificate");
}

static void fips_without_provider(void **state)
{
	struct place *p = *state;
	char c[128], k[128], t[128];
	struct tls_conf conf = {.certificate = c, .key = k, .trust = t, .fips = true};
	struct tls_ctx *ctx = NULL;
	struct err e = {0};
	int ret;

	snprintf(c, sizeof(c), "%s/alpha.crt", p->dir);
	snprintf(k, sizeof(k), "%s/alpha.key", p->dir);
	snprintf(t, sizeof(t), "%s/trust-alpha", p->dir);
	ret = tls_ctx_new(&conf, &ctx, &e);
	if (ret == 0) { /* a host that has it */
		tls_ctx_free(ctx);
		return;
	}
	assert_int_equal(ret, -ENOTSUP);
	has(e.msg, "FIPS provider does not load");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(pinned_peers_meet),
		T(ca_in_trust_folder),
		T(leaf_pinned_without_its_ca),
		T(host_cannot_vouch_for_another),
		T(not_trusted),
		T(we_are_not_trusted),
		T(wrong_name),
		T(common_name_serves_without_san),
		T(peer_certificate_expired),
		T(no_tls_at_all),
		T(silence_and_close),
		T(stall_and_abort),
		T(slow_is_not_stalled),
		T(full_duplex),
		T(own_files_are_checked),
		T(fips_without_provider),
	};

	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
