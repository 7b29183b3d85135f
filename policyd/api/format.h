/* How policyctl writes figures and tables: three digits at most and a unit, columns two spaces apart. Pure. */
#ifndef POLICYD_API_FORMAT_H
#define POLICYD_API_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void fmt_uptime(int64_t s, char out[24]);                  /* "34s", "2m 5s", "2h 7m", "9d 3h", "120d" */
void fmt_seconds(double s, char out[24]);                  /* "0.42 s", "4.2 s", "37 s", "2m 5s" */
void fmt_ms(double ms, char out[24]);                      /* "0.4 ms", "38 ms", "1.2 s" */
void fmt_percent(double p, char out[24]);                  /* "81 %", "< 0": "-" */
void fmt_rate(double bps, char out[24]);                   /* bytes a second: "310 MB/s", "1.2 GB/s" */
void fmt_bar(unsigned percent, unsigned width, char *out); /* "[####----]"; @out has width + 3 bytes */

/* A table: the first row is the head. Cells are copied. */
struct table {
	unsigned n_cols, n_rows;
	char **cells;
};
void table_init(struct table *t, unsigned n_cols);
int table_row(struct table *t, ...); /* n_cols const char *; NULL = "-" */
/* Lines without trailing blanks. */
void table_print(const struct table *t, FILE *f);
void table_fini(struct table *t);

/* The name in @names (NULL-terminated) that is nearest to @word, or NULL when none is near. */
const char *nearest(const char *word, const char *const *names);

#endif
