/* Measurements: see forecast.h. The peer is asked for a sink, then the worker is started with the way to it; without one it looks at the guest alone.
 * The worker is never killed while it may be inside QEMU (the injection of its tracker): it is told to stop, and ends within milliseconds. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/forecast_int.h"
#include "policyd/act/move.h"
#include "policyd/act/worker.h"

#define SINK_ANSWER_MS 3000
#define LONGEST_MS 6000 /* who waits is not kept longer */
#define SILENT_MS 20000 /* a worker that neither speaks nor ends */
#define CHANNELS 2

struct measure {
	TAILQ_ENTRY(measure) link;
	struct policyd *p;
	char domain[NAME_MAX_LEN], host[NAME_MAX_LEN];
	json_t *line;
	struct peer_call *call;
	struct worker *w;
	struct event *deadline;
	bool given_up; /* nobody is kept waiting for it any more */
	TAILQ_HEAD(, measure_wait) waits;
};

static void measure_free(struct measure *m)
{
	TAILQ_REMOVE(&m->p->forecast->running, m, link);
	peer_call_forget(m->call);
	if (m->deadline)
		event_free(m->deadline);
	json_decref(m->line);
	free(m);
}

static void tell_all(struct measure *m)
{
	struct measure_wait *w;

	while ((w = TAILQ_FIRST(&m->waits)) != NULL) {
		TAILQ_REMOVE(&m->waits, w, link);
		w->m = NULL;
		w->done(w->arg);
	}
}

/* Nobody waits any more, or it takes too long. With a worker its end is awaited, for it holds the domain's lock. */
static void stop(struct measure *m)
{
	peer_call_forget(m->call);
	m->call = NULL;
	if (m->w)
		worker_send(m->w, json_pack("{s:s}", "op", "cancel"));
	else
		measure_free(m);
}

static void on_timer_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct measure *m = arg;

	(void)fd;
	(void)what;
	plog(m->p, "%s: measuring takes too long; going on without it", m->domain);
	m->given_up = true;
	tell_all(m);
	stop(m);
}

/* ---- the worker's answer --------------------------------------------------------------------------------- */

static double num(const json_t *o, const char *key)
{
	double v = json_number_value(json_object_get(o, key));

	return v > 0 ? v : 0;
}

static void take_guest(struct measure *m, const json_t *line)
{
	struct predict_guest g = {.ram_bytes = num(line, "ram_bytes"),
		.hole_bytes = num(line, "hole_bytes"),
		.data_bytes = num(line, "data_bytes"),
		.zero_share = num(line, "zero_share"),
		.ratio = num(line, "ratio"),
		.pack_bps = num(line, "pack_bps"),
		.zstd_ratio = num(line, "zstd_ratio"),
		.zstd_bps = num(line, "zstd_bps"),
		.delta_share = num(line, "delta_share")};
	const json_t *point;
	size_t i;

	json_array_foreach((json_t *)json_object_get(line, "written"), i, point)
		if (g.n_written < ROUNDS_CURVE_MAX)
			g.written[g.n_written++] =
				(struct rounds_point){json_number_value(json_array_get(point, 0)) / 1000,
					json_number_value(json_array_get(point, 1))};
	if (g.zero_share > 1)
		g.zero_share = 1;
	forecast_note_guest(m->p, m->domain, &g);
}

static void on_measure_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct measure *m = arg;
	const char *why = json_string_value(json_object_get(line, "link_error"));

	(void)w;
	if (strcmp(event, "measure") != 0)
		return;
	take_guest(m, line);
	forecast_note_link(m->p, m->host, num(json_object_get(line, "link"), "bps"),
		num(json_object_get(line, "link"), "octet_ns"));
	if (why)
		plog(m->p, "%s: the link to %s could not be probed: %s", m->domain, m->host, why);
}

static void on_measure_end(void *arg, const json_t *done, const char *how)
{
	struct measure *m = arg;
	const char *error = json_string_value(json_object_get(done, "error"));

	m->w = NULL;
	if (!json_is_true(json_object_get(done, "ok")) && !json_is_true(json_object_get(done, "cancelled")))
		plog(m->p, "%s: could not be measured: %s", m->domain, error && *error ? error : how);
	tell_all(m);
	measure_free(m);
}

static const struct worker_ops measure_ops = {on_measure_event, on_measure_end};

static int start_worker(struct measure *m)
{
	struct worker_conf wc = {
		.p = m->p, .domain = m->domain, .verb = "measure", .start = m->line, .ops = &measure_ops, .arg = m};
	struct err e;
	int r;

	m->line = NULL;
	r = worker_start(&wc, &m->w, &e);
	if (r < 0)
		plog(m->p, "%s: could not be measured: %s", m->domain, e.msg);
	else
		worker_guard(m->w, SILENT_MS);
	return r;
}

/* ---- asking for a sink ----------------------------------------------------------------------------------- */

static void on_answer_probe(void *arg, const json_t *answer, const struct err *e)
{
	struct measure *m = arg;
	const json_t *port = json_object_get(answer, "port"), *token = json_object_get(answer, "token");
	const json_t *address = json_object_get(answer, "address");
	const struct conf_peer *peer = cluster_conf_peer(m->p, m->host);

	m->call = NULL;
	if (!e->code && json_is_integer(port) && json_is_string(token)) {
		json_object_set(m->line, "port", (json_t *)port);
		json_object_set(m->line, "token", (json_t *)token);
		json_object_set_new(m->line, "address",
			json_string(json_string_length(address) ? json_string_value(address)
					: peer                  ? peer->address
								: ""));
	} else if (e->code) {
		plog_debug(m->p, "%s: no probe to %s: %s", m->domain, m->host, e->msg);
	}
	if (start_worker(m) < 0) {
		tell_all(m);
		measure_free(m);
	}
}

/* Asks for a sink, or, where the link is known or nobody can be asked, goes on at once. */
static int begin(struct measure *m, int64_t link_age_ms)
{
	json_t *args = json_pack("{s:O}", "channels", json_object_get(m->line, "channels"));
	struct err e;

	if (forecast_link_known(m->p, m->host, link_age_ms)) {
		json_decref(args);
		return start_worker(m);
	}
	if (cluster_call(m->p, m->host, "probe", args, SINK_ANSWER_MS, on_answer_probe, m, &m->call, &e) == 0)
		return 0;
	return start_worker(m);
}

static struct measure *measure_new(struct dom *d, const char *host)
{
	struct measure *m = calloc(1, sizeof(*m));
	struct timeval tv = {LONGEST_MS / 1000, (LONGEST_MS % 1000) * 1000};

	if (!m)
		return NULL;
	m->p = d->p;
	TAILQ_INIT(&m->waits);
	snprintf(m->domain, sizeof(m->domain), "%s", d->spec.name);
	snprintf(m->host, sizeof(m->host), "%s", host);
	TAILQ_INSERT_TAIL(&d->p->forecast->running, m, link);
	m->deadline = evtimer_new(d->p->base, on_timer_deadline, m);
	m->line = move_worker_line(d, "source", host, d->epoch);
	if (!m->deadline || !m->line || evtimer_add(m->deadline, &tv) < 0) {
		measure_free(m);
		return NULL;
	}
	json_object_set_new(m->line, "op", json_string("measure"));
	json_object_set_new(m->line, "was_paused", json_boolean(!d->guest_running));
	if (!json_integer_value(json_object_get(m->line, "channels")))
		json_object_set_new(m->line, "channels", json_integer(CHANNELS));
	return m;
}

static struct measure *under_way(struct policyd *p, const char *domain)
{
	struct measure *m;

	TAILQ_FOREACH(m, &p->forecast->running, link)
		if (!strcmp(m->domain, domain))
			break;
	return m;
}

int measure_start(struct dom *d, const char *host, int64_t link_age_ms, struct measure_wait *w)
{
	struct policyd *p = d->p;
	struct measure *m;
	int r;

	if (!p->forecast || !d->launched.pid || p->stopping)
		return -ENOTCONN;
	m = under_way(p, d->spec.name);
	if (m && m->given_up)
		return -EBUSY;
	if (!m) {
		m = measure_new(d, host);
		if (!m)
			return -ENOMEM;
		r = begin(m, link_age_ms);
		if (r < 0) {
			measure_free(m);
			return r;
		}
	}
	TAILQ_INSERT_TAIL(&m->waits, w, link);
	w->m = m;
	return 0;
}

void measure_leave(struct measure_wait *w)
{
	struct measure *m = w->m;

	if (!m)
		return;
	TAILQ_REMOVE(&m->waits, w, link);
	w->m = NULL;
	if (TAILQ_EMPTY(&m->waits))
		stop(m);
}

void measure_abandon_all(struct policyd *p)
{
	struct measure *m;

	while ((m = TAILQ_FIRST(&p->forecast->running)) != NULL) {
		struct measure_wait *w;

		while ((w = TAILQ_FIRST(&m->waits)) != NULL) {
			TAILQ_REMOVE(&m->waits, w, link);
			w->m = NULL;
		}
		worker_leave(m->w); /* its socket closes: it ends by itself */
		measure_free(m);
	}
}
