/* The states of a domain: one table, one writer. Called by policyd on its loop thread, and by tests that walk every pair. */
#include "domain/state.h"

#include <errno.h>
#include <string.h>

static const char *const state_names[DOM_STATE_COUNT] = {
	[DOM_INACTIVE] = "inactive",
	[DOM_BOUND] = "bound",
	[DOM_STARTING] = "starting",
	[DOM_ACTIVE] = "active",
	[DOM_SUSPENDED] = "suspended",
	[DOM_TRANSITION] = "transition",
	[DOM_STOPPING] = "stopping",
};

static const char *const event_names[DOM_EVENT_COUNT] = {
	[DEV_BIND] = "bind",
	[DEV_UNBIND] = "unbind",
	[DEV_START] = "start",
	[DEV_RUNNING] = "running",
	[DEV_SUSPEND] = "suspend",
	[DEV_RESUME] = "resume",
	[DEV_MIGRATE] = "migrate",
	[DEV_MIGRATE_STAY] = "migration ended, runs here",
	[DEV_MIGRATE_HELD] = "migration ended, held here",
	[DEV_MIGRATE_GONE] = "migration ended, runs elsewhere",
	[DEV_STOP] = "stop",
	[DEV_EXITED] = "exited",
};

#define TO(s) (DOM_##s + 1) /* 0 in the table = no such edge */

/* A guest that ends leaves its domain bound, as with ldm. A worker's QEMU may be seen to end (exited) before the worker says that the
 * guest is elsewhere, so that bound takes that news too; and a hand-off in doubt (suspended) ends either way. */
static const unsigned char edges[DOM_STATE_COUNT][DOM_EVENT_COUNT] = {
	[DOM_INACTIVE] = {[DEV_BIND] = TO(BOUND)},
	[DOM_BOUND] = {[DEV_UNBIND] = TO(INACTIVE),
		[DEV_START] = TO(STARTING),
		[DEV_MIGRATE] = TO(TRANSITION),
		[DEV_MIGRATE_GONE] = TO(INACTIVE)},
	[DOM_STARTING] = {[DEV_RUNNING] = TO(ACTIVE),
		[DEV_SUSPEND] = TO(SUSPENDED),
		[DEV_STOP] = TO(STOPPING),
		[DEV_MIGRATE] = TO(TRANSITION),
		[DEV_EXITED] = TO(BOUND)},
	[DOM_ACTIVE] = {[DEV_SUSPEND] = TO(SUSPENDED),
		[DEV_MIGRATE] = TO(TRANSITION),
		[DEV_STOP] = TO(STOPPING),
		[DEV_EXITED] = TO(BOUND)},
	[DOM_SUSPENDED] = {[DEV_RESUME] = TO(ACTIVE),
		[DEV_MIGRATE] = TO(TRANSITION),
		[DEV_MIGRATE_STAY] = TO(ACTIVE),
		[DEV_MIGRATE_GONE] = TO(INACTIVE),
		[DEV_STOP] = TO(STOPPING),
		[DEV_EXITED] = TO(BOUND)},
	[DOM_TRANSITION] = {[DEV_MIGRATE_STAY] = TO(ACTIVE),
		[DEV_MIGRATE_HELD] = TO(SUSPENDED),
		[DEV_MIGRATE_GONE] = TO(INACTIVE),
		[DEV_EXITED] = TO(BOUND)},
	/* running: the guest did not heed the power button, and nobody forced it. stop again: with force */
	[DOM_STOPPING] = {[DEV_EXITED] = TO(BOUND), [DEV_RUNNING] = TO(ACTIVE), [DEV_STOP] = TO(STOPPING)},
};

const char *domain_state_name(enum domain_state s)
{
	return (unsigned)s < DOM_STATE_COUNT ? state_names[s] : "?";
}

int domain_state_parse(const char *name, enum domain_state *out)
{
	unsigned i;

	for (i = 0; i < DOM_STATE_COUNT; i++)
		if (!strcmp(state_names[i], name)) {
			*out = (enum domain_state)i;
			return 0;
		}
	return -EINVAL;
}

const char *domain_event_name(enum domain_event ev)
{
	return (unsigned)ev < DOM_EVENT_COUNT ? event_names[ev] : "?";
}

int domain_state_step(enum domain_state *state, enum domain_event ev, struct err *e)
{
	unsigned to = 0;

	if ((unsigned)*state < DOM_STATE_COUNT && (unsigned)ev < DOM_EVENT_COUNT)
		to = edges[*state][ev];
	if (!to)
		return err_set(e, EPROTO, "\"%s\" is not possible while it is %s", domain_event_name(ev),
			domain_state_name(*state));
	*state = (enum domain_state)(to - 1);
	return 0;
}

bool domain_state_runs(enum domain_state s)
{
	return s != DOM_INACTIVE && s != DOM_BOUND;
}

void domain_flags_text(const struct domain_flags *f, char out[7])
{
	memcpy(out, "------", 7);
	if (f->held)
		out[0] = 'h';
	if (f->transition || f->normal)
		out[1] = f->transition ? 't' : 'n';
	if (f->source || f->target || f->error)
		out[5] = f->source ? 's' : f->target ? 't' : 'e';
}
