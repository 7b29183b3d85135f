/* Structs to and from JSON by a table of their members, both ways from the same rows, so that nothing is lost on one of them.
 * decide/ only. Pure; any thread. */
#ifndef POLICYD_DECIDE_FIELDS_H
#define POLICYD_DECIDE_FIELDS_H

#include <jansson.h>
#include <stddef.h>

#include "domain/err.h"

enum field_type { F_UINT, F_INT, F_U64, F_I64, F_BOOL, F_REAL, F_TEXT, F_WORD, F_GROUP, F_SPEC, F_LIST, F_ARRAY };

struct field {
	const char *key;
	enum field_type type;
	size_t off, size;         /* size: of a text's buffer; of a list's element */
	double def;               /* where the key is absent; an index for F_WORD */
	const char *const *words; /* F_WORD: an enum's names, NULL-terminated */
	const struct field *sub;  /* F_GROUP: members of a struct at off; F_LIST, F_ARRAY: of each element */
	size_t off_n; /* unsigned count. F_LIST: off is a malloc'd pointer; F_ARRAY: a fixed array of max elements */
	unsigned max;
};

void fields_init(const struct field *fields, void *base); /* defaults; lists empty */
void fields_fini(const struct field *fields, void *base); /* frees lists, at every depth */
json_t *fields_to_json(
	const struct field *fields, const void *base); /* numbers that are no numbers are written as -1 */
/* Unknown keys are refused; absent ones have their default, except a spec, which must be there. @base must be fresh memory; on failure everything in it has been freed. */
int fields_from_json(const struct field *fields, const json_t *j, void *base, struct err *e);

#endif
