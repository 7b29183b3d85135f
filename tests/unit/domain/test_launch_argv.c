/* The argument list and the paths: what must be in it, what must not, and that both ends of a migration get the same machine. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "domain/launch.h"

struct fix {
	struct host_services services;
	struct domain_spec spec;
	struct launch_conf conf;
	struct strv argv;
};

static void fix_init(struct fix *f)
{
	memset(f, 0, sizeof(*f));
	strcpy(f->services.host_name, "alpha");
	strcpy(f->services.paths.run, "/run/policyd");
	strcpy(f->services.paths.ram, "/dev/shm/policyd");
	strcpy(f->services.paths.qemu, "/usr/bin/qemu-system-x86_64");
	f->services.n_volumes = 3;
	strcpy(f->services.volumes[0].name, "vol01");
	strcpy(f->services.volumes[0].path, "/srv/a,b.img");
	strcpy(f->services.volumes[1].name, "dev");
	strcpy(f->services.volumes[1].path, "/dev/vg/lv");
	strcpy(f->services.volumes[2].name, "cow");
	strcpy(f->services.volumes[2].path, "/srv/x.qcow2");
	f->services.n_switches = 1;
	strcpy(f->services.switches[0].name, "sw0");
	strcpy(f->services.switches[0].bridge, "br0");
	spec_init(&f->spec);
	strcpy(f->spec.name, "web1");
	strcpy(f->spec.kernel, "/boot/k");
	f->spec.vcpus_boot = 2;
	f->spec.vcpus_max = 4;
	spec_complete(&f->spec, NULL);
	f->conf.spec = &f->spec;
	f->conf.services = &f->services;
}

static void build(struct fix *f)
{
	struct err e;

	strv_fini(&f->argv);
	if (launch_argv(&f->conf, &f->argv, &e))
		fail_msg("%s", e.msg);
	assert_null(f->argv.v[f->argv.n]);
}

/* How often an argument contains @part, right after an argument @option (NULL: any). */
static unsigned count(const struct fix *f, const char *option, const char *part)
{
	unsigned n = 0;

	for (size_t i = 1; i < f->argv.n; i++)
		n += (!option || !strcmp(f->argv.v[i - 1], option)) && strstr(f->argv.v[i], part);
	return n;
}

#define HAS(option, part) assert_int_equal(count(&f, option, part), 1)
#define HAS_NOT(option, part) assert_int_equal(count(&f, option, part), 0)

static void test_design(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	build(&f);
	assert_string_equal(f.argv.v[0], "/usr/bin/qemu-system-x86_64");
	HAS(NULL, "-nodefaults");
	HAS("-machine", "pc-q35-7.2,memory-backend=ram");
	HAS("-uuid", f.spec.uuid);
	HAS("-object", "memory-backend-file,id=ram,size=512M,mem-path=/dev/shm/policyd/");
	HAS("-object", ".ram,share=on");
	HAS("-accel", "tcg,thread=multi");
	HAS("-smp", "cpus=1,maxcpus=4");
	HAS("-device", "id=cpu-1,");
	HAS_NOT("-device", "id=cpu-2,");
	HAS("-device", "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,free-page-reporting=on");
	HAS("-chardev", "qmp.sock");
	HAS("-chardev", "qmp-worker.sock");
	HAS("-chardev", "console.sock,server=on,wait=off,logfile=/run/policyd/web1/console.log");
	HAS("-device", "name=org.ballast.guest.0");
	HAS("-device", "name=org.qemu.guest_agent.0");
	HAS_NOT("-device", "virtio-mem"); /* max == boot */
	HAS_NOT("-m", "maxmem");
	HAS_NOT(NULL, "-S");
	HAS_NOT(NULL, "-incoming");
	for (size_t i = 1; i < f.argv.n; i++)
		assert_false(strstr(f.argv.v[i], "-pci") && !strstr(f.argv.v[i], "bus=pcie.0,addr=0x"));
	strv_fini(&f.argv);
}

static void test_memory_beyond_boot(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.spec.mem_max = 1ULL << 30;
	build(&f);
	HAS("-m", "size=512M,slots=1,maxmem=1024M");
	HAS("-object", "memory-backend-file,id=vmem,size=512M");
	HAS("-device", "virtio-mem-pci,id=vmem0,memdev=vmem,requested-size=0");
	strv_fini(&f.argv);
}

static void test_incoming(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.conf.incoming = true;
	build(&f);
	HAS("-incoming", "defer");
	HAS(NULL, "-S"); /* a target never runs by itself */
	HAS("-device", "id=cpu-1,");
	f.conf.n_vcpu_ids = 3;
	f.conf.vcpu_ids[1] = 3;
	f.conf.vcpu_ids[2] = 9; /* above the maximum: no such core */
	build(&f);
	HAS_NOT("-device", "id=cpu-0,");
	HAS_NOT("-device", "id=cpu-1,");
	HAS("-device", "id=cpu-3,socket-id=0,core-id=3,thread-id=0");
	HAS_NOT("-device", "id=cpu-9,");
	f.conf.n_vcpu_ids = 1; /* shrunk to core 0 alone */
	build(&f);
	HAS_NOT("-device", "id=cpu-");
	strv_fini(&f.argv);
}

static void test_choices(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.conf.machine = "pc-q35-9.0";
	f.conf.paused = true;
	f.conf.console_port = 5001;
	f.spec.cpu_arch = CPU_NATIVE;
	build(&f);
	HAS("-machine", "pc-q35-9.0,");
	HAS(NULL, "-S");
	HAS("-chardev", "host=127.0.0.1,port=5001");
	HAS_NOT("-chardev", "console.sock");
	HAS("-cpu", "max");
	f.services.accel = ACCEL_KVM;
	build(&f);
	HAS("-cpu", "host");
	HAS("-device", "host-x86_64-cpu,id=cpu-1");
	HAS("-accel", "kvm");
	strv_fini(&f.argv);
}

/* A same-host move: the second QEMU has names of its own for what only one can have, and the same RAM. */
static void test_second_generation(void **state)
{
	struct launched first = {.generation = 1};
	struct fix f;

	(void)state;
	fix_init(&f);
	f.conf.incoming = true;
	f.conf.replaces = &first;
	build(&f);
	HAS("-chardev", "qmp.sock.2,server=on");
	HAS("-chardev", "qmp-worker.sock.2,server=on");
	HAS("-chardev", "agent.sock.2,server=on");
	HAS("-chardev", "console.sock.2,server=on,wait=off,logfile=/run/policyd/web1/console.log,");
	HAS("-pidfile", "/run/policyd/web1/qemu.pid.2");
	HAS("-incoming", "defer");
	HAS(NULL, "-S");
	strv_fini(&f.argv);
}

static void test_disks_and_networks(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.spec.n_disks = 3;
	strcpy(f.spec.disks[0].volume, "vol01");
	strcpy(f.spec.disks[1].volume, "dev");
	f.spec.disks[1].readonly = true;
	strcpy(f.spec.disks[2].volume, "cow");
	f.spec.disks[2].cache = CACHE_WRITEBACK;
	f.spec.n_nets = 2;
	strcpy(f.spec.nets[0].sw, "sw0");
	strcpy(f.spec.nets[1].sw, "sw0");
	spec_complete(&f.spec, NULL);
	build(&f);
	HAS("-blockdev",
		"driver=file,node-name=file-disk0,filename=/srv/a,,b.img,read-only=off,cache.direct=on,cache.no-flush=off,locking=on");
	HAS("-blockdev", "driver=raw,node-name=disk0,");
	HAS("-blockdev", "driver=host_device,node-name=file-disk1,filename=/dev/vg/lv,read-only=on");
	HAS("-blockdev", "driver=qcow2,node-name=disk2,file=file-disk2,read-only=off,cache.direct=off");
	HAS("-device", "virtio-blk-pci,id=vd2,drive=disk2,share-rw=off");
	HAS("-netdev", "tap,id=net0,fd=3");
	HAS("-netdev", "tap,id=net1,fd=4");
	HAS("-device", f.spec.nets[1].mac);
	strv_fini(&f.argv);
}

static void assert_refused(struct fix *f, int code, const char *part)
{
	struct strv out = {0};
	struct err e;

	assert_int_equal(launch_argv(&f->conf, &out, &e), -code);
	assert_null(out.v);
	assert_non_null(strstr(e.msg, part));
}

static void test_refusals(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.spec.n_disks = 1;
	strcpy(f.spec.disks[0].volume, "nope");
	assert_refused(&f, ENOENT, "disks[0]: alpha has no volume \"nope\"; add it under host.volumes");
	f.spec.n_disks = 0;
	f.spec.n_nets = 1;
	strcpy(f.spec.nets[0].sw, "nope");
	assert_refused(&f, ENOENT, "networks[0]: alpha has no switch \"nope\"");
	f.spec.n_nets = 0;
	memset(f.services.paths.run, 'r', 95);
	assert_refused(&f, ENAMETOOLONG, "107 characters");
}

static void test_paths(void **state)
{
	char out[SPEC_PATH_MAX];
	struct fix f;

	(void)state;
	fix_init(&f);
	assert_int_equal(rundir_path(&f.services, "web1", "", out, NULL), 0);
	assert_string_equal(out, "/run/policyd/web1");
	strcpy(f.spec.uuid, "01234567-89ab-cdef-0123-456789abcdef");
	assert_int_equal(vmem_path(&f.services, &f.spec, out, NULL), 0);
	assert_string_equal(out, "/dev/shm/policyd/01234567-89ab-cdef-0123-456789abcdef.vmem");
	/* exactly what fits into sun_path, and one more */
	memset(f.services.paths.run, 0, SPEC_PATH_MAX);
	memset(f.services.paths.run, 'r', 107 - strlen("/web1/q.sock"));
	assert_int_equal(rundir_path(&f.services, "web1", "q.sock", out, NULL), 0);
	assert_int_equal(strlen(out), 107);
	assert_int_equal(rundir_path(&f.services, "web1", "qq.sock", out, NULL), -ENAMETOOLONG);
	assert_int_equal(rundir_path(&f.services, "web1", "qqqqqqq.log", out, NULL), 0);
	memset(f.services.paths.run, 'r', SPEC_PATH_MAX - 1);
	assert_int_equal(rundir_path(&f.services, "web1", "x", out, NULL), -ENAMETOOLONG);
}

static void test_vcpu_ids(void **state)
{
	static const char text[] =
		"[{\"props\": {\"core-id\": 3}, \"qom-path\": \"/a\"}, {\"props\": {\"core-id\": 2}}, {\"props\": "
		"{\"core-id\": 0}, \"qom-path\": \"/b\"}, {\"qom-path\": \"/c\"}, {\"props\": {\"core-id\": -1}, "
		"\"qom-path\": \"/d\"}, {\"props\": {\"core-id\": 999}, \"qom-path\": \"/e\"}]";
	unsigned ids[LAUNCH_HOTPLUGGED_MAX];
	json_t *j = json_loads(text, 0, NULL);

	(void)state;
	assert_int_equal(launch_vcpu_ids(j, ids), 2);
	assert_int_equal(ids[0], 0);
	assert_int_equal(ids[1], 3);
	json_decref(j);
	assert_int_equal(launch_vcpu_ids(NULL, ids), 0);
}

/* The ids that pre-checks expect are those that QEMU is given. */
static void test_device_ids(void **state)
{
	struct fix f;
	char ids[512], *save = NULL;
	unsigned n = 0, given = 0;

	(void)state;
	fix_init(&f);
	f.spec.mem_boot = f.spec.mem_min = 256ULL << 20;
	f.spec.mem_max = 512ULL << 20;
	f.spec.n_disks = 2;
	strcpy(f.spec.disks[0].volume, "vol01");
	strcpy(f.spec.disks[1].volume, "dev");
	f.spec.n_nets = 1;
	strcpy(f.spec.nets[0].sw, "sw0");
	strcpy(f.spec.nets[0].mac, "52:54:00:11:22:33");
	build(&f);
	launch_device_ids(&f.spec, true, ids, sizeof(ids));
	for (const char *id = strtok_r(ids, " ", &save); id; id = strtok_r(NULL, " ", &save), n++) {
		char part[80];

		snprintf(part, sizeof(part), ",id=%s,", id);
		if (count(&f, "-device", part) != 1)
			fail_msg("%s is not a device of it", id);
	}
	for (size_t i = 0; i + 1 < f.argv.n; i++)
		given += !strcmp(f.argv.v[i], "-device") && strstr(f.argv.v[i + 1], ",id=") &&
			!strstr(f.argv.v[i + 1], "-x86_64-cpu");
	assert_int_equal(n, given);
	strv_fini(&f.argv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_design),
		cmocka_unit_test(test_memory_beyond_boot),
		cmocka_unit_test(test_incoming),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_second_generation),
		cmocka_unit_test(test_disks_and_networks),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_vcpu_ids),
		cmocka_unit_test(test_device_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
