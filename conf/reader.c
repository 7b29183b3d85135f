/* Walks libconfig's tree by the schema: see reader.h. The only file, with load.c, that knows libconfig. Loop thread. */
#include "conf/reader.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/units.h"
#include "conf/value.h"

/* ---- mistakes ---- */

static void shown_file(const struct reader *r, const char *file, char out[PATH_MAX])
{
	size_t n = strlen(r->folder);

	if (!file)
		snprintf(out, PATH_MAX, "%s", r->name);
	else if (n && strncmp(file, r->folder, n) == 0 && file[n] == '/')
		snprintf(out, PATH_MAX, "%.*s%s", PATH_MAX / 2, r->shown, file + n + 1);
	else
		snprintf(out, PATH_MAX, "%.*s%s", file[0] == '/' ? 0 : PATH_MAX / 2, r->shown, file);
}

void reader_add(struct reader *r, const char *file, unsigned line, const char *key, const char *reason)
{
	char name[PATH_MAX];
	struct mistake *v;
	char *text = NULL;
	bool valid;

	if (r->n >= MISTAKES_MAX)
		return;
	v = realloc(r->v, (r->n + 1) * sizeof(*v));
	shown_file(r, file, name);
	if (v)
		r->v = v;
	if (!v || asprintf(&text, "%s:%u: %s%s%s", name, line, key, *key ? ": " : "", reason) < 0) {
		r->no_memory = true;
		return;
	}
	valid = utf8_valid(text);
	for (char *p = text; *p; p++) /* it goes to terminals and into JSON */
		if ((unsigned char)*p < 32 || *p == 127 || ((unsigned char)*p >= 128 && !valid))
			*p = '?';
	r->v[r->n] = (struct mistake){.text = text, .line = line, .included = strcmp(name, r->name) != 0};
	snprintf(r->v[r->n++].key, KEY_PATH_MAX, "%s", key);
}

static void add_at(struct reader *r, const config_setting_t *at, const char *key, const char *reason)
{
	reader_add(r, at ? config_setting_source_file(at) : NULL, at ? (unsigned)config_setting_source_line(at) : 1,
		key, reason);
}

/* The setting for "a.b[3].c", or the deepest one on the way to it. *@whole: it is the one itself. */
static const config_setting_t *find(struct reader *r, const char *key, bool *whole)
{
	const config_setting_t *at = config_root_setting(&r->cfg), *next;
	char part[KEY_PATH_MAX];
	size_t n;

	*whole = false;
	while (*key) {
		if (*key == '[') {
			next = config_setting_get_elem(at, (unsigned)strtoul(key + 1, NULL, 10));
			key += strcspn(key, "]");
			key += *key == ']';
		} else {
			n = strcspn(key, ".[");
			snprintf(part, sizeof(part), "%.*s", (int)n, key);
			next = config_setting_is_group(at) ? config_setting_get_member(at, part) : NULL;
			key += n;
		}
		if (!next)
			return at;
		at = next;
		key += *key == '.';
	}
	*whole = true;
	return at;
}

/* The root has no line of its own: the first thing in the file stands for it. */
static const config_setting_t *with_line(struct reader *r, const config_setting_t *at)
{
	return at == config_root_setting(&r->cfg) ? NULL : at;
}

void reader_mistake(struct reader *r, const char *key, const char *fmt, ...)
{
	char reason[1024];
	va_list ap;
	bool whole;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < r->n_values; i++)
		if (strcmp(r->v[i].key, key) == 0)
			return;
	add_at(r, with_line(r, find(r, key, &whole)), key, reason);
}

void reader_warning(struct reader *r, const char *key, const char *fmt, ...)
{
	char reason[1024] = "warning: ";
	size_t before = r->n;
	va_list ap;
	bool whole;

	va_start(ap, fmt);
	vsnprintf(reason + strlen(reason), sizeof(reason) - strlen(reason), fmt, ap);
	va_end(ap);
	add_at(r, with_line(r, find(r, key, &whole)), key, reason);
	r->n_warnings += r->n - before;
}

bool reader_faulty(const struct reader *r, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < r->n - r->n_warnings; i++)
		if (strncmp(r->v[i].key, key, n) == 0 && !isalnum((unsigned char)r->v[i].key[n]))
			return true;
	return false;
}

bool reader_has(struct reader *r, const char *key)
{
	bool whole;

	find(r, key, &whole);
	return whole;
}

static int by_place(const void *a, const void *b)
{
	const struct mistake *x = a, *y = b;

	if (x->included != y->included)
		return x->included ? 1 : -1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return strcmp(x->text, y->text);
}

/* @n of them from @v on, sorted. */
static int hand_over(struct reader *r, struct mistake *v, size_t n, struct conf_mistakes *out)
{
	*out = (struct conf_mistakes){0};
	if (r->no_memory)
		return -ENOMEM;
	if (!n)
		return 0;
	qsort(v, n, sizeof(*v), by_place);
	out->v = calloc(n, sizeof(*out->v));
	if (!out->v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (i && strcmp(v[i].text, out->v[out->n - 1]) == 0)
			free(v[i].text);
		else
			out->v[out->n++] = v[i].text;
		v[i].text = NULL;
	}
	return -EINVAL;
}

int reader_result(struct reader *r, struct conf_mistakes *out)
{
	return hand_over(r, r->v, r->n - r->n_warnings, out);
}

int reader_warnings(struct reader *r, struct conf_mistakes *out)
{
	int rc = hand_over(r, r->v + (r->n - r->n_warnings), r->n_warnings, out);

	return rc == -EINVAL ? 0 : rc;
}

/* ---- files and texts ---- */

static void reader_init(struct reader *r, const char *name)
{
	const char *slash = strrchr(name, '/');

	memset(r, 0, sizeof(*r));
	config_init(&r->cfg);
	snprintf(r->name, sizeof(r->name), "%s", name);
	if (slash)
		snprintf(r->shown, sizeof(r->shown), "%.*s", (int)(slash - name + 1), name);
}

static void syntax_mistake(struct reader *r)
{
	const char *what = config_error_text(&r->cfg);
	char reason[256];

	snprintf(reason, sizeof(reason), "%.100s here or just before%s", what ? what : "not readable",
		what && strstr(what, "duplicate") ? "" : "; is a ';', a quote or a bracket missing?");
	reader_add(r, config_error_file(&r->cfg), (unsigned)config_error_line(&r->cfg), "", reason);
}

int reader_text(struct reader *r, const char *text, const char *name)
{
	reader_init(r, name);
	if (name[0] == '/') /* an absolute name tells where relative paths start; else there is no such place */
		snprintf(r->folder, sizeof(r->folder), "%.*s", (int)strlen(r->shown) - (r->shown[1] != '\0'), r->shown);
	reader_scan_text(r, text);
	if (!r->n && !r->no_memory && !config_read_string(&r->cfg, text))
		syntax_mistake(r);
	return r->n || r->no_memory ? -EINVAL : 0;
}

int reader_file(struct reader *r, const char *path)
{
	char whole[2 * PATH_MAX];
	const char *slash = strrchr(path, '/');

	reader_init(r, path);
	if (!realpath(*r->shown ? r->shown : ".", r->folder))
		r->folder[0] = '\0';
	snprintf(whole, sizeof(whole), "%s/%s", r->folder, slash ? slash + 1 : path);
	reader_scan_file(r, path);
	config_set_include_dir(&r->cfg, r->folder);
	if (!r->n && !r->no_memory && !config_read_file(&r->cfg, whole))
		syntax_mistake(r);
	return r->n || r->no_memory ? -EINVAL : 0;
}

void reader_fini(struct reader *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].text);
	free(r->v);
	config_destroy(&r->cfg);
	memset(r, 0, sizeof(*r));
}

/* ---- the walk ---- */

static void fill_group(
	struct reader *r, const struct key_table *t, const config_setting_t *at, const char *path, char *base);

static void fill_defaults(struct reader *r, const struct key_table *t, char *base)
{
	char reason[REASON_MAX];
	struct value v;

	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];

		if (k->type == KEY_GROUP)
			fill_defaults(r, k->sub, base);
		if (!k->def)
			continue;
		v = value_of_text(k->def);
		if (value_store(k, &v, "", base, reason))
			reader_add(r, NULL, 0, k->name, reason); /* the schema itself is wrong: test_schema */
	}
}

/* Folder that a relative path in @at starts from: that of the file in which it stands. */
static void folder_of(const struct reader *r, const config_setting_t *at, char out[PATH_MAX])
{
	const char *file = config_setting_source_file(at), *slash = file ? strrchr(file, '/') : NULL;

	if (slash && file[0] == '/')
		snprintf(out, PATH_MAX, "%.*s", (int)(slash - file), file);
	else
		snprintf(out, PATH_MAX, "%s", r->folder);
}

static bool value_of_setting(const config_setting_t *at, struct value *v)
{
	switch (config_setting_type(at)) {
	case CONFIG_TYPE_INT:
		*v = (struct value){.kind = V_INT, .i = config_setting_get_int(at)};
		return true;
	case CONFIG_TYPE_INT64:
		*v = (struct value){.kind = V_INT, .i = config_setting_get_int64(at)};
		return true;
	case CONFIG_TYPE_FLOAT:
		*v = (struct value){.kind = V_REAL, .d = config_setting_get_float(at)};
		return true;
	case CONFIG_TYPE_BOOL:
		*v = (struct value){.kind = V_BOOL, .i = config_setting_get_bool(at)};
		return true;
	case CONFIG_TYPE_STRING:
		*v = (struct value){.kind = V_TEXT, .s = config_setting_get_string(at)};
		return true;
	default:
		return false;
	}
}

static void fill_value(struct reader *r, const struct key *k, const config_setting_t *at, const char *path, char *base)
{
	char reason[REASON_MAX], folder[PATH_MAX];
	struct value v;

	folder_of(r, at, folder);
	if (!value_of_setting(at, &v))
		snprintf(reason, sizeof(reason), "must be %s", schema_type_text(k->type));
	else if (value_store(k, &v, folder, base, reason) == 0)
		return;
	add_at(r, at, path, reason);
}

static void fill_strings(
	struct reader *r, const struct key *k, const config_setting_t *at, const char *path, char *base)
{
	unsigned *n = (unsigned *)(base + k->off2);
	const config_setting_t *e;
	char below[KEY_PATH_MAX];

	if (!config_setting_is_array(at) && !config_setting_is_list(at)) {
		add_at(r, at, path, "must be a list of names [ \"a\", \"b\" ]");
		return;
	}
	for (unsigned i = 0; (e = config_setting_get_elem(at, i)); i++) {
		struct key one = {.name = k->name, .type = KEY_NAME, .off = k->off + *n * k->size, .size = k->size};

		snprintf(below, sizeof(below), "%.200s[%u]", path, i);
		if (*n >= k->max) {
			add_at(r, e, below, "too many");
			return;
		}
		fill_value(r, &one, e, below, base);
		(*n)++;
	}
}

static void *list_elem(struct reader *r, const struct key_list *l, unsigned i, unsigned n, char *base)
{
	char **heap = (char **)(base + l->off);

	if (!l->heap)
		return base + l->off + (size_t)i * l->elem_size;
	if (!*heap)
		*heap = calloc(n, l->elem_size);
	if (!*heap) {
		r->no_memory = true;
		return NULL;
	}
	return *heap + (size_t)i * l->elem_size;
}

static void fill_list(struct reader *r, const struct key *k, const config_setting_t *at, const char *path, char *base)
{
	unsigned *n = (unsigned *)(base + k->list->off_n), total = (unsigned)config_setting_length(at);
	const config_setting_t *e;
	char below[KEY_PATH_MAX], *elem, reason[64];

	if (!config_setting_is_list(at)) {
		add_at(r, at, path, "must be a list of groups ( { ... }, ... )");
		return;
	}
	if (total > k->list->max) {
		snprintf(reason, sizeof(reason), "%u are too many; at most %u", total, k->list->max);
		add_at(r, at, path, reason);
		return;
	}
	for (unsigned i = 0; (e = config_setting_get_elem(at, i)); i++) {
		elem = list_elem(r, k->list, i, total, base);
		if (!elem)
			return;
		*n = i + 1;
		fill_defaults(r, k->sub, elem);
		snprintf(below, sizeof(below), "%.200s[%u]", path, i);
		if (config_setting_is_group(e))
			fill_group(r, k->sub, e, below, elem);
		else
			add_at(r, e, below, "must be a group { ... }");
	}
}

static void unknown_key(struct reader *r, const struct key_table *t, const config_setting_t *at, const char *path)
{
	const char *name = config_setting_name(at);
	const struct key *near = schema_nearest(t, name);
	const struct key_table *other = r->root == &schema_host ? &schema_domain : &schema_host;
	bool close = near && edit_distance(near->name, name) <= 1;
	char reason[REASON_MAX], where[128];
	int n;

	if (!close && schema_where(r->root, name, where, sizeof(where)) > 0) {
		snprintf(reason, sizeof(reason), "unknown key here; did you mean \"%s\"?", where);
	} else if (!near && schema_where(other, name, where, sizeof(where)) > 0) {
		snprintf(reason, sizeof(reason), "unknown key here; \"%s\" belongs into %s", where,
			other == &schema_host ? "policyd.cfg" : "a domain's own file");
	} else if (near) {
		snprintf(reason, sizeof(reason), "unknown key; did you mean \"%s\"?", near->name);
	} else {
		n = snprintf(reason, sizeof(reason), "unknown key; known here:");
		for (unsigned i = 0; i < t->n && n < (int)sizeof(reason); i++)
			n += snprintf(reason + n, sizeof(reason) - (size_t)n, "%s %s", i ? "," : "", t->keys[i].name);
	}
	add_at(r, at, path, reason);
}

static void fill_key(struct reader *r, const struct key *k, const config_setting_t *at, const char *path, char *base)
{
	switch (k->type) {
	case KEY_GROUP:
		if (!config_setting_is_group(at)) {
			add_at(r, at, path, "must be a group { ... }");
			break;
		}
		if (k->off2)
			*(bool *)(base + k->off2) = true;
		fill_group(r, k->sub, at, path, base);
		break;
	case KEY_LIST:
		fill_list(r, k, at, path, base);
		break;
	case KEY_STRINGS:
		fill_strings(r, k, at, path, base);
		break;
	default:
		fill_value(r, k, at, path, base);
	}
}

static void fill_group(
	struct reader *r, const struct key_table *t, const config_setting_t *at, const char *path, char *base)
{
	const config_setting_t *e;
	char below[KEY_PATH_MAX];

	for (unsigned i = 0; (e = config_setting_get_elem(at, i)); i++) {
		const struct key *k = schema_find(t, config_setting_name(e));

		snprintf(below, sizeof(below), "%.180s%s%.70s", path, *path ? "." : "", config_setting_name(e));
		if (k)
			fill_key(r, k, e, below, base);
		else if (t != &schema_policy ||
			!schema_find(&schema_host, config_setting_name(e))) /* of a whole host file, let pass */
			unknown_key(r, t, e, below);
	}
	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];

		if (!(k->flags & KF_REQUIRED) || config_setting_get_member(at, k->name))
			continue;
		snprintf(below, sizeof(below), "%.180s%s%.70s", path, *path ? "." : "", k->name);
		add_at(r, with_line(r, at), below, "is missing");
	}
}

void reader_fill(struct reader *r, const struct key_table *table, void *base)
{
	r->root = table;
	fill_defaults(r, table, base);
	fill_group(r, table, config_root_setting(&r->cfg), "", base);
	r->n_values = r->n;
}
