/* Load averages of guests: see agent_load.h. */
#include "policyd/act/agent_load.h"

#include <errno.h>
#include <stdio.h>

#include "domain/qga_file.h"

#define EVERY_MS 10000
#define REFUSED_MS 600000 /* an agent that may not, or a system without that file, is asked again */
#define FRESH_MS 30000

int agent_load_parse(const char *text, double out[3])
{
	double v[3];

	if (sscanf(text, "%lf %lf %lf", &v[0], &v[1], &v[2]) != 3)
		return -EPROTO;
	for (unsigned i = 0; i < 3; i++)
		if (!(v[i] >= 0 && v[i] < 1e6)) /* it is a guest that says so */
			return -EPROTO;
	for (unsigned i = 0; i < 3; i++)
		out[i] = v[i];
	return 0;
}

static void on_file(void *arg, const char *text, const struct err *e)
{
	struct guest_load *l = &((struct dom *)arg)->guest_load;

	l->awaited = false;
	if (!e->code && !agent_load_parse(text, l->avg))
		l->at_ms = now_mono_ms();
	else if (e->code == EREMOTEIO || !e->code)
		l->next_ms = now_mono_ms() + REFUSED_MS;
}

void agent_load_follow(struct policyd *p)
{
	struct dom *d;

	TAILQ_FOREACH(d, &p->doms, link) {
		struct guest_load *l = &d->guest_load;

		if (!d->qga) {
			*l = (struct guest_load){0};
		} else if (!l->awaited && now_mono_ms() >= l->next_ms) {
			l->next_ms = now_mono_ms() + EVERY_MS;
			l->awaited = !qga_file_read(d->qga, "/proc/loadavg", on_file, d);
		}
	}
}

json_t *agent_load_json(const struct dom *d)
{
	const struct guest_load *l = &d->guest_load;

	if (!l->at_ms || now_mono_ms() - l->at_ms > FRESH_MS)
		return NULL;
	return json_pack("[f, f, f]", l->avg[0], l->avg[1], l->avg[2]);
}
