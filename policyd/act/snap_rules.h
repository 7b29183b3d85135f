/* The rules of company and place in a snapshot: whom each speaks of, on all hosts that we hear of. Part of brain_snapshot. Loop thread. */
#ifndef POLICYD_ACT_SNAP_RULES_H
#define POLICYD_ACT_SNAP_RULES_H

#include "policyd/decide/snapshot.h"
#include "policyd/policyd.h"

/* Sets @out's rules and each peer's excluded. -ENOMEM. */
int snap_rules_fill(struct policyd *p, struct snapshot *out);
/* Would a hard rule of this host's configuration be broken if @spec, which runs on @from, came here? By what is here or on its way here now, reserved
 * room included, so two hosts that decide at once cannot break it. @why: the phrase; false: no. No memory counts as yes. */
bool snap_rules_forbid(struct policyd *p, const struct domain_spec *spec, const char *from, char why[192]);

#endif
