/* Peers: see peer.h. Loop thread. One struct peer a configured host, each with an outgoing link (ours) and an incoming one (its).
 *
 * Outgoing: down -> (pause) -> link_connect -> up; while up, our report goes out every two seconds, with a ping that must be answered, so
 * that a peer whose process hangs is found out although its kernel still takes our bytes. Incoming: accepted links wait in `strangers`
 * until their certificate names a configured peer; a newer connection of a peer replaces the older one. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "policyd/cluster/peer_int.h"

int64_t peer_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct timeval peer_tv(unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	return tv;
}

void peers_say(struct peers *p, const char *peer, const char *text)
{
	if (p->conf.log)
		p->conf.log(p->conf.arg, peer, text);
}

struct peer *peer_find(const struct peers *p, const char *name)
{
	struct peer *peer;

	TAILQ_FOREACH(peer, &p->list, link)
		if (!strcmp(peer->conf.name, name))
			return peer;
	return NULL;
}

struct link_conf peers_link_conf(struct peers *p)
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

static void on_timer_report(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	peers_report_now(arg);
}

static void peer_free(struct peer *peer)
{
	struct err e;

	TAILQ_REMOVE(&peer->p->list, peer, link);
	link_free(peer->out);
	peer->out = NULL;
	peer_in_close(peer);
	err_set(&e, ECANCELED, "this host is no longer a peer");
	peer_calls_fail(peer, &e);
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
	peer->retry = evtimer_new(p->conf.base, peer_on_retry, peer);
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
	p->listener = evconnlistener_new_bind(p->conf.base, peers_on_accept, p,
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
	every = peer_tv(p->t.report);
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
			peer_stranger_free(TAILQ_FIRST(&p->strangers));
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
		peer_stranger_free(TAILQ_FIRST(&p->strangers));
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
	int64_t age = peer->report_ms ? peer_now_ms() - peer->report_ms : -1;

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
