/* Fuzzer of the control channel's frames (docs/wire.md): a header and a payload, as the session reads them. What decodes must encode, and
 * decode to the same again. The header's length is made to follow the data, or hardly a mutant would get beyond it.
 * corpus: tests/fuzz/corpus/control */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "migrate/control.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t first[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX], second[sizeof(first)];
	struct control_header h;
	struct control_msg msg, again;
	struct err e = {0};
	int n;

	if (size < CONTROL_HEADER_BYTES || control_header_decode(data, &h, &e) != 0 || h.ignore)
		return 0;
	h.length = (uint32_t)(size - CONTROL_HEADER_BYTES);
	if (h.length > CONTROL_PAYLOAD_MAX || control_decode(&h, data + CONTROL_HEADER_BYTES, &msg, &e) != 0)
		return 0;
	n = control_encode(&msg, first, sizeof(first));
	assert(n > 0);
	assert(control_header_decode(first, &h, &e) == 0);
	assert(control_decode(&h, first + CONTROL_HEADER_BYTES, &again, &e) == 0);
	assert(control_encode(&again, second, sizeof(second)) == n);
	assert(memcmp(first, second, (size_t)n) == 0);
	return 0;
}
