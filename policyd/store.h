/* What survives: one SQLite file, <state>/policyd.db, behind one thread and one queue (the only place that knows SQLite).
 *
 * Calls copy what they are given, put it on the queue and return; the thread takes all that is queued, writes it in one transaction
 * (synchronous=FULL, WAL), and the callbacks run on the loop thread after the commit, in order. So "durable before we answer" is: answer
 * in the callback. When a write fails (disk full) the callback gets the sentence; nothing else breaks.
 * Reading is queued too, behind the writes that came before it. Loop thread for all functions. */
#ifndef POLICYD_STORE_H
#define POLICYD_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/spec.h"

struct event_base;
struct store;

typedef void store_done_fn(void *arg, const struct err *e); /* code 0 = on disk */
/* @rows: a borrowed JSON array, NULL on failure */
typedef void store_rows_fn(void *arg, json_t *rows, const struct err *e);

struct store_conf {
	const char *path;
	unsigned keep_decisions; /* retention: newest N; 0 = 1000 */
	unsigned keep_history;   /* 0 = 20000 */
};
/* Opens or creates; brings an older file's shape up to date; checks it (a damaged file: -EIO with what to do). Blocks: start-up only. */
int store_open(struct event_base *base, const struct store_conf *conf, struct store **out, struct err *e);
/* Writes all that is queued, joins the thread; callbacks that are due still run, inside. NULL does nothing. */
void store_close(struct store *s);
/* Waits until all that is queued is on disk and runs the callbacks. Blocks: for stopping only. */
void store_flush(struct store *s);

/* ---- domains ---- */
struct store_domain {
	struct domain_spec spec;
	unsigned vcpus; /* entitlement */
	uint64_t mem_bytes;
	bool bound;   /* an operator bound it */
	bool running; /* as last saved; running and QEMU gone at start-up = it ended while we were away */
	bool hold;
	char hold_reason[128], hold_by[96];
	int64_t hold_until_ms;
	uint64_t epoch;
	int64_t started_ms, last_resize_ms, last_move_ms;
	const json_t *marks; /* each only: borrowed, NULL = none */
};
void store_domain_put(struct store *s, const struct store_domain *d, store_done_fn *done, void *arg);
void store_domain_del(struct store *s, const char *uuid, store_done_fn *done, void *arg);
/* All of them. Blocks: start-up only, before anything is queued. */
int store_domain_each(struct store *s, void (*each)(void *arg, const struct store_domain *d), void *arg, struct err *e);

/* What else an operator said of a domain (dom_mark.h), NULL: nothing. Goes with the put that follows, whose callback says how it went; deleted with
 * the domain. @marks is borrowed. */
void store_marks_put(struct store *s, const char *uuid, const json_t *marks);

/* ---- policies that were given by command: their text ---- */
/* @text NULL: forget it. */
void store_policy_put(struct store *s, const char *name, const char *text, store_done_fn *done, void *arg);
/* All of them, by name. Blocks: start-up only, before anything is queued. */
int store_policy_each(
	struct store *s, void (*each)(void *arg, const char *name, const char *text), void *arg, struct err *e);

/* ---- definitions of domains that moved away (kept.h): one JSON object each ---- */
/* @row NULL: forget it. Borrowed. @done may be NULL. */
void store_kept_put(struct store *s, const char *uuid, const json_t *row, store_done_fn *done, void *arg);
/* All of them. Blocks: start-up only, before anything is queued. */
int store_kept_each(struct store *s, void (*each)(void *arg, const json_t *row), void *arg, struct err *e);

/* ---- what else this host keeps by name, as text (act/maintain.c) ---- */
/* @text NULL: forget it. */
void store_setting_put(struct store *s, const char *name, const char *text, store_done_fn *done, void *arg);
/* *@text_out is malloc'd, NULL where there is none. Blocks: start-up only, before anything is queued. */
int store_setting_get(struct store *s, const char *name, char **text_out, struct err *e);

/* ---- operations: begun, and ended or found unfinished after a restart ---- */
/* Ids grow and are given at once. @detail (borrowed, may be NULL) is what a restart needs to settle it: host, sizes, epoch. @done may be NULL. */
int64_t store_op_begin(struct store *s, const char *uuid, const char *domain, const char *kind, const char *who,
	const json_t *detail, store_done_fn *done, void *arg);
/* What a restart needs has changed; @done when it is durable, may be NULL. */
void store_op_detail(struct store *s, int64_t id, const json_t *detail, store_done_fn *done, void *arg);
/* The first end counts. */
void store_op_end(struct store *s, int64_t id, bool ok, const char *text);
/* Those without an end: {id, t, uuid, domain, kind, who, detail}. Blocks: start-up only. New reference or NULL. */
json_t *store_op_unfinished(struct store *s, struct err *e);

/* ---- history: what was done, by whom, why; predicted beside actual ---- */
struct store_event {
	const char *domain, *kind, *who, *text; /* borrowed; domain "" = the host */
	bool ok;
	const char *error;                /* NULL */
	const char *peer;                 /* the other host of a move; NULL */
	const json_t *predicted, *actual; /* NULL */
};
void store_history_add(struct store *s, const struct store_event *ev);
/* Newest first, each as in docs/control.md. @domain NULL = all. */
void store_history_get(struct store *s, const char *domain, unsigned limit, store_rows_fn *done, void *arg);
/* Predictions and outcomes of the last @limit moves: as history with peer, predicted and actual. */
void store_moves_get(struct store *s, unsigned limit, store_rows_fn *done, void *arg);

/* Moves of either direction since @since_ms, oldest first, as history without texts: {t, domain, kind, who, ok, peer, actual}. Blocks: start-up
 * only. New reference or NULL. */
json_t *store_moves_since(struct store *s, int64_t since_ms, struct err *e);

/* ---- decisions ---- */
/* @snapshot and @plan are stolen. @domains: names that it is about. */
int64_t store_decision_add(
	struct store *s, int64_t t_ms, const char *const *domains, unsigned n_domains, json_t *snapshot, json_t *plan);
/* The newest about @domain (NULL = any) that weighed something, else the newest; or the one with @id; or, @at_ms not 0, the one that was the newest
 * then: rows [{id, t, snapshot, plan}] or []. */
void store_decision_get(struct store *s, const char *domain, int64_t id, int64_t at_ms, store_rows_fn *done, void *arg);

/* What a decision was to bring to @domain, and brought (decide/benefit.h); put again as it becomes known. @benefit is borrowed. Kept as long as its
 * decision. */
void store_benefit_put(struct store *s, int64_t decision, const char *domain, const json_t *benefit);
/* Of one decision: [{decision, domain, benefit}]. */
void store_benefit_get(struct store *s, int64_t decision, store_rows_fn *done, void *arg);
/* The newest @limit, oldest first. Blocks: start-up only. New reference or NULL. */
json_t *store_benefits_newest(struct store *s, unsigned limit, struct err *e);

/* ---- what links gave: kept in memory too, so that a snapshot can be made at once ---- */
void store_link_add(struct store *s, const char *peer, uint64_t bps, bool ok);
/* Median of the last 5 good ones (0 = none) and the failures among the last 5 tries in the last hour. */
void store_link_get(struct store *s, const char *peer, uint64_t *bps_out, unsigned *failures_out);
/* Moves that began here within the last hour (from operations; in memory). */
unsigned store_moves_last_hour(struct store *s, int64_t now_ms);

/* ---- cold moves: what this host said about an epoch, once and for ever ---- */
enum store_cold { STORE_COLD_NONE, STORE_COLD_ADOPTED, STORE_COLD_REFUSED };
/* Set if nothing is recorded yet; @done gets what is recorded now, durable. On failure @e->code != 0. */
void store_cold_set(struct store *s, const char *uuid, uint64_t epoch, enum store_cold what,
	void (*done)(void *arg, enum store_cold recorded, const struct err *e), void *arg);

#endif
