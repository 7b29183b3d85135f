/* Power: could this host be switched off, and is one that is off wanted? A recommendation, with reasons; nothing is done by itself.
 *
 * Off: the operator has said up to which load the others may go (decide.power-off-below); this host is the one with the least memory given, by name
 * where two have as little, so one at a time says so; it has been calm for an hour; all that runs here would leave it (leave.h: by rules, admission and
 * policy); and CPU and memory of those that are left stay below that load. On: a domain here is in need, no host that is up has room for it, and a
 * host of the group is down or in maintenance. Pure. */
#ifndef POLICYD_DECIDE_POWER_H
#define POLICYD_DECIDE_POWER_H

#include "policyd/decide/plan.h"

#define POWER_TEXT 480

enum power { POWER_KEEP, POWER_OFF, POWER_ON };

/* @s: of a host that is not in maintenance. @p: decide's of @s. @out: the recommendation, or with POWER_KEEP why there is none ("" where decide.power-off-below is never). -ENOMEM. */
int power_advice(const struct snapshot *s, const struct plan *p, enum power *what, char out[POWER_TEXT]);

#endif
