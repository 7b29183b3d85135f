/* How much of a page a guest changes when it rewrites it, from a few of the pages that it writes while it is measured: what differences (delta.h) will save a move.
 * Reads with pread; changes nothing. The tracker's thread. */
#ifndef MIGRATE_REWRITES_H
#define MIGRATE_REWRITES_H

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/tracker.h"

struct rewrites;

/* Notes what stands in up to 256 of the pages that were written since @t was armed (of the first 4 GiB of each block: 60 to 140 ms at most). *@out is NULL where @t
 * cannot tell. The caller's, rewrites_free. @blocks is borrowed. */
int rewrites_begin(
	struct tracker *t, const struct ram_block *blocks, unsigned n_blocks, struct rewrites **out, struct err *e);
/* Of those that were written again meanwhile: what a difference comes to, by the page, 0..1. 1 where too few were. NULL: 1. */
double rewrites_share(struct rewrites *r);
void rewrites_free(struct rewrites *r);

#endif
