/* The SQLite side of the store: open, shape, and running one statement. Used by store.c at start-up on the loop thread, by store_queue.c later on
 * the store's thread; never on both at a time. */
#ifndef POLICYD_STORE_DB_H
#define POLICYD_STORE_DB_H

#include <jansson.h>
#include <stdint.h>

#include "domain/err.h"

struct sqlite3;

enum db_type { DB_NULL, DB_INT, DB_TEXT };
struct db_val {
	enum db_type type;
	int64_t i;
	char *text; /* owned by whoever owns the array */
};

#define DB_VALS_MAX 16

/* Opens or creates, checks, migrates the shape. The sentence of a damaged file says what to do. */
int db_open(const char *path, struct sqlite3 **out, struct err *e);
void db_close(struct sqlite3 *db);

int db_begin(struct sqlite3 *db, struct err *e);
int db_commit(struct sqlite3 *db, struct err *e); /* on failure it is rolled back */

/* Run one statement with ?1.. bound from @v. @rows NULL: what it returns is thrown away; else *@rows gets a new array with one object a
 * row, members named by the columns; columns whose name ends in _json are parsed (a text that is no JSON becomes null), those in _bool
 * become true or false, and the ending is cut. */
int db_run(struct sqlite3 *db, const char *sql, const struct db_val *v, unsigned n, json_t **rows, struct err *e);

#endif
