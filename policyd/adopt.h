/* Start-up: what the store knows, what runs, and what was under way when the last policyd ended; until all of it fits together. Loop thread.
 *
 * Order: definitions from the store; every live QEMU of the run folder attached and asked for its state; leftovers of dead ones
 * cleaned and recorded; then cluster_reconcile (journals of moves); then p->settled. Nothing is resumed or stopped here. */
#ifndef POLICYD_ADOPT_H
#define POLICYD_ADOPT_H

#include "policyd/policyd.h"

struct dom;

/* 0: under way (or settled already). A store that cannot be read is an error; a domain that cannot be adopted is logged. */
int adopt_start(struct policyd *p, struct err *e);
/* @d's QEMU answered, or ended; does nothing unless it is being adopted. */
void adopt_on_answer(struct dom *d);
void adopt_free(struct policyd *p);

#endif
