/* One connection to one peer: see link.h. Used by cluster/peer.c only, loop thread.
 *
 * Life: resolve -> connect -> TLS handshake -> hellos -> up -> down. link_down is the only way out: it takes the socket and the
 * timers apart, tells the owner once, and the memory goes when the owner has called link_free and no callback of ours is on the stack. */
#include "policyd/cluster/link.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX (4u * MSG_LINE_MAX) /* queued for a side that does not read */
#define BYE_LINGER_MS 500

struct link {
	struct link_conf conf;
	const struct link_ops *ops;
	void *arg;
	bool server;
	bool up, down, freed, closing;
	unsigned depth; /* callbacks of ours on the stack */
	char name[NAME_MAX_LEN];
	char address[80];
	uint16_t port;
	struct peer_hello hello;
	int fd; /* while connecting; afterwards the bufferevent owns it */
	struct evdns_getaddrinfo_request *dns;
	struct event *connecting;
	struct event *deadline; /* handshake, later silence */
	struct bufferevent *bev;
	struct err closing_why;
};

static void link_reap(struct link *l)
{
	if (l->depth == 0 && l->freed)
		free(l);
}

static void link_leave(struct link *l)
{
	l->depth--;
	link_reap(l);
}

static void link_dismantle(struct link *l)
{
	if (l->dns)
		evdns_getaddrinfo_cancel(l->dns);
	l->dns = NULL;
	if (l->connecting)
		event_free(l->connecting);
	l->connecting = NULL;
	if (l->deadline)
		event_free(l->deadline);
	l->deadline = NULL;
	if (l->bev)
		bufferevent_free(l->bev);
	l->bev = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->up = false;
}

static void link_down(struct link *l, const struct err *e)
{
	if (l->down)
		return;
	l->down = true;
	link_dismantle(l);
	l->depth++;
	if (!l->freed)
		l->ops->on_down(l->arg, l, e);
	link_leave(l);
}

static void link_fail(struct link *l, int code, const char *what)
{
	struct err e;

	err_set(&e, code, "%s", what);
	link_down(l, &e);
}

/* Say why, give the bytes a moment to leave, and end. */
static void link_bye(struct link *l, const struct err *e)
{
	struct timeval tv = {0, BYE_LINGER_MS * 1000};

	if (l->down || l->closing)
		return;
	l->closing = true;
	l->closing_why = *e;
	bufferevent_disable(l->bev, EV_READ);
	if (link_send(l, msg_bye(e->msg)) < 0)
		link_down(l, e);
	else
		evtimer_add(l->deadline, &tv);
}

static void link_deadline_ms(struct link *l, unsigned ms)
{
	struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

	if (ms)
		evtimer_add(l->deadline, &tv);
	else
		evtimer_del(l->deadline);
}

static void on_timer_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	struct err e;

	(void)fd;
	(void)what;
	l->depth++;
	if (l->closing)
		link_down(l, &l->closing_why);
	else if (!l->up)
		link_fail(l, ETIMEDOUT,
			l->bev ? "the TLS handshake was not finished in time; is something other than policyd on that "
				 "port?"
			       : "no answer to the connection attempt; check address, route and firewall");
	else {
		err_set(&e, ETIMEDOUT, "it said nothing for %u s", l->conf.silence_ms / 1000);
		link_down(l, &e);
	}
	link_leave(l);
}

static void link_take_hello(struct link *l, const struct peer_msg *m)
{
	struct timeval stuck = {l->conf.stuck_ms / 1000, (l->conf.stuck_ms % 1000) * 1000};
	struct err e;

	if (hello_check(m->body, l->name, l->conf.own, &l->hello, &e) < 0) {
		link_bye(l, &e);
		return;
	}
	l->up = true;
	link_deadline_ms(l, l->server ? l->conf.silence_ms : 0);
	bufferevent_set_timeouts(l->bev, NULL, l->conf.stuck_ms ? &stuck : NULL);
	l->ops->on_up(l->arg, l);
}

static void link_take_line(struct link *l, const char *line, size_t len)
{
	struct peer_msg m;
	struct err e;

	if (msg_parse(line, len, &m, &e) < 0) {
		link_bye(l, &e);
		return;
	}
	if (m.kind == MSG_BYE) {
		err_set(&e, ECONNREFUSED, "it refused us: %s", m.error);
		link_down(l, &e);
	} else if (!l->up && m.kind != MSG_HELLO) {
		err_set(&e, EPROTO, "its first line is not a hello");
		link_bye(l, &e);
	} else if (l->up && m.kind == MSG_HELLO) {
		err_set(&e, EPROTO, "a second hello");
		link_bye(l, &e);
	} else if (m.kind == MSG_HELLO) {
		link_take_hello(l, &m);
	} else {
		if (l->server && l->conf.silence_ms)
			link_deadline_ms(l, l->conf.silence_ms);
		if (l->ops->on_msg(l->arg, l, &m, &e) != 0)
			link_bye(l, &e);
	}
	msg_fini(&m);
}

static void on_bev_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct link *l = arg;
	struct err e;
	size_t len;
	char *line;

	l->depth++;
	while (!l->down && !l->freed && !l->closing) {
		line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
		if (!line)
			break;
		link_take_line(l, line, len);
		free(line);
	}
	if (!l->down && !l->freed && !l->closing && evbuffer_get_length(in) >= MSG_LINE_MAX) {
		err_set(&e, EMSGSIZE, "a line longer than %u bytes", MSG_LINE_MAX);
		link_bye(l, &e);
	}
	link_leave(l);
}

static void on_bev_write(struct bufferevent *bev, void *arg)
{
	struct link *l = arg;

	l->depth++;
	if (l->closing && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		link_down(l, &l->closing_why);
	link_leave(l);
}

/* TLS is there: who is it, and say who we are. */
static void link_handshaken(struct link *l)
{
	struct ssl_st *ssl = bufferevent_openssl_get_ssl(l->bev);
	struct err e;

	if (tls_peer_name(ssl, l->name) < 0) {
		link_fail(l, EACCES, "its certificate has no name");
		return;
	}
	if (l->server && l->ops->on_name(l->arg, l, l->name, &e) != 0) {
		link_bye(l, &e);
		return;
	}
	if (l->down || l->freed)
		return;
	if (link_send(l, hello_to_json(l->conf.own)) < 0)
		link_fail(l, ENOMEM, "out of memory");
}

static void link_broken(struct link *l, short what)
{
	struct ssl_st *ssl = bufferevent_openssl_get_ssl(l->bev);
	struct err e;

	if (l->closing) {
		e = l->closing_why;
	} else if (what & BEV_EVENT_TIMEOUT) {
		err_set(&e, ETIMEDOUT, "it has taken none of our data for %u s", l->conf.stuck_ms / 1000);
	} else if (l->up) {
		err_set(&e, EPIPE, "the connection was closed");
	} else {
		memset(&e, 0, sizeof(e));
		tls_explain(ssl, l->name[0] ? l->name : l->address, &e);
		if (!e.code)
			err_set(&e, EPIPE,
				"closed during the TLS handshake; see that host's log, it may not trust our "
				"certificate");
	}
	link_down(l, &e);
}

static void on_bev_event(struct bufferevent *bev, short what, void *arg)
{
	struct link *l = arg;

	(void)bev;
	l->depth++;
	if (what & BEV_EVENT_CONNECTED)
		link_handshaken(l);
	else if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF | BEV_EVENT_TIMEOUT))
		link_broken(l, what);
	link_leave(l);
}

/* Give the connected socket to TLS. */
static int link_start_tls(struct link *l)
{
	struct ssl_st *ssl = tls_ssl_new(l->conf.tls, l->server, l->server ? NULL : l->name);
	int one = 1, user_timeout = (int)l->conf.stuck_ms;

	if (!ssl)
		return -ENOMEM;
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (user_timeout)
		setsockopt(l->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
	l->bev = bufferevent_openssl_socket_new(l->conf.base, l->fd, ssl,
		l->server ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING,
		BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!l->bev)
		return -ENOMEM;
	l->fd = -1;
	bufferevent_openssl_set_allow_dirty_shutdown(l->bev, 1);
	bufferevent_setwatermark(l->bev, EV_READ, 0, MSG_LINE_MAX + 1);
	bufferevent_setcb(l->bev, on_bev_read, on_bev_write, on_bev_event, l);
	return bufferevent_enable(l->bev, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

static void link_connect_failed(struct link *l, int code)
{
	struct err e;

	if (code == ECONNREFUSED)
		err_set(&e, code, "%s port %u refuses connections; is policyd running there?", l->address, l->port);
	else
		err_set(&e, code, "cannot connect to %s port %u: %s", l->address, l->port, strerror(code));
	link_down(l, &e);
}

static void on_fd_connected(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	socklen_t n = sizeof(int);
	int code = 0;

	(void)what;
	l->depth++;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
		code = errno;
	if (code)
		link_connect_failed(l, code);
	else if (link_start_tls(l) < 0)
		link_fail(l, ENOMEM, "out of memory");
	link_leave(l);
}

static void on_dns_answer(int result, struct evutil_addrinfo *ai, void *arg)
{
	struct link *l = arg;
	struct err e;

	l->dns = NULL;
	if (result == EVUTIL_EAI_CANCEL)
		return;
	l->depth++;
	if (l->down || l->freed)
		goto out;
	if (result || !ai) {
		err_set(&e, EHOSTUNREACH, "its address \"%s\" cannot be resolved: %s", l->address,
			evutil_gai_strerror(result));
		link_down(l, &e);
		goto out;
	}
	l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (l->fd < 0) {
		link_connect_failed(l, errno);
		goto out;
	}
	if (connect(l->fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS) {
		link_connect_failed(l, errno);
		goto out;
	}
	l->connecting = event_new(l->conf.base, l->fd, EV_WRITE, on_fd_connected, l);
	if (!l->connecting || event_add(l->connecting, NULL) < 0)
		link_fail(l, ENOMEM, "out of memory");
out:
	if (ai)
		evutil_freeaddrinfo(ai);
	link_leave(l);
}

static struct link *link_new(const struct link_conf *conf, const struct link_ops *ops, void *arg)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->conf = *conf;
	l->ops = ops;
	l->arg = arg;
	l->fd = -1;
	l->deadline = evtimer_new(conf->base, on_timer_deadline, l);
	if (!l->deadline) {
		free(l);
		return NULL;
	}
	link_deadline_ms(l, conf->handshake_ms);
	return l;
}

/* Runs from the loop, so that the owner has its pointer before any callback comes. */
static void on_timer_connect(evutil_socket_t fd, short what, void *arg)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_NUMERICHOST};
	struct evutil_addrinfo *ai = NULL;
	struct link *l = arg;
	char service[8];

	(void)fd;
	(void)what;
	event_free(l->connecting);
	l->connecting = NULL;
	snprintf(service, sizeof(service), "%u", l->port);
	l->depth++;
	if (evutil_getaddrinfo(l->address, service, &hints, &ai) == 0) {
		on_dns_answer(0, ai, l);
	} else if (!l->conf.dns) {
		link_fail(l, EHOSTUNREACH, "its address is not numeric and no name server is configured");
	} else {
		hints.ai_flags = 0;
		l->dns = evdns_getaddrinfo(l->conf.dns, l->address, service, &hints, on_dns_answer, l);
	}
	link_leave(l);
}

struct link *link_connect(const struct link_conf *conf, const char *name, const char *address, uint16_t port,
	const struct link_ops *ops, void *arg)
{
	struct timeval now = {0, 0};
	struct link *l = link_new(conf, ops, arg);

	if (!l)
		return NULL;
	snprintf(l->name, sizeof(l->name), "%s", name);
	snprintf(l->address, sizeof(l->address), "%s", address);
	l->port = port;
	l->connecting = evtimer_new(conf->base, on_timer_connect, l);
	if (!l->connecting || evtimer_add(l->connecting, &now) < 0) {
		link_free(l);
		return NULL;
	}
	return l;
}

struct link *link_accept(const struct link_conf *conf, int fd, const char *from, const struct link_ops *ops, void *arg)
{
	struct link *l = link_new(conf, ops, arg);

	if (!l) {
		close(fd);
		return NULL;
	}
	l->server = true;
	l->fd = fd;
	snprintf(l->address, sizeof(l->address), "%s", from);
	if (link_start_tls(l) < 0) {
		link_free(l);
		return NULL;
	}
	return l;
}

void link_set_owner(struct link *l, const struct link_ops *ops, void *arg)
{
	l->ops = ops;
	l->arg = arg;
}

void link_free(struct link *l)
{
	if (!l || l->freed)
		return;
	l->freed = true;
	l->down = true;
	link_dismantle(l);
	link_reap(l);
}

int link_send(struct link *l, json_t *j)
{
	struct evbuffer *out;
	char *text;
	int r = 0;

	if (!j)
		return -ENOMEM;
	text = l->bev ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!l->bev)
		return -ENOTCONN;
	if (!text)
		return -ENOMEM;
	out = bufferevent_get_output(l->bev);
	if (strlen(text) >= MSG_LINE_MAX)
		r = -EMSGSIZE;
	else if (evbuffer_get_length(out) + strlen(text) > OUT_MAX)
		r = -ENOBUFS;
	else if (evbuffer_add(out, text, strlen(text)) < 0 || evbuffer_add(out, "\n", 1) < 0)
		r = -ENOMEM;
	free(text);
	return r;
}

bool link_is_up(const struct link *l)
{
	return l && l->up && !l->closing;
}

const char *link_name(const struct link *l)
{
	return l->name[0] ? l->name : l->address;
}

const struct peer_hello *link_hello(const struct link *l)
{
	return &l->hello;
}
