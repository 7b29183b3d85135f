/* A same-host move: the guest goes on in another QEMU on this host (of another version, mostly), and its memory stays in the files where it is. What the files
 * move_here*.c share, and their entry for move.c. Loop thread. docs/same-host.md. */
#ifndef POLICYD_ACT_MOVE_HERE_H
#define POLICYD_ACT_MOVE_HERE_H

#include "policyd/act/admit.h"
#include "policyd/act/migrate_job.h"

/* move_start and move_check, for a request whose host is this one. */
int here_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e);
int here_dry_run(struct dom *d, const struct move_request *rq, move_check_fn *done, void *arg, struct err *e);

/* ---- move_here_check.c ---- */
struct here_facts {
	char from[32], to[32]; /* versions of its QEMU and of this host's; "" = not known */
	unsigned vcpu_ids[LAUNCH_HOTPLUGGED_MAX], n_vcpu_ids;
};
struct here_checks;
/* Once, on the loop, never inside here_checks_start; both borrowed. */
typedef void here_checked_fn(void *arg, const struct admit_failures *f, const struct here_facts *facts);
struct here_checks *here_checks_start(struct dom *d, here_checked_fn *done, void *arg); /* NULL: no memory */
void here_checks_cancel(struct here_checks *c);                                         /* NULL does nothing */

#endif
