/* Encoding and decoding of docs/wire.md; see wire.h. Channel threads of both ends, and the fuzzer. One table says for each type
 * which flags, counts and lengths are possible; what depends on the RAM's size is checked by the functions that take it. */
#include "migrate/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migrate/xfer.h"

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

void wire_put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

uint64_t wire_get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static const uint8_t hello_magic[7] = {'B', 'A', 'L', 'L', 'A', 'S', 'T'};

void xfer_hello_encode(const struct wire_hello *h, uint8_t out[WIRE_HELLO_BYTES])
{
	memset(out, 0, WIRE_HELLO_BYTES);
	memcpy(out, hello_magic, sizeof(hello_magic));
	out[7] = h->data ? 'D' : 'C';
	put16(out + 8, WIRE_VERSION);
	put16(out + 10, h->data ? h->channel : 0);
	put16(out + 12, h->data ? h->n_channels : 0);
	memcpy(out + 16, h->token, WIRE_TOKEN_BYTES);
}

int xfer_hello_decode(const uint8_t in[WIRE_HELLO_BYTES], struct wire_hello *out, struct err *e)
{
	struct wire_hello h = {.data = in[7] == 'D', .channel = get16(in + 10), .n_channels = get16(in + 12)};
	bool numbers;

	if (memcmp(in, hello_magic, sizeof(hello_magic)) || (in[7] != 'C' && in[7] != 'D'))
		return err_set(e, EPROTO, "the connection does not begin like one of policyd-migrate's");
	if (get16(in + 8) != WIRE_VERSION)
		return err_set(e, EPROTO,
			"the other side speaks wire version %u, this one %u; install the same release on both",
			get16(in + 8), WIRE_VERSION);
	numbers = h.data ? h.n_channels >= 1 && h.n_channels <= XFER_CHANNELS_MAX && h.channel < h.n_channels
			 : !h.channel && !h.n_channels;
	if (!numbers || get16(in + 14))
		return err_set(e, EPROTO, "channel %u of %u makes no sense", h.channel, h.n_channels);
	memcpy(h.token, in + 16, WIRE_TOKEN_BYTES);
	*out = h;
	return 0;
}

/* ---- headers --------------------------------------------------------------------------------------------- */

struct type_rule {
	const char *name;
	uint8_t flags_max;
	uint16_t count_min, count_max;
	uint32_t fixed, per_count; /* length = fixed + per_count * count ... */
	uint32_t content_max;      /* ... + 1..content_max where that is not 0 */
};

static const struct type_rule rules[] = {
	[WIRE_GEOMETRY] = {"GEOMETRY", 0, 1, RAM_BLOCKS_MAX, 0, 8, 0},
	[WIRE_DATA] = {"DATA", WIRE_DELTA, 1, WIRE_RUNS_MAX, WIRE_DIGEST_BYTES, WIRE_RUN_BYTES, WIRE_CONTENT_MAX},
	[WIRE_ZERO] = {"ZERO", 0, 1, WIRE_RUNS_MAX, 0, WIRE_RUN_BYTES, 0},
	[WIRE_HOLE] = {"HOLE", 0, 1, WIRE_RUNS_MAX, 0, WIRE_RUN_BYTES, 0},
	[WIRE_BARRIER] = {"BARRIER", WIRE_FLAG_LAST, 0, 0, 16, 0, 0},
	[WIRE_LANDED] = {"LANDED", WIRE_FLAG_LAST, 0, 0, 16, 0, 0},
	[WIRE_KEEPALIVE] = {"KEEPALIVE", 0, 0, 0, 0, 0, 0},
	[WIRE_WANTED] = {"WANTED", WIRE_FLAG_LAST, 0, WIRE_RUNS_MAX, 0, WIRE_RUN_BYTES, 0},
	[WIRE_FETCH] = {"FETCH", 0, 1, 1, 0, WIRE_RUN_BYTES, 0},
};

void wire_header_encode(const struct wire_header *h, uint8_t out[WIRE_HEADER_BYTES])
{
	out[0] = h->type;
	out[1] = h->flags;
	put16(out + 2, h->count);
	put32(out + 4, h->length);
	put32(out + 8, h->round);
	put16(out + 12, h->block);
	put16(out + 14, 0);
}

static bool length_ok(const struct type_rule *r, const struct wire_header *h)
{
	uint32_t least = r->fixed + r->per_count * h->count;

	if (!r->content_max)
		return h->length == least;
	return h->length > least && h->length - least <= r->content_max;
}

int wire_header_decode(const uint8_t in[WIRE_HEADER_BYTES], struct wire_header *out, struct err *e)
{
	struct wire_header h = {.type = in[0],
		.flags = in[1],
		.count = get16(in + 2),
		.length = get32(in + 4),
		.round = get32(in + 8),
		.block = get16(in + 12)};
	const struct type_rule *r;

	if (h.length > WIRE_BODY_MAX)
		return err_set(e, EPROTO, "a record of type %u claims %" PRIu32 " octets, the limit is %u", h.type,
			h.length, WIRE_BODY_MAX);
	if (h.type >= WIRE_OPTIONAL) {
		*out = h;
		return 0;
	}
	if (!h.type || h.type >= sizeof(rules) / sizeof(rules[0]))
		return err_set(e, EPROTO, "a record of unknown type %u", h.type);
	r = &rules[h.type];
	if (h.flags > r->flags_max || get16(in + 14))
		return err_set(e, EPROTO, "%s record with flags %u and reserved %u", r->name, h.flags, get16(in + 14));
	if (h.count < r->count_min || h.count > r->count_max)
		return err_set(e, EPROTO, "%s record with count %u", r->name, h.count);
	if (!length_ok(r, &h))
		return err_set(e, EPROTO, "%s record with count %u and length %" PRIu32, r->name, h.count, h.length);
	if (h.block >= RAM_BLOCKS_MAX)
		return err_set(e, EPROTO, "%s record for block %u", r->name, h.block);
	*out = h;
	return 0;
}

/* ---- bodies ---------------------------------------------------------------------------------------------- */

void wire_runs_encode(const struct wire_run *runs, unsigned n, uint8_t *out)
{
	for (unsigned i = 0; i < n; i++, out += WIRE_RUN_BYTES) {
		put32(out, runs[i].first);
		put32(out + 4, runs[i].n_pages);
	}
}

int wire_runs_decode(const struct wire_header *h, const uint8_t *body, uint64_t block_pages,
	struct wire_run out[WIRE_RUNS_MAX], uint64_t *n_pages_out, struct err *e)
{
	uint64_t from = 0, total = 0;

	if (h->count > WIRE_RUNS_MAX)
		return err_set(e, EPROTO, "%u runs in a record", h->count);
	for (unsigned i = 0; i < h->count; i++, body += WIRE_RUN_BYTES) {
		struct wire_run r = {.first = get32(body), .n_pages = get32(body + 4)};

		if (!r.n_pages || r.first < from || (uint64_t)r.first + r.n_pages > block_pages)
			return err_set(e, EPROTO,
				"pages %" PRIu32 "+%" PRIu32 " in block %u do not follow %" PRIu64
				" or leave its %" PRIu64,
				r.first, r.n_pages, h->block, from, block_pages);
		from = (uint64_t)r.first + r.n_pages;
		total += r.n_pages;
		out[i] = r;
	}
	if (h->type == WIRE_DATA && total > WIRE_PAGES_MAX)
		return err_set(e, EPROTO, "%" PRIu64 " pages in a DATA record, the limit is %u", total, WIRE_PAGES_MAX);
	*n_pages_out = total;
	return 0;
}

int wire_content_decode(
	const struct wire_header *h, const uint8_t *body, uint64_t n_pages, struct wire_content *out, struct err *e)
{
	uint32_t skip = h->count * WIRE_RUN_BYTES + WIRE_DIGEST_BYTES;
	uint32_t bytes = h->length - skip;

	if (h->length <= skip || n_pages > WIRE_PAGES_MAX)
		return err_set(e, EPROTO, "DATA record without content");
	if (h->flags == WIRE_RAW ? bytes != n_pages * WIRE_PAGE_BYTES : bytes >= n_pages * WIRE_PAGE_BYTES)
		return err_set(e, EPROTO, "DATA record: %" PRIu32 " octets (codec %u) for %" PRIu64 " pages", bytes,
			h->flags, n_pages);
	*out = (struct wire_content){
		.data = body + skip, .bytes = bytes, .digest = wire_get64(body + skip - WIRE_DIGEST_BYTES)};
	return 0;
}

int wire_geometry_check(const struct wire_header *h, const uint8_t *body, const struct ram_block *blocks,
	unsigned n_blocks, struct err *e)
{
	if (h->count != n_blocks)
		return err_set(e, EPROTO, "the source has %u blocks of RAM, the target %u", h->count, n_blocks);
	for (unsigned i = 0; i < n_blocks; i++)
		if (wire_get64(body + 8 * i) != blocks[i].bytes)
			return err_set(e, EPROTO,
				"RAM block %u has %" PRIu64 " octets at the source, %" PRIu64 " at the target", i,
				wire_get64(body + 8 * i), blocks[i].bytes);
	return 0;
}
