/* What both ends of the data plane share: N channel threads, one engine thread, the first failure, and waking up. Internal to xfer_*.c.
 *
 * The engine thread waits for its threads, looks at cancel, and on the first failure (or cancel) aborts all channels, so that no thread
 * stays blocked. Everything here is under the group's lock; one condition variable serves all, there are few threads. */
#ifndef MIGRATE_XFER_GROUP_H
#define MIGRATE_XFER_GROUP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate/xfer.h"

#define XFER_POLL_MS 20 /* how often the engine thread looks at cancel */
#define XFER_KEEPALIVE_MS 2000

struct xfer_group {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct tls_conn *conns[XFER_CHANNELS_MAX];
	pthread_t threads[XFER_CHANNELS_MAX];
	unsigned n_conns, n_threads;
	struct xfer_limits *limits;
	atomic_bool stop; /* threads end as soon as they see it */
	struct err err;   /* the first failure; code 0 none */
};

int xfer_group_init(
	struct xfer_group *g, struct tls_conn *const conns[], unsigned n, struct xfer_limits *limits, struct err *e);
/* Start one thread per channel; args[i] is handed to it. All signals are blocked in them. */
int xfer_group_start(struct xfer_group *g, void *(*run)(void *), void *args[], struct err *e);
/* Stop and join the threads (aborting the channels where they have not ended by themselves). May be called twice. */
void xfer_group_stop(struct xfer_group *g);
/* Join threads that end by themselves; the channels stay as they are. */
void xfer_group_join(struct xfer_group *g);
void xfer_group_fini(struct xfer_group *g);

/* Channel thread: this channel failed. The first one counts; everyone wakes up. */
void xfer_group_fail(struct xfer_group *g, unsigned channel, const struct err *e);
/* With the lock held: wait until something changed, at most @ms. */
void xfer_group_wait(struct xfer_group *g, unsigned ms);
/* Engine thread: has it failed or been cancelled before? The same error again. */
int xfer_group_failed(struct xfer_group *g, struct err *e);
/* Engine thread, lock held: wait a moment; on cancel or failure abort the channels and return it in @e. */
int xfer_group_poll(struct xfer_group *g, struct err *e);

uint64_t xfer_now_ns(void);
int xfer_keepalive(struct tls_conn *conn, struct err *e);

#endif
