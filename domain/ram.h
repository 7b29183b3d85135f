/* Guest RAM as files: which mappings of a QEMU process hold it, and where the holes are.
 *
 * Used by the migration worker and by watch (how much a domain really holds). Any thread. Holes are found with
 * SEEK_DATA/SEEK_HOLE on the file and never by reading through a mapping, which would fill them (facts). */
#ifndef DOMAIN_RAM_H
#define DOMAIN_RAM_H

#include <stdint.h>
#include <sys/types.h>

#include "domain/spec.h"

#define RAM_BLOCKS_MAX 4

struct ram_block {
	char path[512];
	uint64_t bytes;      /* file size */
	uint64_t qemu_addr;  /* address of the mapping in QEMU */
	uint32_t page_bytes; /* 4096, or the huge page size */
};

/* The shared file mappings of @pid below folder @ram_dir with "<uuid>." in the name; sorted by path. -ENOENT none, -ENOTSUP a private
 * mapping, a file that was removed, or one that is mapped in pieces that do not cover it. Adjacent pieces (madvise, userfaultfd) are one block. */
int ram_find(pid_t pid, const char *ram_dir, const char *uuid, struct ram_block out[RAM_BLOCKS_MAX], unsigned *n_out,
	struct err *e);

struct ram_extent {
	uint64_t start, end; /* bytes */
};

/* Data extents of an open RAM file, in order, cut at @bytes. @out is malloc'd (NULL when there are none), the caller frees it. */
int ram_data_extents(int fd, uint64_t bytes, struct ram_extent **out, size_t *n_out, struct err *e);

struct ram_room {            /* what the file system of a folder has left for RAM files */
	uint64_t page_bytes; /* of files there: SPEC_PAGE_BYTES, or the huge page size of a hugetlbfs */
	uint64_t free_bytes; /* UINT64_MAX: no limit is known */
	uint64_t
		pool_bytes; /* huge pages: free in the kernel's pool of that size, reserved ones included; UINT64_MAX elsewhere */
	uint64_t
		reserved_bytes; /* huge pages: of the pool's, what mappings are sure of already, anybody's; free_bytes is without them */
};

/* The pool's figures are those of /sys/kernel/mm/hugepages (Documentation/admin-guide/mm/hugetlbpage.rst). A hugetlbfs has a limit of its own
 * only where it was mounted with size=. -1: there is no such folder. */
int ram_room(const char *dir, struct ram_room *out);
/* page_bytes of it alone: one statfs(2). */
uint64_t ram_page_bytes(const char *dir);

/* Bytes that the file holds (st_blocks). */
uint64_t ram_resident_bytes(const char *path);

#endif
