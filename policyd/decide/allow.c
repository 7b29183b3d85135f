/* The cheapest change that would allow it: see allow.h.
 *
 * Each row of `trials` is one kind of change, asked of the host, of each domain or of each other host: it changes a copy of the snapshot where it has
 * something to change, and says what. The rows stand in the order of what they cost somebody; of one rank the one with the lowest price counts. */
#include "policyd/decide/allow.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/calm.h"
#include "policyd/decide/rules.h"
#include "policyd/decide/text.h"

#define PEERS_MAX 16
#define TRIALS_MAX 80
#define BLACKOUT_MAX_MS 600000u
#define MINUTE_MS 60000LL

struct try_out { /* one changed snapshot */
	struct snapshot s;
	const char *domain; /* in need */
	char what[256];     /* "web2 were released (policyctl release web2)" */
};

struct allow {
	const struct snapshot *s; /* as it is */
	const struct plan *now;
	const char *domain;
	struct snap_peer peers[PEERS_MAX];
	unsigned n_peers, n_tried;
	double price; /* of the best so far */
	char *out;
	bool found;
};

static bool say(struct try_out *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(struct try_out *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->what, sizeof(t->what), fmt, ap);
	va_end(ap);
	return true;
}

static const struct snap_domain *domain_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.name, name) == 0)
			return &s->domains[i];
	return NULL;
}

/* ---- changes: the host's ---- */

/* Time goes by, and all else stays as it is. */
static void later(struct snapshot *s, int64_t ms)
{
	int64_t minutes = (s->now_ms % MINUTE_MS + ms) / MINUTE_MS + s->minute_of_day;

	s->now_ms += ms;
	s->minute_of_day = (unsigned)(minutes % 1440);
	s->weekday = (unsigned)((s->weekday + minutes / 1440) % 7);
}

static bool wait_for(struct try_out *t, unsigned i, unsigned from)
{
	static const unsigned seconds[] = {10, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21600, 43200, 86400};

	i += from;
	later(&t->s, (int64_t)seconds[i] * 1000);
	if (seconds[i] < 120)
		return say(t, "%u s", seconds[i]);
	return seconds[i] < 7200 ? say(t, "%u min", seconds[i] / 60) : say(t, "%u h", seconds[i] / 3600);
}

static bool soon(struct try_out *t, unsigned i)
{
	return wait_for(t, i, 0);
}

static bool much_later(struct try_out *t, unsigned i)
{
	return wait_for(t, i, 8);
}

static bool more_moves(struct try_out *t, unsigned i)
{
	(void)i;
	t->s.decide.max_moves = t->s.moves_now + 1;
	return say(t, "decide.max-moves were at least %u", t->s.decide.max_moves);
}

static bool more_in_hour(struct try_out *t, unsigned i)
{
	(void)i;
	t->s.decide.moves_per_hour = t->s.moves_last_hour + 1;
	return say(t, "decide.moves-per-hour were at least %u", t->s.decide.moves_per_hour);
}

static bool more_budget(struct try_out *t, unsigned i)
{
	struct conf_decide *c = &t->s.decide;

	(void)i;
	c->bytes_per_hour = c->domain_bytes_per_hour = 0;
	c->blackout_per_hour_ms = c->domain_blackout_per_hour_ms = 0;
	return say(t,
		"the hour's budgets of bytes and blackout were higher (decide.bytes-per-hour, decide.blackout-per-hour)");
}

/* 0.1 s first, then doubled: the first that helps is named. */
static bool more_blackout(struct try_out *t, unsigned i)
{
	unsigned ms = 100u << i;

	if (ms <= t->s.max_blackout_ms || ms > BLACKOUT_MAX_MS)
		return false;
	t->s.max_blackout_ms = ms;
	return ms < 10000 ? say(t, "migration.max-blackout were %u ms", ms)
			  : say(t, "migration.max-blackout were %u s", ms / 1000);
}

static bool less_gain(struct try_out *t, unsigned i)
{
	static const double ratios[] = {1.0, 0.5, 0.2, 0.1};

	if (t->s.decide.min_gain_ratio <= ratios[i])
		return false;
	t->s.decide.min_gain_ratio = ratios[i];
	return say(t, "decide.min-gain-ratio were %.3g", ratios[i]);
}

/* ---- changes: a domain's ---- */

static bool released(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];

	if (!d->held)
		return false;
	d->held = false;
	return say(t, "%s were released from its hold (policyctl release %s)", d->spec.name, d->spec.name);
}

static bool unpinned(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];

	if (!d->pinned)
		return false;
	d->pinned = false;
	return say(t, "%s were not pinned (policyctl unpin %s)", d->spec.name, d->spec.name);
}

static bool let_move(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];

	if (d->policy.relocate != RELOCATE_NEVER)
		return false;
	d->policy.relocate = RELOCATE_LIVE;
	return say(t, "policy \"%s\" let %s be moved live (relocate)", d->policy.relocate_from, d->spec.name);
}

/* A donor's floor: one vCPU less. */
static bool lower_vcpus(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];

	if (strcmp(d->spec.name, t->domain) == 0 || d->vcpus < 2 || d->vcpus > rule_cpu_floor(d))
		return false;
	d->spec.vcpus_min = d->policy.cpu.vcpu_min = d->vcpus - 1;
	return say(t, "the minimum of %s were %u vcpu%s (vcpus.min, vcpu-min)", d->spec.name, d->vcpus - 1,
		d->vcpus == 2 ? "" : "s");
}

static bool lower_memory(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];
	uint64_t before = rule_mem_floor(d);
	char size[16];

	if (strcmp(d->spec.name, t->domain) == 0)
		return false;
	d->spec.mem_min = MEM_STEP;
	d->policy.memory.mem_min = 0;
	if (rule_mem_floor(d) >= before)
		return false;
	d->spec.mem_min = rule_mem_floor(d);
	size_format(d->spec.mem_min, size);
	return say(t, "the minimum of %s were %s (memory.min, memory-min)", d->spec.name, size);
}

/* The limit of the one in need itself. */
static bool higher_vcpus(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];

	if (strcmp(d->spec.name, t->domain) != 0 || d->vcpus < rule_cpu_ceiling(d))
		return false;
	if (d->spec.vcpus_max <= d->vcpus)
		d->spec.vcpus_max = d->vcpus + 1;
	if (d->policy.cpu.vcpu_max <= d->vcpus)
		d->policy.cpu.vcpu_max = d->vcpus + 1;
	return say(t, "its limit were more than %u vcpus (vcpus.max, vcpu-max)", d->vcpus);
}

static bool higher_memory(struct try_out *t, unsigned i)
{
	struct snap_domain *d = &t->s.domains[i];
	char size[16];

	if (strcmp(d->spec.name, t->domain) != 0 || d->mem_bytes < rule_mem_ceiling(d))
		return false;
	d->spec.mem_max = 2 * d->mem_bytes;
	d->policy.memory.mem_max = 0;
	size_format(d->mem_bytes, size);
	return say(t, "its limit were more than %s (memory.max, memory-max)", size);
}

/* ---- changes: another host's ---- */

static bool open_peer(struct try_out *t, unsigned i)
{
	struct snap_peer *p = &t->s.peers[i];

	if (p->up && p->accepts)
		return false;
	if (!p->up || !p->vcpus_total) /* what it has is not known then */
		return false;
	p->accepts = true;
	return say(t, "%s took domains (there: policyctl maintenance off %s)", p->name, p->name);
}

static bool include_peer(struct try_out *t, unsigned i)
{
	struct snap_peer *p = &t->s.peers[i];

	if (!p->excluded)
		return false;
	p->excluded = false;
	return say(t, "%s were not excluded (decide.exclude-hosts)", p->name);
}

/* As much as @d lacks there. */
static bool room_for(struct try_out *t, struct snap_peer *p, const struct snap_domain *d)
{
	uint64_t mem_free = p->mem_total > p->mem_given ? p->mem_total - p->mem_given : 0;
	unsigned vcpus_free = p->vcpus_total > p->vcpus_given ? p->vcpus_total - p->vcpus_given : 0;
	char have[16], want[16];

	if (!p->up || (d->vcpus <= vcpus_free && d->mem_bytes <= mem_free))
		return false;
	size_format(mem_free, have);
	size_format(d->mem_bytes, want);
	say(t, "%s had %u vcpu%s and %s free (it has %u and %s)", p->name, d->vcpus, d->vcpus == 1 ? "" : "s", want,
		vcpus_free, have);
	p->vcpus_total += d->vcpus > vcpus_free ? d->vcpus - vcpus_free : 0;
	p->mem_total += d->mem_bytes > mem_free ? d->mem_bytes - mem_free : 0;
	return true;
}

/* Room for the smallest one that could be moved out of the way. */
static bool room_for_small(struct try_out *t, unsigned i)
{
	const struct snap_domain *small = NULL;

	for (unsigned k = 0; k < t->s.n_domains; k++) {
		const struct snap_domain *d = &t->s.domains[k];

		if (d->state == DOM_ACTIVE && d->movable && !d->held && !d->pinned &&
			d->policy.relocate != RELOCATE_NEVER &&
			(!small || d->mem_bytes < small->mem_bytes ||
				(d->mem_bytes == small->mem_bytes && strcmp(d->spec.name, small->spec.name) < 0)))
			small = d;
	}
	return small && room_for(t, &t->s.peers[i], small);
}

/* ... and for what it needs, where the one in need goes there itself. */
static bool room_for_need(struct try_out *t, unsigned i)
{
	struct snap_domain grown = *domain_of(&t->s, t->domain);
	struct need cpu = rule_cpu_need(&grown, &t->s.decide), mem = rule_mem_need(&grown, &t->s.decide);

	grown.vcpus = cpu.is ? (unsigned)cpu.want : grown.vcpus;
	grown.mem_bytes = mem.is ? mem.want : grown.mem_bytes;
	return room_for(t, &t->s.peers[i], &grown);
}

/* ---- the table ---- */

enum asked_of { OF_HOST, OF_DOMAINS, OF_PEERS };
static const struct trial {
	enum asked_of of;
	unsigned n; /* OF_HOST: steps, the first that helps counts */
	bool (*change)(struct try_out *t, unsigned i);
	unsigned rank;
	const char *lead; /* before what is said */
} trials[] = {
	{OF_HOST, 8, soon, 0, "it will be helped by itself within "},
	{OF_DOMAINS, 0, released, 1, "it would be helped if "},
	{OF_DOMAINS, 0, unpinned, 1, "it would be helped if "},
	{OF_HOST, 1, more_moves, 2, "it would be helped if "},
	{OF_HOST, 1, more_in_hour, 2, "it would be helped if "},
	{OF_HOST, 1, more_budget, 2, "it would be helped if "},
	{OF_HOST, 13, more_blackout, 2, "it would be helped if "},
	{OF_HOST, 4, less_gain, 2, "it would be helped if "},
	{OF_PEERS, 0, open_peer, 3, "it would be helped if "},
	{OF_PEERS, 0, include_peer, 3, "it would be helped if "},
	{OF_DOMAINS, 0, higher_vcpus, 4, "it would be helped if "},
	{OF_DOMAINS, 0, higher_memory, 4, "it would be helped if "},
	{OF_DOMAINS, 0, let_move, 4, "it would be helped if "},
	{OF_DOMAINS, 0, lower_vcpus, 4, "it would be helped if "},
	{OF_DOMAINS, 0, lower_memory, 4, "it would be helped if "},
	{OF_HOST, 4, much_later, 5, "it will be helped by itself within "},
	{OF_PEERS, 0, room_for_small, 6, "it would be helped if "},
	{OF_PEERS, 0, room_for_need, 6, "it would be helped if "},
};
#define N_TRIALS (sizeof(trials) / sizeof(trials[0]))

/* ---- trying ---- */

static bool same_action(const struct action *a, const struct action *b)
{
	return a->kind == b->kind && a->vcpus == b->vcpus && a->mem_bytes == b->mem_bytes &&
		strcmp(a->domain, b->domain) == 0 && strcmp(a->target, b->target) == 0;
}

/* The first action for @domain that is not done as it is; NULL: nothing more is done for it. */
static const struct action *helps(const struct plan *pl, const struct plan *now, const char *domain)
{
	for (unsigned i = 0; i < pl->n_actions; i++) {
		const struct action *a = &pl->actions[i];
		bool also_now = false;

		if (strcmp(a->for_domain, domain) != 0)
			continue;
		for (unsigned k = 0; k < now->n_actions; k++)
			also_now |= same_action(a, &now->actions[k]);
		if (!also_now)
			return a;
	}
	return NULL;
}

static double price_of(const struct plan *pl, const struct action *a)
{
	for (unsigned i = 0; i < pl->n_candidates; i++)
		if (pl->candidates[i].verdict == CAND_CHOSEN && strcmp(pl->candidates[i].need, a->for_domain) == 0 &&
			strncmp(pl->candidates[i].text, "move ", 5) == 0)
			return pl->candidates[i].price;
	return 0;
}

static bool copy_init(const struct allow *a, struct try_out *t)
{
	t->s = *a->s;
	t->domain = a->domain;
	t->s.domains = malloc((a->s->n_domains ? a->s->n_domains : 1) * sizeof(*t->s.domains));
	t->s.peers = malloc(sizeof(a->peers));
	if (!t->s.domains || !t->s.peers) {
		free(t->s.domains);
		free(t->s.peers);
		return false;
	}
	memcpy(t->s.domains, a->s->domains, a->s->n_domains * sizeof(*t->s.domains));
	memcpy(t->s.peers, a->peers, a->n_peers * sizeof(*t->s.peers));
	t->s.n_peers = a->n_peers;
	return true;
}

/* True: this change helps. Kept where it is cheaper than what was found at this rank. */
static bool try_one(struct allow *a, const struct trial *row, unsigned i)
{
	const struct action *does = NULL;
	struct plan pl = {0};
	struct try_out t;
	char done[256];
	double price;

	if (a->n_tried >= TRIALS_MAX || !copy_init(a, &t))
		return false;
	if (row->change(&t, i) && ++a->n_tried && decide(&t.s, &pl) == 0)
		does = helps(&pl, a->now, a->domain);
	price = does ? price_of(&pl, does) : 0;
	if (does && (!a->found || price < a->price)) {
		a->found = true;
		a->price = price;
		action_text(does, domain_of(&t.s, does->domain), done, sizeof(done));
		snprintf(a->out, ALLOW_TEXT, "%s%s%s: %s", row->lead, t.what,
			row->lead[4] == 'i' ? ", if all else stays as it is" : "", done);
	}
	plan_fini(&pl);
	free(t.s.domains);
	free(t.s.peers);
	return does != NULL;
}

static void try_row(struct allow *a, const struct trial *row)
{
	unsigned n = row->of == OF_HOST ? row->n : row->of == OF_DOMAINS ? a->s->n_domains : a->n_peers;

	for (unsigned i = 0; i < n; i++)
		if (try_one(a, row, i) && row->of == OF_HOST)
			return;
}

static int by_room(const void *x, const void *y)
{
	const struct snap_peer *a = x, *b = y;
	int64_t fa = (int64_t)(a->mem_total - a->mem_given), fb = (int64_t)(b->mem_total - b->mem_given);

	if (fa != fb)
		return fa > fb ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Those with most room, of all. */
static bool take_peers(struct allow *a)
{
	unsigned n = a->s->n_peers;
	struct snap_peer *all = malloc((n ? n : 1) * sizeof(*all));

	if (!all)
		return false;
	for (unsigned i = 0; i < n; i++)
		all[i] = a->s->peers[i];
	qsort(all, n, sizeof(*all), by_room);
	a->n_peers = n < PEERS_MAX ? n : PEERS_MAX;
	memcpy(a->peers, all, a->n_peers * sizeof(*all));
	free(all);
	return true;
}

bool allow_find(const struct snapshot *s, const struct plan *pl, const char *domain, char out[ALLOW_TEXT])
{
	struct allow *a;
	bool found;

	if (!domain_of(s, domain))
		return false;
	a = calloc(1, sizeof(*a));
	if (!a)
		return false;
	*a = (struct allow){.s = s, .now = pl, .domain = domain, .out = out};
	if (take_peers(a))
		for (unsigned i = 0; i < N_TRIALS && !(a->found && trials[i].rank != trials[i - 1].rank); i++)
			try_row(a, &trials[i]);
	found = a->found;
	free(a);
	return found;
}

bool allow_wanted(const struct snapshot *s, const struct plan *pl, const char *domain)
{
	const struct snap_domain *d = domain_of(s, domain);

	if (!d || d->state != DOM_ACTIVE)
		return false;
	for (unsigned i = 0; i < pl->n_candidates; i++)
		if (strcmp(pl->candidates[i].need, domain) == 0 && strcmp(pl->candidates[i].text, "do nothing") == 0)
			return pl->candidates[i].verdict == CAND_CHOSEN;
	for (unsigned i = 0; i < pl->n_actions; i++)
		if (strcmp(pl->actions[i].for_domain, domain) == 0)
			return false;
	return rule_cpu_need(d, &s->decide).is || rule_mem_need(d, &s->decide).is ||
		rule_cpu_at_ceiling(d, &s->decide) || rule_mem_at_ceiling(d, &s->decide);
}
