/* See qmp_json.h. Called by domain/qmp.c only. The second pass, over numbers that jansson refuses, is rare: unset balloon statistics. */
#include "domain/qmp_json.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number at @s (digits, up to @end): its length; *wrap_out says whether it is an integer in (INT64_MAX, UINT64_MAX]. */
static size_t number_scan(const char *s, const char *end, uint64_t *value_out, bool *wrap_out)
{
	const char *p = s;
	uint64_t v = 0;
	bool fits = true;

	for (; p < end && isdigit((unsigned char)*p); p++)
		fits = fits && !__builtin_mul_overflow(v, 10, &v) &&
			!__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v);
	*wrap_out = fits && v > INT64_MAX && (p == end || !strchr(".eE", *p));
	*value_out = v;
	while (p < end && *p && strchr(".eE+-0123456789", *p))
		p++;
	return (size_t)(p - s);
}

/* Copy @line with the big numbers outside strings replaced. A replacement is at most one character longer than what it replaces,
 * and that has 19: 21/20 of the input is enough. NULL: no memory. */
static char *wrap_big_numbers(const char *line, size_t n, size_t *n_out)
{
	const char *p = line, *end = line + n;
	char *out = malloc(n + n / 16 + 32), *w = out;
	bool in_string = false, wrap = false;
	uint64_t v;

	while (out && p < end) {
		size_t len = 1;

		if (in_string && *p == '\\' && p + 1 < end)
			len = 2;
		else if (*p == '"')
			in_string = !in_string;
		else if (!in_string && (isdigit((unsigned char)*p) || *p == '-'))
			len = *p == '-' ? 1 + number_scan(p + 1, end, &v, &wrap) : number_scan(p, end, &v, &wrap);
		if (!in_string && isdigit((unsigned char)*p) && wrap) {
			w += sprintf(w, "%" PRId64, (int64_t)v);
		} else {
			memcpy(w, p, len);
			w += len;
		}
		p += len;
	}
	*n_out = out ? (size_t)(w - out) : 0;
	return out;
}

json_t *qmp_json_parse(const char *line, size_t n, struct err *e)
{
	json_error_t je;
	json_t *j = json_loadb(line, n, 0, &je);

	if (!j && json_error_code(&je) == json_error_numeric_overflow) {
		size_t n2;
		char *wrapped = wrap_big_numbers(line, n, &n2);

		j = wrapped ? json_loadb(wrapped, n2, 0, &je) : NULL;
		free(wrapped);
	}
	if (!j || !json_is_object(j)) {
		err_set(e, EPROTO, "not a JSON object (%s): %.*s", j ? "another type" : je.text, n > 60 ? 60 : (int)n,
			line);
		json_decref(j);
		return NULL;
	}
	return j;
}
