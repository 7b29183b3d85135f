/* Commands that only look. Loop thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "domain/qga.h"
#include "policyd/act/agent_load.h"
#include "policyd/act/brain.h"
#include "policyd/act/maintain.h"
#include "policyd/act/plan_ask.h"
#include "policyd/act/quiet.h"
#include "policyd/act/words.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/decide/allow.h"
#include "policyd/decide/whatif.h"
#include "policyd/kept.h"

#define PEER_ANSWER_MS 10000
#define ALLOW_TOLD_MAX 3 /* each costs some 80 decisions */

static void run_list(struct creq *r, struct dom *d)
{
	const char *only = arg_text(r, "domain");
	json_t *all = json_array(), *elsewhere, *one;
	const struct kept *k;
	size_t i;

	TAILQ_FOREACH(d, &r->p->doms, link)
		if (!d->gone && (!only || !strcmp(only, d->spec.name)))
			json_array_append_new(all, dom_list_json(d));
	for (unsigned n = 0; (k = kept_at(r->p, n)); n++)
		if (!only || !strcmp(only, k->spec.name))
			json_array_append_new(all, kept_json(r->p, k));
	if (arg_bool(r, "all_hosts")) {
		elsewhere = cluster_domains_json(r->p);
		json_array_foreach(elsewhere, i, one)
			if (!only || !strcmp(only, json_string_value(json_object_get(one, "name"))))
				json_array_append(all, one);
		json_decref(elsewhere);
	}
	if (only && !json_array_size(all)) {
		json_decref(all);
		creq_fail(r, "not-found", "%s has no domain \"%.70s\"; policyctl list shows those it has",
			r->p->conf->host.host_name, only);
		return;
	}
	creq_ok(r, json_pack("{s:o, s:o?}", "domains", all, "maintenance", only ? NULL : maintain_json(r->p)));
}

static void run_status(struct creq *r, struct dom *d)
{
	const char *only = arg_text(r, "domain");
	json_t *all = json_array(), *fixed = json_array();
	char why[192];

	if (only && !dom_find(r->p, only)) {
		json_decref(all);
		json_decref(fixed);
		creq_fail(r, "not-found", "%s has no domain \"%.70s\"; policyctl list shows those it has",
			r->p->conf->host.host_name, only);
		return;
	}
	TAILQ_FOREACH(d, &r->p->doms, link) {
		if (d->gone || (only && strcmp(only, d->spec.name)))
			continue;
		brain_immovable(d, why);
		if (why[0])
			json_array_append_new(fixed, json_pack("{s:s, s:s}", "domain", d->spec.name, "why", why));
	}
	TAILQ_FOREACH(d, &r->p->doms, link)
		if (d->job && (!only || !strcmp(only, d->spec.name)))
			json_array_append_new(all, job_json(d->job));
	creq_ok(r, json_pack("{s:o, s:o}", "operations", all, "immovable", fixed));
}

static json_t *policy_json(const struct dom *d)
{
	static const char *const relocate[] = {"unset", "live", "cold", "never", "warm"};
	static const char *const automation[] = {"full", "confirm", "manual"};
	struct policy_effective pe;
	json_t *j;

	policyd_policy(d->p, &d->spec, &pe);
	j = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:b}", "relocate", relocate[pe.relocate], "relocate_from",
		pe.relocate_from, "automation",
		automation[pe.automation != AUTO_UNSET ? pe.automation : d->p->conf->decide.automation],
		"automation_from", pe.automation_from, "importance", (int)pe.importance, "quiet_ms",
		(json_int_t)pe.quiet_ms, "postcopy", pe.postcopy == POSTCOPY_ALLOW);
	if (j && pe.cpu.set)
		json_object_set_new(j, "cpu",
			json_pack("{s:s, s:i, s:i, s:i, s:I, s:i, s:i, s:i, s:i}", "from", pe.cpu_from, "util-lower",
				(int)pe.cpu.util_lower, "util-upper", (int)pe.cpu.util_upper, "vcpu-min",
				(int)pe.cpu.vcpu_min, "vcpu-max", (json_int_t)pe.cpu.vcpu_max, "attack",
				(int)pe.cpu.attack, "decay", (int)pe.cpu.decay, "elastic-margin",
				(int)pe.cpu.elastic_margin, "sample-rate", (int)pe.cpu.sample_rate_s));
	if (j && pe.memory.set)
		json_object_set_new(j, "memory",
			json_pack("{s:s, s:i, s:i, s:I, s:I}", "from", pe.memory_from, "free-lower",
				(int)pe.memory.free_lower, "free-upper", (int)pe.memory.free_upper, "memory-min",
				(json_int_t)pe.memory.mem_min, "memory-max", (json_int_t)pe.memory.mem_max));
	return j;
}

static json_t *launched_json(const struct dom *d)
{
	const struct qemu_facts *q = qemu_probe_facts(d->p);
	char run[SPEC_PATH_MAX], ram[SPEC_PATH_MAX];

	if (!d->launched.pid)
		return json_null();
	if (rundir_path(&d->p->conf->host, d->spec.name, "", run, NULL))
		run[0] = 0;
	if (ram_path(&d->p->conf->host, &d->spec, ram, NULL))
		ram[0] = 0;
	return json_pack("{s:i, s:s, s:s, s:I, s:i, s:s, s:s, s:s, s:b}", "pid", (int)d->launched.pid, "run", run,
		"ram", ram, "ram_page_bytes", (json_int_t)policyd_ram_page(d->p), "console_port",
		(int)d->launched.console_port, "machine", d->launched.machine, "qemu", d->qemu_version, "qemu_here",
		q ? q->version : "", "answers", (int)d->qmp_up);
}

static void put(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value ? value : json_null());
}

static void show_kept(struct creq *r)
{
	const struct kept *k = kept_find(r->p, arg_text(r, "domain"));
	json_t *o = kept_json(r->p, k);

	put(o, "spec", spec_to_json(&k->spec));
	creq_ok(r, o);
}

static void run_show(struct creq *r, struct dom *d)
{
	json_t *o;
	char tail[500] = "";

	if (!d) {
		show_kept(r);
		return;
	}
	o = dom_list_json(d);
	put(o, "spec", spec_to_json(&d->spec));
	put(o, "launched", launched_json(d));
	put(o, "entitlement",
		json_pack("{s:i, s:i, s:b, s:I, s:I, s:I, s:i, s:I}", "vcpus", (int)d->vcpus, "cpu_percent",
			(int)dom_cpu_percent(d), "cpu_cap_by_policy", (int)d->launched.cpu_cap_by_policy, "mem_bytes",
			(json_int_t)d->mem_bytes, "vmem_bytes", (json_int_t)d->vmem_bytes, "vmem_requested",
			(json_int_t)d->vmem_requested, "cpu_reserved", (int)d->cpu_reserved, "mem_reserved",
			(json_int_t)d->mem_reserved));
	put(o, "statistics", brain_stats_json(d));
	put(o, "guest_agent", json_boolean(d->qga && qga_ready(d->qga)));
	put(o, "guest_load", agent_load_json(d));
	put(o, "policy", policy_json(d));
	put(o, "operation", d->job ? job_json(d->job) : NULL);
	put(o, "last", json_pack("{s:s, s:s}", "operation", d->last_op, "error", d->last_error));
	put(o, "hold",
		d->hold.on ? json_pack("{s:s, s:s, s:I}", "reason", d->hold.reason, "by", d->hold.by, "until_ms",
				     (json_int_t)d->hold.until_ms)
			   : NULL);
	put(o, "in_doubt_with", d->doubt_peer[0] ? json_string(d->doubt_peer) : NULL);
	put(o, "epoch", json_integer((json_int_t)d->epoch));
	put(o, "bound", json_boolean(d->bound));
	if (d->launched.pid)
		launch_stderr_tail(&r->p->conf->host, d->spec.name, tail, sizeof(tail));
	put(o, "qemu_stderr", json_string(tail));
	creq_ok(r, o);
}

/* ---- decisions ---- */

/* The snapshot as it would be. 0, or the answer has been given. */
static int plan_what_if(struct creq *r, struct snapshot *s)
{
	const char *what = arg_text(r, "what_if"), *policy = arg_text(r, "policy");
	struct conf_mistakes m = {0};
	struct conf *c = NULL;
	struct err e = {0};
	int rc = 0;

	if (policy && conf_parse_policy(policy, "policy", &c, &m)) {
		creq_fail(r, "refused", "%s%s", m.n ? m.v[0] : "no memory", m.n > 1 ? "; and more" : "");
		conf_mistakes_fini(&m);
		return -1;
	}
	if (c)
		rc = whatif_policy(s, c, &e);
	if (!rc && what)
		rc = whatif_apply(s, what, &e);
	conf_free(c);
	if (rc)
		creq_fail(r, e.code == ENOENT ? "not-found" : "usage", "%s", err_msg(&e));
	return rc;
}

static void on_peers_asked(void *arg, json_t *hosts)
{
	struct creq *r = arg;

	json_object_set_new(r->extra, "hosts", hosts);
	creq_ok(r, json_incref(r->extra));
}

static void run_plan(struct creq *r, struct dom *d)
{
	bool other = arg_text(r, "what_if") || arg_text(r, "policy");
	struct snapshot s;
	json_t *j = NULL;

	(void)d;
	if (other && arg_bool(r, "all_hosts")) {
		creq_fail(r, "usage",
			"\"all_hosts\" goes without \"what_if\" and \"policy\": the others decide by what is so there");
		return;
	}
	if (!brain_snapshot(r->p, &s)) {
		if (plan_what_if(r, &s)) {
			snapshot_fini(&s);
			return;
		}
		j = plan_answer(r->p, &s);
		if (j && !other && brain_proposal(r->p))
			put(j, "approve", json_integer(brain_proposal(r->p)));
		snapshot_fini(&s);
	}
	if (!j) {
		creq_fail(r, "failed", "no memory for a plan");
	} else if (arg_bool(r, "all_hosts")) {
		r->extra = j;
		plan_ask_peers(r->p, on_peers_asked, r);
	} else {
		creq_ok(r, j);
	}
}

/* For each domain (or @d only) that is in need and stays so: what would have to be different. NULL: nobody is. */
static json_t *allow_words(const struct snapshot *s, const struct plan *pl, const struct dom *d)
{
	json_t *all = json_array();
	char text[ALLOW_TEXT];

	for (unsigned i = 0; i < s->n_domains && json_array_size(all) < ALLOW_TOLD_MAX; i++) {
		const char *name = s->domains[i].spec.name;

		if ((d && strcmp(name, d->spec.name)) || !allow_wanted(s, pl, name))
			continue;
		if (!allow_find(s, pl, name, text))
			snprintf(text, sizeof(text), "no single change that is known would help it");
		json_array_append_new(all, json_pack("{s:s, s:s}", "domain", name, "text", text));
	}
	if (!json_array_size(all)) {
		json_decref(all);
		all = NULL;
	}
	return all;
}

/* What a fresh look says, where nothing is stored: a domain with which nothing was ever done still gets an answer. */
static json_t *explain_now(struct creq *r, struct dom *d)
{
	struct snapshot s;
	struct plan pl = {0};
	json_t *j = NULL;

	if (brain_snapshot(r->p, &s))
		return NULL;
	if (!decide(&s, &pl))
		j = json_pack("{s:I, s:I, s:o, s:o, s:o?}", "id", (json_int_t)0, "t", (json_int_t)s.now_ms, "plan",
			plan_to_json(&pl), "text", d ? quiet_words(d, &s, &pl) : plan_words(&s, &pl, NULL), "allow",
			allow_words(&s, &pl, d));
	plan_fini(&pl);
	snapshot_fini(&s);
	return j;
}

static bool action_of(const json_t *plan, const char *domain)
{
	json_t *a;
	size_t i;

	json_array_foreach(json_object_get(plan, "actions"), i, a)
		if (!strcmp(domain, json_string_value(json_object_get(a, "domain"))))
			return true;
	return false;
}

/* What it was to bring, and brought. */
static void on_store_benefit(void *arg, json_t *rows, const struct err *e)
{
	struct creq *r = arg;

	if (!e->code)
		put(r->extra, "benefit", json_incref(rows));
	creq_ok(r, json_incref(r->extra));
}

/* What policy then did to the domains of the decision's actions, oldest first: the newest decision's outcome is what came after it. */
static void on_store_outcome(void *arg, json_t *rows, const struct err *e)
{
	struct creq *r = arg;
	json_t *done = json_array(), *row, *plan = json_object_get(r->extra, "plan");
	json_int_t t = json_integer_value(json_object_get(r->extra, "t"));
	size_t actions = json_array_size(json_object_get(plan, "actions"));

	(void)e; /* without an outcome the decision is still worth telling */
	for (size_t i = json_array_size(rows); i-- > 0 && json_array_size(done) < actions;) {
		const char *who;

		row = json_array_get(rows, i);
		who = json_string_value(json_object_get(row, "who"));
		if (json_integer_value(json_object_get(row, "t")) >= t && who && !strncmp(who, "policy ", 7) &&
			action_of(plan, json_string_value(json_object_get(row, "domain"))))
			json_array_append(done, row);
	}
	put(r->extra, "done", done);
	store_benefit_get(r->p->store, json_integer_value(json_object_get(r->extra, "id")), on_store_benefit, r);
}

/* A name that neither a domain here nor the store knows: a slip of the pen, not an empty answer. */
static bool unheard_of(struct creq *r)
{
	const char *domain = arg_text(r, "domain");

	if (!domain || dom_find(r->p, domain))
		return false;
	creq_fail(r, "not-found",
		"%s has no domain \"%.70s\" and remembers none of that name; policyctl list shows those it has",
		r->p->conf->host.host_name, domain);
	return true;
}

static void on_store_decision(void *arg, json_t *rows, const struct err *e)
{
	struct creq *r = arg;
	json_t *row = json_array_get(rows, 0), *now = NULL;
	const char *domain = arg_text(r, "domain");
	struct dom *d;

	if (e->code) {
		creq_err(r, e);
		return;
	}
	if (!row && unheard_of(r))
		return;
	if (!row && arg_int(r, "at_ms", 0)) {
		creq_fail(r, "not-found", "nothing that was decided until then is stored (any more)");
		return;
	}
	if (!row && arg_int(r, "id", 0)) {
		creq_fail(r, "not-found", "decision %lld is not stored (any more)", (long long)arg_int(r, "id", 0));
		return;
	}
	if (arg_bool(r, "record")) {
		creq_ok(r,
			row ? json_pack("{s:O, s:O}", "snapshot", json_object_get(row, "snapshot"), "plan",
				      json_object_get(row, "plan"))
			    : json_object());
		return;
	}
	d = domain ? dom_find(r->p, domain) : NULL;
	if (!arg_int(r, "id", 0) && !arg_int(r, "at_ms", 0) &&
		(d || !domain)) /* one that is not here (any more) has no part in what would be done */
		now = explain_now(r, d);
	r->extra = row
		? json_pack("{s:O, s:O, s:O, s:o}", "id", json_object_get(row, "id"), "t", json_object_get(row, "t"),
			  "plan", json_object_get(row, "plan"), "text", plan_words_stored(row, domain))
		: json_object();
	put(r->extra, "now", now);
	if (row)
		store_history_get(r->p->store, NULL, 500, on_store_outcome, r);
	else
		creq_ok(r, json_incref(r->extra));
}

static void on_peer_explained(void *arg, const json_t *answer, const struct err *e)
{
	struct creq *r = arg;

	if (e->code)
		creq_err(r, e);
	else
		creq_ok(r,
			json_pack(
				"{s:s, s:O?}", "host", arg_text(r, "domain"), "now", json_object_get(answer, "plan")));
}

/* What a peer would do now, and why: its decisions are kept there. */
static void explain_peer(struct creq *r, const char *host)
{
	struct err e;

	if (arg_int(r, "id", 0) || arg_int(r, "at_ms", 0) || arg_bool(r, "record"))
		creq_fail(r, "usage", "%s keeps its decisions itself: ask there, policyctl explain", host);
	else if (cluster_call(r->p, host, "plan", NULL, PEER_ANSWER_MS, on_peer_explained, r, NULL, &e))
		creq_err(r, &e);
}

static void run_explain(struct creq *r, struct dom *d)
{
	const char *name = arg_text(r, "domain");

	(void)d;
	if (name && !dom_find(r->p, name) && cluster_conf_peer(r->p, name)) {
		explain_peer(r, name);
		return;
	}
	if (name && !dom_find(r->p, name) && !strcmp(name, r->p->conf->host.host_name)) {
		json_object_del(r->rq.args, "domain"); /* all of this host */
		name = NULL;
	}
	store_decision_get(r->p->store, name, arg_int(r, "id", 0), arg_int(r, "at_ms", 0), on_store_decision, r);
}

/* ---- history and the rest ---- */

static void on_store_history(void *arg, json_t *rows, const struct err *e)
{
	if (e->code)
		creq_err(arg, e);
	else if (json_array_size(rows) || !unheard_of(arg))
		creq_ok(arg, json_pack("{s:O}", "entries", rows));
}

static void run_history(struct creq *r, struct dom *d)
{
	int64_t limit = arg_int(r, "limit", 50);

	(void)d;
	store_history_get(
		r->p->store, arg_text(r, "domain"), limit > 5000 ? 5000 : (unsigned)limit, on_store_history, r);
}

static void run_hosts(struct creq *r, struct dom *d)
{
	json_t *self = cluster_host_json(r->p);

	(void)d;
	put(self, "domains", json_integer(r->p->n_doms));
	creq_ok(r,
		json_pack("{s:o, s:o, s:o?}", "hosts", cluster_hosts_json(r->p), "self", self, "maintenance",
			maintain_json(r->p)));
}

static void run_version(struct creq *r, struct dom *d)
{
	(void)d;
	creq_ok(r,
		json_pack("{s:s, s:s, s:i, s:I, s:b}", "version", POLICYD_VERSION, "host", r->p->conf->host.host_name,
			"pid", (int)getpid(), "uptime_s", (json_int_t)((now_wall_ms() - r->p->started_ms) / 1000),
			"settled", (int)r->p->settled));
}

static void run_ping(struct creq *r, struct dom *d)
{
	(void)d;
	creq_ok(r, json_string("pong"));
}

const struct command commands_look[] = {
	{.name = "list", .run = run_list, .args = {{"domain", 's', false}, {"all_hosts", 'b', false}}},
	{.name = "status", .run = run_status, .args = {{"domain", 's', false}}},
	{.name = "show", .run = run_show, .domain = true, .kept = true},
	{.name = "plan",
		.run = run_plan,
		.args = {{"what_if", 's', false}, {"policy", 's', false}, {"all_hosts", 'b', false}}},
	{.name = "explain",
		.run = run_explain,
		.args = {{"domain", 's', false}, {"id", 'i', false}, {"at_ms", 'i', false}, {"record", 'b', false}}},
	{.name = "history", .run = run_history, .args = {{"domain", 's', false}, {"limit", 'i', false}}},
	{.name = "hosts", .run = run_hosts},
	{.name = "version", .run = run_version},
	{.name = "ping", .run = run_ping},
};
const unsigned n_commands_look = sizeof(commands_look) / sizeof(commands_look[0]);
