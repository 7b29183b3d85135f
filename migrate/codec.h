/* Raw, lz4 or zstd, chosen per chunk by what each would cost, as measured on this channel just now. One per channel, its thread only.
 *
 * When this host's CPUs are what is short, waiting is only their echo, and what counts is CPU time: B for an octet sent raw, pack_ns + ratio * B for one
 * that is packed. When the link (or the other end) is what we wait for, the channel takes as long as the slower of the two, and a form costs
 * max(3 * its CPU time, ratio * the link's time for an octet): three times, as the other end unpacks and the guest wants CPUs too. The link's time is remembered
 * from when we waited for it: what is left of the waiting under one form says nothing of another. So a slow link chooses zstd, a
 * fast one lz4, and loopback or a busy host raw, unless the content packs very well. */
#ifndef MIGRATE_CODEC_H
#define MIGRATE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/wire.h"

#define CODEC_OTHERS 3    /* times a thread's CPU time: the other end and the guest want CPUs too */
#define CODEC_CPU_SHARE 8 /* and a form that takes more of it must save an eighth of that on the link */

#define CODEC_LZ4 (1u << WIRE_LZ4)
#define CODEC_ZSTD (1u << WIRE_ZSTD)
#define CODEC_DELTA (1u << WIRE_DELTA)
#define CODEC_POSTCOPY 0x80                              /* no codec: in WELCOME, the target can do post-copy */
#define CODEC_ALL (CODEC_LZ4 | CODEC_ZSTD | CODEC_DELTA) /* what this build sends and takes */

struct codec_cost {
	double pack_ns; /* CPU time per octet put in; 0 = not measured yet */
	double ratio;   /* octets out per octet in; 1 = incompressible */
	unsigned n;     /* measured so often */
};

struct codec_send { /* since the last note; nanoseconds of this thread (meter.h) */
	uint64_t wire_bytes;
	uint64_t cpu_ns; /* spent in sending them */
	uint64_t delay_ns,
		wait_ns; /* of all the time in between: without a CPU; waiting for the link, the other end or the bandwidth limit */
	uint64_t wall_ns; /* all the time in between */
};

struct codec {
	unsigned allowed; /* CODEC_* */
	struct codec_cost of[WIRE_CODECS];
	double cpu_ns, delay_ns, wait_ns, wall_ns; /* per octet on the wire */
	double link_ns;                            /* and when the link was what we waited for; 0 = not yet */
	unsigned n_sent;                           /* those are of so many notes; 0 = not there */
	unsigned n_chosen;
	void *zstd; /* ZSTD_CCtx, made when first needed */
	void *unzstd;
};

/* What content costs a channel on a full link: @busy is the thread's CPU time for it, @link the link's; any unit. For predictions too. */
static inline double codec_cost_on_full_link(double busy, double link)
{
	return (link > CODEC_OTHERS * busy ? link : CODEC_OTHERS * busy) + busy / CODEC_CPU_SHARE;
}
/* Is waiting for the link a cost, or only the echo of CPUs that are short? */
bool codec_wait_counts(double delay_ns, double wait_ns);
void codec_init(struct codec *c, unsigned allowed);
void codec_fini(struct codec *c);
/* How to send the next chunk. Pure on what was noted, except that now and then it tries another, to see whether the content or the link has changed. */
enum wire_codec codec_choose(struct codec *c);
/* Octets in @out, 0: not worth sending so (note it all the same). @cap < @n. @c may be NULL for lz4. */
size_t codec_pack(struct codec *c, enum wire_codec how, const void *in, size_t n, void *out, size_t cap);
/* Exactly @n octets, or -EBADMSG. Safe for any input. */
int codec_unpack(struct codec *c, enum wire_codec how, const void *in, size_t in_bytes, void *out, size_t n);
void codec_note_pack(struct codec *c, enum wire_codec how, size_t in_bytes, size_t out_bytes, uint64_t cpu_ns);
void codec_note_send(struct codec *c, const struct codec_send *s);

#endif
