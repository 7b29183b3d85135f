/* The target's side of a migration, as a table of steps (worker.h runs it); docs/wire.md shows it beside the source's. Its QEMU was started by
 * policyd with "-incoming defer" and answers QMP before anything is copied (7.2 wipes a virtio-mem file when it makes the device). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/codec.h"
#include "migrate/journal.h"
#include "migrate/worker.h"

#define CONNECT_MS 60000 /* the reservation's life without a connection (docs/peers.md) */
#define CHANNELS_MS 15000
#define POSTCOPY_LOOK_MS 1000
#define ANSWER_MS 20000
#define FAREWELL_MS 5000

/* ---- 2 prepare ------------------------------------------------------------------------------------------- */

static int step_qmp(struct worker *w, struct err *e)
{
	char status[32];
	int rc = worker_open_vm(w, e);

	if (rc == 0)
		rc = vm_status(&w->vm, status, e);
	if (rc == 0 && strcmp(status, "inmigrate") != 0)
		rc = err_set(e, EBUSY, "the QEMU that should wait for the guest is %s", status);
	return rc;
}

static int step_setup(struct worker *w, struct err *e)
{
	char path[PATH_MAX];
	int rc = worker_socket_path(w, "migrate-in.sock", path, sizeof(path), e);

	if (rc == 0)
		rc = vm_migration_setup(&w->vm, e);
	if (rc)
		return rc;
	unlink(path);
	return vm_incoming(&w->vm, path, e);
}

static int step_prepared(struct worker *w, struct err *e)
{
	return worker_record(w, HO_PREPARED, e);
}

static void on_note(void *arg, const struct control_note *n)
{
	worker_say_progress(arg, n);
}

static int step_listen(struct worker *w, struct err *e)
{
	struct session_conf conf = {.tls = w->tls,
		.peer = w->conf.peer,
		.address = w->conf.address,
		.port = w->conf.port,
		.port_first = w->conf.port_first,
		.port_last = w->conf.port_last,
		.limits = &w->limits,
		.cancel_fd = w->loop.wake_fd,
		.on_note = on_note,
		.arg = w};
	uint16_t port = 0;
	int rc;

	memcpy(conf.token, w->conf.token, sizeof(conf.token));
	rc = session_listen(&conf, &w->session, &port, e);
	if (rc)
		return rc;
	boss_send(w->boss, json_pack("{s:s, s:i}", "event", "listening", "port", (int)port));
	return loop_watch_session(&w->loop, session_event_fd(w->session), e);
}

static int step_accept(struct worker *w, struct err *e)
{
	return session_accept(w->session, CONNECT_MS, e);
}

static int check_blocks(const struct worker *w, const struct control_hello *h, struct err *e)
{
	if (h->n_blocks != w->n_blocks)
		return err_set(
			e, EINVAL, "the guest has %u RAM blocks at the source, %u here", h->n_blocks, w->n_blocks);
	for (unsigned i = 0; i < h->n_blocks; i++) {
		const char *dot = strrchr(w->blocks[i].path, '.');

		if (strcmp(h->blocks[i].name, dot ? dot + 1 : "") != 0)
			return err_set(e, EINVAL, "RAM block %u is \"%s\" at the source, \"%s\" here", i,
				h->blocks[i].name, dot ? dot + 1 : "");
		if (h->blocks[i].bytes != w->blocks[i].bytes)
			return err_set(e, EINVAL, "RAM block \"%s\" has %llu MiB at the source, %llu MiB here",
				h->blocks[i].name, (unsigned long long)(h->blocks[i].bytes >> 20),
				(unsigned long long)(w->blocks[i].bytes >> 20));
	}
	return 0;
}

static int check_hello(const struct worker *w, const struct control_hello *h, struct err *e)
{
	if (strcmp(h->uuid, w->conf.uuid) != 0 || h->epoch != w->conf.epoch)
		return err_set(e, EINVAL, "the source brings domain %s epoch %llu, we wait for %s epoch %llu", h->uuid,
			(unsigned long long)h->epoch, w->conf.uuid, (unsigned long long)w->conf.epoch);
	if (w->conf.resume && !h->postcopy)
		return err_set(e, EPROTO,
			"the source begins a new transfer of %s, which runs here and waits for the rest of its memory",
			h->uuid);
	if (strcmp(h->machine, w->machine) != 0)
		return err_set(e, EINVAL, "the machine is %s at the source, %s here", h->machine, w->machine);
	return check_blocks(w, h, e);
}

static int open_missing(struct worker *w, struct err *e)
{
	const struct missing_conf conf = {
		.pid = w->conf.pid, .blocks = w->blocks, .n_blocks = w->n_blocks, .run_dir = w->conf.run_dir};

	return missing_open(&conf, &w->missing, e);
}

static int step_hello(struct worker *w, struct err *e)
{
	struct control_msg msg, answer = {.type = CT_WELCOME};
	unsigned most = w->conf.n_channels ? w->conf.n_channels : XFER_CHANNELS_MAX;
	int rc = worker_recv(w, CT_HELLO, &msg, ANSWER_MS, e);

	if (rc == 0)
		rc = control_version_choose(msg.hello.version_low, msg.hello.version_high, &answer.welcome.version, e);
	if (rc == 0)
		rc = check_hello(w, &msg.hello, e);
	if (rc == 0 && msg.hello.postcopy && !w->missing) /* a resumed one has its list from disk */
		rc = open_missing(w, e);
	if (rc)
		return rc;
	w->postcopy = msg.hello.postcopy;
	w->was_paused |= msg.hello.was_paused;
	w->n_channels = msg.hello.n_channels < most ? msg.hello.n_channels : most;
	answer.welcome.n_channels = (uint16_t)w->n_channels;
	answer.welcome.codecs = CODEC_ALL | (w->postcopy ? CODEC_POSTCOPY : 0);
	snprintf(answer.welcome.qemu, sizeof(answer.welcome.qemu), "%s", w->qemu);
	return session_send(w->session, &answer, e);
}

static int step_channels(struct worker *w, struct err *e)
{
	const struct control_msg ready = {.type = CT_READY};
	struct xfer_rx_conf conf = {.blocks = w->blocks, .n_blocks = w->n_blocks, .limits = &w->limits};
	int rc = session_accept_data(w->session, w->n_channels, CHANNELS_MS, e);

	if (rc)
		return rc;
	conf.n_channels = session_n_data(w->session);
	for (unsigned i = 0; i < conf.n_channels; i++)
		conf.channels[i] = session_data(w->session, i);
	rc = xfer_rx_open(&conf, &w->rx, e);
	w->stats.setup_us = worker_now_us();
	return rc ? rc : session_send(w->session, &ready, e);
}

/* ---- 3 transfer, 4 suspension ---------------------------------------------------------------------------- */

static int step_receive(struct worker *w, struct err *e)
{
	bool last = false;
	int rc = 0;

	while (rc == 0 && !last) {
		struct xfer_stats st = {0};

		rc = xfer_rx_round(w->rx, &last, &st, e);
		if (rc == 0)
			worker_add_round(w, &st);
		w->round++;
	}
	return rc;
}

/* All of RAM has landed; is it what the source sent? Only then device state may be loaded, which looks into RAM. */
static int step_root(struct worker *w, struct err *e)
{
	struct control_msg msg;
	int rc = worker_recv(w, CT_SUSPENDED, &msg, worker_dark_ms(w), e);

	if (rc)
		return rc;
	w->was_paused |= msg.was_paused;
	rc = worker_recv(w, CT_DIGEST, &msg, worker_dark_ms(w), e);
	if (rc)
		return rc;
	xfer_rx_digest(w->rx, w->stats.digest);
	w->stats.has_digest = true;
	w->stats.verified_full = msg.digest.want_full;
	if (memcmp(msg.digest.root, w->stats.digest, XFER_DIGEST_BYTES) != 0)
		return err_set(e, EBADMSG, "the RAM that landed is not what was sent: the root digests differ");
	return 0;
}

static int step_full(struct worker *w, struct err *e)
{
	uint8_t full[XFER_DIGEST_BYTES];
	int rc;

	if (!w->stats.verified_full)
		return 0;
	rc = ram_digest(w->blocks, w->n_blocks, w->n_channels, full, e);
	if (rc == 0 && memcmp(full, w->stats.digest, sizeof(full)) != 0)
		rc = err_set(e, EBADMSG, "the RAM files do not hold what landed: the full digest differs");
	return rc;
}

static void on_postcopy_end(void *arg)
{
	struct worker *w = arg;
	const uint64_t one = 1;

	if (write(session_event_fd(w->session), &one, sizeof(one)) < 0)
		return; /* it is readable already */
}

static int postcopy_begin(struct worker *w, struct err *e)
{
	const struct postcopy_conf conf = {
		.conn = session_data(w->session, 0), .limits = &w->limits, .on_end = on_postcopy_end, .arg = w};

	w->stats.postcopy_pages = missing_left(w->missing);
	return postcopy_rx_start(&conf, w->missing, w->blocks, w->n_blocks, &w->prx, e);
}

static int on_missing(void *arg, unsigned block, uint64_t first, uint64_t n, struct err *e)
{
	struct worker *w = arg;

	return missing_want(w->missing, block, first, n, e);
}

/* Which pages come after the guest. From here on, and QEMU's device state comes next, whoever touches one waits for it. */
static int step_postpone(struct worker *w, struct err *e)
{
	struct control_msg msg;
	uint64_t n_pages[RAM_BLOCKS_MAX];
	int rc;

	if (!w->postcopy)
		return 0;
	rc = worker_recv(w, CT_POSTPONED, &msg, worker_dark_ms(w), e);
	if (rc || !msg.n_postponed)
		return rc;
	w->lazy = true;
	for (unsigned b = 0; b < w->n_blocks; b++)
		n_pages[b] = w->blocks[b].bytes / WIRE_PAGE_BYTES;
	rc = missing_arm(w->missing, e);
	if (rc == 0)
		rc = postcopy_take_list(session_data(w->session, 0), n_pages, w->n_blocks, on_missing, w, e);
	if (rc)
		return rc;
	missing_seal(w->missing);
	return postcopy_begin(w, e);
}

static bool on_incoming_end(void *arg)
{
	struct worker *w = arg;

	return w->vm.down || !strcmp(w->vm.migration, "completed") || !strcmp(w->vm.migration, "failed");
}

/* A target's QEMU mostly dies of what it does not like, and says so on its stderr only. */
static int incoming_failed(const struct worker *w, const char *what, struct err *e)
{
	char tail[256], text[ERR_MSG_MAX];

	snprintf(text, sizeof(text), "%s", w->vm.down ? "QEMU has ended" : what); /* @what may be @e's own */
	worker_qemu_log_tail(w, tail, sizeof(tail));
	return err_set(e, EREMOTEIO, "%.200s%s%s", text, tail[0] ? ": " : "", tail);
}

static int step_device_state(struct worker *w, struct err *e)
{
	char path[PATH_MAX];
	int rc = worker_socket_path(w, "migrate-in.sock", path, sizeof(path), e);

	w->vm.migration[0] = 0;
	if (rc == 0)
		rc = relay_connect(w->session, path, &w->relay, e);
	if (rc == 0)
		rc = worker_wait(w, on_incoming_end, w, CT_COUNT, NULL, worker_dark_ms(w), e);
	if (rc == -EREMOTEIO)
		rc = incoming_failed(w, e->msg, e);
	else if (rc == 0 && strcmp(w->vm.migration, "completed") != 0)
		rc = incoming_failed(w, "QEMU did not take the device state", e);
	unlink(path);
	return rc;
}

/* Is our QEMU there, and holds the guest stopped? Asked just before it is said, and just before we become the owner. */
static int check_holds(struct worker *w, struct err *e)
{
	char status[32];
	int rc = vm_status(&w->vm, status, e);

	if (rc == -ENOTCONN || rc == -EPIPE)
		return incoming_failed(w, "QEMU does not answer", e);
	if (rc == 0 && strcmp(status, "paused") != 0 && strcmp(status, "postmigrate") != 0)
		rc = err_set(e, EIO, "QEMU has taken the guest but is %s", status);
	return rc;
}

static int step_loaded(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_LOADED};
	int rc = check_holds(w, e);

	pthread_mutex_lock(&w->lock);
	w->alone = true;
	pthread_mutex_unlock(&w->lock);
	if (rc == 0)
		rc = worker_record(w, HO_LOADED, e);
	if (rc)
		return rc;
	memcpy(msg.digest.root, w->stats.digest, XFER_DIGEST_BYTES);
	if (w->stats.verified_full)
		memcpy(msg.digest.full, w->stats.digest, XFER_DIGEST_BYTES);
	return session_send(w->session, &msg, e);
}

/* ---- 5 hand-off ------------------------------------------------------------------------------------------ */

static int step_commit(struct worker *w, struct err *e)
{
	struct control_msg msg;
	int rc = worker_recv(w, CT_COMMIT, &msg, worker_dark_ms(w), e);

	if (rc == 0)
		rc = worker_fix(w, e);
	w->stats.stop_us = worker_now_us();
	return rc ? rc : check_holds(w, e);
}

static int step_own(struct worker *w, struct err *e)
{
	return worker_record(w, w->lazy ? HO_PARTIAL : HO_OWNER, e);
}

static int step_resume(struct worker *w, struct err *e)
{
	if (w->was_paused || w->conf.leave_paused)
		return 0;
	return vm_cont(&w->vm, e);
}

static int step_owner(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_OWNER};

	(void)e;
	if (!w->session) /* a post-copy that was over when this worker looked */
		return 0;
	w->stats.owner_us = worker_now_us();
	msg.owner.resume_us = (uint32_t)(w->stats.owner_us - w->stats.stop_us);
	msg.owner.running = !w->was_paused && !w->conf.leave_paused;
	session_send(w->session, &msg, NULL); /* if it is lost the source's policyd asks */
	return 0;
}

static int step_announce(struct worker *w, struct err *e)
{
	(void)e;
	if (!w->was_paused && !w->conf.leave_paused)
		vm_announce(&w->vm, NULL); /* a guest without networks has nobody to tell */
	return 0;
}

static bool on_postcopy_over(void *arg)
{
	struct worker *w = arg;

	return !missing_left(w->missing) || postcopy_rx_failed(w->prx, NULL);
}

/* The guest runs, and what it lacks comes. Without a limit of time: the source keeps it, and the connection's own limit tells when it is lost. */
static int step_postcopy(struct worker *w, struct err *e)
{
	struct control_msg msg = {.type = CT_WHOLE};
	int rc;

	if (!w->lazy)
		return w->missing ? missing_finish(w->missing, e) : 0;
	w->stats.postcopy_us = worker_now_us();
	worker_phase(w, PHASE_POSTCOPY);
	do
		rc = worker_wait(w, on_postcopy_over, w, CT_COUNT, NULL, POSTCOPY_LOOK_MS, e);
	while (rc == -ETIMEDOUT && !on_postcopy_over(w));
	if (missing_left(w->missing))
		return postcopy_rx_failed(w->prx, e) ?: rc;
	w->stats.postcopy_faults = postcopy_rx_faults(w->prx);
	postcopy_rx_free(w->prx);
	w->prx = NULL;
	rc = missing_finish(w->missing, e);
	if (rc == 0)
		rc = worker_record(w, HO_OWNER, e);
	if (rc == 0)
		session_send(w->session, &msg, NULL); /* if it is lost the source's policyd asks */
	return rc;
}

/* GONE brings the source's measure of the blackout; without it ours, from COMMIT on, is all we know. */
static int step_farewell(struct worker *w, struct err *e)
{
	struct control_msg msg;

	(void)e;
	if (worker_recv(w, CT_GONE, &msg, FAREWELL_MS, NULL) == 0)
		w->stats.blackout_ms = msg.blackout_ms;
	return 0;
}

static const struct step steps[] = {
	{"qmp", PHASE_PREPARE, step_qmp},
	{"setup", PHASE_PREPARE, step_setup},
	{"prepared", PHASE_PREPARE, step_prepared},
	{"listen", PHASE_PREPARE, step_listen},
	{"accept", PHASE_PREPARE, step_accept},
	{"hello", PHASE_PREPARE, step_hello},
	{"channels", PHASE_PREPARE, step_channels},
	{"receive", PHASE_TRANSFER, step_receive},
	{"root", PHASE_SUSPEND, step_root},
	{"full", PHASE_SUSPEND, step_full},
	{"postpone", PHASE_SUSPEND, step_postpone},
	{"device-state", PHASE_SUSPEND, step_device_state},
	{"loaded", PHASE_SUSPEND, step_loaded},
	{"commit", PHASE_HANDOFF, step_commit},
	{"own", PHASE_HANDOFF, step_own},
	{"resume", PHASE_HANDOFF, step_resume},
	{"owner", PHASE_HANDOFF, step_owner},
	{"announce", PHASE_HANDOFF, step_announce},
	{"postcopy", PHASE_HANDOFF, step_postcopy},
	{"farewell", PHASE_HANDOFF, step_farewell},
};

/* ---- when a step has failed ------------------------------------------------------------------------------ */

static enum outcome rollback(struct worker *w, int rc, struct err *e)
{
	struct err why = {0};

	if (rc == 0)
		return OUTCOME_MOVED;
	if (w->state == HO_OWNER) { /* the guest is ours, whatever went wrong after */
		step_owner(w, NULL);
		err_wrap(e, "the guest is here, but");
		return OUTCOME_MOVED;
	}
	worker_better_reason(w, rc, e);
	if (w->state == HO_PARTIAL) {
		err_wrap(e,
			"the guest is here, but %llu MiB of its memory are still at %s: it waits wherever it needs them, and goes on as soon "
			"as both ends are connected again",
			w->missing ? (unsigned long long)(missing_left(w->missing) * WIRE_PAGE_BYTES >> 20) : 0,
			w->conf.peer);
		return OUTCOME_IN_DOUBT;
	}
	if (w->conf.resume) { /* nothing of ours has begun */
		worker_abort_peer(w, e);
		return w->state == HO_REFUSED ? OUTCOME_STAYED : OUTCOME_IN_DOUBT;
	}
	if (w->state != HO_NONE && worker_record(w, HO_REFUSED, &why) != 0 && w->state != HO_REFUSED) {
		/* Nothing may be said to the source that is not durable: it asks, and policyd answers. */
		err_wrap(e, "%s; in doubt until it can be recorded; first", why.msg);
		return w->state == HO_OWNER ? OUTCOME_MOVED : OUTCOME_IN_DOUBT;
	}
	worker_abort_peer(w, e);
	vm_quit(&w->vm, NULL);
	return OUTCOME_STAYED;
}

/* ---- going on with a post-copy that was cut off -------------------------------------------------------------------- */

/* No monitor: QEMU's main thread may be one of those that wait. */
static int step_again(struct worker *w, struct err *e)
{
	struct journal_entry entry;
	struct missing_conf conf = {.pid = w->conf.pid, .blocks = w->blocks, .run_dir = w->conf.run_dir};
	int rc = journal_read(w->conf.state_dir, w->conf.uuid, w->conf.epoch, HO_TARGET, &entry, e);

	if (rc)
		return rc;
	w->state = entry.state;
	w->fixed = w->alone = w->lazy = w->postcopy = true;
	if (w->state != HO_PARTIAL)
		return err_set(e, EPROTO, "hand-off: the target is %s: there is no post-copy to go on with",
			handoff_name(w->state));
	rc = ram_find(w->conf.pid, w->conf.ram_dir, w->conf.uuid, w->blocks, &w->n_blocks, e);
	conf.n_blocks = w->n_blocks;
	return rc ? rc : missing_reopen(&conf, &w->missing, e);
}

static int step_channel(struct worker *w, struct err *e)
{
	const struct control_msg ready = {.type = CT_READY};
	int rc = session_accept_data(w->session, w->n_channels, CHANNELS_MS, e);

	return rc ? rc : session_send(w->session, &ready, e);
}

static int step_list(struct worker *w, struct err *e)
{
	int rc = postcopy_send_list(session_data(w->session, 0), missing_bitmaps(w->missing), w->n_blocks, e);

	return rc ? rc : postcopy_begin(w, e);
}

/* The worker before us may have died before it let the guest run. */
static int step_run_again(struct worker *w, struct err *e)
{
	char status[32];
	int rc = vm_open(&w->vm, &w->loop, w->conf.qmp, ANSWER_MS, e);

	if (rc == 0)
		rc = vm_status(&w->vm, status, e);
	if (rc == 0 && strcmp(status, "running") != 0)
		rc = step_resume(w, e);
	return rc;
}

static const struct step resume_steps[] = {
	{"again", PHASE_PREPARE, step_again},
	{"listen", PHASE_PREPARE, step_listen},
	{"accept", PHASE_PREPARE, step_accept},
	{"hello", PHASE_PREPARE, step_hello},
	{"channels", PHASE_PREPARE, step_channel},
	{"list", PHASE_PREPARE, step_list},
	{"postcopy", PHASE_HANDOFF, step_postcopy},
	{"run", PHASE_HANDOFF, step_run_again},
	{"farewell", PHASE_HANDOFF, step_farewell},
};

const struct role target_resume_role = {
	.steps = resume_steps, .n_steps = sizeof(resume_steps) / sizeof(resume_steps[0]), .rollback = rollback};
const struct role target_role = {.steps = steps, .n_steps = sizeof(steps) / sizeof(steps[0]), .rollback = rollback};
