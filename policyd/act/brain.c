/* The loop of watching and deciding: see brain.h. What a plan's actions do is in plan_run.c.
 *
 * Every second: sample each running domain and the host. Every decide.interval (and at once when the kernel reports pressure): snapshot,
 * decide, and if there is something to do and automation allows it, run the plan. A decision is stored when it acts, or when what it says
 * (figures left out) has changed. */
#include "policyd/act/brain_int.h"

#include <errno.h>
#include <event2/event.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/agent_load.h"
#include "policyd/act/benefit_watch.h"
#include "policyd/act/blockers.h"
#include "policyd/act/cpu_group.h"
#include "policyd/act/host_power.h"
#include "policyd/act/maintain.h"
#include "policyd/act/mem_rules.h"
#include "policyd/act/mem_sizing.h"
#include "policyd/act/plan_run.h"
#include "policyd/decide/automation.h"
#include "policyd/decide/past.h"
#include "policyd/watch/watch_domain.h"
#include "policyd/watch/watch_host.h"

#define PROPOSAL_MS 600000   /* then it is proposed anew, with fresh figures */
#define QUIET_STORE_MS 30000 /* decisions without an action: at most one in this time */

void brain_need(struct dom *d, char out[32])
{
	const struct plan *pl = d->p->brain ? &d->p->brain->last : NULL;
	char size[16];

	out[0] = 0;
	for (unsigned i = 0; pl && i < pl->n_actions && !out[0]; i++) {
		const struct action *a = &pl->actions[i];

		if (strcmp(a->domain, d->spec.name) || strcmp(a->for_domain, d->spec.name))
			continue;
		if (a->kind == ACT_SET_VCPUS && action_cpu(a) > dom_cpu_percent(d)) {
			cpu_format(action_cpu(a) - dom_cpu_percent(d), size);
			snprintf(out, 32, "+%s vcpu", size);
		}
		if (a->kind == ACT_SET_MEMORY && a->mem_bytes > d->mem_bytes) {
			size_format(a->mem_bytes - d->mem_bytes, size);
			snprintf(out, 32, "+%s", size);
		}
	}
	for (unsigned i = 0; pl && i < pl->n_candidates && !out[0]; i++)
		if (!strcmp(pl->candidates[i].need, d->spec.name) && strncmp(pl->candidates[i].text, "leave", 5))
			snprintf(out, 32, "unmet");
}

/* ---- deciding ---- */

/* FNV-1a over a text without its figures: "util 81 %" and "util 83 %" say the same. */
static uint64_t say(uint64_t h, const char *text)
{
	for (; *text; text++)
		if (!isdigit((unsigned char)*text) && *text != '.')
			h = (h ^ (unsigned char)*text) * 1099511628211ULL;
	return h;
}

static uint64_t plan_says(const struct plan *pl)
{
	uint64_t h = 1469598103934665603ULL;

	for (unsigned i = 0; i < pl->n_actions; i++)
		h = say(say(h, pl->actions[i].domain), pl->actions[i].why);
	for (unsigned i = 0; i < pl->n_candidates; i++)
		h = say(say(h, pl->candidates[i].need), pl->candidates[i].why) + pl->candidates[i].verdict;
	for (unsigned i = 0; i < pl->n_notes; i++)
		h = say(say(h, pl->notes[i].domain), pl->notes[i].text);
	return h;
}

/* Is there anything that is not a dry run? */
static bool plan_does(const struct plan *pl)
{
	for (unsigned i = 0; i < pl->n_actions; i++)
		if (!pl->actions[i].dry)
			return true;
	return false;
}

static void name_add(const char **names, unsigned *n, const char *name)
{
	for (unsigned i = 0; i < *n; i++)
		if (!strcmp(names[i], name))
			return;
	if (name[0])
		names[(*n)++] = name;
}

/* A decision that weighed something is about those that it names; one that did not, about all. */
static bool looked_at(const struct plan *pl, const char *domain)
{
	for (unsigned i = 0; i < pl->n_candidates; i++)
		if (strstr(pl->candidates[i].text, domain))
			return true;
	return !pl->n_candidates && !pl->n_actions;
}

static int64_t store_plan(struct brain *b, const struct snapshot *s, const struct plan *pl)
{
	const char **names = calloc(2 * pl->n_actions + pl->n_candidates + pl->n_notes + 1, sizeof(*names));
	unsigned n = 0;
	int64_t id;

	if (!names)
		return 0;
	for (unsigned i = 0; i < pl->n_actions; i++) {
		name_add(names, &n, pl->actions[i].domain);
		name_add(names, &n, pl->actions[i].for_domain);
	}
	for (unsigned i = 0; i < pl->n_candidates; i++)
		name_add(names, &n, pl->candidates[i].need);
	for (unsigned i = 0; i < pl->n_notes; i++)
		if (looked_at(pl, pl->notes[i].domain))
			name_add(names, &n, pl->notes[i].domain);
	id = store_decision_add(b->p->store, s->now_ms, names, n, snapshot_to_json(s), plan_to_json(pl));
	free(names);
	return id;
}

/* What a plan does, figures left out. */
static uint64_t plan_means(const struct plan *pl)
{
	uint64_t h = 1469598103934665603ULL;

	for (unsigned i = 0; i < pl->n_actions; i++)
		h = say(say(h, pl->actions[i].domain), pl->actions[i].target) + pl->actions[i].kind;
	return h;
}

static void pending_drop(struct brain *b)
{
	plan_fini(&b->pending);
	b->pending = (struct plan){0};
	b->pending_id = 0;
}

/* What of @pl does not go by itself (@asks): asked about or recommended, not done: stored once, and kept until it is approved, something else would be
 * done, or nothing is to be done any more. */
static int64_t propose(struct brain *b, const struct snapshot *s, const struct plan *pl, const struct plan *asks)
{
	uint64_t does = plan_means(asks);

	if (b->pending_id && does == b->pending_does && s->now_ms - b->pending_ms < PROPOSAL_MS)
		return b->pending_id;
	pending_drop(b);
	if (automation_part(s, pl, 1u << AUTO_CONFIRM, &b->pending))
		return 0;
	b->pending_does = does;
	b->pending_ms = s->now_ms;
	b->pending_id = store_plan(b, s, pl);
	plog(b->p, "decision %lld: %u action%s proposed%s", (long long)b->pending_id, asks->n_actions,
		asks->n_actions == 1 ? "" : "s",
		b->pending.n_actions ? "; policyctl plan shows them, policyctl approve begins them" : "");
	return b->pending_id;
}

int64_t brain_proposal(const struct policyd *p)
{
	return p->brain && p->brain->pending.n_actions ? p->brain->pending_id : 0;
}

int brain_approve(struct policyd *p, int64_t id, struct err *e)
{
	struct brain *b = p->brain;
	struct snapshot s;

	if (b && b->pending_id == id && !b->pending.n_actions)
		return err_set(e, EPERM,
			"decision %lld is only a recommendation (automation \"manual\"); use the commands",
			(long long)id);
	if (!b || !b->pending_id || !b->pending.n_actions)
		return err_set(e, ENOENT, "nothing waits for approval; policyctl plan shows what would be done");
	if (b->pending_id != id)
		return err_set(e, ENOENT,
			"decision %lld does not wait for approval (any more); %lld does: policyctl plan", (long long)id,
			(long long)b->pending_id);
	if (!brain_snapshot(p, &s)) {
		benefit_watch_begun(b->benefits, &s, &b->pending, id);
		snapshot_fini(&s);
	}
	plan_runs_add(b->runs, &b->pending, id);
	pending_drop(b);
	return 0;
}

static void decide_now(struct brain *b)
{
	struct snapshot s;
	struct plan pl = {0}, goes = {0}, asks = {0}; /* all of it; what goes by itself; what does not */
	uint64_t says;
	int64_t id = 0;

	if (!b->p->settled || b->p->stopping || brain_snapshot(b->p, &s))
		return;
	if (decide(&s, &pl) || automation_part(&s, &pl, 1u << AUTO_FULL, &goes) ||
		automation_part(&s, &pl, 1u << AUTO_CONFIRM | 1u << AUTO_MANUAL, &asks)) {
		plog(b->p, "decide: no memory");
		goto out;
	}
	says = plan_says(&pl);
	if (plan_does(&asks))
		propose(b, &s, &pl, &asks);
	else
		pending_drop(b);
	if (plan_does(&goes) || (!plan_does(&asks) && says != b->said && s.now_ms - b->stored_ms >= QUIET_STORE_MS)) {
		id = store_plan(b, &s, &pl);
		b->said = says;
		b->stored_ms = s.now_ms;
	}
	plan_fini(&b->last);
	b->last = pl;
	pl = (struct plan){0};
	if (plan_does(&goes)) {
		benefit_watch_begun(b->benefits, &s, &goes, id);
		plan_runs_add(b->runs, &goes, id);
	}
	benefit_watch_look(b->benefits, &s);
	maintain_decided(b->p);
	host_power_decided(b->p, &s, &b->last);
out:
	plan_fini(&pl);
	plan_fini(&goes);
	plan_fini(&asks);
	snapshot_fini(&s);
}

static void arm(struct event *ev, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	evtimer_add(ev, &tv);
}

static void sample_all(struct brain *b)
{
	struct dom *d;

	TAILQ_FOREACH(d, &b->p->doms, link) {
		if (d->watch)
			watch_domain_sample(d->watch, now_mono_ms());
		dom_held(d);
		mem_guard_check(d);
		mem_sizing_sample(d);
	}
	agent_load_follow(b->p);
	cpu_group_follow(b->p);
	blockers_follow(b->p);
	if (b->host)
		watch_host_sample(b->host, now_mono_ms());
	arm(b->ev_sample, 1000);
}

static void on_sample_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	sample_all(arg);
}

static void on_decide_timer(evutil_socket_t fd, short what, void *arg)
{
	struct brain *b = arg;

	(void)fd, (void)what;
	decide_now(b);
	arm(b->ev_decide, b->p->conf->decide.interval_ms ? b->p->conf->decide.interval_ms : 2000);
}

static void on_host_pressure(void *arg, enum watch_pressure what)
{
	struct brain *b = arg;

	plog_debug(b->p, "pressure: %s", what == PRESSURE_CPU ? "cpu" : "memory");
	sample_all(b); /* what is decided on is of now */
	event_active(b->ev_decide, EV_TIMEOUT, 0);
}

void brain_ended(struct policyd *p, const struct store_event *ev)
{
	json_t *row;
	struct past_move m;

	if (!p->brain)
		return;
	maintain_ended(p, ev);
	row = json_pack("{s:I, s:s, s:s, s:s, s:b, s:s?, s:O?}", "t", (json_int_t)now_wall_ms(), "domain", ev->domain,
		"kind", ev->kind, "who", ev->who, "ok", (int)ev->ok, "peer", ev->peer, "actual", ev->actual);
	if (row && past_from_history(row, &m))
		past_add(p->brain->past, &m);
	json_decref(row);
}

static int remember_moves(struct brain *b, struct err *e)
{
	json_t *rows = store_moves_since(b->p->store, now_wall_ms() - PAST_MS, e), *row;
	struct past_move m;
	size_t i;

	if (!rows)
		return -EIO;
	json_array_foreach(rows, i, row)
		if (past_from_history(row, &m))
			past_add(b->past, &m);
	json_decref(rows);
	return 0;
}

int brain_start(struct policyd *p, struct err *e)
{
	struct brain *b = calloc(1, sizeof(*b));
	struct watch_host_conf hc = {.on_pressure = on_host_pressure, .arg = b};

	if (!b)
		return err_set(e, ENOMEM, "no memory");
	b->p = p;
	b->ev_sample = evtimer_new(p->base, on_sample_timer, b);
	b->ev_decide = evtimer_new(p->base, on_decide_timer, b);
	b->runs = plan_runs_new(p);
	b->past = past_new();
	b->host = watch_host_new(p->base, &hc);
	p->brain = b;
	if (!b->ev_sample || !b->ev_decide || !b->runs || !b->host || !b->past) {
		brain_stop(p);
		return err_set(e, ENOMEM, "no memory");
	}
	b->benefits = benefit_watch_new(p, e);
	if (!b->benefits || remember_moves(b, e)) {
		brain_stop(p);
		return -EIO;
	}
	arm(b->ev_sample, 100);
	arm(b->ev_decide, 1000);
	return 0;
}

void brain_stop(struct policyd *p)
{
	struct brain *b = p->brain;

	if (!b)
		return;
	if (b->ev_sample)
		event_free(b->ev_sample);
	if (b->ev_decide)
		event_free(b->ev_decide);
	plan_runs_free(b->runs);
	watch_host_free(b->host);
	plan_fini(&b->last);
	plan_fini(&b->pending);
	past_free(b->past);
	benefit_watch_free(b->benefits);
	free(b);
	p->brain = NULL;
}
