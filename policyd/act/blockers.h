/* Why QEMU itself would refuse to move a domain live (query-migrate's blocked-reasons): a device that was added by hand, a feature that its guest has begun to
 * use. Kept in dom.blocked for lists and for policy; a move asks anew. Loop thread. */
#ifndef POLICYD_ACT_BLOCKERS_H
#define POLICYD_ACT_BLOCKERS_H

#include "policyd/dom.h"

/* Once a second; each QEMU is asked when its monitor has come up, and each 10 s from then on. */
void blockers_follow(struct policyd *p);

#endif
