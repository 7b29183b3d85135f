/* A claim: before a node of a guest cluster is taken away, every host of the group is told, and asked what it takes away at this moment.
 *
 * Two hosts that begin in the same moment cannot both go on without knowing of each other: each says its own before it asks (Dekker's rule: raise the
 * flag, then look), reports and requests arrive in the order in which they were sent, so whichever is asked later has the other's flag. Both may then
 * refuse; that is safe, and the operator or the next decision tries again. docs/peers.md (leaving). Loop thread. */
#ifndef POLICYD_CLUSTER_CLAIM_H
#define POLICYD_CLUSTER_CLAIM_H

#include <jansson.h>

#include "domain/err.h"
#include "policyd/cluster/peer.h"
#include "policyd/policyd.h"

struct claim;

/* Everybody has answered, or cannot be asked. @leaving: uuids (array, borrowed) of nodes that others take away. @e->code: 0; EAGAIN a host whose nodes
 * count did not answer, with a sentence. Once, from the loop, never inside claim_start; the claim is gone afterwards. */
typedef void claim_fn(void *arg, const json_t *leaving, const struct err *e);

/* What is claimed is what cluster_leaving_json says by now. NULL: no memory. */
struct claim *claim_start(struct policyd *p, claim_fn *done, void *arg);
/* @done will not be called. NULL does nothing. */
void claim_cancel(struct claim *c);

/* A peer asks what we take away. */
void on_req_leaving(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
