/* Balloon statistics: switching them on and reading them. See balloon.h. */
#include <errno.h>

#include "resize/balloon.h"

int balloon_poll_stats(struct qmp *q, unsigned seconds)
{
	json_t *args = json_pack("{s:s, s:s, s:I}", "path", BALLOON_QOM_PATH, "property",
		"guest-stats-polling-interval", "value", (json_int_t)seconds);

	return args ? qmp_command(q, "qom-set", args, 0, NULL, NULL) : -ENOMEM;
}

/* All-ones (which JSON carries as -1, or as a number over the signed range) is "the guest does not say". */
static uint64_t stat_get(const json_t *stats, const char *key)
{
	const json_t *v = json_object_get(stats, key);
	json_int_t n = json_integer_value(v);

	return json_is_integer(v) && n >= 0 ? (uint64_t)n : UINT64_MAX;
}

int balloon_stats_parse(const json_t *ret, struct guest_mem_stats *out)
{
	const json_t *stats = json_object_get(ret, "stats");
	struct guest_mem_stats s = {
		.total = stat_get(stats, "stat-total-memory"),
		.free = stat_get(stats, "stat-free-memory"),
		.available = stat_get(stats, "stat-available-memory"),
		.disk_caches = stat_get(stats, "stat-disk-caches"),
		.swap_in = stat_get(stats, "stat-swap-in"),
		.swap_out = stat_get(stats, "stat-swap-out"),
		.major_faults = stat_get(stats, "stat-major-faults"),
		.minor_faults = stat_get(stats, "stat-minor-faults"),
		.last_update_s = json_integer_value(json_object_get(ret, "last-update")),
	};

	if (s.last_update_s <= 0 || (s.total == UINT64_MAX && s.available == UINT64_MAX && s.free == UINT64_MAX))
		return -ENODATA;
	*out = s;
	return 0;
}
