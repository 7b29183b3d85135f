/* Policies given by command: see policies.h. */
#include "policyd/policies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct given {
	TAILQ_ENTRY(given) link;
	char name[CONF_NAME];
	char *text;
	struct policy policy;
	bool good; /* the present configuration allows it */
};

struct policies {
	TAILQ_HEAD(, given) list;
};

static struct given *given_find(const struct policyd *p, const char *name)
{
	struct given *g;

	if (p->policies)
		TAILQ_FOREACH(g, &p->policies->list, link)
			if (!strcmp(g->name, name))
				return g;
	return NULL;
}

static void given_free(struct policyd *p, struct given *g)
{
	if (!g)
		return;
	TAILQ_REMOVE(&p->policies->list, g, link);
	free(g->text);
	free(g);
}

static int parse(
	const struct conf *conf, const char *text, const char *file, struct policy *out, struct conf_mistakes *m)
{
	struct policy *v = NULL;
	unsigned n = 0;
	int rc = conf_parse_policies(text, file, conf, &v, &n, m);

	if (!rc && n != 1) {
		rc = -EINVAL;
		m->v = calloc(1, sizeof(*m->v));
		if (m->v && asprintf(&m->v[0], "%s: policies: %u policies; one is given at a time", file, n) > 0)
			m->n = 1;
	}
	if (!rc)
		*out = v[0];
	free(v);
	return rc;
}

int policies_parse(struct policyd *p, const char *text, const char *file, struct policy *out, struct conf_mistakes *m)
{
	return parse(p->conf, text, file, out, m);
}

enum policy_place policies_find(const struct policyd *p, const char *name)
{
	const struct conf *c = p->conf;
	bool given = given_find(p, name) != NULL;

	for (unsigned i = 0; i < c->n_file_policies; i++)
		if (!strcmp(c->file_policies[i].name, name))
			return given ? POLICY_OVER_FILE : POLICY_IN_FILE;
	return given ? POLICY_BY_COMMAND : POLICY_NOWHERE;
}

/* Are they still what this configuration allows? */
static void check_again(struct policyd *p, const struct conf *conf)
{
	struct conf_mistakes m;
	struct given *g;

	TAILQ_FOREACH(g, &p->policies->list, link) {
		g->good = !parse(conf, g->text, g->name, &g->policy, &m);
		if (g->good)
			continue;
		plog(p, "policy %s, given by command, does nothing: %s", g->name, m.n ? m.v[0] : "no memory");
		conf_mistakes_fini(&m);
	}
}

int policies_merge(struct policyd *p, struct conf *conf)
{
	struct policy *all;
	struct given *g;
	unsigned n = 0;

	if (!p->policies)
		return 0;
	if (!conf->file_policies) { /* the first time */
		conf->file_policies = conf->policies ? conf->policies : calloc(1, sizeof(*conf->policies));
		if (!conf->file_policies)
			return -ENOMEM;
		conf->n_file_policies = conf->n_policies;
		conf->policies = NULL;
		conf->n_policies = 0;
	}
	check_again(p, conf);
	TAILQ_FOREACH(g, &p->policies->list, link)
		n++;
	all = calloc(conf->n_file_policies + n + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	n = 0;
	for (unsigned i = 0; i < conf->n_file_policies; i++) {
		g = given_find(p, conf->file_policies[i].name);
		if (!g || !g->good)
			all[n++] = conf->file_policies[i];
	}
	TAILQ_FOREACH(g, &p->policies->list, link)
		if (g->good)
			all[n++] = g->policy;
	free(conf->policies);
	conf->policies = all;
	conf->n_policies = n;
	return 0;
}

static int given_set(struct policyd *p, const char *name, const char *text)
{
	struct given *g = calloc(1, sizeof(*g)), *old = given_find(p, name);

	if (g)
		g->text = strdup(text);
	if (!g || !g->text) {
		free(g);
		return -ENOMEM;
	}
	snprintf(g->name, sizeof(g->name), "%s", name);
	TAILQ_INSERT_TAIL(&p->policies->list, g, link);
	given_free(p, old);
	return 0;
}

int policies_apply(struct policyd *p, const char *name, const char *text)
{
	if (!text)
		given_free(p, given_find(p, name));
	else if (given_set(p, name, text))
		return -ENOMEM;
	return policies_merge(p, p->conf);
}

void policies_put(struct policyd *p, const char *name, const char *text, store_done_fn *done, void *arg)
{
	store_policy_put(p->store, name, text, done, arg);
}

void policies_del(struct policyd *p, const char *name, store_done_fn *done, void *arg)
{
	store_policy_put(p->store, name, NULL, done, arg);
}

static void on_store_policy(void *arg, const char *name, const char *text)
{
	struct policyd *p = arg;

	if (given_set(p, name, text))
		plog(p, "policy %s: no memory for it", name);
}

int policies_start(struct policyd *p, struct err *e)
{
	int rc;

	p->policies = calloc(1, sizeof(*p->policies));
	if (!p->policies)
		return err_set(e, ENOMEM, "no memory");
	TAILQ_INIT(&p->policies->list);
	rc = store_policy_each(p->store, on_store_policy, p, e);
	if (!rc && policies_merge(p, p->conf))
		rc = err_set(e, ENOMEM, "no memory");
	return rc;
}

void policies_stop(struct policyd *p)
{
	if (!p->policies)
		return;
	while (!TAILQ_EMPTY(&p->policies->list))
		given_free(p, TAILQ_FIRST(&p->policies->list));
	free(p->policies);
	p->policies = NULL;
}
