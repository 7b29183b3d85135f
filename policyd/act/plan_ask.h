/* What would be done now, here and on the other hosts of the group: each decides for itself, so each is asked. Loop thread. */
#ifndef POLICYD_ACT_PLAN_ASK_H
#define POLICYD_ACT_PLAN_ASK_H

#include <jansson.h>

#include "policyd/decide/snapshot.h"

struct policyd;
struct peer_req;

/* {actions, candidates, notes, text, power?} for @s (docs/control.md, plan). New reference; NULL: no memory. */
json_t *plan_answer(struct policyd *p, const struct snapshot *s);

/* @hosts: [{host, text, power?} or {host, error}] of all peers, by name; yours. Once, perhaps before this returns. */
typedef void plan_asked_fn(void *arg, json_t *hosts);
void plan_ask_peers(struct policyd *p, plan_asked_fn *done, void *arg);

/* A peer asks: "plan". */
void on_req_plan(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
