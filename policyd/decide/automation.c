/* How far an action goes by itself: see automation.h. Called by decide.c at its end, and by act on the plan that came of it. */
#include "policyd/decide/automation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/leave.h"

static const struct snap_domain *domain_of(const struct snapshot *s, const char *name)
{
	for (unsigned i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i].spec.name, name) == 0)
			return &s->domains[i];
	return NULL;
}

static enum automation own_level(const struct snapshot *s, const struct action *a)
{
	const struct snap_domain *d = domain_of(s, a->domain);

	if (s->emptying && strcmp(a->policy, LEAVE_POLICY) == 0)
		return AUTO_FULL; /* an operator's order */
	return d && d->policy.automation != AUTO_UNSET ? d->policy.automation : s->decide.automation;
}

/* The action whose level is the strictest (confirm before full, manual before confirm) of those that serve the need of action @i. */
static const struct action *strictest(const struct snapshot *s, const struct plan *p, unsigned i)
{
	const struct action *most = &p->actions[i];

	for (unsigned k = 0; k < p->n_actions; k++)
		if (strcmp(p->actions[k].for_domain, p->actions[i].for_domain) == 0 &&
			own_level(s, &p->actions[k]) > own_level(s, most))
			most = &p->actions[k];
	return most;
}

enum automation automation_level(const struct snapshot *s, const struct plan *p, unsigned i)
{
	return own_level(s, strictest(s, p, i));
}

void automation_mark(const struct snapshot *s, struct plan *p)
{
	for (unsigned i = 0; i < p->n_actions; i++) {
		struct action *a = &p->actions[i];
		const struct action *by = strictest(s, p, i);
		const struct snap_domain *d = domain_of(s, by->domain);
		size_t n = strlen(a->why);

		if (!d || d->policy.automation == AUTO_UNSET || own_level(s, by) == AUTO_FULL)
			continue;
		snprintf(a->why + n, sizeof(a->why) - n, "; %s, by policy %.60s",
			d->policy.automation == AUTO_CONFIRM ? "waits for approval" : "only recommended",
			d->policy.automation_from);
	}
}

int automation_part(const struct snapshot *s, const struct plan *p, unsigned levels, struct plan *out)
{
	struct plan part = {.actions = calloc(p->n_actions ? p->n_actions : 1, sizeof(*part.actions))};
	int *at = calloc(
		p->n_actions ? p->n_actions : 1, sizeof(*at)); /* where each went; what it follows is of its level */

	if (!part.actions || !at) {
		free(part.actions);
		free(at);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < p->n_actions; i++) {
		at[i] = -1;
		if (!(levels >> automation_level(s, p, i) & 1))
			continue;
		at[i] = (int)part.n_actions;
		part.actions[part.n_actions] = p->actions[i];
		if (p->actions[i].after >= 0)
			part.actions[part.n_actions].after = at[p->actions[i].after];
		part.n_actions++;
	}
	free(at);
	*out = part;
	return 0;
}
