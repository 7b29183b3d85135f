/* Frames of the control channel (docs/wire.md, "Control channel"): encode and decode, pure, no allocation beyond the caller's buffers.
 * Any thread. Whatever comes from the wire is checked here: lengths, limits, ranges, text without NUL. -EBADMSG says what is wrong. */
#ifndef MIGRATE_CONTROL_H
#define MIGRATE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/ram.h"
#include "migrate/xfer.h"

#define CONTROL_VERSION 2     /* ours; what each version has: docs/wire.md, "Versions" */
#define CONTROL_VERSION_LOW 1 /* the oldest that we still speak */
#define CONTROL_HEADER_BYTES 8
#define CONTROL_PAYLOAD_MAX 65536
#define CONTROL_STATE_MAX 65536

enum control_type { /* on the wire: never reused */
	CT_HELLO = 1,
	CT_WELCOME = 2,
	CT_READY = 4,
	CT_NOTE = 5,
	CT_SUSPENDED = 6,
	CT_DIGEST = 7,
	CT_STATE = 8,
	CT_STATE_END = 9,
	CT_LOADED = 10,
	CT_COMMIT = 11,
	CT_OWNER = 12,
	CT_GONE = 13,
	CT_ABORT = 14,
	CT_PING = 15,
	CT_POSTPONED = 16, /* after DIGEST, where HELLO said postcopy: so many pages follow when the guest runs */
	CT_WHOLE = 17,     /* post-copy: the target has all, OWNER is recorded */
	CT_COUNT
};

struct control_header {
	uint16_t type;
	uint32_t length;
	bool ignore; /* an optional type that we do not know: read its payload and go on */
};

struct control_block {
	char name[32];
	uint64_t bytes;
	uint32_t page_bytes;
};

struct control_hello {
	uint16_t version_low, version_high;
	char uuid[37], domain[64], host[64], machine[64], qemu[64];
	uint64_t epoch;
	uint16_t n_channels;
	bool compress, verify_full, was_paused, postcopy;
	uint32_t max_blackout_ms;
	uint64_t bandwidth_bps;
	struct control_block blocks[RAM_BLOCKS_MAX];
	unsigned n_blocks;
};

struct control_note {
	uint16_t round;
	uint8_t percent;
	uint64_t ram_bytes, wire_bytes, rate_bps, dirty_bps;
	uint32_t left_ms, blackout_ms;
};

struct control_msg { /* one decoded frame; @type says which member */
	enum control_type type;
	union {
		struct control_hello hello;
		struct {
			uint16_t version, n_channels;
			char qemu[64];
			uint8_t codecs; /* CODEC_* that the target unpacks; of a version 1: lz4 */
		} welcome;
		struct control_note note;
		bool was_paused; /* SUSPENDED */
		struct {
			uint8_t root[XFER_DIGEST_BYTES], full[XFER_DIGEST_BYTES];
			bool want_full;
		} digest;             /* DIGEST, LOADED */
		uint64_t state_bytes; /* STATE_END */
		uint64_t n_postponed; /* POSTPONED */
		struct {
			uint32_t resume_us;
			bool running;
		} owner;
		uint32_t blackout_ms; /* GONE */
		struct {
			char reason[1024];
			bool cancelled;
		} abort;
		struct {
			const uint8_t *bytes; /* STATE: borrowed */
			uint32_t n;
		} state;
	};
};

const char *control_type_name(unsigned type);

/* Target: the version to speak with a source that offers @low..@high: the highest that both have. -EPROTONOSUPPORT with a sentence when there is none. */
int control_version_choose(uint16_t low, uint16_t high, uint16_t *out, struct err *e);
/* Source, which offers all that we speak: may a target answer with @version? 0 or -EPROTONOSUPPORT. */
int control_version_check(uint16_t version, struct err *e);

/* The 8 octets before a payload. -EBADMSG: reserved field, unknown type, or longer than the type's limit: allocate nothing. */
int control_header_decode(const uint8_t in[CONTROL_HEADER_BYTES], struct control_header *out, struct err *e);

/* @payload is borrowed by @out for STATE. */
int control_decode(const struct control_header *h, const uint8_t *payload, struct control_msg *out, struct err *e);

/* Header and payload into @out. Returns the number of octets, or -EMSGSIZE. */
int control_encode(const struct control_msg *msg, uint8_t *out, size_t size);

#endif
