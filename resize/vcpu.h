/* Whole vCPUs by ACPI hot-plug through QMP: ask, wait for the guest's answer, accept a refusal.
 * Asynchronous on the loop thread; no blocking. Facts: device_add from query-hotpluggable-cpus; device_del is answered with
 * DEVICE_DELETED or ACPI_DEVICE_OST / DEVICE_UNPLUG_GUEST_ERROR within about 3 s. */
#ifndef RESIZE_VCPU_H
#define RESIZE_VCPU_H

#include <jansson.h>

#include "domain/err.h"
#include "domain/qmp.h"

struct vcpu_job;

struct vcpu_result {
	unsigned before, after, wanted; /* partial success shows as after != wanted */
	unsigned refused;               /* guest refused this many */
	unsigned elapsed_ms;
};

/* Called once, from the loop or from inside vcpu_cancel; the job is gone after it. @e->code 0 = all as wanted; EBUSY guest refused; ETIMEDOUT; ECANCELED;
 * ERANGE; EREMOTEIO QEMU refused; EPIPE QEMU is gone; ENOMEM. */
typedef void vcpu_done_fn(void *arg, const struct vcpu_result *r, const struct err *e);
/* QEMU has taken a request on; the guest is to answer it. @awaited, borrowed: "the guest to give up cpu-1". From the loop. */
typedef void vcpu_progress_fn(void *arg, const char *awaited);

/* Bring the domain behind @q to @wanted vCPUs (1..maxcpus), one after another: the lowest free one is plugged first, so the
 * highest plugged one is the last and goes first. vCPUs that QEMU booted with (-smp N) are never unplugged: fewer than these is ERANGE and
 * changes nothing. @timeout_ms is per vCPU; 0 = 10 s. @progress may be NULL. @q must outlive the job: cancel before qmp_free. NULL: no memory. */
struct vcpu_job *vcpu_set(struct event_base *base, struct qmp *q, unsigned wanted, unsigned timeout_ms,
	vcpu_progress_fn *progress, vcpu_done_fn *done, void *arg);
/* Stops asking for more; @done gets ECANCELED and what was reached. */
void vcpu_cancel(struct vcpu_job *job); /* NULL does nothing */
/* The owner of the QMP connection passes every event here while a job is pending (NULL job: nothing). Lost events only
 * cost time: the job also looks by itself. */
void vcpu_on_event(struct vcpu_job *job, const char *event, const json_t *data);

#endif
