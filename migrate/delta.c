/* Lines of pages that differ: see delta.h. */
#include "migrate/delta.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL /* of so few octets, and of a fixed number: a call would cost as much as the digest */
#include <xxhash.h>

static uint64_t line_digest(const uint8_t *line, uint64_t seed)
{
	return XXH3_64bits_withSeed(line, DELTA_LINE_BYTES, seed);
}

void delta_digest(const void *page, uint64_t seed, uint64_t digests[DELTA_LINES])
{
	const uint8_t *line = page;

	for (unsigned i = 0; i < DELTA_LINES; i++, line += DELTA_LINE_BYTES)
		digests[i] = line_digest(line, seed);
}

size_t delta_encode(const void *page, uint64_t seed, uint64_t digests[DELTA_LINES], uint8_t *out)
{
	const uint8_t *line = page;
	uint8_t *p = out + DELTA_MASK_BYTES;
	uint64_t changed = 0, digest;

	for (unsigned i = 0; i < DELTA_LINES; i++, line += DELTA_LINE_BYTES) {
		digest = line_digest(line, seed);
		changed |= (uint64_t)(digest != digests[i]) << i;
		digests[i] = digest;
	}
	if ((unsigned)__builtin_popcountll(changed) > DELTA_LINES_MAX)
		return 0;
	wire_put64(out, changed);
	for (uint64_t left = changed; left; left &= left - 1, p += DELTA_LINE_BYTES)
		memcpy(p, (const uint8_t *)page + (size_t)__builtin_ctzll(left) * DELTA_LINE_BYTES, DELTA_LINE_BYTES);
	return (size_t)(p - out);
}

int delta_apply(void *page, const uint8_t *in, size_t n)
{
	const uint8_t *p = in + DELTA_MASK_BYTES;
	uint64_t changed = n < DELTA_MASK_BYTES ? UINT64_MAX : wire_get64(in);
	unsigned n_lines = (unsigned)__builtin_popcountll(changed);

	if (n_lines > DELTA_LINES_MAX || n - DELTA_MASK_BYTES < (size_t)n_lines * DELTA_LINE_BYTES)
		return -EBADMSG;
	for (; changed; changed &= changed - 1, p += DELTA_LINE_BYTES)
		memcpy((uint8_t *)page + (size_t)__builtin_ctzll(changed) * DELTA_LINE_BYTES, p, DELTA_LINE_BYTES);
	return (int)(p - in);
}
