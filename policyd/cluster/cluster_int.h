/* What the move jobs need of the cluster beyond cluster.h: asking a peer. Loop thread. */
#ifndef POLICYD_CLUSTER_CLUSTER_INT_H
#define POLICYD_CLUSTER_CLUSTER_INT_H

#include "policyd/cluster/peer.h"
#include "policyd/policyd.h"

/* NULL: no network here. */
struct peers *cluster_peers(struct policyd *p);
/* peer_call, with a sentence also where there is no network at all. */
int cluster_call(struct policyd *p, const char *host, const char *req, json_t *args, unsigned timeout_ms,
	peer_answer_fn *done, void *arg, struct peer_call **out, struct err *e);
/* 0 when requests to @host can be sent now; -ENOTCONN or -ENOENT with the reason. */
int cluster_reachable(struct policyd *p, const char *host, struct err *e);
/* Tell peers at once that something changed. False: the connection to one of those that are up did not take it. */
bool cluster_report_now(struct policyd *p);
const struct conf_peer *cluster_conf_peer(const struct policyd *p, const char *host);

#endif
