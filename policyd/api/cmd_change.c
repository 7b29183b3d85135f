/* Commands that change something: rights are checked before (commands.c). Long work becomes a job; what is short is answered when it is
 * on disk. Loop thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/api/cmd_fail.h"
#include "policyd/act/lifecycle.h"
#include "policyd/act/maintain.h"
#include "policyd/api/control.h"

#define HOLD_MAX_MS (10LL * 365 * 86400 * 1000)

/* A short change: made in memory, answered when it is on disk, taken back when it cannot be. */
struct change {
	struct creq *r;
	char uuid[37], name[NAME_MAX_LEN];
	const char *kind;
	char text[200];
	void (*undo)(struct dom *d, const struct change *c); /* not called when the domain is gone */
	struct dom *removed;
	/* as it was */
	struct dom_hold hold;
	unsigned vcpus, vcpus_boot;
	uint64_t mem_bytes, mem_boot;
};

/* Answers itself, and returns NULL, when there is no memory. */
static struct change *change_new(
	struct creq *r, const struct dom *d, const char *kind, void (*undo)(struct dom *d, const struct change *c))
{
	struct change *c = malloc(sizeof(*c));

	if (!c) {
		creq_fail(r, "failed", "%s: no memory", d->spec.name);
		return NULL;
	}
	*c = (struct change){.r = r,
		.kind = kind,
		.undo = undo,
		.hold = d->hold,
		.vcpus = d->vcpus,
		.vcpus_boot = d->spec.vcpus_boot,
		.mem_bytes = d->mem_bytes,
		.mem_boot = d->spec.mem_boot};
	memcpy(c->uuid, d->spec.uuid, sizeof(c->uuid));
	memcpy(c->name, d->spec.name, sizeof(c->name));
	return c;
}

static void on_change_written(void *arg, const struct err *e)
{
	struct change *c = arg;
	struct creq *r = c->r;
	struct dom *d = c->removed ? c->removed : dom_find_uuid(r->p, c->uuid);
	struct err own = *e;

	if (own.code) {
		if (d)
			c->undo(d, c);
		err_wrap(&own, "%s: nothing was changed", c->name);
		creq_err(r, &own);
	} else {
		cmd_note(r, c->name, c->kind, c->text);
		if (c->removed) {
			dom_cleanup(d);
			dom_free(d);
		}
		creq_ok(r, json_incref(r->extra));
	}
	free(c);
}

void cmd_fail_mistakes(struct creq *r, struct conf_mistakes *m)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (!f) {
		creq_fail(r, "failed", "no memory");
		return;
	}
	for (size_t i = 0; i < m->n; i++)
		fprintf(f, "%s\n", m->v[i]);
	fprintf(f, "%zu mistake%s; nothing was changed", m->n, m->n == 1 ? "" : "s");
	fclose(f);
	conf_mistakes_fini(m);
	creq_fail(r, "refused", "%s", text);
	free(text);
}

/* ---- definitions ---- */

static void undo_add(struct dom *d, const struct change *c)
{
	(void)c;
	if (!d->job && !d->launched.pid)
		dom_free(d); /* not defined, for it would not survive */
}

static void run_add_domain(struct creq *r, struct dom *d)
{
	struct conf_mistakes m = {0};
	struct domain_spec spec;
	struct change *c;
	struct err e = {0};

	if (conf_parse_domain(arg_text(r, "text"), arg_text(r, "file"), &spec, &m)) {
		cmd_fail_mistakes(r, &m);
		return;
	}
	if (cmd_add_kept(r->p, &spec, &e) || dom_services(r->p, &spec, false, &e) || dom_new(r->p, &spec, &d, &e)) {
		creq_err(r, &e);
		return;
	}
	c = change_new(r, d, "add-domain", undo_add);
	if (!c) {
		dom_free(d);
		return;
	}
	r->extra = json_pack("{s:s, s:s}", "name", spec.name, "uuid", spec.uuid);
	snprintf(c->text, sizeof(c->text), "defined");
	dom_save(d, on_change_written, c);
}

static bool idle(struct creq *r, struct dom *d)
{
	struct err e = {0};

	if (!doubt_check(d, &e) && (!d->job || !job_busy(d->job, &e)))
		return true;
	creq_err(r, &e);
	return false;
}

/* What is kept with a domain goes with it at the start of a move; said later it would be lost, or kept where the domain is not yet. */
static bool stays(struct creq *r, struct dom *d)
{
	enum job_kind kind = d->job ? d->job->type->kind : JOB_KIND_COUNT;

	return (kind != JOB_MIGRATE && kind != JOB_COLD_MOVE && kind != JOB_INCOMING) || idle(r, d);
}

static void undo_bind(struct dom *d, const struct change *c)
{
	d->bound = !strcmp(c->kind, "unbind");
	if (!d->job && !d->launched.pid)
		dom_step(d, d->bound ? DEV_BIND : DEV_UNBIND, NULL);
}

static void run_bind(struct creq *r, struct dom *d)
{
	struct change *c;
	struct err e = {0};

	if (!idle(r, d))
		return;
	if (dom_services(r->p, &d->spec, true, &e) ||
		(d->state == DOM_INACTIVE && dom_reserve(d, d->vcpus, d->mem_bytes, &e)) || dom_step(d, DEV_BIND, &e)) {
		dom_unreserve(d);
		creq_err(r, &e);
		return;
	}
	dom_unreserve(d); /* being bound is the reservation */
	c = change_new(r, d, "bind", undo_bind);
	if (!c) {
		dom_step(d, DEV_UNBIND, NULL);
		return;
	}
	d->bound = true;
	snprintf(c->text, sizeof(c->text), "bound: its CPU and memory are reserved");
	dom_save(d, on_change_written, c);
}

static void run_unbind(struct creq *r, struct dom *d)
{
	struct change *c;
	struct err e = {0};

	if (!idle(r, d))
		return;
	if (dom_step(d, DEV_UNBIND, &e)) {
		creq_err(r, &e);
		return;
	}
	c = change_new(r, d, "unbind", undo_bind);
	if (!c) {
		dom_step(d, DEV_BIND, NULL);
		return;
	}
	d->bound = false;
	snprintf(c->text, sizeof(c->text), "unbound");
	dom_save(d, on_change_written, c);
}

static void undo_remove(struct dom *d, const struct change *c)
{
	if (!dom_find(d->p, c->name)) /* else its name was taken meanwhile; a restart finds it in the store */
		d->gone = false;
}

static void run_remove(struct creq *r, struct dom *d)
{
	struct change *c;

	if (!d) {
		cmd_remove_kept(r, arg_text(r, "domain"));
		return;
	}
	if (!idle(r, d))
		return;
	if (d->launched.pid || domain_state_runs(d->state)) {
		creq_fail(r, "refused", "%s is %s; stop it first: policyctl stop %s", d->spec.name,
			domain_state_name(d->state), d->spec.name);
		return;
	}
	c = change_new(r, d, "remove-domain", undo_remove);
	if (!c)
		return;
	d->gone = true; /* nobody finds it any more; freed when its row is gone */
	c->removed = d;
	snprintf(c->text, sizeof(c->text), "definition removed");
	store_domain_del(r->p->store, c->uuid, on_change_written, c);
}

/* ---- running ---- */

/* @rc of starting the job *@j. By address: arguments are evaluated in any order. */
static void wait_or_fail(struct creq *r, int rc, struct job *const *j, const struct err *e)
{
	if (rc)
		creq_err(r, e);
	else
		creq_wait(r, *j);
}

static void run_start(struct creq *r, struct dom *d)
{
	struct job *j = NULL;
	struct err e = {0};

	if (maintain_on(r->p)) {
		creq_fail(r, "refused",
			"%s is in maintenance and starts nothing: policyctl maintenance off %s, or start %s on another host",
			r->p->conf->host.host_name, r->p->conf->host.host_name, d->spec.name);
		return;
	}
	wait_or_fail(r, start_job(d, &r->origin, &j, &e), &j, &e);
}

static void run_stop(struct creq *r, struct dom *d)
{
	struct job *j = NULL;
	struct err e = {0};
	int64_t s = arg_int(r, "timeout_s", 0);

	wait_or_fail(r,
		stop_job(d, arg_bool(r, "force"), s > 86400 ? 86400000 : (unsigned)s * 1000, &r->origin, &j, &e), &j,
		&e);
}

static void run_suspend(struct creq *r, struct dom *d)
{
	struct job *j = NULL;
	struct err e = {0};

	wait_or_fail(r, suspend_job(d, false, &r->origin, &j, &e), &j, &e);
}

static void run_resume(struct creq *r, struct dom *d)
{
	struct job *j = NULL;
	struct err e = {0};

	wait_or_fail(r, suspend_job(d, true, &r->origin, &j, &e), &j, &e);
}

/* ---- CPU and memory ---- */

static void undo_size(struct dom *d, const struct change *c)
{
	d->spec.vcpus_boot = c->vcpus_boot;
	d->spec.mem_boot = c->mem_boot;
	if (d->job || d->launched.pid)
		return;
	d->vcpus = c->vcpus;
	d->mem_bytes = c->mem_bytes;
}

static void defined(struct change *c, struct dom *d, uint64_t before, uint64_t after)
{
	char a[16], b[16];

	if (!strcmp(c->kind, "memory")) {
		size_format(before, a);
		size_format(after, b);
	} else {
		snprintf(a, sizeof(a), "%llu", (unsigned long long)before);
		snprintf(b, sizeof(b), "%llu", (unsigned long long)after);
	}
	snprintf(c->text, sizeof(c->text), "%s %s -> %s in its definition; it is %s", c->kind, a, b,
		domain_state_name(d->state));
	c->r->extra =
		json_pack("{s:I, s:I, s:b}", "before", (json_int_t)before, "after", (json_int_t)after, "definition", 1);
	dom_save(d, on_change_written, c);
}

static void run_set_vcpu(struct creq *r, struct dom *d)
{
	int64_t n = arg_int(r, "n", 0), cap = arg_int(r, "cap", 0);
	unsigned before = d->vcpus;
	struct change *c;
	struct job *j = NULL;
	struct err e = {0};

	n = n > 100000 ? 100000 : n;
	cap = cap > n * 100 ? n * 100 : cap;
	if (d->launched.pid) {
		wait_or_fail(r, cpu_job(d, (unsigned)n, (unsigned)cap, &r->origin, NULL, &j, &e), &j, &e);
		return;
	}
	if (cap) {
		creq_fail(r, "refused",
			"%s is %s: a part of a vcpu is given while it runs; give whole ones, or start it first",
			d->spec.name, domain_state_name(d->state));
		return;
	}
	c = idle(r, d) ? change_new(r, d, "cpu", undo_size) : NULL;
	if (!c)
		return;
	if (!define_vcpus(d, (unsigned)n, &e)) {
		defined(c, d, before, (uint64_t)n);
		return;
	}
	creq_err(r, &e);
	free(c);
}

static void run_set_memory(struct creq *r, struct dom *d)
{
	uint64_t bytes = (uint64_t)arg_int(r, "bytes", 0), before = d->mem_bytes;
	struct change *c;
	struct job *j = NULL;
	struct err e = {0};

	if (d->launched.pid) {
		wait_or_fail(r, memory_job(d, bytes, &r->origin, NULL, &j, &e), &j, &e);
		return;
	}
	c = idle(r, d) ? change_new(r, d, "memory", undo_size) : NULL;
	if (!c)
		return;
	if (!define_memory(d, bytes, &e)) {
		defined(c, d, before, bytes);
		return;
	}
	creq_err(r, &e);
	free(c);
}

/* ---- hold, release, reload ---- */

static void undo_hold(struct dom *d, const struct change *c)
{
	d->hold = c->hold;
}

static void run_hold(struct creq *r, struct dom *d)
{
	int64_t for_ms = arg_int(r, "for_ms", 0);
	const char *reason = arg_text(r, "reason");
	struct change *c = stays(r, d) ? change_new(r, d, "hold", undo_hold) : NULL;

	if (!c)
		return;
	memset(&d->hold, 0, sizeof(d->hold));
	d->hold.on = true;
	d->hold.until_ms = for_ms ? now_wall_ms() + (for_ms < HOLD_MAX_MS ? for_ms : HOLD_MAX_MS) : 0;
	snprintf(d->hold.reason, sizeof(d->hold.reason), "%s", reason && reason[0] ? reason : "no reason given");
	origin_text(&r->origin, d->hold.by);
	snprintf(c->text, sizeof(c->text), "policy leaves it alone: %s", d->hold.reason);
	r->extra = json_pack("{s:s, s:I}", "reason", d->hold.reason, "until_ms", (json_int_t)d->hold.until_ms);
	dom_save(d, on_change_written, c);
}

static void run_release(struct creq *r, struct dom *d)
{
	struct change *c;

	if (!dom_held(d)) {
		creq_fail(r, "refused", "%s is not held", d->spec.name);
		return;
	}
	c = stays(r, d) ? change_new(r, d, "release", undo_hold) : NULL;
	if (!c)
		return;
	memset(&d->hold, 0, sizeof(d->hold));
	snprintf(c->text, sizeof(c->text), "policy may act on it again");
	dom_save(d, on_change_written, c);
}

static void run_reload(struct creq *r, struct dom *d)
{
	struct conf_mistakes m = {0};

	(void)d;
	if (policyd_reload(r->p, &m)) {
		cmd_fail_mistakes(r, &m);
		return;
	}
	cmd_note(r, "", "reload", "configuration read again");
	creq_ok(r, json_pack("{s:i, s:i}", "policies", (int)r->p->conf->n_policies, "peers", (int)r->p->conf->n_peers));
}

const struct command commands_change[] = {
	{.name = "add-domain",
		.change = true,
		.run = run_add_domain,
		.args = {{"text", 's', true}, {"file", 's', true}}},
	{.name = "bind", .change = true, .domain = true, .run = run_bind},
	{.name = "unbind", .change = true, .domain = true, .run = run_unbind},
	{.name = "remove", .change = true, .domain = true, .kept = true, .run = run_remove},
	{.name = "restore-domain",
		.change = true,
		.domain = true,
		.kept = true,
		.run = cmd_restore,
		.args = {{"lost", 'b', false}}},
	{.name = "start", .change = true, .domain = true, .run = run_start},
	{.name = "stop",
		.change = true,
		.domain = true,
		.run = run_stop,
		.args = {{"force", 'b', false}, {"timeout_s", 'i', false}}},
	{.name = "suspend", .change = true, .domain = true, .run = run_suspend},
	{.name = "resume", .change = true, .domain = true, .run = run_resume},
	{.name = "set-vcpu",
		.change = true,
		.domain = true,
		.run = run_set_vcpu,
		.args = {{"n", 'i', true}, {"cap", 'i', false}}},
	{.name = "set-memory", .change = true, .domain = true, .run = run_set_memory, .args = {{"bytes", 'i', true}}},
	{.name = "hold",
		.change = true,
		.domain = true,
		.run = run_hold,
		.args = {{"reason", 's', false}, {"for_ms", 'i', false}}},
	{.name = "release", .change = true, .domain = true, .run = run_release},
	{.name = "reload", .change = true, .run = run_reload},
};
const unsigned n_commands_change = sizeof(commands_change) / sizeof(commands_change[0]);
