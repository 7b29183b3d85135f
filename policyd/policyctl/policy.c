/* Policies of a running policyd: add-policy, set-policy, remove-policy, list-policy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/policyctl/ctl.h"
#include "policyd/policysim/policy_test.h"

/* NAME KEY=VALUE... as {"name", "keys"}; NULL: it was said why not. */
static json_t *key_args(struct ctl *c)
{
	json_t *args = NULL;
	char *keys = NULL;
	size_t n = 0;
	FILE *f;

	for (unsigned i = 1; i < c->n_args; i++)
		if (!strchr(c->arg[i], '=') || strchr(c->arg[i], '\n')) {
			ctl_usage(c, "\"%s\" is not KEY=VALUE", c->arg[i]);
			return NULL;
		}
	f = open_memstream(&keys, &n);
	if (!f)
		return NULL;
	for (unsigned i = 1; i < c->n_args; i++)
		fprintf(f, "%s\n", c->arg[i]);
	fclose(f);
	args = keys ? json_pack("{s:s, s:s}", "name", c->arg[0], "keys", keys) : NULL;
	free(keys);
	return args;
}

int do_policy_put(struct ctl *c)
{
	bool by_keys = c->n_args > 1;
	json_t *args = by_keys ? key_args(c) : ctl_file_args(c), *r = NULL, *w;
	size_t i;
	int rc;

	if (!args)
		return by_keys ? 2 : 1;
	if (!ctl_get(c, c->verb->name, args, &r, &rc))
		return rc;
	printf("policy %s is in force\n", jstr(r, "name"));
	json_array_foreach(json_object_get(r, "warnings"), i, w)
		printf("warning: %s\n", json_string_value(w));
	json_decref(r);
	return 0;
}

int do_policy_remove(struct ctl *c)
{
	json_t *r = NULL;
	int rc;

	if (!ctl_get(c, "remove-policy", json_pack("{s:s}", "name", c->arg[0]), &r, &rc))
		return rc;
	printf("policy %s is removed\n", jstr(r, "name"));
	json_decref(r);
	return 0;
}

/* "web*, tags web db" */
static void match_text(const json_t *match, char *out, size_t size)
{
	const json_t *tags = json_object_get(match, "tags"), *tag;
	size_t n = (size_t)snprintf(out, size, "%s", jstr(match, "domain")), i;

	json_array_foreach(tags, i, tag)
		if (n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s",
				i           ? " "
					: n ? ", tags "
					    : "tags ",
				json_string_value(tag));
	if (*jstr(match, "cluster") && n < size)
		n += (size_t)snprintf(out + n, size - n, "%scluster %s", n ? ", " : "", jstr(match, "cluster"));
	json_array_foreach(json_object_get(match, "hosts"), i, tag)
		if (n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s",
				i           ? " "
					: n ? ", on "
					    : "on ",
				json_string_value(tag));
	if (!n)
		snprintf(out, size, "every domain");
}

static void policy_row(struct table *t, const json_t *p)
{
	char priority[16], match[200], domains[16];
	bool dry = json_is_true(json_object_get(p, "dry_run")), on = json_is_true(json_object_get(p, "enable"));

	snprintf(priority, sizeof(priority), "%.0f", jnum(p, "priority"));
	snprintf(domains, sizeof(domains), "%.0f", jnum(p, "domains"));
	match_text(json_object_get(p, "match"), match, sizeof(match));
	table_row(t, jstr(p, "name"),
		!on           ? "no"
			: dry ? "dry run"
			      : "yes",
		priority, match, domains, jstr(p, "window"), json_is_true(json_object_get(p, "open")) ? "open" : "shut",
		jstr(p, "from"));
}

/* All keys of one, as a file would have them. */
static int show_one(const struct ctl *c, const json_t *policies)
{
	const json_t *p;
	size_t i;

	json_array_foreach(policies, i, p)
		if (!strcmp(jstr(p, "name"), c->arg[0])) {
			fputs(jstr(p, "text"), stdout);
			return 0;
		}
	fprintf(stderr, "policyctl: there is no policy \"%s\"; policyctl list-policy shows those that are there\n",
		c->arg[0]);
	return 1;
}

int do_policy_list(struct ctl *c)
{
	json_t *r = NULL, *p;
	struct table t;
	size_t i;
	int rc;

	if (!ctl_get(c, "list-policy", json_object(), &r, &rc))
		return rc;
	if (c->n_args) {
		rc = show_one(c, json_object_get(r, "policies"));
		json_decref(r);
		return rc;
	}
	table_init(&t, 8);
	table_row(&t, "NAME", "ENABLED", "PRIORITY", "MATCH", "DOMAINS", "WINDOW", "NOW", "FROM");
	json_array_foreach(json_object_get(r, "policies"), i, p)
		policy_row(&t, p);
	table_print(&t, stdout);
	table_fini(&t);
	json_decref(r);
	return 0;
}

int do_policy_test(struct ctl *c)
{
	return ptests_main(c->arg[0], c->json);
}
