/* The way back: one policy from memory to text, and one key of it as a command line gives it. By the schema, like the reader: what can be
 * parsed can be written. See conf.h. No state. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/value.h"

static const struct key_table *policy_keys(void)
{
	return schema_policies.keys[0].sub;
}

/* ---- text ---- */

static void quote(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++)
		fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	fputc('"', f);
}

static void write_days(FILE *f, uint64_t bits)
{
	static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
	const char *sep = "\"";

	for (unsigned i = 0; i < 7; i++) {
		if (!(bits >> i & 1))
			continue;
		fprintf(f, "%s%s", sep, names[i]);
		sep = ",";
	}
	fputc('"', f);
}

/* In the largest unit in which it is a whole number. */
static void write_size(FILE *f, uint64_t bytes)
{
	static const char units[] = "\0KMGTP";
	unsigned i = 0;

	for (; bytes && bytes % 1024 == 0 && i < 5; i++)
		bytes /= 1024;
	fprintf(f, "\"%llu%.1s\"", (unsigned long long)bytes, units + i);
}

static uint64_t number_at(const struct key *k, const char *at)
{
	return k->size == 1    ? *(const uint8_t *)at
		: k->size == 2 ? *(const uint16_t *)at
		: k->size == 4 ? *(const uint32_t *)at
			       : *(const uint64_t *)at;
}

static bool is_text(const struct key *k)
{
	switch (k->type) {
	case KEY_NAME:
	case KEY_TEXT:
	case KEY_ADDRESS:
	case KEY_MAC:
	case KEY_UUID:
	case KEY_PATH:
	case KEY_FILE:
	case KEY_DIR:
	case KEY_PROGRAM:
	case KEY_ZONE: /* its name comes first in it */
		return true;
	default:
		return false;
	}
}

static void write_number(FILE *f, const struct key *k, uint64_t v)
{
	if (k->word && v == k->word_value)
		quote(f, k->word);
	else if (k->type == KEY_BOOL)
		fputs(v ? "true" : "false", f);
	else if (k->type == KEY_MS)
		fprintf(f, "\"%llums\"", (unsigned long long)v);
	else if (k->type == KEY_SIZE)
		write_size(f, v);
	else if (k->type == KEY_TOD)
		fprintf(f, "\"%02u:%02u\"", (unsigned)v / 60, (unsigned)v % 60);
	else if (k->type == KEY_DAYS)
		write_days(f, v);
	else if (k->type == KEY_WORD)
		quote(f, k->words[v]);
	else
		fprintf(f, "%llu", (unsigned long long)v);
}

static void write_value(FILE *f, const struct key *k, const char *base)
{
	const char *at = base + k->off;

	if (is_text(k))
		quote(f, at);
	else if (k->type == KEY_REAL)
		fprintf(f, "%.9g", *(const double *)at);
	else if (k->type == KEY_PORTS)
		fprintf(f, "\"%u-%u\"", *(const uint16_t *)at, *(const uint16_t *)(base + k->off2));
	else
		write_number(f, k, number_at(k, at));
}

/* Is the value what an absent key gives? */
static bool is_default(const struct key *k, const char *base)
{
	size_t end = (k->off > k->off2 ? k->off : k->off2) + k->size;
	char reason[REASON_MAX], *other = calloc(1, end + sizeof(uint64_t));
	struct value v = value_of_text(k->def ? k->def : "");
	bool same = false;

	if (other && (!k->def || !value_store(k, &v, "", other, reason)))
		same = is_text(k) ? strcmp(base + k->off, other + k->off) == 0
				  : memcmp(base + k->off, other + k->off, k->size) == 0 &&
				(k->type != KEY_PORTS ||
					memcmp(base + k->off2, other + k->off2, sizeof(uint16_t)) == 0);
	free(other);
	return same;
}

static void write_table(FILE *f, const struct key_table *t, const char *base);

static void write_strings(FILE *f, const struct key *k, const char *base)
{
	unsigned n = *(const unsigned *)(base + k->off2);

	if (!n)
		return;
	fprintf(f, " %s = [", k->name);
	for (unsigned i = 0; i < n; i++) {
		fputs(i ? ", " : " ", f);
		quote(f, base + k->off + i * k->size);
	}
	fputs(" ];", f);
}

static void write_list(FILE *f, const struct key *k, const char *base)
{
	const char *elems = k->list->heap ? *(char *const *)(base + k->list->off) : base + k->list->off;
	unsigned n = *(const unsigned *)(base + k->list->off_n);

	if (!n)
		return;
	fprintf(f, "\n  %s = (", k->name);
	for (unsigned i = 0; i < n; i++) {
		fputs(i ? ", {" : " {", f);
		write_table(f, k->sub, elems + i * k->list->elem_size);
		fputs(" }", f);
	}
	fputs(" );", f);
}

/* One that is not given is left out; one without anything in it, too, where being given means nothing. */
static void write_group(FILE *f, const struct key *k, const char *base)
{
	char *text = NULL;
	size_t n = 0;
	FILE *below;

	if (k->off2 && !*(const bool *)(base + k->off2))
		return;
	below = open_memstream(&text, &n);
	if (!below)
		return;
	write_table(below, k->sub, base);
	fclose(below);
	if (text && (n || k->off2))
		fprintf(f, "\n  %s = {%s };", k->name, text);
	free(text);
}

/* A window has both of its ends, also where one of them is as the default. */
static bool window_given(const struct key_table *t, const char *base)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->keys[i].type == KEY_TOD && !is_default(&t->keys[i], base))
			return true;
	return false;
}

static void write_table(FILE *f, const struct key_table *t, const char *base)
{
	bool window = window_given(t, base);

	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];

		if (k->type == KEY_GROUP) {
			write_group(f, k, base);
		} else if (k->type == KEY_LIST) {
			write_list(f, k, base);
		} else if (k->type == KEY_STRINGS) {
			write_strings(f, k, base);
		} else if ((k->flags & KF_REQUIRED) || (k->type == KEY_TOD && window) || !is_default(k, base)) {
			fprintf(f, " %s = ", k->name);
			write_value(f, k, base);
			fputc(';', f);
		}
	}
}

char *conf_policy_text(const struct policy *p)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	bool bad;

	if (!f)
		return NULL;
	fputs("policies = (\n {", f);
	write_table(f, policy_keys(), (const char *)p);
	fputs(" }\n);\n", f);
	bad = ferror(f);
	if (fclose(f) || bad) {
		free(text);
		text = NULL;
	}
	return text;
}

/* ---- one key ---- */

static int fault(char *reason, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fault(char *reason, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void set_defaults(const struct key_table *t, void *base)
{
	char reason[REASON_MAX];
	struct value v;

	for (unsigned i = 0; i < t->n; i++) {
		if (t->keys[i].type == KEY_GROUP)
			set_defaults(t->keys[i].sub, base);
		if (!t->keys[i].def)
			continue;
		v = value_of_text(t->keys[i].def);
		value_store(&t->keys[i], &v, "", base, reason);
	}
}

struct found { /* a key of a policy, and the group that it is in, if any */
	const struct key *k, *group;
};

/* "cpu.util-upper", or the last part of it alone. Number of keys that it may be; the last of them in @out. */
static unsigned find_key(const char *key, struct found *out, char *all, size_t size)
{
	const struct key_table *t = policy_keys();
	unsigned n = 0;
	size_t len = 0;
	char whole[128];

	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];

		if (strcmp(k->name, key) == 0) {
			*out = (struct found){k, NULL};
			return 1;
		}
		for (unsigned j = 0; k->type == KEY_GROUP && j < k->sub->n; j++) {
			snprintf(whole, sizeof(whole), "%s.%s", k->name, k->sub->keys[j].name);
			if (strcmp(whole, key) != 0 && strcmp(k->sub->keys[j].name, key) != 0)
				continue;
			*out = (struct found){&k->sub->keys[j], k};
			len += len < size ? (size_t)snprintf(all + len, size - len, "%s%s", n ? " or " : "", whole) : 0;
			n++;
		}
	}
	return n;
}

/* The key that was probably meant, or NULL. */
static const char *near_key(const char *key)
{
	const struct key_table *t = policy_keys();
	const char *dot = strrchr(key, '.');
	const struct key *near = schema_nearest(t, key), *k;

	for (unsigned i = 0; i < t->n && !near; i++)
		if (t->keys[i].type == KEY_GROUP && (k = schema_nearest(t->keys[i].sub, dot ? dot + 1 : key)))
			near = k;
	return near ? near->name : NULL;
}

static int set_strings(const struct key *k, const char *key, const char *value, char *base, char *reason, size_t size)
{
	unsigned n = 0;
	char one[128], why[REASON_MAX];

	memset(base + k->off, 0, k->size * k->max);
	while (*value) {
		size_t len = strcspn(value, ",");
		struct key name = {.name = k->name, .type = KEY_NAME, .off = k->off + n * k->size, .size = k->size};
		struct value v = {.kind = V_TEXT, .s = one};

		if (n == k->max)
			return fault(reason, size, "%s: more than %u names", key, (unsigned)k->max);
		snprintf(one, sizeof(one), "%.*s", (int)(len < sizeof(one) ? len : sizeof(one)), value);
		if (value_store(&name, &v, "", base, why))
			return fault(reason, size, "%s: %s", key, why);
		n++;
		value += len + (value[len] == ',');
	}
	*(unsigned *)(base + k->off2) = n;
	return 0;
}

static int set_group(const struct key *k, const char *key, const char *value, char *base, char *reason, size_t size)
{
	if (k->type == KEY_LIST)
		return fault(reason, size, "%s: a list is given in a file: policyctl set-policy FILE", key);
	if (strcmp(value, "none") != 0)
		return fault(reason, size, "%s: is a group; set one of its keys (%s.%s=..), or %s=none to take it out",
			key, key, k->sub->keys[0].name, key);
	if (k->off2)
		*(bool *)(base + k->off2) = false;
	for (unsigned i = 0; i < k->sub->n; i++) {
		const struct key *below = &k->sub->keys[i];

		memset(base + below->off, 0, below->type == KEY_STRINGS ? below->size * below->max : below->size);
		if (below->type == KEY_STRINGS)
			*(unsigned *)(base + below->off2) = 0;
	}
	set_defaults(k->sub, base);
	return 0;
}

static struct value value_given(const struct key *k, const char *value)
{
	struct value v = value_of_text(value);
	bool number = k->type == KEY_UINT || k->type == KEY_REAL || k->type == KEY_SECONDS || k->type == KEY_MS ||
		k->type == KEY_SIZE;

	if (k->type == KEY_BOOL && (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)) /* as ldm has it */
		return (struct value){.kind = V_BOOL, .i = value[0] == 'y'};
	return number || k->type == KEY_BOOL ? v : (struct value){.kind = V_TEXT, .s = value};
}

int conf_policy_set(struct policy *p, const char *key, const char *value, char *reason, size_t size)
{
	struct policy q = *p;
	struct found f = {0};
	char why[REASON_MAX], all[256] = "";
	unsigned n = find_key(key, &f, all, sizeof(all));
	const char *near = n ? NULL : near_key(key);
	struct value v;
	int rc;

	if (!n)
		return fault(reason, size, "%.80s: unknown key%s%s%s", key, near ? "; did you mean \"" : "",
			near ? near : "", near ? "\"?" : "");
	if (n > 1)
		return fault(reason, size, "%.80s: say which: %s", key, all);
	if (strcmp(f.k->name, "name") == 0)
		return fault(reason, size, "name: a policy keeps its name; add another one and remove this one");
	if (f.k->type == KEY_GROUP || f.k->type == KEY_LIST) {
		rc = set_group(f.k, key, value, (char *)&q, reason, size);
	} else if (f.k->type == KEY_STRINGS) {
		rc = set_strings(f.k, key, value, (char *)&q, reason, size);
	} else {
		v = value_given(f.k, value);
		rc = value_store(f.k, &v, "", &q, why);
		if (rc)
			return fault(reason, size, "%.80s: %s", key, why);
	}
	if (rc)
		return rc;
	if (f.group && f.group->off2)
		*(bool *)((char *)&q + f.group->off2) = true;
	*p = q;
	return 0;
}

int conf_policy_init(struct policy *p, const char *name, char *reason, size_t size)
{
	struct value v = {.kind = V_TEXT, .s = name};
	char why[REASON_MAX];
	struct policy q;

	memset(&q, 0, sizeof(q));
	set_defaults(policy_keys(), &q);
	if (value_store(&policy_keys()->keys[0], &v, "", &q, why))
		return fault(reason, size, "%s", why);
	*p = q;
	return 0;
}
