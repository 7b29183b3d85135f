/* What policy would do and why: plan, approve, explain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/policyctl/ctl.h"

/* --what-if: "policy=FILE" is read here, for the file is the operator's; the rest is the daemon's affair. NULL: said why. */
static json_t *plan_args(struct ctl *c, int *rc)
{
	const char *what = ctl_opt(c, "what-if");
	json_t *args = json_object();
	char *text;

	if (!what || strncmp(what, "policy=", 7)) {
		if (what)
			json_object_set_new(args, "what_if", json_string(what));
		return args;
	}
	text = ctl_read_text(what + 7);
	if (text)
		json_object_set_new(args, "policy", json_string(text));
	else
		*rc = 1;
	free(text);
	if (*rc) {
		json_decref(args);
		return NULL;
	}
	return args;
}

static void say_plan(const json_t *r)
{
	fputs(jstr(r, "text"), stdout);
	if (jstr(json_object_get(r, "power"), "text")[0])
		printf("power: %s\n", jstr(json_object_get(r, "power"), "text"));
}

static void say_peer_plan(const json_t *host)
{
	printf("\n%s:\n", jstr(host, "host"));
	if (jstr(host, "error")[0])
		printf("not known: %s\n", jstr(host, "error"));
	else
		say_plan(host);
}

int do_plan(struct ctl *c)
{
	json_t *r = NULL, *args, *host;
	int rc = 0;
	size_t i;

	args = plan_args(c, &rc);
	if (args && ctl_opt(c, "all-hosts"))
		json_object_set_new(args, "all_hosts", json_true());
	if (!args || !ctl_get(c, "plan", args, &r, &rc))
		return rc;
	if (ctl_opt(c, "what-if"))
		printf("if %s (nothing is done):\n", ctl_opt(c, "what-if"));
	if (json_object_get(r, "hosts"))
		printf("this host:\n");
	say_plan(r);
	if (jnum(r, "approve") > 0)
		printf("decision %.0f waits for you: policyctl approve %.0f\n", jnum(r, "approve"), jnum(r, "approve"));
	json_array_foreach(json_object_get(r, "hosts"), i, host)
		say_peer_plan(host);
	json_decref(r);
	return 0;
}

int do_approve(struct ctl *c)
{
	json_t *r = NULL;
	int rc;

	if (atoll(c->arg[0]) <= 0)
		return ctl_usage(c, "%s: a decision's number, as policyctl plan says it", c->arg[0]);
	if (!ctl_get(c, "approve", json_pack("{s:I}", "id", (json_int_t)atoll(c->arg[0])), &r, &rc))
		return rc;
	printf("decision %s is approved and has begun: policyctl explain --id %s\n", c->arg[0], c->arg[0]);
	json_decref(r);
	return 0;
}

/* What came of a decision's actions. */
static void say_outcome(const json_t *done)
{
	char when[24];
	json_t *e;
	size_t i;

	json_array_foreach(done, i, e) {
		bool ok = json_is_true(json_object_get(e, "ok"));

		when_text(jnum(e, "t"), when);
		printf("%s  %s  %s\n", when, jstr(e, "domain"), ok ? jstr(e, "text") : jstr(e, "error"));
	}
}

/* "web1 lost 33 % of its service; 0 % predicted to be left; 4 % after 15 min, 0 % after 60 min" */
static void say_benefit(const json_t *benefits)
{
	json_t *row, *b;
	size_t i;

	json_array_foreach(benefits, i, row) {
		b = json_object_get(row, "benefit");
		printf("%s lost %.0f %% of its service; %.0f %% predicted to be left", jstr(row, "domain"),
			100 * jnum(b, "before"), 100 * jnum(b, "predicted"));
		if (jnum(b, "after_15min") >= 0)
			printf("; %.0f %% after 15 min", 100 * jnum(b, "after_15min"));
		if (jnum(b, "after_60min") >= 0)
			printf("; %.0f %% after 60 min", 100 * jnum(b, "after_60min"));
		putchar('\n');
	}
}

/* What would have to be different for a need to be met. */
static void say_allowed(const json_t *allow)
{
	json_t *a;
	size_t i;

	json_array_foreach(allow, i, a)
		printf("%s: %s\n", jstr(a, "domain"), jstr(a, "text"));
}

/* One line of JSON that policysim reads. */
static int explain_record(struct ctl *c, json_t *args)
{
	json_t *r = NULL;
	int rc;

	json_object_set_new(args, "record", json_true());
	rc = ctl_ask(c, "explain", args, NULL, NULL, NULL, &r);
	if (rc)
		return rc;
	if (!json_object_get(r, "plan")) {
		fprintf(stderr, "no decision is stored yet\n");
		rc = 1;
	} else {
		json_dumpf(r, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(r);
	return rc;
}

int do_explain(struct ctl *c)
{
	const char *id = ctl_opt(c, "id");
	json_t *r = NULL, *args = json_object(), *now, *plan;
	char when[24];
	bool acted;
	int rc;

	if (c->n_args)
		json_object_set_new(args, "domain", json_string(c->arg[0]));
	if (id && atoll(id) <= 0) {
		json_decref(args);
		return ctl_usage(c, "--id %s: a decision's number", id);
	}
	if (id)
		json_object_set_new(args, "id", json_integer(atoll(id)));
	if (ctl_opt(c, "record"))
		return explain_record(c, args);
	if (!ctl_get(c, "explain", args, &r, &rc))
		return rc;
	plan = json_object_get(r, "plan");
	now = json_object_get(r, "now");
	acted = json_array_size(json_object_get(plan, "actions")) ||
		json_array_size(json_object_get(plan, "candidates"));
	if (jstr(r, "text")[0] && (acted || id || !json_is_object(now))) { /* "it stays" is said once, by now */
		when_text(jnum(r, "t"), when);
		printf("decision %.0f%s%s\n%s", jnum(r, "id"), strlen(when) > 8 ? ", " : "",
			strlen(when) > 8 ? when : "", jstr(r, "text"));
		say_outcome(json_object_get(r, "done"));
		say_benefit(json_object_get(r, "benefit"));
		if (json_is_object(now))
			printf("now\n");
	}
	if (json_is_object(now)) {
		fputs(jstr(now, "text"), stdout);
		say_allowed(json_object_get(now, "allow"));
	} else if (c->n_args && !id)
		printf("%s is not on this host (any more): policyctl history %s\n", c->arg[0], c->arg[0]);
	json_decref(r);
	return 0;
}
