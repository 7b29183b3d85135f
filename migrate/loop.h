/* The worker's event loop: QMP, the session's queue and cancel wake one engine thread. The only libevent in migrate/.
 * Engine thread for all but loop_cancel. */
#ifndef MIGRATE_LOOP_H
#define MIGRATE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>

#include "domain/err.h"

struct event_base;
struct event;

struct loop {
	struct event_base *base;
	struct event *on_wake, *on_session, *on_timer;
	int wake_fd; /* eventfd, readable for good once cancelled: also given to waits outside this loop */
};

int loop_init(struct loop *l, struct err *e);
void loop_fini(struct loop *l);
/* Wake loop_wait whenever @fd (an eventfd, drained here) becomes readable. One at a time. */
int loop_watch_session(struct loop *l, int fd, struct err *e);
void loop_unwatch_session(struct loop *l);
/* Any thread: make wake_fd readable for good, and loop_wait return -ECANCELED (unless told to ignore it). */
void loop_cancel(struct loop *l);
/* No longer: what follows (rollback, hand-off) is not to be disturbed. */
void loop_ignore_cancel(struct loop *l);

/* Run until @ready says so. 0, -ETIMEDOUT, -ECANCELED. @ready is asked first. */
int loop_wait(struct loop *l, bool (*ready)(void *arg), void *arg, unsigned timeout_ms, struct err *e);

#endif
