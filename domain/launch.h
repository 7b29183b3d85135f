/* Starting QEMU for a domain, detached, so that it outlives policyd; and finding it again.
 *
 * Folder <run>/<name>/: launch.json (spec, pid, start time of the pid, console port; written before QEMU runs and
 * completed after), qemu.pid, qmp.sock (policyd), qmp-worker.sock (migration worker), console.sock or a TCP port of the
 * console group, console.log (all that the guest printed), agent.sock (virtio-serial port "org.ballast.guest.0"),
 * qga.sock (port "org.qemu.guest_agent.0", see qga.h), qemu.log (QEMU's stderr). RAM file: see ram_path. Nothing here blocks longer than a fork and some file writes on tmpfs.
 * Loop thread (or any one thread).
 *
 * While it is moved to another QEMU on this host, launch.next.json is that one's record (launch_next.c).
 *
 * Ids in QEMU: ram, vmem (memory backends), vmem0 (virtio-mem), balloon0, vd0.. (disks; nodes disk0.., file-disk0..), nic0.. / net0..,
 * cpu-N (every vCPU but core 0, also those it boots with, so that each of them can be unplugged and re-created by core id). */
#ifndef DOMAIN_LAUNCH_H
#define DOMAIN_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include <sys/types.h>

#include "domain/services.h"
#include "domain/spec.h"

#define LAUNCH_HOTPLUGGED_MAX 256

struct launch_conf {
	const struct domain_spec *spec;       /* borrowed */
	const struct host_services *services; /* borrowed */
	bool incoming;                        /* target of a migration: -incoming defer, stays paused */
	bool paused;                          /* -S */
	bool no_guest_agent; /* a target whose source has no channel for QEMU's guest agent: it was started by an older policyd */
	uint16_t console_port; /* 0 = unix socket */
	/* For incoming: the core ids of ALL vCPUs that the source has now, 0 included (see launch_vcpu_ids). n = 0: those it boots with. */
	unsigned vcpu_ids[LAUNCH_HOTPLUGGED_MAX];
	unsigned n_vcpu_ids;
	const char *machine; /* versioned machine type; NULL = default (LAUNCH_MACHINE) */
	/* A same-host move: the QEMU that runs it now, borrowed. The new one maps the same RAM files; @incoming must be set. NULL = none does. */
	const struct launched *replaces;
	bool resume; /* with replaces: its guest runs, and must run on whatever becomes of this */
};

#define LAUNCH_MACHINE "pc-q35-7.2"
/* cpu-arch generic: x86-64-v2 without anything that TCG lacks (no warning there), so any host of the group has it; the vendor's name does not matter. */
#define LAUNCH_CPU_GENERIC "Nehalem-v1"
#define LAUNCH_TAP_FD 3 /* QEMU finds the tap of network i at descriptor LAUNCH_TAP_FD + i */

/* The core ids that exist now, ascending, from the answer of query-hotpluggable-cpus, for launch_conf.vcpu_ids. Returns how many; 0 when
 * @ret is not such an answer. Pure. */
unsigned launch_vcpu_ids(const json_t *ret, unsigned ids[LAUNCH_HOTPLUGGED_MAX]);

struct strv { /* an argument list that grows; freed as a whole */
	char **v;
	size_t n;
};
int strv_add(struct strv *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strv_fini(struct strv *s);

/* The ids of all devices that launch_argv gives to QEMU for @spec, but for vCPUs, with spaces between; @guest_agent: it has that
 * channel. Pure. */
void launch_device_ids(const struct domain_spec *spec, bool guest_agent, char *out, size_t size);

/* The argument list for QEMU. Pure: reads no file. Volumes etc. that the host lacks are -ENOENT with a sentence. */
int launch_argv(const struct launch_conf *conf, struct strv *out, struct err *e);

struct mem_guard {             /* of a guest that was shrunk lately, see policyd/act/mem_rules.h */
	int64_t until_ms;      /* wall clock; 0 = none */
	uint64_t before_bytes; /* it had; no more is given back */
	uint64_t step_bytes;   /* taken last */
	double faults_before_ps;
};

struct launched { /* what is known of a running QEMU */
	struct domain_spec spec;
	pid_t pid;
	uint64_t start_time; /* field 22 of /proc/PID/stat: tells a reused pid */
	uint16_t console_port;
	bool incoming;
	unsigned unplug_refusals;       /* in a row: its guest did not give up a vCPU that policy asked for.. */
	int64_t unplug_frozen_until_ms; /* .. and is not asked before this (wall clock) */
	int64_t shrink_frozen_until_ms; /* a shrink was given back: policy takes no memory before this (wall clock) */
	struct mem_guard guard;
	unsigned cpu_cap; /* percent of one CPU that it may use, below its vCPUs; 0 = all of them (resize/cap.h) */
	bool cpu_cap_by_policy; /* policy set that, and lifts it */
	bool guest_agent; /* it has the channel org.qemu.guest_agent.0, at qga.sock; those of an older policyd have not */
	bool vcpu_removed; /* a vCPU was unplugged from this QEMU (written before it is asked to); see dom_no_live_move */
	char machine[64];
	/* Of a same-host move, see launch_next.c. generation: how many QEMUs this one's guest had before in its life; its sockets, pid file
	 * and log are made with names that end in it ("qmp.sock.2"; 0: "qmp.sock"). */
	unsigned generation;
	pid_t replaced; /* the other one, which must end; 0 = it has */
	uint64_t replaced_start;
	bool resume; /* its guest ran and was stopped for the move: it must run on */
};

/* Make the run folder, RAM files and taps (each put into its switch's bridge of our network namespace; needs CAP_NET_ADMIN), write
 * launch.json, start QEMU (own session, stderr to qemu.log, no other descriptor). Dead leftovers of the same name are removed first.
 * Returns at once; that it works is known when qmp.sock answers or the pid ends. -EEXIST: it runs already, or a RAM file of it is there
 * that no dead launch accounts for; -ENOENT: no such volume, switch, bridge. On failure nothing is left behind. */
int launch_start(const struct launch_conf *conf, struct launched *out, struct err *e);

/* ---- a same-host move: for a moment there are two QEMUs of one domain, the second by launch_start with conf.replaces ----
 *
 * Of the two the one in launch.json owns the guest, the other's record is launch.next.json. The hand-off is a rename(2). policyd may die at any
 * moment of it: launch_scan (and launch_cleanup) ends whoever is not the owner. */

/* In the run folder: where the second may listen for the state of the first's devices. Removed by launch_next_done and launch_next_drop. */
#define LAUNCH_MOVE_SOCKET "move.sock"

/* launch_stderr_tail of one that is not the owner. */
void launch_next_stderr_tail(const struct host_services *s, const struct launched *next, char *out, size_t size);
/* Where @l's QEMU has this socket, pid file or log while it is not the owner. */
int launch_next_path(const struct host_services *s, const struct launched *l, const char *leaf, char out[SPEC_PATH_MAX],
	struct err *e);
/* The hand-off: @next owns the guest from here on, and @old, whose guest must stand, is its to end. @next is changed. On failure @old is the
 * owner still. */
int launch_next_own(const struct host_services *s, struct launched *next, const struct launched *old, struct err *e);
/* Back: @old is the owner again. Only if @next never ran. */
int launch_next_disown(
	const struct host_services *s, const struct launched *next, const struct launched *old, struct err *e);
/* The guest runs in its owner @l, and the other one is dead: the owner's sockets get their usual names. @l is changed. */
int launch_next_done(const struct host_services *s, struct launched *l, struct err *e);
/* End @next, which is not the owner, and remove what it left. SIGKILL; waits for its end, some milliseconds (-EBUSY: 5 s did not do). */
int launch_next_drop(const struct host_services *s, const struct launched *next, struct err *e);

/* Of a move that is cut off: the QEMU that has a record in the folder of domain @name and is not the owner is ended, and the owner's record says whether its guest
 * must run on. launch_scan does it first. 0 also when there is none. */
int launch_next_settle(const struct host_services *s, const char *name, struct err *e);

/* Every domain folder below <run> whose QEMU is alive (pid and start time match, command line names the uuid and the folder): for each
 * call @found. Also finds one whose launcher died between starting it and writing its pid down. Dead leftovers are reported with
 * pid = 0, so that the caller can clean them. A folder with an unreadable launch.json is skipped; the last such is in @e, -EBADMSG. */
int launch_scan(const struct host_services *services, void (*found)(void *arg, const struct launched *l), void *arg,
	struct err *e);

/* Does it run? Also reaps it when it was our child and has ended (policyd: call it when the pidfd becomes readable). */
bool launch_alive(const struct launched *l);

/* pidfd of it, or -ESRCH when it is gone or the pid is another process now. The loop watches it for the end. */
int launch_pidfd(const struct launched *l);

/* Last lines of qemu.log (its stderr), joined by "; ", for error messages. "" when there are none. */
void launch_stderr_tail(const struct host_services *s, const char *name, char *out, size_t size);

/* Remove the run folder and the RAM files. Only when QEMU is dead (-EBUSY otherwise). */
int launch_cleanup(const struct host_services *services, const struct domain_spec *spec, struct err *e);

/* Write launch.json again (incoming is over: a target became owner; the definition changed). Atomic (rename(2)). */
int launch_update(const struct host_services *services, const struct launched *l, struct err *e);

#endif
