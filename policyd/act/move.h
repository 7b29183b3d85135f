/* What the files of the move jobs share: move.c (entry), move_check.c, move_live.c, move_cold.c, resolve.c at the source; incoming.c at the target;
 * reconcile.c after a restart. Loop thread. */
#ifndef POLICYD_ACT_MOVE_H
#define POLICYD_ACT_MOVE_H

#include "policyd/act/admit.h"
#include "policyd/act/job.h"
#include "policyd/act/migrate_job.h"
#include "policyd/act/offload.h"
#include "policyd/act/worker.h"
#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/decide/past.h"
#include "policyd/decide/predict.h"

/* ---- move.c ---- */
struct predict_out;
/* What the move of @d would cost by this method, of which @spent_s (without a trim) have gone by. */
void move_predict(struct dom *d, const struct move_request *rq, bool cold, double spent_s, struct predict_out *out);
/* The request as a target wants it (precheck, prepare, adopt). @volumes: what the checks found behind its disks, in their order; NULL = not known.
 * Free with admit_request_fini. */
void move_admit_request(struct dom *d, const struct move_request *rq, bool live, const struct volume_id *volumes,
	struct admit_request *out);
/* The parts of a worker's first line that are the same on both sides. New reference. */
json_t *move_worker_line(struct dom *d, const char *role, const char *peer, uint64_t epoch);
/* Is all RAM compared while the guest stands? Where the operator wants it, and where the tracker is not sure enough without. */
bool move_verify_full(const struct conf *c);
/* Could it be finished by post-copy, as far as this host goes? Not with a full comparison, nor with huge pages. */
bool move_can_postcopy(const struct dom *d);
/* How long reading all of @d's RAM may take while it stands; 0 without @verify_full. */
unsigned move_digest_ms(const struct dom *d, bool verify_full);
/* @epoch (dom_next_epoch) is @d's, durable when @done runs. */
void move_take_epoch(struct dom *d, uint64_t epoch, store_done_fn *done, void *arg);
/* {"uuid", "epoch"} and who we are, for abort, handoff-query, cold-query. */
json_t *move_query_args(const struct dom *d, uint64_t epoch);
/* Tell the target to forget it; whatever it answers (if it cannot be reached, its own worker and timer see to it). */
void move_send_abort(struct dom *d, const char *host, uint64_t epoch);

/* ---- move_check.c: all reasons against a move, from the source's worker and from the target ---- */
struct move_checks;
/* Once, on the loop, never inside move_checks_start. What could not be asked is a failure too ("host": cannot be reached). @volumes: for
 * move_admit_request, borrowed. */
typedef void move_checks_fn(void *arg, const struct admit_failures *f, const struct volume_id *volumes);
/* NULL: no memory. */
struct move_checks *move_checks_start(
	struct dom *d, const struct move_request *rq, bool live, move_checks_fn *done, void *arg);
/* @done will not be called. NULL does nothing. */
void move_checks_cancel(struct move_checks *c);

/* The domain is @j's target's now: its definition is kept here where the move said so. @name_there: "" = the same. Before the job ends. */
void move_keep(struct job *j, bool keep, const char *name_there);
/* The cluster rule, which is the source's to check as it knows all reports: may node @d go now? @leaving: uuids that are known to leave beside
 * what is reported, or NULL. Appends to @f. */
void move_check_cluster(struct dom *d, const json_t *leaving, struct admit_failures *f);

/* In each kind's fini: history keeps what kind of failure it was ("failed" beside the figures), so that policy waits before it tries again
 * (decide/calm.c). */
void move_note_try(struct job *j, const struct err *e);

/* ---- move_live.c, move_cold.c ---- */
int live_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e);
int cold_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e);
/* Does its guest run here with some of its memory still at the source? It may be ended like any guest, nothing else. incoming.c */
bool incoming_in_postcopy(const struct job *j);
/* @j is a live move from here (else -EBUSY). */
int live_set_limits(struct job *j, const struct move_limits *change, struct err *e);
int live_set_quiet(struct job *j, unsigned ms, struct err *e); /* live_quiet.c */
/* After a restart: a job that only settles what the journal says. @target: the other host. */
/* @detail: the operation's, NULL = it is not known. */
int live_settle(struct dom *d, const char *target, uint64_t epoch, const json_t *detail, struct err *e);
/* @op: store_op_unfinished's row */
int cold_settle(struct dom *d, const json_t *op, struct err *e);

/* ---- resolve.c: a source's hand-off whose worker is gone ---- */
struct resolve;
enum resolved { RESOLVED_STAYED, RESOLVED_MOVED };
struct resolve_ops {
	/* It cannot go on now, and why; it keeps trying. @doubt: the guest must stay stopped until the target answers. */
	void (*on_wait)(void *arg, bool doubt, const char *why);
	/* Durable: STAYED - ABORT is recorded and the guest runs (or its QEMU is gone); MOVED - GONE is recorded, QEMU must end. Once. */
	void (*on_done)(void *arg, enum resolved what);
};
struct resolve *resolve_start(
	struct dom *d, const char *target, uint64_t epoch, bool was_paused, const struct resolve_ops *ops, void *arg);
void resolve_free(struct resolve *r); /* NULL does nothing; the journal's work that is under way ends unheard */

/* ---- asked.c (handlers), incoming.c, incoming_cold.c: the target ---- */
extern const struct peer_handler move_handlers[];
/* After a restart: QEMU of @d was launched incoming (or @d is made from @op). Settles it by the journal. */
int incoming_settle(struct dom *d, const char *source, uint64_t epoch, const json_t *detail, struct err *e);
/* @op: store_op_unfinished's row of an adopt */
int incoming_cold_settle(struct policyd *p, const json_t *op, struct err *e);

#endif
