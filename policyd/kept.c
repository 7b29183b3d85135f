/* See kept.h. */
#include "policyd/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policyd/dom.h"

TAILQ_HEAD(kept_list, kept);

struct kept_store {
	struct kept_list list;
};

static struct kept *find_any(struct policyd *p, const char *uuid)
{
	struct kept *k;

	if (p->kept)
		TAILQ_FOREACH(k, &p->kept->list, link)
			if (!strcmp(k->spec.uuid, uuid))
				return k;
	return NULL;
}

static bool is_back(struct policyd *p, const struct kept *k)
{
	return dom_find_uuid(p, k->spec.uuid) != NULL;
}

const struct kept *kept_find_uuid(struct policyd *p, const char *uuid)
{
	const struct kept *k = find_any(p, uuid);

	return k && !is_back(p, k) ? k : NULL;
}

const struct kept *kept_at(struct policyd *p, unsigned n)
{
	struct kept *k;

	if (p->kept)
		TAILQ_FOREACH(k, &p->kept->list, link)
			if (!is_back(p, k) && n-- == 0)
				return k;
	return NULL;
}

const struct kept *kept_find(struct policyd *p, const char *name)
{
	const struct kept *k;

	for (unsigned i = 0; (k = kept_at(p, i)); i++)
		if (!strcmp(k->spec.name, name))
			return k;
	return NULL;
}

static void forget(struct policyd *p, struct kept *k)
{
	if (!k)
		return;
	TAILQ_REMOVE(&p->kept->list, k, link);
	free(k);
}

static struct kept *kept_new(const struct domain_spec *spec, const char *host, const char *name_there, int64_t moved_ms)
{
	struct kept *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->spec = *spec;
	k->moved_ms = moved_ms;
	snprintf(k->host, sizeof(k->host), "%s", host);
	snprintf(k->name_there, sizeof(k->name_there), "%s", name_there && *name_there ? name_there : spec->name);
	return k;
}

void kept_put(struct policyd *p, const struct domain_spec *spec, const char *host, const char *name_there)
{
	struct kept *k = kept_new(spec, host, name_there, now_wall_ms());
	json_t *row;

	if (!k || !p->kept) {
		plog(p, "%s: its definition cannot be kept: no memory", spec->name);
		free(k);
		return;
	}
	row = json_pack("{s:o, s:s, s:s, s:I}", "spec", spec_to_json(spec), "host", k->host, "name_there",
		k->name_there, "moved_ms", (json_int_t)k->moved_ms);
	store_kept_put(p->store, spec->uuid, row, NULL, NULL);
	json_decref(row);
	forget(p, find_any(p, spec->uuid));
	TAILQ_INSERT_TAIL(&p->kept->list, k, link);
}

void kept_del(struct policyd *p, const char *uuid, store_done_fn *done, void *arg)
{
	struct kept *k = find_any(p, uuid);

	if (!k && !done)
		return;
	forget(p, k);
	store_kept_put(p->store, uuid, NULL, done, arg);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------ */

static void on_store_kept(void *arg, const json_t *row)
{
	const char *host = json_string_value(json_object_get(row, "host")),
		   *name = json_string_value(json_object_get(row, "name_there"));
	struct policyd *p = arg;
	struct domain_spec spec;
	struct kept *k = NULL;
	struct err e = {0};

	if (spec_from_json(json_object_get(row, "spec"), &spec, &e) == 0)
		k = kept_new(&spec, host ? host : "?", name, json_integer_value(json_object_get(row, "moved_ms")));
	if (k)
		TAILQ_INSERT_TAIL(&p->kept->list, k, link);
	else
		plog(p, "store: a kept definition cannot be read: %s", err_msg(&e));
}

int kept_start(struct policyd *p, struct err *e)
{
	p->kept = calloc(1, sizeof(*p->kept));
	if (!p->kept)
		return err_set(e, ENOMEM, "no memory");
	TAILQ_INIT(&p->kept->list);
	return store_kept_each(p->store, on_store_kept, p, e);
}

void kept_stop(struct policyd *p)
{
	if (!p->kept)
		return;
	while (!TAILQ_EMPTY(&p->kept->list))
		forget(p, TAILQ_FIRST(&p->kept->list));
	free(p->kept);
	p->kept = NULL;
}

/* ---- in words ------------------------------------------------------------------------------------------------------- */

json_t *kept_json(const struct policyd *p, const struct kept *k)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:n, s:I, s:I, s:s, s:s, s:{s:s, s:s, s:I}}", "name", k->spec.name,
		"uuid", k->spec.uuid, "state", "kept", "flags", "------", "cons", "vcpus",
		(json_int_t)k->spec.vcpus_boot, "mem_bytes", (json_int_t)k->spec.mem_boot, "host",
		p->conf->host.host_name, "cluster", k->spec.cluster, "kept_for", "host", k->host, "name", k->name_there,
		"moved_ms", (json_int_t)k->moved_ms);
}

int kept_refuse(const struct policyd *p, const struct kept *k, struct err *e)
{
	time_t at = (time_t)(k->moved_ms / 1000);
	char when[32] = "?";
	struct tm tm;

	if (localtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	return err_set(e, ENOENT,
		"%s moved to %s%s%s at %s; %s has kept its definition only. Ask %s for it; if it is lost there: policyctl restore-domain %s",
		k->spec.name, k->host, strcmp(k->spec.name, k->name_there) ? " as " : "",
		strcmp(k->spec.name, k->name_there) ? k->name_there : "", when, p->conf->host.host_name, k->host,
		k->spec.name);
}
