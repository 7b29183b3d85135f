/* /proc/PID/maps, line by line; and whether QEMU's mappings still hold guest RAM as the tracker knows it. Engine thread. */
#ifndef MIGRATE_MAPS_H
#define MIGRATE_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"
#include "domain/ram.h"

struct maps_line {
	uint64_t start, end, offset, inode;
	unsigned dev_major, dev_minor;
	char perms[5];
	const char *path; /* "" anonymous; valid during the callback */
};

/* Calls @each for every mapping until it returns false. -ESRCH no such process (or it is dead). */
int maps_walk(pid_t pid, bool (*each)(void *arg, const struct maps_line *m), void *arg, struct err *e);

/* Are all @blocks mapped shared at [qemu_addr, qemu_addr + bytes) from offset 0, in however many pieces, and nowhere else? -ESTALE says
 * which is not: a write through another mapping, or into a new one, would not be seen. */
int maps_check_blocks(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct err *e);

#endif
