/* The hand-off journal: one append-only file a domain and epoch, <state>/handoff/<uuid>.<epoch>.<source|target>.
 * Each record is one line with a checksum, appended under flock and made durable (fdatasync, and fsync of the folder when it is new)
 * before journal_record returns; handoff_step is checked under the same lock, so that a worker and policyd can both
 * record and the second illegal step is refused. A torn last line counts as not written. Blocks: worker processes only
 * (policyd runs 'policyd-migrate journal ...' or a thread for it). */
#ifndef MIGRATE_JOURNAL_H
#define MIGRATE_JOURNAL_H

#include "domain/err.h"
#include "migrate/handoff.h"

struct journal_entry {
	char uuid[37];
	uint64_t epoch;
	enum handoff_role role;
	enum handoff_state state; /* the last good record's */
	char peer[64];            /* the other host's name */
	char domain[64];
};

/* Record @to for this domain and epoch. -EPROTO: the table has no such edge from what is recorded (*@found_out says what that is, may be NULL). */
int journal_record(
	const char *state_dir, const struct journal_entry *entry, enum handoff_state *found_out, struct err *e);
/* What is recorded. -ENOENT: nothing. */
int journal_read(const char *state_dir, const char *uuid, uint64_t epoch, enum handoff_role role,
	struct journal_entry *out, struct err *e);
/* Every journal in the folder. Unreadable ones are reported with @e and go on. */
int journal_scan(
	const char *state_dir, void (*found)(void *arg, const struct journal_entry *entry), void *arg, struct err *e);
/* Finished (GONE, ABORT, OWNER, REFUSED) ones may be removed once both sides are known to be done. */
int journal_remove(const char *state_dir, const char *uuid, uint64_t epoch, enum handoff_role role, struct err *e);

#endif
