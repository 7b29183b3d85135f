/* One end of one migration: see worker.h. The engine thread runs worker_run; the boss's thread calls the on_boss functions. */
#include "migrate/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "migrate/journal.h"
#include "migrate/worker_int.h"

#define QMP_READY_MS 15000
#define DARK_MS 10000
#define DIGEST_MIBPS 256 /* slower than the slowest measured */
#define REASON_MS 700    /* how long a better reason may take to arrive after the data plane has failed */

static const char *const phase_names[] = {[PHASE_CHECKS] = "checks",
	[PHASE_PREPARE] = "prepare",
	[PHASE_TRANSFER] = "transfer",
	[PHASE_SUSPEND] = "suspend",
	[PHASE_HANDOFF] = "hand-off",
	[PHASE_POSTCOPY] = "postcopy"};

int64_t worker_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

unsigned worker_dark_ms(const struct worker *w)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < w->n_blocks; i++)
		bytes += w->blocks[i].bytes;
	return DARK_MS +
		(w->conf.verify_full || w->stats.verified_full ? (unsigned)((bytes >> 20) * 1000 / DIGEST_MIBPS) : 0);
}

/* ---- cancel ---------------------------------------------------------------------------------------------- */

bool worker_cancelled(struct worker *w)
{
	bool cancelled;

	pthread_mutex_lock(&w->lock);
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	return cancelled;
}

int worker_fix(struct worker *w, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	if (w->cancelled)
		rc = err_set(e, ECANCELED, "cancelled");
	else
		w->fixed = true;
	pthread_mutex_unlock(&w->lock);
	return rc;
}

/* True: it is on its way. */
static bool cancel(struct worker *w, bool boss_gone)
{
	bool refused;

	pthread_mutex_lock(&w->lock);
	w->boss_gone |= boss_gone;
	refused = w->fixed;
	if (!refused) {
		w->cancelled = true;
		atomic_store(&w->limits.cancel, true);
		loop_cancel(&w->loop);
	}
	pthread_mutex_unlock(&w->lock);
	return !refused;
}

static void on_boss_cancel(void *arg)
{
	struct worker *w = arg;

	if (!cancel(w, false))
		boss_send(w->boss,
			json_pack("{s:s, s:s}", "event", "cancel-refused", "why",
				w->conf.role == HO_SOURCE ? "the hand-off has begun: the guest is the "
							    "target's or will be back here by itself"
							  : "the hand-off is done: the guest runs here"));
}

static void on_boss_gone(void *arg)
{
	struct worker *w = arg;
	bool alone;

	pthread_mutex_lock(&w->lock);
	alone = w->alone;
	pthread_mutex_unlock(&w->lock);
	throttle_lift_alone(w);
	if (!alone)
		cancel(w, true);
}

/* What waits comes back; the engine asks worker_check_end then. After the point of no return it is of no use to know. */
static void on_boss_qemu_end(void *arg)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->lock);
	w->qemu_gone = true;
	if (!w->fixed) {
		atomic_store(&w->limits.cancel, true);
		loop_cancel(&w->loop);
	}
	pthread_mutex_unlock(&w->lock);
}

int worker_check_end(struct worker *w, struct err *e)
{
	char tail[256];
	bool gone, cancelled, boss_gone;

	pthread_mutex_lock(&w->lock);
	gone = w->qemu_gone;
	cancelled = w->cancelled;
	boss_gone = w->boss_gone;
	pthread_mutex_unlock(&w->lock);
	if (cancelled)
		return err_set(e, ECANCELED, boss_gone ? "cancelled: policyd has gone" : "cancelled");
	if (!gone)
		return 0;
	worker_qemu_log_tail(w, tail, sizeof(tail));
	return err_set(e, ESRCH, "QEMU has ended%s%s", tail[0] ? ": " : "", tail);
}

/* In force from now on: the bandwidth with the next record, the blackout after the round. */
static void on_boss_limits(void *arg, const struct boss_limits *l)
{
	struct worker *w = arg;

	if (l->has_bandwidth)
		atomic_store(&w->limits.bandwidth_bps, l->bandwidth_bps);
	if (l->has_blackout && l->max_blackout_ms <= UINT_MAX)
		atomic_store(&w->max_blackout_ms, (unsigned)l->max_blackout_ms);
	if (l->has_throttle && l->throttle_max <= 99)
		atomic_store(&w->throttle_max, (unsigned)l->throttle_max);
	if (l->has_patient)
		atomic_store(&w->patient, l->patient);
	boss_send(w->boss,
		json_pack("{s:s, s:I, s:I, s:i}", "event", "limits", "bandwidth_bps",
			(json_int_t)atomic_load(&w->limits.bandwidth_bps), "max_blackout_ms",
			(json_int_t)atomic_load(&w->max_blackout_ms), "throttle_max_percent",
			(int)atomic_load(&w->throttle_max)));
}

static void on_boss_suspend(void *arg)
{
	struct worker *w = arg;

	atomic_store(&w->suspend, true);
}

static void on_boss_throttled(void *arg, const struct boss_throttled *a)
{
	struct worker *w = arg;

	throttle_on_answer(&w->throttle, a);
}

static void on_boss_go(void *arg)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->lock);
	w->go = true;
	pthread_mutex_unlock(&w->lock);
}

static const struct boss_handlers boss_handlers = {.on_cancel = on_boss_cancel,
	.on_limits = on_boss_limits,
	.on_suspend = on_boss_suspend,
	.on_throttled = on_boss_throttled,
	.on_go = on_boss_go,
	.on_qemu_end = on_boss_qemu_end,
	.on_gone = on_boss_gone};

/* ---- journal --------------------------------------------------------------------------------------------- */

int worker_record(struct worker *w, enum handoff_state to, struct err *e)
{
	struct journal_entry entry = {.epoch = w->conf.epoch, .role = w->conf.role, .state = to};
	enum handoff_state found = w->state;
	int rc;

	snprintf(entry.uuid, sizeof(entry.uuid), "%s", w->conf.uuid);
	snprintf(entry.peer, sizeof(entry.peer), "%s", w->conf.peer);
	snprintf(entry.domain, sizeof(entry.domain), "%s", w->conf.domain);
	rc = journal_record(w->conf.state_dir, &entry, &found, e);
	if (rc == -EPROTO)
		w->state = found;
	if (rc)
		return rc;
	w->state = to;
	boss_send(w->boss, json_pack("{s:s, s:s}", "event", "journal", "state", handoff_name(to)));
	return 0;
}

/* ---- frames ---------------------------------------------------------------------------------------------- */

static bool on_session_pending(void *arg)
{
	struct worker *w = arg;

	return session_pending(w->session);
}

/* Take one frame: relay it, or hand it out. 1: *@out is a frame that the caller wants to see; 0: dealt with; -EAGAIN. */
static int take_frame(struct worker *w, struct control_msg *out, struct err *e)
{
	struct session_frame f = {0};
	int rc = session_take(w->session, &f, e);

	if (rc)
		return rc;
	switch (f.msg.type) {
	case CT_ABORT:
		rc = err_set(e, ECONNABORTED, "%s: %s", w->conf.peer, f.msg.abort.reason);
		break;
	case CT_STATE:
		w->stats.device_bytes += w->conf.role == HO_TARGET ? f.msg.state.n : 0;
		rc = w->relay ? relay_write(w->relay, f.msg.state.bytes, f.msg.state.n, e)
			      : err_set(e, EPROTO, "%s sent device state too early", w->conf.peer);
		break;
	case CT_STATE_END:
		break;
	default:
		*out = f.msg;
		rc = 1;
	}
	session_frame_free(&f);
	return rc;
}

struct wait_view {
	struct worker *w;
	bool (*ready)(void *arg);
	void *arg;
};

static bool on_wait_view(void *arg)
{
	struct wait_view *v = arg;

	return session_pending(v->w->session) || (v->ready && v->ready(v->arg));
}

int worker_wait(struct worker *w, bool (*ready)(void *arg), void *arg, enum control_type keep,
	struct control_msg *kept_out, unsigned timeout_ms, struct err *e)
{
	struct wait_view view = {w, ready, arg};
	int64_t deadline = worker_now_us() + (int64_t)timeout_ms * 1000;
	struct control_msg msg;
	int rc;

	for (;;) {
		int64_t left_ms = (deadline - worker_now_us()) / 1000;

		if (ready && ready(arg))
			return 0;
		if (session_pending(w->session)) {
			rc = take_frame(w, &msg, e);
			if (rc == 1 && kept_out && msg.type == keep) {
				*kept_out = msg;
				if (!ready)
					return 0;
			} else if (rc == 1) {
				return err_set(
					e, EPROTO, "%s sent %s out of turn", w->conf.peer, control_type_name(msg.type));
			} else if (rc && rc != -EAGAIN) {
				return rc;
			}
			continue;
		}
		rc = loop_wait(&w->loop, on_wait_view, &view, left_ms > 0 ? (unsigned)left_ms : 0, e);
		if (rc == -ETIMEDOUT)
			return err_set(e, ETIMEDOUT, "%s did not answer within %u s", w->conf.peer, timeout_ms / 1000);
		if (rc)
			return rc;
	}
}

int worker_recv(struct worker *w, enum control_type type, struct control_msg *out, unsigned timeout_ms, struct err *e)
{
	int rc = worker_wait(w, NULL, NULL, type, out, timeout_ms, e);

	if (rc && rc != -ECANCELED && rc != -ECONNABORTED)
		err_wrap(e, "waiting for %s", control_type_name(type));
	return rc;
}

int worker_better_reason(struct worker *w, int rc, struct err *e)
{
	struct control_msg msg;
	struct err why = {0};
	int got;

	got = worker_check_end(w, e);
	if (got)
		return got;
	if (!w->session ||
		(rc == -EREMOTEIO ? w->conf.role == HO_TARGET /* its own QEMU's words are the best */
				  : rc != -EPIPE && rc != -ECANCELED && rc != -ETIMEDOUT && rc != -ECONNRESET))
		return rc;
	do {
		if (loop_wait(&w->loop, on_session_pending, w, REASON_MS, &why) != 0)
			return rc;
		got = take_frame(w, &msg, &why);
	} while (got >= 0 || got == -EAGAIN);
	return err_set(e, why.code, "%s", why.msg);
}

void worker_abort_peer(struct worker *w, const struct err *e)
{
	struct control_msg msg = {.type = CT_ABORT};

	if (!w->session)
		return;
	msg.abort.cancelled = worker_cancelled(w);
	snprintf(msg.abort.reason, sizeof(msg.abort.reason), "%s", err_msg(e));
	session_send(w->session, &msg, NULL);
}

/* ---- shared steps ---------------------------------------------------------------------------------------- */

int worker_open_vm(struct worker *w, struct err *e)
{
	int rc = vm_open(&w->vm, &w->loop, w->conf.qmp, QMP_READY_MS, e);

	if (rc == 0)
		rc = ram_find(w->conf.pid, w->conf.ram_dir, w->conf.uuid, w->blocks, &w->n_blocks, e);
	if (rc == 0)
		rc = vm_memory_check(&w->vm, w->blocks, w->n_blocks, e);
	if (rc == 0)
		rc = vm_machine(&w->vm, w->machine, e);
	if (rc == 0)
		rc = vm_version(&w->vm, w->qemu, e);
	return rc;
}

int worker_socket_path(const struct worker *w, const char *leaf, char *out, size_t size, struct err *e)
{
	if ((size_t)snprintf(out, size, "%s/%s", w->conf.run_dir, leaf) >= size)
		return err_set(e, ENAMETOOLONG, "%s is too long", w->conf.run_dir);
	return 0;
}

void worker_qemu_log_tail(const struct worker *w, char *out, size_t size)
{
	char path[PATH_MAX + 16], text[1025];
	ssize_t n = -1;
	off_t end;
	size_t k = 0;
	int fd;

	out[0] = 0;
	snprintf(path, sizeof(path), "%s/qemu.log", w->conf.run_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	if (end > 0)
		n = pread(fd, text, sizeof(text) - 1, end > 1024 ? end - 1024 : 0);
	close(fd);
	for (ssize_t i = 0; i < n && k + 2 < size; i++) {
		if (text[i] == '\n' && i + 1 < n)
			out[k++] = ';', out[k++] = ' ';
		else if ((unsigned char)text[i] >= ' ')
			out[k++] = text[i];
	}
	out[k] = 0;
}

void worker_add_round(struct worker *w, const struct xfer_stats *r)
{
	struct xfer_stats *sum = &w->stats.sum;

	sum->pages_sent += r->pages_sent;
	sum->pages_zero += r->pages_zero;
	sum->pages_hole += r->pages_hole;
	sum->pages_raw += r->pages_raw;
	sum->pages_lz4 += r->pages_lz4;
	sum->pages_zstd += r->pages_zstd;
	sum->pages_delta += r->pages_delta;
	sum->pages_later += r->pages_later;
	sum->ram_bytes += r->ram_bytes;
	sum->wire_bytes += r->wire_bytes;
	sum->dirty_pages += r->dirty_pages;
	sum->elapsed_us += r->elapsed_us;
	sum->harvest_us += r->harvest_us;
	sum->drain_us += r->drain_us;
	w->stats.rounds++;
}

void worker_say_progress(struct worker *w, const struct control_note *n)
{
	boss_send(w->boss,
		json_pack("{s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:f, s:i, s:i}", "event", "progress", "phase",
			w->phase, "round", (int)n->round, "percent", (int)n->percent, "ram_bytes",
			(json_int_t)n->ram_bytes, "wire_bytes", (json_int_t)n->wire_bytes, "rate_bps",
			(json_int_t)n->rate_bps, "dirty_bps", (json_int_t)n->dirty_bps, "left_s", n->left_ms / 1000.0,
			"blackout_ms", (int)n->blackout_ms, "throttle_percent", (int)w->view.slow_percent));
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static bool on_go(void *arg)
{
	struct worker *w = arg;
	bool go;

	pthread_mutex_lock(&w->lock);
	go = w->go;
	pthread_mutex_unlock(&w->lock);
	return go || (w->session && session_lost(w->session));
}

/* Looks every 50 ms: this is for tests only. */
static int hold(struct worker *w, const char *step, struct err *e)
{
	int rc = -ETIMEDOUT;

	boss_send(w->boss, json_pack("{s:s, s:s}", "event", "held", "step", step));
	while (rc == -ETIMEDOUT)
		rc = loop_wait(&w->loop, on_go, w, 50, e);
	pthread_mutex_lock(&w->lock);
	w->go = false;
	pthread_mutex_unlock(&w->lock);
	return rc;
}

static int run_fault(struct worker *w, const char *step, struct err *e)
{
	switch (fault_at(w->faults, w->conf.role, step)) {
	case FAULT_LOSE:
		if (w->session)
			session_break(w->session);
		return 0;
	case FAULT_HOLD:
		return hold(w, step, e);
	case FAULT_FAIL:
		return err_set(e, EIO, "failed on order, at %s", step);
	default:
		return 0;
	}
}

void worker_phase(struct worker *w, enum phase phase)
{
	if ((int)phase == w->phase)
		return;
	w->phase = phase;
	boss_send(w->boss,
		json_pack("{s:s, s:i, s:s}", "event", "phase", "phase", (int)phase, "name", phase_names[phase]));
}

static int run_steps(struct worker *w, const struct role *role, struct err *e)
{
	for (unsigned i = 0; i < role->n_steps; i++) {
		const struct step *s = &role->steps[i];
		int rc;

		worker_phase(w, s->phase);
		rc = run_fault(w, s->name, e);
		if (rc == 0 && !w->fixed)
			rc = worker_check_end(w, e);
		if (rc == 0)
			rc = s->run(w, e);
		if (rc)
			return rc;
	}
	return 0;
}

/* One worker a domain and end: a second one would undo what the first does. policyd finds the pid in the file. */
static int lock_domain(struct worker *w, struct err *e)
{
	char path[PATH_MAX + 32], pid[16];
	int n;

	snprintf(path, sizeof(path), "%s/migrate.lock", w->conf.run_dir);
	w->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (w->lock_fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	if (flock(w->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(e, EBUSY, "another migration of this domain is under way (%s is locked)", path);
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(w->lock_fd, 0) != 0 || pwrite(w->lock_fd, pid, (size_t)n, 0) != n)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int worker_init(struct worker *w, struct err *e)
{
	struct tls_conf tls = {
		.certificate = w->conf.certificate, .key = w->conf.key, .trust = w->conf.trust, .fips = w->conf.fips};
	int rc, pidfd = (int)syscall(SYS_pidfd_open, w->conf.pid, 0);

	w->lock_fd = -1;
	w->stats.start_us = worker_now_us();
	w->was_paused = w->conf.was_paused;
	atomic_store(&w->limits.bandwidth_bps, w->conf.bandwidth_bps);
	atomic_store(&w->max_blackout_ms, w->conf.max_blackout_ms);
	atomic_store(&w->throttle_max, w->conf.throttle_max < 100 ? w->conf.throttle_max : 99);
	atomic_store(&w->suspend, w->conf.suspend);
	atomic_store(&w->patient, w->conf.patient);
	throttle_init(&w->throttle);
	pthread_mutex_init(&w->lock, NULL);
	rc = loop_init(&w->loop, e);
	if (rc == 0)
		rc = boss_start(w->boss, pidfd, &boss_handlers, w, e);
	if (rc == 0 && pidfd < 0)
		rc = err_set(e, ESRCH, "QEMU (process %d) is not there", (int)w->conf.pid);
	if (rc == 0)
		rc = lock_domain(w, e);
	if (rc == 0)
		rc = tls_ctx_new(&tls, &w->tls, e);
	return rc;
}

static void worker_fini(struct worker *w)
{
	postcopy_tx_free(w->ptx);
	postcopy_rx_free(w->prx);
	missing_free(w->missing);
	xfer_tx_free(w->tx);
	xfer_rx_free(w->rx);
	if (w->has_tracker)
		w->tracker.ops->close(&w->tracker);
	relay_free(w->relay);
	loop_unwatch_session(&w->loop);
	session_free(w->session);
	vm_close(&w->vm);
	tls_ctx_free(w->tls);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
}

int worker_run(const struct worker_conf *conf, struct boss *boss, const char *faults)
{
	const struct role *role = conf->role == HO_SOURCE ? conf->resume ? &source_resume_role : &source_role
		: conf->resume                            ? &target_resume_role
							  : &target_role;
	struct worker *w = calloc(1, sizeof(*w));
	struct err e = {0};
	enum outcome outcome;
	int rc;

	if (!w)
		return -ENOMEM;
	w->conf = *conf;
	w->boss = boss;
	w->faults = faults;
	rc = worker_init(w, &e);
	if (rc == 0)
		rc = run_steps(w, role, &e);
	pthread_mutex_lock(&w->lock);
	w->fixed = true; /* the rollback, too, is not to be disturbed */
	pthread_mutex_unlock(&w->lock);
	loop_ignore_cancel(&w->loop);
	outcome = role->rollback(w, rc, &e);
	worker_say_done(w, outcome, rc ? &e : NULL);
	/* Who has the last word, a farewell or an abort, closes at once: the other side waits for that. */
	if (w->session && e.code != ECONNABORTED && (rc || conf->role == HO_SOURCE))
		session_linger(w->session, 1000);
	boss_free(boss); /* its thread ends before what it points to */
	worker_fini(w);
	loop_fini(&w->loop);
	throttle_fini(&w->throttle);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return 0;
}
