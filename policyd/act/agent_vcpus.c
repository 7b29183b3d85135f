/* Setting vCPUs online by the guest's agent: see agent_vcpus.h. Ask which there are, set those online that are not, and ask again: what a guest
 * answers to its own change is not taken for the result. */
#include "policyd/act/agent_vcpus.h"

#include <stdlib.h>

#include "domain/qga.h"

#define PATIENCE_MS 3000

struct agent_vcpus {
	struct qga *q;
	agent_vcpus_fn *done; /* NULL: nobody waits any more */
	void *arg;
	bool again;
};

static void end(struct agent_vcpus *a, unsigned online)
{
	if (a->done)
		a->done(a->arg, online);
	free(a);
}

static void on_vcpus(void *arg, const json_t *ret, const struct err *e);

static int ask(struct agent_vcpus *a)
{
	return qga_command(a->q, "guest-get-vcpus", NULL, PATIENCE_MS, on_vcpus, a);
}

static void on_set(void *arg, const json_t *ret, const struct err *e)
{
	struct agent_vcpus *a = arg;

	(void)ret;
	a->again = true;
	if (e->code || ask(a))
		end(a, 0);
}

/* Those that are offline, as guest-set-vcpus wants them. */
static json_t *offline(const json_t *vcpus, unsigned *online_out)
{
	json_t *wanted = json_array();
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)vcpus, i, v) {
		const json_t *id = json_object_get(v, "logical-id");

		if (json_is_true(json_object_get(v, "online")))
			(*online_out)++;
		else if (json_is_integer(id))
			json_array_append_new(
				wanted, json_pack("{s:I, s:b}", "logical-id", json_integer_value(id), "online", 1));
	}
	return wanted;
}

static void on_vcpus(void *arg, const json_t *ret, const struct err *e)
{
	struct agent_vcpus *a = arg;
	unsigned online = 0;
	json_t *wanted = e->code ? NULL : offline(ret, &online);

	if (!a->again && json_array_size(wanted) &&
		!qga_command(a->q, "guest-set-vcpus", json_pack("{s:O}", "vcpus", wanted), PATIENCE_MS, on_set, a)) {
		json_decref(wanted);
		return;
	}
	json_decref(wanted);
	end(a, online);
}

struct agent_vcpus *agent_vcpus_online(struct dom *d, agent_vcpus_fn *done, void *arg)
{
	struct agent_vcpus *a = d->qga && qga_ready(d->qga) ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return NULL;
	*a = (struct agent_vcpus){.q = d->qga, .done = done, .arg = arg};
	if (!ask(a))
		return a;
	free(a);
	return NULL;
}

void agent_vcpus_forget(struct agent_vcpus *a)
{
	if (a)
		a->done = NULL;
}
