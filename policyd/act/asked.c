/* What peers ask of this host about moves (docs/peers.md): the handlers, and what they need to know. The jobs are in incoming.c (live) and
 * incoming_cold.c. Called by cluster/peer.c, loop thread. */
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policyd/act/forecast.h"
#include "policyd/act/incoming.h"
#include "policyd/act/maintain.h"
#include "policyd/act/maintain_ask.h"
#include "policyd/act/plan_ask.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/act/snap_rules.h"
#include "policyd/cluster/claim.h"

/* What admission asks of this host's files: what was looked at beforehand, away from the loop. */
static enum looked on_admit_look(void *arg, const char *path, struct volume_id *id)
{
	static const char net[] = "/sys/class/net/";
	const struct look_path *l;

	if (!strncmp(path, net, sizeof(net) - 1)) /* /sys may show another network namespace than the one we are in */
		return if_nametoindex(path + sizeof(net) - 1) ? LOOKED_THERE : LOOKED_ABSENT;
	l = look_find(arg, path);
	if (l && id)
		*id = l->id;
	return l ? l->found : LOOKED_ABSENT;
}

static void look_paths(const struct policyd *p, const struct domain_spec *spec, struct look_list *out)
{
	const struct host_services *h = &p->conf->host;
	const struct volume *v;

	memset(out, 0, sizeof(*out));
	look_add(out, h->paths.qemu, true);
	look_add(out, h->paths.worker, false);
	look_add(out, spec->kernel, false);
	look_add(out, spec->initrd, false);
	for (unsigned i = 0; i < spec->n_disks; i++) {
		v = services_volume(h, spec->disks[i].volume);
		if (v)
			look_add(out, v->path, true);
	}
}

/* Is one of migration.ports free? */
static bool port_free(const struct conf *c)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | AI_PASSIVE};
	struct addrinfo *ai = NULL;
	bool found = false;
	char port[8];

	for (unsigned n = c->migration.port_first; n <= c->migration.port_last && !found; n++) {
		int fd, one = 1;

		snprintf(port, sizeof(port), "%u", n);
		if (getaddrinfo(c->address[0] ? c->address : NULL, port, &hints, &ai) != 0)
			return true; /* a name: the worker resolves it, we must not wait for DNS */
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		found = fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 || errno != EADDRINUSE;
		if (fd >= 0)
			close(fd);
		freeaddrinfo(ai);
	}
	return found;
}

static const char *console_taken(struct policyd *p, const struct admit_request *rq, struct err *e)
{
	uint16_t port;

	return rq->running && dom_console_port(p, &rq->spec, &port, e) == -ENOSPC ? e->msg : NULL;
}

static void admit_now(struct policyd *p, const char *from, const struct admit_request *rq,
	const struct look_list *looked, struct admit_failures *f)
{
	const struct domain_spec **specs = calloc(p->n_doms + 1, sizeof(specs[0]));
	const struct conf *conf = p->conf;
	struct err console;
	char ports[160];
	struct admit_host h = {.services = &conf->host,
		.accepts = p->settled && !p->stopping && !maintain_on(p),
		.ram_free_bytes = policyd_ram_free(p, NULL),
		.ram_page_bytes = policyd_ram_page(p),
		.domains = specs,
		.qemu = qemu_probe_facts(p),
		.now_ms = now_wall_ms(),
		.fips = conf->security.fips,
		.console_why = console_taken(p, rq, &console),
		.look = on_admit_look,
		.arg = (void *)looked,
		.accepts_why = p->stopping ? "its policyd is stopping"
			: maintain_on(p)   ? "it is in maintenance (policyctl maintenance off ends that, there)"
					   : "its policyd is starting"};
	struct capacity c;
	char why[192];
	struct dom *d;

	policyd_capacity(p, &c);
	h.vcpus_total = c.vcpus_total;
	h.vcpus_given = c.vcpus_given;
	h.mem_total = c.mem_total;
	h.mem_given = c.mem_given;
	if (rq->live && !port_free(conf)) {
		snprintf(ports, sizeof(ports), "all ports of %s from %u to %u are in use; widen migration.ports there",
			conf->host.host_name, conf->migration.port_first, conf->migration.port_last);
		h.ports_why = ports;
	}
	TAILQ_FOREACH(d, &p->doms, link)
		if (specs && !d->gone)
			specs[h.n_domains++] = &d->spec;
	if (specs)
		admit_check(&h, from, rq, f);
	else
		admit_fail(f, "host", "out of memory");
	if (rq->by_policy && rq->running && snap_rules_forbid(p, &rq->spec, from, why))
		admit_fail(f, "rule", "%s: %s", p->conf->host.host_name, why);
	free(specs);
}

/* ---- a request that is admitted or not ------------------------------------------------------------------------------ */

static void asked_free(struct asked *a)
{
	json_decref(a->args);
	admit_request_fini(&a->ar);
	free(a);
}

static void on_asked_looked(void *arg, const struct look_list *l)
{
	const struct look_path *qemu;
	struct asked *a = arg;

	qemu = look_find(l, a->p->conf->host.paths.qemu);
	if (qemu && qemu->found == LOOKED_THERE)
		qemu_probe_seen(a->p, &qemu->id);
	admit_now(a->p, a->from, &a->ar, l, &a->f);
	a->go(a);
	asked_free(a);
}

int asked_new(
	struct policyd *p, struct peer_req *rq, const char *from, const json_t *args, struct asked **out, struct err *e)
{
	struct asked *a = calloc(1, sizeof(*a));
	int r = a ? admit_request_parse(args, &a->ar, e) : err_set(e, ENOMEM, "out of memory");

	if (!r) {
		a->p = p;
		a->rq = rq;
		a->args = json_deep_copy(args);
		snprintf(a->from, sizeof(a->from), "%s", from);
		if (!a->args)
			r = err_set(e, ENOMEM, "out of memory");
	}
	if (r) {
		asked_drop(a);
		return r;
	}
	*out = a;
	return 0;
}

void asked_drop(struct asked *a)
{
	if (a)
		asked_free(a);
}

void asked_admit(struct asked *a, void (*go)(struct asked *a))
{
	struct look_list paths;

	a->go = go;
	look_paths(a->p, &a->ar.spec, &paths);
	if (look_start(a->p, &paths, on_asked_looked, a))
		return;
	peer_req_fail(a->rq, &(struct err){.code = ENOMEM, .msg = "out of memory or threads"});
	asked_free(a);
}

static int parse_epoch(const json_t *args, uint64_t *out, struct err *e)
{
	const json_t *epoch = json_object_get(args, "epoch");

	if (!json_is_integer(epoch) || json_integer_value(epoch) < 1)
		return err_set(e, EINVAL, "epoch: must be a whole number from 1");
	*out = (uint64_t)json_integer_value(epoch);
	return 0;
}

int incoming_args(const json_t *args, char uuid[37], uint64_t *epoch_out, struct err *e)
{
	const char *u = json_string_value(json_object_get(args, "uuid"));

	if (!u || strlen(u) != 36 || strspn(u, "0123456789abcdef-") != 36)
		return err_set(e, EINVAL, "uuid: not a uuid");
	memcpy(uuid, u, 37);
	return parse_epoch(args, epoch_out, e);
}

static void precheck_go(struct asked *a)
{
	peer_req_answer(a->rq, json_pack("{s:o}", "failures", admit_to_json(&a->f)));
}

static void on_req_precheck(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct asked *a;
	struct err e;

	if (asked_new(arg, rq, from, args, &a, &e) < 0)
		peer_req_fail(rq, &e);
	else
		asked_admit(a, precheck_go);
}

static void prepare_go(struct asked *a)
{
	struct err e;
	char text[400];

	if (!a->f.n) {
		if (incoming_begin(a->p, a->from, &a->ar, a->epoch, a->args, a->rq, &e) == 0)
			return;
	} else {
		admit_text(&a->f, text, sizeof(text));
		err_set(&e, ENOSPC, "%s", text);
	}
	peer_req_fail(a->rq, &e);
}

static void on_prepare_journal(void *arg, enum handoff_state found, const struct err *e)
{
	struct asked *a = arg;
	struct err bad = *e;

	if (!bad.code && found != HO_NONE) /* its outcome is known already, and would be taken for this one's */
		err_set(&bad, EALREADY, "epoch %llu of %s was used before (%s); move it again",
			(unsigned long long)a->epoch, a->ar.name, handoff_name(found));
	if (!bad.code) {
		asked_admit(a, prepare_go);
		return;
	}
	peer_req_fail(a->rq, &bad);
	asked_drop(a);
}

static void on_req_prepare(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct asked *a = NULL;
	struct err e;
	int r = asked_new(arg, rq, from, args, &a, &e);

	if (!r)
		r = parse_epoch(args, &a->epoch, &e);
	if (!r)
		r = journal_read_async(a->p, a->ar.spec.uuid, a->epoch, HO_TARGET, on_prepare_journal, a, &e);
	if (!r)
		return;
	peer_req_fail(rq, &e);
	asked_drop(a);
}

/* ---- abort and handoff-query: both make the journal decide ---------------------------------------------------------------- */

struct late { /* asked about an epoch that no job of ours is on */
	struct peer_req *rq;
};

static void on_late_recorded(void *arg, enum handoff_state found, const struct err *e)
{
	struct late *late = arg;

	if (!e->code || (e->code == EPROTO && found == HO_OWNER))
		peer_req_answer(late->rq, json_pack("{s:s}", "state", e->code ? "OWNER" : "REFUSED"));
	else
		peer_req_fail(late->rq, e);
	free(late);
}

static void refuse_by_journal(
	struct policyd *p, struct peer_req *rq, const char *from, const char *uuid, uint64_t epoch, const char *domain)
{
	struct journal_entry entry = {.epoch = epoch, .role = HO_TARGET, .state = HO_REFUSED};
	struct late *late = calloc(1, sizeof(*late));
	struct err e;

	snprintf(entry.uuid, sizeof(entry.uuid), "%s", uuid);
	snprintf(entry.peer, sizeof(entry.peer), "%s", from);
	snprintf(entry.domain, sizeof(entry.domain), "%s", domain && name_valid(domain) ? domain : "-");
	if (late)
		late->rq = rq;
	if (!late) {
		err_set(&e, ENOMEM, "out of memory");
		peer_req_fail(rq, &e);
	} else if (journal_record_async(p, &entry, on_late_recorded, late, &e) < 0) {
		peer_req_fail(rq, &e);
		free(late);
	}
}

static void on_req_outcome(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	struct policyd *p = arg;
	char uuid[37];
	uint64_t epoch;
	struct err e;

	if (incoming_args(args, uuid, &epoch, &e) < 0)
		peer_req_fail(rq, &e);
	else if (!incoming_ask(p, rq, from, uuid, epoch))
		refuse_by_journal(p, rq, from, uuid, epoch, json_string_value(json_object_get(args, "domain")));
}

const struct peer_handler move_handlers[] = {{"precheck", on_req_precheck}, {"prepare", on_req_prepare},
	{"abort", on_req_outcome}, {"handoff-query", on_req_outcome}, {"adopt", on_req_adopt},
	{"cold-query", on_req_cold_query}, {"probe", on_req_probe}, {"come-back", on_req_come_back},
	{"evacuate", on_req_evacuate}, {"maintenance", on_req_maintenance}, {"leaving", on_req_leaving},
	{"plan", on_req_plan}, {NULL, NULL}};
