/* A page as those of its lines (64 octets) that are not what the target holds. A guest that rewrites a page mostly changes little of it, and the rest need
 * not cross the link again (Svärd et al., "Evaluation of Delta Compression Techniques for Efficient Live Migration of Large Virtual Machines", VEE 2011;
 * QEMU's XBZRLE is of that kind). Where those compare with a copy of the old page, this compares digests of its lines: an eighth of the memory, and nothing
 * to be read but the page itself. A digest that is equal by chance is found out: the page's own digest goes with it, and the move ends there.
 * docs/wire.md, "DATA", is the format. Pure functions, any thread. */
#ifndef MIGRATE_DELTA_H
#define MIGRATE_DELTA_H

#include <stddef.h>
#include <stdint.h>

#include "migrate/wire.h"

#define DELTA_LINE_BYTES 64u
#define DELTA_LINES (WIRE_PAGE_BYTES / DELTA_LINE_BYTES)
#define DELTA_MASK_BYTES 8
#define DELTA_LINES_MAX (DELTA_LINES / 2) /* so many may differ; else the page goes whole */
#define DELTA_PAYS 0.7 /* differences that come to less than this share of their pages are worth looking for */
#define DELTA_BYTES_MAX (DELTA_MASK_BYTES + DELTA_LINES_MAX * DELTA_LINE_BYTES)

/* The digests of @page's lines. @seed: the same for all that is compared; not known to guests, which could make lines of equal digests. */
void delta_digest(const void *page, uint64_t seed, uint64_t digests[DELTA_LINES]);
/* @digests of what the target holds become those of @page. Returns the octets put to @out (DELTA_BYTES_MAX at most), or 0: too much differs. */
size_t delta_encode(const void *page, uint64_t seed, uint64_t digests[DELTA_LINES], uint8_t *out);
/* Makes the new page of the old one, in place. Returns how many octets of @in that took, or -EBADMSG: they are not as docs/wire.md says, and @page is
 * neither. Safe for any input. */
int delta_apply(void *page, const uint8_t *in, size_t n);

#endif
