/* Shared by worker.c and worker_done.c only. */
#ifndef MIGRATE_WORKER_INT_H
#define MIGRATE_WORKER_INT_H

#include "migrate/worker.h"

/* The "done" line (docs/worker.md). @e NULL: all went well. */
void worker_say_done(struct worker *w, enum outcome outcome, const struct err *e);

#endif
