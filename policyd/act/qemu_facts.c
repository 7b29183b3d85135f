/* See qemu_facts.h. */
#include "policyd/act/qemu_facts.h"

#include <stdio.h>
#include <string.h>

#include "domain/launch.h"

/* Boolean properties of a CPU object that are no features that a guest could see or use. */
static const char *const no_features[] = {"check", "enforce", "fill-mtrr-mask", "full-cpuid-auto-level",
	"host-cache-info", "hotpluggable", "hotplugged", "kvm", "kvm-no-smi-migration", "l3-cache", "legacy-cache",
	"lmce", "migratable", "pmu", "realized", "start-powered-off", "tcg-cpuid", "vmware-cpuid-freq", "cpuid-0xb",
	"legacy-multi-node"};

static bool is_feature(const char *name)
{
	if (!strncmp(name, "x-", 2) || !strncmp(name, "xen-", 4) || !strncmp(name, "hv-", 3))
		return false;
	for (size_t i = 0; i < sizeof(no_features) / sizeof(no_features[0]); i++)
		if (!strcmp(name, no_features[i]))
			return false;
	return true;
}

/* One feature has up to three spellings (sse4.1, sse4_1, sse4-1), and a version may drop one. */
static const char *spelled(const char *name, char out[64])
{
	snprintf(out, 64, "%s", name);
	for (char *c = out; *c; c++)
		if (*c == '_' || *c == '.')
			*c = '-';
	return out;
}

void qemu_facts_fini(struct qemu_facts *q)
{
	json_decref(q->machines);
	json_decref(q->unavailable);
	json_decref(q->features);
	memset(q, 0, sizeof(*q));
}

static void take_version(struct qemu_facts *q, const json_t *version)
{
	const json_t *v = json_object_get(version, "qemu");

	q->major = (unsigned)json_integer_value(json_object_get(v, "major"));
	q->minor = (unsigned)json_integer_value(json_object_get(v, "minor"));
	if (q->major)
		snprintf(q->version, sizeof(q->version), "%u.%u.%u", q->major, q->minor,
			(unsigned)json_integer_value(json_object_get(v, "micro")));
}

static json_t *take_machines(const json_t *machines)
{
	json_t *out = json_is_array(machines) ? json_object() : NULL;

	for (size_t i = 0; i < json_array_size(machines); i++) {
		static const char *const keys[] = {"name", "alias"};

		for (unsigned k = 0; k < 2; k++) {
			const char *name = json_string_value(json_object_get(json_array_get(machines, i), keys[k]));

			if (name)
				json_object_set_new(out, name, json_true());
		}
	}
	return out;
}

static json_t *take_generic(const json_t *definitions)
{
	for (size_t i = 0; i < json_array_size(definitions); i++) {
		const json_t *d = json_array_get(definitions, i);
		const char *name = json_string_value(json_object_get(d, "name"));

		if (name && !strcmp(name, LAUNCH_CPU_GENERIC))
			return json_incref(json_object_get(d, "unavailable-features"));
	}
	return NULL;
}

static json_t *take_features(const json_t *expansion)
{
	json_t *props = json_object_get(json_object_get(expansion, "model"), "props"), *out, *value;
	const char *name;
	char spelling[64];

	if (!json_is_object(props))
		return NULL;
	out = json_object();
	json_object_foreach(props, name, value) {
		if (json_is_true(value) && is_feature(name))
			json_object_set_new(out, spelled(name, spelling), json_true());
	}
	return out;
}

void qemu_facts_take(struct qemu_facts *q, const json_t *version, const json_t *machines, const json_t *definitions,
	const json_t *expansion)
{
	qemu_facts_fini(q);
	take_version(q, version);
	q->machines = take_machines(machines);
	q->unavailable = take_generic(definitions);
	q->features = take_features(expansion);
}

bool qemu_version_ok(const struct qemu_facts *q)
{
	unsigned major = 0, minor = 0;

	sscanf(QEMU_OLDEST, "%u.%u", &major, &minor);
	return !q->major || q->major > major || (q->major == major && q->minor >= minor);
}

bool qemu_has_machine(const struct qemu_facts *q, const char *machine)
{
	return !q->machines || json_object_get(q->machines, machine);
}

/* "aes, avx2 and 3 more" */
static void name_one(char *why, size_t size, unsigned n, const char *name)
{
	size_t at = strlen(why);

	if (n < 6)
		snprintf(why + at, size - at, "%s%.40s", n ? ", " : "", name);
}

static bool name_rest(char *why, size_t size, unsigned n)
{
	size_t at = strlen(why);

	if (n > 6)
		snprintf(why + at, size - at, " and %u more", n - 6);
	return n == 0;
}

bool qemu_runs_generic(const struct qemu_facts *q, char *why, size_t size)
{
	unsigned n = 0;

	why[0] = 0;
	for (size_t i = 0; i < json_array_size(q->unavailable); i++) {
		const char *name = json_string_value(json_array_get(q->unavailable, i));

		if (name)
			name_one(why, size, n++, name);
	}
	return name_rest(why, size, n);
}

bool qemu_has_features(const struct qemu_facts *q, const json_t *wanted, char *why, size_t size)
{
	char spelling[64];
	unsigned n = 0;

	why[0] = 0;
	for (size_t i = 0; q->features && i < json_array_size(wanted); i++) {
		const char *name = json_string_value(json_array_get(wanted, i));

		if (name && is_feature(name) && !json_object_get(q->features, spelled(name, spelling)))
			name_one(why, size, n++, name);
	}
	return name_rest(why, size, n);
}

json_t *qemu_feature_list(const struct qemu_facts *q)
{
	json_t *out, *value;
	const char *name;

	if (!q->features)
		return NULL;
	out = json_array();
	json_object_foreach(q->features, name, value) {
		(void)value;
		json_array_append_new(out, json_string(name));
	}
	return out;
}
