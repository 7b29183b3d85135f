/* The connection between the two workers: one control channel and N data channels on the target's one port (docs/wire.md).
 *
 * The engine thread opens it, sends and takes frames. Two threads inside: a reader, which queues whole checked frames and wakes the
 * engine through session_event_fd, and a pinger. When the other side aborts or is lost, the data channels are aborted and
 * limits.cancel is set, so that an engine inside the data plane comes back at once. */
#ifndef MIGRATE_SESSION_H
#define MIGRATE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "migrate/control.h"
#include "migrate/wire.h"
#include "migrate/tls.h"
#include "migrate/xfer.h"

struct session;

struct session_conf {
	struct tls_ctx *tls; /* borrowed */
	const char *peer;    /* name that must be in the other's certificate; borrowed */
	const char *address; /* source: connect there; target: listen there; borrowed */
	uint16_t port;       /* target: 0 = one of port_first..port_last (0, 0 = the kernel's choice) */
	uint16_t port_first, port_last;
	uint8_t token[WIRE_TOKEN_BYTES];
	struct xfer_limits *limits; /* borrowed; cancel is set when the session is lost, and ends waiting when set */
	int cancel_fd;              /* readable = stop waiting (cancel); borrowed */
	void (*on_note)(void *arg, const struct control_note *note); /* reader thread; NULL: notes are dropped */
	void *arg;
};

struct session_frame { /* a received frame; session_frame_free when done with it */
	struct control_msg msg;
	uint8_t *payload;
};

/* Source: connect the control channel; later @n data channels. -ECONNREFUSED, -ETIMEDOUT, -ECANCELED, TLS's errors. */
int session_connect(const struct session_conf *conf, struct session **out, struct err *e);
int session_connect_data(struct session *s, unsigned n, struct err *e);

/* Target: listen (the port in *@port_out), wait for the control channel, then for @n data channels. Strangers are turned away and do not
 * end the wait. -ETIMEDOUT, -ECANCELED. */
int session_listen(const struct session_conf *conf, struct session **out, uint16_t *port_out, struct err *e);
int session_accept(struct session *s, unsigned timeout_ms, struct err *e);
int session_accept_data(struct session *s, unsigned n, unsigned timeout_ms, struct err *e);

/* Any thread. 0, or -EPIPE, -ETIMEDOUT, -ECANCELED. */
int session_send(struct session *s, const struct control_msg *msg, struct err *e);

/* Engine: take the oldest frame. 0, -EAGAIN none yet; -EPIPE, ... the session is lost and all that came before has been taken. */
int session_take(struct session *s, struct session_frame *out, struct err *e);
void session_frame_free(struct session_frame *f);
bool session_lost(struct session *s);    /* broken, closed, or aborted by the other side: nothing more can be sent */
bool session_pending(struct session *s); /* would session_take not say -EAGAIN? */
int session_event_fd(const struct session *s); /* readable (an eventfd) after something was queued or lost */

unsigned session_n_data(const struct session *s);
struct tls_conn *session_data(struct session *s, unsigned i);
/* Break everything off now: blocked readers and writers return. Any thread. */
void session_break(struct session *s);
/* Wait for the other side's end, at most @timeout_ms, so that our last frame is not lost by closing over unread octets. */
void session_linger(struct session *s, unsigned timeout_ms);
void session_free(struct session *s); /* NULL does nothing */

#endif
