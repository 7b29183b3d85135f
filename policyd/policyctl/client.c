/* policyctl's side of the control socket: ask, follow events, answer. Blocking, one connection a request. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/conf.h"
#include "policyd/api/proto.h"
#include "policyd/policyctl/ctl.h"

const char *jstr(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

double jnum(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

void js_size(const json_t *o, const char *key, char out[24])
{
	double v = jnum(o, key);

	if (v < 0)
		snprintf(out, 24, "-");
	else
		size_format((uint64_t)v, out);
}

static int connect_to(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

static int send_all(int fd, const char *text)
{
	size_t n = strlen(text);
	ssize_t done;

	for (; n; text += done, n -= (size_t)done) {
		done = send(fd, text, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			done = 0;
		else if (done <= 0)
			return -1;
	}
	return 0;
}

/* @args is stolen */
static int send_request(int fd, const char *cmd, json_t *args)
{
	json_t *o = json_pack("{s:i, s:s, s:o}", "id", 1, "cmd", cmd, "args", args);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = -1;

	if (text)
		rc = send_all(fd, text) || send_all(fd, "\n");
	free(text);
	json_decref(o);
	return rc;
}

static volatile sig_atomic_t interrupted; /* a signal handler has no other place */

static void on_signal_interrupt(int sig)
{
	(void)sig;
	if (interrupted++)
		_exit(130);
}

static void catch_interrupt(void)
{
	struct sigaction sa = {.sa_handler = on_signal_interrupt}; /* no SA_RESTART: read returns */

	sigaction(SIGINT, &sa, NULL);
}

/* ^C while waiting: ask on a second connection, go on listening on the first. */
static void cancel_now(const struct ctl *c, const char *domain)
{
	int fd = connect_to(c->socket);
	char sink[4096];

	fprintf(stderr, "\ncancelling; ^C again leaves it to policyd\n");
	if (fd < 0)
		return;
	if (!send_request(fd, "cancel-operation", json_pack("{s:s}", "domain", domain)) &&
		read(fd, sink, sizeof(sink)) < 0)
		fprintf(stderr, "policyctl: %s\n", strerror(errno));
	close(fd);
}

static int fail(const json_t *answer)
{
	fprintf(stderr, "%s\n", jstr(answer, "error"));
	return !strcmp(jstr(answer, "code"), "usage") ? 2 : 1;
}

struct wait {
	struct ctl *c;
	int fd;
	struct lines lines;
	const char *cancel;
	bool cancelled;
};

/* The next line, or NULL at the end of the connection. */
static const char *next_line(struct wait *w, size_t *len)
{
	char chunk[65536];
	const char *line;
	ssize_t n;

	while ((line = lines_next(&w->lines, len)) == NULL) {
		n = read(w->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR) {
			if (w->cancel && interrupted && !w->cancelled) {
				w->cancelled = true;
				cancel_now(w->c, w->cancel);
			}
			continue;
		}
		if (n <= 0 || lines_feed(&w->lines, chunk, (size_t)n))
			return NULL;
	}
	return line;
}

static int follow(struct wait *w, ctl_event_fn *on_event, void *arg, json_t **result_out)
{
	const char *line;
	json_t *o;
	size_t len;
	int rc;

	while ((line = next_line(w, &len)) != NULL) {
		o = json_loadb(line, len, 0, NULL);
		if (json_object_get(o, "event")) {
			if (on_event)
				on_event(arg, o);
			json_decref(o);
			continue;
		}
		rc = json_is_true(json_object_get(o, "ok")) ? 0 : fail(o);
		if (!rc)
			*result_out = json_incref(json_object_get(o, "result"));
		json_decref(o);
		return rc;
	}
	fprintf(stderr,
		"policyctl: policyd went away before it answered; policyctl list -o status shows what is under way\n");
	return 1;
}

int ctl_ask(struct ctl *c, const char *cmd, json_t *args, ctl_event_fn *on_event, void *arg, const char *cancel,
	json_t **result_out)
{
	struct wait w = {.c = c, .cancel = cancel, .fd = connect_to(c->socket)};
	int rc;

	if (w.fd < 0) {
		if (errno == EACCES || errno == EPERM)
			fprintf(stderr, "policyctl: you may not use %s; root may, and who is in its group\n",
				c->socket);
		else
			fprintf(stderr,
				"policyctl: no policyd answers at %s: %s; is it running? (-s SOCKET or POLICYD_SOCKET says where)\n",
				c->socket, strerror(errno));
		json_decref(args);
		return 1;
	}
	if (cancel)
		catch_interrupt();
	if (send_request(w.fd, cmd, args)) {
		fprintf(stderr, "policyctl: %s: %s\n", c->socket, strerror(errno));
		rc = 1;
	} else {
		rc = follow(&w, on_event, arg, result_out);
	}
	close(w.fd);
	lines_fini(&w.lines);
	return rc;
}

bool ctl_get(struct ctl *c, const char *cmd, json_t *args, json_t **result_out, int *done_out)
{
	*done_out = ctl_ask(c, cmd, args, NULL, NULL, NULL, result_out);
	if (*done_out)
		return false;
	if (!c->json)
		return true;
	json_dumpf(*result_out, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	json_decref(*result_out);
	return false;
}
