/* Raw, lz4 or zstd; see codec.h. Averages move by 1/8 a note, so a few chunks turn the choice. */
#include "migrate/codec.h"

#include <errno.h>

#include <lz4.h>
#include <zstd.h>

#define ZSTD_LEVEL 1
#define TRY_EVERY 16
#define TRY_EARLY 3
#define CHEAP 4     /* an octet on the wire costs so many times what packing one does */
#define WAITED 3    /* a third of the time is waiting: the link is full, or as good as */
#define FORGET 0.98 /* a note, of how slow the link was when it was full */
#define SPAN 8      /* of the averages; the first ones are plain means */

void codec_init(struct codec *c, unsigned allowed)
{
	*c = (struct codec){.allowed = allowed};
	for (unsigned i = 0; i < WIRE_CODECS; i++)
		c->of[i].ratio = 1;
}

void codec_fini(struct codec *c)
{
	ZSTD_freeCCtx(c->zstd);
	ZSTD_freeDCtx(c->unzstd);
	c->zstd = c->unzstd = NULL;
}

/* ---- choosing --------------------------------------------------------------------------------------------- */

bool codec_wait_counts(double delay_ns, double wait_ns)
{
	return delay_ns <= wait_ns;
}

/* Just now it does; @link_ns tells of what a lighter form would meet. */
static bool waits_for_link(const struct codec *c)
{
	return c->wait_ns * WAITED >= c->wall_ns;
}

static bool link_is_short(const struct codec *c)
{
	return codec_wait_counts(c->delay_ns, c->wait_ns) && c->link_ns > c->cpu_ns;
}

/* Of an octet of content. */
static double cost_of(const struct codec *c, const struct codec_cost *form)
{
	double busy = form->pack_ns + form->ratio * c->cpu_ns;

	return link_is_short(c) ? codec_cost_on_full_link(busy, form->ratio * c->link_ns) : busy;
}

/* To be tried, whatever it is thought to cost. Not two at once. Where packing costs next to nothing beside the wire, all soon: a first chunk may be of another kind than
 * all that follow. Else the last (the dearest) half as often. */
static bool its_turn(const struct codec *c, enum wire_codec i, double octet)
{
	if (octet > CHEAP * c->of[i].pack_ns)
		return c->n_chosen % (c->of[i].n < SPAN ? TRY_EARLY : TRY_EVERY) == (i == WIRE_ZSTD);
	return c->n_chosen % TRY_EVERY == 0 && (c->n_chosen / TRY_EVERY) % 3 == (i == WIRE_ZSTD);
}

enum wire_codec codec_choose(struct codec *c)
{
	double octet = link_is_short(c) && waits_for_link(c) ? c->link_ns : c->cpu_ns;
	double cost, least = cost_of(c, &c->of[WIRE_RAW]);
	enum wire_codec best = WIRE_RAW;

	if (!c->allowed)
		return WIRE_RAW;
	c->n_chosen++;
	for (enum wire_codec i = WIRE_LZ4; i < WIRE_CODECS; i++) {
		if (!(c->allowed & 1u << i))
			continue;
		if (!c->of[i].pack_ns || !c->n_sent)
			return i;
		if (its_turn(c, i, octet))
			return i;
		cost = cost_of(c, &c->of[i]);
		if (cost < least) {
			least = cost;
			best = i;
		}
	}
	return best;
}

/* @n: of so many before. */
static void average(double *avg, double now, unsigned n)
{
	*avg = n ? *avg + (now - *avg) / (n < SPAN ? n + 1 : SPAN) : now;
}

void codec_note_pack(struct codec *c, enum wire_codec how, size_t in_bytes, size_t out_bytes, uint64_t cpu_ns)
{
	struct codec_cost *k = &c->of[how];

	average(&k->pack_ns, (double)(cpu_ns ? cpu_ns : 1) / (double)in_bytes, k->n);
	average(&k->ratio, out_bytes ? (double)out_bytes / (double)in_bytes : 1, k->n);
	k->n++;
}

void codec_note_send(struct codec *c, const struct codec_send *s)
{
	double bytes = (double)s->wire_bytes;

	if (!s->wire_bytes)
		return;
	average(&c->cpu_ns, (double)s->cpu_ns / bytes, c->n_sent);
	average(&c->delay_ns, (double)s->delay_ns / bytes, c->n_sent);
	average(&c->wait_ns, (double)s->wait_ns / bytes, c->n_sent);
	average(&c->wall_ns, (double)s->wall_ns / bytes, c->n_sent);
	if (waits_for_link(c) || c->wall_ns < c->link_ns || !c->link_ns)
		c->link_ns = c->wall_ns;
	else
		c->link_ns *= FORGET; /* it was not seen to be that slow lately: in the end a lighter form tries it */
	c->n_sent++;
}

/* ---- packing ---------------------------------------------------------------------------------------------- */

static size_t pack_zstd(struct codec *c, const void *in, size_t n, void *out, size_t cap)
{
	size_t done;

	if (!c->zstd)
		c->zstd = ZSTD_createCCtx();
	if (!c->zstd)
		return 0; /* no memory: raw is always possible */
	done = ZSTD_compressCCtx(c->zstd, out, cap, in, n, ZSTD_LEVEL);
	return ZSTD_isError(done) ? 0 : done;
}

size_t codec_pack(struct codec *c, enum wire_codec how, const void *in, size_t n, void *out, size_t cap)
{
	int done;

	if (how == WIRE_ZSTD)
		return pack_zstd(c, in, n, out, cap);
	if (how != WIRE_LZ4)
		return 0;
	done = LZ4_compress_default(in, out, (int)n, (int)cap);
	return done > 0 ? (size_t)done : 0;
}

/* The size in the frame's header is the sender's word only: the output is bounded by @n in any case. */
static int unpack_zstd(struct codec *c, const void *in, size_t in_bytes, void *out, size_t n)
{
	if (!c->unzstd)
		c->unzstd = ZSTD_createDCtx();
	if (!c->unzstd)
		return -ENOMEM;
	return ZSTD_decompressDCtx(c->unzstd, out, n, in, in_bytes) == n ? 0 : -EBADMSG;
}

int codec_unpack(struct codec *c, enum wire_codec how, const void *in, size_t in_bytes, void *out, size_t n)
{
	if (how == WIRE_ZSTD)
		return unpack_zstd(c, in, in_bytes, out, n);
	if (how != WIRE_LZ4)
		return -EBADMSG;
	return LZ4_decompress_safe(in, out, (int)in_bytes, (int)n) == (int)n ? 0 : -EBADMSG;
}
