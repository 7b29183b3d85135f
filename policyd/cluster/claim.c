/* Telling and asking all hosts before a node goes: see claim.h. */
#include "policyd/cluster/claim.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"

#define ANSWER_MS 5000

struct asked {
	struct claim *c;
	struct peer_call *call; /* NULL: answered */
	char host[NAME_MAX_LEN];
};

struct claim {
	struct policyd *p;
	claim_fn *done;
	void *arg;
	struct event *turn; /* ends it from the loop where nobody had to be asked */
	json_t *leaving;
	struct err why;
	unsigned n, pending;
	struct asked asked[];
};

static void claim_free(struct claim *c)
{
	for (unsigned i = 0; i < c->n; i++)
		peer_call_forget(c->asked[i].call);
	if (c->turn)
		event_free(c->turn);
	json_decref(c->leaving);
	free(c);
}

/* A host that is not heard of does not count, and neither do its nodes. One that reports and does not answer might take a node away that we count. */
static void no_answer(struct claim *c, const char *host, const struct err *e)
{
	if (!c->why.code && cluster_hears(c->p, host))
		err_set(&c->why, EAGAIN,
			"%s does not say whether it takes a node of the same cluster away at this moment (%.200s); try again",
			host, e->msg);
}

static void maybe_done(struct claim *c)
{
	if (c->pending)
		return;
	c->done(c->arg, c->leaving, &c->why);
	claim_free(c);
}

static void on_turn_claim(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	maybe_done(arg);
}

static void on_answer_leaving(void *arg, const json_t *answer, const struct err *e)
{
	struct asked *a = arg;
	struct claim *c = a->c;

	a->call = NULL;
	c->pending--;
	if (!e->code)
		json_array_extend(c->leaving, json_object_get(answer, "leaving"));
	else if (e->code != EREMOTEIO) /* an older policyd does not know the question: of it there are only reports */
		no_answer(c, a->host, e);
	maybe_done(c);
}

static void ask_host(struct claim *c, const char *host)
{
	struct asked *a = &c->asked[c->n++];
	struct err e;

	a->c = c;
	snprintf(a->host, sizeof(a->host), "%s", host);
	if (cluster_call(c->p, host, "leaving", NULL, ANSWER_MS, on_answer_leaving, a, &a->call, &e) < 0)
		no_answer(c, host, &e);
	else
		c->pending++;
}

struct claim *claim_start(struct policyd *p, claim_fn *done, void *arg)
{
	struct peers *peers = cluster_peers(p);
	unsigned n = peers ? peers_count(peers) : 0;
	struct claim *c = calloc(1, sizeof(*c) + n * sizeof(c->asked[0]));
	struct peer_status st;

	if (!c)
		return NULL;
	c->p = p;
	c->done = done;
	c->arg = arg;
	c->leaving = json_array();
	c->turn = event_new(p->base, -1, 0, on_turn_claim, c);
	if (!c->leaving || !c->turn) {
		claim_free(c);
		return NULL;
	}
	if (!cluster_report_now(p))
		err_set(&c->why, EAGAIN, "a host could not be told that a node of its cluster leaves; try again");
	for (unsigned i = 0; i < n; i++) {
		peers_status_at(peers, i, &st);
		ask_host(c, st.name);
	}
	if (!c->pending)
		event_active(c->turn, 0, 0);
	return c;
}

void claim_cancel(struct claim *c)
{
	if (c)
		claim_free(c);
}

void on_req_leaving(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	(void)from, (void)args;
	peer_req_answer(rq, json_pack("{s:o?}", "leaving", cluster_leaving_json(arg)));
}
