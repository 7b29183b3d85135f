/* What decide works on: the snapshot in a fixed order, what is still free, and the plan as it grows. decide/ only.
 *
 * decide.c -> leave.c (maintenance) -> decide.c (needs, in place, release) -> moves.c (when the host cannot) -> notes.c (why nothing). One call, one thread. */
#ifndef POLICYD_DECIDE_VIEW_H
#define POLICYD_DECIDE_VIEW_H

#include "policyd/decide/calm.h"
#include "policyd/decide/plan.h"
#include "policyd/decide/rules.h"

struct vdom {
	const struct snap_domain *d;
	bool acts;   /* has its action in this plan */
	bool ruled;  /* some rule of company speaks of it */
	bool dwells; /* blocked for a short time only */
	bool rests;  /* blocked by nothing but its dwell time, which an emergency does not wait for */
	char blocked
		[CALM_WHY]; /* why policy leaves it alone, as a phrase: "is held (load test)"; "" = free to act on */
	struct need cpu, mem;
};

struct vpeer {
	const struct snap_peer *p;
	unsigned vcpus_free; /* what is on its way there from here is taken off: its report may not have it yet */
	uint64_t mem_free;
	unsigned moves; /* under way there, those from here included, also where its report does not have them yet */
};

struct open_need;
struct view {
	const struct snapshot *s;
	struct vdom *doms;   /* by name */
	struct vpeer *peers; /* by name */
	unsigned n_doms, n_peers;
	struct open_need *needs; /* most important first */
	unsigned n_needs;
	unsigned free_cpu; /* percent of one CPU */
	uint64_t free_mem;
	bool dense; /* leaving: what does not fit side by side is trimmed as far as it may be */
	struct plan *plan;
	bool no_memory;
};

enum need_kind { NEED_MEM, NEED_CPU };

struct open_need { /* one need while it is being met */
	struct vdom *v;
	enum need_kind kind;
	uint64_t have, want, got; /* vCPUs (whole ones that it is entitled to) or bytes */
	unsigned part;            /* got beyond that, percent of one CPU, less than a whole one */
	bool put_off;             /* its domain does another thing in this plan: it comes with the next decision */
};

#define EXPECT_S 300.0      /* how long a need that was sustained is expected to last at least */
#define EXPECT_MAX_S 3600.0 /* and at most: as long again as it has lasted */

static inline uint64_t need_left(const struct open_need *n)
{
	return n->put_off ? 0 : n->want - n->have - n->got;
}
/* Service-seconds, weighted, if so much more were given. */
double need_gain(const struct view *v, const struct open_need *n, uint64_t met);
double need_expect_s(const struct view *v, const struct open_need *n);
void amount_text(enum need_kind kind, uint64_t amount, char out[32]); /* "2 vcpus", "64M" */
double importance_weight(const struct snap_domain *d);

/* Everything but the plan is freed by view_fini. -ENOMEM. */
int view_init(struct view *v, const struct snapshot *s, struct plan *plan);
void view_fini(struct view *v);
/* Append; NULL when out of memory (v->no_memory is set then). Index of an action: plan->n_actions - 1. */
struct action *view_action(struct view *v, struct vdom *dom, enum action_kind kind, const char *for_domain);
struct candidate *view_candidate(struct view *v, const struct vdom *need);
void view_note(struct view *v, const struct vdom *dom, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* moves.c: price every move that would help @n, list them, take the best if it is worth it. True: an action was added. */
bool moves_try(struct view *v, struct open_need *n);
/* leave.c: what is to leave this host, begun as far as limits allow. */
void leave_add(struct view *v);
/* notes.c: for each domain without an action, why. */
void notes_add(struct view *v);

#endif
