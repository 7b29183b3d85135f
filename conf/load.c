/* conf_load and the domain files: read, fill by the schema, check, and hand out whole or not at all. See conf.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/reader.h"

void conf_mistakes_fini(struct conf_mistakes *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->v[i]);
	free(m->v);
	*m = (struct conf_mistakes){0};
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	free(conf->peers);
	free(conf->policies);
	free(conf->file_policies);
	free(conf->clusters);
	free(conf->rules);
	free(conf);
}

/* "policyd-migrate" in the folder of the running program. */
static void default_worker(char out[SPEC_PATH_MAX])
{
	char self[SPEC_PATH_MAX - 32], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		n = 0;
	self[n] = '\0';
	slash = strrchr(self, '/');
	snprintf(out, SPEC_PATH_MAX, "%.*s/policyd-migrate", slash ? (int)(slash - self) : 0, self);
}

/* Defaults that are worked out: from this machine, or from other keys. */
static void complete(struct conf *c)
{
	if (!c->host.capacity_vcpus)
		c->host.capacity_vcpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (!c->host.capacity_mem)
		c->host.capacity_mem = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	if (!*c->host.paths.worker)
		default_worker(c->host.paths.worker);
	if (!*c->control)
		snprintf(c->control, sizeof(c->control), "%.490s/policyd.sock", c->host.paths.run);
}

static int finish(struct reader *r, struct conf_mistakes *mistakes)
{
	int err = reader_result(r, mistakes);

	reader_fini(r);
	return err;
}

/* A port that stands behind its address is the port; written twice it is a mistake, be it the same. */
static void take_address_ports(struct reader *r, struct conf *c)
{
	char key[64];

	if (c->address_port && reader_has(r, "host.port"))
		reader_mistake(r, "host.port", "is in host.address already; write it once");
	else if (c->address_port)
		c->port = c->address_port;
	for (unsigned i = 0; i < c->n_peers; i++) {
		snprintf(key, sizeof(key), "cluster.peers[%u].port", i);
		if (c->peers[i].address_port && reader_has(r, key))
			reader_mistake(r, key, "is in its address already; write it once");
		else if (c->peers[i].address_port)
			c->peers[i].port = c->peers[i].address_port;
	}
}

int conf_load(const char *path, struct conf **out, struct conf_mistakes *mistakes)
{
	struct conf *c = calloc(1, sizeof(*c));
	struct reader r;
	int err;

	*mistakes = (struct conf_mistakes){0};
	if (!c)
		return -ENOMEM;
	if (reader_file(&r, path) == 0) {
		reader_fill(&r, &schema_host, c);
		complete(c);
		take_address_ports(&r, c);
		check_conf(&r, c);
	}
	err = finish(&r, mistakes);
	if (err) {
		conf_free(c);
		return err;
	}
	*out = c;
	return 0;
}

int conf_lint(const char *path, struct conf_mistakes *warnings)
{
	struct conf *c = calloc(1, sizeof(*c));
	struct reader r;
	int err;

	*warnings = (struct conf_mistakes){0};
	if (!c)
		return -ENOMEM;
	if (reader_file(&r, path) == 0) {
		reader_fill(&r, &schema_host, c);
		complete(c);
		check_conf(&r, c);
		lint_conf(&r, c);
	}
	err = reader_warnings(&r, warnings);
	reader_fini(&r);
	conf_free(c);
	return err;
}

/* Of policy @i, or of another one that names it. */
static bool speaks_of(const struct mistake *m, unsigned i, const char *name)
{
	char own[32], named[CONF_NAME + 16];

	snprintf(own, sizeof(own), "policies[%u]", i);
	snprintf(named, sizeof(named), "policy \"%s\"", name);
	return strncmp(m->key, own, strlen(own)) == 0 || strstr(m->text, named);
}

static int keep_text(struct conf_mistakes *out, const struct conf *c, const struct mistake *m)
{
	unsigned at = (unsigned)strtoul(m->key + strlen("policies["), NULL, 10);
	const char *reason = strstr(m->text, "warning: "), *key = strchr(m->key, '.');
	char **v = realloc(out->v, (out->n + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	out->v = v;
	if (asprintf(&v[out->n], "policy %s: %s%s%s", at < c->n_policies ? c->policies[at].name : "",
		    key ? key + 1 : "", key ? ": " : "", reason ? reason + strlen("warning: ") : m->text) < 0)
		return -ENOMEM;
	out->n++;
	return 0;
}

int conf_lint_policy(const struct conf *conf, const char *name, struct conf_mistakes *warnings)
{
	struct reader r;
	unsigned at = 0;
	int err;

	*warnings = (struct conf_mistakes){0};
	while (at < conf->n_policies && strcmp(conf->policies[at].name, name) != 0)
		at++;
	err = reader_text(&r, "", "");
	if (!err && at < conf->n_policies) {
		lint_conf(&r, conf);
		err = r.no_memory ? -ENOMEM : 0;
		for (size_t i = 0; !err && i < r.n; i++)
			if (strncmp(r.v[i].key, "policies[", strlen("policies[")) == 0 && speaks_of(&r.v[i], at, name))
				err = keep_text(warnings, conf, &r.v[i]);
	}
	reader_fini(&r);
	if (err)
		conf_mistakes_fini(warnings);
	return err;
}

/* From a reader that has been read (@parsed 0) or not. */
static int policy_of(struct reader *r, int parsed, struct conf **out, struct conf_mistakes *mistakes)
{
	struct conf *c = calloc(1, sizeof(*c));
	int err;

	if (parsed == 0 && c) {
		reader_fill(r, &schema_policy, c);
		check_policy(r, c);
	}
	err = finish(r, mistakes);
	if (!err && !c)
		err = -ENOMEM;
	if (err)
		conf_free(c);
	else
		*out = c;
	return err;
}

int conf_load_policy(const char *path, struct conf **out, struct conf_mistakes *mistakes)
{
	struct reader r;
	int parsed = reader_file(&r, path);

	return policy_of(&r, parsed, out, mistakes);
}

int conf_parse_policy(const char *text, const char *name, struct conf **out, struct conf_mistakes *mistakes)
{
	struct reader r;
	int parsed = reader_text(&r, text, name);

	return policy_of(&r, parsed, out, mistakes);
}

static void complete_domain(struct domain_spec *s)
{
	if (!s->vcpus_max)
		s->vcpus_max = s->vcpus_boot > s->vcpus_min ? s->vcpus_boot : s->vcpus_min;
	if (!s->mem_min)
		s->mem_min = s->mem_boot;
	if (!s->mem_max)
		s->mem_max = s->mem_boot;
}

/* From a reader that has been read (@parsed 0) or not. */
static int domain_of(struct reader *r, int parsed, struct domain_spec *out, struct conf_mistakes *mistakes)
{
	struct domain_spec s;
	struct err e = {0};
	int err;

	spec_init(&s);
	s.vcpus_max = 0;
	s.mem_min = s.mem_boot = s.mem_max = 0;
	if (parsed == 0) {
		reader_fill(r, &schema_domain, &s);
		complete_domain(&s);
		check_domain(r, &s);
		if (!r->n && (spec_complete(&s, &e) || spec_check(&s, &e)))
			reader_mistake(r, "domain", "%s", err_msg(&e));
	}
	err = finish(r, mistakes);
	if (!err)
		*out = s;
	return err;
}

int conf_load_domain(const char *path, struct domain_spec *out, struct conf_mistakes *mistakes)
{
	struct reader r;
	int parsed = reader_file(&r, path);

	return domain_of(&r, parsed, out, mistakes);
}

int conf_parse_domain(const char *text, const char *name, struct domain_spec *out, struct conf_mistakes *mistakes)
{
	struct reader r;
	int parsed = reader_text(&r, text, name);

	return domain_of(&r, parsed, out, mistakes);
}

int conf_parse_policies(const char *text, const char *name, const struct conf *base, struct policy **out,
	unsigned *n_out, struct conf_mistakes *mistakes)
{
	struct conf c = {0};
	struct reader r;
	int err;

	*mistakes = (struct conf_mistakes){0};
	if (reader_text(&r, text, name) == 0) {
		reader_fill(&r, &schema_policies, &c);
		c.clusters = base->clusters; /* borrowed, for the checks */
		c.n_clusters = base->n_clusters;
		check_policies(&r, &c);
	}
	err = finish(&r, mistakes);
	if (err) {
		free(c.policies);
		return err;
	}
	*out = c.policies;
	*n_out = c.n_policies;
	return 0;
}
