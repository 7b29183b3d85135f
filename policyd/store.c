/* The store's queue and thread, and what is kept: see store.h. SQL runs in store_db.c.
 *
 * An item is one statement with its values, copied; the thread takes the whole queue, runs it in one transaction and hands the items back;
 * an eventfd wakes the loop, which runs the callbacks. Locks live here only. */
#include "policyd/store.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "policyd/policyd.h"
#include "policyd/store_db.h"

typedef void cold_done_fn(void *arg, enum store_cold recorded, const struct err *e);

struct item {
	STAILQ_ENTRY(item) link;
	const char *sql;
	struct db_val v[DB_VALS_MAX];
	unsigned n;
	bool query;
	json_t *rows;
	struct err err;
	store_done_fn *done;
	store_rows_fn *rows_done;
	cold_done_fn *cold_done;
	void *arg;
};
STAILQ_HEAD(items, item);

#define LINK_TRIES 5
#define MOVES_MAX 256
#define HOUR_MS 3600000
#define PRUNE_EVERY 64
#define SAY_AGAIN_MS 60000

struct link {
	SLIST_ENTRY(link) link;
	char peer[64];
	struct {
		int64_t t_ms;
		uint64_t bps;
		bool ok;
	} tries[LINK_TRIES]; /* ring */
	unsigned n;
};

struct store {
	struct sqlite3 *db; /* the thread's */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct items queue, finished; /* under lock */
	bool closing, busy;           /* under lock; busy: a batch is being written */
	pthread_cond_t idle;
	int efd;
	struct event *ev;
	/* loop thread only */
	int64_t next_op, next_decision;
	unsigned keep_decisions, keep_history, until_prune;
	SLIST_HEAD(, link) links;
	int64_t moves[MOVES_MAX]; /* ring of times */
	unsigned n_moves;
	char said[ERR_MSG_MAX]; /* last fault in the log */
	int64_t said_ms;
};

/* ---- the thread ---- */

static void run_batch(struct store *s, struct items *batch)
{
	struct err e = {0};
	struct item *it;
	int rc = db_begin(s->db, &e);

	STAILQ_FOREACH(it, batch, link) {
		if (rc)
			it->err = e;
		else
			db_run(s->db, it->sql, it->v, it->n, it->query ? &it->rows : NULL, &it->err);
	}
	if (rc || !db_commit(s->db, &e))
		return;
	STAILQ_FOREACH(it, batch, link)
		if (!it->err.code)
			it->err = e;
}

static void *store_thread(void *arg)
{
	struct store *s = arg;
	struct items batch;
	uint64_t one = 1;
	bool last;

	do {
		STAILQ_INIT(&batch);
		pthread_mutex_lock(&s->lock);
		while (STAILQ_EMPTY(&s->queue) && !s->closing)
			pthread_cond_wait(&s->wake, &s->lock);
		STAILQ_CONCAT(&batch, &s->queue);
		last = s->closing;
		s->busy = true;
		pthread_mutex_unlock(&s->lock);
		if (!STAILQ_EMPTY(&batch))
			run_batch(s, &batch);
		pthread_mutex_lock(&s->lock);
		STAILQ_CONCAT(&s->finished, &batch);
		s->busy = false;
		pthread_cond_signal(&s->idle);
		pthread_mutex_unlock(&s->lock);
		if (write(s->efd, &one, sizeof(one)) < 0)
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
static void log_fault(struct store *s, const struct err *e)
{
	int64_t now = now_mono_ms();

	if (s->said_ms && now - s->said_ms < SAY_AGAIN_MS && !strcmp(s->said, e->msg))
		return;
	s->said_ms = now;
	memcpy(s->said, e->msg, sizeof(s->said));
	plog(NULL, "%s", e->msg);
}

static void item_tell(struct store *s, struct item *it)
{
	json_t *first = json_array_get(it->rows, 0);

	if (it->err.code)
		log_fault(s, &it->err);
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

static void drain_finished(struct store *s)
{
	struct items mine = STAILQ_HEAD_INITIALIZER(mine);
	struct item *it;

	pthread_mutex_lock(&s->lock);
	STAILQ_CONCAT(&mine, &s->finished);
	pthread_mutex_unlock(&s->lock);
	while ((it = STAILQ_FIRST(&mine)) != NULL) {
		STAILQ_REMOVE_HEAD(&mine, link);
		item_tell(s, it);
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

/* ---- making items ---- */

/* @types: one letter a value: i int64_t, t const char * (copied), j const json_t * (dumped). NULL: no memory. */
static struct item *item_new(const char *sql, const char *types, ...)
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

/* @it NULL (no memory): the callbacks hear of it at once. */
static void enqueue(struct store *s, struct item *it, store_done_fn *done, store_rows_fn *rows_done, void *arg)
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
	pthread_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->queue, it, link);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* ---- open and close ---- */

static struct link *link_of(struct store *s, const char *peer)
{
	struct link *l;

	SLIST_FOREACH(l, &s->links, link)
		if (!strcmp(l->peer, peer))
			return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	snprintf(l->peer, sizeof(l->peer), "%s", peer);
	SLIST_INSERT_HEAD(&s->links, l, link);
	return l;
}

static void link_note(struct store *s, const char *peer, int64_t t_ms, uint64_t bps, bool ok)
{
	struct link *l = link_of(s, peer);

	if (!l)
		return;
	l->tries[l->n % LINK_TRIES].t_ms = t_ms;
	l->tries[l->n % LINK_TRIES].bps = bps;
	l->tries[l->n % LINK_TRIES].ok = ok;
	l->n++;
}

static void move_note(struct store *s, int64_t t_ms)
{
	s->moves[s->n_moves++ % MOVES_MAX] = t_ms;
}

static int64_t int_of(const json_t *row, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(row, key));
}

/* What is kept in memory beside the file. */
static int load_memory(struct store *s, struct err *e)
{
	json_t *rows = NULL, *row;
	size_t i;
	int rc;

	rc = db_run(s->db,
		"SELECT (SELECT coalesce(max(id),0)+1 FROM ops) AS op, (SELECT coalesce(max(id),0)+1 FROM decisions) AS decision",
		NULL, 0, &rows, e);
	if (rc)
		return rc;
	s->next_op = int_of(json_array_get(rows, 0), "op");
	s->next_decision = int_of(json_array_get(rows, 0), "decision");
	json_decref(rows);
	rc = db_run(s->db, "SELECT t, peer, bps, ok FROM (SELECT * FROM links ORDER BY id DESC LIMIT 1000) ORDER BY id",
		NULL, 0, &rows, e);
	if (rc)
		return rc;
	json_array_foreach(rows, i, row)
		link_note(s, json_string_value(json_object_get(row, "peer")), int_of(row, "t"),
			(uint64_t)int_of(row, "bps"), int_of(row, "ok") != 0);
	json_decref(rows);
	rc = db_run(s->db,
		"SELECT t FROM (SELECT id, t FROM ops WHERE kind IN ('migration', 'cold move') ORDER BY id DESC LIMIT 256) ORDER BY id",
		NULL, 0, &rows, e);
	if (rc)
		return rc;
	json_array_foreach(rows, i, row)
		move_note(s, int_of(row, "t"));
	json_decref(rows);
	return 0;
}

static int start_thread(struct store *s, struct event_base *base, struct err *e)
{
	s->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->efd < 0)
		return err_set(e, errno, "store: eventfd: %s", strerror(errno));
	s->ev = event_new(base, s->efd, EV_READ | EV_PERSIST, on_eventfd_ready, s);
	if (!s->ev || event_add(s->ev, NULL))
		return err_set(e, ENOMEM, "store: no memory");
	if (pthread_create(&s->thread, NULL, store_thread, s))
		return err_set(e, EAGAIN, "store: cannot start its thread");
	return 0;
}

int store_open(struct event_base *base, const struct store_conf *conf, struct store **out, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(e, ENOMEM, "store: no memory");
	STAILQ_INIT(&s->queue);
	STAILQ_INIT(&s->finished);
	SLIST_INIT(&s->links);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	pthread_cond_init(&s->idle, NULL);
	s->efd = -1;
	s->keep_decisions = conf->keep_decisions ? conf->keep_decisions : 1000;
	s->keep_history = conf->keep_history ? conf->keep_history : 20000;
	s->until_prune = PRUNE_EVERY;
	rc = db_open(conf->path, &s->db, e);
	if (!rc)
		rc = load_memory(s, e);
	if (!rc)
		rc = start_thread(s, base, e);
	if (!rc) {
		*out = s;
		return 0;
	}
	if (s->ev)
		event_free(s->ev);
	if (s->efd >= 0)
		close(s->efd);
	db_close(s->db);
	free(s);
	return rc;
}

void store_flush(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->busy || !STAILQ_EMPTY(&s->queue))
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	drain_finished(s);
}

void store_close(struct store *s)
{
	struct link *l;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	drain_finished(s);
	event_free(s->ev);
	close(s->efd);
	db_close(s->db);
	while ((l = SLIST_FIRST(&s->links)) != NULL) {
		SLIST_REMOVE_HEAD(&s->links, link);
		free(l);
	}
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- domains ---- */

void store_domain_put(struct store *s, const struct store_domain *d, store_done_fn *done, void *arg)
{
	json_t *spec = spec_to_json(&d->spec);
	struct item *it = NULL;

	if (spec)
		it = item_new(
			"INSERT OR REPLACE INTO domains VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
			"ttjiiiiittiiiii", d->spec.uuid, d->spec.name, spec, (int64_t)d->vcpus, (int64_t)d->mem_bytes,
			(int64_t)d->bound, (int64_t)d->running, (int64_t)d->hold, d->hold_reason, d->hold_by,
			d->hold_until_ms, (int64_t)d->epoch, d->started_ms, d->last_resize_ms, d->last_move_ms);
	json_decref(spec);
	enqueue(s, it, done, NULL, arg);
}

void store_marks_put(struct store *s, const char *uuid, const json_t *marks)
{
	struct item *it = marks ? item_new("INSERT OR REPLACE INTO marks VALUES(?1,?2)", "tj", uuid, marks)
				: item_new("DELETE FROM marks WHERE uuid=?1", "t", uuid);

	enqueue(s, it, NULL, NULL, NULL);
}

void store_domain_del(struct store *s, const char *uuid, store_done_fn *done, void *arg)
{
	store_marks_put(s, uuid, NULL);
	enqueue(s, item_new("DELETE FROM domains WHERE uuid=?1", "t", uuid), done, NULL, arg);
}

static void copy_text(char *out, size_t size, const json_t *row, const char *key)
{
	const char *t = json_string_value(json_object_get(row, key));

	snprintf(out, size, "%s", t ? t : "");
}

static int domain_of_row(const json_t *row, struct store_domain *d, struct err *e)
{
	int rc = spec_from_json(json_object_get(row, "spec"), &d->spec, e);

	if (rc)
		return err_wrap(e,
			"the stored definition of %s is damaged (remove its row from policyd.db and add it again)",
			json_string_value(json_object_get(row, "name")));
	d->vcpus = (unsigned)int_of(row, "vcpus");
	d->mem_bytes = (uint64_t)int_of(row, "mem_bytes");
	d->bound = int_of(row, "bound") != 0;
	d->running = int_of(row, "running") != 0;
	d->hold = int_of(row, "hold") != 0;
	copy_text(d->hold_reason, sizeof(d->hold_reason), row, "hold_reason");
	copy_text(d->hold_by, sizeof(d->hold_by), row, "hold_by");
	d->hold_until_ms = int_of(row, "hold_until_ms");
	d->epoch = (uint64_t)int_of(row, "epoch");
	d->started_ms = int_of(row, "started_ms");
	d->last_resize_ms = int_of(row, "last_resize_ms");
	d->last_move_ms = int_of(row, "last_move_ms");
	d->marks = json_object_get(row, "marks");
	return 0;
}

int store_domain_each(struct store *s, void (*each)(void *arg, const struct store_domain *d), void *arg, struct err *e)
{
	json_t *rows = NULL, *row;
	size_t i;
	int rc = db_run(s->db,
		"SELECT domains.*, spec AS spec_json, marks AS marks_json FROM domains LEFT JOIN marks USING(uuid) ORDER BY name",
		NULL, 0, &rows, e);

	if (rc)
		return rc;
	json_array_foreach(rows, i, row) {
		struct store_domain d = {0};

		rc = domain_of_row(row, &d, e);
		if (rc)
			break;
		each(arg, &d);
	}
	json_decref(rows);
	return rc;
}

/* ---- policies ---- */

void store_policy_put(struct store *s, const char *name, const char *text, store_done_fn *done, void *arg)
{
	if (text)
		enqueue(s, item_new("INSERT OR REPLACE INTO policies VALUES(?1,?2)", "tt", name, text), done, NULL,
			arg);
	else
		enqueue(s, item_new("DELETE FROM policies WHERE name=?1", "t", name), done, NULL, arg);
}

int store_policy_each(
	struct store *s, void (*each)(void *arg, const char *name, const char *text), void *arg, struct err *e)
{
	json_t *rows = NULL, *row;
	size_t i;
	int rc = db_run(s->db, "SELECT name, text FROM policies ORDER BY name", NULL, 0, &rows, e);

	if (rc)
		return rc;
	json_array_foreach(rows, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		const char *text = json_string_value(json_object_get(row, "text"));

		if (name && text)
			each(arg, name, text);
	}
	json_decref(rows);
	return 0;
}

/* ---- definitions that were kept ---- */

void store_kept_put(struct store *s, const char *uuid, const json_t *row, store_done_fn *done, void *arg)
{
	if (row)
		enqueue(s, item_new("INSERT OR REPLACE INTO kept VALUES(?1,?2)", "tj", uuid, row), done, NULL, arg);
	else
		enqueue(s, item_new("DELETE FROM kept WHERE uuid=?1", "t", uuid), done, NULL, arg);
}

int store_kept_each(struct store *s, void (*each)(void *arg, const json_t *row), void *arg, struct err *e)
{
	json_t *rows = NULL, *row;
	size_t i;
	int rc = db_run(s->db, "SELECT row AS row_json FROM kept", NULL, 0, &rows, e);

	if (rc)
		return rc;
	json_array_foreach(rows, i, row)
		each(arg, json_object_get(row, "row"));
	json_decref(rows);
	return 0;
}

/* ---- settings ---- */

void store_setting_put(struct store *s, const char *name, const char *text, store_done_fn *done, void *arg)
{
	if (text)
		enqueue(s, item_new("INSERT OR REPLACE INTO settings VALUES(?1,?2)", "tt", name, text), done, NULL,
			arg);
	else
		enqueue(s, item_new("DELETE FROM settings WHERE name=?1", "t", name), done, NULL, arg);
}

int store_setting_get(struct store *s, const char *name, char **text_out, struct err *e)
{
	json_t *rows = NULL, *row;
	int rc = db_run(s->db, "SELECT name, text FROM settings", NULL, 0, &rows, e);
	size_t i;

	if (rc)
		return rc;
	*text_out = NULL;
	json_array_foreach(rows, i, row) {
		const char *n = json_string_value(json_object_get(row, "name"));
		const char *text = json_string_value(json_object_get(row, "text"));

		if (n && text && !strcmp(n, name) && !*text_out)
			*text_out = strdup(text);
	}
	json_decref(rows);
	return 0;
}

/* ---- operations ---- */

int64_t store_op_begin(struct store *s, const char *uuid, const char *domain, const char *kind, const char *who,
	const json_t *detail, store_done_fn *done, void *arg)
{
	int64_t id = s->next_op++, now = now_wall_ms();

	if (!strcmp(kind, "migration") || !strcmp(kind, "cold move"))
		move_note(s, now);
	enqueue(s,
		item_new("INSERT INTO ops(id,t,uuid,domain,kind,who,detail) VALUES(?1,?2,?3,?4,?5,?6,?7)", "iittttj",
			id, now, uuid, domain, kind, who, detail),
		done, NULL, arg);
	return id;
}

void store_op_detail(struct store *s, int64_t id, const json_t *detail, store_done_fn *done, void *arg)
{
	enqueue(s, item_new("UPDATE ops SET detail=?2 WHERE id=?1", "ij", id, detail), done, NULL, arg);
}

void store_op_end(struct store *s, int64_t id, bool ok, const char *text)
{
	enqueue(s,
		item_new("UPDATE ops SET end_t=?2, ok=?3, text=?4 WHERE id=?1 AND end_t IS NULL", "iiit", id,
			now_wall_ms(), (int64_t)ok, text),
		NULL, NULL, NULL);
}

json_t *store_op_unfinished(struct store *s, struct err *e)
{
	json_t *rows = NULL;

	db_run(s->db,
		"SELECT id, t, uuid, domain, kind, who, detail AS detail_json FROM ops WHERE end_t IS NULL ORDER BY id",
		NULL, 0, &rows, e);
	return rows;
}

/* ---- history ---- */

static void prune(struct store *s)
{
	if (--s->until_prune)
		return;
	s->until_prune = PRUNE_EVERY;
	enqueue(s,
		item_new("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?1", "i",
			(int64_t)s->keep_history),
		NULL, NULL, NULL);
	enqueue(s,
		item_new("DELETE FROM ops WHERE end_t IS NOT NULL AND id <= (SELECT max(id) FROM ops) - ?1", "i",
			(int64_t)s->keep_history),
		NULL, NULL, NULL);
	enqueue(s,
		item_new("DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?1", "i",
			(int64_t)s->keep_decisions),
		NULL, NULL, NULL);
	enqueue(s, item_new("DELETE FROM benefits WHERE decision < (SELECT min(id) FROM decisions)", ""), NULL, NULL,
		NULL);
	enqueue(s, item_new("DELETE FROM decision_domains WHERE decision < (SELECT min(id) FROM decisions)", ""), NULL,
		NULL, NULL);
}

void store_history_add(struct store *s, const struct store_event *ev)
{
	enqueue(s,
		item_new(
			"INSERT INTO history(t,domain,kind,who,text,ok,error,peer,predicted,actual) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
			"ittttittjj", now_wall_ms(), ev->domain, ev->kind, ev->who, ev->text, (int64_t)ev->ok,
			ev->error, ev->peer, ev->predicted, ev->actual),
		NULL, NULL, NULL);
	prune(s);
}

#define HISTORY_COLS                                                                                                   \
	"SELECT t, id, domain, kind, who, text, ok AS ok_bool, error, peer, predicted AS predicted_json, actual AS actual_json FROM history "

void store_history_get(struct store *s, const char *domain, unsigned limit, store_rows_fn *done, void *arg)
{
	enqueue(s,
		item_new(HISTORY_COLS "WHERE ?1 IS NULL OR domain=?1 ORDER BY id DESC LIMIT ?2", "ti", domain,
			(int64_t)limit),
		NULL, done, arg);
}

void store_moves_get(struct store *s, unsigned limit, store_rows_fn *done, void *arg)
{
	enqueue(s,
		item_new(HISTORY_COLS "WHERE kind IN ('migration', 'cold move') AND ok ORDER BY id DESC LIMIT ?1", "i",
			(int64_t)limit),
		NULL, done, arg);
}

json_t *store_moves_since(struct store *s, int64_t since_ms, struct err *e)
{
	struct db_val v = {.type = DB_INT, .i = since_ms};
	json_t *rows = NULL;

	if (db_run(s->db,
		    "SELECT t, domain, kind, who, ok AS ok_bool, peer, actual AS actual_json FROM history WHERE "
		    "kind IN ('migration', 'cold move', 'incoming') AND t >= ?1 ORDER BY id",
		    &v, 1, &rows, e))
		return NULL;
	return rows;
}

/* ---- decisions ---- */

int64_t store_decision_add(
	struct store *s, int64_t t_ms, const char *const *domains, unsigned n_domains, json_t *snapshot, json_t *plan)
{
	int64_t id = s->next_decision++;

	enqueue(s, item_new("INSERT INTO decisions VALUES(?1,?2,?3,?4)", "iijj", id, t_ms, snapshot, plan), NULL, NULL,
		NULL);
	for (unsigned i = 0; i < n_domains; i++)
		enqueue(s, item_new("INSERT OR IGNORE INTO decision_domains VALUES(?1,?2)", "ti", domains[i], id), NULL,
			NULL, NULL);
	json_decref(snapshot);
	json_decref(plan);
	prune(s);
	return id;
}

void store_decision_get(struct store *s, const char *domain, int64_t id, store_rows_fn *done, void *arg)
{
	enqueue(s,
		item_new(
			"SELECT id, t, snapshot AS snapshot_json, plan AS plan_json FROM decisions WHERE (?2 = 0 OR id = ?2) AND "
			"(?1 IS NULL OR id IN (SELECT decision FROM decision_domains WHERE domain = ?1)) ORDER BY "
			"coalesce(json_array_length(plan, '$.actions') + json_array_length(plan, '$.candidates'), 0) = 0, "
			"id DESC LIMIT 1",
			"ti", domain, id),
		NULL, done, arg);
}

void store_benefit_put(struct store *s, int64_t decision, const char *domain, const json_t *benefit)
{
	enqueue(s, item_new("INSERT OR REPLACE INTO benefits VALUES(?1,?2,?3)", "itj", decision, domain, benefit), NULL,
		NULL, NULL);
}

void store_benefit_get(struct store *s, int64_t decision, store_rows_fn *done, void *arg)
{
	enqueue(s,
		item_new(
			"SELECT decision, domain, benefit AS benefit_json FROM benefits WHERE decision = ?1 ORDER BY domain",
			"i", decision),
		NULL, done, arg);
}

json_t *store_benefits_newest(struct store *s, unsigned limit, struct err *e)
{
	struct db_val v = {.type = DB_INT, .i = limit};
	json_t *rows = NULL;

	if (db_run(s->db,
		    "SELECT * FROM (SELECT decision, domain, benefit AS benefit_json FROM benefits ORDER BY decision DESC, domain "
		    "LIMIT ?1) ORDER BY decision, domain",
		    &v, 1, &rows, e))
		return NULL;
	return rows;
}

/* ---- links and moves ---- */

void store_link_add(struct store *s, const char *peer, uint64_t bps, bool ok)
{
	int64_t now = now_wall_ms();

	link_note(s, peer, now, bps, ok);
	enqueue(s,
		item_new("INSERT INTO links(t,peer,bps,ok) VALUES(?1,?2,?3,?4)", "itii", now, peer, (int64_t)bps,
			(int64_t)ok),
		NULL, NULL, NULL);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void store_link_get(struct store *s, const char *peer, uint64_t *bps_out, unsigned *failures_out)
{
	uint64_t good[LINK_TRIES];
	unsigned n = 0, bad = 0;
	int64_t now = now_wall_ms();
	struct link *l;

	SLIST_FOREACH(l, &s->links, link) {
		if (strcmp(l->peer, peer))
			continue;
		for (unsigned i = 0; i < LINK_TRIES && i < l->n; i++) {
			if (l->tries[i].ok && l->tries[i].bps)
				good[n++] = l->tries[i].bps;
			else if (!l->tries[i].ok && now - l->tries[i].t_ms < HOUR_MS)
				bad++;
		}
	}
	qsort(good, n, sizeof(good[0]), by_value);
	*bps_out = n ? good[n / 2] : 0;
	*failures_out = bad;
}

unsigned store_moves_last_hour(struct store *s, int64_t now_ms)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MOVES_MAX && i < s->n_moves; i++)
		n += now_ms - s->moves[i] < HOUR_MS;
	return n;
}

/* ---- cold moves ---- */

void store_cold_set(
	struct store *s, const char *uuid, uint64_t epoch, enum store_cold what, cold_done_fn *done, void *arg)
{
	struct item *it;
	struct err e;

	enqueue(s,
		item_new("INSERT OR IGNORE INTO cold VALUES(?1,?2,?3,?4)", "tiii", uuid, (int64_t)epoch, (int64_t)what,
			now_wall_ms()),
		NULL, NULL, NULL);
	it = item_new("SELECT what FROM cold WHERE uuid=?1 AND epoch=?2", "ti", uuid, (int64_t)epoch);
	if (!it) {
		err_set(&e, ENOMEM, "store: no memory");
		done(arg, STORE_COLD_NONE, &e);
		return;
	}
	it->cold_done = done;
	enqueue(s, it, NULL, NULL, arg);
}
