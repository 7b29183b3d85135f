/* decide(): see plan.h. Needs are met in place first - from what is free, then from donors, the least important and most idle
 * first - and by a move only where that is not enough and no donor is about to be able to give. What nobody needs is released.
 *
 * All loops run over domains and peers sorted by name, and every comparison ends with the name, so the order of the snapshot
 * plays no part. A domain gets at most one action, because it can do one thing at a time. */
#include "policyd/decide/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/automation.h"
#include "policyd/decide/company.h"
#include "policyd/decide/view.h"

#define EMERGENCY_REST_MS 3000 /* after a change: until then its statistics may be from before it */

/* ---- the plan as it grows ---- */

/* Room for one more element of @size; grows by doubling. The new one is zero. */
static void *grow(struct view *v, void *list, unsigned *n, size_t size)
{
	void **at = list;
	char *p;

	if ((*n & (*n - 1)) == 0) { /* 0, 1, 2, 4, 8: full */
		p = realloc(*at, (*n ? *n * 2 : 1) * size);
		if (!p) {
			v->no_memory = true;
			return NULL;
		}
		*at = p;
	}
	p = (char *)*at + *n * size;
	memset(p, 0, size);
	(*n)++;
	return p;
}

struct action *view_action(struct view *v, struct vdom *dom, enum action_kind kind, const char *for_domain)
{
	struct action *a = grow(v, &v->plan->actions, &v->plan->n_actions, sizeof(*a));

	if (!a)
		return NULL;
	a->kind = kind;
	a->after = -1;
	snprintf(a->domain, sizeof(a->domain), "%s", dom->d->spec.name);
	snprintf(a->for_domain, sizeof(a->for_domain), "%s", for_domain);
	dom->acts = true;
	return a;
}

struct candidate *view_candidate(struct view *v, const struct vdom *need)
{
	struct candidate *c = grow(v, &v->plan->candidates, &v->plan->n_candidates, sizeof(*c));

	if (c)
		snprintf(c->need, sizeof(c->need), "%s", need->d->spec.name);
	return c;
}

void view_note(struct view *v, const struct vdom *dom, const char *fmt, ...)
{
	struct note *n = grow(v, &v->plan->notes, &v->plan->n_notes, sizeof(*n));
	va_list ap;

	if (!n)
		return;
	snprintf(n->domain, sizeof(n->domain), "%s", dom->d->spec.name);
	va_start(ap, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
}

/* ---- words and weights ---- */

double importance_weight(const struct snap_domain *d)
{
	return (d->policy.importance > 1 ? d->policy.importance : 1) / 50.0;
}

/* What is missing of what it wants is the share of its service that it loses while it is wholly short (severity 1). @met of that
 * comes back, for as long as the need is expected to last. */
double need_gain(const struct view *v, const struct open_need *n, uint64_t met)
{
	const struct need *need = n->kind == NEED_CPU ? &n->v->cpu : &n->v->mem;

	if (!n->want)
		return 0;
	return importance_weight(n->v->d) * need->severity * need_expect_s(v, n) * (double)met / (double)n->want;
}

/* What has lasted for long goes on for long: as long again, within bounds. */
double need_expect_s(const struct view *v, const struct open_need *n)
{
	double lasted_s = n->v->d->need_since_ms ? (double)(v->s->now_ms - n->v->d->need_since_ms) / 1000 : 0;

	return lasted_s < EXPECT_S ? EXPECT_S : lasted_s > EXPECT_MAX_S ? EXPECT_MAX_S : lasted_s;
}

void amount_text(enum need_kind kind, uint64_t amount, char out[32])
{
	if (kind == NEED_CPU)
		snprintf(out, 32, "%u vcpu%s", (unsigned)amount, amount == 1 ? "" : "s");
	else
		size_format(amount, out);
}

/* ---- the view ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct vdom *)a)->d->spec.name, ((const struct vdom *)b)->d->spec.name);
}

static int peers_by_name(const void *a, const void *b)
{
	return strcmp(((const struct vpeer *)a)->p->name, ((const struct vpeer *)b)->p->name);
}

static void find_block(const struct snapshot *s, struct vdom *v)
{
	const struct snap_domain *d = v->d;
	int64_t last = d->last_resize_ms > d->last_move_ms ? d->last_resize_ms : d->last_move_ms;

	if (d->state != DOM_ACTIVE)
		snprintf(v->blocked, sizeof(v->blocked), "is %s", domain_state_name(d->state));
	else if (d->held)
		snprintf(v->blocked, sizeof(v->blocked), "is held%s%.100s%s", *d->hold_reason ? " (" : "",
			d->hold_reason, *d->hold_reason ? ")" : "");
	else if (d->busy)
		snprintf(v->blocked, sizeof(v->blocked), "has an operation under way");
	else
		calm_rests(s, d, v->blocked);
	v->rests = d->state == DOM_ACTIVE && !d->held && !d->busy && s->now_ms - last >= EMERGENCY_REST_MS;
	v->dwells = d->state == DOM_ACTIVE && !d->held && *v->blocked;
}

/* What a peer has free: its report, less what is on its way there. */
static void fill_peer(const struct snapshot *s, const struct snap_peer *p, struct vpeer *out)
{
	uint64_t vcpus = p->vcpus_given, mem = p->mem_given;
	unsigned from_here = 0;

	for (unsigned i = 0; i < s->n_domains; i++) {
		if (!*s->domains[i].moving_to || strcmp(s->domains[i].moving_to, p->name) != 0)
			continue;
		vcpus += s->domains[i].vcpus;
		mem += s->domains[i].mem_bytes;
		from_here++;
	}
	out->p = p;
	out->moves = p->moves > from_here ? p->moves : from_here;
	out->vcpus_free = vcpus < p->vcpus_total ? p->vcpus_total - (unsigned)vcpus : 0;
	out->mem_free = mem < p->mem_total ? p->mem_total - mem : 0;
}

int view_init(struct view *v, const struct snapshot *s, struct plan *plan)
{
	uint64_t cpu = 0, mem = 0, given = s->cpu_given ? s->cpu_given : (uint64_t)s->vcpus_given * 100,
		 total = (uint64_t)s->vcpus_total * 100;

	*v = (struct view){.s = s, .plan = plan, .n_doms = s->n_domains, .n_peers = s->n_peers};
	v->doms = calloc(s->n_domains ? s->n_domains : 1, sizeof(*v->doms));
	v->peers = calloc(s->n_peers ? s->n_peers : 1, sizeof(*v->peers));
	v->needs = calloc(s->n_domains ? 2 * s->n_domains : 1, sizeof(*v->needs));
	if (!v->doms || !v->peers || !v->needs)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_domains; i++)
		v->doms[i].d = &s->domains[i];
	for (unsigned i = 0; i < s->n_peers; i++)
		fill_peer(s, &s->peers[i], &v->peers[i]);
	qsort(v->doms, v->n_doms, sizeof(*v->doms), by_name);
	qsort(v->peers, v->n_peers, sizeof(*v->peers), peers_by_name);
	for (unsigned i = 0; i < v->n_doms; i++) {
		struct vdom *d = &v->doms[i];

		find_block(s, d);
		d->ruled = company_speaks_of(s, d->d->spec.name);
		cpu += d->d->state == DOM_INACTIVE ? 0 : rule_cpu_entitled(d->d);
		mem += d->d->state == DOM_INACTIVE ? 0 : d->d->mem_bytes;
		if (d->d->state == DOM_ACTIVE) {
			d->cpu = rule_cpu_need(d->d, &s->decide);
			d->mem = rule_mem_need(d->d, &s->decide);
		}
	}
	cpu = cpu > given ? cpu : given;
	mem = mem > s->mem_given ? mem : s->mem_given;
	v->free_cpu = cpu < total ? (unsigned)(total - cpu) : 0;
	v->free_mem = mem < s->mem_total ? (s->mem_total - mem) / MEM_STEP * MEM_STEP : 0;
	return 0;
}

void view_fini(struct view *v)
{
	free(v->doms);
	free(v->peers);
	free(v->needs);
}

/* ---- donors ---- */

static uint64_t can_give(const struct view *v, const struct vdom *d, enum need_kind kind)
{
	return kind == NEED_CPU ? rule_cpu_give(d->d, v->s->now_ms) : rule_mem_give(d->d, v->s->now_ms);
}

static double idleness(const struct vdom *d, enum need_kind kind)
{
	if (kind == NEED_CPU)
		return (100 - d->d->util_slow) * rule_cpu_entitled(d->d) / 100;
	return (double)d->d->mem_available;
}

static bool may_donate(const struct vdom *d, const struct vdom *need)
{
	return d != need && !d->acts && d->d->state == DOM_ACTIVE && !d->d->held && !d->cpu.is && !d->mem.is;
}

/* An idle-memory tax of 75 %, as in Waldspurger's adjusted shares-per-page ratio (Memory Resource Management in VMware ESX Server, OSDI 2002): memory is taken
 * from whom the ratio is the lowest for. What is not in use costs its owner four times as much as what is, so one that is important and idle gives before one that is
 * a little less so and uses what it has. Importance speaks of a domain, not of its pages, so sizes are left out. */
#define IDLE_COST 4 /* 1 / (1 - tax) */
static double taxed(const struct vdom *d)
{
	double idle = rule_mem_available_percent(d->d) / 100;

	return d->d->policy.importance / (1 - idle + IDLE_COST * idle);
}

static bool gives_before(const struct vdom *a, const struct vdom *b, enum need_kind kind)
{
	unsigned ia = a->d->policy.importance, ib = b->d->policy.importance;

	if (kind == NEED_MEM && taxed(a) != taxed(b))
		return taxed(a) < taxed(b);
	return ia != ib ? ia < ib : idleness(a, kind) > idleness(b, kind);
}

/* The best donor that has not been asked yet: for memory by the tax above, for CPU the least important, then the most idle; then by name. @part: one that
 * gives by a cap. */
static struct vdom *next_donor(struct view *v, const struct open_need *n, bool part)
{
	struct vdom *best = NULL;

	for (unsigned i = 0; i < v->n_doms; i++) {
		struct vdom *d = &v->doms[i];

		if (!may_donate(d, n->v) || *d->blocked || !(part ? rule_cpu_give_part(d->d) : can_give(v, d, n->kind)))
			continue;
		if (!best || gives_before(d, best, n->kind))
			best = d;
	}
	return best;
}

/* "idle 97 %": the figure that makes it a donor. */
static void idle_text(const struct vdom *d, enum need_kind kind, char out[48])
{
	if (kind == NEED_CPU)
		snprintf(out, 48, "idle %.0f %%", 100 - d->d->util_slow);
	else
		snprintf(out, 48, "%.0f %% available", rule_mem_available_percent(d->d));
}

static void policy_of(const struct vdom *d, enum need_kind kind, char out[CONF_NAME])
{
	snprintf(out, CONF_NAME, "%s", kind == NEED_CPU ? d->d->policy.cpu_from : d->d->policy.memory_from);
}

static void donate(struct view *v, struct open_need *n, struct vdom *d, int *after)
{
	uint64_t give = can_give(v, d, n->kind);
	char amount[32], idle[48];
	struct candidate *c;
	struct action *a;

	give = give < need_left(n) ? give : need_left(n);
	a = view_action(v, d, n->kind == NEED_CPU ? ACT_SET_VCPUS : ACT_SET_MEMORY, n->v->d->spec.name);
	c = view_candidate(v, n->v);
	if (!a || !c)
		return;
	amount_text(n->kind, give, amount);
	idle_text(d, n->kind, idle);
	if (n->kind == NEED_CPU)
		a->vcpus = d->d->vcpus - (unsigned)give;
	else
		a->mem_bytes = d->d->mem_bytes - give;
	policy_of(n->v, n->kind, a->policy);
	snprintf(a->why, sizeof(a->why), "gives %s to %s (%s, importance %u)", amount, n->v->d->spec.name, idle,
		d->d->policy.importance);
	a->after = *after;
	*after = (int)v->plan->n_actions - 1;
	snprintf(c->text, sizeof(c->text), "in place: %s gives %s (%s)", d->d->spec.name, amount, idle);
	c->gain = need_gain(v, n, give);
	c->verdict = CAND_CHOSEN;
	snprintf(c->why, sizeof(c->why), "importance %u", d->d->policy.importance);
	n->got += give;
}

/* ---- parts of vCPUs ---- */

/* What is still wanted, percent of one CPU; a part that it is entitled to already counts. */
static unsigned cpu_left(const struct open_need *n)
{
	uint64_t has = rule_cpu_entitled(n->v->d) + n->got * 100 + n->part, want = n->want * 100;

	return has < want ? (unsigned)(want - has) : 0;
}

/* @percent more for @n, as @text says. */
static void part_got(struct view *v, struct open_need *n, unsigned percent, const char *text, unsigned importance)
{
	struct candidate *c = view_candidate(v, n->v);

	n->part += percent;
	n->got += n->part / 100;
	n->part %= 100;
	if (!c)
		return;
	snprintf(c->text, sizeof(c->text), "%s", text);
	c->gain = need_gain(v, n, 1) * percent / 100;
	c->verdict = CAND_CHOSEN;
	if (importance == CONF_UNSET)
		snprintf(c->why, sizeof(c->why), "costs nothing");
	else
		snprintf(c->why, sizeof(c->why), "importance %u", importance);
}

static void take_free_part(struct view *v, struct open_need *n)
{
	unsigned take = v->free_cpu < cpu_left(n) ? v->free_cpu : cpu_left(n);
	char amount[16], text[192];

	take = take / RULE_CPU_PART * RULE_CPU_PART;
	if (!take)
		return;
	v->free_cpu -= take;
	cpu_format(take, amount);
	snprintf(text, sizeof(text), "in place: %s has %s of a vcpu free", v->s->host, amount);
	part_got(v, n, take, text, CONF_UNSET);
}

/* To @to percent of one CPU. Whole vCPUs that are no longer needed for that go, unless its guest has just refused to give one up. */
static void shrink_cpu(const struct view *v, const struct snap_domain *d, unsigned to, struct action *a)
{
	bool asks = d->unplug_frozen_until_ms <= v->s->now_ms;

	a->vcpus = asks ? (to + 99) / 100 : d->vcpus;
	a->cpu_cap = to < a->vcpus * 100 ? to : 0;
}

/* Its guest need not agree: its QEMU is capped to what it uses and some more. */
static void donate_part(struct view *v, struct open_need *n, struct vdom *d, int *after)
{
	unsigned give = rule_cpu_give_part(d->d),
		 left = (cpu_left(n) + RULE_CPU_PART - 1) / RULE_CPU_PART * RULE_CPU_PART;
	struct action *a = view_action(v, d, ACT_SET_VCPUS, n->v->d->spec.name);
	char amount[16], idle[48], text[192];

	if (!a)
		return;
	give = give < left ? give : left;
	cpu_format(give, amount);
	idle_text(d, NEED_CPU, idle);
	shrink_cpu(v, d->d, rule_cpu_entitled(d->d) - give, a);
	policy_of(n->v, NEED_CPU, a->policy);
	snprintf(a->why, sizeof(a->why), "gives %s of a vcpu to %s, by a cap (%s, importance %u)", amount,
		n->v->d->spec.name, idle, d->d->policy.importance);
	a->after = *after;
	*after = (int)v->plan->n_actions - 1;
	snprintf(text, sizeof(text), "in place: %s gives %s of a vcpu by a cap (%s)", d->d->spec.name, amount, idle);
	part_got(v, n, give, text, d->d->policy.importance);
}

/* Where no whole vCPU is to be had: parts of them. */
static void meet_by_parts(struct view *v, struct open_need *n, int *after)
{
	struct vdom *d;

	take_free_part(v, n);
	while (cpu_left(n) && (d = next_donor(v, n, true)) && !v->no_memory)
		donate_part(v, n, d, after);
}

/* ---- needs ---- */

static void need_text(const struct vdom *d, enum need_kind kind, char out[200])
{
	const struct policy_effective *p = &d->d->policy;

	if (kind == NEED_CPU)
		snprintf(out, 200, "util %.0f %%, bound %u %%; policy %.60s", d->d->util_fast, p->cpu.util_upper,
			p->cpu_from);
	else
		snprintf(out, 200, "%.0f %% available, bound %u %%; policy %.60s", rule_mem_available_percent(d->d),
			p->memory.free_lower, p->memory_from);
}

static void take_free(struct view *v, struct open_need *n)
{
	uint64_t free_now = n->kind == NEED_CPU ? v->free_cpu / 100 : v->free_mem;
	uint64_t take = need_left(n) < free_now ? need_left(n) : free_now;
	struct candidate *c;
	char amount[32];

	if (!take)
		return;
	if (n->kind == NEED_CPU)
		v->free_cpu -= (unsigned)take * 100;
	else
		v->free_mem -= take;
	n->got += take;
	c = view_candidate(v, n->v);
	if (!c)
		return;
	amount_text(n->kind, take, amount);
	snprintf(c->text, sizeof(c->text), "in place: %s has %s free", v->s->host, amount);
	c->gain = need_gain(v, n, take);
	c->verdict = CAND_CHOSEN;
	snprintf(c->why, sizeof(c->why), "costs nothing");
}

/* As many vCPUs as it takes to use what it gets, and a cap where that is not all of them. */
static void grow_cpu(const struct open_need *n, struct action *a)
{
	uint64_t to = rule_cpu_entitled(n->v->d) + n->got * 100 + n->part, want = n->want * 100;

	to = to < want ? to : want;
	a->vcpus = (unsigned)(to + 99) / 100;
	if (a->vcpus < n->v->d->vcpus)
		a->vcpus = n->v->d->vcpus;
	a->cpu_cap = to < a->vcpus * 100 ? (unsigned)to : 0;
}

static void grow_domain(struct view *v, struct open_need *n, int after)
{
	struct action *a =
		view_action(v, n->v, n->kind == NEED_CPU ? ACT_SET_VCPUS : ACT_SET_MEMORY, n->v->d->spec.name);
	char amount[32], figures[200];

	if (!a)
		return;
	a->after = after;
	if (n->kind == NEED_CPU)
		grow_cpu(n, a);
	else
		a->mem_bytes = n->have + n->got;
	policy_of(n->v, n->kind, a->policy);
	amount_text(n->kind, n->want - n->have, amount);
	need_text(n->v, n->kind, figures);
	snprintf(a->why, sizeof(a->why), "needs %s more (%s)", amount, figures);
}

/* A donor that is only resting could give soon: better wait for it than move anything. */
static struct vdom *soon_donor(struct view *v, const struct open_need *n)
{
	for (unsigned i = 0; i < v->n_doms; i++) {
		struct vdom *d = &v->doms[i];

		if (may_donate(d, n->v) && d->dwells && can_give(v, d, n->kind))
			return d;
	}
	return NULL;
}

/* So is one that is leaving: what it frees may be enough. */
static struct vdom *leaver(struct view *v)
{
	for (unsigned i = 0; i < v->n_doms; i++)
		if (*v->doms[i].d->moving_to && v->doms[i].d->state != DOM_INACTIVE)
			return &v->doms[i];
	return NULL;
}

/* What can be done without moving anything. */
static void meet_in_place(struct view *v, struct open_need *n)
{
	struct vdom *d;
	int after = -1;

	take_free(v, n);
	while (need_left(n) && !v->s->emptying && (d = next_donor(v, n, false)) && !v->no_memory)
		donate(v, n, d, &after);
	if (n->kind == NEED_CPU && v->s->caps && need_left(n) && !v->s->emptying)
		meet_by_parts(v, n, &after);
	if (n->got || n->part)
		grow_domain(v, n, after);
}

/* What is left of it: wait for one that is about to give, or move. True: a move was added. */
static bool meet_by_move(struct view *v, struct open_need *n, bool may_move)
{
	char left[32], figures[200];
	struct vdom *d = soon_donor(v, n);

	if (v->s->emptying) /* leave.c has said what becomes of it */
		return false;
	amount_text(n->kind, need_left(n), left);
	need_text(n->v, n->kind, figures);
	if (d) {
		view_note(v, n->v, "needs %s more (%s) and waits: %s could give, but %s", left, figures,
			d->d->spec.name, d->blocked);
		return false;
	}
	d = leaver(v);
	if (d) {
		view_note(v, n->v, "needs %s more (%s) and waits: %s is on its way to %s and makes room", left, figures,
			d->d->spec.name, d->d->moving_to);
		return false;
	}
	if (may_move && moves_try(v, n)) {
		view_note(v, n->v, "needs %s more (%s)", left, figures);
		return true;
	}
	view_note(v, n->v,
		"needs %s more (%s) and does not get it: %s has nothing free, nobody can give, and no move is %s", left,
		figures, v->s->host, may_move ? "possible and worth it" : "made beside the one in this plan");
	return false;
}

static double severity(const struct open_need *n)
{
	return n->kind == NEED_CPU ? n->v->cpu.severity : n->v->mem.severity;
}

/* Most important first, then worst, then by name; memory before CPU. */
static int by_weight(const void *a, const void *b)
{
	const struct open_need *x = a, *y = b;
	unsigned ix = x->v->d->policy.importance, iy = y->v->d->policy.importance;
	int by;

	if (ix != iy)
		return ix > iy ? -1 : 1;
	if (severity(x) != severity(y))
		return severity(x) > severity(y) ? -1 : 1;
	by = strcmp(x->v->d->spec.name, y->v->d->spec.name);
	return by ? by : (int)x->kind - (int)y->kind;
}

static void find_needs(struct view *v)
{
	for (unsigned i = 0; i < v->n_doms; i++) {
		struct vdom *d = &v->doms[i];

		if (d->mem.is && (!*d->blocked || (d->rests && d->mem.emergency)))
			v->needs[v->n_needs++] = (struct open_need){
				.v = d, .kind = NEED_MEM, .have = d->d->mem_bytes, .want = d->mem.want};
		if (d->cpu.is && !*d->blocked)
			v->needs[v->n_needs++] = (struct open_need){
				.v = d, .kind = NEED_CPU, .have = rule_cpu_entitled(d->d) / 100, .want = d->cpu.want};
	}
	qsort(v->needs, v->n_needs, sizeof(*v->needs), by_weight);
}

/* In place for all of them first; then a move is weighed by what it does for all that are still open. */
static void meet_needs(struct view *v)
{
	bool moved = false;

	find_needs(v);
	for (unsigned i = 0; i < v->n_needs && !v->no_memory; i++) {
		struct open_need *n = &v->needs[i];

		n->put_off = n->v->acts; /* one thing at a time */
		if (!n->put_off)
			meet_in_place(v, n);
	}
	for (unsigned i = 0; i < v->n_needs && !v->no_memory; i++)
		if (need_left(&v->needs[i]))
			moved |= meet_by_move(v, &v->needs[i], !moved);
}

static void release_vcpus(struct view *v, struct vdom *d)
{
	unsigned back = rule_cpu_release(d->d, &v->s->decide, v->s->now_ms);
	struct action *a = back ? view_action(v, d, ACT_SET_VCPUS, d->d->spec.name) : NULL;

	if (!a)
		return;
	a->vcpus = d->d->vcpus - back;
	policy_of(d, NEED_CPU, a->policy);
	snprintf(a->why, sizeof(a->why), "gives %u vcpu%s back (util %.0f %%, below %u %%; policy %.60s)", back,
		back == 1 ? "" : "s", d->d->util_slow, d->d->policy.cpu.util_lower, d->d->policy.cpu_from);
}

/* A cap that policy set is lifted when there is room for that: nobody needs what it took. */
static void lift_cap(struct view *v, struct vdom *d)
{
	unsigned missing = d->d->vcpus * 100 - rule_cpu_entitled(d->d);
	struct action *a;
	char amount[16];

	if (!missing || !d->d->cpu_cap_by_policy || v->free_cpu < missing)
		return;
	a = view_action(v, d, ACT_SET_VCPUS, d->d->spec.name);
	if (!a)
		return;
	v->free_cpu -= missing;
	a->vcpus = d->d->vcpus;
	policy_of(d, NEED_CPU, a->policy);
	cpu_format(missing, amount);
	snprintf(
		a->why, sizeof(a->why), "gets %s of a vcpu back that nobody needs any more: its cap is lifted", amount);
}

static void release_memory(struct view *v, struct vdom *d)
{
	uint64_t back = d->mem.is ? 0 : rule_mem_release(d->d, v->s->now_ms);
	struct action *a = back ? view_action(v, d, ACT_SET_MEMORY, d->d->spec.name) : NULL;
	char amount[32], advised[32];

	if (!a)
		return;
	amount_text(NEED_MEM, back, amount);
	amount_text(NEED_MEM, d->d->mem_advised, advised);
	a->mem_bytes = d->d->mem_bytes - back;
	policy_of(d, NEED_MEM, a->policy);
	snprintf(a->why, sizeof(a->why), "gives %s back (by its use of the last days it needs %s; policy %.60s)",
		amount, advised, d->d->policy.memory_from);
}

static void release_idle(struct view *v)
{
	for (unsigned i = 0; i < v->n_doms && !v->no_memory; i++) {
		struct vdom *d = &v->doms[i];

		if (!d->acts && !*d->blocked)
			lift_cap(v, d);
		if (!d->acts && !*d->blocked)
			release_vcpus(v, d);
		if (!d->acts && !*d->blocked)
			release_memory(v, d);
	}
}

/* What is for the need of a domain whose policy is a dry run is said, and not done. */
static void mark_dry(struct view *v)
{
	for (unsigned i = 0; i < v->plan->n_actions; i++) {
		struct action *a = &v->plan->actions[i];
		char why[sizeof(a->why)];

		for (unsigned j = 0; j < v->n_doms; j++) {
			const struct policy_effective *p = &v->doms[j].d->policy;

			if (strcmp(v->doms[j].d->spec.name, a->for_domain) != 0)
				continue;
			a->dry = a->kind == ACT_SET_VCPUS   ? p->cpu_dry
				: a->kind == ACT_SET_MEMORY ? p->memory_dry
							    : p->cpu_dry || p->memory_dry;
		}
		if (!a->dry)
			continue;
		memcpy(why, a->why, sizeof(why));
		snprintf(a->why, sizeof(a->why), "would, if its policy were no dry run: %.*s", (int)(sizeof(why) - 48),
			why);
	}
}

int decide(const struct snapshot *s, struct plan *out)
{
	struct plan plan = {0};
	struct view v;

	if (view_init(&v, s, &plan) == 0) {
		leave_add(&v);
		meet_needs(&v);
		if (!s->emptying)
			release_idle(&v);
		mark_dry(&v);
		automation_mark(s, &plan);
		notes_add(&v);
	} else {
		v.no_memory = true;
	}
	view_fini(&v);
	if (v.no_memory) {
		plan_fini(&plan);
		return -ENOMEM;
	}
	*out = plan;
	return 0;
}
