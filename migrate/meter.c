/* CPU time from the thread's clock, delays from the scheduler's own count; see meter.h. Channel threads of the source. */
#include "migrate/meter.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

uint64_t meter_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* "RUN DELAY SLICES", nanoseconds. */
static uint64_t delay_ns(const struct meter *m)
{
	char text[96], *end;
	ssize_t n = m->fd < 0 ? -1 : pread(m->fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = 0;
	strtoull(text, &end, 10);
	return strtoull(end, NULL, 10);
}

void meter_open(struct meter *m)
{
	struct meter_lap unused;

	*m = (struct meter){.fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)};
	meter_lap(m, &unused);
}

void meter_close(struct meter *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

void meter_lap(struct meter *m, struct meter_lap *out)
{
	struct meter now = {
		.fd = m->fd, .wall_ns = clock_ns(CLOCK_MONOTONIC), .cpu_ns = meter_cpu_ns(), .delay_ns = delay_ns(m)};
	uint64_t wall = now.wall_ns - m->wall_ns;

	*out = (struct meter_lap){.cpu_ns = now.cpu_ns - m->cpu_ns, .delay_ns = now.delay_ns - m->delay_ns};
	out->wait_ns = wall > out->cpu_ns + out->delay_ns ? wall - out->cpu_ns - out->delay_ns : 0;
	*m = now;
}
