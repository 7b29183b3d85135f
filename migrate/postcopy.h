/* Post-copy: the target's guest runs already, its last pages are pushed after it, and those that it waits for come first.
 *
 * One of the data channels, idle after the last round, carries it (docs/wire.md, "Post-copy"). The side that knows what is missing sends the list
 * (WANTED) first: the source when it has just stopped the guest, the target when both go on after a break. Then the target asks for pages
 * that somebody waits for (FETCH), and the source sends those, and in between the others, each once (DATA, ZERO). Two threads at each end; the first
 * failure ends both, is kept, and told by @on_end. The functions below: engine thread. */
#ifndef MIGRATE_POSTCOPY_H
#define MIGRATE_POSTCOPY_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "migrate/missing.h"
#include "migrate/tls.h"
#include "migrate/xfer.h"

struct postcopy_conf {
	struct tls_conn *conn; /* borrowed; all others must have let go of it */
	struct xfer_limits *limits;
	void (*on_end)(void *arg); /* any thread: all has been sent or placed, or it failed */
	void *arg;
};

/* The list, blocking; @runs are set bits of @wanted, one bitmap a block. */
int postcopy_send_list(struct tls_conn *conn, const struct bitmap wanted[], unsigned n_blocks, struct err *e);
int postcopy_take_list(struct tls_conn *conn, const uint64_t n_pages[], unsigned n_blocks,
	int (*each)(void *arg, unsigned block, uint64_t first, uint64_t n, struct err *e), void *arg, struct err *e);

/* The source's end. @todo: taken over (its words are freed by _free). */
struct postcopy_tx;
int postcopy_tx_start(const struct postcopy_conf *conf, const struct ram_block *blocks, unsigned n_blocks,
	struct bitmap todo[RAM_BLOCKS_MAX], struct postcopy_tx **out, struct err *e);
void postcopy_tx_stats(struct postcopy_tx *tx, struct xfer_stats *sum_out, uint64_t *left_out);
int postcopy_tx_failed(struct postcopy_tx *tx, struct err *e); /* 0 it has not */
void postcopy_tx_free(struct postcopy_tx *tx);                 /* aborts the channel, joins; NULL does nothing */

/* The target's. @m is borrowed. */
struct postcopy_rx;
int postcopy_rx_start(const struct postcopy_conf *conf, struct missing *m, const struct ram_block *blocks,
	unsigned n_blocks, struct postcopy_rx **out, struct err *e);
int postcopy_rx_failed(struct postcopy_rx *rx, struct err *e);
uint64_t postcopy_rx_faults(const struct postcopy_rx *rx); /* pages that somebody waited for */
void postcopy_rx_free(struct postcopy_rx *rx);

#endif
