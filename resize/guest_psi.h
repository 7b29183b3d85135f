/* How long the tasks of a guest wait for memory (pressure stall information), as its own kernel counts it in /proc/pressure/memory
 * (kernel documentation, accounting/psi.rst), read by its guest agent. Optional: an agent may be missing, may not be allowed to read files, or
 * its kernel may not count. Loop thread; nothing blocks. */
#ifndef RESIZE_GUEST_PSI_H
#define RESIZE_GUEST_PSI_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/qga.h"

struct guest_psi {        /* zero = nothing known */
	int64_t at_ms;    /* of the last reading, monotonic; 0 = none */
	uint64_t some_us; /* time so far in which some task waited for memory */
	bool known;       /* there are two readings: percent holds */
	double percent;   /* share of the time between them */
};

/* A reading was made at @now_ms. Counters that fell (another boot) begin anew. Pure. */
void guest_psi_add(struct guest_psi *p, uint64_t some_us, int64_t now_ms);
/* The total of the line "some" of @text, in microseconds. -EPROTO: it is not there. Pure. */
int guest_psi_parse(const char *text, uint64_t *some_us_out);

/* @some_us is the guest's word; @e->code: 0; EREMOTEIO, EPROTO it cannot say; else as qga_command. Once, from the loop or from inside qga_free. */
typedef void guest_psi_fn(void *arg, uint64_t some_us, const struct err *e);
/* Ask @q, which may be NULL or not ready: -ENOTCONN. -ENOMEM. In both cases @done is not called. */
int guest_psi_ask(struct qga *q, guest_psi_fn *done, void *arg);

#endif
