/* Memory by balloon and virtio-mem: see balloon.h. Loop thread only.
 *
 * One turn every 200 ms: ask QEMU for the balloon's actual size and for what is plugged (its events are rate-limited, the answers are
 * current) and, when shrinking, for the guest's statistics; when all are there the phase's judge acts on them. The law of the steps is
 * shrink_next, the division of a size is mem_split; here is only their clockwork. */
#include "resize/balloon.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "resize/guest_psi.h"
#include "resize/stats.h"
#include "resize/vmem.h"

#define TURN_MS 200
#define STALE_MS 5000     /* statistics that did not change for so long are stale (asked for each second) */
#define PATIENCE_MS 8000  /* to wait for fresh ones, and for a guest that gets no nearer to what it was asked for */
#define AFTER_STEP_MS 250 /* statistics seen sooner than this after a step may have been made before its end */
#define GIVE_BACK_MS 5000 /* to wait until the guest has taken back what it needs */
/* In patiences: an unplug that got no nearer for so long is asked for anew (it may stay stuck), then given up; a guest that takes nothing of
 * what it is given for so long has no driver for it. */
#define NUDGE(patience_ms) ((patience_ms) / 3)
#define NO_GROWTH(patience_ms) ((patience_ms)*5 / 2)
#define PSI_MS 1000      /* between two readings of the guest's memory pressure */
#define TIMEOUT_MS 60000 /* where the caller gives none */

enum balloon_phase { BEGINNING, GROWING, SHRINKING, GIVING_BACK, ENDED };

struct balloon_job {
	struct event_base *base;
	struct qmp *q;
	struct balloon_limits limits;
	balloon_progress_fn *progress;
	balloon_done_fn *done;
	void *arg;
	enum balloon_phase phase;
	struct event *timer;
	unsigned outstanding; /* answers of QEMU and the agent that will still come here */
	int64_t began_ms, phase_ms;
	uint64_t now_bytes, asked_bytes;
	struct mem_parts now, asked; /* of the two above */
	bool nudged, stuck; /* this step's unplug: asked for anew; and in vain, the balloon does the rest of this job */
	int64_t moved_ms;   /* when now_bytes last changed, or a size was asked for */
	int64_t settled_ms; /* when the last step was done; 0 = it is not */
	uint64_t last_step_bytes;
	double faults_before_ps;
	struct stats_track stats;
	struct guest_psi psi;
	int64_t psi_asked_ms;          /* 0 = never */
	bool psi_awaited, psi_refused; /* an answer is to come; this guest cannot say */
	char reason[160];              /* why it gives back */
	struct balloon_result result;
};

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- ending ---------------------------------------------------------------------------------------------- */

static void reap(struct balloon_job *job)
{
	if (!job->outstanding)
		free(job);
}

static bool has_vmem(const struct balloon_job *job)
{
	return job->limits.boot_bytes && job->limits.boot_bytes < job->limits.max_bytes;
}

/* Ask the guest for both parts; answers that come to @done are counted. */
static int tell(struct balloon_job *job, struct mem_parts to, qmp_done_fn *done)
{
	json_t *args = json_pack("{s:I}", "value", (json_int_t)to.balloon);
	int rc = args ? qmp_command(job->q, "balloon", args, 0, done, done ? job : NULL) : -ENOMEM;

	job->outstanding += !rc && done;
	if (!rc && has_vmem(job)) {
		rc = vmem_request(job->q, to.vmem, done, done ? job : NULL);
		job->outstanding += !rc && done;
	}
	if (!rc)
		job->asked = to;
	return rc;
}

static void end(struct balloon_job *job, const struct err *e)
{
	bool giving_back = job->phase == GIVING_BACK && job->asked_bytes > job->now_bytes;

	job->phase = ENDED;
	event_free(job->timer);
	job->timer = NULL;
	if (e->code && job->asked_bytes && memcmp(&job->asked, &job->now, sizeof(job->now)) && !giving_back)
		tell(job, job->now, NULL); /* it stays where it is */
	/* What it needs is its own, even if it is slow to take it. */
	job->result.after = giving_back ? job->asked_bytes : job->now_bytes;
	job->result.vmem_after = giving_back ? job->asked.vmem : job->now.vmem;
	job->result.last_step = job->last_step_bytes;
	job->result.faults_before_ps = job->faults_before_ps;
	job->result.elapsed_ms = (unsigned)(mono_ms() - job->began_ms);
	job->done(job->arg, &job->result, e);
	reap(job);
}

static void __attribute__((format(printf, 3, 4))) end_with(struct balloon_job *job, int code, const char *fmt, ...)
{
	struct err e = {.code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	end(job, &e);
}

/* ---- the QMP side ---------------------------------------------------------------------------------------- */

/* An answer came. False: the job has ended, there is nothing to do with it. */
static bool answered(struct balloon_job *job)
{
	job->outstanding--;
	if (job->phase != ENDED)
		return true;
	reap(job);
	return false;
}

static void on_qmp_told(void *arg, const json_t *ret, const struct err *e)
{
	struct balloon_job *job = arg;

	(void)ret;
	if (answered(job) && e->code)
		end_with(job, e->code == EREMOTEIO ? ENODEV : e->code, "asking the guest: %s", err_msg(e));
}

/* Ask the guest for a size. False: the job has ended. */
static bool ask_size(struct balloon_job *job, uint64_t bytes)
{
	int rc = tell(job, mem_split(&job->now, bytes, has_vmem(job) ? job->limits.boot_bytes : bytes, job->stuck),
		on_qmp_told);

	if (rc) {
		end_with(job, -rc, "asking the guest: %s", strerror(-rc));
		return false;
	}
	job->asked_bytes = bytes;
	job->nudged = false;
	job->moved_ms = mono_ms();
	return true;
}

static void enter(struct balloon_job *job, enum balloon_phase phase)
{
	job->phase = phase;
	job->phase_ms = mono_ms();
}

static void timer_in(struct balloon_job *job, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(job->timer, &tv);
}

/* ---- judging, one function a phase; each ends the job or leaves it for the next turn -------------------------------- */

static void judge_begin(struct balloon_job *job)
{
	job->result.before = job->now_bytes;
	if (job->result.wanted == job->now_bytes) {
		job->asked_bytes = job->now_bytes;
		end_with(job, 0, "%s", "");
	} else if (job->result.wanted > job->now_bytes) {
		enter(job, GROWING);
		ask_size(job, job->result.wanted);
	} else {
		/* An earlier wish that is still being carried out ends here: steps are counted from what is. */
		enter(job, SHRINKING);
		job->settled_ms = job->phase_ms;
		if (ask_size(job, job->now_bytes))
			balloon_poll_stats(job->q, 1);
	}
}

static void judge_growing(struct balloon_job *job)
{
	if (job->now_bytes >= job->result.wanted)
		end_with(job, 0, "%s", "");
	else if (mono_ms() - job->moved_ms >= NO_GROWTH(job->limits.patience_ms))
		end_with(job, ENODEV, "the guest has taken nothing more into use for %u s; is its %s driver loaded?",
			NO_GROWTH(job->limits.patience_ms) / 1000,
			job->now.balloon < job->asked.balloon ? "balloon" : "virtio-mem");
}

/* An unplug may stay stuck though the guest could go on: ask for a little more, then again for what is wanted. Where that does not help
 * either, the guest cannot free whole blocks; its balloon takes single pages. True: something was done. */
static bool help_unplug(struct balloon_job *job)
{
	bool stands = job->now.vmem > job->asked.vmem && mono_ms() - job->moved_ms >= NUDGE(job->limits.patience_ms);
	struct mem_parts more = {.balloon = job->asked.balloon, .vmem = job->now.vmem}, to = job->asked;

	if (!stands || job->stuck)
		return false;
	job->stuck = job->nudged;
	if (job->stuck) {
		ask_size(job, job->asked_bytes);
		return true;
	}
	job->nudged = true;
	job->moved_ms = mono_ms();
	tell(job, more, NULL);
	tell(job, to, NULL);
	return true;
}

/* Has the guest answered the last step, or stopped getting nearer? */
static bool step_settled(struct balloon_job *job, int64_t now_ms)
{
	bool settled = job->now_bytes <= job->asked_bytes || now_ms - job->moved_ms >= job->limits.patience_ms;

	if (!settled)
		job->settled_ms = 0;
	else if (!job->settled_ms)
		job->settled_ms = now_ms;
	return settled;
}

static struct shrink_view view(struct balloon_job *job, int64_t now_ms)
{
	bool settled = step_settled(job, now_ms);
	int64_t since_ms = job->settled_ms + (job->last_step_bytes ? AFTER_STEP_MS : 0);

	return (struct shrink_view){
		.start_bytes = job->result.before,
		.now_bytes = job->now_bytes,
		.asked_bytes = job->asked_bytes,
		.wanted_bytes = job->result.wanted,
		.floor_bytes = job->limits.min_bytes,
		.last_step_bytes = job->last_step_bytes,
		.rules = job->limits.rules,
		.settled = settled,
		.stats_known = job->stats.known,
		.stats_since = settled && job->stats.changed_ms >= since_ms,
		.stats_age_ms = stats_track_age_ms(&job->stats, now_ms),
		.stale_ms = STALE_MS,
		.waited_ms = settled ? (unsigned)(now_ms - job->settled_ms) : 0,
		.patience_ms = job->limits.patience_ms,
		.available_bytes = job->stats.last.available,
		.free_bytes = job->stats.last.free,
		.swap_in_bps = job->stats.swap_in_bps,
		.major_faults_ps = job->stats.major_faults_ps,
		.major_faults_before_ps = job->faults_before_ps,
		.psi_known = job->psi.known,
		.psi_since = settled && job->psi.at_ms >= since_ms,
		.psi_percent = job->psi.percent,
	};
}

static void take_step(struct balloon_job *job, uint64_t target_bytes)
{
	if (!job->last_step_bytes)
		job->faults_before_ps = job->stats.major_faults_ps;
	job->last_step_bytes = job->now_bytes - target_bytes;
	job->settled_ms = 0;
	ask_size(job, target_bytes);
}

static void give_back(struct balloon_job *job, const struct shrink_next *next)
{
	snprintf(job->reason, sizeof(job->reason), "%s", next->reason);
	job->result.backed_off = true;
	enter(job, GIVING_BACK);
	ask_size(job, next->target_bytes);
}

static void judge_shrinking(struct balloon_job *job)
{
	struct shrink_view v = view(job, mono_ms());
	struct shrink_next next = shrink_next(&v);

	if (next.verdict == SHRINK_WAIT && help_unplug(job))
		return;
	switch (next.verdict) {
	case SHRINK_STEP:
		take_step(job, next.target_bytes);
		break;
	case SHRINK_WAIT:
		break;
	case SHRINK_BACK_OFF:
		give_back(job, &next);
		break;
	case SHRINK_STOP:
		end_with(job, job->stats.seen ? EAGAIN : ENODEV, "%s%s", next.reason,
			job->stats.seen ? "" : "; is its balloon driver loaded?");
		break;
	case SHRINK_DONE:
		end_with(job, 0, "%s", "");
		break;
	}
}

static void judge_giving_back(struct balloon_job *job)
{
	if (job->now_bytes >= job->asked_bytes || mono_ms() - job->phase_ms >= GIVE_BACK_MS)
		end_with(job, EAGAIN, "%s", job->reason);
}

static void (*const judges[])(struct balloon_job *job) = {
	[BEGINNING] = judge_begin,
	[GROWING] = judge_growing,
	[SHRINKING] = judge_shrinking,
	[GIVING_BACK] = judge_giving_back,
};

/* ---- one turn -------------------------------------------------------------------------------------------- */

/* False: the caller's progress callback has cancelled. */
static bool take_size(struct balloon_job *job, uint64_t bytes)
{
	if (bytes == job->now_bytes)
		return true;
	job->now_bytes = bytes;
	job->moved_ms = mono_ms();
	if (job->phase == BEGINNING || !job->progress)
		return true;
	job->outstanding++; /* keeps it alive */
	job->progress(job->arg, bytes, job->result.wanted);
	return answered(job);
}

static void on_qmp_size(void *arg, const json_t *ret, const struct err *e)
{
	struct balloon_job *job = arg;
	json_int_t bytes = json_integer_value(json_object_get(ret, "actual"));
	unsigned timeout_ms = job->limits.timeout_ms;

	if (!answered(job))
		return;
	if (e->code || bytes <= 0) {
		end_with(job, !e->code || e->code == EREMOTEIO ? ENODEV : e->code, "asking for the balloon's size: %s",
			e->code ? err_msg(e) : "no size in the answer");
		return;
	}
	job->now.balloon = (uint64_t)bytes;
	if (!take_size(job, job->now.balloon + job->now.vmem))
		return;
	timer_in(job, TURN_MS);
	if (job->phase != GIVING_BACK && mono_ms() - job->began_ms >= timeout_ms)
		end_with(job, ETIMEDOUT, "the guest is at %" PRIu64 "M after %u ms, wanted %" PRIu64 "M",
			job->now_bytes >> 20, timeout_ms, job->result.wanted >> 20);
	else
		judges[job->phase](job);
}

static void on_qmp_stats(void *arg, const json_t *ret, const struct err *e)
{
	struct balloon_job *job = arg;
	struct guest_mem_stats s;

	if (answered(job) && !e->code && !balloon_stats_parse(ret, &s))
		stats_track_add(&job->stats, &s, mono_ms());
}

static void on_qmp_devices(void *arg, const json_t *ret, const struct err *e)
{
	struct balloon_job *job = arg;
	struct vmem v;

	if (!answered(job))
		return;
	vmem_parse(ret, &v);
	if (!e->code && v.there)
		job->now.vmem = v.plugged;
	else
		end_with(job, e->code && e->code != EREMOTEIO ? e->code : ENODEV, "asking for the plugged memory: %s",
			e->code ? err_msg(e) : "QEMU has no virtio-mem device " VMEM_ID);
}

static int ask_devices(struct balloon_job *job)
{
	int rc = qmp_command(job->q, "query-memory-devices", NULL, 0, on_qmp_devices, job);

	job->outstanding += !rc;
	return rc;
}

static int ask_stats(struct balloon_job *job)
{
	json_t *args = json_pack("{s:s, s:s}", "path", BALLOON_QOM_PATH, "property", "guest-stats");
	int rc = args ? qmp_command(job->q, "qom-get", args, 0, on_qmp_stats, job) : -ENOMEM;

	job->outstanding += !rc;
	return rc;
}

static void on_psi(void *arg, uint64_t some_us, const struct err *e)
{
	struct balloon_job *job = arg;

	job->psi_awaited = false;
	if (!answered(job))
		return;
	if (!e->code)
		guest_psi_add(&job->psi, some_us, mono_ms());
	else
		job->psi.known = false;
	job->psi_refused = e->code == EREMOTEIO;
}

/* It is not waited for in a turn: a guest without an agent, or with a slow one, is judged by its statistics. */
static void ask_psi(struct balloon_job *job)
{
	const struct shrink_rules *r = &job->limits.rules;

	if (job->psi_awaited || job->psi_refused || r->free_rule || r->psi_percent <= 0 ||
		mono_ms() - job->psi_asked_ms < PSI_MS)
		return;
	job->psi_asked_ms = mono_ms();
	job->psi_awaited = !guest_psi_ask(job->limits.agent, on_psi, job);
	job->outstanding += job->psi_awaited;
}

/* Statistics first: answers come in order, so they are there when the size is judged. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct balloon_job *job = arg;
	uint64_t wanted = job->result.wanted;
	int rc;

	(void)fd;
	(void)what;
	if (wanted < job->limits.min_bytes || wanted > job->limits.max_bytes) {
		end_with(job, ERANGE, "%" PRIu64 "M is outside of %" PRIu64 "M to %" PRIu64 "M", wanted >> 20,
			job->limits.min_bytes >> 20, job->limits.max_bytes >> 20);
		return;
	}
	if (job->phase == SHRINKING)
		ask_psi(job);
	rc = job->phase == SHRINKING ? ask_stats(job) : 0;
	if (!rc && has_vmem(job))
		rc = ask_devices(job);
	if (!rc)
		rc = qmp_command(job->q, "query-balloon", NULL, 0, on_qmp_size, job);
	if (rc)
		end_with(job, -rc, "asking for the balloon's size: %s", strerror(-rc));
	else
		job->outstanding++;
}

/* ---- beginning and cancel ---------------------------------------------------------------------------------- */

struct balloon_job *balloon_set(struct event_base *base, struct qmp *q, uint64_t wanted_bytes,
	const struct balloon_limits *limits, balloon_progress_fn *progress, balloon_done_fn *done, void *arg)
{
	struct balloon_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct balloon_job){
		.base = base,
		.q = q,
		.limits = *limits,
		.progress = progress,
		.done = done,
		.arg = arg,
		.began_ms = mono_ms(),
		.faults_before_ps = -1,
		.result.wanted = wanted_bytes,
	};
	if (!job->limits.timeout_ms)
		job->limits.timeout_ms = TIMEOUT_MS;
	if (!job->limits.patience_ms)
		job->limits.patience_ms = PATIENCE_MS;
	stats_track_init(&job->stats);
	job->timer = evtimer_new(base, on_turn, job);
	if (!job->timer) {
		free(job);
		return NULL;
	}
	timer_in(job, 0); /* @done never runs inside balloon_set */
	return job;
}

void balloon_cancel(struct balloon_job *job)
{
	if (!job || job->phase == ENDED)
		return;
	end_with(job, ECANCELED, "cancelled at %" PRIu64 "M, wanted %" PRIu64 "M", job->now_bytes >> 20,
		job->result.wanted >> 20);
}
