/* Evacuate and maintenance, asked here or by a peer: see maintain_ask.h. */
#include "policyd/act/maintain_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/host_power.h"
#include "policyd/act/maintain.h"
#include "policyd/cluster/cluster_int.h"

#define DEADLINE_MAX_MS (30LL * 86400 * 1000)

struct asked {
	struct policyd *p;
	char host[CONF_NAME], cmd[16];
	json_t *result; /* owned; what is answered when it is done */
	maintain_asked_fn *done;
	void *arg;
};

static void end(struct asked *a, const struct err *e)
{
	json_t *result = e->code ? NULL : json_incref(a->result);

	a->done(a->arg, result, e);
	json_decref(a->result);
	free(a);
}

static void fail(struct asked *a, int code, const char *sentence)
{
	struct err e = {0};

	err_set(&e, code, "%s", sentence);
	end(a, &e);
}

static void on_changed(void *arg, const struct err *e)
{
	end(arg, e);
}

/* ---- here ---- */

static void empty(struct asked *a, int64_t deadline_ms, bool dry_run, const char *by)
{
	struct err none = {0};

	a->result = maintain_outlook(a->p);
	if (!a->result)
		fail(a, ENOMEM, "no memory; nothing was changed");
	else if (dry_run)
		end(a, &none);
	else
		maintain_begin(a->p, deadline_ms ? now_wall_ms() + deadline_ms : 0, by, on_changed, a);
}

static void evacuate(struct asked *a, const json_t *args, const char *by)
{
	int64_t deadline_ms = json_integer_value(json_object_get(args, "deadline_ms"));

	if (deadline_ms < 0 || deadline_ms > DEADLINE_MAX_MS)
		fail(a, EDOM, "a deadline is at most 30 days away");
	else
		empty(a, deadline_ms, json_is_true(json_object_get(args, "dry_run")), by);
}

static void end_maintenance(struct asked *a, bool refill, const char *by)
{
	json_t *was = maintain_json(a->p);

	a->result = json_pack("{s:O}", "moved", json_object_get(was, "moved"));
	json_decref(was);
	maintain_end(a->p, refill, by, on_changed, a);
}

static void maintenance(struct asked *a, const json_t *args, const char *by)
{
	bool on = json_is_true(json_object_get(args, "on")), refill = json_is_true(json_object_get(args, "refill"));
	struct err e = {0};

	if (on && refill)
		err_set(&e, EDOM, "\"refill\" goes with the end of maintenance: policyctl maintenance off --refill");
	else if (on && maintain_on(a->p))
		err_set(&e, EINVAL, "%s is in maintenance already; policyctl hosts shows how far it is", a->host);
	else if (!on && !maintain_on(a->p))
		err_set(&e, EINVAL, "%s is not in maintenance", a->host);
	else if (!on)
		host_power_check(a->p, &e);
	if (e.code)
		end(a, &e);
	else if (on)
		empty(a, 0, false, by);
	else
		end_maintenance(a, refill, by);
}

static void do_here(struct asked *a, const json_t *args, const char *by)
{
	if (!strcmp(a->cmd, "evacuate"))
		evacuate(a, args, by);
	else
		maintenance(a, args, by);
}

/* ---- there ---- */

static void on_answer(void *arg, const json_t *answer, const struct err *e)
{
	struct asked *a = arg;
	struct err said = *e;

	if (e->code && e->code != EREMOTEIO) /* what the other says names itself */
		err_wrap(&said, "%s cannot be asked", a->host);
	if (answer)
		a->result = json_incref(json_object_get(answer, "result"));
	if (!e->code && !a->result)
		err_set(&said, EPROTO, "%s: the answer has no result", a->host);
	end(a, &said);
}

static void ask_there(struct asked *a, const json_t *args, const char *by)
{
	json_t *copy = args ? json_deep_copy(args) : json_object();
	struct err e = {0};

	if (!cluster_conf_peer(a->p, a->host)) {
		err_set(&e, ENOENT,
			"this is %s, and there is no host \"%.70s\" under cluster.peers; policyctl hosts lists them",
			a->p->conf->host.host_name, a->host);
		json_decref(copy);
	} else {
		json_object_del(copy, "host");
		json_object_set_new(copy, "by", json_string(by));
		cluster_call(a->p, a->host, a->cmd, copy, 0, on_answer, a, NULL, &e);
	}
	if (e.code)
		end(a, &e);
}

void maintain_ask(struct policyd *p, const char *host, const char *cmd, const json_t *args, const char *by,
	maintain_asked_fn *done, void *arg)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct err e = {0};

	if (!a) {
		err_set(&e, ENOMEM, "no memory; nothing was changed");
		done(arg, NULL, &e);
		return;
	}
	*a = (struct asked){.p = p, .done = done, .arg = arg};
	snprintf(a->host, sizeof(a->host), "%s", host);
	snprintf(a->cmd, sizeof(a->cmd), "%s", cmd);
	if (strcmp(host, p->conf->host.host_name) != 0)
		ask_there(a, args, by);
	else
		do_here(a, args, by);
}

/* ---- asked by a peer ---- */

static void on_done_for_peer(void *arg, json_t *result, const struct err *e)
{
	if (e->code)
		peer_req_fail(arg, e);
	else
		peer_req_answer(arg, json_pack("{s:o}", "result", result));
}

static void for_peer(struct policyd *p, struct peer_req *rq, const char *from, const char *cmd, const json_t *args)
{
	const char *who = json_string_value(json_object_get(args, "by"));
	struct err e = {0};
	char by[96];

	if (!p->settled) {
		err_set(&e, EAGAIN, "%s is starting; nothing was changed, try again in a moment",
			p->conf->host.host_name);
		peer_req_fail(rq, &e);
		return;
	}
	snprintf(by, sizeof(by), "%.40s at %.40s", who ? who : "an operator", from);
	maintain_ask(p, p->conf->host.host_name, cmd, args, by, on_done_for_peer, rq);
}

void on_req_evacuate(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	for_peer(arg, rq, from, "evacuate", args);
}

void on_req_maintenance(void *arg, struct peer_req *rq, const char *from, const json_t *args)
{
	for_peer(arg, rq, from, "maintenance", args);
}
