/* Shared by forecast.c (what is known) and measure.c (what is being found out). */
#ifndef POLICYD_ACT_FORECAST_INT_H
#define POLICYD_ACT_FORECAST_INT_H

#include "policyd/act/forecast.h"
#include "policyd/decide/learn.h"

struct seen_guest {
	SLIST_ENTRY(seen_guest) link;
	char domain[NAME_MAX_LEN];
	int64_t t_ms;
	struct predict_guest g;
};

struct seen_link {
	SLIST_ENTRY(seen_link) link;
	char peer[NAME_MAX_LEN];
	int64_t t_ms;
	double bps, octet_ns;
};

struct forecast {
	struct learn learn;
	SLIST_HEAD(, seen_guest) guests;
	SLIST_HEAD(, seen_link) links;
	TAILQ_HEAD(, measure) running;
	TAILQ_HEAD(, sink) sinks; /* probes of peers that we serve now */
	unsigned n_sinks;
};

/* policyd stops: nobody is called any more, workers end by themselves. */
void measure_abandon_all(struct policyd *p);
void sink_abandon_all(struct policyd *p);

#endif
