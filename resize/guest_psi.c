/* A guest's memory pressure by its agent: see guest_psi.h. */
#include "resize/guest_psi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/qga_file.h"

#define PSI_FILE "/proc/pressure/memory"

struct asking {
	guest_psi_fn *done;
	void *arg;
};

int guest_psi_parse(const char *text, uint64_t *some_us_out)
{
	const char *some = strncmp(text, "some ", 5) ? NULL : text, *total = some ? strstr(some, " total=") : NULL;
	const char *end = some ? strchr(some, '\n') : NULL;

	return total && end && total < end && sscanf(total, " total=%" SCNu64, some_us_out) == 1 ? 0 : -EPROTO;
}

void guest_psi_add(struct guest_psi *p, uint64_t some_us, int64_t now_ms)
{
	p->known = p->at_ms && now_ms > p->at_ms && some_us >= p->some_us;
	if (p->known)
		p->percent = (double)(some_us - p->some_us) / 10 / (double)(now_ms - p->at_ms);
	if (p->known && p->percent > 100) /* the two clocks do not run alike */
		p->percent = 100;
	p->some_us = some_us;
	p->at_ms = now_ms;
}

static void on_file(void *arg, const char *text, const struct err *e)
{
	struct asking *a = arg;
	struct err bad = *e;
	uint64_t some_us = 0;

	if (!e->code && guest_psi_parse(text, &some_us))
		err_set(&bad, EPROTO, "guest agent: " PSI_FILE " is not as the kernel writes it");
	a->done(a->arg, some_us, &bad);
	free(a);
}

int guest_psi_ask(struct qga *q, guest_psi_fn *done, void *arg)
{
	struct asking *a = malloc(sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	*a = (struct asking){.done = done, .arg = arg};
	rc = qga_file_read(q, PSI_FILE, on_file, a);
	if (rc)
		free(a);
	return rc;
}
