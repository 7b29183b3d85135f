/* Watching a host: a /proc laid out by the test, then the real one, then triggers that a burning child must set off. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <math.h>
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

#include "policyd/watch/watch_host.h"
#include "tests/unit/support/skip.h"

struct fake {
	char root[64];
};

static void put(const struct fake *f, const char *leaf, const char *text)
{
	char path[128];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", f->root, leaf);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static int setup(void **state)
{
	static struct fake f;
	char path[96];

	snprintf(f.root, sizeof(f.root), "/tmp/watch-host-XXXXXX");
	assert_non_null(mkdtemp(f.root));
	snprintf(path, sizeof(path), "%s/pressure", f.root);
	assert_int_equal(mkdir(path, 0700), 0);
	put(&f, "stat", "cpu 100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400\ncpu1 50 0 50 400\n");
	put(&f, "meminfo", "MemTotal: 4096 kB\nMemAvailable: 1024 kB\n");
	put(&f, "pressure/cpu", "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\n");
	put(&f, "pressure/memory",
		"some avg10=3.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fake *f = *state;
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -r %s", f->root);
	return system(cmd);
}

static struct watch_host *host_new(const struct fake *f)
{
	struct watch_host *h = watch_host_new(NULL, &(struct watch_host_conf){.proc_root = f->root});

	assert_non_null(h);
	return h;
}

static void test_samples(void **state)
{
	struct fake *f = *state;
	struct watch_host *h = host_new(f);
	struct watch_host_view v;
	struct snapshot snap = {0};

	watch_host_view(h, &v);
	assert_true(v.cpu_fast == -1 && v.psi_cpu == -1 && !v.mem.total_bytes && !v.triggers);
	assert_int_equal(watch_host_sample(h, 1000), 0);
	watch_host_view(h, &v);
	assert_true(v.cpu_fast == -1); /* one reading is no rate */
	assert_int_equal(v.n_cpus, 2);
	put(f, "stat", "cpu 160 0 115 825 0 0 0 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n");
	assert_int_equal(watch_host_sample(h, 2000), 0);
	watch_host_view(h, &v);
	assert_true(fabs(v.cpu_fast - 75) < 0.01 && fabs(v.cpu_slow - 75) < 0.01);
	assert_true(v.mem.total_bytes == 4096 << 10 && v.mem.available_bytes == 1024 << 10);
	assert_true(v.psi_cpu == 12.5 && v.psi_mem == 3 && v.psi_mem_full == 1);
	watch_host_fill(h, &snap);
	assert_true(fabs(snap.host_cpu_util - 75) < 0.01 && snap.psi_cpu == 12.5 && snap.psi_mem == 3);
	watch_host_free(h);
}

static void test_gaps(void **state)
{
	struct fake *f = *state;
	struct watch_host *h = host_new(f);
	struct watch_host_view v;
	char path[96];

	put(f, "stat", "cpu 100 0 0 100\n");
	assert_int_equal(watch_host_sample(h, 1000), 0);
	put(f, "stat", "cpu 200 0 0 100\n");
	assert_int_equal(watch_host_sample(h, 2000), 0);
	put(f, "stat", "rubbish");
	assert_int_equal(watch_host_sample(h, 3000), -EINVAL);
	assert_false(series_get(watch_host_cpu(h), 0)->known);
	put(f, "stat", "cpu 100 0 0 100\n"); /* counters fell: another gap, never a negative load */
	assert_int_equal(watch_host_sample(h, 4000), 0);
	put(f, "stat", "cpu 100 0 0 300\n");
	assert_int_equal(watch_host_sample(h, 5000), 0);
	watch_host_view(h, &v);
	assert_true(v.cpu_fast == 0);
	assert_int_equal(watch_host_sample(h, 60000), 0); /* nobody sampled for a minute */
	assert_false(series_get(watch_host_cpu(h), 0)->known);
	snprintf(path, sizeof(path), "%s/pressure/cpu", f->root);
	unlink(path); /* a kernel without PSI: unknown, not an error */
	put(f, "meminfo", "");
	assert_int_equal(watch_host_sample(h, 61000), -EINVAL);
	watch_host_view(h, &v);
	assert_true(v.psi_cpu == -1 && v.psi_mem == 3 && !v.mem.total_bytes);
	watch_host_free(h);
}

static void on_pressure(void *arg, enum watch_pressure what)
{
	unsigned *seen = arg;

	seen[what]++;
}

/* No trigger can be had (a fake /proc has plain files): all else works. */
static void test_no_triggers(void **state)
{
	struct fake *f = *state;
	unsigned seen[2] = {0};
	struct event_base *base = event_base_new();
	struct watch_host *h = watch_host_new(
		base, &(struct watch_host_conf){.proc_root = f->root, .on_pressure = on_pressure, .arg = seen});
	struct watch_host_view v;

	watch_host_view(h, &v);
	assert_false(v.triggers);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(seen[0] + seen[1], 0);
	watch_host_free(h);
	event_base_free(base);
}

static pid_t burner(unsigned cpu)
{
	pid_t pid = fork();
	cpu_set_t set;

	if (pid)
		return pid;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	alarm(60);
	for (;;)
		;
}

struct wait {
	struct event_base *base;
	unsigned seen[2];
};

static void on_pressure_break(void *arg, enum watch_pressure what)
{
	struct wait *w = arg;

	w->seen[what]++;
	event_base_loopbreak(w->base);
}

/* Two burners on one CPU: one of them always waits, so the kernel must wake us. */
static void test_triggers(void **state)
{
	struct wait w = {.base = event_base_new()};
	struct watch_host *h = watch_host_new(
		w.base, &(struct watch_host_conf){.on_pressure = on_pressure_break, .arg = &w, .cpu_stall_ms = 300});
	struct timeval most = {.tv_sec = 20};
	struct watch_host_view v;
	pid_t a, b;

	(void)state;
	watch_host_view(h, &v);
	if (!v.triggers) {
		watch_host_free(h);
		event_base_free(w.base);
		skip_because("this kernel has no pressure triggers (PSI), or not for us");
	}
	a = burner(0);
	b = burner(0);
	event_base_loopexit(w.base, &most);
	while (!w.seen[PRESSURE_CPU] && !event_base_got_exit(w.base))
		event_base_dispatch(w.base);
	kill(a, SIGKILL);
	kill(b, SIGKILL);
	waitpid(a, NULL, 0);
	waitpid(b, NULL, 0);
	assert_true(w.seen[PRESSURE_CPU] > 0);
	watch_host_free(h);
	event_base_free(w.base);
}

/* CPU time that a child of ours has had. */
static double cpu_s(pid_t pid)
{
	struct timespec ts = {0};
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	assert_int_equal(clock_gettime(clock, &ts), 0);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The real /proc: a burning child shows with what it had, however little a busy machine gave it. */
static void test_real(void **state)
{
	struct watch_host *h = watch_host_new(NULL, &(struct watch_host_conf){0});
	double began, had, least;
	struct watch_host_view v;
	pid_t pid;

	(void)state;
	pid = burner(0);
	while (cpu_s(pid) < 0.05) /* it is past its fork */
		usleep(5000);
	had = cpu_s(pid);
	began = now_s();
	assert_int_equal(watch_host_sample(h, 1000), 0);
	while (cpu_s(pid) < had + 0.3)
		usleep(20000);
	assert_int_equal(watch_host_sample(h, 1500), 0);
	had = cpu_s(pid) - had;
	watch_host_view(h, &v);
	assert_int_equal(v.n_cpus, sysconf(_SC_NPROCESSORS_ONLN));
	least = 100 * (had - 0.05) / ((now_s() - began) * v.n_cpus); /* the kernel's ticks are coarse */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (v.cpu_fast < least || v.cpu_fast > 100)
		fail_msg("%f %% of %u CPUs, where the child alone had %f %%", v.cpu_fast, v.n_cpus, least);
	assert_true(v.mem.available_bytes > 0 && v.mem.available_bytes <= v.mem.total_bytes);
	watch_host_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_samples, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_triggers, setup, teardown),
		cmocka_unit_test(test_triggers),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
