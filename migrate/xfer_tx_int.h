/* What xfer_tx.c (rounds, engine thread), xfer_tx_chan.c and xfer_tx_chunk.c (channel threads) share. */
#ifndef MIGRATE_XFER_TX_INT_H
#define MIGRATE_XFER_TX_INT_H

#include "migrate/codec.h"
#include "migrate/digest.h"
#include "migrate/held.h"
#include "migrate/meter.h"
#include "migrate/pacer.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"
#include "migrate/xfer_group.h"

struct tx_chan {
	struct xfer_tx *tx;
	struct tls_conn *conn;
	unsigned index;
	struct codec codec;
	struct meter meter;
	struct codec_send sent; /* since the codec was told last */
	unsigned n_sent;        /* records in it */
	struct digest_root root;
	struct xfer_stats now; /* this round; written by the thread, read by the engine, both under the group's lock */
	uint64_t n_data, n_cleared;    /* this round, for the BARRIER */
	double delta_share;            /* octets of a page's difference by those of the page, on average */
	uint8_t *raw, *packed, *delta; /* TX_BUFFER_BYTES each; content at TX_CONTENT_AT, what precedes it ends there */
	struct wire_header range_head; /* ranges gathered for the next ZERO or HOLE record; count 0: none */
	struct wire_run ranges[WIRE_RUNS_MAX];
	unsigned n_ranges;
};
#define TX_CONTENT_AT 4096u
#define TX_BUFFER_BYTES (TX_CONTENT_AT + WIRE_CONTENT_MAX)

struct xfer_tx {
	struct xfer_tx_conf conf;
	struct xfer_group group;
	struct ram_io io[RAM_BLOCKS_MAX];
	unsigned n_io;
	struct bitmap found[RAM_BLOCKS_MAX]; /* as the tracker reports, in the block's pages */
	struct bitmap
		todo[RAM_BLOCKS_MAX]; /* in pages of the wire; what is still to come is changed under cursor_lock */
	struct digest_table table;
	struct held held;
	struct pacer pacer;
	struct tx_chan chans[XFER_CHANNELS_MAX];

	/* Under the group's lock. */
	uint32_t round;   /* of the round under way or finished last */
	uint32_t n_begun; /* rounds that threads may have begun */
	unsigned n_busy;  /* threads still in it */
	bool last;
	bool postpone; /* the last round sends no pages */

	pthread_mutex_t cursor_lock; /* for what follows: what to send next */
	unsigned block;
	uint64_t page;
	unsigned hole_block;
	uint64_t hole_page; /* of the block's pages */
};

struct tx_chunk { /* up to WIRE_PAGES_MAX pages of one block */
	unsigned block, n_runs, n_pages;
	struct wire_run runs[WIRE_RUNS_MAX];
};
/* Of these pages it is always found out what differences would save: one part of 64 pages in 16. */
static inline bool tx_in_sample(uint64_t page)
{
	return page / WIRE_PAGES_MAX % 16 == 0;
}

bool tx_next_chunk(struct xfer_tx *tx, struct tx_chunk *out);

/* Channel threads. Waits for the bandwidth limit first; -ECANCELED when the group stops. */
int tx_send(struct tx_chan *c, const void *buf, size_t n, struct err *e);
/* @page reads as zeros now: remembered, and told to the target if it knows other content. */
int tx_clear_page(struct tx_chan *c, enum wire_type type, unsigned block, uint32_t page, struct err *e);
int tx_send_chunk(struct tx_chan *c, const struct tx_chunk *chunk, struct err *e);

/* The last round's parts in which holes are looked for (xfer_tx_holes.c). Channel threads; after the chunks, so that the target has work meanwhile. */
struct tx_part {
	unsigned block;
	uint64_t from, to; /* of the block's pages */
};
bool tx_next_hole_part(struct xfer_tx *tx, struct tx_part *out);
int tx_send_holes(struct tx_chan *c, const struct tx_part *part, struct err *e);

int tx_chan_init(struct tx_chan *c, struct xfer_tx *tx, unsigned index);
void tx_chan_fini(struct tx_chan *c);
void *tx_chan_thread(void *arg);

#endif
