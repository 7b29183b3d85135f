/* One connection to one peer: TLS, lines, hello, limits. Private to policyd/cluster; peer.c decides what the messages mean.
 *
 * A link is "up" when the handshake is done and a valid hello has come; before that nothing else is accepted. It ends once, with one
 * sentence: handshake refused, certificate not known, line too long, not JSON, silence, the other side does not read.
 * Loop thread only. A link may be freed inside any of its own callbacks (it is reaped when the callback returns). */
#ifndef POLICYD_CLUSTER_LINK_H
#define POLICYD_CLUSTER_LINK_H

#include <jansson.h>

#include "domain/err.h"
#include "migrate/tls.h"
#include "policyd/cluster/msg.h"

struct event_base;
struct evdns_base;
struct link;

struct link_ops {
	/* Incoming only: the verified name in the peer's certificate. Not 0 with a sentence = not wanted. */
	int (*on_name)(void *arg, struct link *l, const char *name, struct err *e);
	void (*on_up)(void *arg, struct link *l);
	/* After hello: requests, answers, reports. @m is borrowed. Not 0 = the link ends with this sentence. */
	int (*on_msg)(void *arg, struct link *l, struct peer_msg *m, struct err *e);
	/* Over. Once, and never after link_free; the owner calls link_free. */
	void (*on_down)(void *arg, struct link *l, const struct err *e);
};

struct link_conf {
	struct event_base *base;
	struct tls_ctx *tls;
	const struct peer_hello *own; /* borrowed, outlives the link */
	struct evdns_base *dns;       /* borrowed, for addresses that are names; NULL = numeric only */
	unsigned handshake_ms;        /* from connecting to a valid hello */
	unsigned silence_ms;          /* incoming: no line for so long; 0 = never */
	unsigned stuck_ms;            /* the other side takes none of our bytes for so long */
};

/* Connect to @name at @address. Never blocks; on_down tells what went wrong. NULL: no memory. */
struct link *link_connect(const struct link_conf *conf, const char *name, const char *address, uint16_t port,
	const struct link_ops *ops, void *arg);
/* Take over the accepted socket @fd (closed with the link, or here on failure). @from: its address, for messages. */
struct link *link_accept(const struct link_conf *conf, int fd, const char *from, const struct link_ops *ops, void *arg);
/* Hand it to another owner (an accepted link that now has a name). */
void link_set_owner(struct link *l, const struct link_ops *ops, void *arg);
void link_free(struct link *l);

/* Queue @j (stolen, NULL = -ENOMEM). -ENOBUFS: the other side does not read; the link goes down by itself soon. -ENOTCONN not up. */
int link_send(struct link *l, json_t *j);

bool link_is_up(const struct link *l);
const char *link_name(const struct link *l); /* expected (outgoing) or verified (incoming) name; else the address */
const struct peer_hello *link_hello(const struct link *l); /* once up */

#endif
