/* Power: could this host be switched off, and is one that is off wanted? With reasons. Whether it is done or only recommended is the caller's affair
 * (act/host_power.c).
 *
 * Off: the operator has said up to which load the others may go (decide.power-off-below); this host is the one with the least memory given, by name
 * where two have as little, so one at a time says so, and none is being emptied for it; it has been calm for decide.power-rest; all that runs here would
 * leave it (leave.h: by rules, admission and policy); and CPU and memory of those that are left stay below that load. On: a domain here is in need, no
 * host that is up has room for it, and a host of the group is down or in maintenance; one that policy has switched off comes first. Pure. */
#ifndef POLICYD_DECIDE_POWER_H
#define POLICYD_DECIDE_POWER_H

#include "policyd/decide/plan.h"

#define POWER_TEXT 480

enum power { POWER_KEEP, POWER_OFF, POWER_ON };

struct power_advice {
	enum power what;
	char host[NAME_MAX_LEN];  /* POWER_ON: the one that is wanted */
	bool asleep, up;          /* .. it was policy that switched it off, so policy may wake it; it is not off yet */
	char stays[NAME_MAX_LEN]; /* POWER_OFF: a domain that does not run and would be out of reach; "" = none */
	char text
		[POWER_TEXT]; /* the recommendation, or with POWER_KEEP why there is none ("" where power-off-below is never) */
};

/* @s: of a host that is not in maintenance. @p: decide's of @s. -ENOMEM. */
int power_advise(const struct snapshot *s, const struct plan *p, struct power_advice *out);

#endif
