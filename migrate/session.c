/* The control channel's threads and queue: see session.h. Connecting and accepting are in session_open.c. */
#include "migrate/session_int.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PING_MS 2000
#define QUEUE_BYTES_MAX (8u << 20) /* the reader waits above this */

struct node {
	struct node *next;
	struct session_frame frame;
	size_t bytes;
};

static void wake(struct session *s)
{
	uint64_t one = 1;

	if (write(s->event_fd, &one, sizeof(one)) < 0) {
		/* full: it is readable already */
	}
}

static void data_abort(struct session *s)
{
	atomic_store(&s->conf.limits->cancel, true);
	for (unsigned i = 0; i < s->n_data; i++)
		tls_abort(s->data[i]);
}

/* The first reason stays. */
static void lose(struct session *s, const struct err *why)
{
	pthread_mutex_lock(&s->lock);
	if (!s->lost) {
		s->lost = true;
		s->lost_why = *why;
	}
	data_abort(s);
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	wake(s);
}

/* ---- reader ---------------------------------------------------------------------------------------------- */

/* The frame's payload passes to the queue. */
static void queue_push(struct session *s, struct node *n)
{
	pthread_mutex_lock(&s->lock);
	while (s->queued_bytes > QUEUE_BYTES_MAX && !s->lost)
		pthread_cond_wait(&s->cond, &s->lock);
	s->queued_bytes += n->bytes;
	*s->tail = n;
	s->tail = &n->next;
	if (n->frame.msg.type == CT_ABORT) {
		s->aborted = true;
		data_abort(s);
	}
	pthread_mutex_unlock(&s->lock);
	wake(s);
}

static int read_frame(struct session *s, struct err *e)
{
	uint8_t raw[CONTROL_HEADER_BYTES];
	struct control_header h;
	struct node *n = NULL;
	int rc = tls_read(s->control, raw, sizeof(raw), e);

	if (rc == 0)
		rc = control_header_decode(raw, &h, e);
	if (rc)
		return rc;
	n = calloc(1, sizeof(*n));
	if (n)
		n->frame.payload = malloc(h.length + 1);
	if (!n || !n->frame.payload) {
		rc = err_set(e, ENOMEM, "no memory for a frame");
		goto out;
	}
	rc = tls_read(s->control, n->frame.payload, h.length, e);
	if (rc == 0 && !h.ignore)
		rc = control_decode(&h, n->frame.payload, &n->frame.msg, e);
	if (rc || h.ignore || n->frame.msg.type == CT_PING)
		goto out;
	if (n->frame.msg.type == CT_NOTE) {
		if (s->conf.on_note)
			s->conf.on_note(s->conf.arg, &n->frame.msg.note);
		goto out;
	}
	n->bytes = sizeof(*n) + h.length;
	queue_push(s, n);
	n = NULL;
out:
	if (n)
		session_frame_free(&n->frame);
	free(n);
	return rc;
}

static void *reader_main(void *arg)
{
	struct session *s = arg;
	struct err e = {0};

	while (read_frame(s, &e) == 0)
		;
	lose(s, &e);
	return NULL;
}

/* ---- pinger ---------------------------------------------------------------------------------------------- */

static void *pinger_main(void *arg)
{
	struct session *s = arg;
	const struct control_msg ping = {.type = CT_PING};
	struct timespec next;
	struct err e;
	bool over;

	do {
		clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_sec += PING_MS / 1000;
		pthread_mutex_lock(&s->lock);
		while (!s->lost && pthread_cond_timedwait(&s->cond, &s->lock, &next) != ETIMEDOUT)
			;
		over = s->lost;
		pthread_mutex_unlock(&s->lock);
	} while (!over && session_send(s, &ping, &e) == 0);
	return NULL;
}

/* ---- the interface --------------------------------------------------------------------------------------- */

static int lost_reason(struct session *s, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (s->lost)
		rc = err_set(e, s->lost_why.code ? s->lost_why.code : EPIPE, "%s", s->lost_why.msg);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int session_send(struct session *s, const struct control_msg *msg, struct err *e)
{
	struct err local = {0};
	int n, rc;

	e = e ? e : &local;
	if (!s->control)
		return err_set(e, ENOTCONN, "%s has not connected", s->conf.peer);
	rc = lost_reason(s, e); /* TCP would take octets for a peer that has gone */
	if (rc)
		return rc;
	pthread_mutex_lock(&s->send_lock);
	n = control_encode(msg, s->out, sizeof(s->out));
	if (n < 0)
		rc = err_set(e, -n, "a %s does not fit its frame", control_type_name(msg->type));
	else
		rc = tls_write(s->control, s->out, (size_t)n, e);
	pthread_mutex_unlock(&s->send_lock);
	if (rc && n >= 0) {
		struct err why = *e;

		/* Unless what the other side said is still to be read: then the reader finds the end by itself. */
		if (rc != -EPIPE)
			lose(s, &why);
	}
	return rc;
}

int session_take(struct session *s, struct session_frame *out, struct err *e)
{
	struct node *n;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	n = s->head;
	if (n) {
		s->head = n->next;
		if (!s->head)
			s->tail = &s->head;
		s->queued_bytes -= n->bytes;
		*out = n->frame;
		pthread_cond_broadcast(&s->cond);
	} else if (s->lost) {
		rc = err_set(e, s->lost_why.code ? s->lost_why.code : EPIPE, "%s", s->lost_why.msg);
	} else {
		rc = -EAGAIN;
	}
	pthread_mutex_unlock(&s->lock);
	free(n);
	return rc;
}

void session_frame_free(struct session_frame *f)
{
	free(f->payload);
	f->payload = NULL;
}

bool session_lost(struct session *s)
{
	bool lost;

	pthread_mutex_lock(&s->lock);
	lost = s->lost || s->aborted;
	pthread_mutex_unlock(&s->lock);
	return lost;
}

bool session_pending(struct session *s)
{
	bool pending;

	pthread_mutex_lock(&s->lock);
	pending = s->head || s->lost;
	pthread_mutex_unlock(&s->lock);
	return pending;
}

int session_event_fd(const struct session *s)
{
	return s->event_fd;
}

unsigned session_n_data(const struct session *s)
{
	return s->n_data;
}

struct tls_conn *session_data(struct session *s, unsigned i)
{
	return s->data[i];
}

void session_break(struct session *s)
{
	const struct err why = {.code = ECANCELED, .msg = "the connection was broken off"};

	lose(s, &why);
	if (s->control)
		tls_abort(s->control);
}

void session_linger(struct session *s, unsigned timeout_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&s->lock);
	while (!s->lost && s->n_threads && pthread_cond_timedwait(&s->cond, &s->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&s->lock);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

struct session *session_new(const struct session_conf *conf)
{
	struct session *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	s->conf = *conf;
	s->tail = &s->head;
	s->listen_fd = -1;
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->send_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	return s;
}

int session_start(struct session *s, struct tls_conn *control, struct err *e)
{
	s->control = control;
	tls_set_stall_ms(control, SESSION_STALL_MS);
	if (pthread_create(&s->threads[0], NULL, reader_main, s) != 0)
		return err_set(e, EAGAIN, "cannot start a thread");
	s->n_threads = 1;
	if (pthread_create(&s->threads[1], NULL, pinger_main, s) != 0)
		return err_set(e, EAGAIN, "cannot start a thread");
	s->n_threads = 2;
	return 0;
}

void session_free(struct session *s)
{
	struct session_frame f = {0};

	if (!s)
		return;
	session_break(s);
	for (unsigned i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	while (session_take(s, &f, NULL) == 0)
		session_frame_free(&f);
	for (unsigned i = 0; i < s->n_data; i++)
		tls_conn_free(s->data[i]);
	tls_conn_free(s->control);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	close(s->event_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->send_lock);
	pthread_cond_destroy(&s->cond);
	free(s);
}
