/* The device-state relay: see relay.h. */
#include "migrate/relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WRITE_S 10

struct relay {
	struct session *session;
	struct sockaddr_un address;
	bool listening;
	int listen_fd, wake_fd;
	_Atomic int fd; /* the connection with QEMU; set by the thread at the source */
	pthread_t thread;
	bool has_thread;
	_Atomic uint64_t n_bytes;
	atomic_bool eof;
};

/* Readable @fd, or told to end (false). */
static bool wait_readable(const struct relay *r, int fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}};
	int n;

	do {
		n = poll(p, 2, -1);
	} while (n < 0 && errno == EINTR);
	return n > 0 && !p[1].revents;
}

static void set_write_limit(int fd)
{
	const struct timeval tv = {.tv_sec = WRITE_S};

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	uint8_t *buf = malloc(CONTROL_STATE_MAX);
	struct control_msg msg = {.type = CT_STATE};
	struct err e;
	ssize_t n = 0;
	int fd;

	if (r->fd < 0 && wait_readable(r, r->listen_fd)) {
		fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			set_write_limit(fd);
		atomic_store(&r->fd, fd);
	}
	while (buf && r->fd >= 0 && wait_readable(r, r->fd)) {
		n = recv(r->fd, buf, CONTROL_STATE_MAX, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		msg.state.bytes = buf;
		msg.state.n = (uint32_t)n;
		if (session_send(r->session, &msg, &e) != 0)
			break;
		atomic_fetch_add(&r->n_bytes, (uint64_t)n);
	}
	atomic_store(&r->eof, true);
	free(buf);
	return NULL;
}

static int relay_new(struct session *s, const char *path, struct relay **out, struct err *e)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (!r) {
		err_set(e, ENOMEM, "no memory");
		return -ENOMEM;
	}
	r->session = s;
	r->fd = r->listen_fd = -1;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->address.sun_family = AF_UNIX;
	*out = r;
	if (strlen(path) >= sizeof(r->address.sun_path))
		return err_set(e, ENAMETOOLONG, "%s is too long for a socket", path);
	memcpy(r->address.sun_path, path, strlen(path) + 1);
	return 0;
}

static int relay_start(struct relay *r, struct err *e)
{
	if (pthread_create(&r->thread, NULL, relay_main, r) != 0)
		return err_set(e, EAGAIN, "cannot start a thread");
	r->has_thread = true;
	return 0;
}

int relay_listen(struct session *s, const char *path, struct relay **out, struct err *e)
{
	struct relay *r = NULL;
	int rc = relay_new(s, path, &r, e);

	if (rc == 0) {
		unlink(path);
		r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (r->listen_fd < 0 || bind(r->listen_fd, (struct sockaddr *)&r->address, sizeof(r->address)) != 0 ||
			chmod(path, 0600) != 0 || listen(r->listen_fd, 1) != 0)
			rc = err_set(e, errno, "cannot listen on %s: %s", path, strerror(errno));
		r->listening = rc == 0;
	}
	if (rc == 0)
		rc = relay_start(r, e);
	if (rc) {
		relay_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

int relay_connect(struct session *s, const char *path, struct relay **out, struct err *e)
{
	struct relay *r = NULL;
	int rc = relay_new(s, path, &r, e), fd;

	if (rc == 0) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		atomic_store(&r->fd, fd);
		if (fd < 0 || connect(fd, (struct sockaddr *)&r->address, sizeof(r->address)) != 0)
			rc = err_set(e, errno, "cannot reach QEMU at %s: %s", path, strerror(errno));
		else
			set_write_limit(fd);
	}
	if (rc == 0)
		rc = relay_start(r, e);
	if (rc) {
		relay_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

int relay_write(struct relay *r, const void *bytes, size_t n, struct err *e)
{
	const char *p = bytes;
	int fd = atomic_load(&r->fd);

	if (fd < 0)
		return err_set(e, EPROTO, "device state came before QEMU asked for it");
	while (n) {
		ssize_t put = send(fd, p, n, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_set(e, EREMOTEIO, "QEMU does not take its device state: %s",
				errno == EAGAIN ? "nothing moved for 10 s" : strerror(errno));
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

uint64_t relay_bytes(struct relay *r, bool *eof_out)
{
	if (eof_out)
		*eof_out = atomic_load(&r->eof);
	return atomic_load(&r->n_bytes);
}

void relay_free(struct relay *r)
{
	uint64_t one = 1;

	if (!r)
		return;
	if (r->has_thread) {
		if (write(r->wake_fd, &one, sizeof(one)) < 0) {
			/* full: readable already */
		}
		pthread_join(r->thread, NULL);
	}
	if (r->fd >= 0)
		close(r->fd);
	if (r->listen_fd >= 0)
		close(r->listen_fd);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	if (r->listening)
		unlink(r->address.sun_path);
	free(r);
}
