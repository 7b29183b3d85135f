/* The hand-off table: see handoff.h. Pure; called by the journal under its lock, by the workers and by tests/model, on any thread. */
#include "migrate/handoff.h"

#include <errno.h>
#include <string.h>

#define BIT(s) (1u << (s))

/* edges[role][from] = the states that may follow. What is not here does not happen. */
static const unsigned edges[2][HO_STATE_COUNT] = {
	[HO_SOURCE] =
		{
			[HO_NONE] = BIT(HO_RUN),
			[HO_RUN] = BIT(HO_PAUSED) | BIT(HO_ABORT),
			[HO_PAUSED] = BIT(HO_OFFERED) | BIT(HO_ABORT),
			[HO_OFFERED] = BIT(HO_GONE) | BIT(HO_ABORT), /* ABORT: on the target's REFUSED only */
			[HO_GONE] = 0,
			[HO_ABORT] = 0,
		},
	[HO_TARGET] =
		{
			[HO_NONE] =
				BIT(HO_PREPARED) | BIT(HO_REFUSED), /* REFUSED: asked about an epoch that never came */
			[HO_PREPARED] = BIT(HO_LOADED) | BIT(HO_REFUSED),
			[HO_LOADED] = BIT(HO_OWNER) | BIT(HO_PARTIAL) |
				BIT(HO_REFUSED), /* OWNER, PARTIAL: on the source's COMMIT only */
			[HO_PARTIAL] = BIT(HO_OWNER),
			[HO_OWNER] = 0,
			[HO_REFUSED] = 0,
		},
};

static const unsigned members[2] = {
	[HO_SOURCE] = BIT(HO_NONE) | BIT(HO_RUN) | BIT(HO_PAUSED) | BIT(HO_OFFERED) | BIT(HO_GONE) | BIT(HO_ABORT),
	[HO_TARGET] =
		BIT(HO_NONE) | BIT(HO_PREPARED) | BIT(HO_LOADED) | BIT(HO_PARTIAL) | BIT(HO_OWNER) | BIT(HO_REFUSED),
};

/* PAUSED is not among them: a source records ABORT before it resumes, or a worker that still lives could offer. */
static const unsigned may_run[2] = {
	[HO_SOURCE] = BIT(HO_NONE) | BIT(HO_RUN) | BIT(HO_ABORT),
	[HO_TARGET] = BIT(HO_PARTIAL) | BIT(HO_OWNER),
};

static const char *const names[HO_STATE_COUNT] = {
	[HO_NONE] = "NONE",
	[HO_RUN] = "RUN",
	[HO_PAUSED] = "PAUSED",
	[HO_OFFERED] = "OFFERED",
	[HO_GONE] = "GONE",
	[HO_ABORT] = "ABORT",
	[HO_PREPARED] = "PREPARED",
	[HO_LOADED] = "LOADED",
	[HO_PARTIAL] = "PARTIAL",
	[HO_OWNER] = "OWNER",
	[HO_REFUSED] = "REFUSED",
};

static bool is_member(enum handoff_role role, enum handoff_state s)
{
	return (role == HO_SOURCE || role == HO_TARGET) && (unsigned)s < HO_STATE_COUNT && (members[role] & BIT(s));
}

const char *handoff_name(enum handoff_state s)
{
	return (unsigned)s < HO_STATE_COUNT ? names[s] : "?";
}

int handoff_parse(const char *name, enum handoff_state *out)
{
	for (unsigned i = 0; i < HO_STATE_COUNT; i++) {
		if (strcmp(name, names[i]) == 0) {
			*out = (enum handoff_state)i;
			return 0;
		}
	}
	return -EINVAL;
}

int handoff_step(enum handoff_role role, enum handoff_state from, enum handoff_state to, struct err *e)
{
	const char *side = role == HO_SOURCE ? "source" : "target";

	if (!is_member(role, from) || !is_member(role, to))
		return err_set(e, EPROTO, "hand-off: %s or %s is not a state of the %s", handoff_name(from),
			handoff_name(to), side);
	if (from == to || (edges[role][from] & BIT(to)))
		return 0;
	return err_set(e, EPROTO, "hand-off: the %s is %s already and cannot become %s", side, handoff_name(from),
		handoff_name(to));
}

bool handoff_may_run(enum handoff_role role, enum handoff_state s)
{
	return is_member(role, s) && (may_run[role] & BIT(s));
}

bool handoff_in_doubt(enum handoff_role role, enum handoff_state s)
{
	return role == HO_SOURCE && s == HO_OFFERED;
}

bool handoff_final(enum handoff_role role, enum handoff_state s)
{
	return is_member(role, s) && s != HO_NONE && edges[role][s] == 0;
}
