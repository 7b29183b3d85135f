/* The law of shrinking: see shrink.h. Called by balloon.c a few times a second; pure. The order of the checks is the law:
 * pressure before all else, then waiting, then missing knowledge, then the end, then the next step. */
#include "resize/shrink.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define MIB(bytes) ((bytes) >> 20)

const struct shrink_rules shrink_rules_default = {
	.step_percent = 2, .reserve_percent = 10, .swap_in_bps = 65536, .major_faults_ps = 50, .psi_percent = 10};

static const char *const verdict_names[] = {
	[SHRINK_STEP] = "step",
	[SHRINK_WAIT] = "wait",
	[SHRINK_BACK_OFF] = "back-off",
	[SHRINK_STOP] = "stop",
	[SHRINK_DONE] = "done",
};

const char *shrink_verdict_name(enum shrink_verdict v)
{
	return verdict_names[v];
}

static uint64_t align_up(uint64_t bytes)
{
	return (bytes + SHRINK_ALIGN - 1) / SHRINK_ALIGN * SHRINK_ALIGN;
}

static uint64_t percent_of(uint64_t bytes, unsigned percent)
{
	return bytes / 100 * percent;
}

static struct shrink_next __attribute__((format(printf, 3, 4)))
verdict(enum shrink_verdict v, uint64_t target_bytes, const char *fmt, ...)
{
	struct shrink_next n = {.verdict = v, .target_bytes = target_bytes};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(n.reason, sizeof(n.reason), fmt, ap);
	va_end(ap);
	return n;
}

static bool stats_fresh(const struct shrink_view *v)
{
	return v->stats_known && v->stats_age_ms <= v->stale_ms && v->available_bytes != UINT64_MAX;
}

/* Twice the last step, or twice what the reserve lacks; never beyond where it began. */
static uint64_t back_off_target(const struct shrink_view *v)
{
	uint64_t reserve = percent_of(v->now_bytes, v->rules.reserve_percent), give = 2 * v->last_step_bytes, target;

	if (stats_fresh(v) && v->available_bytes < reserve && 2 * (reserve - v->available_bytes) > give)
		give = 2 * (reserve - v->available_bytes);
	target = align_up(v->now_bytes + give);
	if (target > v->start_bytes)
		target = v->start_bytes;
	return target > v->now_bytes ? target : v->now_bytes;
}

/* Signs of pressure in fresh statistics, as a sentence; false: none. */
static bool pressure(const struct shrink_view *v, char *why, size_t size)
{
	uint64_t reserve = percent_of(v->now_bytes, v->rules.reserve_percent);
	double faults_before = v->major_faults_before_ps > 0 ? v->major_faults_before_ps : 0;

	if (!stats_fresh(v) || v->rules.free_rule)
		return false;
	if (v->available_bytes < reserve)
		snprintf(why, size, "the guest has %" PRIu64 "M available, its reserve is %" PRIu64 "M",
			MIB(v->available_bytes), MIB(reserve));
	else if (v->swap_in_bps > v->rules.swap_in_bps)
		snprintf(why, size, "the guest swaps in %.0f KiB/s", v->swap_in_bps / 1024);
	else if (v->major_faults_ps > faults_before + v->rules.major_faults_ps)
		snprintf(why, size, "the guest has %.0f major faults/s (%.0f before)", v->major_faults_ps,
			faults_before);
	else if (v->psi_known && v->rules.psi_percent > 0 && v->psi_percent > v->rules.psi_percent)
		snprintf(why, size, "tasks in the guest wait for memory %.0f %% of the time", v->psi_percent);
	else
		return false;
	return true;
}

/* The guest needs what it has: give back what was just taken, or take nothing at all. */
static struct shrink_next give_back(const struct shrink_view *v, const char *why)
{
	if (!v->last_step_bytes)
		return verdict(SHRINK_STOP, 0, "nothing taken: %s", why);
	return verdict(SHRINK_BACK_OFF, back_off_target(v), "gives back: %s", why);
}

static struct shrink_next no_stats(const struct shrink_view *v)
{
	if (v->waited_ms < v->patience_ms)
		return verdict(SHRINK_WAIT, 0, "waits for the guest's statistics");
	if (v->last_step_bytes)
		return give_back(v, "the guest stopped sending statistics after the last step");
	return give_back(v, v->stats_known ? "the guest's statistics are old" : "the guest sends no statistics");
}

/* What lies idle and may go without being reclaimed. Half of the reserve stays free. */
static uint64_t spare_free(const struct shrink_view *v)
{
	uint64_t keep = percent_of(v->now_bytes, v->rules.reserve_percent) / 2;

	return v->free_bytes != UINT64_MAX && v->free_bytes > keep ? v->free_bytes - keep : 0;
}

/* How much may be taken now, in bytes; 0 = nothing that keeps the reserve. */
static uint64_t step_size(const struct shrink_view *v, uint64_t goal)
{
	uint64_t reserve = percent_of(v->now_bytes, v->rules.reserve_percent), excess, base, step, fit;

	excess = v->available_bytes > reserve ? v->available_bytes - reserve : 0;
	/* The reserve shrinks with the size: available - fit = reserve% of (now - fit). */
	fit = v->rules.reserve_percent < 100 ? excess / (100 - v->rules.reserve_percent) * 100 : 0;
	base = percent_of(v->now_bytes, v->rules.step_percent);
	if (base < SHRINK_ALIGN)
		base = SHRINK_ALIGN;
	step = v->last_step_bytes ? 2 * v->last_step_bytes : base;
	if (step > excess / 2)
		step = excess / 2;
	if (step > spare_free(v))
		step = spare_free(v);
	if (step < base)
		step = base;
	if (step > fit)
		step = fit;
	if (step > v->now_bytes - goal)
		step = v->now_bytes - goal;
	return step;
}

static uint64_t used_bytes(const struct shrink_view *v)
{
	return v->available_bytes < v->now_bytes ? v->now_bytes - v->available_bytes : 0;
}

/* Where it may go in the end, as far as is known now. */
static uint64_t goal_of(const struct shrink_view *v)
{
	uint64_t goal = v->wanted_bytes > v->floor_bytes ? v->wanted_bytes : v->floor_bytes;
	uint64_t keep = percent_of(used_bytes(v), 100 + v->rules.headroom_percent);

	return v->rules.headroom_percent && keep > goal ? align_up(keep) : goal;
}

static struct shrink_next enough(const struct shrink_view *v)
{
	uint64_t goal = v->wanted_bytes > v->floor_bytes ? v->wanted_bytes : v->floor_bytes;

	if (v->now_bytes <= goal)
		return verdict(SHRINK_DONE, 0, "as wanted");
	return verdict(SHRINK_STOP, 0, "the guest uses %" PRIu64 "M; less would leave it under %u %% of that",
		MIB(used_bytes(v)), 100 + v->rules.headroom_percent);
}

static struct shrink_next free_rule_next(const struct shrink_view *v)
{
	uint64_t goal = v->wanted_bytes > v->floor_bytes ? v->wanted_bytes : v->floor_bytes;
	uint64_t step = percent_of(v->now_bytes, FREE_RULE_STEP), target = align_up(v->now_bytes - step);

	if (v->now_bytes <= goal)
		return verdict(SHRINK_DONE, 0, "as wanted");
	target = target < goal ? goal : target;
	if (target >= v->now_bytes || v->available_bytes < v->now_bytes - target ||
		v->available_bytes - (v->now_bytes - target) < percent_of(target, FREE_RULE_KEEP))
		return verdict(SHRINK_STOP, 0, "the guest has %" PRIu64 "M available; the free rule keeps %d %%",
			MIB(v->available_bytes), FREE_RULE_KEEP);
	return verdict(SHRINK_STEP, target, "%" PRIu64 "M available", MIB(v->available_bytes));
}

struct shrink_next shrink_next(const struct shrink_view *v)
{
	uint64_t goal, target;
	char why[120];

	if (pressure(v, why, sizeof(why)))
		return give_back(v, why);
	if (!v->settled)
		return verdict(SHRINK_WAIT, 0, "the guest is giving: %" PRIu64 "M, asked for %" PRIu64 "M",
			MIB(v->now_bytes), MIB(v->asked_bytes));
	if (v->last_step_bytes && v->now_bytes > v->asked_bytes)
		return give_back(v, "the guest stopped giving before it reached what it was asked for");
	if (!stats_fresh(v) || !v->stats_since)
		return no_stats(v);
	if (v->rules.free_rule)
		return free_rule_next(v);
	goal = goal_of(v);
	if (v->now_bytes <= goal)
		return enough(v);
	if (v->psi_known && !v->psi_since && v->waited_ms < v->patience_ms)
		return verdict(SHRINK_WAIT, 0, "waits for the guest's memory pressure");
	target = align_up(v->now_bytes - step_size(v, goal));
	if (target < goal)
		target = goal;
	if (target >= v->now_bytes)
		return verdict(SHRINK_STOP, 0,
			"the guest has %" PRIu64 "M available; less would leave it under its reserve of %u %%",
			MIB(v->available_bytes), v->rules.reserve_percent);
	return verdict(SHRINK_STEP, target, "%" PRIu64 "M available", MIB(v->available_bytes));
}

struct shrink_next shrink_guard(const struct shrink_view *v)
{
	char why[120];

	if (v->rules.free_rule || v->now_bytes >= v->start_bytes)
		return verdict(SHRINK_WAIT, 0, "nothing to give back");
	if (!v->stats_known || v->stats_age_ms > v->stale_ms)
		return v->stats_known ? give_back(v, "the guest stopped sending statistics after it was shrunk")
				      : verdict(SHRINK_WAIT, 0, "the guest sends no statistics");
	return pressure(v, why, sizeof(why)) ? give_back(v, why) : verdict(SHRINK_WAIT, 0, "it is well");
}
