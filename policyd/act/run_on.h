/* A guest that was stopped for a move that did not happen (or has happened, on this host) must run on: asks its QEMU until it does. Loop thread. */
#ifndef POLICYD_ACT_RUN_ON_H
#define POLICYD_ACT_RUN_ON_H

#include "policyd/dom.h"

struct run_on;
/* @done once, on the loop, when the guest runs; d->guest_running is set then. Not when QEMU ends before: free it then. NULL: no memory. */
struct run_on *run_on_start(struct dom *d, void (*done)(void *arg), void *arg);
void run_on_free(struct run_on *r); /* also inside @done; NULL does nothing */

#endif
