/* See run_on.h. A migration that ends because its target was ended takes QEMU some milliseconds to forget ("not finalized yet"), and then it may let its
 * guest run on by itself; so the state is asked for and "cont" is said, in turns, until the guest runs. */
#include "policyd/act/run_on.h"

#include <event2/event.h>
#include <stdlib.h>

#define AGAIN_MS 20
#define SLOW_MS 1000 /* after LOUD_AFTER turns */
#define LOUD_AFTER 250

struct run_on {
	struct dom *d; /* NULL: freed, but for the answers that are to come */
	unsigned refs, turns;
	struct event *timer;
	void (*done)(void *arg);
	void *arg;
};

static void unref(struct run_on *r)
{
	if (--r->refs == 0)
		free(r);
}

static void again(struct run_on *r)
{
	unsigned ms = r->turns < LOUD_AFTER ? AGAIN_MS : SLOW_MS;
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	if (r->turns++ == LOUD_AFTER)
		plog(r->d->p, "%s: its guest stands and does not run on yet; trying again each second",
			r->d->spec.name);
	evtimer_add(r->timer, &tv);
}

static void on_cont(void *arg, const json_t *ret, const struct err *e)
{
	struct run_on *r = arg;

	(void)ret;
	if (r->d && e->code != ECANCELED)
		again(r); /* whatever was answered: its state tells */
	unref(r);
}

static bool ask(struct run_on *r, const char *cmd, qmp_done_fn *answered)
{
	if (!r->d->qmp || qmp_command(r->d->qmp, cmd, NULL, 0, answered, r))
		return false;
	r->refs++;
	return true;
}

static void on_status(void *arg, const json_t *ret, const struct err *e)
{
	struct run_on *r = arg;

	if (r->d && e->code != ECANCELED) {
		if (json_is_true(json_object_get(ret, "running"))) {
			r->d->guest_running = true;
			r->done(r->arg);
		} else if (e->code || !ask(r, "cont", on_cont)) {
			again(r);
		}
	}
	unref(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct run_on *r = arg;

	(void)fd, (void)what;
	if (!ask(r, "query-status", on_status))
		again(r); /* its monitor is not there just now */
}

struct run_on *run_on_start(struct dom *d, void (*done)(void *arg), void *arg)
{
	struct run_on *r = calloc(1, sizeof(*r));

	if (r)
		r->timer = evtimer_new(d->p->base, on_timer, r);
	if (!r || !r->timer) {
		free(r);
		return NULL;
	}
	r->d = d;
	r->refs = 1;
	r->done = done;
	r->arg = arg;
	event_active(r->timer, EV_TIMEOUT, 0);
	return r;
}

void run_on_free(struct run_on *r)
{
	if (!r)
		return;
	event_free(r->timer);
	r->d = NULL;
	unref(r);
}
