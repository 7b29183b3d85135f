/* Hooks of guest clusters: programs of the operator that take a node out of its cluster before a cold move and put it back after. What they
 * get and what their exit codes mean: docs/hooks.md. Run without blocking, with a time limit; output is kept for the history. Loop thread. */
#ifndef POLICYD_ACT_HOOKS_H
#define POLICYD_ACT_HOOKS_H

#include "domain/err.h"
#include "policyd/policyd.h"

#define HOOK_OUTPUT_MAX 4096
#define HOOK_RETRY 75 /* exit code: not now, ask again later (EX_TEMPFAIL) */

struct hook;

struct hook_conf {
	struct policyd *p;
	const char *path;                                      /* absolute; run without a shell, no arguments */
	const char *name;                                      /* "drain", "check", "rejoin": BALLAST_HOOK */
	const char *domain, *uuid, *cluster, *source, *target; /* BALLAST_... */
	unsigned timeout_ms;
};

/* Once. 0; ECONNREFUSED the hook said no (its exit code and last line are in the message); EAGAIN it said "not now" (75); ETIMEDOUT (it and its
 * children were killed); EIO killed or not startable. @output: what it wrote on stdout and stderr, at most HOOK_OUTPUT_MAX bytes; borrowed. */
typedef void hook_done_fn(void *arg, const char *output, const struct err *e);
int hook_run(const struct hook_conf *conf, hook_done_fn *done, void *arg, struct hook **out, struct err *e);
/* Kill it and its children; @done is not called. NULL does nothing. */
void hook_cancel(struct hook *h);

#endif
