/* Figures and tables: see format.h. */
#include "policyd/api/format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void fmt_uptime(int64_t s, char out[24])
{
	long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60, sec = s % 60;

	if (s < 0)
		snprintf(out, 24, "-");
	else if (d >= 100 || (d && !h))
		snprintf(out, 24, "%lldd", d);
	else if (d)
		snprintf(out, 24, "%lldd %lldh", d, h);
	else if (h)
		snprintf(out, 24, "%lldh %lldm", h, m);
	else if (m)
		snprintf(out, 24, "%lldm %llds", m, sec);
	else
		snprintf(out, 24, "%llds", sec);
}

/* Three digits: 0.42, 4.2, 37, 370 */
static void three(double v, const char *unit, char out[24])
{
	snprintf(out, 24, v < 0.995 ? "%.2f %s" : v < 9.95 ? "%.1f %s" : "%.0f %s", v, unit);
}

void fmt_seconds(double s, char out[24])
{
	if (s < 0)
		snprintf(out, 24, "-");
	else if (s >= 99.5)
		fmt_uptime((int64_t)(s + 0.5), out);
	else
		three(s, "s", out);
}

void fmt_ms(double ms, char out[24])
{
	if (ms < 0)
		snprintf(out, 24, "-");
	else if (ms >= 999.5)
		fmt_seconds(ms / 1000, out);
	else
		snprintf(out, 24, ms > 0 && ms < 9.95 ? "%.1f ms" : "%.0f ms", ms);
}

void fmt_percent(double p, char out[24])
{
	if (p < 0)
		snprintf(out, 24, "-");
	else
		snprintf(out, 24, "%.0f %%", p);
}

void fmt_rate(double bps, char out[24])
{
	static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
	unsigned i = 0;

	if (bps < 0) {
		snprintf(out, 24, "-");
		return;
	}
	for (; bps >= 999.5 && i < 4; i++)
		bps /= 1000;
	snprintf(out, 24, i && bps < 9.95 ? "%.1f %s" : "%.0f %s", bps, units[i]);
}

void fmt_bar(unsigned percent, unsigned width, char *out)
{
	unsigned full = (percent > 100 ? 100 : percent) * width / 100;

	out[0] = '[';
	memset(out + 1, '#', full);
	memset(out + 1 + full, '-', width - full);
	memcpy(out + 1 + width, "]", 2);
}

/* ---- tables ---- */

void table_init(struct table *t, unsigned n_cols)
{
	memset(t, 0, sizeof(*t));
	t->n_cols = n_cols;
}

int table_row(struct table *t, ...)
{
	char **cells = realloc(t->cells, (size_t)(t->n_rows + 1) * t->n_cols * sizeof(*cells));
	const char *text;
	va_list ap;

	if (!cells)
		return -ENOMEM;
	t->cells = cells;
	va_start(ap, t);
	for (unsigned i = 0; i < t->n_cols; i++) {
		text = va_arg(ap, const char *);
		cells[t->n_rows * t->n_cols + i] = strdup(text ? text : "-");
	}
	va_end(ap);
	t->n_rows++;
	return 0;
}

/* Columns on a screen, not bytes: continuation bytes of UTF-8 take none. */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static const char *cell(const struct table *t, unsigned row, unsigned col)
{
	const char *s = t->cells[row * t->n_cols + col];

	return s ? s : "-";
}

void table_print(const struct table *t, FILE *f)
{
	for (unsigned r = 0; r < t->n_rows; r++) {
		for (unsigned c = 0; c < t->n_cols; c++) {
			size_t width = 0, own = width_of(cell(t, r, c));

			for (unsigned i = 0; i < t->n_rows; i++)
				width = width_of(cell(t, i, c)) > width ? width_of(cell(t, i, c)) : width;
			fputs(cell(t, r, c), f);
			if (c + 1 < t->n_cols)
				fprintf(f, "%*s", (int)(width - own) + 2, "");
		}
		fputc('\n', f);
	}
}

void table_fini(struct table *t)
{
	for (unsigned i = 0; i < t->n_rows * t->n_cols; i++)
		free(t->cells[i]);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

/* ---- nearest ---- */

#define NEAR_MAX 32

static unsigned distance(const char *a, const char *b)
{
	unsigned row[NEAR_MAX + 1], diagonal, above, cost;
	size_t na = strlen(a), nb = strlen(b);

	if (na > NEAR_MAX || nb > NEAR_MAX)
		return NEAR_MAX;
	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= na; i++) {
		diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			above = row[j];
			cost = diagonal + (a[i - 1] != b[j - 1]);
			cost = above + 1 < cost ? above + 1 : cost;
			row[j] = row[j - 1] + 1 < cost ? row[j - 1] + 1 : cost;
			diagonal = above;
		}
	}
	return row[nb];
}

const char *nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_d = strlen(word) < 4 ? 2 : 3, d;

	for (; *names; names++) {
		d = distance(word, *names);
		if (d < best_d) {
			best_d = d;
			best = *names;
		}
	}
	return best;
}
