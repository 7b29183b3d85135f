/* The schema: one row for each key that a configuration file may hold. The rows drive parsing, defaults, range checks, the
 * unknown-key check with its suggestion, and docs/policy-reference.md. Constant data; any thread. conf/ and its tests only. */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum key_type {      /* what is written -> what is stored at key.off */
	KEY_GROUP,   /* { ... }; sub at the same base + off; off2: bool "given" */
	KEY_LIST,    /* ( {...}, ... ); see struct key_list */
	KEY_STRINGS, /* [ "..", .. ] names -> char[max][size]; off2: unsigned count */
	KEY_NAME,    /* [A-Za-z0-9][A-Za-z0-9._-]* -> char[size] */
	KEY_TEXT,    /* any text -> char[size] */
	KEY_ADDRESS, /* IPv4, IPv6 (in brackets or not) or host name -> char[size]; ":port" -> uint16_t at off2 where not 0 */
	KEY_MAC,
	KEY_UUID,
	KEY_PATH,    /* file name, made absolute -> char[size] */
	KEY_FILE,    /* the same; must be a readable file */
	KEY_DIR,     /* the same; must be a folder */
	KEY_PROGRAM, /* the same; must be an executable file */
	KEY_BOOL,    /* -> bool */
	KEY_UINT,    /* plain number -> unsigned */
	KEY_REAL,    /* plain number -> double */
	KEY_SECONDS, /* plain number of seconds or "5s" -> unsigned */
	KEY_MS,      /* "300ms" -> unsigned */
	KEY_SIZE,    /* "512M" -> uint64_t */
	KEY_PORT,    /* plain number -> uint16_t */
	KEY_PORTS,   /* "5000-5100" -> uint16_t at off and at off2 */
	KEY_TOD,     /* "08:00" -> unsigned minutes */
	KEY_DAYS,    /* "Mon-Fri", "Mon,Wed" -> unsigned bits */
	KEY_ZONE,    /* "Europe/Berlin" -> struct zone */
	KEY_WORD,    /* one of words -> unsigned (its index) */
};

struct key_table {
	const struct key *keys;
	unsigned n;
};

struct key_list { /* where a list's elements go */
	size_t elem_size;
	size_t off, off_n; /* of the array (or pointer) and of the count */
	unsigned max;      /* elements in a fixed array; with @heap a limit only */
	int heap;          /* off is a pointer, calloc'd */
};

#define KF_REQUIRED 1u
#define KF_MEMSTEP 2u /* a multiple of MEM_STEP */

struct key {
	const char *name;
	enum key_type type;
	unsigned flags;
	size_t off, off2, size;
	uint64_t min, max;    /* stored unit; both 0 = any */
	const char *def;      /* default as an operator would write it; parsed like input. NULL = all zero */
	const char *def_text; /* for the reference where the default is worked out later */
	const char *word;     /* a word instead of a value ("unlimited"), and what it is stored as */
	uint64_t word_value;
	const char *const *words; /* KEY_WORD, NULL-terminated */
	const char *unit;         /* of a plain number, for the reference */
	const struct key_table *sub;
	const struct key_list *list;
	const char *help; /* one line */
};

extern const struct key_table schema_host;   /* root of policyd.cfg -> struct conf */
extern const struct key_table schema_policy; /* what policy says of it, the rest is let pass */
extern const struct key_table schema_domain; /* root of a domain file -> struct domain_spec */
extern const struct key_table schema_policies;
extern const struct key_table schema_policy_tests; /* policy_test.c -> struct ptests */

const struct key *schema_find(const struct key_table *table, const char *name);
/* The key of @table that @name was probably meant to be, or NULL. */
const struct key *schema_nearest(const struct key_table *table, const char *name);
/* Where in @root the exact key @name belongs, "migration.max-blackout", or 0 when nowhere. Length like snprintf. */
int schema_where(const struct key_table *root, const char *name, char *out, size_t size);
/* Edits (insert, remove, replace, swap neighbours) that make @a into @b. Texts over 64 characters: 64. */
unsigned edit_distance(const char *a, const char *b);

/* docs/policy-reference.md, whole. */
void schema_write_reference(FILE *f);
/* "512M", "0..100 %": how a value of this row is written and its range. */
void schema_range_text(const struct key *k, char *out, size_t size);
const char *schema_type_text(enum key_type type);

#endif
