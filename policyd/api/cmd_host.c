/* Commands about a host, this one or one of its peers: evacuate, maintenance. Loop thread. */
#include "policyd/act/maintain_ask.h"
#include "policyd/api/control.h"

static void on_done(void *arg, json_t *result, const struct err *e)
{
	if (e->code)
		creq_err(arg, e);
	else
		creq_ok(arg, result);
}

static void run_host(struct creq *r, struct dom *d)
{
	char by[96];

	(void)d;
	origin_text(&r->origin, by);
	maintain_ask(r->p, arg_text(r, "host"), r->rq.cmd, r->rq.args, by, on_done, r);
}

const struct command commands_host[] = {
	{.name = "evacuate",
		.change = true,
		.run = run_host,
		.args = {{"host", 's', true}, {"deadline_ms", 'i', false}, {"dry_run", 'b', false}}},
	{.name = "maintenance",
		.change = true,
		.run = run_host,
		.args = {{"host", 's', true}, {"on", 'b', true}, {"refill", 'b', false}}},
};
const unsigned n_commands_host = sizeof(commands_host) / sizeof(commands_host[0]);
