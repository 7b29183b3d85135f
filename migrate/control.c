/* Frames of the control channel: see control.h and docs/wire.md. Pure; any thread. */
#include "migrate/control.h"

#include <errno.h>
#include <string.h>

#include "migrate/wire.h"

struct frame_kind {
	const char *name;
	int (*decode)(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e);
	uint32_t limit;
};

/* ---- reading and writing fields -------------------------------------------------------------------------- */

struct reader {
	const uint8_t *p, *end;
	bool bad;
};

static uint64_t get_uint(struct reader *r, unsigned n)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->p) < n) {
		r->bad = true;
		return 0;
	}
	while (n--)
		v = v << 8 | *r->p++;
	return v;
}

static bool get_flag(struct reader *r)
{
	uint64_t v = get_uint(r, 1);

	r->bad |= v > 1;
	return v == 1;
}

static void get_bytes(struct reader *r, void *out, size_t n)
{
	if ((size_t)(r->end - r->p) < n) {
		r->bad = true;
		return;
	}
	memcpy(out, r->p, n);
	r->p += n;
}

static void get_str(struct reader *r, char *out, size_t size)
{
	size_t n = get_uint(r, 2);

	if (r->bad || (size_t)(r->end - r->p) < n || n >= size || (n && memchr(r->p, 0, n))) {
		r->bad = true;
		return;
	}
	memcpy(out, r->p, n);
	out[n] = 0;
	r->p += n;
}

struct writer {
	uint8_t *p, *end;
	bool full;
};

static void put_uint(struct writer *w, uint64_t v, unsigned n)
{
	if ((size_t)(w->end - w->p) < n) {
		w->full = true;
		return;
	}
	for (unsigned i = n; i-- > 0; v >>= 8)
		w->p[i] = (uint8_t)v;
	w->p += n;
}

static void put_bytes(struct writer *w, const void *in, size_t n)
{
	if ((size_t)(w->end - w->p) < n) {
		w->full = true;
		return;
	}
	if (n)
		memcpy(w->p, in, n);
	w->p += n;
}

static void put_str(struct writer *w, const char *s)
{
	size_t n = strlen(s);

	put_uint(w, n, 2);
	put_bytes(w, s, n);
}

/* ---- decoding -------------------------------------------------------------------------------------------- */

static void get_block(struct reader *r, struct control_block *b)
{
	get_str(r, b->name, sizeof(b->name));
	b->bytes = get_uint(r, 8);
	b->page_bytes = (uint32_t)get_uint(r, 4);
	if (b->page_bytes < 4096 || (b->page_bytes & (b->page_bytes - 1)) || b->bytes == 0 || b->bytes % b->page_bytes)
		r->bad = true;
}

static int decode_hello(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};
	struct control_hello *h = &m->hello;
	uint64_t flags;

	memset(h, 0, sizeof(*h));
	h->version_low = (uint16_t)get_uint(&r, 2);
	h->version_high = (uint16_t)get_uint(&r, 2);
	r.bad |= h->version_low > h->version_high;
	get_str(&r, h->uuid, sizeof(h->uuid));
	h->epoch = get_uint(&r, 8);
	get_str(&r, h->domain, sizeof(h->domain));
	get_str(&r, h->host, sizeof(h->host));
	get_str(&r, h->machine, sizeof(h->machine));
	get_str(&r, h->qemu, sizeof(h->qemu));
	h->n_channels = (uint16_t)get_uint(&r, 2);
	flags = get_uint(&r, 1);
	h->compress = flags & 1;
	h->verify_full = flags & 2;
	h->was_paused = flags & 4;
	h->postcopy = flags & 8;
	h->max_blackout_ms = (uint32_t)get_uint(&r, 4);
	h->bandwidth_bps = get_uint(&r, 8);
	h->n_blocks = (unsigned)get_uint(&r, 2);
	if (r.bad || h->n_blocks < 1 || h->n_blocks > RAM_BLOCKS_MAX || h->n_channels < 1 ||
		h->n_channels > XFER_CHANNELS_MAX)
		return err_set(e, EBADMSG, "HELLO is damaged");
	for (unsigned i = 0; i < h->n_blocks; i++)
		get_block(&r, &h->blocks[i]);
	return r.bad ? err_set(e, EBADMSG, "HELLO's RAM blocks are damaged") : 0;
}

/* The rest of the frames: read the fields, then one look at whether they fitted. */
static int finish(const struct reader *r, bool longer, const char *what, struct err *e)
{
	if (r->bad || (r->p != r->end && !longer))
		return err_set(e, EBADMSG, "%s is damaged", what);
	return 0;
}

static int decode_welcome(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->welcome.version = (uint16_t)get_uint(&r, 2);
	m->welcome.n_channels = (uint16_t)get_uint(&r, 2);
	get_str(&r, m->welcome.qemu, sizeof(m->welcome.qemu));
	m->welcome.codecs = m->welcome.version >= 2 ? (uint8_t)get_uint(&r, 1) : 1u << WIRE_LZ4;
	r.bad |= m->welcome.n_channels < 1 || m->welcome.n_channels > XFER_CHANNELS_MAX;
	return finish(&r, true, "WELCOME", e);
}

static int decode_empty(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	(void)p;
	return n ? err_set(e, EBADMSG, "%s carries what it must not", control_type_name(m->type)) : 0;
}

static int decode_note(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->note.round = (uint16_t)get_uint(&r, 2);
	m->note.percent = (uint8_t)get_uint(&r, 1);
	m->note.ram_bytes = get_uint(&r, 8);
	m->note.wire_bytes = get_uint(&r, 8);
	m->note.rate_bps = get_uint(&r, 8);
	m->note.dirty_bps = get_uint(&r, 8);
	m->note.left_ms = (uint32_t)get_uint(&r, 4);
	m->note.blackout_ms = (uint32_t)get_uint(&r, 4);
	r.bad |= m->note.percent > 100;
	return finish(&r, false, "NOTE", e);
}

static int decode_suspended(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->was_paused = get_flag(&r);
	return finish(&r, false, "SUSPENDED", e);
}

static int decode_digest(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	get_bytes(&r, m->digest.root, sizeof(m->digest.root));
	m->digest.want_full = get_flag(&r);
	return finish(&r, false, "DIGEST", e);
}

static int decode_loaded(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	get_bytes(&r, m->digest.root, sizeof(m->digest.root));
	get_bytes(&r, m->digest.full, sizeof(m->digest.full));
	return finish(&r, false, "LOADED", e);
}

static int decode_state(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	m->state.bytes = p;
	m->state.n = n;
	return n ? 0 : err_set(e, EBADMSG, "STATE is empty");
}

static int decode_state_end(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->state_bytes = get_uint(&r, 8);
	return finish(&r, false, "STATE_END", e);
}

static int decode_postponed(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->n_postponed = get_uint(&r, 8);
	return finish(&r, false, "POSTPONED", e);
}

static int decode_owner(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->owner.resume_us = (uint32_t)get_uint(&r, 4);
	m->owner.running = get_flag(&r);
	return finish(&r, false, "OWNER", e);
}

static int decode_gone(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	m->blackout_ms = (uint32_t)get_uint(&r, 4);
	return finish(&r, false, "GONE", e);
}

static int decode_abort(struct control_msg *m, const uint8_t *p, uint32_t n, struct err *e)
{
	struct reader r = {.p = p, .end = p + n};

	get_str(&r, m->abort.reason, sizeof(m->abort.reason));
	m->abort.cancelled = get_flag(&r);
	return finish(&r, false, "ABORT", e);
}

static const struct frame_kind kinds[CT_COUNT] = {
	[CT_HELLO] = {"HELLO", decode_hello, 4096},
	[CT_WELCOME] = {"WELCOME", decode_welcome, 512},
	[CT_READY] = {"READY", decode_empty, 0},
	[CT_NOTE] = {"NOTE", decode_note, 43},
	[CT_SUSPENDED] = {"SUSPENDED", decode_suspended, 1},
	[CT_DIGEST] = {"DIGEST", decode_digest, 17},
	[CT_STATE] = {"STATE", decode_state, CONTROL_STATE_MAX},
	[CT_STATE_END] = {"STATE_END", decode_state_end, 8},
	[CT_LOADED] = {"LOADED", decode_loaded, 32},
	[CT_COMMIT] = {"COMMIT", decode_empty, 0},
	[CT_OWNER] = {"OWNER", decode_owner, 5},
	[CT_GONE] = {"GONE", decode_gone, 4},
	[CT_ABORT] = {"ABORT", decode_abort, 2048},
	[CT_PING] = {"PING", decode_empty, 0},
	[CT_POSTPONED] = {"POSTPONED", decode_postponed, 8},
	[CT_WHOLE] = {"WHOLE", decode_empty, 0},
};

const char *control_type_name(unsigned type)
{
	return type < CT_COUNT && kinds[type].name ? kinds[type].name : "?";
}

int control_version_choose(uint16_t low, uint16_t high, uint16_t *out, struct err *e)
{
	if (low > CONTROL_VERSION || high < CONTROL_VERSION_LOW)
		return err_set(e, EPROTONOSUPPORT,
			"the source speaks versions %u to %u of the migration protocol, we speak %u to %u; bring both hosts to releases that are "
			"next to each other",
			low, high, CONTROL_VERSION_LOW, CONTROL_VERSION);
	*out = high < CONTROL_VERSION ? high : CONTROL_VERSION;
	return 0;
}

int control_version_check(uint16_t version, struct err *e)
{
	if (version < CONTROL_VERSION_LOW || version > CONTROL_VERSION)
		return err_set(e, EPROTONOSUPPORT,
			"the target chose version %u of the migration protocol, we offered %u to %u", version,
			CONTROL_VERSION_LOW, CONTROL_VERSION);
	return 0;
}

int control_header_decode(const uint8_t in[CONTROL_HEADER_BYTES], struct control_header *out, struct err *e)
{
	struct reader r = {.p = in, .end = in + CONTROL_HEADER_BYTES};
	unsigned type = (unsigned)get_uint(&r, 2), reserved = (unsigned)get_uint(&r, 2);
	uint32_t length = (uint32_t)get_uint(&r, 4), limit;
	bool ignore = type & 0x8000;

	if (reserved != 0 || (!ignore && (type >= CT_COUNT || !kinds[type].name)))
		return err_set(e, EBADMSG, "a frame of type %u is not of this protocol", type);
	limit = ignore ? CONTROL_PAYLOAD_MAX : kinds[type].limit;
	if (length > limit)
		return err_set(e, EBADMSG, "a %s of %u octets is over the limit of %u", control_type_name(type), length,
			limit);
	out->type = (uint16_t)type;
	out->length = length;
	out->ignore = ignore;
	return 0;
}

int control_decode(const struct control_header *h, const uint8_t *payload, struct control_msg *out, struct err *e)
{
	if (h->ignore || h->type >= CT_COUNT || !kinds[h->type].decode || h->length > kinds[h->type].limit)
		return err_set(e, EBADMSG, "a frame of type %u cannot be read", h->type);
	out->type = (enum control_type)h->type;
	return kinds[h->type].decode(out, payload, h->length, e);
}

/* ---- encoding -------------------------------------------------------------------------------------------- */

static void encode_hello(struct writer *w, const struct control_hello *h)
{
	put_uint(w, h->version_low, 2);
	put_uint(w, h->version_high, 2);
	put_str(w, h->uuid);
	put_uint(w, h->epoch, 8);
	put_str(w, h->domain);
	put_str(w, h->host);
	put_str(w, h->machine);
	put_str(w, h->qemu);
	put_uint(w, h->n_channels, 2);
	put_uint(w, (h->compress ? 1 : 0) | (h->verify_full ? 2 : 0) | (h->was_paused ? 4 : 0) | (h->postcopy ? 8 : 0),
		1);
	put_uint(w, h->max_blackout_ms, 4);
	put_uint(w, h->bandwidth_bps, 8);
	put_uint(w, h->n_blocks, 2);
	for (unsigned i = 0; i < h->n_blocks; i++) {
		put_str(w, h->blocks[i].name);
		put_uint(w, h->blocks[i].bytes, 8);
		put_uint(w, h->blocks[i].page_bytes, 4);
	}
}

static void encode_note(struct writer *w, const struct control_note *n)
{
	put_uint(w, n->round, 2);
	put_uint(w, n->percent, 1);
	put_uint(w, n->ram_bytes, 8);
	put_uint(w, n->wire_bytes, 8);
	put_uint(w, n->rate_bps, 8);
	put_uint(w, n->dirty_bps, 8);
	put_uint(w, n->left_ms, 4);
	put_uint(w, n->blackout_ms, 4);
}

static void encode_payload(struct writer *w, const struct control_msg *m)
{
	switch (m->type) {
	case CT_HELLO:
		encode_hello(w, &m->hello);
		break;
	case CT_WELCOME:
		put_uint(w, m->welcome.version, 2);
		put_uint(w, m->welcome.n_channels, 2);
		put_str(w, m->welcome.qemu);
		if (m->welcome.version >= 2)
			put_uint(w, m->welcome.codecs, 1);
		break;
	case CT_NOTE:
		encode_note(w, &m->note);
		break;
	case CT_SUSPENDED:
		put_uint(w, m->was_paused, 1);
		break;
	case CT_DIGEST:
		put_bytes(w, m->digest.root, sizeof(m->digest.root));
		put_uint(w, m->digest.want_full, 1);
		break;
	case CT_LOADED:
		put_bytes(w, m->digest.root, sizeof(m->digest.root));
		put_bytes(w, m->digest.full, sizeof(m->digest.full));
		break;
	case CT_STATE:
		put_bytes(w, m->state.bytes, m->state.n);
		break;
	case CT_STATE_END:
		put_uint(w, m->state_bytes, 8);
		break;
	case CT_POSTPONED:
		put_uint(w, m->n_postponed, 8);
		break;
	case CT_OWNER:
		put_uint(w, m->owner.resume_us, 4);
		put_uint(w, m->owner.running, 1);
		break;
	case CT_GONE:
		put_uint(w, m->blackout_ms, 4);
		break;
	case CT_ABORT:
		put_str(w, m->abort.reason);
		put_uint(w, m->abort.cancelled, 1);
		break;
	case CT_READY:
	case CT_COMMIT:
	case CT_PING:
	case CT_WHOLE:
	case CT_COUNT:
		break;
	}
}

int control_encode(const struct control_msg *msg, uint8_t *out, size_t size)
{
	struct writer head = {.p = out, .end = out + size}, body;
	size_t n;

	if (size < CONTROL_HEADER_BYTES || msg->type >= CT_COUNT || !kinds[msg->type].name)
		return -EMSGSIZE;
	body = (struct writer){.p = out + CONTROL_HEADER_BYTES, .end = out + size};
	encode_payload(&body, msg);
	n = (size_t)(body.p - out) - CONTROL_HEADER_BYTES;
	if (body.full || n > kinds[msg->type].limit)
		return -EMSGSIZE;
	put_uint(&head, msg->type, 2);
	put_uint(&head, 0, 2);
	put_uint(&head, n, 4);
	return (int)(n + CONTROL_HEADER_BYTES);
}
