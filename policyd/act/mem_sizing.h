/* What size a domain's memory use of days says that it needs (policyd/decide/sizing.h), fed from its guest's statistics. Loop thread.
 *
 * Kept in the domain's run folder (sizing.state), for as long as its QEMU runs here: over restarts of policyd. After it came from another host, or was
 * started anew, a day passes before there is advice again. */
#ifndef POLICYD_ACT_MEM_SIZING_H
#define POLICYD_ACT_MEM_SIZING_H

#include "policyd/dom.h"

/* Once a second; most calls only keep the peak. */
void mem_sizing_sample(struct dom *d);
/* Its part without a guest: @used_mib at @now_ms (monotonic). */
void mem_sizing_used(struct dom *d, int64_t now_ms, double used_mib);
/* Bytes, a multiple of MEM_STEP; 0 = not known long enough, or its policy does not ask. */
uint64_t mem_sizing_advice(const struct dom *d);
void mem_sizing_free(struct dom *d);

#endif
