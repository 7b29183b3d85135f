/* The source's side of the data plane: rounds. Called by the worker's engine thread, see xfer.h; the channels' threads are in xfer_tx_chan.c.
 *
 * A round is: harvest (which re-arms) -> drain the disks -> release the threads, which take chunks from a common cursor over the bitmap
 * until nothing is left and then meet at the barrier. Between two barriers the bitmaps are only read, but for leave_for_later. */
#include "migrate/xfer_tx_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_NS 125000000ULL
#define AHEAD_BYTES                                                                                                    \
	(4ULL << 30) /* looked at in one go: more than goes out until the next look, and less than a cancel would wait for */
#define LOOK_SHARE                                                                                                     \
	8 /* a look may take so small a part of the time; after one that saved less than it took, a smaller one */
#define LOOK_SHARE_VAIN 64
#define PAGE_NS 4000 /* what sending a page takes (0.9-1.1 GB/s on two cores for both ends) */

/* ---- what to send next (channel threads) ------------------------------------------------------------------ */

bool tx_next_chunk(struct xfer_tx *tx, struct tx_chunk *out)
{
	uint64_t start, end;

	out->n_runs = out->n_pages = 0;
	pthread_mutex_lock(&tx->cursor_lock);
	while (!tx->postpone && tx->block < tx->n_io && out->n_pages < WIRE_PAGES_MAX) {
		if (!bitmap_next_run(&tx->todo[tx->block], tx->page, &start, &end)) {
			if (out->n_pages)
				break; /* a chunk holds pages of one block */
			tx->block++;
			tx->page = 0;
			continue;
		}
		if (end - start > WIRE_PAGES_MAX - out->n_pages)
			end = start + WIRE_PAGES_MAX - out->n_pages;
		out->block = tx->block;
		out->runs[out->n_runs++] =
			(struct wire_run){.first = (uint32_t)start, .n_pages = (uint32_t)(end - start)};
		out->n_pages += (unsigned)(end - start);
		tx->page = end;
	}
	pthread_mutex_unlock(&tx->cursor_lock);
	return out->n_pages > 0;
}

/* ---- a round ---------------------------------------------------------------------------------------------- */

/* The full pass: arm first, then look for data, so that a page which gets content in between is found written next time. */
static int find_all(struct xfer_tx *tx, uint64_t *n_out, struct err *e)
{
	struct tracker *t = tx->conf.tracker;
	uint64_t start, end, from;
	int ret = t->ops->arm(t, e);

	*n_out = 0;
	for (unsigned b = 0; !ret && b < tx->n_io; b++)
		for (from = 0; ram_io_next_data(&tx->io[b], from, tx->io[b].block->bytes, &start, &end); from = end)
			*n_out += bitmap_set_range(&tx->todo[b], start / WIRE_PAGE_BYTES, end / WIRE_PAGE_BYTES);
	return ret;
}

static int find_dirty(struct xfer_tx *tx, uint64_t *n_out, struct err *e)
{
	struct tracker *t = tx->conf.tracker;
	uint64_t start, end, from, factor;
	int64_t n;

	for (unsigned b = 0; b < tx->n_io; b++)
		bitmap_clear(&tx->found[b]);
	n = t->ops->harvest(t, tx->found, e);
	if (n < 0)
		return (int)n;
	*n_out = 0;
	for (unsigned b = 0; b < tx->n_io; b++) {
		factor = tx->io[b].block->page_bytes / WIRE_PAGE_BYTES;
		for (from = 0; bitmap_next_run(&tx->found[b], from, &start, &end); from = end)
			*n_out += bitmap_set_range(&tx->todo[b], start * factor, end * factor);
	}
	return 0;
}

static int find(struct xfer_tx *tx, bool last, struct xfer_stats *st, struct err *e)
{
	uint64_t t0 = xfer_now_ns(), t1;
	int ret;

	for (unsigned b = 0; b < tx->n_io; b++)
		bitmap_clear(&tx->todo[b]);
	ret = tx->n_begun ? find_dirty(tx, &st->dirty_pages, e) : find_all(tx, &st->dirty_pages, e);
	t1 = xfer_now_ns();
	st->harvest_us = (t1 - t0) / 1000;
	if (ret || last || !tx->conf.drain)
		return ret;
	ret = tx->conf.drain(tx->conf.arg, e);
	st->drain_us = (xfer_now_ns() - t1) / 1000;
	return ret;
}

static void release(struct xfer_tx *tx, bool last)
{
	tx->block = 0;
	tx->page = 0;
	tx->hole_block = last ? 0 : tx->n_io; /* holes are looked for in the last round only */
	tx->hole_page = 0;
	pthread_mutex_lock(&tx->group.lock);
	for (unsigned i = 0; i < tx->group.n_conns; i++)
		tx->chans[i].now = (struct xfer_stats){0};
	tx->round = tx->n_begun++;
	tx->n_busy = tx->group.n_conns;
	tx->last = last;
	pthread_cond_broadcast(&tx->group.changed);
	pthread_mutex_unlock(&tx->group.lock);
}

static void stats_add(struct xfer_stats *sum, const struct xfer_stats *s)
{
	sum->pages_sent += s->pages_sent;
	sum->pages_zero += s->pages_zero;
	sum->pages_hole += s->pages_hole;
	sum->pages_raw += s->pages_raw;
	sum->pages_lz4 += s->pages_lz4;
	sum->pages_zstd += s->pages_zstd;
	sum->pages_delta += s->pages_delta;
	sum->pages_compared += s->pages_compared;
	sum->compared_bytes += s->compared_bytes;
	sum->ram_bytes += s->ram_bytes;
}

static uint64_t wire_bytes(const struct xfer_tx *tx)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < tx->group.n_conns; i++)
		n += tls_bytes_out(tx->group.conns[i]);
	return n;
}

/* With the group's lock held: @found is what was known before the threads began. */
static void sum_up(
	const struct xfer_tx *tx, const struct xfer_stats *found, uint64_t t0, uint64_t wire0, struct xfer_stats *out)
{
	*out = *found;
	for (unsigned i = 0; i < tx->group.n_conns; i++)
		stats_add(out, &tx->chans[i].now);
	out->wire_bytes = wire_bytes(tx) - wire0;
	out->elapsed_us = (xfer_now_ns() - t0) / 1000;
}

/* Pages [@from, @to) need not be sent in this round. But for the sample: the next round shall have something to compare. */
static uint64_t take_out(struct xfer_tx *tx, unsigned block, uint64_t from, uint64_t to)
{
	uint64_t n = 0, end;

	for (; from < to; from = end) {
		end = (from / WIRE_PAGES_MAX + 1) * WIRE_PAGES_MAX;
		end = end < to ? end : to;
		if (!tx->held.n_max || !tx_in_sample(from))
			n += bitmap_clear_range(&tx->todo[block], from, end);
	}
	return n;
}

/* Takes out of the first round what is still to come and was written since it began: the next round finds that dirty in any case, and would send it again (Clark et
 * al., "Live Migration of Virtual Machines", NSDI 2005). Not out of later rounds, which make the target know pages for differences against them. */
static int leave_for_later(struct xfer_tx *tx, struct xfer_stats *found, struct err *e)
{
	struct tracker *t = tx->conf.tracker;
	uint64_t start, end, from, to, factor;
	struct bitmap *written;
	unsigned b;
	int ret;

	pthread_mutex_lock(&tx->cursor_lock);
	b = tx->block;
	from = tx->page;
	pthread_mutex_unlock(&tx->cursor_lock);
	if (b >= tx->n_io)
		return 0;
	written = &tx->found[b];
	factor = tx->io[b].block->page_bytes / WIRE_PAGE_BYTES;
	from /= factor;
	to = from + AHEAD_BYTES / tx->io[b].block->page_bytes;
	to = to < written->n_pages ? to : written->n_pages;
	bitmap_clear(written);
	ret = t->ops->peek_part(t, b, from, to, written, e);
	pthread_mutex_lock(&tx->cursor_lock);
	for (; !ret && tx->block == b && bitmap_next_run(written, from, &start, &end); from = end) {
		start = start * factor > tx->page ? start * factor : tx->page;
		found->pages_later += take_out(tx, b, start, end * factor);
	}
	pthread_mutex_unlock(&tx->cursor_lock);
	return ret;
}

/* After a look that began then and took out so many pages. */
static uint64_t next_look(uint64_t began, uint64_t n_pages)
{
	uint64_t took = xfer_now_ns() - began;

	return began + took * (n_pages * PAGE_NS > took ? LOOK_SHARE : LOOK_SHARE_VAIN);
}

static void report(struct xfer_tx *tx, const struct xfer_stats *now)
{
	uint64_t done = now->pages_sent + now->pages_zero + now->pages_later;

	if (tx->conf.progress)
		tx->conf.progress(tx->conf.arg, now, now->dirty_pages > done ? now->dirty_pages - done : 0);
}

int xfer_tx_round(struct xfer_tx *tx, bool last, struct xfer_stats *out, struct err *e)
{
	uint64_t t0 = xfer_now_ns(), wire0 = wire_bytes(tx), reported = t0, look_at = t0;
	struct xfer_stats found = {0}, now = {0};
	int ret = 0;

	if (tx->last)
		return err_set(e, EPROTO, "no round can follow the last one");
	ret = xfer_group_failed(&tx->group, e); /* threads may still be about to leave a round that failed */
	if (!ret)
		ret = find(tx, last, &found, e);
	if (ret)
		return ret;
	release(tx, last);
	pthread_mutex_lock(&tx->group.lock);
	while (!ret && tx->n_busy) {
		ret = xfer_group_poll(&tx->group, e);
		if (ret || xfer_now_ns() - reported < PROGRESS_NS)
			continue;
		reported = xfer_now_ns();
		sum_up(tx, &found, t0, wire0, &now);
		pthread_mutex_unlock(&tx->group.lock);
		if (!tx->round && !last && tx->conf.tracker->ops->peek_part && reported >= look_at) {
			ret = leave_for_later(tx, &found, e);
			look_at = next_look(reported, found.pages_later - now.pages_later);
		}
		report(tx, &now);
		pthread_mutex_lock(&tx->group.lock);
	}
	if (!ret)
		sum_up(tx, &found, t0, wire0, out);
	pthread_mutex_unlock(&tx->group.lock);
	return ret;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int tx_setup(struct xfer_tx *tx, struct err *e)
{
	const struct xfer_tx_conf *conf = &tx->conf;
	void *args[XFER_CHANNELS_MAX];
	int ret = 0;

	for (unsigned b = 0; !ret && b < conf->n_blocks; b++) {
		ret = ram_io_open(&tx->io[b], &conf->blocks[b], false, e);
		tx->n_io += !ret;
		if (!ret &&
			(bitmap_init(&tx->todo[b], conf->blocks[b].bytes / WIRE_PAGE_BYTES) ||
				bitmap_init(&tx->found[b], conf->blocks[b].bytes / conf->blocks[b].page_bytes)))
			ret = err_set(e, ENOMEM, "out of memory");
	}
	if (!ret && digest_table_init(&tx->table, conf->blocks, conf->n_blocks))
		ret = err_set(e, ENOMEM, "out of memory");
	if (!ret && conf->codecs & CODEC_DELTA && held_init(&tx->held, conf->blocks, conf->n_blocks, conf->held_bytes))
		ret = err_set(e, ENOMEM, "out of memory");
	for (unsigned i = 0; !ret && i < conf->n_channels; i++) {
		args[i] = &tx->chans[i];
		if (tx_chan_init(&tx->chans[i], tx, i))
			ret = err_set(e, ENOMEM, "out of memory");
	}
	return ret ? ret : xfer_group_start(&tx->group, tx_chan_thread, args, e);
}

int xfer_tx_open(const struct xfer_tx_conf *conf, struct xfer_tx **out, struct err *e)
{
	struct xfer_tx *tx = calloc(1, sizeof(*tx));
	int ret;

	if (!tx)
		return err_set(e, ENOMEM, "out of memory");
	tx->conf = *conf;
	if (!conf->n_blocks || conf->n_blocks > RAM_BLOCKS_MAX)
		ret = err_set(e, EINVAL, "%u blocks of RAM; 1 to %d are possible", conf->n_blocks, RAM_BLOCKS_MAX);
	else
		ret = xfer_group_init(&tx->group, conf->channels, conf->n_channels, conf->limits, e);
	if (ret) {
		free(tx);
		return ret;
	}
	pthread_mutex_init(&tx->cursor_lock, NULL);
	pacer_init(&tx->pacer);
	ret = tx_setup(tx, e);
	if (ret)
		xfer_tx_free(tx);
	else
		*out = tx;
	return ret;
}

void xfer_tx_postpone(struct xfer_tx *tx)
{
	pthread_mutex_lock(&tx->cursor_lock);
	tx->postpone = true;
	pthread_mutex_unlock(&tx->cursor_lock);
}

void xfer_tx_take_postponed(struct xfer_tx *tx, struct bitmap out[RAM_BLOCKS_MAX])
{
	xfer_group_join(
		&tx->group); /* all threads are past the last barrier: joined, and the channels are the caller's */
	for (unsigned b = 0; b < tx->n_io; b++) {
		out[b] = tx->todo[b];
		tx->todo[b] = (struct bitmap){0};
	}
}

void xfer_tx_digest(const struct xfer_tx *tx, uint8_t out[XFER_DIGEST_BYTES])
{
	struct digest_root sum = {0};

	for (unsigned i = 0; i < tx->group.n_conns; i++)
		digest_root_add(&sum, &tx->chans[i].root);
	digest_root_encode(&sum, out);
}

void xfer_tx_free(struct xfer_tx *tx)
{
	if (!tx)
		return;
	xfer_group_fini(&tx->group);
	for (unsigned i = 0; i < XFER_CHANNELS_MAX; i++)
		tx_chan_fini(&tx->chans[i]);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++) {
		ram_io_close(&tx->io[b]);
		bitmap_fini(&tx->todo[b]);
		bitmap_fini(&tx->found[b]);
	}
	digest_table_fini(&tx->table);
	held_fini(&tx->held);
	pacer_fini(&tx->pacer);
	pthread_mutex_destroy(&tx->cursor_lock);
	free(tx);
}
