/* What the target holds of pages that the guest rewrites: the digests of their lines as they were sent last, to send differences against (delta.h). Bounded: a
 * page for which there is no room is sent whole. Belongs to one xfer_tx. A page's digests are the channel thread's that has the page in this round; room is given
 * out to any of them at once. */
#ifndef MIGRATE_HELD_H
#define MIGRATE_HELD_H

#include <stdatomic.h>
#include <stdint.h>

#include "domain/ram.h"

struct held {
	uint32_t *places[RAM_BLOCKS_MAX]; /* by page; see held.c */
	uint64_t n_pages[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	uint64_t *digests;
	uint64_t seed; /* of the digests: made here, by chance */
	uint32_t n_max;
	_Atomic uint32_t n_used;
};

/* What a move may take for this on this host as it is now: at most 1 GiB (8 GiB of rewritten pages), and a sixteenth of what is available: moves are often
 * made because memory is short. */
uint64_t held_room(void);
/* Room for the digests of as many pages as @bytes hold (0: of none); memory comes as they are made. -ENOMEM. A struct of zeros can be freed. */
int held_init(struct held *h, const struct ram_block *blocks, unsigned n_blocks, uint64_t bytes);
void held_fini(struct held *h);
/* DELTA_LINES digests of what the target holds, the caller's to change with what it sends. NULL: not known. */
uint64_t *held_get(const struct held *h, unsigned block, uint64_t page);
/* Where the digests of what is sent now go. NULL: no room. */
uint64_t *held_put(struct held *h, unsigned block, uint64_t page);
/* The target holds something else from now on. */
void held_drop(struct held *h, unsigned block, uint64_t page);

#endif
