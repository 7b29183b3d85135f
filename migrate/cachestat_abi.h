/* A kernel interface that Debian 12's headers do not have yet: cachestat(2), Linux 6.5. Its number is the same on all architectures that we build for. */
#ifndef MIGRATE_CACHESTAT_ABI_H
#define MIGRATE_CACHESTAT_ABI_H

#include <stdint.h>

#define CACHESTAT_NR 451

struct cachestat_range {
	uint64_t off, len;
};

struct cachestat_counts { /* pages */
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

#endif
