/* The userfaultfd tracker: one userfaultfd made inside QEMU (inject.c), its descriptor fetched and closed there, so that it lives only in this
 * process: should we die, protection ends and the guest goes on. Write protection is asynchronous: the kernel resolves each fault itself
 * and only remembers it; PAGEMAP_SCAN reads and re-arms in one step per page. Engine thread. Facts: what it does not see (direct I/O in
 * flight, holes, other mappings) is the caller's business, except the last, which is checked at every harvest. */
#include "migrate/tracker_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/maps.h"
#include "migrate/uffd_abi.h"
#include "migrate/uffd_make.h"

#define REGIONS 4096
#define ARM_STEP_BYTES (1ULL << 30) /* QEMU's mmap lock is held for this much at a time */

struct uffd {
	pid_t pid;
	int fd, pagemap_fd;
	const struct ram_block *blocks;
	unsigned n_blocks;
	struct pm_region regions[REGIONS];
};

/* ---- making it --------------------------------------------------------------------------------------------- */

static int uffd_register(struct uffd *u, struct err *e)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_WANTED};

	if (ioctl(u->fd, UFFDIO_API, &api))
		return err_set(e, errno == EINVAL ? ENOTSUP : errno,
			"this kernel cannot track written pages (needs Linux 6.7): %s", strerror(errno));
	for (unsigned i = 0; i < u->n_blocks; i++) {
		struct uffdio_register r = {.range = {.start = u->blocks[i].qemu_addr, .len = u->blocks[i].bytes},
			.mode = UFFDIO_REGISTER_MODE_WP};

		if (ioctl(u->fd, UFFDIO_REGISTER, &r))
			return err_set(e, errno, "cannot watch %s in QEMU: %s%s", u->blocks[i].path, strerror(errno),
				errno == EBUSY ? "; another userfaultfd does (another migration?)" : "");
	}
	return 0;
}

/* ---- arming and scanning ----------------------------------------------------------------------------------- */

static int protect(struct uffd *u, uint64_t start, uint64_t len, struct err *e)
{
	struct uffdio_writeprotect wp = {.range = {.start = start, .len = len}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	while (ioctl(u->fd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN && errno != EINTR)
			return err_set(e, errno == ENOENT ? ESTALE : errno,
				"cannot write-protect QEMU's memory at %" PRIx64 ": %s", start, strerror(errno));
	return 0;
}

static int on_arm(struct tracker *t, struct err *e)
{
	struct uffd *u = t->priv;
	int ret = maps_check_blocks(u->pid, u->blocks, u->n_blocks, e);

	for (unsigned i = 0; !ret && i < u->n_blocks; i++)
		for (uint64_t off = 0; !ret && off < u->blocks[i].bytes; off += ARM_STEP_BYTES) {
			uint64_t left = u->blocks[i].bytes - off;

			ret = protect(
				u, u->blocks[i].qemu_addr + off, left < ARM_STEP_BYTES ? left : ARM_STEP_BYTES, e);
		}
	return ret;
}

/* @counted_to: address up to which pages were counted. After a list that was full the kernel may say to go on before a page that it has told
 * already (6.18: of 24152 pages 676 twice, with lists of 4096). What it tells again may be new all the same: written since, and armed anew. */
static int64_t take_regions(
	const struct uffd *u, const struct ram_block *b, int n, struct bitmap *dirty, uint64_t *counted_to)
{
	int64_t pages = 0;

	for (int i = 0; i < n; i++) {
		const struct pm_region *r = &u->regions[i];
		uint64_t from = (r->start - b->qemu_addr) / b->page_bytes;
		uint64_t to = (r->end - b->qemu_addr + b->page_bytes - 1) / b->page_bytes;

		if (dirty)
			bitmap_set_range(dirty, from, to);
		if (r->start >= *counted_to) {
			pages += (int64_t)(to - from);
			*counted_to = r->end;
		}
	}
	return pages;
}

static int scan_failed(const struct ram_block *b, struct err *e)
{
	if (errno == EPERM)
		return err_set(e, ESTALE, "QEMU's mapping of %s is no longer the one that was watched", b->path);
	return err_set(e, errno, errno == ESRCH ? "QEMU is gone (%s)" : "cannot scan the pages of %s: %s", b->path,
		strerror(errno));
}

/* All pages of a part of one block (octets) written since they were armed; re-armed if @flags says so. */
static int64_t scan_part(struct uffd *u, const struct ram_block *b, uint64_t from, uint64_t to, uint64_t flags,
	struct bitmap *dirty, struct err *e)
{
	struct pm_scan s = {.size = sizeof(s),
		.flags = flags | PM_FLAG_CHECK_WPASYNC,
		.start = b->qemu_addr + from,
		.end = b->qemu_addr + to,
		.vec = (uint64_t)(uintptr_t)u->regions,
		.vec_len = REGIONS,
		.category_mask = PM_WRITTEN,
		.return_mask = PM_WRITTEN};
	uint64_t counted_to = s.start;
	int64_t pages = 0;

	while (s.start < s.end) {
		int n = ioctl(u->pagemap_fd, PM_IOCTL_SCAN, &s);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return scan_failed(b, e);
		pages += take_regions(u, b, n, dirty, &counted_to);
		s.start = s.walk_end;
	}
	return pages;
}

/* The mapping is looked at before and after: what is scanned in between is the guest's RAM or nothing counts. */
static int64_t scan(struct uffd *u, uint64_t flags, struct bitmap *dirty, struct err *e)
{
	int64_t pages = 0, n;
	int ret = maps_check_blocks(u->pid, u->blocks, u->n_blocks, e);

	if (ret)
		return ret;
	for (unsigned i = 0; i < u->n_blocks; i++) {
		n = scan_part(u, &u->blocks[i], 0, u->blocks[i].bytes, flags, dirty ? &dirty[i] : NULL, e);
		if (n < 0)
			return n;
		pages += n;
	}
	ret = maps_check_blocks(u->pid, u->blocks, u->n_blocks, e);
	return ret ? ret : pages;
}

static int64_t on_harvest(struct tracker *t, struct bitmap dirty[], struct err *e)
{
	return scan(t->priv, PM_FLAG_WP_MATCHING, dirty, e);
}

static int64_t on_peek(struct tracker *t, struct err *e)
{
	return scan(t->priv, 0, NULL, e);
}

static int on_peek_part(
	struct tracker *t, unsigned block, uint64_t from, uint64_t to, struct bitmap *dirty, struct err *e)
{
	struct uffd *u = t->priv;
	const struct ram_block *b = &u->blocks[block];
	int64_t n;
	int ret = maps_check_blocks(u->pid, u->blocks, u->n_blocks, e);

	if (ret)
		return ret;
	n = scan_part(u, b, from * b->page_bytes, to * b->page_bytes, 0, dirty, e);
	return n < 0 ? (int)n : 0;
}

/* Ten times faster than asking the file (measured: 0.8 against 8 ms a GiB). A page that is only swapped out, or that nobody has touched since it arrived,
 * is absent too. Punching a page takes it out of the page tables first, so that what is present is content. */
static int on_next_absent(const struct tracker *t, unsigned block, uint64_t from, uint64_t to, uint64_t *start_out,
	uint64_t *end_out, struct err *e)
{
	const struct uffd *u = t->priv;
	const struct ram_block *b = &u->blocks[block];
	struct pm_region found;
	struct pm_scan s = {.size = sizeof(s),
		.flags = PM_FLAG_CHECK_WPASYNC,
		.start = b->qemu_addr + from * b->page_bytes,
		.end = b->qemu_addr + to * b->page_bytes,
		.vec = (uint64_t)(uintptr_t)&found,
		.vec_len = 1,
		.category_inverted = PM_PRESENT,
		.category_mask = PM_PRESENT,
		.return_mask = PM_PRESENT};
	int n = 0;

	while (!n && s.start < s.end) {
		n = ioctl(u->pagemap_fd, PM_IOCTL_SCAN, &s);
		if (n < 0 && errno != EINTR)
			return scan_failed(b, e);
		n = n < 0 ? 0 : n;
		s.start = n ? s.start : s.walk_end;
	}
	if (!n)
		return 0;
	*start_out = (found.start - b->qemu_addr) / b->page_bytes;
	*end_out = (found.end - b->qemu_addr + b->page_bytes - 1) / b->page_bytes;
	return 1;
}

static void on_close(struct tracker *t)
{
	struct uffd *u = t->priv;

	for (unsigned i = 0; u->fd >= 0 && i < u->n_blocks; i++) {
		struct uffdio_range r = {.start = u->blocks[i].qemu_addr, .len = u->blocks[i].bytes};

		ioctl(u->fd, UFFDIO_UNREGISTER, &r); /* fails when QEMU is gone; closing does the same then */
	}
	if (u->fd >= 0)
		close(u->fd);
	if (u->pagemap_fd >= 0)
		close(u->pagemap_fd);
	free(u);
	t->priv = NULL;
}

static const struct tracker_ops uffd_ops = {.name = "uffd",
	.arm = on_arm,
	.harvest = on_harvest,
	.peek = on_peek,
	.peek_part = on_peek_part,
	.next_absent = on_next_absent,
	.close = on_close};

int tracker_uffd_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e)
{
	struct uffd *u = calloc(1, sizeof(*u));
	struct tracker t = {.ops = &uffd_ops, .priv = u};
	char path[64];
	int ret;

	if (!u)
		return err_set(e, ENOMEM, "out of memory");
	u->pid = pid;
	u->fd = u->pagemap_fd = -1;
	u->blocks = blocks;
	u->n_blocks = n_blocks;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	u->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (u->pagemap_fd < 0)
		ret = err_set(e, errno == ENOENT ? ESRCH : errno, "%s: %s", path, strerror(errno));
	else
		ret = maps_check_blocks(pid, blocks, n_blocks, e);
	if (!ret) {
		u->fd = uffd_make(pid, UFFD_USER_MODE_ONLY, NULL, e);
		ret = u->fd < 0 ? u->fd : uffd_register(u, e);
	}
	if (ret)
		on_close(&t);
	else
		*out = t;
	return ret;
}
