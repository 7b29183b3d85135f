/* The CPU cap: detection from recorded mount tables, v2 on a laid-out folder, and the real thing on a burning child where
 * this host lets us. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "resize/cap.h"
#include "tests/unit/support/skip.h"

struct fix {
	char dir[64], cg[80];
};

static void put(const struct fix *f, const char *leaf, const char *text)
{
	char cmd[300];
	FILE *out;

	snprintf(cmd, sizeof(cmd), "mkdir -p $(dirname %s/%s)", f->dir, leaf);
	assert_int_equal(system(cmd), 0);
	snprintf(cmd, sizeof(cmd), "%s/%s", f->dir, leaf);
	out = fopen(cmd, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void expect_text(const struct fix *f, const char *leaf, const char *want)
{
	char path[300], text[100] = "";
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", f->dir, leaf);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_non_null(fgets(text, sizeof(text), in));
	fclose(in);
	assert_string_equal(text, want);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/cap-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->cg, sizeof(f->cg), "%s/cg", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;
	char cmd[100];

	snprintf(cmd, sizeof(cmd), "rm -r %s", f->dir);
	free(f);
	return system(cmd);
}

static void mounts(const struct fix *f, const char *fmt)
{
	char text[600];

	snprintf(text, sizeof(text),
		"23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n31 23 0:28 / /x rw shared:4 - tmpfs tmpfs rw,mode=755\n"
		"40 23 0:30 / %s/cg rw,nosuid shared:9 - %s\nbroken line\n",
		f->dir, fmt);
	put(f, "self/mountinfo", text);
}

static void test_detect(void **state)
{
	struct fix *f = *state;
	struct cap_fs fs;
	struct err e = {0};

	put(f, "cg/cgroup.controllers", "cpuset cpu io memory\n");
	mounts(f, "cgroup2 cgroup2 rw,nsdelegate");
	assert_int_equal(cap_detect(f->dir, &fs, &e), 0);
	assert_int_equal(fs.kind, CAP_V2);
	assert_string_equal(fs.mount, f->cg);
	put(f, "cg/cgroup.controllers", "cpuset io\n"); /* "cpuset" is not cpu */
	assert_int_equal(cap_detect(f->dir, &fs, &e), -ENOTSUP);
	mounts(f, "cgroup cgroup rw,cpu,cpuacct");
	assert_int_equal(cap_detect(f->dir, &fs, &e), 0);
	assert_int_equal(fs.kind, CAP_V1);
	mounts(f, "cgroup cgroup rw,cpuacct");
	assert_int_equal(cap_detect(f->dir, &fs, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "cpu controller"));
	assert_int_equal(cap_detect("/nowhere", &fs, &e), -ENOTSUP);
	put(f, "self/mountinfo", "");
	assert_int_equal(cap_detect(f->dir, &fs, &e), -ENOTSUP);
}

/* v2 with plain files: what is written where. (Removing a group fails there, for real cgroup files vanish with it.) */
static void test_v2_writes(void **state)
{
	struct fix *f = *state;
	struct cap_fs fs = {.kind = CAP_V2, .base = "ballast"};
	struct cap c = {0};
	struct err e = {0};
	char path[800], text[32];

	snprintf(fs.mount, sizeof(fs.mount), "%s", f->cg);
	snprintf(fs.proc_root, sizeof(fs.proc_root), "%s", f->dir);
	put(f, "cg/cgroup.subtree_control", "");
	put(f, "cg/ballast/cgroup.subtree_control", "");
	put(f, "cg/ballast/web1/cgroup.procs", "");
	put(f, "cg/ballast/web1/cpu.max", "");
	put(f, "cg/machine.slice/x/cgroup.procs", "");
	put(f, "77/cgroup", "1:name=systemd:/y\n0::/machine.slice/x\n");
	assert_int_equal(cap_open(&c, &fs, "web1", 77, &e), 0);
	expect_text(f, "cg/cgroup.subtree_control", "+cpu");
	expect_text(f, "cg/ballast/cgroup.subtree_control", "+cpu");
	expect_text(f, "cg/ballast/web1/cgroup.procs", "77");
	expect_text(f, "cg/ballast/web1/cpu.max", "max 100000");
	put(f, "cg/ballast/web1/cpu.max", "");
	assert_int_equal(cap_set(&c, 150, &e), 0);
	expect_text(f, "cg/ballast/web1/cpu.max", "150000 100000");
	assert_int_equal(cap_set(&c, 0, &e), -EINVAL);
	cap_lift(&fs, "web1", 0, path, sizeof(path), text, sizeof(text));
	assert_int_equal(strcmp(path + strlen(f->cg), "/ballast/web1/cpu.max"), 0);
	assert_string_equal(text, "max 100000");
	cap_lift(&fs, "web1", 130, path, sizeof(path), text, sizeof(text));
	assert_string_equal(text, "130000 100000"); /* back to what it is entitled to */
	put(f, "cg/ballast/web1/cpu.weight", "");
	put(f, "cg/ballast/cpu.weight", "");
	assert_int_equal(cap_weigh(&c, 250, &e), 0);
	expect_text(f, "cg/ballast/web1/cpu.weight", "250");
	assert_int_equal(cap_weigh_base(&fs, 4000000, &e), 0);
	expect_text(f, "cg/ballast/cpu.weight", "10000");
	put(f, "cg/ballast/web1/cpu.max", "");
	assert_int_equal(cap_clear(&c, &e), 0);
	expect_text(f, "cg/ballast/web1/cpu.max", "max 100000");
	assert_int_equal(cap_close(&c, &e), -ENOTEMPTY);
	expect_text(f, "cg/machine.slice/x/cgroup.procs", "77"); /* where it was */
}

static void test_refusals(void **state)
{
	struct fix *f = *state;
	struct cap_fs fs = {.kind = CAP_NONE, .base = "ballast"};
	struct cap c = {0};
	struct err e = {0};

	assert_int_equal(cap_open(&c, &fs, "web1", 1, &e), -ENOTSUP);
	fs.kind = CAP_V2;
	snprintf(fs.mount, sizeof(fs.mount), "%s", f->cg);
	snprintf(fs.proc_root, sizeof(fs.proc_root), "%s", f->dir);
	assert_int_equal(cap_open(&c, &fs, "../x", 77, &e), -EINVAL);
	assert_int_equal(cap_open(&c, &fs, "web1", 77, &e), -ESRCH);
	put(f, "77/cgroup", "0::/\n");
	assert_int_equal(cap_open(&c, &fs, "web1", 77, &e), -ENOTSUP); /* no subtree_control */
	put(f, "cg/cgroup.subtree_control", "");
	put(f, "cg/ballast/cgroup.subtree_control", "");
	put(f, "cg/ballast/web1/cgroup.procs", "78\n");
	assert_int_equal(cap_open(&c, &fs, "web1", 77, &e), -EEXIST);
	assert_string_equal(c.group, "");
	assert_int_equal(cap_close(&c, &e), 0); /* nothing was opened */
}

/* ---- real ------------------------------------------------------------------------------------------------ */

static pid_t burner(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	alarm(60);
	for (;;)
		;
}

static uint64_t run_ns(pid_t pid)
{
	char path[64];
	unsigned long long ns = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_int_equal(fscanf(in, "%llu", &ns), 1);
	fclose(in);
	return ns;
}

static double ran_in(pid_t pid, unsigned ms)
{
	uint64_t before = run_ns(pid);

	usleep(ms * 1000);
	return (double)(run_ns(pid) - before) / 1e6;
}

/* Two burners beside each other, one capped to 10 %: the other one must run several times as much, however busy the machine is. */
static void test_real(void **state)
{
	struct cap_fs fs;
	struct cap c = {0};
	struct err e = {0};
	pid_t pid = burner(), free_pid = burner();
	uint64_t free_before;
	double capped = 0, uncapped = 0, other = 0;
	char name[40], path[800], text[32];
	int fd, rc = cap_detect(NULL, &fs, &e);

	(void)state;
	snprintf(name, sizeof(name), "unit-test-%d", (int)getpid());
	snprintf(fs.base, sizeof(fs.base), "ballast-%s", name);
	if (!rc)
		rc = cap_open(&c, &fs, name, pid, &e);
	if (!rc) {
		assert_int_equal(cap_set(&c, 10, &e), 0);
		usleep(200000);
		free_before = run_ns(free_pid);
		capped = ran_in(pid, 1000);
		other = (double)(run_ns(free_pid) - free_before) / 1e6;
		cap_lift(&fs, name, 0, path, sizeof(path), text,
			sizeof(text)); /* as a process would that has only heard of it */
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
		close(fd);
		uncapped = ran_in(pid, 1000);
		assert_int_equal(cap_close(&c, &e), 0);
		assert_int_equal(access(c.group, F_OK), -1);
		assert_int_equal(cap_close(&c, &e), 0);
		assert_int_equal(kill(pid, 0), 0);
		assert_int_equal(cap_sweep(&fs, NULL, NULL, &e), 0); /* nothing is left */
	}
	kill(pid, SIGKILL);
	kill(free_pid, SIGKILL);
	waitpid(pid, NULL, 0);
	waitpid(free_pid, NULL, 0);
	if (rc == -EACCES || rc == -EPERM || rc == -EROFS || rc == -ENOTSUP)
		skip_because("no cgroup for us here: %s", e.msg);
	assert_int_equal(rc, 0);
	if (capped < 20 || capped > 180 || other < 1.5 * capped || uncapped < 1.5 * capped)
		fail_msg("capped to 10 %%: %.0f ms of 1000; its neighbour %.0f; lifted: %.0f", capped, other, uncapped);
}

/* policyd died with a cap in force: sweep lifts and removes it, the process lives on. */
static void test_sweep(void **state)
{
	struct cap_fs fs;
	struct cap c = {0};
	struct err e = {0};
	char name[40], group[512];
	pid_t pid;
	int rc, n;

	(void)state;
	if (cap_detect(NULL, &fs, &e))
		skip_because("%s", e.msg);
	pid = burner();
	snprintf(name, sizeof(name), "unit-sweep-%d", (int)getpid());
	snprintf(fs.base, sizeof(fs.base), "ballast-%s", name);
	rc = cap_open(&c, &fs, name, pid, &e);
	if (!rc) {
		memcpy(group, c.group, sizeof(group));
		assert_int_equal(cap_set(&c, 5, &e), 0);
		n = cap_sweep(&fs, NULL, NULL, &e);
		assert_int_equal(n, 1);
		assert_int_equal(access(group, F_OK), -1);
		assert_true(ran_in(pid, 500) > 60);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (rc)
		skip_because("no cgroup for us here: %s", e.msg);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_detect),
		T(test_v2_writes),
		T(test_refusals),
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
