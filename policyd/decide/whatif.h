/* What if: a snapshot as it would be, for policyctl plan --what-if and policysim. Pure; nothing is done with the real one.
 *
 *     add-host NAME [vcpus=N] [memory=SIZE]   one more peer, empty; sizes as this host's where they are left out
 *     remove-host NAME                        a peer is not there
 *     fail-host NAME                          a peer does not answer
 *     domain NAME [load=PERCENT] [available=PERCENT]   it has had that load, and so much memory available, for long
 *
 * Several of them are separated by ";". */
#ifndef POLICYD_DECIDE_WHATIF_H
#define POLICYD_DECIDE_WHATIF_H

#include "policyd/decide/snapshot.h"

/* 0; -EINVAL, -ENOENT with a sentence: @s may be changed in part, forget it. -ENOMEM. */
int whatif_apply(struct snapshot *s, const char *text, struct err *e);
/* As if @conf (its decide, policies, clusters, rules and migration) were in force. Rules of the same name keep whom they speak of on other hosts. */
int whatif_policy(struct snapshot *s, const struct conf *conf, struct err *e);

#endif
