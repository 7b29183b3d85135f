/* Asking this host's QEMU what it is: a QEMU without a machine is started once for some hundred milliseconds, when policyd starts, when the program or the
 * accelerator changes. Never in anybody's way: what it could not tell stays unknown. Loop thread. */
#ifndef POLICYD_ACT_QEMU_PROBE_H
#define POLICYD_ACT_QEMU_PROBE_H

#include "domain/volume_id.h"
#include "policyd/act/qemu_facts.h"
#include "policyd/policyd.h"

/* p->qemu. -ENOMEM only. */
int qemu_probe_start(struct policyd *p, struct err *e);
/* p->conf was swapped: ask again where paths.qemu or the accelerator is another. */
void qemu_probe_reload(struct policyd *p);
void qemu_probe_stop(struct policyd *p);
/* NULL: not known (yet). Borrowed until the loop. */
const struct qemu_facts *qemu_probe_facts(const struct policyd *p);
/* @now: what the program's file is now (somebody looked at it). If it is another than that which was asked, it is asked again. */
void qemu_probe_seen(struct policyd *p, const struct volume_id *now);

#endif
