/* Moving a domain to another host: what the control socket and the plan ask for (the jobs are in migrate_job.c and cold_job.c). Loop thread. */
#ifndef POLICYD_ACT_MIGRATE_JOB_H
#define POLICYD_ACT_MIGRATE_JOB_H

#include "policyd/act/job.h"
#include "policyd/act/move_limits.h"

enum move_method {
	MOVE_AUTO,
	MOVE_LIVE,
	MOVE_COLD,
	MOVE_WARM /* as live, but its guest is suspended before the first byte is copied */
};                /* auto: what the domain's policy says (relocate), cold where it does not run */

struct move_request {
	char host[CONF_NAME];
	char name[NAME_MAX_LEN]; /* at the target; "" = the same */
	enum move_method method;
	uint64_t trim_bytes; /* shrink to this many bytes first; 0 = do not */
	bool keep;           /* its definition stays here (kept.h) */
	bool leave_paused;   /* live, warm: it stays suspended at the target until it is resumed there */
	bool postcopy;       /* live: where it does not converge it runs there before all of its memory is there */
	bool may_postcopy; /* the same, decided when it has been measured: only one that is predicted not to converge */
	unsigned quiet_ms; /* live: wait so long for a quiet moment (decide/moment.h); 0 = begin at once */
	struct move_limits limits; /* of a live move; what is not set is the configuration's */
	struct origin origin;
	char reason[256];
	double pred_total_s, pred_blackout_ms, pred_bytes; /* of the plan; < 0 = predict now */
};
/* Starts the job (JOB_MIGRATE or JOB_COLD_MOVE). What can be seen at once (no such peer, itself, held, not running) is refused at once; the rest
 * ends the job. */
int move_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e);

/* Change the limits of the move that is under way; in force at once. -ENOENT: none is; -EBUSY: it is too late, or not a live move, or another host's
 * to change; the sentence says which. */
int move_set_limits(struct dom *d, const struct move_limits *change, struct err *e);
/* The move that waits for a quiet moment waits so long from now at most; 0: it begins. -ENOENT, -EBUSY as above, or it does not wait (any more). */
int move_set_quiet(struct dom *d, unsigned ms, struct err *e);

/* Dry run: every check here and at the target. @done once, with {ok, failures: [{what, why}], method, predicted: {total_s, blackout_ms, bytes},
 * "text"} (borrowed), or NULL and @e when it could not be asked. Nothing is changed, no job is made. */
typedef void move_check_fn(void *arg, json_t *result, const struct err *e);
int move_check(struct dom *d, const struct move_request *rq, move_check_fn *done, void *arg, struct err *e);

#endif
