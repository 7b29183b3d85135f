/* Moving a domain: what operators and plans ask for, what can be refused at once, the dry run, and what live and cold moves share. Loop thread. */
#include "policyd/act/move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/ram.h"
#include "migrate/tracker.h"
#include "policyd/act/forecast.h"
#include "policyd/act/move_here.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/api/format.h"
#include "policyd/kept.h"

#define DIGEST_MIBPS 100 /* slower than the slowest machine reads its memory */

/* ---- shared ---------------------------------------------------------------------------------------------------------- */

static bool is_running(const struct dom *d)
{
	return d->state == DOM_ACTIVE || d->state == DOM_SUSPENDED;
}

static bool wants_cold(struct dom *d, const struct move_request *rq)
{
	struct policy_effective pol;

	if (rq->method != MOVE_AUTO)
		return rq->method == MOVE_COLD;
	if (!is_running(d))
		return true;
	policyd_policy(d->p, &d->spec, &pol);
	return pol.relocate == RELOCATE_COLD;
}

static void predict_warm(struct predict_out *out)
{
	out->blackout_ms = (out->total_s - out->trim_s) * 1000;
	out->blackout_low_ms = (out->total_low_s - out->trim_s) * 1000;
	out->blackout_high_ms = out->total_high_s * 1000;
	out->converges = out->fits = true;
}

void move_predict(struct dom *d, const struct move_request *rq, bool cold, double spent_s, struct predict_out *out)
{
	struct predict_in in = {.resident_bytes = dom_resident(d),
		.mem_bytes = d->mem_bytes,
		.trim_bytes = rq->trim_bytes,
		.dirty_bps = -1,
		.max_rounds = d->p->conf->migration.max_rounds,
		.cold = cold,
		.running = is_running(d)};
	struct move_limits lim = rq->limits;
	unsigned failures;

	move_limits_complete(&lim, &d->p->conf->migration);
	in.max_blackout_ms = lim.max_blackout_ms;
	in.bandwidth_bps = lim.bandwidth_bps;
	in.throttle_max = lim.throttle_max;
	in.postcopy = rq->postcopy || rq->may_postcopy;
	store_link_get(d->p->store, rq->host, &in.link_bps, &failures);
	in.path.spent_s = spent_s;
	forecast_fill(d->p, d->spec.name, rq->host, &in);
	if (rq->method == MOVE_WARM) { /* it stands from the first byte on, and writes nothing */
		in.dirty_bps = 0;
		in.guest.n_written = 0;
	}
	predict(&in, out);
	if (rq->method == MOVE_WARM)
		predict_warm(out);
}

void move_admit_request(struct dom *d, const struct move_request *rq, bool live, const struct volume_id *volumes,
	struct admit_request *out)
{
	const struct qemu_facts *qemu = qemu_probe_facts(d->p);

	memset(out, 0, sizeof(*out));
	out->spec = d->spec;
	out->live = live;
	out->by_policy = rq->origin.kind == BY_POLICY;
	out->running = d->launched.pid != 0;
	out->vcpus = live ? d->vcpus : d->spec.vcpus_boot;
	out->mem_bytes = live ? d->mem_bytes : d->spec.mem_boot;
	if (live && rq->trim_bytes && rq->trim_bytes < out->mem_bytes)
		out->mem_bytes = rq->trim_bytes;
	snprintf(out->name, sizeof(out->name), "%s", rq->name[0] ? rq->name : d->spec.name);
	snprintf(out->accel, sizeof(out->accel), "%s", d->p->conf->host.accel == ACCEL_KVM ? "kvm" : "tcg");
	if (volumes)
		memcpy(out->volumes, volumes, sizeof(out->volumes));
	out->time_ms = now_wall_ms();
	out->fips_said = true;
	out->fips = d->p->conf->security.fips;
	if (qemu)
		snprintf(out->qemu, sizeof(out->qemu), "%s", qemu->version);
	if (!live)
		return;
	snprintf(out->machine, sizeof(out->machine), "%s",
		d->launched.machine[0] ? d->launched.machine : LAUNCH_MACHINE);
	if (qemu && d->spec.cpu_arch == CPU_NATIVE)
		out->cpu_features = qemu_feature_list(qemu);
}

static unsigned count_direct_disks(const struct domain_spec *spec)
{
	unsigned n = 0;

	for (unsigned i = 0; i < spec->n_disks; i++)
		n += spec->disks[i].cache == CACHE_NONE;
	return n;
}

json_t *move_worker_line(struct dom *d, const char *role, const char *peer, uint64_t epoch)
{
	const struct conf *c = d->p->conf;
	char qmp[SPEC_PATH_MAX] = "", run[SPEC_PATH_MAX + NAME_MAX_LEN], devices[512];
	json_t *j;

	rundir_path(&c->host, d->spec.name, "qmp-worker.sock", qmp, NULL);
	snprintf(run, sizeof(run), "%s/%s", c->host.paths.run, d->spec.name);
	launch_device_ids(&d->spec, d->launched.guest_agent, devices, sizeof(devices));
	j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:{s:s, s:s, s:s, s:b}}", "op",
		"start", "role", role, "domain", d->spec.name, "uuid", d->spec.uuid, "epoch", (json_int_t)epoch, "host",
		c->host.host_name, "peer", peer, "state_dir", c->host.paths.state, "ram_dir", c->host.paths.ram,
		"run_dir", run, "pid", (int)d->launched.pid, "qmp", qmp, "tls", "certificate", c->security.certificate,
		"key", c->security.key, "trust", c->security.trust, "fips", c->security.fips);
	if (j &&
		json_object_update_new(j,
			json_pack("{s:i, s:I, s:i, s:i, s:b, s:b, s:i, s:s}", "channels", (int)c->migration.channels,
				"bandwidth_bps", (json_int_t)c->migration.bandwidth_bps, "max_blackout_ms",
				(int)c->migration.max_blackout_ms, "max_rounds", (int)c->migration.max_rounds,
				"compress", 1, "verify_full", move_verify_full(c), "n_disks_direct",
				(int)count_direct_disks(&d->spec), "devices", devices)) < 0) {
		json_decref(j);
		j = NULL;
	}
	return j;
}

bool move_can_postcopy(const struct dom *d)
{
	return !move_verify_full(d->p->conf) && policyd_ram_page(d->p) == SPEC_PAGE_BYTES;
}

bool move_verify_full(const struct conf *c)
{
	return c->migration.verify_full || tracker_needs_digest();
}

unsigned move_digest_ms(const struct dom *d, bool verify_full)
{
	return verify_full ? (unsigned)((d->spec.mem_max >> 20) * 1000 / DIGEST_MIBPS) : 0;
}

void move_take_epoch(struct dom *d, uint64_t epoch, store_done_fn *done, void *arg)
{
	d->epoch = epoch;
	dom_save(d, done, arg);
}

json_t *move_query_args(const struct dom *d, uint64_t epoch)
{
	return json_pack("{s:s, s:I, s:s}", "uuid", d->spec.uuid, "epoch", (json_int_t)epoch, "domain", d->spec.name);
}

static void on_answer_abort(void *arg, const json_t *answer, const struct err *e)
{
	struct policyd *p = arg;

	(void)answer;
	if (e->code)
		plog_debug(p, "abort: %s", e->msg);
}

void move_send_abort(struct dom *d, const char *host, uint64_t epoch)
{
	struct err e;

	if (cluster_call(d->p, host, "abort", move_query_args(d, epoch), 0, on_answer_abort, d->p, NULL, &e) < 0)
		plog_debug(d->p, "abort: %s", e.msg);
}

/* ---- what can be seen at once ------------------------------------------------------------------------------------------ */

static int refuse_at_once(struct dom *d, const struct move_request *rq, bool cold, struct err *e)
{
	const char *name = d->spec.name;
	struct policy_effective pol;

	if (!cluster_conf_peer(d->p, rq->host))
		return err_set(e, ENOENT,
			"there is no host \"%s\" under cluster.peers; policyctl hosts shows those that are known",
			rq->host);
	if (rq->name[0] && !name_valid(rq->name))
		return err_set(e, EINVAL, "\"%s\" is no name for a domain (letters, digits, . _ -)", rq->name);
	policyd_policy(d->p, &d->spec, &pol);
	if (rq->origin.kind == BY_POLICY && dom_held(d))
		return err_set(e, EPERM, "%s is held (%s)", name, d->hold.reason);
	if (rq->origin.kind == BY_POLICY && pol.relocate == RELOCATE_NEVER)
		return err_set(e, EINVAL, "policy \"%s\" never moves %s", pol.relocate_from, name);
	if (!cold && !is_running(d))
		return err_set(e, EINVAL,
			"%s is %s; only a running domain can be moved live (--method cold moves its definition)", name,
			domain_state_name(d->state));
	if (!cold && !d->qmp_up)
		return err_set(e, EAGAIN, "%s: its QEMU does not answer just now; try again in a moment", name);
	if (cold && !is_running(d) && domain_state_runs(d->state))
		return err_set(e, EBUSY, "%s is %s; try again when that is over", name, domain_state_name(d->state));
	if (rq->quiet_ms && (cold || rq->method == MOVE_WARM))
		return err_set(e, EINVAL,
			"%s moves %s: it stands while it is copied, so what it writes does not matter; --quiet-moment is for live moves",
			name, cold ? "cold" : "warm");
	if (rq->postcopy && (cold || rq->method == MOVE_WARM))
		return err_set(e, EINVAL, "%s moves %s: --postcopy is for live moves", name, cold ? "cold" : "warm");
	if (rq->postcopy && move_verify_full(d->p->conf))
		return err_set(e, EINVAL,
			"%s: with post-copy not all memory can be compared before the guest runs, which %s demands; migrate without --postcopy",
			name,
			d->p->conf->migration.verify_full ? "migration.verify = full"
							  : "this kernel's way to track writes");
	if (cold && rq->leave_paused)
		return err_set(e, EINVAL,
			"%s moves cold: it is started there, or only its definition moves; --paused is for live and warm moves",
			name);
	if (cold && move_limits_any(&rq->limits))
		return err_set(
			e, EINVAL, "%s moves cold: such a move has no bandwidth, blackout, throttle or deadline", name);
	if (!cold && rq->trim_bytes && rq->trim_bytes < d->spec.mem_min)
		return err_set(e, ERANGE, "%s: cannot be trimmed below its minimum", name);
	return 0;
}

/* What policy allows to be moved warm may stand still for as long as its copy takes, unless who asks for the move says how long. */
static void warm_limits(struct dom *d, struct move_request *rq)
{
	struct policy_effective pol;

	policyd_policy(d->p, &d->spec, &pol);
	if (pol.relocate != RELOCATE_WARM || rq->limits.has_blackout)
		return;
	rq->limits.has_blackout = true;
	rq->limits.max_blackout_ms = MOVE_BLACKOUT_MAX_MS;
}

static bool is_here(const struct dom *d, const struct move_request *rq)
{
	return !strcmp(rq->host, d->p->conf->host.host_name);
}

int move_start(struct dom *d, const struct move_request *rq, struct job **out, struct err *e)
{
	bool cold = wants_cold(d, rq);
	struct move_request own = *rq;
	int r;

	if (d->job) /* before all else: the reason that the operator can do something about */
		return job_busy(d->job, e);
	if (is_here(d, rq))
		return here_start(d, rq, out, e);
	r = refuse_at_once(d, rq, cold, e);
	if (!r)
		r = cluster_reachable(d->p, rq->host, e);
	if (r)
		return r;
	warm_limits(d, &own);
	return cold ? cold_start(d, rq, out, e) : live_start(d, &own, out, e);
}

/* The live move of @d that is under way from here; NULL with @e. */
static struct job *live_under_way(const struct dom *d, struct err *e)
{
	const char *name = d->spec.name;
	struct job *j = d->job;

	if (j && j->type->kind == JOB_MIGRATE)
		return j;
	if (j && j->type->kind == JOB_INCOMING)
		err_set(e, EBUSY, "%s is coming from %s: limits are changed there", name, j->source);
	else if (j && j->type->kind == JOB_COLD_MOVE)
		err_set(e, EBUSY, "%s moves cold: such a move has no limits to change", name);
	else
		err_set(e, ENOENT,
			"%s is not being moved; limits of moves to come: migration in policyd.cfg, or policyctl migrate's options",
			name);
	return NULL;
}

int move_set_limits(struct dom *d, const struct move_limits *change, struct err *e)
{
	struct job *j = live_under_way(d, e);

	return j ? live_set_limits(j, change, e) : -e->code;
}

int move_set_quiet(struct dom *d, unsigned ms, struct err *e)
{
	struct job *j = live_under_way(d, e);

	return j ? live_set_quiet(j, ms, e) : -e->code;
}

void move_keep(struct job *j, bool keep, const char *name_there)
{
	if (!keep)
		return;
	kept_put(j->p, &j->dom->spec, j->target, name_there);
	json_object_set_new(j->result, "kept", json_true());
}

void move_note_try(struct job *j, const struct err *e)
{
	if (!e || !e->code || j->p->stopping)
		return;
	if (!j->result)
		j->result = json_object();
	json_object_set_new(j->result, "failed", json_string(fail_words[past_fail_kind(e->code)]));
}

/* ---- the dry run ------------------------------------------------------------------------------------------------------- */

struct dry_run {
	struct policyd *p;
	struct move_request rq;
	char name[NAME_MAX_LEN];
	char cold_from[NAME_MAX_LEN], mem[16];
	bool cold;
	struct predict_out predicted;
	move_check_fn *done;
	void *arg;
};

static void dry_method(const struct dry_run *r, char out[96])
{
	char to[16], quiet[24];

	size_format(r->rq.trim_bytes, to);
	fmt_ms(r->rq.quiet_ms, quiet);
	if (r->cold)
		snprintf(out, 96, "cold%s%.60s%s", r->cold_from[0] ? " (policy \"" : "", r->cold_from,
			r->cold_from[0] ? "\")" : "");
	else if (r->rq.trim_bytes)
		snprintf(out, 96, "trim to %s, then live", to);
	else if (r->rq.method == MOVE_WARM)
		snprintf(out, 96, "warm: suspend, copy, %s", r->rq.leave_paused ? "leave suspended" : "resume");
	else if (r->rq.quiet_ms)
		snprintf(out, 96, "live, at a quiet moment within %s", quiet);
	else
		snprintf(out, 96, "live");
}

/* "4.2 s  (3.6 s .. 5.0 s)" */
static void span_s(double v, double low, double high, char out[80])
{
	char at[24], from[24], to[24];

	fmt_seconds(v, at);
	fmt_seconds(low, from);
	fmt_seconds(high, to);
	snprintf(out, 80, "%s  (%s .. %s)", at, from, to);
}

static void span_ms(double v, double low, double high, char out[80])
{
	char at[24], from[24], to[24];

	fmt_ms(v, at);
	fmt_ms(low, from);
	fmt_ms(high, to);
	snprintf(out, 80, "%s  (%s .. %s)", at, from, to);
}

static void dry_text(const struct dry_run *r, const struct admit_failures *f, char *out, size_t size)
{
	const struct predict_out *p = &r->predicted;
	char method[96], total[80], dark[80], bytes[16];
	size_t n;

	if (f->n) {
		n = (size_t)snprintf(out, size, "%s -> %s would fail:", r->name, r->rq.host);
		for (unsigned i = 0; i < f->n && n < size; i++)
			n += (size_t)snprintf(out + n, size - n, "\n  %-12s %s", f->v[i].what, f->v[i].why);
		return;
	}
	dry_method(r, method);
	span_s(p->total_s, p->total_low_s, p->total_high_s, total);
	span_ms(p->blackout_ms, p->blackout_low_ms, p->blackout_high_ms, dark);
	size_format((uint64_t)p->bytes, bytes);
	snprintf(out, size,
		"%s -> %s would work.\n  method       %s\n  time         %s     %s  %s     bytes  %s of %s\n  why          %s",
		r->name, r->rq.host, method, total, r->cold ? "down" : "blackout", dark, bytes, r->mem, p->why);
}

/* Said only by figures that were measured: an assumption is no reason to say no. */
static void check_convergence(const struct dry_run *r, struct admit_failures *f)
{
	const struct predict_out *p = &r->predicted;
	struct move_limits lim = r->rq.limits;
	char dark[24];

	move_limits_complete(&lim, &r->p->conf->migration);
	if (r->cold || r->rq.method == MOVE_WARM || p->converges || p->dirty_assumed || p->link_assumed)
		return;
	fmt_ms(p->blackout_ms, dark);
	admit_fail(f, "convergence",
		"will not converge under these limits: it dirties %.3g MB/s, the link gives %.3g MB/s; it would stand still for %s, "
		"and %u ms are allowed. Allow a longer blackout (--max-blackout), more bandwidth or a slower guest (--throttle), wait for a quieter "
		"moment (--quiet-moment), or use --postcopy, --suspend or --method cold",
		p->dirty_bps / 1e6, p->rate_bps / 1e6, dark, lim.max_blackout_ms);
}

static void on_dry_checked(void *arg, const struct admit_failures *found, const struct volume_id *volumes)
{
	struct dry_run *r = arg;
	struct dom *d = dom_find(r->p, r->name);
	struct admit_failures own = *found, *f = &own;
	char text[8192];
	json_t *result;

	(void)volumes;
	if (d) /* now that it has been measured */
		move_predict(d, &r->rq, r->cold, 0, &r->predicted);
	check_convergence(r, f);
	dry_text(r, f, text, sizeof(text));
	result = json_pack("{s:b, s:o, s:s, s:o, s:s}", "ok", f->n == 0, "failures", admit_to_json(f), "method",
		r->cold                             ? "cold"
			: r->rq.method == MOVE_WARM ? "warm"
						    : "live",
		"predicted", predict_to_json(&r->predicted), "text", text);
	r->done(r->arg, result, &(struct err){0});
	json_decref(result);
	free(r);
}

int move_check(struct dom *d, const struct move_request *rq, move_check_fn *done, void *arg, struct err *e)
{
	bool cold = wants_cold(d, rq);
	struct policy_effective pol;
	struct dry_run *run;
	int r;

	if (is_here(d, rq))
		return here_dry_run(d, rq, done, arg, e);
	r = refuse_at_once(d, rq, cold, e);
	if (r)
		return r;
	run = calloc(1, sizeof(*run));
	if (!run)
		return err_set(e, ENOMEM, "out of memory");
	run->p = d->p;
	run->rq = *rq;
	run->cold = cold;
	run->done = done;
	run->arg = arg;
	snprintf(run->name, sizeof(run->name), "%s", d->spec.name);
	size_format(d->mem_bytes, run->mem);
	if (cold && rq->method == MOVE_AUTO && is_running(d)) {
		policyd_policy(d->p, &d->spec, &pol);
		snprintf(run->cold_from, sizeof(run->cold_from), "%s", pol.relocate_from);
	}
	move_predict(d, rq, cold, 0, &run->predicted);
	if (!move_checks_start(d, rq, !cold && is_running(d), on_dry_checked, run)) {
		free(run);
		return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}
