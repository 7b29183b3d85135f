/* Running an operator's hook: see hooks.h. Its own process group, so that a time limit ends its children too; stdout and stderr come through one
 * pipe; it is over when it has exited, even if a child of it keeps the pipe open. */
#include "policyd/act/hooks.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct hook {
	struct policyd *p;
	char name[16], path[SPEC_PATH_MAX];
	pid_t pid;
	int pidfd, out_fd;
	struct event *ev_exit, *ev_out, *ev_time;
	bool timed_out;
	char output[HOOK_OUTPUT_MAX + 1];
	size_t n_output;
	hook_done_fn *done;
	void *arg;
};

static void hook_free(struct hook *h)
{
	struct event **evs[] = {&h->ev_exit, &h->ev_out, &h->ev_time};

	for (unsigned i = 0; i < 3; i++)
		if (*evs[i])
			event_free(*evs[i]);
	if (h->pidfd >= 0)
		close(h->pidfd);
	if (h->out_fd >= 0)
		close(h->out_fd);
	free(h);
}

/* All that is there; the newest is kept when there is more than fits. */
static void take_output(struct hook *h)
{
	char buf[1024];
	ssize_t n;

	for (int turns = 0; turns < 64 && (n = read(h->out_fd, buf, sizeof(buf))) > 0; turns++) {
		if (h->n_output + (size_t)n > HOOK_OUTPUT_MAX) {
			size_t drop = h->n_output + (size_t)n - HOOK_OUTPUT_MAX;

			memmove(h->output, h->output + drop, h->n_output - drop);
			h->n_output -= drop;
		}
		memcpy(h->output + h->n_output, buf, (size_t)n);
		h->n_output += (size_t)n;
		h->output[h->n_output] = 0;
	}
	if (n == 0 && h->ev_out) {
		event_free(h->ev_out);
		h->ev_out = NULL;
	}
}

static void on_pipe_output(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take_output(arg);
}

static void last_line(const struct hook *h, char out[160])
{
	size_t end = h->n_output, start;

	while (end > 0 && (h->output[end - 1] == '\n' || h->output[end - 1] == '\r'))
		end--;
	for (start = end; start > 0 && h->output[start - 1] != '\n'; start--)
		;
	snprintf(out, 160, "%.*s", (int)(end - start > 150 ? 150 : end - start), h->output + start);
}

static void judge(const struct hook *h, const siginfo_t *si, struct err *e)
{
	char said[160];

	memset(e, 0, sizeof(*e));
	last_line(h, said);
	if (h->timed_out)
		err_set(e, ETIMEDOUT,
			"%s hook %s took too long and was ended; see what it waits for (a cluster's hooks: or raise its timeout): "
			"%s",
			h->name, h->path, said);
	else if (si->si_code != CLD_EXITED)
		err_set(e, EIO, "%s hook %s was killed by signal %d", h->name, h->path, si->si_status);
	else if (si->si_status == HOOK_RETRY)
		err_set(e, EAGAIN, "%s hook %s says not now: %s", h->name, h->path, said);
	else if (si->si_status)
		err_set(e, ECONNREFUSED, "%s hook %s refused (exit status %d): %s", h->name, h->path, si->si_status,
			said);
}

static void on_pidfd_exit(evutil_socket_t fd, short what, void *arg)
{
	struct hook *h = arg;
	siginfo_t si = {0};
	struct err e;

	(void)what;
	waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG);
	take_output(h);
	judge(h, &si, &e);
	h->done(h->arg, h->output, &e);
	hook_free(h);
}

static void on_timer_limit(evutil_socket_t fd, short what, void *arg)
{
	struct hook *h = arg;

	(void)fd;
	(void)what;
	h->timed_out = true;
	kill(-h->pid, SIGKILL); /* its group; not reaped yet, so the number is still its own */
}

/* The child's part, where only what is safe after a fork of a program with threads may be called. It leads a group of its own, and it ends with
 * policyd: what a dead policyd began must not act any more when the next one has put the node back. */
static void __attribute__((noreturn)) hook_exec(const char *path, char **envp, int out, int report, pid_t parent)
{
	char *argv[] = {(char *)path, NULL};
	sigset_t none;
	int null, why;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	null = open("/dev/null", O_RDONLY);
	if (getppid() == parent && null >= 0 && dup2(null, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0)
		execve(path, argv, envp);
	why = errno;
	if (write(report, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

/* 0 when it runs; -errno of what kept it from that. */
static int hook_fork(struct hook *h, const char *path, char **envp, int out)
{
	pid_t parent = getpid();
	int report[2], why = 0;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	h->pid = fork();
	if (h->pid == 0)
		hook_exec(path, envp, out, report[1], parent);
	if (h->pid < 0)
		why = errno;
	close(report[1]);
	if (h->pid > 0 && read(report[0], &why, sizeof(why)) > 0) /* its exec closes the pipe */
		waitpid(h->pid, NULL, 0);
	close(report[0]);
	return -why;
}

static int hook_spawn(struct hook *h, const struct hook_conf *c, int out)
{
	char env[8][SPEC_PATH_MAX], *envp[10];
	unsigned n = 0;

	snprintf(env[n++], sizeof(env[0]), "BALLAST_HOOK=%s", c->name);
	snprintf(env[n++], sizeof(env[0]), "BALLAST_DOMAIN=%s", c->domain);
	snprintf(env[n++], sizeof(env[0]), "BALLAST_UUID=%s", c->uuid);
	snprintf(env[n++], sizeof(env[0]), "BALLAST_CLUSTER=%s", c->cluster);
	snprintf(env[n++], sizeof(env[0]), "BALLAST_SOURCE=%s", c->source);
	snprintf(env[n++], sizeof(env[0]), "BALLAST_TARGET=%s", c->target);
	snprintf(env[n++], sizeof(env[0]), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	for (unsigned i = 0; i < n; i++)
		envp[i] = env[i];
	envp[n] = NULL;
	return hook_fork(h, c->path, envp, out);
}

static int hook_watch(struct hook *h, unsigned timeout_ms)
{
	struct timeval tv = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};
	struct event_base *base = h->p->base;

	h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	if (h->pidfd < 0)
		return -errno;
	fcntl(h->pidfd, F_SETFD, FD_CLOEXEC);
	h->ev_exit = event_new(base, h->pidfd, EV_READ, on_pidfd_exit, h);
	h->ev_out = event_new(base, h->out_fd, EV_READ | EV_PERSIST, on_pipe_output, h);
	h->ev_time = evtimer_new(base, on_timer_limit, h);
	if (!h->ev_exit || !h->ev_out || !h->ev_time || event_add(h->ev_exit, NULL) < 0 ||
		event_add(h->ev_out, NULL) < 0)
		return -ENOMEM;
	return evtimer_add(h->ev_time, &tv) < 0 ? -ENOMEM : 0;
}

int hook_run(const struct hook_conf *conf, hook_done_fn *done, void *arg, struct hook **out, struct err *e)
{
	struct hook *h = calloc(1, sizeof(*h));
	int fds[2], r;

	if (!h)
		return err_set(e, ENOMEM, "out of memory");
	h->p = conf->p;
	h->pidfd = h->out_fd = -1;
	h->done = done;
	h->arg = arg;
	snprintf(h->name, sizeof(h->name), "%s", conf->name);
	snprintf(h->path, sizeof(h->path), "%s", conf->path);
	if (pipe2(fds, O_CLOEXEC) < 0) {
		r = -errno;
		hook_free(h);
		return err_set(e, -r, "%s hook: %s", conf->name, strerror(-r));
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	h->out_fd = fds[0];
	r = hook_spawn(h, conf, fds[1]);
	close(fds[1]);
	if (!r) {
		r = hook_watch(h, conf->timeout_ms);
		if (r < 0)
			hook_cancel(h);
		h = r < 0 ? NULL : h;
	}
	if (r < 0) {
		if (h)
			hook_free(h);
		return err_set(e, -r, "%s hook %s cannot be started: %s", conf->name, conf->path, strerror(-r));
	}
	*out = h;
	return 0;
}

void hook_cancel(struct hook *h)
{
	if (!h)
		return;
	kill(-h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0); /* killed: it is there at once */
	hook_free(h);
}
