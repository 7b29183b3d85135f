/* CPU load on command: each thread uses a given percent of one CPU.
 *
 * Counted in CPU time used, not in time gone by: when the guest has too few CPUs the threads want what they did not get, which is
 * the demand that policyd is to see. What was missed in longer than a period is forgotten. */
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "balguest.h"

#define THREADS_MAX 64
#define PERIOD_NS 50000000ull

static struct {
	atomic_uint percent, n_threads; /* what is ordered */
	unsigned n_started;             /* agent's thread only; those over n_threads sleep */
} burn;

unsigned cpus_online(void)
{
	cpu_set_t set;

	/* The first process may run anywhere, so its set is what is online. */
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static void burn_for(uint64_t cpu_ns)
{
	uint64_t end = thread_cpu_ns() + cpu_ns;

	while (thread_cpu_ns() < end)
		for (volatile unsigned i = 0; i < 20000; i++)
			;
}

static void *burner(void *arg)
{
	uint64_t next = now_ns();

	for (;;) {
		if ((uintptr_t)arg >= burn.n_threads || !burn.percent) {
			sleep_ms(100);
			next = now_ns();
			continue;
		}
		burn_for(PERIOD_NS * burn.percent / 100);
		next += PERIOD_NS;
		if (next + PERIOD_NS < now_ns())
			next = now_ns() - PERIOD_NS;
		sleep_until_ns(next);
	}
	return arg;
}

void burn_set(unsigned percent, unsigned n_threads)
{
	if (!n_threads)
		n_threads = cpus_online();
	if (n_threads > THREADS_MAX)
		n_threads = THREADS_MAX;
	burn.percent = percent > 100 ? 100 : percent;
	burn.n_threads = n_threads;
	while (burn.n_started < n_threads && percent)
		thread_start(burner, (void *)(uintptr_t)burn.n_started++, 0);
}
