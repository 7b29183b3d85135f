/* Definitions that stayed here when their domains moved away (policyctl migrate --keep). They are no domains: nothing here can start, move or change one, so
 * it cannot be run a second time by mistake. One goes when its domain comes back, is made a domain again (restore-domain), or is
 * forgotten (remove-domain). Loop thread. */
#ifndef POLICYD_KEPT_H
#define POLICYD_KEPT_H

#include <jansson.h>

#include "policyd/policyd.h"
#include "policyd/store.h"

struct kept {
	TAILQ_ENTRY(kept) link;
	struct domain_spec spec;
	char host[CONF_NAME], name_there[NAME_MAX_LEN]; /* where it moved, and its name there */
	int64_t moved_ms;                               /* wall clock */
};

/* p->kept, from the store. */
int kept_start(struct policyd *p, struct err *e);
void kept_stop(struct policyd *p);

/* NULL: there is none; nor is there one whose domain is here again. */
const struct kept *kept_find(struct policyd *p, const char *name);
const struct kept *kept_find_uuid(struct policyd *p, const char *uuid);
/* The n-th of those, NULL after the last. */
const struct kept *kept_at(struct policyd *p, unsigned n);

/* @spec's domain is @host's now. In the store before what is queued after this. */
void kept_put(struct policyd *p, const struct domain_spec *spec, const char *host, const char *name_there);
/* @done may be NULL. Nothing to forget: 0 at once. */
void kept_del(struct policyd *p, const char *uuid, store_done_fn *done, void *arg);

/* As a row of list: state "kept", and kept_for: {host, name, moved_ms}. New reference. */
json_t *kept_json(const struct policyd *p, const struct kept *k);
/* The sentence for who wants to use it: -ENOENT. */
int kept_refuse(const struct policyd *p, const struct kept *k, struct err *e);

#endif
