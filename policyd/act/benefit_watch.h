/* Looking at what became of decisions, 15 and 60 minutes after they began: kept in the store beside them, said in history, and told to the next ones
 * (snapshot.caution). Loop thread. Owned by brain.c. */
#ifndef POLICYD_ACT_BENEFIT_WATCH_H
#define POLICYD_ACT_BENEFIT_WATCH_H

#include "policyd/decide/benefit.h"
#include "policyd/policyd.h"

struct benefit_watch;
/* Start-up: reads the store (blocks). NULL: no memory, or @e. */
struct benefit_watch *benefit_watch_new(struct policyd *p, struct err *e);
void benefit_watch_free(struct benefit_watch *w); /* NULL does nothing */
/* @pl, decided from @s and stored as @decision, begins. */
void benefit_watch_begun(struct benefit_watch *w, const struct snapshot *s, const struct plan *pl, int64_t decision);
/* Look at what is due, by what is so in @s. */
void benefit_watch_look(struct benefit_watch *w, const struct snapshot *s);
double benefit_watch_caution(const struct benefit_watch *w);

#endif
