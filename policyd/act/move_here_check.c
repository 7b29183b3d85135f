/* Everything that speaks against a same-host move, found before anything is done: what its QEMU says of itself, and what this host's QEMU can run.
 * See move_here.h. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/ram.h"
#include "policyd/act/move.h"
#include "policyd/act/move_here.h"
#include "policyd/act/qemu_probe.h"

#define PROBE_LOOK_MS 50
#define PROBE_LOOKS 200 /* ten seconds: this host's QEMU may be another since it was asked last */

/* An older virtio-mem device discards its whole backend when it is made, which here is the guest's memory ("virtio-mem: Support x-ignore-shared migration",
 * QEMU 8.1). */
#define VMEM_OLDEST_MAJOR 8
#define VMEM_OLDEST_MINOR 1

enum { ASK_VERSION, ASK_CPUS, ASK_DISKS, ASK_MIGRATE, ASK_KVM, ASK_FEATURES, ASK_COUNT };

struct here_checks {
	struct policyd *p;
	char uuid[37];
	struct dom *d; /* while it is concluded */
	bool over;     /* only answers are to come */
	unsigned refs, looks;
	json_t *answers[ASK_COUNT]; /* NULL = none */
	unsigned left;
	struct event *timer;
	here_checked_fn *done;
	void *arg;
};

struct asked { /* one question: which of them the answer belongs to */
	struct here_checks *c;
	unsigned which;
};

static void checks_unref(struct here_checks *c)
{
	if (--c->refs)
		return;
	for (unsigned i = 0; i < ASK_COUNT; i++)
		json_decref(c->answers[i]);
	free(c);
}

void here_checks_cancel(struct here_checks *c)
{
	if (!c)
		return;
	event_free(c->timer);
	c->over = true;
	checks_unref(c);
}

/* ---- what is found ---- */

static void check_its_qemu(const struct here_checks *c, struct admit_failures *f)
{
	const json_t *m = c->answers[ASK_MIGRATE], *reasons = json_object_get(m, "blocked-reasons");
	const char *status = json_string_value(json_object_get(m, "status"));
	bool kvm = json_is_true(json_object_get(c->answers[ASK_KVM], "enabled"));

	for (size_t i = 0; i < json_array_size(reasons); i++)
		admit_fail(f, "qemu", "QEMU cannot move it: %s", json_string_value(json_array_get(reasons, i)));
	if (status && (!strcmp(status, "active") || !strcmp(status, "setup") || !strcmp(status, "pre-switchover")))
		admit_fail(f, "qemu", "its QEMU is in a migration already that is not ours; end that one first");
	if (c->answers[ASK_KVM] && kvm != (c->d->p->conf->host.accel == ACCEL_KVM))
		admit_fail(f, "accel",
			"it runs under %s, and host.accel would run it under %s now; set host.accel back",
			kvm ? "kvm" : "tcg", kvm ? "tcg" : "kvm");
	if (dom_no_live_move(c->d))
		admit_fail(f, "vcpu", "%s", dom_no_live_move(c->d));
}

/* The file behind node file-diskN of its QEMU; NULL = it has none by that name. */
static const char *disk_file(const json_t *nodes, unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "file-disk%u", i);
	for (size_t n = 0; n < json_array_size(nodes); n++) {
		const json_t *node = json_array_get(nodes, n);
		const char *is = json_string_value(json_object_get(node, "node-name"));

		if (is && !strcmp(is, name))
			return json_string_value(json_object_get(node, "file"));
	}
	return NULL;
}

/* The configuration may name another path for a volume since its QEMU opened it: the guest would find another disk under its feet. */
static void check_disks(const struct here_checks *c, struct admit_failures *f)
{
	const struct domain_spec *spec = &c->d->launched.spec;

	for (unsigned i = 0; i < spec->n_disks; i++) {
		const struct volume *v = services_volume(&c->d->p->conf->host, spec->disks[i].volume);
		const char *has = disk_file(c->answers[ASK_DISKS], i);

		if (v && has && strcmp(has, v->path) != 0)
			admit_fail(f, "volume",
				"its volume \"%s\" is %s since it was started, and host.volumes says %s now; set it back, or stop and start it",
				v->name, has, v->path);
	}
}

static bool has_mapped(const struct ram_block *blocks, unsigned n, const char *path)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(blocks[i].path, path))
			return true;
	return false;
}

/* The files must be the very ones that its QEMU has mapped: where one was moved away, a new and empty one would be made. */
static void check_ram(const struct here_checks *c, struct admit_failures *f)
{
	const struct host_services *s = &c->p->conf->host;
	const struct launched *l = &c->d->launched;
	struct ram_block blocks[RAM_BLOCKS_MAX];
	char ram[SPEC_PATH_MAX], vmem[SPEC_PATH_MAX];
	unsigned n = 0;
	struct err e;

	if (ram_find(l->pid, s->paths.ram, l->spec.uuid, blocks, &n, &e) || ram_path(s, &l->spec, ram, &e) ||
		vmem_path(s, &l->spec, vmem, &e)) {
		admit_fail(f, "memory", "%.250s", e.msg);
		return;
	}
	if (!has_mapped(blocks, n, ram))
		admit_fail(f, "memory", "its RAM file is not at %.200s any more; move it back", ram);
	if (spec_vmem_bytes(&l->spec) && !has_mapped(blocks, n, vmem))
		admit_fail(f, "memory", "its RAM file is not at %.200s any more; move it back", vmem);
}

static void check_vmem(const struct here_checks *c, const struct qemu_facts *q, struct admit_failures *f)
{
	if (!spec_vmem_bytes(&c->d->launched.spec))
		return;
	if (!q)
		admit_fail(f, "qemu",
			"it has a virtio-mem device, and this host's QEMU did not say its version; try again");
	else if (q->major < VMEM_OLDEST_MAJOR || (q->major == VMEM_OLDEST_MAJOR && q->minor < VMEM_OLDEST_MINOR))
		admit_fail(f, "qemu",
			"it has a virtio-mem device, which QEMU %s would start by emptying; QEMU %d.%d or newer is needed",
			q->version, VMEM_OLDEST_MAJOR, VMEM_OLDEST_MINOR);
}

/* What this host's QEMU can run, as for a guest that comes from elsewhere. */
static void check_new_qemu(const struct here_checks *c, const struct here_facts *facts, struct admit_failures *f)
{
	struct dom *d = c->d;
	const struct qemu_facts *q = qemu_probe_facts(d->p);
	const struct admit_host host = {.services = &d->p->conf->host, .qemu = q};
	struct move_request rq = {.method = MOVE_LIVE};
	struct qemu_facts its = {.major = 0};
	struct admit_request ar;

	move_admit_request(d, &rq, true, NULL, &ar);
	snprintf(ar.qemu, sizeof(ar.qemu), "%s", facts->from);
	json_decref(ar.cpu_features); /* of this host's QEMU; its own may be another */
	qemu_facts_take(&its, NULL, NULL, NULL, c->answers[ASK_FEATURES]);
	ar.cpu_features = qemu_feature_list(&its);
	qemu_facts_fini(&its);
	admit_check_qemu(&host, d->p->conf->host.host_name, &ar, f);
	admit_request_fini(&ar);
	check_vmem(c, q, f);
}

static void take_facts(const struct here_checks *c, struct here_facts *facts)
{
	const struct qemu_facts *q = qemu_probe_facts(c->d->p);
	struct qemu_facts its = {.major = 0};

	qemu_facts_take(&its, c->answers[ASK_VERSION], NULL, NULL, NULL);
	snprintf(facts->from, sizeof(facts->from), "%s", its.version);
	snprintf(facts->to, sizeof(facts->to), "%s", q ? q->version : "");
	facts->n_vcpu_ids = launch_vcpu_ids(c->answers[ASK_CPUS], facts->vcpu_ids);
	qemu_facts_fini(&its);
}

static void check_all(const struct here_checks *c, const struct here_facts *facts, struct admit_failures *f)
{
	const struct domain_spec *spec = &c->d->launched.spec;
	struct err e;
	uint16_t port;

	if (!facts->n_vcpu_ids)
		admit_fail(f, "vcpu", "its QEMU did not say which vcpus it has; try again");
	check_its_qemu(c, f);
	check_ram(c, f);
	check_disks(c, f);
	check_new_qemu(c, facts, f);
	if (dom_services(c->p, spec, false, &e)) /* its disks are open: nobody waits for their storage here */
		admit_fail(f, "services", "%.250s", e.msg);
	else if (dom_console_port(c->p, spec, &port, &e))
		admit_fail(f, "console", "%.200s (for a moment it needs a second one)", e.msg);
}

static void conclude(struct here_checks *c)
{
	struct admit_failures f = {.n = 0};
	struct here_facts facts = {.n_vcpu_ids = 0};

	c->d = dom_find_uuid(c->p, c->uuid);
	if (c->d && c->d->launched.pid) {
		take_facts(c, &facts);
		check_all(c, &facts, &f);
	} else {
		admit_fail(&f, "domain", "its QEMU has ended");
	}
	c->done(c->arg, &f, &facts);
}

/* ---- asking ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct here_checks *c = arg;
	struct timeval tv = {0, PROBE_LOOK_MS * 1000};

	(void)fd, (void)what;
	if (!qemu_probe_facts(c->p) && c->looks++ < PROBE_LOOKS) {
		evtimer_add(c->timer, &tv);
		return;
	}
	c->refs++;
	conclude(c);
	if (!c->over) /* else it was cancelled in there */
		here_checks_cancel(c);
	checks_unref(c);
}

static void on_answer(void *arg, const json_t *ret, const struct err *e)
{
	struct asked *a = arg;
	struct here_checks *c = a->c;

	(void)e; /* what was not answered stays unknown */
	c->answers[a->which] = json_incref((json_t *)ret);
	if (!--c->left && !c->over)
		event_active(c->timer, EV_TIMEOUT, 0);
	free(a);
	checks_unref(c);
}

static void ask(struct here_checks *c, const struct dom *d, unsigned which, const char *cmd, json_t *args)
{
	struct asked *a = malloc(sizeof(*a));

	if (!a || !d->qmp) {
		json_decref(args);
		free(a);
		return;
	}
	*a = (struct asked){c, which};
	if (qmp_command(d->qmp, cmd, args, 0, on_answer, a)) {
		free(a);
		return;
	}
	c->refs++;
	c->left++;
}

struct here_checks *here_checks_start(struct dom *d, here_checked_fn *done, void *arg)
{
	bool kvm = d->p->conf->host.accel == ACCEL_KVM;
	struct here_checks *c = calloc(1, sizeof(*c));
	struct volume_id now;

	if (c)
		c->timer = evtimer_new(d->p->base, on_timer, c);
	if (!c || !c->timer) {
		free(c);
		return NULL;
	}
	c->p = d->p;
	snprintf(c->uuid, sizeof(c->uuid), "%s", d->spec.uuid);
	c->refs = 1;
	c->done = done;
	c->arg = arg;
	volume_id_read(
		d->p->conf->host.paths.qemu, &now); /* a program of this host: it was installed just now, perhaps */
	qemu_probe_seen(d->p, &now);
	ask(c, d, ASK_VERSION, "query-version", NULL);
	ask(c, d, ASK_CPUS, "query-hotpluggable-cpus", NULL);
	ask(c, d, ASK_DISKS, "query-named-block-nodes", json_pack("{s:b}", "flat", 1));
	ask(c, d, ASK_MIGRATE, "query-migrate", NULL);
	ask(c, d, ASK_KVM, "query-kvm", NULL);
	if (d->launched.spec.cpu_arch == CPU_NATIVE)
		ask(c, d, ASK_FEATURES, "query-cpu-model-expansion",
			json_pack("{s:s, s:{s:s}}", "type", "full", "model", "name", kvm ? "host" : "max"));
	if (!c->left)
		event_active(c->timer, EV_TIMEOUT, 0);
	return c;
}
