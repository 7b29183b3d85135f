/* A whole data plane in one process: RAM files of a source and a target on /dev/shm, real TLS channels between them, the target's rounds on a
 * thread of their own. The test drives the source. */
#ifndef TESTS_UNIT_SUPPORT_XFER_RIG_H
#define TESTS_UNIT_SUPPORT_XFER_RIG_H

#include <pthread.h>

#include "migrate/codec.h"
#include "migrate/xfer.h"
#include "tests/unit/support/certs.h"
#include "tests/unit/support/tracker_fake.h"

struct xfer_rig {
	char certs[64], dir[64];
	struct tls_ctx *ctx[2];
	unsigned n_blocks, n_channels;
	struct ram_block src[RAM_BLOCKS_MAX], dst[RAM_BLOCKS_MAX];
	uint8_t *src_map[RAM_BLOCKS_MAX]; /* the "guest" writes here */
	int src_fd[RAM_BLOCKS_MAX];
	struct tls_conn *out[XFER_CHANNELS_MAX], *in[XFER_CHANNELS_MAX];
	struct xfer_limits tx_limits, rx_limits;
	struct tracker_fake fake;
	struct tracker tracker;
	struct xfer_tx *tx;
	struct xfer_rx *rx;
	pthread_t rx_thread;
	bool rx_running;
	int rx_ret;
	struct err rx_err;
	unsigned rx_rounds;
	struct xfer_stats rx_sum;
	unsigned codecs; /* CODEC_* */
	uint64_t held_bytes;
	int (*drain)(void *arg, struct err *e);
};

/* Files of these sizes, certificates, channels; nothing runs yet. */
void rig_init(struct xfer_rig *r, const uint64_t *bytes, unsigned n_blocks, unsigned n_channels);
void rig_fini(struct xfer_rig *r);
/* Target with its thread, and source. */
void rig_start(struct xfer_rig *r);
void rig_start_rx(struct xfer_rig *r);
void rig_start_tx(struct xfer_rig *r);
/* One of the source's. Fails the test where it fails. */
void rig_round(struct xfer_rig *r, bool last, struct xfer_stats *st);
/* Wait for the target's thread; its result is in rx_ret and rx_err. */
void rig_join(struct xfer_rig *r);

/* What a guest does: write one page (and mark it), free pages (punch; not marked). */
enum fill { FILL_ZERO, FILL_RANDOM, FILL_HALF, FILL_SAME, FILL_TOUCH /* a few octets of what is there */, FILLS };
void rig_write(struct xfer_rig *r, unsigned block, uint64_t page, enum fill fill, unsigned *seed);
void rig_punch(struct xfer_rig *r, unsigned block, uint64_t page, uint64_t n_pages);

/* Both memories equal octet by octet, no data at the target where the source has a hole, and all four digests equal. Fails the test. */
void rig_assert_equal(struct xfer_rig *r);

#endif
