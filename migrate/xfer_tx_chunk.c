/* What a sending channel's thread does with one chunk: reads it, drops zero pages, digests, and sends the rest: as differences where it knows what the
 * target holds (delta.h, held.h) and they are small, else packed (codec.h) or raw.
 *
 * Pages are copied out of the RAM file first and only the copy is looked at: the guest goes on writing, and what is digested must be what
 * is packed and sent. A page that changes meanwhile is found by the next harvest. */
#include <string.h>

#include "migrate/delta.h"
#include "migrate/xfer_tx_int.h"

#define PACK_GAIN 16 /* packing must save a 16th, else raw */
#define NOTE_EVERY 4 /* records for which the codec is told what they cost */

/* Where differences are no gain on average, only a sample of the pages is looked at, in case that changes. */
#define DELTA_SPAN 64 /* pages, of the average */

struct content { /* pages of one record: runs, digests, and what stands for them, in buf from TX_CONTENT_AT on */
	unsigned n_compared;
	uint64_t compared_bytes;
	struct wire_run runs[WIRE_RUNS_MAX];
	uint64_t digests[WIRE_PAGES_MAX];
	unsigned n_runs, n_pages;
	uint8_t *buf;
	uint32_t bytes;
};

static void content_add(
	struct tx_chan *c, struct content *k, unsigned block, uint32_t page, uint64_t digest, uint32_t bytes)
{
	struct wire_run *end = k->n_runs ? &k->runs[k->n_runs - 1] : NULL;

	if (end && page == end->first + end->n_pages)
		end->n_pages++;
	else
		k->runs[k->n_runs++] = (struct wire_run){.first = page, .n_pages = 1};
	k->digests[k->n_pages++] = digest;
	k->bytes += bytes;
	digest_set(&c->tx->table, block, page, digest, &c->root);
}

/* ---- differences ------------------------------------------------------------------------------------------- */

/* By page, for what is kept in one round is compared in a later one. The first round's pages are not, but for the sample: most of them are not written again,
 * and the digests of all cost more than the others save. The sample shows after the second round what differences will save in the third. */
static bool delta_pays(const struct tx_chan *c, uint32_t page)
{
	return (c->tx->round && c->delta_share < DELTA_PAYS) || tx_in_sample(page);
}

/* The page's difference goes to @k. False: it has to go whole. What is sent is noted for the next round. */
static bool delta_add(struct tx_chan *c, struct content *k, unsigned block, uint32_t page, const uint8_t *from)
{
	struct held *h = &c->tx->held;
	uint64_t *digests;
	size_t n;

	if (!h->n_max)
		return false;
	if (!delta_pays(c, page)) {
		held_drop(h, block, page);
		return false;
	}
	digests = held_get(h, block, page);
	if (!digests) {
		digests = c->tx->last ? NULL : held_put(h, block, page);
		if (digests)
			delta_digest(from, h->seed, digests);
		return false;
	}
	n = delta_encode(from, h->seed, digests, k->buf + TX_CONTENT_AT + k->bytes);
	c->delta_share += ((n ? (double)n / WIRE_PAGE_BYTES : 1) - c->delta_share) / DELTA_SPAN;
	k->n_compared++;
	k->compared_bytes += n ? n : WIRE_PAGE_BYTES;
	if (n)
		content_add(c, k, block, page, page_digest(from), (uint32_t)n);
	return n > 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static void whole_add(struct tx_chan *c, struct content *k, unsigned block, uint32_t page, const uint8_t *from)
{
	uint8_t *to = k->buf + TX_CONTENT_AT + k->bytes;

	if (to != from)
		memmove(to, from, WIRE_PAGE_BYTES);
	content_add(c, k, block, page, page_digest(to), WIRE_PAGE_BYTES);
}

static int read_chunk(struct tx_chan *c, const struct tx_chunk *chunk, struct err *e)
{
	uint8_t *p = c->raw + TX_CONTENT_AT;
	int ret = 0;

	for (unsigned r = 0; !ret && r < chunk->n_runs; r++) {
		ret = ram_io_read(&c->tx->io[chunk->block], (uint64_t)chunk->runs[r].first * WIRE_PAGE_BYTES, p,
			(size_t)chunk->runs[r].n_pages * WIRE_PAGE_BYTES, e);
		p += (size_t)chunk->runs[r].n_pages * WIRE_PAGE_BYTES;
	}
	return ret;
}

/* Read the chunk and sort it into zero pages, differences and whole pages. */
static int gather(
	struct tx_chan *c, const struct tx_chunk *chunk, struct content *whole, struct content *delta, struct err *e)
{
	const uint8_t *p = c->raw + TX_CONTENT_AT;
	int ret = read_chunk(c, chunk, e);

	for (unsigned r = 0; !ret && r < chunk->n_runs; r++)
		for (uint32_t i = 0; !ret && i < chunk->runs[r].n_pages; i++, p += WIRE_PAGE_BYTES) {
			uint32_t page = chunk->runs[r].first + i;

			if (page_is_zero(p))
				ret = tx_clear_page(c, WIRE_ZERO, chunk->block, page, e);
			else if (!delta_add(c, delta, chunk->block, page, p))
				whole_add(c, whole, chunk->block, page, p);
		}
	return ret;
}

/* ---- sending ----------------------------------------------------------------------------------------------- */

/* Pack if it pays. Returns the content's octets; *@how_out says in which form: c->packed holds them, or c->raw. */
static uint32_t pack(struct tx_chan *c, uint32_t bytes, enum wire_codec *how_out)
{
	enum wire_codec how = codec_choose(&c->codec);
	size_t packed = 0;
	uint64_t t0;

	*how_out = WIRE_RAW;
	if (how == WIRE_RAW)
		return bytes;
	t0 = meter_cpu_ns();
	packed = codec_pack(
		&c->codec, how, c->raw + TX_CONTENT_AT, bytes, c->packed + TX_CONTENT_AT, bytes - bytes / PACK_GAIN);
	codec_note_pack(&c->codec, how, bytes, packed, meter_cpu_ns() - t0);
	if (!packed)
		return bytes;
	*how_out = how;
	return (uint32_t)packed;
}

/* Send a record's octets and keep for the codec what that costs. */
static int send_measured(struct tx_chan *c, const void *buf, size_t n, struct err *e)
{
	uint64_t t0 = meter_cpu_ns();
	struct meter_lap lap;
	int ret = tx_send(c, buf, n, e);

	c->sent.cpu_ns += meter_cpu_ns() - t0;
	c->sent.wire_bytes += n;
	if (++c->n_sent < NOTE_EVERY)
		return ret;
	meter_lap(&c->meter, &lap);
	c->sent.delay_ns = lap.delay_ns;
	c->sent.wait_ns = lap.wait_ns;
	c->sent.wall_ns = lap.cpu_ns + lap.delay_ns + lap.wait_ns;
	codec_note_send(&c->codec, &c->sent);
	c->sent = (struct codec_send){0};
	c->n_sent = 0;
	return ret;
}

/* Header, runs and digest go right in front of the content, in @buf, so that one write sends all. Returns where they start. */
static uint8_t *put_head(struct tx_chan *c, unsigned block, const struct content *k, enum wire_codec how, uint8_t *buf,
	uint32_t bytes, size_t *n_out)
{
	uint32_t before = WIRE_HEADER_BYTES + k->n_runs * WIRE_RUN_BYTES + WIRE_DIGEST_BYTES;
	const struct wire_header h = {.type = WIRE_DATA,
		.flags = (uint8_t)how,
		.count = (uint16_t)k->n_runs,
		.round = c->tx->round,
		.block = (uint16_t)block,
		.length = before - WIRE_HEADER_BYTES + bytes};
	uint8_t *start = buf + TX_CONTENT_AT - before;

	wire_header_encode(&h, start);
	wire_runs_encode(k->runs, k->n_runs, start + WIRE_HEADER_BYTES);
	wire_put64(buf + TX_CONTENT_AT - WIRE_DIGEST_BYTES, record_digest(k->digests, k->n_pages));
	*n_out = before + bytes;
	return start;
}

static int send_whole(
	struct tx_chan *c, unsigned block, const struct content *k, enum wire_codec *how_out, struct err *e)
{
	uint32_t bytes = pack(c, k->bytes, how_out);
	uint8_t *start;
	size_t n;

	start = put_head(c, block, k, *how_out, *how_out == WIRE_RAW ? c->raw : c->packed, bytes, &n);
	return send_measured(c, start, n, e);
}

/* What sending costs an octet is measured on full records: that of these small ones would say that packing pays. */
static int send_delta(struct tx_chan *c, unsigned block, const struct content *k, struct err *e)
{
	size_t n;
	uint8_t *start = put_head(c, block, k, WIRE_DELTA, k->buf, k->bytes, &n);

	c->sent.wire_bytes += n;
	return tx_send(c, start, n, e);
}

int tx_send_chunk(struct tx_chan *c, const struct tx_chunk *chunk, struct err *e)
{
	struct content whole = {.buf = c->raw}, delta = {.buf = c->delta};
	enum wire_codec how = WIRE_RAW;
	int ret = gather(c, chunk, &whole, &delta, e);

	if (!ret && delta.n_pages)
		ret = send_delta(c, chunk->block, &delta, e);
	if (!ret && whole.n_pages)
		ret = send_whole(c, chunk->block, &whole, &how, e);
	c->n_data += whole.n_pages + delta.n_pages;
	pthread_mutex_lock(&c->tx->group.lock);
	c->now.pages_sent += whole.n_pages + delta.n_pages;
	c->now.pages_zero += chunk->n_pages - whole.n_pages - delta.n_pages;
	c->now.pages_delta += delta.n_pages;
	c->now.pages_compared += delta.n_compared;
	c->now.compared_bytes += delta.compared_bytes;
	c->now.pages_lz4 += how == WIRE_LZ4 ? whole.n_pages : 0;
	c->now.pages_zstd += how == WIRE_ZSTD ? whole.n_pages : 0;
	c->now.pages_raw += how == WIRE_RAW ? whole.n_pages : 0;
	c->now.ram_bytes += (uint64_t)(whole.n_pages + delta.n_pages) * WIRE_PAGE_BYTES;
	pthread_mutex_unlock(&c->tx->group.lock);
	return ret;
}
