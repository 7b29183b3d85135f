/* A live move that may wait for a quiet moment before it begins (decide/moment.h): its guest is measured every few seconds, half a second each, until it
 * writes little or what it may wait is over; then it begins in any case. Nothing has been asked of the target yet. See live_int.h. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policyd/act/live_int.h"
#include "policyd/api/format.h"
#include "policyd/decide/moment.h"

#define LOOK_EVERY_MS 5000 /* from the end of one measurement to the next: a tenth of its time under watch at most */
#define FAILED_MAX 3       /* measurements in a row; nothing is to be known then */

struct live_quiet {
	struct live *l;
	struct measure_wait wait;
	struct moment_seen seen;
	struct event *look, *until;
	int64_t since_ms, asked_ms; /* interval clock */
	char until_text[16];
	unsigned failed;
};

void live_quiet_free(struct live *l)
{
	struct live_quiet *q = l->quiet;

	if (!q)
		return;
	measure_leave(&q->wait);
	if (q->look)
		event_free(q->look);
	if (q->until)
		event_free(q->until);
	l->quiet_ms = now_mono_ms() - q->since_ms;
	free(q);
	l->quiet = NULL;
}

static void seen_text(const struct moment_seen *s, char out[96])
{
	if (!s->n)
		snprintf(out, 96, "not measured yet");
	else
		snprintf(out, 96, "writes %.3g MB/s (seen: %.3g to %.3g)", s->last / 1e6, s->low / 1e6, s->high / 1e6);
}

/* It begins, and why now. */
static void begin(struct live *l, const char *why)
{
	char seen[96], waited[24];

	seen_text(&l->quiet->seen, seen);
	live_quiet_free(l);
	fmt_ms((double)l->quiet_ms, waited);
	plog(l->j->p, "%s -> %s: begins after %s: %s; it %s", l->j->dom->spec.name, l->j->target, waited, why, seen);
	l->j->progress.text[0] = 0;
	job_next(l->j);
}

void live_quiet_over(struct live *l)
{
	if (l->quiet)
		begin(l, "no quiet moment came in time");
}

static void on_timer_until(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	live_quiet_over(arg);
}

static void say(struct live_quiet *q)
{
	struct job_progress *pr = &q->l->j->progress;
	char seen[96];

	seen_text(&q->seen, seen);
	snprintf(pr->text, sizeof(pr->text), "waits for a quiet moment until %s: %s", q->until_text, seen);
	job_progressed(q->l->j);
}

static void look_later(struct live_quiet *q)
{
	struct timeval tv = {LOOK_EVERY_MS / 1000, (LOOK_EVERY_MS % 1000) * 1000};

	evtimer_add(q->look, &tv);
}

/* Nothing came of it. A guest that cannot be measured has no moment to wait for. */
static void look_failed(struct live_quiet *q)
{
	if (++q->failed >= FAILED_MAX)
		begin(q->l, "what it writes cannot be measured");
	else
		look_later(q);
}

static void on_measured(void *arg)
{
	struct live_quiet *q = arg;
	struct live *l = q->l;
	double bps = forecast_writes_bps(l->j->p, l->j->dom->spec.name, q->asked_ms);
	double way = json_number_value(json_object_get(l->j->predicted, "rate_bps"));
	enum moment m;

	if (bps < 0) {
		look_failed(q);
		return;
	}
	q->failed = 0;
	moment_add(&q->seen, bps);
	m = moment_now(&q->seen, way);
	if (m == MOMENT_WAIT) {
		say(q);
		look_later(q);
	} else {
		begin(l, m == MOMENT_IDLE ? "it writes next to nothing" : "it writes as little as it has been seen to");
	}
}

static void on_timer_look(evutil_socket_t fd, short what, void *arg)
{
	struct live_quiet *q = arg;

	(void)fd;
	(void)what;
	q->asked_ms = now_mono_ms();
	if (measure_start(q->l->j->dom, q->l->j->target, MOVE_LINK_AGE_MS, &q->wait) < 0)
		look_failed(q);
}

/* It waits so long from now, at most. */
static bool wait_until(struct live_quiet *q, unsigned ms)
{
	struct timeval until = {ms / 1000, (ms % 1000) * 1000};
	time_t at = (time_t)((now_wall_ms() + ms) / 1000);
	struct tm tm;

	strftime(q->until_text, sizeof(q->until_text), "%H:%M:%S", localtime_r(&at, &tm));
	return !evtimer_add(q->until, &until);
}

static struct live_quiet *quiet_new(struct live *l)
{
	struct live_quiet *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	l->quiet = q;
	q->l = l;
	q->since_ms = now_mono_ms();
	q->wait.done = on_measured;
	q->wait.arg = q;
	q->look = evtimer_new(l->j->p->base, on_timer_look, q);
	q->until = evtimer_new(l->j->p->base, on_timer_until, l);
	if (q->look && q->until && wait_until(q, l->rq.quiet_ms))
		return q;
	live_quiet_free(l);
	return NULL;
}

int live_enter_quiet(struct job *j, struct err *e)
{
	struct live *l = j->priv;
	struct live_quiet *q;

	if (!l->rq.quiet_ms || l->rq.method == MOVE_WARM || j->dom->state != DOM_ACTIVE) {
		job_next(j);
		return 0;
	}
	q = quiet_new(l);
	if (!q)
		return err_set(e, ENOMEM, "out of memory");
	say(q);
	on_timer_look(-1, 0, q);
	return 0;
}

int live_set_quiet(struct job *j, unsigned ms, struct err *e)
{
	struct live *l = j->priv;

	if (!l->quiet)
		return err_set(e, EBUSY, "%s does not wait for a quiet moment%s", j->dom->spec.name,
			l->quiet_ms ? " any more: its move has begun" : "");
	if (ms && wait_until(l->quiet, ms))
		say(l->quiet);
	else
		begin(l, "an operator said so");
	return 0;
}

void live_cancel_quiet(struct job *j)
{
	struct live *l = j->priv;

	live_quiet_free(l);
	live_because(l, &(struct err){.code = ECANCELED, .msg = "cancelled"});
	live_end_stayed(l);
}
