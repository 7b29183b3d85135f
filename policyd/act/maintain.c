/* Maintenance of this host: see maintain.h.
 *
 * What is kept: {on, emptying, since_ms, deadline_ms, by, refill_ms, moved: [{domain, to}]}, one text in the store, written whole. The moves
 * themselves are decisions (snapshot.emptying), so they are streamed, explained and checked like any other.
 *
 *     on, emptying -> on, empty (nothing runs here any more, or the deadline is over) -> off [-> refill: asking for what left, an hour at most] */
#include "policyd/act/maintain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/brain.h"
#include "policyd/api/format.h"
#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/decide/leave.h"
#include "policyd/dom.h"

#define SETTING "maintenance"
#define ASK_EVERY_MS 10000  /* for those that are to come back */
#define WANTED_MS 60000     /* so long is an ask remembered */
#define REFILL_MS 3600000LL /* then nobody is asked any more */

struct state {
	bool on, emptying;
	int64_t since_ms, deadline_ms, refill_ms;
	char by[96];
};

struct maintain {
	struct policyd *p;
	struct state s;
	json_t *moved;    /* [{domain, to}] */
	unsigned n_saves; /* ever asked for */
	int64_t asked_ms; /* interval clock */
};

/* ---- what is kept ---- */

static json_t *state_json(const struct state *s, json_t *moved)
{
	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:s, s:O}", "on", s->on, "emptying", s->emptying, "since_ms",
		(json_int_t)s->since_ms, "deadline_ms", (json_int_t)s->deadline_ms, "refill_ms",
		(json_int_t)s->refill_ms, "by", s->by, "moved", moved);
}

static void state_take(struct maintain *m, const json_t *j)
{
	const char *by = json_string_value(json_object_get(j, "by"));
	json_t *moved = json_object_get(j, "moved");

	m->s.on = json_is_true(json_object_get(j, "on"));
	m->s.emptying = json_is_true(json_object_get(j, "emptying"));
	m->s.since_ms = json_integer_value(json_object_get(j, "since_ms"));
	m->s.deadline_ms = json_integer_value(json_object_get(j, "deadline_ms"));
	m->s.refill_ms = json_integer_value(json_object_get(j, "refill_ms"));
	snprintf(m->s.by, sizeof(m->s.by), "%s", by ? by : "");
	if (json_is_array(moved))
		json_array_extend(m->moved, moved);
}

static void on_saved(void *arg, const struct err *e)
{
	struct maintain *m = arg;

	if (e->code)
		plog(m->p, "maintenance: what was done is not kept over a restart: %s", e->msg);
}

static void save(struct maintain *m, const struct state *s, store_done_fn *done, void *arg)
{
	json_t *j = state_json(s, m->moved);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct err e = {0};

	json_decref(j);
	m->n_saves++;
	if (text) {
		store_setting_put(m->p->store, SETTING, text, done, arg);
	} else {
		err_set(&e, ENOMEM, "no memory");
		done(arg, &e);
	}
	free(text);
}

static void note(struct maintain *m, const char *who, const char *text)
{
	struct store_event ev = {.domain = "", .kind = "maintenance", .who = who, .text = text, .ok = true};

	store_history_add(m->p->store, &ev);
	plog(m->p, "%s", text);
}

int maintain_start(struct policyd *p, struct err *e)
{
	struct maintain *m = calloc(1, sizeof(*m));
	char *text = NULL;
	json_t *j;
	int rc;

	if (m)
		m->moved = json_array();
	if (!m || !m->moved) {
		free(m);
		return err_set(e, ENOMEM, "no memory");
	}
	m->p = p;
	p->maintain = m;
	rc = store_setting_get(p->store, SETTING, &text, e);
	j = text ? json_loads(text, 0, NULL) : NULL;
	if (text && !j)
		plog(p, "maintenance: what the store says of it is damaged; this host is not in maintenance now");
	if (j)
		state_take(m, j);
	if (m->s.on)
		plog(p, "%s is in maintenance since before (by %s): policyctl maintenance off %s ends it",
			p->conf->host.host_name, m->s.by, p->conf->host.host_name);
	json_decref(j);
	free(text);
	return rc;
}

void maintain_stop(struct policyd *p)
{
	if (!p->maintain)
		return;
	json_decref(p->maintain->moved);
	free(p->maintain);
	p->maintain = NULL;
}

bool maintain_on(const struct policyd *p)
{
	return p->maintain && p->maintain->s.on;
}

/* ---- begin, end ---- */

struct change { /* until it is on disk */
	struct maintain *m;
	struct state to;
	unsigned save;
	char text[256];
	store_done_fn *done;
	void *arg;
};

static void on_change_written(void *arg, const struct err *e)
{
	struct change *c = arg;
	struct maintain *m = c->m;
	struct err own = *e;

	if (own.code) {
		err_wrap(&own, "nothing was changed");
	} else {
		m->s = c->to;
		m->asked_ms = 0;
		note(m, c->to.by, c->text);
		cluster_report_now(m->p);
		if (c->save != m->n_saves) /* what was written since has the state of before */
			save(m, &m->s, on_saved, m);
	}
	c->done(c->arg, &own);
	free(c);
}

static void change(struct maintain *m, const struct state *to, const char *text, store_done_fn *done, void *arg)
{
	struct change *c = calloc(1, sizeof(*c));
	struct err e = {0};

	if (!c) {
		err_set(&e, ENOMEM, "no memory; nothing was changed");
		done(arg, &e);
		return;
	}
	*c = (struct change){.m = m, .to = *to, .save = m->n_saves + 1, .done = done, .arg = arg};
	snprintf(c->text, sizeof(c->text), "%s", text);
	save(m, to, on_change_written, c);
}

void maintain_begin(struct policyd *p, int64_t deadline_ms, const char *by, store_done_fn *done, void *arg)
{
	struct maintain *m = p->maintain;
	struct state to = {.on = true, .emptying = true, .since_ms = now_wall_ms(), .deadline_ms = deadline_ms};
	char text[160];

	if (!m->s.on)
		json_array_clear(m->moved);
	snprintf(to.by, sizeof(to.by), "%s", by);
	snprintf(text, sizeof(text), "%s is in maintenance: it admits nothing, and what runs on it leaves",
		p->conf->host.host_name);
	change(m, &to, text, done, arg);
}

void maintain_end(struct policyd *p, bool refill, const char *by, store_done_fn *done, void *arg)
{
	struct maintain *m = p->maintain;
	struct state to = m->s;
	char text[160];

	refill = refill && json_array_size(m->moved);
	to.on = to.emptying = false;
	to.deadline_ms = 0;
	to.refill_ms = refill ? now_wall_ms() : 0;
	snprintf(to.by, sizeof(to.by), "%s", by);
	snprintf(text, sizeof(text), "%s is not in maintenance any more%s", p->conf->host.host_name,
		refill ? "; what left is asked back" : "");
	change(m, &to, text, done, arg);
}

/* ---- as it goes on ---- */

void maintain_fill(struct policyd *p, struct snapshot *out)
{
	const struct state *s = p->maintain ? &p->maintain->s : NULL;

	if (!s || !s->on || !s->emptying)
		return;
	out->emptying = true;
	out->emptying_since_ms = s->since_ms;
	out->empty_by_ms = s->deadline_ms;
}

/* What is here still. Whose move has not ended is: a guest that was shut down for it may come back, and this host calls its rejoin hook. */
static unsigned running(const struct policyd *p)
{
	const struct dom *d;
	unsigned n = 0;

	TAILQ_FOREACH(d, &p->doms, link)
		n += d->job || (!d->gone && domain_state_runs(d->state));
	return n;
}

bool maintain_empty(const struct policyd *p)
{
	return maintain_on(p) && !p->maintain->s.emptying && !running(p);
}

const char *maintain_by(const struct policyd *p)
{
	return p->maintain ? p->maintain->s.by : "";
}

/* Empty, or out of time: it stays in maintenance, and nothing is moved any more. */
static void check_emptied(struct maintain *m)
{
	unsigned left = running(m->p);
	char text[160];

	if (!m->s.on || !m->s.emptying)
		return;
	if (left && (!m->s.deadline_ms || now_wall_ms() < m->s.deadline_ms))
		return;
	m->s.emptying = false;
	if (left)
		snprintf(text, sizeof(text),
			"the deadline is over: %u domain%s left %s, %u still run%s here (policyctl evacuate goes on)",
			(unsigned)json_array_size(m->moved), json_array_size(m->moved) == 1 ? "" : "s",
			m->p->conf->host.host_name, left, left == 1 ? "s" : "");
	else
		snprintf(text, sizeof(text), "%s is empty: %u domain%s left it", m->p->conf->host.host_name,
			(unsigned)json_array_size(m->moved), json_array_size(m->moved) == 1 ? "" : "s");
	note(m, "policyd", text);
	save(m, &m->s, on_saved, m);
}

void maintain_ended(struct policyd *p, const struct store_event *ev)
{
	struct maintain *m = p->maintain;
	json_t *row;
	size_t i;

	if (!m || !m->s.on || !ev->ok || !ev->peer || strcmp(ev->who, "policy " LEAVE_POLICY) != 0 ||
		(strcmp(ev->kind, "migration") != 0 && strcmp(ev->kind, "cold move") != 0))
		return;
	json_array_foreach(m->moved, i, row)
		if (!strcmp(json_string_value(json_object_get(row, "domain")), ev->domain))
			return;
	json_array_append_new(m->moved, json_pack("{s:s, s:s}", "domain", ev->domain, "to", ev->peer));
	save(m, &m->s, on_saved, m);
}

/* ---- refill ---- */

struct whereabouts {
	const char *domain;
	char host[NAME_MAX_LEN];
};

static void find_it(void *arg, const char *host, const json_t *dom)
{
	struct whereabouts *w = arg;

	if (!strcmp(json_string_value(json_object_get(dom, "name")), w->domain))
		snprintf(w->host, sizeof(w->host), "%s", host);
}

static void on_answer_come_back(void *arg, const json_t *answer, const struct err *e)
{
	(void)answer;
	if (e->code && e->code != ECANCELED)
		plog_debug(arg, "come-back: %s", e->msg);
}

static void ask_back(struct maintain *m, const char *domain)
{
	struct whereabouts w = {.domain = domain};
	struct err e = {0};

	cluster_each_domain(m->p, find_it, &w);
	if (w.host[0] &&
		cluster_call(m->p, w.host, "come-back", json_pack("{s:s}", "domain", domain), 0, on_answer_come_back,
			m->p, NULL, &e))
		plog_debug(m->p, "come-back %s: %s", domain, e.msg);
}

static void refill_over(struct maintain *m, const char *text)
{
	m->s.refill_ms = 0;
	json_array_clear(m->moved);
	note(m, "policyd", text);
	save(m, &m->s, on_saved, m);
}

static void give_up(struct maintain *m)
{
	char text[256];
	size_t i, n;
	json_t *row;

	n = (size_t)snprintf(text, sizeof(text), "not asked back any more, see policyctl explain there:");
	json_array_foreach(m->moved, i, row)
		if (n < sizeof(text))
			n += (size_t)snprintf(
				text + n, sizeof(text) - n, " %s", json_string_value(json_object_get(row, "domain")));
	refill_over(m, text);
}

static void refill(struct maintain *m)
{
	if (m->s.on || !m->s.refill_ms || (m->asked_ms && now_mono_ms() - m->asked_ms < ASK_EVERY_MS))
		return;
	m->asked_ms = now_mono_ms();
	for (size_t i = json_array_size(m->moved); i-- > 0;) {
		const char *name = json_string_value(json_object_get(json_array_get(m->moved, i), "domain"));
		const struct dom *d = dom_find(m->p, name);

		if (!d)
			ask_back(m, name);
		else if (!d->job) /* one that is just coming may still turn back */
			json_array_remove(m->moved, i);
	}
	if (!json_array_size(m->moved))
		refill_over(m, "what left for the maintenance is back");
	else if (now_wall_ms() - m->s.refill_ms > REFILL_MS)
		give_up(m);
}

void maintain_decided(struct policyd *p)
{
	if (!p->maintain)
		return;
	check_emptied(p->maintain);
	refill(p->maintain);
}

/* Only to itself a host may ask for a domain; whether it goes, and when, is for this host's own decision. */
void on_req_come_back(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	const char *name = json_string_value(json_object_get(args, "domain"));
	struct policyd *p = arg;
	struct dom *d = name ? dom_find(p, name) : NULL;
	struct err e = {0};

	if (!d || d->gone) {
		err_set(&e, ENOENT, "%s has no domain \"%.70s\"", p->conf->host.host_name, name ? name : "");
		peer_req_fail(rq, &e);
		return;
	}
	if (d->wanted_until_ms < now_wall_ms() || strcmp(d->wanted_on, from) != 0)
		d->wanted_since_ms = now_wall_ms();
	snprintf(d->wanted_on, sizeof(d->wanted_on), "%s", from);
	d->wanted_until_ms = now_wall_ms() + WANTED_MS;
	peer_req_answer(rq, NULL);
}

/* ---- words ---- */

static const char *const what_words[] = {
	[LEAVE_BLOCKED] = "blocked", [LEAVE_UNDER_WAY] = "under-way", [LEAVE_NOW] = "now", [LEAVE_LATER] = "later"};

struct sums {
	unsigned blocked, moves;
	double outage_s, total_s;
};

static void sum_up(const struct leaving *l, unsigned n, struct sums *out)
{
	*out = (struct sums){0};
	for (unsigned i = 0; i < n; i++) {
		out->blocked += l[i].what == LEAVE_BLOCKED;
		out->moves += l[i].what != LEAVE_BLOCKED;
		out->outage_s += l[i].outage_s;
		out->total_s += l[i].total_s;
	}
}

static void row_print(const struct leaving *l, FILE *f)
{
	switch (l->what) {
	case LEAVE_BLOCKED:
		fprintf(f, "  %-12s stays: %s\n", l->domain, l->why);
		break;
	case LEAVE_UNDER_WAY:
		fprintf(f, "  %-12s is on its way to %s\n", l->domain, l->target);
		break;
	case LEAVE_NOW:
	case LEAVE_LATER:
		fprintf(f, "  %-12s %s\n", l->domain, l->how[0] ? l->how : l->why);
		break;
	}
}

static json_t *outlook_text(const struct policyd *p, const struct leaving *l, unsigned n, const struct sums *sum)
{
	unsigned at_once = p->conf->decide.max_moves ? p->conf->decide.max_moves : 1;
	char *text = NULL, outage[24], total[24];
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	json_t *j = NULL;

	if (!f)
		return NULL;
	fprintf(f, "%s: %u domain%s leave%s, %u stay%s\n", p->conf->host.host_name, sum->moves,
		sum->moves == 1 ? "" : "s", sum->moves == 1 ? "s" : "", sum->blocked, sum->blocked == 1 ? "s" : "");
	for (unsigned i = 0; i < n; i++)
		row_print(&l[i], f);
	fmt_seconds(sum->outage_s, outage);
	fmt_seconds(sum->total_s / at_once, total);
	if (sum->moves)
		fprintf(f, "  predicted    outage %s in all; done in about %s, %u at a time\n", outage, total, at_once);
	if (!(ferror(f) | fclose(f)))
		j = json_string(text);
	free(text);
	return j;
}

static json_t *rows_json(const struct leaving *l, unsigned n)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(rows,
			json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:s}", "domain", l[i].domain, "what",
				what_words[l[i].what], "target", l[i].target, "how", l[i].how, "total_s", l[i].total_s,
				"outage_s", l[i].outage_s, "why", l[i].why));
	return rows;
}

static int look(struct policyd *p, struct leaving **out, unsigned *n_out)
{
	struct snapshot s;
	int rc;

	if (brain_snapshot(p, &s))
		return -ENOMEM;
	rc = leave_list(&s, out, n_out);
	snapshot_fini(&s);
	return rc;
}

json_t *maintain_outlook(struct policyd *p)
{
	struct leaving *l = NULL;
	struct sums sum;
	unsigned n = 0;
	json_t *j;

	if (look(p, &l, &n))
		return NULL;
	sum_up(l, n, &sum);
	j = json_pack("{s:o, s:i, s:i, s:f, s:f, s:o?}", "leaving", rows_json(l, n), "blocking", (int)sum.blocked,
		"moves", (int)sum.moves, "outage_s", sum.outage_s, "total_s", sum.total_s, "text",
		outlook_text(p, l, n, &sum));
	free(l);
	return j;
}

json_t *maintain_json(struct policyd *p)
{
	json_t *blocking;
	struct leaving *l = NULL;
	unsigned n = 0;
	struct state s;

	if (!maintain_on(p))
		return NULL;
	s = p->maintain->s;
	blocking = json_array();
	if (!look(p, &l, &n))
		for (unsigned i = 0; i < n; i++)
			if (l[i].what == LEAVE_BLOCKED)
				json_array_append_new(
					blocking, json_pack("{s:s, s:s}", "domain", l[i].domain, "why", l[i].why));
	free(l);
	return json_pack("{s:I, s:s, s:b, s:I, s:i, s:O, s:o}", "since_ms", (json_int_t)s.since_ms, "by", s.by,
		"emptying", s.emptying, "deadline_ms", (json_int_t)s.deadline_ms, "running", (int)running(p), "moved",
		p->maintain->moved, "blocking", blocking);
}
