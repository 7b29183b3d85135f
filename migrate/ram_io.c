/* Reading, writing and punching RAM files; see ram_io.h. Engine and channel threads. */
#include "migrate/ram_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/cachestat_abi.h"
#include "migrate/digest.h"
#include "migrate/wire.h"

#define LOOK_BYTES (256u << 10)  /* for an extent's end, at first; twice as far each time */
#define FAULT_AROUND_BYTES 65536 /* the kernel's own default */

static int map_all(struct ram_io *io, struct err *e)
{
	void *p = mmap(NULL, io->block->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, io->fd, 0);

	if (p == MAP_FAILED)
		return err_set(e, errno, "cannot map %s: %s", io->block->path, strerror(errno));
	io->map = p;
	return 0;
}

int ram_io_open(struct ram_io *io, const struct ram_block *block, bool writable, struct err *e)
{
	struct ram_io new = {.block = block, .fd = open(block->path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)};
	struct stat st;
	int ret = 0;

	if (new.fd < 0)
		return err_set(e, errno, "RAM file %s: %s", block->path, strerror(errno));
	if (fstat(new.fd, &st))
		ret = err_set(e, errno, "RAM file %s: %s", block->path, strerror(errno));
	else if ((uint64_t)st.st_size != block->bytes || block->bytes % WIRE_PAGE_BYTES || !block->bytes)
		ret = err_set(e, EINVAL, "RAM file %s has %" PRIu64 " bytes where %" PRIu64 " were expected",
			block->path, (uint64_t)st.st_size, block->bytes);
	else if (writable)
		ret = map_all(&new, e);
	if (ret)
		close(new.fd);
	else
		*io = new;
	return ret;
}

void ram_io_close(struct ram_io *io)
{
	if (!io->block)
		return;
	if (io->map)
		munmap(io->map, io->block->bytes);
	close(io->fd);
	*io = (struct ram_io){.fd = -1};
}

int ram_io_read(const struct ram_io *io, uint64_t off, void *buf, size_t n, struct err *e)
{
	uint8_t *p = buf;

	while (n) {
		ssize_t got = pread(io->fd, p, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_set(e, got ? errno : EIO, "cannot read %s at %" PRIu64 ": %s", io->block->path, off,
				got ? strerror(errno) : "end of file");
		p += got, off += (uint64_t)got, n -= (size_t)got;
	}
	return 0;
}

int ram_io_write(const struct ram_io *io, uint64_t off, const void *buf, size_t n, struct err *e)
{
	const uint8_t *p = buf;

	if (io->block->page_bytes > WIRE_PAGE_BYTES) {
		memcpy(io->map + off, buf, n);
		return 0;
	}
	while (n) {
		ssize_t put = pwrite(io->fd, p, n, (off_t)off);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_set(e, put ? errno : EIO, "cannot write %s at %" PRIu64 ": %s", io->block->path, off,
				strerror(errno));
		p += put, off += (uint64_t)put, n -= (size_t)put;
	}
	return 0;
}

/* Read before it is written: a fault for reading maps the pages around it as well. */
void *ram_io_here(const struct ram_io *io, uint64_t off)
{
	(void)*(volatile uint8_t *)(io->map + off);
	return io->map + off;
}

void ram_io_overwrite(const struct ram_io *io, uint64_t off, const void *buf, size_t n)
{
	for (size_t at = 0; at < n; at += FAULT_AROUND_BYTES)
		ram_io_here(io, off + at);
	memcpy(io->map + off, buf, n);
}

static int punch(const struct ram_io *io, uint64_t off, uint64_t n, struct err *e)
{
	if (!n || !fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n))
		return 0;
	return err_set(e, errno, "cannot punch a hole into %s: %s", io->block->path, strerror(errno));
}

static int clear_pages(const struct ram_io *io, uint64_t off, uint64_t end, struct err *e)
{
	uint64_t page[WIRE_PAGE_BYTES / 8];
	int ret = 0;

	for (; !ret && off < end; off += WIRE_PAGE_BYTES) {
		ret = ram_io_read(io, off, page, sizeof(page), e);
		if (ret || page_is_zero(page))
			continue;
		memset(page, 0, sizeof(page));
		ret = ram_io_write(io, off, page, sizeof(page), e);
	}
	return ret;
}

/* Whole units of the file's page size are punched, the rest of a huge page is cleared. */
int ram_io_zero(const struct ram_io *io, uint64_t off, uint64_t n, struct err *e)
{
	uint64_t unit = io->block->page_bytes > WIRE_PAGE_BYTES ? io->block->page_bytes : WIRE_PAGE_BYTES;
	uint64_t end = off + n, first = (off + unit - 1) / unit * unit, last = end / unit * unit;
	int ret;

	if (first >= last)
		return clear_pages(io, off, end, e);
	ret = clear_pages(io, off, first, e);
	if (!ret)
		ret = punch(io, first, last - first, e);
	if (!ret)
		ret = clear_pages(io, last, end, e);
	return ret;
}

/* Is there content in all of [off, off + n)? What is swapped out counts. False also where the kernel cannot tell. */
static bool all_data(const struct ram_io *io, uint64_t off, uint64_t n)
{
	struct cachestat_range range = {.off = off, .len = n};
	struct cachestat_counts counts;

	if (syscall(CACHESTAT_NR, io->fd, &range, &counts, 0))
		return false;
	return counts.cached + counts.evicted == n / WIRE_PAGE_BYTES;
}

/* SEEK_HOLE walks to the extent's end, however far beyond @to (8 ms a GiB), so it is asked only where the end is near. */
static uint64_t data_end(const struct ram_io *io, uint64_t start, uint64_t to)
{
	off_t end;

	for (uint64_t n = LOOK_BYTES; start < to && all_data(io, start, n < to - start ? n : to - start); n *= 2)
		start = n < to - start ? start + n : to;
	end = start < to ? lseek(io->fd, (off_t)start, SEEK_HOLE) : -1;
	return end < 0 || (uint64_t)end > to
		? to
		: ((uint64_t)end + WIRE_PAGE_BYTES - 1) / WIRE_PAGE_BYTES * WIRE_PAGE_BYTES;
}

bool ram_io_next_data(const struct ram_io *io, uint64_t from, uint64_t to, uint64_t *start_out, uint64_t *end_out)
{
	off_t start = lseek(io->fd, (off_t)from, SEEK_DATA);

	if (from >= to || (start < 0 && errno == ENXIO) || (start >= 0 && (uint64_t)start >= to))
		return false;
	*start_out = start < 0 ? from : (uint64_t)start / WIRE_PAGE_BYTES * WIRE_PAGE_BYTES;
	*end_out = start < 0 ? to : data_end(io, *start_out, to);
	return true;
}
