/* Watching this host: see watch_host.h. Loop thread only.
 *
 * A PSI trigger is a descriptor of /proc/pressure/X into which the threshold was written; it reports POLLPRI. libevent knows no
 * priority data, so each trigger sits in an epoll of its own, whose descriptor the loop sees as readable. */
#include "policyd/watch/watch_host.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct trigger {
	struct watch_host *host;
	enum watch_pressure what;
	int psi_fd, epoll_fd;
	struct event *ev;
};

struct watch_host {
	struct event_base *base;
	char root[256];
	watch_pressure_fn *on_pressure;
	void *arg;
	struct trigger triggers[2];
	struct cpu_times last;
	int64_t last_ms; /* 0 = no sample yet */
	struct ewma fast, slow;
	struct series cpu;
	struct meminfo mem;
	struct psi psi_cpu, psi_mem;
};

/* ---- triggers -------------------------------------------------------------------------------------------- */

static void on_psi_ready(evutil_socket_t fd, short what, void *arg)
{
	struct trigger *t = arg;
	struct epoll_event e = {0};

	(void)what;
	/* Asking a trigger clears it, and the loop has asked already: nothing to read here is the usual case. */
	if (epoll_wait((int)fd, &e, 1, 0) > 0 && (e.events & EPOLLERR)) { /* the kernel took the trigger away */
		event_del(t->ev);
		return;
	}
	t->host->on_pressure(t->host->arg, t->what);
}

static void trigger_fini(struct trigger *t)
{
	if (t->ev)
		event_free(t->ev);
	if (t->epoll_fd >= 0)
		close(t->epoll_fd);
	if (t->psi_fd >= 0)
		close(t->psi_fd);
	t->ev = NULL;
	t->epoll_fd = t->psi_fd = -1;
}

/* Without CAP_SYS_RESOURCE only windows of whole 2 s are allowed. */
static int psi_arm(int fd, unsigned stall_ms)
{
	char text[64];
	int n;

	for (unsigned window_s = 1; window_s <= 2; window_s++) {
		n = snprintf(text, sizeof(text), "some %u %u", stall_ms * 1000 * window_s, 1000000 * window_s);
		if (write(fd, text, (size_t)n + 1) >= 0)
			return 0;
	}
	return -errno;
}

static int trigger_init(struct trigger *t, const char *leaf, unsigned stall_ms)
{
	struct epoll_event e = {.events = EPOLLPRI};
	char path[300];
	int rc;

	snprintf(path, sizeof(path), "%s/pressure/%s", t->host->root, leaf);
	t->psi_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->psi_fd < 0)
		return -errno;
	rc = psi_arm(t->psi_fd, stall_ms);
	if (rc)
		return rc;
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd < 0 || epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->psi_fd, &e))
		return -errno;
	t->ev = event_new(t->host->base, t->epoll_fd, EV_READ | EV_PERSIST, on_psi_ready, t);
	if (!t->ev || event_add(t->ev, NULL))
		return -ENOMEM;
	return 0;
}

static void trigger_try(struct trigger *t, const char *leaf, unsigned stall_ms)
{
	if (trigger_init(t, leaf, stall_ms > 1000 ? 1000 : stall_ms))
		trigger_fini(t);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

struct watch_host *watch_host_new(struct event_base *base, const struct watch_host_conf *conf)
{
	struct watch_host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->base = base;
	snprintf(h->root, sizeof(h->root), "%s", conf->proc_root ? conf->proc_root : "/proc");
	h->on_pressure = conf->on_pressure;
	h->arg = conf->arg;
	ewma_init(&h->fast, 5000);
	ewma_init(&h->slow, 60000);
	for (unsigned i = 0; i < 2; i++)
		h->triggers[i] =
			(struct trigger){.host = h, .what = (enum watch_pressure)i, .psi_fd = -1, .epoll_fd = -1};
	if (h->on_pressure && base) {
		trigger_try(&h->triggers[PRESSURE_CPU], "cpu", conf->cpu_stall_ms ? conf->cpu_stall_ms : 500);
		trigger_try(&h->triggers[PRESSURE_MEMORY], "memory", conf->mem_stall_ms ? conf->mem_stall_ms : 100);
	}
	return h;
}

void watch_host_free(struct watch_host *h)
{
	if (!h)
		return;
	trigger_fini(&h->triggers[0]);
	trigger_fini(&h->triggers[1]);
	free(h);
}

/* ---- samples --------------------------------------------------------------------------------------------- */

static void cpu_gap(struct watch_host *h, int64_t now_ms)
{
	series_gap(&h->cpu, now_ms);
	ewma_reset(&h->fast);
	ewma_reset(&h->slow);
	h->last_ms = 0;
}

static void cpu_add(struct watch_host *h, const struct cpu_times *now, int64_t now_ms)
{
	int64_t span_ms = now_ms - h->last_ms;
	double util;

	if (!h->last_ms || span_ms <= 0 || span_ms > SERIES_GAP_MS || now->total <= h->last.total ||
		now->busy < h->last.busy) {
		if (h->last_ms && span_ms > 0)
			cpu_gap(h, now_ms);
	} else {
		util = 100.0 * (double)(now->busy - h->last.busy) / (double)(now->total - h->last.total);
		series_add(&h->cpu, now_ms, (uint32_t)span_ms, util);
		ewma_add(&h->fast, util, (double)span_ms);
		ewma_add(&h->slow, util, (double)span_ms);
	}
	h->last = *now;
	h->last_ms = now_ms;
}

static int sample_cpu(struct watch_host *h, int64_t now_ms)
{
	char text
		[32768]; /* the cpu lines come first; 200 CPUs fit, the rest is not counted but the first line is whole */
	struct cpu_times t;
	ssize_t n = procfs_read(text, sizeof(text), h->root, "stat");
	int rc = n < 0 ? (int)n : cpu_times_parse(text, &t);

	if (rc)
		cpu_gap(h, now_ms);
	else
		cpu_add(h, &t, now_ms);
	return rc;
}

static int sample_psi(struct watch_host *h, const char *leaf, struct psi *out)
{
	char text[512];
	ssize_t n = procfs_read(text, sizeof(text), h->root, "pressure/%s", leaf);
	int rc = n < 0 ? (int)n : psi_parse(text, out);

	if (rc)
		memset(out, 0, sizeof(*out));
	return rc == -ENOENT || rc == -EOPNOTSUPP ? 0 : rc; /* a kernel without it */
}

int watch_host_sample(struct watch_host *h, int64_t now_ms)
{
	char text[8192];
	ssize_t n;
	int rc = sample_cpu(h, now_ms), rc2;

	n = procfs_read(text, sizeof(text), h->root, "meminfo");
	rc2 = n < 0 ? (int)n : meminfo_parse(text, &h->mem);
	if (rc2)
		memset(&h->mem, 0, sizeof(h->mem));
	rc = rc ? rc : rc2;
	rc2 = sample_psi(h, "cpu", &h->psi_cpu);
	rc = rc ? rc : rc2;
	rc2 = sample_psi(h, "memory", &h->psi_mem);
	return rc ? rc : rc2;
}

/* ---- answers --------------------------------------------------------------------------------------------- */

static double avg10(const struct psi_line *l)
{
	return l->known ? l->avg10 : -1;
}

void watch_host_view(const struct watch_host *h, struct watch_host_view *out)
{
	*out = (struct watch_host_view){
		.n_cpus = h->last.n_cpus,
		.cpu_fast = ewma_get(&h->fast),
		.cpu_slow = ewma_get(&h->slow),
		.mem = h->mem,
		.psi_cpu = avg10(&h->psi_cpu.some),
		.psi_mem = avg10(&h->psi_mem.some),
		.psi_mem_full = avg10(&h->psi_mem.full),
		.triggers = h->triggers[0].ev || h->triggers[1].ev,
	};
}

void watch_host_fill(const struct watch_host *h, struct snapshot *out)
{
	out->host_cpu_util = ewma_get(&h->fast);
	out->psi_cpu = avg10(&h->psi_cpu.some);
	out->psi_mem = avg10(&h->psi_mem.some);
}

const struct series *watch_host_cpu(const struct watch_host *h)
{
	return &h->cpu;
}
