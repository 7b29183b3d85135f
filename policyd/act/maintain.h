/* Maintenance of this host: it admits nothing and starts nothing, and what runs on it leaves, as decide/leave.c says; afterwards, if asked, what left
 * comes back. Kept in the store, so a restart goes on. Loop thread. Owned by main. */
#ifndef POLICYD_ACT_MAINTAIN_H
#define POLICYD_ACT_MAINTAIN_H

#include <jansson.h>

#include "policyd/cluster/peer.h"
#include "policyd/decide/snapshot.h"
#include "policyd/store.h"

struct policyd;

/* Start-up: what the store says. Blocks. -EIO and the like; -ENOMEM. */
int maintain_start(struct policyd *p, struct err *e);
void maintain_stop(struct policyd *p);

bool maintain_on(const struct policyd *p);
/* It is on, nothing is moved any more, and nothing runs here. */
bool maintain_empty(const struct policyd *p);
const char *maintain_by(const struct policyd *p); /* who began it, or ended it last; "" = nobody */
/* From now on (again: failures before do not count any more). @deadline_ms: wall clock, 0 = none: no move begins that would end later. @done when it is on
 * disk and in force, or with the reason why nothing was changed. */
void maintain_begin(struct policyd *p, int64_t deadline_ms, const char *by, store_done_fn *done, void *arg);
/* It is over. @refill: the hosts that took them are asked for the domains that left. */
void maintain_end(struct policyd *p, bool refill, const char *by, store_done_fn *done, void *arg);

/* {since_ms, by, emptying, deadline_ms, running, moved: [{domain, to}], blocking: [{domain, why}]}; NULL: it is not. New reference. */
json_t *maintain_json(struct policyd *p);
/* How the host would be emptied now: {leaving: [{domain, what, target, how, total_s, outage_s, why}], blocking, moves, outage_s, total_s, text}. New
 * reference or NULL. */
json_t *maintain_outlook(struct policyd *p);

/* ---- for brain.c ---- */
void maintain_fill(struct policyd *p, struct snapshot *out);
void maintain_decided(struct policyd *p); /* after each decision */
void maintain_ended(struct policyd *p, const struct store_event *ev);

/* A peer asks for a domain of ours (docs/peers.md, come-back). */
void on_req_come_back(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
