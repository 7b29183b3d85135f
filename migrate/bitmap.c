/* Bitmaps of pages; see tracker.h. Owned by the engine thread; channel threads only read them between two barriers. */
#include "migrate/tracker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t n_words(uint64_t n_pages)
{
	return (n_pages + 63) / 64;
}

int bitmap_init(struct bitmap *b, uint64_t n_pages)
{
	*b = (struct bitmap){
		.words = calloc(n_words(n_pages) ? n_words(n_pages) : 1, sizeof(uint64_t)), .n_pages = n_pages};
	return b->words ? 0 : -ENOMEM;
}

void bitmap_fini(struct bitmap *b)
{
	free(b->words);
	*b = (struct bitmap){0};
}

void bitmap_clear(struct bitmap *b)
{
	memset(b->words, 0, n_words(b->n_pages) * sizeof(uint64_t));
}

/* Returns how many changed. */
static uint64_t put_range(struct bitmap *b, uint64_t from, uint64_t to, bool set)
{
	uint64_t changed = 0;

	to = to < b->n_pages ? to : b->n_pages;
	while (from < to) {
		uint64_t n = 64 - from % 64 < to - from ? 64 - from % 64 : to - from;
		uint64_t mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << from % 64, *word = &b->words[from / 64];

		changed += (uint64_t)__builtin_popcountll(mask & (set ? ~*word : *word));
		*word = set ? *word | mask : *word & ~mask;
		from += n;
	}
	return changed;
}

uint64_t bitmap_set_range(struct bitmap *b, uint64_t from, uint64_t to)
{
	return put_range(b, from, to, true);
}

uint64_t bitmap_clear_range(struct bitmap *b, uint64_t from, uint64_t to)
{
	return put_range(b, from, to, false);
}

/* First page at or after @from whose bit is @set; n_pages when there is none. */
static uint64_t next(const struct bitmap *b, uint64_t from, bool set)
{
	while (from < b->n_pages) {
		uint64_t w = (set ? b->words[from / 64] : ~b->words[from / 64]) >> from % 64;

		if (w) {
			from += (uint64_t)__builtin_ctzll(w);
			return from < b->n_pages ? from : b->n_pages;
		}
		from = (from / 64 + 1) * 64;
	}
	return b->n_pages;
}

bool bitmap_next_run(const struct bitmap *b, uint64_t from, uint64_t *start_out, uint64_t *end_out)
{
	uint64_t start = next(b, from, true);

	if (start >= b->n_pages)
		return false;
	*start_out = start;
	*end_out = next(b, start, false);
	return true;
}

bool bitmap_test(const struct bitmap *b, uint64_t page)
{
	return b->words[page / 64] >> page % 64 & 1;
}

uint64_t bitmap_count(const struct bitmap *b)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < n_words(b->n_pages); i++)
		n += (uint64_t)__builtin_popcountll(b->words[i]);
	return n;
}
