/* Safety of each step: see safe.h. */
#include "policyd/decide/safe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/company.h"
#include "policyd/decide/rules.h"

static bool unsafe(char why[SAFE_WHY], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool unsafe(char why[SAFE_WHY], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, SAFE_WHY, fmt, ap);
	va_end(ap);
	return false;
}

static struct snap_domain *domain_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.name, name) == 0)
			return &s->domains[i];
	return NULL;
}

static struct snap_peer *peer_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_peers; i++)
		if (strcmp(s->peers[i].name, name) == 0)
			return &s->peers[i];
	return NULL;
}

static bool is_move(const struct action *a)
{
	return a->kind != ACT_SET_VCPUS && a->kind != ACT_SET_MEMORY;
}

/* ---- what is taken ---- */

static bool holds(const struct snap_domain *d)
{
	return d->state != DOM_INACTIVE;
}

/* What all have, or what the host says is taken where that is more (reservations). */
static uint64_t taken_cpu(const struct snapshot *s)
{
	uint64_t sum = 0, given = s->cpu_given ? s->cpu_given : (uint64_t)s->vcpus_given * 100;

	for (unsigned i = 0; i < s->n_domains; i++)
		sum += holds(&s->domains[i]) ? rule_cpu_entitled(&s->domains[i]) : 0;
	return sum > given ? sum : given;
}

static void set_taken_cpu(struct snapshot *s, uint64_t percent)
{
	s->cpu_given = (unsigned)percent;
	s->vcpus_given = (unsigned)(percent + 99) / 100;
}

static uint64_t taken_mem(const struct snapshot *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->n_domains; i++)
		sum += holds(&s->domains[i]) ? s->domains[i].mem_bytes : 0;
	return sum > s->mem_given ? sum : s->mem_given;
}

/* What the move takes at the target. */
static uint64_t mem_there(const struct action *a, const struct snap_domain *d)
{
	bool trimmed = (a->kind == ACT_TRIM_MOVE || a->kind == ACT_WARM_MOVE) && a->mem_bytes;

	return trimmed ? a->mem_bytes : d->mem_bytes;
}

/* ---- the invariants ---- */

static uint64_t mem_reservation(const struct snap_domain *d)
{
	uint64_t own = d->spec.mem_min, policy = d->policy.memory.set ? d->policy.memory.mem_min : 0;

	return own > policy ? own : policy;
}

static bool resize_safe(
	const struct snapshot *s, const struct action *a, const struct snap_domain *d, char why[SAFE_WHY])
{
	unsigned has = rule_cpu_entitled(d), gets = action_cpu(a);

	if (a->kind == ACT_SET_VCPUS && gets > has && taken_cpu(s) + gets - has > (uint64_t)s->vcpus_total * 100)
		return unsafe(why, "%s would have more than its %u vcpus given away", s->host, s->vcpus_total);
	if (a->kind == ACT_SET_VCPUS && gets < has && gets < rule_cpu_floor(d) * 100)
		return unsafe(why, "%s would have fewer vcpus than its minimum of %u", d->spec.name, rule_cpu_floor(d));
	if (a->kind == ACT_SET_MEMORY && a->mem_bytes > d->mem_bytes &&
		taken_mem(s) + a->mem_bytes - d->mem_bytes > s->mem_total)
		return unsafe(why, "%s would have more memory given away than it has for domains", s->host);
	if (a->kind == ACT_SET_MEMORY && a->mem_bytes < d->mem_bytes && a->mem_bytes < mem_reservation(d))
		return unsafe(why, "%s would have less memory than its minimum", d->spec.name);
	return true;
}

static bool target_safe(
	const struct snapshot *s, const struct action *a, const struct snap_domain *d, char why[SAFE_WHY])
{
	const struct snap_peer *p = peer_of(s, a->target);
	char rule[CALM_WHY];

	if (!p || !p->up || !p->accepts || p->excluded)
		return unsafe(why, "%s takes nothing now", a->target);
	if (p->vcpus_given + d->vcpus > p->vcpus_total)
		return unsafe(why, "%s would have more than its %u vcpus given away", p->name, p->vcpus_total);
	if (p->mem_given + mem_there(a, d) > p->mem_total)
		return unsafe(why, "%s would have more memory given away than it has for domains", p->name);
	if (p->moves >= s->decide.max_moves)
		return unsafe(
			why, "%s has %u moves under way, at most %u at a time", p->name, p->moves, s->decide.max_moves);
	if (company_forbids(s, d, p->name, rule))
		return unsafe(why, "%s", rule);
	return true;
}

static bool move_safe(const struct snapshot *s, const struct action *a, const struct snap_domain *d, char why[SAFE_WHY])
{
	if (s->moves_now >= s->decide.max_moves)
		return unsafe(why, "%s has %u moves under way, at most %u at a time", s->host, s->moves_now,
			s->decide.max_moves);
	if (d->pinned)
		return unsafe(why, "%s is pinned", d->spec.name);
	if (!d->movable || d->policy.relocate == RELOCATE_NEVER)
		return unsafe(why, "%s cannot be moved", d->spec.name);
	if (mem_there(a, d) < d->mem_bytes && mem_there(a, d) < mem_reservation(d))
		return unsafe(why, "%s would have less memory than its minimum", d->spec.name);
	if (a->kind == ACT_COLD_MOVE && *d->spec.cluster && d->cluster_available <= d->cluster_min)
		return unsafe(why, "cluster %s would have fewer than %u nodes", d->spec.cluster, d->cluster_min);
	return target_safe(s, a, d, why);
}

bool safe_step(const struct snapshot *s, const struct action *a, char why[SAFE_WHY])
{
	const struct snap_domain *d = domain_of(s, a->domain);

	if (!d || d->state != DOM_ACTIVE)
		return unsafe(why, "%s does not run here", a->domain);
	if (d->held || d->busy)
		return unsafe(why, "%s is %s", a->domain, d->held ? "held" : "busy");
	return is_move(a) ? move_safe(s, a, d, why) : resize_safe(s, a, d, why);
}

/* ---- the state as it goes on ---- */

static int add_member(struct snap_rule *r, const char *domain, const char *host)
{
	struct snap_member *more = realloc(r->members, (r->n_members + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	r->members = more;
	snprintf(more[r->n_members].domain, NAME_MAX_LEN, "%s", domain);
	snprintf(more[r->n_members++].host, NAME_MAX_LEN, "%s", host);
	return 0;
}

static void drop_member(struct snap_rule *r, const char *domain, const char *host)
{
	for (unsigned i = 0; i < r->n_members; i++)
		if (strcmp(r->members[i].domain, domain) == 0 && strcmp(r->members[i].host, host) == 0) {
			r->members[i] = r->members[--r->n_members];
			return;
		}
}

static bool speaks_of(const struct snap_rule *r, const char *domain)
{
	for (unsigned i = 0; i < r->n_members; i++)
		if (strcmp(r->members[i].domain, domain) == 0)
			return true;
	return false;
}

static void node_changes(struct snapshot *s, const struct snap_domain *d, int by)
{
	for (unsigned i = 0; *d->spec.cluster && i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.cluster, d->spec.cluster) == 0)
			s->domains[i].cluster_available += (unsigned)by;
}

static int move_begin(struct snapshot *s, const struct action *a, struct snap_domain *d)
{
	struct snap_peer *p = peer_of(s, a->target);

	for (unsigned i = 0; i < s->n_rules; i++)
		if (speaks_of(&s->rules[i], d->spec.name) && add_member(&s->rules[i], d->spec.name, a->target)) {
			while (i-- > 0)
				drop_member(&s->rules[i], d->spec.name, a->target);
			return -ENOMEM;
		}
	p->vcpus_given += d->vcpus;
	p->mem_given += mem_there(a, d);
	p->moves++;
	s->moves_now++;
	if (a->kind == ACT_COLD_MOVE)
		node_changes(s, d, -1);
	return 0;
}

int safe_begin(struct snapshot *s, const struct action *a)
{
	struct snap_domain *d = domain_of(s, a->domain);

	if (is_move(a) && move_begin(s, a, d))
		return -ENOMEM;
	if (a->kind == ACT_SET_VCPUS && action_cpu(a) > rule_cpu_entitled(d))
		set_taken_cpu(s, taken_cpu(s) + action_cpu(a) - rule_cpu_entitled(d));
	if (a->kind == ACT_SET_MEMORY && a->mem_bytes > d->mem_bytes)
		s->mem_given = taken_mem(s) + a->mem_bytes - d->mem_bytes;
	d->busy = true;
	return 0;
}

/* Less is taken here by what it gave back. */
static void freed(struct snapshot *s, uint64_t cpu, uint64_t mem)
{
	uint64_t given = s->cpu_given ? s->cpu_given : (uint64_t)s->vcpus_given * 100;

	set_taken_cpu(s, given > cpu ? given - cpu : 0);
	s->mem_given = s->mem_given > mem ? s->mem_given - mem : 0;
}

static void move_end(struct snapshot *s, const struct action *a, struct snap_domain *d)
{
	freed(s, rule_cpu_entitled(d), d->mem_bytes);
	for (unsigned i = 0; i < s->n_rules; i++)
		drop_member(&s->rules[i], d->spec.name, s->host);
	peer_of(s, a->target)->moves--;
	s->moves_now--;
	if (a->kind == ACT_COLD_MOVE)
		node_changes(s, d, 1);
	d->state = DOM_INACTIVE;
}

void safe_end(struct snapshot *s, const struct action *a)
{
	struct snap_domain *d = domain_of(s, a->domain);

	d->busy = false;
	if (is_move(a)) {
		move_end(s, a, d);
	} else if (a->kind == ACT_SET_VCPUS) {
		unsigned has = rule_cpu_entitled(d);

		freed(s, action_cpu(a) < has ? has - action_cpu(a) : 0, 0);
		d->vcpus = a->vcpus;
		d->cpu_cap = a->cpu_cap;
	} else {
		freed(s, 0, a->mem_bytes < d->mem_bytes ? d->mem_bytes - a->mem_bytes : 0);
		d->mem_bytes = a->mem_bytes;
	}
}
