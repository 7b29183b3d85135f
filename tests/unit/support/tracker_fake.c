/* See tracker_fake.h. */
#include "tests/unit/support/tracker_fake.h"

#include <errno.h>
#include <stdlib.h>

static int on_arm(struct tracker *t, struct err *e)
{
	struct tracker_fake *f = t->priv;

	(void)e;
	pthread_mutex_lock(&f->lock);
	for (unsigned b = 0; b < f->n_blocks; b++)
		bitmap_clear(&f->marked[b]);
	f->n_armed++;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int64_t on_harvest(struct tracker *t, struct bitmap dirty[], struct err *e)
{
	struct tracker_fake *f = t->priv;
	uint64_t from, start, end;
	int64_t n = 0;

	pthread_mutex_lock(&f->lock);
	if (++f->n_harvests == f->fail_harvest) {
		pthread_mutex_unlock(&f->lock);
		return err_set(e, ESTALE, "the mapping changed (test)");
	}
	for (unsigned b = 0; b < f->n_blocks; b++) {
		for (from = 0; bitmap_next_run(&f->marked[b], from, &start, &end); from = end)
			n += (int64_t)bitmap_set_range(&dirty[b], start, end);
		bitmap_clear(&f->marked[b]);
	}
	pthread_mutex_unlock(&f->lock);
	return n;
}

static int64_t on_peek(struct tracker *t, struct err *e)
{
	struct tracker_fake *f = t->priv;
	int64_t n = 0;

	(void)e;
	pthread_mutex_lock(&f->lock);
	for (unsigned b = 0; b < f->n_blocks; b++)
		n += (int64_t)bitmap_count(&f->marked[b]);
	pthread_mutex_unlock(&f->lock);
	return n;
}

static int on_peek_part(
	struct tracker *t, unsigned block, uint64_t from, uint64_t to, struct bitmap *dirty, struct err *e)
{
	struct tracker_fake *f = t->priv;
	uint64_t start, end;

	(void)e;
	pthread_mutex_lock(&f->lock);
	for (; from < to && bitmap_next_run(&f->marked[block], from, &start, &end); from = end)
		bitmap_set_range(dirty, start, end < to ? end : to);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static void on_close(struct tracker *t)
{
	(void)t;
}

static const struct tracker_ops fake_ops = {.name = "fake",
	.arm = on_arm,
	.harvest = on_harvest,
	.peek = on_peek,
	.peek_part = on_peek_part,
	.close = on_close};

void tracker_fake_init(struct tracker_fake *f, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out)
{
	*f = (struct tracker_fake){.lock = PTHREAD_MUTEX_INITIALIZER, .n_blocks = n_blocks};
	for (unsigned b = 0; b < n_blocks; b++)
		if (bitmap_init(&f->marked[b], blocks[b].bytes / blocks[b].page_bytes))
			abort();
	*out = (struct tracker){.ops = &fake_ops, .priv = f};
}

void tracker_fake_fini(struct tracker_fake *f)
{
	for (unsigned b = 0; b < f->n_blocks; b++)
		bitmap_fini(&f->marked[b]);
}

void tracker_fake_mark(struct tracker_fake *f, unsigned block, uint64_t page, uint64_t n_pages)
{
	pthread_mutex_lock(&f->lock);
	bitmap_set_range(&f->marked[block], page, page + n_pages);
	pthread_mutex_unlock(&f->lock);
}
