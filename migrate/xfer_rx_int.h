/* What xfer_rx.c (rounds, engine thread) and xfer_rx_chan.c (channel threads) share. */
#ifndef MIGRATE_XFER_RX_INT_H
#define MIGRATE_XFER_RX_INT_H

#include "migrate/codec.h"
#include "migrate/digest.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"
#include "migrate/xfer_group.h"

struct rx_chan {
	struct xfer_rx *rx;
	struct tls_conn *conn;
	unsigned index;
	struct digest_root root;
	bool geometry_seen;
	uint32_t round;             /* the one whose records may come now */
	bool last;                  /* its BARRIER said so */
	uint64_t n_data, n_cleared; /* this round, compared with the BARRIER's */
	struct xfer_stats now;      /* this round; under the group's lock */
	struct codec codec;         /* unpacks only */
	uint8_t *body;              /* WIRE_BODY_MAX, the only place that a body is read into */
	uint8_t *content;           /* WIRE_CONTENT_MAX, unpacked */
};

struct xfer_rx {
	struct xfer_rx_conf conf;
	struct xfer_group group;
	struct ram_io io[RAM_BLOCKS_MAX];
	unsigned n_io;
	struct digest_table table;
	struct rx_chan chans[XFER_CHANNELS_MAX];

	/* Under the group's lock. */
	unsigned n_arrived; /* channels at the barrier of this round */
	unsigned n_ended;   /* threads that answered the last barrier */
	uint32_t n_landed;  /* rounds that the engine has released */
	uint64_t begun_ns;
};

int rx_chan_init(struct rx_chan *c, struct xfer_rx *rx, unsigned index);
void rx_chan_fini(struct rx_chan *c);
void *rx_chan_thread(void *arg);

#endif
