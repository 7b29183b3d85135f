/* The worker's event loop: see loop.h. */
#include "migrate/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_eventfd_readable(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;

	(void)what, (void)arg;
	if (read(fd, &n, sizeof(n)) < 0) {
		/* somebody else has drained it: the wake-up counts */
	}
}

/* The descriptor stays readable: others poll it, too. The event is one-shot; no longer pending means cancelled. */
static void on_wake_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

int loop_init(struct loop *l, struct err *e)
{
	memset(l, 0, sizeof(*l));
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->base = event_base_new();
	if (l->wake_fd < 0 || !l->base)
		return err_set(e, ENOMEM, "cannot make an event loop");
	l->on_wake = event_new(l->base, l->wake_fd, EV_READ, on_wake_readable, l);
	l->on_timer = event_new(l->base, -1, EV_TIMEOUT, on_wake_readable, NULL);
	if (!l->on_wake || !l->on_timer || event_add(l->on_wake, NULL) != 0)
		return err_set(e, ENOMEM, "cannot make an event loop");
	return 0;
}

void loop_fini(struct loop *l)
{
	loop_unwatch_session(l);
	loop_ignore_cancel(l);
	if (l->on_timer)
		event_free(l->on_timer);
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	memset(l, 0, sizeof(*l));
	l->wake_fd = -1;
}

int loop_watch_session(struct loop *l, int fd, struct err *e)
{
	loop_unwatch_session(l);
	l->on_session = event_new(l->base, fd, EV_READ | EV_PERSIST, on_eventfd_readable, NULL);
	if (!l->on_session || event_add(l->on_session, NULL) != 0)
		return err_set(e, ENOMEM, "cannot watch the connection");
	return 0;
}

void loop_unwatch_session(struct loop *l)
{
	if (l->on_session)
		event_free(l->on_session);
	l->on_session = NULL;
}

void loop_cancel(struct loop *l)
{
	uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0) {
		/* full: it is readable already */
	}
}

void loop_ignore_cancel(struct loop *l)
{
	if (l->on_wake)
		event_free(l->on_wake);
	l->on_wake = NULL;
}

static bool is_cancelled(const struct loop *l)
{
	return l->on_wake && !event_pending(l->on_wake, EV_READ, NULL);
}

int loop_wait(struct loop *l, bool (*ready)(void *arg), void *arg, unsigned timeout_ms, struct err *e)
{
	int64_t deadline = now_ms() + timeout_ms;

	while (!ready(arg)) {
		int64_t left = deadline - now_ms();
		struct timeval tv;

		if (is_cancelled(l))
			return err_set(e, ECANCELED, "cancelled");
		if (left <= 0)
			return -ETIMEDOUT;
		tv.tv_sec = left / 1000;
		tv.tv_usec = left % 1000 * 1000;
		event_add(l->on_timer, &tv);
		event_base_loop(l->base, EVLOOP_ONCE);
		event_del(l->on_timer);
	}
	return 0;
}
