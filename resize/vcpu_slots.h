/* Reading query-hotpluggable-cpus: which vCPUs may exist, which do, and which is next to come or go. Pure, any thread. */
#ifndef RESIZE_VCPU_SLOTS_H
#define RESIZE_VCPU_SLOTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define VCPU_SLOTS_MAX 1024

struct vcpu_slot {
	int64_t key;    /* order by socket, die, core, thread */
	unsigned count; /* vCPUs in it; 1 on x86 */
	bool present;
	char id[64]; /* present: its device id, "" = QEMU booted with it (never unplugged); absent: the id to give */
	char driver[64];
	const json_t *props; /* borrowed from the answer */
};

struct vcpu_slots { /* sorted by key */
	struct vcpu_slot *v;
	unsigned n;
	unsigned given, boot, max; /* vCPUs: present now, present and not unpluggable, possible */
};

/* -EPROTO: not such an answer; -ENOMEM. Free with vcpu_slots_fini; @ret must outlive it. */
int vcpu_slots_parse(const json_t *ret, struct vcpu_slots *out);
void vcpu_slots_fini(struct vcpu_slots *s);

/* The lowest free slot, or NULL. */
const struct vcpu_slot *vcpu_slots_next_in(const struct vcpu_slots *s);
/* The highest plugged slot whose id is no key of the object @refused (may be NULL), or NULL. */
const struct vcpu_slot *vcpu_slots_next_out(const struct vcpu_slots *s, const json_t *refused);
const struct vcpu_slot *vcpu_slots_find(const struct vcpu_slots *s, const char *id);

#endif
