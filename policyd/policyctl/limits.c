/* Limits of a move, from options: given to migrate, changed while it runs by set-migration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/units.h"
#include "policyd/policyctl/ctl.h"

/* "80" or "80%", or never */
static bool percent_parse(const char *text, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!strcmp(text, "never")) {
		*out = 0;
		return true;
	}
	*out = (unsigned)n;
	return *text >= '0' && *text <= '9' && (!*end || !strcmp(end, "%")) && n <= 99;
}

/* "10m", or none, with what is done then. */
static int deadline_args(const struct ctl *c, json_t *args)
{
	const char *deadline = ctl_opt(c, "deadline"), *what = ctl_opt(c, "at-deadline");
	uint64_t ms = 0;
	bool none = deadline && !strcmp(deadline, "none");

	if (!deadline && !what)
		return 0;
	if (!deadline || (!none && (duration_parse(deadline, &ms) || !ms)))
		return ctl_usage(
			c, "--deadline %s: a time from now such as 10m, or none", deadline ? deadline : "is missing");
	if (!none && !what)
		return ctl_usage(
			c, "--deadline needs --at-deadline, what is done then: suspend (and finish) or cancel");
	if (what && strcmp(what, "suspend") != 0 && strcmp(what, "cancel") != 0)
		return ctl_usage(c, "--at-deadline %s: suspend or cancel", what);
	json_object_set_new(args, "deadline_ms", json_integer((json_int_t)ms));
	if (what)
		json_object_set_new(args, "at_deadline", json_string(what));
	return 0;
}

int limits_args(const struct ctl *c, json_t *args)
{
	const char *bandwidth = ctl_opt(c, "bandwidth"), *blackout = ctl_opt(c, "max-blackout"),
		   *throttle = ctl_opt(c, "throttle");
	uint64_t bps = 0, ms = 0;
	unsigned percent = 0;

	if (bandwidth && strcmp(bandwidth, "unlimited") != 0 && (size_parse(bandwidth, &bps) || !bps))
		return ctl_usage(c, "--bandwidth %s: bytes a second such as 50M, or unlimited", bandwidth);
	if (blackout && (duration_parse(blackout, &ms) || !ms))
		return ctl_usage(c, "--max-blackout %s: a time such as 300ms or 2s", blackout);
	if (throttle && !percent_parse(throttle, &percent))
		return ctl_usage(c, "--throttle %s: percent from 0 (never) to 99", throttle);
	if (bandwidth)
		json_object_set_new(args, "bandwidth_bps", json_integer((json_int_t)bps));
	if (blackout)
		json_object_set_new(args, "max_blackout_ms", json_integer((json_int_t)ms));
	if (throttle)
		json_object_set_new(args, "throttle_max_percent", json_integer(percent));
	return deadline_args(c, args);
}

int quiet_args(const struct ctl *c, json_t *args, bool none)
{
	const char *quiet = ctl_opt(c, "quiet-moment");
	uint64_t ms = 0;

	if (!quiet)
		return 0;
	if (!(none && !strcmp(quiet, "none")) && (duration_parse(quiet, &ms) || !ms || ms > CONF_QUIET_MAX_MS))
		return ctl_usage(c, "--quiet-moment %s: how long it may wait for one, such as 10m; an hour at most%s",
			quiet, none ? "; none: it begins now" : "");
	json_object_set_new(args, "quiet_ms", json_integer((json_int_t)ms));
	return 0;
}

int do_set_migration(struct ctl *c)
{
	json_t *r = NULL, *args = json_pack("{s:s}", "domain", c->arg[0]);
	int rc = limits_args(c, args);

	if (!rc && json_object_size(args) > 1 && ctl_opt(c, "quiet-moment"))
		rc = ctl_usage(
			c, "set-migration: --quiet-moment goes alone; change the limits by another set-migration");
	if (!rc)
		rc = quiet_args(c, args, true);
	if (!rc && json_object_size(args) == 1)
		rc = ctl_usage(c,
			"set-migration: say what to change: --bandwidth RATE, --max-blackout TIME, --throttle PERCENT, --deadline TIME, "
			"--quiet-moment TIME");
	if (rc) {
		json_decref(args);
		return rc;
	}
	if (!ctl_get(c, "set-migration", args, &r, &rc))
		return rc;
	printf("%s: the move under way has now %s\n", c->arg[0], jstr(r, "text"));
	json_decref(r);
	return 0;
}
