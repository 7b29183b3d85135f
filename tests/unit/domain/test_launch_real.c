/* Launch, re-adoption, RAM files and QMP against a real QEMU under TCG. The guest is a boot sector on a disk: it writes a growing counter
 * into its memory, or powers itself off. Skipped where QEMU is not installed. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "domain/launch_priv.h"
#include "domain/qmp.h"
#include "domain/ram.h"
#include "tests/unit/support/skip.h"

#define QEMU "/usr/bin/qemu-system-x86_64"
#define COUNTER_AT 0x8000

/* xor ax,ax; mov ds,ax; l: inc dword [0x8000]; jmp l */
static const unsigned char boot_count[] = {0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x00, 0x80, 0xeb, 0xf9};
/* mov dx,0x604; mov ax,0x2000; out dx,ax; hlt: ACPI's soft off on q35 */
static const unsigned char boot_off[] = {0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4};

struct env {
	char dir[64];
	struct host_services a, b; /* two hosts on this machine */
	struct domain_spec spec;
	struct event_base *base;
};

static void boot_disk(const char *path, const unsigned char *code, size_t n)
{
	unsigned char sector[512] = {0};
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	memcpy(sector, code, n);
	sector[510] = 0x55;
	sector[511] = 0xaa;
	assert_int_equal(write(fd, sector, sizeof(sector)), sizeof(sector));
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
}

static void host_init(struct env *env, struct host_services *s, const char *name)
{
	snprintf(s->host_name, sizeof(s->host_name), "%s", name);
	snprintf(s->paths.run, sizeof(s->paths.run), "%s/%s/run", env->dir, name);
	snprintf(s->paths.ram, sizeof(s->paths.ram), "%s/%s/ram", env->dir, name);
	snprintf(s->paths.qemu, sizeof(s->paths.qemu), QEMU);
	s->n_volumes = 2;
	strcpy(s->volumes[0].name, "count");
	snprintf(s->volumes[0].path, SPEC_PATH_MAX, "%s/a, comma.img", env->dir);
	strcpy(s->volumes[1].name, "off");
	snprintf(s->volumes[1].path, SPEC_PATH_MAX, "%s/off.img", env->dir);
	s->n_switches = 1;
	strcpy(s->switches[0].name, "sw0");
	strcpy(s->switches[0].bridge, "tbr0");
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	strcpy(env->dir, "/dev/shm/balt-launch-XXXXXX");
	assert_non_null(mkdtemp(env->dir));
	host_init(env, &env->a, "a");
	host_init(env, &env->b, "b");
	boot_disk(env->a.volumes[0].path, boot_count, sizeof(boot_count));
	boot_disk(env->a.volumes[1].path, boot_off, sizeof(boot_off));
	spec_init(&env->spec);
	strcpy(env->spec.name, "t1");
	env->spec.vcpus_boot = 2;
	env->spec.vcpus_max = 4;
	env->spec.mem_min = 32ULL << 20;
	env->spec.mem_boot = 64ULL << 20;
	env->spec.mem_max = 128ULL << 20;
	env->spec.n_disks = 1;
	strcpy(env->spec.disks[0].volume, "count");
	assert_int_equal(spec_complete(&env->spec, NULL), 0);
	assert_int_equal(spec_check(&env->spec, NULL), 0);
	env->base = event_base_new();
	*state = env;
	return 0;
}

static void on_found_kill(void *arg, const struct launched *l)
{
	(void)arg;
	if (!l->pid)
		return;
	kill(l->pid, SIGKILL);
	while (launch_alive(l))
		usleep(1000);
}

static int teardown(void **state)
{
	struct env *env = *state;
	char cmd[128];

	launch_scan(&env->a, on_found_kill, NULL, NULL);
	launch_scan(&env->b, on_found_kill, NULL, NULL);
	event_base_free(env->base);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", env->dir);
	assert_int_equal(system(cmd), 0);
	free(env);
	return 0;
}

static void need_qemu(void)
{
	if (access(QEMU, X_OK))
		skip_because("no %s", QEMU);
}

/* ---- helpers ---- */

static void start(struct env *env, const struct host_services *s, struct launched *l, const struct launch_conf *extra)
{
	struct launch_conf conf = extra ? *extra : (struct launch_conf){0};
	struct err e = {0};

	conf.spec = &env->spec;
	conf.services = s;
	if (launch_start(&conf, l, &e))
		fail_msg("launch_start: %s", e.msg);
	assert_true(l->pid > 0 && l->start_time > 0);
}

static struct qmp *qmp_to(struct env *env, const struct host_services *s, const char *leaf)
{
	char path[SPEC_PATH_MAX], tail[1024];
	struct err e = {0};
	struct qmp *q;

	assert_int_equal(rundir_path(s, env->spec.name, leaf, path, &e), 0);
	q = qmp_new(env->base, path, true, NULL, NULL);
	if (qmp_wait_ready(q, 20000, &e)) {
		launch_stderr_tail(s, env->spec.name, tail, sizeof(tail));
		fail_msg("%s: %s", e.msg, tail);
	}
	return q;
}

static json_t *ask(struct qmp *q, const char *cmd, json_t *args)
{
	struct err e = {0};
	json_t *ret = NULL;

	if (qmp_call(q, cmd, args, 0, &ret, &e))
		fail_msg("%s", e.msg);
	return ret;
}

static void assert_status(struct qmp *q, const char *status)
{
	json_t *ret = ask(q, "query-status", NULL);

	assert_string_equal(json_string_value(json_object_get(ret, "status")), status);
	json_decref(ret);
}

static unsigned vcpu_ids(struct qmp *q, unsigned ids[LAUNCH_HOTPLUGGED_MAX])
{
	json_t *ret = ask(q, "query-hotpluggable-cpus", NULL);
	unsigned n = launch_vcpu_ids(ret, ids);

	json_decref(ret);
	return n;
}

static uint32_t counter(const char *ram)
{
	uint32_t v = 0;
	int fd = open(ram, O_RDONLY);

	assert_int_equal(pread(fd, &v, sizeof(v), COUNTER_AT), sizeof(v));
	close(fd);
	return v;
}

/* The guest runs: its counter grows. Fails after 20 s. */
static void wait_runs(const char *ram)
{
	uint32_t first = counter(ram);

	for (int i = 0; i < 2000; i++) {
		if (counter(ram) > first && counter(ram) > 1000)
			return;
		usleep(10000);
	}
	fail_msg("the guest does not run");
}

static void wait_end(const struct launched *l)
{
	struct pollfd p = {.fd = launch_pidfd(l), .events = POLLIN};

	if (p.fd >= 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		close(p.fd);
	}
	assert_false(launch_alive(l));
	assert_int_equal(launch_pidfd(l), -ESRCH);
}

static void assert_no_words(const struct host_services *s, const char *name)
{
	char tail[1024];

	launch_stderr_tail(s, name, tail, sizeof(tail));
	assert_string_equal(tail, "");
}

/* ---- tests ---- */

static void test_runs_and_ends(void **state)
{
	struct env *env = *state;
	struct launch_conf conf = {.spec = &env->spec, .services = &env->a};
	unsigned ids[LAUNCH_HOTPLUGGED_MAX], n_blocks = 0;
	struct ram_block blocks[RAM_BLOCKS_MAX];
	struct launched l, l2;
	struct qmp *q, *w;
	struct err e = {0};
	json_t *ret;

	need_qemu();
	start(env, &env->a, &l, NULL);
	assert_int_equal(getsid(l.pid), l.pid);
	q = qmp_to(env, &env->a, "qmp.sock");
	w = qmp_to(env, &env->a, "qmp-worker.sock"); /* both at once */
	assert_status(q, "running");
	assert_status(w, "running");
	assert_int_equal(launch_start(&conf, &l2, &e), -EEXIST);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), -EBUSY);

	assert_int_equal(vcpu_ids(q, ids), 2);
	json_decref(ask(q, "device_add",
		json_pack("{s:s, s:s, s:i, s:i, s:i}", "driver", "Nehalem-v1-x86_64-cpu", "id", "cpu-3", "socket-id", 0,
			"core-id", 3, "thread-id", 0)));
	assert_int_equal(vcpu_ids(q, ids), 3);
	assert_int_equal(ids[2], 3);

	ret = ask(q, "query-balloon", NULL);
	assert_int_equal(json_integer_value(json_object_get(ret, "actual")), 64 << 20);
	json_decref(ret);
	ret = ask(q, "qom-get",
		json_pack("{s:s, s:s}", "path", "/machine/peripheral/balloon0", "property", "guest-stats"));
	json_decref(ret);
	ret = ask(q, "query-memdev", NULL);
	for (size_t i = 0; i < json_array_size(ret); i++)
		assert_true(json_is_true(json_object_get(json_array_get(ret, i), "share")));
	assert_int_equal(json_array_size(ret), 2);
	json_decref(ret);

	assert_int_equal(ram_find(l.pid, env->a.paths.ram, env->spec.uuid, blocks, &n_blocks, &e), 0);
	assert_int_equal(n_blocks, 2);
	assert_int_equal(blocks[0].bytes, 64 << 20);
	assert_int_equal(blocks[1].bytes, 128 << 20); /* 64M above boot size, in whole memory blocks of Linux */
	assert_non_null(strstr(blocks[0].path, ".ram"));
	assert_non_null(strstr(blocks[1].path, ".vmem"));
	assert_int_equal(blocks[0].page_bytes, sysconf(_SC_PAGESIZE));
	wait_runs(blocks[0].path);
	assert_true(ram_resident_bytes(blocks[0].path) < 64 << 20);
	assert_no_words(&env->a, "t1"); /* not one warning */

	json_decref(ask(w, "quit", NULL));
	wait_end(&l);
	qmp_free(q);
	qmp_free(w);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), 0);
	assert_int_not_equal(access(blocks[0].path, F_OK), 0);
	assert_int_equal(rmdir(env->a.paths.run), 0); /* nothing is left */
}

static void test_reset_runs_on_poweroff_ends(void **state)
{
	struct env *env = *state;
	char ram[SPEC_PATH_MAX];
	struct launched l;
	struct qmp *q;

	need_qemu();
	env->spec.vcpus_boot = 1;
	start(env, &env->a, &l, NULL);
	ram_path(&env->a, &env->spec, ram, NULL);
	q = qmp_to(env, &env->a, "qmp.sock");
	wait_runs(ram);
	json_decref(ask(q, "system_reset", NULL));
	wait_runs(ram);
	assert_true(launch_alive(&l));
	qmp_free(q);
	kill(l.pid, SIGKILL);
	wait_end(&l);

	strcpy(env->spec.disks[0].volume, "off");
	start(env, &env->a, &l, NULL); /* dead leftovers are no hindrance */
	wait_end(&l);
}

static void test_incoming(void **state)
{
	struct env *env = *state;
	struct launch_conf conf = {.incoming = true, .n_vcpu_ids = 3, .vcpu_ids = {0, 2, 3}};
	unsigned ids[LAUNCH_HOTPLUGGED_MAX];
	struct launched source, target;
	struct qmp *q;

	need_qemu();
	start(env, &env->a, &source, NULL);
	start(env, &env->b, &target,
		&conf); /* the same disk and uuid, beside it: no lock is taken before the hand-off */
	assert_int_not_equal(source.pid, target.pid);
	q = qmp_to(env, &env->b, "qmp-worker.sock");
	assert_status(q, "inmigrate");
	assert_int_equal(vcpu_ids(q, ids), 3);
	assert_int_equal(ids[1], 2);
	assert_int_equal(ids[2], 3);
	qmp_free(q);
	q = qmp_to(env, &env->a, "qmp.sock");
	assert_status(q, "running");
	qmp_free(q);
	assert_no_words(&env->b, "t1");
}

static void test_second_writer_is_refused(void **state)
{
	struct env *env = *state;
	struct launched l, second;
	char tail[1024];
	struct qmp *q;

	need_qemu();
	start(env, &env->a, &l, NULL);
	q = qmp_to(env, &env->a, "qmp.sock");
	start(env, &env->b, &second, NULL);
	wait_end(&second);
	launch_stderr_tail(&env->b, "t1", tail, sizeof(tail));
	assert_non_null(strstr(tail, "lock"));
	assert_status(q, "running");
	qmp_free(q);
}

struct scan {
	unsigned n;
	struct launched last;
};

static void on_found(void *arg, const struct launched *l)
{
	struct scan *s = arg;

	s->n++;
	s->last = *l;
}

static void scan(struct env *env, struct scan *s)
{
	struct err e = {0};

	memset(s, 0, sizeof(*s));
	assert_int_equal(launch_scan(&env->a, on_found, s, &e), 0);
}

static void test_readopted_after_the_launcher_died(void **state)
{
	struct env *env = *state;
	struct launched l, forgotten;
	struct scan s;
	struct qmp *q;
	pid_t child;
	int status;

	need_qemu();
	scan(env, &s);
	assert_int_equal(s.n, 0); /* no run folder yet */
	child = fork();
	if (!child) {
		struct launch_conf conf = {.spec = &env->spec, .services = &env->a};

		_exit(launch_start(&conf, &l, NULL) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	scan(env, &s);
	assert_int_equal(s.n, 1);
	assert_true(launch_alive(&s.last));
	assert_memory_equal(&s.last.spec, &env->spec, sizeof(env->spec));
	assert_string_equal(s.last.machine, LAUNCH_MACHINE);
	l = s.last;
	q = qmp_to(env, &env->a, "qmp.sock");
	assert_status(q, "running");

	/* the launcher died before it wrote the pid down: the command line tells */
	forgotten = l;
	forgotten.pid = 0;
	forgotten.start_time = 0;
	forgotten.incoming = true;
	forgotten.vcpu_removed = true;
	forgotten.unplug_refusals = 3; /* what was learnt of it is kept with it */
	forgotten.unplug_frozen_until_ms = 1800000000123;
	assert_int_equal(launch_update(&env->a, &forgotten, NULL), 0);
	scan(env, &s);
	assert_int_equal(s.last.pid, l.pid);
	assert_true(s.last.incoming && s.last.vcpu_removed && s.last.unplug_refusals == 3);
	assert_true(s.last.unplug_frozen_until_ms == 1800000000123);

	/* its pid is another process now */
	forgotten.pid = getpid();
	forgotten.start_time = 1;
	assert_false(launch_alive(&forgotten));
	assert_int_equal(launch_pidfd(&forgotten), -ESRCH);

	launch_update(&env->a, &l, NULL);
	json_decref(ask(q, "quit", NULL));
	qmp_free(q);
	wait_end(&l);
	scan(env, &s);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.last.pid, 0); /* a dead leftover */
	assert_int_equal(launch_cleanup(&env->a, &env->spec, NULL), 0);
	scan(env, &s);
	assert_int_equal(s.n, 0);
}

/* Started a moment ago by somebody who died since: it shows its launcher's command line until it calls exec. */
static void test_exec_is_awaited(void **state)
{
	struct env *env = *state;
	char record[SPEC_PATH_MAX], pidfile[SPEC_PATH_MAX], cmd[2 * SPEC_PATH_MAX + 64];
	struct err e = {0};
	struct scan s;
	pid_t pid;

	rundir_path(&env->a, "t1", "launch.json", record, NULL);
	rundir_path(&env->a, "t1", "qemu.pid", pidfile, NULL);
	snprintf(cmd, sizeof(cmd), "mkdir -p %s/t1 && echo '{' > %s", env->a.paths.run, record);
	assert_int_equal(system(cmd), 0);
	pid = fork();
	if (!pid) {
		usleep(300000);
		execl("/bin/sh", "sh", "-c", "sleep 30; :", env->spec.uuid, pidfile, (char *)NULL);
		_exit(1);
	}
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), 0);
	scan(env, &s);
	assert_int_equal(s.n, 0);
}

/* ---- two QEMUs of one domain: a same-host move that was cut off ---- */

static void start_next(struct env *env, const struct launched *old, struct launched *next)
{
	start(env, &env->a, next, &(struct launch_conf){.incoming = true, .replaces = old, .resume = true});
	assert_int_equal(next->generation, old->generation + 1);
	assert_true(launch_alive(old) && launch_alive(next) && old->pid != next->pid);
}

static void assert_gone(const struct env *env, const char *leaf)
{
	char path[SPEC_PATH_MAX];

	assert_int_equal(rundir_path(&env->a, "t1", leaf, path, NULL), 0);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* The one that is found is @owner, alone; @other has ended, and nothing of it is left. */
static void assert_settled(struct env *env, const struct launched *owner, const struct launched *other)
{
	struct scan s;
	struct qmp *q;

	for (int i = 0; i < 2; i++) { /* once is for ever */
		scan(env, &s);
		assert_int_equal(s.n, 1);
		assert_int_equal(s.last.pid, owner->pid);
		assert_int_equal(s.last.replaced, 0);
		assert_true(s.last.resume && launch_alive(owner) && !launch_alive(other));
	}
	assert_gone(env, "launch.next.json");
	q = qmp_to(env, &env->a, "qmp.sock");
	qmp_free(q);
}

static void test_cut_before_the_hand_off(void **state)
{
	struct env *env = *state;
	struct launched old, next, forgotten;
	char ram[SPEC_PATH_MAX];

	need_qemu();
	start(env, &env->a, &old, NULL);
	ram_path(&env->a, &env->spec, ram, NULL);
	wait_runs(ram);
	start_next(env, &old, &next);
	qmp_free(qmp_to(env, &env->a, "qmp.sock.1"));
	assert_settled(env, &old, &next);
	assert_gone(env, "qmp.sock.1");
	assert_gone(env, "qemu.pid.1");
	wait_runs(ram);

	/* its launcher died before it wrote the pid down: the second is found by its generation, and not taken for the first */
	start_next(env, &old, &next);
	forgotten = next;
	forgotten.pid = 0;
	forgotten.start_time = 0;
	assert_int_equal(launch_record_write(&env->a, &forgotten, LAUNCH_NEXT_RECORD, NULL), 0);
	assert_settled(env, &old, &next);
	wait_runs(ram);

	/* or before it started it: nothing is ended */
	assert_int_equal(launch_record_write(&env->a, &forgotten, LAUNCH_NEXT_RECORD, NULL), 0);
	assert_settled(env, &old, &next);

	/* the first has ended meanwhile: the second must not outlive it, for it would hold the disks */
	start_next(env, &old, &next);
	kill(old.pid, SIGKILL);
	wait_end(&old);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, NULL), 0);
	assert_false(launch_alive(&next));
	assert_int_not_equal(access(ram, F_OK), 0);
}

static void test_cut_after_the_hand_off(void **state)
{
	struct env *env = *state;
	struct launched old, next, third;

	need_qemu();
	start(env, &env->a, &old, NULL);
	start_next(env, &old, &next);
	qmp_free(qmp_to(env, &env->a, "qmp.sock.1")); /* it is up */
	assert_int_equal(launch_next_own(&env->a, &next, &old, NULL), 0);
	assert_settled(env, &next, &old);
	assert_gone(env, "qmp.sock.1");

	/* back, as the second did not let the guest run: the same again */
	start_next(env, &next, &third);
	assert_int_equal(launch_next_own(&env->a, &third, &next, NULL), 0);
	assert_int_equal(launch_next_disown(&env->a, &third, &next, NULL), 0);
	assert_settled(env, &next, &third);

	/* nothing was cut */
	start_next(env, &next, &third);
	qmp_free(qmp_to(env, &env->a, "qmp.sock.2"));
	assert_int_equal(launch_next_own(&env->a, &third, &next, NULL), 0);
	kill(next.pid, SIGKILL);
	wait_end(&next);
	assert_int_equal(launch_next_done(&env->a, &third, NULL), 0);
	third.resume = true; /* not asked for any more, but assert_settled wants it */
	assert_int_equal(launch_update(&env->a, &third, NULL), 0);
	assert_settled(env, &third, &next);
	kill(third.pid, SIGKILL);
	wait_end(&third);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, NULL), 0);
}

static void test_broken_record(void **state)
{
	struct env *env = *state;
	char path[SPEC_PATH_MAX], cmd[SPEC_PATH_MAX + 32];
	struct err e = {0};
	struct launched l;
	struct scan s = {0};

	need_qemu();
	start(env, &env->a, &l, NULL);
	rundir_path(&env->a, "t1", "launch.json", path, NULL);
	snprintf(cmd, sizeof(cmd), "echo '{\"format\": 1' > %s", path);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(launch_scan(&env->a, on_found, &s, &e), -EBADMSG);
	assert_int_equal(s.n, 0);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), -EBUSY); /* it runs: never pull its memory away */
	kill(l.pid, SIGKILL);
	wait_end(&l);
	assert_int_equal(launch_cleanup(&env->a, &env->spec, &e), 0);
}

static void test_start_failures(void **state)
{
	struct env *env = *state;
	struct launch_conf conf = {.spec = &env->spec, .services = &env->a};
	char ram[SPEC_PATH_MAX], tail[1024];
	struct err e = {0};
	struct launched l;
	int fd;

	need_qemu();
	/* no such program: nothing is left behind */
	strcpy(env->a.paths.qemu, "/nonexistent/qemu");
	assert_int_equal(launch_start(&conf, &l, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent/qemu"));
	ram_path(&env->a, &env->spec, ram, NULL);
	assert_int_not_equal(access(ram, F_OK), 0);
	assert_int_equal(rmdir(env->a.paths.run), 0);
	strcpy(env->a.paths.qemu, QEMU);

	/* a RAM file that nobody accounts for is not touched */
	fd = open(ram, O_RDWR | O_CREAT, 0600);
	close(fd);
	assert_int_equal(launch_start(&conf, &l, &e), -EEXIST);
	assert_int_equal(access(ram, F_OK), 0);
	unlink(ram);

	/* QEMU's own words say what is wrong */
	unlink(env->a.volumes[0].path);
	assert_int_equal(launch_start(&conf, &l, &e), 0);
	wait_end(&l);
	launch_stderr_tail(&env->a, "t1", tail, sizeof(tail));
	assert_non_null(strstr(tail, "No such file"));
}

static void in_own_namespace(struct env *env)
{
	struct launch_conf conf = {.spec = &env->spec, .services = &env->a};
	struct ifreq ifr = {.ifr_name = "tbr0"};
	struct err e = {0};
	struct launched l;
	struct qmp *q;
	int s;

	env->spec.n_nets = 1;
	strcpy(env->spec.nets[0].sw, "sw0");
	spec_complete(&env->spec, NULL);
	assert_int_equal(launch_start(&conf, &l, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "no bridge \"tbr0\""));
	s = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(s, SIOCBRADDBR, ifr.ifr_name), 0);
	close(s);
	start(env, &env->a, &l, NULL);
	q = qmp_to(env, &env->a, "qmp.sock");
	assert_status(q, "running");
	assert_int_equal(access("/sys/class/net/bal0/brport", F_OK) && if_nametoindex("bal0") == 0, 0);
	assert_no_words(&env->a, "t1");
	json_decref(ask(q, "quit", NULL));
	qmp_free(q);
	wait_end(&l);
	assert_int_equal(if_nametoindex("bal0"), 0); /* the tap goes with its QEMU */
}

static void test_network(void **state)
{
	struct env *env = *state;
	int status;
	pid_t child;

	need_qemu();
	if (geteuid())
		skip_because("only root has network namespaces");
	child = fork(); /* a namespace of its own, gone with the child */
	if (!child) {
		if (unshare(CLONE_NEWNET))
			_exit(77);
		event_reinit(env->base);
		in_own_namespace(env);
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip_because("no network namespace can be made here");
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_runs_and_ends),
		T(test_reset_runs_on_poweroff_ends),
		T(test_incoming),
		T(test_second_writer_is_refused),
		T(test_readopted_after_the_launcher_died),
		T(test_exec_is_awaited),
		T(test_cut_before_the_hand_off),
		T(test_cut_after_the_hand_off),
		T(test_broken_record),
		T(test_start_failures),
		T(test_network),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
