/* A small file of a guest, by its agent: see qga_file.h. Open, read, close; the handle is closed whatever the reading gave. */
#include "domain/qga_file.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 2000

struct reading {
	struct qga *q;
	const char *path;
	qga_file_fn *done;
	void *arg;
	json_int_t handle;
};

static int sextet(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

int qga_unbase64(const char *text, char *out, size_t size)
{
	size_t n = 0;
	uint32_t bits = 0;
	unsigned have = 0;

	for (; *text && *text != '='; text++) {
		int v = sextet(*text);

		if (v < 0 || (have >= 2 && n + 1 >= size))
			return -EPROTO;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		out[n++] = (char)(bits >> have & 0xff);
	}
	if (text[strspn(text, "=")])
		return -EPROTO;
	out[n] = 0;
	return 0;
}

static void end(struct reading *r, const char *text, const struct err *e)
{
	r->done(r->arg, text, e);
	free(r);
}

static void on_read(void *arg, const json_t *ret, const struct err *e)
{
	struct reading *r = arg;
	const char *b64 = json_string_value(json_object_get(ret, "buf-b64"));
	char text[QGA_FILE_MAX + 1] = "";
	struct err bad = *e;

	qga_command(r->q, "guest-file-close", json_pack("{s:I}", "handle", r->handle), PATIENCE_MS, NULL, NULL);
	if (!e->code && (!b64 || qga_unbase64(b64, text, sizeof(text)))) {
		err_set(&bad, EPROTO, "guest agent: guest-file-read of %s: no text in the answer", r->path);
		text[0] = 0;
	}
	end(r, text, &bad);
}

static void on_open(void *arg, const json_t *ret, const struct err *e)
{
	struct reading *r = arg;
	struct err bad = *e;

	if (!e->code && !json_is_integer(ret))
		err_set(&bad, EPROTO, "guest agent: guest-file-open of %s: no handle in the answer", r->path);
	r->handle = json_integer_value(ret);
	if (!bad.code &&
		qga_command(r->q, "guest-file-read",
			json_pack("{s:I, s:i}", "handle", r->handle, "count", QGA_FILE_MAX), PATIENCE_MS, on_read, r))
		err_set(&bad, ENOTCONN, "guest agent: guest-file-read: it is gone");
	if (bad.code)
		end(r, "", &bad);
}

int qga_file_read(struct qga *q, const char *path, qga_file_fn *done, void *arg)
{
	struct reading *r = q && qga_ready(q) ? malloc(sizeof(*r)) : NULL;
	int rc;

	if (!r)
		return q && qga_ready(q) ? -ENOMEM : -ENOTCONN;
	*r = (struct reading){.q = q, .path = path, .done = done, .arg = arg};
	rc = qga_command(q, "guest-file-open", json_pack("{s:s}", "path", path), PATIENCE_MS, on_open, r);
	if (rc)
		free(r);
	return rc;
}
