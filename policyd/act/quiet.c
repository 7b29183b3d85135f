/* Why nothing: see quiet.h. The words are made for control.c's explain; figures come from the watch's ring of ten minutes, not from the snapshot,
 * which knows the last minute only. */
#include "policyd/act/quiet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/brain.h"
#include "policyd/act/move.h"
#include "policyd/act/words.h"
#include "policyd/api/format.h"
#include "policyd/decide/rules.h"
#include "policyd/policyd.h"
#include "policyd/watch/watch_domain.h"

/* The highest (else the lowest) mean over @span_ms in all that @s remembers; false: too little is known. */
static bool extreme(const struct series *s, int64_t span_ms, bool highest, double *out, int64_t *back_ms)
{
	const struct point *newest = series_get(s, 0), *p;
	bool known = false;
	double v;

	for (unsigned i = 0; (p = series_get(s, i)); i++) {
		*back_ms = newest->t_ms - p->t_ms;
		if (!series_mean(s, p->t_ms - span_ms, p->t_ms, &v))
			continue;
		if (!known || (highest ? v > *out : v < *out))
			*out = v;
		known = true;
	}
	return known;
}

static void cpu_print(struct dom *d, const struct snap_domain *sd, const struct conf_decide *c, FILE *f)
{
	const struct cpu_policy *p = &sd->policy.cpu;
	int64_t span_ms = (int64_t)c->sustain_samples * (p->sample_rate_s ? p->sample_rate_s : 1) * 1000, back_ms = 0;
	char span[24], back[24];
	double worst;

	if (!p->set) {
		fprintf(f, "  no policy bounds its CPU");
	} else if (!extreme(watch_domain_util(d->watch), span_ms, true, &worst, &back_ms)) {
		fprintf(f, "  its CPU is not measured yet");
	} else {
		fmt_uptime(span_ms / 1000, span);
		fmt_uptime(back_ms / 1000, back);
		fprintf(f, "  its busiest %s of the last %s: util %.0f %%, the bound is %u %%", span, back, worst,
			p->util_upper);
		if (sd->vcpus >= rule_cpu_ceiling(sd))
			fprintf(f, "; it has its limit of %u vcpu%s", sd->vcpus, sd->vcpus == 1 ? "" : "s");
		else if (worst > p->util_upper)
			fprintf(f, "; that is over: now %.0f %%", sd->util_fast);
		else if (worst >= 2)
			fprintf(f, "; it would get a vCPU if util-upper were at most %.0f", worst - 1);
	}
	fputc('\n', f);
}

static void mem_print(struct dom *d, const struct snap_domain *sd, const struct conf_decide *c, FILE *f)
{
	const struct mem_policy *p = &sd->policy.memory;
	int64_t span_ms = (int64_t)c->sustain_samples * (p->sample_rate_s ? p->sample_rate_s : 1) * 1000, back_ms = 0;
	char span[24], back[24];
	double least;

	if (!p->set) {
		fprintf(f, "  no policy bounds its memory");
	} else if (!extreme(watch_domain_mem(d->watch), span_ms, false, &least, &back_ms)) {
		fprintf(f, "  its memory statistics are not there (yet)");
	} else {
		fmt_uptime(span_ms / 1000, span);
		fmt_uptime(back_ms / 1000, back);
		fprintf(f, "  its tightest %s of the last %s: memory %.0f %% available, the bound is %u %%", span, back,
			least, p->free_lower);
	}
	fputc('\n', f);
}

static const struct snap_peer *best_peer(const struct snapshot *s, const struct snap_domain *sd)
{
	const struct snap_peer *best = NULL;

	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct snap_peer *p = &s->peers[i];

		if (p->up && p->accepts && p->vcpus_given + sd->vcpus <= p->vcpus_total &&
			p->mem_given + sd->mem_bytes <= p->mem_total && (!best || p->cpu_util < best->cpu_util))
			best = p;
	}
	return best;
}

static void move_print(struct dom *d, const struct snapshot *s, const struct snap_domain *sd, FILE *f)
{
	const struct snap_peer *peer = best_peer(s, sd);
	bool cold = sd->policy.relocate == RELOCATE_COLD;
	struct move_request rq = {.method = MOVE_AUTO};
	struct predict_out p;
	char total[24], dark[24], fixed[192];

	brain_immovable(d, fixed);
	if (!peer || fixed[0] || !sd->movable) {
		fprintf(f, "  a move would gain nothing%s%s\n",
			fixed[0] || !sd->movable ? "; it cannot be moved: " : "; no other host has room for it now",
			fixed[0]              ? fixed
				: sd->movable ? ""
					      : sd->immovable_why);
		return;
	}
	snprintf(rq.host, sizeof(rq.host), "%s", peer->name);
	move_predict(d, &rq, cold, 0, &p);
	fmt_seconds(p.total_s, total);
	fmt_ms(p.blackout_ms, dark);
	fprintf(f,
		"  a move to %s would gain nothing and take %s, %s%s; to do it all the same: policyctl migrate %s %s\n",
		peer->name, total, cold ? "down for " : "blackout ", dark, d->spec.name, peer->name);
}

static bool stays(const struct plan *pl, const char *name)
{
	bool stays = false;

	for (unsigned i = 0; i < pl->n_notes; i++)
		stays |= !strcmp(pl->notes[i].domain, name) && !strncmp(pl->notes[i].text, "stays: ", 7);
	for (unsigned i = 0; i < pl->n_actions; i++)
		stays &= strcmp(pl->actions[i].domain, name) && strcmp(pl->actions[i].for_domain, name);
	for (unsigned i = 0; i < pl->n_candidates; i++)
		stays &= strcmp(pl->candidates[i].need, name) != 0;
	return stays;
}

json_t *quiet_words(struct dom *d, const struct snapshot *s, const struct plan *pl)
{
	const struct snap_domain *sd = NULL;
	char *text = NULL;
	size_t size = 0;
	json_t *j = NULL;
	FILE *f;

	for (unsigned i = 0; i < s->n_domains; i++)
		if (!strcmp(s->domains[i].spec.uuid, d->spec.uuid))
			sd = &s->domains[i];
	if (!sd || !d->watch || !stays(pl, d->spec.name))
		return plan_words(s, pl, d->spec.name);
	f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	fprintf(f, "nothing to do for %s\n", d->spec.name);
	cpu_print(d, sd, &s->decide, f);
	mem_print(d, sd, &s->decide, f);
	move_print(d, s, sd, f);
	if (!(ferror(f) | fclose(f)))
		j = json_string(text);
	free(text);
	return j;
}
