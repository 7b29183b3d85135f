/* Token bucket; see pacer.h. Called by channel threads before each record.
 * A record goes as soon as the bucket is not empty and may leave a debt, so records need not fit into the bucket and the limit, which may
 * change at any time, holds over any second. */
#include "migrate/pacer.h"

#define BURST_NS 20000000ULL /* the bucket holds 20 ms of the limit */

void pacer_init(struct pacer *p)
{
	*p = (struct pacer){.lock = PTHREAD_MUTEX_INITIALIZER};
}

void pacer_fini(struct pacer *p)
{
	pthread_mutex_destroy(&p->lock);
}

uint64_t pacer_take(struct pacer *p, uint64_t bytes, uint64_t bps, uint64_t now_ns)
{
	uint64_t wait_ns = 0;
	double rate = (double)bps / 1e9; /* octets a nanosecond */

	pthread_mutex_lock(&p->lock);
	if (!bps) {
		p->tokens = 0;
	} else {
		if (now_ns > p->last_ns)
			p->tokens += (double)(now_ns - p->last_ns) * rate;
		if (p->tokens > (double)BURST_NS * rate)
			p->tokens = (double)BURST_NS * rate;
		if (p->tokens < 0)
			wait_ns = (uint64_t)(-p->tokens / rate) + 1;
		else
			p->tokens -= (double)bytes;
	}
	if (now_ns > p->last_ns)
		p->last_ns = now_ns;
	pthread_mutex_unlock(&p->lock);
	return wait_ns;
}
