/* The operator's commands about a host, evacuate and maintenance: asked of the host itself, or by way of another one of its group. docs/control.md,
 * docs/peers.md. Loop thread. */
#ifndef POLICYD_ACT_MAINTAIN_ASK_H
#define POLICYD_ACT_MAINTAIN_ASK_H

#include <jansson.h>

#include "policyd/cluster/peer.h"
#include "policyd/policyd.h"

/* Once, maybe before the call returns. @result is given away, NULL on failure. */
typedef void maintain_asked_fn(void *arg, json_t *result, const struct err *e);

/* Do @cmd ("evacuate", "maintenance") with @args, the command's own, at @host: here, or there after a peer has answered. @by: who asks, as the history
 * says it. -ENOENT no such host; -EINVAL it is refused, and why; -EDOM a wrong argument; what cluster_call says. */
void maintain_ask(struct policyd *p, const char *host, const char *cmd, const json_t *args, const char *by,
	maintain_asked_fn *done, void *arg);

/* A peer's operator asks. */
void on_req_evacuate(void *arg, struct peer_req *rq, const char *from, const json_t *args);
void on_req_maintenance(void *arg, struct peer_req *rq, const char *from, const json_t *args);

#endif
