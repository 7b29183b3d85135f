/* Explaining a domain with which nothing is done: its busiest time against the bounds, and what would have to be otherwise. Loop thread. */
#ifndef POLICYD_ACT_QUIET_H
#define POLICYD_ACT_QUIET_H

#include "policyd/decide/plan.h"
#include "policyd/dom.h"

/* What @pl, made of @s just now, says about @d; where it lets it stay, with the figures of the last ten minutes. New reference, NULL: no memory. */
json_t *quiet_words(struct dom *d, const struct snapshot *s, const struct plan *pl);

#endif
