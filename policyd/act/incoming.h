/* Private to asked.c, incoming.c (live; its parts share incoming_int.h) and incoming_cold.c, the target's side of moves. Loop thread. */
#ifndef POLICYD_ACT_INCOMING_H
#define POLICYD_ACT_INCOMING_H

#include "policyd/act/move.h"

/* A request that describes a domain (precheck, prepare, adopt), between its parts: files are looked at away from the loop. */
struct asked {
	struct policyd *p;
	struct peer_req *rq;
	char from[NAME_MAX_LEN], uuid[37];
	json_t *args;
	struct admit_request ar;
	uint64_t epoch;
	struct admit_failures f; /* every reason against it coming here */
	void (*go)(struct asked *a);
};
/* Strict, as admit_request_parse; @rq is still the caller's to answer on failure. */
int asked_new(struct policyd *p, struct peer_req *rq, const char *from, const json_t *args, struct asked **out,
	struct err *e);
/* @go on the loop, with @a->f filled; it answers @a->rq (or gives it to who will), and @a is freed when it returns. */
void asked_admit(struct asked *a, void (*go)(struct asked *a));
void asked_drop(struct asked *a); /* instead of asked_admit; NULL does nothing */
/* uuid and epoch of a request; -EINVAL with a sentence. */
int incoming_args(const json_t *args, char uuid[37], uint64_t *epoch_out, struct err *e);
/* The domain object with its room, and the job that receives it; @rq (prepare) is answered by the job. On failure nothing is left and
 * @rq is the caller's. */
int incoming_begin(struct policyd *p, const char *from, const struct admit_request *ar, uint64_t epoch,
	const json_t *args, struct peer_req *rq, struct err *e);
/* abort or handoff-query: true where a job is on that epoch: it gives it up unless it is the owner, and answers @rq when that is durable. */
bool incoming_ask(struct policyd *p, struct peer_req *rq, const char *from, const char *uuid, uint64_t epoch);
/* settings.hold into @d. */
void incoming_take_hold(struct dom *d, const json_t *settings);

void on_req_adopt(void *arg, struct peer_req *rq, const char *from, const json_t *args);
void on_req_cold_query(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
