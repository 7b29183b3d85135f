/* Peers joined to policyd: our report, their reports as the rest of the daemon reads them, start and reload. Loop thread.
 *
 * A certificate that is missing or has expired must not keep policyd from looking after its guests: the cluster is then there without a
 * network, says why in the log and in `policyctl hosts`, and a reload tries again. What peers report is another machine's word: it is read
 * field by field, and what does not fit reads as "none". */
#include "policyd/cluster/cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "policyd/act/brain.h"
#include "policyd/act/host_power.h"
#include "policyd/act/job.h"
#include "policyd/act/maintain.h"
#include "policyd/act/move.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/cluster/cluster_int.h"
#include "policyd/cluster/peer.h"
#include "policyd/dom.h"

struct cluster {
	struct policyd *p;
	struct peers *peers; /* NULL: no network, see why */
	struct err why;
	uint64_t files; /* fingerprint of certificate, key and trust folder when they were read last */
};

struct peers *cluster_peers(struct policyd *p)
{
	return p->cluster ? p->cluster->peers : NULL;
}

static bool is_move(const struct job *j)
{
	return j && (j->type->kind == JOB_MIGRATE || j->type->kind == JOB_COLD_MOVE || j->type->kind == JOB_INCOMING);
}

/* ---- what we report ------------------------------------------------------------------------------------------------ */

static const char *own_qemu(const struct policyd *p)
{
	const struct qemu_facts *q = qemu_probe_facts(p);

	return q ? q->version : "";
}

/* cpu_util: what our domains use, in percent of what this host may give them. */
json_t *cluster_host_json(struct policyd *p)
{
	struct capacity c;
	struct dom *d;
	unsigned moves = 0;
	double util, used = 0;

	policyd_capacity(p, &c);
	TAILQ_FOREACH(d, &p->doms, link) {
		moves += is_move(d->job);
		util = brain_util(d);
		used += util > 0 ? util * d->vcpus : 0;
	}
	util = c.vcpus_total ? used / c.vcpus_total : 0;
	return json_pack("{s:s, s:i, s:i, s:I, s:I, s:f, s:i, s:b, s:b, s:b, s:s}", "name", p->conf->host.host_name,
		"vcpus_total", (int)c.vcpus_total, "vcpus_given", (int)c.vcpus_given, "mem_total",
		(json_int_t)c.mem_total, "mem_given", (json_int_t)c.mem_given, "cpu_util", util, "moves", (int)moves,
		"accepts", p->settled && !p->stopping && !maintain_on(p), "maintenance", maintain_on(p), "asleep",
		host_power_asleep(p), "qemu", own_qemu(p));
}

/* Not those whose move is still checked (its first phase): one that will be refused must not keep another from going. */
json_t *cluster_leaving_json(struct policyd *p)
{
	json_t *uuids = json_array();
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link)
		if (d->job && d->job->phase > 0 && d->job->type->kind == JOB_COLD_MOVE && d->spec.cluster[0])
			json_array_append_new(uuids, json_string(d->spec.uuid));
	return uuids;
}

static json_t *on_peers_report(void *arg)
{
	struct policyd *p = arg;
	json_t *doms = json_array();
	struct dom *d;

	if (!doms)
		return NULL;
	TAILQ_FOREACH(d, &p->doms, link)
		if (!d->gone)
			json_array_append_new(doms, dom_list_json(d));
	return json_pack("{s:I, s:o?, s:o, s:o?}", "t", (json_int_t)now_wall_ms(), "host", cluster_host_json(p),
		"domains", doms, "leaving", cluster_leaving_json(p));
}

/* ---- start, reload, stop ------------------------------------------------------------------------------------------- */

static void on_peers_log(void *arg, const char *peer, const char *text)
{
	struct policyd *p = arg;

	if (peer)
		plog(p, "host %s: %s", peer, text);
	else
		plog(p, "peers: %s", text);
}

static int make_tls(struct policyd *p, struct tls_ctx **out, struct err *e)
{
	const struct conf_security *s = &p->conf->security;
	struct tls_conf tc = {.certificate = s->certificate, .key = s->key, .trust = s->trust, .fips = s->fips};
	int r = tls_ctx_new(&tc, out, e);

	if (!r && strcmp(tls_ctx_name(*out), p->conf->host.host_name) != 0) {
		r = err_set(e, EINVAL, "%s is a certificate for \"%s\" but host.name is \"%s\"; they must be the same",
			s->certificate, tls_ctx_name(*out), p->conf->host.host_name);
		tls_ctx_free(*out);
		*out = NULL;
	}
	return r;
}

static uint64_t fold(uint64_t h, const void *data, size_t n)
{
	const unsigned char *b = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3ULL; /* FNV-1a: told apart, not protected */
	return h;
}

static uint64_t fold_file(uint64_t h, int dir_fd, const char *path)
{
	struct stat st;

	h = fold(h, path, strlen(path));
	if (fstatat(dir_fd, path, &st, 0) < 0)
		return h;
	h = fold(h, &st.st_ino, sizeof(st.st_ino));
	h = fold(h, &st.st_size, sizeof(st.st_size));
	return fold(h, &st.st_mtim, sizeof(st.st_mtim));
}

/* So that a reload that changes nothing about certificates cuts no connection. */
static uint64_t files_fingerprint(const struct conf_security *s)
{
	uint64_t h =
		fold_file(fold_file(fold(0xcbf29ce484222325ULL, &s->fips, sizeof(s->fips)), AT_FDCWD, s->certificate),
			AT_FDCWD, s->key);
	uint64_t sum = 0;
	struct dirent *de;
	DIR *d = opendir(s->trust);

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.')
			sum += fold_file(h, dirfd(d), de->d_name); /* the folder's order does not matter */
	if (d)
		closedir(d);
	return fold(fold(h, s->trust, strlen(s->trust)), &sum, sizeof(sum));
}

static int network_start(struct cluster *c)
{
	struct policyd *p = c->p;
	struct peers_conf pc = {.base = p->base,
		.address = p->conf->address,
		.port = p->conf->port,
		.peers = p->conf->peers,
		.n_peers = p->conf->n_peers,
		.handlers = move_handlers,
		.report = on_peers_report,
		.log = on_peers_log,
		.arg = p};
	int r;

	c->files = files_fingerprint(&p->conf->security);
	r = make_tls(p, &pc.tls, &c->why);
	if (r)
		return r;
	snprintf(pc.own.name, sizeof(pc.own.name), "%s", p->conf->host.host_name);
	pc.own.protocol = MSG_PROTOCOL_LOW;
	pc.own.protocol_max = MSG_PROTOCOL;
	pc.own.fips = p->conf->security.fips;
	snprintf(pc.own.version, sizeof(pc.own.version), "%s", POLICYD_VERSION);
	snprintf(pc.own.qemu, sizeof(pc.own.qemu), "%s", own_qemu(p));
	snprintf(pc.own.accel, sizeof(pc.own.accel), "%s", p->conf->host.accel == ACCEL_KVM ? "kvm" : "tcg");
	r = peers_new(&pc, &c->peers, &c->why);
	if (!r)
		memset(&c->why, 0, sizeof(c->why));
	return r;
}

static bool wanted(const struct conf *conf)
{
	return conf->n_peers || conf->security.certificate[0];
}

int cluster_start(struct policyd *p, struct err *e)
{
	struct cluster *c;

	if (!wanted(p->conf))
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->p = p;
	p->cluster = c;
	if (network_start(c) < 0)
		plog(p, "peers: %s; this host goes on alone until a reload finds it right", c->why.msg);
	return 0;
}

void cluster_reload(struct policyd *p)
{
	struct cluster *c = p->cluster;
	struct tls_ctx *tls = NULL;
	uint64_t files = files_fingerprint(&p->conf->security);
	struct err e;

	if (!c) {
		if (cluster_start(p, &e) < 0)
			plog(p, "peers: %s", e.msg);
		return;
	}
	if (!c->peers) {
		if (network_start(c) < 0)
			plog(p, "peers: %s", c->why.msg);
		return;
	}
	if (files != c->files && make_tls(p, &tls, &e) < 0) {
		plog(p, "peers: %s; the certificate read before stays in use", e.msg);
		tls = NULL;
	}
	if (tls)
		c->files = files;
	if (peers_update(c->peers, p->conf->peers, p->conf->n_peers, tls, &e) < 0)
		plog(p, "peers: %s", e.msg);
}

void cluster_qemu_known(struct policyd *p)
{
	if (cluster_peers(p))
		peers_set_qemu(cluster_peers(p), own_qemu(p));
}

void cluster_stop(struct policyd *p)
{
	if (!p->cluster)
		return;
	peers_free(p->cluster->peers);
	free(p->cluster);
	p->cluster = NULL;
}

int cluster_call(struct policyd *p, const char *host, const char *req, json_t *args, unsigned timeout_ms,
	peer_answer_fn *done, void *arg, struct peer_call **out, struct err *e)
{
	if (p->cluster && p->cluster->peers)
		return peer_call(p->cluster->peers, host, req, args, timeout_ms, done, arg, out, e);
	json_decref(args);
	if (p->cluster)
		return err_set(e, ENOTCONN, "this host has no connection to others: %s", p->cluster->why.msg);
	return err_set(e, ENOENT, "there is no host \"%s\" under cluster.peers", host);
}

int cluster_reachable(struct policyd *p, const char *host, struct err *e)
{
	struct peers *peers = cluster_peers(p);
	struct peer_status st;

	if (!p->cluster || (peers && !peers_status(peers, host, &st)))
		return err_set(e, ENOENT, "there is no host \"%s\" under cluster.peers", host);
	if (!peers)
		return err_set(e, ENOTCONN, "this host has no connection to others: %s", p->cluster->why.msg);
	if (!st.up)
		return err_set(e, ENOTCONN, "%s cannot be reached: %s", host, st.error);
	return 0;
}

bool cluster_report_now(struct policyd *p)
{
	return !p->cluster || !p->cluster->peers || peers_report_now(p->cluster->peers);
}

const struct conf_peer *cluster_conf_peer(const struct policyd *p, const char *host)
{
	for (unsigned i = 0; i < p->conf->n_peers; i++)
		if (!strcmp(p->conf->peers[i].name, host))
			return &p->conf->peers[i];
	return NULL;
}

/* ---- what peers report --------------------------------------------------------------------------------------------- */

static uint64_t get_u64(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

static unsigned get_unsigned(const json_t *j, const char *key)
{
	uint64_t v = get_u64(j, key);

	return v > 1000000 ? 1000000 : (unsigned)v;
}

static void snap_from_status(struct policyd *p, const struct peer_status *st, struct snap_peer *out)
{
	const json_t *host = json_object_get(st->report, "host");

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", st->name);
	out->up = st->up && st->report && json_is_object(host);
	out->accepts = json_is_true(json_object_get(host, "accepts"));
	out->asleep = out->up && json_is_true(json_object_get(host, "asleep"));
	out->vcpus_total = get_unsigned(host, "vcpus_total");
	out->vcpus_given = get_unsigned(host, "vcpus_given");
	out->mem_total = get_u64(host, "mem_total");
	out->mem_given = get_u64(host, "mem_given");
	out->cpu_util = json_number_value(json_object_get(host, "cpu_util"));
	out->moves = get_unsigned(host, "moves");
	store_link_get(p->store, st->name, &out->link_bps, &out->recent_failures);
}

int cluster_snap_peers(struct policyd *p, struct snap_peer **out, unsigned *n_out)
{
	struct peers *peers = cluster_peers(p);
	unsigned n = peers ? peers_count(peers) : 0;
	struct snap_peer *v = NULL;
	struct peer_status st;

	if (n && !(v = calloc(n, sizeof(*v))))
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		peers_status_at(peers, i, &st);
		snap_from_status(p, &st, &v[i]);
	}
	*out = v;
	*n_out = n;
	return 0;
}

static json_t *host_json(struct policyd *p, const struct peer_status *st)
{
	struct snap_peer sp;
	const char *qemu = json_string_value(json_object_get(json_object_get(st->report, "host"), "qemu"));
	bool maintenance = json_is_true(json_object_get(json_object_get(st->report, "host"), "maintenance"));
	json_t *j;

	snap_from_status(p, st, &sp);
	j = json_pack("{s:s, s:s, s:i, s:b, s:b, s:b, s:i, s:i, s:I, s:I, s:f, s:i, s:I, s:s, s:s, s:s}", "name",
		st->name, "address", st->address, "port", (int)st->port, "up", sp.up, "connected", st->up, "accepts",
		sp.accepts, "vcpus_total", (int)sp.vcpus_total, "vcpus_given", (int)sp.vcpus_given, "mem_total",
		(json_int_t)sp.mem_total, "mem_given", (json_int_t)sp.mem_given, "cpu_util", sp.cpu_util, "moves",
		(int)sp.moves, "link_bps", (json_int_t)sp.link_bps, "error", st->error, "version", st->hello.version,
		"qemu", qemu ? qemu : st->hello.qemu);
	if (j)
		json_object_set_new(j, "maintenance", json_boolean(sp.up && maintenance));
	if (j)
		json_object_set_new(j, "asleep", json_boolean(sp.up ? sp.asleep : host_power_sleeps(p, st->name)));
	if (j)
		json_object_set_new(
			j, "age_ms", st->report_age_ms == UINT32_MAX ? json_null() : json_integer(st->report_age_ms));
	return j;
}

/* Without a network the configured peers are shown with the reason. */
static void hosts_without_network(struct policyd *p, json_t *out)
{
	struct peer_status st;

	for (unsigned i = 0; p->cluster && i < p->conf->n_peers; i++) {
		memset(&st, 0, sizeof(st));
		snprintf(st.name, sizeof(st.name), "%s", p->conf->peers[i].name);
		snprintf(st.address, sizeof(st.address), "%s", p->conf->peers[i].address);
		st.port = p->conf->peers[i].port;
		st.report_age_ms = UINT32_MAX;
		snprintf(st.error, sizeof(st.error), "%s", p->cluster->why.msg);
		json_array_append_new(out, host_json(p, &st));
	}
}

json_t *cluster_hosts_json(struct policyd *p)
{
	struct peers *peers = cluster_peers(p);
	json_t *out = json_array();
	struct peer_status st;

	if (!peers)
		hosts_without_network(p, out);
	for (unsigned i = 0; peers && i < peers_count(peers); i++) {
		peers_status_at(peers, i, &st);
		json_array_append_new(out, host_json(p, &st));
	}
	return out;
}

void cluster_each_domain(struct policyd *p, void (*fn)(void *arg, const char *host, const json_t *dom), void *arg)
{
	struct peers *peers = cluster_peers(p);
	struct peer_status st;
	const json_t *doms;

	for (unsigned i = 0; peers && i < peers_count(peers); i++) {
		peers_status_at(peers, i, &st);
		doms = json_object_get(st.report, "domains");
		for (size_t k = 0; k < json_array_size(doms); k++)
			if (json_is_string(json_object_get(json_array_get(doms, k), "name")))
				fn(arg, st.name, json_array_get(doms, k));
	}
}

static void add_domain(void *arg, const char *host, const json_t *dom)
{
	json_t *copy = json_copy((json_t *)dom);

	if (copy)
		json_object_set_new(copy, "host", json_string(host));
	json_array_append_new(arg, copy);
}

json_t *cluster_domains_json(struct policyd *p)
{
	json_t *out = json_array();

	cluster_each_domain(p, add_domain, out);
	return out;
}

bool cluster_hears(struct policyd *p, const char *host)
{
	struct peers *peers = cluster_peers(p);
	struct peer_status st;

	return peers && peers_status(peers, host, &st) && st.report;
}

struct node_count {
	const char *cluster, *except;
	json_t *leaving; /* its keys: uuids */
	unsigned n;
};

static void count_node(struct node_count *c, const char *cluster, const char *state, const char *uuid)
{
	if (cluster && state && uuid && !strcmp(cluster, c->cluster) && !strcmp(state, "active") &&
		!json_object_get(c->leaving, uuid) && (!c->except || strcmp(uuid, c->except) != 0))
		c->n++;
}

static void count_reported(void *arg, const char *host, const json_t *dom)
{
	(void)host;
	count_node(arg, json_string_value(json_object_get(dom, "cluster")),
		json_string_value(json_object_get(dom, "state")), json_string_value(json_object_get(dom, "uuid")));
}

static void add_leaving(json_t *set, const json_t *uuids)
{
	const json_t *uuid;
	size_t i;

	json_array_foreach(uuids, i, uuid)
		if (json_is_string(uuid))
			json_object_set_new(set, json_string_value(uuid), json_true());
}

unsigned cluster_nodes(struct policyd *p, const char *name, const char *except, const json_t *leaving)
{
	struct node_count c = {name, except, json_object(), 0};
	struct peers *peers = cluster_peers(p);
	json_t *ours = cluster_leaving_json(p);
	struct peer_status st;
	struct dom *d;

	add_leaving(c.leaving, ours);
	add_leaving(c.leaving, leaving);
	for (unsigned i = 0; peers && i < peers_count(peers); i++) {
		peers_status_at(peers, i, &st);
		add_leaving(c.leaving, json_object_get(st.report, "leaving"));
	}
	TAILQ_FOREACH(d, &p->doms, link)
		count_node(&c, d->spec.cluster, domain_state_name(d->state), d->spec.uuid);
	cluster_each_domain(p, count_reported, &c);
	json_decref(ours);
	json_decref(c.leaving);
	return c.n;
}
