/* One sending channel and its thread: takes chunks and sends them (xfer_tx_chunk.c), paced, and what became zeros or holes; at the end of a round the
 * barrier. Runs only here: the connection, the codec and the root belong to this thread; a page's entries in the digest table and in what is held to whoever has the
 * page in this round. */
#include "migrate/xfer_tx_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PACE_SLICE_NS 50000000ULL /* how long a thread sleeps at most before it looks at stop and at a changed limit */

/* ---- sending ---------------------------------------------------------------------------------------------- */

/* Waits for the bandwidth limit. -ECANCELED when the group stops. */
static int pace(struct tx_chan *c, uint64_t bytes, struct err *e)
{
	uint64_t spoke = xfer_now_ns(), now = spoke, wait;
	int ret = 0;

	while (!ret &&
		(wait = pacer_take(&c->tx->pacer, bytes, atomic_load(&c->tx->conf.limits->bandwidth_bps), now))) {
		wait = wait < PACE_SLICE_NS ? wait : PACE_SLICE_NS;
		nanosleep(&(struct timespec){.tv_nsec = (long)wait}, NULL);
		now = xfer_now_ns();
		if (atomic_load(&c->tx->group.stop))
			return err_set(e, ECANCELED, "cancelled");
		if (now - spoke > XFER_KEEPALIVE_MS * 1000000ULL) {
			ret = xfer_keepalive(c->conn, e);
			spoke = now;
		}
	}
	return ret;
}

int tx_send(struct tx_chan *c, const void *buf, size_t n, struct err *e)
{
	int ret = pace(c, n, e);

	return ret ? ret : tls_write(c->conn, buf, n, e);
}

static int flush_ranges(struct tx_chan *c, struct err *e)
{
	uint8_t buf[WIRE_HEADER_BYTES + sizeof(c->ranges)];
	struct wire_header *h = &c->range_head;

	if (!c->n_ranges)
		return 0;
	h->count = (uint16_t)c->n_ranges;
	h->length = c->n_ranges * WIRE_RUN_BYTES;
	h->round = c->tx->round;
	wire_header_encode(h, buf);
	wire_runs_encode(c->ranges, c->n_ranges, buf + WIRE_HEADER_BYTES);
	c->n_ranges = 0;
	return tx_send(c, buf, WIRE_HEADER_BYTES + h->length, e);
}

/* @page reads as zeros now: remember it, and tell the target if it knows other content. */
int tx_clear_page(struct tx_chan *c, enum wire_type type, unsigned block, uint32_t page, struct err *e)
{
	struct wire_run *end = c->n_ranges ? &c->ranges[c->n_ranges - 1] : NULL;
	bool same =
		end && c->range_head.type == type && c->range_head.block == block && page >= end->first + end->n_pages;
	int ret = 0;

	if (!c->tx->table.pages[block][page])
		return 0;
	digest_set(&c->tx->table, block, page, 0, &c->root);
	held_drop(&c->tx->held, block, page);
	c->n_cleared++;
	if (same && page == end->first + end->n_pages) {
		end->n_pages++;
		return 0;
	}
	if (!same || c->n_ranges == WIRE_RUNS_MAX)
		ret = flush_ranges(c, e);
	c->range_head = (struct wire_header){.type = (uint8_t)type, .block = (uint16_t)block};
	c->ranges[c->n_ranges++] = (struct wire_run){.first = page, .n_pages = 1};
	return ret;
}

/* ---- a round ----------------------------------------------------------------------------------------------- */

static int barrier(struct tx_chan *c, bool last, struct err *e)
{
	struct wire_header h = {
		.type = WIRE_BARRIER, .flags = last ? WIRE_FLAG_LAST : 0, .length = 16, .round = c->tx->round};
	uint8_t buf[WIRE_HEADER_BYTES + 16], body[16];
	struct wire_header answer = {0};
	int ret;

	wire_header_encode(&h, buf);
	wire_put64(buf + WIRE_HEADER_BYTES, c->n_data);
	wire_put64(buf + WIRE_HEADER_BYTES + 8, c->n_cleared);
	ret = tls_write(c->conn, buf, sizeof(buf), e);
	do {
		if (!ret)
			ret = tls_read(c->conn, buf, WIRE_HEADER_BYTES, e);
		if (!ret)
			ret = wire_header_decode(buf, &answer, e);
	} while (!ret && answer.type == WIRE_KEEPALIVE);
	if (!ret && (answer.type != WIRE_LANDED || answer.flags != h.flags || answer.round != h.round))
		ret = err_set(e, EPROTO, "the target answered the barrier with a record of type %u", answer.type);
	if (!ret)
		ret = tls_read(c->conn, body, sizeof(body), e);
	if (!ret && (wire_get64(body) != c->n_data || wire_get64(body + 8) != c->n_cleared))
		ret = err_set(e, EPROTO, "the target counted other pages than were sent");
	return ret;
}

static int run_round(struct tx_chan *c, bool last, struct err *e)
{
	struct meter_lap unused;
	struct tx_chunk chunk;
	struct tx_part part;
	int ret = 0;

	c->n_data = c->n_cleared = 0;
	meter_lap(&c->meter, &unused); /* waiting for the round is not waiting for the link */
	c->sent = (struct codec_send){0};
	c->n_sent = 0;
	while (!ret && !atomic_load(&c->tx->group.stop) && tx_next_chunk(c->tx, &chunk))
		ret = tx_send_chunk(c, &chunk, e);
	while (!ret && !atomic_load(&c->tx->group.stop) && tx_next_hole_part(c->tx, &part))
		ret = tx_send_holes(c, &part, e);
	if (!ret && atomic_load(&c->tx->group.stop))
		ret = err_set(e, ECANCELED, "cancelled");
	if (!ret)
		ret = flush_ranges(c, e);
	return ret ? ret : barrier(c, last, e);
}

static int send_geometry(struct tx_chan *c, struct err *e)
{
	uint8_t buf[WIRE_HEADER_BYTES + 8 * RAM_BLOCKS_MAX];
	unsigned n = c->tx->n_io;

	wire_header_encode(&(struct wire_header){.type = WIRE_GEOMETRY, .count = (uint16_t)n, .length = 8 * n}, buf);
	for (unsigned b = 0; b < n; b++)
		wire_put64(buf + WIRE_HEADER_BYTES + 8 * b, c->tx->io[b].block->bytes);
	return tls_write(c->conn, buf, WIRE_HEADER_BYTES + 8 * n, e);
}

/* Waits until the engine begins round @n_done; keeps the channel alive meanwhile. -ECANCELED: stop. */
static int await_round(struct tx_chan *c, uint32_t n_done, bool *last, struct err *e)
{
	struct xfer_group *g = &c->tx->group;
	uint64_t spoke = xfer_now_ns();
	bool idle;
	int ret = 0;

	pthread_mutex_lock(&g->lock);
	while (!ret && !atomic_load(&g->stop) && c->tx->n_begun == n_done) {
		xfer_group_wait(g, XFER_KEEPALIVE_MS);
		idle = c->tx->n_begun == n_done && xfer_now_ns() - spoke >= XFER_KEEPALIVE_MS * 1000000ULL;
		if (!idle || atomic_load(&g->stop))
			continue;
		pthread_mutex_unlock(&g->lock);
		ret = xfer_keepalive(c->conn, e);
		spoke = xfer_now_ns();
		pthread_mutex_lock(&g->lock);
	}
	*last = c->tx->last;
	if (!ret && atomic_load(&g->stop))
		ret = err_set(e, ECANCELED, "cancelled");
	pthread_mutex_unlock(&g->lock);
	return ret;
}

void *tx_chan_thread(void *arg)
{
	struct tx_chan *c = arg;
	struct xfer_group *g = &c->tx->group;
	struct err e = {0};
	bool last = false;
	int ret = send_geometry(c, &e);

	meter_open(&c->meter);
	for (uint32_t n_done = 0; !ret && !last; n_done++) {
		ret = await_round(c, n_done, &last, &e);
		if (!ret)
			ret = run_round(c, last, &e);
		if (ret)
			break;
		pthread_mutex_lock(&g->lock);
		c->tx->n_busy--;
		pthread_cond_broadcast(&g->changed);
		pthread_mutex_unlock(&g->lock);
	}
	meter_close(&c->meter);
	if (ret)
		xfer_group_fail(g, c->index, &e);
	return NULL;
}

int tx_chan_init(struct tx_chan *c, struct xfer_tx *tx, unsigned index)
{
	c->tx = tx;
	c->index = index;
	c->conn = tx->group.conns[index];
	codec_init(&c->codec, tx->conf.codecs);
	c->raw = aligned_alloc(4096, TX_BUFFER_BYTES);
	c->packed = aligned_alloc(4096, TX_BUFFER_BYTES);
	c->delta = aligned_alloc(4096, TX_BUFFER_BYTES);
	return c->raw && c->packed && c->delta ? 0 : -ENOMEM;
}

void tx_chan_fini(struct tx_chan *c)
{
	codec_fini(&c->codec);
	free(c->raw);
	free(c->packed);
	free(c->delta);
	c->raw = c->packed = c->delta = NULL;
}
