/* Peers: who else is there, over mutual TLS (docs/peers.md). Knows nothing of domains: requests are names and JSON.
 *
 * For each configured peer one connection that we open (requests and reports go out on it, answers come back), kept open and reopened
 * with growing pauses; and a listener for those that peers open (their requests and reports come in there). A peer is only ever who its
 * certificate says. Loop thread only; nothing blocks. cluster.c joins this to policyd, tests run several in one loop. */
#ifndef POLICYD_CLUSTER_PEER_H
#define POLICYD_CLUSTER_PEER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "domain/err.h"
#include "migrate/tls.h"
#include "policyd/cluster/msg.h"

struct event_base;
struct peers;
struct peer_call;
struct peer_req;

/* A peer asks for something: answer once with peer_req_answer or peer_req_fail, now or later. @args is borrowed, the whole request. */
typedef void peer_handler_fn(void *arg, struct peer_req *rq, const char *from, const json_t *args);
struct peer_handler {
	const char *req;
	peer_handler_fn *fn;
};

struct peers_timing {       /* ms; 0 = the default in brackets */
	unsigned report;    /* between our reports (2000) */
	unsigned stale;     /* a report older than this is none (10000) */
	unsigned retry_min; /* first pause before connecting again (250), doubled up to */
	unsigned retry_max; /* (10000) */
	unsigned handshake; /* connecting to hello (10000) */
	unsigned
		silence; /* an incoming connection without a line, an outgoing one that leaves a ping unanswered (15000) */
	unsigned stuck; /* our bytes are not taken (10000) */
};

struct peers_conf {
	struct event_base *base;
	struct tls_ctx *tls; /* owned by peers from peers_new on (also when it fails) */
	struct peer_hello own;
	const char *address;           /* listen here; borrowed for the call */
	uint16_t port;                 /* 0 = any (tests); see peers_port */
	const struct conf_peer *peers; /* copied */
	unsigned n_peers;
	struct peers_timing timing;
	const struct peer_handler *handlers; /* borrowed, ended by { NULL, NULL } */
	json_t *(*report)(void *arg);        /* our report, a new reference; NULL = none now */
	/* One line for the log; @peer may be NULL (a stranger). */
	void (*log)(void *arg, const char *peer, const char *text);
	void *arg;
};

/* -EADDRINUSE etc. with a sentence. */
int peers_new(const struct peers_conf *conf, struct peers **out, struct err *e);
/* Other list and, where not NULL, other certificates (stolen). Connections to peers that did not change stay unless @tls is given. */
int peers_update(struct peers *p, const struct conf_peer *peers, unsigned n_peers, struct tls_ctx *tls, struct err *e);
/* Pending calls get -ECANCELED. NULL does nothing. */
void peers_free(struct peers *p);
/* Hellos of connections to come say this version. */
void peers_set_qemu(struct peers *p, const char *version);
uint16_t peers_port(const struct peers *p);

/* @answer is borrowed, NULL on failure. @e->code: 0; EREMOTEIO the peer said no (its sentence); ETIMEDOUT; EPIPE the connection broke
 * (the peer may or may not have done it); ECANCELED. Once, never inside peer_call. */
typedef void peer_answer_fn(void *arg, const json_t *answer, const struct err *e);
/* Ask @peer. @args is stolen, may be NULL. -ENOENT no such peer; -ENOTCONN with the reason; -EBUSY too many requests under way;
 * -EMSGSIZE. On failure @done is not called. timeout_ms 0 = 10 s. @out may be NULL. */
int peer_call(struct peers *p, const char *peer, const char *req, json_t *args, unsigned timeout_ms,
	peer_answer_fn *done, void *arg, struct peer_call **out, struct err *e);
/* Forget it: @done will not be called. The peer may do it all the same. NULL does nothing. */
void peer_call_forget(struct peer_call *call);

/* @fields (stolen, NULL = {}): the answer's members. The request is gone afterwards. Safe when the connection has gone meanwhile. */
void peer_req_answer(struct peer_req *rq, json_t *fields);
void peer_req_fail(struct peer_req *rq, const struct err *e);

/* Runs each time a connection to @peer comes up (then requests can be sent) or a report arrives. NULL ends it. */
struct peers_watch {
	void (*on_up)(void *arg, const char *peer);
	void (*on_report)(void *arg, const char *peer);
	void *arg;
};
void peers_set_watch(struct peers *p, const struct peers_watch *w);

struct peer_status {
	char name[NAME_MAX_LEN], address[64];
	uint16_t port;
	bool up;                 /* our connection is up: requests can be sent */
	bool incoming;           /* its connection to us is up */
	struct peer_hello hello; /* of the last time it was up */
	char error[ERR_MSG_MAX]; /* why our connection is down, or why the last it tried was refused; "" = none */
	const json_t *report;    /* borrowed until the loop; NULL when there is none or it is stale */
	unsigned report_age_ms;  /* UINT_MAX = never */
};
bool peers_status(const struct peers *p, const char *name, struct peer_status *out);
unsigned peers_count(const struct peers *p);
void peers_status_at(const struct peers *p, unsigned i, struct peer_status *out);
/* Send our report to all now (something changed). False: a connection that is up did not take it. */
bool peers_report_now(struct peers *p);

#endif
