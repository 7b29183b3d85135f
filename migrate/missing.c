/* See missing.h. Measured (Linux 6.18): UFFDIO_COPY and UFFDIO_ZEROPAGE work on a shared file's mapping from another process; EEXIST when the page has
 * come meanwhile (then its waiters are woken); the descriptor that QEMU holds keeps a waiter waiting when ours is closed, and a
 * descriptor fetched later reads that waiter's fault again. */
#include "migrate/missing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/maps.h"
#include "migrate/ram_io.h"
#include "migrate/uffd_abi.h"
#include "migrate/uffd_make.h"
#include "migrate/wire.h"

#define PAGE ((uint64_t)WIRE_PAGE_BYTES)
#define MAP_MAGIC 0x42414c504f535431ULL
#define MAP_HEAD_BYTES 4096

struct map_head { /* of the file; only read by this program on this host */
	uint64_t magic, pid, n_blocks, pages[RAM_BLOCKS_MAX];
	int64_t theirs;
	uint64_t sealed; /* 0: the list was not complete when its writer died */
};

struct missing {
	pid_t pid;
	const struct ram_block *blocks;
	unsigned n_blocks;
	char path[PATH_MAX];
	int fd, theirs, stop_fd;
	struct map_head *head;
	size_t map_bytes;
	struct bitmap wanted[RAM_BLOCKS_MAX]; /* words lie in the mapped file */
	struct ram_io io[RAM_BLOCKS_MAX];
	_Atomic uint64_t left;
	bool armed;
};

/* ---- the bitmap's file ------------------------------------------------------------------------------------- */

static size_t layout(struct missing *m)
{
	size_t at = MAP_HEAD_BYTES;

	for (unsigned b = 0; b < m->n_blocks; b++) {
		m->wanted[b].n_pages = m->blocks[b].bytes / PAGE;
		m->wanted[b].words = m->head ? (uint64_t *)(void *)((char *)m->head + at) : NULL;
		at += (m->wanted[b].n_pages + 63) / 64 * sizeof(uint64_t);
	}
	return at;
}

static int map_file(struct missing *m, bool fresh, struct err *e)
{
	int fd = open(m->path, O_RDWR | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0600), ret = 0;
	struct stat st;

	m->map_bytes = layout(m);
	if (fd < 0)
		return err_set(e, errno, "%s: %s", m->path, strerror(errno));
	if (fresh ? (ret = posix_fallocate(fd, 0, (off_t)m->map_bytes)) != 0 : fstat(fd, &st) != 0)
		ret = err_set(e, ret ? ret : errno, "%s: %s", m->path, strerror(ret ? ret : errno));
	else if (!fresh && (uint64_t)st.st_size != m->map_bytes)
		ret = err_set(e, EINVAL, "%s is of another domain", m->path);
	if (!ret) {
		m->head = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (m->head == MAP_FAILED) {
			m->head = NULL;
			ret = err_set(e, errno, "%s: %s", m->path, strerror(errno));
		}
	}
	close(fd);
	layout(m);
	return ret;
}

static int head_check(struct missing *m, struct err *e)
{
	const struct map_head *h = m->head;

	if (h->magic != MAP_MAGIC || h->n_blocks != m->n_blocks || !h->sealed)
		return err_set(e, EINVAL, "%s is not whole", m->path);
	if (h->pid != (uint64_t)m->pid)
		return err_set(e, EBADF, "the QEMU that waited for its memory (process %" PRIu64 ") has ended", h->pid);
	for (unsigned b = 0; b < m->n_blocks; b++)
		if (h->pages[b] != m->wanted[b].n_pages)
			return err_set(e, EINVAL, "%s is of another domain", m->path);
	return 0;
}

static void head_fill(struct missing *m)
{
	m->head->pid = (uint64_t)m->pid;
	m->head->n_blocks = m->n_blocks;
	for (unsigned b = 0; b < m->n_blocks; b++)
		m->head->pages[b] = m->wanted[b].n_pages;
	m->head->theirs = m->theirs;
	m->head->magic = MAP_MAGIC;
}

/* ---- the descriptor ---------------------------------------------------------------------------------------- */

static int make(struct missing *m, struct err *e)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
	int fd = uffd_make(m->pid, 0, &m->theirs, e);

	if (fd == -EPERM)
		return err_set(e, EPERM,
			"post-copy needs page faults of the kernel handled for QEMU, which this host does not allow: set "
			"vm.unprivileged_userfaultfd to 1 here, or migrate without --postcopy");
	if (fd < 0)
		return fd;
	m->fd = fd;
	if (ioctl(fd, UFFDIO_API, &api))
		return err_set(
			e, ENOTSUP, "this kernel cannot fetch pages of shared memory on demand: %s", strerror(errno));
	return 0;
}

static int range_ioctl(struct missing *m, unsigned long what, uint64_t start, uint64_t len)
{
	struct uffdio_range r = {.start = start, .len = len};

	return ioctl(m->fd, what, &r) ? -errno : 0;
}

/* One page: 0, or -EEXIST when it is there. */
static int fill(struct missing *m, uint64_t at, const void *data)
{
	for (;;) {
		struct uffdio_copy c = {.dst = at, .src = (uint64_t)(uintptr_t)data, .len = PAGE};
		struct uffdio_zeropage z = {.range = {.start = at, .len = PAGE}};

		if (ioctl(m->fd, data ? UFFDIO_COPY : UFFDIO_ZEROPAGE, data ? (void *)&c : (void *)&z) == 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

/* Whoever waits for it goes on, be it that we brought it or somebody else. */
static int fill_and_wake(struct missing *m, unsigned b, uint64_t page, const void *data, struct err *e)
{
	uint64_t at = m->blocks[b].qemu_addr + page * PAGE;
	int ret = fill(m, at, data);

	if (ret == -EEXIST)
		ret = range_ioctl(m, UFFDIO_WAKE, at, PAGE);
	return ret ? err_set(e, -ret, "cannot give QEMU page %" PRIu64 " of %s: %s", page, m->blocks[b].path,
			     strerror(-ret))
		   : 0;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static int start(const struct missing_conf *conf, struct missing **out, struct err *e)
{
	struct missing *m = calloc(1, sizeof(*m));
	int ret = 0;

	if (!m)
		return err_set(e, ENOMEM, "out of memory");
	m->pid = conf->pid;
	m->blocks = conf->blocks;
	m->n_blocks = conf->n_blocks;
	m->fd = m->theirs = -1;
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		m->io[b].fd = -1;
	m->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->stop_fd < 0)
		ret = err_set(e, errno, "eventfd: %s", strerror(errno));
	if (!ret && (size_t)snprintf(m->path, sizeof(m->path), "%s/postcopy.map", conf->run_dir) >= sizeof(m->path))
		ret = err_set(e, ENAMETOOLONG, "%s is too long", conf->run_dir);
	for (unsigned b = 0; !ret && b < conf->n_blocks; b++) {
		if (conf->blocks[b].page_bytes != WIRE_PAGE_BYTES)
			ret = err_set(e, ENOTSUP, "post-copy does not work with huge pages (%s)", conf->blocks[b].path);
		else
			ret = ram_io_open(&m->io[b], &conf->blocks[b], true, e);
	}
	*out = m;
	return ret;
}

int missing_open(const struct missing_conf *conf, struct missing **out, struct err *e)
{
	struct missing *m = NULL;
	int ret = start(conf, &m, e);

	if (!ret)
		ret = map_file(m, true, e);
	if (!ret)
		ret = make(m, e);
	if (ret) {
		if (m && m->theirs >= 0)
			uffd_drop(m->pid, m->theirs, NULL);
		missing_free(m);
		return ret;
	}
	head_fill(m);
	*out = m;
	return 0;
}

int missing_reopen(const struct missing_conf *conf, struct missing **out, struct err *e)
{
	struct missing *m = NULL;
	int ret = start(conf, &m, e);

	if (!ret)
		ret = map_file(m, false, e);
	if (!ret)
		ret = head_check(m, e);
	if (!ret) {
		m->theirs = (int)m->head->theirs;
		m->fd = uffd_fetch(m->pid, m->theirs, e);
		ret = m->fd < 0 ? m->fd : 0;
	}
	if (ret) {
		missing_free(m);
		return ret;
	}
	m->armed = true;
	for (unsigned b = 0; b < m->n_blocks; b++) {
		/* Faults that the dead process had read are told to nobody again: who waits for them looks anew. */
		range_ioctl(m, UFFDIO_WAKE, m->blocks[b].qemu_addr, m->blocks[b].bytes);
		m->left += bitmap_count(&m->wanted[b]);
	}
	*out = m;
	return 0;
}

void missing_free(struct missing *m)
{
	if (!m)
		return;
	for (unsigned b = 0; b < m->n_blocks; b++)
		if (m->io[b].fd >= 0)
			ram_io_close(&m->io[b]);
	if (m->head)
		munmap(m->head, m->map_bytes);
	if (m->fd >= 0)
		close(m->fd);
	if (m->stop_fd >= 0)
		close(m->stop_fd);
	free(m);
}

/* ---- what is wanted ---------------------------------------------------------------------------------------- */

int missing_want(struct missing *m, unsigned block, uint64_t first, uint64_t n, struct err *e)
{
	if (block >= m->n_blocks || first > m->wanted[block].n_pages || n > m->wanted[block].n_pages - first)
		return err_set(e, EPROTO, "pages %" PRIu64 "+%" PRIu64 " are not in block %u", first, n, block);
	m->left += bitmap_set_range(&m->wanted[block], first, first + n);
	return ram_io_zero(&m->io[block], first * PAGE, n * PAGE, e);
}

int missing_arm(struct missing *m, struct err *e)
{
	int ret = maps_check_blocks(m->pid, m->blocks, m->n_blocks, e);

	for (unsigned b = 0; !ret && b < m->n_blocks; b++) {
		struct uffdio_register r = {.range = {.start = m->blocks[b].qemu_addr, .len = m->blocks[b].bytes},
			.mode = UFFDIO_REGISTER_MODE_MISSING};

		if (ioctl(m->fd, UFFDIO_REGISTER, &r))
			ret = err_set(e, errno, "cannot guard %s in QEMU: %s", m->blocks[b].path, strerror(errno));
	}
	m->armed = !ret;
	return ret;
}

void missing_seal(struct missing *m)
{
	m->head->sealed = 1;
}

static void no_longer_wanted(struct missing *m, unsigned b, uint64_t page)
{
	__atomic_fetch_and(&m->wanted[b].words[page / 64], ~(1ULL << page % 64), __ATOMIC_RELEASE);
	m->left--;
}

static bool is_wanted(const struct missing *m, unsigned b, uint64_t page)
{
	return __atomic_load_n(&m->wanted[b].words[page / 64], __ATOMIC_ACQUIRE) >> page % 64 & 1;
}

int missing_place(struct missing *m, unsigned block, uint64_t page, const void *data, struct err *e)
{
	int ret;

	if (block >= m->n_blocks || page >= m->wanted[block].n_pages)
		return err_set(e, EPROTO, "page %" PRIu64 " is not in block %u", page, block);
	if (!is_wanted(m, block, page))
		return 0;
	ret = fill_and_wake(m, block, page, data, e);
	if (!ret)
		no_longer_wanted(m, block, page);
	return ret;
}

/* ---- who waits --------------------------------------------------------------------------------------------- */

static bool locate(const struct missing *m, uint64_t addr, unsigned *block_out, uint64_t *page_out)
{
	for (unsigned b = 0; b < m->n_blocks; b++)
		if (addr >= m->blocks[b].qemu_addr && addr - m->blocks[b].qemu_addr < m->blocks[b].bytes) {
			*block_out = b;
			*page_out = (addr - m->blocks[b].qemu_addr) / PAGE;
			return true;
		}
	return false;
}

int missing_next_fault(struct missing *m, int timeout_ms, unsigned *block_out, uint64_t *page_out, struct err *e)
{
	struct pollfd p[2] = {{.fd = m->fd, .events = POLLIN}, {.fd = m->stop_fd, .events = POLLIN}};
	struct uffd_msg msg;
	ssize_t n;
	int ret;

	for (;;) {
		n = read(m->fd, &msg, sizeof(msg));
		if (n < 0 && errno == EAGAIN) {
			ret = poll(p, 2, timeout_ms);
			if (ret == 0 || p[1].revents)
				return 0;
			if (ret > 0 && p[0].revents & (POLLERR | POLLHUP))
				return err_set(e, ESRCH, "QEMU has ended");
			if (ret < 0 && errno != EINTR)
				return err_set(e, errno, "poll: %s", strerror(errno));
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(msg))
			return err_set(e, n < 0 ? errno : EIO, "cannot read QEMU's page faults: %s", strerror(errno));
		if (msg.event != UFFD_EVENT_PAGEFAULT || !locate(m, msg.arg.pagefault.address, block_out, page_out))
			continue;
		if (is_wanted(m, *block_out, *page_out))
			return 1;
		ret = fill_and_wake(m, *block_out, *page_out, NULL, e);
		if (ret)
			return ret;
	}
}

void missing_stop(struct missing *m)
{
	const uint64_t one = 1;

	if (write(m->stop_fd, &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

uint64_t missing_left(const struct missing *m)
{
	return m->left;
}

const struct bitmap *missing_bitmaps(const struct missing *m)
{
	return m->wanted;
}

int missing_finish(struct missing *m, struct err *e)
{
	int ret = 0, rc;

	if (m->left)
		return err_set(e, EBUSY, "%" PRIu64 " pages are missing still", m->left);
	for (unsigned b = 0; b < m->n_blocks; b++) {
		rc = range_ioctl(m, UFFDIO_UNREGISTER, m->blocks[b].qemu_addr, m->blocks[b].bytes);
		if (rc && m->armed)
			ret = err_set(e, -rc, "cannot let go of %s in QEMU: %s", m->blocks[b].path, strerror(-rc));
	}
	if (!ret)
		ret = uffd_drop(m->pid, m->theirs, e);
	if (!ret)
		unlink(m->path);
	return ret;
}
