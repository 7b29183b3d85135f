/* Channels without encryption, behind the functions of migrate/tls.h that policyd-migrate's channels use: a measuring switch, to show what TLS
 * costs. Linked in place of tls_conn.c into bench_xfer_plain and policyd-migrate-plain, which stay in build/tests/bench: no program that
 * is installed contains this, so no configuration can reach it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/tls.h"

#define STALL_MS 10000

struct tls_conn {
	int fd, wake_fd;
	atomic_bool aborted;
	_Atomic uint64_t bytes_out;
};

static int conn_new(int fd, struct tls_conn **out, struct err *e)
{
	struct tls_conn *c = calloc(1, sizeof(*c));
	int flags = fcntl(fd, F_GETFL);

	if (!c || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
		free(c);
		return err_set(e, ENOMEM, "cannot set up a plain channel");
	}
	c->fd = fd;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*out = c;
	return 0;
}

int tls_connect(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e)
{
	(void)ctx, (void)peer_name, (void)timeout_ms;
	return conn_new(fd, out, e);
}

int tls_accept(
	struct tls_ctx *ctx, int fd, const char *peer_name, unsigned timeout_ms, struct tls_conn **out, struct err *e)
{
	(void)ctx, (void)peer_name, (void)timeout_ms;
	return conn_new(fd, out, e);
}

static int wait_for(struct tls_conn *c, short events, struct err *e)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = events}, {.fd = c->wake_fd, .events = POLLIN}};
	int n = poll(p, 2, STALL_MS);

	if (atomic_load(&c->aborted))
		return err_set(e, ECANCELED, "cancelled");
	return n > 0 || (n < 0 && errno == EINTR) ? 0 : err_set(e, ETIMEDOUT, "nothing moved for too long");
}

static int move(struct tls_conn *c, uint8_t *p, size_t n, bool out, struct err *e)
{
	int ret = 0;

	while (!ret && n) {
		ssize_t done = out ? send(c->fd, p, n, MSG_NOSIGNAL) : recv(c->fd, p, n, 0);

		if (done > 0) {
			p += done, n -= (size_t)done;
			if (out)
				atomic_fetch_add(&c->bytes_out, (uint64_t)done);
		} else if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
			ret = wait_for(c, out ? POLLOUT : POLLIN, e);
		} else {
			ret = err_set(e, EPIPE, "the peer closed the connection");
		}
	}
	return ret;
}

int tls_write(struct tls_conn *c, const void *buf, size_t n, struct err *e)
{
	return move(c, (uint8_t *)(uintptr_t)buf, n, true, e);
}

int tls_read(struct tls_conn *c, void *buf, size_t n, struct err *e)
{
	return move(c, buf, n, false, e);
}

void tls_set_stall_ms(struct tls_conn *c, unsigned ms)
{
	(void)c, (void)ms;
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
	return atomic_load(&c->bytes_out);
}

int tls_fd(const struct tls_conn *c)
{
	return c->fd;
}

const char *tls_conn_peer(const struct tls_conn *c)
{
	(void)c;
	return "the peer";
}

void tls_conn_free(struct tls_conn *c)
{
	if (!c)
		return;
	close(c->fd);
	close(c->wake_fd);
	free(c);
}
