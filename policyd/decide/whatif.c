/* What if: see whatif.h. */
#include "policyd/decide/whatif.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 8

struct words {
	char text[256];
	char *w[WORDS_MAX];
	unsigned n;
};

static int split(const char *text, size_t len, struct words *out, struct err *e)
{
	char *save = NULL;

	memset(out, 0, sizeof(*out));
	if (len >= sizeof(out->text))
		return err_set(e, EINVAL, "what-if: longer than %zu characters", sizeof(out->text) - 1);
	memcpy(out->text, text, len);
	for (char *w = strtok_r(out->text, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
		if (out->n == WORDS_MAX)
			return err_set(e, EINVAL, "what-if: \"%.60s\" is one word too many", w);
		out->w[out->n++] = w;
	}
	return 0;
}

/* "key=value" among the words from the third on; NULL: it is not given. */
static const char *value_of(const struct words *w, const char *key)
{
	size_t n = strlen(key);

	for (unsigned i = 2; i < w->n; i++)
		if (strncmp(w->w[i], key, n) == 0 && w->w[i][n] == '=')
			return w->w[i] + n + 1;
	return NULL;
}

static int check_keys(const struct words *w, const char *a, const char *b, struct err *e)
{
	for (unsigned i = 2; i < w->n; i++) {
		size_t n = strcspn(w->w[i], "=");

		if (!(strlen(a) == n && strncmp(w->w[i], a, n) == 0) &&
			!(strlen(b) == n && strncmp(w->w[i], b, n) == 0))
			return err_set(e, EINVAL, "what-if %s: \"%.60s\" is not known; say %s%s%s=..", w->w[0], w->w[i],
				a, *b ? "=.. or " : "", b);
	}
	return 0;
}

static int number_of(const struct words *w, const char *key, double most, double otherwise, double *out, struct err *e)
{
	const char *text = value_of(w, key);
	char *end;

	*out = otherwise;
	if (!text)
		return 0;
	*out = strtod(text, &end);
	if (end == text || (*end && strcmp(end, "%") != 0) || !(*out >= 0) || *out > most)
		return err_set(
			e, EINVAL, "what-if %s: %s=%.40s: must be a number from 0 to %.0f", w->w[0], key, text, most);
	return 0;
}

/* ---- hosts ---- */

static struct snap_peer *peer_of(struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_peers; i++)
		if (strcmp(s->peers[i].name, name) == 0)
			return &s->peers[i];
	return NULL;
}

static int add_host(struct snapshot *s, const struct words *w, struct err *e)
{
	const char *memory = value_of(w, "memory");
	struct snap_peer *more, p;
	double vcpus;

	snap_peer_init(&p);
	p.mem_total = s->mem_total;
	if (check_keys(w, "vcpus", "memory", e) || number_of(w, "vcpus", 65536, s->vcpus_total, &vcpus, e))
		return -EINVAL;
	if (peer_of(s, w->w[1]) || strcmp(s->host, w->w[1]) == 0 || strlen(w->w[1]) >= sizeof(p.name))
		return err_set(e, EINVAL, "what-if add-host: \"%.70s\" is there already, or no name", w->w[1]);
	if (memory && size_parse(memory, &p.mem_total))
		return err_set(e, EINVAL, "what-if add-host: memory=%.40s: must be a size such as 64G", memory);
	snprintf(p.name, sizeof(p.name), "%s", w->w[1]);
	p.vcpus_total = (unsigned)vcpus;
	p.cpu_util = 0;
	more = realloc(s->peers, (s->n_peers + 1) * sizeof(*more));
	if (!more)
		return err_set(e, ENOMEM, "no memory");
	s->peers = more;
	s->peers[s->n_peers++] = p;
	return 0;
}

static int no_host(const struct words *w, struct err *e)
{
	return err_set(
		e, ENOENT, "what-if %s: there is no host \"%.70s\"; policyctl hosts lists them", w->w[0], w->w[1]);
}

static int remove_host(struct snapshot *s, const struct words *w, struct err *e)
{
	struct snap_peer *p = peer_of(s, w->w[1]);

	if (!p)
		return no_host(w, e);
	*p = s->peers[--s->n_peers];
	return check_keys(w, "", "", e);
}

static int fail_host(struct snapshot *s, const struct words *w, struct err *e)
{
	struct snap_peer *p = peer_of(s, w->w[1]);

	if (!p)
		return no_host(w, e);
	p->up = false;
	return check_keys(w, "", "", e);
}

/* ---- a domain's load ---- */

static void set_load(struct snapshot *s, struct snap_domain *d, double util)
{
	d->util_fast = d->util_slow = util;
	d->over_upper = util > d->policy.cpu.util_upper ? s->decide.sustain_window : 0;
	d->under_lower = util < d->policy.cpu.util_lower ? s->decide.sustain_window : 0;
}

static void set_available(struct snapshot *s, struct snap_domain *d, double percent)
{
	d->mem_known = true;
	d->mem_available = (uint64_t)((double)d->mem_bytes * percent / 100);
	d->mem_free = d->mem_available / 2;
	d->mem_short = percent < d->policy.memory.free_lower ? s->decide.sustain_window : 0;
}

static int domain_load(struct snapshot *s, const struct words *w, struct err *e)
{
	struct snap_domain *d = NULL;
	double load, available;

	for (unsigned i = 0; i < s->n_domains && !d; i++)
		d = strcmp(s->domains[i].spec.name, w->w[1]) == 0 ? &s->domains[i] : NULL;
	if (!d)
		return err_set(e, ENOENT,
			"what-if domain: %s has no domain \"%.70s\"; policyctl list shows those it has", s->host,
			w->w[1]);
	if (check_keys(w, "load", "available", e) || number_of(w, "load", 100, -1, &load, e) ||
		number_of(w, "available", 100, -1, &available, e))
		return -EINVAL;
	if (load < 0 && available < 0)
		return err_set(e, EINVAL, "what-if domain %s: say load=PERCENT or available=PERCENT", w->w[1]);
	if (load >= 0)
		set_load(s, d, load);
	if (available >= 0)
		set_available(s, d, available);
	d->need_since_ms = s->now_ms - (int64_t)s->decide.move_after_s * 1000;
	return 0;
}

static int apply_one(struct snapshot *s, const struct words *w, struct err *e)
{
	static const struct {
		const char *name;
		int (*apply)(struct snapshot *s, const struct words *w, struct err *e);
	} rows[] = {{"add-host", add_host}, {"remove-host", remove_host}, {"fail-host", fail_host},
		{"domain", domain_load}};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(w->w[0], rows[i].name) != 0)
			continue;
		if (w->n < 2)
			return err_set(e, EINVAL, "what-if %s: needs a name", w->w[0]);
		return rows[i].apply(s, w, e);
	}
	return err_set(e, EINVAL,
		"what-if \"%.40s\" is not known; say add-host, remove-host, fail-host, domain or policy=FILE", w->w[0]);
}

int whatif_apply(struct snapshot *s, const char *text, struct err *e)
{
	struct words w;
	int rc = 0;

	while (*text && !rc) {
		size_t n = strcspn(text, ";");

		rc = split(text, n, &w, e);
		if (!rc && w.n)
			rc = apply_one(s, &w, e);
		text += n + (text[n] == ';');
	}
	return rc;
}

/* ---- another policy ---- */

static void bounds(struct snapshot *s, struct snap_domain *d)
{
	/* how often it was beyond other bounds was not recorded: what it is now must do */
	d->over_upper = d->policy.cpu.set && d->util_fast > d->policy.cpu.util_upper ? s->decide.sustain_window : 0;
	d->under_lower = d->policy.cpu.set && d->util_fast >= 0 && d->util_fast < d->policy.cpu.util_lower
		? s->decide.sustain_window
		: 0;
	d->mem_short = d->policy.memory.set && d->mem_known && d->mem_bytes &&
			100.0 * (double)d->mem_available / (double)d->mem_bytes < d->policy.memory.free_lower
		? s->decide.sustain_window
		: 0;
}

static int take_rule(const struct snapshot *s, const struct conf_rule *c, struct snap_rule *out)
{
	const struct snap_rule *same = NULL;
	unsigned elsewhere;

	for (unsigned i = 0; i < s->n_rules; i++)
		if (strcmp(s->rules[i].name, c->name) == 0)
			same = &s->rules[i];
	elsewhere = same ? same->n_members : 0;
	snprintf(out->name, sizeof(out->name), "%s", c->name);
	out->keep = c->keep;
	out->hard = c->hard;
	out->n_hosts = c->n_hosts;
	for (unsigned i = 0; i < c->n_hosts; i++)
		memcpy(out->hosts[i].name, c->hosts[i], NAME_MAX_LEN);
	out->members = calloc(elsewhere + s->n_domains + 1, sizeof(*out->members));
	if (!out->members)
		return -ENOMEM;
	for (unsigned i = 0; i < elsewhere; i++)
		if (strcmp(same->members[i].host, s->host) != 0)
			out->members[out->n_members++] = same->members[i];
	for (unsigned i = 0; i < s->n_domains; i++) {
		if (s->domains[i].state == DOM_INACTIVE || !rule_matches(c, &s->domains[i].spec))
			continue;
		memcpy(out->members[out->n_members].domain, s->domains[i].spec.name, NAME_MAX_LEN);
		memcpy(out->members[out->n_members++].host, s->host, NAME_MAX_LEN);
	}
	return 0;
}

static int take_rules(struct snapshot *s, const struct conf *conf, struct err *e)
{
	struct snap_rule *rules = calloc(conf->n_rules ? conf->n_rules : 1, sizeof(*rules));
	unsigned n = 0;
	int rc = rules ? 0 : -ENOMEM;

	while (!rc && n < conf->n_rules) {
		rc = take_rule(s, &conf->rules[n], &rules[n]);
		n++;
	}
	for (unsigned i = 0; rc && i < n; i++)
		free(rules[i].members);
	if (rc) {
		free(rules);
		return err_set(e, ENOMEM, "no memory");
	}
	for (unsigned i = 0; i < s->n_rules; i++)
		free(s->rules[i].members);
	free(s->rules);
	s->rules = rules;
	s->n_rules = n;
	return 0;
}

int whatif_policy(struct snapshot *s, const struct conf *conf, struct err *e)
{
	struct policy_when when = {s->host, s->now_ms / 1000, s->minute_of_day, s->weekday};

	s->decide = conf->decide;
	s->max_blackout_ms = conf->migration.max_blackout_ms;
	for (unsigned i = 0; i < s->n_domains; i++) {
		struct snap_domain *d = &s->domains[i];

		policy_for(conf->policies, conf->n_policies, &d->spec, &when, &d->policy);
		bounds(s, d);
		for (unsigned k = 0; k < conf->n_clusters; k++)
			if (strcmp(conf->clusters[k].name, d->spec.cluster) == 0)
				d->cluster_min = conf->clusters[k].min_available;
	}
	for (unsigned i = 0; i < s->n_peers; i++) {
		s->peers[i].excluded = false;
		for (unsigned k = 0; k < conf->decide.n_exclude; k++)
			s->peers[i].excluded |= strcmp(s->peers[i].name, conf->decide.exclude[k]) == 0;
	}
	return take_rules(s, conf, e);
}
