/* A cold move before its guest is shut down, and after: the cluster is asked for leave, and hooks drain, check and rejoin. See cold_int.h. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "policyd/act/cold_int.h"

#define HOOK_AGAIN_MS 5000

/* ---- claim --------------------------------------------------------------------------------------------------------------------- */

bool cold_may_go(struct cold *c, const json_t *leaving, struct err *e)
{
	struct admit_failures f = {0};
	char text[380];

	if (c->j->dom->spec.cluster[0])
		move_check_cluster(c->j->dom, leaving, &f);
	if (!f.n)
		return true;
	admit_text(&f, text, sizeof(text));
	err_set(e, EAGAIN, "%s", text);
	return false;
}

static void on_claimed(void *arg, const json_t *leaving, const struct err *e)
{
	struct cold *c = arg;
	struct err why = *e;

	c->claim = NULL;
	if (e->code || !cold_may_go(c, leaving, &why))
		cold_stay(c, &why);
	else
		job_next(c->j);
}

/* From here on it counts as leaving (cluster_leaving_json). */
int cold_enter_claim(struct job *j, struct err *e)
{
	struct cold *c = j->priv;

	if (!c->was_running || !cold_cluster(j->dom)) {
		job_next(j);
		return 0;
	}
	c->claim = claim_start(j->p, on_claimed, c);
	return c->claim ? 0 : err_set(e, ENOMEM, "out of memory");
}

void cold_cancel_claim(struct job *j)
{
	struct cold *c = j->priv;
	struct err e;

	err_set(&e, ECANCELED, "cancelled");
	claim_cancel(c->claim);
	c->claim = NULL;
	cold_stay(c, &e);
}

/* ---- hooks ----------------------------------------------------------------------------------------------------------------------- */

static const char *hook_path(const struct cold *c, const char **name_out)
{
	static const char *const names[PC_COUNT] = {
		[PC_DRAIN] = "drain", [PC_CHECK] = "check", [PC_REJOIN] = "rejoin", [PC_REJOIN_HERE] = "rejoin"};
	const struct conf_cluster_def *def = cold_cluster(c->j->dom);

	*name_out = names[c->j->phase];
	if (!def)
		return "";
	return c->j->phase == PC_DRAIN ? def->drain : c->j->phase == PC_CHECK ? def->check : def->rejoin;
}

/* "Not now" is recorded once, not each time that it is asked again. */
static bool said_before(struct cold *c, const struct err *e)
{
	bool same = e->code == EAGAIN && !strcmp(c->not_now, e->msg);

	snprintf(c->not_now, sizeof(c->not_now), "%s", e->code == EAGAIN ? e->msg : "");
	return same;
}

static void record_hook(struct cold *c, const char *output, const struct err *e)
{
	struct dom *d = c->j->dom;
	char text[HOOK_OUTPUT_MAX + 64];
	struct store_event ev = {.domain = d->spec.name,
		.kind = "hook",
		.who = "policyd",
		.text = text,
		.ok = !e->code,
		.error = e->code ? e->msg : NULL};
	const char *name;
	size_t n;

	if (said_before(c, e))
		return;
	hook_path(c, &name);
	n = (size_t)snprintf(text, sizeof(text), "%s hook: %s", name, output && *output ? output : "no output");
	while (text[n - 1] == '\n')
		text[--n] = 0;
	store_history_add(d->p->store, &ev);
}

static void hook_over(struct cold *c, const struct err *e);

static void on_hook_done(void *arg, const char *output, const struct err *e)
{
	struct cold *c = arg;

	c->hook = NULL;
	record_hook(c, output, e);
	if (e->code == EAGAIN && now_mono_ms() + HOOK_AGAIN_MS < c->deadline_ms && !c->j->cancel_asked) {
		snprintf(c->j->progress.text, sizeof(c->j->progress.text), "%.150s", e->msg);
		job_progressed(c->j);
		cold_timer_ms(c, HOOK_AGAIN_MS);
		return;
	}
	hook_over(c, e);
}

static void hook_over(struct cold *c, const struct err *e)
{
	struct err why;

	c->j->progress.text[0] = 0;
	switch (c->j->phase) {
	case PC_DRAIN:
	case PC_CHECK:
		c->drained = true; /* even a drain that failed may have done half of it */
		if (e->code)
			cold_stay(c, e);
		else if (c->j->cancel_asked)
			cold_stay(c, (err_set(&why, ECANCELED, "cancelled"), &why));
		else
			job_next(c->j);
		return;
	case PC_REJOIN:
		c->rejoin_why = *e;
		cold_end_moved(c);
		return;
	default:
		if (e->code)
			plog(c->j->p, "%s: %s", c->j->dom->spec.name, e->msg);
		cold_end_stayed(c);
	}
}

int cold_run_hook(struct cold *c)
{
	struct dom *d = c->j->dom;
	int64_t left_ms = c->deadline_ms - now_mono_ms();
	const char *here = d->p->conf->host.host_name, *name, *path = hook_path(c, &name);
	struct hook_conf hc = {.p = d->p,
		.path = path,
		.name = name,
		.domain = d->spec.name,
		.uuid = d->spec.uuid,
		.cluster = d->spec.cluster,
		.source = here,
		.target = c->j->target,
		.timeout_ms = left_ms > 1 ? (unsigned)left_ms : 1};
	struct err e = {0};

	if (path[0] && hook_run(&hc, on_hook_done, c, &c->hook, &e) == 0)
		return 0;
	if (path[0])
		record_hook(c, NULL, &e);
	hook_over(c, &e);
	return 0;
}

int cold_enter_hook(struct job *j, struct err *e)
{
	struct cold *c = j->priv;
	const struct conf_cluster_def *def = cold_cluster(j->dom);

	(void)e;
	if ((j->phase == PC_DRAIN || j->phase == PC_CHECK) && (!c->was_running || !def)) {
		job_next(j);
		return 0;
	}
	c->deadline_ms = now_mono_ms() + (def ? def->timeout_ms : 0);
	c->not_now[0] = 0;
	return cold_run_hook(c);
}

void cold_cancel_hook(struct job *j)
{
	struct cold *c = j->priv;
	struct err e;

	err_set(&e, ECANCELED, "cancelled");
	hook_cancel(c->hook);
	c->hook = NULL;
	evtimer_del(c->timer);
	c->drained = true;
	cold_stay(c, &e);
}
