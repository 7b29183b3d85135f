/* remove-domain and restore-domain of definitions that were kept here when their domains moved away (kept.h). Loop thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/api/cmd_fail.h"
#include "policyd/api/control.h"
#include "policyd/cluster/cluster.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/dom.h"
#include "policyd/kept.h"

struct restoring {
	struct creq *r;
	char uuid[37], name[NAME_MAX_LEN];
};

static struct restoring *restoring_new(struct creq *r, const struct kept *k)
{
	struct restoring *x = calloc(1, sizeof(*x));

	if (!x) {
		creq_fail(r, "failed", "%s: no memory", k->spec.name);
		return NULL;
	}
	x->r = r;
	snprintf(x->uuid, sizeof(x->uuid), "%s", k->spec.uuid);
	snprintf(x->name, sizeof(x->name), "%s", k->spec.name);
	return x;
}

/* ---- remove -------------------------------------------------------------------------------------------------------- */

static void on_kept_removed(void *arg, const struct err *e)
{
	struct restoring *x = arg;
	struct err own = *e;

	if (own.code) {
		err_wrap(&own, "%s: it will be kept again after a restart", x->name);
		creq_err(x->r, &own);
	} else {
		cmd_note(x->r, x->name, "remove-domain", "kept definition removed");
		creq_ok(x->r, NULL);
	}
	free(x);
}

void cmd_remove_kept(struct creq *r, const char *name)
{
	const struct kept *k = kept_find(r->p, name);
	struct restoring *x = restoring_new(r, k);

	if (x)
		kept_del(r->p, x->uuid, on_kept_removed, x);
}

/* ---- restore ------------------------------------------------------------------------------------------------------- */

struct elsewhere { /* which other host reports it */
	const char *uuid;
	char host[CONF_NAME];
};

static void on_peer_domain(void *arg, const char *host, const json_t *dom)
{
	const char *uuid = json_string_value(json_object_get(dom, "uuid"));
	struct elsewhere *w = arg;

	if (uuid && !strcmp(uuid, w->uuid))
		snprintf(w->host, sizeof(w->host), "%s", host);
}

/* Nobody says that he has it; and he who should can be asked, or the operator says that he never can. */
static int may_restore(struct policyd *p, const struct kept *k, bool lost, struct err *e)
{
	struct elsewhere w = {.uuid = k->spec.uuid};
	const char *name = k->spec.name;

	cluster_each_domain(p, on_peer_domain, &w);
	if (w.host[0])
		return err_set(
			e, EBUSY, "%s is on %s; move it from there: policyctl migrate, on %s", name, w.host, w.host);
	if (lost || cluster_hears(p, k->host))
		return 0;
	return err_set(e, EAGAIN,
		"%s moved to %s, which cannot be asked now whether it has it. If %s never runs again: policyctl restore-domain --lost %s",
		name, k->host, k->host, name);
}

static void on_restored(void *arg, const struct err *e)
{
	struct restoring *x = arg;
	struct dom *d = dom_find_uuid(x->r->p, x->uuid);
	struct err own = *e;

	if (own.code) {
		if (d && !d->job && !d->launched.pid)
			dom_free(d);
		err_wrap(&own, "%s: nothing was changed", x->name);
		creq_err(x->r, &own);
	} else {
		kept_del(x->r->p, x->uuid, NULL, NULL);
		cmd_note(x->r, x->name, "restore-domain", "defined again from what was kept");
		creq_ok(x->r, NULL);
	}
	free(x);
}

void cmd_restore(struct creq *r, struct dom *d)
{
	const struct kept *k = d ? NULL : kept_find(r->p, arg_text(r, "domain"));
	struct restoring *x;
	struct err e = {0};

	if (!k) {
		creq_fail(r, "refused", "%s is here; there is nothing to restore", d->spec.name);
		return;
	}
	if (may_restore(r->p, k, arg_bool(r, "lost"), &e) || dom_services(r->p, &k->spec, false, &e)) {
		creq_err(r, &e);
		return;
	}
	x = restoring_new(r, k);
	if (!x)
		return;
	if (dom_new(r->p, &k->spec, &d, &e)) {
		creq_err(r, &e);
		free(x);
		return;
	}
	dom_save(d, on_restored, x);
}

/* ---- add ------------------------------------------------------------------------------------------------------------- */

int cmd_add_kept(struct policyd *p, const struct domain_spec *spec, struct err *e)
{
	const struct kept *k = kept_find_uuid(p, spec->uuid);

	if (!k)
		k = kept_find(p, spec->name);
	if (!k)
		return 0;
	return err_set(e, EEXIST,
		"%s is kept here since it moved to %s; restore-domain makes it a domain again where %s has lost it, remove-domain forgets it",
		k->spec.name, k->host, k->host);
}
