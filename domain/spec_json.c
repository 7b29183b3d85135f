/* struct domain_spec <-> JSON, both ways from one table (docs/objects.md). Reading is strict: what the table does not know is an
 * error, so that a newer peer's key is never silently dropped with the meaning it had. Any thread, pure. */
#include "domain/spec.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { K_STR, K_UINT, K_U64, K_BOOL, K_ENUM, K_OBJECT, K_LIST, K_STRLIST };

struct field {
	const char *key;
	enum kind kind;
	size_t off;  /* in the struct that the table describes */
	size_t size; /* of a string's buffer; of a list's element */
	bool required;
	bool absent_if_max;       /* K_UINT: UINT_MAX = not given, no key */
	const char *const *names; /* K_ENUM */
	const struct field *sub;  /* K_OBJECT (same struct), K_LIST (element) */
	size_t count_off, max;    /* lists: the counter and how many fit */
};

#define OFF(m) offsetof(struct domain_spec, m)
#define SIZE(m) sizeof(((struct domain_spec *)0)->m)

static const char *const arch_names[] = {[CPU_GENERIC] = "generic", [CPU_NATIVE] = "native", NULL};
static const char *const cache_names[] = {[CACHE_NONE] = "none", [CACHE_WRITEBACK] = "writeback", NULL};

static const struct field vcpus_fields[] = {
	{.key = "min", .kind = K_UINT, .off = OFF(vcpus_min), .required = true},
	{.key = "boot", .kind = K_UINT, .off = OFF(vcpus_boot), .required = true},
	{.key = "max", .kind = K_UINT, .off = OFF(vcpus_max), .required = true},
	{0},
};

static const struct field memory_fields[] = {
	{.key = "min", .kind = K_U64, .off = OFF(mem_min), .required = true},
	{.key = "boot", .kind = K_U64, .off = OFF(mem_boot), .required = true},
	{.key = "max", .kind = K_U64, .off = OFF(mem_max), .required = true},
	{0},
};

static const struct field disk_fields[] = {
	{.key = "volume",
		.kind = K_STR,
		.off = offsetof(struct spec_disk, volume),
		.size = NAME_MAX_LEN,
		.required = true},
	{.key = "readonly", .kind = K_BOOL, .off = offsetof(struct spec_disk, readonly)},
	{.key = "cache", .kind = K_ENUM, .off = offsetof(struct spec_disk, cache), .names = cache_names},
	{0},
};

static const struct field net_fields[] = {
	{.key = "switch", .kind = K_STR, .off = offsetof(struct spec_net, sw), .size = NAME_MAX_LEN, .required = true},
	{.key = "mac", .kind = K_STR, .off = offsetof(struct spec_net, mac), .size = 18, .required = true},
	{0},
};

static const struct field spec_fields[] = {
	{.key = "name", .kind = K_STR, .off = OFF(name), .size = SIZE(name), .required = true},
	{.key = "uuid", .kind = K_STR, .off = OFF(uuid), .size = SIZE(uuid), .required = true},
	{.key = "vcpus", .kind = K_OBJECT, .sub = vcpus_fields, .required = true},
	{.key = "memory", .kind = K_OBJECT, .sub = memory_fields, .required = true},
	{.key = "cpu-arch", .kind = K_ENUM, .off = OFF(cpu_arch), .names = arch_names},
	{.key = "kernel", .kind = K_STR, .off = OFF(kernel), .size = SIZE(kernel)},
	{.key = "initrd", .kind = K_STR, .off = OFF(initrd), .size = SIZE(initrd)},
	{.key = "cmdline", .kind = K_STR, .off = OFF(cmdline), .size = SIZE(cmdline)},
	{.key = "disks",
		.kind = K_LIST,
		.off = OFF(disks),
		.size = sizeof(struct spec_disk),
		.sub = disk_fields,
		.count_off = OFF(n_disks),
		.max = SPEC_DISKS_MAX},
	{.key = "networks",
		.kind = K_LIST,
		.off = OFF(nets),
		.size = sizeof(struct spec_net),
		.sub = net_fields,
		.count_off = OFF(n_nets),
		.max = SPEC_NETS_MAX},
	{.key = "console", .kind = K_STR, .off = OFF(console), .size = SIZE(console)},
	{.key = "tags",
		.kind = K_STRLIST,
		.off = OFF(tags),
		.size = NAME_MAX_LEN,
		.count_off = OFF(n_tags),
		.max = SPEC_TAGS_MAX},
	{.key = "importance", .kind = K_UINT, .off = OFF(importance), .absent_if_max = true},
	{.key = "cluster", .kind = K_STR, .off = OFF(cluster), .size = SIZE(cluster)},
	{0},
};

/* ---- writing ---- */

static json_t *struct_to_json(const struct field *fields, const char *base);

static json_t *list_to_json(const struct field *f, const char *base)
{
	unsigned i, n = *(const unsigned *)(base + f->count_off);
	json_t *a = json_array();

	for (i = 0; a && i < n; i++) {
		const char *item = base + f->off + i * f->size;

		if (json_array_append_new(a, f->kind == K_LIST ? struct_to_json(f->sub, item) : json_string(item))) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

static json_t *field_to_json(const struct field *f, const char *base)
{
	const char *p = base + f->off;

	switch (f->kind) {
	case K_STR:
		return json_string(p);
	case K_UINT:
		return json_integer(*(const unsigned *)p);
	case K_U64:
		return json_integer((json_int_t) * (const uint64_t *)p);
	case K_BOOL:
		return json_boolean(*(const bool *)p);
	case K_ENUM:
		return json_string(f->names[*(const unsigned *)p]);
	case K_OBJECT:
		return struct_to_json(f->sub, base);
	case K_LIST:
	case K_STRLIST:
		return list_to_json(f, base);
	}
	return NULL;
}

static json_t *struct_to_json(const struct field *fields, const char *base)
{
	json_t *o = json_object();
	const struct field *f;

	for (f = fields; o && f->key; f++) {
		if (f->absent_if_max && *(const unsigned *)(base + f->off) == UINT_MAX)
			continue;
		if (json_object_set_new(o, f->key, field_to_json(f, base))) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

json_t *spec_to_json(const struct domain_spec *spec)
{
	return struct_to_json(spec_fields, (const char *)spec);
}

/* ---- reading: @path is the key so far, "" or ending in a dot, for messages ---- */

#define KEY_MAX 64

static int struct_from_json(const struct field *fields, const json_t *j, char *base, const char *path, struct err *e);

static int str_from_json(const json_t *j, char *p, size_t size, const char *path, struct err *e)
{
	size_t len;

	if (!json_is_string(j))
		return err_set(e, EINVAL, "%s: must be a string", path);
	len = json_string_length(j);
	if (len >= size)
		return err_set(e, EINVAL, "%s: longer than %zu characters", path, size - 1);
	if (strlen(json_string_value(j)) != len)
		return err_set(e, EINVAL, "%s: has a zero character in it", path);
	memset(p, 0, size);
	memcpy(p, json_string_value(j), len);
	return 0;
}

static int number_from_json(const struct field *f, const json_t *j, char *p, const char *path, struct err *e)
{
	json_int_t v = json_integer_value(j), max = f->kind == K_UINT ? (json_int_t)UINT_MAX - 1 : INT64_MAX;

	if (!json_is_integer(j))
		return err_set(e, EINVAL, "%s: must be a whole number", path);
	if (v < 0 || v > max)
		return err_set(e, EINVAL, "%s: %lld is out of range", path, (long long)v);
	if (f->kind == K_UINT)
		*(unsigned *)p = (unsigned)v;
	else
		*(uint64_t *)p = (uint64_t)v;
	return 0;
}

static int enum_from_json(const struct field *f, const json_t *j, char *p, const char *path, struct err *e)
{
	unsigned i;

	for (i = 0; json_is_string(j) && f->names[i]; i++)
		if (!strcmp(f->names[i], json_string_value(j))) {
			*(unsigned *)p = i;
			return 0;
		}
	return err_set(e, EINVAL, "%s: must be \"%s\" or \"%s\"", path, f->names[0], f->names[1]);
}

static int list_from_json(const struct field *f, const json_t *j, char *base, const char *path, struct err *e)
{
	char item_path[KEY_MAX + 32];
	size_t i;
	int r;

	if (!json_is_array(j))
		return err_set(e, EINVAL, "%s: must be a list", path);
	if (json_array_size(j) > f->max)
		return err_set(e, EINVAL, "%s: %zu are more than %zu", path, json_array_size(j), f->max);
	for (i = 0; i < json_array_size(j); i++) {
		char *item = base + f->off + i * f->size;
		const json_t *v = json_array_get(j, i);

		snprintf(item_path, sizeof(item_path), "%s[%zu]%s", path, i, f->kind == K_LIST ? "." : "");
		r = f->kind == K_LIST ? struct_from_json(f->sub, v, item, item_path, e)
				      : str_from_json(v, item, f->size, item_path, e);
		if (r < 0)
			return r;
	}
	*(unsigned *)(base + f->count_off) = (unsigned)json_array_size(j);
	return 0;
}

static int field_from_json(const struct field *f, const json_t *j, char *base, const char *path, struct err *e)
{
	char *p = base + f->off, dotted[KEY_MAX + 2];

	switch (f->kind) {
	case K_STR:
		return str_from_json(j, p, f->size, path, e);
	case K_UINT:
	case K_U64:
		return number_from_json(f, j, p, path, e);
	case K_BOOL:
		if (!json_is_boolean(j))
			return err_set(e, EINVAL, "%s: must be true or false", path);
		*(bool *)p = json_is_true(j);
		return 0;
	case K_ENUM:
		return enum_from_json(f, j, p, path, e);
	case K_OBJECT:
		snprintf(dotted, sizeof(dotted), "%s.", path);
		return struct_from_json(f->sub, j, base, dotted, e);
	case K_LIST:
	case K_STRLIST:
		return list_from_json(f, j, base, path, e);
	}
	return -EINVAL;
}

static int check_unknown(const struct field *fields, const json_t *j, const char *path, struct err *e)
{
	const struct field *f;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)j, key, v) {
		for (f = fields; f->key && strcmp(f->key, key); f++)
			;
		if (!f->key)
			return err_set(e, EINVAL, "%s%.40s: unknown key", path, key);
	}
	return 0;
}

static int struct_from_json(const struct field *fields, const json_t *j, char *base, const char *path, struct err *e)
{
	const struct field *f;
	char key[KEY_MAX];
	int r;

	if (!json_is_object(j))
		return err_set(e, EINVAL, "%.*s: must be an object", path[0] ? (int)strlen(path) - 1 : 6,
			path[0] ? path : "domain");
	r = check_unknown(fields, j, path, e);
	if (r < 0)
		return r;
	for (f = fields; f->key; f++) {
		const json_t *v = json_object_get(j, f->key);

		snprintf(key, sizeof(key), "%s%s", path, f->key);
		if (!v && f->required)
			return err_set(e, EINVAL, "%s: missing", key);
		r = v ? field_from_json(f, v, base, key, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int spec_from_json(const json_t *j, struct domain_spec *out, struct err *e)
{
	struct domain_spec s;
	int r;

	spec_init(&s);
	r = struct_from_json(spec_fields, j, (char *)&s, "", e);
	if (r < 0)
		return r;
	r = spec_check(&s, e);
	if (r < 0)
		return r;
	*out = s;
	return 0;
}
