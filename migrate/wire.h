/* Records of the data channel and the opening of every connection: encode, decode, check. docs/wire.md is the authority; this is its
 * only implementation in C. Pure functions, any thread; nothing is allocated and nothing beyond the given octets is read. */
#ifndef MIGRATE_WIRE_H
#define MIGRATE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/ram.h"

#define WIRE_VERSION 1
#define WIRE_HELLO_BYTES 32
#define WIRE_TOKEN_BYTES 16
#define WIRE_HEADER_BYTES 16
#define WIRE_PAGE_BYTES 4096u
#define WIRE_RUNS_MAX 64
#define WIRE_PAGES_MAX 64 /* in one DATA record */
#define WIRE_RUN_BYTES 8
#define WIRE_DIGEST_BYTES 8
#define WIRE_CONTENT_MAX (WIRE_PAGES_MAX * WIRE_PAGE_BYTES)
#define WIRE_PREFIX_MAX                                                                                                \
	(WIRE_HEADER_BYTES + WIRE_RUNS_MAX * WIRE_RUN_BYTES + WIRE_DIGEST_BYTES) /* what stands before the content */
#define WIRE_BODY_MAX (WIRE_RUNS_MAX * WIRE_RUN_BYTES + WIRE_DIGEST_BYTES + WIRE_CONTENT_MAX)

/* ---- opening of a connection ----------------------------------------------------------------------------- */

struct wire_hello {
	bool data; /* a data channel, else the control channel */
	uint16_t channel, n_channels;
	uint8_t token[WIRE_TOKEN_BYTES];
};
void xfer_hello_encode(const struct wire_hello *h, uint8_t out[WIRE_HELLO_BYTES]);
/* -EPROTO with a sentence: not ours, another version, numbers out of range. */
int xfer_hello_decode(const uint8_t in[WIRE_HELLO_BYTES], struct wire_hello *out, struct err *e);

/* ---- records --------------------------------------------------------------------------------------------- */

enum wire_type {
	WIRE_GEOMETRY = 1,
	WIRE_DATA = 2,
	WIRE_ZERO = 3,
	WIRE_HOLE = 4,
	WIRE_BARRIER = 5,
	WIRE_LANDED = 6,
	WIRE_KEEPALIVE = 7,
	WIRE_WANTED = 8,     /* post-copy: these pages are missing at the target */
	WIRE_FETCH = 9,      /* post-copy: somebody waits for this page */
	WIRE_OPTIONAL = 128, /* this and above: skipped when unknown */
};
enum wire_codec {
	WIRE_RAW = 0,
	WIRE_LZ4 = 1,
	WIRE_ZSTD = 2,
	WIRE_CODECS,   /* those that need nothing but the content; codec.h chooses among them */
	WIRE_DELTA = 3 /* against what the target holds; delta.h */
};
#define WIRE_FLAG_LAST 1

struct wire_header {
	uint8_t type, flags;
	uint16_t count;
	uint32_t length;
	uint32_t round;
	uint16_t block;
};
struct wire_run {
	uint32_t first, n_pages;
};

void wire_header_encode(const struct wire_header *h, uint8_t out[WIRE_HEADER_BYTES]);
/* Everything that can be known from the header alone: type, flags, count and length fit each other. -EPROTO. */
int wire_header_decode(const uint8_t in[WIRE_HEADER_BYTES], struct wire_header *out, struct err *e);

void wire_runs_encode(const struct wire_run *runs, unsigned n, uint8_t *out);
/* Runs (DATA) or ranges (ZERO, HOLE) of a record whose header was decoded: they ascend, do not overlap and end within @block_pages.
 * @body holds at least 8 * h->count octets. -EPROTO. */
int wire_runs_decode(const struct wire_header *h, const uint8_t *body, uint64_t block_pages,
	struct wire_run out[WIRE_RUNS_MAX], uint64_t *n_pages_out, struct err *e);

/* The DATA record's content, after wire_runs_decode said that it has @n_pages: where it starts, how long it is, and the digest. Checks the
 * content's length against the codec. -EPROTO. */
struct wire_content {
	const uint8_t *data;
	uint32_t bytes;
	uint64_t digest;
};
int wire_content_decode(
	const struct wire_header *h, const uint8_t *body, uint64_t n_pages, struct wire_content *out, struct err *e);

/* GEOMETRY against the blocks at this end. -EPROTO names the block that differs. */
int wire_geometry_check(const struct wire_header *h, const uint8_t *body, const struct ram_block *blocks,
	unsigned n_blocks, struct err *e);

void wire_put64(uint8_t *p, uint64_t v);
uint64_t wire_get64(const uint8_t *p);

#endif
