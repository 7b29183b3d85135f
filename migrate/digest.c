/* Page digests and their root; see digest.h. Channel threads of both ends. */
#include "migrate/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xxhash.h>

#include "migrate/wire.h"

/* mmap: the table of a large guest is touched only where it has pages. */
int digest_table_init(struct digest_table *t, const struct ram_block *blocks, unsigned n_blocks)
{
	*t = (struct digest_table){.n_blocks = n_blocks};
	for (unsigned i = 0; i < n_blocks; i++) {
		uint64_t n = blocks[i].bytes / WIRE_PAGE_BYTES;
		void *p = mmap(NULL, n * sizeof(uint64_t), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (p == MAP_FAILED) {
			digest_table_fini(t);
			return -ENOMEM;
		}
		t->pages[i] = p;
		t->n_pages[i] = n;
	}
	return 0;
}

void digest_table_fini(struct digest_table *t)
{
	for (unsigned i = 0; i < t->n_blocks; i++)
		if (t->pages[i])
			munmap(t->pages[i], t->n_pages[i] * sizeof(uint64_t));
	*t = (struct digest_table){0};
}

bool page_is_zero(const void *page)
{
	const uint64_t *p = page;

	/* Nearly every page that is not zero shows it here. */
	if (p[0] | p[63] | p[256] | p[511])
		return false;
	return !memcmp(page, (const char *)page + 8, WIRE_PAGE_BYTES - 8);
}

/* The library's own choice at run time of the widest loads that this CPU has; builds for other machines than x86 lack it. Same result. */
XXH64_hash_t XXH3_64bits_dispatch(const void *in, size_t n) __attribute__((weak));

uint64_t page_digest(const void *page)
{
	return XXH3_64bits_dispatch ? XXH3_64bits_dispatch(page, WIRE_PAGE_BYTES) : XXH3_64bits(page, WIRE_PAGE_BYTES);
}

uint64_t record_digest(const uint64_t *digests, unsigned n)
{
	uint8_t buf[WIRE_PAGES_MAX * 8];

	for (unsigned i = 0; i < n && i < WIRE_PAGES_MAX; i++)
		wire_put64(buf + 8 * i, digests[i]);
	return XXH3_64bits(buf, 8 * (n < WIRE_PAGES_MAX ? n : WIRE_PAGES_MAX));
}

struct digest_root digest_leaf(unsigned block, uint64_t page, uint64_t digest)
{
	uint8_t buf[24];
	XXH128_hash_t h;

	wire_put64(buf, block);
	wire_put64(buf + 8, page);
	wire_put64(buf + 16, digest);
	h = XXH3_128bits(buf, sizeof(buf));
	return (struct digest_root){.hi = h.high64, .lo = h.low64};
}

void digest_root_add(struct digest_root *sum, const struct digest_root *r)
{
	sum->hi += r->hi + __builtin_add_overflow(sum->lo, r->lo, &sum->lo);
}

static void root_sub(struct digest_root *sum, const struct digest_root *r)
{
	sum->hi -= r->hi + __builtin_sub_overflow(sum->lo, r->lo, &sum->lo);
}

void digest_set(struct digest_table *t, unsigned block, uint64_t page, uint64_t digest, struct digest_root *root)
{
	uint64_t *slot = &t->pages[block][page];
	struct digest_root l;

	if (*slot == digest)
		return;
	if (*slot) {
		l = digest_leaf(block, page, *slot);
		root_sub(root, &l);
	}
	if (digest) {
		l = digest_leaf(block, page, digest);
		digest_root_add(root, &l);
	}
	*slot = digest;
}

void digest_root_encode(const struct digest_root *r, uint8_t out[XFER_DIGEST_BYTES])
{
	wire_put64(out, r->hi);
	wire_put64(out + 8, r->lo);
}
