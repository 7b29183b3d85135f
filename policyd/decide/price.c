/* Prices and gains of moves: see price.h.
 *
 *     price = importance of what is moved x (blackout + slow-down while copying and trimming + how hard the trim presses)
 *             + CPU of the workers and bytes on the link, room taken and crowding at the target, risk
 *     gain  = over every need here that is open: importance x severity x how long it will last x the share of it that would be met
 *             + the host here less crowded */
#include "policyd/decide/price.h"

#include <string.h>

#include "policyd/decide/company.h"
#include "policyd/decide/moment.h"

#define COPY_SLOW 0.10 /* share of the guest's service lost while its memory is copied (dirty tracking, the workers) */
#define TRIM_SLOW 0.02 /* and while it is trimmed */
#define SLOWED_SHARE 0.5 /* of the copying, for so long a guest is slowed that has to be: the first rounds go without */
#define TRIM_PRESS                                                                                                     \
	0.5 /* service-seconds for trimming all that is not in use; grows with the square: the last pages hurt */
#define WORKER_SHARE 0.05 /* what the workers' CPU costs everybody else, a second of copying */
#define WIRE_PRICE 0.02   /* 100 MB on the link, for who else uses it */
#define ROOM_PRICE 0.5    /* taking all that the target has free */
#define RULE_PRICE 20.0   /* each soft rule of company broken; mending one is worth as much */
#define COLD_SHARE 0.02   /* a drained node of a cluster whose others go on: lost redundancy */
#define COLD_RISK 0.2     /* and what a failure costs there, beside RISK_S */
#define RISK_BASE 0.02    /* chance that a move fails and is rolled back */
#define RISK_ASSUMED 0.05 /* more, where the link was never measured */
#define RISK_POSTCOPY 0.1 /* more, by post-copy: a link or a worker that fails then stops the guest until it is back */
#define RISK_FAILURE 0.15 /* more, for each failure of late */
#define RISK_S 10.0       /* service-seconds that a failed move costs */
#define RISK_SPREAD 0.5   /* how much of what the blackout may be longer than predicted is counted */
#define CROWD_FROM 60.0   /* percent of a host's CPU in use: from here on everybody waits now and then */
#define CROWD_SHARE 0.02  /* share of its service that a domain loses at TARGET_UTIL_MAX */
#define WARM_BLACKOUT_MS 600000 /* may stand still for as long as the copy takes */

double price_load(const struct snap_domain *d)
{
	double util = d->util_fast > d->util_slow ? d->util_fast : d->util_slow;

	return (rule_cpu_known(d) ? util : 100) * rule_cpu_entitled(d) / 100;
}

/* By its bursts as well: who is moved beside others should not find the host too small a minute later. */
static double load_high(const struct snap_domain *d)
{
	double bursts = d->util_p95 < 100 ? d->util_p95 : 100;
	double high = bursts * rule_cpu_entitled(d) / 100;

	return high > price_load(d) ? high : price_load(d);
}

double price_util_there(const struct snap_peer *p, const struct snap_domain *d)
{
	return p->cpu_util >= 0 && p->vcpus_total ? p->cpu_util + load_high(d) / p->vcpus_total : 0;
}

bool price_service_goes_on(const struct move *m)
{
	return m->method == BY_COLD && *m->v->d->spec.cluster && m->v->d->cluster_available > 1;
}

bool price_goes_live(const struct move *m)
{
	return m->method == BY_LIVE || m->method == BY_TRIM_LIVE;
}

/* ---- price ---- */

/* Service-seconds that everybody on a host loses, at @util percent, over @seconds. */
static double crowd(double util, double seconds)
{
	double over = (util - CROWD_FROM) / (TARGET_UTIL_MAX - CROWD_FROM);

	return over > 0 ? CROWD_SHARE * over * over * seconds : 0;
}

static double cold_price(const struct move *m)
{
	return importance_weight(m->v->d) * m->pred.total_s * (price_service_goes_on(m) ? COLD_SHARE : 1);
}

/* Of all that a guest has and does not use, how much the trim takes, squared. */
static double press(const struct move *m)
{
	const struct snap_domain *d = m->v->d;
	double spare = (double)(d->mem_known && d->mem_available < d->mem_bytes ? d->mem_available : d->mem_bytes);
	double taken = (double)(d->mem_bytes - m->mem_bytes);

	return spare > 0 ? TRIM_PRESS * (taken / spare) * (taken / spare) : 0;
}

static double live_price(const struct move *m)
{
	double copy_s = m->pred.total_s - m->pred.trim_s - m->pred.blackout_ms / 1000;
	double slowed = m->pred.throttle_percent / 100.0 * SLOWED_SHARE;

	return importance_weight(m->v->d) *
		(m->pred.blackout_ms / 1000 + copy_s * (COPY_SLOW + slowed) + m->pred.trim_s * TRIM_SLOW + press(m)) +
		copy_s * WORKER_SHARE + m->pred.bytes / 1e8 * WIRE_PRICE;
}

static double risk_price(const struct move *m)
{
	double chance = RISK_BASE + RISK_FAILURE * m->peer->p->recent_failures +
		(m->pred.link_assumed ? RISK_ASSUMED : 0) + (m->pred.postcopy ? RISK_POSTCOPY : 0);
	double longer_s = m->method == BY_COLD ? 0 : (m->pred.blackout_high_ms - m->pred.blackout_ms) / 1000;

	return importance_weight(m->v->d) *
		(chance * RISK_S * (price_service_goes_on(m) ? COLD_RISK : 1) +
			(longer_s > 0 ? longer_s * RISK_SPREAD : 0));
}

/* 1: it leaves the host that it is preferred on; -1: it goes there. */
static int away_from_preferred(const struct view *v, const struct move *m)
{
	const char *prefer = m->v->d->prefer;

	if (!*prefer)
		return 0;
	return (strcmp(v->s->host, prefer) == 0) - (strcmp(m->peer->p->name, prefer) == 0);
}

void price_set(const struct view *v, struct move *m)
{
	const struct snap_domain *d = m->v->d;
	double free_mem = (double)m->peer->mem_free, after = price_util_there(m->peer->p, d);
	struct predict_in in = {.resident_bytes = d->resident_bytes,
		.mem_bytes = d->mem_bytes,
		.trim_bytes = m->mem_bytes < d->mem_bytes ? m->mem_bytes : 0,
		.dirty_bps = d->dirty_bps,
		.link_bps = m->peer->p->link_bps,
		.bandwidth_bps = v->s->bandwidth_bps,
		.max_rounds = v->s->max_rounds,
		.throttle_max = v->s->throttle_max,
		.max_blackout_ms = m->method == BY_WARM ? WARM_BLACKOUT_MS : v->s->max_blackout_ms,
		.postcopy = price_goes_live(m) && d->policy.postcopy == POSTCOPY_ALLOW,
		.cold = m->method == BY_COLD,
		.running = true,
		.path = {.wire_bps = m->peer->p->wire_bps,
			.engine_bps = m->peer->p->engine_bps,
			.setup_s = m->peer->p->setup_s,
			.dark_ms = m->peer->p->dark_ms}};

	predict_guest_brief((double)d->mem_bytes, d->send_bytes, d->wire_ratio, d->hot_bytes, d->dirty_bps, &in.guest);
	in.guest.delta_share = d->delta_share;
	predict(&in, &m->pred);
	m->price = (m->method == BY_COLD ? cold_price(m) : live_price(m)) + risk_price(m) +
		ROOM_PRICE * (free_mem > 0 ? (double)m->mem_bytes / free_mem : 1) +
		RULE_PRICE * (m->v->ruled ? company_broken(v->s, d, m->peer->p->name) : 0) +
		RULE_PRICE * away_from_preferred(v, m);
	if (after > 0)
		m->price += crowd(after, EXPECT_S) - crowd(m->peer->p->cpu_util, EXPECT_S);
}

/* ---- gain ---- */

/* What @m brings for one need: a domain that moves itself has what the target has, others get what it leaves behind. */
static uint64_t met_by(const struct open_need *need, const struct move *m, uint64_t left[2])
{
	const struct snap_domain *d = m->v->d;
	uint64_t room = left[need->kind], met;

	if (need->v == m->v)
		room = need->kind == NEED_CPU ? m->peer->vcpus_free - d->vcpus : m->peer->mem_free - m->mem_bytes;
	met = room < need_left(need) ? room : need_left(need);
	if (need->v != m->v)
		left[need->kind] -= met;
	return met;
}

/* Would what is left of it still be a need, by the bound that made it one? */
static bool still_short(const struct open_need *need, uint64_t met)
{
	if (met == need_left(need))
		return false;
	return need->kind == NEED_CPU || !rule_mem_enough(need->v->d, need->have + need->got + met);
}

/* Nobody waits for a quiet moment for longer than half of the time for which its need is expected to last: what comes later than that is of little use.
 * Who empties a host is in a hurry. */
void price_quiet(const struct view *v, const struct open_need *n, struct move *m)
{
	double longest_s = n ? need_expect_s(v, n) / 2 : 0;

	m->quiet_ms = price_goes_live(m) && !v->s->emptying ? m->v->d->policy.quiet_ms : 0;
	if (n && m->quiet_ms > longest_s * 1000)
		m->quiet_ms = (unsigned)(longest_s * 1000);
}

/* How long it will be, on average: half of it, but not for a guest that is quiet as it is. */
static double quiet_wait_s(const struct move *m)
{
	const struct snap_domain *d = m->v->d;
	double way = m->peer->p->wire_bps > 0 ? m->peer->p->wire_bps : (double)m->peer->p->link_bps;

	if (d->dirty_bps >= 0 && way > 0 && d->dirty_bps < way * MOMENT_IDLE_SHARE)
		return 0;
	return m->quiet_ms / 2000.0;
}

/* The share of what @need would have of it that is left when it has waited. */
static double after_wait(const struct view *v, const struct open_need *need, const struct move *m)
{
	double left = 1 - quiet_wait_s(m) / need_expect_s(v, need);

	return left > 0 ? left : 0;
}

void price_gain(const struct view *v, const struct open_need *n, struct move *m)
{
	const struct snap_domain *d = m->v->d;
	uint64_t left[2] = {[NEED_CPU] = d->vcpus, [NEED_MEM] = d->mem_bytes};
	double util = v->s->host_cpu_util, gone = v->s->vcpus_total ? price_load(d) / v->s->vcpus_total : 0;

	m->gain = 0;
	m->met = 0;
	m->meets = true;
	for (unsigned i = 0; i < v->n_needs; i++) {
		const struct open_need *need = &v->needs[i];
		uint64_t met = need_left(need) ? met_by(need, m, left) : 0;

		m->gain += need_gain(v, need, met) * after_wait(v, need, m);
		m->meets &= !still_short(need, met);
		if (need == n)
			m->met = met;
	}
	if (util > 0)
		m->gain += crowd(util, EXPECT_S) - crowd(util - gone, EXPECT_S);
}
