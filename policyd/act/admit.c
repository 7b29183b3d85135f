/* Admission: see admit.h. One function a kind of reason; admit_check calls them all, so that a dry run shows every one that fails. */
#include "policyd/act/admit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "conf/conf.h"
#include "domain/launch.h"

void admit_fail(struct admit_failures *f, const char *what, const char *fmt, ...)
{
	va_list ap;

	if (f->n == ADMIT_FAILURES_MAX)
		return;
	snprintf(f->v[f->n].what, sizeof(f->v[f->n].what), "%s", what);
	va_start(ap, fmt);
	vsnprintf(f->v[f->n].why, sizeof(f->v[f->n].why), fmt, ap);
	va_end(ap);
	f->n++;
}

json_t *admit_to_json(const struct admit_failures *f)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < f->n; i++)
		json_array_append_new(a, json_pack("{s:s, s:s}", "what", f->v[i].what, "why", f->v[i].why));
	return a;
}

void admit_from_json(const json_t *j, struct admit_failures *f)
{
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *what = json_string_value(json_object_get(json_array_get(j, i), "what"));
		const char *why = json_string_value(json_object_get(json_array_get(j, i), "why"));

		if (what && why)
			admit_fail(f, what, "%s", why);
	}
}

void admit_text(const struct admit_failures *f, char *out, size_t size)
{
	char tail[64], one[sizeof(f->v[0]) + 8];
	size_t n = 0, len, keep;

	out[0] = 0;
	for (unsigned i = 0; i < f->n && n < size; i++) {
		len = (size_t)snprintf(one, sizeof(one), "%s%s: %s", i ? "; " : "", f->v[i].what, f->v[i].why);
		keep = (size_t)snprintf(tail, sizeof(tail), "; and %u more, see: policyctl migrate -n", f->n - i);
		if (i && n + len + (i + 1 < f->n ? keep : 0) >= size) {
			snprintf(out + n, size - n, "%s", tail);
			return;
		}
		n += (size_t)snprintf(out + n, size - n, "%s", one);
	}
}

static void take_text(const json_t *j, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(j, key));

	snprintf(out, size, "%s", s ? s : "");
}

int admit_request_parse(const json_t *j, struct admit_request *out, struct err *e)
{
	const json_t *spec = json_object_get(j, "spec"), *vcpus = json_object_get(j, "vcpus"),
		     *mem = json_object_get(j, "mem_bytes");
	const char *method = json_string_value(json_object_get(j, "method")),
		   *name = json_string_value(json_object_get(j, "name"));
	const char *accel = json_string_value(json_object_get(j, "accel"));
	const json_t *time_ms = json_object_get(j, "time_ms"), *fips = json_object_get(j, "fips"),
		     *features = json_object_get(j, "cpu_features");
	struct admit_request rq = {0};

	if (spec_from_json(spec, &rq.spec, e) < 0)
		return err_wrap(e, "spec");
	if (!name || !name_valid(name))
		return err_set(e, EINVAL, "name: not a valid domain name");
	if (!json_is_integer(vcpus) || json_integer_value(vcpus) < 1 || json_integer_value(vcpus) > rq.spec.vcpus_max)
		return err_set(e, EINVAL, "vcpus: must be from 1 to the domain's maximum, %u", rq.spec.vcpus_max);
	if (!json_is_integer(mem) || json_integer_value(mem) < 1 || (uint64_t)json_integer_value(mem) > rq.spec.mem_max)
		return err_set(e, EINVAL, "mem_bytes: must be positive and at most the domain's maximum");
	if (!method || (strcmp(method, "live") != 0 && strcmp(method, "cold") != 0))
		return err_set(e, EINVAL, "method: must be \"live\" or \"cold\"");
	rq.live = !strcmp(method, "live");
	rq.by_policy = json_is_true(json_object_get(j, "by_policy"));
	rq.running = rq.live || !json_is_false(json_object_get(j, "running"));
	rq.vcpus = (unsigned)json_integer_value(vcpus);
	rq.mem_bytes = (uint64_t)json_integer_value(mem);
	snprintf(rq.name, sizeof(rq.name), "%s", name);
	snprintf(rq.accel, sizeof(rq.accel), "%s", accel ? accel : "");
	take_text(j, "machine", rq.machine, sizeof(rq.machine));
	take_text(j, "qemu", rq.qemu, sizeof(rq.qemu));
	rq.time_ms = json_integer_value(time_ms) > 0 ? json_integer_value(time_ms) : 0;
	rq.fips_said = json_is_boolean(fips);
	rq.fips = json_is_true(fips);
	for (unsigned i = 0; i < rq.spec.n_disks; i++) /* a peer that does not tell leaves them unknown */
		volume_id_from_json(json_array_get(json_object_get(j, "volumes"), i), &rq.volumes[i]);
	if (json_is_array(features))
		rq.cpu_features = json_deep_copy(features);
	*out = rq;
	return 0;
}

void admit_request_fini(struct admit_request *rq)
{
	json_decref(rq->cpu_features);
	rq->cpu_features = NULL;
}

json_t *admit_request_json(const struct admit_request *rq)
{
	json_t *volumes = json_array();

	for (unsigned i = 0; i < rq->spec.n_disks; i++)
		json_array_append_new(volumes, volume_id_to_json(&rq->volumes[i]));
	return json_pack("{s:o, s:s, s:i, s:I, s:s, s:b, s:b, s:s, s:o, s:s, s:s, s:O?, s:I, s:b}", "spec",
		spec_to_json(&rq->spec), "name", rq->name, "vcpus", (int)rq->vcpus, "mem_bytes",
		(json_int_t)rq->mem_bytes, "method", rq->live ? "live" : "cold", "running", rq->running, "by_policy",
		rq->by_policy, "accel", rq->accel, "volumes", volumes, "machine", rq->machine, "qemu", rq->qemu,
		"cpu_features", rq->cpu_features, "time_ms", (json_int_t)rq->time_ms, "fips", rq->fips);
}

/* ---- the reasons ---------------------------------------------------------------------------------------------------- */

struct check {
	const struct admit_host *host;
	const char *here, *from;
	const struct admit_request *rq;
	struct admit_failures *f;
};

static enum looked look(const struct check *c, const char *path, struct volume_id *id)
{
	if (id)
		memset(id, 0, sizeof(*id));
	return c->host->look ? c->host->look(c->host->arg, path, id) : LOOKED_THERE;
}

/* Not there for certain; where that cannot be said because storage hangs, it is a failure of its own. */
static bool absent(const struct check *c, const char *path)
{
	enum looked found = look(c, path, NULL);

	if (found == LOOKED_HUNG)
		admit_fail(c->f, "storage", "%s on %s did not answer within %d s: its storage hangs; mend that first",
			path, c->here, LOOK_MS / 1000);
	return found == LOOKED_ABSENT;
}

static void check_host(const struct check *c)
{
	if (!strcmp(c->here, c->from))
		admit_fail(c->f, "host", "%s is where it is already; name another host", c->here);
	if (!c->host->accepts)
		admit_fail(c->f, "host", "%s takes no domains now: %s", c->here, c->host->accepts_why);
	if (c->host->max_moves && c->host->moves >= c->host->max_moves)
		admit_fail(c->f, "moves",
			"%s is taking %u already (decide.max-moves there is %u); try again when it is done", c->here,
			c->host->moves, c->host->max_moves);
	if (absent(c, c->host->services->paths.qemu))
		admit_fail(c->f, "qemu", "%s has no %s; install QEMU there or set host.paths.qemu", c->here,
			c->host->services->paths.qemu);
	if (c->rq->live && absent(c, c->host->services->paths.worker))
		admit_fail(c->f, "worker", "%s has no %s; install policyd-migrate there", c->here,
			c->host->services->paths.worker);
}

static void check_identity(const struct check *c)
{
	for (unsigned i = 0; i < c->host->n_domains; i++) {
		const struct domain_spec *d = c->host->domains[i];

		if (!strcmp(d->uuid, c->rq->spec.uuid))
			admit_fail(c->f, "uuid", "%s has a domain with this uuid already (%s); remove it there first",
				c->here, d->name);
		else if (!strcmp(d->name, c->rq->name))
			admit_fail(c->f, "name", "%s has a domain \"%s\" already; move it as %s:NEWNAME", c->here,
				d->name, c->here);
	}
}

static void check_macs(const struct check *c)
{
	for (unsigned i = 0; i < c->host->n_domains; i++)
		for (unsigned k = 0; k < c->host->domains[i]->n_nets; k++)
			for (unsigned n = 0; n < c->rq->spec.n_nets; n++)
				if (strcmp(c->host->domains[i]->uuid, c->rq->spec.uuid) != 0 &&
					c->rq->spec.nets[n].mac[0] &&
					!strcasecmp(c->host->domains[i]->nets[k].mac, c->rq->spec.nets[n].mac))
					admit_fail(c->f, "mac",
						"%s on %s has the MAC address %s too; give one of them another",
						c->host->domains[i]->name, c->here, c->rq->spec.nets[n].mac);
}

/* The name is there, and the path: is it the same storage? */
static void check_storage(const struct check *c, const struct volume *v, const struct volume_id *source)
{
	struct volume_id mine;
	char why[192];

	look(c, v->path, &mine);
	if (!volume_id_same(source, &mine, why, sizeof(why)))
		admit_fail(c->f, "volume",
			"volume \"%s\" is not the same storage on %s (there) and %s (here, %s): %s; point both at the shared one",
			v->name, c->from, c->here, v->path, why);
}

static void check_volumes(const struct check *c)
{
	const struct host_services *s = c->host->services;
	const struct domain_spec *spec = &c->rq->spec;
	const struct volume *v;

	for (unsigned i = 0; i < spec->n_disks; i++) {
		v = services_volume(s, spec->disks[i].volume);
		if (!v)
			admit_fail(c->f, "volume",
				"%s has no volume \"%s\"; add it under host.volumes in its policyd.cfg", c->here,
				spec->disks[i].volume);
		else if (absent(c, v->path))
			admit_fail(c->f, "volume",
				"on %s volume \"%s\" is %s, which is not there; attach the storage or correct the path",
				c->here, v->name, v->path);
		else
			check_storage(c, v, &c->rq->volumes[i]);
	}
}

static void check_services(const struct check *c)
{
	const struct host_services *s = c->host->services;
	const struct domain_spec *spec = &c->rq->spec;
	const struct vswitch *sw;
	char path[64];

	for (unsigned i = 0; i < spec->n_nets; i++) {
		sw = services_switch(s, spec->nets[i].sw);
		if (!sw) {
			admit_fail(c->f, "switch",
				"%s has no switch \"%s\"; add it under host.switches in its policyd.cfg", c->here,
				spec->nets[i].sw);
			continue;
		}
		snprintf(path, sizeof(path), "/sys/class/net/%s", sw->bridge);
		if (absent(c, path))
			admit_fail(c->f, "switch",
				"on %s switch \"%s\" is the bridge %s, which is not there; create it or correct the "
				"name",
				c->here, sw->name, sw->bridge);
	}
	if (spec->console[0] && !services_console(s, spec->console))
		admit_fail(c->f, "console",
			"%s has no console group \"%s\"; add it under host.consoles in its policyd.cfg", c->here,
			spec->console);
	else if (c->rq->running && c->host->console_why)
		admit_fail(c->f, "console", "%s", c->host->console_why);
	if (c->rq->live && c->host->ports_why)
		admit_fail(c->f, "ports", "%s", c->host->ports_why);
}

static void check_boot_files(const struct check *c)
{
	const struct domain_spec *spec = &c->rq->spec;

	if (spec->kernel[0] && absent(c, spec->kernel))
		admit_fail(
			c->f, "kernel", "%s has no file %s; copy it there under the same path", c->here, spec->kernel);
	if (spec->initrd[0] && absent(c, spec->initrd))
		admit_fail(
			c->f, "initrd", "%s has no file %s; copy it there under the same path", c->here, spec->initrd);
}

/* The file system of RAM files: what there really is. */
static void check_ram_files(const struct check *c)
{
	const struct admit_host *h = c->host;
	uint64_t claim = spec_ram_claim(&c->rq->spec, h->ram_page_bytes, c->rq->mem_bytes);
	bool huge = h->ram_page_bytes > SPEC_PAGE_BYTES;
	char want[16], have[16];
	struct err e;

	if (spec_check_pages(&c->rq->spec, h->ram_page_bytes, &e))
		admit_fail(c->f, "memory", "%s cannot hold it: %.240s", c->here, e.msg);
	if (claim <= h->ram_free_bytes)
		return;
	size_format(claim, want);
	size_format(h->ram_free_bytes, have);
	admit_fail(c->f, "memory", "needs %s%s, but %s on %s has %s free; %s", want, huge ? " of huge pages" : "",
		h->services->paths.ram, c->here, have,
		huge ? "add pages there (vm.nr_hugepages)" : "enlarge that file system");
}

static void check_room(const struct check *c)
{
	const struct admit_host *h = c->host;
	uint64_t mem_free = h->mem_total > h->mem_given ? h->mem_total - h->mem_given : 0;
	unsigned vcpus_free = h->vcpus_total > h->vcpus_given ? h->vcpus_total - h->vcpus_given : 0;
	char want[16], have[16];

	size_format(c->rq->mem_bytes, want);
	if (c->rq->mem_bytes > mem_free) {
		size_format(mem_free, have);
		admit_fail(c->f, "memory",
			"needs %s, %s has %s free after its keep-memory; trim it or another domain first", want,
			c->here, have);
	} else {
		check_ram_files(c);
	}
	if (c->rq->vcpus > vcpus_free)
		admit_fail(c->f, "vcpus", "needs %u, %s has %u of %u free; take some from a domain there first",
			c->rq->vcpus, c->here, vcpus_free, h->vcpus_total);
}

static void check_machine(const struct check *c)
{
	const char *accel = c->host->services->accel == ACCEL_KVM ? "kvm" : "tcg";

	if (c->rq->live && c->rq->accel[0] && strcmp(c->rq->accel, accel) != 0)
		admit_fail(c->f, "accel",
			"it runs under %s, %s would run it under %s; a live move needs the same on both (move it cold)",
			c->rq->accel, c->here, accel);
}

/* What its QEMU here would have to be, beside the accelerator. A stopped domain may start on what there is. */
static void check_qemu(const struct check *c)
{
	const struct qemu_facts *q = c->host->qemu;
	const struct admit_request *rq = c->rq;
	char why[200];

	if (!q)
		return;
	if (!qemu_version_ok(q))
		admit_fail(c->f, "qemu", "%s has QEMU %s; %s or newer is needed", c->here, q->version, QEMU_OLDEST);
	if (rq->live && rq->machine[0] && !qemu_has_machine(q, rq->machine))
		admit_fail(c->f, "machine",
			"it runs on the machine type %s, which QEMU %s of %s does not have%s%s; install a QEMU there that has it, or move it cold",
			rq->machine, q->version, c->here, rq->qemu[0] ? "; it comes from QEMU " : "", rq->qemu);
	if (rq->spec.cpu_arch == CPU_GENERIC && rq->running && !qemu_runs_generic(q, why, sizeof(why)))
		admit_fail(
			c->f, "cpu", "%s cannot run cpu-arch \"generic\" (%s): %s", c->here, LAUNCH_CPU_GENERIC, why);
	if (rq->spec.cpu_arch == CPU_NATIVE && rq->live && !qemu_has_features(q, rq->cpu_features, why, sizeof(why)))
		admit_fail(c->f, "cpu",
			"it has cpu-arch \"native\", and the CPU that %s gives lacks what it may be using: %s; move it cold, or give it cpu-arch "
			"\"generic\"",
			c->here, why);
}

/* Its clock would jump, and times that go with it (holds, deadlines) would mean others here. */
static void check_clock(const struct check *c)
{
	int64_t ahead_ms = c->rq->time_ms - c->host->now_ms;

	if (!c->rq->time_ms || !c->host->now_ms || (ahead_ms <= ADMIT_SKEW_MAX_MS && ahead_ms >= -ADMIT_SKEW_MAX_MS))
		return;
	admit_fail(c->f, "clock", "the clock of %s is %lld s %s that of %s (%d s are allowed); set both by NTP",
		c->from, (long long)((ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000),
		ahead_ms < 0 ? "behind" : "ahead of", c->here, ADMIT_SKEW_MAX_MS / 1000);
}

static void check_fips(const struct check *c)
{
	if (c->rq->fips_said && c->rq->fips != c->host->fips)
		admit_fail(c->f, "fips", "%s is in FIPS mode, %s is not; set security.fips the same on both",
			c->rq->fips ? c->from : c->here, c->rq->fips ? c->here : c->from);
}

void admit_check(
	const struct admit_host *host, const char *from, const struct admit_request *rq, struct admit_failures *f)
{
	const struct check c = {.host = host, .here = host->services->host_name, .from = from, .rq = rq, .f = f};

	check_host(&c);
	check_identity(&c);
	check_macs(&c);
	check_volumes(&c);
	check_services(&c);
	check_boot_files(&c);
	if (rq->running)
		check_room(&c);
	check_machine(&c);
	check_qemu(&c);
	check_clock(&c);
	check_fips(&c);
}

void admit_check_qemu(
	const struct admit_host *host, const char *from, const struct admit_request *rq, struct admit_failures *f)
{
	const struct check c = {.host = host, .here = host->services->host_name, .from = from, .rq = rq, .f = f};

	check_machine(&c);
	check_qemu(&c);
}

void admit_cluster(
	const char *cluster, unsigned running, bool this_runs, unsigned min_available, struct admit_failures *f)
{
	unsigned left = this_runs && running ? running - 1 : running;

	if (this_runs && left < min_available)
		admit_fail(f, "cluster",
			"%u of its nodes run now; without this one cluster \"%s\" would be below min-available %u; "
			"start another "
			"node first",
			running, cluster, min_available);
}
