/* Plans of all hosts: see plan_ask.h. A peer answers in words and with its advice on power, not with all candidates: a line between peers is 1 MiB at
 * most. */
#include "policyd/act/plan_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/act/brain.h"
#include "policyd/act/host_power.h"
#include "policyd/act/maintain.h"
#include "policyd/act/words.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/decide/plan.h"
#include "policyd/decide/power.h"
#include "policyd/policyd.h"

#define ANSWER_MS 10000

/* What is recommended about switching hosts; NULL: nothing is to be said, as of a host in maintenance, of which all is said. New reference. */
static json_t *power_words(const struct policyd *p, const struct snapshot *s, const struct plan *pl)
{
	static const char *const words[] = {"keep", "off", "on"};
	struct power_advice a;
	bool itself;

	if (maintain_on(p) || power_advise(s, pl, &a) || !a.text[0])
		return NULL;
	itself = host_power_acts(p) && ((a.what == POWER_OFF && !a.stays[0]) || (a.what == POWER_ON && a.asleep));
	return json_pack("{s:s, s:s+, s:b}", "advice", words[a.what], "text", a.text,
		itself ? " (policy does that, decide.power-off)" : "", "by_itself", itself);
}

json_t *plan_answer(struct policyd *p, const struct snapshot *s)
{
	struct plan pl = {0};
	json_t *j = decide(s, &pl) ? NULL : plan_to_json(&pl), *power;

	if (j)
		json_object_set_new(j, "text", plan_words(s, &pl, NULL));
	if (j && (power = power_words(p, s, &pl)) != NULL)
		json_object_set_new(j, "power", power);
	plan_fini(&pl);
	return j;
}

/* ---- the peers ---- */

struct asking { /* all of them */
	json_t *hosts;
	unsigned left;
	plan_asked_fn *done;
	void *arg;
};

struct asked { /* one of them */
	struct asking *all;
	json_t *row; /* borrowed: one of all->hosts */
};

static void one_less(struct asking *all)
{
	if (--all->left)
		return;
	all->done(all->arg, all->hosts);
	free(all);
}

static void answered(struct asking *all, json_t *row, const json_t *answer, const struct err *e)
{
	char text[ERR_MSG_MAX + 64];

	if (e->code == EREMOTEIO) /* it knows no such request, or says why not */
		snprintf(text, sizeof(text), "it does not say: %s", e->msg);
	else
		snprintf(text, sizeof(text), "%s", e->msg);
	if (e->code) {
		json_object_set_new(row, "error", json_string(text));
	} else {
		json_object_set(row, "text", json_object_get(answer, "text"));
		json_object_set(row, "power", json_object_get(answer, "power"));
	}
	one_less(all);
}

static void on_answer_plan(void *arg, const json_t *answer, const struct err *e)
{
	struct asked *a = arg;

	answered(a->all, a->row, json_object_get(answer, "plan"), e);
	free(a);
}

static void ask(struct policyd *p, struct asking *all, const char *host)
{
	struct asked *a = malloc(sizeof(*a));
	json_t *row = json_pack("{s:s}", "host", host);
	struct err e;

	all->left++;
	json_array_append_new(all->hosts, row);
	if (a)
		*a = (struct asked){all, row};
	if (a && !cluster_call(p, host, "plan", NULL, ANSWER_MS, on_answer_plan, a, NULL, &e))
		return;
	if (!a)
		err_set(&e, ENOMEM, "no memory");
	free(a);
	answered(all, row, NULL, &e);
}

void plan_ask_peers(struct policyd *p, plan_asked_fn *done, void *arg)
{
	struct asking *all = malloc(sizeof(*all));

	if (!all) {
		done(arg, json_array());
		return;
	}
	*all = (struct asking){
		.hosts = json_array(), .left = 1, .done = done, .arg = arg}; /* 1: ours, until all were asked */
	for (unsigned i = 0; i < p->conf->n_peers; i++)
		ask(p, all, p->conf->peers[i].name);
	one_less(all);
}

void on_req_plan(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct policyd *p = arg;
	struct snapshot s;
	struct err e;
	json_t *j = NULL, *power, *answer = NULL;

	(void)from, (void)args;
	if (!brain_snapshot(p, &s)) {
		j = plan_answer(p, &s);
		snapshot_fini(&s);
	}
	if (j)
		answer = json_pack("{s:O}", "text", json_object_get(j, "text"));
	power = json_object_get(j, "power");
	if (answer && power)
		json_object_set(answer, "power", power);
	json_decref(j);
	if (answer) {
		peer_req_answer(rq, json_pack("{s:o}", "plan", answer));
		return;
	}
	err_set(&e, ENOMEM, "%s has no memory for a plan", p->conf->host.host_name);
	peer_req_fail(rq, &e);
}
