/* Safety: what must hold at every instant while a plan is carried out, whatever else runs beside it. One function says whether an action may
 * begin in a state; tests walk every plan through it in random orders, and act asks it again before each step, with a fresh snapshot.
 *
 * The state is a snapshot: begin and end below change it as the action does. Pure. */
#ifndef POLICYD_DECIDE_SAFE_H
#define POLICYD_DECIDE_SAFE_H

#include "policyd/decide/plan.h"

#define SAFE_WHY 256

/* May @a begin now? False and why:
 *   no host above what it may give, here and at the target; no domain below its reservation by our doing; no hard rule of company or place
 *   broken, apart not even in passing; at most decide.max-moves moves of this host and to that one; no cluster below its minimum of available
 *   nodes; nobody touched who is held, busy, or not here. */
bool safe_step(const struct snapshot *s, const struct action *a, char why[SAFE_WHY]);

/* @a begins: it reserves, and is under way; it ends: what it frees is free. 0; -ENOMEM (nothing changed). @s owns its arrays. */
int safe_begin(struct snapshot *s, const struct action *a);
void safe_end(struct snapshot *s, const struct action *a);

#endif
