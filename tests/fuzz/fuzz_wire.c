/* Fuzzer of the data channel's records (docs/wire.md): the input is a stream as a source would send it, read as the target's channel thread does. What
 * decodes must respect the limits that the engine relies on. corpus: tests/fuzz/corpus/wire */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/codec.h"
#include "migrate/delta.h"
#include "migrate/digest.h"
#include "migrate/wire.h"
#include "tests/fuzz/fuzz.h"

#define BLOCK_PAGES 1536u

static void on_deltas(const struct wire_content *k, uint64_t n)
{
	static uint64_t page[WIRE_PAGE_BYTES / 8 + 1]; /* the last word is not the page's */
	const uint8_t *p = k->data;
	int took = 0;

	for (uint64_t i = 0; i < n && took >= 0; i++, p += took > 0 ? took : 0) {
		took = delta_apply(page, p, (size_t)(k->data + k->bytes - p));
		assert(took < 0 || (took >= DELTA_MASK_BYTES && took <= k->data + k->bytes - p));
		assert(!page[WIRE_PAGE_BYTES / 8]);
	}
}

static void on_runs(const struct wire_header *h, const uint8_t *body)
{
	static uint8_t content[WIRE_CONTENT_MAX];
	struct wire_run runs[WIRE_RUNS_MAX];
	struct wire_content k;
	struct codec codec;
	struct err e = {0};
	uint64_t n = 0, total = 0;

	if (wire_runs_decode(h, body, BLOCK_PAGES, runs, &n, &e))
		return;
	for (unsigned i = 0; i < h->count; i++) {
		assert(runs[i].n_pages && runs[i].first + (uint64_t)runs[i].n_pages <= BLOCK_PAGES);
		assert(!i || runs[i].first >= runs[i - 1].first + (uint64_t)runs[i - 1].n_pages);
		total += runs[i].n_pages;
	}
	assert(total == n && n <= BLOCK_PAGES);
	if (h->type != WIRE_DATA || wire_content_decode(h, body, n, &k, &e))
		return;
	assert(n && n <= WIRE_PAGES_MAX && k.data > body && k.data + k.bytes == body + h->length &&
		k.bytes <= WIRE_CONTENT_MAX);
	if (h->flags == WIRE_DELTA) {
		on_deltas(&k, n);
		return;
	}
	codec_init(&codec, 0);
	if (h->flags != WIRE_RAW && !codec_unpack(&codec, h->flags, k.data, k.bytes, content, n * WIRE_PAGE_BYTES))
		assert(page_is_zero(content) || page_digest(content));
	codec_fini(&codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ram_block block = {.bytes = BLOCK_PAGES * WIRE_PAGE_BYTES, .page_bytes = 4096};
	struct wire_hello hello;
	struct wire_header h;
	struct err e = {0};
	uint8_t *body, again[WIRE_HELLO_BYTES];

	if (size >= WIRE_HELLO_BYTES && !xfer_hello_decode(data, &hello, &e)) {
		xfer_hello_encode(&hello, again);
		assert(!memcmp(again, data, sizeof(again)));
		data += WIRE_HELLO_BYTES, size -= WIRE_HELLO_BYTES;
	}
	while (size >= WIRE_HEADER_BYTES && !wire_header_decode(data, &h, &e)) {
		assert(h.length <= WIRE_BODY_MAX);
		data += WIRE_HEADER_BYTES, size -= WIRE_HEADER_BYTES;
		if (h.length > size)
			return 0;
		/* A copy of exactly that size: the sanitizer sees each octet too many. */
		body = malloc(h.length ? h.length : 1);
		memcpy(body, data, h.length);
		if (h.type == WIRE_GEOMETRY)
			wire_geometry_check(&h, body, &block, 1, &e);
		else if (h.type == WIRE_DATA || h.type == WIRE_ZERO || h.type == WIRE_HOLE || h.type == WIRE_WANTED ||
			h.type == WIRE_FETCH)
			on_runs(&h, body);
		free(body);
		data += h.length, size -= h.length;
	}
	return 0;
}
