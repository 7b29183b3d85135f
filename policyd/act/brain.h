/* Watching, deciding and carrying out: the timers that sample, make a snapshot, call decide() and start a plan's actions as jobs, in
 * their order. Loop thread. Owned by main. */
#ifndef POLICYD_ACT_BRAIN_H
#define POLICYD_ACT_BRAIN_H

#include <jansson.h>

#include "policyd/decide/plan.h"
#include "policyd/dom.h"
#include "resize/shrink.h"

/* Timers begin; decisions are made only once p->settled. */
int brain_start(struct policyd *p, struct err *e);
void brain_stop(struct policyd *p);
/* @d has a QEMU now / no more: its watch begins, ends. */
void brain_watch(struct dom *d);
void brain_unwatch(struct dom *d);
/* It was given something else just now: ask at once, do not wait for the next sample. */
void brain_changed(struct dom *d);
/* @d goes away: nothing of a running plan may touch it any more. */
void brain_forget(struct dom *d);

/* An operation ended, as it went into history: moves are remembered for budgets and back-off. */
void brain_ended(struct policyd *p, const struct store_event *ev);

/* decide.automation = "confirm": the decision that waits for approval, 0 = none; and its approval. -EPERM automation is something else; -ENOENT it
 * does not wait (any more). Each step is asked once more whether it is safe before it begins. */
int64_t brain_proposal(const struct policyd *p);
int brain_approve(struct policyd *p, int64_t id, struct err *e);

/* What a decision would look at now. -ENOMEM. */
int brain_snapshot(struct policyd *p, struct snapshot *out);
/* Percent over about 5 s; < 0 = not known. */
double brain_util(struct dom *d);
/* What it lacks, "+2 vcpu", "" = nothing. */
void brain_need(struct dom *d, char out[32]);
/* Why policy cannot move it, whatever the need, "" = it can: what its QEMU cannot do, its policy does not allow, an operator said (pin). A phrase. */
void brain_immovable(struct dom *d, char out[192]);
/* What its guest says of its memory now, into the statistics' members of @v. False: it is not watched. */
bool brain_mem_health(const struct dom *d, struct shrink_view *v);
/* Figures for show: statistics as watched. New reference or NULL. */
json_t *brain_stats_json(struct dom *d);

#endif
