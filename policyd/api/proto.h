/* The control protocol's bytes: lines out of a stream, requests out of lines, answers. docs/control.md. Pure, no loop, no socket;
 * fuzzed and tested by itself. */
#ifndef POLICYD_API_PROTO_H
#define POLICYD_API_PROTO_H

#include <jansson.h>
#include <stddef.h>

#include "domain/err.h"

#define CONTROL_LINE_MAX (1u << 20)

struct lines { /* zero-initialised is empty */
	char *buf;
	size_t n, size, scanned, start;
};
/* Append. -EMSGSIZE: the line that is being received is over the limit (nothing more is taken); -ENOMEM. */
int lines_feed(struct lines *l, const void *data, size_t n);
/* The next whole line without its end, NUL-terminated; valid until the next call on @l. NULL: none yet. */
const char *lines_next(struct lines *l, size_t *len_out);
void lines_fini(struct lines *l);

struct request {
	json_t *id;      /* owned; json null when absent */
	const char *cmd; /* into @root */
	json_t *args;    /* borrowed from @root; an object, maybe empty */
	json_t *root;    /* owned */
};
/* -EINVAL with a sentence; then @out holds only an id where one could be read (else json null). request_fini in any case. */
int request_parse(const char *line, size_t len, struct request *out, struct err *e);
void request_fini(struct request *rq);

/* Answers, as text with the newline; free() it. NULL: no memory. @id and @result are borrowed; @result NULL = null. */
char *answer_ok(json_t *id, json_t *result);
char *answer_error(json_t *id, const char *code, const char *sentence);
char *answer_event(json_t *id, const char *event, json_t *fields);

/* The code word for an -errno of ours: "not-found", "busy", ... */
const char *code_of(int err);

#endif
