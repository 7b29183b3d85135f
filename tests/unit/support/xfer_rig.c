/* See xfer_rig.h. */
#include "tests/unit/support/xfer_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int ram_file(struct ram_block *b, const char *dir, const char *side, unsigned i, uint64_t bytes)
{
	int fd;

	*b = (struct ram_block){.bytes = bytes, .page_bytes = 4096};
	snprintf(b->path, sizeof(b->path), "%s/%s.%u.ram", dir, side, i);
	fd = open(b->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

void rig_init(struct xfer_rig *r, const uint64_t *bytes, unsigned n_blocks, unsigned n_channels)
{
	memset(r, 0, sizeof(*r));
	r->n_blocks = n_blocks;
	r->n_channels = n_channels;
	r->codecs = CODEC_ALL;
	r->held_bytes = 64 << 20;
	cert_pair(r->certs, "alpha", "beta");
	r->ctx[0] = cert_ctx(r->certs, "alpha");
	r->ctx[1] = cert_ctx(r->certs, "beta");
	strcpy(r->dir, "/dev/shm/ballast-rig-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	for (unsigned b = 0; b < n_blocks; b++) {
		close(ram_file(&r->dst[b], r->dir, "dst", b, bytes[b]));
		r->src_fd[b] = ram_file(&r->src[b], r->dir, "src", b, bytes[b]);
		r->src_map[b] = mmap(NULL, bytes[b], PROT_READ | PROT_WRITE, MAP_SHARED, r->src_fd[b], 0);
		assert_ptr_not_equal(r->src_map[b], MAP_FAILED);
	}
	for (unsigned i = 0; i < n_channels; i++)
		tls_pair(r->ctx[0], r->ctx[1], &r->out[i], &r->in[i]);
	tracker_fake_init(&r->fake, r->src, n_blocks, &r->tracker);
}

static void *rx_main(void *arg)
{
	struct xfer_rig *r = arg;
	struct xfer_stats st;
	bool last = false;

	while (!last && !(r->rx_ret = xfer_rx_round(r->rx, &last, &st, &r->rx_err))) {
		r->rx_rounds++;
		r->rx_sum.pages_sent += st.pages_sent;
		r->rx_sum.pages_zero += st.pages_zero;
		r->rx_sum.pages_hole += st.pages_hole;
		r->rx_sum.pages_lz4 += st.pages_lz4;
		r->rx_sum.pages_delta += st.pages_delta;
		r->rx_sum.wire_bytes += st.wire_bytes;
	}
	return NULL;
}

void rig_start_rx(struct xfer_rig *r)
{
	struct xfer_rx_conf rx = {
		.blocks = r->dst, .n_blocks = r->n_blocks, .n_channels = r->n_channels, .limits = &r->rx_limits};
	struct err e = {0};

	memcpy(rx.channels, r->in, sizeof(r->in));
	if (xfer_rx_open(&rx, &r->rx, &e))
		fail_msg("xfer_rx_open: %s", e.msg);
	assert_int_equal(pthread_create(&r->rx_thread, NULL, rx_main, r), 0);
	r->rx_running = true;
}

void rig_start_tx(struct xfer_rig *r)
{
	struct xfer_tx_conf tx = {.blocks = r->src,
		.n_blocks = r->n_blocks,
		.tracker = &r->tracker,
		.n_channels = r->n_channels,
		.limits = &r->tx_limits,
		.codecs = r->codecs,
		.held_bytes = r->held_bytes,
		.drain = r->drain,
		.arg = r};
	struct err e = {0};

	memcpy(tx.channels, r->out, sizeof(r->out));
	if (xfer_tx_open(&tx, &r->tx, &e))
		fail_msg("xfer_tx_open: %s", e.msg);
}

void rig_start(struct xfer_rig *r)
{
	rig_start_rx(r);
	rig_start_tx(r);
}

void rig_round(struct xfer_rig *r, bool last, struct xfer_stats *st)
{
	struct err e = {0};

	if (xfer_tx_round(r->tx, last, st, &e))
		fail_msg("round: %s", e.msg);
}

void rig_join(struct xfer_rig *r)
{
	if (r->rx_running)
		pthread_join(r->rx_thread, NULL);
	r->rx_running = false;
}

void rig_fini(struct xfer_rig *r)
{
	atomic_store(&r->rx_limits.cancel, true);
	rig_join(r);
	xfer_tx_free(r->tx);
	xfer_rx_free(r->rx);
	for (unsigned i = 0; i < r->n_channels; i++) {
		tls_conn_free(r->out[i]);
		tls_conn_free(r->in[i]);
	}
	for (unsigned b = 0; b < r->n_blocks; b++) {
		munmap(r->src_map[b], r->src[b].bytes);
		close(r->src_fd[b]);
	}
	tracker_fake_fini(&r->fake);
	tls_ctx_free(r->ctx[0]);
	tls_ctx_free(r->ctx[1]);
	remove_tree(r->certs);
	remove_tree(r->dir);
}

/* By pwrite, not through the mapping: the engine reads at the same time and must find whole octets, TSan no race. */
void rig_write(struct xfer_rig *r, unsigned block, uint64_t page, enum fill fill, unsigned *seed)
{
	uint32_t buf[1024] = {0};

	if (fill == FILL_TOUCH)
		assert_int_equal(pread(r->src_fd[block], buf, sizeof(buf), (off_t)(page * 4096)), sizeof(buf));
	for (unsigned i = 0; fill == FILL_TOUCH && i < 1 + page % 8; i++)
		buf[rand_r(seed) % 1024] += (uint32_t)rand_r(seed);
	for (unsigned i = 0; fill != FILL_ZERO && fill != FILL_TOUCH && i < 1024; i++)
		buf[i] = fill == FILL_RANDOM || (fill == FILL_HALF && i % 2) ? (uint32_t)rand_r(seed) * 7919u
									     : 0x55aa55aau;
	assert_int_equal(pwrite(r->src_fd[block], buf, sizeof(buf), (off_t)(page * 4096)), sizeof(buf));
	tracker_fake_mark(&r->fake, block, page, 1);
}

void rig_punch(struct xfer_rig *r, unsigned block, uint64_t page, uint64_t n_pages)
{
	assert_int_equal(fallocate(r->src_fd[block], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * 4096),
				 (off_t)(n_pages * 4096)),
		0);
}

static bool is_hole(int fd, uint64_t off)
{
	off_t data = lseek(fd, (off_t)off, SEEK_DATA);

	return data < 0 || (uint64_t)data >= off + 4096;
}

static void assert_block_equal(struct xfer_rig *r, unsigned b)
{
	int fd = open(r->dst[b].path, O_RDONLY | O_CLOEXEC);
	uint8_t ours[4096], theirs[4096];

	assert_true(fd >= 0);
	for (uint64_t off = 0; off < r->src[b].bytes; off += 4096) {
		assert_int_equal(pread(r->src_fd[b], ours, 4096, (off_t)off), 4096);
		assert_int_equal(pread(fd, theirs, 4096, (off_t)off), 4096);
		if (memcmp(ours, theirs, 4096))
			fail_msg("block %u, page %lu differs", b, (unsigned long)off / 4096);
		if (is_hole(r->src_fd[b], off) && !is_hole(fd, off))
			fail_msg("block %u, page %lu: a hole at the source, data at the target", b,
				(unsigned long)off / 4096);
	}
	close(fd);
}

void rig_assert_equal(struct xfer_rig *r)
{
	uint8_t d[4][XFER_DIGEST_BYTES];
	struct err e = {0};

	for (unsigned b = 0; b < r->n_blocks; b++)
		assert_block_equal(r, b);
	xfer_tx_digest(r->tx, d[0]);
	xfer_rx_digest(r->rx, d[1]);
	assert_int_equal(ram_digest(r->src, r->n_blocks, 2, d[2], &e), 0);
	assert_int_equal(ram_digest(r->dst, r->n_blocks, 1, d[3], &e), 0);
	for (int i = 1; i < 4; i++)
		assert_memory_equal(d[0], d[i], XFER_DIGEST_BYTES);
}
