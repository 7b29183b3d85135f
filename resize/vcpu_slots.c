/* Reading query-hotpluggable-cpus: see vcpu_slots.h. Called by vcpu.c; pure. */
#include "resize/vcpu_slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIPHERAL "/machine/peripheral/"

static int64_t prop(const json_t *props, const char *name)
{
	return json_integer_value(json_object_get(props, name));
}

static int64_t slot_key(const json_t *props)
{
	return prop(props, "socket-id") << 40 | prop(props, "die-id") << 30 | prop(props, "core-id") << 10 |
		prop(props, "thread-id");
}

/* "cpu-<core>", the name that launch gives too; longer only where there are several sockets, dies or threads. */
static void slot_new_id(const json_t *props, char *out, size_t size)
{
	long long s = prop(props, "socket-id"), d = prop(props, "die-id"), c = prop(props, "core-id"),
		  t = prop(props, "thread-id");

	if (s || d || t)
		snprintf(out, size, "cpu-%lld-%lld-%lld-%lld", s, d, c, t);
	else
		snprintf(out, size, "cpu-%lld", c);
}

static int slot_parse(const json_t *entry, struct vcpu_slot *out)
{
	const char *type = json_string_value(json_object_get(entry, "type"));
	const char *path = json_string_value(json_object_get(entry, "qom-path"));
	json_int_t count = json_integer_value(json_object_get(entry, "vcpus-count"));

	out->props = json_object_get(entry, "props");
	if (!type || !json_is_object(out->props) || count < 1 || count > VCPU_SLOTS_MAX ||
		strlen(type) >= sizeof(out->driver))
		return -EPROTO;
	out->count = (unsigned)count;
	out->key = slot_key(out->props);
	out->present = path != NULL;
	snprintf(out->driver, sizeof(out->driver), "%s", type);
	if (!path)
		slot_new_id(out->props, out->id, sizeof(out->id));
	else if (!strncmp(path, PERIPHERAL, strlen(PERIPHERAL)))
		snprintf(out->id, sizeof(out->id), "%s", path + strlen(PERIPHERAL));
	return 0;
}

static int slot_cmp(const void *a, const void *b)
{
	const struct vcpu_slot *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

int vcpu_slots_parse(const json_t *ret, struct vcpu_slots *out)
{
	struct vcpu_slots s = {0};
	const json_t *entry;
	size_t n = json_array_size(ret), i;

	if (!json_is_array(ret) || !n || n > VCPU_SLOTS_MAX)
		return -EPROTO;
	s.v = calloc(n, sizeof(*s.v));
	if (!s.v)
		return -ENOMEM;
	json_array_foreach(ret, i, entry) {
		struct vcpu_slot *slot = &s.v[s.n++];

		if (slot_parse(entry, slot)) {
			vcpu_slots_fini(&s);
			return -EPROTO;
		}
		s.max += slot->count;
		s.given += slot->present ? slot->count : 0;
		s.boot += slot->present && !slot->id[0] ? slot->count : 0;
	}
	qsort(s.v, s.n, sizeof(*s.v), slot_cmp);
	*out = s;
	return 0;
}

void vcpu_slots_fini(struct vcpu_slots *s)
{
	free(s->v);
	memset(s, 0, sizeof(*s));
}

const struct vcpu_slot *vcpu_slots_next_in(const struct vcpu_slots *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!s->v[i].present)
			return &s->v[i];
	return NULL;
}

const struct vcpu_slot *vcpu_slots_next_out(const struct vcpu_slots *s, const json_t *refused)
{
	for (unsigned i = s->n; i-- > 0;)
		if (s->v[i].present && s->v[i].id[0] && !json_object_get(refused, s->v[i].id))
			return &s->v[i];
	return NULL;
}

const struct vcpu_slot *vcpu_slots_find(const struct vcpu_slots *s, const char *id)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i].present && !strcmp(s->v[i].id, id))
			return &s->v[i];
	return NULL;
}
