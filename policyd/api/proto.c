/* Lines, requests and answers of the control socket: see proto.h. Pure. */
#include "policyd/api/proto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lines_feed(struct lines *l, const void *data, size_t n)
{
	size_t held = l->n - l->start;
	char *p;

	if (l->start) {
		memmove(l->buf, l->buf + l->start, held);
		l->scanned -= l->start;
		l->n = held;
		l->start = 0;
	}
	if (held + n > CONTROL_LINE_MAX && !memchr(data, '\n', n))
		return -EMSGSIZE;
	if (l->n + n + 1 > l->size) {
		size_t size = l->size ? l->size : 4096;

		while (size < l->n + n + 1)
			size *= 2;
		p = realloc(l->buf, size);
		if (!p)
			return -ENOMEM;
		l->buf = p;
		l->size = size;
	}
	memcpy(l->buf + l->n, data, n);
	l->n += n;
	return 0;
}

const char *lines_next(struct lines *l, size_t *len_out)
{
	char *end = l->n > l->scanned ? memchr(l->buf + l->scanned, '\n', l->n - l->scanned) : NULL;
	char *line = l->buf + l->start;

	if (!end) {
		l->scanned = l->n;
		return NULL;
	}
	*end = 0;
	*len_out = (size_t)(end - line);
	if (*len_out && line[*len_out - 1] == '\r')
		line[--*len_out] = 0;
	l->start = l->scanned = (size_t)(end - l->buf) + 1;
	return line;
}

void lines_fini(struct lines *l)
{
	free(l->buf);
	memset(l, 0, sizeof(*l));
}

int request_parse(const char *line, size_t len, struct request *out, struct err *e)
{
	json_error_t je;
	json_t *id;

	memset(out, 0, sizeof(*out));
	out->id = json_null();
	if (len > CONTROL_LINE_MAX)
		return err_set(e, EINVAL, "the line is %zu bytes long; at most %u are allowed", len, CONTROL_LINE_MAX);
	out->root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (!out->root)
		return err_set(e, EINVAL, "not JSON: %s at byte %d", je.text, je.position);
	if (!json_is_object(out->root))
		return err_set(e, EINVAL, "a request is one JSON object, such as {\"id\": 1, \"cmd\": \"list\"}");
	id = json_object_get(out->root, "id");
	if (id && !json_is_integer(id) && !json_is_string(id) && !json_is_null(id))
		return err_set(e, EINVAL, "\"id\" must be a number or a text");
	if (id)
		out->id = json_incref(id);
	out->cmd = json_string_value(json_object_get(out->root, "cmd"));
	if (!out->cmd)
		return err_set(e, EINVAL, "\"cmd\" is missing; it must be the name of a command");
	out->args = json_object_get(out->root, "args");
	if (!out->args) {
		json_object_set_new(out->root, "args", json_object());
		out->args = json_object_get(out->root, "args");
	}
	if (!json_is_object(out->args))
		return err_set(e, EINVAL, "\"args\" must be an object");
	return 0;
}

void request_fini(struct request *rq)
{
	json_decref(rq->root);
	json_decref(rq->id);
	memset(rq, 0, sizeof(*rq));
}

/* @o is stolen */
static char *line_of(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL, *line = NULL;
	size_t n;

	json_decref(o);
	if (!text)
		return NULL;
	n = strlen(text);
	line = realloc(text, n + 2);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\n", 2);
	return line;
}

char *answer_ok(json_t *id, json_t *result)
{
	return line_of(json_pack("{s:O, s:b, s:O}", "id", id, "ok", 1, "result", result ? result : json_null()));
}

char *answer_error(json_t *id, const char *code, const char *sentence)
{
	json_t *text = json_string(sentence);

	if (!text) /* a name that is no UTF-8, say */
		text = json_string("the reason cannot be shown: it is not valid UTF-8");
	return line_of(json_pack("{s:O, s:b, s:o, s:s}", "id", id, "ok", 0, "error", text, "code", code));
}

char *answer_event(json_t *id, const char *event, json_t *fields)
{
	json_t *o = json_pack("{s:O, s:s}", "id", id, "event", event);

	if (o && fields)
		json_object_update_missing(o, fields);
	return line_of(o);
}

const char *code_of(int err)
{
	static const struct {
		int err;
		const char *code;
	} codes[] = {
		{ENOENT, "not-found"},
		{EEXIST, "exists"},
		{EBUSY, "busy"},
		{EPERM, "held"},
		{EACCES, "denied"},
		{ETIMEDOUT, "timeout"},
		{ECANCELED, "cancelled"},
		{EINVAL, "refused"},
		{ERANGE, "refused"},
		{ENOSPC, "refused"},
		{EALREADY, "refused"},
		{EPROTO, "refused"},
		{EDOM, "usage"},
		{EAGAIN, "failed"},
	};

	if (err < 0)
		err = -err;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].err == err)
			return codes[i].code;
	return "failed";
}
