/* The connection to a peer that we open: kept up, our reports and a ping on it, and what we ask. See peer_int.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/cluster/peer_int.h"

#define CALLS_MAX 64 /* of ours, unanswered, per peer */
#define CALL_DEFAULT_MS 10000
#define STEADY_MS 5000 /* up for so long: the next pause is the shortest again */

/* ---- calls: what we ask ---------------------------------------------------------------------------------------- */

static void call_free(struct peer_call *c)
{
	TAILQ_REMOVE(&c->peer->calls, c, link);
	c->peer->n_calls--;
	event_free(c->timer);
	free(c);
}

static void call_done(struct peer_call *c, const json_t *answer, const struct err *e)
{
	peer_answer_fn *done = c->done;
	void *arg = c->arg;

	call_free(c);
	done(arg, answer, e);
}

static void on_timer_call(evutil_socket_t fd, short what, void *arg)
{
	struct peer_call *c = arg;
	struct err e;

	(void)fd;
	(void)what;
	err_set(&e, ETIMEDOUT, "%s did not answer \"%s\" in time", c->peer->conf.name, c->req);
	call_done(c, NULL, &e);
}

void peer_calls_fail(struct peer *peer, const struct err *why)
{
	struct err e;

	err_set(&e, why->code == ECANCELED ? ECANCELED : EPIPE, "%s: %s", peer->conf.name, why->msg);
	while (!TAILQ_EMPTY(&peer->calls))
		call_done(TAILQ_FIRST(&peer->calls), NULL, &e);
}

int peer_call(struct peers *p, const char *name, const char *req, json_t *args, unsigned timeout_ms,
	peer_answer_fn *done, void *arg, struct peer_call **out, struct err *e)
{
	struct timeval tv = peer_tv(timeout_ms ? timeout_ms : CALL_DEFAULT_MS);
	struct peer *peer = peer_find(p, name);
	struct peer_call *c = NULL;
	int r;

	if (!peer)
		r = err_set(e, ENOENT, "there is no host \"%s\" under cluster.peers", name);
	else if (!link_is_up(peer->out))
		r = err_set(e, ENOTCONN, "%s cannot be reached: %s", name,
			peer->why_out.code ? peer->why_out.msg : "not connected yet");
	else if (peer->n_calls >= CALLS_MAX)
		r = err_set(e, EBUSY, "%s has %u requests of ours to answer; try again later", name, peer->n_calls);
	else if (!(c = calloc(1, sizeof(*c))) || !(c->timer = evtimer_new(p->conf.base, on_timer_call, c)))
		r = err_set(e, ENOMEM, "out of memory");
	else if ((r = link_send(peer->out, msg_request(++p->next_id, req, args))) < 0)
		r = err_set(e, -r, "%s: cannot send \"%s\": %s", name, req, strerror(-r));
	json_decref(args);
	if (r < 0) {
		if (c && c->timer)
			event_free(c->timer);
		free(c);
		return r;
	}
	c->peer = peer;
	c->id = p->next_id;
	c->done = done;
	c->arg = arg;
	snprintf(c->req, sizeof(c->req), "%s", req);
	evtimer_add(c->timer, &tv);
	TAILQ_INSERT_TAIL(&peer->calls, c, link);
	peer->n_calls++;
	if (out)
		*out = c;
	return 0;
}

void peer_call_forget(struct peer_call *c)
{
	if (c)
		call_free(c);
}

static void peer_take_answer(struct peer *peer, const struct peer_msg *m)
{
	struct peer_call *c;
	struct err e = {0};

	TAILQ_FOREACH(c, &peer->calls, link)
		if (c->id == m->id)
			break;
	if (!c)
		return; /* timed out or forgotten */
	if (!m->ok)
		err_set(&e, EREMOTEIO, "%s", m->error);
	call_done(c, m->ok ? m->body : NULL, &e);
}

/* ---- reports and the connection that we open -------------------------------------------------------------------- */

static void on_call_ping(void *arg, const json_t *answer, const struct err *e)
{
	struct peer *peer = arg;

	(void)answer;
	peer->ping_pending = false;
	if (e->code == ETIMEDOUT && peer->out) {
		peer->why_out = *e;
		err_set(&peer->why_out, ETIMEDOUT,
			"it takes our data but has not answered for %u s; is its policyd stopped?",
			peer->p->t.silence / 1000);
	}
}

static void peer_retry_later(struct peer *peer)
{
	struct timeval tv;
	unsigned ms = peer->pause_ms;

	ms += (unsigned)(random() % (ms / 4 + 1)); /* not all hosts at once */
	tv = peer_tv(ms);
	evtimer_add(peer->retry, &tv);
	peer->pause_ms = peer->pause_ms * 2 > peer->p->t.retry_max ? peer->p->t.retry_max : peer->pause_ms * 2;
}

static void peer_out_down(struct peer *peer, const struct err *e)
{
	bool news = peer->up_since_ms || !peer->why_out.code || strcmp(peer->why_out.msg, e->msg) != 0;

	if (peer->up_since_ms && peer_now_ms() - peer->up_since_ms >= STEADY_MS)
		peer->pause_ms = peer->p->t.retry_min;
	peer->up_since_ms = 0;
	link_free(peer->out);
	peer->out = NULL;
	peer->why_out = *e;
	peer_retry_later(peer);
	if (news)
		peers_say(peer->p, peer->conf.name, e->msg);
	peer_calls_fail(peer, e);
}

static void on_out_up(void *arg, struct link *l)
{
	struct peer *peer = arg;
	struct peers *p = peer->p;
	json_t *report;

	peer->hello = *link_hello(l);
	memset(&peer->why_out, 0, sizeof(peer->why_out));
	memset(&peer->why_in, 0, sizeof(peer->why_in));
	peer->up_since_ms = peer_now_ms();
	peer->ping_pending = false;
	peers_say(p, peer->conf.name, "connected");
	report = p->conf.report ? p->conf.report(p->conf.arg) : NULL;
	if (report)
		link_send(l, json_pack("{s:o}", "report", report));
	if (p->watch.on_up)
		p->watch.on_up(p->watch.arg, peer->conf.name);
}

static int on_out_msg(void *arg, struct link *l, struct peer_msg *m, struct err *e)
{
	(void)l;
	if (m->kind != MSG_ANSWER)
		return err_set(e, EPROTO, "a request or report on the connection that we opened");
	peer_take_answer(arg, m);
	return 0;
}

static void on_out_down(void *arg, struct link *l, const struct err *e)
{
	(void)l;
	peer_out_down(arg, e);
}

static const struct link_ops out_ops = {.on_up = on_out_up, .on_msg = on_out_msg, .on_down = on_out_down};

void peer_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;
	struct link_conf c = peers_link_conf(peer->p);

	(void)fd;
	(void)what;
	if (peer->out)
		return;
	peer->out = link_connect(&c, peer->conf.name, peer->conf.address, peer->conf.port, &out_ops, peer);
	if (!peer->out)
		peer_retry_later(peer);
}

static bool peer_send_report(struct peer *peer, const json_t *report)
{
	struct err e;
	bool taken;

	if (!link_is_up(peer->out))
		return true;
	if (peer->why_out.code) { /* set by an unanswered ping */
		e = peer->why_out;
		peer_out_down(peer, &e);
		return true;
	}
	taken = report && !link_send(peer->out, json_pack("{s:O}", "report", report));
	if (!peer->ping_pending &&
		peer_call(peer->p, peer->conf.name, "ping", NULL, peer->p->t.silence, on_call_ping, peer, NULL, NULL) ==
			0)
		peer->ping_pending = true;
	return taken;
}

bool peers_report_now(struct peers *p)
{
	struct peer *peer, *next;
	json_t *report = p->conf.report ? p->conf.report(p->conf.arg) : NULL;
	bool taken = true;

	for (peer = TAILQ_FIRST(&p->list); peer; peer = next) {
		next = TAILQ_NEXT(peer, link);
		taken = peer_send_report(peer, report) && taken;
	}
	json_decref(report);
	return taken;
}
