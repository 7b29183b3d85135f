/* Caps and weights of a domain in this machine's real cgroups, with a sleeping child for a QEMU: the least of what is wanted counts, each comes and
 * goes without the other, and nothing is left. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "policyd/act/cap_name.h"
#include "policyd/act/cpu_group.h"
#include "tests/unit/support/host_rig.h"
#include "tests/unit/support/skip.h"

#define MB (1ULL << 20)

struct group_rig {
	struct host_rig host;
	struct cap_fs fs;
	struct dom *d;
	pid_t child;
};

/* Percent of one CPU; 0 = no limit; -1 = it has no group. */
static int quota_now(const struct group_rig *r, const char *name)
{
	char path[600], text[64] = "";
	bool v2 = r->fs.kind == CAP_V2;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s/%s", r->fs.mount, r->fs.base, name, v2 ? "cpu.max" : "cpu.cfs_quota_us");
	f = fopen(path, "r");
	if (!f)
		return -1;
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	return text[0] == 'm' || text[0] == '-' ? 0 : atoi(text) / 1000;
}

static int weight_now(const struct group_rig *r, const char *group)
{
	char path[600], text[64] = "";
	bool v2 = r->fs.kind == CAP_V2;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s/%s", r->fs.mount, r->fs.base, group, v2 ? "cpu.weight" : "cpu.shares");
	f = fopen(path, "r");
	if (!f)
		return -1;
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	return v2 ? atoi(text) : (atoi(text) * 100 + 512) / 1024;
}

static void rig_start(struct group_rig *r)
{
	struct err e = {0};

	host_rig_start(&r->host, 8, 700 * MB);
	snprintf(r->host.p.conf->host.paths.run, SPEC_PATH_MAX, "/nowhere/%d", (int)getpid()); /* a base of our own */
	r->d = host_rig_domain(&r->host, "web1", 2, 64 * MB);
	r->child = fork();
	if (!r->child) {
		alarm(60);
		pause();
		_exit(0);
	}
	r->d->launched.pid = r->child;
	r->d->launched.cpu_cap = 150;
	if (cap_name_fs(&r->host.p, &r->fs, &e) || cpu_group_apply(r->d, &e)) {
		kill(r->child, SIGKILL);
		waitpid(r->child, NULL, 0);
		skip_because("no cgroup for us here: %s", e.msg);
	}
}

static void rig_stop(struct group_rig *r)
{
	r->d->launched.pid = 0;
	kill(r->child, SIGKILL);
	waitpid(r->child, NULL, 0);
	host_rig_stop(&r->host);
}

static void test_least_counts(void **state)
{
	struct group_rig r;
	struct err e;

	(void)state;
	rig_start(&r);
	assert_int_equal(quota_now(&r, "web1"), 150);
	assert_int_equal(cpu_group_slow(r.d, 60, &e), 0); /* a move slows it more.. */
	assert_int_equal(quota_now(&r, "web1"), 60);
	assert_int_equal(cpu_group_slow(r.d, 170, &e), 0); /* .. or less than it is capped anyway */
	assert_int_equal(quota_now(&r, "web1"), 150);
	r.d->launched.cpu_cap = 0;
	assert_int_equal(cpu_group_apply(r.d, &e), 0); /* its entitlement grows meanwhile */
	assert_int_equal(quota_now(&r, "web1"), 170);
	r.d->launched.cpu_cap = 120;
	assert_int_equal(cpu_group_apply(r.d, &e), 0);
	assert_int_equal(cpu_group_slow(r.d, 0, &e), 0); /* the move is over */
	assert_int_equal(quota_now(&r, "web1"), 120);
	r.d->launched.cpu_cap = 0;
	assert_int_equal(cpu_group_apply(r.d, &e), 0);
	assert_int_equal(quota_now(&r, "web1"), -1);
	cpu_group_drop(r.d);
	rig_stop(&r);
}

static void test_weights(void **state)
{
	int most = 100 * (int)sysconf(_SC_NPROCESSORS_ONLN); /* all together: as many tasks as can run */
	enum domain_state was;
	struct group_rig r;
	struct err e;

	(void)state;
	rig_start(&r);
	assert_int_equal(weight_now(&r, "web1"), 200); /* two vCPUs of importance 50 */
	assert_int_equal(weight_now(&r, ""), most < 200 ? most : 200);
	r.d->spec.importance = 75;
	cpu_group_follow(&r.host.p);
	assert_int_equal(weight_now(&r, "web1"), 400);
	assert_int_equal(weight_now(&r, ""), most < 400 ? most : 400);
	r.d->spec.importance = 0;
	r.d->launched.cpu_cap = 0;
	assert_int_equal(cpu_group_apply(r.d, &e), 0);
	assert_int_equal(weight_now(&r, "web1"), 50);
	assert_int_equal(quota_now(&r, "web1"), 0);
	was = r.d->state;
	r.d->state = DOM_TRANSITION; /* it is moved: its blackout shall not wait for others */
	cpu_group_follow(&r.host.p);
	assert_int_equal(weight_now(&r, "web1"), 800);
	r.d->state = was;
	cpu_group_follow(&r.host.p);
	assert_int_equal(weight_now(&r, "web1"), 50);
	r.d->spec.importance = 50;
	cpu_group_follow(&r.host.p);
	assert_int_equal(weight_now(&r, "web1"), -1);
	cpu_group_drop(r.d);
	rig_stop(&r);
}

/* policyd was killed while a move slowed it: who comes after knows of its own cap only. What belongs to nobody goes. */
static void test_after_a_crash(void **state)
{
	struct group_rig r;
	struct err e;

	(void)state;
	rig_start(&r);
	assert_int_equal(cpu_group_slow(r.d, 40, &e), 0);
	r.host.p.stopping = true; /* as if it were gone: the group stays */
	cpu_group_drop(r.d);
	r.host.p.stopping = false;
	assert_int_equal(quota_now(&r, "web1"), 40);
	assert_int_equal(cpu_group_apply(r.d, &e), 0);
	assert_int_equal(quota_now(&r, "web1"), 150);
	cpu_group_sweep(&r.host.p); /* ours stays */
	assert_int_equal(quota_now(&r, "web1"), 150);
	r.host.p.stopping = true;
	cpu_group_drop(r.d);
	r.host.p.stopping = false;
	cpu_group_sweep(&r.host.p);
	assert_int_equal(quota_now(&r, "web1"), -1);
	assert_int_equal(kill(r.child, 0), 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_least_counts), cmocka_unit_test(test_weights),
		cmocka_unit_test(test_after_a_crash)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
