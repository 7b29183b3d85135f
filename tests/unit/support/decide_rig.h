/* Random snapshots, and what must hold for the plan of any snapshot: shared by the property tests of decide. One seed at a time. */
#ifndef TESTS_SUPPORT_DECIDE_RIG_H
#define TESTS_SUPPORT_DECIDE_RIG_H

#include "policyd/decide/plan.h"

#define MIB (1ULL << 20)
#define RIG_NOW 1800000000000LL

void rig_seed(uint64_t k);
unsigned rig_rnd(unsigned n); /* 0..n-1 */
bool rig_chance(unsigned percent);

void rig_domain(struct snap_domain *d, unsigned i); /* "d<i>", random sizes and policy, nothing measured */
/* Fill the measured figures from a true @load (in vCPUs) and @used bytes. */
void rig_measure(struct snap_domain *d, double load, uint64_t used);
void rig_snapshot(struct snapshot *s, unsigned n, unsigned n_peers); /* snapshot_fini */

const struct snap_domain *rig_domain_of(
	const struct snapshot *s, const char *name); /* fails the test where there is none */
/* Nobody is touched who must be left alone; floors, ceilings, capacity and every limit hold in every order in which the actions may run. */
void rig_check_plan(const struct snapshot *s, const struct plan *p);

#endif
