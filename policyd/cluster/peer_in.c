/* The connection that a peer opens: from a stranger to a peer by its certificate, its reports, and what it asks of us. See peer_int.h. */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policyd/cluster/peer_int.h"

#define REQUESTS_MAX 64  /* of a peer, that we have not answered */
#define STRANGERS_MAX 32 /* connections whose certificate has not been seen */
#define REFUSED_AGAIN_MS 60000

static void reqs_orphan(struct peer *peer)
{
	struct peer_req *rq;

	while ((rq = TAILQ_FIRST(&peer->reqs))) {
		TAILQ_REMOVE(&peer->reqs, rq, link);
		rq->peer = NULL;
	}
	peer->n_reqs = 0;
}

void peer_in_close(struct peer *peer)
{
	link_free(peer->in);
	peer->in = NULL;
	reqs_orphan(peer);
}

static void req_finish(struct peer_req *rq, json_t *line)
{
	if (rq->peer) {
		TAILQ_REMOVE(&rq->peer->reqs, rq, link);
		rq->peer->n_reqs--;
		link_send(rq->peer->in, line);
	} else {
		json_decref(line);
	}
	free(rq);
}

void peer_req_answer(struct peer_req *rq, json_t *fields)
{
	json_t *line = msg_answer(rq->id, fields);

	json_decref(fields);
	req_finish(rq, line);
}

void peer_req_fail(struct peer_req *rq, const struct err *e)
{
	req_finish(rq, msg_failure(rq->id, err_msg(e)));
}

static int send_now(struct link *l, json_t *line, struct err *e)
{
	return link_send(l, line) < 0 ? err_set(e, ENOBUFS, "it does not read our answers") : 0;
}

static int peer_take_request(struct peer *peer, struct link *l, const struct peer_msg *m, struct err *e)
{
	const struct peer_handler *h = peer->p->conf.handlers;
	struct peer_req *rq;

	if (!strcmp(m->req, "ping"))
		return send_now(l, msg_answer(m->id, NULL), e);
	while (h && h->req && strcmp(h->req, m->req) != 0)
		h++;
	if (!h || !h->req)
		return send_now(
			l, msg_failure(m->id, "this host does not know that request; are both of one version?"), e);
	if (peer->n_reqs >= REQUESTS_MAX)
		return send_now(l, msg_failure(m->id, "too many requests under way; try again later"), e);
	rq = calloc(1, sizeof(*rq));
	if (!rq)
		return err_set(e, ENOMEM, "out of memory");
	rq->peer = peer;
	rq->id = m->id;
	TAILQ_INSERT_TAIL(&peer->reqs, rq, link);
	peer->n_reqs++;
	h->fn(peer->p->conf.arg, rq, peer->conf.name, m->body);
	return 0;
}

static int on_in_msg(void *arg, struct link *l, struct peer_msg *m, struct err *e)
{
	struct peer *peer = arg;
	struct peers *p = peer->p;

	if (m->kind == MSG_REQUEST)
		return peer_take_request(peer, l, m, e);
	if (m->kind != MSG_REPORT)
		return err_set(e, EPROTO, "an answer on the connection that it opened");
	json_decref(peer->report);
	peer->report = json_incref(m->body);
	peer->report_ms = peer_now_ms();
	if (p->watch.on_report)
		p->watch.on_report(p->watch.arg, peer->conf.name);
	return 0;
}

static void on_in_up(void *arg, struct link *l)
{
	struct peer *peer = arg;
	struct timeval now = {0, 0};

	(void)l;
	memset(&peer->why_in, 0, sizeof(peer->why_in));
	if (!peer->out) { /* it is there again: do not sit out the pause */
		peer->pause_ms = peer->p->t.retry_min;
		evtimer_add(peer->retry, &now);
	}
}

static void on_in_down(void *arg, struct link *l, const struct err *e)
{
	struct peer *peer = arg;

	if (peer->in != l)
		return;
	if (e->code != EPIPE)
		peer->why_in = *e;
	peer_in_close(peer);
}

static const struct link_ops in_ops = {.on_up = on_in_up, .on_msg = on_in_msg, .on_down = on_in_down};

void peer_stranger_free(struct stranger *s)
{
	TAILQ_REMOVE(&s->p->strangers, s, link);
	s->p->n_strangers--;
	link_free(s->l);
	free(s);
}

/* The certificate is good; is it one of ours? Then the link becomes that peer's. */
static int on_stranger_name(void *arg, struct link *l, const char *name, struct err *e)
{
	struct stranger *s = arg;
	struct peer *peer = peer_find(s->p, name);

	if (!peer)
		return err_set(e, EACCES, "there is no host \"%s\" under cluster.peers of %s; add it there", name,
			s->p->conf.own.name);
	if (peer->in)
		peer_in_close(peer);
	peer->in = l;
	link_set_owner(l, &in_ops, peer);
	s->l = NULL;
	peer_stranger_free(s);
	return 0;
}

static void on_stranger_up(void *arg, struct link *l)
{
	(void)arg;
	(void)l;
	assert(!"a link without a name came up");
}

static int on_stranger_msg(void *arg, struct link *l, struct peer_msg *m, struct err *e)
{
	(void)arg;
	(void)l;
	(void)m;
	return err_set(e, EPROTO, "not a peer");
}

static void on_stranger_down(void *arg, struct link *l, const struct err *e)
{
	struct stranger *s = arg;
	struct peers *p = s->p;
	char text[ERR_MSG_MAX];
	struct peer *peer;

	TAILQ_FOREACH(peer, &p->list, link)
		if (!strcmp(peer->conf.address, s->from))
			peer->why_in = *e;
	snprintf(text, sizeof(text), "refused a connection from %s (%s): %.400s", s->from, link_name(l), e->msg);
	peer_stranger_free(s);
	if (strcmp(text, p->refused) != 0 || peer_now_ms() - p->refused_ms > REFUSED_AGAIN_MS) {
		snprintf(p->refused, sizeof(p->refused), "%s", text);
		p->refused_ms = peer_now_ms();
		peers_say(p, NULL, text);
	}
}

static const struct link_ops stranger_ops = {
	.on_name = on_stranger_name, .on_up = on_stranger_up, .on_msg = on_stranger_msg, .on_down = on_stranger_down};

void peers_on_accept(struct evconnlistener *ls, evutil_socket_t fd, struct sockaddr *sa, int salen, void *arg)
{
	struct peers *p = arg;
	struct link_conf c = peers_link_conf(p);
	struct stranger *s = p->n_strangers < STRANGERS_MAX ? calloc(1, sizeof(*s)) : NULL;

	(void)ls;
	if (!s) {
		close(fd);
		return;
	}
	s->p = p;
	if (getnameinfo(sa, (socklen_t)salen, s->from, sizeof(s->from), NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(s->from, sizeof(s->from), "?");
	TAILQ_INSERT_TAIL(&p->strangers, s, link);
	p->n_strangers++;
	s->l = link_accept(&c, fd, s->from, &stranger_ops, s);
	if (!s->l)
		peer_stranger_free(s);
}
