/* Digest of all of RAM by reading the files (verify = full, tests): the same root as the engine keeps (migrate/digest.h), from the files alone.
 * Called by the worker's engine thread; its threads take pieces of the data extents from a counter. Holes are skipped, nothing is allocated. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "migrate/digest.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"
#include "migrate/xfer.h"

#define PIECE_BYTES (32ULL << 20)
#define READ_BYTES (256u << 10)
#define THREADS_MAX 64

struct piece { /* of a data extent */
	uint64_t start, end;
	unsigned block;
};

struct job {
	struct ram_io io[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	struct piece *pieces; /* read-only while the threads run */
	uint64_t n_pieces, cap;
	_Atomic uint64_t next;
	pthread_mutex_t lock; /* for what follows */
	struct digest_root root;
	struct err err;
};

static void digest_pages(const uint8_t *buf, size_t n, unsigned block, uint64_t off, struct digest_root *root)
{
	for (size_t i = 0; i < n; i += WIRE_PAGE_BYTES) {
		struct digest_root l;

		if (page_is_zero(buf + i))
			continue;
		l = digest_leaf(block, (off + i) / WIRE_PAGE_BYTES, page_digest(buf + i));
		digest_root_add(root, &l);
	}
}

static int digest_piece(struct job *j, const struct piece *p, void *buf, struct digest_root *root, struct err *e)
{
	int ret = 0;

	for (uint64_t at = p->start, n; !ret && at < p->end; at += n) {
		n = p->end - at > READ_BYTES ? READ_BYTES : p->end - at;
		ret = ram_io_read(&j->io[p->block], at, buf, (size_t)n, e);
		if (!ret)
			digest_pages(buf, (size_t)n, p->block, at, root);
	}
	return ret;
}

static void *digest_thread(void *arg)
{
	struct job *j = arg;
	struct digest_root root = {0};
	struct err e = {0};
	uint64_t i;
	void *buf = aligned_alloc(WIRE_PAGE_BYTES, READ_BYTES);

	if (!buf)
		err_set(&e, ENOMEM, "out of memory");
	while (!e.code && (i = atomic_fetch_add(&j->next, 1)) < j->n_pieces)
		digest_piece(j, &j->pieces[i], buf, &root, &e);
	free(buf);
	pthread_mutex_lock(&j->lock);
	digest_root_add(&j->root, &root);
	if (e.code)
		j->err = e;
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

static int add_piece(struct job *j, const struct piece *p, struct err *e)
{
	if (j->n_pieces == j->cap) {
		uint64_t cap = j->cap ? 2 * j->cap : 256;
		struct piece *more = realloc(j->pieces, cap * sizeof(*more));

		if (!more)
			return err_set(e, ENOMEM, "out of memory");
		j->pieces = more;
		j->cap = cap;
	}
	j->pieces[j->n_pieces++] = *p;
	return 0;
}

/* Each extent is looked up once: SEEK_HOLE walks to the extent's end, however far that is. */
static int cut(struct job *j, unsigned block, struct err *e)
{
	const struct ram_io *io = &j->io[block];
	struct piece p = {.block = block};
	uint64_t start, end;
	int ret = 0;

	for (uint64_t from = 0; !ret && ram_io_next_data(io, from, io->block->bytes, &start, &end); from = end)
		for (p.start = start; !ret && p.start < end; p.start = p.end) {
			p.end = end - p.start > PIECE_BYTES ? p.start + PIECE_BYTES : end;
			ret = add_piece(j, &p, e);
		}
	return ret;
}

int ram_digest(const struct ram_block *blocks, unsigned n_blocks, unsigned n_threads, uint8_t out[XFER_DIGEST_BYTES],
	struct err *e)
{
	struct job j = {.lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;
	int ret = 0;

	while (!ret && j.n_blocks < n_blocks) {
		ret = ram_io_open(&j.io[j.n_blocks], &blocks[j.n_blocks], false, e);
		j.n_blocks += !ret;
	}
	for (unsigned b = 0; !ret && b < n_blocks; b++)
		ret = cut(&j, b, e);
	if (!ret) {
		while (started + 1 < n_threads && started < THREADS_MAX &&
			!pthread_create(&threads[started], NULL, digest_thread, &j))
			started++;
		digest_thread(&j); /* this thread is one of them */
		while (started)
			pthread_join(threads[--started], NULL);
		if (j.err.code)
			ret = err_set(e, j.err.code, "%s", j.err.msg);
		else
			digest_root_encode(&j.root, out);
	}
	while (j.n_blocks)
		ram_io_close(&j.io[--j.n_blocks]);
	free(j.pieces);
	return ret;
}
