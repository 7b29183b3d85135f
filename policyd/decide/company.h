/* Rules of company and place (apart, together, on, off) and of time (calendars): what stands against a move, or what it costs. decide/ only.
 * Pure. */
#ifndef POLICYD_DECIDE_COMPANY_H
#define POLICYD_DECIDE_COMPANY_H

#include "policyd/decide/calm.h"
#include "policyd/decide/snapshot.h"

/* Is there any rule about it? */
bool company_speaks_of(const struct snapshot *s, const char *domain);
/* A hard rule against @d on @host: true and why. Apart holds at every instant: one that is on its way counts at both ends. */
bool company_forbids(const struct snapshot *s, const struct snap_domain *d, const char *host, char why[CALM_WHY]);
/* Soft rules (and hard ones of together) that @d on @host would break, less those it breaks here now. */
int company_broken(const struct snapshot *s, const struct snap_domain *d, const char *host);
/* Its calendar is against a move of about @seconds that begins now: true and why. */
bool calendar_forbids(const struct snapshot *s, const struct snap_domain *d, double seconds, char why[CALM_WHY]);

#endif
