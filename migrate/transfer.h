/* Phase 3 at the source: rounds while the guest runs, until the pre-copy rule says that it may stop. Engine thread. */
#ifndef MIGRATE_TRANSFER_H
#define MIGRATE_TRANSFER_H

#include "migrate/worker.h"

/* The step "transfer". 0: stop the guest now. -EAGAIN: it will not converge, and what could be done about it. */
int transfer_run(struct worker *w, struct err *e);
/* Stop the guest, once; PAUSED must be recorded before. */
int source_stop(struct worker *w, struct err *e); /* source.c */
/* xfer_tx_conf's progress; @arg is the worker. */
void transfer_progress(void *arg, const struct xfer_stats *now, uint64_t pages_left);

#endif
