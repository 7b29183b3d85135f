/* docs/policy-reference.md from the schema, and the words in which types and ranges are shown. No state. */
#include <stdbool.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/schema.h"

static const char *const type_texts[] = {
	[KEY_GROUP] = "a group { ... }",
	[KEY_LIST] = "a list of groups ( { ... }, ... )",
	[KEY_STRINGS] = "a list of names [ \"a\", \"b\" ]",
	[KEY_NAME] = "a name",
	[KEY_TEXT] = "a text in quotes",
	[KEY_ADDRESS] = "an address (IPv4, IPv6 or host name)",
	[KEY_MAC] = "a MAC address (\"52:54:00:12:34:56\")",
	[KEY_UUID] = "a UUID",
	[KEY_PATH] = "a file name in quotes",
	[KEY_FILE] = "a file name in quotes",
	[KEY_DIR] = "a folder in quotes",
	[KEY_PROGRAM] = "a program in quotes",
	[KEY_BOOL] = "true or false",
	[KEY_UINT] = "a whole number",
	[KEY_REAL] = "a number",
	[KEY_SECONDS] = "a time (\"15s\", \"2h\", or seconds as a number)",
	[KEY_MS] = "a time (\"300ms\", \"5s\")",
	[KEY_SIZE] = "a size (\"512M\", \"2G\")",
	[KEY_PORT] = "a port number",
	[KEY_PORTS] = "a range of ports (\"5000-5100\")",
	[KEY_TOD] = "a time of day (\"08:00\")",
	[KEY_DAYS] = "days (\"Mon-Fri\", \"Sat,Sun\")",
	[KEY_ZONE] = "a time zone (\"Europe/Berlin\")",
	[KEY_WORD] = "a known word",
};

const char *schema_type_text(enum key_type type)
{
	return type_texts[type];
}

static void quantity(const struct key *k, uint64_t v, char out[24])
{
	if (k->type == KEY_SIZE)
		size_format(v, out);
	else if (k->type == KEY_MS && v % 1000)
		snprintf(out, 24, "%ums", (unsigned)v);
	else if (k->type == KEY_MS || k->type == KEY_SECONDS)
		snprintf(out, 24, "%us", (unsigned)(k->type == KEY_MS ? v / 1000 : v));
	else
		snprintf(out, 24, "%llu", (unsigned long long)v);
}

void schema_range_text(const struct key *k, char *out, size_t size)
{
	char lo[24], hi[24];
	int n = 0;

	out[0] = '\0';
	if (k->words) {
		for (unsigned i = 0; k->words[i] && (size_t)n < size; i++)
			if (strcmp(k->words[i], "unset") != 0)
				n += snprintf(out + n, size - (size_t)n, "%s\"%s\"", n ? ", " : "", k->words[i]);
		return;
	}
	if (k->min || k->max) {
		quantity(k, k->min, lo);
		quantity(k, k->max, hi);
		n = snprintf(out, size, "%s..%s%s%s", lo, hi, k->unit ? " " : "", k->unit ? k->unit : "");
	}
	if (k->word && strcmp(k->word, "unset") != 0 && (size_t)n < size)
		snprintf(out + n, size - (size_t)n, "%s\"%s\"", n ? ", " : "", k->word);
}

static void write_row(FILE *f, const char *prefix, const struct key *k)
{
	char range[96];
	const char *def = k->def_text ? k->def_text : k->def ? k->def : "";
	bool quoted = k->def && !k->def_text && *def && k->type != KEY_UINT && k->type != KEY_REAL &&
		k->type != KEY_BOOL && k->type != KEY_PORT && k->type != KEY_SECONDS;

	schema_range_text(k, range, sizeof(range));
	quoted = quoted || (k->word && k->def && !k->def_text && strcmp(k->word, k->def) == 0);
	if (k->flags & KF_REQUIRED)
		def = "**required**";
	fprintf(f, "| `%s%s` | %s | %s | %s%s%s | %s |\n", prefix, k->name, type_texts[k->type], range,
		quoted ? "\"" : "", def, quoted ? "\"" : "", k->help);
}

static void write_table(FILE *f, const char *prefix, const struct key_table *t)
{
	char below[256];

	for (unsigned i = 0; i < t->n; i++) {
		write_row(f, prefix, &t->keys[i]);
		if (!t->keys[i].sub)
			continue;
		snprintf(below, sizeof(below), "%s%s%s.", prefix, t->keys[i].name,
			t->keys[i].type == KEY_LIST ? "[]" : "");
		write_table(f, below, t->keys[i].sub);
	}
}

static const char intro[] = "<!-- Made from the schema in conf/schema.c by `make policy-reference`; a unit test "
			    "compares. Do not edit. -->\n"
			    "# Configuration and policy reference\n\n"
			    "Files are in libconfig's format: `key = value;`, groups in `{ }`, lists in `( )`, "
			    "`@include \"FILE\"` (looked for in the\n"
			    "folder of the main file). Sizes are binary (\"512M\" is 512 x 1024 x 1024 bytes), times "
			    "\"300ms\", \"5s\", \"1m\", \"2h\", \"7d\".\n"
			    "A file name that does not begin with `/` starts at the folder of the main file. `policyd "
			    "-n -f FILE` checks a\n"
			    "configuration and changes nothing: each mistake is `file:line: key: reason`, all of them "
			    "in one run. A key that is not in\n"
			    "these tables is a mistake. Warnings come with it (docs/policies.md).\n";

static void write_chapter(FILE *f, const char *title, const char *text, const struct key_table *t)
{
	fprintf(f, "\n## %s\n\n%s\n| key | value | allowed | default | |\n| --- | --- | --- | --- | --- |\n", title,
		text);
	write_table(f, "", t);
}

void schema_write_reference(FILE *f)
{
	fputs(intro, f);
	write_chapter(f, "policyd.cfg: a host and its policies",
		"For a domain, the enabled policies that match it and whose window is open are taken by priority (then "
		"by name); the\n"
		"groups `cpu` and `memory` and the keys `relocate`, `quiet-moment`, `postcopy`, `automation`, `calendar` and `importance` come each from the first of them "
		"that gives it.\n"
		"`policyctl add-policy NAME KEY=VALUE ..` and `set-policy NAME KEY=VALUE ..` take the same keys (`cpu.util-upper=90`, "
		"or `util-upper=90`\n"
		"where only one group has it; `tags=web,db`; `cpu=none` takes a group out) on a running policyd; `list-policy NAME` "
		"shows them.\n",
		&schema_host);
	write_chapter(f, "A domain's file", "Given to `policyctl add-domain`.\n", &schema_domain);
	write_chapter(
		f, "Policy tests", "Given to `policyctl test-policy` (docs/policies.md).\n", &schema_policy_tests);
}
