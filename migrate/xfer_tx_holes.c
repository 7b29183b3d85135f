/* Holes, in the last round: what the balloon or free-page reporting has punched is not "written" (facts), so the files are looked through
 * while the guest stands, and what has become a hole is told. By all channel threads, a part each: that took 8 ms a GiB by one. Pages that QEMU's page tables
 * have are content; the file is asked for the others only. */
#include "migrate/xfer_tx_int.h"

#define PART_BYTES (32ULL << 20)

bool tx_next_hole_part(struct xfer_tx *tx, struct tx_part *out)
{
	const struct ram_block *b;
	uint64_t n_pages, step;
	bool found;

	pthread_mutex_lock(&tx->cursor_lock);
	found = tx->hole_block < tx->n_io;
	if (found) {
		b = tx->io[tx->hole_block].block;
		n_pages = b->bytes / b->page_bytes;
		step = b->page_bytes < PART_BYTES ? PART_BYTES / b->page_bytes : 1;
		*out = (struct tx_part){.block = tx->hole_block, .from = tx->hole_page, .to = n_pages};
		if (n_pages - out->from > step)
			out->to = out->from + step;
		tx->hole_page = out->to;
		if (out->to == n_pages) {
			tx->hole_block++;
			tx->hole_page = 0;
		}
	}
	pthread_mutex_unlock(&tx->cursor_lock);
	return found;
}

static int clear_hole(struct tx_chan *c, unsigned block, uint64_t from, uint64_t to, struct err *e)
{
	uint64_t *table = c->tx->table.pages[block];
	int ret = 0;

	for (uint64_t p = from / WIRE_PAGE_BYTES; !ret && p < to / WIRE_PAGE_BYTES; p++)
		/* A page that is dirty in this round (look at that first) is some chunk's, which reads zeros. */
		if (!bitmap_test(&c->tx->todo[block], p) && table[p])
			ret = tx_clear_page(c, WIRE_HOLE, block, (uint32_t)p, e);
	return ret;
}

/* In octets. */
static int clear_holes(struct tx_chan *c, unsigned block, uint64_t from, uint64_t to, struct err *e)
{
	uint64_t start, end;
	int ret = 0;

	while (!ret && ram_io_next_data(&c->tx->io[block], from, to, &start, &end)) {
		ret = clear_hole(c, block, from, start, e);
		from = end;
	}
	return ret ? ret : clear_hole(c, block, from, to, e);
}

static int next_absent(const struct tx_chan *c, const struct tx_part *part, uint64_t from, uint64_t *start,
	uint64_t *end, struct err *e)
{
	const struct tracker *t = c->tx->conf.tracker;

	if (t->ops->next_absent)
		return t->ops->next_absent(t, part->block, from, part->to, start, end, e);
	*start = from;
	*end = part->to;
	return from < part->to;
}

int tx_send_holes(struct tx_chan *c, const struct tx_part *part, struct err *e)
{
	uint64_t before = c->n_cleared, unit = c->tx->io[part->block].block->page_bytes, from = part->from, end = 0;
	int ret;

	while ((ret = next_absent(c, part, from, &from, &end, e)) > 0) {
		ret = clear_holes(c, part->block, from * unit, end * unit, e);
		if (ret)
			break;
		from = end;
	}
	pthread_mutex_lock(&c->tx->group.lock);
	c->now.pages_hole += c->n_cleared - before;
	pthread_mutex_unlock(&c->tx->group.lock);
	return ret;
}
