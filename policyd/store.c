/* What is kept, and how it is asked for: see store.h. Statements run on the queue's thread (store_queue.c). */
#include "policyd/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/policyd.h"
#include "policyd/store_queue.h"

#define LINK_TRIES 5
#define MOVES_MAX 256
#define HOUR_MS 3600000
#define PRUNE_EVERY 64

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
	struct squeue *queue;
	int64_t next_op, next_decision;
	unsigned keep_decisions, keep_history, until_prune;
	SLIST_HEAD(, link) links;
	int64_t moves[MOVES_MAX]; /* ring of times */
	unsigned n_moves;
	struct sqlite3 *db; /* at start-up only: the queue's thread's afterwards */
};

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

static void links_free(struct store *s)
{
	struct link *l;

	while ((l = SLIST_FIRST(&s->links)) != NULL) {
		SLIST_REMOVE_HEAD(&s->links, link);
		free(l);
	}
}

int store_open(struct event_base *base, const struct store_conf *conf, struct store **out, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(e, ENOMEM, "store: no memory");
	SLIST_INIT(&s->links);
	s->keep_decisions = conf->keep_decisions ? conf->keep_decisions : 1000;
	s->keep_history = conf->keep_history ? conf->keep_history : 20000;
	s->until_prune = PRUNE_EVERY;
	rc = squeue_open(conf->path, &s->queue, &s->db, e);
	if (!rc)
		rc = load_memory(s, e);
	if (!rc)
		rc = squeue_start(s->queue, base, e);
	if (rc)
		store_close(s);
	else
		*out = s;
	return rc;
}

void store_flush(struct store *s)
{
	squeue_flush(s->queue);
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->queue)
		squeue_close(s->queue);
	links_free(s);
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
	enqueue(s->queue, it, done, NULL, arg);
}

void store_marks_put(struct store *s, const char *uuid, const json_t *marks)
{
	struct item *it = marks ? item_new("INSERT OR REPLACE INTO marks VALUES(?1,?2)", "tj", uuid, marks)
				: item_new("DELETE FROM marks WHERE uuid=?1", "t", uuid);

	enqueue(s->queue, it, NULL, NULL, NULL);
}

void store_domain_del(struct store *s, const char *uuid, store_done_fn *done, void *arg)
{
	store_marks_put(s, uuid, NULL);
	enqueue(s->queue, item_new("DELETE FROM domains WHERE uuid=?1", "t", uuid), done, NULL, arg);
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
		enqueue(s->queue, item_new("INSERT OR REPLACE INTO policies VALUES(?1,?2)", "tt", name, text), done,
			NULL, arg);
	else
		enqueue(s->queue, item_new("DELETE FROM policies WHERE name=?1", "t", name), done, NULL, arg);
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
		enqueue(s->queue, item_new("INSERT OR REPLACE INTO kept VALUES(?1,?2)", "tj", uuid, row), done, NULL,
			arg);
	else
		enqueue(s->queue, item_new("DELETE FROM kept WHERE uuid=?1", "t", uuid), done, NULL, arg);
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
		enqueue(s->queue, item_new("INSERT OR REPLACE INTO settings VALUES(?1,?2)", "tt", name, text), done,
			NULL, arg);
	else
		enqueue(s->queue, item_new("DELETE FROM settings WHERE name=?1", "t", name), done, NULL, arg);
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
	enqueue(s->queue,
		item_new("INSERT INTO ops(id,t,uuid,domain,kind,who,detail) VALUES(?1,?2,?3,?4,?5,?6,?7)", "iittttj",
			id, now, uuid, domain, kind, who, detail),
		done, NULL, arg);
	return id;
}

void store_op_detail(struct store *s, int64_t id, const json_t *detail, store_done_fn *done, void *arg)
{
	enqueue(s->queue, item_new("UPDATE ops SET detail=?2 WHERE id=?1", "ij", id, detail), done, NULL, arg);
}

void store_op_end(struct store *s, int64_t id, bool ok, const char *text)
{
	enqueue(s->queue,
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
	enqueue(s->queue,
		item_new("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?1", "i",
			(int64_t)s->keep_history),
		NULL, NULL, NULL);
	enqueue(s->queue,
		item_new("DELETE FROM ops WHERE end_t IS NOT NULL AND id <= (SELECT max(id) FROM ops) - ?1", "i",
			(int64_t)s->keep_history),
		NULL, NULL, NULL);
	enqueue(s->queue,
		item_new("DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?1", "i",
			(int64_t)s->keep_decisions),
		NULL, NULL, NULL);
	enqueue(s->queue, item_new("DELETE FROM benefits WHERE decision < (SELECT min(id) FROM decisions)", ""), NULL,
		NULL, NULL);
	enqueue(s->queue, item_new("DELETE FROM decision_domains WHERE decision < (SELECT min(id) FROM decisions)", ""),
		NULL, NULL, NULL);
}

void store_history_add(struct store *s, const struct store_event *ev)
{
	enqueue(s->queue,
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
	enqueue(s->queue,
		item_new(HISTORY_COLS "WHERE ?1 IS NULL OR domain=?1 ORDER BY id DESC LIMIT ?2", "ti", domain,
			(int64_t)limit),
		NULL, done, arg);
}

void store_moves_get(struct store *s, unsigned limit, store_rows_fn *done, void *arg)
{
	enqueue(s->queue,
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

	enqueue(s->queue, item_new("INSERT INTO decisions VALUES(?1,?2,?3,?4)", "iijj", id, t_ms, snapshot, plan), NULL,
		NULL, NULL);
	for (unsigned i = 0; i < n_domains; i++)
		enqueue(s->queue,
			item_new("INSERT OR IGNORE INTO decision_domains VALUES(?1,?2)", "ti", domains[i], id), NULL,
			NULL, NULL);
	json_decref(snapshot);
	json_decref(plan);
	prune(s);
	return id;
}

void store_decision_get(struct store *s, const char *domain, int64_t id, int64_t at_ms, store_rows_fn *done, void *arg)
{
	enqueue(s->queue,
		item_new(
			"SELECT id, t, snapshot AS snapshot_json, plan AS plan_json FROM decisions WHERE (?2 = 0 OR id = ?2) AND (?3 = 0 OR t <= ?3) AND "
			"(?1 IS NULL OR id IN (SELECT decision FROM decision_domains WHERE domain = ?1)) ORDER BY "
			"?3 = 0 AND coalesce(json_array_length(plan, '$.actions') + json_array_length(plan, '$.candidates'), 0) = 0, "
			"id DESC LIMIT 1",
			"tii", domain, id, at_ms),
		NULL, done, arg);
}

void store_benefit_put(struct store *s, int64_t decision, const char *domain, const json_t *benefit)
{
	enqueue(s->queue,
		item_new("INSERT OR REPLACE INTO benefits VALUES(?1,?2,?3)", "itj", decision, domain, benefit), NULL,
		NULL, NULL);
}

void store_benefit_get(struct store *s, int64_t decision, store_rows_fn *done, void *arg)
{
	enqueue(s->queue,
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
	enqueue(s->queue,
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

	enqueue(s->queue,
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
	enqueue(s->queue, it, NULL, NULL, arg);
}
