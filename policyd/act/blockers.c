/* Why QEMU itself would refuse to move a domain live: see blockers.h. */
#include "policyd/act/blockers.h"

#include <stdio.h>
#include <string.h>

#define EVERY_MS 10000

/* As many of them as fit. */
static void reasons_text(const json_t *reasons, char *out, size_t size)
{
	const char *reason;
	size_t n = (size_t)snprintf(out, size, "QEMU cannot move it: ");

	for (size_t i = 0; i < json_array_size(reasons) && n < size; i++) {
		reason = json_string_value(json_array_get(reasons, i));
		n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "; " : "", reason ? reason : "it gives no reason");
	}
}

static void on_answer(void *arg, const json_t *ret, const struct err *e)
{
	struct dom *d = arg;
	char was[sizeof(d->blocked)];
	const json_t *reasons = json_object_get(ret, "blocked-reasons");

	if (e->code)
		return; /* asked again */
	memcpy(was, d->blocked, sizeof(was));
	d->blocked[0] = 0;
	if (json_array_size(reasons))
		reasons_text(reasons, d->blocked, sizeof(d->blocked));
	if (strcmp(was, d->blocked) != 0)
		plog(d->p, "%s: %s", d->spec.name, d->blocked[0] ? d->blocked : "QEMU can move it again");
}

void blockers_follow(struct policyd *p)
{
	int64_t now = now_mono_ms();
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link) {
		if (!d->qmp_up) {
			d->blocked[0] = 0;
			d->blocked_asked_ms = 0;
		} else if (!d->blocked_asked_ms || now - d->blocked_asked_ms >= EVERY_MS) {
			d->blocked_asked_ms = now;
			qmp_command(d->qmp, "query-migrate", NULL, 0, on_answer, d);
		}
	}
}
