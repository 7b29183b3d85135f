/* Policy switches this host off when the others can do without it, and wakes one that it had switched off when its load is wanted (decide/power.h): by programs of
 * the operator (decide.power-off, decide.power-on; docs/hooks.md). Only with both, and decide.automation = "full"; else it is recommended only.
 *
 *     awake -> emptying (maintenance, by policy) -> going (empty; power-off is called) -> asleep (it is done; this host ends) -> awake (policyd starts again)
 *
 * Back to awake, and out of maintenance: from emptying when an operator ends the maintenance or makes it his own, when a peer wants the host, or when an hour was
 * not enough; when the program fails; when the host is still there ten minutes after it. Then it is left alone for decide.power-rest.
 * Kept in the store. Loop thread. Owned by main. */
#ifndef POLICYD_ACT_HOST_POWER_H
#define POLICYD_ACT_HOST_POWER_H

#include "policyd/decide/plan.h"
#include "policyd/policyd.h"

/* After maintain_start. Blocks. -EIO and the like; -ENOMEM. */
int host_power_start(struct policyd *p, struct err *e);
void host_power_stop(struct policyd *p);

/* Has it both programs and full automation? Else all is only recommended. */
bool host_power_acts(const struct policyd *p);
/* For our reports: policy empties this host to switch it off, or has done so. */
bool host_power_asleep(const struct policyd *p);

/* Did this peer say so, the last time that it was heard of? */
bool host_power_sleeps(const struct policyd *p, const char *peer);

/* -EBUSY: its power-off program has been called and may have said yes, so that nothing may run here; the sentence says until when. */
int host_power_check(const struct policyd *p, struct err *e);

/* ---- for brain.c ---- */
/* awake_since_ms, and which peers sleep: a peer says so as long as it is up, and is remembered when it is down. */
void host_power_fill(struct policyd *p, struct snapshot *s);
void host_power_decided(struct policyd *p, const struct snapshot *s, const struct plan *pl); /* after each decision */

#endif
