/* Pages that a target's guest does not have yet (post-copy): the guest runs, and whoever touches one of them waits until it has come.
 *
 * A userfaultfd in QEMU's address space guards all of RAM in MISSING mode: a page that is not in the RAM file makes its reader or writer wait.
 * Which of them are on their way says a bitmap; any other is a hole, filled with zeros at once. QEMU keeps the descriptor open, too, and
 * the bitmap is a file beside QEMU's sockets: when this process dies the guest waits (it does not read zeros where its data should
 * be), and another process goes on from missing_reopen.
 *
 * missing_arm, _want, _seal: engine thread, before the guest runs. missing_place: one thread. missing_next_fault: one thread. */
#ifndef MIGRATE_MISSING_H
#define MIGRATE_MISSING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/tracker.h"

struct missing;

struct missing_conf {
	pid_t pid;                      /* QEMU */
	const struct ram_block *blocks; /* borrowed */
	unsigned n_blocks;
	const char *run_dir; /* the bitmap's place; borrowed for the call */
};

/* Can it be done here? Makes the descriptor; nothing is guarded yet. -ENOTSUP, -EPERM with what to do. */
int missing_open(const struct missing_conf *conf, struct missing **out, struct err *e);
/* After the death of the process that had it. -ENOENT: nothing was left behind. -EBADF: QEMU does not hold the descriptor, or is another one. */
int missing_reopen(const struct missing_conf *conf, struct missing **out, struct err *e);

/* From now on, whoever touches a page that is not there waits. */
int missing_arm(struct missing *m, struct err *e);
/* After it, so that nobody fills them meanwhile: pages [first, first + n) of 4096 octets of @block are wanted, and what the file holds of them is
 * given back. */
int missing_want(struct missing *m, unsigned block, uint64_t first, uint64_t n, struct err *e);
/* That was all of them: another process may go on from here. */
void missing_seal(struct missing *m);

/* A page has come (NULL: it is zeros). One that is not wanted (any more) is left alone: the guest may have changed it. */
int missing_place(struct missing *m, unsigned block, uint64_t page, const void *data, struct err *e);
/* Somebody waits for a page: 1, and which; holes are filled here. 0 after @timeout_ms, or when missing_stop was called; or -errno. */
int missing_next_fault(struct missing *m, int timeout_ms, unsigned *block_out, uint64_t *page_out, struct err *e);
void missing_stop(struct missing *m); /* any thread */

uint64_t missing_left(const struct missing *m); /* pages; any thread */
const struct bitmap *missing_bitmaps(const struct missing *m);
/* All has come: nothing is guarded any more, QEMU's descriptor and the file are removed. -EBUSY when something is missing still. */
int missing_finish(struct missing *m, struct err *e);
/* Without finish: what is guarded stays guarded. NULL does nothing. */
void missing_free(struct missing *m);

#endif
