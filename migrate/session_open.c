/* How a session's connections come about: TCP, TLS, the opening octets. Engine thread; every wait ends when conf.cancel_fd is readable. */
#include "migrate/session_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define HANDSHAKE_MS 5000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool token_equal(const uint8_t *a, const uint8_t *b)
{
	uint8_t diff = 0;

	for (unsigned i = 0; i < WIRE_TOKEN_BYTES; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

/* 0 ready, -ETIMEDOUT, -ECANCELED. */
static int wait_fd(const struct session *s, int fd, short events, int64_t deadline)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = s->conf.cancel_fd, .events = POLLIN}};
	int n;

	do {
		int64_t left = deadline - now_ms();

		n = poll(p, 2, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
	} while ((n < 0 && errno == EINTR) || (n == 0 && now_ms() < deadline));
	if (n > 0 && p[1].revents)
		return -ECANCELED;
	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : -errno;
}

static int resolve(const struct session_conf *conf, uint16_t port, bool passive, struct addrinfo **out, struct err *e)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
	char service[8];
	int rc;

	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(conf->address && conf->address[0] ? conf->address : NULL, service, &hints, out);
	return rc ? err_set(e, EHOSTUNREACH, "address %s: %s", conf->address, gai_strerror(rc)) : 0;
}

/* ---- source ---------------------------------------------------------------------------------------------- */

static int connect_one(const struct session *s, const struct addrinfo *ai, int64_t deadline, int *fd_out)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, rc = 0, so_error = 0;
	socklen_t len = sizeof(so_error);

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
		rc = errno == EINPROGRESS ? wait_fd(s, fd, POLLOUT, deadline) : -errno;
		if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &len) == 0)
			rc = -so_error;
	}
	if (rc) {
		close(fd);
		return rc;
	}
	*fd_out = fd;
	return 0;
}

static int tcp_connect(const struct session *s, int *fd_out, struct err *e)
{
	struct addrinfo *list = NULL;
	int64_t deadline = now_ms() + CONNECT_MS;
	int rc = resolve(&s->conf, s->conf.port, false, &list, e);

	if (rc)
		return rc;
	rc = -EHOSTUNREACH;
	for (const struct addrinfo *ai = list; ai && rc && rc != -ECANCELED; ai = ai->ai_next)
		rc = connect_one(s, ai, deadline, fd_out);
	freeaddrinfo(list);
	if (rc == -ECANCELED)
		return err_set(e, ECANCELED, "cancelled");
	return rc ? err_set(e, -rc, "cannot connect to %s at %s port %u: %s", s->conf.peer, s->conf.address,
			    s->conf.port, strerror(-rc))
		  : 0;
}

static int channel_open(
	const struct session *s, char kind, unsigned i, unsigned n, struct tls_conn **out, struct err *e)
{
	struct wire_hello p = {.data = kind == 'D', .channel = (uint16_t)i, .n_channels = (uint16_t)n};
	uint8_t raw[WIRE_HELLO_BYTES];
	struct tls_conn *c = NULL;
	int fd = -1, rc = tcp_connect(s, &fd, e);

	if (rc)
		return rc;
	rc = tls_connect(s->conf.tls, fd, s->conf.peer, HANDSHAKE_MS, &c, e);
	if (rc) {
		close(fd);
		return rc;
	}
	memcpy(p.token, s->conf.token, sizeof(p.token));
	xfer_hello_encode(&p, raw);
	rc = tls_write(c, raw, sizeof(raw), e);
	if (rc) {
		tls_conn_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int session_connect(const struct session_conf *conf, struct session **out, struct err *e)
{
	struct session *s = session_new(conf);
	struct tls_conn *c = NULL;
	int rc;

	if (!s)
		return err_set(e, ENOMEM, "no memory");
	rc = channel_open(s, 'C', 0, 0, &c, e);
	if (rc == 0)
		rc = session_start(s, c, e);
	if (rc) {
		session_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* The reader thread may abort the data channels at any time: they are added under its lock. */
static int data_add(struct session *s, struct tls_conn *c, unsigned i, struct err *e)
{
	int rc = 0;

	tls_set_stall_ms(c, SESSION_STALL_MS);
	pthread_mutex_lock(&s->lock);
	if (s->lost)
		rc = err_set(e, EPIPE, "%s", s->lost_why.msg);
	else
		s->data[i] = c;
	if (rc == 0 && i == s->n_data)
		s->n_data++;
	pthread_mutex_unlock(&s->lock);
	if (rc)
		tls_conn_free(c);
	return rc;
}

int session_connect_data(struct session *s, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		struct tls_conn *c = NULL;
		int rc = channel_open(s, 'D', i, n, &c, e);

		if (rc == 0)
			rc = data_add(s, c, i, e);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- target ---------------------------------------------------------------------------------------------- */

static int listen_on(const struct session_conf *conf, uint16_t port, int *fd_out, uint16_t *port_out, struct err *e)
{
	struct addrinfo *list = NULL;
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	int fd = -1, one = 1, code, rc = resolve(conf, port, true, &list, e);

	if (rc)
		return rc;
	memset(&ss, 0, sizeof(ss));
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
		bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, XFER_CHANNELS_MAX + 4) != 0 ||
		getsockname(fd, (struct sockaddr *)&ss, &len) != 0) {
		code = errno;
		if (fd >= 0)
			close(fd);
		freeaddrinfo(list);
		return err_set(e, code, "cannot listen on %s port %u: %s", conf->address, port, strerror(code));
	}
	freeaddrinfo(list);
	*port_out = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
						   : ((struct sockaddr_in *)&ss)->sin_port);
	*fd_out = fd;
	return 0;
}

int session_listen(const struct session_conf *conf, struct session **out, uint16_t *port_out, struct err *e)
{
	struct session *s = session_new(conf);
	unsigned first = conf->port ? conf->port : conf->port_first, last = conf->port ? conf->port : conf->port_last;
	int rc = -EADDRINUSE;

	if (!s)
		return err_set(e, ENOMEM, "no memory");
	for (unsigned port = first; port <= last && (rc == -EADDRINUSE); port++)
		rc = listen_on(conf, (uint16_t)port, &s->listen_fd, port_out, e);
	if (rc == -EADDRINUSE && first != last)
		err_set(e, EADDRINUSE, "all ports from %u to %u are in use; widen migration.ports", first, last);
	if (rc) {
		session_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* One connection from the queue: TLS, opening octets, token. A stranger's failure is not ours: -EAGAIN. */
static int accept_one(
	const struct session *s, int64_t deadline, struct tls_conn **out, struct wire_hello *p, struct err *why)
{
	uint8_t raw[WIRE_HELLO_BYTES];
	struct tls_conn *c = NULL;
	int fd, one = 1, rc = wait_fd(s, s->listen_fd, POLLIN, deadline);

	if (rc)
		return rc;
	fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -EAGAIN;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tls_accept(s->conf.tls, fd, s->conf.peer, HANDSHAKE_MS, &c, why) != 0) {
		close(fd);
		return -EAGAIN;
	}
	tls_set_stall_ms(c, HANDSHAKE_MS);
	rc = tls_read(c, raw, sizeof(raw), why);
	if (rc == 0)
		rc = xfer_hello_decode(raw, p, why);
	if (rc == 0 && !token_equal(p->token, s->conf.token))
		rc = err_set(why, EACCES, "%s came with another reservation's token", s->conf.peer);
	if (rc) {
		tls_conn_free(c);
		return -EAGAIN;
	}
	*out = c;
	return 0;
}

/* The next connection of @kind; what was wrong with those turned away is in @e when time is up. */
static int accept_kind(
	struct session *s, char kind, int64_t deadline, struct tls_conn **out, struct wire_hello *p, struct err *e)
{
	struct err why = {0};
	int rc;

	for (;;) {
		rc = accept_one(s, deadline, out, p, &why);
		if (rc == 0 && p->data == (kind == 'D'))
			return 0;
		if (rc == 0) {
			tls_conn_free(*out);
			err_set(&why, EPROTO, "%s opened a connection of the wrong kind", s->conf.peer);
		} else if (rc == -ECANCELED) {
			return err_set(e, ECANCELED, "cancelled");
		} else if (rc != -EAGAIN) {
			return err_set(e, -rc, "%s did not connect in time%s%s", s->conf.peer,
				why.code ? "; last: " : "", why.msg);
		}
	}
}

int session_accept(struct session *s, unsigned timeout_ms, struct err *e)
{
	struct wire_hello p = {0};
	struct tls_conn *c = NULL;
	int rc = accept_kind(s, 'C', now_ms() + timeout_ms, &c, &p, e);

	return rc ? rc : session_start(s, c, e);
}

int session_accept_data(struct session *s, unsigned n, unsigned timeout_ms, struct err *e)
{
	int64_t deadline = now_ms() + timeout_ms;

	for (unsigned i = 0; i < n; i++) {
		struct wire_hello p = {0};
		struct tls_conn *c = NULL;
		int rc = accept_kind(s, 'D', deadline, &c, &p, e);

		if (rc)
			return rc;
		if (p.n_channels != n || p.channel != i) {
			tls_conn_free(c);
			return err_set(e, EPROTO, "%s opened data channel %u of %u, expected %u of %u", s->conf.peer,
				p.channel, p.n_channels, i, n);
		}
		rc = data_add(s, c, i, e);
		if (rc)
			return rc;
	}
	close(s->listen_fd);
	s->listen_fd = -1;
	return 0;
}
