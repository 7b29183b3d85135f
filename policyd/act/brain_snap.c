/* The snapshot that a decision is made of: see brain.h. */
#include "policyd/act/brain_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/forecast.h"
#include "policyd/act/host_power.h"
#include "policyd/act/benefit_watch.h"
#include "policyd/act/cpu_group.h"
#include "policyd/act/job.h"
#include "policyd/act/maintain.h"
#include "policyd/act/mem_sizing.h"
#include "policyd/act/move.h"
#include "policyd/act/plan_run.h"
#include "policyd/act/snap_rules.h"
#include "policyd/cluster/cluster.h"
#include "policyd/decide/past.h"
#include "policyd/decide/rules.h"
#include "policyd/watch/watch_host.h"

static void fill_cluster(struct policyd *p, struct snap_domain *out)
{
	const char *name = out->spec.cluster;

	if (!name[0])
		return;
	out->cluster_available = cluster_nodes(p, name, NULL, NULL);
	for (unsigned i = 0; i < p->conf->n_clusters; i++)
		if (!strcmp(p->conf->clusters[i].name, name))
			out->cluster_min = p->conf->clusters[i].min_available;
}

static void fill_marks(struct dom *d, struct snap_domain *out)
{
	const struct dom_mark *pin = dom_marked(d, MARK_PIN), *prefer = dom_marked(d, MARK_PREFER);

	out->pinned = pin != NULL;
	snprintf(out->pin_reason, sizeof(out->pin_reason), "%s", pin ? pin->reason : "");
	snprintf(out->prefer, sizeof(out->prefer), "%s", prefer ? prefer->host : "");
}

static const char *no_live_move(const struct dom *d)
{
	const char *why = dom_no_live_move(d);

	return why || !d->blocked[0] ? why : d->blocked;
}

void brain_immovable(struct dom *d, char out[192])
{
	const struct dom_mark *pin = dom_marked(d, MARK_PIN);
	const char *live = no_live_move(d);
	struct policy_effective pe;

	out[0] = 0;
	if (d->state != DOM_ACTIVE && d->state != DOM_SUSPENDED)
		return;
	policyd_policy(d->p, &d->spec, &pe);
	if (live && pe.relocate != RELOCATE_COLD)
		snprintf(out, 192, "%.190s", live);
	else if (pe.relocate == RELOCATE_NEVER)
		snprintf(out, 192, "policy \"%.60s\" never moves it", pe.relocate_from);
	else if (pin)
		snprintf(out, 192, "it is pinned (%.120s)", pin->reason);
}

/* Since when it has been in need. A need is over when no sample of the window says so any more; a short dip does not end it. */
static void fill_need(struct dom *d, const struct snapshot *s, struct snap_domain *out)
{
	if (rule_cpu_need(out, &s->decide).is || rule_mem_need(out, &s->decide).is) {
		if (!d->need_since_ms)
			d->need_since_ms = s->now_ms;
	} else if (!out->over_upper && !out->mem_short) {
		d->need_since_ms = 0;
	}
	out->need_since_ms = d->need_since_ms;
}

static void fill_domain(struct dom *d, const struct snapshot *s, struct snap_domain *out)
{
	snap_domain_init(out);
	out->spec = d->spec;
	if (dom_no_plug(d)) /* what it has is the most that it can have */
		out->spec.vcpus_max = d->vcpus;
	out->huge_pages = policyd_ram_page(d->p) > SPEC_PAGE_BYTES;
	out->state = d->state;
	out->busy = d->job || plan_runs_touch(d->p->brain->runs, d->spec.name);
	out->held = dom_held(d);
	snprintf(out->hold_reason, sizeof(out->hold_reason), "%s", d->hold.reason);
	fill_marks(d, out);
	if (d->job && (d->job->type->kind == JOB_MIGRATE || d->job->type->kind == JOB_COLD_MOVE))
		snprintf(out->moving_to, sizeof(out->moving_to), "%s", d->job->target);
	if (d->wanted_until_ms > s->now_ms) {
		snprintf(out->wanted_on, sizeof(out->wanted_on), "%s", d->wanted_on);
		out->wanted_since_ms = d->wanted_since_ms;
	}
	out->movable = d->state == DOM_ACTIVE && d->qmp_up;
	if (!out->movable)
		snprintf(out->immovable_why, sizeof(out->immovable_why), "it is %s", domain_state_name(d->state));
	brain_measured(d, out);
	if (!move_can_postcopy(d))
		out->policy.postcopy = POSTCOPY_NEVER;
	forecast_snap_domain(d->p, out);
	if (out->movable && no_live_move(d) && out->policy.relocate != RELOCATE_COLD) {
		out->movable = false;
		snprintf(out->immovable_why, sizeof(out->immovable_why), "%.127s",
			dom_no_live_move(d) ? "a vcpu was removed since its QEMU started (TCG)" : d->blocked);
	}
	out->last_resize_ms = d->last_resize_ms;
	out->last_move_ms = d->last_move_ms;
	out->started_ms = d->started_ms;
	out->mem_advised = mem_sizing_advice(d);
	out->unplug_frozen_until_ms = d->launched.unplug_frozen_until_ms;
	out->shrink_frozen_until_ms = d->launched.shrink_frozen_until_ms;
	fill_cluster(d->p, out);
	fill_need(d, s, out);
	past_fill_domain(d->p->brain->past, s->now_ms, out);
}

int brain_snapshot(struct policyd *p, struct snapshot *out)
{
	struct capacity cap;
	struct policy_when when;
	struct dom *d;

	snapshot_init(out);
	policyd_when(p, &when);
	policyd_capacity(p, &cap);
	out->version = SNAPSHOT_VERSION;
	out->now_ms = now_wall_ms();
	out->minute_of_day = when.minute_of_day;
	out->weekday = when.weekday;
	snprintf(out->host, sizeof(out->host), "%s", p->conf->host.host_name);
	out->vcpus_total = cap.vcpus_total;
	out->mem_total = cap.mem_total;
	out->vcpus_given = cap.vcpus_given;
	out->cpu_given = cap.cpu_given;
	out->caps = cpu_group_possible(p);
	out->mem_given = cap.mem_given;
	out->host_cpu_util = out->psi_cpu = out->psi_mem = -1;
	if (p->brain->host)
		watch_host_fill(p->brain->host, out);
	out->moves_last_hour = store_moves_last_hour(p->store, out->now_ms);
	past_fill_host(p->brain->past, out);
	maintain_fill(p, out);
	out->caution = benefit_watch_caution(p->brain->benefits);
	out->decide = p->conf->decide;
	out->max_blackout_ms = p->conf->migration.max_blackout_ms;
	out->bandwidth_bps = p->conf->migration.bandwidth_bps;
	out->max_rounds = p->conf->migration.max_rounds;
	out->throttle_max = p->conf->migration.throttle_max;
	out->domains = calloc(p->n_doms ? p->n_doms : 1, sizeof(*out->domains));
	if (!out->domains || cluster_snap_peers(p, &out->peers, &out->n_peers)) {
		snapshot_fini(out);
		return -ENOMEM;
	}
	host_power_fill(p, out);
	for (unsigned i = 0; i < out->n_peers; i++)
		forecast_snap_peer(p, &out->peers[i]);
	if (snap_rules_fill(p, out)) {
		snapshot_fini(out);
		return -ENOMEM;
	}
	TAILQ_FOREACH(d, &p->doms, link) {
		if (d->gone)
			continue;
		fill_domain(d, out, &out->domains[out->n_domains++]);
		out->moves_now += d->job &&
			(d->job->type->kind == JOB_MIGRATE || d->job->type->kind == JOB_COLD_MOVE ||
				d->job->type->kind == JOB_INCOMING);
	}
	return 0;
}
