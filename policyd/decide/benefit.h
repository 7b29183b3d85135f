/* What a decision was to bring and what it brought: the share of its service that a domain in need lost before, was predicted to lose afterwards, and lost
 * 15 and 60 minutes later. Where decisions bring less than was predicted, later moves have to be worth more (snapshot.caution). Pure; any thread. */
#ifndef POLICYD_DECIDE_BENEFIT_H
#define POLICYD_DECIDE_BENEFIT_H

#include "policyd/decide/plan.h"

#define BENEFIT_LOOKS 2
extern const unsigned benefit_look_min[BENEFIT_LOOKS]; /* minutes after it began: 15, 60 */
#define BENEFIT_MAX 128
#define BENEFIT_CAUTION_MIN 0.25

struct benefit {
	int64_t decision, t_ms; /* wall clock */
	char domain[NAME_MAX_LEN];
	double before, predicted;    /* 0..1 */
	double after[BENEFIT_LOOKS]; /* < 0: not looked at (yet, or it could not be) */
};
struct benefits { /* newest last, oldest forgotten */
	struct benefit v[BENEFIT_MAX];
	unsigned n;
};

/* The share of its service that @d loses now for lack of CPU and memory, by its policy's bounds. */
double benefit_unmet(const struct snap_domain *d, const struct conf_decide *c);
/* What @pl, the plan of @s, is to bring to @domain. False: nothing is done for a need of it. @out->decision is the caller's. */
bool benefit_predict(const struct snapshot *s, const struct plan *pl, const char *domain, struct benefit *out);
/* The oldest makes room. */
struct benefit *benefits_add(struct benefits *b, const struct benefit *one);
/* Which look is due at @now_ms, for the first time; BENEFIT_LOOKS: none. One that was missed by more than ten minutes is never due. */
unsigned benefit_due(const struct benefit *b, int64_t now_ms);
/* 1: as predicted, or nothing is known; less: so much of what was predicted came (median of the last, drawn towards 1 by two imagined right ones);
 * at least BENEFIT_CAUTION_MIN. */
double benefits_caution(const struct benefits *b);

json_t *benefit_to_json(const struct benefit *b); /* without decision and domain; NULL: no memory */
/* -EINVAL: not of that shape. @out's decision and domain are left alone. */
int benefit_from_json(const json_t *j, struct benefit *out);

#endif
