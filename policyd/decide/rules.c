/* The rules about one domain: see rules.h. Called by decide.c and moves.c. Pure. */
#include "policyd/decide/rules.h"

#include <math.h>

#define FREE_RULE_STEP 0.05  /* of what it has, up; down is resize/shrink.h's */
#define RELEASE_BELOW 0.8    /* of what it has; a smaller gain is not worth a resize (docs/traces.md) */
#define EMERGENCY_PERCENT 10 /* of what it has, at least */

static double max_d(double a, double b)
{
	return a > b ? a : b;
}

static double min_d(double a, double b)
{
	return a < b ? a : b;
}

static uint64_t min_u(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t step_up(double bytes)
{
	if (!(bytes < 0x1p62)) /* figures that nobody can have */
		return 1ULL << 62;
	return ((uint64_t)bytes + MEM_STEP - 1) / MEM_STEP * MEM_STEP;
}

/* ---- CPU ---- */

bool rule_cpu_known(const struct snap_domain *d)
{
	return d->util_fast >= 0 && d->util_slow >= 0 && d->vcpus > 0;
}

unsigned rule_cpu_entitled(const struct snap_domain *d)
{
	return d->cpu_cap && d->cpu_cap < d->vcpus * 100 ? d->cpu_cap : d->vcpus * 100;
}

unsigned rule_cpu_floor(const struct snap_domain *d)
{
	unsigned floor = d->spec.vcpus_min > 1 ? d->spec.vcpus_min : 1;

	return d->policy.cpu.set && d->policy.cpu.vcpu_min > floor ? d->policy.cpu.vcpu_min : floor;
}

unsigned rule_cpu_ceiling(const struct snap_domain *d)
{
	unsigned most = d->spec.vcpus_max;

	return d->policy.cpu.set && d->policy.cpu.vcpu_max < most ? d->policy.cpu.vcpu_max : most;
}

static bool cpu_short(const struct snap_domain *d, const struct conf_decide *c)
{
	return d->policy.cpu.set && rule_cpu_known(d) && d->over_upper >= c->sustain_samples &&
		d->util_fast > d->policy.cpu.util_upper;
}

bool rule_cpu_at_ceiling(const struct snap_domain *d, const struct conf_decide *c)
{
	return cpu_short(d, c) && rule_cpu_entitled(d) >= rule_cpu_ceiling(d) * 100;
}

struct need rule_cpu_need(const struct snap_domain *d, const struct conf_decide *c)
{
	const struct cpu_policy *p = &d->policy.cpu;
	double upper = max_d(p->util_upper, 1), want;
	unsigned ceiling = rule_cpu_ceiling(d), entitled = rule_cpu_entitled(d), whole = entitled / 100;

	if (!cpu_short(d, c) || entitled >= ceiling * 100)
		return (struct need){0};
	want = max_d(ceil(entitled * d->util_fast / 100 / upper), whole + 1.0);
	if (p->attack)
		want = min_d(want, (double)whole + p->attack);
	want = min_d(want, ceiling);
	return (struct need){.is = true,
		.want = (uint64_t)want,
		.severity = max_d(0.1, min_d(1, (d->util_fast - upper) / max_d(100 - upper, 1)))};
}

/* The most that can go so that the load, on what is left, stays at or below @bound. */
static unsigned cpu_spare(const struct snap_domain *d, double bound)
{
	double load = max_d(d->util_fast, d->util_slow) * d->vcpus;
	unsigned floor = rule_cpu_floor(d), left = d->vcpus;

	while (left > floor && load / (left - 1) <= bound)
		left--;
	return d->vcpus - left;
}

/* Above this it would ask for it back. */
static double give_bound(const struct cpu_policy *p)
{
	return p->set ? (double)p->util_upper - p->elastic_margin : RULE_UTIL_UPPER - RULE_UTIL_MARGIN;
}

unsigned rule_cpu_give_part(const struct snap_domain *d)
{
	unsigned entitled = rule_cpu_entitled(d), floor = rule_cpu_floor(d) * 100, most = d->policy.cpu.decay * 100;
	double load = max_d(d->util_fast, d->util_slow) * entitled / 100,
	       keep = load * 100 / max_d(give_bound(&d->policy.cpu), 1);
	unsigned give;

	if (!rule_cpu_known(d) || entitled <= floor || keep >= entitled)
		return 0;
	give = entitled - (unsigned)max_d(ceil(keep), floor);
	if (d->policy.cpu.set && most && give > most)
		give = most;
	return give / RULE_CPU_PART * RULE_CPU_PART;
}

unsigned rule_cpu_give(const struct snap_domain *d, int64_t now_ms)
{
	const struct cpu_policy *p = &d->policy.cpu;
	double bound = give_bound(p);
	bool may = rule_cpu_known(d) && d->unplug_frozen_until_ms <= now_ms && rule_cpu_entitled(d) == d->vcpus * 100;
	unsigned spare = may ? cpu_spare(d, bound) : 0;

	return p->set && p->decay && spare > p->decay ? p->decay : spare;
}

unsigned rule_cpu_release(const struct snap_domain *d, const struct conf_decide *c, int64_t now_ms)
{
	const struct cpu_policy *p = &d->policy.cpu;

	if (!p->set || !rule_cpu_known(d) || d->under_lower < c->sustain_samples)
		return 0;
	if (d->util_fast >= p->util_lower || d->util_slow >= p->util_lower)
		return 0;
	return rule_cpu_give(d, now_ms);
}

/* ---- memory ---- */

double rule_mem_available_percent(const struct snap_domain *d)
{
	return d->mem_known && d->mem_bytes ? 100.0 * (double)d->mem_available / (double)d->mem_bytes : -1;
}

static double mem_used(const struct snap_domain *d)
{
	return d->mem_available < d->mem_bytes ? (double)(d->mem_bytes - d->mem_available) : 0;
}

uint64_t rule_mem_ceiling(const struct snap_domain *d)
{
	uint64_t most = d->spec.mem_max;
	const struct mem_policy *p = &d->policy.memory;

	return p->set && p->mem_max && p->mem_max < most ? p->mem_max : most;
}

uint64_t rule_mem_floor(const struct snap_domain *d)
{
	const struct mem_policy *p = &d->policy.memory;
	double floor = (double)(d->huge_pages ? d->spec.mem_boot : d->spec.mem_min), keep;

	if (!d->mem_known)
		return d->mem_bytes;
	if (p->set) {
		floor = max_d(floor, (double)p->mem_min);
		keep = min_d(max_d(p->reserve_percent, p->free_lower) + p->step_percent,
			95); /* or it would be in need itself */
		floor = max_d(floor, mem_used(d) / (1 - keep / 100));
	}
	return step_up(max_d(floor, mem_used(d) * RULE_MEM_HEADROOM));
}

/* Its reserve is gone, or it swaps: waiting for more samples would cost it more than a step that turns out not to be needed. */
static bool mem_emergency(const struct snap_domain *d)
{
	const struct mem_policy *p = &d->policy.memory;
	double available = rule_mem_available_percent(d);

	if (!p->set || p->law != LAW_PRESSURE || available < 0)
		return false;
	return available < p->reserve_percent || (available < p->free_upper && d->swap_in_bps > (double)p->swap_in_bps);
}

static bool mem_is_short(const struct snap_domain *d, const struct conf_decide *c)
{
	if (mem_emergency(d))
		return true;
	return d->policy.memory.set && d->mem_known && d->mem_short >= c->sustain_samples &&
		rule_mem_available_percent(d) < d->policy.memory.free_lower;
}

bool rule_mem_enough(const struct snap_domain *d, uint64_t bytes)
{
	const struct mem_policy *p = &d->policy.memory;
	double left = (double)bytes - mem_used(d), bound = max_d(p->free_lower, p->reserve_percent);

	return d->mem_known && d->swap_in_bps <= 0 && left >= (double)bytes * bound / 100;
}

bool rule_mem_at_ceiling(const struct snap_domain *d, const struct conf_decide *c)
{
	return mem_is_short(d, c) && d->mem_bytes >= rule_mem_ceiling(d);
}

static double mem_severity(const struct snap_domain *d)
{
	double lower = max_d(d->policy.memory.free_lower, 1);

	if (d->swap_in_bps > 0 || d->major_faults_ps > 100)
		return 1; /* it waits for disks already */
	return max_d(0.1, (lower - rule_mem_available_percent(d)) / lower);
}

struct need rule_mem_need(const struct snap_domain *d, const struct conf_decide *c)
{
	const struct mem_policy *p = &d->policy.memory;
	double aim =
		min_d(p->free_lower + 10.0, (p->free_lower + p->free_upper) / 2.0); /* percent available afterwards */
	uint64_t want, ceiling = rule_mem_ceiling(d);

	if (!mem_is_short(d, c) || d->mem_bytes >= ceiling)
		return (struct need){0};
	if (p->law == LAW_FREE_RULE) /* MoM's: a fixed step a cycle */
		return (struct need){.is = true,
			.want = min_u(step_up((double)d->mem_bytes * (1 + FREE_RULE_STEP)), ceiling),
			.severity = mem_severity(d)};
	want = step_up(mem_used(d) / (1 - min_d(aim, 95) / 100));
	if (mem_emergency(d) && want < d->mem_bytes + d->mem_bytes / 100 * EMERGENCY_PERCENT)
		want = step_up((double)d->mem_bytes * (100 + EMERGENCY_PERCENT) / 100);
	if (want < d->mem_bytes + MEM_STEP)
		want = d->mem_bytes + MEM_STEP;
	return (struct need){.is = true,
		.emergency = mem_emergency(d),
		.want = want < ceiling ? want : ceiling,
		.severity = mem_severity(d)};
}

uint64_t rule_mem_give(const struct snap_domain *d, int64_t now_ms)
{
	double upper = d->policy.memory.set ? d->policy.memory.free_upper : RULE_FREE_UPPER;
	uint64_t floor = rule_mem_floor(d);

	if (d->shrink_frozen_until_ms > now_ms || rule_mem_available_percent(d) <= upper || floor >= d->mem_bytes)
		return 0;
	return (d->mem_bytes - floor) / MEM_STEP * MEM_STEP;
}

uint64_t rule_mem_release(const struct snap_domain *d, int64_t now_ms)
{
	uint64_t floor = rule_mem_floor(d), to = d->mem_advised > floor ? d->mem_advised : floor;

	if (!d->policy.memory.set || !d->policy.memory.sizing || !d->mem_advised || !d->mem_known ||
		d->shrink_frozen_until_ms > now_ms)
		return 0;
	return (double)to <= RELEASE_BELOW * (double)d->mem_bytes ? d->mem_bytes - to : 0;
}
