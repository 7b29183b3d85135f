/* What policy would do and why: plan, approve, explain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
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

/* "10m": so long ago; "10:30", "10:30:15": the last time that it was; "2026-11-29 10:30". Milliseconds since the epoch; 0: none of these. */
static int64_t at_parse(const char *text)
{
	static const char *const formats[] = {"%H:%M", "%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"};
	time_t now = time(NULL), t;
	uint64_t ago_ms;

	if (!duration_parse(text, &ago_ms))
		return (int64_t)now * 1000 - (int64_t)ago_ms;
	for (unsigned i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm;
		const char *rest;

		localtime_r(&now, &tm);
		tm.tm_sec = 59; /* all of that minute */
		rest = strptime(text, formats[i], &tm);
		tm.tm_isdst = -1;
		t = rest && !*rest ? mktime(&tm) : -1;
		if (t > now && i < 2) {
			tm.tm_mday--;
			tm.tm_isdst = -1;
			t = mktime(&tm);
		}
		if (t > 0)
			return (int64_t)t * 1000 + 999;
	}
	return 0;
}

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* Which decision: of a domain or a host, by number, of a time. NULL: said why. */
static json_t *explain_args(struct ctl *c, const char **id_out, int *rc)
{
	const char *name = c->n_args ? c->arg[0] : NULL, *id = ctl_opt(c, "id"), *at = ctl_opt(c, "at");
	json_t *args = json_object();
	int64_t at_ms = at ? at_parse(at) : 0;

	if (!id && name && is_number(name)) {
		id = name;
		name = NULL;
	}
	if (id && atoll(id) <= 0)
		*rc = ctl_usage(c, "--id %s: a decision's number", id);
	else if (at && !at_ms)
		*rc = ctl_usage(c, "--at %s: a time such as 10:30, \"2026-11-29 10:30\", or 15m (ago)", at);
	else if (at && id)
		*rc = ctl_usage(c, "--at and a decision's number: one of them");
	else
		*rc = 0;
	if (name)
		json_object_set_new(args, "domain", json_string(name));
	if (id)
		json_object_set_new(args, "id", json_integer(atoll(id)));
	if (at)
		json_object_set_new(args, "at_ms", json_integer(at_ms));
	*id_out = id ? id : at;
	if (!*rc)
		return args;
	json_decref(args);
	return NULL;
}

int do_explain(struct ctl *c)
{
	json_t *r = NULL, *args, *now, *plan;
	const char *id;
	char when[24];
	bool acted;
	int rc;

	args = explain_args(c, &id, &rc);
	if (!args)
		return rc;
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
