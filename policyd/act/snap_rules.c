/* See snap_rules.h. What runs here is known; what runs elsewhere is in the peers' reports. A domain that is on its way counts at both ends. */
#include "policyd/act/snap_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/job.h"
#include "policyd/cluster/cluster.h"
#include "policyd/decide/company.h"
#include "policyd/dom.h"

struct filling {
	const struct conf_rule *conf;
	struct snap_rule *rule;
	unsigned room;
	bool no_memory;
};

static void add(struct filling *f, const char *domain, const char *host)
{
	struct snap_rule *r = f->rule;
	struct snap_member *more;

	if (f->no_memory)
		return;
	if (r->n_members == f->room) {
		f->room = f->room ? 2 * f->room : 16;
		more = realloc(r->members, f->room * sizeof(*more));
		if (!more) {
			f->no_memory = true;
			return;
		}
		r->members = more;
	}
	snprintf(r->members[r->n_members].domain, NAME_MAX_LEN, "%s", domain);
	snprintf(r->members[r->n_members++].host, NAME_MAX_LEN, "%s", host);
}

static void add_here(struct policyd *p, struct filling *f)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link) {
		bool comes = d->job && d->job->type->kind == JOB_INCOMING;

		if (d->gone || (!domain_state_runs(d->state) && !comes) || !rule_matches(f->conf, &d->spec))
			continue;
		add(f, d->spec.name, p->conf->host.host_name);
		if (d->job && d->job->target[0])
			add(f, d->spec.name, d->job->target);
	}
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

/* As much of the definition as rules look at, from a peer's report. */
static void add_reported(void *arg, const char *host, const json_t *dom)
{
	struct filling *f = arg;
	enum domain_state state;
	struct domain_spec spec;
	json_t *tag;
	size_t i;

	if (!domain_state_parse(text_of(dom, "state"), &state) &&
		!domain_state_runs(state)) /* one that we do not know counts */
		return;
	spec_init(&spec);
	snprintf(spec.name, sizeof(spec.name), "%s", text_of(dom, "name"));
	snprintf(spec.cluster, sizeof(spec.cluster), "%s", text_of(dom, "cluster"));
	json_array_foreach(json_object_get(dom, "tags"), i, tag)
		if (json_is_string(tag) && spec.n_tags < SPEC_TAGS_MAX)
			snprintf(spec.tags[spec.n_tags++], NAME_MAX_LEN, "%s", json_string_value(tag));
	if (rule_matches(f->conf, &spec))
		add(f, spec.name, host);
}

static int fill_one(struct policyd *p, const struct conf_rule *c, struct snap_rule *out)
{
	struct filling f = {.conf = c, .rule = out};

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", c->name);
	out->keep = c->keep;
	out->hard = c->hard;
	out->n_hosts = c->n_hosts;
	for (unsigned i = 0; i < c->n_hosts; i++)
		memcpy(out->hosts[i].name, c->hosts[i], NAME_MAX_LEN);
	add_here(p, &f);
	cluster_each_domain(p, add_reported, &f);
	return f.no_memory ? -ENOMEM : 0;
}

int snap_rules_fill(struct policyd *p, struct snapshot *out)
{
	const struct conf_decide *c = &p->conf->decide;

	for (unsigned i = 0; i < out->n_peers; i++)
		for (unsigned k = 0; k < c->n_exclude; k++)
			out->peers[i].excluded |= !strcmp(out->peers[i].name, c->exclude[k]);
	if (!p->conf->n_rules)
		return 0;
	out->rules = calloc(p->conf->n_rules, sizeof(*out->rules));
	if (!out->rules)
		return -ENOMEM;
	for (unsigned i = 0; i < p->conf->n_rules; i++)
		if (fill_one(p, &p->conf->rules[i], &out->rules[out->n_rules++]))
			return -ENOMEM;
	return 0;
}

static bool is_member(const struct snap_rule *r, const char *domain, const char *host)
{
	for (unsigned i = 0; i < r->n_members; i++)
		if (!strcmp(r->members[i].domain, domain) && !strcmp(r->members[i].host, host))
			return true;
	return false;
}

/* The rule with the one that asks in it, also where its host's report does not have it yet. */
static int fill_with(struct policyd *p, const struct conf_rule *c, const struct domain_spec *spec, const char *from,
	struct snap_rule *out)
{
	struct filling f = {.conf = c, .rule = out};

	if (fill_one(p, c, out))
		return -ENOMEM;
	if (!rule_matches(c, spec) || is_member(out, spec->name, from))
		return 0;
	f.room = out->n_members; /* as good as full: one more is made room for */
	add(&f, spec->name, from);
	return f.no_memory ? -ENOMEM : 0;
}

bool snap_rules_forbid(struct policyd *p, const struct domain_spec *spec, const char *from, char why[192])
{
	struct snapshot s;
	struct snap_domain *d = calloc(1, sizeof(*d));
	bool no = d == NULL;

	snapshot_init(&s);
	snprintf(s.host, sizeof(s.host), "%s", from);
	snprintf(why, 192, "no memory to look at its rules");
	if (d)
		d->spec = *spec;
	s.rules = calloc(p->conf->n_rules ? p->conf->n_rules : 1, sizeof(*s.rules));
	no |= !s.rules;
	for (unsigned i = 0; !no && i < p->conf->n_rules; i++)
		no = fill_with(p, &p->conf->rules[i], spec, from, &s.rules[s.n_rules++]) != 0;
	if (!no)
		no = company_forbids(&s, d, p->conf->host.host_name, why);
	snapshot_fini(&s);
	free(d);
	return no;
}
