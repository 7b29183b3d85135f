/* A sample of RAM files: see sample.h.
 *
 * Both samples are stratified: the data is cut into equal parts and one place is read in each, for zeros and content lie in lumps. Whether a page is
 * zeros is asked of single pages (many places, little to read), how it packs of runs as long as the engine's chunks would see. */
#include "migrate/sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate/codec.h"
#include "migrate/digest.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"

#define PAGES_MIN 4096u
#define RUN_PAGES 16u
#define RUNS_MIN 64u
#define RUNS_MAX 512u
#define PACK_GAIN 16       /* as the engine: it must save a 16th, else raw */
#define RECORD_BYTES 560.0 /* header, runs, digest and TLS of a full DATA record: what content costs besides */

struct space { /* the data of all blocks as one line of octets */
	struct ram_io io[RAM_BLOCKS_MAX];
	struct ram_extent *v[RAM_BLOCKS_MAX];
	size_t n[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	uint64_t bytes;
};

struct cursor { /* places are asked in rising order: one walk over the extents */
	unsigned block;
	size_t i;
	uint64_t before; /* data octets before extent i */
};

static void space_fini(struct space *s)
{
	for (unsigned b = 0; b < s->n_blocks; b++) {
		ram_io_close(&s->io[b]);
		free(s->v[b]);
	}
}

static int space_init(struct space *s, const struct ram_block *blocks, unsigned n_blocks, struct err *e)
{
	int rc = 0;

	for (unsigned b = 0; rc == 0 && b < n_blocks; b++) {
		rc = ram_io_open(&s->io[b], &blocks[b], false, e);
		if (rc)
			break;
		s->n_blocks++;
		rc = ram_data_extents(s->io[b].fd, blocks[b].bytes, &s->v[b], &s->n[b], e);
		for (size_t i = 0; rc == 0 && i < s->n[b]; i++)
			s->bytes += s->v[b][i].end - s->v[b][i].start;
	}
	return rc;
}

/* The place @at octets into the data: how many octets of its extent follow there (0: beyond the end). */
static uint64_t space_at(const struct space *s, struct cursor *c, uint64_t at, uint64_t *off_out)
{
	while (c->block < s->n_blocks) {
		const struct ram_extent *x = c->i < s->n[c->block] ? &s->v[c->block][c->i] : NULL;

		if (!x) {
			c->block++;
			c->i = 0;
			continue;
		}
		if (at < c->before + (x->end - x->start)) {
			*off_out = x->start + (at - c->before);
			return x->end - *off_out;
		}
		c->before += x->end - x->start;
		c->i++;
	}
	return 0;
}

/* The place within part @i of @n: always the same for the same RAM, and not in step with anything in it. */
static uint64_t place(uint64_t bytes, unsigned i, unsigned n, unsigned pages)
{
	uint64_t part = bytes / n, x = (i + 1) * 0x9e3779b97f4a7c15ULL, at;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 32;
	at = (uint64_t)i * part +
		(part > (uint64_t)pages * WIRE_PAGE_BYTES ? x % (part - (uint64_t)pages * WIRE_PAGE_BYTES) : 0);
	return at / WIRE_PAGE_BYTES * WIRE_PAGE_BYTES;
}

static int sample_zero(const struct space *s, const atomic_bool *stop, struct sample *out, struct err *e)
{
	uint64_t pages = s->bytes / WIRE_PAGE_BYTES, want = pages / 100 > PAGES_MIN ? pages / 100 : PAGES_MIN, off;
	unsigned n = (unsigned)(want < pages ? want : pages);
	uint64_t page[WIRE_PAGE_BYTES / 8];
	struct cursor c = {0};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < n; i++) {
		if (space_at(s, &c, place(s->bytes, i, n, 1), &off) < sizeof(page))
			continue;
		rc = ram_io_read(&s->io[c.block], off, page, sizeof(page), e);
		out->pages_read++;
		out->pages_zero += rc == 0 && page_is_zero(page);
		if (atomic_load(stop))
			rc = err_set(e, ECANCELED, "cancelled");
	}
	out->zero_share = out->pages_read ? (double)out->pages_zero / (double)out->pages_read : 0;
	return rc;
}

struct packing {
	uint8_t in[WIRE_CONTENT_MAX], out[WIRE_CONTENT_MAX];
	size_t n;
	double content, wire[WIRE_CODECS], packed_ns[WIRE_CODECS];
	struct codec codec;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void pack(struct packing *p)
{
	for (enum wire_codec how = WIRE_LZ4; how < WIRE_CODECS; how++) {
		uint64_t t0 = now_ns();
		size_t packed = codec_pack(&p->codec, how, p->in, p->n, p->out, p->n - p->n / PACK_GAIN);

		p->packed_ns[how] += (double)(now_ns() - t0);
		p->wire[how] += (double)(packed ? packed : p->n) + RECORD_BYTES * (double)p->n / WIRE_CONTENT_MAX;
	}
	p->content += (double)p->n;
	p->n = 0;
}

static double ratio_of(const struct packing *p, enum wire_codec how)
{
	return p->content > 0 ? p->wire[how] / p->content : 1;
}

static double bps_of(const struct packing *p, enum wire_codec how)
{
	return p->packed_ns[how] > 0 ? p->content * 1e9 / p->packed_ns[how] : 0;
}

/* Content pages of the run are moved together, as the engine does; a full buffer is packed. */
static void packing_keep(struct packing *p, size_t got)
{
	size_t end = p->n + got;

	for (size_t at = p->n; at < end; at += WIRE_PAGE_BYTES) {
		if (page_is_zero(p->in + at))
			continue;
		if (at != p->n)
			memmove(p->in + p->n, p->in + at, WIRE_PAGE_BYTES);
		p->n += WIRE_PAGE_BYTES;
	}
	if (p->n > WIRE_CONTENT_MAX - RUN_PAGES * WIRE_PAGE_BYTES)
		pack(p);
}

static int sample_content(const struct space *s, const atomic_bool *stop, struct sample *out, struct err *e)
{
	uint64_t want = s->bytes / 100 / (RUN_PAGES * WIRE_PAGE_BYTES), room = s->bytes / (RUN_PAGES * WIRE_PAGE_BYTES),
		 off;
	unsigned n = (unsigned)(want < RUNS_MIN ? RUNS_MIN : want > RUNS_MAX ? RUNS_MAX : want);
	struct packing *p = aligned_alloc(64, (sizeof(*p) + 63) / 64 * 64);
	struct cursor c = {0};
	int rc = p ? 0 : err_set(e, ENOMEM, "no memory");

	if (n > room)
		n = (unsigned)room;
	if (p) {
		memset(p, 0, sizeof(*p));
		codec_init(&p->codec, CODEC_ALL);
	}
	for (unsigned i = 0; rc == 0 && i < n; i++) {
		uint64_t got = space_at(s, &c, place(s->bytes, i, n, RUN_PAGES), &off);

		got = got < RUN_PAGES * WIRE_PAGE_BYTES ? got / WIRE_PAGE_BYTES * WIRE_PAGE_BYTES
							: RUN_PAGES * WIRE_PAGE_BYTES;
		rc = ram_io_read(&s->io[c.block < s->n_blocks ? c.block : 0], off, p->in + p->n, got, e);
		packing_keep(p, got);
		if (atomic_load(stop))
			rc = err_set(e, ECANCELED, "cancelled");
	}
	if (rc == 0 && p->n)
		pack(p);
	if (rc == 0) {
		out->ratio = ratio_of(p, WIRE_LZ4);
		out->pack_bps = bps_of(p, WIRE_LZ4);
		out->zstd_ratio = ratio_of(p, WIRE_ZSTD);
		out->zstd_bps = bps_of(p, WIRE_ZSTD);
	}
	if (p)
		codec_fini(&p->codec);
	free(p);
	return rc;
}

int sample_ram(
	const struct ram_block *blocks, unsigned n_blocks, const atomic_bool *stop, struct sample *out, struct err *e)
{
	struct sample new = {.ratio = 1, .zstd_ratio = 1};
	struct space s = {0};
	int rc = space_init(&s, blocks, n_blocks, e);

	for (unsigned b = 0; b < n_blocks; b++)
		new.ram_bytes += blocks[b].bytes;
	new.data_bytes = s.bytes;
	new.hole_bytes = new.ram_bytes - s.bytes;
	if (rc == 0)
		rc = sample_zero(&s, stop, &new, e);
	if (rc == 0)
		rc = sample_content(&s, stop, &new, e);
	if (rc == 0)
		*out = new;
	space_fini(&s);
	return rc;
}
