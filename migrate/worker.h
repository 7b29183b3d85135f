/* One end of one migration: what source.c and target.c share. The engine thread runs a table of steps, one after the other; the first
 * that fails ends in the role's rollback, and that decides by what the journal holds. */
#ifndef MIGRATE_WORKER_H
#define MIGRATE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/boss.h"
#include "migrate/fault.h"
#include "migrate/handoff.h"
#include "migrate/loop.h"
#include "migrate/postcopy.h"
#include "migrate/precopy.h"
#include "migrate/relay.h"
#include "migrate/session.h"
#include "migrate/throttle.h"
#include "migrate/tls.h"
#include "migrate/tracker.h"
#include "migrate/vm.h"
#include "migrate/worker_conf.h"
#include "migrate/xfer.h"

enum phase { PHASE_CHECKS = 1, PHASE_PREPARE, PHASE_TRANSFER, PHASE_SUSPEND, PHASE_HANDOFF, PHASE_POSTCOPY };
enum outcome { OUTCOME_STAYED, OUTCOME_MOVED, OUTCOME_IN_DOUBT };

struct worker_stats {                                  /* of the "done" line */
	int64_t start_us, setup_us, stop_us, owner_us; /* CLOCK_MONOTONIC; 0 = not reached */
	unsigned rounds;
	struct xfer_stats sum, first, last; /* all rounds; the full pass; the one after the stop */
	uint64_t dirty_bps, device_bytes;
	uint8_t digest[XFER_DIGEST_BYTES];
	bool has_digest, verified_full;
	int64_t postcopy_us;      /* when the guest ran at the target before its memory was there */
	uint64_t postcopy_pages;  /* that came after it */
	uint64_t postcopy_faults; /* target: that somebody waited for */
	unsigned blackout_ms;     /* measured; at the target what the source says in GONE */
};

struct worker {
	struct worker_conf conf;
	const char *faults;
	struct boss *boss; /* borrowed */
	struct loop loop;
	struct vm vm;
	struct tls_ctx *tls;
	struct session *session;
	struct relay *relay;
	int lock_fd;
	struct ram_block blocks[RAM_BLOCKS_MAX];
	unsigned n_blocks, n_channels;
	unsigned codecs; /* source: CODEC_* that both sides have and the start line allows */
	char machine[64], qemu[64];
	struct xfer_limits limits;
	_Atomic unsigned max_blackout_ms, throttle_max;
	_Atomic bool suspend, patient; /* source: stop the guest at once; do not give up */
	struct worker_stats stats;
	_Atomic int phase; /* enum phase; the session's reader tells progress with it */

	enum handoff_state state; /* what we have recorded; engine thread */
	bool committed;           /* source: COMMIT was sent, or may have been */
	bool stopped;             /* source: we stopped the guest */
	struct err stop_err;      /* source: why that failed within a round */
	bool was_paused;
	bool migrating; /* source: QEMU was told "migrate" */

	pthread_mutex_t lock; /* around what follows */
	bool fixed;           /* past the point of no return: a cancel is refused */
	bool cancelled, boss_gone, go, qemu_gone;
	bool alone; /* target, from LOADED on: it goes on without its policyd */

	struct tracker tracker;
	bool has_tracker;
	struct xfer_tx *tx;
	struct xfer_rx *rx;
	unsigned round;
	struct precopy_view view; /* source: what the pre-copy rule knows (transfer.c) */
	bool postcopy;            /* both sides agreed that it may be: HELLO's flag */
	bool lazy;                /* it is: part of RAM comes after the guest */
	bool overtaken;           /* source: the guest runs at the target; nothing makes it run here again */
	struct missing *missing;  /* target */
	struct postcopy_tx *ptx;
	struct postcopy_rx *prx;
	struct throttle throttle; /* source: how the guest is slowed for that */
	bool looked;              /* a sample was taken within this round */
	int64_t said_us;          /* when progress was told last */
};

struct step {
	const char *name;
	enum phase phase;
	int (*run)(struct worker *w, struct err *e);
};

/* Steps of one role, and what to do when one has failed (or NULL error: all went well). Returns the outcome. */
struct role {
	const struct step *steps;
	unsigned n_steps;
	enum outcome (*rollback)(struct worker *w, int rc, struct err *e);
};
extern const struct role source_role, target_role, source_resume_role, target_resume_role;

/* The whole life: steps, rollback, "done" line, clean-up. @faults: see fault.h; may be NULL. */
int worker_run(const struct worker_conf *conf, struct boss *boss, const char *faults);

/* ---- for source.c and target.c --------------------------------------------------------------------------- */

int64_t worker_now_us(void);
/* How long anything may take while the guest stands: 10 s, and with verify_full what reading RAM takes at worst. */
unsigned worker_dark_ms(const struct worker *w);
/* Record, tell policyd, remember. -EPROTO: policyd was faster; w->state is then what it recorded. */
int worker_record(struct worker *w, enum handoff_state to, struct err *e);
/* The next frame, which must be of @type (STATE frames go to the relay, ABORT is -ECONNABORTED with its reason). */
int worker_recv(struct worker *w, enum control_type type, struct control_msg *out, unsigned timeout_ms, struct err *e);
/* Run the loop until @ready, feeding the relay; an ABORT or a lost session is an error; frames of other types stay queued only if
 * @keep is their type, in *@kept_out (at most one). */
int worker_wait(struct worker *w, bool (*ready)(void *arg), void *arg, enum control_type keep,
	struct control_msg *kept_out, unsigned timeout_ms, struct err *e);
/* Set fixed unless cancelled: after it a cancel is refused. -ECANCELED. */
int worker_fix(struct worker *w, struct err *e);
bool worker_cancelled(struct worker *w);
/* Is there a reason to begin no further step: cancelled, or our QEMU has ended? -ECANCELED, -ESRCH with a sentence. */
int worker_check_end(struct worker *w, struct err *e);
/* QEMU's part of the preparation on either side: monitor, RAM blocks, memory check, machine, version. */
int worker_open_vm(struct worker *w, struct err *e);
/* A failure of the connection or the data plane has often a better reason: the other side's ABORT, or our own cancel. */
int worker_better_reason(struct worker *w, int rc, struct err *e);
void worker_abort_peer(struct worker *w, const struct err *e);
/* Last lines of QEMU's stderr (run_dir/qemu.log), on one line. */
void worker_qemu_log_tail(const struct worker *w, char *out, size_t size);
void worker_add_round(struct worker *w, const struct xfer_stats *round);
int worker_socket_path(const struct worker *w, const char *leaf, char *out, size_t size, struct err *e);
/* Enter a phase: remembered, and told once. */
void worker_phase(struct worker *w, enum phase phase);
void worker_say_progress(struct worker *w, const struct control_note *n);

#endif
