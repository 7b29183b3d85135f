/* Peers, as the rest of policyd sees them: who is there, what they report, and the journals after a restart. docs/peers.md. Loop thread. */
#ifndef POLICYD_CLUSTER_CLUSTER_H
#define POLICYD_CLUSTER_CLUSTER_H

#include <jansson.h>

#include "policyd/decide/snapshot.h"
#include "policyd/policyd.h"

/* Listen and connect as p->conf says; sets p->cluster. Without peers and without a certificate in the configuration: nothing to do, 0. */
int cluster_start(struct policyd *p, struct err *e);
/* p->conf has just been swapped. Connections to peers that did not change stay. */
void cluster_reload(struct policyd *p);
void cluster_stop(struct policyd *p); /* NULL p->cluster: nothing */
/* Our QEMU's version (act/qemu_probe.h) is known: hellos and reports say it from now on. */
void cluster_qemu_known(struct policyd *p);

/* Start-up, after every live QEMU was re-adopted and before policy or operators may act: settle each hand-off journal, each interrupted migration
 * or cold move (@unfinished: store_op_unfinished's rows, borrowed) and each QEMU that was launched incoming. @done once, when all that can be
 * settled without an answer of a peer is settled; domains that need one stay paused, in state transition, until it comes. */
void cluster_reconcile(struct policyd *p, const json_t *unfinished, void (*done)(struct policyd *p));

/* hosts' result: [{name, address, port, up, accepts, vcpus_total, vcpus_given, mem_total, mem_given, cpu_util, moves, age_ms, link_bps, error}]. */
json_t *cluster_hosts_json(struct policyd *p);
/* The same shape about this host, as our reports tell it. */
json_t *cluster_host_json(struct policyd *p);
/* Domains of all peers with a fresh report, each as in a report plus "host". */
json_t *cluster_domains_json(struct policyd *p);
/* For a snapshot; *@out is malloc'd (NULL when there are none). */
int cluster_snap_peers(struct policyd *p, struct snap_peer **out, unsigned *n_out);
/* Each domain of each fresh report, as listed there; strings named here are borrowed. */
void cluster_each_domain(struct policyd *p, void (*fn)(void *arg, const char *host, const json_t *dom), void *arg);
/* Has @host's report come within the last 10 s? */
bool cluster_hears(struct policyd *p, const char *host);
/* Nodes of guest cluster @name that serve now, here or elsewhere as reported: active, and not taken away by a cold move that has not ended (not even
 * where they run again already, for they have not rejoined). @except: a uuid that does not count, or NULL. @leaving: uuids (array) that are known to
 * leave beside what is reported, or NULL. */
unsigned cluster_nodes(struct policyd *p, const char *name, const char *except, const json_t *leaving);
/* uuids of the nodes of guest clusters that a cold move of ours takes away now, and that have not rejoined. New reference. */
json_t *cluster_leaving_json(struct policyd *p);

#endif
