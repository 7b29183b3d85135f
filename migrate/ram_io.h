/* Guest RAM as the engine touches it: through the file, never through a mapping of ours where the file allows it and the page may be a hole. pread of a
 * hole allocates nothing (facts) and pwrite to a full file system is an error, not a SIGBUS. One struct per block, shared by all channel
 * threads (the functions keep no state). */
#ifndef MIGRATE_RAM_IO_H
#define MIGRATE_RAM_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/ram.h"

struct ram_io {
	const struct ram_block *block;
	int fd;
	uint8_t *map; /* at the target only: for huge pages, as hugetlbfs has no write(2), and for ram_io_here */
};

/* -EINVAL the file's size is not the block's, or no multiple of 4096. */
int ram_io_open(struct ram_io *io, const struct ram_block *block, bool writable, struct err *e);
void ram_io_close(struct ram_io *io);

int ram_io_read(const struct ram_io *io, uint64_t off, void *buf, size_t n, struct err *e);
int ram_io_write(const struct ram_io *io, uint64_t off, const void *buf, size_t n, struct err *e);
/* At the target, and only where there is content (a hole could be a SIGBUS where memory is short): the page at @off itself, to be changed there; and as
 * ram_io_write. Both through a mapping. */
void *ram_io_here(const struct ram_io *io, uint64_t off);
void ram_io_overwrite(const struct ram_io *io, uint64_t off, const void *buf, size_t n);
/* Make [off, off + n) read as zeros and give the memory back (4096-aligned). */
int ram_io_zero(const struct ram_io *io, uint64_t off, uint64_t n, struct err *e);

/* Next data extent in [from, to). false: only a hole is left. Where the file system cannot tell, all is data. */
bool ram_io_next_data(const struct ram_io *io, uint64_t from, uint64_t to, uint64_t *start_out, uint64_t *end_out);

#endif
