/* What a move costs and brings, in one unit: service-seconds lost, weighted by importance (50 = 1). moves.c makes the moves and chooses; the
 * figures are here. docs/deciding.md has the formulas. decide/ only. Pure. */
#ifndef POLICYD_DECIDE_PRICE_H
#define POLICYD_DECIDE_PRICE_H

#include "policyd/decide/predict.h"
#include "policyd/decide/view.h"

#define TARGET_UTIL_MAX 85.0 /* percent of a host's CPU in use after a move */

enum method { BY_LIVE, BY_TRIM_LIVE, BY_WARM, BY_COLD, METHOD_COUNT };

struct move {
	struct vdom *v;
	const struct vpeer *peer; /* NULL: none */
	enum method method;
	uint64_t mem_bytes; /* at the target; below what it has: trimmed first */
	struct predict_out pred;
	double price, gain;
	uint64_t met;           /* of the need that is looked at */
	bool meets;             /* no open need of this host would be left that counts as one */
	double untrimmed;       /* price of the same without the trim; < 0 = not possible, or not trimmed */
	bool no_room;           /* why_not is about room */
	unsigned quiet_ms;      /* it waits so long at most for a quiet moment */
	char why_not[CALM_WHY]; /* "" = possible */
};

/* Load in vCPUs that run, percent of one each; what is not known counts as full. */
double price_load(const struct snap_domain *d);
/* Percent of @p's CPU in use once @d is there, with the load that it has in all but 5 % of its time; 0 where nothing is known of it. */
double price_util_there(const struct snap_peer *p, const struct snap_domain *d);
/* Trimmed or not. */
bool price_goes_live(const struct move *m);
/* Do others serve while this one is down? */
bool price_service_goes_on(const struct move *m);
/* Predict @m (method, mem_bytes and peer are set) and set price and pred. */
void price_set(const struct view *v, struct move *m);
/* Set quiet_ms. @n: the need that it moves for, NULL = none. */
void price_quiet(const struct view *v, const struct open_need *n, struct move *m);
/* Set gain and meets (over all needs of v->needs that are still open) and met (of @n). */
void price_gain(const struct view *v, const struct open_need *n, struct move *m);

/* ---- moves.c, for leave.c ---- */
/* The cheapest way for @d to leave this host, to @only where that is not "": for no need, so neither gain nor Calm's waiting count, but what it may not
 * do holds. why_not is set where there is none. */
void move_away(const struct view *v, struct vdom *d, const char *only, struct move *out);
/* "trim to 96M, then live to beta: 1.2 s, 38 ms, 40M". */
void move_how(const struct move *m, char *out, size_t size);
/* Append it as an action; NULL: no memory. The caller says why and by which policy. */
struct action *move_action(struct view *v, const struct move *m, const char *for_domain);

#endif
