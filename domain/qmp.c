/* QMP client: see qmp.h. Called by policyd (one per domain) and by migration workers; loop thread only.
 *
 * One object, four states: down -> greeting -> negotiating -> ready. Everything that runs foreign code is bracketed by q_hold/q_drop, so
 * that qmp_free may be called from any callback: it cancels and closes at once, and the memory goes when the last bracket closes.
 * The program must ignore SIGPIPE. */
#include "domain/qmp.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain/line.h"
#include "domain/qmp_json.h"

#define QMP_LINE_MAX (8u << 20) /* the longest real answer (query-qmp-schema) has some 300 kB */
#define QMP_TIMEOUT_MS 10000
#define HANDSHAKE_MS 5000 /* a monitor serves one client: a second one waits for its greeting */
#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS 2000

enum qmp_state { QMP_DOWN, QMP_GREETING, QMP_NEGOTIATING, QMP_READY };

struct qmp_cmd {
	TAILQ_ENTRY(qmp_cmd) link;
	struct qmp *q;
	json_int_t id;
	char name[64];
	struct event *timer;
	qmp_done_fn *done;
	void *arg;
};

struct qmp {
	struct event_base *base;
	char *path;
	bool reconnect;
	struct qmp_handlers handlers;
	void *arg;
	enum qmp_state state;
	struct bufferevent *bev;
	struct event *timer; /* down: next attempt; greeting: patience */
	size_t scanned;      /* bytes of the input that have no line end */
	unsigned retry_ms;
	json_int_t next_id;
	struct err last; /* of the last attempt or connection */
	TAILQ_HEAD(, qmp_cmd) cmds;
	unsigned holds; /* callbacks (and qmp_call) under way */
	bool freed;
};

static void q_hold(struct qmp *q)
{
	q->holds++;
}

static void q_drop(struct qmp *q)
{
	assert(q->holds);
	if (--q->holds || !q->freed)
		return;
	event_free(q->timer);
	free(q->path);
	free(q);
}

static void timer_set(struct event *t, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(t, &tv);
}

/* ---- ends: a command, a connection ---- */

/* Exactly once per command: it leaves the list before foreign code runs. */
static void cmd_end(struct qmp_cmd *c, const json_t *ret, const struct err *e)
{
	TAILQ_REMOVE(&c->q->cmds, c, link);
	event_free(c->timer);
	if (c->done)
		c->done(c->arg, ret, e);
	free(c);
}

static void cmds_end_all(struct qmp *q, int code, const char *why)
{
	struct qmp_cmd *c;
	struct err e;

	while ((c = TAILQ_FIRST(&q->cmds))) {
		err_set(&e, code, "qmp: %s: %s", c->name, why);
		cmd_end(c, NULL, &e);
	}
}

static void connection_close(struct qmp *q)
{
	if (q->bev)
		bufferevent_free(q->bev);
	q->bev = NULL;
	q->state = QMP_DOWN;
	q->scanned = 0;
	event_del(q->timer);
}

/* The connection or the attempt has failed; q->last says why. */
static void connection_down(struct qmp *q)
{
	bool was_ready = q->state == QMP_READY;

	q_hold(q);
	connection_close(q);
	cmds_end_all(q, EPIPE, q->last.msg);
	if (!q->freed && q->reconnect) {
		timer_set(q->timer, q->retry_ms);
		q->retry_ms = q->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : q->retry_ms * 2;
	}
	if (!q->freed && q->handlers.on_down && (was_ready || !q->reconnect))
		q->handlers.on_down(q->arg, &q->last);
	q_drop(q);
}

static void connection_fail(struct qmp *q, int code, const char *why)
{
	err_set(&q->last, code, "qmp: %s: %s", q->path, why);
	connection_down(q);
}

/* ---- input ---- */

static void on_capabilities_done(void *arg, const json_t *ret, const struct err *e)
{
	struct qmp *q = arg;

	(void)ret;
	if (q->freed || q->state != QMP_NEGOTIATING)
		return;
	if (e->code) {
		connection_fail(q, EPROTO, e->msg);
		return;
	}
	event_del(q->timer);
	q->state = QMP_READY;
	q->retry_ms = RETRY_FIRST_MS;
	if (q->handlers.on_ready)
		q->handlers.on_ready(q->arg);
}

static int cmd_send(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg);

static void input_greeting(struct qmp *q, const json_t *j)
{
	/* QEMU's monitor thread may have just taken the connection and not greeted yet when another thread of it has an event to tell. */
	if (json_object_get(j, "event"))
		return;
	if (!json_is_object(json_object_get(j, "QMP"))) {
		connection_fail(q, EPROTO, "no QMP greeting; is this a monitor socket?");
		return;
	}
	q->state = QMP_NEGOTIATING;
	if (cmd_send(q, "qmp_capabilities", NULL, HANDSHAKE_MS, on_capabilities_done, q) < 0)
		connection_fail(q, ENOMEM, "out of memory");
}

static void input_answer(struct qmp *q, const json_t *j)
{
	const json_t *id = json_object_get(j, "id"), *error = json_object_get(j, "error");
	const char *cls, *desc;
	struct err e = {0};
	struct qmp_cmd *c;

	if (!json_is_integer(id)) { /* QEMU could not read what we wrote: nobody knows which command is meant */
		connection_fail(q, EPROTO, "an answer without id");
		return;
	}
	TAILQ_FOREACH(c, &q->cmds, link)
		if (c->id == json_integer_value(id))
			break;
	if (!c) /* answers a command that has timed out */
		return;
	if (!error) {
		cmd_end(c, json_object_get(j, "return"), &e);
		return;
	}
	cls = json_string_value(json_object_get(error, "class"));
	desc = json_string_value(json_object_get(error, "desc"));
	if (!cls || !strcmp(cls, "GenericError"))
		err_set(&e, EREMOTEIO, "qmp: %s: %s", c->name, desc ? desc : "error without a text");
	else
		err_set(&e, EREMOTEIO, "qmp: %s: %s (%s)", c->name, desc ? desc : "error without a text", cls);
	cmd_end(c, NULL, &e);
}

static void input_line(struct qmp *q, const char *line, size_t n)
{
	const char *event;
	struct err e = {0};
	json_t *j = qmp_json_parse(line, n, &e);

	if (!j) {
		connection_fail(q, EPROTO, e.msg);
		return;
	}
	event = json_string_value(json_object_get(j, "event"));
	if (q->state == QMP_GREETING)
		input_greeting(q, j);
	else if (event && q->state == QMP_READY && q->handlers.on_event)
		q->handlers.on_event(q->arg, event, json_object_get(j, "data"));
	else if (json_object_get(j, "return") || json_object_get(j, "error"))
		input_answer(q, j);
	else if (!event)
		connection_fail(q, EPROTO, "neither answer nor event");
	json_decref(j);
}

static void on_socket_read(struct bufferevent *bev, void *arg)
{
	struct qmp *q = arg;
	size_t n;
	char *line;

	q_hold(q);
	while (q->bev == bev && (line = line_take(bufferevent_get_input(bev), &q->scanned, &n))) {
		if (strspn(line, " \t\r\n") < n) /* not blank */
			input_line(q, line, n);
		free(line);
	}
	if (q->bev == bev && evbuffer_get_length(bufferevent_get_input(bev)) > QMP_LINE_MAX)
		connection_fail(q, EMSGSIZE, "an answer of more than 8 MiB");
	q_drop(q);
}

static void on_socket_event(struct bufferevent *bev, short what, void *arg)
{
	struct qmp *q = arg;
	int saved = errno;

	(void)bev;
	if (what & BEV_EVENT_EOF)
		connection_fail(q, EPIPE, "QEMU closed the connection");
	else if (what & BEV_EVENT_ERROR)
		connection_fail(q, saved ? saved : EPIPE, saved ? strerror(saved) : "connection lost");
}

/* ---- connecting ---- */

static int socket_connect(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) { /* a unix socket never says EINPROGRESS */
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static void connection_try(struct qmp *q)
{
	int fd = socket_connect(q->path);

	if (fd < 0) {
		connection_fail(q, -fd, strerror(-fd));
		return;
	}
	q->bev = bufferevent_socket_new(q->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!q->bev) {
		close(fd);
		connection_fail(q, ENOMEM, "out of memory");
		return;
	}
	q->state = QMP_GREETING;
	timer_set(q->timer, HANDSHAKE_MS);
	bufferevent_setcb(q->bev, on_socket_read, NULL, on_socket_event, q);
	bufferevent_enable(q->bev, EV_READ | EV_WRITE);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct qmp *q = arg;

	(void)fd;
	(void)what;
	if (q->state == QMP_DOWN)
		connection_try(q);
	else
		connection_fail(q, ETIMEDOUT, "no greeting in 5 s; somebody else may hold this monitor");
}

struct qmp *qmp_new(
	struct event_base *base, const char *path, bool reconnect, const struct qmp_handlers *handlers, void *arg)
{
	struct qmp *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->base = base;
	q->path = strdup(path);
	q->timer = evtimer_new(base, on_timer, q);
	if (!q->path || !q->timer) {
		if (q->timer)
			event_free(q->timer);
		free(q->path);
		free(q);
		return NULL;
	}
	q->reconnect = reconnect;
	if (handlers)
		q->handlers = *handlers;
	q->arg = arg;
	q->retry_ms = RETRY_FIRST_MS;
	TAILQ_INIT(&q->cmds);
	timer_set(q->timer, 0); /* from the loop, so that no callback runs before the caller has the pointer */
	return q;
}

void qmp_free(struct qmp *q)
{
	if (!q || q->freed)
		return;
	q->freed = true;
	q_hold(q);
	connection_close(q);
	cmds_end_all(q, ECANCELED, "cancelled");
	q_drop(q);
}

bool qmp_ready(const struct qmp *q)
{
	return q->state == QMP_READY && !q->freed;
}

/* ---- commands ---- */

static void on_cmd_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct qmp_cmd *c = arg;
	struct qmp *q = c->q;
	struct err e;

	(void)fd;
	(void)what;
	q_hold(q);
	err_set(&e, ETIMEDOUT, "qmp: %s: QEMU did not answer in time", c->name);
	cmd_end(c, NULL, &e);
	q_drop(q);
}

static struct qmp_cmd *cmd_new(struct qmp *q, const char *name)
{
	struct qmp_cmd *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->timer = evtimer_new(q->base, on_cmd_timeout, c);
	if (!c->timer) {
		free(c);
		return NULL;
	}
	c->q = q;
	c->id = ++q->next_id;
	strncpy(c->name, name, sizeof(c->name) - 1);
	return c;
}

static int cmd_write(struct qmp *q, const struct qmp_cmd *c, const char *cmd, json_t *args)
{
	json_t *j = json_pack("{s:s, s:O*, s:I}", "execute", cmd, "arguments", args, "id", c->id);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct evbuffer *out = bufferevent_get_output(q->bev);
	int r = -ENOMEM;

	if (text && !evbuffer_expand(out, strlen(text) + 1)) { /* all of the line or none of it */
		evbuffer_add(out, text, strlen(text));
		evbuffer_add(out, "\n", 1);
		r = 0;
	}
	free(text);
	json_decref(j);
	return r;
}

static int cmd_send(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg)
{
	struct qmp_cmd *c = cmd_new(q, cmd);
	int r = c ? cmd_write(q, c, cmd, args) : -ENOMEM;

	json_decref(args);
	if (r < 0) {
		if (c)
			event_free(c->timer);
		free(c);
		return r;
	}
	c->done = done;
	c->arg = arg;
	TAILQ_INSERT_TAIL(&q->cmds, c, link);
	timer_set(c->timer, timeout_ms ? timeout_ms : QMP_TIMEOUT_MS);
	return 0;
}

int qmp_command(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg)
{
	if (!qmp_ready(q)) {
		json_decref(args);
		return -ENOTCONN;
	}
	return cmd_send(q, cmd, args, timeout_ms, done, arg);
}

/* ---- for workers: the same, waited for ---- */

struct call {
	bool ended;
	json_t *ret;
	struct err e;
};

static void on_call_done(void *arg, const json_t *ret, const struct err *e)
{
	struct call *call = arg;

	call->ended = true;
	call->ret = json_incref((json_t *)ret);
	call->e = *e;
}

/* One turn of the loop: 0, or -EINTR when it was told to break. */
static int loop_turn(struct event_base *base)
{
	if (event_base_loop(base, EVLOOP_ONCE) < 0)
		return -EIO;
	return event_base_got_break(base) || event_base_got_exit(base) ? -EINTR : 0;
}

/* The caller's frame goes away before the answer: let it be dropped. */
static void call_forget(struct qmp *q, const struct call *call)
{
	struct qmp_cmd *c;

	TAILQ_FOREACH(c, &q->cmds, link)
		if (c->arg == call)
			c->done = NULL;
}

int qmp_call(struct qmp *q, const char *cmd, json_t *args, unsigned timeout_ms, json_t **ret_out, struct err *e)
{
	struct call call = {0};
	int r = qmp_command(q, cmd, args, timeout_ms, on_call_done, &call);

	if (r < 0)
		return err_set(e, -r, "qmp: %s: %s", cmd, r == -ENOTCONN ? "not connected to QEMU" : strerror(-r));
	q_hold(q);
	while (!call.ended && r == 0)
		r = loop_turn(q->base);
	if (!call.ended) {
		call_forget(q, &call);
		err_set(&call.e, -r, "qmp: %s: interrupted", cmd);
	}
	q_drop(q);
	if (call.e.code) {
		json_decref(call.ret);
		return err_set(e, call.e.code, "%s", call.e.msg);
	}
	if (ret_out)
		*ret_out = call.ret;
	else
		json_decref(call.ret);
	return 0;
}

static void on_wait_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

int qmp_wait_ready(struct qmp *q, unsigned timeout_ms, struct err *e)
{
	bool late = false;
	struct event *t = evtimer_new(q->base, on_wait_timeout, &late);
	int r = 0;

	if (!t)
		return err_set(e, ENOMEM, "qmp: out of memory");
	q_hold(q);
	timer_set(t, timeout_ms);
	while (!q->freed && q->state != QMP_READY && !late && r == 0 &&
		(q->reconnect || q->state != QMP_DOWN || !q->last.code))
		r = loop_turn(q->base);
	if (q->freed)
		r = err_set(e, ECANCELED, "qmp: cancelled");
	else if (q->state == QMP_READY)
		r = 0;
	else if (r < 0)
		r = err_set(e, -r, "qmp: %s: interrupted", q->path);
	else if (!late)
		r = err_set(e, q->last.code, "%s", q->last.msg);
	else
		r = err_set(e, ETIMEDOUT, "qmp: %s: not ready in %u ms%s%s", q->path, timeout_ms,
			q->last.code ? "; last: " : "", q->last.code ? q->last.msg : "");
	event_free(t);
	q_drop(q);
	return r;
}
