/* Blocking TLS channels of the worker. Each direction of a connection may have a thread of its own: OpenSSL's object is behind a
 * mutex, the socket is non-blocking, and whoever must wait does so in poll(2) without the mutex, on the socket and on an eventfd that
 * tls_abort writes. The BIO is ours, for send(MSG_NOSIGNAL): a peer that closes must never kill us by SIGPIPE.
 *
 * In TLS 1.3 the client's handshake ends before the server has looked at the client's certificate. So the accepting side sends one
 * octet (TLS_WELCOME) when it is satisfied, and tls_connect waits for it: success means that both sides accepted each other. */
#include "migrate/tls_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

#define TLS_WELCOME 0x06
#define STALL_MS_DEFAULT 10000
#define LOOK_MS 100                  /* how often who waits looks whether anything moves */
#define UNSENT_BYTES (1 << 20)       /* at most this much of what was written waits in the kernel to be sent */
#define READ_BUFFER_BYTES (64 << 10) /* several TLS records for one recv */

struct tls_conn {
	SSL *ssl;
	BIO_METHOD *method;
	pthread_mutex_t lock; /* around every SSL_* call */
	int fd, wake_fd;
	_Atomic unsigned stall_ms;
	atomic_bool aborted;
	_Atomic uint64_t bytes_out;
	char peer[64];
};

enum io_op { IO_HANDSHAKE, IO_READ, IO_WRITE };

struct io_wait {
	int64_t deadline_ms; /* 0: the stall limit, counted anew after each step forward */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the BIO --------------------------------------------------------------------------------------------- */

static int on_bio_write(BIO *bio, const char *buf, int n)
{
	struct tls_conn *c = BIO_get_data(bio);
	ssize_t done = send(c->fd, buf, (size_t)n, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	if (done > 0)
		atomic_fetch_add_explicit(&c->bytes_out, (uint64_t)done, memory_order_relaxed);
	return (int)done;
}

static int on_bio_read(BIO *bio, char *buf, int n)
{
	struct tls_conn *c = BIO_get_data(bio);
	ssize_t done = recv(c->fd, buf, (size_t)n, 0);

	BIO_clear_retry_flags(bio);
	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	if (done == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return (int)done;
}

static long on_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)num, (void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_attach(struct tls_conn *c)
{
	BIO *bio;

	c->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "ballast socket");
	if (!c->method || !BIO_meth_set_write(c->method, on_bio_write) || !BIO_meth_set_read(c->method, on_bio_read) ||
		!BIO_meth_set_ctrl(c->method, on_bio_ctrl) || !(bio = BIO_new(c->method)))
		return -ENOMEM;
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	return 0;
}

/* ---- one step, and waiting for the next ------------------------------------------------------------------ */

/* >0 octets done (1 for a handshake), 0 wait for *@events, <0 over (SSL error in *@ssl_error). */
static int io_step(struct tls_conn *c, enum io_op op, void *buf, size_t n, short *events, int *ssl_error)
{
	int len = n > (1 << 30) ? 1 << 30 : (int)n;
	int done;

	ERR_clear_error();
	errno = 0;
	if (op == IO_HANDSHAKE)
		done = SSL_do_handshake(c->ssl);
	else
		done = op == IO_READ ? SSL_read(c->ssl, buf, len) : SSL_write(c->ssl, buf, len);
	if (done > 0)
		return done;
	*ssl_error = SSL_get_error(c->ssl, done);
	if (*ssl_error == SSL_ERROR_WANT_READ || *ssl_error == SSL_ERROR_WANT_WRITE) {
		*events = *ssl_error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
		return 0;
	}
	return -1;
}

/* Called with the lock held, right after the failed step: the thread's error queue is still that step's. */
static int io_failure(struct tls_conn *c, int ssl_error, struct err *e)
{
	int sys = errno;

	if (ssl_error == SSL_ERROR_ZERO_RETURN)
		return err_set(e, EPIPE, "%s closed the connection", c->peer);
	if (ssl_error == SSL_ERROR_SYSCALL && sys && sys != EPIPE && sys != ECONNRESET)
		return err_set(e, sys, "connection to %s: %s", c->peer, strerror(sys));
	tls_explain(c->ssl, c->peer, e);
	return e ? -e->code : -EPIPE;
}

/* Octets of this connection that have arrived, at either end. The kernel says "writable" only when a third of its send buffer is free, which on a
 * slow link takes longer than the stall limit; and the answer that is waited for may have a full send buffer before it. Not TCP: 0. */
static uint64_t io_moved(const struct tls_conn *c)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) ||
		len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
		return 0;
	return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

static int io_poll(struct tls_conn *c, short events, const struct io_wait *w, struct err *e)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = events}, {.fd = c->wake_fd, .events = POLLIN}};
	unsigned stall_ms = atomic_load(&c->stall_ms);
	int64_t end = w->deadline_ms ? w->deadline_ms : now_ms() + stall_ms, left;
	uint64_t moved = io_moved(c), before;
	int n;

	do {
		left = end - now_ms();
		n = left > 0 ? poll(p, 2, left > LOOK_MS ? LOOK_MS : (int)left) : 0;
		if (atomic_load(&c->aborted))
			return err_set(e, ECANCELED, "cancelled");
		before = moved;
		if (n == 0 && !w->deadline_ms && (moved = io_moved(c)) != before)
			end = now_ms() + stall_ms;
	} while ((n < 0 && errno == EINTR) || (n == 0 && end > now_ms()));
	if (n == 0)
		return err_set(e, ETIMEDOUT,
			w->deadline_ms ? "%s did not answer the TLS handshake in time"
				       : "nothing moved on the connection to %s for too long",
			c->peer);
	return n < 0 ? err_set(e, errno, "poll: %s", strerror(errno)) : 0;
}

static int io_run(struct tls_conn *c, enum io_op op, void *buf, size_t n, int64_t deadline_ms, struct err *e)
{
	struct io_wait w = {.deadline_ms = deadline_ms};
	struct err local = {0};
	char *p = buf;
	int ret = 0;

	e = e ? e : &local;
	while (op == IO_HANDSHAKE || n) {
		int ssl_error = 0, done;
		short events = 0;

		if (atomic_load(&c->aborted))
			return err_set(e, ECANCELED, "cancelled");
		pthread_mutex_lock(&c->lock);
		done = io_step(c, op, p, n, &events, &ssl_error);
		if (done < 0)
			ret = io_failure(c, ssl_error, e);
		pthread_mutex_unlock(&c->lock);
		if (done < 0)
			return ret;
		if (done > 0 && op == IO_HANDSHAKE)
			return 0;
		p += done;
		n -= (size_t)done;
		if (!done && (ret = io_poll(c, events, &w, e)))
			return ret;
	}
	return 0;
}

/* ---- public ---------------------------------------------------------------------------------------------- */

static void conn_dispose(struct tls_conn *c, bool close_fd)
{
	SSL_free(c->ssl);
	BIO_meth_free(c->method);
	if (close_fd && c->fd >= 0)
		close(c->fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct tls_conn *conn_new(struct tls_ctx *ctx, int fd, bool server, const char *peer_name)
{
	struct tls_conn *c = calloc(1, sizeof(*c));
	int flags = fcntl(fd, F_GETFL), unsent = UNSENT_BYTES;

	if (!c)
		return NULL;
	c->fd = fd;
	c->stall_ms = STALL_MS_DEFAULT;
	pthread_mutex_init(&c->lock, NULL);
	strncpy(c->peer, peer_name && *peer_name ? peer_name : "the peer", sizeof(c->peer) - 1);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->ssl = tls_ssl_new(ctx, server, peer_name);
	if (c->wake_fd < 0 || !c->ssl || bio_attach(c) || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
		conn_dispose(c, false);
		return NULL;
	}
	/* A full send buffer, not an emptied program, is how the link shows that it is slow: megabytes queued in the kernel would hide it. Not TCP: no matter. */
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	SSL_set_read_ahead(c->ssl, 1);
	SSL_set_default_read_buffer_len(c->ssl, READ_BUFFER_BYTES);
	return c;
}

static int conn_open(struct tls_ctx *ctx, int fd, bool server, const char *peer_name, unsigned timeout_ms,
	struct tls_conn **out, struct err *e)
{
	struct tls_conn *c = conn_new(ctx, fd, server, peer_name);
	int64_t deadline = now_ms() + timeout_ms;
	unsigned char octet = TLS_WELCOME;
	int ret;

	if (!c)
		return err_set(e, ENOMEM, "cannot set up TLS on descriptor %d: %s", fd,
			errno ? strerror(errno) : "out of memory");
	ret = io_run(c, IO_HANDSHAKE, NULL, 0, deadline, e);
	if (!ret)
		ret = io_run(c, server ? IO_WRITE : IO_READ, &octet, 1, deadline, e);
	if (!ret && octet != TLS_WELCOME)
		ret = err_set(e, EPROTO, "%s speaks another protocol over TLS", c->peer);
	if (ret) {
		conn_dispose(c, false);
		return ret;
	}
	tls_peer_name(c->ssl, c->peer);
	*out = c;
	return 0;
}

int tls_connect(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e)
{
	return conn_open(ctx, fd, false, peer_name, timeout_ms, out, e);
}

int tls_accept(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e)
{
	return conn_open(ctx, fd, true, peer_name, timeout_ms, out, e);
}

int tls_write(struct tls_conn *c, const void *buf, size_t n, struct err *e)
{
	return io_run(c, IO_WRITE, (void *)(uintptr_t)buf, n, 0, e);
}

int tls_read(struct tls_conn *c, void *buf, size_t n, struct err *e)
{
	return io_run(c, IO_READ, buf, n, 0, e);
}

void tls_set_stall_ms(struct tls_conn *c, unsigned ms)
{
	atomic_store(&c->stall_ms, ms);
}

void tls_abort(struct tls_conn *c)
{
	uint64_t one = 1;

	atomic_store(&c->aborted, true);
	if (write(c->wake_fd, &one, sizeof(one)) < 0) {
		/* Full means that it is set already. */
	}
}

uint64_t tls_bytes_out(const struct tls_conn *c)
{
	return atomic_load_explicit(&c->bytes_out, memory_order_relaxed);
}

int tls_fd(const struct tls_conn *c)
{
	return c->fd;
}

const char *tls_conn_peer(const struct tls_conn *c)
{
	return c->peer;
}

void tls_conn_free(struct tls_conn *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	ERR_clear_error();
	if (SSL_is_init_finished(c->ssl))
		SSL_shutdown(c->ssl);
	ERR_clear_error();
	pthread_mutex_unlock(&c->lock);
	conn_dispose(c, true);
}
