/* Limits of a live move: see move_limits.h. */
#include "policyd/act/move_limits.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "policyd/api/format.h"

void move_limits_merge(struct move_limits *l, const struct move_limits *change)
{
	if (change->has_bandwidth) {
		l->has_bandwidth = true;
		l->bandwidth_bps = change->bandwidth_bps;
	}
	if (change->has_blackout) {
		l->has_blackout = true;
		l->max_blackout_ms = change->max_blackout_ms;
	}
	if (change->has_throttle) {
		l->has_throttle = true;
		l->throttle_max = change->throttle_max;
	}
	if (change->has_deadline) {
		l->has_deadline = true;
		l->deadline_ms = change->deadline_ms;
		l->deadline_suspend = change->deadline_suspend;
	}
}

void move_limits_complete(struct move_limits *l, const struct conf_migration *conf)
{
	struct move_limits all = {.has_bandwidth = true,
		.bandwidth_bps = conf->bandwidth_bps,
		.has_blackout = true,
		.max_blackout_ms = conf->max_blackout_ms,
		.has_throttle = true,
		.throttle_max = conf->throttle_max};

	move_limits_merge(&all, l);
	*l = all;
}

bool move_limits_any(const struct move_limits *l)
{
	return l->has_bandwidth || l->has_blackout || l->has_throttle || l->has_deadline;
}

int move_limits_check(const struct move_limits *l, struct err *e)
{
	if (l->has_bandwidth && l->bandwidth_bps &&
		(l->bandwidth_bps < MOVE_BANDWIDTH_MIN || l->bandwidth_bps > MOVE_BANDWIDTH_MAX))
		return err_set(e, EDOM,
			"a bandwidth of %llu bytes a second is not possible: 64K to 1024G, or unlimited (0)",
			(unsigned long long)l->bandwidth_bps);
	if (l->has_blackout && (!l->max_blackout_ms || l->max_blackout_ms > MOVE_BLACKOUT_MAX_MS))
		return err_set(e, EDOM, "a max-blackout of %u ms is not possible: 1ms to 10m", l->max_blackout_ms);
	if (l->has_throttle && l->throttle_max > MOVE_THROTTLE_MAX)
		return err_set(e, EDOM, "a guest cannot be slowed by %u %%: 0 (never) to 99", l->throttle_max);
	return 0;
}

bool move_limits_patient(const struct move_limits *l)
{
	return l->has_deadline && l->deadline_ms;
}

json_t *move_limits_json(const struct move_limits *l)
{
	json_t *j = json_object();

	if (l->has_bandwidth)
		json_object_set_new(j, "bandwidth_bps", json_integer((json_int_t)l->bandwidth_bps));
	if (l->has_blackout)
		json_object_set_new(j, "max_blackout_ms", json_integer(l->max_blackout_ms));
	if (l->has_throttle)
		json_object_set_new(j, "throttle_max_percent", json_integer(l->throttle_max));
	if (l->has_deadline) {
		json_object_set_new(j, "patient", json_boolean(move_limits_patient(l)));
		json_object_set_new(j, "deadline_ms", l->deadline_ms ? json_integer(l->deadline_ms) : json_null());
		json_object_set_new(j, "at_deadline",
			l->deadline_ms ? json_string(l->deadline_suspend ? "suspend" : "cancel") : json_null());
	}
	return j;
}

static void deadline_text(const struct move_limits *l, char *out, size_t size)
{
	time_t sec = (time_t)(l->deadline_ms / 1000);
	char when[16];
	struct tm tm;

	if (!l->deadline_ms) {
		snprintf(out, size, "no deadline");
		return;
	}
	localtime_r(&sec, &tm);
	strftime(when, sizeof(when), "%H:%M:%S", &tm);
	snprintf(out, size, "deadline %s (%s)", when, l->deadline_suspend ? "suspend" : "cancel");
}

void move_limits_text(const struct move_limits *l, char *out, size_t size)
{
	char rate[16] = "unlimited", dark[24], deadline[64];
	size_t n = 0;

	out[0] = 0;
	if (l->has_bandwidth) {
		if (l->bandwidth_bps)
			size_format(l->bandwidth_bps, rate);
		n = (size_t)snprintf(out, size, "bandwidth %s%s", rate, l->bandwidth_bps ? " a second" : "");
	}
	if (l->has_blackout && n < size) {
		fmt_ms(l->max_blackout_ms, dark);
		n += (size_t)snprintf(out + n, size - n, "%smax-blackout %s", n ? ", " : "", dark);
	}
	if (l->has_throttle && n < size)
		n += (size_t)snprintf(out + n, size - n, "%sthrottle %u %%", n ? ", " : "", l->throttle_max);
	if (l->has_deadline && n < size) {
		deadline_text(l, deadline, sizeof(deadline));
		snprintf(out + n, size - n, "%s%s", n ? ", " : "", deadline);
	}
}
