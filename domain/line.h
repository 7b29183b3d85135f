/* Lines out of a connection's input. */
#ifndef DOMAIN_LINE_H
#define DOMAIN_LINE_H

#include <stddef.h>

struct evbuffer;

/* The next whole line of @in with its '\n', and a NUL, to free(3); NULL: no line end yet, or no memory. *n_out: its length with the '\n'. *scanned is the
 * caller's, one for a connection, 0 in the beginning: each byte is looked at once, however slowly they come. */
char *line_take(struct evbuffer *in, size_t *scanned, size_t *n_out);

#endif
