/* Commands on policies of a running policyd: add-policy, set-policy, remove-policy, list-policy. Answered when it is on disk. Loop thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/api/cmd_fail.h"
#include "policyd/dom.h"
#include "policyd/policies.h"

struct policy_change {
	struct creq *r;
	char name[CONF_NAME];
	char *text; /* NULL: remove */
	const char *done;
};

/* What policyd -n would warn of. */
static json_t *warnings(const struct policy_change *c)
{
	struct conf_mistakes w;
	json_t *all = json_array();

	if (c->text && conf_lint_policy(c->r->p->conf, c->name, &w) == 0) {
		for (size_t i = 0; i < w.n; i++)
			json_array_append_new(all, json_string(w.v[i]));
		conf_mistakes_fini(&w);
	}
	return all;
}

static void on_policy_written(void *arg, const struct err *e)
{
	struct policy_change *c = arg;

	if (e->code) {
		creq_err(c->r, e);
	} else if (policies_apply(c->r->p, c->name, c->text)) {
		creq_fail(c->r, "failed",
			"policy %s: no memory to put it into force; it is kept, and is in force after a restart",
			c->name);
	} else {
		char text[CONF_NAME + 40];

		snprintf(text, sizeof(text), "policy %s %s", c->name, c->done);
		cmd_note(c->r, "", c->r->command->name, text);
		creq_ok(c->r, json_pack("{s:s, s:o}", "name", c->name, "warnings", warnings(c)));
	}
	free(c->text);
	free(c);
}

static void change(struct creq *r, const char *name, const char *text, const char *done)
{
	struct policy_change *c = calloc(1, sizeof(*c));

	if (c && text)
		c->text = strdup(text);
	if (!c || (text && !c->text)) {
		free(c);
		creq_fail(r, "failed", "no memory");
		return;
	}
	c->r = r;
	c->done = done;
	snprintf(c->name, sizeof(c->name), "%s", name);
	if (text)
		policies_put(r->p, name, text, on_policy_written, c);
	else
		policies_del(r->p, name, on_policy_written, c);
}

/* There already, or not there, as the command wants it. True: it was answered. */
static bool wrong_place(struct creq *r, const char *name)
{
	bool is_new = !strcmp(r->command->name, "add-policy");
	enum policy_place place = policies_find(r->p, name);

	if (is_new && place != POLICY_NOWHERE)
		creq_fail(r, "refused",
			"there is a policy \"%.70s\" already; to change it: policyctl set-policy FILE, or %.70s KEY=VALUE",
			name, name);
	else if (!is_new && place == POLICY_NOWHERE)
		creq_fail(r, "refused",
			"there is no policy \"%.70s\"; to add it: policyctl add-policy FILE, or %.70s KEY=VALUE", name,
			name);
	else
		return false;
	return true;
}

/* "key=value", one a line, onto @pol. */
static int set_keys(struct policy *pol, const char *keys, char *reason, size_t size)
{
	char *copy = strdup(keys), *at = copy, *line, *value;
	int rc = copy ? 0 : -ENOMEM;

	snprintf(reason, size, "no memory");
	while (!rc && (line = strsep(&at, "\n"))) {
		value = strchr(line, '=');
		if (value)
			*value++ = '\0';
		if (value)
			rc = conf_policy_set(pol, line, value, reason, size);
		else if (*line)
			rc = (snprintf(reason, size, "\"%.60s\" is not KEY=VALUE", line), -EINVAL);
	}
	free(copy);
	return rc;
}

/* add-policy NAME KEY=VALUE.., set-policy NAME KEY=VALUE..: what is not given stays as it is. */
static void put_keys(struct creq *r, const char *name)
{
	bool is_new = !strcmp(r->command->name, "add-policy");
	const struct conf *c = r->p->conf;
	char reason[640], file[CONF_NAME + 16], *text;
	struct conf_mistakes m = {0};
	struct policy pol, parsed;
	unsigned i = 0;

	if (wrong_place(r, name))
		return;
	while (i < c->n_policies && strcmp(c->policies[i].name, name) != 0)
		i++;
	if (!is_new && i == c->n_policies) {
		creq_fail(r, "refused",
			"policy \"%.70s\" is kept but does nothing, because the configuration does not allow it; give it whole: "
			"policyctl set-policy FILE",
			name);
		return;
	}
	if (is_new ? conf_policy_init(&pol, name, reason, sizeof(reason)) : (pol = c->policies[i], 0)) {
		creq_fail(r, "refused", "policy %s", reason);
		return;
	}
	if (set_keys(&pol, arg_text(r, "keys"), reason, sizeof(reason))) {
		creq_fail(r, "refused", "policy \"%.70s\": %s", name, reason);
		return;
	}
	text = conf_policy_text(&pol);
	snprintf(file, sizeof(file), "policy %.64s", name);
	if (!text)
		creq_fail(r, "failed", "no memory");
	else if (policies_parse(r->p, text, file, &parsed, &m))
		cmd_fail_mistakes(r, &m);
	else
		change(r, name, text, is_new ? "added" : "changed");
	free(text);
}

static void run_put_policy(struct creq *r, struct dom *d)
{
	bool is_new = !strcmp(r->command->name, "add-policy");
	const char *name = arg_text(r, "name"), *text = arg_text(r, "text"), *file = arg_text(r, "file");
	struct conf_mistakes m = {0};
	struct policy pol;

	(void)d;
	if (name && arg_text(r, "keys"))
		put_keys(r, name);
	else if (!text || !file)
		creq_fail(r, "usage", "%s needs \"text\" and \"file\", or \"name\" and \"keys\"", r->command->name);
	else if (policies_parse(r->p, text, file, &pol, &m))
		cmd_fail_mistakes(r, &m);
	else if (!wrong_place(r, pol.name))
		change(r, pol.name, text, is_new ? "added" : "changed");
}

static void run_remove_policy(struct creq *r, struct dom *d)
{
	const char *name = arg_text(r, "name");

	(void)d;
	switch (policies_find(r->p, name)) {
	case POLICY_NOWHERE:
		creq_fail(r, "refused",
			"there is no policy \"%.70s\"; policyctl list-policy shows those that are there", name);
		break;
	case POLICY_IN_FILE:
		creq_fail(r, "refused", "policy \"%.70s\" stands in %s; remove it there, then: policyctl reload", name,
			r->p->conf_path);
		break;
	case POLICY_BY_COMMAND:
		change(r, name, NULL, "removed");
		break;
	case POLICY_OVER_FILE:
		change(r, name, NULL, "is again as the configuration has it");
		break;
	}
}

#define WINDOW_TEXT 128
#define ALL_DAYS 0x7fu

/* "22:00-06:00 Mon,Tue Europe/Berlin", "always" */
static void window_text(const struct policy *p, char out[WINDOW_TEXT])
{
	static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
	size_t n = 0;

	if (p->tod_begin_min != p->tod_end_min)
		n = (size_t)snprintf(out, WINDOW_TEXT, "%02u:%02u-%02u:%02u", p->tod_begin_min / 60,
			p->tod_begin_min % 60, p->tod_end_min / 60, p->tod_end_min % 60);
	else if (p->days == ALL_DAYS)
		n = (size_t)snprintf(out, WINDOW_TEXT, "always");
	for (unsigned i = 0, some = 0; p->days != ALL_DAYS && i < 7; i++)
		if (p->days >> i & 1)
			n += (size_t)snprintf(out + n, WINDOW_TEXT - n, "%s%s", some++ ? "," : n ? " " : "", days[i]);
	if (*p->zone.name)
		snprintf(out + n, WINDOW_TEXT - n, " %s", p->zone.name);
}

static json_t *names_json(const char names[][NAME_MAX_LEN], unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_string(names[i]));
	return list;
}

static json_t *match_json(const struct policy *p)
{
	return json_pack("{s:o, s:s, s:s, s:o}", "tags", names_json(p->tags, p->n_tags), "domain", p->domain_glob,
		"cluster", p->cluster, "hosts", names_json(p->hosts, p->n_hosts));
}

/* Domains of this host that it speaks of. */
static unsigned n_matched(const struct policyd *p, const struct policy *pol)
{
	const struct dom *d;
	unsigned n = 0;

	TAILQ_FOREACH(d, &p->doms, link)
		n += !d->gone && policy_matches(pol, &d->spec, p->conf->host.host_name);
	return n;
}

static json_t *one_policy(const struct creq *r, const struct policy *p)
{
	static const char *const places[] = {"", "file", "command", "command, over the file's"};
	char window[WINDOW_TEXT], *text = conf_policy_text(p);
	struct policy_when when;
	json_t *j;

	policyd_when(r->p, &when);
	window_text(p, window);
	j = json_pack("{s:s, s:b, s:b, s:i, s:s, s:b, s:i, s:s, s:b, s:b, s:o, s:i, s:s?}", "name", p->name, "enable",
		(int)p->enable, "dry_run", (int)p->dry_run, "priority", (int)p->priority, "window", window, "open",
		(int)policy_open(p, &when), "days", (int)p->days, "from", places[policies_find(r->p, p->name)], "cpu",
		(int)p->cpu.set, "memory", (int)p->memory.set, "match", match_json(p), "domains",
		(int)n_matched(r->p, p), "text", text);
	free(text);
	return j;
}

static void run_list_policy(struct creq *r, struct dom *d)
{
	const struct conf *c = r->p->conf;
	json_t *list = json_array();

	(void)d;
	for (unsigned i = 0; i < c->n_policies; i++)
		json_array_append_new(list, one_policy(r, &c->policies[i]));
	creq_ok(r, json_pack("{s:o}", "policies", list));
}

#define PUT_ARGS                                                                                                       \
	{                                                                                                              \
		{"text", 's', false}, {"file", 's', false}, {"name", 's', false},                                      \
		{                                                                                                      \
			"keys", 's', false                                                                             \
		}                                                                                                      \
	}
const struct command commands_policy[] = {
	{.name = "add-policy", .change = true, .run = run_put_policy, .args = PUT_ARGS},
	{.name = "set-policy", .change = true, .run = run_put_policy, .args = PUT_ARGS},
	{.name = "remove-policy", .change = true, .run = run_remove_policy, .args = {{"name", 's', true}}},
	{.name = "list-policy", .run = run_list_policy},
};
const unsigned n_commands_policy = sizeof(commands_policy) / sizeof(commands_policy[0]);
