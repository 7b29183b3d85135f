/* Probing a link: see probe.h. A thread a channel at both ends; nothing is shared but the connections. */
#include "migrate/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "migrate/codec.h"
#include "migrate/meter.h"
#include "migrate/tls.h"

#define BLOCK_BYTES (64u << 10)
#define HEAD_BYTES 4
#define ANSWER_BYTES 16
#define UNSENT_BYTES                                                                                                   \
	(128 << 10) /* kept in the socket beyond what the link has: else a slow one would be busy long after us */
#define BURST_BYTES (384u << 10) /* not counted: slow start, and the burst that a shaper lets through. Or: */
#define BURST_NS 80000000ULL
#define SINK_BYTES_MAX (64u << 20) /* a channel: who sends more is no probe */
#define STALL_MS 3000

struct chan {
	struct tls_conn *conn;
	uint64_t quota, bytes, ns; /* bytes: sent here; counted there, in ns */
	uint64_t counted;
	struct meter_lap spent; /* sending */
	struct err err;
	int rc;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void put_head(uint8_t *p, uint32_t n)
{
	for (unsigned i = 0; i < HEAD_BYTES; i++)
		p[i] = (uint8_t)(n >> (24 - 8 * i));
}

static uint32_t get_head(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- source ---------------------------------------------------------------------------------------------- */

static void *send_main(void *arg)
{
	uint8_t answer[ANSWER_BYTES], *block = malloc(HEAD_BYTES + BLOCK_BYTES);
	struct chan *c = arg;
	uint64_t until = now_ns() + PROBE_MS * 1000000ULL;
	struct meter meter;

	if (!block) {
		c->rc = err_set(&c->err, ENOMEM, "no memory");
		return NULL;
	}
	put_head(block, BLOCK_BYTES);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[HEAD_BYTES + i] = (uint8_t)(i * 2654435761u >> 24);
	meter_open(&meter);
	while (!c->rc && c->bytes < c->quota && now_ns() < until) {
		c->rc = tls_write(c->conn, block, HEAD_BYTES + BLOCK_BYTES, &c->err);
		c->bytes += HEAD_BYTES + BLOCK_BYTES;
	}
	meter_lap(&meter, &c->spent);
	meter_close(&meter);
	put_head(block, 0);
	if (!c->rc)
		c->rc = tls_write(c->conn, block, HEAD_BYTES, &c->err);
	if (!c->rc)
		c->rc = tls_read(c->conn, answer, sizeof(answer), &c->err);
	if (!c->rc) {
		c->counted = wire_get64(answer);
		c->ns = wire_get64(answer + 8);
	}
	free(block);
	return NULL;
}

/* ---- target ---------------------------------------------------------------------------------------------- */

/* One block: its octets, 0 at the end, -errno. */
static int64_t sink_block(struct chan *c, uint8_t *block)
{
	uint8_t head[HEAD_BYTES];
	uint32_t n;

	c->rc = tls_read(c->conn, head, sizeof(head), &c->err);
	n = get_head(head);
	if (!c->rc && n > BLOCK_BYTES)
		c->rc = err_set(&c->err, EPROTO, "a block of %u octets, at most %u are allowed", n, BLOCK_BYTES);
	if (!c->rc && n)
		c->rc = tls_read(c->conn, block, n, &c->err);
	return c->rc ? c->rc : (int64_t)n;
}

static void *sink_main(void *arg)
{
	uint8_t answer[ANSWER_BYTES], *block = malloc(BLOCK_BYTES);
	struct chan *c = arg;
	uint64_t first = 0, from = 0, last = 0;
	int64_t n;

	if (!block) {
		c->rc = err_set(&c->err, ENOMEM, "no memory");
		return NULL;
	}
	while ((n = sink_block(c, block)) > 0 && c->bytes < SINK_BYTES_MAX) {
		last = now_ns();
		first = first ? first : last;
		c->bytes += (uint64_t)n + HEAD_BYTES;
		if (from)
			c->counted += (uint64_t)n + HEAD_BYTES;
		else if (c->bytes >= BURST_BYTES || last - first >= BURST_NS)
			from = last;
	}
	if (!c->rc && n)
		c->rc = err_set(&c->err, EPROTO, "a probe of more than %u MiB", SINK_BYTES_MAX >> 20);
	wire_put64(answer, c->counted);
	wire_put64(answer + 8, from ? last - from : 0);
	if (!c->rc)
		c->rc = tls_write(c->conn, answer, sizeof(answer), &c->err);
	free(block);
	return NULL;
}

/* ---- both ------------------------------------------------------------------------------------------------ */

/* One thread a channel; the first failure counts. */
static int run(struct session *s, struct chan *v, void *(*thread_main)(void *arg), struct err *e)
{
	pthread_t threads[XFER_CHANNELS_MAX];
	unsigned n = session_n_data(s), started = 0;
	int rc = 0;

	for (unsigned i = 0; i < n; i++) {
		v[i].conn = session_data(s, i);
		v[i].quota = PROBE_BYTES / n;
		tls_set_stall_ms(v[i].conn, STALL_MS);
	}
	while (started < n && pthread_create(&threads[started], NULL, thread_main, &v[started]) == 0)
		started++;
	if (started < n) {
		rc = err_set(e, EAGAIN, "cannot start a thread");
		session_break(s);
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		if (rc == 0 && v[i].rc)
			rc = err_set(e, v[i].err.code, "%s", v[i].err.msg);
	}
	return rc;
}

/* Of all channels together: one alone may have had a CPU to itself. */
static double octet_ns(const struct chan *v, unsigned n)
{
	struct meter_lap all = {0};
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		bytes += v[i].bytes;
		all.cpu_ns += v[i].spent.cpu_ns;
		all.delay_ns += v[i].spent.delay_ns;
		all.wait_ns += v[i].spent.wait_ns;
	}
	if (!codec_wait_counts((double)all.delay_ns, (double)all.wait_ns))
		all.wait_ns = 0;
	return bytes ? (double)(all.cpu_ns + all.wait_ns) / (double)bytes : 0;
}

int probe_send(struct session *s, struct probe_out *out, struct err *e)
{
	struct chan v[XFER_CHANNELS_MAX] = {0};
	struct probe_out new = {0};
	int unsent = UNSENT_BYTES, rc;
	uint64_t began;

	for (unsigned i = 0; i < session_n_data(s); i++)
		setsockopt(tls_fd(session_data(s, i)), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	began = now_ns();
	rc = run(s, v, send_main, e);
	if (rc)
		return rc;
	new.s = (double)(now_ns() - began) / 1e9;
	for (unsigned i = 0; i < session_n_data(s); i++) {
		new.bytes += v[i].bytes;
		if (v[i].ns)
			new.bps += (double)v[i].counted * 1e9 / (double)v[i].ns;
	}
	new.octet_ns = octet_ns(v, session_n_data(s));
	if (new.bps < 1) /* so slow that nothing came after the burst */
		new.bps = new.s > 0 ? (double)new.bytes / new.s : 0;
	*out = new;
	return 0;
}

int probe_sink(struct session *s, struct err *e)
{
	struct chan v[XFER_CHANNELS_MAX] = {0};

	return run(s, v, sink_main, e);
}
