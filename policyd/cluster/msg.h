/* What peers say to each other, as data: one JSON object a line (docs/peers.md). Parsing and checking only: no socket, no
 * clock, no loop, so that it can be tested and fuzzed. Everything here comes from another machine and is believed only after
 * these functions said so. Any thread. */
#ifndef POLICYD_CLUSTER_MSG_H
#define POLICYD_CLUSTER_MSG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/err.h"
#include "domain/spec.h"

#define MSG_LINE_MAX (1u << 20) /* bytes, with the newline */
#define MSG_PROTOCOL 1          /* ours: docs/peers.md, "Versions" */
#define MSG_PROTOCOL_LOW 1      /* the oldest that we still speak */
#define MSG_REQ_NAME_MAX 32
#define MSG_DEPTH_MAX 16

enum msg_kind { MSG_HELLO, MSG_REQUEST, MSG_ANSWER, MSG_REPORT, MSG_BYE };

struct peer_msg {
	enum msg_kind kind;
	uint64_t id;                /* request, answer */
	char req[MSG_REQ_NAME_MAX]; /* request: its name */
	bool ok;                    /* answer */
	char error[ERR_MSG_MAX];    /* answer with ok = false; bye: why */
	json_t *body;               /* hello and report: the inner object; else the whole line's. Owned */
};

/* Parse one line (without its newline). -EINVAL with a sentence; @out is untouched then. Free with msg_fini. */
int msg_parse(const char *line, size_t len, struct peer_msg *out, struct err *e);
void msg_fini(struct peer_msg *m);

struct peer_hello { /* who a host says it is; what it says about its name is checked against its certificate */
	char name[NAME_MAX_LEN];
	unsigned protocol, protocol_max; /* the oldest and the newest that it speaks; max 0: as protocol */
	char version[32], qemu[32], accel[16];
	bool fips;
};

/* New references; NULL when out of memory. */
json_t *hello_to_json(const struct peer_hello *h);
json_t *msg_request(uint64_t id, const char *req, const json_t *args); /* @args borrowed, may be NULL */
json_t *msg_answer(uint64_t id, const json_t *fields);                 /* the same */
json_t *msg_failure(uint64_t id, const char *sentence);
json_t *msg_bye(const char *sentence);

/* Read @body of a hello and decide whether we may talk: the name must be @cert_name, a protocol be common to both, FIPS only with FIPS.
 * -EINVAL malformed, -EACCES name, -EPROTONOSUPPORT no common protocol, -EPERM fips; with a sentence on what to do. */
int hello_check(
	const json_t *body, const char *cert_name, const struct peer_hello *own, struct peer_hello *out, struct err *e);

#endif
