/* Commands that move a domain: migrate, set-migration, cancel-operation. Rights are checked before (commands.c). Loop thread. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "policyd/act/migrate_job.h"
#include "policyd/api/control.h"
#include "policyd/api/format.h"

#define DEADLINE_MAX_MS (30LL * 86400 * 1000)

static bool take_deadline(struct creq *r, struct move_limits *out)
{
	int64_t ms = arg_int(r, "deadline_ms", -1);
	const char *what = arg_text(r, "at_deadline");

	if (ms < 0 && !what)
		return true;
	if (ms > 0 && !what) {
		creq_fail(r, "usage", "a deadline needs \"at_deadline\", what is done then: \"suspend\" or \"cancel\"");
		return false;
	}
	if (ms < 0 || (what && strcmp(what, "suspend") != 0 && strcmp(what, "cancel") != 0)) {
		creq_fail(r, "usage", "\"at_deadline\" is \"suspend\" or \"cancel\", and goes with \"deadline_ms\"");
		return false;
	}
	out->has_deadline = true;
	out->deadline_ms = ms ? now_wall_ms() + (ms < DEADLINE_MAX_MS ? ms : DEADLINE_MAX_MS) : 0;
	out->deadline_suspend = what && *what == 's';
	return true;
}

/* The limits among the arguments. True: they are possible; else it is answered. */
static bool take_limits(struct creq *r, struct move_limits *out)
{
	int64_t bandwidth = arg_int(r, "bandwidth_bps", -1), blackout = arg_int(r, "max_blackout_ms", -1),
		throttle = arg_int(r, "throttle_max_percent", -1);
	struct err e = {0};

	memset(out, 0, sizeof(*out));
	out->has_bandwidth = bandwidth >= 0;
	out->bandwidth_bps = bandwidth >= 0 ? (uint64_t)bandwidth : 0;
	out->has_blackout = blackout >= 0;
	out->max_blackout_ms = blackout > MOVE_BLACKOUT_MAX_MS ? MOVE_BLACKOUT_MAX_MS + 1
		: blackout > 0                                 ? (unsigned)blackout
							       : 0;
	out->has_throttle = throttle >= 0;
	out->throttle_max = throttle > MOVE_THROTTLE_MAX ? MOVE_THROTTLE_MAX + 1
		: throttle > 0                           ? (unsigned)throttle
							 : 0;
	if (!move_limits_check(out, &e))
		return take_deadline(r, out);
	creq_err(r, &e);
	return false;
}

/* True: possible; else it is answered. */
static bool take_quiet(struct creq *r, int64_t ms)
{
	if (ms >= 0 && ms <= CONF_QUIET_MAX_MS)
		return true;
	creq_fail(r, "usage",
		"\"quiet_ms\" is how long it may wait for a quiet moment: 0 (not at all) to %d milliseconds",
		CONF_QUIET_MAX_MS);
	return false;
}

static void on_move_checked(void *arg, json_t *result, const struct err *e)
{
	if (e->code)
		creq_err(arg, e);
	else
		creq_ok(arg, json_incref(result));
}

static void run_migrate(struct creq *r, struct dom *d)
{
	struct move_request rq = {.origin = r->origin, .pred_total_s = -1, .pred_blackout_ms = -1, .pred_bytes = -1};
	int64_t quiet = arg_int(r, "quiet_ms", 0);
	const char *method = arg_text(r, "method"), *name = arg_text(r, "name");
	struct job *j = NULL;
	struct err e = {0};

	if (method && strcmp(method, "live") && strcmp(method, "cold") && strcmp(method, "warm")) {
		creq_fail(r, "usage", "method is \"live\", \"warm\" or \"cold\", not \"%.40s\"", method);
		return;
	}
	if (name && !name_valid(name)) {
		creq_fail(r, "usage", "\"%.70s\" is no name for a domain (letters, digits, . _ -; at most %d)", name,
			NAME_MAX_LEN - 1);
		return;
	}
	if (!take_quiet(r, quiet) || !take_limits(r, &rq.limits))
		return;
	rq.method = !method ? MOVE_AUTO : *method == 'l' ? MOVE_LIVE : *method == 'w' ? MOVE_WARM : MOVE_COLD;
	rq.leave_paused = arg_bool(r, "paused");
	rq.keep = arg_bool(r, "keep");
	rq.postcopy = arg_bool(r, "postcopy");
	rq.quiet_ms = (unsigned)quiet;
	snprintf(rq.host, sizeof(rq.host), "%s", arg_text(r, "host"));
	snprintf(rq.name, sizeof(rq.name), "%s", name ? name : "");
	if (arg_bool(r, "dry_run")) {
		if (move_check(d, &rq, on_move_checked, r, &e))
			creq_err(r, &e);
		return;
	}
	if (move_start(d, &rq, &j, &e)) {
		creq_err(r, &e);
		return;
	}
	if (!arg_bool(r, "wait")) {
		creq_ok(r, json_pack("{s:I}", "operation", (json_int_t)j->id));
		return;
	}
	r->cancel_on_close = true;
	creq_wait(r, j);
}

/* One that waits for a quiet moment: for how long from now, 0 = it begins. */
static void set_quiet(struct creq *r, struct dom *d, unsigned ms)
{
	char text[96] = "no wait for a quiet moment: it begins", time[24];
	struct err e = {0};

	if (move_set_quiet(d, ms, &e)) {
		creq_err(r, &e);
		return;
	}
	fmt_ms(ms, time);
	if (ms)
		snprintf(text, sizeof(text), "%s more for a quiet moment", time);
	cmd_note(r, d->spec.name, "set-migration", text);
	creq_ok(r, json_pack("{s:s}", "text", text));
}

static void run_set_migration(struct creq *r, struct dom *d)
{
	int64_t quiet = arg_int(r, "quiet_ms", -1);
	struct move_limits change;
	char text[160], line[sizeof(text) + NAME_MAX_LEN + 8];
	struct err e = {0};

	if (!take_limits(r, &change) || (quiet >= 0 && !take_quiet(r, quiet)))
		return;
	if (move_limits_any(&change) == (quiet >= 0)) {
		creq_fail(r, "usage",
			"set-migration needs either limits (\"bandwidth_bps\", \"max_blackout_ms\", \"throttle_max_percent\" or \"deadline_ms\") or \"quiet_ms\"");
		return;
	}
	if (quiet >= 0) {
		set_quiet(r, d, (unsigned)quiet);
		return;
	}
	if (move_set_limits(d, &change, &e)) {
		creq_err(r, &e);
		return;
	}
	move_limits_text(&change, text, sizeof(text));
	snprintf(line, sizeof(line), "to %s: %s", d->job->target, text);
	cmd_note(r, d->spec.name, "set-migration", line);
	creq_ok(r,
		json_pack("{s:I, s:O, s:s}", "operation", (json_int_t)d->job->id, "limits", d->job->limits, "text",
			text));
}

static void on_cancelled_end(struct job_listener *l, const struct job *j, const struct err *e)
{
	struct creq *r = (struct creq *)((char *)l - offsetof(struct creq, listener));

	if (e->code == ECANCELED)
		creq_ok(r, json_pack("{s:I, s:s}", "operation", (json_int_t)j->id, "cancelled", j->type->operation));
	else if (e->code)
		creq_fail(r, "failed", "it had ended before it could be cancelled: %s", err_msg(e));
	else
		creq_fail(r, "refused", "%s: the %s was through before it could be cancelled", j->dom->spec.name,
			j->type->operation);
}

static bool kind_known(const char *kind)
{
	static const char *const kinds[] = {"migration", "cold move", "same-host move", "incoming", "memory", "cpu",
		"start", "stop", "suspend", "resume"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kind, kinds[i]))
			return true;
	return false;
}

static void run_cancel(struct creq *r, struct dom *d)
{
	const char *kind = arg_text(r, "kind");
	struct job *j = d->job;
	struct err e = {0};

	if (kind && !kind_known(kind)) {
		creq_fail(r, "usage",
			"there are no operations of kind \"%.40s\"; say migration, memory, cpu, start or stop", kind);
		return;
	}
	if (!j ||
		(kind && strcmp(kind, j->type->operation) &&
			!(!strcmp(kind, "migration") &&
				(j->type->kind == JOB_COLD_MOVE || j->type->kind == JOB_MOVE_HERE)))) {
		creq_fail(r, "not-found", "%s has no%s%s operation under way", d->spec.name, kind ? " " : "",
			kind ? kind : "");
		return;
	}
	r->listener.on_end = on_cancelled_end;
	job_listen(j, &r->listener);
	if (job_cancel(j, &e)) {
		job_unlisten(&r->listener);
		creq_err(r, &e);
	}
}

const struct command commands_move[] = {
	{.name = "migrate",
		.change = true,
		.domain = true,
		.run = run_migrate,
		.args = {{"host", 's', true}, {"name", 's', false}, {"dry_run", 'b', false}, {"wait", 'b', false},
			{"method", 's', false}, {"paused", 'b', false}, {"keep", 'b', false}, {"postcopy", 'b', false},
			{"quiet_ms", 'i', false}, {"bandwidth_bps", 'i', false}, {"max_blackout_ms", 'i', false},
			{"throttle_max_percent", 'i', false}, {"deadline_ms", 'i', false},
			{"at_deadline", 's', false}}},
	{.name = "set-migration",
		.change = true,
		.domain = true,
		.run = run_set_migration,
		.args = {{"bandwidth_bps", 'i', false}, {"max_blackout_ms", 'i', false},
			{"throttle_max_percent", 'i', false}, {"deadline_ms", 'i', false}, {"at_deadline", 's', false},
			{"quiet_ms", 'i', false}}},
	{.name = "cancel-operation", .change = true, .domain = true, .run = run_cancel, .args = {{"kind", 's', false}}},
};
const unsigned n_commands_move = sizeof(commands_move) / sizeof(commands_move[0]);
