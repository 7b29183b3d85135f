/* What the files of a peer share: peer.c (all of them together), peer_out.c (the connection that we open, and what we ask on it), peer_in.c (the one
 * that the peer opens, and what it asks). Loop thread. */
#ifndef POLICYD_CLUSTER_PEER_INT_H
#define POLICYD_CLUSTER_PEER_INT_H

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "policyd/cluster/link.h"
#include "policyd/cluster/peer.h"

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

/* ---- peer.c ---- */
int64_t peer_now_ms(void); /* interval clock */
struct timeval peer_tv(unsigned ms);
void peers_say(struct peers *p, const char *peer, const char *text); /* into the log, @peer NULL: of nobody known */
struct peer *peer_find(const struct peers *p, const char *name);
struct link_conf peers_link_conf(struct peers *p);

/* ---- peer_out.c ---- */
/* All calls that are pending now end with @why; what their callbacks ask anew is refused by then or waits for the next link. */
void peer_calls_fail(struct peer *peer, const struct err *why);
void peer_on_retry(evutil_socket_t fd, short what, void *arg); /* timer of a peer: connect */

/* ---- peer_in.c ---- */
void peer_in_close(struct peer *peer);
void peer_stranger_free(struct stranger *s);
void peers_on_accept(struct evconnlistener *ls, evutil_socket_t fd, struct sockaddr *sa, int salen, void *arg);

#endif
