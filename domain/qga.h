/* A client of the QEMU guest agent in a guest, over its virtio-serial channel (org.qemu.guest_agent.0). Optional: a guest may have none, a stopped
 * one, or an old one; everything works without it, and it is a guest, so nothing that it says is taken for more than a wish.
 *
 * The protocol is QMP's without greeting and without reliable ids: one command at a time, and guest-sync-delimited in the beginning and after each
 * silence, so that no late answer is taken for another one. Loop thread; nothing blocks. */
#ifndef DOMAIN_QGA_H
#define DOMAIN_QGA_H

#include <jansson.h>
#include <stdbool.h>

#include "domain/qmp.h"

#define QGA_PORT_ID "qga" /* of the port in QEMU: VSERPORT_CHANGE says when a guest opens it */

struct qga;

/* @path is QEMU's end of the channel. Nothing is connected yet: see qga_poke. @on_up (may be NULL) runs on the loop each time the agent answers
 * after it did not. NULL: no memory. */
struct qga *qga_new(struct event_base *base, const char *path, void (*on_up)(void *arg), void *arg);
/* Look now whether an agent is there (a guest has opened the port); else it is looked for once a minute. */
void qga_poke(struct qga *q);
/* A guest has closed the port: who waits is told. It is looked for again when it is opened. */
void qga_gone(struct qga *q);
/* Has it answered to the last synchronisation? */
bool qga_ready(const struct qga *q);
/* As qmp_command: @args is stolen, @done runs once, from the loop or from inside qga_free. timeout_ms 0 = 5 s; after one the agent counts as gone
 * until it is in step again. EREMOTEIO: it refused, or does not know the command; ETIMEDOUT, EPIPE, ECANCELED. */
int qga_command(struct qga *q, const char *cmd, json_t *args, unsigned timeout_ms, qmp_done_fn *done, void *arg);
void qga_free(struct qga *q); /* also from inside its own callbacks; NULL does nothing */

#endif
