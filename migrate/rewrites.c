/* What a guest changes of its pages: see rewrites.h. */
#include "migrate/rewrites.h"

#include <errno.h>
#include <stdlib.h>

#include "migrate/delta.h"
#include "migrate/ram_io.h"

#define PAGES_MAX 256u
#define PAGES_MIN 16u /* that prove something */
#define LOOK_BYTES (4ULL << 30)
#define SEED 0 /* of digests that nothing is sent by */

struct noted {
	unsigned block;
	uint64_t page; /* of WIRE_PAGE_BYTES */
	uint64_t digests[DELTA_LINES];
};

struct rewrites {
	struct ram_io io[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	struct noted v[PAGES_MAX];
	unsigned n;
};

static int read_page(const struct rewrites *r, const struct noted *n, uint64_t out[WIRE_PAGE_BYTES / 8], struct err *e)
{
	return ram_io_read(&r->io[n->block], n->page * WIRE_PAGE_BYTES, out, WIRE_PAGE_BYTES, e);
}

static int note(struct rewrites *r, unsigned block, uint64_t page, struct err *e)
{
	uint64_t content[WIRE_PAGE_BYTES / 8];
	struct noted *n = &r->v[r->n];
	int ret;

	n->block = block;
	n->page = page;
	ret = read_page(r, n, content, e);
	if (ret)
		return ret;
	delta_digest(content, SEED, n->digests);
	r->n++;
	return 0;
}

/* Evenly over what is written, @max at most. Of a huge page one of its small ones, another each time. */
static int note_block(struct rewrites *r, unsigned block, const struct bitmap *written, unsigned max, struct err *e)
{
	uint64_t factor = r->io[block].block->page_bytes / WIRE_PAGE_BYTES, start, end, nth = 0;
	uint64_t step = bitmap_count(written) / max + 1;
	int ret = 0;

	for (uint64_t from = 0; !ret && bitmap_next_run(written, from, &start, &end); from = end)
		for (uint64_t p = start; !ret && p < end; p++)
			if (nth++ % step == 0 && r->n < PAGES_MAX)
				ret = note(r, block, p * factor + nth % factor, e);
	return ret;
}

static int look_at_block(struct rewrites *r, struct tracker *t, unsigned block, unsigned max, struct err *e)
{
	const struct ram_block *b = r->io[block].block;
	uint64_t n = b->bytes < LOOK_BYTES ? b->bytes : LOOK_BYTES;
	struct bitmap written;
	int ret;

	if (bitmap_init(&written, b->bytes / b->page_bytes))
		return err_set(e, ENOMEM, "out of memory");
	ret = t->ops->peek_part(t, block, 0, n / b->page_bytes, &written, e);
	if (!ret)
		ret = note_block(r, block, &written, max, e);
	bitmap_fini(&written);
	return ret;
}

int rewrites_begin(
	struct tracker *t, const struct ram_block *blocks, unsigned n_blocks, struct rewrites **out, struct err *e)
{
	struct rewrites *r = t->ops->peek_part ? calloc(1, sizeof(*r)) : NULL;
	int ret = 0;

	*out = NULL;
	if (!t->ops->peek_part)
		return 0;
	if (!r)
		return err_set(e, ENOMEM, "out of memory");
	for (unsigned b = 0; !ret && b < n_blocks; b++) {
		ret = ram_io_open(&r->io[b], &blocks[b], false, e);
		if (ret)
			break;
		r->n_blocks++;
		ret = look_at_block(r, t, b, PAGES_MAX / n_blocks, e);
	}
	if (ret)
		rewrites_free(r);
	else
		*out = r;
	return ret;
}

double rewrites_share(struct rewrites *r)
{
	uint64_t content[WIRE_PAGE_BYTES / 8];
	uint8_t difference[DELTA_BYTES_MAX];
	unsigned n_changed = 0;
	double sum = 0;

	for (unsigned i = 0; r && i < r->n; i++) {
		size_t n;

		if (read_page(r, &r->v[i], content, NULL))
			continue;
		n = delta_encode(content, SEED, r->v[i].digests, difference);
		if (n == DELTA_MASK_BYTES)
			continue;
		sum += n ? (double)n / WIRE_PAGE_BYTES : 1;
		n_changed++;
	}
	return n_changed < PAGES_MIN ? 1 : sum / n_changed;
}

void rewrites_free(struct rewrites *r)
{
	for (unsigned b = 0; r && b < r->n_blocks; b++)
		ram_io_close(&r->io[b]);
	free(r);
}
