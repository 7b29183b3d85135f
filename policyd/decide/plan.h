/* What was decided and why: the result of decide(), stored, shown by plan and explain, and carried out by act.
 * Plain data with JSON both ways; see docs/objects.md. */
#ifndef POLICYD_DECIDE_PLAN_H
#define POLICYD_DECIDE_PLAN_H

#include "policyd/decide/snapshot.h"

enum action_kind { ACT_SET_VCPUS, ACT_SET_MEMORY, ACT_TRIM_MOVE, ACT_LIVE_MOVE, ACT_COLD_MOVE, ACT_WARM_MOVE };

struct action {
	enum action_kind kind;
	char domain[NAME_MAX_LEN];
	char for_domain[NAME_MAX_LEN]; /* whose need it serves; may be the same */
	unsigned vcpus;                /* SET_VCPUS: new count .. */
	unsigned cpu_cap;              /* .. of which it may use so much, percent of one CPU; 0 = all */
	uint64_t mem_bytes;            /* SET_MEMORY and TRIM_MOVE: new size; WARM_MOVE: the same, 0 = not trimmed */
	char target[NAME_MAX_LEN];     /* moves: host */
	char policy[CONF_NAME];        /* which policy asked */
	char why[256];                 /* one sentence with figures */
	bool dry;                      /* of a policy that is a dry run: it is said, and not done */
	int after; /* index of the action that must succeed first, -1 = none (free first, then give) */
	double pred_total_s, pred_blackout_ms, pred_bytes; /* moves */
	unsigned quiet_ms; /* live moves: may wait so long for a quiet moment before it begins; not in pred_total_s */
	bool postcopy;     /* live moves: would not converge, and policy lets post-copy finish them */
};

/* SET_VCPUS: what it is entitled to afterwards, percent of one CPU. */
static inline unsigned action_cpu(const struct action *a)
{
	return a->cpu_cap ? a->cpu_cap : a->vcpus * 100;
}

struct candidate {               /* one way to meet a need, chosen or not */
	char need[NAME_MAX_LEN]; /* domain in need */
	char text[192];          /* "move batch2: trim to 96M, then live to beta: 1.2 s, 38 ms, 40M; frees 2 vcpus" */
	double gain, price;      /* lost service-seconds avoided / caused, importance-weighted */
	enum verdict {
		CAND_CHOSEN,
		CAND_TOO_DEAR,
		CAND_NOT_ALLOWED,
		CAND_NO_ROOM,
		CAND_NOT_ENOUGH,
		CAND_LATER
	} verdict;
	char why[192]; /* why it lost, or won */
};

struct plan {
	struct action *actions;
	unsigned n_actions;
	struct candidate *candidates;
	unsigned n_candidates;
	struct note {
		char domain[NAME_MAX_LEN];
		char text[256];
	} * notes; /* why nothing, per domain that was looked at */
	unsigned n_notes;
};

/* The decision. A domain has at most one action in a plan; an action's `after` is always an earlier index. Whether the actions are
 * carried out, asked about or only shown (decide.automation) is the caller's affair. Pure: no clock, no I/O, no globals; the same snapshot gives the same plan, whatever the order of its domains
 * and peers. -ENOMEM only. Free @out with plan_fini. */
int decide(const struct snapshot *s, struct plan *out);
void plan_fini(struct plan *p);
const char *action_kind_name(enum action_kind k);
json_t *plan_to_json(const struct plan *p); /* new reference, NULL = no memory */
int plan_from_json(const json_t *j, struct plan *out, struct err *e);

#endif
