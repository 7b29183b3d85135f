/* The store's queue and its thread. An item is one statement with its values, copied; the thread takes the whole queue, runs it in one
 * transaction and hands the items back; an eventfd wakes the loop, which runs the callbacks. For store.c only. Locks live here only. */
#ifndef POLICYD_STORE_QUEUE_H
#define POLICYD_STORE_QUEUE_H

#include <sys/queue.h>

#include "policyd/store.h"
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
struct squeue;

/* Opens (or makes) the file at @path: *@db may be used by the caller until squeue_start, then it is the thread's. */
int squeue_open(const char *path, struct squeue **out, struct sqlite3 **db, struct err *e);
int squeue_start(struct squeue *q, struct event_base *base, struct err *e);
/* Until all that was put in is written and its callbacks have run. Blocks: at the end, and in tests. */
void squeue_flush(struct squeue *q);
/* The same, and ends it; also one that was never started. */
void squeue_close(struct squeue *q);

/* @types: one letter a value: i int64_t, t const char * (copied), j const json_t * (dumped). NULL: no memory. */
struct item *item_new(const char *sql, const char *types, ...);
/* Takes @it over; the callbacks (any may be NULL) run on the loop. @it NULL (no memory): they hear of it at once. */
void enqueue(struct squeue *q, struct item *it, store_done_fn *done, store_rows_fn *rows_done, void *arg);

#endif
