/* Faults on order, for tests: a step table's runner asks here before each step. Given by --fault or the environment's
 * POLICYD_MIGRATE_FAULT, a comma-separated list of ROLE:WHAT:STEP, e.g. "source:die:commit,target:hold:own".
 *     die   kill -9 of this process       lose  break all connections off, as a cut cable does
 *     hold  wait at this step until policyd sends {"op": "go"} or cancels; {"event": "held", "step": ..} is sent before
 *     fail  the step fails                stop  SIGSTOP of this process
 * Nothing is set in ordinary use; the code is always there, so that what is tested is what runs. */
#ifndef MIGRATE_FAULT_H
#define MIGRATE_FAULT_H

#include "migrate/handoff.h"

enum fault { FAULT_NONE, FAULT_DIE, FAULT_LOSE, FAULT_HOLD, FAULT_FAIL, FAULT_STOP };

/* What is ordered for @step of @role in @spec (may be NULL). Does FAULT_DIE and FAULT_STOP itself. */
enum fault fault_at(const char *spec, enum handoff_role role, const char *step);

#endif
