/* The virtio-mem device and the division of memory: see vmem.h. */
#include "resize/vmem.h"

#include <errno.h>
#include <string.h>

#define BLOCK (2ULL << 20) /* the device's block size (domain/launch_argv.c) */
#define BALLOON_SHARE 4    /* a balloon that stands in for a stuck device leaves a quarter of the boot memory */

static uint64_t bytes_of(const json_t *data, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(data, key));

	return n > 0 ? (uint64_t)n : 0;
}

static bool is_ours(const json_t *data)
{
	const char *id = json_string_value(json_object_get(data, "id"));

	return id && !strcmp(id, VMEM_ID);
}

void vmem_parse(const json_t *ret, struct vmem *out)
{
	const json_t *device, *data;
	size_t i;

	memset(out, 0, sizeof(*out));
	json_array_foreach(ret, i, device) {
		data = json_object_get(device, "data");
		if (!is_ours(data))
			continue;
		*out = (struct vmem){.there = true,
			.plugged = bytes_of(data, "size"),
			.requested = bytes_of(data, "requested-size"),
			.max = bytes_of(data, "max-size")};
		return;
	}
}

bool vmem_event(const json_t *data, uint64_t *plugged_out)
{
	if (!is_ours(data))
		return false;
	*plugged_out = bytes_of(data, "size");
	return true;
}

int vmem_request(struct qmp *q, uint64_t bytes, qmp_done_fn *done, void *arg)
{
	json_t *args = json_pack(
		"{s:s, s:s, s:I}", "path", VMEM_QOM_PATH, "property", "requested-size", "value", (json_int_t)bytes);

	return args ? qmp_command(q, "qom-set", args, 0, done, arg) : -ENOMEM;
}

static struct mem_parts grown(const struct mem_parts *now, uint64_t total, uint64_t boot)
{
	uint64_t balloon = total > now->vmem ? total - now->vmem : 0;

	balloon = balloon < boot ? balloon : boot;
	return (struct mem_parts){.balloon = balloon, .vmem = total - balloon};
}

static struct mem_parts shrunk(const struct mem_parts *now, uint64_t total, uint64_t boot, bool stuck)
{
	uint64_t keep = boot / BALLOON_SHARE < total ? boot / BALLOON_SHARE : total;
	uint64_t vmem = total > now->balloon ? (total - now->balloon) / BLOCK * BLOCK : 0;

	if (stuck)
		vmem = now->vmem < total - keep ? now->vmem : (total - keep) / BLOCK * BLOCK;
	return (struct mem_parts){.balloon = total - vmem, .vmem = vmem};
}

struct mem_parts mem_split(const struct mem_parts *now, uint64_t total, uint64_t boot, bool stuck)
{
	uint64_t has = now->balloon + now->vmem;

	if (total == has)
		return *now;
	return total > has ? grown(now, total, boot) : shrunk(now, total, boot, stuck);
}
