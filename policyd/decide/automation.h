/* How far an action goes by itself: decide.automation, or what the policy of the domain says. Pure functions of snapshot and plan. */
#ifndef POLICYD_DECIDE_AUTOMATION_H
#define POLICYD_DECIDE_AUTOMATION_H

#include "policyd/decide/plan.h"

/* The strictest level among all actions of the plan that serve the same need: half of what meets it is not done alone. */
enum automation automation_level(const struct snapshot *s, const struct plan *p, unsigned i);
/* Say it with each action that does not go by itself because a policy says so. */
void automation_mark(const struct snapshot *s, struct plan *p);
/* The actions of @p of those levels (bits 1 << AUTO_..), in order, as a plan of their own (plan_fini). -ENOMEM. */
int automation_part(const struct snapshot *s, const struct plan *p, unsigned levels, struct plan *out);

#endif
