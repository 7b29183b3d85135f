/* What a QEMU program says of itself (version, machine types, CPU models under the host's accelerator), and what of it matters to a domain that is to run
 * on it. Pure; filled by qemu_probe.c from QMP's answers. Any thread. */
#ifndef POLICYD_ACT_QEMU_FACTS_H
#define POLICYD_ACT_QEMU_FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define QEMU_OLDEST "7.2" /* the oldest that we were tried with */

struct qemu_facts {
	char version[32];
	unsigned major, minor;
	json_t *machines; /* {name: true}; aliases too */
	json_t *unavailable; /* of the generic CPU model: features that this host or accelerator lacks; NULL = QEMU does not know the model */
	json_t *features; /* {name: true}: what cpu-arch "native" gives here */
};

void qemu_facts_fini(struct qemu_facts *q);
/* QMP's answers to query-version, query-machines, query-cpu-definitions and query-cpu-model-expansion; NULL = it did not answer: that stays unknown,
 * and nothing is held against anybody. */
void qemu_facts_take(struct qemu_facts *q, const json_t *version, const json_t *machines, const json_t *definitions,
	const json_t *expansion);

/* Each is true where nothing is known. */
bool qemu_version_ok(const struct qemu_facts *q);
bool qemu_has_machine(const struct qemu_facts *q, const char *machine);
/* False: @why lists what it lacks. */
bool qemu_runs_generic(const struct qemu_facts *q, char *why, size_t size);
bool qemu_has_features(const struct qemu_facts *q, const json_t *wanted, char *why, size_t size);
/* For a request: the names in features; new reference, NULL = unknown. */
json_t *qemu_feature_list(const struct qemu_facts *q);

#endif
