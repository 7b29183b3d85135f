/* The moves of the last day, as the snapshot's figures about calm need them: budgets, where a domain came from, failures in a row.
 *
 * A small list in memory: filled from the store's history at start-up, and by each move that ends. Owner: act/brain.c. Loop thread;
 * no I/O, no clock. Domains are told apart by name, which is unique in the group. */
#ifndef POLICYD_DECIDE_PAST_H
#define POLICYD_DECIDE_PAST_H

#include "policyd/decide/snapshot.h"

#define PAST_MS 86400000LL /* how far back it looks */

struct past_move {
	char domain[NAME_MAX_LEN], peer[NAME_MAX_LEN]; /* the other host */
	bool arrival;                                  /* it came here; else it was to leave */
	int64_t end_ms;                                /* wall clock */
	enum fail_kind fail;                           /* FAIL_NONE: it worked */
	uint64_t bytes;                                /* on the wire */
	unsigned outage_ms;                            /* service lost */
};

struct past;
struct past *past_new(void);    /* NULL = no memory */
void past_free(struct past *p); /* NULL does nothing */
/* In the order in which they ended. The oldest of very many is forgotten. */
void past_add(struct past *p, const struct past_move *m);
/* A row of the store's history (docs/control.md): false where it is not about a move, or a move that an operator began and cancelled. */
bool past_from_history(const json_t *row, struct past_move *out);
/* What -errno of a move that ended says of its reason. */
enum fail_kind past_fail_kind(int code);

/* Fill what the snapshot has of the past: for the host (bytes_last_hour, blackout_last_hour_ms), and for one domain. */
void past_fill_host(const struct past *p, struct snapshot *out);
void past_fill_domain(const struct past *p, int64_t now_ms, struct snap_domain *out);

#endif
