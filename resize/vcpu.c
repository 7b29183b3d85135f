/* Whole vCPUs by hot-plug: see vcpu.h. Loop thread only.
 *
 * One turn is: look (query-hotpluggable-cpus), then plug or unplug one, then await the guest's answer; then the next turn.
 * What is there is always taken from a look, never from bookkeeping, so events that got lost, an unplug that came late or a vCPU that somebody
 * else plugged only cost a turn. While a guest is awaited the job looks twice a second. */
#include "resize/vcpu.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "resize/vcpu_slots.h"

#define LOOK_EVERY_MS 500
#define PLUG_ANSWER_MS 3000 /* a guest that never acknowledges a new vCPU is not waited for longer */
#define OST_EJECT_REQUEST 3
#define OST_EJECT_PROCESSING 0x103
#define OST_EJECT_IN_PROGRESS 0x84

enum vcpu_state {
	BEGINNING,
	LOOKING,    /* asked what is there */
	PLUGGING,   /* device_add sent */
	PLUGGED,    /* QEMU has it; the guest's acknowledgement is awaited */
	UNPLUGGING, /* device_del sent */
	UNPLUGGED,  /* QEMU asked the guest; DEVICE_DELETED or a refusal is awaited */
	ENDED,
};

struct vcpu_job {
	struct event_base *base;
	struct qmp *q;
	unsigned timeout_ms;
	vcpu_progress_fn *progress;
	vcpu_done_fn *done;
	void *arg;
	enum vcpu_state state;
	struct event *timer;
	unsigned outstanding; /* QMP answers that will still come here */
	unsigned looks;       /* of them: looks. Only the newest answer counts */
	int64_t began_ms, deadline_ms;
	bool looked;     /* the first look is through: result.before is set */
	bool timed_out;  /* look once more, then end */
	char id[64];     /* of the vCPU under way */
	json_t *refused; /* object: ids that the guest would not give */
	char why[128];   /* the last refusal */
	struct vcpu_result result;
};

static void look(struct vcpu_job *job);

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- ending ---------------------------------------------------------------------------------------------- */

static void reap(struct vcpu_job *job)
{
	if (job->outstanding)
		return;
	json_decref(job->refused);
	free(job);
}

static void end(struct vcpu_job *job, const struct err *e)
{
	job->state = ENDED;
	event_free(job->timer);
	job->timer = NULL;
	job->result.elapsed_ms = (unsigned)(mono_ms() - job->began_ms);
	job->done(job->arg, &job->result, e);
	reap(job);
}

static void __attribute__((format(printf, 3, 4))) end_with(struct vcpu_job *job, int code, const char *fmt, ...)
{
	struct err e = {.code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	end(job, &e);
}

static void end_wrapped(struct vcpu_job *job, const struct err *cause, const char *doing)
{
	struct err e = *cause;

	err_wrap(&e, "%s", doing);
	end(job, &e);
}

/* ---- the QMP side ---------------------------------------------------------------------------------------- */

static void timer_in(struct vcpu_job *job, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(job->timer, &tv);
}

static void command(struct vcpu_job *job, const char *cmd, json_t *args, qmp_done_fn *done)
{
	int rc = qmp_command(job->q, cmd, args, 0, done, job);

	if (rc) {
		end_with(job, -rc, "%s: cannot be sent: %s", cmd, strerror(-rc));
		return;
	}
	job->outstanding++;
}

/* An answer came. False: the job has ended, there is nothing to do with it. */
static bool answered(struct vcpu_job *job)
{
	job->outstanding--;
	if (job->state != ENDED)
		return true;
	reap(job);
	return false;
}

static void await_guest(struct vcpu_job *job, enum vcpu_state state, unsigned at_most_ms)
{
	char awaited[96];

	job->state = state;
	job->deadline_ms = mono_ms() + at_most_ms;
	timer_in(job, LOOK_EVERY_MS < at_most_ms ? LOOK_EVERY_MS : at_most_ms);
	snprintf(awaited, sizeof(awaited), "the guest to %s %s", state == PLUGGED ? "take up" : "give up", job->id);
	if (job->progress)
		job->progress(job->arg, awaited);
}

/* ---- plugging and unplugging one --------------------------------------------------------------------------- */

static void on_qmp_added(void *arg, const json_t *ret, const struct err *e)
{
	struct vcpu_job *job = arg;

	(void)ret;
	if (!answered(job))
		return;
	if (e->code) {
		end_wrapped(job, e, "plugging a vCPU");
		return;
	}
	job->result.after++;
	await_guest(job, PLUGGED, job->timeout_ms < PLUG_ANSWER_MS ? job->timeout_ms : PLUG_ANSWER_MS);
}

static void plug(struct vcpu_job *job, const struct vcpu_slot *slot)
{
	json_t *args = json_pack("{s:s, s:s}", "driver", slot->driver, "id", slot->id);

	if (!args || json_object_update_missing(args, (json_t *)slot->props)) {
		json_decref(args);
		end_with(job, ENOMEM, "no memory");
		return;
	}
	snprintf(job->id, sizeof(job->id), "%s", slot->id);
	job->state = PLUGGING;
	command(job, "device_add", args, on_qmp_added);
}

static void on_qmp_deleted(void *arg, const json_t *ret, const struct err *e)
{
	struct vcpu_job *job = arg;

	(void)ret;
	if (!answered(job) || job->state != UNPLUGGING) /* the guest's event may overtake the answer */
		return;
	/* A former request that the guest has not answered yet is as good as ours. */
	if (e->code && !strstr(e->msg, "in the process of unplug")) {
		end_wrapped(job, e, "unplugging a vCPU");
		return;
	}
	await_guest(job, UNPLUGGED, job->timeout_ms);
}

static void unplug(struct vcpu_job *job, const struct vcpu_slot *slot)
{
	json_t *args = json_pack("{s:s}", "id", slot->id);

	snprintf(job->id, sizeof(job->id), "%s", slot->id);
	job->state = UNPLUGGING;
	command(job, "device_del", args, on_qmp_deleted);
}

static void refused(struct vcpu_job *job, const char *why)
{
	json_object_set_new(job->refused, job->id, json_true());
	job->result.refused++;
	snprintf(job->why, sizeof(job->why), "%s: %s", job->id, why);
	look(job);
}

/* ---- looking --------------------------------------------------------------------------------------------- */

/* Has the guest given up what it was asked for? */
static bool settled(const struct vcpu_job *job, const struct vcpu_slots *s)
{
	return !vcpu_slots_find(s, job->id);
}

static void end_short(struct vcpu_job *job)
{
	const struct vcpu_result *r = &job->result;

	if (job->timed_out)
		end_with(job, ETIMEDOUT,
			"the guest did not answer within %u ms when asked to give up %s: it has %u vCPUs, wanted %u",
			job->timeout_ms, job->id, r->after, r->wanted);
	else if (r->after == r->wanted)
		end_with(job, EBUSY, "%u vCPUs are plugged in, but the guest did not take %u of them into use (%s)",
			r->after, r->refused, job->why);
	else
		end_with(job, EBUSY, "the guest has %u vCPUs, wanted %u: it refused %u (%s)", r->after, r->wanted,
			r->refused, job->why);
}

static bool in_range(struct vcpu_job *job, const struct vcpu_slots *s)
{
	unsigned wanted = job->result.wanted;

	if (wanted > s->max)
		end_with(job, ERANGE, "%u vCPUs are wanted; the domain was started with at most %u", wanted, s->max);
	else if (wanted < s->boot || !wanted)
		end_with(job, ERANGE, "%u vCPUs are wanted; %u cannot be unplugged while it runs", wanted,
			s->boot ? s->boot : 1);
	else
		return true;
	return false;
}

/* One more, one less, or the end. */
static void turn(struct vcpu_job *job, const struct vcpu_slots *s)
{
	const struct vcpu_slot *in = vcpu_slots_next_in(s), *out = vcpu_slots_next_out(s, job->refused);
	unsigned wanted = job->result.wanted;

	if (s->given == wanted && !(job->result.refused && job->result.before < wanted))
		end_with(job, 0, "%s", "");
	else if (job->timed_out || s->given == wanted)
		end_short(job);
	else if (s->given < wanted && in)
		plug(job, in);
	else if (s->given > wanted && out)
		unplug(job, out);
	else
		end_short(job);
}

/* What is there now; the next turn where nothing is awaited. May end the job. */
static void take_look(struct vcpu_job *job, const struct vcpu_slots *s)
{
	job->result.after = s->given;
	if (!job->looked) {
		job->result.before = s->given;
		if (!in_range(job, s))
			return;
		job->looked = true;
	}
	if ((job->state == LOOKING && !job->looks) || (job->state == UNPLUGGED && settled(job, s))) {
		event_del(job->timer);
		turn(job, s);
	}
}

static void on_qmp_cpus(void *arg, const json_t *ret, const struct err *e)
{
	struct vcpu_job *job = arg;
	struct vcpu_slots s = {0};
	int rc;

	job->looks--;
	if (!answered(job))
		return;
	if (e->code) {
		end_wrapped(job, e, "asking for the vCPUs");
		return;
	}
	rc = vcpu_slots_parse(ret, &s);
	if (rc) {
		end_with(job, -rc, "QEMU's list of vCPUs cannot be used: %s", strerror(-rc));
		return;
	}
	take_look(job, &s);
	vcpu_slots_fini(&s);
}

static void ask_cpus(struct vcpu_job *job)
{
	job->looks++;
	command(job, "query-hotpluggable-cpus", NULL, on_qmp_cpus);
}

static void look(struct vcpu_job *job)
{
	event_del(job->timer);
	job->state = LOOKING;
	ask_cpus(job);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct vcpu_job *job = arg;
	int64_t left_ms = job->deadline_ms - mono_ms();

	(void)fd;
	(void)what;
	if (job->state == BEGINNING || (job->state == PLUGGED && left_ms <= 0)) {
		look(job);
	} else if (job->state == PLUGGED) {
		timer_in(job, (unsigned)left_ms);
	} else if (left_ms <= 0) {
		job->timed_out = true;
		look(job);
	} else {
		timer_in(job, left_ms < LOOK_EVERY_MS ? (unsigned)left_ms : LOOK_EVERY_MS);
		ask_cpus(job);
	}
}

/* ---- the guest's answers --------------------------------------------------------------------------------- */

/* Something may have gone: look, without giving up waiting. */
static void hint(struct vcpu_job *job)
{
	if (job->state == UNPLUGGED)
		ask_cpus(job);
}

/* ACPI _OST: the guest's verdict on a plug (source 0, 1) or an unplug (3, 0x103). After a successful unplug there is no device left
 * that it could name. */
static void on_guest_ost(struct vcpu_job *job, const json_t *info)
{
	const char *device = json_string_value(json_object_get(info, "device"));
	json_int_t source = json_integer_value(json_object_get(info, "source"));
	json_int_t status = json_integer_value(json_object_get(info, "status"));
	bool eject = source == OST_EJECT_REQUEST || source == OST_EJECT_PROCESSING;
	char why[64];

	if (!device && eject && !status)
		hint(job);
	if (!device || strcmp(device, job->id) != 0)
		return;
	snprintf(why, sizeof(why), "ACPI status 0x%llx", (long long)status);
	if (job->state == PLUGGED && !eject) {
		if (!status) {
			look(job);
			return;
		}
		refused(job, why);
	} else if ((job->state == UNPLUGGING || job->state == UNPLUGGED) && eject && status &&
		status != OST_EJECT_IN_PROGRESS) {
		refused(job, why);
	}
}

/* Is the event about the vCPU under way? QEMU 7.2 reports its parts only: "/machine/peripheral/cpu-2/lapic", without an id. */
static bool is_ours(const struct vcpu_job *job, const json_t *data)
{
	const char *device = json_string_value(json_object_get(data, "device"));
	const char *path = json_string_value(json_object_get(data, "path"));
	size_t base = strlen("/machine/peripheral/"), len = strlen(job->id);

	if (device && !strcmp(device, job->id))
		return true;
	return path && strlen(path) >= base + len && !strncmp(path + base, job->id, len) &&
		(!path[base + len] || path[base + len] == '/');
}

void vcpu_on_event(struct vcpu_job *job, const char *event, const json_t *data)
{
	if (!job || job->state == ENDED)
		return;
	if (!strcmp(event, "ACPI_DEVICE_OST"))
		on_guest_ost(job, json_object_get(data, "info"));
	else if ((job->state != UNPLUGGING && job->state != UNPLUGGED) || !is_ours(job, data))
		return;
	else if (!strcmp(event, "DEVICE_DELETED"))
		hint(job);
	else if (!strcmp(event, "DEVICE_UNPLUG_GUEST_ERROR") || !strcmp(event, "MEM_UNPLUG_ERROR"))
		refused(job, "the guest reports an error");
}

/* ---- beginning and cancel ---------------------------------------------------------------------------------- */

struct vcpu_job *vcpu_set(struct event_base *base, struct qmp *q, unsigned wanted, unsigned timeout_ms,
	vcpu_progress_fn *progress, vcpu_done_fn *done, void *arg)
{
	struct vcpu_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct vcpu_job){
		.base = base,
		.q = q,
		.timeout_ms = timeout_ms ? timeout_ms : 10000,
		.progress = progress,
		.done = done,
		.arg = arg,
		.state = BEGINNING,
		.began_ms = mono_ms(),
		.result.wanted = wanted,
	};
	job->refused = json_object();
	job->timer = evtimer_new(base, on_timer, job);
	if (!job->refused || !job->timer) {
		if (job->timer)
			event_free(job->timer);
		json_decref(job->refused);
		free(job);
		return NULL;
	}
	timer_in(job, 0); /* @done never runs inside vcpu_set */
	return job;
}

void vcpu_cancel(struct vcpu_job *job)
{
	if (!job || job->state == ENDED)
		return;
	end_with(job, ECANCELED, "cancelled: %u vCPUs, wanted %u%s", job->result.after, job->result.wanted,
		job->state == UNPLUGGING || job->state == UNPLUGGED
			? "; the guest may still give up the one that it was asked for"
			: "");
}
