/* What is allowed and yet hardly meant: policies that can never come into force, contradict each other or swing; rules that leave no host. Each
 * finding says what to do. Called by load.c after the checks, on values that may stand; where one was refused, nothing is said. See conf.h.
 *
 * Said is only what is certain from the file: whether two policies ever meet in one domain is known where one's match holds all of the other's. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "conf/reader.h"

#define KEY(buf, ...) (snprintf(buf, sizeof(buf), __VA_ARGS__), (buf))
#define DAY_MIN 1440u
#define WEEK_MIN (7 * DAY_MIN)
#define WEEK_WORDS ((WEEK_MIN + 63) / 64)
#define RULE_DOWN_TO 20u /* what law = "free-rule" shrinks to, percent available */
#define EMERGENCY 10u    /* percent of its size that an emergency adds at least */

struct week { /* a bit for each minute, 0 = Monday 00:00 */
	uint64_t bits[WEEK_WORDS];
};

struct lint {
	struct reader *r;
	const struct conf *c;
	struct week *weeks; /* of each policy */
};

/* ---- windows ---- */

static void week_add(struct week *w, unsigned begin, unsigned end, unsigned days)
{
	unsigned length = (end + DAY_MIN - begin) % DAY_MIN;

	if (!length)
		length = DAY_MIN;
	for (unsigned day = 0; day < 7; day++) {
		if (!(days >> day & 1))
			continue;
		for (unsigned i = 0; i < length; i++) {
			unsigned at = (day * DAY_MIN + (begin == end ? 0 : begin) + i) % WEEK_MIN;

			w->bits[at / 64] |= 1ULL << at % 64;
		}
	}
}

static bool week_holds(const struct week *a, const struct week *b)
{
	for (unsigned i = 0; i < WEEK_WORDS; i++)
		if (b->bits[i] & ~a->bits[i])
			return false;
	return true;
}

/* The first minute that both have; WEEK_MIN = none. */
static unsigned week_both(const struct week *a, const struct week *b)
{
	for (unsigned i = 0; i < WEEK_MIN; i++)
		if (a->bits[i / 64] & b->bits[i / 64] & 1ULL << i % 64)
			return i;
	return WEEK_MIN;
}

static bool is_always(const struct policy *p)
{
	return p->tod_begin_min == p->tod_end_min && p->days == 0x7f;
}

/* Is @a's window open whenever @b's is? */
static bool window_holds(const struct lint *l, unsigned a, unsigned b)
{
	const struct policy *p = l->c->policies;

	return is_always(&p[a]) ||
		(strcmp(p[a].zone.name, p[b].zone.name) == 0 && week_holds(&l->weeks[a], &l->weeks[b]));
}

/* ---- matches ---- */

static bool names_hold(const char a[][NAME_MAX_LEN], unsigned n_a, const char b[][NAME_MAX_LEN], unsigned n_b)
{
	if (!n_a)
		return true;
	for (unsigned i = 0; i < n_b; i++) {
		unsigned k = 0;

		while (k < n_a && strcmp(a[k], b[i]) != 0)
			k++;
		if (k == n_a)
			return false;
	}
	return n_b > 0;
}

/* Does pattern @a match all that @b does? Sure where @b is a name, or @a has no other wildcard than '*', which swallows @b's as they are. */
static bool glob_holds(const char *a, const char *b)
{
	if (!*a || strcmp(a, b) == 0)
		return true;
	if (!*b || (strpbrk(b, "*?[\\") && strpbrk(a, "?[\\")))
		return false;
	return fnmatch(a, b, 0) == 0;
}

static bool match_holds(const struct policy *a, const struct policy *b)
{
	return names_hold(a->tags, a->n_tags, b->tags, b->n_tags) && glob_holds(a->domain_glob, b->domain_glob) &&
		(!*a->cluster || strcmp(a->cluster, b->cluster) == 0) &&
		names_hold(a->hosts, a->n_hosts, b->hosts, b->n_hosts);
}

static bool known_host(const struct conf *c, const char *name)
{
	if (strcmp(c->host.host_name, name) == 0)
		return true;
	for (unsigned i = 0; i < c->n_peers; i++)
		if (strcmp(c->peers[i].name, name) == 0)
			return true;
	return false;
}

static void lint_host(struct lint *l, const char *key, const char *name)
{
	const struct conf *c = l->c;
	const char *near = edit_distance(c->host.host_name, name) <= 2 ? c->host.host_name : NULL;

	if (known_host(c, name))
		return;
	for (unsigned i = 0; i < c->n_peers && !near; i++)
		near = edit_distance(c->peers[i].name, name) <= 2 ? c->peers[i].name : NULL;
	reader_warning(l->r, key, "there is no host \"%s\" in this group (host.name, cluster.peers); %s%s%s", name,
		near ? "did you mean \"" : "correct it, or take it out", near ? near : "", near ? "\"?" : "");
}

static void lint_glob(struct lint *l, const char *key, const char *glob)
{
	size_t n = strspn(glob, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?[]!^\\");

	if (glob[n])
		reader_warning(l->r, key,
			"\"%s\" matches nothing: no domain's name has \"%.1s\" in it; names are letters, digits, '.', '_' and '-'",
			glob, (unsigned char)glob[n] < 128 ? glob + n : "?");
}

/* ---- policies that are hidden by others ---- */

enum part {
	PART_CPU,
	PART_MEMORY,
	PART_RELOCATE,
	PART_QUIET,
	PART_POSTCOPY,
	PART_AUTOMATION,
	PART_CALENDAR,
	PART_IMPORTANCE,
	N_PARTS
};
static const char *const part_names[] = {
	"cpu", "memory", "relocate", "quiet-moment", "postcopy", "automation", "calendar", "importance"};

static bool gives(const struct policy *p, enum part part)
{
	switch (part) {
	case PART_CPU:
		return p->cpu.set;
	case PART_MEMORY:
		return p->memory.set;
	case PART_RELOCATE:
		return p->relocate != RELOCATE_UNSET;
	case PART_QUIET:
		return p->quiet_ms != CONF_UNSET;
	case PART_POSTCOPY:
		return p->postcopy != POSTCOPY_UNSET;
	case PART_AUTOMATION:
		return p->automation != AUTO_UNSET;
	case PART_CALENDAR:
		return p->n_windows > 0;
	default:
		return p->importance != CONF_UNSET;
	}
}

/* The one that goes before policy @b and gives @part wherever and whenever @b could; NULL = none. */
static const struct policy *hider(const struct lint *l, unsigned b, enum part part)
{
	const struct policy *p = l->c->policies;

	for (unsigned a = 0; a < l->c->n_policies; a++)
		if (a != b && p[a].enable && gives(&p[a], part) && policy_before(&p[a], &p[b]) &&
			match_holds(&p[a], &p[b]) && window_holds(l, a, b))
			return &p[a];
	return NULL;
}

static const char *rank_text(const struct policy *a, const struct policy *b, char out[64])
{
	if (a->priority == b->priority)
		snprintf(out, 64, "the same priority, and its name comes first");
	else
		snprintf(out, 64, "priority %u before %u", a->priority, b->priority);
	return out;
}

static void lint_hidden(struct lint *l, unsigned i)
{
	const struct policy *p = &l->c->policies[i], *by[N_PARTS], *any = NULL;
	char key[KEY_PATH_MAX], rank[64];
	unsigned given = 0, hidden = 0;

	for (unsigned part = 0; part < N_PARTS; part++) {
		by[part] = gives(p, part) ? hider(l, i, part) : NULL;
		given += gives(p, part);
		hidden += by[part] != NULL;
		any = by[part] ? by[part] : any;
	}
	if (given && hidden == given) {
		reader_warning(l->r, KEY(key, "policies[%u]", i),
			"\"%s\" never comes into force: \"%s\" matches the same domains at the same times (%s) and gives all that it gives; "
			"give it a lower priority number, or another match or window",
			p->name, any->name, rank_text(any, p, rank));
		return;
	}
	for (unsigned part = 0; part < N_PARTS; part++)
		if (by[part])
			reader_warning(l->r, KEY(key, "policies[%u].%s", i, part_names[part]),
				"is never used: \"%s\" (%s) gives it for the same domains at the same times; take one of them out, or give "
				"\"%s\" a lower priority number",
				by[part]->name, rank_text(by[part], p, rank), p->name);
}

static void minute_text(unsigned at, char out[16])
{
	static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

	snprintf(out, 16, "%s %02u:%02u", names[at / DAY_MIN % 7], at % DAY_MIN / 60, at % 60);
}

/* Two that say different things of the same domains, and nothing but their names says which holds. */
static void lint_tie(struct lint *l, unsigned i)
{
	const struct policy *b = &l->c->policies[i];
	char key[KEY_PATH_MAX], when[16];

	for (unsigned k = 0; k < l->c->n_policies; k++) {
		const struct policy *a = &l->c->policies[k];
		unsigned at = WEEK_MIN;

		if (k == i || !a->enable || a->priority != b->priority || !policy_before(a, b) ||
			window_holds(l, k, i) || !match_holds(a, b) || !match_holds(b, a))
			continue;
		if (strcmp(a->zone.name, b->zone.name) == 0)
			at = week_both(&l->weeks[k], &l->weeks[i]);
		for (unsigned part = 0; at < WEEK_MIN && part < N_PARTS; part++) {
			if (!gives(a, part) || !gives(b, part))
				continue;
			minute_text(at, when);
			reader_warning(l->r, KEY(key, "policies[%u].priority", i),
				"%u as \"%s\" has it, which gives %s for the same domains; both windows are open on %s, and only the names decide "
				"which of them holds; give one a lower number",
				b->priority, a->name, part_names[part], when);
			return;
		}
	}
}

/* ---- one policy ---- */

static void lint_cpu(struct lint *l, unsigned i, const struct cpu_policy *p)
{
	char key[KEY_PATH_MAX];
	unsigned most = p->vcpu_max, after;

	if (p->vcpu_min == p->vcpu_max)
		reader_warning(l->r, KEY(key, "policies[%u].cpu.vcpu-min", i),
			"%u is vcpu-max as well: it neither grows nor shrinks; leave the group cpu out, or let them differ",
			p->vcpu_min);
	if (p->util_upper >= 100)
		reader_warning(l->r, KEY(key, "policies[%u].cpu.util-upper", i),
			"no domain uses more than 100 %% of its vCPUs, so it never grows; put it at 95 or below");
	if (p->util_lower > 0 && p->elastic_margin == 0)
		reader_warning(l->r, KEY(key, "policies[%u].cpu.elastic-margin", i),
			"0 lets a domain shrink until it stands at util-upper (%u) itself, where the least more of load makes it grow again; 5 is "
			"the default",
			p->util_upper);
	if (most == CONF_UNSET || most < 2 || p->vcpu_min >= most)
		return;
	after = p->util_upper * (most - 1) / most; /* the last step is the smallest */
	if (after < p->util_lower)
		reader_warning(l->r, KEY(key, "policies[%u].cpu.util-lower", i),
			"one vCPU more takes a domain from %u %% to %u %% even at vcpu-max (%u), below %u: only elastic-margin (%u) is left between "
			"growing and shrinking; put it at %u or below",
			p->util_upper, after, most, p->util_lower, p->elastic_margin, after);
}

static void lint_memory(struct lint *l, unsigned i, const struct mem_policy *p)
{
	char key[KEY_PATH_MAX], size[16];
	unsigned after = (p->reserve_percent + EMERGENCY) * 100 / (100 + EMERGENCY);
	double step;

	if (p->mem_min && p->mem_min == p->mem_max)
		reader_warning(l->r, KEY(key, "policies[%u].memory.memory-min", i),
			"is memory-max as well: it neither grows nor shrinks; leave the group memory out, or let them differ");
	if (p->free_lower == 0 && p->reserve_percent == 0)
		reader_warning(l->r, KEY(key, "policies[%u].memory.free-lower", i),
			"less than 0 %% is never available, so it never grows; 15 is the default");
	if (p->law == LAW_FREE_RULE && p->free_lower >= RULE_DOWN_TO)
		reader_warning(l->r, KEY(key, "policies[%u].memory.free-lower", i),
			"law \"free-rule\" shrinks to %u %% available, and below %u it grows: it would grow and shrink in turn; put free-lower "
			"below %u",
			RULE_DOWN_TO, p->free_lower, RULE_DOWN_TO);
	if (p->law == LAW_PRESSURE && p->reserve_percent && after > p->free_upper)
		reader_warning(l->r, KEY(key, "policies[%u].memory.free-upper", i),
			"an emergency (below reserve, %u) adds %u %%, after which %u %% are available, more than %u: it would give that away at "
			"once; put free-upper above %u",
			p->reserve_percent, EMERGENCY, after, p->free_upper, after);
	step = p->mem_min ? 100.0 * (double)MEM_STEP / (double)p->mem_min : 0;
	if (step > p->free_upper - p->free_lower) {
		size_format(p->mem_min, size);
		reader_warning(l->r, KEY(key, "policies[%u].memory.free-upper", i),
			"one step of 2M is %.0f %% of memory-min (%s), more than lies between free-lower (%u) and free-upper (%u): it would grow "
			"and shrink in turn; put them further apart",
			step, size, p->free_lower, p->free_upper);
	}
}

/* Is there a minute in which its calendar lets a move begin? */
static void lint_calendar(struct lint *l, unsigned i)
{
	const struct policy *p = &l->c->policies[i];
	struct week allow = {{0}}, deny = {{0}};
	char key[KEY_PATH_MAX];
	bool any = false;

	if (!p->n_windows)
		return;
	KEY(key, "policies[%u].calendar", i);
	if (p->relocate == RELOCATE_NEVER) {
		reader_warning(l->r, key, "means nothing with relocate = \"never\"; take one of them out");
		return;
	}
	for (unsigned k = 0; k < p->n_windows; k++) {
		const struct move_window *w = &p->windows[k];

		any |= w->kind == WINDOW_ALLOW;
		week_add(w->kind == WINDOW_ALLOW ? &allow : &deny, w->begin_min, w->end_min, w->days);
	}
	if (!any)
		week_add(&allow, 0, 0, 0x7f);
	if (week_holds(&deny, &allow))
		reader_warning(l->r, key,
			"leaves no minute of the week in which a move may begin: all that is allowed is denied as well; write relocate = \"never\" "
			"if that is meant");
}

static bool gives_nothing(const struct policy *p)
{
	for (unsigned part = 0; part < N_PARTS; part++)
		if (gives(p, part))
			return false;
	return true;
}

static void lint_policy(struct lint *l, unsigned i)
{
	const struct policy *p = &l->c->policies[i];
	char key[KEY_PATH_MAX];

	if (reader_faulty(l->r, KEY(key, "policies[%u]", i)) || !p->enable)
		return;
	if (gives_nothing(p)) {
		reader_warning(l->r, key,
			"\"%s\" gives nothing (cpu, memory, relocate, quiet-moment, postcopy, automation, calendar, importance); it does nothing",
			p->name);
		return;
	}
	for (unsigned k = 0; k < p->n_hosts; k++)
		lint_host(l, KEY(key, "policies[%u].match.hosts[%u]", i, k), p->hosts[k]);
	lint_glob(l, KEY(key, "policies[%u].match.domain", i), p->domain_glob);
	if (p->cpu.set)
		lint_cpu(l, i, &p->cpu);
	if (p->memory.set)
		lint_memory(l, i, &p->memory);
	lint_calendar(l, i);
	lint_hidden(l, i);
	lint_tie(l, i);
}

/* ---- rules ---- */

static bool same_match(const struct conf_rule *a, const struct conf_rule *b)
{
	return names_hold(a->tags, a->n_tags, b->tags, b->n_tags) &&
		names_hold(b->tags, b->n_tags, a->tags, a->n_tags) && strcmp(a->domain_glob, b->domain_glob) == 0 &&
		strcmp(a->cluster, b->cluster) == 0;
}

static bool lists(const struct conf_rule *r, const char *host)
{
	for (unsigned i = 0; i < r->n_hosts; i++)
		if (strcmp(r->hosts[i], host) == 0)
			return true;
	return false;
}

/* Where on and off of two rules together leave no host that one of them lists. */
static bool no_host_left(const struct conf_rule *on, const struct conf_rule *other)
{
	if (on->keep != KEEP_ON || (other->keep != KEEP_ON && other->keep != KEEP_OFF))
		return false;
	for (unsigned i = 0; i < on->n_hosts; i++)
		if (lists(other, on->hosts[i]) == (other->keep == KEEP_ON))
			return false;
	return true;
}

static void lint_pair(struct lint *l, unsigned i, const struct conf_rule *a, const struct conf_rule *b)
{
	char key[KEY_PATH_MAX];

	if (!a->hard || !b->hard || !same_match(a, b))
		return;
	if ((a->keep == KEEP_APART && b->keep == KEEP_TOGETHER) || (a->keep == KEEP_TOGETHER && b->keep == KEEP_APART))
		reader_warning(l->r, KEY(key, "rules[%u].keep", i),
			"rule \"%s\" keeps the same domains %s; both cannot be; take one out, or make one soft (hard = false)",
			a->name, a->keep == KEEP_APART ? "apart" : "together");
	else if (no_host_left(a, b) || no_host_left(b, a))
		reader_warning(l->r, KEY(key, "rules[%u].hosts", i),
			"together with rule \"%s\" they leave no host for the same domains: policy would move none of them anywhere",
			a->name);
}

static void lint_rule(struct lint *l, unsigned i)
{
	const struct conf_rule *r = &l->c->rules[i];
	char key[KEY_PATH_MAX];

	if (reader_faulty(l->r, KEY(key, "rules[%u]", i)))
		return;
	for (unsigned k = 0; k < r->n_hosts; k++)
		lint_host(l, KEY(key, "rules[%u].hosts[%u]", i, k), r->hosts[k]);
	lint_glob(l, KEY(key, "rules[%u].match.domain", i), r->domain_glob);
	for (unsigned k = 0; k < i; k++)
		lint_pair(l, i, &l->c->rules[k], r);
}

void lint_conf(struct reader *r, const struct conf *c)
{
	struct lint l = {.r = r, .c = c, .weeks = calloc(c->n_policies ? c->n_policies : 1, sizeof(struct week))};
	char key[KEY_PATH_MAX];

	if (!l.weeks) {
		r->no_memory = true;
		return;
	}
	for (unsigned i = 0; i < c->n_policies; i++)
		week_add(&l.weeks[i], c->policies[i].tod_begin_min, c->policies[i].tod_end_min, c->policies[i].days);
	for (unsigned i = 0; i < c->n_policies; i++)
		lint_policy(&l, i);
	for (unsigned i = 0; i < c->n_rules; i++)
		lint_rule(&l, i);
	for (unsigned i = 0; i < c->decide.n_exclude; i++)
		lint_host(&l, KEY(key, "decide.exclude-hosts[%u]", i), c->decide.exclude[i]);
	free(l.weeks);
}
