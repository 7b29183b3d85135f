/* A tracker that is fed by hand: the test writes to the RAM file, then marks. Any thread may mark. */
#ifndef TESTS_UNIT_SUPPORT_TRACKER_FAKE_H
#define TESTS_UNIT_SUPPORT_TRACKER_FAKE_H

#include <pthread.h>

#include "migrate/tracker.h"

struct tracker_fake {
	pthread_mutex_t lock;
	struct bitmap marked[RAM_BLOCKS_MAX];
	unsigned n_blocks, n_armed, n_harvests;
	unsigned fail_harvest; /* the nth harvest answers -ESTALE; 0 never */
};

void tracker_fake_init(struct tracker_fake *f, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out);
void tracker_fake_fini(struct tracker_fake *f);
/* After the write. */
void tracker_fake_mark(struct tracker_fake *f, unsigned block, uint64_t page, uint64_t n_pages);

#endif
