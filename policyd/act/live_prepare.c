/* A live move before its worker: checks at both ends, the trim, and the target made ready. See live_int.h. Loop thread. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policyd/act/live_int.h"
#include "policyd/act/mem_rules.h"
#include "resize/balloon.h"

#define PREPARE_TIMEOUT_MS 60000
#define TRIM_TIMEOUT_MS 60000

/* ---- checks ------------------------------------------------------------------------------------------------------------ */

static void on_live_checked(void *arg, const struct admit_failures *f, const struct volume_id *volumes)
{
	struct live *l = arg;
	struct err e;
	char text[380];

	l->checks = NULL;
	if (!f->n) {
		memcpy(l->volumes, volumes, sizeof(l->volumes));
		job_next(l->j);
		return;
	}
	admit_text(f, text, sizeof(text));
	err_set(&e, EINVAL, "%s -> %s would fail: %s", l->j->dom->spec.name, l->j->target, text);
	l->j->result = json_pack("{s:o}", "failures", admit_to_json(f));
	job_end(l->j, &e);
}

int live_enter_checks(struct job *j, struct err *e)
{
	struct live *l = j->priv;

	l->checks = move_checks_start(j->dom, &l->rq, true, on_live_checked, l);
	return l->checks ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* ---- trim -------------------------------------------------------------------------------------------------------------- */

static void on_balloon_progress(void *arg, uint64_t now_bytes, uint64_t wanted_bytes)
{
	struct live *l = arg;
	struct job_progress *pr = &l->j->progress;
	char from[16], now[16], to[16];

	size_format(l->mem_before, from);
	size_format(now_bytes, now);
	size_format(wanted_bytes, to);
	snprintf(pr->text, sizeof(pr->text), "trimming %s -> %s, now %s", from, to, now);
	if (l->mem_before > wanted_bytes && now_bytes <= l->mem_before)
		pr->percent = (unsigned)((l->mem_before - now_bytes) * 100 / (l->mem_before - wanted_bytes));
	job_progressed(l->j);
}

/* A trim that stops early is no reason not to move: what is left is what the guest needs. */
static void on_balloon_done(void *arg, const struct balloon_result *r, const struct err *e)
{
	struct live *l = arg;

	l->balloon = NULL;
	if (!l->j)
		return;
	l->trim_ms = now_mono_ms() - l->trim_ms;
	if (r->after)
		dom_has_memory(l->j->dom, r->after, r->vmem_after);
	if (e->code)
		plog(l->j->p, "%s: trim before the move: %s", l->j->dom->spec.name, e->msg);
	if (l->j->cancel_asked || e->code == ECANCELED) {
		err_set(&l->why, ECANCELED, "cancelled");
		live_end_stayed(l);
		return;
	}
	l->j->progress.percent = 0;
	l->j->progress.text[0] = 0;
	job_next(l->j);
}

int live_enter_trim(struct job *j, struct err *e)
{
	struct live *l = j->priv;
	struct dom *d = j->dom;
	struct balloon_limits lim = {.min_bytes = d->spec.mem_min,
		.max_bytes = d->spec.mem_max,
		.boot_bytes = d->spec.mem_boot,
		.timeout_ms = TRIM_TIMEOUT_MS};

	if (!l->rq.trim_bytes || l->rq.trim_bytes >= d->mem_bytes || d->state != DOM_ACTIVE) {
		job_next(j);
		return 0;
	}
	mem_rules(d, true, &lim.rules);
	dom_reserve(d, d->vcpus, l->mem_before, NULL); /* kept until the end, so that it can grow back */
	l->trim_ms = now_mono_ms();
	l->balloon = balloon_set(d->p->base, d->qmp, l->rq.trim_bytes, &lim, on_balloon_progress, on_balloon_done, l);
	return l->balloon ? 0 : err_set(e, ENOMEM, "out of memory");
}

void live_cancel_trim(struct job *j)
{
	struct live *l = j->priv;

	if (l->balloon)
		balloon_cancel(l->balloon);
}

/* ---- prepare: epoch, hot-plugged vCPUs, the target -------------------------------------------------------------------------- */

void live_prepare_failed(struct live *l, const struct err *e)
{
	live_because(l, e);
	live_end_stayed(l);
}

/* Now that it has been measured. The outcome is stored beside this one. */
static void foretell(struct live *l)
{
	double spent_s = (double)(now_wall_ms() - l->j->started_ms - l->quiet_ms - l->trim_ms) / 1000;
	struct predict_out p;
	json_t *predicted;

	move_predict(l->j->dom, &l->rq, false, spent_s > 0 ? spent_s : 0, &p);
	if (p.postcopy && !l->rq.postcopy) {
		plog(l->j->p, "%s -> %s: would not converge (%s); its policy lets post-copy finish it",
			l->j->dom->spec.name, l->j->target, p.why);
		l->rq.postcopy = true;
	}
	predicted = predict_to_json(&p);
	if (!predicted)
		return;
	json_decref(l->j->predicted);
	l->j->predicted = predicted;
}

/* The target waits and the guest has been looked at, whichever comes last. */
static void maybe_transfer(struct live *l)
{
	if (!l->port || l->measure.m)
		return;
	foretell(l);
	job_next(l->j);
}

static void on_live_measured(void *arg)
{
	maybe_transfer(arg);
}

static void on_answer_prepare(void *arg, const json_t *answer, const struct err *e)
{
	struct live *l = arg;
	const char *address = json_string_value(json_object_get(answer, "address"));
	const char *token = json_string_value(json_object_get(answer, "token"));
	json_int_t port = json_integer_value(json_object_get(answer, "port"));
	const struct conf_peer *peer = cluster_conf_peer(l->j->p, l->j->target);
	struct err bad;

	l->call = NULL;
	if (e->code) {
		bad = *e;
		if (e->code == EREMOTEIO) {
			l->prepared = false; /* it said no: nothing to take back */
			err_wrap(&bad, "%s", l->j->target);
		}
		live_prepare_failed(l, &bad);
		return;
	}
	if (!token || strlen(token) != 32 || port < 1 || port > 65535) {
		err_set(&bad, EPROTO, "%s answered prepare without port or token", l->j->target);
		live_prepare_failed(l, &bad);
		return;
	}
	snprintf(l->address, sizeof(l->address), "%s", address && *address ? address : peer ? peer->address : "");
	snprintf(l->token, sizeof(l->token), "%s", token);
	l->port = (unsigned)port;
	maybe_transfer(l);
}

static json_t *prepare_args(struct live *l)
{
	struct dom *d = l->j->dom;
	const struct conf *c = d->p->conf;
	struct admit_request ar;
	json_t *j, *ids = json_array();

	for (unsigned i = 0; i < l->n_vcpu_ids; i++)
		json_array_append_new(ids, json_integer(l->vcpu_ids[i]));
	move_admit_request(d, &l->rq, true, l->volumes, &ar);
	ar.mem_bytes = d->mem_bytes;
	j = admit_request_json(&ar);
	admit_request_fini(&ar);
	json_object_update_new(j,
		json_pack("{s:I, s:s, s:o, s:{s:i, s:b, s:i, s:i, s:b}}", "epoch", (json_int_t)l->epoch, "machine",
			d->launched.machine[0] ? d->launched.machine : LAUNCH_MACHINE, "vcpu_ids", ids, "settings",
			"channels", (int)c->migration.channels, "verify_full", move_verify_full(c), "max_blackout_ms",
			(int)l->rq.limits.max_blackout_ms, "max_rounds", (int)c->migration.max_rounds, "paused",
			l->was_paused || l->rq.leave_paused));
	json_object_set_new(j, "guest_agent", json_boolean(d->launched.guest_agent));
	json_object_set_new(json_object_get(j, "settings"), "marks", dom_marks_json(d) ?: json_object());
	if (d->hold.on)
		json_object_set_new(json_object_get(j, "settings"), "hold",
			json_pack("{s:s, s:I, s:s}", "reason", d->hold.reason, "until_ms", (json_int_t)d->hold.until_ms,
				"by", d->hold.by));
	json_object_set_new(
		json_object_get(j, "settings"), "mem_wanted_bytes", json_integer((json_int_t)l->mem_before));
	json_object_set_new(json_object_get(j, "settings"), "started_ms", json_integer((json_int_t)d->started_ms));
	json_object_set_new(json_object_get(j, "settings"), "bound", json_boolean(d->bound));
	if (d->launched.cpu_cap)
		json_object_update_new(json_object_get(j, "settings"),
			json_pack("{s:i, s:b}", "cpu_cap", (int)d->launched.cpu_cap, "cpu_cap_by_policy",
				(int)d->launched.cpu_cap_by_policy));
	return j;
}

static void on_vcpus_known(void *arg, const json_t *ret, const struct err *e)
{
	struct live *l = arg;
	struct err bad;
	size_t i;
	const json_t *v;

	if (!l->j) {
		live_unref(l);
		return;
	}
	l->refs--;
	if (e->code == ECANCELED)
		return; /* its QEMU ended: live_on_exit comes next */
	if (e->code) {
		live_prepare_failed(l, e);
		return;
	}
	l->n_vcpu_ids = 0;
	json_array_foreach((json_t *)ret, i, v) {
		const char *path = json_string_value(json_object_get(v, "qom-path"));

		if (path && !strncmp(path, "/machine/peripheral/", 20) && l->n_vcpu_ids < LAUNCH_HOTPLUGGED_MAX)
			l->vcpu_ids[l->n_vcpu_ids++] =
				(unsigned)json_integer_value(json_object_get(json_object_get(v, "props"), "core-id"));
	}
	if (l->j->cancel_asked) {
		err_set(&bad, ECANCELED, "cancelled");
		live_prepare_failed(l, &bad);
		return;
	}
	l->prepared = true; /* from here on the target may know of it */
	if (cluster_call(l->j->p, l->j->target, "prepare", prepare_args(l), PREPARE_TIMEOUT_MS, on_answer_prepare, l,
		    &l->call, &bad) < 0) {
		l->prepared = false;
		live_prepare_failed(l, &bad);
	}
}

static void on_epoch_durable(void *arg, const struct err *e)
{
	struct live *l = arg;
	struct err bad = *e;

	if (!l->j) {
		live_unref(l);
		return;
	}
	if (!bad.code && l->j->cancel_asked)
		err_set(&bad, ECANCELED, "cancelled");
	if (!bad.code &&
		(!l->j->dom->qmp ||
			qmp_command(l->j->dom->qmp, "query-hotpluggable-cpus", NULL, 0, on_vcpus_known, l) < 0))
		err_set(&bad, ENOTCONN, "its QEMU does not answer");
	if (bad.code) {
		l->refs--;
		live_prepare_failed(l, &bad);
	}
}

int live_enter_prepare(struct job *j, struct err *e)
{
	struct live *l = j->priv;
	struct dom *d = j->dom;
	int r;

	l->was_paused = d->state == DOM_SUSPENDED;
	r = dom_step(d, DEV_MIGRATE, e);
	if (r < 0)
		return r;
	/* While the target starts its QEMU: this costs the move no time. */
	l->measure.done = on_live_measured;
	l->measure.arg = l;
	measure_start(d, j->target, MOVE_LINK_AGE_MS, &l->measure);
	l->refs++;
	move_take_epoch(d, l->epoch, on_epoch_durable, l);
	return 0;
}

void live_cancel_prepare(struct job *j)
{
	struct live *l = j->priv;

	if (!l->call && !l->port)
		return; /* the callback that is under way sees cancel_asked */
	measure_leave(&l->measure);
	peer_call_forget(l->call);
	l->call = NULL;
	live_because(l, &(struct err){.code = ECANCELED, .msg = "cancelled"});
	live_end_stayed(l);
}
