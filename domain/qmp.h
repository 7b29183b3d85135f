/* QMP client: one connection to one QEMU monitor socket, on a libevent loop.
 *
 * policyd has one per domain (qmp.sock); a migration worker has its own loop and its own monitor (qmp-worker.sock).
 * Greeting and qmp_capabilities are done here. Commands are matched to answers by id; several may be outstanding.
 * Loop thread only, for all functions. Protocol: QEMU's docs/interop/qmp-spec. */
#ifndef DOMAIN_QMP_H
#define DOMAIN_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include "domain/err.h"

struct event_base;
struct qmp;

struct qmp_handlers {
	/* Connected and ready for commands (also after each reconnect). */
	void (*on_ready)(void *arg);
	/* An event; @data is borrowed, may be NULL. */
	void (*on_event)(void *arg, const char *event, const json_t *data);
	/* A connection that was ready is gone; outstanding commands have been answered with -EPIPE before. With reconnect on, it tries
	 * again with growing pauses (20 ms to 2 s) until qmp_free, and failed attempts in between are silent. With reconnect off it is
	 * also called, once, when the connection could not be made. */
	void (*on_down)(void *arg, const struct err *e);
};

/* @ret is borrowed ("return" member; NULL on failure; an unsigned number above INT64_MAX arrives as its two's complement, so
 * all-ones is -1: cast json_integer_value to uint64_t). @e is never NULL. @e->code 0 = success, EREMOTEIO = QEMU answered with an error (its
 * class and text are in the message), ETIMEDOUT, EPIPE, ECANCELED (qmp_free). Called exactly once per command. */
typedef void qmp_done_fn(void *arg, const json_t *ret, const struct err *e);

/* Starts connecting at once; never blocks. @handlers and any of its members may be NULL; @path is copied. NULL: no memory. */
struct qmp *qmp_new(
	struct event_base *base, const char *path, bool reconnect, const struct qmp_handlers *handlers, void *arg);

/* @args is stolen, may be NULL. @done may be NULL. 0, or -ENOTCONN/-ENOMEM and @done is not called. timeout_ms 0 = 10 s. */
int qmp_command(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg);

/* For workers only: run the loop until the answer is there. @ret_out gets a new reference where not NULL. Events are delivered
 * meanwhile. 0 or -errno as in qmp_done_fn; -EINTR when somebody called event_base_loopbreak (the answer is dropped when it comes).
 * Not from inside a callback of the same loop. */
int qmp_call(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, json_t **ret_out, struct err *e);

/* For workers only: run the loop until ready, at most @timeout_ms. 0, -ETIMEDOUT (with the last failure in @e), -EINTR as above; with
 * reconnect off also -ECONNREFUSED, -ENOENT, ... of the one attempt. */
int qmp_wait_ready(struct qmp *q, unsigned timeout_ms, struct err *e);

bool qmp_ready(const struct qmp *q);
void qmp_free(struct qmp *q); /* also from inside its own callbacks; NULL does nothing */

#endif
