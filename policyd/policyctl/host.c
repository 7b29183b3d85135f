/* Commands about a host: evacuate, maintenance; and what list and hosts say of one that is in maintenance. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "policyd/policyctl/ctl.h"

/* The answer to evacuate and maintenance on: what stays, what leaves, what it costs. */
static void say_outlook(const json_t *r, const char *host, bool begun)
{
	fputs(jstr(r, "text"), stdout);
	if (begun)
		printf("%s is in maintenance: it admits nothing and is emptied. policyctl hosts shows how far it is; policyctl maintenance off %s ends it\n",
			host, host);
}

int do_evacuate(struct ctl *c)
{
	const char *deadline = ctl_opt(c, "deadline");
	bool dry = ctl_opt(c, "dry-run") != NULL;
	json_t *r = NULL, *args;
	uint64_t ms = 0;
	int rc;

	if (deadline && (duration_parse(deadline, &ms) || !ms))
		return ctl_usage(c, "--deadline %s: a time from now such as 10m", deadline);
	args = json_pack("{s:s, s:b}", "host", c->arg[0], "dry_run", dry);
	if (ms)
		json_object_set_new(args, "deadline_ms", json_integer((json_int_t)ms));
	if (!ctl_get(c, "evacuate", args, &r, &rc))
		return rc;
	say_outlook(r, c->arg[0], !dry);
	json_decref(r);
	return 0;
}

int do_maintenance(struct ctl *c)
{
	bool on = !strcmp(c->arg[0], "on"), refill = ctl_opt(c, "refill") != NULL;
	size_t moved;
	json_t *r = NULL;
	int rc;

	if (!on && strcmp(c->arg[0], "off"))
		return ctl_usage(c, "maintenance %s: on or off", c->arg[0]);
	if (on && refill)
		return ctl_usage(c, "--refill goes with maintenance off");
	if (!ctl_get(c, "maintenance", json_pack("{s:s, s:b, s:b}", "host", c->arg[1], "on", on, "refill", refill), &r,
		    &rc))
		return rc;
	if (on) {
		say_outlook(r, c->arg[1], true);
	} else {
		moved = json_array_size(json_object_get(r, "moved"));
		printf("%s is not in maintenance any more%s\n", c->arg[1],
			!moved           ? ""
				: refill ? "; the hosts that took what left it are asked for it"
					 : "; what left it stays where it is");
	}
	json_decref(r);
	return 0;
}

void say_maintenance(const char *host, const json_t *m)
{
	time_t since = (time_t)(jnum(m, "since_ms") / 1000), until = (time_t)(jnum(m, "deadline_ms") / 1000);
	char from[24], to[24] = "";
	struct tm tm;
	json_t *b;
	size_t i;

	if (!json_is_object(m))
		return;
	localtime_r(&since, &tm);
	strftime(from, sizeof(from), "%a %H:%M", &tm);
	if (until > 0) {
		localtime_r(&until, &tm);
		strftime(to, sizeof(to), ", by %a %H:%M", &tm);
	}
	printf("%s is in maintenance since %s (%s)%s: %zu left it, %.0f run%s here still%s\n", host, from,
		jstr(m, "by"), to, json_array_size(json_object_get(m, "moved")), jnum(m, "running"),
		jnum(m, "running") == 1 ? "s" : "",
		json_is_true(json_object_get(m, "emptying")) ? "" : "; nothing is moved any more");
	json_array_foreach(json_object_get(m, "blocking"), i, b)
		printf("  %s stays: %s\n", jstr(b, "domain"), jstr(b, "why"));
}
