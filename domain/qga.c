/* A client of the QEMU guest agent: see qga.h.
 *
 *	down -> syncing -> ready        down: no connection; each state's timer leads back to it
 *
 * A connection to QEMU's socket says nothing about the guest: only the answer to our own sync number does. What comes before it is from somebody
 * else's time and is thrown away. Foreign code runs between hold and drop, so that qga_free may be called from it. */
#include "domain/qga.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain/line.h"
#include "domain/qmp_json.h"

/* No more is kept of a guest's line. While it synchronises all that is kept is searched for a delimiter at each read, and the answer is short. */
#define ANSWER_MAX (1u << 20)
#define SYNC_MAX (4u << 10)
#define SYNC_MS 3000
#define LOOK_MS 60000
#define COMMAND_MS 5000

enum qga_state { QGA_DOWN, QGA_SYNCING, QGA_READY };

struct qga_cmd {
	TAILQ_ENTRY(qga_cmd) link;
	char name[48];
	json_t *args;
	unsigned timeout_ms;
	qmp_done_fn *done;
	void *arg;
};

struct qga {
	struct event_base *base;
	char *path;
	void (*on_up)(void *arg);
	void *arg;
	enum qga_state state;
	struct bufferevent *bev;
	struct event *timer; /* down: the next look; syncing and with a command under way: patience */
	bool delimited;      /* syncing: the delimiter was seen */
	json_int_t sync;
	size_t scanned;             /* of the input: no line end up to here */
	TAILQ_HEAD(, qga_cmd) cmds; /* the first is under way while ready */
	bool under_way;
	unsigned holds;
	bool freed;
};

static void hold(struct qga *q)
{
	q->holds++;
}

static void drop(struct qga *q)
{
	if (--q->holds || !q->freed)
		return;
	event_free(q->timer);
	free(q->path);
	free(q);
}

static void timer_set(struct qga *q, unsigned ms)
{
	struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

	event_add(q->timer, &tv);
}

/* ---- ends ---- */

static void cmd_end(struct qga *q, struct qga_cmd *c, const json_t *ret, const struct err *e)
{
	TAILQ_REMOVE(&q->cmds, c, link);
	json_decref(c->args);
	if (c->done)
		c->done(c->arg, ret, e);
	free(c);
}

static void cmds_end_all(struct qga *q, int code, const char *why)
{
	struct qga_cmd *c;
	struct err e;

	while ((c = TAILQ_FIRST(&q->cmds))) {
		err_set(&e, code, "guest agent: %s: %s", c->name, why);
		cmd_end(q, c, NULL, &e);
	}
}

/* No agent (any more): whoever waits is told, and it is looked for again in a while. */
static void go_down(struct qga *q, int code, const char *why)
{
	hold(q);
	if (q->bev)
		bufferevent_free(q->bev);
	q->bev = NULL;
	q->state = QGA_DOWN;
	q->under_way = q->delimited = false;
	if (!q->freed)
		timer_set(q, LOOK_MS);
	cmds_end_all(q, code, why);
	drop(q);
}

/* ---- commands ---- */

static int write_line(struct qga *q, bool delimit, const char *cmd, const json_t *args)
{
	json_t *j = json_pack("{s:s, s:O*}", "execute", cmd, "arguments", args);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct evbuffer *out = bufferevent_get_output(q->bev);
	int rc = -ENOMEM;

	if (text && !evbuffer_expand(out, strlen(text) + 2)) {
		if (delimit) /* ends what an agent may have half read */
			evbuffer_add(out, "\xff", 1);
		evbuffer_add(out, text, strlen(text));
		evbuffer_add(out, "\n", 1);
		rc = 0;
	}
	free(text);
	json_decref(j);
	return rc;
}

static void next_command(struct qga *q)
{
	struct qga_cmd *c = TAILQ_FIRST(&q->cmds);

	if (!c || q->state != QGA_READY || q->under_way)
		return;
	if (write_line(q, false, c->name, c->args)) {
		go_down(q, ENOMEM, "out of memory");
		return;
	}
	q->under_way = true;
	timer_set(q, c->timeout_ms);
}

int qga_command(struct qga *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg)
{
	struct qga_cmd *c;

	if (!qga_ready(q)) {
		json_decref(args);
		return -ENOTCONN;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		json_decref(args);
		return -ENOMEM;
	}
	snprintf(c->name, sizeof(c->name), "%s", cmd);
	c->args = args;
	c->timeout_ms = timeout_ms ? timeout_ms : COMMAND_MS;
	c->done = done;
	c->arg = arg;
	TAILQ_INSERT_TAIL(&q->cmds, c, link);
	next_command(q);
	return 0;
}

/* ---- input ---- */

static void input_answer(struct qga *q, const json_t *j)
{
	struct qga_cmd *c = TAILQ_FIRST(&q->cmds);
	const json_t *ret = json_object_get(j, "return"), *error = json_object_get(j, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));
	struct err e = {0};

	if (!q->under_way || (!ret && !error))
		return; /* nobody asked */
	q->under_way = false;
	event_del(q->timer);
	if (error)
		err_set(&e, EREMOTEIO, "guest agent: %s: %.200s", c->name, desc ? desc : "refused without a text");
	cmd_end(q, c, error ? NULL : ret, &e);
	if (!q->freed)
		next_command(q);
}

static void input_sync(struct qga *q, const json_t *j)
{
	if (json_integer_value(json_object_get(j, "return")) != q->sync)
		return; /* an answer to somebody before us */
	event_del(q->timer);
	q->state = QGA_READY;
	if (q->on_up)
		q->on_up(q->arg);
}

static void input_line(struct qga *q, const char *line, size_t n)
{
	struct err e;
	json_t *j = qmp_json_parse(line, n, &e);

	if (q->state == QGA_SYNCING && j)
		input_sync(q, j);
	else if (q->state == QGA_READY && j)
		input_answer(q, j);
	else if (q->state == QGA_READY)
		go_down(q, EPROTO, e.msg);
	json_decref(j);
}

/* All up to the last delimiter is not ours. True: what follows may be. */
static bool skip_to_delimiter(struct qga *q, struct evbuffer *in)
{
	struct evbuffer_ptr at = evbuffer_search(in, "\xff", 1, NULL);

	if (at.pos < 0) {
		if (!q->delimited)
			evbuffer_drain(in, evbuffer_get_length(in));
		return q->delimited;
	}
	while (at.pos >= 0) {
		evbuffer_drain(in, (size_t)at.pos + 1);
		q->scanned = 0;
		at = evbuffer_search(in, "\xff", 1, NULL);
	}
	q->delimited = true;
	return true;
}

static void too_long(struct qga *q, size_t max)
{
	char why[64];

	snprintf(why, sizeof(why), "it sent more than %zu KiB without a line end", max >> 10);
	go_down(q, EMSGSIZE, why);
}

static void on_socket_read(struct bufferevent *bev, void *arg)
{
	struct qga *q = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t n, max;
	char *line;

	hold(q);
	while (q->bev == bev && (q->state != QGA_SYNCING || skip_to_delimiter(q, in)) &&
		(line = line_take(in, &q->scanned, &n))) {
		if (n > 1)
			input_line(q, line, n);
		free(line);
	}
	max = q->state == QGA_SYNCING ? SYNC_MAX : ANSWER_MAX;
	if (q->bev == bev && evbuffer_get_length(in) > max)
		too_long(q, max);
	drop(q);
}

static void on_socket_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		go_down(arg, EPIPE, "QEMU closed its channel");
}

/* ---- looking for it ---- */

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
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static void look(struct qga *q)
{
	json_t *args;
	int fd = socket_connect(q->path), rc;

	if (fd < 0) {
		timer_set(q, LOOK_MS);
		return;
	}
	q->bev = bufferevent_socket_new(q->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!q->bev) {
		close(fd);
		timer_set(q, LOOK_MS);
		return;
	}
	q->state = QGA_SYNCING;
	q->delimited = false;
	q->scanned = 0;
	q->sync++;
	bufferevent_setcb(q->bev, on_socket_read, NULL, on_socket_event, q);
	bufferevent_enable(q->bev, EV_READ | EV_WRITE);
	args = json_pack("{s:I}", "id", q->sync);
	rc = args ? write_line(q, true, "guest-sync-delimited", args) : -ENOMEM;
	json_decref(args);
	if (rc)
		go_down(q, ENOMEM, "out of memory");
	else
		timer_set(q, SYNC_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct qga *q = arg;

	(void)fd, (void)what;
	if (q->state == QGA_DOWN)
		look(q);
	else
		go_down(q, ETIMEDOUT, "it does not answer");
}

void qga_poke(struct qga *q)
{
	if (q->state == QGA_DOWN)
		timer_set(q, 0);
}

void qga_gone(struct qga *q)
{
	if (q->state != QGA_DOWN)
		go_down(q, EPIPE, "it has closed its port");
}

bool qga_ready(const struct qga *q)
{
	return q->state == QGA_READY && !q->freed;
}

struct qga *qga_new(struct event_base *base, const char *path, void (*on_up)(void *arg), void *arg)
{
	struct qga *q = calloc(1, sizeof(*q));

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
	q->on_up = on_up;
	q->arg = arg;
	q->sync = (json_int_t)getpid() << 20; /* not those of an earlier policyd */
	TAILQ_INIT(&q->cmds);
	return q;
}

void qga_free(struct qga *q)
{
	if (!q || q->freed)
		return;
	q->freed = true;
	hold(q);
	go_down(q, ECANCELED, "cancelled");
	event_del(q->timer);
	drop(q);
}
