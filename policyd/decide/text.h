/* Plans as operators read them: policyctl plan and explain, the status page, the log. Pure; any thread. */
#ifndef POLICYD_DECIDE_TEXT_H
#define POLICYD_DECIDE_TEXT_H

#include "policyd/decide/plan.h"

/* The whole plan, or only what is about @domain where that is not NULL: needs with every candidate, its gain, price and verdict; the
 * actions in order; why the others stay. Lines end with \n; never empty. malloc'd; NULL = no memory. @time: "14:02:10" or "" in
 * front of the first line. */
char *plan_text(const struct plan *p, const char *domain, const char *time);
/* One action: "batch1 2 -> 1 vcpus" needs what it has now: @now may be NULL ("batch1 -> 1 vcpus"). */
void action_text(const struct action *a, const struct snap_domain *now, char *out, size_t size);
const char *verdict_text(enum verdict v); /* "<- chosen", "too dear", ... */

#endif
