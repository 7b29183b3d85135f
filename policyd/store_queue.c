/* The store's thread and its queue: see store_queue.h. SQL runs in store_db.c. */
#include "policyd/store_queue.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "policyd/policyd.h"

#define SAY_AGAIN_MS 60000

STAILQ_HEAD(items, item);

struct squeue {
	struct sqlite3 *db; /* the thread's, once it runs */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct items queue, finished; /* under lock */
	bool closing, busy;           /* under lock; busy: a batch is being written */
	int efd;
	struct event *ev;
	/* loop thread only */
	bool started;
	char said[ERR_MSG_MAX]; /* last fault in the log */
	int64_t said_ms;
};

/* ---- the thread ---- */

static void run_batch(struct squeue *q, struct items *batch)
{
	struct err e = {0};
	struct item *it;
	int rc = db_begin(q->db, &e);

	STAILQ_FOREACH(it, batch, link) {
		if (rc)
			it->err = e;
		else
			db_run(q->db, it->sql, it->v, it->n, it->query ? &it->rows : NULL, &it->err);
	}
	if (rc || !db_commit(q->db, &e))
		return;
	STAILQ_FOREACH(it, batch, link)
		if (!it->err.code)
			it->err = e;
}

static void *store_thread(void *arg)
{
	struct squeue *q = arg;
	struct items batch;
	uint64_t one = 1;
	bool last;

	do {
		STAILQ_INIT(&batch);
		pthread_mutex_lock(&q->lock);
		while (STAILQ_EMPTY(&q->queue) && !q->closing)
			pthread_cond_wait(&q->wake, &q->lock);
		STAILQ_CONCAT(&batch, &q->queue);
		last = q->closing;
		q->busy = true;
		pthread_mutex_unlock(&q->lock);
		if (!STAILQ_EMPTY(&batch))
			run_batch(q, &batch);
		pthread_mutex_lock(&q->lock);
		STAILQ_CONCAT(&q->finished, &batch);
		q->busy = false;
		pthread_cond_signal(&q->idle);
		pthread_mutex_unlock(&q->lock);
		if (write(q->efd, &one, sizeof(one)) < 0)
			last = last || errno == EBADF;
	} while (!last);
	return NULL;
}

/* ---- back on the loop ---- */

static void item_free(struct item *it)
{
	for (unsigned i = 0; i < it->n; i++)
		free(it->v[i].text);
	json_decref(it->rows);
	free(it);
}

/* A full disk is said once a minute, not with every row. */
static void log_fault(struct squeue *q, const struct err *e)
{
	int64_t now = now_mono_ms();

	if (q->said_ms && now - q->said_ms < SAY_AGAIN_MS && !strcmp(q->said, e->msg))
		return;
	q->said_ms = now;
	memcpy(q->said, e->msg, sizeof(q->said));
	plog(NULL, "%s", e->msg);
}

static void item_tell(struct squeue *q, struct item *it)
{
	json_t *first = json_array_get(it->rows, 0);

	if (it->err.code)
		log_fault(q, &it->err);
	if (it->done)
		it->done(it->arg, &it->err);
	if (it->rows_done)
		it->rows_done(it->arg, it->err.code ? NULL : it->rows, &it->err);
	if (it->cold_done) {
		if (!it->err.code && !first)
			err_set(&it->err, EIO, "store: a row that was written is not there");
		it->cold_done(it->arg, (enum store_cold)json_integer_value(json_object_get(first, "what")), &it->err);
	}
}

static void drain_finished(struct squeue *q)
{
	struct items mine = STAILQ_HEAD_INITIALIZER(mine);
	struct item *it;

	pthread_mutex_lock(&q->lock);
	STAILQ_CONCAT(&mine, &q->finished);
	pthread_mutex_unlock(&q->lock);
	while ((it = STAILQ_FIRST(&mine)) != NULL) {
		STAILQ_REMOVE_HEAD(&mine, link);
		item_tell(q, it);
		item_free(it);
	}
}

static void on_eventfd_ready(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) == sizeof(n))
		drain_finished(arg);
}

/* ---- items ---- */

struct item *item_new(const char *sql, const char *types, ...)
{
	struct item *it = calloc(1, sizeof(*it));
	const char *text;
	const json_t *j;
	va_list ap;

	if (!it)
		return NULL;
	it->sql = sql;
	va_start(ap, types);
	for (; *types; types++, it->n++) {
		struct db_val *v = &it->v[it->n];

		if (*types == 'i') {
			v->type = DB_INT;
			v->i = va_arg(ap, int64_t);
			continue;
		}
		v->type = DB_TEXT;
		if (*types == 't') {
			text = va_arg(ap, const char *);
			v->text = text ? strdup(text) : NULL;
		} else {
			j = va_arg(ap, const json_t *);
			v->text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
		}
	}
	va_end(ap);
	return it;
}

void enqueue(struct squeue *q, struct item *it, store_done_fn *done, store_rows_fn *rows_done, void *arg)
{
	struct err e;

	if (!it) {
		err_set(&e, ENOMEM, "store: no memory");
		if (done)
			done(arg, &e);
		if (rows_done)
			rows_done(arg, NULL, &e);
		return;
	}
	it->done = done;
	it->rows_done = rows_done;
	it->arg = arg;
	it->query = rows_done || it->cold_done;
	pthread_mutex_lock(&q->lock);
	STAILQ_INSERT_TAIL(&q->queue, it, link);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
}

/* ---- open and close ---- */

int squeue_open(const char *path, struct squeue **out, struct sqlite3 **db, struct err *e)
{
	struct squeue *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_set(e, ENOMEM, "store: no memory");
	STAILQ_INIT(&q->queue);
	STAILQ_INIT(&q->finished);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->wake, NULL);
	pthread_cond_init(&q->idle, NULL);
	q->efd = -1;
	rc = db_open(path, &q->db, e);
	if (rc) {
		squeue_close(q);
		return rc;
	}
	*db = q->db;
	*out = q;
	return 0;
}

int squeue_start(struct squeue *q, struct event_base *base, struct err *e)
{
	q->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->efd < 0)
		return err_set(e, errno, "store: eventfd: %s", strerror(errno));
	q->ev = event_new(base, q->efd, EV_READ | EV_PERSIST, on_eventfd_ready, q);
	if (!q->ev || event_add(q->ev, NULL))
		return err_set(e, ENOMEM, "store: no memory");
	if (pthread_create(&q->thread, NULL, store_thread, q))
		return err_set(e, EAGAIN, "store: cannot start its thread");
	q->started = true;
	return 0;
}

void squeue_flush(struct squeue *q)
{
	pthread_mutex_lock(&q->lock);
	while (q->busy || !STAILQ_EMPTY(&q->queue))
		pthread_cond_wait(&q->idle, &q->lock);
	pthread_mutex_unlock(&q->lock);
	drain_finished(q);
}

static void stop_thread(struct squeue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closing = true;
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	drain_finished(q);
}

void squeue_close(struct squeue *q)
{
	if (q->started)
		stop_thread(q);
	if (q->ev)
		event_free(q->ev);
	if (q->efd >= 0)
		close(q->efd);
	db_close(q->db);
	pthread_cond_destroy(&q->wake);
	pthread_cond_destroy(&q->idle);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
