/* The line to policyd: JSON lines on an inherited descriptor (docs/worker.md). A thread of its own reads it, so that a cancel is heard
 * whatever the engine does. Events may be sent from any thread; when policyd is gone they vanish. */
#ifndef MIGRATE_BOSS_H
#define MIGRATE_BOSS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"

#define BOSS_LINE_MAX 65536

struct boss;

struct boss_limits { /* a "limits" line; only what it names counts */
	bool has_bandwidth, has_blackout, has_throttle, has_patient, patient;
	uint64_t bandwidth_bps, max_blackout_ms, throttle_max;
};

struct boss_throttled { /* policyd's answer to our "throttle" */
	unsigned percent;
	const char *why; /* borrowed; "" = it was done */
};

struct boss_handlers { /* on the boss's thread */
	void (*on_cancel)(void *arg);
	void (*on_limits)(void *arg, const struct boss_limits *l);
	void (*on_suspend)(void *arg); /* stop the guest now, whatever the blackout will be */
	void (*on_throttled)(void *arg, const struct boss_throttled *a);
	void (*on_go)(void *arg);       /* tests: leave a hold (fault.h) */
	void (*on_qemu_end)(void *arg); /* the process of boss_start's pidfd has ended */
	void (*on_gone)(void *arg);     /* end of file: policyd has ended; SIGTERM and SIGINT count as a cancel */
};

/* @fd is owned. Reads nothing yet. */
int boss_new(int fd, struct boss **out, struct err *e);
/* The first line, as JSON (new reference). Blocks. */
int boss_first_line(struct boss *b, json_t **out, struct err *e);
/* From now on the handlers hear what comes. @pidfd (owned, -1 = none): QEMU, watched along. SIGTERM and SIGINT must be blocked in all threads before. */
int boss_start(struct boss *b, int pidfd, const struct boss_handlers *handlers, void *arg, struct err *e);
/* Steals @event. */
void boss_send(struct boss *b, json_t *event);
void boss_free(struct boss *b); /* NULL does nothing */

#endif
