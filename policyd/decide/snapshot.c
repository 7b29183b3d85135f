/* Snapshots to and from JSON: the table of members. See snapshot.h. */
#include "policyd/decide/snapshot.h"

#include <errno.h>
#include <string.h>

#include "policyd/decide/fields.h"

#define M(type, member) .off = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define END                                                                                                            \
	{                                                                                                              \
		.key = NULL                                                                                            \
	}

static const char *const state_words[] = {
	"inactive", "bound", "starting", "active", "suspended", "transition", "stopping", NULL};
_Static_assert(sizeof(state_words) / sizeof(state_words[0]) == DOM_STATE_COUNT + 1, "a name for each state");
static const char *const relocate_words[] = {"unset", "live", "cold", "never", "warm", NULL};
static const char *const postcopy_words[] = {"unset", "never", "allow", NULL};
static const char *const window_words[] = {"allow", "deny", NULL};
static const char *const keep_words[] = {"apart", "together", "on", "off", NULL};
static const char *const automation_words[] = {"full", "confirm", "manual", "unset", NULL};

const char *const fail_words[] = {
	"none", "refused", "cancelled", "no-convergence", "link", "fault", "interrupted", NULL};
static const char *const law_words[] = {"pressure", "free-rule", NULL};

static const struct field cpu_fields[] = {
	{"set", F_BOOL, M(cpu_policy, set)},
	{"util_lower", F_UINT, M(cpu_policy, util_lower), .def = 60},
	{"util_upper", F_UINT, M(cpu_policy, util_upper), .def = 85},
	{"vcpu_min", F_UINT, M(cpu_policy, vcpu_min), .def = 1},
	{"vcpu_max", F_UINT, M(cpu_policy, vcpu_max), .def = CONF_UNSET},
	{"attack", F_UINT, M(cpu_policy, attack)},
	{"decay", F_UINT, M(cpu_policy, decay)},
	{"elastic_margin", F_UINT, M(cpu_policy, elastic_margin), .def = 5},
	{"sample_rate_s", F_UINT, M(cpu_policy, sample_rate_s), .def = 10},
	END,
};

static const struct field memory_fields[] = {
	{"set", F_BOOL, M(mem_policy, set)},
	{"free_lower", F_UINT, M(mem_policy, free_lower), .def = 15},
	{"free_upper", F_UINT, M(mem_policy, free_upper), .def = 40},
	{"mem_min", F_U64, M(mem_policy, mem_min)},
	{"mem_max", F_U64, M(mem_policy, mem_max)},
	{"step_percent", F_UINT, M(mem_policy, step_percent), .def = 2},
	{"reserve_percent", F_UINT, M(mem_policy, reserve_percent), .def = 10},
	{"swap_in_bps", F_U64, M(mem_policy, swap_in_bps), .def = 65536},
	{"major_faults_ps", F_UINT, M(mem_policy, major_faults_ps), .def = 50},
	{"psi_percent", F_UINT, M(mem_policy, psi_percent), .def = 10},
	{"freeze_s", F_UINT, M(mem_policy, freeze_s), .def = 120},
	{"law", F_WORD, M(mem_policy, law), .words = law_words},
	{"sizing", F_BOOL, M(mem_policy, sizing)},
	{"sample_rate_s", F_UINT, M(mem_policy, sample_rate_s), .def = 5},
	END,
};

static const struct field window_fields[] = {
	{"kind", F_WORD, M(move_window, kind), .words = window_words},
	{"begin_min", F_UINT, M(move_window, begin_min)},
	{"end_min", F_UINT, M(move_window, end_min)},
	{"days", F_UINT, M(move_window, days), .def = 0x7f},
	{"finish", F_BOOL, M(move_window, finish)},
	END,
};

static const struct field policy_fields[] = {
	{"cpu", F_GROUP, M(policy_effective, cpu), .sub = cpu_fields},
	{"memory", F_GROUP, M(policy_effective, memory), .sub = memory_fields},
	{"relocate", F_WORD, M(policy_effective, relocate), .words = relocate_words, .def = RELOCATE_LIVE},
	{"quiet_ms", F_UINT, M(policy_effective, quiet_ms)},
	{"postcopy", F_WORD, M(policy_effective, postcopy), .words = postcopy_words, .def = POSTCOPY_NEVER},
	{"importance", F_UINT, M(policy_effective, importance), .def = 50},
	{"automation", F_WORD, M(policy_effective, automation), .words = automation_words, .def = AUTO_UNSET},
	{"automation_from", F_TEXT, M(policy_effective, automation_from)},
	{"windows", F_ARRAY, .off = offsetof(struct policy_effective, windows), .size = sizeof(struct move_window),
		.sub = window_fields, .off_n = offsetof(struct policy_effective, n_windows), .max = CONF_WINDOWS_MAX},
	{"windows_shift_min", F_INT, M(policy_effective, windows_shift_min)},
	{"windows_from", F_TEXT, M(policy_effective, windows_from)},
	{"cpu_dry", F_BOOL, M(policy_effective, cpu_dry)},
	{"memory_dry", F_BOOL, M(policy_effective, memory_dry)},
	{"cpu_from", F_TEXT, M(policy_effective, cpu_from)},
	{"memory_from", F_TEXT, M(policy_effective, memory_from)},
	{"relocate_from", F_TEXT, M(policy_effective, relocate_from)},
	END,
};

static const struct field domain_fields[] = {
	{"spec", F_SPEC, M(snap_domain, spec)},
	{"state", F_WORD, M(snap_domain, state), .words = state_words, .def = DOM_ACTIVE},
	{"busy", F_BOOL, M(snap_domain, busy)},
	{"held", F_BOOL, M(snap_domain, held)},
	{"hold_reason", F_TEXT, M(snap_domain, hold_reason)},
	{"pinned", F_BOOL, M(snap_domain, pinned)},
	{"pin_reason", F_TEXT, M(snap_domain, pin_reason)},
	{"prefer", F_TEXT, M(snap_domain, prefer)},
	{"moving_to", F_TEXT, M(snap_domain, moving_to)},
	{"wanted_on", F_TEXT, M(snap_domain, wanted_on)},
	{"wanted_since_ms", F_I64, M(snap_domain, wanted_since_ms)},
	{"movable", F_BOOL, M(snap_domain, movable), .def = 1},
	{"immovable_why", F_TEXT, M(snap_domain, immovable_why)},
	{"vcpus", F_UINT, M(snap_domain, vcpus), .def = 1},
	{"cpu_cap", F_UINT, M(snap_domain, cpu_cap)},
	{"cpu_cap_by_policy", F_BOOL, M(snap_domain, cpu_cap_by_policy)},
	{"mem_bytes", F_U64, M(snap_domain, mem_bytes)},
	{"huge_pages", F_BOOL, M(snap_domain, huge_pages)},
	{"resident_bytes", F_U64, M(snap_domain, resident_bytes)},
	{"util_fast", F_REAL, M(snap_domain, util_fast), .def = -1},
	{"util_slow", F_REAL, M(snap_domain, util_slow), .def = -1},
	{"util_p95", F_REAL, M(snap_domain, util_p95), .def = -1},
	{"over_upper", F_UINT, M(snap_domain, over_upper)},
	{"under_lower", F_UINT, M(snap_domain, under_lower)},
	{"mem_known", F_BOOL, M(snap_domain, mem_known)},
	{"mem_available", F_U64, M(snap_domain, mem_available)},
	{"mem_free", F_U64, M(snap_domain, mem_free)},
	{"swap_in_bps", F_REAL, M(snap_domain, swap_in_bps), .def = -1},
	{"major_faults_ps", F_REAL, M(snap_domain, major_faults_ps), .def = -1},
	{"mem_short", F_UINT, M(snap_domain, mem_short)},
	{"dirty_bps", F_REAL, M(snap_domain, dirty_bps), .def = -1},
	{"hot_bytes", F_REAL, M(snap_domain, hot_bytes)},
	{"send_bytes", F_REAL, M(snap_domain, send_bytes)},
	{"wire_ratio", F_REAL, M(snap_domain, wire_ratio)},
	{"delta_share", F_REAL, M(snap_domain, delta_share)},
	{"last_resize_ms", F_I64, M(snap_domain, last_resize_ms)},
	{"last_move_ms", F_I64, M(snap_domain, last_move_ms)},
	{"started_ms", F_I64, M(snap_domain, started_ms)},
	{"mem_advised", F_U64, M(snap_domain, mem_advised)},
	{"unplug_frozen_until_ms", F_I64, M(snap_domain, unplug_frozen_until_ms)},
	{"shrink_frozen_until_ms", F_I64, M(snap_domain, shrink_frozen_until_ms)},
	{"need_since_ms", F_I64, M(snap_domain, need_since_ms)},
	{"moves_last_hour", F_UINT, M(snap_domain, moves_last_hour)},
	{"blackout_last_hour_ms", F_UINT, M(snap_domain, blackout_last_hour_ms)},
	{"bytes_last_hour", F_U64, M(snap_domain, bytes_last_hour)},
	{"came_from", F_TEXT, M(snap_domain, came_from)},
	{"arrived_ms", F_I64, M(snap_domain, arrived_ms)},
	{"fails", F_UINT, M(snap_domain, fails)},
	{"last_fail", F_WORD, M(snap_domain, last_fail), .words = fail_words},
	{"last_fail_ms", F_I64, M(snap_domain, last_fail_ms)},
	{"last_fail_peer", F_TEXT, M(snap_domain, last_fail_peer)},
	{"policy", F_GROUP, M(snap_domain, policy), .sub = policy_fields},
	{"cluster_available", F_UINT, M(snap_domain, cluster_available)},
	{"cluster_min", F_UINT, M(snap_domain, cluster_min)},
	END,
};

static const struct field peer_fields[] = {
	{"name", F_TEXT, M(snap_peer, name)},
	{"up", F_BOOL, M(snap_peer, up), .def = 1},
	{"accepts", F_BOOL, M(snap_peer, accepts), .def = 1},
	{"asleep", F_BOOL, M(snap_peer, asleep)},
	{"excluded", F_BOOL, M(snap_peer, excluded)},
	{"vcpus_total", F_UINT, M(snap_peer, vcpus_total)},
	{"vcpus_given", F_UINT, M(snap_peer, vcpus_given)},
	{"mem_total", F_U64, M(snap_peer, mem_total)},
	{"mem_given", F_U64, M(snap_peer, mem_given)},
	{"cpu_util", F_REAL, M(snap_peer, cpu_util), .def = -1},
	{"moves", F_UINT, M(snap_peer, moves)},
	{"link_bps", F_U64, M(snap_peer, link_bps)},
	{"wire_bps", F_REAL, M(snap_peer, wire_bps)},
	{"engine_bps", F_REAL, M(snap_peer, engine_bps)},
	{"setup_s", F_REAL, M(snap_peer, setup_s)},
	{"dark_ms", F_REAL, M(snap_peer, dark_ms)},
	{"recent_failures", F_UINT, M(snap_peer, recent_failures)},
	END,
};

static const struct field decide_fields[] = {
	/* defaults as in conf/schema.c; test_snapshot compares */
	{"automation", F_WORD, M(conf_decide, automation), .words = automation_words},
	{"interval_ms", F_UINT, M(conf_decide, interval_ms), .def = 2000},
	{"sustain_samples", F_UINT, M(conf_decide, sustain_samples), .def = 3},
	{"sustain_window", F_UINT, M(conf_decide, sustain_window), .def = 5},
	{"dwell_s", F_UINT, M(conf_decide, dwell_s), .def = 15},
	{"cooldown_s", F_UINT, M(conf_decide, cooldown_s), .def = 3600},
	{"boot_grace_s", F_UINT, M(conf_decide, boot_grace_s), .def = 60},
	{"move_after_s", F_UINT, M(conf_decide, move_after_s), .def = 60},
	{"return_after_s", F_UINT, M(conf_decide, return_after_s), .def = 21600},
	{"moves_per_hour", F_UINT, M(conf_decide, moves_per_hour), .def = 12},
	{"bytes_per_hour", F_U64, M(conf_decide, bytes_per_hour)},
	{"blackout_per_hour_ms", F_UINT, M(conf_decide, blackout_per_hour_ms), .def = 60000},
	{"domain_moves_per_hour", F_UINT, M(conf_decide, domain_moves_per_hour), .def = 2},
	{"domain_bytes_per_hour", F_U64, M(conf_decide, domain_bytes_per_hour)},
	{"domain_blackout_per_hour_ms", F_UINT, M(conf_decide, domain_blackout_per_hour_ms), .def = 30000},
	{"max_moves", F_UINT, M(conf_decide, max_moves), .def = 1},
	{"power_off_below", F_UINT, M(conf_decide, power_off_below)},
	{"power_rest_ms", F_UINT, M(conf_decide, power_rest_ms), .def = 3600000},
	{"min_gain_ratio", F_REAL, M(conf_decide, min_gain_ratio), .def = 1.2},
	END,
};

static const struct field name_fields[] = {
	{"name", F_TEXT, M(snap_name, name)},
	END,
};

static const struct field member_fields[] = {
	{"domain", F_TEXT, M(snap_member, domain)},
	{"host", F_TEXT, M(snap_member, host)},
	END,
};

static const struct field rule_fields[] = {
	{"name", F_TEXT, M(snap_rule, name)},
	{"keep", F_WORD, M(snap_rule, keep), .words = keep_words},
	{"hard", F_BOOL, M(snap_rule, hard), .def = 1},
	{"hosts", F_ARRAY, .off = offsetof(struct snap_rule, hosts), .size = sizeof(struct snap_name),
		.sub = name_fields, .off_n = offsetof(struct snap_rule, n_hosts), .max = CONF_RULE_HOSTS_MAX},
	{"members", F_LIST, .off = offsetof(struct snap_rule, members), .size = sizeof(struct snap_member),
		.sub = member_fields, .off_n = offsetof(struct snap_rule, n_members)},
	END,
};

static const struct field snapshot_fields[] = {
	{"version", F_UINT, M(snapshot, version), .def = SNAPSHOT_VERSION},
	{"now_ms", F_I64, M(snapshot, now_ms)},
	{"minute_of_day", F_UINT, M(snapshot, minute_of_day)},
	{"weekday", F_UINT, M(snapshot, weekday)},
	{"host", F_TEXT, M(snapshot, host)},
	{"vcpus_total", F_UINT, M(snapshot, vcpus_total)},
	{"mem_total", F_U64, M(snapshot, mem_total)},
	{"vcpus_given", F_UINT, M(snapshot, vcpus_given)},
	{"cpu_given", F_UINT, M(snapshot, cpu_given)},
	{"caps", F_BOOL, M(snapshot, caps)},
	{"mem_given", F_U64, M(snapshot, mem_given)},
	{"host_cpu_util", F_REAL, M(snapshot, host_cpu_util), .def = -1},
	{"psi_cpu", F_REAL, M(snapshot, psi_cpu), .def = -1},
	{"psi_mem", F_REAL, M(snapshot, psi_mem), .def = -1},
	{"moves_now", F_UINT, M(snapshot, moves_now)},
	{"moves_last_hour", F_UINT, M(snapshot, moves_last_hour)},
	{"blackout_last_hour_ms", F_UINT, M(snapshot, blackout_last_hour_ms)},
	{"bytes_last_hour", F_U64, M(snapshot, bytes_last_hour)},
	{"caution", F_REAL, M(snapshot, caution), .def = 1},
	{"emptying", F_BOOL, M(snapshot, emptying)},
	{"emptying_since_ms", F_I64, M(snapshot, emptying_since_ms)},
	{"empty_by_ms", F_I64, M(snapshot, empty_by_ms)},
	{"awake_since_ms", F_I64, M(snapshot, awake_since_ms)},
	{"decide", F_GROUP, M(snapshot, decide), .sub = decide_fields},
	{"max_blackout_ms", F_UINT, M(snapshot, max_blackout_ms), .def = 300},
	{"bandwidth_bps", F_U64, M(snapshot, bandwidth_bps)},
	{"max_rounds", F_UINT, M(snapshot, max_rounds)},
	{"throttle_max", F_UINT, M(snapshot, throttle_max)},
	{"domains", F_LIST, .off = offsetof(struct snapshot, domains), .size = sizeof(struct snap_domain),
		.sub = domain_fields, .off_n = offsetof(struct snapshot, n_domains)},
	{"peers", F_LIST, .off = offsetof(struct snapshot, peers), .size = sizeof(struct snap_peer), .sub = peer_fields,
		.off_n = offsetof(struct snapshot, n_peers)},
	{"rules", F_LIST, .off = offsetof(struct snapshot, rules), .size = sizeof(struct snap_rule), .sub = rule_fields,
		.off_n = offsetof(struct snapshot, n_rules)},
	END,
};

void snapshot_init(struct snapshot *s)
{
	memset(s, 0, sizeof(*s));
	fields_init(snapshot_fields, s);
}

void snap_domain_init(struct snap_domain *d)
{
	memset(d, 0, sizeof(*d));
	fields_init(domain_fields, d);
}

void snap_peer_init(struct snap_peer *p)
{
	memset(p, 0, sizeof(*p));
	fields_init(peer_fields, p);
}

void snapshot_fini(struct snapshot *s)
{
	fields_fini(snapshot_fields, s);
}

json_t *snapshot_to_json(const struct snapshot *s)
{
	return fields_to_json(snapshot_fields, s);
}

int snapshot_from_json(const json_t *j, struct snapshot *out, struct err *e)
{
	struct snapshot s;
	int err;

	memset(&s, 0, sizeof(s));
	err = fields_from_json(snapshot_fields, j, &s, e);
	if (err) {
		err_wrap(e, "snapshot");
		return err;
	}
	if (s.version != SNAPSHOT_VERSION) {
		err = err_set(e, EINVAL, "snapshot: version %u; this program knows %u", s.version, SNAPSHOT_VERSION);
		snapshot_fini(&s);
		return err;
	}
	*out = s;
	return 0;
}
