/* What earlier moves teach the next prediction: fixed times, the engine's speed, and by how much predictions to a host, and of a domain, are
 * wrong. Medians, so that one odd move changes little; weights that fall with each later move, so that yesterday's hosts are forgotten. Pure; any thread.
 *
 * Corrections are of what is left when the prediction is made again with the fixed times and speeds that are known by now, so that nothing is
 * corrected twice:
 *
 *	by(link)   = exp( m x n / (n + 2) ),  m = weighted median of ln(actual / predicted again) over the last moves to that host, n = how many
 *	by(domain) = the same over the domain's own moves, of what is left after by(link); both are applied
 *	spread     = exp of the weighted 85 % quantile of |ln(actual / corrected)| */
#ifndef POLICYD_DECIDE_LEARN_H
#define POLICYD_DECIDE_LEARN_H

#include "domain/services.h"
#include "policyd/decide/predict.h"

#define LEARN_MAX 128

struct learn_move { /* one live move that worked; figures <= 0 are not known */
	char domain[NAME_MAX_LEN], peer[NAME_MAX_LEN];
	double raw_total_s, raw_blackout_ms, raw_bytes;    /* as predicted, before any correction */
	double total_s, blackout_ms, bytes;                /* as it was */
	double copy_s, trim_s;                             /* of total_s */
	double trimmed_bytes;                              /* given back in trim_s */
	double first_s, first_ram_bytes, first_wire_bytes; /* full pass */
	double last_ram_bytes;                             /* sent while it stood */
	/* that the prediction reckoned with */
	double link_bps, rate_bps, wire_ratio, lz4_ratio, setup_s, spent_s, dark_ms;
};

struct learn { /* newest last, oldest forgotten */
	struct learn_move v[LEARN_MAX];
	unsigned n;
};

void learn_add(struct learn *l, const struct learn_move *m);
/* From a history entry (docs/control.md): its domain, peer, predicted, actual. -EINVAL: not a live move with both. */
int learn_from_json(
	const char *domain, const char *peer, const json_t *predicted, const json_t *actual, struct learn_move *out);
/* All but wire_bps is filled in, which is a matter of minutes and not of history: where it is set, it tells also how busy both hosts are now, and so
 * how fast the engine is. What nobody knows yet stays 0. */
void learn_path(const struct learn *l, const char *domain, const char *peer, struct predict_path *out);

#endif
