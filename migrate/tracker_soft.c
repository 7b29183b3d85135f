/* The soft-dirty tracker, for kernels without asynchronous write protection (before 6.7): bit 55 of a /proc/PID/pagemap entry is set by the
 * first write after 4 was written to /proc/PID/clear_refs (Documentation/admin-guide/mm/soft-dirty.rst). Engine thread.
 *
 * Reading and clearing are two steps, and a write in between would be lost: QEMU's threads are held still for both (freeze.c), some 20 ms a GiB.
 * What the marks do not survive is ruled out or counted as written:
 *  - a page that leaves QEMU's page table (swapped out, collapsed into a huge page, punched) forgets its mark: one that was there at the last
 *    look and is gone counts as written; one that comes, is written and goes between two looks would be missed, so hosts that take pages away
 *    by themselves (swap, huge pages on tmpfs) are refused;
 *  - one that is written, punched by the balloon, and then only read between two looks is there again without a mark. Its content is undefined to most
 *    guests, but zeroes to one that clears what it frees (init_on_free): all RAM is compared at the end (tracker_needs_digest);
 *  - hugetlbfs has no such marks.
 * Direct I/O in flight, holes and other mappings are the caller's business as with every tracker (tracker.h). When we die nothing is left but one
 * more page fault a page. */
#include "migrate/tracker_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/freeze.h"
#include "migrate/maps.h"

#define ENTRY_SOFT_DIRTY (1ULL << 55)
#define ENTRY_THERE (3ULL << 62) /* present, or on its way (swapped, being migrated) */
#define ENTRIES 4096
#define SMALL_PAGE 4096u

struct soft {
	pid_t pid;
	int pagemap_fd, clear_fd;
	const struct ram_block *blocks;
	unsigned n_blocks;
	struct bitmap there[RAM_BLOCKS_MAX]; /* in QEMU's page table at the last look */
	uint64_t entries[ENTRIES];
};

/* ---- can it be done here? ------------------------------------------------------------------------------------------ */

/* Is @word near the beginning of @path? Not in a file that is not there. */
static bool file_says(const char *path, const char *word)
{
	char text[512];
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = 0;
	return strstr(text, word) != NULL;
}

bool tracker_has_swap(void)
{
	return file_says("/proc/swaps", "\n/"); /* a headline, then a path a line */
}

static bool has_huge_tmpfs(void)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

	return !access(path, R_OK) && !file_says(path, "[never]") && !file_says(path, "[deny]");
}

/* A page of our own: marked by a write, not after clearing, marked again. */
static bool kernel_has_marks(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
	    clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	off_t at = (off_t)((uintptr_t)p / page * sizeof(uint64_t));
	uint64_t entry[3] = {0};
	bool ok = p != MAP_FAILED && map >= 0 && clear >= 0;

	if (ok) {
		*p = 1;
		ok = pread(map, &entry[0], sizeof(entry[0]), at) == sizeof(entry[0]) && write(clear, "4", 1) == 1 &&
			pread(map, &entry[1], sizeof(entry[1]), at) == sizeof(entry[1]);
		*p = 2;
		ok = ok && pread(map, &entry[2], sizeof(entry[2]), at) == sizeof(entry[2]);
	}
	if (p != MAP_FAILED)
		munmap((void *)p, page);
	if (map >= 0)
		close(map);
	if (clear >= 0)
		close(clear);
	return ok && (entry[0] & ENTRY_SOFT_DIRTY) && !(entry[1] & ENTRY_SOFT_DIRTY) && (entry[2] & ENTRY_SOFT_DIRTY);
}

int tracker_soft_probe(struct err *e)
{
	if (!kernel_has_marks())
		return err_set(e, ENOTSUP, "this kernel has no soft-dirty marks (CONFIG_MEM_SOFT_DIRTY)");
	if (tracker_has_swap())
		return err_set(e, ENOTSUP, "soft-dirty marks are lost where memory is swapped out; swapoff -a first");
	if (has_huge_tmpfs())
		return err_set(e, ENOTSUP,
			"soft-dirty marks are lost where tmpfs has transparent huge pages; write never to "
			"/sys/kernel/mm/transparent_hugepage/shmem_enabled first");
	return 0;
}

/* ---- looking ------------------------------------------------------------------------------------------------------- */

static int soft_clear(struct soft *s, struct err *e)
{
	if (pwrite(s->clear_fd, "4", 1, 0) == 1)
		return 0;
	return err_set(e, errno, "cannot clear the marks of QEMU's pages: %s", strerror(errno));
}

/* What one entry says of @page; @there (NULL: do not note) is as it was at the last look. */
static bool entry_written(uint64_t entry, struct bitmap *there, uint64_t page, bool note)
{
	bool is = (entry & ENTRY_THERE) != 0, was = bitmap_test(there, page);

	if (note && is != was) {
		if (is)
			bitmap_set_range(there, page, page + 1);
		else
			there->words[page / 64] &= ~(1ULL << (page % 64));
	}
	return (entry & ENTRY_SOFT_DIRTY) || (was && !is);
}

static int64_t look_at_block(struct soft *s, unsigned b, struct bitmap *dirty, bool note, struct err *e)
{
	uint64_t n_pages = s->blocks[b].bytes / SMALL_PAGE, first = s->blocks[b].qemu_addr / SMALL_PAGE;
	int64_t written = 0;

	for (uint64_t page = 0; page < n_pages;) {
		uint64_t want = n_pages - page < ENTRIES ? n_pages - page : ENTRIES;
		ssize_t got = pread(
			s->pagemap_fd, s->entries, want * sizeof(uint64_t), (off_t)((first + page) * sizeof(uint64_t)));

		if (got < (ssize_t)sizeof(uint64_t))
			return err_set(e, got < 0 ? errno : ESRCH, "cannot read the page table of QEMU: %s",
				got < 0 ? strerror(errno) : "it is gone");
		for (uint64_t i = 0; i < (uint64_t)got / sizeof(uint64_t); i++, page++)
			if (entry_written(s->entries[i], &s->there[b], page, note)) {
				written++;
				if (dirty)
					bitmap_set_range(dirty, page, page + 1);
			}
	}
	return written;
}

static int64_t look(struct soft *s, struct bitmap dirty[], bool note, struct err *e)
{
	int64_t written = 0, n = 0;

	for (unsigned b = 0; n >= 0 && b < s->n_blocks; b++) {
		n = look_at_block(s, b, dirty ? &dirty[b] : NULL, note, e);
		written += n;
	}
	return n < 0 ? n : written;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

/* Look and clear while nobody writes. The mapping is looked at there too: what is read is the guest's RAM or nothing counts. */
static int64_t look_and_clear(struct soft *s, struct bitmap dirty[], struct err *e)
{
	struct freeze *f = NULL;
	int64_t written = 0;
	int ret = freeze_open(s->pid, &f, e);

	if (!ret)
		ret = maps_check_blocks(s->pid, s->blocks, s->n_blocks, e);
	if (!ret) {
		written = look(s, dirty, true, e);
		ret = written < 0 ? (int)written : soft_clear(s, e);
	}
	freeze_close(f);
	return ret ? ret : written;
}

static int on_arm(struct tracker *t, struct err *e)
{
	int64_t ret = look_and_clear(t->priv, NULL, e);

	return ret < 0 ? (int)ret : 0;
}

static int64_t on_harvest(struct tracker *t, struct bitmap dirty[], struct err *e)
{
	return look_and_clear(t->priv, dirty, e);
}

static int64_t on_peek(struct tracker *t, struct err *e)
{
	struct soft *s = t->priv;
	int ret = maps_check_blocks(s->pid, s->blocks, s->n_blocks, e);

	return ret ? ret : look(s, NULL, false, e);
}

static void on_close(struct tracker *t)
{
	struct soft *s = t->priv;

	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		bitmap_fini(&s->there[b]);
	if (s->pagemap_fd >= 0)
		close(s->pagemap_fd);
	if (s->clear_fd >= 0)
		close(s->clear_fd);
	free(s);
	t->priv = NULL;
}

static const struct tracker_ops soft_ops = {
	.name = "soft-dirty", .arm = on_arm, .harvest = on_harvest, .peek = on_peek, .close = on_close};

static int proc_open(pid_t pid, const char *leaf, int flags, int *fd, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, leaf);
	*fd = open(path, flags | O_CLOEXEC);
	return *fd >= 0 ? 0 : err_set(e, errno == ENOENT ? ESRCH : errno, "%s: %s", path, strerror(errno));
}

int tracker_soft_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e)
{
	struct soft *s = calloc(1, sizeof(*s));
	struct tracker t = {.ops = &soft_ops, .priv = s};
	int ret;

	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	s->pid = pid;
	s->pagemap_fd = s->clear_fd = -1;
	s->blocks = blocks;
	s->n_blocks = n_blocks;
	ret = proc_open(pid, "pagemap", O_RDONLY, &s->pagemap_fd, e);
	if (!ret)
		ret = proc_open(pid, "clear_refs", O_WRONLY, &s->clear_fd, e);
	for (unsigned b = 0; !ret && b < n_blocks; b++) {
		if (blocks[b].page_bytes != SMALL_PAGE)
			ret = err_set(e, ENOTSUP,
				"%s has huge pages, which this kernel (before Linux 6.7) cannot track", blocks[b].path);
		else if (bitmap_init(&s->there[b], blocks[b].bytes / SMALL_PAGE))
			ret = err_set(e, ENOMEM, "out of memory");
	}
	if (!ret)
		ret = maps_check_blocks(pid, blocks, n_blocks, e);
	if (ret)
		on_close(&t);
	else
		*out = t;
	return ret;
}
