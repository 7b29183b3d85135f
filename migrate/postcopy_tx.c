/* The source's end of a post-copy, and the list of both; see postcopy.h. The guest stands here, so RAM is only read. */
#include "migrate/postcopy.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "migrate/digest.h"
#include "migrate/pacer.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"
#include "migrate/xfer_group.h"

#define PUSH_PAGES 16                 /* at a time: who waits for a page waits for so many before it */
#define QUEUED_BYTES_MAX (256u << 10) /* in the kernel, not yet sent, for the same reason */
#define PACE_SLICE_NS 5000000ULL

/* ---- the list ---------------------------------------------------------------------------------------------- */

static int send_runs(
	struct tls_conn *conn, unsigned block, const struct wire_run *runs, unsigned n, bool last, struct err *e)
{
	uint8_t buf[WIRE_HEADER_BYTES + WIRE_RUNS_MAX * WIRE_RUN_BYTES];
	struct wire_header h = {.type = WIRE_WANTED,
		.flags = last ? WIRE_FLAG_LAST : 0,
		.count = (uint16_t)n,
		.length = n * WIRE_RUN_BYTES,
		.block = (uint16_t)block};

	wire_header_encode(&h, buf);
	wire_runs_encode(runs, n, buf + WIRE_HEADER_BYTES);
	return tls_write(conn, buf, WIRE_HEADER_BYTES + h.length, e);
}

int postcopy_send_list(struct tls_conn *conn, const struct bitmap wanted[], unsigned n_blocks, struct err *e)
{
	struct wire_run runs[WIRE_RUNS_MAX];
	uint64_t start, end;
	unsigned n = 0;
	int ret = 0;

	for (unsigned b = 0; !ret && b < n_blocks; b++) {
		for (uint64_t from = 0; !ret && bitmap_next_run(&wanted[b], from, &start, &end); from = end) {
			runs[n++] = (struct wire_run){.first = (uint32_t)start, .n_pages = (uint32_t)(end - start)};
			if (n == WIRE_RUNS_MAX) {
				ret = send_runs(conn, b, runs, n, false, e);
				n = 0;
			}
		}
		if (!ret && n)
			ret = send_runs(conn, b, runs, n, false, e);
		n = 0;
	}
	return ret ? ret : send_runs(conn, 0, NULL, 0, true, e);
}

int postcopy_take_list(struct tls_conn *conn, const uint64_t n_pages[], unsigned n_blocks,
	int (*each)(void *arg, unsigned block, uint64_t first, uint64_t n, struct err *e), void *arg, struct err *e)
{
	uint8_t head[WIRE_HEADER_BYTES], body[WIRE_RUNS_MAX * WIRE_RUN_BYTES];
	struct wire_run runs[WIRE_RUNS_MAX];
	struct wire_header h = {0};
	uint64_t n;
	int ret = 0;

	while (!ret && !(h.type == WIRE_WANTED && h.flags & WIRE_FLAG_LAST)) {
		ret = tls_read(conn, head, sizeof(head), e);
		if (!ret)
			ret = wire_header_decode(head, &h, e);
		if (ret || h.type == WIRE_KEEPALIVE)
			continue;
		if (h.type != WIRE_WANTED || h.block >= n_blocks)
			return err_set(e, EPROTO, "a record of type %u, block %u in the list of missing pages", h.type,
				h.block);
		if (h.length)
			ret = tls_read(conn, body, h.length, e);
		if (!ret)
			ret = wire_runs_decode(&h, body, n_pages[h.block], runs, &n, e);
		for (unsigned i = 0; !ret && i < h.count; i++)
			ret = each(arg, h.block, runs[i].first, runs[i].n_pages, e);
	}
	return ret;
}

/* ---- what to send next ------------------------------------------------------------------------------------- */

struct wanted_page {
	unsigned block;
	uint64_t page;
};

struct postcopy_tx {
	struct postcopy_conf conf;
	unsigned n_blocks;
	struct ram_io io[RAM_BLOCKS_MAX];
	struct pacer pacer;
	pthread_t reader, sender;
	bool has_reader, has_sender;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct bitmap todo[RAM_BLOCKS_MAX]; /* not sent yet */
	uint64_t left;
	unsigned block; /* the push's cursor */
	uint64_t page;
	struct wanted_page *urgent; /* a ring */
	size_t head, n_urgent, cap;
	struct xfer_stats sum;
	struct err err;
	bool stop;
};

struct piece { /* pages [first, first + n) of a block */
	unsigned block, n;
	uint64_t first;
};

static void clear(struct postcopy_tx *tx, const struct piece *p)
{
	for (uint64_t i = p->first; i < p->first + p->n; i++)
		tx->todo[p->block].words[i / 64] &= ~(1ULL << i % 64);
	tx->left -= p->n;
}

/* Under the lock. */
static bool next_urgent(struct postcopy_tx *tx, struct piece *out)
{
	while (tx->n_urgent) {
		struct wanted_page w = tx->urgent[tx->head];

		tx->head = (tx->head + 1) % tx->cap;
		tx->n_urgent--;
		if (!bitmap_test(&tx->todo[w.block], w.page))
			continue; /* on its way */
		*out = (struct piece){.block = w.block, .first = w.page, .n = 1};
		return true;
	}
	return false;
}

static bool next_push(struct postcopy_tx *tx, struct piece *out)
{
	uint64_t start, end;

	for (; tx->block < tx->n_blocks; tx->block++, tx->page = 0) {
		if (!bitmap_next_run(&tx->todo[tx->block], tx->page, &start, &end))
			continue;
		end = end - start > PUSH_PAGES ? start + PUSH_PAGES : end;
		*out = (struct piece){.block = tx->block, .first = start, .n = (unsigned)(end - start)};
		tx->page = end;
		return true;
	}
	return false;
}

/* 1 and what to send; 0 all is sent; -ECANCELED. */
static int next(struct postcopy_tx *tx, struct piece *out)
{
	int ret = 0;

	pthread_mutex_lock(&tx->lock);
	if (tx->stop)
		ret = -ECANCELED;
	else if (next_urgent(tx, out) || next_push(tx, out))
		ret = 1;
	if (ret == 1)
		clear(tx, out);
	pthread_mutex_unlock(&tx->lock);
	return ret;
}

/* ---- sending ----------------------------------------------------------------------------------------------- */

/* @n pages that are alike: all zeros, or none. */
static int send_alike(
	struct postcopy_tx *tx, uint8_t *buf, unsigned block, uint64_t first, unsigned n, bool zero, struct err *e)
{
	const struct wire_run run = {.first = (uint32_t)first, .n_pages = n};
	uint64_t digests[PUSH_PAGES];
	struct wire_header h = {
		.type = zero ? WIRE_ZERO : WIRE_DATA, .count = 1, .length = WIRE_RUN_BYTES, .block = (uint16_t)block};
	const unsigned before = WIRE_HEADER_BYTES + WIRE_RUN_BYTES + WIRE_DIGEST_BYTES;
	uint8_t *content = buf + before;

	if (!zero)
		h.length += WIRE_DIGEST_BYTES + n * WIRE_PAGE_BYTES;
	wire_header_encode(&h, buf);
	wire_runs_encode(&run, 1, buf + WIRE_HEADER_BYTES);
	for (unsigned i = 0; !zero && i < n; i++)
		digests[i] = page_digest(content + i * WIRE_PAGE_BYTES);
	if (!zero)
		wire_put64(content - WIRE_DIGEST_BYTES, record_digest(digests, n));
	return tls_write(tx->conf.conn, buf, WIRE_HEADER_BYTES + h.length, e);
}

static int pace(struct postcopy_tx *tx, uint64_t bytes)
{
	uint64_t wait;

	while ((wait = pacer_take(&tx->pacer, bytes, atomic_load(&tx->conf.limits->bandwidth_bps), xfer_now_ns()))) {
		bool stop;

		nanosleep(&(struct timespec){.tv_nsec = (long)(wait < PACE_SLICE_NS ? wait : PACE_SLICE_NS)}, NULL);
		pthread_mutex_lock(&tx->lock);
		stop = tx->stop;
		pthread_mutex_unlock(&tx->lock);
		if (stop)
			return -ECANCELED;
	}
	return 0;
}

/* @pages: read here, 8-aligned; @buf: a record with its content right behind header, run and digest. */
static int send_piece(struct postcopy_tx *tx, const struct piece *p, uint8_t *pages, uint8_t *buf, struct err *e)
{
	const unsigned before = WIRE_HEADER_BYTES + WIRE_RUN_BYTES + WIRE_DIGEST_BYTES;
	unsigned n_zero = 0;
	int ret = ram_io_read(&tx->io[p->block], p->first * WIRE_PAGE_BYTES, pages, (size_t)p->n * WIRE_PAGE_BYTES, e);

	if (!ret && pace(tx, (uint64_t)p->n * WIRE_PAGE_BYTES))
		return err_set(e, ECANCELED, "cancelled");
	for (unsigned i = 0, k; !ret && i < p->n; i = k) {
		bool zero = page_is_zero(pages + (size_t)i * WIRE_PAGE_BYTES);

		for (k = i + 1; k < p->n && page_is_zero(pages + (size_t)k * WIRE_PAGE_BYTES) == zero; k++)
			;
		if (!zero)
			memcpy(buf + before, pages + (size_t)i * WIRE_PAGE_BYTES, (size_t)(k - i) * WIRE_PAGE_BYTES);
		n_zero += zero ? k - i : 0;
		ret = send_alike(tx, buf, p->block, p->first + i, k - i, zero, e);
	}
	if (ret)
		return ret;
	pthread_mutex_lock(&tx->lock);
	tx->sum.pages_zero += n_zero;
	tx->sum.pages_sent += p->n - n_zero;
	tx->sum.pages_raw += p->n - n_zero;
	tx->sum.ram_bytes += (uint64_t)(p->n - n_zero) * WIRE_PAGE_BYTES;
	pthread_mutex_unlock(&tx->lock);
	return 0;
}

static void end(struct postcopy_tx *tx, const struct err *e)
{
	pthread_mutex_lock(&tx->lock);
	if (e && !tx->err.code)
		tx->err = *e;
	tx->stop |= e != NULL;
	pthread_cond_broadcast(&tx->changed);
	pthread_mutex_unlock(&tx->lock);
	if (e)
		tls_abort(tx->conf.conn);
	tx->conf.on_end(tx->conf.arg);
}

/* After the last page, too: the target may take a while to place what is on its way, and silence would be taken for a cut link. */
static int keep_alive(struct postcopy_tx *tx, struct err *e)
{
	int ret = 0;

	while (!ret) {
		struct timespec until;
		bool stop;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += XFER_KEEPALIVE_MS / 1000;
		pthread_mutex_lock(&tx->lock);
		if (!tx->stop)
			pthread_cond_timedwait(&tx->changed, &tx->lock, &until);
		stop = tx->stop;
		pthread_mutex_unlock(&tx->lock);
		if (stop)
			return 0;
		ret = xfer_keepalive(tx->conf.conn, e);
	}
	return ret;
}

static void *sender(void *arg)
{
	struct postcopy_tx *tx = arg;
	uint8_t *pages = aligned_alloc(4096, PUSH_PAGES * WIRE_PAGE_BYTES),
		*buf = aligned_alloc(4096, (PUSH_PAGES + 1) * WIRE_PAGE_BYTES);
	struct piece p;
	struct err e = {0};
	int ret = pages && buf ? 0 : err_set(&e, ENOMEM, "out of memory"), more = 0;

	while (!ret && (more = next(tx, &p)) == 1)
		ret = send_piece(tx, &p, pages, buf, &e);
	if (!ret && !more)
		ret = keep_alive(tx, &e);
	if (ret)
		end(tx, &e);
	free(pages);
	free(buf);
	return NULL;
}

/* ---- hearing ----------------------------------------------------------------------------------------------- */

static int add_urgent(struct postcopy_tx *tx, unsigned block, uint64_t page, struct err *e)
{
	int ret = 0;

	pthread_mutex_lock(&tx->lock);
	if (tx->n_urgent == tx->cap) /* each page that is wanted is asked for at most a few times */
		ret = err_set(e, EPROTO, "the target asks for more pages than are missing there");
	else
		tx->urgent[(tx->head + tx->n_urgent++) % tx->cap] = (struct wanted_page){block, page};
	pthread_mutex_unlock(&tx->lock);
	return ret;
}

static int hear(struct postcopy_tx *tx, struct err *e)
{
	uint8_t head[WIRE_HEADER_BYTES], body[WIRE_RUNS_MAX * WIRE_RUN_BYTES];
	struct wire_header h;
	struct wire_run runs[WIRE_RUNS_MAX];
	uint64_t n;
	int ret = tls_read(tx->conf.conn, head, sizeof(head), e);

	if (!ret)
		ret = wire_header_decode(head, &h, e);
	if (ret || h.type == WIRE_KEEPALIVE)
		return ret;
	if (h.type != WIRE_FETCH || h.block >= tx->n_blocks)
		return err_set(e, EPROTO, "a record of type %u, block %u from the target", h.type, h.block);
	ret = tls_read(tx->conf.conn, body, h.length, e); /* one run, says its header's rule */
	if (!ret)
		ret = wire_runs_decode(&h, body, tx->todo[h.block].n_pages, runs, &n, e);
	return ret ? ret : add_urgent(tx, h.block, runs[0].first, e);
}

static void *reader(void *arg)
{
	struct postcopy_tx *tx = arg;
	struct err e = {0};

	while (!hear(tx, &e))
		;
	end(tx, &e);
	return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static int begin(struct postcopy_tx *tx, struct err *e)
{
	const int lowat = QUEUED_BYTES_MAX;

	/* without it a page that is waited for comes later, no more */
	setsockopt(tls_fd(tx->conf.conn), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	if (pthread_create(&tx->sender, NULL, sender, tx))
		return err_set(e, EAGAIN, "cannot start a thread");
	tx->has_sender = true;
	if (pthread_create(&tx->reader, NULL, reader, tx))
		return err_set(e, EAGAIN, "cannot start a thread");
	tx->has_reader = true;
	return 0;
}

int postcopy_tx_start(const struct postcopy_conf *conf, const struct ram_block *blocks, unsigned n_blocks,
	struct bitmap todo[RAM_BLOCKS_MAX], struct postcopy_tx **out, struct err *e)
{
	struct postcopy_tx *tx = calloc(1, sizeof(*tx));
	int ret = 0;

	if (!tx)
		return err_set(e, ENOMEM, "out of memory");
	tx->conf = *conf;
	tx->n_blocks = n_blocks;
	pacer_init(&tx->pacer);
	pthread_mutex_init(&tx->lock, NULL);
	pthread_cond_init(&tx->changed, NULL);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		tx->io[b].fd = -1;
	for (unsigned b = 0; b < n_blocks; b++) {
		tx->todo[b] = todo[b];
		todo[b] = (struct bitmap){0};
		tx->left += bitmap_count(&tx->todo[b]);
	}
	tx->sum.dirty_pages = tx->left;
	tx->cap = 4096; /* QEMU has no more threads than that, and each waits for one page */
	tx->urgent = calloc(tx->cap, sizeof(*tx->urgent));
	if (!tx->urgent)
		ret = err_set(e, ENOMEM, "out of memory");
	for (unsigned b = 0; !ret && b < n_blocks; b++)
		ret = ram_io_open(&tx->io[b], &blocks[b], false, e);
	if (!ret)
		ret = begin(tx, e);
	if (ret)
		postcopy_tx_free(tx);
	else
		*out = tx;
	return ret;
}

void postcopy_tx_stats(struct postcopy_tx *tx, struct xfer_stats *sum_out, uint64_t *left_out)
{
	pthread_mutex_lock(&tx->lock);
	*sum_out = tx->sum;
	*left_out = tx->left;
	pthread_mutex_unlock(&tx->lock);
}

int postcopy_tx_failed(struct postcopy_tx *tx, struct err *e)
{
	int ret;

	pthread_mutex_lock(&tx->lock);
	ret = tx->err.code ? err_set(e, tx->err.code, "%s", tx->err.msg) : 0;
	pthread_mutex_unlock(&tx->lock);
	return ret;
}

void postcopy_tx_free(struct postcopy_tx *tx)
{
	if (!tx)
		return;
	pthread_mutex_lock(&tx->lock);
	tx->stop = true;
	pthread_cond_broadcast(&tx->changed);
	pthread_mutex_unlock(&tx->lock);
	tls_abort(tx->conf.conn);
	if (tx->has_sender)
		pthread_join(tx->sender, NULL);
	if (tx->has_reader)
		pthread_join(tx->reader, NULL);
	for (unsigned b = 0; b < tx->n_blocks; b++) {
		if (tx->io[b].fd >= 0)
			ram_io_close(&tx->io[b]);
		bitmap_fini(&tx->todo[b]);
	}
	free(tx->urgent);
	pacer_fini(&tx->pacer);
	pthread_cond_destroy(&tx->changed);
	pthread_mutex_destroy(&tx->lock);
	free(tx);
}
