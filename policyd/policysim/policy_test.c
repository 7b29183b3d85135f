/* Runs policy tests: see policy_test.h. A second at a time: loads are measured as watch does it (its averages, its counts), every decide.interval the
 * real decide() looks at a snapshot, and what it plans is done at once - a vCPU is there, memory has its size, a domain that moves is gone. */
#include "policyd/policysim/policy_test.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/rules.h"
#include "policyd/decide/text.h"
#include "policyd/decide/whatif.h"
#include "policyd/policysim/sim.h"
#include "policyd/watch/series.h"

#define MONDAY_S 1767571200LL /* 2026-01-05 */
#define STEP_MS 1000
#define FAST_MS 5000
#define SLOW_MS 60000
#define UP_MS 86400000 /* all domains booted so long ago */
#define LINK_BPS 500000000

struct sim_domain {
	const struct ptest_domain *t;
	struct domain_spec spec;
	unsigned vcpus, sample, cpu_percent;
	uint64_t mem, used, swap_in;
	struct ewma fast, slow;
	struct series util, available;
	int64_t last_resize_ms, need_since_ms;
	bool gone;
};

struct done { /* an action, and when */
	int64_t at_ms;
	struct action a;
};

struct last_note {
	int64_t at_ms;
	char domain[NAME_MAX_LEN], text[256];
};

struct sim {
	const struct ptest *t;
	const struct conf *conf;
	struct sim_domain *d;
	struct done *done;
	unsigned n_done, moves;
	struct last_note *notes; /* each change of what is said of a domain */
	unsigned n_notes;
	struct size_at { /* has: what a domain had when an expectation ends */
		unsigned vcpus;
		uint64_t mem;
	} * has;
	bool no_memory;
};

/* ---- loads ---- */

static double util_of(const struct sim_domain *d)
{
	double util = (double)d->cpu_percent / d->vcpus;

	return util < 100 ? util : 100;
}

static double available_of(const struct sim_domain *d)
{
	return d->mem > d->used ? 100.0 * (double)(d->mem - d->used) / (double)d->mem : 0;
}

static void load_at(struct sim_domain *d, int64_t t_ms)
{
	for (; d->sample < d->t->n_samples && d->t->samples[d->sample].at_ms <= t_ms; d->sample++) {
		const struct ptest_sample *s = &d->t->samples[d->sample];

		d->cpu_percent = s->cpu_percent != CONF_UNSET ? s->cpu_percent : d->cpu_percent;
		d->used = s->used ? s->used : d->used;
		d->swap_in = s->swap_in_bps;
	}
}

static void measure(struct sim_domain *d, int64_t t_ms)
{
	load_at(d, t_ms);
	ewma_add(&d->fast, util_of(d), STEP_MS);
	ewma_add(&d->slow, util_of(d), STEP_MS);
	series_add(&d->util, t_ms, STEP_MS, util_of(d));
	series_add(&d->available, t_ms, STEP_MS, available_of(d));
}

static void start(struct sim *s, struct sim_domain *d, const struct ptest_domain *t)
{
	d->t = t;
	spec_init(&d->spec);
	snprintf(d->spec.name, sizeof(d->spec.name), "%s", t->name);
	snprintf(d->spec.cluster, sizeof(d->spec.cluster), "%s", t->cluster);
	memcpy(d->spec.tags, t->tags, sizeof(t->tags));
	d->spec.n_tags = t->n_tags;
	d->spec.importance = t->importance;
	d->spec.vcpus_min = t->vcpus_min;
	d->spec.vcpus_boot = d->vcpus = t->vcpus;
	d->spec.vcpus_max = t->vcpus_max;
	d->spec.mem_min = t->mem_min;
	d->spec.mem_boot = d->mem = t->mem;
	d->spec.mem_max = t->mem_max;
	ewma_init(&d->fast, FAST_MS);
	ewma_init(&d->slow, SLOW_MS);
	load_at(d, 0);
	for (int64_t t_ms = -(int64_t)SLOW_MS * 5; t_ms < 0; t_ms += STEP_MS) /* it has run like that before */
		measure(d, t_ms);
	(void)s;
}

/* ---- a snapshot ---- */

static unsigned nodes_here(const struct sim *s, const char *cluster)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->t->n_domains; i++)
		n += !s->d[i].gone && strcmp(s->d[i].spec.cluster, cluster) == 0;
	return n;
}

static void fill_domain(const struct sim *s, const struct sim_domain *d, int64_t wall_ms, struct snap_domain *out)
{
	snap_domain_init(out);
	out->spec = d->spec;
	out->vcpus = d->vcpus;
	out->mem_bytes = out->resident_bytes = d->mem;
	out->started_ms = wall_ms - UP_MS;
	out->last_resize_ms = d->last_resize_ms;
	out->util_fast = ewma_get(&d->fast);
	out->util_slow = ewma_get(&d->slow);
	out->mem_known = d->used > 0;
	out->mem_available = d->mem > d->used ? d->mem - d->used : 0;
	out->mem_free = out->mem_available / 2;
	out->swap_in_bps = (double)d->swap_in;
	out->major_faults_ps = 0;
	if (*d->spec.cluster)
		out->cluster_available = nodes_here(s, d->spec.cluster) + d->t->nodes_elsewhere;
}

/* What needs the policies: how often it was beyond their bounds, and since when it is in need. */
static void fill_counts(const struct conf *c, struct sim_domain *d, int64_t wall_ms, struct snap_domain *out)
{
	const struct cpu_policy *cpu = &out->policy.cpu;
	const struct mem_policy *mem = &out->policy.memory;
	unsigned n = c->decide.sustain_window;

	out->over_upper = cpu->set ? series_above(&d->util, n, cpu->sample_rate_s * 1000, cpu->util_upper) : 0;
	out->under_lower = cpu->set ? series_below(&d->util, n, cpu->sample_rate_s * 1000, cpu->util_lower) : 0;
	out->mem_short =
		mem->set && d->used ? series_below(&d->available, n, mem->sample_rate_s * 1000, mem->free_lower) : 0;
	if (rule_cpu_need(out, &c->decide).is || rule_mem_need(out, &c->decide).is)
		d->need_since_ms = d->need_since_ms ? d->need_since_ms : wall_ms;
	else if (!out->over_upper && !out->mem_short)
		d->need_since_ms = 0;
	out->need_since_ms = d->need_since_ms;
}

static void fill_peers(const struct sim *s, struct snapshot *out)
{
	for (unsigned i = 0; i < s->t->n_peers; i++) {
		struct snap_peer *p = &out->peers[out->n_peers++];

		snap_peer_init(p);
		snprintf(p->name, sizeof(p->name), "%s", s->t->peers[i].name);
		p->vcpus_total = s->t->peers[i].vcpus;
		p->mem_total = s->t->peers[i].mem;
		p->cpu_util = 10;
		p->link_bps = LINK_BPS;
	}
}

static int snapshot_at(struct sim *s, int64_t t_ms, struct snapshot *out)
{
	int64_t minute = s->t->tod_min + t_ms / 60000;
	unsigned day = (unsigned)__builtin_ctz(s->t->days ? s->t->days : 1);
	struct err e = {0};

	snapshot_init(out);
	out->now_ms = (MONDAY_S + day * 86400LL + s->t->tod_min * 60LL) * 1000 + t_ms;
	out->minute_of_day = (unsigned)(minute % 1440);
	out->weekday = (unsigned)(day + minute / 1440) % 7;
	snprintf(out->host, sizeof(out->host), "%s", s->t->host);
	out->vcpus_total = s->t->host_vcpus;
	out->mem_total = s->t->host_mem;
	out->moves_last_hour = s->moves;
	out->domains = calloc(s->t->n_domains + 1, sizeof(*out->domains));
	out->peers = calloc(s->t->n_peers + 1, sizeof(*out->peers));
	if (!out->domains || !out->peers)
		return -ENOMEM;
	for (unsigned i = 0; i < s->t->n_domains; i++)
		if (!s->d[i].gone)
			fill_domain(s, &s->d[i], out->now_ms, &out->domains[out->n_domains++]);
	fill_peers(s, out);
	if (whatif_policy(out, s->conf, &e))
		return -ENOMEM;
	for (unsigned i = 0, k = 0; i < s->t->n_domains; i++)
		if (!s->d[i].gone)
			fill_counts(s->conf, &s->d[i], out->now_ms, &out->domains[k++]);
	return 0;
}

/* ---- doing it ---- */

static struct sim_domain *find(struct sim *s, const char *name)
{
	for (unsigned i = 0; i < s->t->n_domains; i++)
		if (strcmp(s->d[i].spec.name, name) == 0)
			return &s->d[i];
	return NULL;
}

static bool record(struct sim *s, int64_t t_ms, const struct action *a)
{
	struct done *more = reallocarray(s->done, s->n_done + 1, sizeof(*more));

	if (!more) {
		s->no_memory = true;
		return false;
	}
	s->done = more;
	s->done[s->n_done++] = (struct done){t_ms, *a};
	return true;
}

/* A dry run says the same every time: once is enough until something else is said. */
static bool said_already(const struct sim *s, const struct action *a)
{
	for (unsigned i = s->n_done; i-- > 0;) {
		const struct action *b = &s->done[i].a;

		if (strcmp(a->domain, b->domain) == 0)
			return b->dry && a->dry && a->kind == b->kind && a->vcpus == b->vcpus &&
				a->mem_bytes == b->mem_bytes;
	}
	return false;
}

static void act(struct sim *s, int64_t t_ms, int64_t wall_ms, const struct action *a)
{
	struct sim_domain *d = find(s, a->domain);

	if (!d || said_already(s, a) || !record(s, t_ms, a) || a->dry)
		return;
	if (a->kind == ACT_SET_VCPUS)
		d->vcpus = a->vcpus;
	else if (a->kind == ACT_SET_MEMORY)
		d->mem = a->mem_bytes;
	else
		d->gone = ++s->moves;
	d->last_resize_ms = wall_ms;
}

static void note(struct sim *s, int64_t t_ms, const struct note *n)
{
	struct last_note *more;

	for (unsigned i = s->n_notes; i-- > 0;)
		if (strcmp(s->notes[i].domain, n->domain) == 0) {
			if (strcmp(s->notes[i].text, n->text) == 0)
				return;
			break;
		}
	more = reallocarray(s->notes, s->n_notes + 1, sizeof(*more));
	if (!more)
		return;
	s->notes = more;
	s->notes[s->n_notes] = (struct last_note){.at_ms = t_ms};
	memcpy(s->notes[s->n_notes].domain, n->domain, NAME_MAX_LEN);
	memcpy(s->notes[s->n_notes++].text, n->text, sizeof(n->text));
}

static void decide_at(struct sim *s, int64_t t_ms)
{
	struct snapshot snap;
	struct plan plan = {0};

	if (snapshot_at(s, t_ms, &snap) || decide(&snap, &plan)) {
		s->no_memory = true;
		snapshot_fini(&snap);
		return;
	}
	for (unsigned i = 0; i < plan.n_actions; i++)
		act(s, t_ms, snap.now_ms, &plan.actions[i]);
	for (unsigned i = 0; i < plan.n_notes; i++)
		note(s, t_ms, &plan.notes[i]);
	plan_fini(&plan);
	snapshot_fini(&snap);
}

static void remember_sizes(struct sim *s, int64_t t_ms)
{
	for (unsigned i = 0; i < s->t->n_expects; i++) {
		const struct sim_domain *d = find(s, s->t->expects[i].domain);

		if (d && t_ms <= s->t->expects[i].to_ms)
			s->has[i] = (struct size_at){d->gone ? 0 : d->vcpus, d->gone ? 0 : d->mem};
	}
}

/* ---- what was expected ---- */

static const char *span_text(unsigned from_ms, unsigned to_ms, char out[48])
{
	snprintf(out, 48, "%u..%u s", from_ms / 1000, to_ms / 1000);
	return out;
}

static bool is_move(enum action_kind k)
{
	return k != ACT_SET_VCPUS && k != ACT_SET_MEMORY;
}

static bool kind_fits(enum ptest_action want, enum action_kind k)
{
	switch (want) {
	case PT_NONE:
		return true;
	case PT_NO_MOVE:
	case PT_MOVE:
		return is_move(k);
	case PT_SET_VCPUS:
		return k == ACT_SET_VCPUS;
	case PT_SET_MEMORY:
		return k == ACT_SET_MEMORY;
	case PT_LIVE_MOVE:
		return k == ACT_LIVE_MOVE;
	case PT_TRIM_MOVE:
		return k == ACT_TRIM_MOVE;
	case PT_COLD_MOVE:
		return k == ACT_COLD_MOVE;
	case PT_WARM_MOVE:
		return k == ACT_WARM_MOVE;
	default:
		return false;
	}
}

static bool in_time(const struct ptest_expect *e, const struct done *d)
{
	return strcmp(d->a.domain, e->domain) == 0 && d->a.dry == e->dry && d->at_ms >= e->from_ms &&
		d->at_ms <= e->to_ms;
}

static bool fits(const struct ptest_expect *e, const struct done *d)
{
	return in_time(e, d) && kind_fits(e->action, d->a.kind) && (!e->vcpus || d->a.vcpus == e->vcpus) &&
		(!e->mem || d->a.mem_bytes == e->mem) && (!*e->target || strcmp(d->a.target, e->target) == 0);
}

static void want_text(const struct ptest_expect *e, char *out, size_t size)
{
	char mem[16] = "", vcpus[24] = "", span[48];

	if (e->mem)
		size_format(e->mem, mem);
	if (e->vcpus)
		snprintf(vcpus, sizeof(vcpus), " %u vcpu%s", e->vcpus, e->vcpus == 1 ? "" : "s");
	snprintf(out, size, "%s%s%s%s%s%s%s within %s", e->dry ? "dry run of " : "", ptest_action_words[e->action],
		vcpus, *mem ? " " : "", mem, *e->target ? " to " : "", e->target,
		span_text(e->from_ms, e->to_ms, span));
}

/* "74 s: web1 -> 2 vcpus (needs 1 vcpu more (..))" or why nothing */
static void did_text(const struct sim *s, const struct ptest_expect *e, const struct done *d, char *out, size_t size)
{
	const struct last_note *n = NULL;
	char action[256];

	if (d) {
		action_text(&d->a, NULL, action, sizeof(action));
		snprintf(out, size, "at %lld s %s%s (%s)", (long long)d->at_ms / 1000,
			d->a.dry ? "it said, as a dry run: " : "", action, d->a.why);
		return;
	}
	for (unsigned i = 0; i < s->n_notes; i++)
		if (strcmp(s->notes[i].domain, e->domain) == 0 && s->notes[i].at_ms <= e->to_ms)
			n = &s->notes[i];
	snprintf(out, size, "nothing was done; at %lld s: %s %s", (long long)(n ? n->at_ms : e->to_ms) / 1000,
		e->domain, n ? n->text : "was not looked at");
}

static void fail(struct ptest_result *r, const struct ptest *t, const struct ptest_expect *e, const char *did)
{
	char want[160], text[1200];

	want_text(e, want, sizeof(want));
	snprintf(text, sizeof(text), "%s: %s: expected %s; %s", t->name, e->domain, want, did);
	json_array_append_new(r->failures, json_string(text));
	r->failed++;
}

static bool judge_has(const struct sim *s, unsigned i, char *did, size_t size)
{
	const struct ptest_expect *e = &s->t->expects[i];
	char mem[16];

	size_format(s->has[i].mem, mem);
	snprintf(did, size, s->has[i].vcpus ? "it had %u vcpus and %s" : "it was moved away", s->has[i].vcpus, mem);
	return (!e->vcpus || s->has[i].vcpus == e->vcpus) && (!e->mem || s->has[i].mem == e->mem);
}

static void judge(const struct sim *s, unsigned i, struct ptest_result *r)
{
	const struct ptest_expect *e = &s->t->expects[i];
	const struct done *found = NULL, *other = NULL;
	char did[768];
	bool good;

	for (unsigned k = 0; k < s->n_done; k++) {
		if (!found && fits(e, &s->done[k]))
			found = &s->done[k];
		if (!other && strcmp(s->done[k].a.domain, e->domain) == 0 && s->done[k].at_ms <= e->to_ms)
			other = &s->done[k];
		if (in_time(e, &s->done[k]) && (!other || !in_time(e, other)))
			other = &s->done[k];
	}
	if (e->action == PT_HAS) {
		good = judge_has(s, i, did, sizeof(did));
	} else {
		good = (e->action == PT_NONE || e->action == PT_NO_MOVE) ? !found : found != NULL;
		did_text(s, e, found ? found : other, did, sizeof(did));
	}
	if (good)
		r->passed++;
	else
		fail(r, s->t, e, did);
}

/* ---- a test ---- */

static int run_one(const struct ptest *t, const struct conf *conf, struct ptest_result *r)
{
	struct sim s = {.t = t, .conf = conf};
	int64_t every = conf->decide.interval_ms > STEP_MS ? conf->decide.interval_ms / STEP_MS * STEP_MS : STEP_MS;

	s.d = calloc(t->n_domains + 1, sizeof(*s.d));
	s.has = calloc(t->n_expects + 1, sizeof(*s.has));
	s.no_memory = !s.d || !s.has;
	for (unsigned i = 0; !s.no_memory && i < t->n_domains; i++)
		start(&s, &s.d[i], &t->domains[i]);
	for (int64_t t_ms = 0; !s.no_memory && t_ms <= t->length_ms; t_ms += STEP_MS) {
		for (unsigned i = 0; i < t->n_domains; i++)
			measure(&s.d[i], t_ms);
		if (t_ms % every == 0)
			decide_at(&s, t_ms);
		remember_sizes(&s, t_ms);
	}
	for (unsigned i = 0; !s.no_memory && i < t->n_expects; i++)
		judge(&s, i, r);
	free(s.d);
	free(s.has);
	free(s.done);
	free(s.notes);
	return s.no_memory ? -ENOMEM : 0;
}

int ptests_run(const struct ptests *t, const struct conf *conf, struct ptest_result *out)
{
	int rc = 0;

	*out = (struct ptest_result){.failures = json_array()};
	if (!out->failures)
		return -ENOMEM;
	for (unsigned i = 0; !rc && i < t->n; i++)
		rc = run_one(&t->v[i], conf, out);
	return rc;
}

/* ---- the command ---- */

static int show(const struct ptest_result *r, bool json)
{
	json_t *j, *text;
	char *dump;
	size_t i;

	if (json) {
		j = json_pack(
			"{s:i, s:i, s:O}", "passed", (int)r->passed, "failed", (int)r->failed, "failures", r->failures);
		dump = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
		printf("%s\n", dump ? dump : "null");
		free(dump);
		json_decref(j);
	} else {
		json_array_foreach(r->failures, i, text)
			printf("%s\n", json_string_value(text));
		printf("%u passed, %u failed\n", r->passed, r->failed);
	}
	return r->failed ? 1 : 0;
}

int ptests_main(const char *path, bool json)
{
	struct conf_mistakes m = {0};
	struct ptest_result r = {0};
	struct conf *conf = NULL;
	struct ptests t;
	int rc;

	rc = ptests_load(path, &t, &conf, &m);
	if (rc) {
		for (size_t i = 0; i < m.n; i++)
			fprintf(stderr, "%s\n", m.v[i]);
		fprintf(stderr, m.n ? "%zu mistake%s; nothing was tested\n" : "no memory\n", m.n, m.n == 1 ? "" : "s");
		conf_mistakes_fini(&m);
		return 2;
	}
	rc = ptests_run(&t, conf, &r);
	if (rc)
		fprintf(stderr, "no memory\n");
	else
		rc = show(&r, json);
	json_decref(r.failures);
	ptests_fini(&t);
	conf_free(conf);
	return rc < 0 ? 2 : rc;
}

int sim_test_policy(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;

	if (argc != 2 + json || (argv[1 + json][0] == '-' && argv[1 + json][1]))
		return SIM_USAGE;
	return ptests_main(argv[1 + json], json);
}
