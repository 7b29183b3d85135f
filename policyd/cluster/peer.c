/* Peers: see peer.h. Loop thread. One struct peer a configured host, each with an outgoing link (ours) and an incoming one (its).
 *
 * Outgoing: down -> (pause) -> link_connect -> up; while up, our report goes out every two seconds, with a ping that must be answered, so
 * that a peer whose process hangs is found out although its kernel still takes our bytes. Incoming: accepted links wait in `strangers`
 * until their certificate names a configured peer; a newer connection of a peer replaces the older one. */
#include "policyd/cluster/peer.h"

#include <assert.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "policyd/cluster/link.h"

#define CALLS_MAX 64     /* of ours, unanswered, per peer */
#define REQUESTS_MAX 64  /* of a peer, that we have not answered */
#define STRANGERS_MAX 32 /* connections whose certificate has not been seen */
#define CALL_DEFAULT_MS 10000
#define REFUSED_AGAIN_MS 60000
#define STEADY_MS 5000 /* up for so long: the next pause is the shortest again */

struct peer_call {
	TAILQ_ENTRY(peer_call) link;
	struct peer *peer;
	uint64_t id;
	char req[MSG_REQ_NAME_MAX];
	peer_answer_fn *done;
	void *arg;
	struct event *timer;
};

struct peer_req {
	TAILQ_ENTRY(peer_req) link;
	struct peer *peer; /* NULL: its connection has gone */
	uint64_t id;
};

TAILQ_HEAD(call_list, peer_call);
TAILQ_HEAD(req_list, peer_req);

struct peer {
	TAILQ_ENTRY(peer) link;
	struct peers *p;
	struct conf_peer conf;
	struct link *out, *in;
	struct event *retry;
	unsigned pause_ms;
	int64_t up_since_ms;
	struct peer_hello hello;
	struct err why_out, why_in;
	json_t *report;
	int64_t report_ms; /* interval clock; 0 = never */
	bool ping_pending;
	struct call_list calls;
	struct req_list reqs;
	unsigned n_calls, n_reqs;
};

struct stranger {
	TAILQ_ENTRY(stranger) link;
	struct peers *p;
	struct link *l;
	char from[64];
};

TAILQ_HEAD(peer_list, peer);
TAILQ_HEAD(stranger_list, stranger);

struct peers {
	struct peers_conf conf;
	struct peers_timing t;
	struct evdns_base *dns;
	struct evconnlistener *listener;
	struct event *report_timer;
	struct peer_list list;
	struct stranger_list strangers;
	unsigned n_strangers;
	uint64_t next_id;
	struct peers_watch watch;
	char refused[ERR_MSG_MAX]; /* last line about a stranger, not repeated for a minute */
	int64_t refused_ms;
};

static int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct timeval tv_ms(unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	return tv;
}

static void say(struct peers *p, const char *peer, const char *text)
{
	if (p->conf.log)
		p->conf.log(p->conf.arg, peer, text);
}

static struct peer *peer_find(const struct peers *p, const char *name)
{
	struct peer *peer;

	TAILQ_FOREACH(peer, &p->list, link)
		if (!strcmp(peer->conf.name, name))
			return peer;
	return NULL;
}

static struct link_conf link_conf_of(struct peers *p)
{
	struct link_conf c = {.base = p->conf.base,
		.tls = p->conf.tls,
		.dns = p->dns,
		.own = &p->conf.own,
		.handshake_ms = p->t.handshake,
		.silence_ms = p->t.silence,
		.stuck_ms = p->t.stuck};

	return c;
}

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

/* All that are pending now; what their callbacks ask anew is refused by then or waits for the next link. */
static void calls_fail(struct peer *peer, const struct err *why)
{
	struct err e;

	err_set(&e, why->code == ECANCELED ? ECANCELED : EPIPE, "%s: %s", peer->conf.name, why->msg);
	while (!TAILQ_EMPTY(&peer->calls))
		call_done(TAILQ_FIRST(&peer->calls), NULL, &e);
}

int peer_call(struct peers *p, const char *name, const char *req, json_t *args, unsigned timeout_ms,
	peer_answer_fn *done, void *arg, struct peer_call **out, struct err *e)
{
	struct timeval tv = tv_ms(timeout_ms ? timeout_ms : CALL_DEFAULT_MS);
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
	tv = tv_ms(ms);
	evtimer_add(peer->retry, &tv);
	peer->pause_ms = peer->pause_ms * 2 > peer->p->t.retry_max ? peer->p->t.retry_max : peer->pause_ms * 2;
}

static void peer_out_down(struct peer *peer, const struct err *e)
{
	bool news = peer->up_since_ms || !peer->why_out.code || strcmp(peer->why_out.msg, e->msg) != 0;

	if (peer->up_since_ms && mono_ms() - peer->up_since_ms >= STEADY_MS)
		peer->pause_ms = peer->p->t.retry_min;
	peer->up_since_ms = 0;
	link_free(peer->out);
	peer->out = NULL;
	peer->why_out = *e;
	peer_retry_later(peer);
	if (news)
		say(peer->p, peer->conf.name, e->msg);
	calls_fail(peer, e);
}

static void on_out_up(void *arg, struct link *l)
{
	struct peer *peer = arg;
	struct peers *p = peer->p;
	json_t *report;

	peer->hello = *link_hello(l);
	memset(&peer->why_out, 0, sizeof(peer->why_out));
	memset(&peer->why_in, 0, sizeof(peer->why_in));
	peer->up_since_ms = mono_ms();
	peer->ping_pending = false;
	say(p, peer->conf.name, "connected");
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

static void on_timer_retry(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;
	struct link_conf c = link_conf_of(peer->p);

	(void)fd;
	(void)what;
	if (peer->out)
		return;
	peer->out = link_connect(&c, peer->conf.name, peer->conf.address, peer->conf.port, &out_ops, peer);
	if (!peer->out)
		peer_retry_later(peer);
}

static void peer_send_report(struct peer *peer, const json_t *report)
{
	struct err e;

	if (!link_is_up(peer->out))
		return;
	if (peer->why_out.code) { /* set by an unanswered ping */
		e = peer->why_out;
		peer_out_down(peer, &e);
		return;
	}
	if (report)
		link_send(peer->out, json_pack("{s:O}", "report", report));
	if (!peer->ping_pending &&
		peer_call(peer->p, peer->conf.name, "ping", NULL, peer->p->t.silence, on_call_ping, peer, NULL, NULL) ==
			0)
		peer->ping_pending = true;
}

void peers_report_now(struct peers *p)
{
	struct peer *peer, *next;
	json_t *report = p->conf.report ? p->conf.report(p->conf.arg) : NULL;

	for (peer = TAILQ_FIRST(&p->list); peer; peer = next) {
		next = TAILQ_NEXT(peer, link);
		peer_send_report(peer, report);
	}
	json_decref(report);
}

static void on_timer_report(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	peers_report_now(arg);
}

/* ---- the connection that the peer opens -------------------------------------------------------------------------- */

static void reqs_orphan(struct peer *peer)
{
	struct peer_req *rq;

	while ((rq = TAILQ_FIRST(&peer->reqs))) {
		TAILQ_REMOVE(&peer->reqs, rq, link);
		rq->peer = NULL;
	}
	peer->n_reqs = 0;
}

static void peer_in_close(struct peer *peer)
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

static int peer_take_request(struct peer *peer, struct link *l, const struct peer_msg *m, struct err *e)
{
	const struct peer_handler *h = peer->p->conf.handlers;
	struct peer_req *rq;

	if (!strcmp(m->req, "ping"))
		return link_send(l, msg_answer(m->id, NULL)) < 0 ? err_set(e, ENOBUFS, "it does not read our answers")
								 : 0;
	while (h && h->req && strcmp(h->req, m->req) != 0)
		h++;
	if (!h || !h->req)
		return link_send(l,
			       msg_failure(m->id, "this host does not know that request; are both of one version?")) < 0
			? -ENOBUFS
			: 0;
	if (peer->n_reqs >= REQUESTS_MAX)
		return link_send(l, msg_failure(m->id, "too many requests under way; try again later")) < 0 ? -ENOBUFS
													    : 0;
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
	peer->report_ms = mono_ms();
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

static void stranger_free(struct stranger *s)
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
	stranger_free(s);
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
	stranger_free(s);
	if (strcmp(text, p->refused) != 0 || mono_ms() - p->refused_ms > REFUSED_AGAIN_MS) {
		snprintf(p->refused, sizeof(p->refused), "%s", text);
		p->refused_ms = mono_ms();
		say(p, NULL, text);
	}
}

static const struct link_ops stranger_ops = {
	.on_name = on_stranger_name, .on_up = on_stranger_up, .on_msg = on_stranger_msg, .on_down = on_stranger_down};

static void on_listener_accept(struct evconnlistener *ls, evutil_socket_t fd, struct sockaddr *sa, int salen, void *arg)
{
	struct peers *p = arg;
	struct link_conf c = link_conf_of(p);
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
		stranger_free(s);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void peer_free(struct peer *peer)
{
	struct err e;

	TAILQ_REMOVE(&peer->p->list, peer, link);
	link_free(peer->out);
	peer->out = NULL;
	peer_in_close(peer);
	err_set(&e, ECANCELED, "this host is no longer a peer");
	calls_fail(peer, &e);
	event_free(peer->retry);
	json_decref(peer->report);
	free(peer);
}

static int peer_add(struct peers *p, const struct conf_peer *conf)
{
	struct timeval now = {0, 0};
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->p = p;
	peer->conf = *conf;
	peer->pause_ms = p->t.retry_min;
	TAILQ_INIT(&peer->calls);
	TAILQ_INIT(&peer->reqs);
	peer->retry = evtimer_new(p->conf.base, on_timer_retry, peer);
	if (!peer->retry || evtimer_add(peer->retry, &now) < 0) {
		free(peer);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&p->list, peer, link);
	return 0;
}

static int peers_listen(struct peers *p, const char *address, uint16_t port, struct err *e)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *ai = NULL;
	char service[8];
	int r = 0;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(address, service, &hints, &ai) != 0)
		return err_set(e, EINVAL, "host.address \"%s\" is not a numeric address", address);
	p->listener = evconnlistener_new_bind(p->conf.base, on_listener_accept, p,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 64, ai->ai_addr,
		(int)ai->ai_addrlen);
	if (!p->listener)
		r = err_set(e, errno, "cannot listen for peers on %s port %u: %s", address, port, strerror(errno));
	freeaddrinfo(ai);
	return r;
}

static unsigned or_default(unsigned v, unsigned def)
{
	return v ? v : def;
}

int peers_new(const struct peers_conf *conf, struct peers **out, struct err *e)
{
	struct peers *p = calloc(1, sizeof(*p));
	const struct peers_timing *t = &conf->timing;
	struct timeval every;
	int r;

	if (!p) {
		tls_ctx_free(conf->tls);
		return err_set(e, ENOMEM, "out of memory");
	}
	p->conf = *conf;
	TAILQ_INIT(&p->list);
	TAILQ_INIT(&p->strangers);
	p->t = (struct peers_timing){.report = or_default(t->report, 2000),
		.stale = or_default(t->stale, 10000),
		.retry_min = or_default(t->retry_min, 250),
		.retry_max = or_default(t->retry_max, 10000),
		.handshake = or_default(t->handshake, 10000),
		.silence = or_default(t->silence, 15000),
		.stuck = or_default(t->stuck, 10000)};
	p->dns = evdns_base_new(conf->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	p->report_timer = event_new(conf->base, -1, EV_PERSIST, on_timer_report, p);
	r = p->report_timer ? peers_listen(p, conf->address, conf->port, e) : err_set(e, ENOMEM, "out of memory");
	if (!r)
		r = peers_update(p, conf->peers, conf->n_peers, NULL, e);
	if (r < 0) {
		peers_free(p);
		return r;
	}
	every = tv_ms(p->t.report);
	evtimer_add(p->report_timer, &every);
	*out = p;
	return 0;
}

static bool peer_same(const struct conf_peer *a, const struct conf_peer *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->address, b->address) && a->port == b->port;
}

int peers_update(struct peers *p, const struct conf_peer *peers, unsigned n_peers, struct tls_ctx *tls, struct err *e)
{
	struct peer *peer, *next;
	unsigned i;

	for (peer = TAILQ_FIRST(&p->list); peer; peer = next) {
		next = TAILQ_NEXT(peer, link);
		for (i = 0; i < n_peers && !peer_same(&peer->conf, &peers[i]); i++)
			;
		if (i == n_peers || tls)
			peer_free(peer);
	}
	if (tls) {
		while (!TAILQ_EMPTY(&p->strangers))
			stranger_free(TAILQ_FIRST(&p->strangers));
		tls_ctx_free(p->conf.tls);
		p->conf.tls = tls;
	}
	for (i = 0; i < n_peers; i++)
		if (!peer_find(p, peers[i].name) && peer_add(p, &peers[i]) < 0)
			return err_set(e, ENOMEM, "out of memory");
	return 0;
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	memset(&p->watch, 0, sizeof(p->watch));
	while (!TAILQ_EMPTY(&p->list))
		peer_free(TAILQ_FIRST(&p->list));
	while (!TAILQ_EMPTY(&p->strangers))
		stranger_free(TAILQ_FIRST(&p->strangers));
	if (p->listener)
		evconnlistener_free(p->listener);
	if (p->report_timer)
		event_free(p->report_timer);
	if (p->dns)
		evdns_base_free(p->dns, 0);
	tls_ctx_free(p->conf.tls);
	free(p);
}

void peers_set_qemu(struct peers *p, const char *version)
{
	snprintf(p->conf.own.qemu, sizeof(p->conf.own.qemu), "%s", version);
}

uint16_t peers_port(const struct peers *p)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);
	char port[8] = "0";

	if (getsockname(evconnlistener_get_fd(p->listener), (struct sockaddr *)&sa, &n) == 0)
		getnameinfo((struct sockaddr *)&sa, n, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
	return (uint16_t)atoi(port);
}

void peers_set_watch(struct peers *p, const struct peers_watch *w)
{
	p->watch = w ? *w : (struct peers_watch){0};
}

static void status_of(const struct peer *peer, struct peer_status *out)
{
	int64_t age = peer->report_ms ? mono_ms() - peer->report_ms : -1;

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", peer->conf.name);
	snprintf(out->address, sizeof(out->address), "%s", peer->conf.address);
	out->port = peer->conf.port;
	out->up = link_is_up(peer->out);
	out->incoming = link_is_up(peer->in);
	out->hello = peer->hello;
	if (peer->why_out.code)
		snprintf(out->error, sizeof(out->error), "%s", peer->why_out.msg);
	else if (peer->why_in.code)
		snprintf(out->error, sizeof(out->error), "its connection to us failed: %.400s", peer->why_in.msg);
	else if (!out->up)
		snprintf(out->error, sizeof(out->error), "not connected yet");
	out->report_age_ms = age < 0 ? UINT_MAX : (unsigned)age;
	out->report = age >= 0 && age <= (int64_t)peer->p->t.stale ? peer->report : NULL;
}

bool peers_status(const struct peers *p, const char *name, struct peer_status *out)
{
	const struct peer *peer = peer_find(p, name);

	if (peer)
		status_of(peer, out);
	return peer != NULL;
}

unsigned peers_count(const struct peers *p)
{
	const struct peer *peer;
	unsigned n = 0;

	TAILQ_FOREACH(peer, &p->list, link)
		n++;
	return n;
}

void peers_status_at(const struct peers *p, unsigned i, struct peer_status *out)
{
	const struct peer *peer = TAILQ_FIRST(&p->list);

	while (i-- > 0 && peer)
		peer = TAILQ_NEXT(peer, link);
	assert(peer);
	status_of(peer, out);
}
