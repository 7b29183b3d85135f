/* Commands about this host: evacuate, maintenance. Loop thread. */
#include <stdio.h>
#include <string.h>

#include "policyd/act/maintain.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster_int.h"

#define DEADLINE_MAX_MS (30LL * 86400 * 1000)

/* A domain's owner moves it, so each host is emptied by its own policyd. False: it is answered. */
static bool is_here(struct creq *r)
{
	const char *host = arg_text(r, "host"), *here = r->p->conf->host.host_name;

	if (!strcmp(host, here))
		return true;
	if (cluster_conf_peer(r->p, host))
		creq_fail(r, "refused",
			"%s is emptied by its own policyd, this is %s's: run it there (policyctl %s on %s)", host, here,
			r->rq.cmd, host);
	else
		creq_fail(r, "not-found",
			"this is %s, and there is no host \"%.70s\" under cluster.peers; policyctl hosts lists them",
			here, host);
	return false;
}

static void on_changed(void *arg, const struct err *e)
{
	struct creq *r = arg;

	if (e->code)
		creq_err(r, e);
	else
		creq_ok(r, json_incref(r->extra));
}

static void begin(struct creq *r, int64_t deadline_ms)
{
	char by[96];

	r->extra = maintain_outlook(r->p);
	if (!r->extra) {
		creq_fail(r, "failed", "no memory; nothing was changed");
		return;
	}
	origin_text(&r->origin, by);
	maintain_begin(r->p, deadline_ms ? now_wall_ms() + deadline_ms : 0, by, on_changed, r);
}

static void run_evacuate(struct creq *r, struct dom *d)
{
	int64_t deadline_ms = arg_int(r, "deadline_ms", 0);
	json_t *outlook;

	(void)d;
	if (!is_here(r))
		return;
	if (deadline_ms > DEADLINE_MAX_MS) {
		creq_fail(r, "usage", "a deadline is at most 30 days away");
		return;
	}
	if (!arg_bool(r, "dry_run")) {
		begin(r, deadline_ms);
		return;
	}
	outlook = maintain_outlook(r->p);
	if (outlook)
		creq_ok(r, outlook);
	else
		creq_fail(r, "failed", "no memory");
}

static void run_maintenance(struct creq *r, struct dom *d)
{
	char by[96];

	(void)d;
	if (!is_here(r))
		return;
	if (arg_bool(r, "on") && arg_bool(r, "refill")) {
		creq_fail(
			r, "usage", "\"refill\" goes with the end of maintenance: policyctl maintenance off --refill");
	} else if (arg_bool(r, "on") && maintain_on(r->p)) {
		creq_fail(r, "refused", "%s is in maintenance already; policyctl hosts shows how far it is",
			r->p->conf->host.host_name);
	} else if (arg_bool(r, "on")) {
		begin(r, 0);
	} else if (!maintain_on(r->p)) {
		creq_fail(r, "refused", "%s is not in maintenance", r->p->conf->host.host_name);
	} else {
		json_t *was = maintain_json(r->p);

		r->extra = json_pack("{s:O}", "moved", json_object_get(was, "moved"));
		json_decref(was);
		origin_text(&r->origin, by);
		maintain_end(r->p, arg_bool(r, "refill"), by, on_changed, r);
	}
}

const struct command commands_host[] = {
	{.name = "evacuate",
		.change = true,
		.run = run_evacuate,
		.args = {{"host", 's', true}, {"deadline_ms", 'i', false}, {"dry_run", 'b', false}}},
	{.name = "maintenance",
		.change = true,
		.run = run_maintenance,
		.args = {{"host", 's', true}, {"on", 'b', true}, {"refill", 'b', false}}},
};
const unsigned n_commands_host = sizeof(commands_host) / sizeof(commands_host[0]);
