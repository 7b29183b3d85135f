/* The bandwidth limit: one token bucket over all channels. Thread safe. Pure but for its own state: the clock is given. */
#ifndef MIGRATE_PACER_H
#define MIGRATE_PACER_H

#include <pthread.h>
#include <stdint.h>

struct pacer {
	pthread_mutex_t lock;
	double tokens; /* octets that may be sent now; negative: a debt from a record larger than what was there */
	uint64_t last_ns;
};

void pacer_init(struct pacer *p);
void pacer_fini(struct pacer *p);
/* May @bytes go out at @now_ns under @bps (0 = unlimited)? 0: yes, they are taken. Else nanoseconds to wait before asking again. */
uint64_t pacer_take(struct pacer *p, uint64_t bytes, uint64_t bps, uint64_t now_ns);

#endif
