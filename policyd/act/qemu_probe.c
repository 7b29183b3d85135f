/* See qemu_probe.h. The process is a child in <run>, where its monitor's socket is; its end, however it comes, ends the asking. */
#include "policyd/act/qemu_probe.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/qmp.h"
#include "policyd/cluster/cluster.h"

#define PROBE_MS 20000
#define SOCKET_LEAF "qemu-probe.sock"

enum { ASK_VERSION, ASK_MACHINES, ASK_DEFINITIONS, ASK_EXPANSION, ASK_COUNT };

struct qemu_probe {
	struct policyd *p;
	struct qemu_facts facts;
	bool known;
	char path[SPEC_PATH_MAX], sock[SPEC_PATH_MAX]; /* the program that was asked, and its accelerator */
	enum accel accel;
	struct volume_id id;
	/* while it is asked */
	pid_t pid; /* 0 = nobody is */
	int pidfd;
	struct event *ev_exit, *ev_time;
	struct qmp *qmp;
	json_t *answers[ASK_COUNT];
	unsigned n_answers;
};

static void asking_over(struct qemu_probe *q)
{
	qmp_free(q->qmp); /* what is outstanding is answered, and ignored, now */
	q->qmp = NULL;
	if (q->ev_exit)
		event_free(q->ev_exit);
	if (q->ev_time)
		event_free(q->ev_time);
	q->ev_exit = q->ev_time = NULL;
	if (q->pidfd >= 0)
		close(q->pidfd);
	q->pidfd = -1;
	q->pid = 0;
	for (unsigned i = 0; i < ASK_COUNT; i++)
		json_decref(q->answers[i]);
	memset(q->answers, 0, sizeof(q->answers));
	unlink(q->sock);
}

/* Ends at once: it is killed, and a child of ours that nobody has waited for. */
static void asking_cancel(struct qemu_probe *q)
{
	if (!q->pid)
		return;
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	asking_over(q);
}

static void on_pidfd_exit(evutil_socket_t fd, short what, void *arg)
{
	struct qemu_probe *q = arg;
	siginfo_t si;

	(void)what;
	waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG);
	if (!q->known)
		plog(q->p,
			"%s could not be asked for its version, machine types and CPU models: what it cannot run is found when it is started",
			q->path);
	asking_over(q);
}

static void on_timer_limit(evutil_socket_t fd, short what, void *arg)
{
	struct qemu_probe *q = arg;

	(void)fd;
	(void)what;
	kill(q->pid, SIGKILL); /* on_pidfd_exit follows */
}

/* ---- what is asked ------------------------------------------------------------------------------------------------- */

static void take(struct qemu_probe *q, unsigned which, const json_t *ret, const struct err *e)
{
	if (e->code == ECANCELED || e->code == EPIPE)
		return; /* it is over */
	q->answers[which] = json_incref((json_t *)ret);
	if (++q->n_answers < ASK_COUNT)
		return;
	qemu_facts_take(&q->facts, q->answers[ASK_VERSION], q->answers[ASK_MACHINES], q->answers[ASK_DEFINITIONS],
		q->answers[ASK_EXPANSION]);
	q->known = true;
	plog_debug(q->p, "%s is QEMU %s", q->path, q->facts.version);
	cluster_qemu_known(q->p);
	kill(q->pid, SIGKILL); /* it has nothing to lose */
}

static void on_qmp_version(void *arg, const json_t *ret, const struct err *e)
{
	take(arg, ASK_VERSION, ret, e);
}

static void on_qmp_machines(void *arg, const json_t *ret, const struct err *e)
{
	take(arg, ASK_MACHINES, ret, e);
}

static void on_qmp_definitions(void *arg, const json_t *ret, const struct err *e)
{
	take(arg, ASK_DEFINITIONS, ret, e);
}

static void on_qmp_expansion(void *arg, const json_t *ret, const struct err *e)
{
	take(arg, ASK_EXPANSION, ret, e);
}

static void on_qmp_ready(void *arg)
{
	struct qemu_probe *q = arg;

	if (q->n_answers)
		return;
	qmp_command(q->qmp, "query-version", NULL, 0, on_qmp_version, q);
	qmp_command(q->qmp, "query-machines", NULL, 0, on_qmp_machines, q);
	qmp_command(q->qmp, "query-cpu-definitions", NULL, 0, on_qmp_definitions, q);
	qmp_command(q->qmp, "query-cpu-model-expansion",
		json_pack("{s:s, s:{s:s}}", "type", "full", "model", "name", q->accel == ACCEL_KVM ? "host" : "max"), 0,
		on_qmp_expansion, q);
}

static const struct qmp_handlers handlers = {.on_ready = on_qmp_ready};

/* ---- starting it --------------------------------------------------------------------------------------------------- */

/* The child, between fork and exec. It ends with us: an orphan would wait for ever. */
static void probe_exec(const struct qemu_probe *q, const char *run, pid_t parent)
{
	char accel[32], sock[64]; /* @sock is in @run, where it is started */
	const char *argv[] = {q->path, "-nodefaults", "-no-user-config", "-display", "none", "-S", "-machine", accel,
		"-qmp", sock, NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	snprintf(sock, sizeof(sock), "unix:%s,server=on,wait=off", SOCKET_LEAF);
	snprintf(accel, sizeof(accel), "none,accel=%s", q->accel == ACCEL_KVM ? "kvm" : "tcg");
	sigemptyset(&none);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || chdir(run) != 0 || null < 0)
		return;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(q->path, (char **)argv);
}

static int probe_spawn(struct qemu_probe *q, const char *run)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		probe_exec(q, run, parent);
		_exit(127);
	}
	q->pid = pid;
	return 0;
}

static int probe_watch(struct qemu_probe *q)
{
	struct timeval tv = {PROBE_MS / 1000, 0};
	struct event_base *base = q->p->base;

	q->pidfd = (int)syscall(SYS_pidfd_open, q->pid, 0);
	if (q->pidfd < 0)
		return -errno;
	fcntl(q->pidfd, F_SETFD, FD_CLOEXEC);
	q->ev_exit = event_new(base, q->pidfd, EV_READ, on_pidfd_exit, q);
	q->ev_time = evtimer_new(base, on_timer_limit, q);
	q->qmp = qmp_new(base, q->sock, true, &handlers, q);
	if (!q->ev_exit || !q->ev_time || !q->qmp || event_add(q->ev_exit, NULL) || evtimer_add(q->ev_time, &tv))
		return -ENOMEM;
	return 0;
}

static void probe_ask(struct qemu_probe *q)
{
	const struct host_services *h = &q->p->conf->host;
	int r;

	asking_cancel(q);
	q->known = false;
	q->n_answers = 0;
	q->accel = h->accel;
	snprintf(q->path, sizeof(q->path), "%s", h->paths.qemu);
	volume_id_read(
		q->path, &q->id); /* a program of this host, as the configuration's check has just looked at it */
	r = snprintf(q->sock, sizeof(q->sock), "%s/" SOCKET_LEAF, h->paths.run);
	if (r >= (int)sizeof(((struct sockaddr_un *)0)->sun_path)) {
		q->sock[0] = 0;
		return;
	}
	unlink(q->sock);
	r = probe_spawn(q, h->paths.run);
	if (!r)
		r = probe_watch(q);
	if (r) {
		plog(q->p, "%s could not be asked what it can run: %s", q->path, strerror(-r));
		asking_cancel(q);
	}
}

int qemu_probe_start(struct policyd *p, struct err *e)
{
	p->qemu = calloc(1, sizeof(*p->qemu));
	if (!p->qemu)
		return err_set(e, ENOMEM, "out of memory");
	p->qemu->p = p;
	p->qemu->pidfd = -1;
	probe_ask(p->qemu);
	return 0;
}

void qemu_probe_reload(struct policyd *p)
{
	const struct qemu_probe *q = p->qemu;

	if (q && (strcmp(q->path, p->conf->host.paths.qemu) != 0 || q->accel != p->conf->host.accel))
		probe_ask(p->qemu);
}

void qemu_probe_seen(struct policyd *p, const struct volume_id *now)
{
	const struct qemu_probe *q = p->qemu;

	if (q && !q->pid && now->kind == VOLUME_FILE && (now->inode != q->id.inode || now->bytes != q->id.bytes))
		probe_ask(p->qemu);
}

void qemu_probe_stop(struct policyd *p)
{
	if (!p->qemu)
		return;
	asking_cancel(p->qemu);
	qemu_facts_fini(&p->qemu->facts);
	free(p->qemu);
	p->qemu = NULL;
}

const struct qemu_facts *qemu_probe_facts(const struct policyd *p)
{
	return p->qemu && p->qemu->known ? &p->qemu->facts : NULL;
}
