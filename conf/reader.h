/* Reading one libconfig tree by the schema, and collecting mistakes with the file and line where each stands. conf/ only. */
#ifndef CONF_READER_H
#define CONF_READER_H

#include <libconfig.h>
#include <limits.h>
#include <stdbool.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/schema.h"

#define KEY_PATH_MAX 256 /* "policies[12].cpu.util-upper" */

#define MISTAKES_MAX 1000

struct mistake {
	char *text;
	char key[KEY_PATH_MAX];
	unsigned line;
	bool included; /* stands in an include: shown after the main file's */
};

struct reader {
	config_t cfg;
	char name[PATH_MAX];   /* the main file as the caller gave it, for messages */
	char shown[PATH_MAX];  /* its folder as given, with a final '/', or "" */
	char folder[PATH_MAX]; /* the same absolute; "" where it is not known */
	struct mistake *v;
	size_t n, n_values; /* n_values: those about single values */
	size_t n_warnings;  /* of n: those that only warn; they come last */
	bool no_memory;
	const struct key_table *root;
};

/* Read and parse. 0, or -EINVAL with a mistake recorded. In both cases reader_fini. Includes are refused in texts. */
int reader_file(struct reader *r, const char *path);
int reader_text(struct reader *r, const char *text, const char *name);
void reader_fini(struct reader *r);

/* Everything that @table says about the tree, into @base (all zero before). Records mistakes; goes on after each. */
void reader_fill(struct reader *r, const struct key_table *table, void *base);

/* Record a mistake at @key ("policies[0].cpu.util-upper"); the line is that of the longest part of it that the file has. Nothing
 * is recorded where the key's own value has been refused already. */
void reader_mistake(struct reader *r, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for what is allowed and yet hardly meant. After all mistakes. */
void reader_warning(struct reader *r, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Is there a mistake at @key or below it? */
bool reader_faulty(const struct reader *r, const char *key);
/* Does the file give @key? */
bool reader_has(struct reader *r, const char *key);

/* Sort by file and line, hand over. -EINVAL when there are any, -ENOMEM (one fixed text) when some were lost, else 0. */
int reader_result(struct reader *r, struct conf_mistakes *out);
/* Only the warnings. 0, or -ENOMEM. */
int reader_warnings(struct reader *r, struct conf_mistakes *out);

/* Record one at a place. @file: as libconfig names it, NULL = the main file. */
void reader_add(struct reader *r, const char *file, unsigned line, const char *key, const char *reason);

/* conf/scan.c: record what can be said about the text alone, includes too. */
void reader_scan_file(struct reader *r, const char *path);
void reader_scan_text(struct reader *r, const char *text);

/* conf/check.c: what one row cannot know. */
void check_conf(struct reader *r, const struct conf *c);
void check_policies(struct reader *r, const struct conf *c); /* of check_conf: the policies alone */
void check_policy(struct reader *r, const struct conf *c);   /* those of schema_policy */
void check_domain(struct reader *r, const struct domain_spec *s);

/* conf/lint.c: after check_conf. */
void lint_conf(struct reader *r, const struct conf *c);

#endif
