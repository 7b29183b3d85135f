/* Marks: see dom_mark.h. */
#include "policyd/dom_mark.h"

#include <stdio.h>
#include <string.h>

#include "policyd/dom.h"

static const char *const names[MARK_KIND_COUNT] = {[MARK_PIN] = "pin", [MARK_PREFER] = "prefer"};

const char *mark_name(enum mark_kind k)
{
	return names[k];
}

static void is_over(struct dom *d, enum mark_kind k)
{
	char text[64];
	struct store_event ev = {.domain = d->spec.name, .kind = names[k], .who = "policyd", .text = text, .ok = true};

	snprintf(text, sizeof(text), "its time is over (%s)", names[k]);
	memset(&d->marks[k], 0, sizeof(d->marks[k]));
	plog(d->p, "%s: %s is over", d->spec.name, names[k]);
	dom_save(d, NULL, NULL);
	store_history_add(d->p->store, &ev);
}

const struct dom_mark *dom_marked(struct dom *d, enum mark_kind k)
{
	if (d->marks[k].on && d->marks[k].until_ms && now_wall_ms() >= d->marks[k].until_ms)
		is_over(d, k);
	return d->marks[k].on ? &d->marks[k] : NULL;
}

json_t *dom_marks_json(struct dom *d)
{
	json_t *all = NULL;

	for (unsigned k = 0; k < MARK_KIND_COUNT; k++) {
		const struct dom_mark *m = &d->marks[k];

		if (!m->on)
			continue;
		if (!all)
			all = json_object();
		json_object_set_new(all, names[k],
			json_pack("{s:s, s:s, s:s, s:I}", "host", m->host, "reason", m->reason, "by", m->by, "until_ms",
				(json_int_t)m->until_ms));
	}
	return all;
}

static void copy(char *out, size_t size, const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	snprintf(out, size, "%s", t ? t : "");
}

void dom_marks_take(struct dom *d, const json_t *marks)
{
	for (unsigned k = 0; k < MARK_KIND_COUNT; k++) {
		const json_t *o = json_object_get(marks, names[k]);
		struct dom_mark *m = &d->marks[k];

		memset(m, 0, sizeof(*m));
		if (!json_is_object(o))
			continue;
		copy(m->host, sizeof(m->host), o, "host");
		copy(m->reason, sizeof(m->reason), o, "reason");
		copy(m->by, sizeof(m->by), o, "by");
		m->until_ms = json_integer_value(json_object_get(o, "until_ms"));
		m->on = k != MARK_PREFER || m->host[0];
	}
}
