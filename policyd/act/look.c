/* See look.h. A struct look belongs to its thread and to who waits, and is freed by whichever lets go last, both on the loop. The thread publishes how many
 * paths it is through with; what is below that number is its to write no more. */
#include "policyd/act/look.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/offload.h"

struct look {
	struct policyd *p;
	struct look_list list, answer; /* list: the thread's; answer: a copy, for who waits */
	_Atomic unsigned n_done;
	struct event *timer;
	look_done_fn *done; /* NULL: nobody waits any more */
	void *arg;
	bool working, late; /* late: counted as hung */
};

void look_add(struct look_list *l, const char *path, bool storage)
{
	if (!path[0] || l->n == LOOK_PATHS_MAX || look_find(l, path))
		return;
	snprintf(l->v[l->n].path, sizeof(l->v[0].path), "%s", path);
	l->v[l->n++].storage = storage;
}

const struct look_path *look_find(const struct look_list *l, const char *path)
{
	for (unsigned i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].path, path))
			return &l->v[i];
	return NULL;
}

static void look_free(struct look *l)
{
	if (l->working || l->done)
		return;
	if (l->timer)
		event_free(l->timer);
	free(l);
}

/* The thread. */
static void look_work(void *arg)
{
	struct look *l = arg;

	for (unsigned i = 0; i < l->list.n; i++) {
		struct look_path *path = &l->list.v[i];

		path->found = access(path->path, F_OK) ? LOOKED_ABSENT : LOOKED_THERE;
		if (path->storage)
			volume_id_read(path->path, &path->id);
		atomic_store(&l->n_done, i + 1);
	}
}

static void answer(struct look *l)
{
	look_done_fn *done = l->done;
	unsigned n = atomic_load(&l->n_done);

	l->answer.n = l->list.n;
	memcpy(l->answer.v, l->list.v, n * sizeof(l->list.v[0]));
	for (unsigned i = n; i < l->list.n; i++) { /* its path does not change while it hangs */
		memcpy(l->answer.v[i].path, l->list.v[i].path, sizeof(l->list.v[i].path));
		l->answer.v[i].found = LOOKED_HUNG;
	}
	l->done = NULL;
	if (done)
		done(l->arg, &l->answer);
}

static void on_look_worked(void *arg)
{
	struct look *l = arg;

	l->working = false;
	l->p->looks_hung -= l->late;
	answer(l);
	look_free(l);
}

static void on_timer_look(evutil_socket_t fd, short what, void *arg)
{
	struct look *l = arg;

	(void)fd;
	(void)what;
	if (l->working && atomic_load(&l->n_done) == l->list.n)
		return; /* it is through: on_look_worked comes next */
	if (l->working && !l->late) {
		l->late = true;
		l->p->looks_hung++;
		plog(l->p, "%s does not answer: its storage hangs", l->list.v[atomic_load(&l->n_done)].path);
	}
	answer(l);
	look_free(l);
}

struct look *look_start(struct policyd *p, const struct look_list *paths, look_done_fn *done, void *arg)
{
	struct look *l = calloc(1, sizeof(*l));
	struct timeval tv = {LOOK_MS / 1000, (LOOK_MS % 1000) * 1000}, now = {0, 0};

	if (!l)
		return NULL;
	l->p = p;
	l->list = *paths;
	l->timer = evtimer_new(p->base, on_timer_look, l);
	if (!l->timer)
		goto fail;
	if (p->looks_hung >= LOOKS_HUNG_MAX) /* one more would hang as well */
		tv = now;
	else if (offload(p->base, look_work, on_look_worked, l) < 0)
		goto fail;
	else
		l->working = true;
	l->done = done;
	l->arg = arg;
	evtimer_add(l->timer, &tv);
	return l;
fail:
	look_free(l);
	return NULL;
}

void look_forget(struct look *l)
{
	if (!l)
		return;
	l->done = NULL;
	if (l->working)
		return; /* freed when its thread comes back, or by the timer, which counts it, if it does not */
	look_free(l);
}
