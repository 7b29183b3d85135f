/* Policies that were given by command (policyctl add-policy, set-policy) to a running policyd: kept in the store as the text that was given, and
 * laid over those of policyd.cfg - one of the same name takes the file's place until it is removed. Loop thread. */
#ifndef POLICYD_POLICIES_H
#define POLICYD_POLICIES_H

#include "policyd/policyd.h"
#include "policyd/store.h"

/* Start-up: read them and lay them over p->conf. One that the present configuration does not allow any more (its cluster is gone) is logged and
 * kept, and does nothing. -EIO and the like: the store cannot be read. Blocks. */
int policies_start(struct policyd *p, struct err *e);
void policies_stop(struct policyd *p);

/* Lay them over @conf, which was read just now or had them laid over before. -ENOMEM: @conf is as it was. */
int policies_merge(struct policyd *p, struct conf *conf);

/* From @text (as in policies.cfg: policies = ( { ... } ); exactly one). -EINVAL with mistakes. */
int policies_parse(struct policyd *p, const char *text, const char *file, struct policy *out, struct conf_mistakes *m);
enum policy_place { POLICY_NOWHERE, POLICY_IN_FILE, POLICY_BY_COMMAND, POLICY_OVER_FILE };
enum policy_place policies_find(const struct policyd *p, const char *name);

/* Durable first; when the store has it, call policies_apply. */
void policies_put(struct policyd *p, const char *name, const char *text, store_done_fn *done, void *arg);
void policies_del(struct policyd *p, const char *name, store_done_fn *done, void *arg);
/* @text NULL: it is gone. -EINVAL, -ENOMEM: nothing changed. */
int policies_apply(struct policyd *p, const char *name, const char *text);

#endif
