/* The target's side of the data plane: rounds. Called by the worker's engine thread, see xfer.h; the channels' threads, which read, check
 * and write, are in xfer_rx_chan.c. The engine only counts who has reached the barrier and lets all go on together. */
#include "migrate/xfer_rx_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void stats_add(struct xfer_stats *sum, const struct xfer_stats *s)
{
	sum->pages_sent += s->pages_sent;
	sum->pages_zero += s->pages_zero;
	sum->pages_hole += s->pages_hole;
	sum->pages_raw += s->pages_raw;
	sum->pages_lz4 += s->pages_lz4;
	sum->pages_zstd += s->pages_zstd;
	sum->pages_delta += s->pages_delta;
	sum->ram_bytes += s->ram_bytes;
	sum->wire_bytes += s->wire_bytes;
}

/* All channels are at the barrier (lock held): do they agree, and what came in? */
static int close_round(struct xfer_rx *rx, bool *last_out, struct xfer_stats *out, struct err *e)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < rx->group.n_conns; i++) {
		if (rx->chans[i].last != rx->chans[0].last)
			return err_set(e, EPROTO, "the data channels do not agree on which round is the last");
		stats_add(out, &rx->chans[i].now);
		rx->chans[i].now = (struct xfer_stats){0};
	}
	*last_out = rx->chans[0].last;
	out->elapsed_us = (xfer_now_ns() - rx->begun_ns) / 1000;
	rx->begun_ns = xfer_now_ns();
	rx->n_arrived = 0;
	rx->n_landed++;
	pthread_cond_broadcast(&rx->group.changed);
	return 0;
}

int xfer_rx_round(struct xfer_rx *rx, bool *last_out, struct xfer_stats *out, struct err *e)
{
	struct xfer_stats sum;
	bool last = false;
	int ret = 0;

	pthread_mutex_lock(&rx->group.lock);
	while (!ret && rx->n_arrived < rx->group.n_conns)
		ret = xfer_group_poll(&rx->group, e);
	if (!ret)
		ret = close_round(rx, &last, &sum, e);
	while (!ret && last && rx->n_ended < rx->group.n_conns)
		ret = xfer_group_poll(&rx->group, e);
	pthread_mutex_unlock(&rx->group.lock);
	if (ret)
		return ret;
	*last_out = last;
	*out = sum;
	return 0;
}

/* What is in the file already (a fresh QEMU may have put ROMs there; QEMU 10 leaves bytes in unplugged memory) is not the guest's. */
static int start_empty(const struct ram_io *io, struct err *e)
{
	uint64_t start, end;

	if (!ram_io_next_data(io, 0, io->block->bytes, &start, &end))
		return 0;
	return ram_io_zero(io, 0, io->block->bytes, e);
}

static int rx_setup(struct xfer_rx *rx, struct err *e)
{
	const struct xfer_rx_conf *conf = &rx->conf;
	void *args[XFER_CHANNELS_MAX];
	int ret = 0;

	for (unsigned b = 0; !ret && b < conf->n_blocks; b++) {
		ret = ram_io_open(&rx->io[b], &conf->blocks[b], true, e);
		rx->n_io += !ret;
		if (!ret)
			ret = start_empty(&rx->io[b], e);
	}
	if (!ret && digest_table_init(&rx->table, conf->blocks, conf->n_blocks))
		ret = err_set(e, ENOMEM, "out of memory");
	for (unsigned i = 0; !ret && i < conf->n_channels; i++) {
		args[i] = &rx->chans[i];
		if (rx_chan_init(&rx->chans[i], rx, i))
			ret = err_set(e, ENOMEM, "out of memory");
	}
	rx->begun_ns = xfer_now_ns();
	return ret ? ret : xfer_group_start(&rx->group, rx_chan_thread, args, e);
}

int xfer_rx_open(const struct xfer_rx_conf *conf, struct xfer_rx **out, struct err *e)
{
	struct xfer_rx *rx = calloc(1, sizeof(*rx));
	int ret;

	if (!rx)
		return err_set(e, ENOMEM, "out of memory");
	rx->conf = *conf;
	if (!conf->n_blocks || conf->n_blocks > RAM_BLOCKS_MAX)
		ret = err_set(e, EINVAL, "%u blocks of RAM; 1 to %d are possible", conf->n_blocks, RAM_BLOCKS_MAX);
	else
		ret = xfer_group_init(&rx->group, conf->channels, conf->n_channels, conf->limits, e);
	if (ret) {
		free(rx);
		return ret;
	}
	ret = rx_setup(rx, e);
	if (ret)
		xfer_rx_free(rx);
	else
		*out = rx;
	return ret;
}

void xfer_rx_digest(const struct xfer_rx *rx, uint8_t out[XFER_DIGEST_BYTES])
{
	struct digest_root sum = {0};

	for (unsigned i = 0; i < rx->group.n_conns; i++)
		digest_root_add(&sum, &rx->chans[i].root);
	digest_root_encode(&sum, out);
}

void xfer_rx_free(struct xfer_rx *rx)
{
	if (!rx)
		return;
	xfer_group_fini(&rx->group);
	for (unsigned i = 0; i < XFER_CHANNELS_MAX; i++)
		rx_chan_fini(&rx->chans[i]);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		ram_io_close(&rx->io[b]);
	digest_table_fini(&rx->table);
	free(rx);
}
