/* One receiving channel and its thread: read a record into a buffer of fixed size, check it, land it, count it; at a barrier wait for the
 * others. Everything from the wire is checked before it is used (wire.c); nothing is allocated by what it says. What is digested is what
 * was written: a record whose digest is not its content's may have landed, and ends the migration. */
#include "migrate/xfer_rx_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "migrate/delta.h"

struct landed { /* of one record */
	uint64_t digests[WIRE_PAGES_MAX];
	unsigned n_pages;
};

/* ---- landing ---------------------------------------------------------------------------------------------- */

/* One page of a record has landed: its digest, for the root and for the record's own. */
static void note_page(struct rx_chan *c, unsigned block, uint64_t page, uint64_t digest, struct landed *l)
{
	digest_set(&c->rx->table, block, page, digest, &c->root);
	l->digests[l->n_pages++] = digest;
}

/* The record's differences, made in RAM itself: only pages that are there have any. */
static int land_deltas(struct rx_chan *c, const struct wire_header *h, const struct wire_run *runs,
	const struct wire_content *in, struct landed *l, struct err *e)
{
	const uint8_t *p = in->data, *end = p + in->bytes;

	for (unsigned r = 0; r < h->count; r++)
		for (uint64_t page = runs[r].first, last = page + runs[r].n_pages; page < last; page++) {
			void *here = ram_io_here(&c->rx->io[h->block], page * WIRE_PAGE_BYTES);
			int n = c->rx->table.pages[h->block][page] ? delta_apply(here, p, (size_t)(end - p)) : -ENOENT;

			if (n < 0)
				return err_set(e, EBADMSG, "the differences of page %" PRIu64 " %s", page,
					n == -ENOENT ? "are against nothing that was sent" : "are not as they must be");
			p += n;
			note_page(c, h->block, page, page_digest(here), l);
		}
	return p == end ? 0 : err_set(e, EBADMSG, "a record has more than its pages' differences");
}

/* Where all of it is there already, through the mapping: that costs half of what pwrite does. */
static int land_run(struct rx_chan *c, unsigned block, const struct wire_run *run, const uint8_t *p, struct err *e)
{
	const struct ram_io *io = &c->rx->io[block];
	const uint64_t *known = c->rx->table.pages[block];
	uint64_t off = (uint64_t)run->first * WIRE_PAGE_BYTES;
	size_t bytes = (size_t)run->n_pages * WIRE_PAGE_BYTES;

	for (uint32_t i = 0; i < run->n_pages; i++)
		if (!known[(uint64_t)run->first + i])
			return ram_io_write(io, off, p, bytes, e);
	ram_io_overwrite(io, off, p, bytes);
	return 0;
}

/* The pages of a record as they are, one after the other. */
static int land_whole(struct rx_chan *c, const struct wire_header *h, const struct wire_run *runs, uint64_t n_pages,
	const struct wire_content *in, struct landed *l, struct err *e)
{
	const uint8_t *p = h->flags == WIRE_RAW ? in->data : c->content;
	int ret = 0;

	if (h->flags != WIRE_RAW &&
		codec_unpack(&c->codec, h->flags, in->data, in->bytes, c->content, n_pages * WIRE_PAGE_BYTES))
		return err_set(e, EBADMSG, "a record does not unpack to its %" PRIu64 " pages", n_pages);
	for (unsigned r = 0; !ret && r < h->count; r++) {
		ret = land_run(c, h->block, &runs[r], p, e);
		for (uint32_t i = 0; i < runs[r].n_pages; i++, p += WIRE_PAGE_BYTES)
			note_page(c, h->block, (uint64_t)runs[r].first + i, page_digest(p), l);
	}
	return ret;
}

static int on_data(struct rx_chan *c, const struct wire_header *h, struct err *e)
{
	struct wire_run runs[WIRE_RUNS_MAX];
	struct landed l = {.n_pages = 0};
	struct wire_content content;
	uint64_t n_pages;
	int ret = wire_runs_decode(h, c->body, c->rx->table.n_pages[h->block], runs, &n_pages, e);

	if (!ret)
		ret = wire_content_decode(h, c->body, n_pages, &content, e);
	if (ret)
		return ret;
	ret = h->flags == WIRE_DELTA ? land_deltas(c, h, runs, &content, &l, e)
				     : land_whole(c, h, runs, n_pages, &content, &l, e);
	if (ret)
		return ret;
	if (record_digest(l.digests, l.n_pages) != content.digest)
		return err_set(e, EBADMSG, "a record's content does not have the digest that it was sent with");
	c->n_data += n_pages;
	pthread_mutex_lock(&c->rx->group.lock);
	c->now.pages_sent += n_pages;
	c->now.pages_lz4 += h->flags == WIRE_LZ4 ? n_pages : 0;
	c->now.pages_zstd += h->flags == WIRE_ZSTD ? n_pages : 0;
	c->now.pages_delta += h->flags == WIRE_DELTA ? n_pages : 0;
	c->now.pages_raw += h->flags == WIRE_RAW ? n_pages : 0;
	c->now.ram_bytes += n_pages * WIRE_PAGE_BYTES;
	pthread_mutex_unlock(&c->rx->group.lock);
	return 0;
}

/* Clear what is not zero in one range, in as few holes as possible. */
static int clear_range(struct rx_chan *c, unsigned block, const struct wire_run *range, struct err *e)
{
	const uint64_t *table = c->rx->table.pages[block];
	uint64_t p = range->first, end = p + range->n_pages, from;
	int ret = 0;

	while (!ret && p < end) {
		for (from = p; p < end && table[p]; p++)
			digest_set(&c->rx->table, block, p, 0, &c->root);
		if (p > from)
			ret = ram_io_zero(&c->rx->io[block], from * WIRE_PAGE_BYTES, (p - from) * WIRE_PAGE_BYTES, e);
		else
			p++;
	}
	return ret;
}

static int on_clear(struct rx_chan *c, const struct wire_header *h, struct err *e)
{
	struct wire_run ranges[WIRE_RUNS_MAX];
	uint64_t n_pages;
	int ret = wire_runs_decode(h, c->body, c->rx->table.n_pages[h->block], ranges, &n_pages, e);

	for (unsigned i = 0; !ret && i < h->count; i++)
		ret = clear_range(c, h->block, &ranges[i], e);
	if (ret)
		return ret;
	c->n_cleared += n_pages;
	pthread_mutex_lock(&c->rx->group.lock);
	*(h->type == WIRE_HOLE ? &c->now.pages_hole : &c->now.pages_zero) += n_pages;
	pthread_mutex_unlock(&c->rx->group.lock);
	return 0;
}

/* ---- barrier ---------------------------------------------------------------------------------------------- */

/* Arrive, and wait until the engine has seen everyone; keep the channel alive meanwhile. */
static int await_others(struct rx_chan *c, struct err *e)
{
	struct xfer_group *g = &c->rx->group;
	uint64_t spoke = xfer_now_ns();
	int ret = 0;

	pthread_mutex_lock(&g->lock);
	c->rx->n_arrived++;
	pthread_cond_broadcast(&g->changed);
	while (!ret && !atomic_load(&g->stop) && c->rx->n_landed == c->round) {
		xfer_group_wait(g, XFER_KEEPALIVE_MS);
		if (c->rx->n_landed != c->round || xfer_now_ns() - spoke < XFER_KEEPALIVE_MS * 1000000ULL)
			continue;
		pthread_mutex_unlock(&g->lock);
		ret = xfer_keepalive(c->conn, e);
		spoke = xfer_now_ns();
		pthread_mutex_lock(&g->lock);
	}
	if (!ret && c->rx->n_landed == c->round)
		ret = err_set(e, ECANCELED, "cancelled");
	pthread_mutex_unlock(&g->lock);
	return ret;
}

static int on_barrier(struct rx_chan *c, const struct wire_header *h, struct err *e)
{
	struct wire_header answer = {.type = WIRE_LANDED, .flags = h->flags, .length = 16, .round = c->round};
	uint8_t buf[WIRE_HEADER_BYTES + 16];
	int ret;

	if (wire_get64(c->body) != c->n_data || wire_get64(c->body + 8) != c->n_cleared)
		return err_set(e, EPROTO, "round %" PRIu32 ": %" PRIu64 " pages came where %" PRIu64 " were sent",
			c->round, c->n_data + c->n_cleared, wire_get64(c->body) + wire_get64(c->body + 8));
	c->last = h->flags & WIRE_FLAG_LAST;
	ret = await_others(c, e);
	if (ret)
		return ret;
	wire_header_encode(&answer, buf);
	wire_put64(buf + WIRE_HEADER_BYTES, c->n_data);
	wire_put64(buf + WIRE_HEADER_BYTES + 8, c->n_cleared);
	c->n_data = c->n_cleared = 0;
	c->round++;
	return tls_write(c->conn, buf, sizeof(buf), e);
}

/* ---- records ---------------------------------------------------------------------------------------------- */

static int on_geometry(struct rx_chan *c, const struct wire_header *h, struct err *e)
{
	if (c->geometry_seen)
		return err_set(e, EPROTO, "a second GEOMETRY record");
	c->geometry_seen = true;
	return wire_geometry_check(h, c->body, c->rx->conf.blocks, c->rx->n_io, e);
}

/* Type, order and place of a record whose body has been read. */
static int on_record(struct rx_chan *c, const struct wire_header *h, struct err *e)
{
	if (h->type == WIRE_KEEPALIVE || h->type >= WIRE_OPTIONAL)
		return 0;
	if (h->type == WIRE_GEOMETRY)
		return on_geometry(c, h, e);
	if (!c->geometry_seen)
		return err_set(e, EPROTO, "a record of type %u before GEOMETRY", h->type);
	if (h->round != c->round || h->block >= c->rx->n_io)
		return err_set(e, EPROTO, "a record of round %" PRIu32 ", block %u in round %" PRIu32, h->round,
			h->block, c->round);
	switch (h->type) {
	case WIRE_DATA:
		return on_data(c, h, e);
	case WIRE_ZERO:
	case WIRE_HOLE:
		return on_clear(c, h, e);
	case WIRE_BARRIER:
		return on_barrier(c, h, e);
	default:
		return err_set(e, EPROTO, "a record of type %u from the source", h->type);
	}
}

static int read_record(struct rx_chan *c, struct wire_header *h, struct err *e)
{
	uint8_t head[WIRE_HEADER_BYTES];
	int ret = tls_read(c->conn, head, sizeof(head), e);

	if (!ret)
		ret = wire_header_decode(head, h, e); /* length <= WIRE_BODY_MAX from here on */
	if (!ret && h->length)
		ret = tls_read(c->conn, c->body, h->length, e);
	if (ret)
		return ret;
	pthread_mutex_lock(&c->rx->group.lock);
	c->now.wire_bytes += WIRE_HEADER_BYTES + h->length;
	pthread_mutex_unlock(&c->rx->group.lock);
	return 0;
}

void *rx_chan_thread(void *arg)
{
	struct rx_chan *c = arg;
	struct xfer_group *g = &c->rx->group;
	struct wire_header h;
	struct err e = {0};
	int ret = 0;

	while (!ret && !c->last) {
		ret = atomic_load(&g->stop) ? err_set(&e, ECANCELED, "cancelled") : read_record(c, &h, &e);
		if (!ret)
			ret = on_record(c, &h, &e);
	}
	if (ret) {
		xfer_group_fail(g, c->index, &e);
		return NULL;
	}
	pthread_mutex_lock(&g->lock);
	c->rx->n_ended++;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

int rx_chan_init(struct rx_chan *c, struct xfer_rx *rx, unsigned index)
{
	c->rx = rx;
	c->index = index;
	c->conn = rx->group.conns[index];
	codec_init(&c->codec, 0);
	c->body = malloc(WIRE_BODY_MAX);
	c->content = aligned_alloc(WIRE_PAGE_BYTES, WIRE_CONTENT_MAX);
	return c->body && c->content ? 0 : -ENOMEM;
}

void rx_chan_fini(struct rx_chan *c)
{
	codec_fini(&c->codec);
	free(c->body);
	free(c->content);
	c->body = c->content = NULL;
}
