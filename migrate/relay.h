/* The device-state relay: QEMU's migration stream between its unix socket and STATE frames of the session, both ways (QEMU's return
 * path goes the other way). One thread reads from QEMU and sends frames; the engine writes what comes in frames. */
#ifndef MIGRATE_RELAY_H
#define MIGRATE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"
#include "migrate/session.h"

struct relay;

/* Source: listen on @path (made anew, mode 0600) for the QEMU that is about to be told "migrate". */
int relay_listen(struct session *s, const char *path, struct relay **out, struct err *e);
/* Target: connect to the socket on which QEMU waits since "migrate-incoming". */
int relay_connect(struct session *s, const char *path, struct relay **out, struct err *e);
/* Engine: give QEMU what came in a STATE frame. Blocks at most 10 s. -EREMOTEIO: it does not take it. */
int relay_write(struct relay *r, const void *bytes, size_t n, struct err *e);
/* Bytes that came from QEMU so far; *@eof_out: it has closed the stream. */
uint64_t relay_bytes(struct relay *r, bool *eof_out);
/* Ends the thread, closes, removes the socket file of relay_listen. NULL does nothing. */
void relay_free(struct relay *r);

#endif
