/* Slowing the guest, so that a move converges. The worker asks, policyd does it (cgroup quota on QEMU's CPU time) and answers; when policyd is gone, the
 * worker lifts it with what its first line says. Engine thread, but for throttle_on_answer. docs/worker.md. */
#ifndef MIGRATE_THROTTLE_H
#define MIGRATE_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"

struct worker;
struct boss_throttled;

struct throttle {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under the lock; what policyd answered last */
	bool answered, failed;
	unsigned percent;
	char why[160]; /* it cannot be done */
	/* engine thread */
	int64_t mark_us, mark_cpu_us;
	double cpu_full; /* percent of one CPU that QEMU used while it was not slowed; 0 = not known yet */
	int64_t since_us, slowed_us;
	unsigned most;
};

void throttle_init(struct throttle *t);
void throttle_fini(struct throttle *t);
/* A round begins; it ended. In between QEMU's CPU use is measured. */
void throttle_mark(struct worker *w);
void throttle_measure(struct worker *w);
/* Cut the guest's CPU time by @percent of what it used (0: let it run), and wait for policyd's answer, 1 s at most. -ENOTSUP: it cannot be done here,
 * and why; -ETIMEDOUT. */
int throttle_set(struct worker *w, unsigned percent, struct err *e);
/* Lift it around the guest's stop: asked for before, waited for after. A guest that ran freely for only some milliseconds before it stands would write again
 * what the last rounds have sent; and a QEMU that is still slowed would take long to stop. */
void throttle_lift_begin(struct worker *w);
void throttle_lift_end(struct worker *w);
/* How long the guest has been slowed, in all. */
uint64_t throttle_total_us(const struct throttle *t);
/* Boss's thread. */
void throttle_on_answer(struct throttle *t, const struct boss_throttled *a);
/* policyd has gone: lift it here, if there is something to lift (it may have done it and not told us). Any thread. */
void throttle_lift_alone(struct worker *w);

#endif
