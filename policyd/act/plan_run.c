/* Carrying out plans: see plan_run.h.
 *
 * An action is waiting, running, done or failed. One that fails takes those after it along; nothing is undone, for each action leaves a
 * sound state by itself, and the next decision starts from there. A donor that gave only a part counts as done: whether that is enough is
 * what the next action's reservation says. */
#include "policyd/act/plan_run.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/brain.h"
#include "policyd/act/lifecycle.h"
#include "policyd/act/maintain.h"
#include "policyd/act/migrate_job.h"
#include "policyd/act/move.h"
#include "policyd/decide/safe.h"

enum step_state { STEP_WAITING, STEP_RUNNING, STEP_DONE, STEP_FAILED };

struct run;
struct step {
	struct action a;
	enum step_state state;
	struct job_listener listener;
	struct run *run;
};

struct run {
	TAILQ_ENTRY(run) link;
	struct plan_runs *owner;
	int64_t decision;
	bool advancing;
	unsigned n;
	struct step steps[];
};

struct plan_runs {
	struct policyd *p;
	TAILQ_HEAD(, run) runs;
};

static void run_advance(struct run *r);

static void on_job_end(struct job_listener *l, const struct job *j, const struct err *e)
{
	struct step *s = (struct step *)((char *)l - offsetof(struct step, listener));

	(void)j;
	s->state = !e->code || e->code == EAGAIN ? STEP_DONE : STEP_FAILED;
	run_advance(s->run);
}

static bool may_postcopy(const struct dom *d, const struct action *a)
{
	struct policy_effective pol;

	policyd_policy(d->p, &d->spec, &pol);
	return (a->kind == ACT_LIVE_MOVE || a->kind == ACT_TRIM_MOVE) && pol.postcopy == POSTCOPY_ALLOW &&
		move_can_postcopy(d);
}

static int start_move(struct dom *d, const struct action *a, const struct origin *o, struct job **out, struct err *e)
{
	struct move_request rq = {
		.method = a->kind == ACT_COLD_MOVE ? MOVE_COLD : MOVE_LIVE,
		.trim_bytes = a->kind == ACT_TRIM_MOVE || a->kind == ACT_WARM_MOVE ? a->mem_bytes : 0,
		.origin = *o,
		.quiet_ms =
			maintain_on(d->p) ? 0 : a->quiet_ms, /* since it was decided, an operator may be in a hurry */
		.may_postcopy = may_postcopy(d, a),
		.pred_total_s = a->pred_total_s,
		.pred_blackout_ms = a->pred_blackout_ms,
		.pred_bytes = a->pred_bytes,
	};

	snprintf(rq.host, sizeof(rq.host), "%s", a->target);
	snprintf(rq.reason, sizeof(rq.reason), "%s", a->why);
	return move_start(d, &rq, out, e);
}

/* The last word before anything is begun, on what is so now and not when it was decided: others may have changed it meanwhile. */
static int step_safe(const struct action *a, const struct dom *d, struct err *e)
{
	struct snapshot s;
	char why[SAFE_WHY];
	bool ok;

	if (brain_snapshot(d->p, &s))
		return err_set(e, ENOMEM, "no memory");
	for (unsigned i = 0; i < s.n_domains; i++)
		if (!strcmp(s.domains[i].spec.name, a->domain))
			s.domains[i].busy = d->job != NULL; /* this step itself keeps it busy */
	ok = safe_step(&s, a, why);
	snapshot_fini(&s);
	return ok ? 0 : err_set(e, EPERM, "it would not be safe any more: %s", why);
}

static int step_start(struct step *s, struct job **out, struct err *e)
{
	const struct action *a = &s->a;
	struct dom *d = dom_find(s->run->owner->p, a->domain);
	struct origin o = {.kind = BY_POLICY};

	snprintf(o.name, sizeof(o.name), "%s", a->policy[0] ? a->policy : "default");
	if (!d)
		return err_set(e, ENOENT, "%s is gone", a->domain);
	if (dom_held(d))
		return err_set(e, EPERM, "%s is held (%s)", a->domain, d->hold.reason);
	if (step_safe(a, d, e))
		return -EPERM;
	switch (a->kind) {
	case ACT_SET_VCPUS:
		return cpu_job(d, a->vcpus, a->cpu_cap, &o, a->why, out, e);
	case ACT_SET_MEMORY:
		return memory_job(d, a->mem_bytes, &o, a->why, out, e);
	case ACT_TRIM_MOVE:
	case ACT_LIVE_MOVE:
	case ACT_COLD_MOVE:
	case ACT_WARM_MOVE:
		return start_move(d, a, &o, out, e);
	}
	return err_set(e, EINVAL, "%s: unknown action %d", a->domain, (int)a->kind);
}

static void step_try(struct step *s)
{
	struct job *j = NULL;
	struct err e = {0};

	if (!step_start(s, &j, &e)) {
		s->state = STEP_RUNNING;
		s->listener.on_end = on_job_end;
		job_listen(j, &s->listener);
		return;
	}
	s->state = STEP_FAILED;
	plog(s->run->owner->p, "decision %lld: %s: not done: %s", (long long)s->run->decision, s->a.domain,
		err_msg(&e));
}

static void run_free(struct run *r)
{
	for (unsigned i = 0; i < r->n; i++)
		job_unlisten(&r->steps[i].listener);
	TAILQ_REMOVE(&r->owner->runs, r, link);
	free(r);
}

static enum step_state waits_for(const struct run *r, const struct step *s)
{
	if (s->a.after < 0 || (unsigned)s->a.after >= r->n)
		return STEP_DONE;
	return r->steps[s->a.after].state;
}

/* Start what may start, until nothing changes. Frees the run at its end. */
static void run_advance(struct run *r)
{
	bool again = true, pending = false;

	if (r->advancing)
		return;
	r->advancing = true;
	while (again) {
		again = pending = false;
		for (unsigned i = 0; i < r->n; i++) {
			struct step *s = &r->steps[i];

			if (s->state == STEP_WAITING && waits_for(r, s) == STEP_DONE) {
				step_try(s);
				again = true;
			} else if (s->state == STEP_WAITING && waits_for(r, s) == STEP_FAILED) {
				s->state = STEP_FAILED;
				again = true;
			}
			pending = pending || s->state == STEP_WAITING || s->state == STEP_RUNNING;
		}
	}
	r->advancing = false;
	if (!pending)
		run_free(r);
}

struct plan_runs *plan_runs_new(struct policyd *p)
{
	struct plan_runs *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->p = p;
	TAILQ_INIT(&o->runs);
	return o;
}

void plan_runs_free(struct plan_runs *o)
{
	if (!o)
		return;
	while (!TAILQ_EMPTY(&o->runs))
		run_free(TAILQ_FIRST(&o->runs));
	free(o);
}

void plan_runs_add(struct plan_runs *o, const struct plan *plan, int64_t decision)
{
	struct run *r = calloc(1, sizeof(*r) + plan->n_actions * sizeof(r->steps[0]));

	if (!r)
		return;
	r->owner = o;
	r->decision = decision;
	r->n = plan->n_actions;
	for (unsigned i = 0; i < r->n; i++) {
		r->steps[i].a = plan->actions[i];
		r->steps[i].run = r;
		if (plan->actions[i].dry)
			r->steps[i].state = STEP_FAILED; /* and what comes after it */
		plog(o->p, "decision %lld: %s: %s", (long long)decision, plan->actions[i].domain, plan->actions[i].why);
	}
	TAILQ_INSERT_TAIL(&o->runs, r, link);
	run_advance(r);
}

bool plan_runs_touch(const struct plan_runs *o, const char *domain)
{
	const struct run *r;

	TAILQ_FOREACH(r, &o->runs, link)
		for (unsigned i = 0; i < r->n; i++)
			if ((r->steps[i].state == STEP_WAITING || r->steps[i].state == STEP_RUNNING) &&
				(!strcmp(r->steps[i].a.domain, domain) || !strcmp(r->steps[i].a.for_domain, domain)))
				return true;
	return false;
}
