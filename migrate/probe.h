/* How fast is the way to another host, through TLS: a few hundred milliseconds of octets that the other end throws away. docs/wire.md, "Probe".
 * Bounded in bytes and in time at both ends. The session's connections are as a migration's. Blocks; ends early when the session is broken. */
#ifndef MIGRATE_PROBE_H
#define MIGRATE_PROBE_H

#include <stdint.h>

#include "domain/err.h"
#include "migrate/session.h"

#define PROBE_MS 250
#define PROBE_BYTES (32u << 20) /* of all channels */

struct probe_out {
	double bps; /* all channels, as the other end saw it after the first burst */
	uint64_t bytes;
	double s;
	double octet_ns; /* what an octet costs a channel here, as its codec would reckon (codec_wait_counts); 0 unknown */
};

/* Source, after session_connect_data: send on all channels, and hear what arrived. -EPIPE, -ETIMEDOUT, -ECANCELED. */
int probe_send(struct session *s, struct probe_out *out, struct err *e);
/* Target, after session_accept_data. Returns when all channels have had their end. */
int probe_sink(struct session *s, struct err *e);

#endif
