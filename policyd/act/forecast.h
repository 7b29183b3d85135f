/* What predictions are made of: figures of guests and links that were measured lately (measure.c), and what earlier moves taught (decide/learn.h), kept
 * over restarts by history. One a policyd. Loop thread. */
#ifndef POLICYD_ACT_FORECAST_H
#define POLICYD_ACT_FORECAST_H

#include <jansson.h>

#include "policyd/decide/predict.h"
#include "policyd/decide/snapshot.h"
#include "policyd/dom.h"
#include "policyd/policyd.h"

struct forecast;

/* After store_open; history is read in the background. Sets p->forecast. */
int forecast_start(struct policyd *p, struct err *e);
void forecast_stop(struct policyd *p); /* before store_close; NULL p->forecast: nothing */

void forecast_note_guest(struct policyd *p, const char *domain, const struct predict_guest *g);
void forecast_note_link(struct policyd *p, const char *peer, double bps, double octet_ns);
/* A live move ended well. */
void forecast_note_move(
	struct policyd *p, const char *domain, const char *peer, const json_t *predicted, const json_t *actual);
/* What a measurement of @domain that began at @since_ms (interval clock) or later saw it write a second, each page once; < 0: there was none. */
double forecast_writes_bps(const struct policyd *p, const char *domain, int64_t since_ms);
/* All that is known of @domain and the way to @peer; what is older than ten minutes is not. Leaves alone what it does not know. */
void forecast_fill(struct policyd *p, const char *domain, const char *peer, struct predict_in *in);
/* For a snapshot: what is known, in brief. */
void forecast_snap_domain(struct policyd *p, struct snap_domain *out);
void forecast_snap_peer(struct policyd *p, struct snap_peer *out);
bool forecast_link_known(struct policyd *p, const char *peer, int64_t age_ms); /* and not older than that */

/* ---- measure.c ------------------------------------------------------------------------------------------- */

struct measure;

/* Who waits for a measurement; embedded by its owner. */
struct measure_wait {
	TAILQ_ENTRY(measure_wait) link;
	struct measure *m;       /* NULL = waits for nothing */
	void (*done)(void *arg); /* once, on the loop, never inside measure_start; what was found is in the forecast */
	void *arg;
};

/* Measure @d (half a second) and, where what is known of it is older than @link_age_ms, the way to @host (as long again); or join the measurement that
 * is under way on @d. A measurement that fails is no failure of anything else: done is called all the same. < 0: cannot be started, done will
 * not be called. */
int measure_start(struct dom *d, const char *host, int64_t link_age_ms, struct measure_wait *w);
/* @w is not called any more; the measurement ends when nobody waits for it. */
void measure_leave(struct measure_wait *w);

/* The other side: a peer asks for something to send a probe to (docs/peers.md). */
struct peer_req;
void on_req_probe(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
