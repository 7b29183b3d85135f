/* What the kernel is told of a domain's CPU, by a cgroup that its QEMU has for itself (resize/cap.h): a cap, and its weight beside others.
 *
 * One rule: the least of the caps that are wanted counts - its entitlement's (launched.cpu_cap: a fraction of a vCPU) and that of a move which
 * slows it - and each comes and goes without the other. The weight follows from importance: 100 % a vCPU at importance 50, twice as much for each 25
 * more, half for each 25 less. All groups together weigh as much as they do one by one, so that guests keep their place beside what else runs here.
 * A domain for which nothing of that is wanted (no cap, importance 50) has no group.
 *
 * The group outlives policyd as the guest does: a cap holds while policyd is away, and is set anew, without what a move had asked for, when the QEMU
 * is adopted. Loop thread; a few short writes to cgroupfs. */
#ifndef POLICYD_ACT_CPU_GROUP_H
#define POLICYD_ACT_CPU_GROUP_H

#include "policyd/dom.h"

/* Can this host cap anything? Asks the mount table. */
bool cpu_group_possible(const struct policyd *p);
/* Make it so, for @d's QEMU. -ENOTSUP, -EACCES, -ESRCH, ...: as it was before. */
int cpu_group_apply(struct dom *d, struct err *e);
/* A move wants @percent of one CPU at most, 0: as much as it is entitled to. */
int cpu_group_slow(struct dom *d, unsigned percent, struct err *e);
/* Its QEMU is let go of: the group goes with it, unless policyd stops and the QEMU runs on. */
void cpu_group_drop(struct dom *d);
/* Once a second: importance may have changed with the time of day, or a reload. What cannot be done is logged once. */
void cpu_group_follow(struct policyd *p);
/* At start-up, after the adoption: what an earlier policyd with our run folder left for QEMUs that are not ours. Logs what it found. */
void cpu_group_sweep(struct policyd *p);

#endif
