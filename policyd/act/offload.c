/* Blocking work off the loop: see offload.h. The thread owns nothing but the struct it was given; the loop hears of its end through an eventfd. */
#include "policyd/act/offload.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct offload {
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
	int fd;
	pthread_t thread;
	struct event *ev;
};

static void *offload_thread(void *arg)
{
	struct offload *o = arg;
	uint64_t one = 1;

	o->work(o->arg);
	while (write(o->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

static void on_eventfd_done(evutil_socket_t fd, short what, void *arg)
{
	struct offload *o = arg;
	void (*done)(void *) = o->done;
	void *done_arg = o->arg;

	(void)fd;
	(void)what;
	pthread_join(o->thread, NULL); /* its last act was the write that woke us */
	event_free(o->ev);
	close(o->fd);
	free(o);
	done(done_arg);
}

int offload(struct event_base *base, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct offload *o = calloc(1, sizeof(*o));
	sigset_t all, before;
	int r = -ENOMEM;

	if (!o)
		return -ENOMEM;
	o->work = work;
	o->done = done;
	o->arg = arg;
	o->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->fd >= 0)
		o->ev = event_new(base, o->fd, EV_READ, on_eventfd_done, o);
	if (!o->ev || event_add(o->ev, NULL) < 0)
		goto fail;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&o->thread, NULL, offload_thread, o);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!r)
		return 0;
fail:
	if (o->ev)
		event_free(o->ev);
	if (o->fd >= 0)
		close(o->fd);
	free(o);
	return r;
}

/* ---- the journal --------------------------------------------------------------------------------------------------- */

struct journal_task {
	char state_dir[SPEC_PATH_MAX];
	struct journal_entry entry;
	bool read_only;
	enum handoff_state found;
	struct err e;
	journal_done_fn *done;
	void *arg;
};

static void journal_work(void *arg)
{
	struct journal_task *t = arg;
	struct journal_entry got;

	t->found = HO_NONE;
	if (!t->read_only) {
		journal_record(t->state_dir, &t->entry, &t->found, &t->e);
		return;
	}
	if (journal_read(t->state_dir, t->entry.uuid, t->entry.epoch, t->entry.role, &got, &t->e) == 0)
		t->found = got.state;
	else if (t->e.code == ENOENT)
		memset(&t->e, 0, sizeof(t->e));
}

static void on_journal_done(void *arg)
{
	struct journal_task *t = arg;

	t->done(t->arg, t->found, &t->e);
	free(t);
}

static int journal_task(struct policyd *p, const struct journal_entry *entry, bool read_only, journal_done_fn *done,
	void *arg, struct err *e)
{
	struct journal_task *t = calloc(1, sizeof(*t));
	int r = -ENOMEM;

	if (t) {
		snprintf(t->state_dir, sizeof(t->state_dir), "%s", p->conf->host.paths.state);
		t->entry = *entry;
		t->read_only = read_only;
		t->done = done;
		t->arg = arg;
		r = offload(p->base, journal_work, on_journal_done, t);
	}
	if (r < 0) {
		free(t);
		return err_set(e, -r, "the hand-off journal cannot be reached: %s", strerror(-r));
	}
	return 0;
}

int journal_record_async(
	struct policyd *p, const struct journal_entry *entry, journal_done_fn *done, void *arg, struct err *e)
{
	return journal_task(p, entry, false, done, arg, e);
}

int journal_read_async(struct policyd *p, const char *uuid, uint64_t epoch, enum handoff_role role,
	journal_done_fn *done, void *arg, struct err *e)
{
	struct journal_entry entry = {.epoch = epoch, .role = role};

	snprintf(entry.uuid, sizeof(entry.uuid), "%s", uuid);
	return journal_task(p, &entry, true, done, arg, e);
}
