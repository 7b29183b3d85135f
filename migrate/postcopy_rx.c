/* The target's end of a post-copy; see postcopy.h. One thread hears who waits and asks, the other reads and places. */
#include "migrate/postcopy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/digest.h"
#include "migrate/wire.h"
#include "migrate/xfer_group.h"

struct postcopy_rx {
	struct postcopy_conf conf;
	struct missing *m;
	uint64_t n_pages[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	pthread_t asker, placer;
	bool has_asker, has_placer;
	uint8_t *body;
	uint8_t *page; /* 4096-aligned */
	_Atomic uint64_t faults;
	pthread_mutex_t lock; /* for err */
	struct err err;
};

static void fail(struct postcopy_rx *rx, const struct err *e)
{
	pthread_mutex_lock(&rx->lock);
	if (!rx->err.code)
		rx->err = *e;
	pthread_mutex_unlock(&rx->lock);
	tls_abort(rx->conf.conn);
	missing_stop(rx->m);
	rx->conf.on_end(rx->conf.arg);
}

/* ---- asking ------------------------------------------------------------------------------------------------ */

static int ask(struct postcopy_rx *rx, unsigned block, uint64_t page, struct err *e)
{
	uint8_t buf[WIRE_HEADER_BYTES + WIRE_RUN_BYTES];
	const struct wire_run run = {.first = (uint32_t)page, .n_pages = 1};

	wire_header_encode(
		&(struct wire_header){
			.type = WIRE_FETCH, .count = 1, .length = WIRE_RUN_BYTES, .block = (uint16_t)block},
		buf);
	wire_runs_encode(&run, 1, buf + WIRE_HEADER_BYTES);
	rx->faults++;
	return tls_write(rx->conf.conn, buf, sizeof(buf), e);
}

/* Ends when all has come (missing_stop), and not before: holes have to be filled as long as RAM is guarded. */
static void *asker(void *arg)
{
	struct postcopy_rx *rx = arg;
	uint64_t page;
	unsigned block;
	struct err e = {0};
	int ret = 0;

	while (ret >= 0 && missing_left(rx->m)) {
		ret = missing_next_fault(rx->m, XFER_KEEPALIVE_MS, &block, &page, &e);
		if (ret == 1)
			ret = ask(rx, block, page, &e);
		else if (ret == 0 && missing_left(rx->m))
			ret = xfer_keepalive(rx->conf.conn, &e);
		pthread_mutex_lock(&rx->lock);
		if (rx->err.code && ret >= 0)
			ret = err_set(&e, rx->err.code, "%s", rx->err.msg);
		pthread_mutex_unlock(&rx->lock);
	}
	if (ret < 0)
		fail(rx, &e);
	return NULL;
}

/* ---- placing ----------------------------------------------------------------------------------------------- */

static int check_digest(const struct wire_content *c, uint64_t n, struct err *e)
{
	uint64_t page[WIRE_PAGE_BYTES / 8], digests[WIRE_PAGES_MAX];

	for (uint64_t i = 0; i < n; i++) {
		memcpy(page, c->data + i * WIRE_PAGE_BYTES, sizeof(page));
		digests[i] = page_digest(page);
	}
	return record_digest(digests, (unsigned)n) == c->digest
		? 0
		: err_set(e, EBADMSG, "pages came that are not what was sent: their digest differs");
}

static int place(struct postcopy_rx *rx, const struct wire_header *h, struct err *e)
{
	struct wire_run runs[WIRE_RUNS_MAX];
	struct wire_content c = {0};
	uint64_t n, k = 0;
	int ret = wire_runs_decode(h, rx->body, rx->n_pages[h->block], runs, &n, e);

	if (!ret && h->type == WIRE_DATA)
		ret = h->flags == WIRE_RAW ? wire_content_decode(h, rx->body, n, &c, e)
					   : err_set(e, EPROTO, "packed pages in a post-copy");
	if (!ret && c.data)
		ret = check_digest(&c, n, e);
	for (unsigned r = 0; !ret && r < h->count; r++)
		for (uint32_t i = 0; !ret && i < runs[r].n_pages; i++, k++) {
			if (c.data)
				memcpy(rx->page, c.data + k * WIRE_PAGE_BYTES, WIRE_PAGE_BYTES);
			ret = missing_place(rx->m, h->block, runs[r].first + i, c.data ? rx->page : NULL, e);
		}
	return ret;
}

static int take(struct postcopy_rx *rx, struct err *e)
{
	uint8_t head[WIRE_HEADER_BYTES];
	struct wire_header h;
	int ret = tls_read(rx->conf.conn, head, sizeof(head), e);

	if (!ret)
		ret = wire_header_decode(head, &h, e);
	if (!ret && h.length)
		ret = tls_read(rx->conf.conn, rx->body, h.length, e);
	if (ret || h.type == WIRE_KEEPALIVE)
		return ret;
	if ((h.type != WIRE_DATA && h.type != WIRE_ZERO) || h.block >= rx->n_blocks)
		return err_set(e, EPROTO, "a record of type %u, block %u in a post-copy", h.type, h.block);
	return place(rx, &h, e);
}

static void *placer(void *arg)
{
	struct postcopy_rx *rx = arg;
	struct err e = {0};
	int ret = 0;

	while (!ret && missing_left(rx->m))
		ret = take(rx, &e);
	if (ret) {
		fail(rx, &e);
		return NULL;
	}
	missing_stop(rx->m);
	rx->conf.on_end(rx->conf.arg);
	return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

int postcopy_rx_start(const struct postcopy_conf *conf, struct missing *m, const struct ram_block *blocks,
	unsigned n_blocks, struct postcopy_rx **out, struct err *e)
{
	struct postcopy_rx *rx = calloc(1, sizeof(*rx));
	int ret = 0;

	if (!rx)
		return err_set(e, ENOMEM, "out of memory");
	rx->conf = *conf;
	rx->m = m;
	rx->n_blocks = n_blocks;
	for (unsigned b = 0; b < n_blocks; b++)
		rx->n_pages[b] = blocks[b].bytes / WIRE_PAGE_BYTES;
	pthread_mutex_init(&rx->lock, NULL);
	rx->body = malloc(WIRE_BODY_MAX);
	rx->page = aligned_alloc(WIRE_PAGE_BYTES, WIRE_PAGE_BYTES);
	if (!rx->body || !rx->page)
		ret = err_set(e, ENOMEM, "out of memory");
	else if (pthread_create(&rx->placer, NULL, placer, rx))
		ret = err_set(e, EAGAIN, "cannot start a thread");
	rx->has_placer = !ret;
	if (!ret && pthread_create(&rx->asker, NULL, asker, rx))
		ret = err_set(e, EAGAIN, "cannot start a thread");
	rx->has_asker = !ret;
	if (ret)
		postcopy_rx_free(rx);
	else
		*out = rx;
	return ret;
}

int postcopy_rx_failed(struct postcopy_rx *rx, struct err *e)
{
	int ret;

	pthread_mutex_lock(&rx->lock);
	ret = rx->err.code ? err_set(e, rx->err.code, "%s", rx->err.msg) : 0;
	pthread_mutex_unlock(&rx->lock);
	return ret;
}

uint64_t postcopy_rx_faults(const struct postcopy_rx *rx)
{
	return rx->faults;
}

void postcopy_rx_free(struct postcopy_rx *rx)
{
	if (!rx)
		return;
	if (missing_left(rx->m))
		tls_abort(rx->conf.conn);
	missing_stop(rx->m);
	if (rx->has_placer)
		pthread_join(rx->placer, NULL);
	if (rx->has_asker)
		pthread_join(rx->asker, NULL);
	free(rx->body);
	free(rx->page);
	pthread_mutex_destroy(&rx->lock);
	free(rx);
}
