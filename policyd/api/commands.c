/* From a request to its command: the rows of cmd_look.c, cmd_change.c and cmd_move.c, rights and arguments. Loop thread. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "policyd/api/control.h"
#include "policyd/api/format.h"
#include "policyd/kept.h"

static const struct command *in_table(const struct command *t, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(t[i].name, name))
			return &t[i];
	return NULL;
}

static const struct arg_spec *arg_known(const struct command *c, const char *name)
{
	for (size_t i = 0; i < sizeof(c->args) / sizeof(c->args[0]) && c->args[i].name; i++)
		if (!strcmp(c->args[i].name, name))
			return &c->args[i];
	return NULL;
}

static bool type_fits(const json_t *v, char type)
{
	switch (type) {
	case 's':
		return json_is_string(v);
	case 'b':
		return json_is_boolean(v);
	default:
		return json_is_integer(v) && json_integer_value(v) >= 0;
	}
}

static int check_args(const struct creq *r, const struct command *c, struct err *e)
{
	const struct arg_spec *a;
	const char *key;
	json_t *v;

	json_object_foreach(r->rq.args, key, v) {
		a = arg_known(c, key);
		if (!a && !(c->domain && !strcmp(key, "domain")))
			return err_set(e, EDOM, "%s has no argument \"%.60s\"", c->name, key);
		if (a && !json_is_null(v) && !type_fits(v, a->type))
			return err_set(e, EDOM, "%s: \"%s\" must be %s", c->name, key,
				a->type == 's'           ? "a text"
					: a->type == 'b' ? "true or false"
							 : "a whole number, 0 or more");
	}
	for (size_t i = 0; i < sizeof(c->args) / sizeof(c->args[0]) && c->args[i].name; i++) {
		v = json_object_get(r->rq.args, c->args[i].name);
		if (c->args[i].required && (!v || json_is_null(v)))
			return err_set(e, EDOM, "%s needs \"%s\"", c->name, c->args[i].name);
	}
	return 0;
}

static int find_domain(struct creq *r, struct dom **out, struct err *e)
{
	const char *name = json_string_value(json_object_get(r->rq.args, "domain"));
	const struct kept *kept;

	if (!name)
		return err_set(e, EDOM, "%s needs \"domain\", a text", r->command->name);
	*out = dom_find(r->p, name);
	kept = *out ? NULL : kept_find(r->p, name);
	if (kept)
		return r->command->kept ? 0 : kept_refuse(r->p, kept, e);
	if (!*out)
		return err_set(e, ENOENT, "%s has no domain \"%.70s\"; policyctl list shows those it has",
			r->p->conf->host.host_name, name);
	return 0;
}

static int check_rights(const struct creq *r, struct err *e)
{
	if (!r->command->change)
		return 0;
	if (r->origin.uid && r->origin.uid != geteuid())
		return err_set(e, EACCES,
			"%s changes things; uid %u may only look (root and policyd's own user may change)",
			r->command->name, (unsigned)r->origin.uid);
	if (r->p->stopping)
		return err_set(e, EBUSY, "policyd is stopping; ask again when it is back");
	return 0;
}

static const struct {
	const struct command *rows;
	const unsigned *n;
} tables[] = {{commands_look, &n_commands_look}, {commands_change, &n_commands_change},
	{commands_move, &n_commands_move}, {commands_policy, &n_commands_policy}, {commands_mark, &n_commands_mark},
	{commands_host, &n_commands_host}};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static const char *command_nearest(const char *word)
{
	const char *names[64];
	unsigned n = 0;

	for (size_t t = 0; t < N_TABLES; t++)
		for (unsigned i = 0; i < *tables[t].n && n < 63; i++)
			names[n++] = tables[t].rows[i].name;
	names[n] = NULL;
	return nearest(word, names);
}

void command_run(struct creq *r)
{
	const char *near;
	struct dom *d = NULL;
	struct err e = {0};

	for (size_t t = 0; t < N_TABLES && !r->command; t++)
		r->command = in_table(tables[t].rows, *tables[t].n, r->rq.cmd);
	if (!r->command) {
		near = command_nearest(r->rq.cmd);
		creq_fail(r, "usage", "unknown command \"%.60s\"%s%s%s", r->rq.cmd, near ? "; did you mean \"" : "",
			near ? near : "", near ? "\"?" : "");
		return;
	}
	if (check_rights(r, &e) || check_args(r, r->command, &e))
		creq_err(r, &e);
	else if (r->command->change && !r->p->settled)
		r->waits = true; /* for control_settled */
	else if (r->command->domain && find_domain(r, &d, &e))
		creq_err(r, &e);
	else
		r->command->run(r, d);
}

const char *arg_text(const struct creq *r, const char *name)
{
	return json_string_value(json_object_get(r->rq.args, name));
}

int64_t arg_int(const struct creq *r, const char *name, int64_t otherwise)
{
	json_t *v = json_object_get(r->rq.args, name);

	return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

bool arg_bool(const struct creq *r, const char *name)
{
	return json_is_true(json_object_get(r->rq.args, name));
}

void cmd_note(struct creq *r, const char *domain, const char *kind, const char *text)
{
	char who[96];
	struct store_event ev = {.domain = domain, .kind = kind, .who = who, .text = text, .ok = true};

	origin_text(&r->origin, who);
	store_history_add(r->p->store, &ev);
	plog(r->p, "%s: %s, by %s: %s", domain[0] ? domain : r->p->conf->host.host_name, kind, who, text);
}
