/* Memory above boot size: one virtio-mem device a domain ("vmem0"), of which the guest plugs as much as is requested.
 *
 * A guest's memory is the balloon's actual size (of what it booted with) plus what of the device is plugged; operators and policies
 * think of the sum only. Here: reading the device, asking for a size, and how a sum is divided. QEMU does not count the device in
 * query-balloon (measured on 7.2). A guest may plug up to the requested size at any time, also after it was reset: that much is its own.
 * Pure functions but for vmem_request; loop thread. */
#ifndef RESIZE_VMEM_H
#define RESIZE_VMEM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/qmp.h"

#define VMEM_ID "vmem0"
#define VMEM_QOM_PATH "/machine/peripheral/" VMEM_ID

struct vmem {
	bool there;
	uint64_t plugged, requested, max; /* bytes */
};

/* From query-memory-devices' answer. No such device: all is 0. */
void vmem_parse(const json_t *ret, struct vmem *out);
/* From a MEMORY_DEVICE_SIZE_CHANGE event: true and the plugged size, when it is about our device. */
bool vmem_event(const json_t *data, uint64_t *plugged_out);
/* Ask the guest to have @bytes (a multiple of 2 MiB) of it plugged. As qmp_command. */
int vmem_request(struct qmp *q, uint64_t bytes, qmp_done_fn *done, void *arg);

struct mem_parts {
	uint64_t balloon, vmem; /* bytes; the balloon's part is what it leaves to the guest */
};

/* How a guest that has @now comes to @total, @boot of it being what it booted with. Growing fills the boot memory first, and never takes
 * from the device, which could be slow to give; shrinking empties the device first, and where that is @stuck (the guest
 * cannot give any more of it) takes the rest by the balloon. The sum is @total exactly where @total and @boot are multiples of 2 MiB. */
struct mem_parts mem_split(const struct mem_parts *now, uint64_t total, uint64_t boot, bool stuck);

#endif
