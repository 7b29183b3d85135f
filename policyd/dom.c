/* Domain objects: the list, states and flags, what they are charged, saving. QEMU's side is in dom_qemu.c. Loop thread. */
#include "policyd/dom.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/ram.h"
#include "policyd/act/brain.h"
#include "policyd/act/job.h"

struct dom *dom_find(struct policyd *p, const char *name)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (!d->gone && !strcmp(d->spec.name, name))
			return d;
	return NULL;
}

struct dom *dom_find_uuid(struct policyd *p, const char *uuid)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (!d->gone && !strcmp(d->spec.uuid, uuid))
			return d;
	return NULL;
}

static void list_insert(struct policyd *p, struct dom *d)
{
	struct dom *at;

	TAILQ_FOREACH(at, &p->doms, link)
		if (strcmp(at->spec.name, d->spec.name) > 0)
			break;
	if (at)
		TAILQ_INSERT_BEFORE(at, d, link);
	else
		TAILQ_INSERT_TAIL(&p->doms, d, link);
	p->n_doms++;
}

int dom_new(struct policyd *p, const struct domain_spec *spec, struct dom **out, struct err *e)
{
	struct dom *d;

	if (dom_find(p, spec->name))
		return err_set(e, EEXIST, "%s has a domain \"%s\" already; choose another name or remove that one",
			p->conf->host.host_name, spec->name);
	d = dom_find_uuid(p, spec->uuid);
	if (d)
		return err_set(e, EEXIST,
			"uuid %s is domain \"%s\" on %s already; leave uuid out of the file to get a new one",
			spec->uuid, d->spec.name, p->conf->host.host_name);
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ENOMEM, "no memory for domain %s", spec->name);
	d->p = p;
	d->spec = *spec;
	d->pidfd = -1;
	d->vcpus = spec->vcpus_boot;
	d->mem_bytes = spec->mem_boot;
	list_insert(p, d);
	*out = d;
	return 0;
}

void dom_free(struct dom *d)
{
	if (!d)
		return;
	assert(!d->job);
	dom_detach(d);
	brain_forget(d);
	TAILQ_REMOVE(&d->p->doms, d, link);
	d->p->n_doms--;
	free(d);
}

int dom_rename(struct dom *d, const char *name, struct err *e)
{
	struct dom *other = dom_find(d->p, name);

	if (other == d)
		return 0;
	if (other)
		return err_set(e, EEXIST, "%s has a domain \"%s\" already", d->p->conf->host.host_name, name);
	if (d->launched.pid)
		return err_set(e, EBUSY, "%s is running; it cannot be renamed now", d->spec.name);
	if (!name_valid(name))
		return err_set(e, EINVAL, "\"%s\" is no name for a domain (letters, digits, . _ -; at most %d)", name,
			NAME_MAX_LEN - 1);
	TAILQ_REMOVE(&d->p->doms, d, link);
	d->p->n_doms--;
	snprintf(d->spec.name, sizeof(d->spec.name), "%s", name);
	list_insert(d->p, d);
	return 0;
}

int dom_step(struct dom *d, enum domain_event ev, struct err *e)
{
	enum domain_state before = d->state;
	int rc = domain_state_step(&d->state, ev, e);

	if (rc)
		return err_wrap(e, "domain %s", d->spec.name);
	if (d->state != before)
		plog(d->p, "%s: %s -> %s", d->spec.name, domain_state_name(before), domain_state_name(d->state));
	return 0;
}

void dom_flags(const struct dom *d, struct domain_flags *out)
{
	memset(out, 0, sizeof(*out));
	out->normal = d->state == DOM_BOUND || d->state == DOM_ACTIVE || d->state == DOM_SUSPENDED;
	out->transition = d->state == DOM_STARTING || d->state == DOM_STOPPING || d->state == DOM_TRANSITION;
	if (d->job && d->state == DOM_TRANSITION) {
		out->source = d->job->type->kind == JOB_MIGRATE || d->job->type->kind == JOB_COLD_MOVE ||
			d->job->type->kind == JOB_MOVE_HERE;
		out->target = d->job->type->kind == JOB_INCOMING;
	}
	out->error = d->last_error[0] != 0;
	out->held = d->hold.on;
}

uint64_t dom_next_epoch(const struct dom *d)
{
	int64_t now = now_wall_ms();

	return now > 0 && (uint64_t)now > d->epoch ? (uint64_t)now : d->epoch + 1;
}

static void save_marks(struct dom *d)
{
	json_t *marks = dom_marks_json(d);

	if (marks || d->marks_stored)
		store_marks_put(d->p->store, d->spec.uuid, marks);
	d->marks_stored = marks != NULL;
	json_decref(marks);
}

void dom_save(struct dom *d, store_done_fn *done, void *arg)
{
	struct store_domain sd = {
		.spec = d->spec,
		.vcpus = d->vcpus,
		.mem_bytes = d->mem_bytes,
		.bound = d->bound,
		.running = d->launched.pid != 0,
		.hold = d->hold.on,
		.hold_until_ms = d->hold.until_ms,
		.epoch = d->epoch,
		.started_ms = d->started_ms,
		.last_resize_ms = d->last_resize_ms,
		.last_move_ms = d->last_move_ms,
	};

	memcpy(sd.hold_reason, d->hold.reason, sizeof(sd.hold_reason));
	memcpy(sd.hold_by, d->hold.by, sizeof(sd.hold_by));
	d->stored = true;
	save_marks(d);
	store_domain_put(d->p->store, &sd, done, arg);
}

void dom_note_result(struct dom *d, const char *op, const struct err *e)
{
	snprintf(d->last_op, sizeof(d->last_op), "%s", op);
	snprintf(d->last_error, sizeof(d->last_error), "%s", e && e->code ? e->msg : "");
}

bool dom_held(struct dom *d)
{
	if (d->hold.on && d->hold.until_ms && now_wall_ms() >= d->hold.until_ms) {
		struct store_event ev = {.domain = d->spec.name,
			.kind = "release",
			.who = "policyd",
			.text = "the hold's time is over",
			.ok = true};

		memset(&d->hold, 0, sizeof(d->hold));
		plog(d->p, "%s: hold is over", d->spec.name);
		dom_save(d, NULL, NULL);
		store_history_add(d->p->store, &ev);
	}
	return d->hold.on;
}

/* ---- capacity ---- */

unsigned dom_cpu_percent(const struct dom *d)
{
	unsigned cap = d->launched.cpu_cap;

	return cap && cap < d->vcpus * 100 ? cap : d->vcpus * 100;
}

void dom_charge(const struct dom *d, unsigned *cpu_percent_out, uint64_t *mem_out)
{
	unsigned cpu = d->state == DOM_INACTIVE ? 0 : dom_cpu_percent(d);
	uint64_t mem = d->state == DOM_INACTIVE ? 0 : d->mem_bytes;

	if (mem && d->launched.pid && d->vmem_requested > d->vmem_bytes)
		mem += d->vmem_requested - d->vmem_bytes; /* it may take that at any time */
	*cpu_percent_out = cpu > d->cpu_reserved ? cpu : d->cpu_reserved;
	*mem_out = mem > d->mem_reserved ? mem : d->mem_reserved;
}

uint64_t dom_resident(const struct dom *d)
{
	char path[SPEC_PATH_MAX];
	uint64_t n = 0;

	if (!ram_path(&d->p->conf->host, &d->spec, path, NULL))
		n = ram_resident_bytes(path);
	if (!vmem_path(&d->p->conf->host, &d->spec, path, NULL))
		n += ram_resident_bytes(path);
	return n;
}

const struct domain_spec *dom_files_spec(const struct dom *d)
{
	return d->launched.pid ? &d->launched.spec : &d->spec;
}

/* Room for its RAM files: capacity is a figure from the configuration, the file system is what there really is. */
static int ram_fits(const struct policyd *p, const struct dom *d, uint64_t mem_bytes, struct err *e)
{
	uint64_t has = dom_resident(d), room = policyd_ram_free(p, d), page = policyd_ram_page(p);
	uint64_t claim = spec_ram_claim(dom_files_spec(d), page, mem_bytes);
	char want[16], have[16];

	if (claim <= has || claim - has <= room)
		return 0;
	size_format(claim, want);
	size_format(has + room, have);
	if (page > SPEC_PAGE_BYTES)
		return err_set(e, ENOSPC,
			"needs %s of huge pages, but %s on %s has %s for it; add pages (vm.nr_hugepages) or stop another domain",
			want, p->conf->host.paths.ram, p->conf->host.host_name, have);
	return err_set(e, ENOSPC,
		"needs %s, but %s on %s has %s for it; enlarge that file system or stop another domain", want,
		p->conf->host.paths.ram, p->conf->host.host_name, have);
}

int dom_fits_cpu(const struct policyd *p, const struct dom *d, unsigned percent, struct err *e)
{
	struct capacity c;
	char want[16], have[16];
	unsigned own = 0, others, all;
	uint64_t own_mem;

	policyd_capacity(p, &c);
	if (d)
		dom_charge(d, &own, &own_mem);
	others = c.cpu_given - own;
	all = c.vcpus_total * 100;
	if (percent <= own || (others <= all && percent <= all - others))
		return 0;
	cpu_format(percent, want);
	cpu_format(others < all ? all - others : 0, have);
	return err_set(
		e, ENOSPC, "needs %s vcpus, %s has %s free of %u", want, p->conf->host.host_name, have, c.vcpus_total);
}

/* As many as it has: what it is entitled to. */
static unsigned cpu_of(const struct dom *d, unsigned vcpus)
{
	return d && d->vcpus == vcpus ? dom_cpu_percent(d) : vcpus * 100;
}

int dom_fits(const struct policyd *p, const struct dom *d, unsigned vcpus, uint64_t mem_bytes, struct err *e)
{
	struct capacity c;
	char want[16], have[16];
	unsigned own_cpu = 0;
	uint64_t own_mem = 0, free_mem;

	if (dom_fits_cpu(p, d, cpu_of(d, vcpus), e))
		return -ENOSPC;
	policyd_capacity(p, &c);
	dom_charge(d, &own_cpu, &own_mem);
	c.mem_given -= own_mem;
	free_mem = c.mem_total > c.mem_given ? c.mem_total - c.mem_given : 0;
	if (mem_bytes > free_mem && mem_bytes > own_mem) {
		size_format(mem_bytes, want);
		size_format(free_mem, have);
		return err_set(e, ENOSPC, "needs %s, %s has %s free after its keep-memory", want,
			p->conf->host.host_name, have);
	}
	return d->launched.pid && mem_bytes <= own_mem ? 0 : ram_fits(p, d, mem_bytes, e);
}

int dom_reserve(struct dom *d, unsigned vcpus, uint64_t mem_bytes, struct err *e)
{
	int rc = dom_fits(d->p, d, vcpus, mem_bytes, e);

	if (rc)
		return err_wrap(e, "%s", d->spec.name);
	d->cpu_reserved = cpu_of(d, vcpus);
	d->mem_reserved = mem_bytes;
	return 0;
}

int dom_reserve_cpu(struct dom *d, unsigned percent, struct err *e)
{
	int rc = dom_fits_cpu(d->p, d, percent, e);

	if (rc)
		return err_wrap(e, "%s", d->spec.name);
	d->cpu_reserved = percent;
	return 0;
}

void dom_unreserve(struct dom *d)
{
	d->cpu_reserved = 0;
	d->mem_reserved = 0;
}

/* ---- list ---- */

static json_t *tags_json(const struct dom *d)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < d->spec.n_tags; i++)
		json_array_append_new(a, json_string(d->spec.tags[i]));
	return a;
}

/* What operators said, hold included. */
static json_t *marks_json(struct dom *d)
{
	json_t *all = dom_marks_json(d);

	if (!all)
		all = json_object();
	if (d->hold.on)
		json_object_set_new(all, "hold",
			json_pack("{s:s, s:s, s:I}", "reason", d->hold.reason, "by", d->hold.by, "until_ms",
				(json_int_t)d->hold.until_ms));
	return all;
}

json_t *dom_list_json(struct dom *d)
{
	struct domain_flags f;
	char flags[7], need[32], fixed[192];
	double util = brain_util(d);
	json_t *j;

	dom_held(d);
	dom_flags(d, &f);
	domain_flags_text(&f, flags);
	brain_need(d, need);
	j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "name", d->spec.name, "uuid", d->spec.uuid, "state",
		domain_state_name(d->state), "flags", flags, "vcpus", (json_int_t)d->vcpus, "mem_bytes",
		(json_int_t)d->mem_bytes, "host", d->p->conf->host.host_name, "cluster", d->spec.cluster);
	if (!j)
		return NULL;
	json_object_set_new(j, "cons", d->launched.console_port ? json_integer(d->launched.console_port) : json_null());
	if (d->launched.cpu_cap)
		json_object_set_new(j, "cpu_cap", json_integer(d->launched.cpu_cap));
	json_object_set_new(j, "util", util >= 0 ? json_real(util) : json_null());
	json_object_set_new(
		j, "uptime_s", d->started_ms ? json_integer((now_wall_ms() - d->started_ms) / 1000) : json_null());
	json_object_set_new(j, "tags", tags_json(d));
	dom_marked(d, MARK_PIN);
	dom_marked(d, MARK_PREFER);
	json_object_set_new(j, "marks", marks_json(d));
	json_object_set_new(j, "need", need[0] ? json_string(need) : json_null());
	brain_immovable(d, fixed);
	json_object_set_new(j, "immovable", fixed[0] ? json_string(fixed) : json_null());
	return j;
}
