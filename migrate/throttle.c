/* Slowing the guest: see throttle.h. */
#include "migrate/throttle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migrate/worker.h"

#define ANSWER_MS 1000
#define MEASURE_US 100000 /* in less the clock's ticks measure nothing */

void throttle_init(struct throttle *t)
{
	pthread_condattr_t attr;

	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void throttle_fini(struct throttle *t)
{
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}

/* CPU time of a process and all its threads, or -1. */
static int64_t cpu_us(pid_t pid)
{
	unsigned long long user, sys;
	char path[64], text[1024], *p;
	int64_t tick_us = 1000000 / sysconf(_SC_CLK_TCK);
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	p = strrchr(text, ')'); /* the name may hold anything */
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys) != 2)
		return -1;
	return (int64_t)(user + sys) * tick_us;
}

void throttle_mark(struct worker *w)
{
	w->throttle.mark_us = worker_now_us();
	w->throttle.mark_cpu_us = cpu_us(w->conf.pid);
}

void throttle_measure(struct worker *w)
{
	struct throttle *t = &w->throttle;
	int64_t us = worker_now_us() - t->mark_us, cpu = cpu_us(w->conf.pid);

	if (!w->view.slow_percent && us >= MEASURE_US && cpu >= 0 && t->mark_cpu_us >= 0)
		t->cpu_full = (double)(cpu - t->mark_cpu_us) * 100 / (double)us;
}

static void ask(struct worker *w, unsigned percent)
{
	double may = w->throttle.cpu_full * (100 - percent) / 100;

	boss_send(w->boss,
		json_pack("{s:s, s:i, s:i}", "event", "throttle", "percent", (int)percent, "cpu_percent",
			percent ? (may < 1 ? 1 : (int)(may + 0.5)) : 0));
}

static bool wait_answer(struct throttle *t)
{
	struct timespec until;
	bool answered;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ANSWER_MS / 1000;
	pthread_mutex_lock(&t->lock);
	while (!t->answered && pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT)
		;
	answered = t->answered;
	pthread_mutex_unlock(&t->lock);
	return answered;
}

static void account(struct throttle *t, unsigned before, unsigned now)
{
	if (before && t->since_us)
		t->slowed_us += worker_now_us() - t->since_us;
	t->since_us = now ? worker_now_us() : 0;
	t->most = now > t->most ? now : t->most;
}

uint64_t throttle_total_us(const struct throttle *t)
{
	return (uint64_t)(t->slowed_us + (t->since_us ? worker_now_us() - t->since_us : 0));
}

static void begin(struct worker *w, unsigned percent)
{
	struct throttle *t = &w->throttle;

	pthread_mutex_lock(&t->lock);
	t->answered = t->failed = false;
	pthread_mutex_unlock(&t->lock);
	ask(w, percent);
}

static int finish(struct worker *w, unsigned percent, struct err *e)
{
	struct throttle *t = &w->throttle;
	int rc = 0;

	if (!wait_answer(t))
		return err_set(e, ETIMEDOUT, "policyd did not answer");
	pthread_mutex_lock(&t->lock);
	if (t->failed)
		rc = err_set(e, ENOTSUP, "%s", t->why);
	pthread_mutex_unlock(&t->lock);
	if (rc)
		return rc;
	account(t, w->view.slow_percent, percent);
	w->view.slow_percent = percent;
	return 0;
}

int throttle_set(struct worker *w, unsigned percent, struct err *e)
{
	if (percent == w->view.slow_percent)
		return 0;
	if (percent && w->throttle.cpu_full < 1)
		return err_set(e, ENOTSUP, "its CPU use could not be measured");
	begin(w, percent);
	return finish(w, percent, e);
}

void throttle_lift_begin(struct worker *w)
{
	if (w->view.slow_percent)
		begin(w, 0);
}

void throttle_lift_end(struct worker *w)
{
	if (w->view.slow_percent)
		finish(w, 0, NULL); /* policyd lifts it at the latest when the move ends */
}

void throttle_on_answer(struct throttle *t, const struct boss_throttled *a)
{
	pthread_mutex_lock(&t->lock);
	t->answered = true;
	t->failed = a->why[0];
	t->percent = a->percent;
	snprintf(t->why, sizeof(t->why), "%s", a->why);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

void throttle_lift_alone(struct worker *w)
{
	struct throttle *t = &w->throttle;
	int fd = w->conf.lift_path[0] ? open(w->conf.lift_path, O_WRONLY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		if (write(fd, w->conf.lift_text, strlen(w->conf.lift_text)) < 0) {
			/* a restarted policyd finds it and does the same */
		}
		close(fd);
	}
	pthread_mutex_lock(&t->lock);
	t->answered = true; /* nobody will */
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}
