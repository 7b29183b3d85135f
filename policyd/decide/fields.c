/* Tables of members <-> JSON: see fields.h. */
#include "policyd/decide/fields.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "domain/spec.h"

#define LIST_MAX 100000u
#define AT(base, f) ((char *)(base) + (f)->off)

/* ---- defaults and the end ---- */

static void init_one(const struct field *f, void *base)
{
	char *at = AT(base, f);

	switch (f->type) {
	case F_UINT:
	case F_WORD:
		*(unsigned *)at = (unsigned)f->def;
		break;
	case F_INT:
		*(int *)at = (int)f->def;
		break;
	case F_U64:
		*(uint64_t *)at = (uint64_t)f->def;
		break;
	case F_I64:
		*(int64_t *)at = (int64_t)f->def;
		break;
	case F_BOOL:
		*(bool *)at = f->def != 0;
		break;
	case F_REAL:
		*(double *)at = f->def;
		break;
	case F_TEXT:
		memset(at, 0, f->size);
		break;
	case F_GROUP:
		fields_init(f->sub, at);
		break;
	case F_SPEC:
		spec_init((struct domain_spec *)at);
		break;
	case F_LIST:
		*(void **)at = NULL;
		*(unsigned *)((char *)base + f->off_n) = 0;
		break;
	case F_ARRAY:
		memset(at, 0, f->size * f->max);
		*(unsigned *)((char *)base + f->off_n) = 0;
	}
}

void fields_init(const struct field *fields, void *base)
{
	for (const struct field *f = fields; f->key; f++)
		init_one(f, base);
}

void fields_fini(const struct field *fields, void *base)
{
	for (const struct field *f = fields; f->key; f++) {
		if (f->type == F_GROUP)
			fields_fini(f->sub, AT(base, f));
		if (f->type != F_LIST)
			continue;
		char *list = *(char **)AT(base, f);
		unsigned *n = (unsigned *)((char *)base + f->off_n);

		for (unsigned i = 0; list && i < *n; i++)
			fields_fini(f->sub, list + i * f->size);
		free(list);
		*(void **)AT(base, f) = NULL;
		*n = 0;
	}
}

/* ---- to JSON ---- */

static json_t *list_to_json(const struct field *f, const void *base)
{
	const char *list = f->type == F_ARRAY ? AT(base, f) : *(char *const *)AT(base, f);
	unsigned n = *(const unsigned *)((const char *)base + f->off_n);
	json_t *a = json_array();

	for (unsigned i = 0; a && i < n; i++) {
		if (json_array_append_new(a, fields_to_json(f->sub, list + i * f->size))) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

static json_t *one_to_json(const struct field *f, const void *base)
{
	const char *at = AT(base, f);

	switch (f->type) {
	case F_UINT:
		return json_integer(*(const unsigned *)at);
	case F_INT:
		return json_integer(*(const int *)at);
	case F_U64:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case F_I64:
		return json_integer(*(const int64_t *)at);
	case F_BOOL:
		return json_boolean(*(const bool *)at);
	case F_REAL:
		return json_real(isfinite(*(const double *)at) ? *(const double *)at : -1);
	case F_TEXT:
		return json_string(at);
	case F_WORD:
		return json_string(f->words[*(const unsigned *)at]);
	case F_GROUP:
		return fields_to_json(f->sub, at);
	case F_SPEC:
		return spec_to_json((const struct domain_spec *)at);
	case F_LIST:
	case F_ARRAY:
		return list_to_json(f, base);
	}
	return NULL;
}

json_t *fields_to_json(const struct field *fields, const void *base)
{
	json_t *o = json_object();

	for (const struct field *f = fields; o && f->key; f++) {
		if (json_object_set_new(o, f->key, one_to_json(f, base))) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

/* ---- from JSON ---- */

static int read_one(const struct field *f, const json_t *j, void *base, struct err *e);

static int read_integer(const struct field *f, const json_t *j, char *at, struct err *e)
{
	static const struct {
		json_int_t min, max;
	} ranges[] = {[F_UINT] = {0, UINT_MAX},
		[F_INT] = {INT_MIN, INT_MAX},
		[F_U64] = {0, INT64_MAX},
		[F_I64] = {INT64_MIN, INT64_MAX}};
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j))
		return err_set(e, EINVAL, "%s: must be a whole number", f->key);
	if (v < ranges[f->type].min || v > ranges[f->type].max)
		return err_set(e, EINVAL, "%s: %" JSON_INTEGER_FORMAT " is out of range", f->key, v);
	if (f->type == F_UINT || f->type == F_INT)
		*(unsigned *)at = (unsigned)v;
	else
		*(int64_t *)at = v;
	return 0;
}

static int read_text(const struct field *f, const json_t *j, char *at, struct err *e)
{
	if (!json_is_string(j))
		return err_set(e, EINVAL, "%s: must be a string", f->key);
	if (json_string_length(j) >= f->size || strlen(json_string_value(j)) != json_string_length(j))
		return err_set(e, EINVAL, "%s: longer than %zu characters, or has a zero in it", f->key, f->size - 1);
	memcpy(at, json_string_value(j), json_string_length(j) + 1);
	return 0;
}

static int read_word(const struct field *f, const json_t *j, char *at, struct err *e)
{
	for (unsigned i = 0; json_is_string(j) && f->words[i]; i++) {
		if (strcmp(f->words[i], json_string_value(j)) == 0) {
			*(unsigned *)at = i;
			return 0;
		}
	}
	return err_set(e, EINVAL, "%s: \"%.40s\" is not known", f->key, json_is_string(j) ? json_string_value(j) : "?");
}

/* Elements of an array have nothing to be freed. */
static int read_array(const struct field *f, const json_t *j, void *base, struct err *e)
{
	unsigned *n = (unsigned *)((char *)base + f->off_n);
	size_t total = json_array_size(j);
	int err;

	if (!json_is_array(j) || total > f->max)
		return err_set(e, EINVAL, "%s: must be a list of at most %u", f->key, f->max);
	for (unsigned i = 0; i < total; i++) {
		err = fields_from_json(f->sub, json_array_get(j, i), AT(base, f) + i * f->size, e);
		if (err) {
			err_wrap(e, "%s[%u]", f->key, i);
			return err;
		}
		(*n)++;
	}
	return 0;
}

static int read_list(const struct field *f, const json_t *j, void *base, struct err *e)
{
	unsigned *n = (unsigned *)((char *)base + f->off_n), total = (unsigned)json_array_size(j);
	char *list;
	int err;

	if (!json_is_array(j) || json_array_size(j) > LIST_MAX)
		return err_set(e, EINVAL, "%s: must be a list of at most %u", f->key, LIST_MAX);
	if (!total)
		return 0;
	list = calloc(total, f->size);
	if (!list)
		return err_set(e, ENOMEM, "no memory");
	*(char **)AT(base, f) = list;
	for (unsigned i = 0; i < total; i++) {
		err = fields_from_json(f->sub, json_array_get(j, i), list + i * f->size, e);
		if (err) {
			err_wrap(e, "%s[%u]", f->key, i);
			return err;
		}
		(*n)++;
	}
	return 0;
}

static int read_group(const struct field *f, const json_t *j, char *at, struct err *e)
{
	int err =
		f->type == F_SPEC ? spec_from_json(j, (struct domain_spec *)at, e) : fields_from_json(f->sub, j, at, e);

	if (err)
		err_wrap(e, "%s", f->key);
	return err;
}

static int read_one(const struct field *f, const json_t *j, void *base, struct err *e)
{
	char *at = AT(base, f);

	switch (f->type) {
	case F_UINT:
	case F_INT:
	case F_U64:
	case F_I64:
		return read_integer(f, j, at, e);
	case F_BOOL:
		if (!json_is_boolean(j))
			return err_set(e, EINVAL, "%s: must be true or false", f->key);
		*(bool *)at = json_is_true(j);
		return 0;
	case F_REAL:
		if (!json_is_number(j))
			return err_set(e, EINVAL, "%s: must be a number", f->key);
		*(double *)at = json_number_value(j);
		return 0;
	case F_TEXT:
		return read_text(f, j, at, e);
	case F_WORD:
		return read_word(f, j, at, e);
	case F_GROUP:
	case F_SPEC:
		return read_group(f, j, at, e);
	case F_LIST:
		return read_list(f, j, base, e);
	case F_ARRAY:
		return read_array(f, j, base, e);
	}
	return -EINVAL;
}

static const struct field *find(const struct field *fields, const char *key)
{
	for (; fields->key; fields++)
		if (strcmp(fields->key, key) == 0)
			return fields;
	return NULL;
}

int fields_from_json(const struct field *fields, const json_t *j, void *base, struct err *e)
{
	const struct field *f;
	const char *key;
	json_t *v;
	int err = 0;

	fields_init(fields, base);
	if (!json_is_object(j))
		return err_set(e, EINVAL, "must be an object");
	json_object_foreach((json_t *)j, key, v) {
		f = find(fields, key);
		err = f ? read_one(f, v, base, e) : err_set(e, EINVAL, "%.40s: unknown key", key);
		if (err)
			break;
	}
	for (f = fields; f->key && !err; f++)
		if (f->type == F_SPEC && !json_object_get(j, f->key)) /* nothing can stand for it */
			err = err_set(e, EINVAL, "%s: is missing", f->key);
	if (err)
		fields_fini(fields, base);
	return err;
}
