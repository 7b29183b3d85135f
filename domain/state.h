/* States of a domain as operators know them from ldm list, and the flags column. One table of legal transitions;
 * domain_state_step is the only writer. docs/states.md is made from the table. */
#ifndef DOMAIN_STATE_H
#define DOMAIN_STATE_H

#include <stdbool.h>

#include "domain/err.h"

enum domain_state {
	DOM_INACTIVE,   /* defined, holds nothing */
	DOM_BOUND,      /* its services are reserved here (also: a target held for a migration) */
	DOM_STARTING,   /* QEMU launched, not yet answering */
	DOM_ACTIVE,     /* running */
	DOM_SUSPENDED,  /* QEMU there, guest stopped (by an operator, or held by a hand-off in doubt) */
	DOM_TRANSITION, /* under migration, at source or target */
	DOM_STOPPING,
	DOM_STATE_COUNT
};

enum domain_event {
	DEV_BIND,
	DEV_UNBIND,
	DEV_START,
	DEV_RUNNING,
	DEV_SUSPEND,
	DEV_RESUME,
	DEV_MIGRATE,      /* a migration begins (either end) */
	DEV_MIGRATE_STAY, /* it ended with the guest here, running */
	DEV_MIGRATE_HELD, /* it ended with the guest here, paused: in doubt until the peer answers, or it was paused before */
	DEV_MIGRATE_GONE, /* it ended with the guest elsewhere */
	DEV_STOP,
	DEV_EXITED, /* QEMU is gone */
	DOM_EVENT_COUNT
};

struct domain_flags {    /* the FLAGS column, six characters, '-' where not set; columns as in ldm list */
	bool held;       /* h, column 1: hold by an operator (ours) */
	bool normal;     /* n, column 2 */
	bool transition; /* t, column 2, before n: starting, stopping, migrating */
	bool source;     /* s, column 6: source of a migration */
	bool target;     /* t, column 6 */
	bool error;      /* e, column 6, after s and t: the last operation failed; see show */
};

const char *domain_state_name(enum domain_state s); /* "inactive", ... */
/* Has it a QEMU, or is one about to be or to go? Neither inactive nor bound. */
bool domain_state_runs(enum domain_state s);
int domain_state_parse(const char *name, enum domain_state *out);
const char *domain_event_name(enum domain_event ev);

/* Move @state by @ev. -EPROTO and no change where the table has no edge. */
int domain_state_step(enum domain_state *state, enum domain_event ev, struct err *e);

void domain_flags_text(const struct domain_flags *f, char out[7]);

#endif
