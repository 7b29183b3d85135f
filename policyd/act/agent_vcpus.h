/* The guest agent's part of a vCPU that came: set it online in a guest that does not do so by itself. Loop thread. */
#ifndef POLICYD_ACT_AGENT_VCPUS_H
#define POLICYD_ACT_AGENT_VCPUS_H

#include "policyd/dom.h"

struct agent_vcpus;
/* How many are online now; 0 = its agent did not say. Once, from the loop; also when its QEMU is let go of. */
typedef void agent_vcpus_fn(void *arg, unsigned online);

/* NULL: there is no agent that answers (or no memory), and @done is not called. */
struct agent_vcpus *agent_vcpus_online(struct dom *d, agent_vcpus_fn *done, void *arg);
/* @done is not called any more. NULL does nothing. */
void agent_vcpus_forget(struct agent_vcpus *a);

#endif
