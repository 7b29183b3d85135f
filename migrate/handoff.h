/* The hand-off: who owns a domain. Never two, never none. A table, pure; the journal (journal.h) makes each step durable, and
 * tests/model walks every interleaving with crashes and cut links. Design section 7.
 *
 *     source: RUN -> PAUSED(e) -> OFFERED(e) -> GONE            target: PREPARED(e) -> LOADED(e) -> OWNER(e)
 *             PAUSED -> ABORT                                           PREPARED|LOADED -> REFUSED
 *             OFFERED -> ABORT only on the target's REFUSED             LOADED -> PARTIAL(e) -> OWNER(e)
 *
 * PARTIAL (post-copy): the guest runs at the target, and part of its memory is still at the source, which stays OFFERED, keeps QEMU and
 * RAM, and never resumes: it has been overtaken. Only OWNER lets it go. A target that is PARTIAL refuses nothing any more. */
#ifndef MIGRATE_HANDOFF_H
#define MIGRATE_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"

enum handoff_state {
	HO_NONE, /* nothing in the journal */
	HO_RUN,
	HO_PAUSED,
	HO_OFFERED,
	HO_GONE,
	HO_ABORT, /* source */
	HO_PREPARED,
	HO_LOADED,
	HO_PARTIAL,
	HO_OWNER,
	HO_REFUSED, /* target */
	HO_STATE_COUNT
};
enum handoff_role { HO_SOURCE, HO_TARGET };

const char *handoff_name(enum handoff_state s);
int handoff_parse(const char *name, enum handoff_state *out);
/* 0 when @from -> @to is an edge of @role's table; -EPROTO else. The same state again is allowed (0): recording is idempotent. */
int handoff_step(enum handoff_role role, enum handoff_state from, enum handoff_state to, struct err *e);

/* May this side's QEMU run the guest in this state? Source: NONE, RUN, ABORT (not PAUSED: record ABORT first, then resume). Target: PARTIAL, OWNER. */
bool handoff_may_run(enum handoff_role role, enum handoff_state s);
/* Must this side ask the other before it does anything? OFFERED at the source. */
bool handoff_in_doubt(enum handoff_role role, enum handoff_state s);
/* Nothing can follow: GONE, ABORT, OWNER, REFUSED. */
bool handoff_final(enum handoff_role role, enum handoff_state s);

#endif
