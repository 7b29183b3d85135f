/* Peer messages: see msg.h. Called by cluster/link.c and peer.c on the loop thread, by tests and fuzzers elsewhere. */
#include "policyd/cluster/msg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* jansson recurses once a level; 2048 levels are its own bound, ours is what a message of ours can need. */
static bool depth_ok(const char *s, size_t len)
{
	bool in_string = false;
	unsigned depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				in_string = false;
		} else if (s[i] == '"') {
			in_string = true;
		} else if (s[i] == '{' || s[i] == '[') {
			if (++depth > MSG_DEPTH_MAX)
				return false;
		} else if ((s[i] == '}' || s[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

static int take_id(const json_t *root, uint64_t *id_out, struct err *e)
{
	const json_t *id = json_object_get(root, "id");

	if (!json_is_integer(id) || json_integer_value(id) < 1)
		return err_set(e, EINVAL, "a message's id must be a whole number from 1");
	*id_out = (uint64_t)json_integer_value(id);
	return 0;
}

static int take_inner(json_t *root, const char *key, enum msg_kind kind, struct peer_msg *m, struct err *e)
{
	json_t *inner = json_object_get(root, key);

	if (!json_is_object(inner))
		return err_set(e, EINVAL, "%s must be an object", key);
	m->kind = kind;
	m->body = json_incref(inner);
	return 0;
}

static int take_request(json_t *root, struct peer_msg *m, struct err *e)
{
	const char *req = json_string_value(json_object_get(root, "req"));
	int r = take_id(root, &m->id, e);

	if (r < 0)
		return r;
	if (!req || !req[0] || strlen(req) >= sizeof(m->req))
		return err_set(e, EINVAL, "req must be the name of a request");
	m->kind = MSG_REQUEST;
	snprintf(m->req, sizeof(m->req), "%s", req);
	m->body = json_incref(root);
	return 0;
}

static int take_answer(json_t *root, struct peer_msg *m, struct err *e)
{
	const char *error = json_string_value(json_object_get(root, "error"));
	const json_t *ok = json_object_get(root, "ok");
	int r = take_id(root, &m->id, e);

	if (r < 0)
		return r;
	if (!json_is_boolean(ok))
		return err_set(e, EINVAL, "an answer's ok must be true or false");
	m->kind = MSG_ANSWER;
	m->ok = json_is_true(ok);
	if (!m->ok)
		snprintf(m->error, sizeof(m->error), "%s", error && error[0] ? error : "refused without a reason");
	m->body = json_incref(root);
	return 0;
}

static int take_bye(json_t *root, struct peer_msg *m, struct err *e)
{
	const char *why = json_string_value(json_object_get(root, "bye"));

	if (!why)
		return err_set(e, EINVAL, "bye must be a sentence");
	m->kind = MSG_BYE;
	snprintf(m->error, sizeof(m->error), "%s", why);
	m->body = json_incref(root);
	return 0;
}

int msg_parse(const char *line, size_t len, struct peer_msg *out, struct err *e)
{
	struct peer_msg m = {0};
	json_t *root = NULL;
	json_error_t je;
	int r;

	if (len >= MSG_LINE_MAX)
		return err_set(e, EINVAL, "a line of %zu bytes; the limit is %u", len, MSG_LINE_MAX);
	if (!depth_ok(line, len))
		return err_set(e, EINVAL, "JSON nested deeper than %d", MSG_DEPTH_MAX);
	root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return err_set(e, EINVAL, "not JSON (%s at byte %d)", je.text, je.position);
	if (!json_is_object(root))
		r = err_set(e, EINVAL, "a message must be an object");
	else if (json_object_get(root, "hello"))
		r = take_inner(root, "hello", MSG_HELLO, &m, e);
	else if (json_object_get(root, "report"))
		r = take_inner(root, "report", MSG_REPORT, &m, e);
	else if (json_object_get(root, "req"))
		r = take_request(root, &m, e);
	else if (json_object_get(root, "ok"))
		r = take_answer(root, &m, e);
	else if (json_object_get(root, "bye"))
		r = take_bye(root, &m, e);
	else
		r = err_set(e, EINVAL, "neither a hello nor a request, an answer or a report");
	if (!r)
		*out = m;
	json_decref(root);
	return r;
}

void msg_fini(struct peer_msg *m)
{
	json_decref(m->body);
	memset(m, 0, sizeof(*m));
}

json_t *hello_to_json(const struct peer_hello *h)
{
	return json_pack("{s:{s:s, s:i, s:i, s:s, s:s, s:s, s:b}}", "hello", "name", h->name, "protocol",
		(int)h->protocol, "protocol_max", (int)(h->protocol_max ? h->protocol_max : h->protocol), "version",
		h->version, "qemu", h->qemu, "accel", h->accel, "fips", h->fips);
}

/* A shallow copy of @fields with id (and what the caller adds); our keys win over the same ones in @fields. */
static json_t *with_id(uint64_t id, const json_t *fields)
{
	json_t *j = fields ? json_copy((json_t *)fields) : json_object();

	if (j && json_object_set_new(j, "id", json_integer((json_int_t)id)) < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static json_t *with_key(json_t *j, const char *key, json_t *value)
{
	if (j && json_object_set_new(j, key, value) < 0) {
		json_decref(j);
		return NULL;
	}
	if (!j)
		json_decref(value);
	return j;
}

json_t *msg_request(uint64_t id, const char *req, const json_t *args)
{
	return with_key(with_id(id, args), "req", json_string(req));
}

json_t *msg_answer(uint64_t id, const json_t *fields)
{
	return with_key(with_id(id, fields), "ok", json_true());
}

json_t *msg_failure(uint64_t id, const char *sentence)
{
	return with_key(with_key(with_id(id, NULL), "ok", json_false()), "error", json_string(sentence));
}

json_t *msg_bye(const char *sentence)
{
	return json_pack("{s:s}", "bye", sentence);
}

static void take_text(const json_t *body, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(body, key));

	snprintf(out, size, "%s", s ? s : "");
}

static bool is_protocol(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= 1000000;
}

/* "protocol" is the oldest that it speaks, "protocol_max" the newest; releases before there were two say only the first. */
static int hello_protocols(const json_t *body, struct peer_hello *h, struct err *e)
{
	const json_t *low = json_object_get(body, "protocol"), *high = json_object_get(body, "protocol_max");

	if (!is_protocol(low) || (high && !is_protocol(high)))
		return err_set(e, EINVAL, "its hello has no protocol number");
	h->protocol = (unsigned)json_integer_value(low);
	h->protocol_max = high ? (unsigned)json_integer_value(high) : h->protocol;
	if (h->protocol_max < h->protocol)
		return err_set(e, EINVAL, "its hello has protocols from %u to %u", h->protocol, h->protocol_max);
	return 0;
}

int hello_check(
	const json_t *body, const char *cert_name, const struct peer_hello *own, struct peer_hello *out, struct err *e)
{
	const char *name = json_string_value(json_object_get(body, "name"));
	unsigned newest = own->protocol_max ? own->protocol_max : own->protocol;
	struct peer_hello h = {0};
	int r;

	if (!name || !name_valid(name))
		return err_set(e, EINVAL, "its hello has no valid name");
	r = hello_protocols(body, &h, e);
	if (r)
		return r;
	h.fips = json_is_true(json_object_get(body, "fips"));
	take_text(body, "name", h.name, sizeof(h.name));
	take_text(body, "version", h.version, sizeof(h.version));
	take_text(body, "qemu", h.qemu, sizeof(h.qemu));
	take_text(body, "accel", h.accel, sizeof(h.accel));
	if (strcmp(h.name, cert_name) != 0)
		return err_set(e, EACCES,
			"it calls itself %s but its certificate is for %s; set host.name there to the name in its "
			"certificate",
			h.name, cert_name);
	if (h.protocol > newest || h.protocol_max < own->protocol)
		return err_set(e, EPROTONOSUPPORT,
			"it speaks protocols %u to %u (version %s), we speak %u to %u (version %s); bring both hosts to one version",
			h.protocol, h.protocol_max, h.version, own->protocol, newest, own->version);
	if (own->fips && !h.fips)
		return err_set(e, EPERM, "it is not in FIPS mode and we are; set security.fips = true there");
	*out = h;
	return 0;
}
