/* From a definition and what the host offers to QEMU's argument list. Pure; called by launch_start and by tests. Source and target of a
 * migration build theirs from the same spec, so that every id, address and size is the same on both. */
#include "domain/launch_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/qga.h"

/* Slots on pcie.0; fixed for ever, for a migration needs them to be the same. */
enum { SLOT_BALLOON = 3, SLOT_SERIAL = 4, SLOT_VMEM = 5, SLOT_DISK = 8, SLOT_NET = 16 };

int strv_add(struct strv *s, const char *fmt, ...)
{
	char **v, *text;
	va_list ap;
	int n;

	v = realloc(s->v, (s->n + 2) * sizeof(*v)); /* room for the closing NULL */
	if (!v)
		return -ENOMEM;
	s->v = v;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	v[s->n++] = text;
	v[s->n] = NULL;
	return 0;
}

void strv_fini(struct strv *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
	*s = (struct strv){0};
}

struct builder {
	const struct launch_conf *conf;
	const struct domain_spec *spec;
	const struct host_services *services;
	struct strv argv;
	int r; /* first failure; nothing more is added then */
	struct err *e;
};

static void add(struct builder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct builder *b, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	if (b->r < 0)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text || strv_add(&b->argv, "%s", text) < 0)
		b->r = err_set(b->e, ENOMEM, "out of memory");
	free(text);
}

/* In QEMU's option lists a comma in a value is written twice. */
static const char *escaped(const char *value, char out[2 * SPEC_PATH_MAX])
{
	char *w = out;

	for (; *value && w < out + 2 * SPEC_PATH_MAX - 2; value++) {
		if (*value == ',')
			*w++ = ',';
		*w++ = *value;
	}
	*w = 0;
	return out;
}

void launch_leaf(unsigned generation, const char *leaf, char out[64])
{
	if (generation)
		snprintf(out, 64, "%s.%u", leaf, generation);
	else
		snprintf(out, 64, "%s", leaf);
}

/* Of a socket or the pid file, below the run folder: those of two QEMUs of one domain are there side by side. */
static void own_path(struct builder *b, const char *leaf, char out[SPEC_PATH_MAX])
{
	char own[64];

	launch_leaf(b->conf->replaces ? b->conf->replaces->generation + 1 : 0, leaf, own);
	out[0] = 0;
	if (b->r >= 0)
		b->r = rundir_path(b->services, b->spec->name, own, out, b->e);
}

static const char *socket_file(struct builder *b, const char *leaf, char out[2 * SPEC_PATH_MAX])
{
	char path[SPEC_PATH_MAX];

	own_path(b, leaf, path);
	return escaped(path, out);
}

static const char *cpu_model(const struct builder *b)
{
	if (b->spec->cpu_arch == CPU_GENERIC)
		return LAUNCH_CPU_GENERIC;
	return b->services->accel == ACCEL_KVM ? "host" : "max";
}

static void add_machine(struct builder *b)
{
	bool kvm = b->services->accel == ACCEL_KVM; /* auto is TCG, see services.h */
	char pid[SPEC_PATH_MAX];

	add(b, "%s", b->services->paths.qemu);
	add(b, "-name");
	add(b, "guest=%s,debug-threads=on", b->spec->name);
	add(b, "-uuid");
	add(b, "%s", b->spec->uuid);
	add(b, "-pidfile"); /* early: with the uuid, this is what tells our QEMU among others (launch_scan.c) */
	own_path(b, "qemu.pid", pid);
	add(b, "%s", pid);
	add(b, "-nodefaults");
	add(b, "-no-user-config");
	add(b, "-display");
	add(b, "none");
	add(b, "-machine");
	add(b, "%s,memory-backend=ram,usb=off,vmport=off,dump-guest-core=off",
		b->conf->machine ? b->conf->machine : LAUNCH_MACHINE);
	add(b, "-accel");
	add(b, "%s", kvm ? "kvm" : "tcg,thread=multi");
}

static void add_cpu_device(struct builder *b, unsigned core)
{
	if (!core || core >= b->spec->vcpus_max)
		return;
	add(b, "-device");
	add(b, "%s-x86_64-cpu,id=cpu-%u,socket-id=0,core-id=%u,thread-id=0", cpu_model(b), core, core);
}

/* QEMU makes core 0 only; each other one is a device with an id. */
static void add_cpus(struct builder *b)
{
	unsigned i, max = b->spec->vcpus_max;

	add(b, "-cpu");
	add(b, "%s%s", cpu_model(b), b->spec->cpu_arch == CPU_GENERIC ? ",enforce" : "");
	add(b, "-smp");
	add(b, "cpus=1,maxcpus=%u,sockets=1,cores=%u,threads=1", max, max);
	if (b->conf->incoming && b->conf->n_vcpu_ids)
		for (i = 0; i < b->conf->n_vcpu_ids && i < LAUNCH_HOTPLUGGED_MAX; i++)
			add_cpu_device(b, b->conf->vcpu_ids[i]);
	else
		for (i = 1; i < b->spec->vcpus_boot; i++)
			add_cpu_device(b, i);
}

static void add_memory(struct builder *b)
{
	const struct domain_spec *s = b->spec;
	unsigned long long boot_mib = s->mem_boot >> 20, vmem_mib = spec_vmem_bytes(s) >> 20;
	char path[SPEC_PATH_MAX] = "", esc[2 * SPEC_PATH_MAX];

	if (b->r >= 0)
		b->r = ram_path(b->services, s, path, b->e);
	add(b, "-m");
	if (vmem_mib)
		add(b, "size=%lluM,slots=1,maxmem=%lluM", boot_mib, boot_mib + vmem_mib);
	else
		add(b, "size=%lluM", boot_mib);
	add(b, "-object");
	add(b, "memory-backend-file,id=ram,size=%lluM,mem-path=%s,share=on,prealloc=off", boot_mib, escaped(path, esc));
	if (!vmem_mib)
		return;
	if (b->r >= 0)
		b->r = vmem_path(b->services, s, path, b->e);
	add(b, "-object");
	add(b, "memory-backend-file,id=vmem,size=%lluM,mem-path=%s,share=on,prealloc=off", vmem_mib,
		escaped(path, esc));
	add(b, "-device");
	add(b, "virtio-mem-pci,id=vmem0,memdev=vmem,requested-size=0,block-size=2M,bus=pcie.0,addr=0x%x", SLOT_VMEM);
}

static void add_balloon(struct builder *b)
{
	add(b, "-device");
	add(b, "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on,bus=pcie.0,addr=0x%x",
		SLOT_BALLOON);
}

static void add_console(struct builder *b)
{
	char sock[2 * SPEC_PATH_MAX], log[2 * SPEC_PATH_MAX], path[SPEC_PATH_MAX] = "";

	if (b->r >= 0)
		b->r = rundir_path(b->services, b->spec->name, "console.log", path, b->e);
	escaped(path, log);
	add(b, "-chardev");
	if (b->conf->console_port)
		add(b, "socket,id=console0,host=127.0.0.1,port=%u,server=on,wait=off,logfile=%s,logappend=on",
			b->conf->console_port, log);
	else
		add(b, "socket,id=console0,path=%s,server=on,wait=off,logfile=%s,logappend=on",
			socket_file(b, "console.sock", sock), log);
	add(b, "-chardev");
	add(b, "socket,id=agent0,path=%s,server=on,wait=off", socket_file(b, "agent.sock", sock));
	add(b, "-device");
	add(b, "virtio-serial-pci,id=serial0,max_ports=4,bus=pcie.0,addr=0x%x", SLOT_SERIAL);
	add(b, "-device");
	add(b, "virtconsole,id=console,chardev=console0,name=org.ballast.console.0,bus=serial0.0,nr=0");
	add(b, "-device");
	add(b, "virtserialport,id=agent,chardev=agent0,name=org.ballast.guest.0,bus=serial0.0,nr=1");
	if (b->conf->no_guest_agent)
		return;
	add(b, "-chardev");
	add(b, "socket,id=qga0,path=%s,server=on,wait=off", socket_file(b, "qga.sock", sock));
	add(b, "-device");
	add(b, "virtserialport,id=" QGA_PORT_ID ",chardev=qga0,name=org.qemu.guest_agent.0,bus=serial0.0,nr=2");
}

static void add_monitors(struct builder *b)
{
	static const char *const leaves[] = {"qmp.sock", "qmp-worker.sock"};
	char sock[2 * SPEC_PATH_MAX];
	unsigned i;

	for (i = 0; i < 2; i++) {
		add(b, "-chardev");
		add(b, "socket,id=qmp%u,path=%s,server=on,wait=off", i, socket_file(b, leaves[i], sock));
		add(b, "-mon");
		add(b, "chardev=qmp%u,mode=control", i);
	}
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

/* By name, for this is pure: a file on the tmpfs that Linux keeps below /dev is no device. */
static bool is_device(const char *path)
{
	return !strncmp(path, "/dev/", 5) && strncmp(path, "/dev/shm/", 9);
}

static void add_disk(struct builder *b, unsigned i)
{
	const struct spec_disk *d = &b->spec->disks[i];
	const struct volume *v = services_volume(b->services, d->volume);
	const char *ro = d->readonly ? "on" : "off", *direct = d->cache == CACHE_NONE ? "on" : "off";
	char esc[2 * SPEC_PATH_MAX];

	if (b->r < 0)
		return;
	if (!v) {
		b->r = err_set(b->e, ENOENT, "disks[%u]: %s has no volume \"%s\"; add it under host.volumes", i,
			b->services->host_name, d->volume);
		return;
	}
	add(b, "-blockdev");
	add(b, "driver=%s,node-name=file-disk%u,filename=%s,read-only=%s,cache.direct=%s,cache.no-flush=off,locking=on",
		is_device(v->path) ? "host_device" : "file", i, escaped(v->path, esc), ro, direct);
	add(b, "-blockdev"); /* the format is never guessed from the data, for the guest writes the data */
	add(b, "driver=%s,node-name=disk%u,file=file-disk%u,read-only=%s,cache.direct=%s,cache.no-flush=off",
		ends_with(v->path, ".qcow2") ? "qcow2" : "raw", i, i, ro, direct);
	add(b, "-device");
	add(b, "virtio-blk-pci,id=vd%u,drive=disk%u,share-rw=off,write-cache=on,bootindex=%u,bus=pcie.0,addr=0x%x", i,
		i, i + 1, SLOT_DISK + i);
}

static void add_net(struct builder *b, unsigned i)
{
	const struct spec_net *n = &b->spec->nets[i];

	if (b->r < 0)
		return;
	if (!services_switch(b->services, n->sw)) {
		b->r = err_set(b->e, ENOENT, "networks[%u]: %s has no switch \"%s\"; add it under host.switches", i,
			b->services->host_name, n->sw);
		return;
	}
	add(b, "-netdev");
	add(b, "tap,id=net%u,fd=%u,vhost=off", i, LAUNCH_TAP_FD + i);
	add(b, "-device");
	add(b, "virtio-net-pci,id=nic%u,netdev=net%u,mac=%s,bus=pcie.0,addr=0x%x,romfile=", i, i, n->mac, SLOT_NET + i);
}

static void add_boot(struct builder *b)
{
	const struct domain_spec *s = b->spec;

	if (s->kernel[0]) {
		add(b, "-kernel");
		add(b, "%s", s->kernel);
	}
	if (s->initrd[0]) {
		add(b, "-initrd");
		add(b, "%s", s->initrd);
	}
	if (s->cmdline[0]) {
		add(b, "-append");
		add(b, "%s", s->cmdline);
	}
	add(b, "-boot");
	add(b, "strict=on");
	add(b, "-rtc");
	add(b, "base=utc");
}

/* A guest that resets runs on; one that powers off or panics (told by pvpanic) ends its QEMU, and so its pidfd tells us. */
static void add_life(struct builder *b)
{
	add(b, "-device");
	add(b, "pvpanic,ioport=0x505");
	add(b, "-action");
	add(b, "reboot=reset,shutdown=poweroff,panic=shutdown");
	add(b, "-global");
	add(b, "ICH9-LPC.disable_s3=1");
	add(b, "-global");
	add(b, "ICH9-LPC.disable_s4=1");
	add(b, "-msg");
	add(b, "timestamp=on");
	add(b, "-sandbox");
	add(b, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	if (b->conf->incoming) {
		add(b, "-incoming");
		add(b, "defer");
	}
	if (b->conf->incoming || b->conf->paused) /* a target never runs by itself */
		add(b, "-S");
}

int launch_argv(const struct launch_conf *conf, struct strv *out, struct err *e)
{
	struct builder b = {.conf = conf, .spec = conf->spec, .services = conf->services, .e = e};
	unsigned i;

	add_machine(&b);
	add_cpus(&b);
	add_memory(&b);
	add_balloon(&b);
	add_console(&b);
	add_monitors(&b);
	for (i = 0; i < conf->spec->n_disks; i++)
		add_disk(&b, i);
	for (i = 0; i < conf->spec->n_nets; i++)
		add_net(&b, i);
	add_boot(&b);
	add_life(&b);
	if (b.r < 0) {
		strv_fini(&b.argv);
		return b.r;
	}
	*out = b.argv;
	return 0;
}

void launch_device_ids(const struct domain_spec *spec, bool guest_agent, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "balloon0 serial0 console agent%s%s", guest_agent ? " " QGA_PORT_ID : "",
		spec_vmem_bytes(spec) ? " vmem0" : "");
	unsigned i;

	for (i = 0; i < spec->n_disks && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, " vd%u", i);
	for (i = 0; i < spec->n_nets && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, " nic%u", i);
}

unsigned launch_vcpu_ids(const json_t *ret, unsigned ids[LAUNCH_HOTPLUGGED_MAX])
{
	bool present[LAUNCH_HOTPLUGGED_MAX] = {false};
	unsigned i, n = 0;

	for (i = 0; i < json_array_size(ret); i++) {
		const json_t *slot = json_array_get(ret, i),
			     *core = json_object_get(json_object_get(slot, "props"), "core-id");
		json_int_t id = json_integer_value(core);

		if (json_object_get(slot, "qom-path") && json_is_integer(core) && id >= 0 && id < LAUNCH_HOTPLUGGED_MAX)
			present[id] = true;
	}
	for (i = 0; i < LAUNCH_HOTPLUGGED_MAX; i++)
		if (present[i])
			ids[n++] = i;
	return n;
}
