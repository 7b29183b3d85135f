/* Inside of a session, shared by session.c (threads, queue) and session_open.c (connecting, accepting). */
#ifndef MIGRATE_SESSION_INT_H
#define MIGRATE_SESSION_INT_H

#include <pthread.h>

#include "migrate/session.h"

#define SESSION_STALL_MS 10000 /* docs/wire.md: silence that ends a session */

struct node;

struct session {
	struct session_conf conf;
	struct tls_conn *control, *data[XFER_CHANNELS_MAX];
	unsigned n_data;
	int listen_fd, event_fd;
	pthread_t threads[2]; /* reader, pinger */
	unsigned n_threads;
	pthread_mutex_t send_lock; /* around out and tls_write */
	uint8_t out[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX];
	pthread_mutex_t lock; /* around what follows, and n_data's growth */
	pthread_cond_t cond;
	struct node *head, **tail;
	size_t queued_bytes;
	bool lost, aborted;
	struct err lost_why;
};

struct session *session_new(const struct session_conf *conf);
/* Takes @control and starts the threads. */
int session_start(struct session *s, struct tls_conn *control, struct err *e);

#endif
