/* The source's side of a migration, as a table of steps (worker.h runs it). What each step may assume is what the steps above it did;
 * docs/wire.md shows the same with the target's beside it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/checks.h"
#include "migrate/codec.h"
#include "migrate/held.h"
#include "migrate/journal.h"
#include "migrate/transfer.h"
#include "migrate/worker.h"

#define POSTCOPY_SAY_MS 250
#define ANSWER_MS 20000 /* the target's QEMU and journal are asked at once; a hung disk is the slowest of them */

/* ---- 1 checks, 2 prepare --------------------------------------------------------------------------------- */

static int step_qmp(struct worker *w, struct err *e)
{
	return worker_open_vm(w, e);
}

static void on_check_failed(void *arg, const char *what, const char *why)
{
	struct err *e = arg;
	size_t n = strlen(e->msg);

	e->code = ENOTSUP;
	snprintf(e->msg + n, sizeof(e->msg) - n, "%s%s: %s", n ? "; " : "", what, why);
}

static int step_checks(struct worker *w, struct err *e)
{
	char status[32];
	int rc;

	e->msg[0] = 0;
	if (checks_run(&w->conf, &w->loop, &w->vm, on_check_failed, e))
		return -e->code;
	rc = vm_status(&w->vm, status, e);
	if (rc == 0 && strcmp(status, "running") != 0)
		w->was_paused = true;
	return rc;
}

static int step_connect(struct worker *w, struct err *e)
{
	struct session_conf conf = {.tls = w->tls,
		.peer = w->conf.peer,
		.address = w->conf.address,
		.port = w->conf.port,
		.limits = &w->limits,
		.cancel_fd = w->loop.wake_fd};
	int rc;

	memcpy(conf.token, w->conf.token, sizeof(conf.token));
	rc = session_connect(&conf, &w->session, e);
	return rc ? rc : loop_watch_session(&w->loop, session_event_fd(w->session), e);
}

static unsigned channels_auto(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 4 ? 4 : (unsigned)n;
}

static void fill_blocks(const struct worker *w, struct control_hello *h)
{
	h->n_blocks = w->n_blocks;
	for (unsigned i = 0; i < w->n_blocks; i++) {
		const char *dot = strrchr(w->blocks[i].path, '.');

		snprintf(h->blocks[i].name, sizeof(h->blocks[i].name), "%s", dot ? dot + 1 : "");
		h->blocks[i].bytes = w->blocks[i].bytes;
		h->blocks[i].page_bytes = w->blocks[i].page_bytes;
	}
}

static int step_hello(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_HELLO}, answer;
	struct control_hello *h = &msg.hello;
	int rc;

	if (!w->conf.suspend && !w->conf.resume && tracker_needs_digest()) {
		if (w->conf.postcopy)
			return err_set(e, ENOTSUP,
				"this kernel's way to track writes needs all memory compared while the guest stands, which post-copy "
				"cannot do; migrate without --postcopy");
		w->conf.verify_full = true;
	}
	h->version_low = CONTROL_VERSION_LOW;
	h->version_high = CONTROL_VERSION;
	snprintf(h->uuid, sizeof(h->uuid), "%s", w->conf.uuid);
	snprintf(h->domain, sizeof(h->domain), "%s", w->conf.domain);
	snprintf(h->host, sizeof(h->host), "%s", w->conf.host);
	snprintf(h->machine, sizeof(h->machine), "%s", w->machine);
	snprintf(h->qemu, sizeof(h->qemu), "%s", w->qemu);
	h->epoch = w->conf.epoch;
	h->n_channels = (uint16_t)(w->conf.n_channels ? w->conf.n_channels : channels_auto());
	h->compress = w->conf.compress;
	h->verify_full = w->conf.verify_full;
	h->was_paused = w->was_paused;
	h->postcopy = w->conf.postcopy || w->conf.resume;
	h->max_blackout_ms = w->conf.max_blackout_ms;
	h->bandwidth_bps = w->conf.bandwidth_bps;
	fill_blocks(w, h);
	rc = session_send(w->session, &msg, e);
	if (rc == 0)
		rc = worker_recv(w, CT_WELCOME, &answer, ANSWER_MS, e);
	if (rc == 0)
		rc = control_version_check(answer.welcome.version, e);
	if (rc)
		return rc;
	if (answer.welcome.n_channels > h->n_channels)
		return err_set(e, EPROTO, "%s wants more channels than we offered", w->conf.peer);
	if (h->postcopy && !(answer.welcome.codecs & CODEC_POSTCOPY))
		return err_set(e, ENOTSUP, "%s cannot do post-copy: its release is too old; migrate without --postcopy",
			w->conf.peer);
	w->postcopy = h->postcopy;
	w->n_channels = answer.welcome.n_channels;
	w->codecs = w->conf.compress ? answer.welcome.codecs & CODEC_ALL : 0;
	return 0;
}

static int step_channels(struct worker *w, struct err *e)
{
	struct control_msg answer;
	int rc = session_connect_data(w->session, w->n_channels, e);

	return rc ? rc : worker_recv(w, CT_READY, &answer, ANSWER_MS, e);
}

static int step_setup(struct worker *w, struct err *e)
{
	return vm_migration_setup(&w->vm, e);
}

static int step_run(struct worker *w, struct err *e)
{
	return worker_record(w, HO_RUN, e);
}

/* ---- 3 transfer ------------------------------------------------------------------------------------------ */

static int on_drain(void *arg, struct err *e)
{
	struct worker *w = arg;

	return vm_drain(&w->vm, e);
}

static int step_track(struct worker *w, struct err *e)
{
	struct xfer_tx_conf conf = {.blocks = w->blocks,
		.n_blocks = w->n_blocks,
		.tracker = &w->tracker,
		.limits = &w->limits,
		.codecs = w->codecs,
		.held_bytes = held_room(),
		.progress = transfer_progress,
		.drain = w->conf.n_disks_direct ? on_drain : NULL,
		.arg = w};
	int rc = tracker_open(w->conf.pid, w->blocks, w->n_blocks, &w->tracker, e);

	if (rc)
		return rc;
	w->has_tracker = true;
	conf.n_channels = session_n_data(w->session);
	for (unsigned i = 0; i < conf.n_channels; i++)
		conf.channels[i] = session_data(w->session, i);
	rc = xfer_tx_open(&conf, &w->tx, e);
	w->stats.setup_us = worker_now_us();
	return rc;
}

/* ---- 4 suspension ---------------------------------------------------------------------------------------- */

static int step_pause(struct worker *w, struct err *e)
{
	return w->stopped ? 0 : worker_record(w, HO_PAUSED, e);
}

int source_stop(struct worker *w, struct err *e)
{
	int rc;

	if (w->stopped)
		return 0;
	w->stats.stop_us = worker_now_us();
	w->stopped = true; /* before the answer: when it does not come we do not know */
	throttle_lift_begin(w);
	rc = vm_stop(&w->vm, e);
	throttle_lift_end(w);
	return rc;
}

static int step_stop(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_SUSPENDED, .was_paused = w->was_paused};
	int rc = source_stop(w, e);

	return rc ? rc : session_send(w->session, &msg, e);
}

static int step_last_round(struct worker *w, struct err *e)
{
	struct xfer_stats st = {0};
	int rc;

	if (w->lazy)
		xfer_tx_postpone(w->tx);
	rc = xfer_tx_round(w->tx, true, &st, e);

	if (rc == 0)
		worker_add_round(w, &st);
	w->stats.last = st;
	return rc;
}

static int step_digest(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_DIGEST};
	uint8_t full[XFER_DIGEST_BYTES];
	int rc;

	xfer_tx_digest(w->tx, w->stats.digest);
	w->stats.has_digest = true;
	memcpy(msg.digest.root, w->stats.digest, XFER_DIGEST_BYTES);
	msg.digest.want_full = w->conf.verify_full;
	rc = session_send(w->session, &msg, e);
	if (rc || !w->conf.verify_full)
		return rc;
	rc = ram_digest(w->blocks, w->n_blocks, w->n_channels, full, e);
	if (rc == 0 && memcmp(full, w->stats.digest, sizeof(full)) != 0)
		rc = err_set(
			e, EBADMSG, "the guest's RAM is not what was sent: a write was missed; the guest stays here");
	return rc;
}

static void on_postcopy_end(void *arg)
{
	struct worker *w = arg;
	const uint64_t one = 1;

	if (write(session_event_fd(w->session), &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

static int postcopy_begin(struct worker *w, struct bitmap todo[RAM_BLOCKS_MAX], struct err *e)
{
	const struct postcopy_conf conf = {
		.conn = session_data(w->session, 0), .limits = &w->limits, .on_end = on_postcopy_end, .arg = w};

	return postcopy_tx_start(&conf, w->blocks, w->n_blocks, todo, &w->ptx, e);
}

/* What was dirty when the guest was stopped: the target gives back what it holds of it, before its QEMU looks into RAM. */
static int step_postpone(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_POSTPONED};
	struct bitmap todo[RAM_BLOCKS_MAX] = {0};
	int rc;

	if (!w->postcopy)
		return 0;
	if (w->lazy)
		xfer_tx_take_postponed(w->tx, todo);
	for (unsigned b = 0; w->lazy && b < w->n_blocks; b++)
		msg.n_postponed += bitmap_count(&todo[b]);
	w->lazy = msg.n_postponed > 0;
	rc = session_send(w->session, &msg, e);
	if (rc == 0 && w->lazy)
		rc = postcopy_send_list(session_data(w->session, 0), todo, w->n_blocks, e);
	if (rc == 0 && w->lazy)
		rc = postcopy_begin(w, todo, e);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		bitmap_fini(&todo[b]);
	return rc;
}

static bool on_pre_switchover(void *arg)
{
	struct worker *w = arg;

	return w->vm.down || !strcmp(w->vm.migration, "pre-switchover") || !strcmp(w->vm.migration, "failed") ||
		!strcmp(w->vm.migration, "completed");
}

static bool on_migration_end(void *arg)
{
	struct worker *w = arg;

	return w->vm.down || !strcmp(w->vm.migration, "failed") || !strcmp(w->vm.migration, "completed");
}

static int device_state_failed(struct worker *w, struct err *e)
{
	char why[256];

	vm_migration_error(&w->vm, why, sizeof(why));
	/* the target's words, which arrive at about the same time, are better than these */
	return err_set(e, EREMOTEIO, "QEMU could not hand over its device state%s%s", why[0] ? ": " : "", why);
}

static int device_state_begin(struct worker *w, struct err *e)
{
	char path[PATH_MAX];
	int rc = worker_socket_path(w, "migrate-out.sock", path, sizeof(path), e);

	if (rc == 0)
		rc = relay_listen(w->session, path, &w->relay, e);
	if (rc == 0)
		rc = vm_migrate(&w->vm, path, e);
	if (rc)
		return rc;
	w->migrating = true;
	return worker_wait(w, on_pre_switchover, w, CT_COUNT, NULL, worker_dark_ms(w), e);
}

static int step_device_state(struct worker *w, struct err *e)
{
	int rc = device_state_begin(w, e);

	if (rc == 0 && strcmp(w->vm.migration, "pre-switchover") != 0)
		rc = device_state_failed(w, e);
	return rc ? rc : vm_migrate_continue(&w->vm, e);
}

/* The target says LOADED when its QEMU has taken everything; ours says completed at about the same time. */
static int step_loaded(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_COUNT}, end = {.type = CT_STATE_END};
	int rc;

	rc = worker_wait(w, on_migration_end, w, CT_LOADED, &msg, worker_dark_ms(w), e);
	if (rc == 0 && strcmp(w->vm.migration, "completed") != 0)
		rc = device_state_failed(w, e);
	if (rc)
		return rc;
	w->migrating = false;
	if (msg.type != CT_LOADED)
		rc = worker_recv(w, CT_LOADED, &msg, worker_dark_ms(w), e);
	if (rc)
		return rc;
	w->stats.device_bytes = end.state_bytes = relay_bytes(w->relay, NULL);
	if (memcmp(msg.digest.root, w->stats.digest, XFER_DIGEST_BYTES) != 0)
		return err_set(e, EBADMSG, "%s holds other RAM than we sent: the root digests differ", w->conf.peer);
	if (w->conf.verify_full && memcmp(msg.digest.full, w->stats.digest, XFER_DIGEST_BYTES) != 0)
		return err_set(e, EBADMSG, "%s holds other RAM than we sent: the full digests differ", w->conf.peer);
	w->stats.verified_full = w->conf.verify_full;
	return session_send(w->session, &end, e);
}

/* ---- 5 hand-off ------------------------------------------------------------------------------------------ */

/* After this is durable we never resume by ourselves: only when the target has refused. */
static int step_offer(struct worker *w, struct err *e)
{
	int rc;

	if (session_lost(w->session)) /* no doubt where none is needed */
		return err_set(e, EPIPE, "%s has gone", w->conf.peer);
	rc = worker_fix(w, e);
	return rc ? rc : worker_record(w, HO_OFFERED, e);
}

static int step_commit(struct worker *w, struct err *e)
{
	const struct control_msg msg = {.type = CT_COMMIT};

	if (session_lost(w->session))
		return err_set(e, EPIPE, "%s has gone", w->conf.peer);
	w->committed = true; /* before it is sent: when sending fails we do not know */
	return session_send(w->session, &msg, e);
}

static int step_owner(struct worker *w, struct err *e)
{
	struct control_msg msg;
	int rc = worker_recv(w, CT_OWNER, &msg, worker_dark_ms(w), e);

	if (rc)
		return rc;
	w->stats.owner_us = worker_now_us();
	w->stats.blackout_ms = w->was_paused ? 0 : (unsigned)((w->stats.owner_us - w->stats.stop_us + 999) / 1000);
	return 0;
}

/* Why it broke off: the pages' channel knows better than the control channel, which is broken off after it. */
static bool on_postcopy_failed(void *arg)
{
	struct worker *w = arg;

	return postcopy_tx_failed(w->ptx, NULL) != 0;
}

static void say_postcopy(struct worker *w)
{
	struct control_msg msg = {.type = CT_NOTE};
	struct control_note *n = &msg.note;
	struct xfer_stats st = {0};
	uint64_t left = 0;
	double s = (double)(worker_now_us() - w->stats.postcopy_us) / 1e6;

	postcopy_tx_stats(w->ptx, &st, &left);
	n->round = (uint16_t)w->round;
	n->percent = (uint8_t)(100 - (st.dirty_pages ? left * 100 / st.dirty_pages : 0));
	n->ram_bytes = w->stats.sum.ram_bytes + st.ram_bytes;
	n->wire_bytes = w->stats.sum.wire_bytes + st.ram_bytes;
	n->rate_bps = s > 0 ? (uint64_t)((double)st.ram_bytes / s) : 0;
	n->left_ms = n->rate_bps ? (uint32_t)((double)left * WIRE_PAGE_BYTES * 1000 / (double)n->rate_bps) : 0;
	n->blackout_ms = w->stats.blackout_ms;
	worker_say_progress(w, n);
	session_send(w->session, &msg, NULL);
}

/* The guest runs at the target. Ends with the target's word that it has all, or with the connection. */
static int step_postcopy(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_COUNT};
	struct xfer_stats st = {0};
	uint64_t left;
	int rc;

	if (!w->lazy)
		return 0;
	w->overtaken = true;
	w->stats.postcopy_us = worker_now_us();
	worker_phase(w, PHASE_POSTCOPY);
	do {
		say_postcopy(w);
		rc = worker_wait(w, on_postcopy_failed, w, CT_WHOLE, &msg, POSTCOPY_SAY_MS, e);
	} while ((rc == -ETIMEDOUT || rc == 0) && msg.type != CT_WHOLE && !on_postcopy_failed(w));
	if (msg.type != CT_WHOLE)
		return postcopy_tx_failed(w->ptx, e) ?: rc;
	postcopy_tx_stats(w->ptx, &st, &left);
	worker_add_round(w, &st);
	w->stats.postcopy_pages = st.dirty_pages;
	return 0;
}

static int step_gone(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_GONE, .blackout_ms = w->stats.blackout_ms};
	int rc = worker_record(w, HO_GONE, e);

	if (rc == 0)
		session_send(w->session, &msg, NULL); /* for the target's figures only */
	return rc;
}

static int step_quit(struct worker *w, struct err *e)
{
	(void)e;
	vm_quit(&w->vm, NULL); /* GONE is recorded: policyd ends it if this did not */
	return 0;
}

static const struct step steps[] = {
	{"qmp", PHASE_CHECKS, step_qmp},
	{"checks", PHASE_CHECKS, step_checks},
	{"connect", PHASE_PREPARE, step_connect},
	{"hello", PHASE_PREPARE, step_hello},
	{"channels", PHASE_PREPARE, step_channels},
	{"setup", PHASE_PREPARE, step_setup},
	{"run", PHASE_PREPARE, step_run},
	{"track", PHASE_PREPARE, step_track},
	{"transfer", PHASE_TRANSFER, transfer_run},
	{"pause", PHASE_SUSPEND, step_pause},
	{"stop", PHASE_SUSPEND, step_stop},
	{"last-round", PHASE_SUSPEND, step_last_round},
	{"digest", PHASE_SUSPEND, step_digest},
	{"postpone", PHASE_SUSPEND, step_postpone},
	{"device-state", PHASE_SUSPEND, step_device_state},
	{"loaded", PHASE_SUSPEND, step_loaded},
	{"offer", PHASE_HANDOFF, step_offer},
	{"commit", PHASE_HANDOFF, step_commit},
	{"owner", PHASE_HANDOFF, step_owner},
	{"postcopy", PHASE_HANDOFF, step_postcopy},
	{"gone", PHASE_HANDOFF, step_gone},
	{"quit", PHASE_HANDOFF, step_quit},
};

/* ---- when a step has failed ------------------------------------------------------------------------------ */

/* Make the guest run again as it did before. What hinders that is in @e. */
static void resume(struct worker *w, struct err *e)
{
	struct err why = {0};

	w->stats.blackout_ms = 0; /* what was predicted did not come */
	if (!w->stopped)
		return;
	/* First: a QEMU that waits for somebody to read its device state answers nothing, not even cont. */
	relay_free(w->relay);
	w->relay = NULL;
	if (w->migrating)
		vm_migrate_cancel(&w->vm, NULL);
	w->migrating = false;
	if (!w->was_paused && vm_cont(&w->vm, &why) != 0)
		err_set(e, why.code ? why.code : EIO, "the guest could not be resumed: %s", why.msg);
	else
		w->stats.blackout_ms =
			w->was_paused ? 0 : (unsigned)((worker_now_us() - w->stats.stop_us + 999) / 1000);
}

/* COMMIT may have been sent. Only the target's REFUSED, which it tells as ABORT, sets us free; else policyd has to ask. */
static enum outcome rollback_committed(struct worker *w, int rc, struct err *e)
{
	struct err why = {0};

	if (w->state == HO_GONE) /* policyd asked and was faster */
		return OUTCOME_MOVED;
	if (w->overtaken) {
		err_wrap(e,
			"the guest runs at %s, but part of its memory is still here: keep this host and its QEMU as they are, and it "
			"goes on as soon as both ends are connected again",
			w->conf.peer);
		return OUTCOME_IN_DOUBT;
	}
	if (rc == -ECONNABORTED || w->state == HO_ABORT) {
		if (worker_record(w, HO_ABORT, &why) == 0) {
			resume(w, &why);
			if (why.code)
				err_wrap(e, "%s", why.msg);
			return OUTCOME_STAYED;
		}
		err_wrap(e, "%s; in doubt until the target is asked; first", why.msg);
		return OUTCOME_IN_DOUBT;
	}
	err_wrap(e, "the hand-off to %s is in doubt; the guest stays paused until it answers", w->conf.peer);
	return OUTCOME_IN_DOUBT;
}

static enum outcome rollback(struct worker *w, int rc, struct err *e)
{
	struct err no_record = {0}, no_resume = {0};

	if (rc == 0)
		return OUTCOME_MOVED;
	if (w->committed || w->state == HO_GONE) {
		/* an ABORT may wait behind the failure to send */
		rc = worker_better_reason(w, rc, e);
		return rollback_committed(w, rc, e);
	}
	/* COMMIT was not sent, so the target cannot become the owner. ABORT goes before cont, for a worker that was forgotten could offer;
	 * but we are the only one here, so a full disk does not keep the guest down: policyd will record it. Reasons come after. */
	if (w->state != HO_NONE && worker_record(w, HO_ABORT, &no_record) == 0)
		no_record.code = 0;
	resume(w, &no_resume);
	worker_better_reason(w, rc, e);
	if (no_record.code && w->state != HO_ABORT && strcmp(no_record.msg, err_msg(e)) != 0)
		err_wrap(e, "%s; that was after", no_record.msg);
	if (no_resume.code)
		err_wrap(e, "%s", no_resume.msg);
	worker_abort_peer(w, e);
	return OUTCOME_STAYED;
}

/* ---- going on with a post-copy that was cut off -------------------------------------------------------------------- */

/* No monitor: the guest stands here for good, and only its RAM file is read. */
static int step_again(struct worker *w, struct err *e)
{
	struct journal_entry entry;
	int rc = journal_read(w->conf.state_dir, w->conf.uuid, w->conf.epoch, HO_SOURCE, &entry, e);

	if (rc)
		return rc;
	w->state = entry.state;
	w->committed = w->stopped = w->overtaken = w->fixed = w->lazy = true;
	if (w->state != HO_OFFERED)
		return err_set(e, EPROTO, "hand-off: the source is %s: there is no post-copy to go on with",
			handoff_name(w->state));
	return ram_find(w->conf.pid, w->conf.ram_dir, w->conf.uuid, w->blocks, &w->n_blocks, e);
}

static int add_todo(void *arg, unsigned block, uint64_t first, uint64_t n, struct err *e)
{
	struct bitmap *todo = arg;

	(void)e;
	bitmap_set_range(&todo[block], first, first + n);
	return 0;
}

static int step_list(struct worker *w, struct err *e)
{
	struct bitmap todo[RAM_BLOCKS_MAX] = {0};
	uint64_t n_pages[RAM_BLOCKS_MAX] = {0};
	int rc = 0;

	for (unsigned b = 0; rc == 0 && b < w->n_blocks; b++) {
		n_pages[b] = w->blocks[b].bytes / WIRE_PAGE_BYTES;
		if (bitmap_init(&todo[b], n_pages[b]))
			rc = err_set(e, ENOMEM, "out of memory");
	}
	if (rc == 0)
		rc = postcopy_take_list(session_data(w->session, 0), n_pages, w->n_blocks, add_todo, todo, e);
	if (rc == 0)
		rc = postcopy_begin(w, todo, e);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		bitmap_fini(&todo[b]);
	return rc;
}

static int step_quit_again(struct worker *w, struct err *e)
{
	(void)e;
	if (vm_open(&w->vm, &w->loop, w->conf.qmp, ANSWER_MS, NULL) == 0)
		vm_quit(&w->vm, NULL);
	return 0;
}

static const struct step resume_steps[] = {
	{"again", PHASE_PREPARE, step_again},
	{"connect", PHASE_PREPARE, step_connect},
	{"hello", PHASE_PREPARE, step_hello},
	{"channels", PHASE_PREPARE, step_channels},
	{"list", PHASE_PREPARE, step_list},
	{"postcopy", PHASE_HANDOFF, step_postcopy},
	{"gone", PHASE_HANDOFF, step_gone},
	{"quit", PHASE_HANDOFF, step_quit_again},
};

const struct role source_resume_role = {
	.steps = resume_steps, .n_steps = sizeof(resume_steps) / sizeof(resume_steps[0]), .rollback = rollback};
const struct role source_role = {.steps = steps, .n_steps = sizeof(steps) / sizeof(steps[0]), .rollback = rollback};
