/* Sizing domains along a recorded memory trace: a law decides at each sample from what came before, and the trace then says what
 * that would have cost. Pure; only policysim and tests.
 *
 * At each sample: the size decided so far meets the use (more use than size = a violating sample, counted after warm_s of that
 * domain), then the law sees the sample and names a target, then the rules turn the target into a size. */
#ifndef POLICYD_POLICYSIM_TRIM_H
#define POLICYD_POLICYSIM_TRIM_H

#include <stdbool.h>
#include <stdint.h>

#include "policyd/decide/sizing.h"
#include "policyd/policysim/trace.h"

struct trim_rules {
	double min_mib;      /* no size below it */
	double shrink_below; /* shrink only to a target below this share of the size */
	double warm_s;       /* the first so many seconds of a domain are not counted */
	bool clamp;          /* no size above what is provisioned at that time */
};

extern const struct trim_rules trim_rules_default; /* 64 MiB, 0.8, a day, clamp */

enum trim_law { TRIM_PEAK24H, TRIM_OURS, TRIM_N_LAWS };

const char *trim_law_name(enum trim_law law);

struct trim_run {
	enum trim_law law;
	struct trim_rules rules;
	struct sizing_rule sizing; /* TRIM_OURS */
	unsigned part, parts;      /* only domains whose position in the trace modulo parts is part; parts 1 = all */
	/* For tests: called after each decision with the size from now on. May be NULL. */
	void (*on_decision)(void *arg, const struct trace_vm *vm, unsigned i, double size_mib);
	void *arg;
};

struct trim_result {
	double alloc_over_prov, used_over_prov, violating_pct, vms_hit_pct, resizes_per_vm_day;
	double short_over_used_pct; /* of all memory used, how much was above the size */
	unsigned long n_samples, n_violating, n_resizes, n_grown;
	unsigned n_vms, n_hit; /* domains with samples that count */
	double vm_days;
};

/* 0 or -ENOMEM. */
int trim_run(const struct trace *t, const struct trim_run *run, struct trim_result *out);

#endif
