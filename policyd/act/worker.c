/* Worker processes: see worker.h. The end is the end of both the process (pidfd) and its socket, so that no line is lost; whichever comes first
 * waits for the other, a process that closed its socket and hangs is killed. */
#include "policyd/act/worker.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/services.h"
#include "policyd/act/boost.h"

#define LINGER_MS 15000 /* between the end of its socket and its own */

struct worker {
	struct policyd *p;
	const struct worker_ops *ops;
	void *arg;
	pid_t pid;
	int pidfd;
	struct event *ev_exit, *ev_linger, *ev_silence;
	unsigned silence_ms;
	struct bufferevent *bev;
	bool exited, eof, flooded;
	unsigned depth;
	bool freed;
	json_t *done;
	char how[160];
	char pid_path[SPEC_PATH_MAX];
	struct boost *boost; /* NULL: nothing to take back */
};

static void worker_free(struct worker *w)
{
	if (w->bev)
		bufferevent_free(w->bev);
	w->bev = NULL;
	if (w->ev_exit)
		event_free(w->ev_exit);
	if (w->ev_linger)
		event_free(w->ev_linger);
	if (w->ev_silence)
		event_free(w->ev_silence);
	w->ev_exit = w->ev_linger = w->ev_silence = NULL;
	if (w->pidfd >= 0)
		close(w->pidfd);
	w->pidfd = -1;
	json_decref(w->done);
	w->done = NULL;
	if (w->exited)
		boost_end(w->boost);
	else
		boost_leave(w->boost);
	w->boost = NULL;
	w->freed = true;
	if (!w->depth)
		free(w);
}

static void worker_enter(struct worker *w)
{
	w->depth++;
}

static void worker_exit(struct worker *w)
{
	if (--w->depth == 0 && w->freed)
		free(w);
}

static void worker_maybe_end(struct worker *w)
{
	if (w->freed || !w->exited || !w->eof)
		return;
	if (w->pid_path[0])
		unlink(w->pid_path);
	worker_enter(w);
	if (w->ops)
		w->ops->on_end(w->arg, w->done, w->how);
	if (!w->freed)
		worker_free(w);
	worker_exit(w);
}

const char *worker_line_parse(const char *line, size_t len, json_t **root_out, struct err *e)
{
	json_error_t je;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
	const char *event = json_string_value(json_object_get(root, "event"));

	if (!root) {
		err_set(e, EPROTO, "the worker wrote a line that is not JSON (%s)", je.text);
		return NULL;
	}
	if (!event) {
		err_set(e, EPROTO, "the worker wrote a line without an event");
		json_decref(root);
		return NULL;
	}
	*root_out = root;
	return event;
}

static void worker_take_line(struct worker *w, const char *line, size_t len)
{
	json_t *root = NULL;
	struct err e;
	const char *event = worker_line_parse(line, len, &root, &e);

	if (!event) {
		plog(w->p, "policyd-migrate (pid %d): %s", (int)w->pid, e.msg);
		return;
	}
	plog_debug(w->p, "policyd-migrate (pid %d): %.*s", (int)w->pid, (int)len, line);
	worker_guard(w, w->silence_ms);
	if (!strcmp(event, "done")) {
		json_decref(w->done);
		w->done = json_incref(root);
	} else if (w->ops) {
		w->ops->on_event(w->arg, w, event, root);
	}
	json_decref(root);
}

static void on_bev_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct worker *w = arg;
	size_t len;
	char *line;

	if (w->flooded) {
		evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	worker_enter(w);
	while (!w->freed && (line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF))) {
		worker_take_line(w, line, len);
		free(line);
	}
	if (!w->freed && evbuffer_get_length(in) >= WORKER_LINE_MAX) {
		plog(w->p, "policyd-migrate (pid %d): a line over %u bytes; killed", (int)w->pid, WORKER_LINE_MAX);
		w->flooded = true;
		evbuffer_drain(in, evbuffer_get_length(in));
		worker_kill(w);
	}
	worker_exit(w);
}

static void on_bev_event(struct bufferevent *bev, short what, void *arg)
{
	struct timeval tv = {LINGER_MS / 1000, 0};
	struct worker *w = arg;

	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) || w->eof)
		return;
	worker_enter(w);
	w->eof = true;
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	if (!w->exited)
		evtimer_add(w->ev_linger, &tv);
	worker_maybe_end(w);
	worker_exit(w);
}

static void on_timer_linger(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	plog(w->p, "policyd-migrate (pid %d) said all it had to say and does not end; killed", (int)w->pid);
	worker_kill(w);
}

static void on_timer_silence(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	plog(w->p, "policyd-migrate (pid %d) has said nothing for %u s; killed", (int)w->pid, w->silence_ms / 1000);
	worker_kill(w);
}

static void on_pidfd_exit(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	siginfo_t si = {0};

	(void)what;
	if (waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
		si.si_code = 0;
	if (si.si_code == CLD_KILLED || si.si_code == CLD_DUMPED)
		snprintf(w->how, sizeof(w->how), "policyd-migrate (pid %d) was killed by signal %d (%s)", (int)w->pid,
			si.si_status, strsignal(si.si_status));
	else
		snprintf(w->how, sizeof(w->how), "policyd-migrate (pid %d) ended with status %d without an outcome",
			(int)w->pid, si.si_status);
	event_free(w->ev_exit);
	w->ev_exit = NULL;
	w->exited = true;
	worker_maybe_end(w);
}

/* The child: our end of the pair as 3, the log as stderr, nothing else of ours (all is close-on-exec). */
static int worker_spawn(const char *path, const char *verb, int sock, int log_fd, pid_t *pid_out)
{
	char fd_arg[] = "--fd", three[] = "3";
	char *argv[] = {(char *)path, (char *)verb, fd_arg, three, NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setsigdefault(&at, &all);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (log_fd >= 0) {
		posix_spawn_file_actions_adddup2(&fa, log_fd, 2);
		posix_spawn_file_actions_adddup2(&fa, log_fd, 1);
	}
	posix_spawn_file_actions_adddup2(&fa, sock, 3);
	r = posix_spawn(pid_out, path, &fa, &at, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return -r;
}

static uint64_t start_time_of(pid_t pid)
{
	char path[64], buf[1024], *s;
	uint64_t t = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	s = strrchr(buf, ')');
	for (int i = 0; s && i < 20; i++)
		s = strchr(s + 1, ' ');
	if (s)
		t = strtoull(s + 1, NULL, 10);
	return t;
}

static void write_pid_file(struct worker *w, const char *domain)
{
	FILE *f;

	if (rundir_path(&w->p->conf->host, domain, "worker.pid", w->pid_path, NULL) < 0)
		return;
	f = fopen(w->pid_path, "we");
	if (!f) {
		w->pid_path[0] = 0;
		return;
	}
	fprintf(f, "%d %llu\n", (int)w->pid, (unsigned long long)start_time_of(w->pid));
	fclose(f);
}

int worker_find_left(struct policyd *p, const char *domain)
{
	char path[SPEC_PATH_MAX];
	unsigned long long start = 0;
	int pid = 0, pidfd;
	FILE *f;

	if (rundir_path(&p->conf->host, domain, "worker.pid", path, NULL) < 0 || !(f = fopen(path, "re")))
		return -ENOENT;
	if (fscanf(f, "%d %llu", &pid, &start) != 2)
		pid = 0;
	fclose(f);
	if (pid <= 1)
		return -ENOENT;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0 && start && start_time_of(pid) == start) {
		fcntl(pidfd, F_SETFD, FD_CLOEXEC);
		return pidfd;
	}
	if (pidfd >= 0)
		close(pidfd);
	unlink(path);
	return -ENOENT;
}

static int worker_open_log(const struct worker_conf *conf)
{
	char path[SPEC_PATH_MAX];

	if (!conf->domain || rundir_path(&conf->p->conf->host, conf->domain, "worker.log", path, NULL) < 0)
		return -1;
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int worker_watch(struct worker *w, int *sock)
{
	w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	if (w->pidfd < 0)
		return -errno;
	fcntl(w->pidfd, F_SETFD, FD_CLOEXEC);
	w->ev_exit = event_new(w->p->base, w->pidfd, EV_READ, on_pidfd_exit, w);
	w->ev_linger = evtimer_new(w->p->base, on_timer_linger, w);
	w->ev_silence = evtimer_new(w->p->base, on_timer_silence, w);
	w->bev = bufferevent_socket_new(w->p->base, *sock, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!w->ev_exit || !w->ev_linger || !w->ev_silence || !w->bev || event_add(w->ev_exit, NULL) < 0)
		return -ENOMEM;
	*sock = -1;
	bufferevent_setwatermark(w->bev, EV_READ, 0, WORKER_LINE_MAX + 1);
	bufferevent_setcb(w->bev, on_bev_read, NULL, on_bev_event, w);
	return bufferevent_enable(w->bev, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

int worker_start(const struct worker_conf *conf, struct worker **out, struct err *e)
{
	const char *path = conf->p->conf->host.paths.worker;
	struct worker *w = calloc(1, sizeof(*w));
	int sv[2] = {-1, -1}, log_fd = worker_open_log(conf), r = -ENOMEM;

	if (!w || !conf->start)
		goto out;
	w->p = conf->p;
	w->ops = conf->ops;
	w->arg = conf->arg;
	w->pidfd = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0) {
		r = -errno;
		goto out;
	}
	fcntl(sv[1], F_SETFL, 0); /* the worker's end blocks, as it expects */
	r = worker_spawn(path, conf->verb, sv[1], log_fd, &w->pid);
	if (r < 0)
		goto out;
	if (!strcmp(conf->verb, "run"))
		w->boost = boost_begin(w->p, conf->domain ? conf->domain : "worker", w->pid);
	r = worker_watch(w, &sv[0]);
	if (!r)
		r = worker_send(w, json_incref(conf->start));
	if (r < 0) {
		kill(w->pid, SIGKILL); /* a child of ours that nobody has waited for: the pid is its own */
		waitpid(w->pid, NULL, 0);
		w->exited = true;
		goto out;
	}
	if (conf->domain && !strcmp(conf->verb, "run"))
		write_pid_file(w, conf->domain);
	*out = w;
	w = NULL;
out:
	if (r < 0)
		err_set(e, -r, "cannot start %s: %s", path, strerror(-r));
	for (int i = 0; i < 2; i++)
		if (sv[i] >= 0)
			close(sv[i]);
	if (log_fd >= 0)
		close(log_fd);
	json_decref(conf->start);
	if (w)
		worker_free(w);
	return r;
}

int worker_send(struct worker *w, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	json_decref(line);
	if (text) {
		r = w->eof || bufferevent_write(w->bev, text, strlen(text)) < 0 ||
				bufferevent_write(w->bev, "\n", 1) < 0
			? -EPIPE
			: 0;
		free(text);
	}
	return r;
}

void worker_kill(struct worker *w)
{
	if (w && w->pidfd >= 0 && !w->exited)
		syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
}

void worker_guard(struct worker *w, unsigned silence_ms)
{
	struct timeval tv = {silence_ms / 1000, (silence_ms % 1000) * 1000};

	if (!w)
		return;
	w->silence_ms = silence_ms;
	if (silence_ms)
		evtimer_add(w->ev_silence, &tv);
	else
		evtimer_del(w->ev_silence);
}

void worker_leave(struct worker *w)
{
	if (w)
		worker_free(w);
}

void worker_discard(struct worker *w)
{
	if (!w)
		return;
	w->ops = NULL;
	worker_kill(w);
}

pid_t worker_pid(const struct worker *w)
{
	return w->pid;
}
