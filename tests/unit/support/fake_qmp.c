/* The fake QMP peer: see fake_qmp.h. */
#include "tests/unit/support/fake_qmp.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING                                                                                                       \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"fake\"}, "     \
	"\"capabilities\": [\"oob\"]}}\r\n"

enum how { HOW_REPLY, HOW_ERROR, HOW_SILENT, HOW_HOLD, HOW_HANDLE };

struct client {
	TAILQ_ENTRY(client) link;
	struct fake_qmp *f;
	struct bufferevent *bev;
	bool negotiated;
};

struct held { /* an answer that waits for fake_qmp_release; newest first */
	SLIST_ENTRY(held) link;
	struct client *to;
	json_t *id;
};

struct script {
	SLIST_ENTRY(script) link;
	char cmd[64];
	enum how how;
	json_t *ret;
	char err_class[64], err_desc[256];
	fake_qmp_fn *fn;
	void *arg;
	SLIST_HEAD(, held) held;
};

struct asked { /* what came for a command, scripted or not */
	SLIST_ENTRY(asked) link;
	char cmd[64];
	unsigned calls;
	json_t *args;
};

struct later {
	SLIST_ENTRY(later) link;
	struct fake_qmp *f;
	struct event *timer;
	char name[64];
	json_t *data;
};

struct fake_qmp {
	struct event_base *base;
	char path[108];
	struct evconnlistener *listener;
	const char *greeting;
	unsigned connections;
	char *log;
	TAILQ_HEAD(, client) clients;
	SLIST_HEAD(, script) scripts;
	SLIST_HEAD(, asked) asked;
	SLIST_HEAD(, later) later;
};

static void die(const char *what)
{
	perror(what);
	abort();
}

static void *must(void *p)
{
	if (!p)
		die("fake_qmp: out of memory");
	return p;
}

/* ---- output ---- */

static void send_json(struct client *c, json_t *stolen)
{
	char *text = must(json_dumps(must(stolen), JSON_COMPACT));

	evbuffer_add_printf(bufferevent_get_output(c->bev), "%s\r\n", text);
	free(text);
	json_decref(stolen);
}

static void send_return(struct client *c, json_t *id, json_t *ret)
{
	send_json(c, json_pack("{s:o, s:O*}", "return", ret ? json_incref(ret) : json_object(), "id", id));
}

static void send_error(struct client *c, json_t *id, const char *cls, const char *desc)
{
	send_json(c, json_pack("{s:{s:s, s:s}, s:O*}", "error", "class", cls, "desc", desc, "id", id));
}

/* ---- scripts ---- */

static struct script *script_find(const struct fake_qmp *f, const char *cmd)
{
	struct script *s;

	SLIST_FOREACH(s, &f->scripts, link)
		if (!strcmp(s->cmd, cmd))
			return s;
	return NULL;
}

static struct script *script_set(struct fake_qmp *f, const char *cmd, enum how how)
{
	struct script *s = script_find(f, cmd);

	if (!s) {
		s = must(calloc(1, sizeof(*s)));
		snprintf(s->cmd, sizeof(s->cmd), "%s", cmd);
		SLIST_INSERT_HEAD(&f->scripts, s, link);
	}
	s->how = how;
	json_decref(s->ret);
	s->ret = NULL;
	return s;
}

void fake_qmp_reply(struct fake_qmp *f, const char *cmd, json_t *ret)
{
	script_set(f, cmd, HOW_REPLY)->ret = ret;
}

void fake_qmp_error(struct fake_qmp *f, const char *cmd, const char *err_class, const char *desc)
{
	struct script *s = script_set(f, cmd, HOW_ERROR);

	snprintf(s->err_class, sizeof(s->err_class), "%s", err_class);
	snprintf(s->err_desc, sizeof(s->err_desc), "%s", desc);
}

void fake_qmp_silent(struct fake_qmp *f, const char *cmd)
{
	script_set(f, cmd, HOW_SILENT);
}

void fake_qmp_hold(struct fake_qmp *f, const char *cmd, json_t *ret)
{
	script_set(f, cmd, HOW_HOLD)->ret = ret;
}

void fake_qmp_release(struct fake_qmp *f, const char *cmd)
{
	struct script *s = script_find(f, cmd);
	struct held *h;

	while (s && (h = SLIST_FIRST(&s->held))) {
		SLIST_REMOVE_HEAD(&s->held, link);
		send_return(h->to, h->id, s->ret);
		json_decref(h->id);
		free(h);
	}
}

void fake_qmp_handle(struct fake_qmp *f, const char *cmd, fake_qmp_fn *fn, void *arg)
{
	struct script *s = script_set(f, cmd, HOW_HANDLE);

	s->fn = fn;
	s->arg = arg;
}

/* ---- input ---- */

static void asked_add(struct fake_qmp *f, const char *cmd, json_t *args)
{
	struct asked *a;
	char *log;

	SLIST_FOREACH(a, &f->asked, link)
		if (!strcmp(a->cmd, cmd))
			break;
	if (!a) {
		a = must(calloc(1, sizeof(*a)));
		snprintf(a->cmd, sizeof(a->cmd), "%s", cmd);
		SLIST_INSERT_HEAD(&f->asked, a, link);
	}
	a->calls++;
	json_decref(a->args);
	a->args = json_incref(args);
	if (!strcmp(cmd, "qmp_capabilities"))
		return;
	if (asprintf(&log, "%s%s%s", f->log ? f->log : "", f->log ? " " : "", cmd) < 0)
		die("fake_qmp");
	free(f->log);
	f->log = log;
}

static void hold(struct client *c, struct script *s, json_t *id)
{
	struct held *h = must(calloc(1, sizeof(*h)));

	h->to = c;
	h->id = json_incref(id);
	SLIST_INSERT_HEAD(&s->held, h, link);
}

static void handle(struct client *c, struct script *s, json_t *args, json_t *id)
{
	const char *desc = NULL;
	json_t *ret = s->fn(s->arg, c->f, args, &desc);

	if (ret)
		send_return(c, id, ret);
	else if (desc)
		send_error(c, id, "GenericError", desc);
	json_decref(ret);
}

static void command(struct client *c, const char *cmd, json_t *args, json_t *id)
{
	struct script *s = script_find(c->f, cmd);

	asked_add(c->f, cmd, args);
	if (!strcmp(cmd, "qmp_capabilities"))
		c->negotiated = true;
	if (!c->negotiated || !s) {
		send_error(c, id, "CommandNotFound",
			c->negotiated ? "The command is not scripted"
				      : "Expecting capabilities negotiation with 'qmp_capabilities'");
		return;
	}
	switch (s->how) {
	case HOW_REPLY:
		send_return(c, id, s->ret);
		break;
	case HOW_ERROR:
		send_error(c, id, s->err_class, s->err_desc);
		break;
	case HOW_SILENT:
		break;
	case HOW_HOLD:
		hold(c, s, id);
		break;
	case HOW_HANDLE:
		handle(c, s, args, id);
		break;
	}
}

static void client_free(struct client *c)
{
	struct script *s;

	SLIST_FOREACH(s, &c->f->scripts, link) {
		struct held *h = SLIST_FIRST(&s->held), *next;

		for (; h; h = next) {
			next = SLIST_NEXT(h, link);
			if (h->to != c)
				continue;
			SLIST_REMOVE(&s->held, h, held, link);
			json_decref(h->id);
			free(h);
		}
	}
	TAILQ_REMOVE(&c->f->clients, c, link);
	bufferevent_free(c->bev);
	free(c);
}

static bool client_lives(const struct fake_qmp *f, const struct client *c)
{
	const struct client *i;

	TAILQ_FOREACH(i, &f->clients, link)
		if (i == c)
			return true;
	return false;
}

static void on_client_read(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;
	struct fake_qmp *f = c->f;
	char *line;

	/* a handler may drop the client */
	while (client_lives(f, c) && (line = evbuffer_readln(bufferevent_get_input(bev), NULL, EVBUFFER_EOL_LF))) {
		json_t *j = json_loads(line, 0, NULL);
		const char *cmd = json_string_value(json_object_get(j, "execute"));

		if (cmd)
			command(c, cmd, json_object_get(j, "arguments"), json_object_get(j, "id"));
		else
			send_error(c, NULL, "GenericError", "Invalid JSON syntax");
		json_decref(j);
		free(line);
	}
}

static void on_client_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		client_free(arg);
}

static void on_listener_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct fake_qmp *f = arg;
	struct client *c = must(calloc(1, sizeof(*c)));

	(void)l;
	(void)sa;
	(void)len;
	f->connections++;
	c->f = f;
	c->bev = must(bufferevent_socket_new(f->base, fd, BEV_OPT_CLOSE_ON_FREE));
	TAILQ_INSERT_TAIL(&f->clients, c, link);
	bufferevent_setcb(c->bev, on_client_read, NULL, on_client_event, c);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	evbuffer_add_printf(bufferevent_get_output(c->bev), "%s", f->greeting ? f->greeting : GREETING);
}

/* ---- what it says by itself ---- */

void fake_qmp_event(struct fake_qmp *f, const char *name, json_t *data)
{
	struct client *c;

	TAILQ_FOREACH(c, &f->clients, link)
		if (c->negotiated)
			send_json(c,
				json_pack("{s:s, s:O*, s:{s:i, s:i}}", "event", name, "data", data, "timestamp",
					"seconds", 1700000000, "microseconds", 1));
	json_decref(data);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct later *l = arg;

	(void)fd;
	(void)what;
	SLIST_REMOVE(&l->f->later, l, later, link);
	fake_qmp_event(l->f, l->name, l->data);
	event_free(l->timer);
	free(l);
}

void fake_qmp_event_later(struct fake_qmp *f, unsigned delay_ms, const char *name, json_t *data)
{
	struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = (suseconds_t)(delay_ms % 1000) * 1000};
	struct later *l = must(calloc(1, sizeof(*l)));

	l->f = f;
	l->data = data;
	snprintf(l->name, sizeof(l->name), "%s", name);
	l->timer = must(evtimer_new(f->base, on_later, l));
	event_add(l->timer, &tv);
	SLIST_INSERT_HEAD(&f->later, l, link);
}

void fake_qmp_raw(struct fake_qmp *f, const void *bytes, size_t n)
{
	struct client *c;

	TAILQ_FOREACH(c, &f->clients, link)
		evbuffer_add(bufferevent_get_output(c->bev), bytes, n);
}

void fake_qmp_greeting(struct fake_qmp *f, const char *text)
{
	f->greeting = text;
}

void fake_qmp_drop(struct fake_qmp *f, bool stop_listening)
{
	struct client *c;

	while ((c = TAILQ_FIRST(&f->clients)))
		client_free(c);
	if (stop_listening && f->listener) {
		evconnlistener_free(f->listener);
		f->listener = NULL;
	}
}

void fake_qmp_listen(struct fake_qmp *f)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (f->listener)
		return;
	unlink(f->path);
	memcpy(sa.sun_path, f->path, strlen(f->path) + 1);
	f->listener = evconnlistener_new_bind(f->base, on_listener_accept, f,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1, (struct sockaddr *)&sa, sizeof(sa));
	if (!f->listener)
		die(f->path);
}

/* ---- what it was asked ---- */

static const struct asked *asked_find(const struct fake_qmp *f, const char *cmd)
{
	const struct asked *a;

	SLIST_FOREACH(a, &f->asked, link)
		if (!strcmp(a->cmd, cmd))
			return a;
	return NULL;
}

unsigned fake_qmp_calls(const struct fake_qmp *f, const char *cmd)
{
	const struct asked *a = asked_find(f, cmd);

	return a ? a->calls : 0;
}

const json_t *fake_qmp_args(const struct fake_qmp *f, const char *cmd)
{
	const struct asked *a = asked_find(f, cmd);

	return a ? a->args : NULL;
}

unsigned fake_qmp_connections(const struct fake_qmp *f)
{
	return f->connections;
}

const char *fake_qmp_log(const struct fake_qmp *f)
{
	return f->log ? f->log : "";
}

/* ---- life ---- */

struct fake_qmp *fake_qmp_new(struct event_base *base, const char *path)
{
	struct fake_qmp *f = must(calloc(1, sizeof(*f)));

	signal(SIGPIPE, SIG_IGN);
	f->base = base;
	if (strlen(path) >= sizeof(f->path))
		die("fake_qmp: path too long");
	snprintf(f->path, sizeof(f->path), "%s", path);
	TAILQ_INIT(&f->clients);
	fake_qmp_reply(f, "qmp_capabilities", NULL);
	fake_qmp_reply(
		f, "query-status", json_pack("{s:s, s:b, s:b}", "status", "running", "running", 1, "singlestep", 0));
	fake_qmp_listen(f);
	return f;
}

void fake_qmp_free(struct fake_qmp *f)
{
	struct script *s;
	struct asked *a;
	struct later *l;

	if (!f)
		return;
	fake_qmp_drop(f, true);
	unlink(f->path);
	while ((l = SLIST_FIRST(&f->later))) {
		SLIST_REMOVE_HEAD(&f->later, link);
		event_free(l->timer);
		json_decref(l->data);
		free(l);
	}
	while ((s = SLIST_FIRST(&f->scripts))) {
		SLIST_REMOVE_HEAD(&f->scripts, link);
		json_decref(s->ret);
		free(s);
	}
	while ((a = SLIST_FIRST(&f->asked))) {
		SLIST_REMOVE_HEAD(&f->asked, link);
		json_decref(a->args);
		free(a);
	}
	free(f->log);
	free(f);
}
