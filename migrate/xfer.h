/* The data plane: sends and receives RAM over N channels, in rounds. Knows nothing of QMP, journals or who owns the guest.
 *
 * Source: xfer_tx_open, then xfer_tx_round until the caller says last, then xfer_tx_digest. Target: xfer_rx_open, xfer_rx_round for each,
 * xfer_rx_digest. One engine thread calls these; each channel has a thread of its own inside. Records: docs/wire.md, "data channel".
 *
 * Within a round pages come in any order and each at most once; a barrier on all channels separates rounds (both ends return from
 * _round only after it). Round 0 sends all data extents. Holes are never read nor sent; a page that became a hole since it was sent
 * is punched at the target (hole records; complete after the last round). Zero pages are sent as ranges without content. */
#ifndef MIGRATE_XFER_H
#define MIGRATE_XFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/precopy.h"
#include "migrate/tls.h"
#include "migrate/tracker.h"

#define XFER_CHANNELS_MAX 16
#define XFER_DIGEST_BYTES 16

struct xfer_limits {                    /* may be changed by another thread while it runs */
	_Atomic uint64_t bandwidth_bps; /* bytes a second on the wire, all channels; 0 = unlimited */
	_Atomic bool cancel;
};

struct xfer_stats { /* of one round, or the sum */
	uint64_t pages_sent, pages_zero, pages_hole, pages_raw, pages_lz4, pages_zstd, pages_delta;
	uint64_t pages_later; /* left out, for they are dirty again already */
	uint64_t pages_compared,
		compared_bytes; /* with what the target holds; octets that those pages came to, differences or whole */
	uint64_t ram_bytes;     /* guest bytes covered by what was sent (content only) */
	uint64_t wire_bytes;    /* on all channels, records and TLS included where known */
	uint64_t dirty_pages;   /* harvested at the start of this round */
	uint64_t elapsed_us, harvest_us, drain_us;
};

struct xfer_tx_conf {
	const struct ram_block *blocks; /* borrowed */
	unsigned n_blocks;
	struct tracker *tracker;                      /* borrowed, armed by the first round */
	struct tls_conn *channels[XFER_CHANNELS_MAX]; /* borrowed */
	unsigned n_channels;
	struct xfer_limits *limits; /* borrowed */
	unsigned codecs;            /* CODEC_* that may be used, those that the target unpacks; 0 = all raw */
	uint64_t
		held_bytes; /* for copies of what was sent, to send differences against, where codecs has CODEC_DELTA */
	/* Called on the engine thread a few times a second, with the running sum of this round. May be NULL. */
	void (*progress)(void *arg, const struct xfer_stats *now, uint64_t pages_left);
	/* Wait until no disk request that was submitted before is in flight. NULL: no direct I/O. */
	int (*drain)(void *arg, struct err *e);
	void *arg;
};

/* Both ends: free the xfer_tx/xfer_rx before its channels (tls_conn_free): it owns threads that use them. After a failure or cancel the channels
 * are aborted for good; close them at once, so that the other end hears of it too. */
struct xfer_tx;
int xfer_tx_open(const struct xfer_tx_conf *conf, struct xfer_tx **out, struct err *e);
/* One round: harvest and re-arm -> drain -> copy -> barrier. @last: the guest is stopped; no drain; holes that appeared since are sent.
 * -ECANCELED, -EPIPE, -ETIMEDOUT, -ESTALE. */
int xfer_tx_round(struct xfer_tx *tx, bool last, struct xfer_stats *out, struct err *e);
/* Root digest over all chunks as they were last sent (XXH3-128), comparable with xfer_rx_digest. */
void xfer_tx_digest(const struct xfer_tx *tx, uint8_t out[XFER_DIGEST_BYTES]);
/* Before the last round: it sends no page, only that some became holes. Afterwards xfer_tx_take_postponed hands out what was dirty (4096 octets a bit,
 * one bitmap a block; the caller's, bitmap_fini). */
void xfer_tx_postpone(struct xfer_tx *tx);
void xfer_tx_take_postponed(struct xfer_tx *tx, struct bitmap out[RAM_BLOCKS_MAX]);
void xfer_tx_free(struct xfer_tx *tx);

struct xfer_rx_conf {
	const struct ram_block
		*blocks; /* sizes must equal the source's; files exist; what is in them is punched at open */
	unsigned n_blocks;
	struct tls_conn *channels[XFER_CHANNELS_MAX];
	unsigned n_channels;
	struct xfer_limits *limits;
};

struct xfer_rx;
int xfer_rx_open(const struct xfer_rx_conf *conf, struct xfer_rx **out, struct err *e);
/* Returns when the barrier of the next round was seen on all channels. *@last_out: it was the last one. */
int xfer_rx_round(struct xfer_rx *rx, bool *last_out, struct xfer_stats *out, struct err *e);
void xfer_rx_digest(const struct xfer_rx *rx, uint8_t out[XFER_DIGEST_BYTES]);
void xfer_rx_free(struct xfer_rx *rx);

/* Digest of all of RAM by reading the files (verify = full): holes count as zero pages, nothing is allocated. Uses the given number of threads. */
int ram_digest(const struct ram_block *blocks, unsigned n_blocks, unsigned n_threads, uint8_t out[XFER_DIGEST_BYTES],
	struct err *e);

#endif
