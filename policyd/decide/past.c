/* The moves of the last day: see past.h. A ring, newest last. */
#include "policyd/decide/past.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOVES_MAX 512 /* of a day: far above what the budgets allow */
#define HOUR_MS 3600000LL

struct past {
	struct past_move moves[MOVES_MAX];
	unsigned n; /* ever added */
};

struct past *past_new(void)
{
	return calloc(1, sizeof(struct past));
}

void past_free(struct past *p)
{
	free(p);
}

void past_add(struct past *p, const struct past_move *m)
{
	p->moves[p->n++ % MOVES_MAX] = *m;
}

/* The @i-th, the newest first; NULL beyond the oldest. */
static const struct past_move *past_get(const struct past *p, unsigned i)
{
	return i < p->n && i < MOVES_MAX ? &p->moves[(p->n - 1 - i) % MOVES_MAX] : NULL;
}

enum fail_kind past_fail_kind(int code)
{
	static const struct {
		int code;
		enum fail_kind kind;
	} rows[] = {{0, FAIL_NONE}, {EINVAL, FAIL_REFUSED}, {ENOSPC, FAIL_REFUSED}, {EBUSY, FAIL_REFUSED},
		{EPERM, FAIL_REFUSED}, {ENOENT, FAIL_REFUSED}, {ECANCELED, FAIL_CANCELLED}, {EINTR, FAIL_INTERRUPTED},
		{EAGAIN, FAIL_CONVERGE}, {EPIPE, FAIL_LINK}, {ENOTCONN, FAIL_LINK}, {ECONNRESET, FAIL_LINK},
		{ECONNREFUSED, FAIL_LINK}, {ECONNABORTED, FAIL_LINK}, {ETIMEDOUT, FAIL_LINK}, {EHOSTUNREACH, FAIL_LINK},
		{ENETUNREACH, FAIL_LINK}};

	code = code < 0 ? -code : code;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return rows[i].kind;
	return FAIL_FAULT;
}

/* ---- history ---- */

static const char *text_of(const json_t *row, const char *key)
{
	const char *t = json_string_value(json_object_get(row, key));

	return t ? t : "";
}

static uint64_t figure(const json_t *o, const char *key)
{
	double v = json_number_value(json_object_get(o, key));

	return v > 0 && v < 0x1p62 ? (uint64_t)v : 0;
}

static enum fail_kind fail_of(const json_t *row)
{
	const char *word = text_of(json_object_get(row, "actual"), "failed");

	if (json_is_true(json_object_get(row, "ok")))
		return FAIL_NONE;
	for (unsigned i = FAIL_NONE + 1; i < FAIL_KIND_COUNT; i++)
		if (strcmp(word, fail_words[i]) == 0)
			return i;
	return FAIL_FAULT;
}

bool past_from_history(const json_t *row, struct past_move *out)
{
	const char *kind = text_of(row, "kind");
	const json_t *actual = json_object_get(row, "actual");
	bool live = strcmp(kind, "migration") == 0, cold = strcmp(kind, "cold move") == 0;

	if (!live && !cold && strcmp(kind, "incoming") != 0)
		return false;
	/* that a restart found it unfinished (adopt.c): what became of it is a row of its own */
	if (!json_is_true(json_object_get(row, "ok")) && strcmp(text_of(row, "who"), "policyd") == 0 &&
		!*text_of(actual, "failed"))
		return false;
	*out = (struct past_move){.arrival = !live && !cold,
		.end_ms = json_integer_value(json_object_get(row, "t")),
		.fail = fail_of(row),
		.bytes = figure(actual, "wire_bytes"),
		.outage_ms = (unsigned)figure(actual, cold ? "outage_ms" : "blackout_ms")};
	snprintf(out->domain, sizeof(out->domain), "%s", text_of(row, "domain"));
	snprintf(out->peer, sizeof(out->peer), "%s", text_of(row, "peer"));
	/* an operator who ends a move of his own says nothing about policy's */
	return out->fail != FAIL_CANCELLED || strncmp(text_of(row, "who"), "policy ", 7) == 0;
}

/* ---- the snapshot's figures ---- */

void past_fill_host(const struct past *p, struct snapshot *out)
{
	const struct past_move *m;

	for (unsigned i = 0; (m = past_get(p, i)); i++) {
		if (m->arrival || out->now_ms - m->end_ms >= HOUR_MS)
			continue;
		out->bytes_last_hour += m->bytes;
		out->blackout_last_hour_ms += m->outage_ms;
	}
}

/* A failed arrival says nothing about a domain: its other host counts it. */
void past_fill_domain(const struct past *p, int64_t now_ms, struct snap_domain *out)
{
	const struct past_move *m;
	bool worked = false;

	for (unsigned i = 0; (m = past_get(p, i)); i++) {
		if (strcmp(m->domain, out->spec.name) != 0 || now_ms - m->end_ms >= PAST_MS || (m->arrival && m->fail))
			continue;
		if (m->arrival && !*out->came_from) {
			memcpy(out->came_from, m->peer, sizeof(out->came_from));
			out->arrived_ms = m->end_ms;
		}
		if (m->fail && !worked && !out->fails++) {
			out->last_fail = m->fail;
			out->last_fail_ms = m->end_ms;
			memcpy(out->last_fail_peer, m->peer, sizeof(out->last_fail_peer));
		}
		worked |= !m->fail;
		if (now_ms - m->end_ms >= HOUR_MS)
			continue;
		out->moves_last_hour += !m->fail;
		out->bytes_last_hour += m->bytes;
		out->blackout_last_hour_ms += m->outage_ms;
	}
}
