/* Calm: what a decision waits for, so that a group of hosts comes to rest. Each function asks one question, and answers with a phrase
 * why not ("" = nothing stands against it). All that they look at is in the snapshot. decide/ and its tests only. Pure.
 *
 * decide.c asks before it touches a domain, moves.c before it prices a move, and again when it knows what the move would cost. */
#ifndef POLICYD_DECIDE_CALM_H
#define POLICYD_DECIDE_CALM_H

#include "policyd/decide/predict.h"
#include "policyd/decide/snapshot.h"

#define CALM_WHY 192

/* Rests: changed or booted a short while ago. */
bool calm_rests(const struct snapshot *s, const struct snap_domain *d, char why[CALM_WHY]);
/* No move of this host now, for @need (the domain in need): its limits are reached, or the need is too young. */
bool calm_no_move(const struct snapshot *s, const struct snap_domain *need, char why[CALM_WHY]);
/* No move of @d now, wherever to: cool-down, its budget of moves, back-off after a failure that lies with it. */
bool calm_no_move_of(const struct snapshot *s, const struct snap_domain *d, char why[CALM_WHY]);
/* Not to this host: it came from there, or the last try to there failed. */
bool calm_no_move_to(const struct snapshot *s, const struct snap_domain *d, const struct snap_peer *p,
	const struct snap_domain *need, char why[CALM_WHY]);
/* Not at this price: bytes or blackout would be more than what is left of an hour's budgets. @outage_ms: service lost. */
bool calm_over_budget(
	const struct snapshot *s, const struct snap_domain *d, double bytes, double outage_ms, char why[CALM_WHY]);

/* Its last move failed, not before @since_ms, and that is waited out: @peer NULL, wherever to; else to there. */
bool calm_failed(
	const struct snapshot *s, const struct snap_domain *d, const char *peer, int64_t since_ms, char why[CALM_WHY]);
/* How long a domain (or its way to that one peer: *@peer_out) is left alone after its last @fails failed moves. */
int64_t calm_backoff_ms(enum fail_kind kind, unsigned fails, bool *peer_out);

#endif
