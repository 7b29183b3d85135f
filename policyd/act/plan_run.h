/* Plans under way: a plan's actions are started as jobs, each when the one it waits for (after) has succeeded. Loop thread; owned by brain.c. */
#ifndef POLICYD_ACT_PLAN_RUN_H
#define POLICYD_ACT_PLAN_RUN_H

#include "policyd/decide/plan.h"
#include "policyd/policyd.h"

struct plan_runs;

struct plan_runs *plan_runs_new(struct policyd *p);
void plan_runs_free(struct plan_runs *r); /* jobs go on, nobody listens */
/* Begin. The actions are copied. @decision: the store's id, for the log. */
void plan_runs_add(struct plan_runs *r, const struct plan *plan, int64_t decision);
/* Is an action on @domain, or for it, still to be done? Such a domain counts as busy in a snapshot. */
bool plan_runs_touch(const struct plan_runs *r, const char *domain);

#endif
