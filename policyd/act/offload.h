/* Short work that blocks (fsync of a hand-off journal), away from the loop: a thread for it, and the answer back on the loop. */
#ifndef POLICYD_ACT_OFFLOAD_H
#define POLICYD_ACT_OFFLOAD_H

#include "domain/err.h"
#include "migrate/journal.h"
#include "policyd/policyd.h"

/* @work runs on a thread of its own and may touch nothing but *@arg; then @done on the loop, once. -ENOMEM, -EAGAIN: neither runs. */
int offload(struct event_base *base, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Record @to in the hand-off journal of @entry. @done: @e->code 0 durable; EPROTO the table says no, and @found is what is recorded; else
 * the disk's fault. Only this call's own failure (no thread) returns < 0, without @done. */
typedef void journal_done_fn(void *arg, enum handoff_state found, const struct err *e);
int journal_record_async(
	struct policyd *p, const struct journal_entry *entry, journal_done_fn *done, void *arg, struct err *e);
/* What is recorded; HO_NONE where there is nothing. */
int journal_read_async(struct policyd *p, const char *uuid, uint64_t epoch, enum handoff_role role,
	journal_done_fn *done, void *arg, struct err *e);

#endif
