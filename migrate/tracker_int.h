/* The trackers behind tracker.h. */
#ifndef MIGRATE_TRACKER_INT_H
#define MIGRATE_TRACKER_INT_H

#include "migrate/tracker.h"

int tracker_uffd_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e);

/* Has this host any swap now? */
bool tracker_has_swap(void);
/* Has this host soft-dirty marks, and may they be trusted? -ENOTSUP: a short reason. */
int tracker_soft_probe(struct err *e);
int tracker_soft_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e);

#endif
