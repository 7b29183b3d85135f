/* A policyd without a host: loop, configuration in memory, a store in a temporary folder. For unit tests of policyd/. */
#ifndef TESTS_UNIT_SUPPORT_HOST_RIG_H
#define TESTS_UNIT_SUPPORT_HOST_RIG_H

#include "policyd/dom.h"
#include "policyd/policyd.h"

struct host_rig {
	struct policyd p;
	char dir[64];
};

void host_rig_start(
	struct host_rig *r, unsigned vcpus, uint64_t mem_bytes); /* capacity; fails the test when it cannot */
void host_rig_stop(struct host_rig *r);                          /* jobs must be gone */
/* A domain of @vcpus (1..8) and @mem (64M..1G), defined only. */
struct dom *host_rig_domain(struct host_rig *r, const char *name, unsigned vcpus, uint64_t mem_bytes);
/* Turn the loop until *@flag or 10 s (then the test fails). */
void host_rig_until(struct host_rig *r, const bool *flag);

#endif
