/* approve; and pin, unpin, prefer: what an operator says of where a domain belongs. Made in memory, answered when it is on disk, taken back when it cannot
 * be. Loop thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/brain.h"
#include "policyd/act/job.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/dom.h"

#define MARK_MAX_MS (10LL * 365 * 86400 * 1000)

struct marking {
	struct creq *r;
	enum mark_kind kind;
	char uuid[37], name[NAME_MAX_LEN], text[256];
	struct dom_mark before;
};

static void on_mark_written(void *arg, const struct err *e)
{
	struct marking *m = arg;
	struct creq *r = m->r;
	struct dom *d = dom_find_uuid(r->p, m->uuid);
	char who[96];
	struct store_event ev = {
		.domain = m->name, .kind = mark_name(m->kind), .who = who, .text = m->text, .ok = true};
	struct err own = *e;

	if (own.code) {
		if (d)
			d->marks[m->kind] = m->before;
		err_wrap(&own, "%s: nothing was changed", m->name);
		creq_err(r, &own);
	} else {
		origin_text(&r->origin, who);
		store_history_add(r->p->store, &ev);
		plog(r->p, "%s: %s, by %s", m->name, m->text, who);
		creq_ok(r, json_incref(r->extra));
	}
	free(m);
}

/* What is kept with a domain goes with it at the start of a move; said later it would be lost. */
static bool stays(struct creq *r, struct dom *d)
{
	enum job_kind kind = d->job ? d->job->type->kind : JOB_KIND_COUNT;
	struct err e = {0};

	if (kind != JOB_MIGRATE && kind != JOB_COLD_MOVE && kind != JOB_INCOMING)
		return true;
	job_busy(d->job, &e);
	creq_err(r, &e);
	return false;
}

/* @to replaces the mark. */
static void change(struct creq *r, struct dom *d, enum mark_kind k, const struct dom_mark *to, const char *text)
{
	struct marking *m;

	if (!stays(r, d))
		return;
	m = calloc(1, sizeof(*m));
	if (!m) {
		creq_fail(r, "failed", "%s: no memory", d->spec.name);
		return;
	}
	m->r = r;
	m->kind = k;
	m->before = d->marks[k];
	memcpy(m->uuid, d->spec.uuid, sizeof(m->uuid));
	memcpy(m->name, d->spec.name, sizeof(m->name));
	snprintf(m->text, sizeof(m->text), "%s", text);
	d->marks[k] = *to;
	r->extra = json_pack(
		"{s:s, s:s, s:I}", "host", to->host, "reason", to->reason, "until_ms", (json_int_t)to->until_ms);
	dom_save(d, on_mark_written, m);
}

static struct dom_mark asked(struct creq *r)
{
	int64_t for_ms = arg_int(r, "for_ms", 0);
	const char *reason = arg_text(r, "reason");
	struct dom_mark m = {.on = true};

	m.until_ms = for_ms ? now_wall_ms() + (for_ms < MARK_MAX_MS ? for_ms : MARK_MAX_MS) : 0;
	snprintf(m.reason, sizeof(m.reason), "%s", reason && reason[0] ? reason : "no reason given");
	origin_text(&r->origin, m.by);
	return m;
}

static void run_pin(struct creq *r, struct dom *d)
{
	struct dom_mark m = asked(r);
	char text[256];

	snprintf(text, sizeof(text), "pinned: policy does not move it (%s)", m.reason);
	change(r, d, MARK_PIN, &m, text);
}

static void run_unpin(struct creq *r, struct dom *d)
{
	struct dom_mark none = {0};

	if (!dom_marked(d, MARK_PIN))
		creq_fail(r, "refused", "%s is not pinned", d->spec.name);
	else
		change(r, d, MARK_PIN, &none, "not pinned any more");
}

static void run_prefer(struct creq *r, struct dom *d)
{
	const char *host = arg_text(r, "host");
	struct dom_mark m = asked(r);
	char text[256];

	if (!strcmp(host, "none")) {
		memset(&m, 0, sizeof(m));
		change(r, d, MARK_PREFER, &m, "no host is preferred any more");
		return;
	}
	if (strcmp(host, r->p->conf->host.host_name) && !cluster_conf_peer(r->p, host)) {
		creq_fail(r, "not-found", "there is no host \"%.70s\" under cluster.peers; policyctl hosts lists them",
			host);
		return;
	}
	snprintf(m.host, sizeof(m.host), "%s", host);
	snprintf(text, sizeof(text), "preferred on %s (%s)", m.host, m.reason);
	change(r, d, MARK_PREFER, &m, text);
}

static void run_approve(struct creq *r, struct dom *d)
{
	int64_t id = arg_int(r, "id", 0);
	char who[96], text[96];
	struct store_event ev = {.domain = "", .kind = "approve", .who = who, .text = text, .ok = true};
	struct err e = {0};

	(void)d;
	if (brain_approve(r->p, id, &e)) {
		creq_err(r, &e);
		return;
	}
	origin_text(&r->origin, who);
	snprintf(text, sizeof(text), "decision %lld approved", (long long)id);
	store_history_add(r->p->store, &ev);
	plog(r->p, "%s, by %s", text, who);
	creq_ok(r, json_pack("{s:I}", "id", (json_int_t)id));
}

const struct command commands_mark[] = {
	{.name = "approve", .change = true, .run = run_approve, .args = {{"id", 'i', true}}},
	{.name = "pin",
		.change = true,
		.domain = true,
		.run = run_pin,
		.args = {{"reason", 's', false}, {"for_ms", 'i', false}}},
	{.name = "unpin", .change = true, .domain = true, .run = run_unpin},
	{.name = "prefer",
		.change = true,
		.domain = true,
		.run = run_prefer,
		.args = {{"host", 's', true}, {"reason", 's', false}, {"for_ms", 'i', false}}},
};
const unsigned n_commands_mark = sizeof(commands_mark) / sizeof(commands_mark[0]);
