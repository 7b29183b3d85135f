/* Giving a domain CPU and memory: see lifecycle.h. The work is resize/'s; here: checks, reservation, record. Loop thread.
 *
 * Both kinds have two phases: "resize", then "record" (the new entitlement is on disk before anybody hears of it). What resize said is
 * kept in between, for it may have succeeded in part. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/act/agent_vcpus.h"
#include "policyd/act/brain.h"
#include "policyd/act/cpu_group.h"
#include "policyd/act/lifecycle.h"
#include "policyd/act/mem_rules.h"
#include "resize/balloon.h"
#include "resize/vcpu.h"

#define BALLOON_TIMEOUT_MS 120000
#define REFUSAL_FROZEN_MS 300000 /* after the first refusal; doubled by each one in a row, to 5 h 20 min */
#define REFUSAL_DOUBLINGS 7

struct resize_priv {
	unsigned vcpus;
	unsigned cpu_cap;    /* percent of one CPU; 0 = all of its vCPUs */
	unsigned cpu_before; /* it was entitled to */
	uint64_t mem_bytes;
	struct vcpu_job *vcpu;
	struct balloon_job *balloon;
	struct agent_vcpus *agent;
	struct err outcome;
};

static void resize_cancel(struct job *j)
{
	struct resize_priv *r = j->priv;

	if (r->vcpu)
		vcpu_cancel(r->vcpu); /* their done callbacks go on */
	else if (r->balloon)
		balloon_cancel(r->balloon);
}

static void resize_fini(struct job *j, const struct err *e)
{
	struct resize_priv *r = j->priv;

	(void)e;
	if (r->vcpu)
		vcpu_cancel(r->vcpu);
	if (r->balloon)
		balloon_cancel(r->balloon);
	agent_vcpus_forget(r->agent);
	j->dom->last_resize_ms = now_wall_ms(); /* a try that failed counts: policy waits before the next */
	free(r);
	j->priv = NULL;
}

static void on_resize_recorded(struct job *j, const struct err *e)
{
	struct resize_priv *r = j->priv;

	job_end(j, r->outcome.code ? &r->outcome : e);
}

static int resize_enter_record(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;

	j->dom->last_resize_ms = now_wall_ms();
	if (j->dom->qmp)
		brain_changed(j->dom);
	if (job_save(j, on_resize_recorded))
		return err_set(e, r->outcome.code ? r->outcome.code : ENOMEM, "%s",
			r->outcome.code ? r->outcome.msg : "no memory");
	return 0;
}

static int resize_start(struct dom *d, const struct job_type *type, const struct resize_priv *conf,
	const struct origin *o, const char *reason, struct job **out, struct err *e)
{
	struct job_request rq = {.type = type, .origin = *o, .reason = reason};
	struct resize_priv *r;
	int rc;

	if (!d->job && (!d->launched.pid || !d->qmp_up || !d->guest_running))
		return err_set(e, EINVAL, "%s is %s; it can be resized while it runs", d->spec.name,
			d->launched.pid && !d->qmp_up ? "not answering" : domain_state_name(d->state));
	r = malloc(sizeof(*r));
	if (!r)
		return err_set(e, ENOMEM, "%s: no memory", d->spec.name);
	*r = *conf;
	rq.priv = r;
	rc = job_start(d, &rq, out, e);
	if (rc)
		free(r);
	return rc;
}

/* ---- CPU ---- */

/* A guest that would not give a vCPU up will hardly do so a moment later: policy leaves it alone, twice as long each time. Kept with the QEMU,
 * so also over a restart of policyd. An operator's command is always tried. */
static void note_refusal(struct dom *d, const struct vcpu_result *v)
{
	struct launched *l = &d->launched;

	if (v->wanted >= v->before)
		return;
	l->unplug_refusals = v->after > v->wanted ? l->unplug_refusals + 1 : 0;
	l->unplug_frozen_until_ms = 0;
	if (l->unplug_refusals) {
		unsigned doublings =
			l->unplug_refusals < REFUSAL_DOUBLINGS ? l->unplug_refusals - 1 : REFUSAL_DOUBLINGS - 1;

		l->unplug_frozen_until_ms = now_wall_ms() + ((int64_t)REFUSAL_FROZEN_MS << doublings);
	}
	dom_keep_launched(d);
}

static void on_vcpu_progress(void *arg, const char *awaited)
{
	struct job *j = arg;

	snprintf(j->progress.text, sizeof(j->progress.text), "waits for %s", awaited);
	job_progressed(j);
}

static void on_vcpu_done(void *arg, const struct vcpu_result *v, const struct err *e)
{
	struct job *j = arg;
	struct resize_priv *r = j->priv;

	r->vcpu = NULL;
	j->progress.text[0] = 0;
	if (v->after)
		j->dom->vcpus = v->after;
	if (e->code == EBUSY || e->code == ETIMEDOUT || !e->code)
		note_refusal(j->dom, v);
	j->result = json_pack("{s:i, s:i, s:i, s:i}", "before", (int)v->before, "after", (int)v->after, "wanted",
		(int)v->wanted, "elapsed_ms", (int)v->elapsed_ms);
	if (e->code && v->after == v->wanted)
		err_set(&r->outcome, e->code, "%s: %s", j->dom->spec.name, e->msg);
	else if (e->code)
		err_set(&r->outcome, e->code, "%s: %s; it has %u of the %u vcpus asked for", j->dom->spec.name, e->msg,
			v->after, v->wanted);
	job_next(j);
}

/* Known before it happens, whatever happens to us meanwhile: such a QEMU is not moved live any more (dom_no_live_move). */
static int note_removal(struct dom *d, struct err *e)
{
	d->launched.vcpu_removed = true;
	return launch_update(&d->p->conf->host, &d->launched, e);
}

/* From now on it is entitled to @percent of one CPU, 0: to all of its vCPUs. On failure to what it was. */
static int cap_to(struct job *j, unsigned percent, struct err *e)
{
	struct dom *d = j->dom;
	unsigned was = d->launched.cpu_cap;
	bool was_policy = d->launched.cpu_cap_by_policy;
	struct err ignored;
	int rc;

	d->launched.cpu_cap = percent;
	d->launched.cpu_cap_by_policy = percent && j->origin.kind == BY_POLICY;
	rc = launch_update(&d->p->conf->host, &d->launched, e); /* first: a restart caps it as we say */
	if (!rc)
		rc = cpu_group_apply(d, e);
	if (!rc)
		return 0;
	d->launched.cpu_cap = was;
	d->launched.cpu_cap_by_policy = was_policy;
	launch_update(&d->p->conf->host, &d->launched, &ignored);
	cpu_group_apply(d, &ignored);
	return err_wrap(e, "%s", d->spec.name);
}

/* A cap comes before the vCPUs: so it can fail while nothing has changed, and a guest that keeps a vCPU has no more than it should. */
static int cpu_enter_cap(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;
	struct dom *d = j->dom;
	unsigned to = r->cpu_cap ? r->cpu_cap : r->vcpus * 100;
	int rc;

	r->cpu_before = dom_cpu_percent(d);
	rc = to > r->cpu_before ? dom_reserve_cpu(d, to, e) : 0;
	if (!rc && r->cpu_cap)
		rc = cap_to(j, r->cpu_cap, e);
	if (!rc)
		job_next(j);
	return rc;
}

/* Its vCPUs are as many as they will be. A cap that is above them goes; and so does one that was there before, unless a guest which kept a vCPU
 * would then have more than it had. */
static int cpu_enter_settle(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;
	struct dom *d = j->dom;
	unsigned cap = d->launched.cpu_cap, whole = d->vcpus * 100;
	bool shrinks = r->vcpus * 100 < r->cpu_before;

	if (cap && d->launched.pid && (cap >= whole || (!r->cpu_cap && !(shrinks && r->outcome.code))) &&
		cap_to(j, 0, e) && !r->outcome.code)
		r->outcome = *e;
	if (d->launched.cpu_cap && j->result)
		json_object_set_new(j->result, "cpu_cap", json_integer(d->launched.cpu_cap));
	job_next(j);
	return 0;
}

static void on_agent_online(void *arg, unsigned online)
{
	struct job *j = arg;
	struct resize_priv *r = j->priv;

	r->agent = NULL;
	if (online)
		json_object_set_new(j->result, "online", json_integer(online));
	job_next(j);
}

/* A vCPU that came is of use when its guest sets it online: most do, an agent sees to it in the others. Without one nobody knows. */
static int cpu_enter_online(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;

	(void)e;
	if (j->result && j->dom->vcpus > (unsigned)json_integer_value(json_object_get(j->result, "before")))
		r->agent = agent_vcpus_online(j->dom, on_agent_online, j);
	if (!r->agent)
		job_next(j);
	return 0;
}

static int cpu_enter_resize(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;
	struct dom *d = j->dom;

	if (!d->qmp)
		return err_set(e, ENOTCONN, "%s: its QEMU is gone", d->spec.name);
	if (r->vcpus == d->vcpus) {
		j->result = json_pack("{s:i, s:i, s:i, s:i}", "before", (int)d->vcpus, "after", (int)d->vcpus, "wanted",
			(int)r->vcpus, "elapsed_ms", 0);
		job_next(j);
		return 0;
	}
	if (r->vcpus < d->vcpus && note_removal(d, e))
		return err_wrap(e, "%s", d->spec.name);
	r->vcpu = vcpu_set(d->p->base, d->qmp, r->vcpus, 0, on_vcpu_progress, on_vcpu_done, j);
	return r->vcpu ? 0 : err_set(e, ENOMEM, "%s: no memory", d->spec.name);
}

static void cpu_on_event(struct job *j, const char *event, const json_t *data)
{
	struct resize_priv *r = j->priv;

	vcpu_on_event(r->vcpu, event, data);
}

static const struct job_phase cpu_phases[] = {
	{.name = "cap", .enter = cpu_enter_cap, .no_cancel = "it takes no time"},
	{.name = "hot-plug", .enter = cpu_enter_resize, .cancel = resize_cancel},
	{.name = "online", .enter = cpu_enter_online, .no_cancel = "the guest's agent answers within seconds"},
	{.name = "settle", .enter = cpu_enter_settle, .no_cancel = "it takes no time"},
	{.name = "record", .enter = resize_enter_record, .no_cancel = "it is done already"},
};

static const struct job_type cpu_type = {
	.kind = JOB_CPU,
	.operation = "cpu",
	.phases = cpu_phases,
	.n_phases = 5,
	.on_event = cpu_on_event,
	.on_detach = resize_cancel,
	.fini = resize_fini,
};

static int check_vcpus(const struct dom *d, unsigned n, struct err *e)
{
	if (n >= d->spec.vcpus_min && n <= d->spec.vcpus_max && n)
		return 0;
	return err_set(e, ERANGE, "%s: %u vcpus is %s its %s of %u; its definition allows %u to %u", d->spec.name, n,
		n > d->spec.vcpus_max ? "above" : "below", n > d->spec.vcpus_max ? "maximum" : "minimum",
		n > d->spec.vcpus_max ? d->spec.vcpus_max : d->spec.vcpus_min, d->spec.vcpus_min, d->spec.vcpus_max);
}

static int check_cap(const struct dom *d, unsigned n, unsigned cap, struct err *e)
{
	char text[16];

	if (!cap)
		return 0;
	cpu_format(cap, text);
	if (cap < d->spec.vcpus_min * 100)
		return err_set(e, ERANGE, "%s: %s vcpus is below its minimum of %u; its definition allows %u to %u",
			d->spec.name, text, d->spec.vcpus_min, d->spec.vcpus_min, d->spec.vcpus_max);
	if (cap >= n * 100)
		return err_set(e, EINVAL, "%s: a cap of %s vcpus is not below the %u that it would have", d->spec.name,
			text, n);
	if (!cpu_group_possible(d->p))
		return err_set(e, ENOTSUP,
			"%s: %s vcpus cannot be given: %s has no cgroup CPU controller to cap it with; give whole vcpus, or mount one",
			d->spec.name, text, d->p->conf->host.host_name);
	return 0;
}

int cpu_job(struct dom *d, unsigned n, unsigned cap, const struct origin *o, const char *reason, struct job **out,
	struct err *e)
{
	struct resize_priv r = {.vcpus = n, .cpu_cap = cap};
	int rc = check_vcpus(d, n, e);

	if (!rc)
		rc = check_cap(d, n, cap, e);
	if (!rc && n > d->vcpus && dom_no_plug(d))
		rc = err_set(e, EPERM, "%s: %s", d->spec.name, dom_no_plug(d));
	if (!rc)
		rc = dom_fits_cpu(d->p, d, cap ? cap : n * 100, e);
	return rc ? rc : resize_start(d, &cpu_type, &r, o, reason, out, e);
}

int define_vcpus(struct dom *d, unsigned n, struct err *e)
{
	int rc = check_vcpus(d, n, e);

	if (!rc && d->state == DOM_BOUND)
		rc = dom_fits(d->p, d, n, d->mem_bytes, e);
	if (!rc)
		d->spec.vcpus_boot = d->vcpus = n;
	return rc;
}

/* ---- memory ---- */

static void on_balloon_progress(void *arg, uint64_t now_bytes, uint64_t wanted_bytes)
{
	struct job *j = arg;
	struct resize_priv *r = j->priv;
	uint64_t from = (uint64_t)json_integer_value(json_object_get(j->result, "before"));
	uint64_t all = from > wanted_bytes ? from - wanted_bytes : wanted_bytes - from;
	uint64_t left = now_bytes > wanted_bytes ? now_bytes - wanted_bytes : wanted_bytes - now_bytes;
	char a[16], b[16];

	if (!r->balloon)
		return;
	j->dom->mem_bytes = now_bytes;
	size_format(now_bytes, a);
	size_format(wanted_bytes, b);
	snprintf(j->progress.text, sizeof(j->progress.text), "%s -> %s", a, b);
	j->progress.percent = all && left < all ? (unsigned)((all - left) * 100 / all) : 0;
	job_progressed(j);
}

static void on_balloon_done(void *arg, const struct balloon_result *b, const struct err *e)
{
	struct job *j = arg;
	struct resize_priv *r = j->priv;
	char got[16], wanted[16];

	r->balloon = NULL;
	if (b->after)
		dom_has_memory(j->dom, b->after, b->vmem_after);
	if (b->backed_off)
		j->dom->launched.shrink_frozen_until_ms = now_wall_ms() + mem_freeze_ms(j->dom);
	mem_guard_begin(j->dom, b);
	json_decref(j->result);
	j->result = json_pack("{s:I, s:I, s:I, s:i, s:b}", "before", (json_int_t)b->before, "after",
		(json_int_t)b->after, "wanted", (json_int_t)b->wanted, "elapsed_ms", (int)b->elapsed_ms, "backed_off",
		(int)b->backed_off);
	if (e->code) {
		size_format(b->after, got);
		size_format(b->wanted, wanted);
		err_set(&r->outcome, e->code, "%s: %s; it has %s, %s was asked for", j->dom->spec.name, e->msg, got,
			wanted);
	}
	job_next(j);
}

static int memory_enter_resize(struct job *j, struct err *e)
{
	struct resize_priv *r = j->priv;
	struct dom *d = j->dom;
	struct balloon_limits limits = {.min_bytes = d->spec.mem_min,
		.max_bytes = d->spec.mem_max,
		.boot_bytes = d->spec.mem_boot,
		.agent = d->qga,
		.timeout_ms = BALLOON_TIMEOUT_MS};
	int rc = r->mem_bytes > d->mem_bytes ? dom_reserve(d, d->vcpus, r->mem_bytes, e) : 0;

	if (rc)
		return rc;
	if (!d->qmp)
		return err_set(e, ENOTCONN, "%s: its QEMU is gone", d->spec.name);
	mem_rules(d, j->origin.kind == BY_POLICY, &limits.rules);
	j->result = json_pack("{s:I}", "before", (json_int_t)d->mem_bytes);
	r->balloon = balloon_set(d->p->base, d->qmp, r->mem_bytes, &limits, on_balloon_progress, on_balloon_done, j);
	return r->balloon ? 0 : err_set(e, ENOMEM, "%s: no memory", d->spec.name);
}

static const struct job_phase memory_phases[] = {
	{.name = "resize", .enter = memory_enter_resize, .cancel = resize_cancel},
	{.name = "record", .enter = resize_enter_record, .no_cancel = "it is done already"},
};

static const struct job_type memory_type = {
	.kind = JOB_MEMORY,
	.operation = "memory",
	.phases = memory_phases,
	.n_phases = 2,
	.on_detach = resize_cancel,
	.fini = resize_fini,
};

static int check_memory(const struct dom *d, uint64_t bytes, struct err *e)
{
	uint64_t max = d->spec.mem_max;
	char want[16], min_text[16], max_text[16];

	size_format(bytes, want);
	size_format(d->spec.mem_min, min_text);
	size_format(max, max_text);
	if (bytes < d->spec.mem_min)
		return err_set(e, ERANGE, "%s: %s is below its minimum of %s; its definition allows %s to %s",
			d->spec.name, want, min_text, min_text, max_text);
	if (bytes > max)
		return err_set(e, ERANGE, "%s: %s is above its maximum of %s; its definition allows %s to %s",
			d->spec.name, want, max_text, min_text, max_text);
	if (bytes % MEM_STEP)
		return err_set(e, EINVAL, "%s: memory is given in steps of 2M; %llu%s is no multiple of it",
			d->spec.name, (unsigned long long)(bytes % (1 << 20) ? bytes : bytes >> 20),
			bytes % (1 << 20) ? " bytes" : "M");
	return 0;
}

int memory_job(
	struct dom *d, uint64_t bytes, const struct origin *o, const char *reason, struct job **out, struct err *e)
{
	struct resize_priv r = {.mem_bytes = bytes};
	int rc = check_memory(d, bytes, e);

	if (!rc && bytes > d->mem_bytes)
		rc = dom_fits(d->p, d, d->vcpus, bytes, e);
	return rc ? rc : resize_start(d, &memory_type, &r, o, reason, out, e);
}

int define_memory(struct dom *d, uint64_t bytes, struct err *e)
{
	int rc = check_memory(d, bytes, e);

	if (!rc && d->state == DOM_BOUND)
		rc = dom_fits(d->p, d, d->vcpus, bytes, e);
	if (!rc)
		d->spec.mem_boot = d->mem_bytes = bytes;
	return rc;
}
