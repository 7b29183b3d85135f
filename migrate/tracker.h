/* Dirty-page trackers, behind one table, so that the engine does not know which one works here.
 *
 * uffd: userfaultfd injected into QEMU, asynchronous write protection, PAGEMAP_SCAN (Linux 6.7). soft-dirty: bits in /proc/PID/pagemap, QEMU
 * held still at each harvest (older kernels, on hosts without swap). fake: for tests, fed by hand.
 * Measured (Linux 6.18): a page that is punched and then only *read* by the guest becomes a zero page that is neither a hole nor reported as
 * written. Its content is undefined to the guest by the balloon's contract, but a full comparison of both memories may see it.
 * The rule that every caller must keep (facts.md): harvest (which re-arms) -> drain the disks -> copy. Worker's engine thread only. */
#ifndef MIGRATE_TRACKER_H
#define MIGRATE_TRACKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"
#include "domain/ram.h"

struct bitmap { /* one bit a page (of the block's page_bytes), per RAM block */
	uint64_t *words;
	uint64_t n_pages;
};
int bitmap_init(struct bitmap *b, uint64_t n_pages); /* all clear */
void bitmap_fini(struct bitmap *b);
void bitmap_clear(struct bitmap *b);
/* Set [from, to), cut at the end. Returns how many were clear before. */
uint64_t bitmap_set_range(struct bitmap *b, uint64_t from, uint64_t to);
/* Clear [from, to), cut at the end. Returns how many were set before. */
uint64_t bitmap_clear_range(struct bitmap *b, uint64_t from, uint64_t to);
/* The first run of set bits at or after @from. false: none. */
bool bitmap_next_run(const struct bitmap *b, uint64_t from, uint64_t *start_out, uint64_t *end_out);
bool bitmap_test(const struct bitmap *b, uint64_t page);
uint64_t bitmap_count(const struct bitmap *b);

struct tracker {
	const struct tracker_ops *ops;
	void *priv;
};

struct tracker_ops {
	const char *name;
	/* Arm all pages of all blocks, holes too. After this every write is seen. */
	int (*arm)(struct tracker *t, struct err *e);
	/* OR into @dirty[block] the pages written since arm or the last harvest, and re-arm them, in one step per page. -ESTALE: QEMU's
	 * mapping changed; the migration must be abandoned. Returns the number of pages, or -errno. */
	int64_t (*harvest)(struct tracker *t, struct bitmap dirty[], struct err *e);
	/* As harvest without re-arming or clearing (for looking). */
	int64_t (*peek)(struct tracker *t, struct err *e);
	/* OR into @dirty those of the pages [from, to) of one block that a harvest would report now. Returns 0 or -errno. NULL where a mark that was seen
	 * may be gone by the next harvest. */
	int (*peek_part)(
		struct tracker *t, unsigned block, uint64_t from, uint64_t to, struct bitmap *dirty, struct err *e);
	/* The next run of the pages [@from, @to) of one block that QEMU's page tables have nothing for: only those can be holes of its file. 1, 0: none is
	 * left, or -errno. Any thread. NULL: that cannot be told here. */
	int (*next_absent)(const struct tracker *t, unsigned block, uint64_t from, uint64_t to, uint64_t *start_out,
		uint64_t *end_out, struct err *e);
	void (*close)(struct tracker *t); /* the guest goes on at full speed */
};

/* Can this kernel and this process be tracked, and with what? 0, or -ENOTSUP with the reason (for pre-checks). Injects nothing. */
int tracker_probe(pid_t pid, struct err *e);
/* Is what works here soft-dirty marks? They forget a write to a page that is punched and read again before the next look (tracker_soft.c), so
 * all RAM is compared while the guest stands. Any thread. */
bool tracker_needs_digest(void);
/* Best tracker that works here. @blocks is borrowed and must outlive the tracker. */
int tracker_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e);

#endif
