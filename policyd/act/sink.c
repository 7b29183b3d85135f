/* A peer wants to know how fast the way to us is: a worker that listens and throws away (docs/peers.md, "probe"). It ends by itself after some seconds,
 * whatever the peer does. Loop thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "policyd/act/forecast_int.h"
#include "policyd/act/move.h"
#include "policyd/act/worker.h"

#define SINKS_MAX 4
#define SILENT_MS 30000
#define CHANNELS_MAX 16

struct sink {
	TAILQ_ENTRY(sink) link;
	struct policyd *p;
	struct worker *w;
	struct peer_req *rq; /* not answered yet */
	char token[33];
};

static void sink_free(struct sink *s)
{
	TAILQ_REMOVE(&s->p->forecast->sinks, s, link);
	s->p->forecast->n_sinks--;
	free(s);
}

static void on_sink_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct sink *s = arg;

	(void)w;
	if (strcmp(event, "listening") != 0 || !s->rq)
		return;
	peer_req_answer(s->rq,
		json_pack("{s:O, s:s, s:s}", "port", json_object_get(line, "port"), "address", s->p->conf->address,
			"token", s->token));
	s->rq = NULL;
}

static void on_sink_end(void *arg, const json_t *done, const char *how)
{
	struct sink *s = arg;
	const char *error = json_string_value(json_object_get(done, "error"));
	struct err e;

	if (s->rq) {
		err_set(&e, EIO, "%s", error && *error ? error : how);
		peer_req_fail(s->rq, &e);
	}
	sink_free(s);
}

void sink_abandon_all(struct policyd *p)
{
	struct err e = {.code = ESHUTDOWN, .msg = "policyd is stopping"};
	struct sink *s;

	while ((s = TAILQ_FIRST(&p->forecast->sinks)) != NULL) {
		if (s->rq)
			peer_req_fail(s->rq, &e);
		worker_leave(s->w);
		sink_free(s);
	}
}

static const struct worker_ops sink_ops = {on_sink_event, on_sink_end};

static int make_token(char out[33])
{
	unsigned char raw[16];

	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		return -EIO;
	for (unsigned i = 0; i < sizeof(raw); i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

static json_t *sink_line(const struct policyd *p, const struct sink *s, const char *from, int channels)
{
	const struct conf *c = p->conf;

	return json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s, s:b}, s:s, s:s, s:i, s:[i, i], s:i}", "op", "sink", "host",
		c->host.host_name, "peer", from, "tls", "certificate", c->security.certificate, "key", c->security.key,
		"trust", c->security.trust, "fips", c->security.fips, "token", s->token, "address", c->address, "port",
		0, "ports", (int)c->migration.port_first, (int)c->migration.port_last, "channels", channels);
}

void on_req_probe(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct policyd *p = arg;
	struct sink *s = calloc(1, sizeof(*s));
	struct worker_conf wc = {.p = p, .verb = "sink", .ops = &sink_ops, .arg = s};
	json_int_t channels = json_integer_value(json_object_get(args, "channels"));
	struct err e;
	int r = 0;

	if (!s)
		r = err_set(&e, ENOMEM, "out of memory");
	else if (channels < 1 || channels > CHANNELS_MAX)
		r = err_set(&e, EINVAL, "channels: must be 1 to %d", CHANNELS_MAX);
	else if (!p->forecast || p->stopping || p->forecast->n_sinks >= SINKS_MAX)
		r = err_set(&e, EBUSY, "%s is being probed already; try again in a moment", p->conf->host.host_name);
	else if (make_token(s->token) < 0)
		r = err_set(&e, EIO, "no random octets");
	if (!r) {
		s->p = p;
		s->rq = rq;
		wc.start = sink_line(p, s, from, (int)channels);
		r = worker_start(&wc, &s->w, &e);
	}
	if (r) {
		peer_req_fail(rq, &e);
		free(s);
		return;
	}
	TAILQ_INSERT_TAIL(&p->forecast->sinks, s, link);
	p->forecast->n_sinks++;
	worker_guard(s->w, SILENT_MS);
}
