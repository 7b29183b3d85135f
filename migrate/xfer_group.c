/* Threads, failure and waking of one end of the data plane; see xfer_group.h. */
#include "migrate/xfer_group.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "migrate/wire.h"

uint64_t xfer_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

int xfer_keepalive(struct tls_conn *conn, struct err *e)
{
	uint8_t buf[WIRE_HEADER_BYTES];

	wire_header_encode(&(struct wire_header){.type = WIRE_KEEPALIVE}, buf);
	return tls_write(conn, buf, sizeof(buf), e);
}

int xfer_group_init(
	struct xfer_group *g, struct tls_conn *const conns[], unsigned n, struct xfer_limits *limits, struct err *e)
{
	pthread_condattr_t attr;

	if (!n || n > XFER_CHANNELS_MAX)
		return err_set(e, EINVAL, "%u data channels; 1 to %d are possible", n, XFER_CHANNELS_MAX);
	memset(g, 0, sizeof(*g));
	memcpy(g->conns, conns, n * sizeof(*conns));
	g->n_conns = n;
	g->limits = limits;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

int xfer_group_start(struct xfer_group *g, void *(*run)(void *), void *args[], struct err *e)
{
	sigset_t all, old;
	int ret = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!ret && g->n_threads < g->n_conns) {
		ret = pthread_create(&g->threads[g->n_threads], NULL, run, args[g->n_threads]);
		g->n_threads += !ret;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret ? err_set(e, ret, "cannot start a thread: %s", strerror(ret)) : 0;
}

static void abort_all(struct xfer_group *g)
{
	atomic_store(&g->stop, true);
	for (unsigned i = 0; i < g->n_conns; i++)
		tls_abort(g->conns[i]);
	pthread_cond_broadcast(&g->changed);
}

static void join_all(struct xfer_group *g)
{
	while (g->n_threads)
		pthread_join(g->threads[--g->n_threads], NULL);
}

void xfer_group_stop(struct xfer_group *g)
{
	if (!g->n_threads)
		return;
	pthread_mutex_lock(&g->lock);
	abort_all(g);
	pthread_mutex_unlock(&g->lock);
	join_all(g);
}

void xfer_group_join(struct xfer_group *g)
{
	if (g->n_threads)
		join_all(g);
}

void xfer_group_fini(struct xfer_group *g)
{
	xfer_group_stop(g);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

void xfer_group_fail(struct xfer_group *g, unsigned channel, const struct err *e)
{
	pthread_mutex_lock(&g->lock);
	/* What comes after the first failure (or a cancel) is only its echo. */
	if (!g->err.code && !atomic_load(&g->stop)) {
		g->err = *e;
		err_wrap(&g->err, "data channel %u", channel);
	}
	atomic_store(&g->stop, true);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void xfer_group_wait(struct xfer_group *g, unsigned ms)
{
	uint64_t end = xfer_now_ns() + ms * 1000000ULL;
	struct timespec ts = {.tv_sec = (time_t)(end / 1000000000ULL), .tv_nsec = (long)(end % 1000000000ULL)};

	pthread_cond_timedwait(&g->changed, &g->lock, &ts);
}

/* With the lock held: on failure or cancel nobody stays blocked. */
static int check(struct xfer_group *g, struct err *e)
{
	if (!g->err.code && (atomic_load(&g->limits->cancel) || atomic_load(&g->stop)))
		err_set(&g->err, ECANCELED, "the transfer was cancelled");
	if (!g->err.code)
		return 0;
	abort_all(g);
	return err_set(e, g->err.code, "%s", g->err.msg);
}

int xfer_group_failed(struct xfer_group *g, struct err *e)
{
	int ret;

	pthread_mutex_lock(&g->lock);
	ret = check(g, e);
	pthread_mutex_unlock(&g->lock);
	return ret;
}

int xfer_group_poll(struct xfer_group *g, struct err *e)
{
	if (!g->err.code && !atomic_load(&g->limits->cancel) && !atomic_load(&g->stop))
		xfer_group_wait(g, XFER_POLL_MS);
	return check(g, e);
}
