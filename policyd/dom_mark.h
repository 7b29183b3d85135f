/* What an operator said of a domain beside hold: pinned where it is, preferred on a host. Kept with its definition, goes with it in a move.
 * Loop thread. */
#ifndef POLICYD_DOM_MARK_H
#define POLICYD_DOM_MARK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/spec.h"

struct dom;

enum mark_kind { MARK_PIN, MARK_PREFER, MARK_KIND_COUNT };
struct dom_mark {
	bool on;
	char host[NAME_MAX_LEN]; /* MARK_PREFER */
	char reason[128], by[96];
	int64_t until_ms; /* wall clock; 0 = until taken back */
};

const char *mark_name(enum mark_kind k); /* "pin", "prefer": commands, JSON, history */
/* Is it on? Also ends one whose time is over, and records that. NULL: no. */
const struct dom_mark *dom_marked(struct dom *d, enum mark_kind k);
/* {"pin": {reason, by, until_ms, host}, ...}: those that are on; NULL where none is, or no memory. New reference. */
json_t *dom_marks_json(struct dom *d);
/* From there, whoever wrote it: what does not fit is left out. NULL: none. */
void dom_marks_take(struct dom *d, const json_t *marks);

#endif
