/* Private to brain.c (when to decide, and what becomes of a plan), brain_watch.c (what is measured) and brain_snap.c (what a decision is made of). Loop
 * thread. */
#ifndef POLICYD_ACT_BRAIN_INT_H
#define POLICYD_ACT_BRAIN_INT_H

#include "policyd/act/brain.h"
#include "policyd/decide/plan.h"

struct brain {
	struct policyd *p;
	struct event *ev_sample, *ev_decide;
	struct watch_host *host;
	struct plan_runs *runs;
	struct benefit_watch *benefits;
	struct past *past; /* the moves of the last day */
	struct plan
		pending; /* what waits for approval, and as which decision it is stored; empty where it is only recommended */
	int64_t pending_id, pending_ms;
	uint64_t pending_does;
	struct plan last; /* newest plan, for NEED */
	uint64_t said;    /* what the last stored decision said, figures left out */
	int64_t stored_ms;
};

/* What @d uses and is entitled to now, and the policy in force for it. */
void brain_measured(struct dom *d, struct snap_domain *out);

#endif
