/* The beginning of an incoming move, who asks for its outcome, and what is left of one after a restart: see incoming.c. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "policyd/act/incoming_int.h"

void incoming_take_hold(struct dom *d, const json_t *hold)
{
	if (!json_is_object(hold))
		return;
	d->hold.on = true;
	d->hold.until_ms = json_integer_value(json_object_get(hold, "until_ms"));
	snprintf(d->hold.reason, sizeof(d->hold.reason), "%s",
		json_is_string(json_object_get(hold, "reason")) ? json_string_value(json_object_get(hold, "reason"))
								: "");
	snprintf(d->hold.by, sizeof(d->hold.by), "%s",
		json_is_string(json_object_get(hold, "by")) ? json_string_value(json_object_get(hold, "by")) : "");
}

static int make_token(char out[33])
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return -EIO;
	for (unsigned i = 0; i < sizeof(b); i++)
		snprintf(out + 2 * i, 3, "%02x", b[i]);
	return 0;
}

static struct incoming *incoming_new(struct policyd *p, const char *from, uint64_t epoch, const json_t *settings)
{
	struct incoming *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->refs = 1;
	in->left_fd = -1;
	in->epoch = epoch;
	TAILQ_INIT(&in->waiters);
	snprintf(in->from, sizeof(in->from), "%s", from);
	in->settings = settings ? json_deep_copy(settings) : json_object();
	in->paused = json_is_true(json_object_get(settings, "paused"));
	in->timer = evtimer_new(p->base, incoming_on_timer, in);
	if (!in->timer || !in->settings || make_token(in->token) < 0) {
		if (in->timer)
			event_free(in->timer);
		json_decref(in->settings);
		free(in);
		return NULL;
	}
	return in;
}

static void take_machine(struct incoming *in, const json_t *args)
{
	const char *machine = json_string_value(json_object_get(args, "machine"));
	const json_t *ids = json_object_get(args, "vcpu_ids");

	snprintf(in->machine, sizeof(in->machine), "%s", machine ? machine : "");
	in->no_guest_agent = !json_is_true(json_object_get(args, "guest_agent"));
	for (size_t i = 0; i < json_array_size(ids) && in->n_vcpu_ids < LAUNCH_HOTPLUGGED_MAX; i++)
		in->vcpu_ids[in->n_vcpu_ids++] = (unsigned)json_integer_value(json_array_get(ids, i));
}

/* The domain object with its room, and the job on it. */
int incoming_begin(struct policyd *p, const char *from, const struct admit_request *ar, uint64_t epoch,
	const json_t *args, struct peer_req *rq, struct err *e)
{
	struct job_request jr = {.type = &incoming_type, .origin = {.kind = BY_PEER}, .source = from};
	struct domain_spec spec = ar->spec;
	json_t *detail = json_pack("{s:s, s:I, s:O}", "from", from, "epoch", (json_int_t)epoch, "args", (json_t *)args);
	struct incoming *in = incoming_new(p, from, epoch, json_object_get(args, "settings"));
	struct dom *d = NULL;
	int r = -ENOMEM;

	snprintf(spec.name, sizeof(spec.name), "%s", ar->name);
	snprintf(jr.origin.name, sizeof(jr.origin.name), "%s", from);
	if (!in || !detail) {
		r = err_set(e, ENOMEM, "out of memory");
		goto fail;
	}
	take_machine(in, args);
	r = dom_new(p, &spec, &d, e);
	if (!r) {
		d->vcpus = ar->vcpus;
		d->mem_bytes = ar->mem_bytes;
		d->epoch = epoch;
		r = dom_reserve(d, ar->vcpus, ar->mem_bytes, e);
	}
	if (!r)
		r = dom_step(d, DEV_BIND, e);
	if (!r)
		r = dom_step(d, DEV_MIGRATE, e);
	jr.priv = in;
	jr.detail = detail;
	if (!r)
		r = job_start(d, &jr, &in->j, e);
	if (!r) {
		json_decref(detail);
		in->prepare = rq;
		return 0;
	}
fail:
	json_decref(detail);
	if (d)
		dom_free(d);
	if (in) {
		event_free(in->timer);
		incoming_unref(in);
	}
	return r;
}

static struct incoming *incoming_of(struct policyd *p, const char *uuid, uint64_t epoch)
{
	struct dom *d = dom_find_uuid(p, uuid);
	struct incoming *in;

	if (!d || !d->job || (d->job->type != &incoming_type && d->job->type != &incoming_settle_type))
		return NULL;
	in = d->job->priv;
	return in->epoch == epoch ? in : NULL;
}

bool incoming_ask(struct policyd *p, struct peer_req *rq, const char *from, const char *uuid, uint64_t epoch)
{
	struct incoming *in = incoming_of(p, uuid, epoch);
	struct waiter *wt;
	struct err e;

	if (!in)
		return false;
	wt = strcmp(in->from, from) == 0 ? calloc(1, sizeof(*wt)) : NULL;
	if (!wt) {
		err_set(&e, EACCES, "%s comes from %s, not from %s", in->j->dom->spec.name, in->from, from);
		peer_req_fail(rq, &e);
		return true;
	}
	wt->rq = rq;
	TAILQ_INSERT_TAIL(&in->waiters, wt, link);
	err_set(&e, ECANCELED, "%s gave it up", from);
	incoming_because(in, &e);
	if (in->refused)
		incoming_answer(in, "REFUSED");
	else if (in->left)
		syscall(SYS_pidfd_send_signal, in->left_fd, SIGKILL, NULL, 0);
	else if (in->w)
		worker_kill(in->w); /* its end leads to settle */
	else if (in->j->phase == IN_LAUNCH && !incoming_settling(in))
		incoming_outcome(in, &e);
	return true;
}

int incoming_settle(struct dom *d, const char *source, uint64_t epoch, const json_t *detail, struct err *e)
{
	const json_t *args = json_object_get(detail, "args");
	struct incoming *in = incoming_new(d->p, source, epoch, json_object_get(args, "settings"));
	struct job_request jr = {.type = &incoming_settle_type,
		.origin = {.kind = BY_SELF},
		.source = source,
		.detail = detail,
		.priv = in};
	int r;

	if (!in)
		return err_set(e, ENOMEM, "out of memory");
	in->is_restart = true;
	err_set(&in->why, EINTR, "policyd was restarted during the migration");
	if (d->state == DOM_INACTIVE)
		dom_step(d, DEV_BIND, NULL);
	if (d->state != DOM_TRANSITION)
		dom_step(d, DEV_MIGRATE, NULL);
	r = job_start(d, &jr, &in->j, e);
	if (r < 0) {
		event_free(in->timer);
		incoming_unref(in);
	}
	return r;
}
