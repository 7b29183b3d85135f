/* Digests of what was sent: see held.h. An entry of `places` is 0 (none), or the place's number plus one, times two, plus one where it is no longer what the
 * target holds: the place stays the page's. */
#include "migrate/held.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "migrate/delta.h"
#include "migrate/wire.h"

#define ROOM_MAX (1ULL << 30)
#define ROOM_SHARE 16
#define STALE 1u
#define PLACE_BYTES (DELTA_LINES * sizeof(uint64_t))

uint64_t held_room(void)
{
	unsigned long long kb = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "MemAvailable: %llu", &kb) != 1)
		;
	if (f)
		fclose(f);
	return kb * 1024 / ROOM_SHARE < ROOM_MAX ? kb * 1024 / ROOM_SHARE : ROOM_MAX;
}

/* Memory that is there once it is touched. NULL: none to be had. */
static void *reserve(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int held_init(struct held *h, const struct ram_block *blocks, unsigned n_blocks, uint64_t bytes)
{
	uint64_t n = bytes / PLACE_BYTES, all = 0;

	*h = (struct held){.n_blocks = n_blocks};
	for (unsigned i = 0; i < n_blocks; i++) {
		h->n_pages[i] = blocks[i].bytes / WIRE_PAGE_BYTES;
		all += h->n_pages[i];
	}
	n = n < all ? n : all;
	n = n < INT32_MAX - 1 ? n : INT32_MAX - 1;
	if (!n)
		return 0;
	if (getrandom(&h->seed, sizeof(h->seed), 0) != sizeof(h->seed))
		return -ENOMEM;
	for (unsigned i = 0; i < n_blocks; i++) {
		h->places[i] = reserve(h->n_pages[i] * sizeof(uint32_t));
		if (!h->places[i])
			goto no_memory;
	}
	h->digests = reserve(n * PLACE_BYTES);
	if (!h->digests)
		goto no_memory;
	h->n_max = (uint32_t)n;
	return 0;
no_memory:
	held_fini(h);
	return -ENOMEM;
}

void held_fini(struct held *h)
{
	for (unsigned i = 0; i < h->n_blocks; i++)
		if (h->places[i])
			munmap(h->places[i], h->n_pages[i] * sizeof(uint32_t));
	if (h->digests)
		munmap(h->digests, h->n_max * PLACE_BYTES);
	*h = (struct held){0};
}

static uint64_t *digests_at(const struct held *h, uint32_t place)
{
	return h->digests + (uint64_t)(place / 2 - 1) * DELTA_LINES;
}

uint64_t *held_get(const struct held *h, unsigned block, uint64_t page)
{
	uint32_t place = h->n_max ? h->places[block][page] : 0;

	return !place || place & STALE ? NULL : digests_at(h, place);
}

/* 0: no room. */
static uint32_t new_place(struct held *h)
{
	uint32_t n = atomic_load(&h->n_used);

	while (n < h->n_max)
		if (atomic_compare_exchange_weak(&h->n_used, &n, n + 1))
			return (n + 1) * 2;
	return 0;
}

uint64_t *held_put(struct held *h, unsigned block, uint64_t page)
{
	uint32_t *place = h->n_max ? &h->places[block][page] : NULL;

	if (place && !*place)
		*place = new_place(h);
	if (!place || !*place)
		return NULL;
	*place &= ~STALE;
	return digests_at(h, *place);
}

void held_drop(struct held *h, unsigned block, uint64_t page)
{
	if (h->n_max && h->places[block][page])
		h->places[block][page] |= STALE;
}
