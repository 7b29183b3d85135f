/* What is measured of each domain, and what is said of it: see brain.h. */
#include "policyd/act/brain_int.h"

#include <stdio.h>
#include <string.h>

#include "policyd/act/cap_name.h"
#include "policyd/act/mem_rules.h"
#include "policyd/act/mem_sizing.h"
#include "policyd/watch/watch_domain.h"

/* A guest that allocates fast has little time: its statistics are up to a second old when they come, and are looked at then. */
static void on_guest_stats(void *arg)
{
	mem_guard_check(arg);
}

void brain_watch(struct dom *d)
{
	struct watch_domain_conf conf = {.pid = d->launched.pid, .on_stats = on_guest_stats, .arg = d};
	char ram[SPEC_PATH_MAX], vmem[SPEC_PATH_MAX], group[SPEC_PATH_MAX];
	struct cap_fs fs;
	struct err e;

	if (!ram_path(&d->p->conf->host, &d->spec, ram, NULL))
		conf.ram_file = ram;
	if (spec_vmem_bytes(&d->spec) && !vmem_path(&d->p->conf->host, &d->spec, vmem, NULL))
		conf.vmem_file = vmem;
	if (!cap_name_fs(d->p, &fs, &e)) {
		snprintf(group, sizeof(group), "%s/%s/%s", fs.mount, fs.base, d->spec.name);
		conf.cap_group = group;
	}
	if (!d->watch)
		d->watch = watch_domain_new(d->qmp, &conf);
}

void brain_unwatch(struct dom *d)
{
	watch_domain_free(d->watch);
	d->watch = NULL;
}

void brain_changed(struct dom *d)
{
	if (d->watch)
		watch_domain_changed(d->watch);
}

void brain_forget(struct dom *d)
{
	mem_sizing_free(d);
	brain_unwatch(d);
}

/* What a cap leaves of its vCPUs, 0..1. */
static double entitled_share(const struct dom *d)
{
	return d->vcpus ? (double)dom_cpu_percent(d) / (100.0 * d->vcpus) : 1;
}

static void bounds_of(const struct dom *d, const struct policy_effective *pe, struct watch_bounds *out)
{
	double cap = entitled_share(d); /* watch measures by whole vCPUs */

	*out = (struct watch_bounds){
		.util_upper = (pe->cpu.set ? pe->cpu.util_upper : 100) * cap,
		.util_lower = (pe->cpu.set ? pe->cpu.util_lower : 0) * cap,
		.free_lower = pe->memory.set ? pe->memory.free_lower : 0,
		.window = d->p->conf->decide.sustain_window,
		.cpu_every_ms = pe->cpu.set ? pe->cpu.sample_rate_s * 1000 : 0,
		.mem_every_ms = pe->memory.set ? pe->memory.sample_rate_s * 1000 : 0,
	};
}

void brain_measured(struct dom *d, struct snap_domain *out)
{
	struct watch_bounds b;

	policyd_policy(d->p, &d->spec, &out->policy);
	out->util_fast = out->util_slow = out->util_p95 = out->dirty_bps = -1;
	bounds_of(d, &out->policy, &b);
	if (d->watch)
		watch_domain_fill(d->watch, &b, now_mono_ms(), out);
	out->vcpus = d->vcpus; /* ours is fresher: jobs and events keep it */
	out->cpu_cap = dom_cpu_percent(d) < d->vcpus * 100 ? dom_cpu_percent(d) : 0;
	out->cpu_cap_by_policy = out->cpu_cap && d->launched.cpu_cap_by_policy;
	out->util_fast = out->util_fast < 0 ? -1 : out->util_fast / entitled_share(d);
	out->util_slow = out->util_slow < 0 ? -1 : out->util_slow / entitled_share(d);
	out->util_p95 = out->util_p95 < 0 ? -1 : out->util_p95 / entitled_share(d);
	out->mem_bytes = d->mem_bytes;
}

double brain_util(struct dom *d)
{
	struct snap_domain s = {0};

	if (!d->watch)
		return -1;
	brain_measured(d, &s);
	return s.util_fast;
}

bool brain_mem_health(const struct dom *d, struct shrink_view *v)
{
	if (d->watch)
		watch_domain_health(d->watch, now_mono_ms(), v);
	return d->watch != NULL;
}

json_t *brain_stats_json(struct dom *d)
{
	struct snap_domain s = {0};
	json_t *j;

	if (!d->watch)
		return NULL;
	brain_measured(d, &s);
	j = json_pack("{s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "util_fast", s.util_fast, "util_slow", s.util_slow,
		"util_p95", s.util_p95, "resident_bytes", (json_int_t)s.resident_bytes, "dirty_bps", s.dirty_bps,
		"swap_in_bps", s.swap_in_bps, "major_faults_ps", s.major_faults_ps);
	if (j && s.mem_known) {
		json_object_set_new(j, "mem_available", json_integer((json_int_t)s.mem_available));
		json_object_set_new(j, "mem_free", json_integer((json_int_t)s.mem_free));
	}
	return j;
}
