/* SQLite: see store_db.h. The one file that knows it. */
#include "policyd/store_db.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#define SHAPE_VERSION 1

static const char *const shape =
	"CREATE TABLE domains(uuid TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, vcpus INTEGER, mem_bytes INTEGER,"
	" bound INTEGER, running INTEGER, hold INTEGER, hold_reason TEXT, hold_by TEXT, hold_until_ms INTEGER, epoch INTEGER,"
	" started_ms INTEGER, last_resize_ms INTEGER, last_move_ms INTEGER);"
	"CREATE TABLE ops(id INTEGER PRIMARY KEY, t INTEGER, uuid TEXT, domain TEXT, kind TEXT, who TEXT, detail TEXT, end_t INTEGER,"
	" ok INTEGER, text TEXT);"
	"CREATE INDEX ops_open ON ops(id) WHERE end_t IS NULL;"
	"CREATE TABLE history(id INTEGER PRIMARY KEY, t INTEGER, domain TEXT, kind TEXT, who TEXT, text TEXT, ok INTEGER, error TEXT,"
	" peer TEXT, predicted TEXT, actual TEXT);"
	"CREATE INDEX history_domain ON history(domain, id);"
	"CREATE TABLE decisions(id INTEGER PRIMARY KEY, t INTEGER, snapshot TEXT, plan TEXT);"
	"CREATE TABLE decision_domains(domain TEXT, decision INTEGER, PRIMARY KEY(domain, decision)) WITHOUT ROWID;"
	"CREATE INDEX decision_domains_id ON decision_domains(decision);"
	"CREATE TABLE links(id INTEGER PRIMARY KEY, t INTEGER, peer TEXT, bps INTEGER, ok INTEGER);"
	"CREATE INDEX links_peer ON links(peer, id);"
	"CREATE TABLE cold(uuid TEXT, epoch INTEGER, what INTEGER, t INTEGER, PRIMARY KEY(uuid, epoch)) WITHOUT ROWID;";

/* Tables that came later and that an older policyd does not miss: made where they are not there, the shape's number stays. */
static const char *const added =
	"CREATE TABLE IF NOT EXISTS policies(name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS kept(uuid TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS benefits(decision INTEGER, domain TEXT, benefit TEXT, PRIMARY KEY(decision, domain)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;";

static int fault(sqlite3 *db, struct err *e, const char *what)
{
	int code = db ? sqlite3_errcode(db) & 0xff : SQLITE_NOMEM, sys = db ? sqlite3_system_errno(db) : 0;
	const char *path = db ? sqlite3_db_filename(db, "main") : "";

	if (code == SQLITE_FULL || (code == SQLITE_IOERR && sys == ENOSPC))
		return err_set(e, ENOSPC, "no room left on the file system of %s; make room there", path);
	if (code == SQLITE_READONLY || code == SQLITE_PERM || code == SQLITE_CANTOPEN)
		return err_set(e, EACCES,
			"store %s cannot be written: %s; check paths.state in policyd.cfg and its permissions", path,
			sys ? strerror(sys) : sqlite3_errmsg(db));
	if (code == SQLITE_IOERR && sys)
		return err_set(e, EIO, "store %s: %s: %s", path, what, strerror(sys));
	return err_set(e, EIO, "store %s: %s: %s", path, what, db ? sqlite3_errmsg(db) : "no memory");
}

static int user_version(sqlite3 *db, int *out, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = 0;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) || sqlite3_step(st) != SQLITE_ROW)
		rc = fault(db, e, "reading its version");
	else
		*out = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return rc;
}

static int make_shape(sqlite3 *db, const char *path, struct err *e)
{
	int version = 0, rc = user_version(db, &version, e);

	if (!rc && version == SHAPE_VERSION && sqlite3_exec(db, added, NULL, NULL, NULL))
		rc = fault(db, e, "adding its tables");
	if (rc || version == SHAPE_VERSION)
		return rc;
	if (version > SHAPE_VERSION)
		return err_set(e, EPROTO,
			"store %s was written by a newer policyd (shape %d, this one knows %d); install that one again",
			path, version, SHAPE_VERSION);
	rc = db_begin(db, e);
	if (!rc &&
		(sqlite3_exec(db, shape, NULL, NULL, NULL) || sqlite3_exec(db, added, NULL, NULL, NULL) ||
			sqlite3_exec(db, "PRAGMA user_version=1", NULL, NULL, NULL))) {
		rc = fault(db, e, "making its tables");
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	}
	return rc ? rc : db_commit(db, e);
}

/* What came later and an older policyd does not miss. */
static int add_tables(sqlite3 *db, struct err *e)
{
	return sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS marks(uuid TEXT PRIMARY KEY, marks TEXT) WITHOUT ROWID",
		       NULL, NULL, NULL)
		? fault(db, e, "adding a table")
		: 0;
}

static int quick_check(sqlite3 *db, struct err *e)
{
	sqlite3_stmt *st = NULL;
	const char *text;
	int rc = 0;

	if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL) || sqlite3_step(st) != SQLITE_ROW) {
		rc = fault(db, e, "check");
	} else {
		text = (const char *)sqlite3_column_text(st, 0);
		if (!text || strcmp(text, "ok"))
			rc = err_set(e, EBADMSG, "store: %s", text ? text : "check failed");
	}
	sqlite3_finalize(st);
	return rc;
}

int db_open(const char *path, struct sqlite3 **out, struct err *e)
{
	sqlite3 *db = NULL;
	int rc = 0;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL)) {
		rc = err_set(e, EACCES,
			"store %s cannot be opened: %s; check paths.state in policyd.cfg and its permissions", path,
			!db                                ? "no memory"
				: sqlite3_system_errno(db) ? strerror(sqlite3_system_errno(db))
							   : sqlite3_errmsg(db));
		goto out;
	}
	sqlite3_busy_timeout(db, 5000);
	if (sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL, NULL))
		rc = fault(db, e, "setting up");
	if (!rc)
		rc = quick_check(db, e);
	if (!rc)
		rc = make_shape(db, path, e);
	if (!rc)
		rc = add_tables(db, e);
	if (rc == -EBADMSG || (rc && (sqlite3_errcode(db) == SQLITE_NOTADB || sqlite3_errcode(db) == SQLITE_CORRUPT)))
		rc = err_set(e, EIO,
			"store %s is damaged; move it away and start again: running domains are found in the run folder, stopped ones "
			"must be added again",
			path);
out:
	if (rc)
		sqlite3_close(db);
	else
		*out = db;
	return rc;
}

void db_close(struct sqlite3 *db)
{
	sqlite3_close(db);
}

int db_begin(struct sqlite3 *db, struct err *e)
{
	return sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ? fault(db, e, "begin") : 0;
}

int db_commit(struct sqlite3 *db, struct err *e)
{
	int rc;

	if (!sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
		return 0;
	rc = fault(db, e, "writing");
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

static int bind_vals(sqlite3_stmt *st, const struct db_val *v, unsigned n)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; i < n && !rc; i++) {
		if (v[i].type == DB_INT)
			rc = sqlite3_bind_int64(st, (int)i + 1, v[i].i);
		else if (v[i].type == DB_TEXT && v[i].text)
			rc = sqlite3_bind_text(st, (int)i + 1, v[i].text, -1, SQLITE_STATIC);
		else
			rc = sqlite3_bind_null(st, (int)i + 1);
	}
	return rc;
}

static void row_member(json_t *row, sqlite3_stmt *st, int col)
{
	const char *name = sqlite3_column_name(st, col);
	const char *text = (const char *)sqlite3_column_text(st, col);
	size_t len = strlen(name);
	char cut[64];
	json_t *j;

	if (len > 5 && len < sizeof(cut) && !strcmp(name + len - 5, "_bool")) {
		memcpy(cut, name, len - 5);
		cut[len - 5] = 0;
		json_object_set_new(row, cut, json_boolean(sqlite3_column_int(st, col)));
	} else if (sqlite3_column_type(st, col) == SQLITE_INTEGER) {
		json_object_set_new(row, name, json_integer(sqlite3_column_int64(st, col)));
	} else if (len > 5 && len < sizeof(cut) && !strcmp(name + len - 5, "_json")) {
		memcpy(cut, name, len - 5);
		cut[len - 5] = 0;
		j = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
		json_object_set_new(row, cut, j ? j : json_null());
	} else {
		j = text ? json_string(text) : NULL;
		json_object_set_new(row, name, j ? j : json_null());
	}
}

int db_run(struct sqlite3 *db, const char *sql, const struct db_val *v, unsigned n, json_t **rows, struct err *e)
{
	sqlite3_stmt *st = NULL;
	json_t *all = rows ? json_array() : NULL, *row;
	int rc, step = SQLITE_DONE;

	rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (!rc)
		rc = bind_vals(st, v, n);
	while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
		if (!all)
			continue;
		row = json_object();
		for (int i = 0; row && i < sqlite3_column_count(st); i++)
			row_member(row, st, i);
		if (!row || json_array_append_new(all, row))
			rc = SQLITE_NOMEM;
	}
	if (rc || step != SQLITE_DONE)
		rc = fault(db, e, "statement");
	sqlite3_finalize(st);
	if (rc)
		json_decref(all);
	else if (rows)
		*rows = all;
	return rc;
}
