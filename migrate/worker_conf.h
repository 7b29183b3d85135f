/* What a worker is told in policyd's first line (docs/worker.md). Plain data; parsed once, then read by all threads. */
#ifndef MIGRATE_WORKER_CONF_H
#define MIGRATE_WORKER_CONF_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "domain/err.h"
#include "migrate/handoff.h"
#include "migrate/wire.h"

struct worker_conf {
	enum handoff_role role;
	char domain[64], uuid[37], host[64], peer[64];
	uint64_t epoch;
	char state_dir[PATH_MAX], ram_dir[PATH_MAX], run_dir[PATH_MAX], qmp[PATH_MAX];
	pid_t pid;
	char certificate[PATH_MAX], key[PATH_MAX], trust[PATH_MAX];
	bool fips;
	char address[256];
	uint16_t port, port_first, port_last;
	uint8_t token[WIRE_TOKEN_BYTES];
	unsigned n_channels; /* 0 = auto */
	uint64_t bandwidth_bps;
	unsigned max_blackout_ms, max_rounds, throttle_max;
	bool compress, verify_full, leave_paused, was_paused, suspend, patient;
	bool postcopy; /* source: when it does not converge, stop it and send the rest after it */
	bool resume;   /* go on with a post-copy that was cut off */
	unsigned n_disks_direct;
	char devices[512]; /* ids of the devices that the definition gives it, with spaces between; "" = not said */
	char lift_path[PATH_MAX],
		lift_text[32]; /* writing this there lets a slowed guest run freely; "" = it cannot be slowed */
};

/* What the line is for: only "run" needs all of it. "check" and "measure" need QEMU's side (measure also the way to the other host where a
 * port is named), "sink" no more than that way. */
enum worker_verb { WORKER_RUN, WORKER_CHECK, WORKER_MEASURE, WORKER_SINK };
/* -EINVAL names the key. */
int worker_conf_parse(const json_t *j, enum worker_verb verb, struct worker_conf *out, struct err *e);

#endif
