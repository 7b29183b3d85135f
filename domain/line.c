#include "domain/line.h"

#include <event2/buffer.h>
#include <stdlib.h>

char *line_take(struct evbuffer *in, size_t *scanned, size_t *n_out)
{
	struct evbuffer_ptr from, eol;
	char *line;

	if (!evbuffer_get_length(in))
		return NULL;
	evbuffer_ptr_set(in, &from, *scanned, EVBUFFER_PTR_SET);
	eol = evbuffer_search(in, "\n", 1, &from);
	if (eol.pos < 0) {
		*scanned = evbuffer_get_length(in);
		return NULL;
	}
	*scanned = 0;
	*n_out = (size_t)eol.pos + 1;
	line = malloc(*n_out + 1);
	if (!line)
		return NULL;
	evbuffer_remove(in, line, *n_out);
	line[*n_out] = 0;
	return line;
}
