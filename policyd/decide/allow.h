/* What would have to be different for something to be done: the cheapest single change after which decide() serves a need that it leaves open now.
 * For policyctl explain; decides again up to some 80 times, so never called by the loop's own decisions. Pure. */
#ifndef POLICYD_DECIDE_ALLOW_H
#define POLICYD_DECIDE_ALLOW_H

#include "policyd/decide/plan.h"

#define ALLOW_TEXT 640

/* Is @domain in need in @s without all of it being met by @pl (the plan of @s)? At its limit counts, too. */
bool allow_wanted(const struct snapshot *s, const struct plan *pl, const char *domain);
/* One sentence, without a full stop: what single change would help @domain most cheaply, and what would then be done. Time by itself before an operator's
 * word, that before a limit, that before a policy, that before more room. False: no single change that is known here would (or no memory).
 * Of more than 16 other hosts the 16 with most free memory are looked at. */
bool allow_find(const struct snapshot *s, const struct plan *pl, const char *domain, char out[ALLOW_TEXT]);

#endif
