/* Holding a process still: nobody runs in between, everybody afterwards, also when the one who held it was killed. And what the soft-dirty
 * tracker says of this kernel (its work is tested where a kernel has the marks: integration/test_soft_dirty). */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/freeze.h"
#include "migrate/tracker_int.h"

#define THREADS 4

struct shared {
	_Atomic uint64_t counts[THREADS], spawned;
};

static struct shared *sh;

static void *counter(void *arg)
{
	_Atomic uint64_t *n = arg;

	for (;;)
		(*n)++;
	return NULL;
}

static void *once(void *arg)
{
	sh->spawned++;
	return arg;
}

/* Threads that run, and one that makes new ones all the time. */
static pid_t busy_process(void)
{
	pid_t pid = fork();
	pthread_t t;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&t, NULL, counter, &sh->counts[i]);
	for (;;)
		if (!pthread_create(&t, NULL, once, NULL))
			pthread_join(t, NULL);
}

static int setup(void **state)
{
	(void)state;
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return sh == MAP_FAILED;
}

static void wait_moving(void)
{
	struct shared before = *sh;

	for (unsigned i = 0; i < THREADS; i++)
		while (sh->counts[i] == before.counts[i])
			usleep(1000);
	while (sh->spawned == before.spawned)
		usleep(1000);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_nobody_runs(void **state)
{
	pid_t pid = busy_process();
	struct freeze *f = NULL;
	struct err e = {0};
	struct shared a;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		wait_moving();
		if (freeze_open(pid, &f, &e))
			fail_msg("%s", e.msg);
		memcpy(&a, sh, sizeof(a));
		usleep(20000);
		assert_memory_equal(&a, sh, sizeof(a));
		freeze_close(f);
	}
	wait_moving();
	end(pid);
}

/* The worker is killed in between: QEMU goes on. */
static void test_holder_killed(void **state)
{
	pid_t pid = busy_process(), holder;
	int held[2];
	char c;

	(void)state;
	wait_moving();
	assert_int_equal(pipe(held), 0);
	holder = fork();
	if (!holder) {
		struct freeze *f = NULL;

		c = freeze_open(pid, &f, NULL) ? 'n' : 'y';
		if (write(held[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(held[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	end(holder);
	wait_moving();
	close(held[0]);
	close(held[1]);
	end(pid);
}

static void test_held_by_another(void **state)
{
	pid_t pid = busy_process(), holder;
	struct freeze *f = NULL;
	struct err e = {0};
	int held[2];
	char c = 0;

	(void)state;
	assert_int_equal(pipe(held), 0);
	holder = fork();
	if (!holder) {
		if (!freeze_open(pid, &f, NULL) && write(held[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(held[0], &c, 1), 1);
	assert_int_equal(freeze_open(pid, &f, &e), -EPERM);
	assert_non_null(strstr(e.msg, "is being traced by process"));
	end(holder);
	wait_moving(); /* the failed attempt left nothing behind */
	close(held[0]);
	close(held[1]);
	end(pid);
}

static void test_no_process(void **state)
{
	pid_t pid = fork();
	struct freeze *f = NULL;
	struct err e = {0};

	(void)state;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	assert_int_equal(freeze_open(pid, &f, &e), -ESRCH);
}

/* One sentence where it does not work here, and none where it does. */
static void test_probe(void **state)
{
	struct err e = {0};
	int ret = tracker_soft_probe(&e);

	(void)state;
	print_message("# soft-dirty here: %s\n", ret ? e.msg : "yes");
	assert_true(ret == 0 || (ret == -ENOTSUP && strlen(e.msg) > 20));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_runs),
		cmocka_unit_test(test_holder_killed),
		cmocka_unit_test(test_held_by_another),
		cmocka_unit_test(test_no_process),
		cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
