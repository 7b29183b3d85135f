/* Watching a domain: a /proc laid out by the test and a fake QMP peer, then real burning processes. */
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
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "policyd/watch/watch_domain.h"
#include "tests/unit/support/fake_qmp.h"

#define PID 77

struct fix {
	char dir[64], sock[96], ram[96];
	struct event_base *base;
	struct fake_qmp *peer;
	unsigned heard; /* of new statistics */
	struct qmp *q;
	struct watch_domain *w;
};

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void put(const struct fix *f, const char *leaf, const char *text)
{
	char cmd[200];
	FILE *out;

	snprintf(cmd, sizeof(cmd), "mkdir -p $(dirname %s/%s)", f->dir, leaf);
	assert_int_equal(system(cmd), 0);
	snprintf(cmd, sizeof(cmd), "%s/%s", f->dir, leaf);
	out = fopen(cmd, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void put_thread(const struct fix *f, int tid, unsigned run_ms, unsigned delay_ms)
{
	char leaf[64], text[64];

	snprintf(leaf, sizeof(leaf), "%d/task/%d/schedstat", PID, tid);
	snprintf(text, sizeof(text), "%u000000 %u000000 9\n", run_ms, delay_ms);
	put(f, leaf, text);
}

static void reply_cpus(struct fix *f, int n, const int *tids)
{
	json_t *cpus = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(cpus, json_pack("{s:i, s:i}", "cpu-index", i, "thread-id", tids[i]));
	fake_qmp_reply(f->peer, "query-cpus-fast", cpus);
}

static void reply_stats(struct fix *f, int64_t update_s, int64_t avail_mib, int64_t swap_in, int64_t faults)
{
	fake_qmp_reply(f->peer, "qom-get",
		json_pack("{s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "last-update", (json_int_t)update_s, "stats",
			"stat-total-memory", (json_int_t)400 << 20, "stat-free-memory",
			(json_int_t)(avail_mib / 2) << 20, "stat-available-memory", (json_int_t)avail_mib << 20,
			"stat-swap-in", (json_int_t)swap_in, "stat-major-faults", (json_int_t)faults));
}

/* Run the loop until the peer was asked @n times in all and its answers are in: they come in order, so one more question's answer is
 * behind them. */
static void run_until(struct fix *f, const char *cmd, unsigned n)
{
	int64_t until = mono_ms() + 10000;
	struct err e;

	do
		assert_int_equal(qmp_call(f->q, "query-status", NULL, 10000, NULL, &e), 0);
	while (fake_qmp_calls(f->peer, cmd) < n && mono_ms() < until);
	assert_true(fake_qmp_calls(f->peer, cmd) >= n);
}

/* One sample and its answers. */
static void sample(struct fix *f, int64_t now_ms)
{
	unsigned n = fake_qmp_calls(f->peer, "qom-get");

	assert_int_equal(watch_domain_sample(f->w, now_ms), 0);
	run_until(f, "qom-get", n + 1);
}

static void on_stats(void *arg)
{
	struct fix *f = arg;

	f->heard++;
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct watch_domain_conf conf = {.pid = PID};
	struct err e;

	snprintf(f->dir, sizeof(f->dir), "/tmp/watch-dom-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->sock, sizeof(f->sock), "%s/qmp.sock", f->dir);
	snprintf(f->ram, sizeof(f->ram), "%s/x.ram", f->dir);
	put(f, "77/stat", "77 (qemu) S 1\n");
	put_thread(f, 11, 100, 10);
	put_thread(f, 12, 100, 10);
	f->base = event_base_new();
	f->peer = fake_qmp_new(f->base, f->sock);
	reply_cpus(f, 2, (int[]){11, 12});
	fake_qmp_reply(f->peer, "query-balloon", json_pack("{s:I}", "actual", (json_int_t)448 << 20));
	fake_qmp_reply(f->peer, "qom-set", NULL);
	reply_stats(f, 1000, 300, 0, 0);
	f->q = qmp_new(f->base, f->sock, true, NULL, NULL);
	assert_int_equal(qmp_wait_ready(f->q, 5000, &e), 0);
	conf.proc_root = f->dir;
	conf.ram_file = f->ram;
	conf.cap_group = f->dir;
	conf.on_stats = on_stats;
	conf.arg = f;
	f->w = watch_domain_new(f->q, &conf);
	assert_non_null(f->w);
	run_until(f, "qom-get", 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;
	char cmd[100];

	watch_domain_free(f->w);
	qmp_free(f->q);
	fake_qmp_free(f->peer);
	event_base_free(f->base);
	snprintf(cmd, sizeof(cmd), "rm -r %s", f->dir);
	free(f);
	return system(cmd);
}

static struct snap_domain fill(const struct fix *f, int64_t now_ms)
{
	struct watch_bounds b = {.util_upper = 70, .util_lower = 30, .free_lower = 50, .window = 3};
	struct snap_domain d = {.dirty_bps = 1};

	watch_domain_fill(f->w, &b, now_ms, &d);
	return d;
}

/* A guest that is capped at half of what it wants: held back, it neither runs nor counts as delayed. */
static void test_capped_demand(void **state)
{
	struct fix *f = *state;

	put(f, "cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 5000000\n");
	sample(f, 1000);
	put_thread(f, 11, 600, 10); /* each ran for half of the second */
	put_thread(f, 12, 600, 10);
	put(f, "cpu.stat", "nr_periods 11\nnr_throttled 10\nthrottled_time 805000000\n");
	sample(f, 2000);
	assert_true(fabs(fill(f, 2000).util_fast - 90) < 0.1); /* (2 x 500 + 800) of 2 x 1000 ms */
	put_thread(f, 11, 1100, 410); /* an older kernel: what is held back is delayed as well */
	put_thread(f, 12, 1100, 410);
	put(f, "cpu.stat", "usage_usec 7\nthrottled_usec 1605000\n"); /* v2 counts in us */
	sample(f, 3000);
	assert_true(fabs(watch_domain_delay(f->w) - 40) < 0.1);
	put_thread(f, 11, 1200, 410); /* the cap is gone */
	put_thread(f, 12, 1200, 410);
	put(f, "cpu.stat", "usage_usec 7\n");
	sample(f, 4000);
	assert_true(fabs(watch_domain_delay(f->w)) < 0.1);
}

static void test_util(void **state)
{
	struct fix *f = *state;
	struct snap_domain d;

	sample(f, 1000);
	d = fill(f, 1000);
	assert_true(d.util_fast == -1 && d.util_slow == -1 && d.dirty_bps == -1);
	assert_int_equal(d.vcpus, 2);
	assert_true(d.mem_bytes == 448ULL << 20);
	put_thread(f, 11, 600, 10);  /* +500 run */
	put_thread(f, 12, 350, 760); /* +250 run, +750 waited */
	sample(f, 2000);
	d = fill(f, 2000);
	assert_true(fabs(d.util_fast - 75) < 0.01 && fabs(d.util_slow - 75) < 0.01);
	assert_true(fabs(watch_domain_delay(f->w) - 37.5) < 0.01);
	assert_int_equal(d.over_upper, 1);
	assert_int_equal(d.under_lower, 0);
	sample(f, 4000); /* nothing for 2 s */
	d = fill(f, 4000);
	assert_true(d.util_fast < 75 / 1.5 && d.util_fast > 10 && d.util_slow > 20);
	assert_int_equal(d.over_upper, 1);
	assert_int_equal(d.under_lower, 1);
}

static void test_threads_come_and_go(void **state)
{
	struct fix *f = *state;
	struct snap_domain d;

	sample(f, 1000);
	put_thread(f, 13, 5000000, 0); /* an old thread with much behind it: first seen now, so it has no growth yet */
	reply_cpus(f, 3, (int[]){11, 12, 13});
	watch_domain_changed(f->w);
	run_until(f, "query-cpus-fast", 3);
	put_thread(f, 11, 600, 10);
	put_thread(f, 12, 600, 10);
	sample(f, 2000);
	d = fill(f, 2000);
	assert_int_equal(d.vcpus, 3);
	assert_true(fabs(d.util_fast - 50) < 0.01);
	put_thread(f, 13, 5001000, 0); /* it runs all the time, the others sleep */
	sample(f, 3000);
	assert_true(fabs(series_get(watch_domain_util(f->w), 0)->value - 100.0 / 3) < 0.01);
	reply_cpus(f, 1, (int[]){11});
	char path[120];
	snprintf(path, sizeof(path), "%s/77/task/12/schedstat", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/77/task/13/schedstat", f->dir);
	unlink(path);
	put_thread(f, 11, 1600, 10);
	sample(f, 4000); /* gone before QEMU said so */
	assert_true(fabs(series_get(watch_domain_util(f->w), 0)->value - 100) < 0.01);
	assert_int_equal(fill(f, 4000).vcpus, 1);
}

static void test_gaps(void **state)
{
	struct fix *f = *state;
	struct snap_domain d;
	char path[96];

	sample(f, 1000);
	put_thread(f, 11, 1100, 10);
	put_thread(f, 12, 1100, 10);
	sample(f, 2000);
	put_thread(f, 11, 50, 0); /* counters fell (another process): no data, not a negative load */
	put_thread(f, 12, 50, 0);
	sample(f, 3000);
	assert_false(series_get(watch_domain_util(f->w), 0)->known);
	d = fill(f, 3000);
	assert_true(fabs(d.util_fast - 100) < 0.01); /* the average stands */
	assert_int_equal(d.over_upper, 1);
	assert_int_equal(d.under_lower, 0); /* a gap is not idle */
	sample(f, 60000);
	assert_false(series_get(watch_domain_util(f->w), 0)->known);
	assert_true(fill(f, 60000).util_fast == -1);
	snprintf(path, sizeof(path), "%s/77/stat", f->dir);
	unlink(path);
	assert_int_equal(watch_domain_sample(f->w, 61000), -ESRCH);
	assert_false(series_get(watch_domain_util(f->w), 0)->known);
}

static void test_memory(void **state)
{
	struct fix *f = *state;
	int64_t now = mono_ms();
	struct snap_domain d;

	sample(f, now);
	d = fill(f, now);
	assert_false(d.mem_known); /* one reading may be as old as the hills */
	assert_true(d.swap_in_bps == -1 && d.mem_available == 0);
	assert_int_equal(d.mem_short, 0);
	assert_int_equal(f->heard, 1); /* asked twice, but it was the same reading */
	reply_stats(f, 1001, 290, 1000, 10);
	sample(f, mono_ms());
	usleep(50000);
	reply_stats(f, 1002, 100, 41000, 20);
	sample(f, mono_ms());
	now = mono_ms() + 20;
	sample(f, now);
	d = fill(f, now);
	assert_true(d.mem_known);
	assert_int_equal(f->heard, 3);
	assert_true(d.mem_available == 100ULL << 20 && d.mem_free == 50ULL << 20);
	assert_true(d.swap_in_bps > 0 && fabs(d.swap_in_bps / d.major_faults_ps - 4000) < 0.01);
	assert_true(d.major_faults_ps < 10 / 0.05 + 1);
	assert_int_equal(d.mem_short, 1); /* 100 of 448M available, 65 % in the sample before; its kernel counts 400M */
	assert_true(fabs(series_get(watch_domain_mem(f->w), 0)->value - 100 * 100 / 448.0) < 0.01);
	d = fill(f, now + 6000); /* it did not change any more */
	assert_false(d.mem_known);
	assert_true(d.swap_in_bps == -1 && d.major_faults_ps == -1);
}

/* A ballooned guest with deflate-on-oom still says its boot size is its total. */
static void test_share_is_of_the_balloons_size(void **state)
{
	struct fix *f = *state;
	int64_t now = mono_ms();

	fake_qmp_reply(f->peer, "query-balloon", json_pack("{s:I}", "actual", (json_int_t)200 << 20));
	sample(f, now);
	reply_stats(f, 1001, 100, 0, 0);
	sample(f, now + 100);
	sample(f, now + 200);
	assert_true(fabs(series_get(watch_domain_mem(f->w), 0)->value - 50) < 0.01);
}

static void test_no_statistics(void **state)
{
	struct fix *f = *state;
	unsigned n = fake_qmp_calls(f->peer, "qom-set");
	int64_t now = mono_ms();

	fake_qmp_reply(
		f->peer, "qom-get", json_pack("{s:i, s:{s:i}}", "last-update", 0, "stats", "stat-total-memory", -1));
	sample(f, now);
	sample(f, now + 1000);
	assert_int_equal(fake_qmp_calls(f->peer, "qom-set"), n + 1); /* switched on once ... */
	assert_int_equal(json_integer_value(json_object_get(fake_qmp_args(f->peer, "qom-set"), "value")), 1);
	sample(f, now + 5500);
	assert_int_equal(fake_qmp_calls(f->peer, "qom-set"), n + 2); /* ... and again: a migration makes QEMU forget */
	assert_false(fill(f, now + 5500).mem_known);
	watch_domain_changed(f->w);
	run_until(f, "qom-set", n + 3);
}

static void test_residency(void **state)
{
	struct fix *f = *state;
	char data[8192] = {1};
	int fd = open(f->ram, O_RDWR | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_int_equal(pwrite(fd, data, sizeof(data), 1 << 20), sizeof(data));
	fsync(fd);
	close(fd);
	assert_true(fill(f, 0).resident_bytes >= 8192 && fill(f, 0).resident_bytes < 1 << 20);
}

/* Let go while three answers are on their way: they must not find a freed object (ASan looks). */
static void test_free_with_questions_outstanding(void **state)
{
	struct fix *f = *state;

	fake_qmp_hold(f->peer, "query-balloon", json_pack("{s:i}", "actual", 1));
	fake_qmp_silent(f->peer, "qom-get");
	watch_domain_sample(f->w, 1000);
	watch_domain_sample(f->w, 2000); /* asks nothing twice */
	run_until(f, "query-balloon", 2);
	assert_int_equal(fake_qmp_calls(f->peer, "query-balloon"), 2);
	watch_domain_free(f->w);
	f->w = NULL;
	fake_qmp_release(f->peer, "query-balloon");
	for (int i = 0; i < 5; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void test_peer_gone(void **state)
{
	struct fix *f = *state;

	fake_qmp_drop(f->peer, true);
	for (int i = 0; i < 20 && qmp_ready(f->q); i++)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_false(qmp_ready(f->q));
	put_thread(f, 11, 600, 10);
	put_thread(f, 12, 600, 10);
	assert_int_equal(watch_domain_sample(f->w, 1000), 0);
	put_thread(f, 11, 1100, 10);
	put_thread(f, 12, 1100, 10);
	assert_int_equal(watch_domain_sample(f->w, 2000), 0); /* /proc goes on telling */
	assert_true(fabs(fill(f, 2000).util_fast - 50) < 0.01);
}

/* ---- real processes ---------------------------------------------------------------------------------------- */

static pid_t child(bool burns)
{
	pid_t pid = fork();
	cpu_set_t set;

	if (pid)
		return pid;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	alarm(60);
	while (!burns)
		pause();
	for (;;)
		;
}

static struct watch_domain *watch_child(struct fix *f, pid_t pid)
{
	struct watch_domain *w = watch_domain_new(f->q, &(struct watch_domain_conf){.pid = pid});
	unsigned n = fake_qmp_calls(f->peer, "qom-get");

	reply_cpus(f, 1, (int[]){(int)pid});
	run_until(f, "qom-get", n + 1);
	return w;
}

/* Two burners share one CPU: each runs about half of the time, and each one's *demand* is a whole CPU, however busy the machine is. */
static void test_demand_of_burners(void **state)
{
	struct fix *f = *state;
	pid_t pids[3] = {child(true), child(true), child(false)};
	struct watch_domain *w[3];
	struct snap_domain d[3] = {0};
	struct watch_bounds b = {.window = 3};
	double delay[3];

	for (int i = 0; i < 3; i++)
		w[i] = watch_child(f, pids[i]);
	for (int i = 0; i < 3; i++) /* the loop does not run any more: no watch gets another's answer */
		watch_domain_sample(w[i], mono_ms());
	usleep(1000000);
	for (int i = 0; i < 3; i++) {
		watch_domain_sample(w[i], mono_ms());
		watch_domain_fill(w[i], &b, mono_ms(), &d[i]);
		delay[i] = watch_domain_delay(w[i]);
		watch_domain_free(w[i]);
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	for (int i = 0; i < 2; i++) {
		if (d[i].util_fast < 80 || d[i].util_fast > 120 || delay[i] < 20)
			fail_msg("burner %d: demand %f, of which waiting %f", i, d[i].util_fast, delay[i]);
	}
	assert_true(d[2].util_fast >= 0 && d[2].util_fast < 5);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_capped_demand),
		T(test_util),
		T(test_threads_come_and_go),
		T(test_gaps),
		T(test_memory),
		T(test_share_is_of_the_balloons_size),
		T(test_no_statistics),
		T(test_residency),
		T(test_free_with_questions_outstanding),
		T(test_peer_gone),
		T(test_demand_of_burners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
