/* Moves: each domain of this host to each peer that has room, by each method that its policy allows. Of those that are worth their price and
 * meet the need, the cheapest; where none meets it, the one that brings most for what it costs (price.c). How far to trim first is part of it:
 * from not at all to the floor, whatever is cheapest.
 *
 * Called by decide.c for a need that cannot be met in place. Pure. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/benefit.h"
#include "policyd/decide/company.h"
#include "policyd/decide/price.h"

#define TRIM_LEVELS 8u /* sizes between the floor and what it has */
#define FAILURES_MAX 3

static const enum action_kind method_action[METHOD_COUNT] = {
	ACT_LIVE_MOVE, ACT_TRIM_MOVE, ACT_WARM_MOVE, ACT_COLD_MOVE};

/* snprintf that may cut. */
static void say(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, size, fmt, ap);
	va_end(ap);
}

static void refuse(struct move *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct move *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->why_not, sizeof(m->why_not), fmt, ap);
	va_end(ap);
}

/* ---- may it move at all? ---- */

static bool cluster_refuses(const struct snap_domain *d, struct move *m)
{
	if (!*d->spec.cluster)
		return false;
	if (d->cluster_available > d->cluster_min)
		return false;
	refuse(m, "cold: cluster \"%s\" would be below min-available %u (%u run now)", d->spec.cluster, d->cluster_min,
		d->cluster_available);
	return true;
}

/* What no purpose changes. */
static bool never_moves(const struct snap_domain *d, struct move *m)
{
	if (d->pinned)
		refuse(m, "is pinned here%s%.100s%s", *d->pin_reason ? " (" : "", d->pin_reason,
			*d->pin_reason ? ")" : "");
	else if (!d->movable)
		refuse(m, "cannot be moved: %s", *d->immovable_why ? d->immovable_why : "no reason is known");
	else if (d->policy.relocate == RELOCATE_NEVER)
		refuse(m, "never moved, by policy \"%s\"", d->policy.relocate_from);
	return *m->why_not;
}

static bool domain_refuses(const struct view *v, const struct vdom *vd, struct move *m)
{
	if (*vd->blocked)
		refuse(m, "%s", vd->blocked);
	else if (vd->acts)
		refuse(m, "changes in place in this plan");
	else if (!never_moves(vd->d, m) && !calm_no_move_of(v->s, vd->d, m->why_not) &&
		vd->d->policy.relocate == RELOCATE_COLD)
		cluster_refuses(vd->d, m);
	return *m->why_not;
}

/* ---- may it go there? ---- */

static bool room_refuses(const struct vpeer *vp, const struct snap_domain *d, uint64_t mem_bytes, struct move *m)
{
	const struct snap_peer *p = vp->p;
	double util = price_util_there(p, d);
	char a[16], b[16];

	m->no_room = true;
	if (d->vcpus > vp->vcpus_free) {
		refuse(m, "%s has %u of the %u vcpus free that it needs", p->name, vp->vcpus_free, d->vcpus);
		return true;
	}
	if (mem_bytes > vp->mem_free) {
		size_format(mem_bytes, a);
		size_format(vp->mem_free, b);
		refuse(m, "%s has %s of the %s free that it needs", p->name, b, a);
		return true;
	}
	if (util > TARGET_UTIL_MAX) {
		refuse(m, "%s would be at %.0f %% of its CPU, more than %.0f %%", p->name, util, TARGET_UTIL_MAX);
		return true;
	}
	m->no_room = false;
	return false;
}

static bool peer_refuses(const struct vpeer *vp, struct move *m)
{
	const struct snap_peer *p = vp->p;

	if (!p->up)
		refuse(m, "%s does not answer", p->name);
	else if (!p->accepts)
		refuse(m, "%s accepts nothing (maintenance)", p->name);
	else if (p->excluded)
		refuse(m, "%s is excluded (decide.exclude-hosts)", p->name);
	else if (p->recent_failures >= FAILURES_MAX)
		refuse(m, "the last %u moves to %s failed", p->recent_failures, p->name);
	return *m->why_not;
}

static bool peer_is_busy(const struct view *v, const struct vpeer *vp, struct move *m)
{
	if (vp->moves < v->s->decide.max_moves)
		return false;
	refuse(m, "%s has %u move%s under way", vp->p->name, vp->moves, vp->moves == 1 ? "" : "s");
	return true;
}

/* ---- one way: for the need @n, or, @n NULL, to leave this host because an operator said so ---- */

/* Price @m at m->mem_bytes; false where that is not possible (why_not says why). */
static bool price_at(const struct view *v, const struct open_need *n, struct move *m)
{
	const struct snap_domain *d = m->v->d;

	*m->why_not = '\0';
	if (room_refuses(m->peer, d, m->mem_bytes, m))
		return false;
	price_set(v, m);
	if (!m->pred.fits) {
		refuse(m, "to %s it would stand still for %.0f ms, more than %u ms", m->peer->p->name,
			m->pred.blackout_ms, v->s->max_blackout_ms);
		return false;
	}
	if (calendar_forbids(v->s, d, m->pred.total_high_s, m->why_not))
		return false;
	m->gain = 0;
	m->meets = true;
	price_quiet(v, n, m);
	if (!n)
		return true;
	if (calm_over_budget(v->s, d, m->pred.bytes, price_service_goes_on(m) ? 0 : m->pred.blackout_ms, m->why_not))
		return false;
	price_gain(v, n, m);
	if (!m->met)
		refuse(m, "%s has no more to give it than it has here", m->peer->p->name);
	return !*m->why_not;
}

/* Since when an operator wants it to leave: what failed before that does not hold it up. */
static int64_t leaves_since_ms(const struct view *v, const struct snap_domain *d)
{
	return v->s->emptying ? v->s->emptying_since_ms : d->wanted_since_ms;
}

static double net(const struct move *m)
{
	return m->gain - m->price;
}

/* So many times its price a move has to gain: more, where decisions of late brought less than they promised. */
static double ratio_wanted(const struct view *v)
{
	double caution = v->s->caution > BENEFIT_CAUTION_MIN ? v->s->caution : BENEFIT_CAUTION_MIN;

	return v->s->decide.min_gain_ratio / (caution < 1 ? caution : 1);
}

static bool worth_it(const struct view *v, const struct move *m)
{
	return m->gain > m->price * ratio_wanted(v);
}

/* Worth its price; then what meets the need; of those the cheapest, of the others what has most left of its gain. The names (the loops' order)
 * come last, so that it is always the same. */
static bool better(const struct view *v, const struct move *a, const struct move *b)
{
	if (worth_it(v, a) != worth_it(v, b))
		return worth_it(v, a);
	if (a->meets != b->meets)
		return a->meets;
	if (a->meets && a->price != b->price)
		return a->price < b->price;
	if (net(a) != net(b))
		return net(a) > net(b);
	return a->price < b->price;
}

/* May it be shrunk before it moves? Not one that is in need of memory, or moves for a need of its own. */
static bool may_trim(const struct view *v, const struct open_need *n, const struct vdom *vd)
{
	return (!n || vd != n->v) && vd->d->shrink_frozen_until_ms <= v->s->now_ms &&
		rule_mem_floor(vd->d) < vd->d->mem_bytes;
}

static bool better_size(const struct view *v, const struct open_need *n, const struct move *a, const struct move *b)
{
	return !n && v->dense ? a->mem_bytes < b->mem_bytes : better(v, a, b);
}

/* The best size to move @m with: from all that it has, which is no trim, down to its floor. */
static bool price_sizes(const struct view *v, const struct open_need *n, struct move *m)
{
	const struct snap_domain *d = m->v->d;
	uint64_t floor = rule_mem_floor(d);
	struct move best = *m, at = *m;
	bool found;

	best.mem_bytes = d->mem_bytes;
	found = price_at(v, n, &best);
	best.untrimmed = found ? best.price : -1;
	for (unsigned k = 1; k <= TRIM_LEVELS && may_trim(v, n, m->v); k++) {
		at.method = m->method == BY_LIVE ? BY_TRIM_LIVE : m->method;
		at.mem_bytes = d->mem_bytes - (d->mem_bytes - floor) / TRIM_LEVELS * k / MEM_STEP * MEM_STEP;
		if (k == TRIM_LEVELS)
			at.mem_bytes = floor;
		if (price_at(v, n, &at) && (!found || better_size(v, n, &at, &best))) {
			at.untrimmed = best.untrimmed;
			best = at;
			found = true;
		}
	}
	if (!found && best.no_room && !d->mem_known)
		say(best.why_not + strlen(best.why_not), sizeof(best.why_not) - strlen(best.why_not),
			" (what it uses is not known yet: it cannot be trimmed to fit)");
	*m = best;
	return found;
}

static bool price_move(const struct view *v, const struct open_need *n, struct move *m)
{
	const struct snap_domain *d = m->v->d;

	if (peer_refuses(m->peer, m) || (n && peer_is_busy(v, m->peer, m)) ||
		(m->v->ruled && company_forbids(v->s, d, m->peer->p->name, m->why_not)) ||
		(n && calm_no_move_to(v->s, d, m->peer->p, n->v->d, m->why_not)) ||
		(!n && calm_failed(v->s, d, m->peer->p->name, leaves_since_ms(v, d), m->why_not)))
		return false;
	if (m->method != BY_COLD)
		return price_sizes(v, n, m);
	m->mem_bytes = d->mem_bytes;
	m->untrimmed = -1;
	return price_at(v, n, m);
}

/* ---- choosing ---- */

static enum method method_of(const struct snap_domain *d)
{
	return d->policy.relocate == RELOCATE_COLD ? BY_COLD : d->policy.relocate == RELOCATE_WARM ? BY_WARM : BY_LIVE;
}

/* Each host's reason is said once. */
static void also_refused(struct move *best, const struct move *m)
{
	size_t n = strlen(best->why_not);

	if (*m->why_not && best->peer != m->peer && n + 8 < sizeof(best->why_not))
		say(best->why_not + n, sizeof(best->why_not) - n, "%s%s", n ? "; " : "", m->why_not);
	best->no_room |= m->no_room;
	best->peer = m->peer;
}

/* The best way for one domain, over all peers (but for those that are not @only); with why_not set where there is none. */
static void best_way(
	const struct view *v, const struct open_need *n, struct vdom *d, const char *only, struct move *out)
{
	struct move best = {.v = d}, m;
	bool found = false;

	if (!v->n_peers)
		refuse(&best, "there is no other host");
	for (unsigned i = 0; i < v->n_peers; i++) {
		if (*only && strcmp(only, v->peers[i].p->name) != 0)
			continue;
		m = (struct move){.v = d, .peer = &v->peers[i], .method = method_of(d->d)};
		if (price_move(v, n, &m) && (!found || better(v, &m, &best))) {
			best = m;
			found = true;
		} else if (!found) {
			also_refused(&best, &m);
		}
	}
	*out = best;
}

static struct move best_for(const struct view *v, const struct open_need *n, struct vdom *d)
{
	struct move best = {.v = d};

	if (!domain_refuses(v, d, &best))
		best_way(v, n, d, "", &best);
	return best;
}

void move_away(const struct view *v, struct vdom *d, const char *only, struct move *out)
{
	*out = (struct move){.v = d};
	if (d->d->held || d->d->busy || d->d->state != DOM_ACTIVE)
		refuse(out, "%s", d->blocked);
	else if (!never_moves(d->d, out) && !calm_failed(v->s, d->d, NULL, leaves_since_ms(v, d->d), out->why_not) &&
		!(d->d->policy.relocate == RELOCATE_COLD && cluster_refuses(d->d, out)))
		best_way(v, NULL, d, only, out);
}

/* ---- words ---- */

void move_how(const struct move *m, char *out, size_t size)
{
	char how[64], trim[16], bytes[16], cost[64];

	size_format(m->mem_bytes, trim);
	size_format(m->pred.bytes < 0x1p63 ? (uint64_t)m->pred.bytes : 1ULL << 63, bytes);
	if (m->method != BY_COLD && m->mem_bytes < m->v->d->mem_bytes)
		say(how, sizeof(how), "trim to %s, then %s", trim, m->method == BY_WARM ? "warm" : "live");
	else
		say(how, sizeof(how), "%s", m->method == BY_COLD ? "cold" : m->method == BY_WARM ? "warm" : "live");
	if (m->method == BY_COLD)
		say(cost, sizeof(cost), "%.1f s", m->pred.total_s);
	else
		say(cost, sizeof(cost), "%.1f s, %.0f ms, %s%s", m->pred.total_s, m->pred.blackout_ms, bytes,
			m->pred.postcopy ? ", by post-copy" : "");
	say(out, size, "%s to %s: %s", how, m->peer->p->name, cost);
}

static void move_text(const struct open_need *n, const struct move *m, char *out, size_t size)
{
	char how[160], frees[32];

	move_how(m, how, sizeof(how));
	amount_text(n->kind, m->met, frees);
	say(out, size, "move %s: %s; %s %s", m->v->d->spec.name, how, m->v == n->v ? "finds" : "frees", frees);
}

/* Why it lost, or won. */
static void lost_text(const struct view *v, const struct move *m, const struct move *chosen, struct candidate *c)
{
	const char *other = chosen->v->d->spec.name;

	if (c->verdict == CAND_NOT_ENOUGH)
		say(c->why, sizeof(c->why), "does not meet the need; moving %s does%s", other,
			chosen->meets ? "" : " more");
	else if (!worth_it(v, m))
		say(c->why, sizeof(c->why), "gains %.3g for %.3g; at least %.3g times its price is wanted%s", m->gain,
			m->price, ratio_wanted(v),
			v->s->caution < 1 ? ", for decisions of late brought less than predicted" : "");
	else if (m == chosen)
		say(c->why, sizeof(c->why), "%s for %.3g, gains %.3g",
			m->meets ? "meets the need" : "is the most there is", m->price, m->gain);
	else if (m->meets)
		say(c->why, sizeof(c->why), "meets the need for %.3g; moving %s does for %.3g", m->price, other,
			chosen->price);
	else
		say(c->why, sizeof(c->why), "gains %.3g for %.3g; moving %s gains %.3g for %.3g", m->gain, m->price,
			other, chosen->gain, chosen->price);
}

static void list_move(
	struct view *v, const struct open_need *n, const struct move *m, const struct move *chosen, bool worth)
{
	struct candidate *c = view_candidate(v, n->v);
	bool priced = !*m->why_not;

	if (!c)
		return;
	if (!priced) {
		snprintf(c->text, sizeof(c->text), "move %s", m->v->d->spec.name);
		c->verdict = m->no_room ? CAND_NO_ROOM : CAND_NOT_ALLOWED;
		snprintf(c->why, sizeof(c->why), "%s", m->why_not);
		return;
	}
	move_text(n, m, c->text, sizeof(c->text));
	c->gain = m->gain;
	c->price = m->price;
	c->verdict = m == chosen && worth ? CAND_CHOSEN : CAND_TOO_DEAR;
	if (m != chosen && (chosen->meets ? !m->meets : m->met < chosen->met))
		c->verdict = CAND_NOT_ENOUGH;
	lost_text(v, m, chosen, c);
	if (m->mem_bytes < m->v->d->mem_bytes && m->untrimmed >= 0)
		say(c->why + strlen(c->why), sizeof(c->why) - strlen(c->why), " (untrimmed for %.3g)", m->untrimmed);
}

/* The way that is always open, and what it costs. */
static void list_nothing(struct view *v, const struct open_need *n, bool moves)
{
	struct candidate *c = view_candidate(v, n->v);
	double loss = need_gain(v, n, need_left(n));

	if (!c)
		return;
	say(c->text, sizeof(c->text), "do nothing");
	c->price = loss;
	c->verdict = moves ? CAND_TOO_DEAR : CAND_CHOSEN;
	say(c->why, sizeof(c->why), "%s goes short for about %.0f min: %.3g service-seconds", n->v->d->spec.name,
		need_expect_s(v, n) / 60, loss);
}

struct action *move_action(struct view *v, const struct move *m, const char *for_domain)
{
	struct action *a = view_action(v, m->v, method_action[m->method], for_domain);

	if (!a)
		return NULL;
	a->mem_bytes = m->method != BY_COLD && m->mem_bytes < m->v->d->mem_bytes ? m->mem_bytes : 0;
	snprintf(a->target, sizeof(a->target), "%s", m->peer->p->name);
	a->pred_total_s = m->pred.total_s;
	a->pred_blackout_ms = m->pred.blackout_ms;
	a->pred_bytes = m->pred.bytes;
	a->postcopy = m->pred.postcopy;
	a->quiet_ms = m->quiet_ms;
	return a;
}

static void add_move(struct view *v, const struct open_need *n, const struct move *m)
{
	struct action *a = move_action(v, m, n->v->d->spec.name);
	char need[32];

	if (!a)
		return;
	snprintf(a->policy, sizeof(a->policy), "%s",
		n->kind == NEED_CPU ? n->v->d->policy.cpu_from : n->v->d->policy.memory_from);
	amount_text(n->kind, need_left(n), need);
	if (m->v == n->v)
		say(a->why, sizeof(a->why), "needs %s more than %s has (gain %.3g, price %.3g)", need, v->s->host,
			m->gain, m->price);
	else
		say(a->why, sizeof(a->why), "makes room: %s needs %s more than %s has (gain %.3g, price %.3g)",
			n->v->d->spec.name, need, v->s->host, m->gain, m->price);
}

/* Limits that hold for any move of this host. */
static bool host_refuses(struct view *v, const struct open_need *n)
{
	struct candidate *cand;
	char why[CALM_WHY];

	if (!calm_no_move(v->s, n->v->d, why))
		return false;
	cand = view_candidate(v, n->v);
	if (!cand)
		return true;
	snprintf(cand->text, sizeof(cand->text), "move a domain");
	cand->verdict = CAND_NOT_ALLOWED;
	memcpy(cand->why, why, sizeof(cand->why));
	return true;
}

bool moves_try(struct view *v, struct open_need *n)
{
	struct move *all = calloc(v->n_doms ? v->n_doms : 1, sizeof(*all)), *best = NULL;
	unsigned n_all = 0;
	bool worth = false;

	if (!all) {
		v->no_memory = true;
		return false;
	}
	if (!host_refuses(v, n)) {
		for (unsigned i = 0; i < v->n_doms; i++)
			if (v->doms[i].d->state == DOM_ACTIVE)
				all[n_all++] = best_for(v, n, &v->doms[i]);
		for (unsigned i = 0; i < n_all; i++)
			if (!*all[i].why_not && (!best || better(v, &all[i], best)))
				best = &all[i];
		worth = best && worth_it(v, best);
		for (unsigned i = 0; i < n_all && !v->no_memory; i++)
			list_move(v, n, &all[i], best, worth);
		if (worth)
			add_move(v, n, best);
	}
	list_nothing(v, n, worth);
	free(all);
	return worth && !v->no_memory;
}
