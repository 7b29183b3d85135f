/* One value: from what stands in the file (or a default's text) into a member, checked against its schema row. conf/ only. */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "conf/schema.h"

#define REASON_MAX 384

struct value {
	enum { V_INT, V_REAL, V_BOOL, V_TEXT } kind;
	long long i; /* V_INT, V_BOOL */
	double d;    /* V_REAL */
	const char *s;
};

/* Store @v at @base + k->off. @folder: absolute folder that relative paths start from, "" = none. 0, or -EINVAL with the
 * reason as a phrase that can stand after "key: "; nothing is stored then. Looks at the file system for FILE, DIR, PROGRAM. */
int value_store(const struct key *k, const struct value *v, const char *folder, void *base, char reason[REASON_MAX]);

/* A default of the table as a value. */
struct value value_of_text(const char *text);

#endif
