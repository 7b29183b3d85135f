/* A domain at run time: its definition, the QEMU that runs it (if any), what it has been given, and the one job on it.
 *
 * Owned by p->doms. Loop thread only. The store has a copy of all that must survive (dom_save); the run folder has the rest
 * (launch_scan). Nobody but dom.c and jobs writes the members.
 *
 * Charging: a domain that holds resources (any state but inactive) is charged max(given, reserved) CPU and memory against the
 * host's capacity. CPU is its entitlement: its vCPUs, or less where they are capped (launched.cpu_cap). Who wants to grow one reserves first (dom_reserve), so two growths can never overcommit; a target of a
 * migration is a domain too, with a reservation. */
#ifndef POLICYD_DOM_H
#define POLICYD_DOM_H

#include <jansson.h>

#include "domain/launch.h"
#include "domain/qmp.h"
#include "domain/spec.h"
#include "domain/state.h"
#include "policyd/dom_mark.h"
#include "policyd/policyd.h"
#include "policyd/store.h"
#include "resize/guest_psi.h"

struct job;
struct event;
struct watch_domain;
struct cpu_group;
struct qga;

struct guard_psi { /* zero = nothing known */
	struct guest_psi psi;
	bool awaited, refused; /* an answer is to come; its guest cannot say */
};

struct guest_load { /* as its agent says (act/agent_load.h) */
	double avg[3];
	int64_t at_ms, next_ms; /* interval clock: when that was, when it is asked next; 0 = never, now */
	bool awaited;
};

struct dom_hold {
	bool on;
	char reason[128];
	int64_t until_ms; /* wall clock; 0 = until released */
	char by[96];
};

struct dom {
	TAILQ_ENTRY(dom) link;
	struct policyd *p;
	struct domain_spec spec;
	enum domain_state state; /* written by dom_step only */
	bool stored;   /* the definition is (being) kept in the store; false: target of a migration, not ours yet */
	bool bound;    /* an operator bound it: it stays bound when its guest ends (else: inactive) */
	bool adopting; /* start-up: found running, QEMU has not answered yet */
	bool gone;     /* it left this host (job's drop): not found any more, freed with its last job */

	/* QEMU; launched.pid 0 = none */
	struct launched launched;
	int pidfd; /* -1 */
	struct event *ev_exit;
	struct qmp *qmp; /* NULL without QEMU */
	bool qmp_up;
	bool guest_running;    /* as query-status and STOP/RESUME say */
	char qemu_version[32]; /* "7.2.22", as it says itself; "" = has not yet */
	char end_reason[32];   /* SHUTDOWN's reason, "" = none seen */
	struct event *ev_kill; /* SIGKILL, where quit did not help */

	/* given now, as QEMU answered; without QEMU: what it will be started with */
	unsigned vcpus;
	uint64_t mem_bytes;
	uint64_t mem_saved; /* start-up: what the store said it has */
	/* Parts of mem_bytes, as QEMU answered: the balloon's, and what is plugged of the virtio-mem device; and how much the guest may plug
	 * of it without asking anybody (after a reset it plugs anew), which is what is charged. */
	uint64_t balloon_bytes, vmem_bytes, vmem_requested;
	/* wanted and not yet there (0 = nothing more than given) */
	unsigned cpu_reserved; /* percent of one CPU */
	uint64_t mem_reserved;

	struct dom_hold hold;
	struct dom_mark marks[MARK_KIND_COUNT]; /* dom_marked looks at their time */
	bool marks_stored;                      /* the store has some */
	uint64_t epoch;                         /* of the last hand-off or start; grows; durable before it is used */
	int64_t started_ms;                     /* wall clock; 0 = not running */
	int64_t last_resize_ms, last_move_ms;
	/* host that asks for it back (maintain.c), until wanted_until_ms; not kept over a restart: it asks again */
	char wanted_on[NAME_MAX_LEN];
	int64_t wanted_since_ms, wanted_until_ms;
	int64_t need_since_ms;     /* brain.c's: it has been in need since then (wall clock); 0 = is not */
	struct dom_sizing *sizing; /* act/mem_sizing.c's; NULL = nothing seen yet */

	/* a hand-off that only @doubt_peer can settle (set and cleared by policyd/cluster, "" = none): nobody resumes, stops, starts or removes it */
	char doubt_peer[CONF_NAME];

	struct run_on *run_on; /* adopt.c's: a same-host move was cut off, and its guest must run on; mostly NULL */
	struct job *job;       /* at most one; NULL = idle */
	char last_op[64];      /* "set-memory", ... */
	char last_error[ERR_MSG_MAX]; /* of the last operation; "" = it worked. Sets flag e */
	struct watch_domain *watch;   /* brain.c's; NULL without QEMU */
	struct qga *qga;              /* QEMU's guest agent, if its guest has one; NULL: no channel to it */
	struct guest_load guest_load;
	struct guard_psi guard_psi;  /* what its agent says while it is guarded (act/mem_rules.h) */
	struct cpu_group *cpu_group; /* act/cpu_group.c's; NULL = none */
	char blocked
		[160]; /* act/blockers.c: why QEMU would refuse to move it live; "" = it would not, as far as is known */
	int64_t blocked_asked_ms;
};

/* ---- the list ---- */
struct dom *dom_find(struct policyd *p, const char *name);
struct dom *dom_find_uuid(struct policyd *p, const char *uuid);
/* A new domain, inactive, given = boot sizes, not stored yet. -EEXIST: name or uuid is taken (sentence says by what). @spec is copied. */
int dom_new(struct policyd *p, const struct domain_spec *spec, struct dom **out, struct err *e);
/* Forget it: connection, events, reservation, object. QEMU is left alone. Not while a job is on it (assert). */
void dom_free(struct dom *d);

/* Another name (a migration's HOST:NEWNAME arrives under it). Only while inactive. -EEXIST. */
int dom_rename(struct dom *d, const char *name, struct err *e);

/* ---- state ---- */
/* domain_state_step with the log line. -EPROTO: the table has no edge, nothing changed. */
int dom_step(struct dom *d, enum domain_event ev, struct err *e);
void dom_flags(const struct dom *d, struct domain_flags *out);
/* The epoch that a start or a move of @d takes: above its own, and the clock's milliseconds, so that a domain that is removed and defined again
 * with its uuid never comes to an epoch of its earlier life, whose journals are still on all the hosts where it was. */
uint64_t dom_next_epoch(const struct dom *d);
/* Durable copy of definition, entitlement, hold and epoch. @done may be NULL; it runs once on the loop thread when the copy is on disk, or
 * could not be made. Marks @d stored. */
void dom_save(struct dom *d, store_done_fn *done, void *arg);
/* The result of an operation, for flag e and show. NULL or code 0 clears it. */
void dom_note_result(struct dom *d, const char *op, const struct err *e);
bool dom_held(struct dom *d); /* also ends a hold whose time is over */

/* ---- capacity ---- */
void dom_charge(const struct dom *d, unsigned *cpu_percent_out, uint64_t *mem_out);
/* What it is entitled to while it runs, percent of one CPU: its vCPUs, or its cap. */
unsigned dom_cpu_percent(const struct dom *d);
/* The definition that its RAM files were made by, or would be. */
const struct domain_spec *dom_files_spec(const struct dom *d);
/* Bytes that its RAM files hold now. */
uint64_t dom_resident(const struct dom *d);
/* Make sure that @vcpus (as many as it has: its entitlement, no more) and @mem_bytes in all (not: more) may be had: -ENOSPC with a sentence that says how much is there, and nothing
 * is changed. Shrinking always works. Released by dom_unreserve, which jobs call when they end. */
int dom_reserve(struct dom *d, unsigned vcpus, uint64_t mem_bytes, struct err *e);
/* The same for CPU alone, @percent of one CPU in all; its memory stays as it is charged. */
int dom_reserve_cpu(struct dom *d, unsigned percent, struct err *e);
void dom_unreserve(struct dom *d);
/* Would it fit? @d itself is left out of the sum. */
int dom_fits(const struct policyd *p, const struct dom *d, unsigned vcpus, uint64_t mem_bytes, struct err *e);
/* The same for CPU alone, @percent of one CPU in all. */
int dom_fits_cpu(const struct policyd *p, const struct dom *d, unsigned percent, struct err *e);

/* ---- QEMU ---- */
struct dom_launch {
	bool incoming, paused, no_guest_agent;
	const unsigned *vcpu_ids; /* hot-plugged vCPUs to re-create */
	unsigned n_vcpu_ids;
	const char *machine; /* NULL = default */
};
/* Does this host have all that @spec names: volumes, switches, console group, kernel and initrd? @now: are also the devices and bridges there
 * that it maps the names to? -ENOENT with a sentence. */
int dom_services(struct policyd *p, const struct domain_spec *spec, bool now, struct err *e);
/* Choose a console port, launch_start, attach. Does not step the state. */
int dom_launch(struct dom *d, const struct dom_launch *opt, struct err *e);
/* Says that QEMU is gone before its guest ran, with its last words: -ECHILD. The same sentence whether it went before it was attached or
 * later, which is chance. */
int dom_ended_starting(const struct dom *d, struct err *e);
/* Take over a running QEMU: pidfd, QMP (reconnecting), statistics polling. launch_scan's finds come here too. */
int dom_attach(struct dom *d, const struct launched *l, struct err *e);
/* Let go of QEMU (it goes on): QMP, events, pidfd. */
void dom_detach(struct dom *d);
/* End QEMU: quit over QMP, SIGKILL if it is still there after 5 s. on_exit (job or default) follows. 0; -ESRCH none. */
int dom_kill(struct dom *d);
/* Ask QEMU what is given now (query-status, query-cpus-fast, query-balloon, query-memory-devices, query-version); @done with the first failure or code 0; ECANCELED: it is
 * being let go, touch nothing of it. */
void dom_refresh(struct dom *d, void (*done)(void *arg, const struct err *e), void *arg);
/* What a resize has reached: @bytes in all, @vmem_bytes of it plugged (or still to be plugged). */
void dom_has_memory(struct dom *d, uint64_t bytes, uint64_t vmem_bytes);
/* Let the guest grow to @bytes, which the caller has reserved, and do not wait for it; or, @bytes 0, let it stay at what it has now. */
void dom_let_memory(struct dom *d, uint64_t bytes);
/* d->launched has changed: keep it with the QEMU, so that it outlives policyd. What fails is logged. */
void dom_keep_launched(struct dom *d);
/* A free port of @spec's console group that no domain here has; 0 when it has no group. -ENOENT no such group, -ENOSPC all taken. */
int dom_console_port(struct policyd *p, const struct domain_spec *spec, uint16_t *out, struct err *e);

/* Why this QEMU cannot hand its state over to another, as a sentence; NULL: nothing is known against it. Seen under TCG after a vCPU was
 * unplugged: 7.2.22 crashed (heap corruption) in 4 of 4 of our moves and 3 of 3 of its own migrations; 10.0.2 hung in 2 of 2 of ours, while
 * 3 of 3 of its own completed. Probable cause, from reading and not from a backtrace: the vCPU's memory listener outlives it. KVM was not
 * tried (no guest boots under it here); it has no such listener. */
const char *dom_no_live_move(const struct dom *d);
/* Why this QEMU gets no further vCPU; NULL: nothing is known against it. Seen under TCG (7.2.22): "double free or corruption" when a vCPU was plugged
 * after one was unplugged, in 1 of 3 runs of 1 -> 2 -> 1 -> 2; the same leftover as above, probably. */
const char *dom_no_plug(const struct dom *d);

/* Remove run folder and RAM file of a QEMU that is gone. Logged, never fatal. */
void dom_cleanup(struct dom *d);
/* What happens to a domain whose QEMU ended and nobody waited for that: states, cleaning, history. @why is for operators and history (NULL:
 * the caller records it); crashed sets flag e. */
void dom_ended(struct dom *d, bool crashed, const char *why);
/* dom_ended, or for a migration's target that had not become ours (launched incoming, never stored): the object is freed and nothing is kept that
 * could be started here; what the hand-off's journal says is settled from the operation (act/reconcile.c). False: @d is gone. */
bool dom_ended_unattended(struct dom *d, bool crashed, const char *why);

/* One entry of list's "domains" (docs/control.md; reports to peers use the same). New reference. */
json_t *dom_list_json(struct dom *d);

#endif
