/* policyd: options, start-up in order, signals, the loop, stopping in order. Guests are never touched by any of it. */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policyd/policies.h"
#include "policyd/act/brain.h"
#include "policyd/act/cpu_group.h"
#include "policyd/act/boost.h"
#include "policyd/act/host_power.h"
#include "policyd/act/maintain.h"
#include "policyd/act/forecast.h"
#include "policyd/act/job.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/adopt.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster.h"
#include "policyd/dom.h"
#include "policyd/kept.h"

#define DEFAULT_CONF "/etc/policyd/policyd.cfg"
#define LOCK_WAIT_MS 3000 /* for what a killed policyd left behind */

static void usage(FILE *f)
{
	fprintf(f,
		"usage: policyd [-n] [-d] [-f FILE]\n"
		"  -f FILE    configuration (default " DEFAULT_CONF ")\n"
		"  -n         only check the configuration: mistakes, and warnings of what is hardly meant\n"
		"  -d         log more\n"
		"  --version  print the version\n"
		"Runs in the foreground and logs to stderr. SIGTERM stops policyd and leaves guests running; SIGHUP reads the configuration again.\n");
}

/* ---- start-up ---- */

static void print_mistakes(const struct conf_mistakes *m)
{
	for (size_t i = 0; i < m->n; i++)
		fprintf(stderr, "%s\n", m->v[i]);
	fprintf(stderr, "%zu mistake%s; nothing was changed\n", m->n, m->n == 1 ? "" : "s");
}

/* What is allowed and yet hardly meant. Their number. */
static size_t print_warnings(const char *path)
{
	struct conf_mistakes w;
	size_t n;

	if (conf_lint(path, &w))
		return 0;
	n = w.n;
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", w.v[i]);
	conf_mistakes_fini(&w);
	return n;
}

/* mkdir -p */
static int make_folder(const char *path, const char *key, struct err *e)
{
	char part[SPEC_PATH_MAX];

	for (size_t i = 1; path[i - 1]; i++) {
		if (path[i] && path[i] != '/')
			continue;
		snprintf(part, i + 1 < sizeof(part) ? i + 1 : sizeof(part), "%s", path);
		if (mkdir(part, 0755) && errno != EEXIST)
			return err_set(e, errno, "%s: %s cannot be made: %s", key, part, strerror(errno));
	}
	return 0;
}

/* Take the lock of fd, whose holder is said to be pid (0: not known): waited for only while that holder is gone. A policyd that
 * was killed while it started a QEMU leaves a child between spawn and exec, which holds its locks until then. */
static int take_lock(int fd, pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB); ms += 10) {
		if (errno != EWOULDBLOCK || ms >= LOCK_WAIT_MS || (pid > 0 && !kill(pid, 0)))
			return -1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* One policyd a folder, for run and state with its pid in a file (guests' memory folder has nothing but guests' memory in it). */
static int lock_folder(int *fd, const char *key, const char *folder, bool file, struct err *e)
{
	char path[SPEC_PATH_MAX + 16], pid[32] = "";
	ssize_t n = 0;

	snprintf(path, sizeof(path), "%s%s", folder, file ? "/policyd.lock" : "");
	*fd = file ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return err_set(e, errno, "%s: %s cannot be written: %s; correct %s in policyd.cfg or its permissions",
			key, folder, strerror(errno), key);
	if (file)
		n = pread(*fd, pid, sizeof(pid) - 1, 0);
	if (take_lock(*fd, atoi(pid)))
		return err_set(e, EBUSY,
			"another policyd%s%.*s%s manages %s already; stop that one first, or give this one another %s",
			n > 0 ? " (pid " : "", n > 0 ? (int)strcspn(pid, "\n") : 0, pid, n > 0 ? ")" : "", folder, key);
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (file && (ftruncate(*fd, 0) || pwrite(*fd, pid, strlen(pid), 0) < 0))
		return err_set(e, errno, "%s: %s cannot be written: %s; make room there or correct %s in policyd.cfg",
			key, path, strerror(errno), key);
	return 0;
}

static int lock_folders(struct policyd *p, struct err *e)
{
	const struct host_paths *paths = &p->conf->host.paths;
	int rc = lock_folder(&p->lock_fd[0], "paths.run", paths->run, true, e);

	if (!rc)
		rc = lock_folder(&p->lock_fd[1], "paths.state", paths->state, true, e);
	if (!rc)
		rc = lock_folder(&p->lock_fd[2], "paths.ram", paths->ram, false, e);
	return rc;
}

static int open_store(struct policyd *p, struct err *e)
{
	char path[SPEC_PATH_MAX + 16];
	struct store_conf sc = {.path = path};

	snprintf(path, sizeof(path), "%s/policyd.db", p->conf->host.paths.state);
	return store_open(p->base, &sc, &p->store, e);
}

static int start_all(struct policyd *p, struct err *e)
{
	const struct host_paths *paths = &p->conf->host.paths;
	int rc = make_folder(paths->run, "paths.run", e);

	if (!rc)
		rc = make_folder(paths->state, "paths.state", e);
	if (!rc)
		rc = make_folder(paths->ram, "paths.ram", e);
	if (!rc)
		rc = lock_folders(p, e);
	if (!rc)
		rc = open_store(p, e);
	if (!rc)
		rc = policies_start(p, e);
	if (!rc)
		rc = kept_start(p, e);
	if (!rc)
		rc = forecast_start(p, e);
	if (!rc)
		rc = brain_start(p, e);
	if (!rc)
		rc = qemu_probe_start(p, e);
	if (!rc)
		rc = maintain_start(p, e);
	if (!rc)
		rc = host_power_start(p, e);
	if (!rc)
		rc = cluster_start(p, e);
	if (!rc)
		rc = adopt_start(p, e);
	if (!rc) {
		cpu_group_sweep(p);
		boost_sweep(p);
		rc = control_start(p, e);
	}
	return rc;
}

/* ---- signals ---- */

static void on_signal_stop(evutil_socket_t sig, short what, void *arg)
{
	struct policyd *p = arg;

	(void)what;
	plog(p, "%s: stopping; guests run on", strsignal((int)sig));
	p->stopping = true;
	event_base_loopbreak(p->base);
}

static void on_signal_reload(evutil_socket_t sig, short what, void *arg)
{
	struct policyd *p = arg;
	struct conf_mistakes m = {0};

	(void)sig, (void)what;
	if (!policyd_reload(p, &m))
		return;
	for (size_t i = 0; i < m.n; i++)
		plog(p, "%s", m.v[i]);
	plog(p, "%zu mistake%s; nothing was changed", m.n, m.n == 1 ? "" : "s");
	conf_mistakes_fini(&m);
}

struct signals {
	struct event *ev[3];
};

static int signals_start(struct policyd *p, struct signals *s, struct err *e)
{
	signal(SIGPIPE, SIG_IGN);
	s->ev[0] = evsignal_new(p->base, SIGTERM, on_signal_stop, p);
	s->ev[1] = evsignal_new(p->base, SIGINT, on_signal_stop, p);
	s->ev[2] = evsignal_new(p->base, SIGHUP, on_signal_reload, p);
	for (int i = 0; i < 3; i++)
		if (!s->ev[i] || evsignal_add(s->ev[i], NULL))
			return err_set(e, ENOMEM, "no memory for signals");
	return 0;
}

/* ---- stopping ---- */

static void stop_all(struct policyd *p)
{
	struct dom *d, *next;

	p->stopping = true;
	TAILQ_FOREACH(d, &p->doms, link)
		if (d->job)
			job_abandon(d->job);
	jobs_reap(p);
	brain_stop(p);
	host_power_stop(p);
	forecast_stop(p);
	adopt_free(p);
	if (p->store)
		store_flush(p->store);
	qemu_probe_stop(p);
	cluster_stop(p);
	store_close(p->store);
	policies_stop(p);
	kept_stop(p);
	maintain_stop(p);
	control_stop(p);
	for (d = TAILQ_FIRST(&p->doms); d; d = next) {
		next = TAILQ_NEXT(d, link);
		dom_free(d);
	}
	for (int i = 0; i < 3; i++)
		if (p->lock_fd[i] >= 0)
			close(p->lock_fd[i]);
}

static int run(struct policyd *p)
{
	struct signals sig = {0};
	struct err e = {0};
	int rc;

	p->base = event_base_new();
	rc = p->base ? signals_start(p, &sig, &e) : err_set(&e, ENOMEM, "no memory");
	if (!rc)
		rc = start_all(p, &e);
	if (rc)
		plog(p, "%s", err_msg(&e));
	else if (!p->stopping)
		event_base_dispatch(p->base);
	stop_all(p);
	for (int i = 0; i < 3; i++)
		if (sig.ev[i])
			event_free(sig.ev[i]);
	if (p->base)
		event_base_free(p->base);
	libevent_global_shutdown();
	return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct policyd p = {.conf_path = DEFAULT_CONF, .lock_fd = {-1, -1, -1}};
	struct conf_mistakes m = {0};
	bool check_only = false;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "f:ndh", longs, NULL)) != -1) {
		switch (opt) {
		case 'f':
			snprintf(p.conf_path, sizeof(p.conf_path), "%s", optarg);
			break;
		case 'n':
			check_only = true;
			break;
		case 'd':
			p.debug = true;
			break;
		case 'V':
			printf("policyd %s\n", POLICYD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "policyd: \"%s\" is one word too many; the configuration is given with -f FILE\n",
			argv[optind]);
		usage(stderr);
		return 2;
	}
	TAILQ_INIT(&p.doms);
	TAILQ_INIT(&p.ended);
	json_object_seed(0);
	setvbuf(stderr, NULL, _IOLBF, 0);
	p.started_ms = now_wall_ms();
	if (conf_load(p.conf_path, &p.conf, &m)) {
		if (check_only)
			print_warnings(p.conf_path);
		print_mistakes(&m);
		conf_mistakes_fini(&m);
		return 1;
	}
	assert(p.conf);
	if (check_only) {
		size_t n = print_warnings(p.conf_path);

		printf("%s: no mistakes, %zu warning%s: host %s, %u policies, %u clusters, %u peers\n", p.conf_path, n,
			n == 1 ? "" : "s", p.conf->host.host_name, p.conf->n_policies, p.conf->n_clusters,
			p.conf->n_peers);
		conf_free(p.conf);
		return 0;
	}
	rc = run(&p);
	conf_free(p.conf);
	return rc;
}
