/* The first line from policyd: see worker_conf.h. One table row a key. */
#include "migrate/worker_conf.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_U64, KIND_UINT, KIND_U16, KIND_BOOL };
enum need { NEED_NO, NEED_ALWAYS, NEED_RUN };

struct key {
	const char *name;
	enum kind kind;
	enum need need;
	size_t offset, size;
};

#define KEY(name, kind, need, member)                                                                                  \
	{                                                                                                              \
		name, kind, need, offsetof(struct worker_conf, member), sizeof(((struct worker_conf *)0)->member)      \
	}

static const struct key keys[] = {
	KEY("domain", KIND_TEXT, NEED_ALWAYS, domain),
	KEY("uuid", KIND_TEXT, NEED_ALWAYS, uuid),
	KEY("epoch", KIND_U64, NEED_RUN, epoch),
	KEY("host", KIND_TEXT, NEED_NO, host),
	KEY("peer", KIND_TEXT, NEED_RUN, peer),
	KEY("state_dir", KIND_TEXT, NEED_RUN, state_dir),
	KEY("ram_dir", KIND_TEXT, NEED_ALWAYS, ram_dir),
	KEY("run_dir", KIND_TEXT, NEED_RUN, run_dir),
	KEY("qmp", KIND_TEXT, NEED_ALWAYS, qmp),
	KEY("address", KIND_TEXT, NEED_NO, address),
	KEY("port", KIND_U16, NEED_NO, port),
	KEY("channels", KIND_UINT, NEED_NO, n_channels),
	KEY("bandwidth_bps", KIND_U64, NEED_NO, bandwidth_bps),
	KEY("max_blackout_ms", KIND_UINT, NEED_NO, max_blackout_ms),
	KEY("max_rounds", KIND_UINT, NEED_NO, max_rounds),
	KEY("throttle_max_percent", KIND_UINT, NEED_NO, throttle_max),
	KEY("compress", KIND_BOOL, NEED_NO, compress),
	KEY("verify_full", KIND_BOOL, NEED_NO, verify_full),
	KEY("leave_paused", KIND_BOOL, NEED_NO, leave_paused),
	KEY("suspend", KIND_BOOL, NEED_NO, suspend),
	KEY("postcopy", KIND_BOOL, NEED_NO, postcopy),
	KEY("resume", KIND_BOOL, NEED_NO, resume),
	KEY("patient", KIND_BOOL, NEED_NO, patient),
	KEY("was_paused", KIND_BOOL, NEED_NO, was_paused),
	KEY("lift_path", KIND_TEXT, NEED_NO, lift_path),
	KEY("lift_text", KIND_TEXT, NEED_NO, lift_text),
	KEY("devices", KIND_TEXT, NEED_NO, devices),
	KEY("n_disks_direct", KIND_UINT, NEED_NO, n_disks_direct),
};

static const struct key tls_keys[] = {
	KEY("certificate", KIND_TEXT, NEED_RUN, certificate),
	KEY("key", KIND_TEXT, NEED_RUN, key),
	KEY("trust", KIND_TEXT, NEED_RUN, trust),
	KEY("fips", KIND_BOOL, NEED_NO, fips),
};

static int take_number(const struct key *k, const json_t *v, void *at, struct err *e)
{
	json_int_t n = json_is_real(v) ? (json_int_t)json_real_value(v) : json_integer_value(v);
	uint64_t max = k->kind == KIND_U64 ? INT64_MAX : k->kind == KIND_UINT ? UINT32_MAX : UINT16_MAX;

	if (!json_is_number(v) || n < 0 || (uint64_t)n > max)
		return err_set(e, EINVAL, "start: \"%s\" is not a number that fits", k->name);
	if (k->kind == KIND_U64)
		*(uint64_t *)at = (uint64_t)n;
	else if (k->kind == KIND_UINT)
		*(unsigned *)at = (unsigned)n;
	else
		*(uint16_t *)at = (uint16_t)n;
	return 0;
}

/* Who sends or takes octets must know whom with, and be known. */
static bool needs_way(const json_t *j, enum worker_verb verb)
{
	return verb == WORKER_RUN || verb == WORKER_SINK || (verb == WORKER_MEASURE && json_object_get(j, "port"));
}

static bool needed(const struct key *k, enum worker_verb verb)
{
	return k->need == NEED_ALWAYS ? verb != WORKER_SINK : k->need == NEED_RUN && verb == WORKER_RUN;
}

static int take(const struct key *k, const json_t *j, enum worker_verb verb, struct worker_conf *out, struct err *e)
{
	const json_t *v = json_object_get(j, k->name);
	void *at = (char *)out + k->offset;

	if (!v || json_is_null(v)) {
		if (needed(k, verb))
			return err_set(e, EINVAL, "start: \"%s\" is missing", k->name);
		return 0;
	}
	if (k->kind == KIND_BOOL) {
		if (!json_is_boolean(v))
			return err_set(e, EINVAL, "start: \"%s\" is neither true nor false", k->name);
		*(bool *)at = json_is_true(v);
		return 0;
	}
	if (k->kind != KIND_TEXT)
		return take_number(k, v, at, e);
	if (!json_is_string(v) || json_string_length(v) >= k->size)
		return err_set(e, EINVAL, "start: \"%s\" is not a text of less than %zu characters", k->name, k->size);
	memcpy(at, json_string_value(v), json_string_length(v) + 1);
	return 0;
}

static int take_token(const json_t *j, enum worker_verb verb, struct worker_conf *out, struct err *e)
{
	const char *hex = json_string_value(json_object_get(j, "token"));

	if (!needs_way(j, verb))
		return 0;
	if (!hex || strlen(hex) != 2 * WIRE_TOKEN_BYTES || strspn(hex, "0123456789abcdefABCDEF") != strlen(hex))
		return err_set(e, EINVAL, "start: \"token\" is not 32 hex digits");
	for (unsigned i = 0; i < WIRE_TOKEN_BYTES; i++) {
		unsigned byte = 0;

		sscanf(hex + 2 * i, "%2x", &byte);
		out->token[i] = (uint8_t)byte;
	}
	return 0;
}

static int take_role(const json_t *j, enum worker_verb verb, struct worker_conf *out, struct err *e)
{
	static const char *const ops[] = {
		[WORKER_CHECK] = "check", [WORKER_MEASURE] = "measure", [WORKER_SINK] = "sink"};
	bool for_check = verb != WORKER_RUN;
	const char *role = json_string_value(json_object_get(j, "role"));
	const char *op = json_string_value(json_object_get(j, "op"));

	if (!op || (strcmp(op, "start") != 0 && (!ops[verb] || strcmp(op, ops[verb]) != 0)))
		return err_set(e, EINVAL, "start: the first line's \"op\" is not \"start\"");
	out->role = HO_SOURCE;
	if (role && strcmp(role, "target") == 0 && !for_check)
		out->role = HO_TARGET;
	else if (role ? strcmp(role, "source") != 0 : !for_check)
		return err_set(e, EINVAL, "start: \"role\" is neither \"source\" nor \"target\"");
	return 0;
}

static int take_ports(const json_t *j, struct worker_conf *out, struct err *e)
{
	const json_t *ports = json_object_get(j, "ports");
	int first, last;

	if (!ports || json_is_null(ports))
		return 0;
	if (json_unpack((json_t *)(uintptr_t)ports, "[i, i!]", &first, &last) != 0 || first < 1 || last < first ||
		last > UINT16_MAX)
		return err_set(e, EINVAL, "start: \"ports\" is not [first, last]");
	out->port_first = (uint16_t)first;
	out->port_last = (uint16_t)last;
	return 0;
}

int worker_conf_parse(const json_t *j, enum worker_verb verb, struct worker_conf *out, struct err *e)
{
	const json_t *tls = json_object_get(j, "tls"), *pid = json_object_get(j, "pid");
	int rc = take_role(j, verb, out, e);

	if (rc)
		return rc;
	memset((char *)out + sizeof(out->role), 0, sizeof(*out) - sizeof(out->role));
	out->max_blackout_ms = 300;
	out->max_rounds = 30;
	out->compress = true;
	for (size_t i = 0; rc == 0 && i < sizeof(keys) / sizeof(keys[0]); i++)
		rc = take(&keys[i], j, verb, out, e);
	for (size_t i = 0; rc == 0 && i < sizeof(tls_keys) / sizeof(tls_keys[0]); i++)
		rc = take(&tls_keys[i], tls, verb, out, e);
	if (rc == 0)
		rc = take_token(j, verb, out, e);
	if (rc == 0)
		rc = take_ports(j, out, e);
	if (rc == 0 && verb != WORKER_SINK &&
		(!json_is_integer(pid) || json_integer_value(pid) < 1 || json_integer_value(pid) > INT_MAX))
		rc = err_set(e, EINVAL, "start: \"pid\" is not a process");
	if (rc == 0)
		out->pid = (pid_t)json_integer_value(pid);
	if (rc == 0 && needs_way(j, verb) && (!out->peer[0] || !out->certificate[0]))
		rc = err_set(e, EINVAL, "start: \"peer\" or \"tls\" is missing");
	if (rc == 0 && out->role == HO_SOURCE && verb == WORKER_RUN && (!out->port || !out->address[0]))
		rc = err_set(e, EINVAL, "start: a source needs \"address\" and \"port\"");
	if (rc == 0 && out->postcopy && (out->suspend || out->verify_full))
		rc = err_set(e, EINVAL, "start: \"postcopy\" goes with neither \"suspend\" nor \"verify_full\"");
	if (rc == 0 && (out->n_channels > 16 || out->max_rounds == 0))
		rc = err_set(e, EINVAL, "start: \"channels\" is above 16, or \"max_rounds\" is 0");
	return rc;
}
