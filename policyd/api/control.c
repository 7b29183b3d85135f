/* Clients of the control socket: see control.h. One bufferevent a client; limits against slow, loud and many ones are constants here. */
#include "policyd/api/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define PENDING_MAX 64                 /* requests of one client at a time; it is not read meanwhile */
#define OUTPUT_MAX (8u << 20)          /* unread answers; then it is cut off */
#define OUTPUT_EVENTS_MAX (256u << 10) /* unread; progress is left out beyond */

struct conn {
	TAILQ_ENTRY(conn) link;
	struct control *c;
	struct bufferevent *bev;
	struct lines lines;
	struct ucred cred;
	TAILQ_HEAD(, creq) pending;
	unsigned n_pending;
	bool closing; /* no more requests; goes when its output is out */
	bool reading; /* inside on_client_readable: it frees itself there */
	bool dead;
};

struct control {
	struct policyd *p;
	struct evconnlistener *listener;
	struct event *ev_again; /* accept again, after descriptors ran out */
	TAILQ_HEAD(, conn) conns;
	TAILQ_HEAD(, creq) all;
	unsigned n_conns;
	char path[SPEC_PATH_MAX];
};

/* ---- requests ---- */

static void creq_free(struct creq *r)
{
	job_unlisten(&r->listener);
	TAILQ_REMOVE(&r->p->control->all, r, all);
	if (r->conn) {
		TAILQ_REMOVE(&r->conn->pending, r, mine);
		if (r->conn->n_pending-- == PENDING_MAX && !r->conn->closing) {
			bufferevent_enable(r->conn->bev, EV_READ);
			bufferevent_trigger(
				r->conn->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_OPT_DEFER_CALLBACKS);
		}
	}
	request_fini(&r->rq);
	json_decref(r->extra);
	free(r);
}

static void conn_free(struct conn *c)
{
	struct creq *r;

	c->dead = true;
	while ((r = TAILQ_FIRST(&c->pending)) != NULL) {
		TAILQ_REMOVE(&c->pending, r, mine);
		r->conn = NULL;
		if (r->cancel_on_close && r->listener.job)
			job_cancel(r->listener.job, NULL);
	}
	if (c->reading)
		return; /* the reader's last act */
	TAILQ_REMOVE(&c->c->conns, c, link);
	c->c->n_conns--;
	bufferevent_free(c->bev);
	lines_fini(&c->lines);
	free(c);
}

static void conn_write(struct conn *c, char *line, bool droppable)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	size_t held = evbuffer_get_length(out);

	if (line && !c->dead && !(droppable && held > OUTPUT_EVENTS_MAX)) {
		if (held > OUTPUT_MAX) {
			plog(c->c->p, "control: client pid %d does not read its answers; cut off", (int)c->cred.pid);
			c->closing = true;
			evbuffer_drain(out, held);
			bufferevent_disable(c->bev, EV_READ);
			shutdown(bufferevent_getfd(c->bev), SHUT_RDWR); /* its end comes as an event */
		} else {
			evbuffer_add(out, line, strlen(line));
		}
	}
	free(line);
}

void creq_ok(struct creq *r, json_t *result)
{
	if (r->conn)
		conn_write(r->conn, answer_ok(r->rq.id, result), false);
	json_decref(result);
	creq_free(r);
}

void creq_fail(struct creq *r, const char *code, const char *fmt, ...)
{
	char *sentence = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&sentence, fmt, ap) < 0)
		sentence = NULL;
	va_end(ap);
	if (r->conn)
		conn_write(r->conn, answer_error(r->rq.id, code, sentence ? sentence : "no memory"), false);
	free(sentence);
	creq_free(r);
}

void creq_err(struct creq *r, const struct err *e)
{
	creq_fail(r, code_of(e->code), "%s", err_msg(e));
}

void creq_event(struct creq *r, const char *event, json_t *fields)
{
	if (r->conn)
		conn_write(r->conn, answer_event(r->rq.id, event, fields), true);
	json_decref(fields);
}

static struct creq *creq_of(struct job_listener *l)
{
	return (struct creq *)((char *)l - offsetof(struct creq, listener));
}

static void on_job_progress(struct job_listener *l, const struct job *j)
{
	creq_event(creq_of(l), "progress", job_json(j));
}

static void on_job_end(struct job_listener *l, const struct job *j, const struct err *e)
{
	struct creq *r = creq_of(l);
	json_t *result;

	if (e->code) {
		creq_err(r, e);
		return;
	}
	result = j->result ? json_deep_copy(j->result) : json_object();
	if (r->extra && json_is_object(result))
		json_object_update_missing(result, r->extra);
	if (result && j->predicted)
		json_object_set(result, "predicted", j->predicted);
	creq_ok(r, result);
}

void creq_wait(struct creq *r, struct job *j)
{
	r->listener.on_end = on_job_end;
	r->listener.on_progress = on_job_progress;
	job_listen(j, &r->listener);
}

/* ---- one line ---- */

static void run_line(struct conn *c, const char *line, size_t len)
{
	struct creq *r = calloc(1, sizeof(*r));
	struct err e = {0};

	if (!r)
		return;
	r->p = c->c->p;
	r->conn = c;
	r->origin = (struct origin){.kind = BY_OPERATOR, .uid = c->cred.uid, .pid = c->cred.pid};
	TAILQ_INSERT_TAIL(&c->c->all, r, all);
	TAILQ_INSERT_TAIL(&c->pending, r, mine);
	if (++c->n_pending == PENDING_MAX)
		bufferevent_disable(c->bev, EV_READ);
	if (request_parse(line, len, &r->rq, &e))
		creq_fail(r, "usage", "%s", err_msg(&e));
	else
		command_run(r);
}

static void take_lines(struct conn *c)
{
	const char *line;
	size_t len;

	while (!c->dead && !c->closing && c->n_pending < PENDING_MAX && (line = lines_next(&c->lines, &len)) != NULL)
		if (len)
			run_line(c, line, len);
}

static void refuse_long_line(struct conn *c)
{
	char text[96];

	snprintf(text, sizeof(text), "the line is longer than %u bytes; the connection is closed", CONTROL_LINE_MAX);
	c->closing = true;
	bufferevent_disable(c->bev, EV_READ);
	conn_write(c, answer_error(json_null(), "usage", text), false);
}

static void on_client_readable(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	char chunk[16384];
	int n, rc = 0;

	c->reading = true;
	take_lines(c); /* what was held back while too many were pending */
	while (!c->dead && !c->closing && c->n_pending < PENDING_MAX) {
		n = evbuffer_remove(in, chunk, sizeof(chunk));
		if (n <= 0)
			break;
		rc = lines_feed(&c->lines, chunk, (size_t)n);
		if (rc)
			refuse_long_line(c);
		else
			take_lines(c);
	}
	c->reading = false;
	if (c->dead)
		conn_free(c);
}

static void on_client_written(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (evbuffer_get_length(bufferevent_get_output(bev)))
		return;
	if (c->closing)
		conn_free(c);
}

static void on_client_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	if ((what & BEV_EVENT_EOF) && !c->n_pending && evbuffer_get_length(bufferevent_get_output(bev))) {
		c->closing = true; /* it asked, and closed its side: let it have the answers */
		bufferevent_disable(bev, EV_READ);
	} else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
		conn_free(c);
	}
}

/* ---- accepting ---- */

static void on_listener_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct control *ctl = arg;
	socklen_t cred_len = sizeof(struct ucred);
	struct conn *c = calloc(1, sizeof(*c));
	static const char full[] =
		"{\"id\":null,\"ok\":false,\"error\":\"too many clients; try again\",\"code\":\"busy\"}\n";

	(void)l, (void)sa, (void)len;
	if (!c || ctl->n_conns >= CLIENTS_MAX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &cred_len)) {
		if (c && send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			plog_debug(ctl->p, "control: client refused");
		close(fd);
		free(c);
		return;
	}
	c->c = ctl;
	TAILQ_INIT(&c->pending);
	c->bev = bufferevent_socket_new(ctl->p->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		close(fd);
		free(c);
		return;
	}
	TAILQ_INSERT_TAIL(&ctl->conns, c, link);
	ctl->n_conns++;
	bufferevent_setcb(c->bev, on_client_readable, on_client_written, on_client_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, 256 << 10);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static void on_listener_error(struct evconnlistener *l, void *arg)
{
	struct control *ctl = arg;
	struct timeval tv = {1, 0};

	plog(ctl->p, "control: accept: %s", strerror(errno));
	evconnlistener_disable(l);
	evtimer_add(ctl->ev_again, &tv);
}

static void on_again_timer(evutil_socket_t fd, short what, void *arg)
{
	struct control *ctl = arg;

	(void)fd, (void)what;
	evconnlistener_enable(ctl->listener);
}

/* Take away an old socket; never anything else, and no socket at which somebody answers. */
static int clear_socket(const struct sockaddr_un *sa, int fd, struct err *e)
{
	struct stat st;

	if (lstat(sa->sun_path, &st))
		return 0; /* nothing there, or bind says what is wrong */
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, EEXIST,
			"control socket %s: something else of that name is there and is left alone; correct control.socket in "
			"policyd.cfg",
			sa->sun_path);
	if (!connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) || errno == EAGAIN)
		return err_set(e, EBUSY,
			"control socket %s: another policyd answers there; stop that one first, or give this one another "
			"control.socket",
			sa->sun_path);
	unlink(sa->sun_path);
	return 0;
}

static int listen_at(const char *path, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t old;
	int fd, rc = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG,
			"control socket %s: the path is longer than %zu characters; shorten control.socket", path,
			sizeof(sa.sun_path) - 1);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, errno, "control socket: %s", strerror(errno));
	rc = clear_socket(&sa, fd, e);
	old = umask(0117);
	if (!rc && (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 128)))
		rc = err_set(
			e, errno, "control socket %s: %s; check control.socket in policyd.cfg", path, strerror(errno));
	umask(old);
	if (rc)
		close(fd);
	return rc ? rc : fd;
}

int control_start(struct policyd *p, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int fd;

	if (!c)
		return err_set(e, ENOMEM, "no memory");
	c->p = p;
	TAILQ_INIT(&c->conns);
	TAILQ_INIT(&c->all);
	snprintf(c->path, sizeof(c->path), "%s", p->conf->control);
	p->control = c;
	fd = listen_at(c->path, e);
	if (fd < 0) {
		c->path[0] = 0;
		return fd;
	}
	c->ev_again = evtimer_new(p->base, on_again_timer, c);
	c->listener = evconnlistener_new(
		p->base, on_listener_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!c->listener || !c->ev_again) {
		close(fd);
		return err_set(e, ENOMEM, "no memory for the control socket");
	}
	evconnlistener_set_error_cb(c->listener, on_listener_error);
	return 0;
}

static struct creq *first_waiting(struct control *c)
{
	struct creq *r;

	TAILQ_FOREACH(r, &c->all, all)
		if (r->waits)
			return r;
	return NULL;
}

void control_settled(struct policyd *p)
{
	struct creq *r;

	while (p->control && (r = first_waiting(p->control)) != NULL) {
		r->waits = false;
		if (r->conn)
			command_run(r);
		else
			creq_free(r); /* who asked has gone: not done behind its back */
	}
}

void control_stop(struct policyd *p)
{
	struct control *c = p->control;
	struct conn *conn;

	if (!c)
		return;
	if (c->listener)
		evconnlistener_free(c->listener);
	if (c->ev_again)
		event_free(c->ev_again);
	while ((conn = TAILQ_FIRST(&c->conns)) != NULL)
		conn_free(conn);
	while (!TAILQ_EMPTY(&c->all))
		creq_free(TAILQ_FIRST(&c->all));
	if (c->path[0])
		unlink(c->path);
	free(c);
	p->control = NULL;
}
