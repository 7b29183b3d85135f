/* Digests of RAM: one XXH3-64 per 4 KiB page as last sent or landed, and a root that is kept up to date as pages change (docs/wire.md,
 * "Digests"). A page of zeros has digest 0 and takes no part, so holes, zero pages and pages never sent are the same.
 * Pages may be set by several threads at once as long as no two touch the same page; each uses a root of its own, added up at the end. */
#ifndef MIGRATE_DIGEST_H
#define MIGRATE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/ram.h"
#include "migrate/xfer.h"

struct digest_root { /* a 128-bit sum */
	uint64_t hi, lo;
};

struct digest_table {
	uint64_t *pages[RAM_BLOCKS_MAX];
	uint64_t n_pages[RAM_BLOCKS_MAX];
	unsigned n_blocks;
};

/* All pages zero. -ENOMEM. */
int digest_table_init(struct digest_table *t, const struct ram_block *blocks, unsigned n_blocks);
void digest_table_fini(struct digest_table *t);

bool page_is_zero(const void *page);    /* 4096 octets, 8-aligned */
uint64_t page_digest(const void *page); /* of a page that is not zero */
/* Over the digests of a record's pages. */
uint64_t record_digest(const uint64_t *digests, unsigned n);

/* Replace a page's digest and bring @root up to date. */
void digest_set(struct digest_table *t, unsigned block, uint64_t page, uint64_t digest, struct digest_root *root);
/* What one page that is not zero adds to the root. */
struct digest_root digest_leaf(unsigned block, uint64_t page, uint64_t digest);
void digest_root_add(struct digest_root *sum, const struct digest_root *r);
void digest_root_encode(const struct digest_root *r, uint8_t out[XFER_DIGEST_BYTES]);

#endif
