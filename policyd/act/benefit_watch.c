/* What became of decisions: see benefit_watch.h. */
#include "policyd/act/benefit_watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/cluster/cluster.h"
#include "policyd/store.h"

struct benefit_watch {
	struct policyd *p;
	struct benefits b;
};

static void keep(const struct benefit_watch *w, const struct benefit *b)
{
	json_t *j = benefit_to_json(b);

	if (j)
		store_benefit_put(w->p->store, b->decision, b->domain, j);
	json_decref(j);
}

struct benefit_watch *benefit_watch_new(struct policyd *p, struct err *e)
{
	struct benefit_watch *w = calloc(1, sizeof(*w));
	json_t *rows = w ? store_benefits_newest(p->store, BENEFIT_MAX, e) : NULL, *row;
	size_t i;

	if (!w || !rows) {
		if (!w)
			err_set(e, ENOMEM, "no memory");
		free(w);
		return NULL;
	}
	w->p = p;
	json_array_foreach(rows, i, row) {
		const char *domain = json_string_value(json_object_get(row, "domain"));
		struct benefit b = {.decision = json_integer_value(json_object_get(row, "decision"))};

		if (!domain || benefit_from_json(json_object_get(row, "benefit"), &b))
			continue;
		snprintf(b.domain, sizeof(b.domain), "%s", domain);
		benefits_add(&w->b, &b);
	}
	json_decref(rows);
	return w;
}

void benefit_watch_free(struct benefit_watch *w)
{
	free(w);
}

static bool told_already(const struct plan *pl, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (!strcmp(pl->actions[k].for_domain, pl->actions[i].for_domain))
			return true;
	return false;
}

void benefit_watch_begun(struct benefit_watch *w, const struct snapshot *s, const struct plan *pl, int64_t decision)
{
	struct benefit b;

	for (unsigned i = 0; i < pl->n_actions; i++) {
		if (told_already(pl, i) || !benefit_predict(s, pl, pl->actions[i].for_domain, &b))
			continue;
		b.decision = decision;
		keep(w, benefits_add(&w->b, &b));
	}
}

/* ---- looking ---- */

struct elsewhere {
	const char *domain;
	bool found, needs;
};

static void on_each_domain(void *arg, const char *host, const json_t *dom)
{
	struct elsewhere *el = arg;

	(void)host;
	if (strcmp(json_string_value(json_object_get(dom, "name")), el->domain) != 0)
		return;
	el->found = true;
	el->needs = json_is_string(json_object_get(dom, "need"));
}

/* What it loses now; < 0: it is not known (stopped, or gone). On another host its report says whether it is in need, not how much: then it is as if
 * nothing had come of it. */
static double loses_now(const struct benefit_watch *w, const struct snapshot *s, const struct benefit *b)
{
	struct elsewhere el = {.domain = b->domain};

	for (unsigned i = 0; i < s->n_domains; i++)
		if (!strcmp(s->domains[i].spec.name, b->domain))
			return s->domains[i].state == DOM_ACTIVE ? benefit_unmet(&s->domains[i], &s->decide) : -1;
	cluster_each_domain(w->p, on_each_domain, &el);
	return !el.found ? -1 : el.needs ? b->before : 0;
}

static void say(const struct benefit_watch *w, const struct benefit *b, unsigned look)
{
	char text[256];
	struct store_event ev = {.domain = b->domain, .kind = "benefit", .who = "policyd", .text = text, .ok = true};

	snprintf(text, sizeof(text),
		"decision %lld: it lost %.0f %% of its service, %.0f %% was predicted to be left, %.0f %% is after %u min",
		(long long)b->decision, 100 * b->before, 100 * b->predicted, 100 * b->after[look],
		benefit_look_min[look]);
	store_history_add(w->p->store, &ev);
}

void benefit_watch_look(struct benefit_watch *w, const struct snapshot *s)
{
	double before = benefits_caution(&w->b), now;

	for (unsigned i = 0; i < w->b.n; i++) {
		struct benefit *b = &w->b.v[i];
		unsigned look = benefit_due(b, s->now_ms);
		double loses = look < BENEFIT_LOOKS ? loses_now(w, s, b) : -1;

		if (loses < 0)
			continue;
		b->after[look] = loses;
		keep(w, b);
		say(w, b, look);
	}
	now = benefits_caution(&w->b);
	if (now < before - 0.01)
		plog(w->p, "decisions of late brought %.0f %% of what was predicted: a move has to be worth more now",
			100 * now);
}

double benefit_watch_caution(const struct benefit_watch *w)
{
	return benefits_caution(&w->b);
}
