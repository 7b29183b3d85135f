/* Slowing a guest while it is moved, at its worker's request, by a CPU cap on its QEMU (cpu_group.h). Loop thread; a few short writes to cgroupfs.
 *
 * Lifted by slow_free, which every end of the move comes to, and by the adoption after policyd was killed. In between the worker, who hears that
 * policyd has gone, sets the cap itself to what its first line says: what the guest is entitled to, or none. */
#ifndef POLICYD_ACT_SLOW_H
#define POLICYD_ACT_SLOW_H

#include <jansson.h>

#include "policyd/dom.h"

struct slow;

/* @d's QEMU may use @cpu_percent of one CPU from now on; 0: no limit. *@s is made when it is needed (NULL: not slowed yet). -ENOTSUP, -EACCES, ... and
 * nothing is limited. */
int slow_set(struct slow **s, struct dom *d, unsigned cpu_percent, struct err *e);
/* The line for the worker (docs/worker.md, "throttled"). New reference. */
json_t *slow_answer(unsigned percent, const struct err *e);
/* "lift_path" and "lift_text" into a worker's first line, where this host can limit anything. */
void slow_tell(const struct dom *d, json_t *line);
/* Lifts it. NULL does nothing. The QEMU may be gone. */
void slow_free(struct slow *s, struct policyd *p);

#endif
