/* Leaving a host: what a host in maintenance does with its domains, and what a host does with one that another asks for after its own.
 *
 * An operator's word, so no gain is asked for and no cool-down or budget holds it up; what a domain may not do (pinned, held, its policy, rules of
 * company, calendar, a cluster's minimum, max-blackout) holds as ever. decide() begins as many at once as max-moves allows here and there; each
 * next decision goes on, so the stream is made of decisions, each with its reasons. Pure. */
#ifndef POLICYD_DECIDE_LEAVE_H
#define POLICYD_DECIDE_LEAVE_H

#include "policyd/decide/plan.h"

#define LEAVE_POLICY "maintenance" /* "policy" of the actions: not automation's to hold up */

enum leave_what { LEAVE_BLOCKED, LEAVE_UNDER_WAY, LEAVE_NOW, LEAVE_LATER };
struct leaving { /* one domain that runs here, and how it would leave */
	char domain[NAME_MAX_LEN], target[NAME_MAX_LEN];
	enum leave_what what;
	char how[160];            /* LEAVE_NOW, LEAVE_LATER: "live to beta: 1.2 s, 38 ms, 40M" */
	double total_s, outage_s; /* predicted; outage 0 where its cluster serves on */
	char why[192];            /* LEAVE_BLOCKED: why; LEAVE_LATER: what it waits for */
};

/* All that run here, as if the host were to be emptied: blocked ones first, then in the order in which they go (largest first; those to which a host
 * with room for them is to be found first). *@out is malloc'd. -ENOMEM. */
int leave_list(const struct snapshot *s, struct leaving **out, unsigned *n_out);

#endif
