/* Where a thread's time goes: computing, ready but without a CPU, or waiting for something else. Used on the thread that it measures only. */
#ifndef MIGRATE_METER_H
#define MIGRATE_METER_H

#include <stdint.h>

struct meter {
	int fd; /* schedstat of this thread; -1: this kernel has none, delays count as waits */
	uint64_t wall_ns, cpu_ns, delay_ns;
};

struct meter_lap { /* nanoseconds since the lap before; together the time that has passed */
	uint64_t cpu_ns, delay_ns, wait_ns;
};

void meter_open(struct meter *m); /* on the thread itself; the first lap begins */
void meter_close(struct meter *m);
void meter_lap(struct meter *m, struct meter_lap *out);
uint64_t meter_cpu_ns(void); /* CPU time of the calling thread */

#endif
