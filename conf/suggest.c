/* Looking up keys in the schema: exactly, by likeness, and in the whole tree. Pure. */
#include <stdio.h>
#include <string.h>

#include "conf/schema.h"

#define WORD_MAX 64u

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

unsigned edit_distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	unsigned rows[3][WORD_MAX + 1], *before = rows[0], *prev = rows[1], *cur = rows[2], *t;

	if (na > WORD_MAX || nb > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= nb; j++) {
		before[j] = 0;
		prev[j] = j;
	}
	for (unsigned i = 1; i <= na; i++) {
		cur[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			cur[j] = min3(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				cur[j] = min3(cur[j], cur[j], before[j - 2] + 1);
		}
		t = before, before = prev, prev = cur, cur = t;
	}
	return prev[nb];
}

const struct key *schema_find(const struct key_table *table, const char *name)
{
	for (unsigned i = 0; i < table->n; i++)
		if (strcmp(table->keys[i].name, name) == 0)
			return &table->keys[i];
	return NULL;
}

/* "certifcate" is near "certificate" (1 of 11); a third of the word may be wrong, and a word that the other begins with counts. */
const struct key *schema_nearest(const struct key_table *table, const char *name)
{
	const struct key *best = NULL;
	unsigned best_d = WORD_MAX, d, limit;
	size_t n = strlen(name);

	for (unsigned i = 0; i < table->n; i++) {
		const char *known = table->keys[i].name;

		limit = (unsigned)((strlen(known) > n ? strlen(known) : n) + 2) / 3;
		d = edit_distance(name, known);
		if (d > limit && n >= 3 && strncmp(known, name, n) == 0)
			d = limit;
		if (d <= limit && d < best_d) {
			best = &table->keys[i];
			best_d = d;
		}
	}
	return best;
}

int schema_where(const struct key_table *root, const char *name, char *out, size_t size)
{
	char below[256];

	for (unsigned i = 0; i < root->n; i++) {
		const struct key *k = &root->keys[i];

		if (strcmp(k->name, name) == 0)
			return snprintf(out, size, "%s", name);
		if (k->sub && schema_where(k->sub, name, below, sizeof(below)) > 0)
			return snprintf(out, size, "%s%s.%s", k->name, k->type == KEY_LIST ? "[]" : "", below);
	}
	return 0;
}
