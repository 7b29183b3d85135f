/* Fuzz: the control socket's bytes: any stream, cut anywhere, becomes the same lines; each line is a request or a sentence.
 * corpus: docs/control.md */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/api/proto.h"
#include "tests/fuzz/fuzz.h"

static void one_line(const char *line, size_t len)
{
	struct request rq;
	struct err e = {0};
	char *text;

	if (request_parse(line, len, &rq, &e)) {
		if (!e.msg[0])
			abort();
		text = answer_error(rq.id, code_of(e.code), e.msg);
	} else {
		if (!rq.cmd || !json_is_object(rq.args))
			abort();
		text = answer_ok(rq.id, rq.args);
	}
	if (!text || strchr(text, '\n') != text + strlen(text) - 1)
		abort();
	free(text);
	request_fini(&rq);
}

/* @cut bytes at a time; returns the number of lines. */
static unsigned stream(const uint8_t *data, size_t size, size_t cut)
{
	struct lines l = {0};
	unsigned n = 0;
	const char *line;
	size_t len;

	for (size_t at = 0; at < size; at += cut) {
		if (lines_feed(&l, data + at, size - at < cut ? size - at : cut))
			break;
		for (; (line = lines_next(&l, &len)) != NULL; n++)
			one_line(line, len);
	}
	lines_fini(&l);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && stream(data, size, size) != stream(data, size, 1 + data[0] % 16))
		abort();
	return 0;
}
