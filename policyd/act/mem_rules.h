/* Policy's rules for shrinking, in resize's terms; and the guard after a shrink: a guest that comes under pressure soon after it was
 * shrunk gets memory back at once, not when a need has been sustained. Both are kept with the QEMU (launch.json), over
 * restarts of policyd. Loop thread. */
#ifndef POLICYD_ACT_MEM_RULES_H
#define POLICYD_ACT_MEM_RULES_H

#include "policyd/dom.h"
#include "resize/balloon.h"

/* For @d now. @by_policy: keep RULE_MEM_HEADROOM of what it uses as well; an operator may go down to the reserve. */
void mem_rules(const struct dom *d, bool by_policy, struct shrink_rules *out);
/* How long after a shrink @d is watched and, when some was given back, left alone; ms. */
int64_t mem_freeze_ms(const struct dom *d);

/* A shrink of @d has ended as @r says: from now on it is guarded. Growing ends that. */
void mem_guard_begin(struct dom *d, const struct balloon_result *r);
/* Whenever statistics come, and once a second in case that they do not. Starts a job that gives memory back where that is needed, as much of
 * it as the host has. */
void mem_guard_check(struct dom *d);

#endif
