/* A guest's memory pressure by its agent: see guest_psi.h. Open, read, close; the handle is closed whatever the reading gave. */
#include "resize/guest_psi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PSI_FILE "/proc/pressure/memory"
#define READ_MAX 512
#define PATIENCE_MS 2000

struct asking {
	struct qga *q;
	guest_psi_fn *done;
	void *arg;
	json_int_t handle;
};

static int sextet(char c)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

int guest_psi_unbase64(const char *text, char *out, size_t size)
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

static void end(struct asking *a, uint64_t some_us, const struct err *e)
{
	a->done(a->arg, some_us, e);
	free(a);
}

static void on_read(void *arg, const json_t *ret, const struct err *e)
{
	struct asking *a = arg;
	const char *b64 = json_string_value(json_object_get(ret, "buf-b64"));
	char text[READ_MAX + 1];
	struct err bad = *e;
	uint64_t some_us = 0;

	qga_command(a->q, "guest-file-close", json_pack("{s:I}", "handle", a->handle), PATIENCE_MS, NULL, NULL);
	if (!e->code && (!b64 || guest_psi_unbase64(b64, text, sizeof(text)) || guest_psi_parse(text, &some_us)))
		err_set(&bad, EPROTO, "guest agent: " PSI_FILE " is not as the kernel writes it");
	end(a, some_us, &bad);
}

static void on_open(void *arg, const json_t *ret, const struct err *e)
{
	struct asking *a = arg;
	struct err bad = *e;

	if (!e->code && !json_is_integer(ret))
		err_set(&bad, EPROTO, "guest agent: guest-file-open: no handle in the answer");
	a->handle = json_integer_value(ret);
	if (!bad.code &&
		qga_command(a->q, "guest-file-read", json_pack("{s:I, s:i}", "handle", a->handle, "count", READ_MAX),
			PATIENCE_MS, on_read, a))
		err_set(&bad, ENOTCONN, "guest agent: guest-file-read: it is gone");
	if (bad.code)
		end(a, 0, &bad);
}

int guest_psi_ask(struct qga *q, guest_psi_fn *done, void *arg)
{
	struct asking *a = q && qga_ready(q) ? malloc(sizeof(*a)) : NULL;
	int rc;

	if (!a)
		return q && qga_ready(q) ? -ENOMEM : -ENOTCONN;
	*a = (struct asking){.q = q, .done = done, .arg = arg};
	rc = qga_command(q, "guest-file-open", json_pack("{s:s}", "path", PSI_FILE), PATIENCE_MS, on_open, a);
	if (rc)
		free(a);
	return rc;
}
