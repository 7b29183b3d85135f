/* The rows of the schema: see schema.h. Add a key here and a member in conf.h, and it is parsed, checked and documented. */
#include "conf/schema.h"

#include "conf/conf.h"
#include "conf/rows.h"

static const char *const accel_words[] = {"auto", "kvm", "tcg", NULL};
static const char *const relocate_words[] = {"unset", "live", "cold", "never", "warm", NULL};
static const char *const law_words[] = {"pressure", "free-rule", NULL};
static const char *const automation_words[] = {"full", "confirm", "manual", NULL};
static const char *const postcopy_words[] = {"unset", "never", "allow", NULL};
static const char *const policy_automation_words[] = {"full", "confirm", "manual", "unset", NULL};
static const char *const verify_words[] = {"digest", "full", NULL};
static const char *const arch_words[] = {"generic", "native", NULL};
static const char *const cache_words[] = {"none", "writeback", NULL};

static const struct key capacity_keys[] = {
	{"vcpus", KEY_UINT, AT(conf, host.capacity_vcpus), RANGE(1, 65536), .word = "all", .def = "all",
		.help = "vCPUs that domains may have together; all: as many as the machine has processors"},
	{"memory", KEY_SIZE, AT(conf, host.capacity_mem), RANGE(16 << 20, 1ULL << 50), .word = "all", .def = "all",
		.help = "memory that the host counts with; all: what the machine has"},
	{"keep-memory", KEY_SIZE, AT(conf, host.keep_mem), RANGE(0, 1ULL << 50), .def = "0M",
		.help = "part of it that no domain gets: for the host itself"},
};
static const struct key_table capacity = TABLE(capacity_keys);

static const struct key volume_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(volume, name), .help = "what domains call it, the same on every host"},
	{"path", KEY_PATH, KF_REQUIRED, AT(volume, path), .help = "image file or device on this host"},
};
static const struct key_table volume_table = TABLE(volume_keys);
static const struct key switch_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(vswitch, name), .help = "what domains call it"},
	{"bridge", KEY_NAME, KF_REQUIRED, AT(vswitch, bridge), .help = "bridge device on this host"},
};
static const struct key_table switch_table = TABLE(switch_keys);
static const struct key console_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(console_group, name), .help = "what domains call it"},
	{"ports", KEY_PORTS, KF_REQUIRED, AT(console_group, port_first),
		.off2 = offsetof(struct console_group, port_last),
		.help = "TCP ports on 127.0.0.1, one for each domain with a console"},
};
static const struct key_table console_table = TABLE(console_keys);

static const struct key host_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(conf, host.host_name),
		.help = "this host's name; its certificate must carry it"},
	{"address", KEY_ADDRESS, AT(conf, address), .off2 = offsetof(struct conf, address_port), .def = "",
		.def_text = "all addresses",
		.help = "where peers reach it, and what it listens on; with its port: \"10.0.0.1:8101\", \"[fd00::1]:8101\""},
	{"port", KEY_PORT, AT(conf, port), RANGE(1, 65535), .def = "8101", .help = "TCP port for peers"},
	{"capacity", KEY_GROUP, SUB(capacity), .help = "what this host can give"},
	{"accel", KEY_WORD, AT(conf, host.accel), .words = accel_words, .def = "auto",
		.help = "kvm, tcg (software emulation), or auto"},
	{"volumes", KEY_LIST, SUB(volume_table), .list = MANY(conf, host.volumes, host.n_volumes),
		.help = "disks by name"},
	{"switches", KEY_LIST, SUB(switch_table), .list = MANY(conf, host.switches, host.n_switches),
		.help = "networks by name"},
	{"consoles", KEY_LIST, SUB(console_table), .list = MANY(conf, host.consoles, host.n_consoles),
		.help = "console groups by name"},
};
static const struct key_table host_table = TABLE(host_keys);

static const struct key paths_keys[] = {
	{"run", KEY_PATH, AT(conf, host.paths.run), .def = "/run/policyd",
		.help = "a folder for each running domain, sockets"},
	{"state", KEY_PATH, AT(conf, host.paths.state), .def = "/var/lib/policyd",
		.help = "definitions, journal, history"},
	{"ram", KEY_PATH, AT(conf, host.paths.ram), .def = "/dev/shm/policyd",
		.help = "guests' memory: a folder on tmpfs or hugetlbfs"},
	{"qemu", KEY_PATH, AT(conf, host.paths.qemu), .def = "/usr/bin/qemu-system-x86_64",
		.help = "the QEMU to start"},
	{"worker", KEY_PATH, AT(conf, host.paths.worker), .def = "",
		.def_text = "policyd-migrate beside policyd itself", .help = "the migration program"},
};
static const struct key_table paths_table = TABLE(paths_keys);

static const struct key control_keys[] = {
	{"socket", KEY_PATH, AT(conf, control), .def = "", .def_text = "policyd.sock in paths.run",
		.help = "where policyctl connects"},
};
static const struct key_table control_table = TABLE(control_keys);

static const struct key http_keys[] = {
	{"address", KEY_ADDRESS, AT(conf, http_address), .def = "127.0.0.1",
		.help = "listen here for metrics and status page"},
	{"port", KEY_PORT, AT(conf, http_port), RANGE(1, 65535), .word = "off", .def = "off",
		.help = "TCP port, or off"},
};
static const struct key_table http_table = TABLE(http_keys);

static const struct key security_keys[] = {
	{"certificate", KEY_FILE, AT(conf, security.certificate), .help = "this host's certificate, PEM"},
	{"key", KEY_FILE, AT(conf, security.key), .help = "its private key, PEM"},
	{"trust", KEY_DIR, AT(conf, security.trust),
		.help = "folder of certificates (peers' own or a CA's) that are trusted"},
	{"fips", KEY_BOOL, AT(conf, security.fips), .def = "false",
		.help = "only OpenSSL's FIPS provider, only towards peers that are in FIPS mode"},
};
static const struct key_table security_table = TABLE(security_keys);

static const struct key peer_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(conf_peer, name), .help = "the peer's host.name"},
	{"address", KEY_ADDRESS, KF_REQUIRED, AT(conf_peer, address), .off2 = offsetof(struct conf_peer, address_port),
		.help = "IPv4, IPv6 or host name; with its port: \"10.0.0.2:8101\", \"[fd00::2]:8101\""},
	{"port", KEY_PORT, AT(conf_peer, port), RANGE(1, 65535), .def = "8101", .help = "its host.port"},
};
static const struct key_table peer_table = TABLE(peer_keys);
static const struct key cluster_keys[] = {
	{"peers", KEY_LIST, SUB(peer_table), .list = HEAP(conf, peers, n_peers, 1024),
		.help = "the other hosts of the group"},
};
static const struct key_table cluster_table = TABLE(cluster_keys);

static const struct key migration_keys[] = {
	{"max-blackout", KEY_MS, AT(conf, migration.max_blackout_ms), RANGE(1, 600000), .def = "300ms",
		.help = "longest time for which a guest may stand still in a live move"},
	{"bandwidth", KEY_SIZE, AT(conf, migration.bandwidth_bps), RANGE(1 << 16, 1ULL << 40), .word = "unlimited",
		.def = "unlimited", .help = "bytes a second for all channels of one migration"},
	{"channels", KEY_UINT, AT(conf, migration.channels), RANGE(1, 16), .word = "auto", .def = "auto",
		.help = "TLS connections side by side"},
	{"ports", KEY_PORTS, AT(conf, migration.port_first), .off2 = offsetof(struct conf, migration.port_last),
		.def = "49152-49215", .help = "TCP ports for incoming migrations"},
	{"max-rounds", KEY_UINT, AT(conf, migration.max_rounds), RANGE(1, 1000), .def = "30",
		.help = "copy rounds after which a live move stops trying"},
	{"throttle-max", KEY_UINT, AT(conf, migration.throttle_max), RANGE(0, 99), .unit = "%", .word = "never",
		.def = "30",
		.help = "a guest that writes faster than it can be sent may be slowed by this much while it is moved; never: it is not"},
	{"boost", KEY_UINT, AT(conf, migration.boost), RANGE(0, 19), .unit = "steps of nice", .word = "never",
		.def = "5",
		.help = "policyd-migrate gets more CPU than guests while it moves one, at both hosts; never: it does not"},
	{"verify", KEY_WORD, AT(conf, migration.verify_full), .words = verify_words, .def = "digest",
		.help = "digest: of what was sent, free of cost; full: all RAM is read again on both sides, lengthens "
			"the blackout"},
};
static const struct key_table migration_table = TABLE(migration_keys);

static const struct key decide_keys[] = {
	{"automation", KEY_WORD, AT(conf, decide.automation), .words = automation_words, .def = "full",
		.help = "full: acts by itself; confirm: waits for policyctl approve; manual: only recommends"},
	{"interval", KEY_MS, AT(conf, decide.interval_ms), RANGE(100, 3600000), .def = "2s",
		.help = "between decisions"},
	{"sustain-samples", KEY_UINT, AT(conf, decide.sustain_samples), RANGE(1, 60), .def = "3",
		.help = "this many of the last sustain-window samples must be beyond a bound before anything is done"},
	{"sustain-window", KEY_UINT, AT(conf, decide.sustain_window), RANGE(1, 60), .def = "5",
		.help = "see sustain-samples"},
	{"dwell", KEY_SECONDS, AT(conf, decide.dwell_s), RANGE(0, 86400), .def = "15",
		.help = "after a resize nothing else is done to that domain for so long"},
	{"cooldown", KEY_SECONDS, AT(conf, decide.cooldown_s), RANGE(0, 604800), .def = "3600",
		.help = "no second move of a domain for so long"},
	{"boot-grace", KEY_SECONDS, AT(conf, decide.boot_grace_s), RANGE(0, 86400), .def = "60",
		.help = "a domain that booted less than this ago is left alone: a booting guest looks busy"},
	{"move-after", KEY_SECONDS, AT(conf, decide.move_after_s), RANGE(0, 86400), .def = "60",
		.help = "a need must have lasted this long before anything is moved for it"},
	{"return-after", KEY_SECONDS, AT(conf, decide.return_after_s), RANGE(0, 604800), .def = "6h",
		.help = "a domain that came from a host does not go back there for so long, unless the need began after its "
			"cooldown"},
	{"moves-per-hour", KEY_UINT, AT(conf, decide.moves_per_hour), RANGE(0, 3600), .def = "12",
		.help = "moves that this host starts in an hour; 0: none"},
	{"bytes-per-hour", KEY_SIZE, AT(conf, decide.bytes_per_hour), RANGE(1 << 20, 1ULL << 50), .word = "unlimited",
		.def = "unlimited", .help = "bytes that its moves may send in an hour"},
	{"blackout-per-hour", KEY_MS, AT(conf, decide.blackout_per_hour_ms), RANGE(1, 3600000), .word = "unlimited",
		.def = "60s", .help = "time for which all domains together may stand still in its moves in an hour"},
	{"domain-moves-per-hour", KEY_UINT, AT(conf, decide.domain_moves_per_hour), RANGE(0, 3600), .def = "2",
		.help = "moves of one domain in an hour; 0: none"},
	{"domain-bytes-per-hour", KEY_SIZE, AT(conf, decide.domain_bytes_per_hour), RANGE(1 << 20, 1ULL << 50),
		.word = "unlimited", .def = "unlimited", .help = "bytes that moves of one domain may send in an hour"},
	{"domain-blackout-per-hour", KEY_MS, AT(conf, decide.domain_blackout_per_hour_ms), RANGE(1, 3600000),
		.word = "unlimited", .def = "30s",
		.help = "time for which one domain may stand still in moves in an hour"},
	{"max-moves", KEY_UINT, AT(conf, decide.max_moves), RANGE(0, 64), .def = "1",
		.help = "moves at a time; 0: none"},
	{"min-gain-ratio", KEY_REAL, AT(conf, decide.min_gain_ratio), RANGE(0, 1000), .def = "1.2",
		.help = "a move's gain divided by its price must be above this"},
	{"power-off-below", KEY_UINT, AT(conf, decide.power_off_below), RANGE(1, 95), .word = "never", .def = "never",
		.help = "plan recommends to empty this host and to switch it off while the others would use at most so much of their CPU and memory, "
			"in percent, and to switch one on where no host has room; done by itself where power-off and power-on are given"},
	{"power-rest", KEY_MS, AT(conf, decide.power_rest_ms), RANGE(1000, 7 * 86400000), .def = "1h",
		.help = "a host must have been calm for so long before it is switched off"},
	{"power-off", KEY_PROGRAM, AT(conf, decide.power_off),
		.help = "program that switches this host off, once policy has emptied it (docs/hooks.md)"},
	{"power-on", KEY_PROGRAM, AT(conf, decide.power_on),
		.help = "program that switches another host on, one that policy had switched off (docs/hooks.md)"},
	{"exclude-hosts", KEY_STRINGS, TEXTS(conf, decide.exclude, decide.n_exclude),
		.help = "hosts to which policy moves nothing"},
};
static const struct key_table decide_table = TABLE(decide_keys);

static const struct key match_keys[] = {
	{"tags", KEY_STRINGS, TEXTS(policy, tags, n_tags), .help = "domains with any of these tags"},
	{"domain", KEY_TEXT, AT(policy, domain_glob), .help = "domains whose name matches: \"web*\", \"db?\""},
	{"cluster", KEY_NAME, AT(policy, cluster), .help = "domains of this cluster"},
	{"hosts", KEY_STRINGS, TEXTS(policy, hosts, n_hosts), .help = "domains that are on one of these hosts"},
};
static const struct key_table match_table = TABLE(match_keys);

static const struct key cpu_keys[] = {
	{"util-lower", KEY_UINT, AT(policy, cpu.util_lower), PERCENT, .def = "60",
		.help = "below this it gives vCPUs back"},
	{"util-upper", KEY_UINT, AT(policy, cpu.util_upper), PERCENT, .def = "85",
		.help = "above this it needs more vCPUs"},
	{"vcpu-min", KEY_UINT, AT(policy, cpu.vcpu_min), RANGE(1, 4096), .def = "1",
		.help = "never fewer vCPUs than this"},
	{"vcpu-max", KEY_UINT, AT(policy, cpu.vcpu_max), RANGE(1, 4096), .word = "unlimited", .word_value = CONF_UNSET,
		.def = "unlimited", .help = "never more; the domain's own maximum holds too"},
	{"attack", KEY_UINT, AT(policy, cpu.attack), RANGE(1, 4096), .word = "unlimited", .def = "unlimited",
		.help = "vCPUs added in one step at most"},
	{"decay", KEY_UINT, AT(policy, cpu.decay), RANGE(1, 4096), .word = "unlimited", .def = "unlimited",
		.help = "vCPUs taken in one step at most"},
	{"elastic-margin", KEY_UINT, AT(policy, cpu.elastic_margin), RANGE(0, 50), .unit = "%", .def = "5",
		.help = "dead band: what is left after taking must stay this far below util-upper"},
	{"sample-rate", KEY_SECONDS, AT(policy, cpu.sample_rate_s), RANGE(1, 3600), .def = "10",
		.help = "time between samples"},
};
static const struct key_table cpu_table = TABLE(cpu_keys);

static const struct key memory_keys[] = {
	{"free-lower", KEY_UINT, AT(policy, memory.free_lower), PERCENT, .def = "15",
		.help = "grows when less than this share of the guest's memory is available"},
	{"free-upper", KEY_UINT, AT(policy, memory.free_upper), PERCENT, .def = "40",
		.help = "may give when more than this share is available"},
	{"memory-min", KEY_SIZE, KF_MEMSTEP, AT(policy, memory.mem_min), RANGE(16 << 20, 1ULL << 50), .word = "own",
		.def = "own", .help = "never less than this; own: the domain's own minimum"},
	{"memory-max", KEY_SIZE, KF_MEMSTEP, AT(policy, memory.mem_max), RANGE(16 << 20, 1ULL << 50), .word = "own",
		.def = "own", .help = "never more than this; own: the domain's own maximum"},
	{"step", KEY_UINT, AT(policy, memory.step_percent), RANGE(1, 50), .unit = "%", .def = "2",
		.help = "shrinks by this share of the present size, then looks how the guest does; by more only as far as "
			"its free memory goes"},
	{"reserve", KEY_UINT, AT(policy, memory.reserve_percent), RANGE(0, 90), .unit = "%", .def = "10",
		.help = "shrinking stops when less than this share is available; less is an emergency, met at once"},
	{"swap-in", KEY_SIZE, AT(policy, memory.swap_in_bps), RANGE(0, 1ULL << 40), .def = "64K",
		.help = "a guest that swaps in more than this in a second is under pressure"},
	{"major-faults", KEY_UINT, AT(policy, memory.major_faults_ps), RANGE(0, 1000000), .def = "50",
		.help = "and one with so many more major faults a second than before the shrink"},
	{"psi", KEY_UINT, AT(policy, memory.psi_percent), RANGE(0, 100), .unit = "%", .def = "10",
		.help = "and one whose tasks wait for memory for more than this share of the time, where its guest agent can tell; "
			"0: is not looked at"},
	{"freeze", KEY_SECONDS, AT(policy, memory.freeze_s), RANGE(0, 86400), .def = "120",
		.help = "so long after a shrink it is watched: at signs of pressure twice the last step is given back at once, "
			"and it is not shrunk for so long"},
	{"sizing", KEY_BOOL, AT(policy, memory.sizing), .def = "false",
		.help = "true: what it will not need, by its use of the last days, is taken without anybody's need, and left free"},
	{"law", KEY_WORD, AT(policy, memory.law), .words = law_words, .def = "pressure",
		.help = "pressure: as above; free-rule: for comparison, 5 % a step down to 20 % available, whatever the guest "
			"suffers"},
	{"sample-rate", KEY_SECONDS, AT(policy, memory.sample_rate_s), RANGE(1, 3600), .def = "5",
		.help = "time between samples"},
};
static const struct key_table memory_table = TABLE(memory_keys);

static const char *const window_words[] = {"allow", "deny", NULL};
static const char *const keep_words[] = {"apart", "together", "on", "off", NULL};

static const struct key window_keys[] = {
	{"moves", KEY_WORD, KF_REQUIRED, AT(move_window, kind), .words = window_words,
		.help = "allow: where there is an allow window, moves run in one only; deny: none begins in it"},
	{"tod-begin", KEY_TOD, AT(move_window, begin_min), .def = "00:00",
		.help = "from this time of day (of the host, or of the policy's time-zone)"},
	{"tod-end", KEY_TOD, AT(move_window, end_min), .def = "00:00", .def_text = "the whole day",
		.help = "to this time; may go over midnight"},
	{"days", KEY_DAYS, AT(move_window, days), .def = "Mon-Sun", .help = "days on which it begins"},
	{"finish", KEY_BOOL, AT(move_window, finish), .def = "false",
		.help = "a move is not begun either when, as predicted, it would not be over in time"},
};
static const struct key_table window_table = TABLE(window_keys);

static const struct key policy_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(policy, name), .help = "how plan and explain call it"},
	{"enable", KEY_BOOL, AT(policy, enable), .def = "true", .help = "false: kept, but does nothing"},
	{"dry-run", KEY_BOOL, AT(policy, dry_run), .def = "false",
		.help = "true: says what it would do (plan, explain, log), and nothing is done"},
	{"priority", KEY_UINT, AT(policy, priority), RANGE(1, 9999), .def = "99", .help = "the lowest number wins"},
	{"match", KEY_GROUP, SUB(match_table),
		.help = "which domains; all that is given must hold; left out: every domain"},
	{"tod-begin", KEY_TOD, AT(policy, tod_begin_min), .def = "00:00",
		.help = "in force from this time of day (of the host, or of time-zone)"},
	{"tod-end", KEY_TOD, AT(policy, tod_end_min), .def = "00:00", .def_text = "always",
		.help = "to this time; may go over midnight"},
	{"days", KEY_DAYS, AT(policy, days), .def = "Mon-Sun", .help = "days on which its window begins"},
	{"time-zone", KEY_ZONE, AT(policy, zone), .def_text = "the host's",
		.help = "whose local time its window and its calendar go by, with its daylight saving: \"Europe/Berlin\", \"UTC\""},
	{"cpu", KEY_GROUP, .off2 = offsetof(struct policy, cpu.set), SUB(cpu_table), .help = "grow and shrink vCPUs"},
	{"memory", KEY_GROUP, .off2 = offsetof(struct policy, memory.set), SUB(memory_table),
		.help = "grow and shrink memory"},
	{"relocate", KEY_WORD, AT(policy, relocate), .words = relocate_words, .def = "unset", .def_text = "live",
		.help = "how it may be moved: live; warm (it may stand still for as long as its memory takes to copy); cold (shut down, "
			"start there); never"},
	{"quiet-moment", KEY_MS, AT(policy, quiet_ms), RANGE(0, CONF_QUIET_MAX_MS), .word = "unset",
		.word_value = CONF_UNSET, .def = "unset", .def_text = "0s",
		.help = "how long a live move that policy has decided may wait for its guest to write little, before it begins in any case; half as "
			"long as its need is expected to last at most (5 min .. 60 min), and not while its host is emptied; 0s: not at all"},
	{"postcopy", KEY_WORD, AT(policy, postcopy), .words = postcopy_words, .def = "unset", .def_text = "never",
		.help = "allow: a live move that policy has decided, and that would not converge within its limits, is finished by post-copy; its risk is in "
			"docs/converging.md"},
	{"automation", KEY_WORD, AT(policy, automation), .words = policy_automation_words, .def = "unset",
		.def_text = "decide.automation",
		.help = "how far policy goes with it: full: acts by itself; confirm: waits for policyctl approve; manual: only recommends"},
	{"calendar", KEY_LIST, SUB(window_table), .list = MANY(policy, windows, n_windows),
		.help = "when policy may move it"},
	{"importance", KEY_UINT, AT(policy, importance), RANGE(0, 100), .word = "unset", .word_value = CONF_UNSET,
		.def = "unset", .def_text = "50",
		.help = "whose need counts more, and who gives first (0 gives first)"},
};
static const struct key_table policy_table = TABLE(policy_keys);

static const struct key rule_match_keys[] = {
	{"tags", KEY_STRINGS, TEXTS(conf_rule, tags, n_tags), .help = "domains with any of these tags"},
	{"domain", KEY_TEXT, AT(conf_rule, domain_glob), .help = "domains whose name matches: \"web*\", \"db?\""},
	{"cluster", KEY_NAME, AT(conf_rule, cluster), .help = "domains of this cluster"},
};
static const struct key_table rule_match_table = TABLE(rule_match_keys);
static const struct key rule_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(conf_rule, name), .help = "how plan and explain call it"},
	{"match", KEY_GROUP, KF_REQUIRED, SUB(rule_match_table), .help = "which domains; all that is given must hold"},
	{"keep", KEY_WORD, KF_REQUIRED, AT(conf_rule, keep), .words = keep_words,
		.help = "apart: no two on one host; together: on one host; on, off: on these hosts only, on any but these"},
	{"hosts", KEY_STRINGS, TEXTS(conf_rule, hosts, n_hosts), .help = "for on and off"},
	{"hard", KEY_BOOL, AT(conf_rule, hard), .def = "true",
		.help = "true: policy never breaks it; false: breaking it has a price"},
};
static const struct key_table rule_table = TABLE(rule_keys);

static const struct key clusterdef_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(conf_cluster_def, name), .help = "what domains name under cluster"},
	{"min-available", KEY_UINT, AT(conf_cluster_def, min_available), RANGE(0, 10000), .def = "1",
		.help = "nodes that must stay up while one is moved"},
	{"drain", KEY_PROGRAM, AT(conf_cluster_def, drain), .help = "program that takes a node out of service"},
	{"check", KEY_PROGRAM, AT(conf_cluster_def, check), .help = "program that says whether the rest is healthy"},
	{"rejoin", KEY_PROGRAM, AT(conf_cluster_def, rejoin), .help = "program that takes it back in"},
	{"timeout", KEY_MS, AT(conf_cluster_def, timeout_ms), RANGE(100, 86400000), .def = "120s",
		.help = "for each of these programs"},
};
static const struct key_table clusterdef_table = TABLE(clusterdef_keys);

static const struct key root_keys[] = {
	{"host", KEY_GROUP, KF_REQUIRED, SUB(host_table), .help = "this host"},
	{"paths", KEY_GROUP, SUB(paths_table), .help = "where things are on this host"},
	{"control", KEY_GROUP, SUB(control_table), .help = "the socket for policyctl"},
	{"http", KEY_GROUP, SUB(http_table), .help = "metrics and status page"},
	{"security", KEY_GROUP, SUB(security_table), .help = "who this host is, and whom it trusts"},
	{"cluster", KEY_GROUP, SUB(cluster_table), .help = "the group of hosts"},
	{"migration", KEY_GROUP, SUB(migration_table), .help = "how domains are moved"},
	{"decide", KEY_GROUP, SUB(decide_table), .help = "how eager policy is"},
	{"policies", KEY_LIST, SUB(policy_table), .list = HEAP(conf, policies, n_policies, 4096),
		.help = "what domains should have; see below"},
	{"clusters", KEY_LIST, SUB(clusterdef_table), .list = HEAP(conf, clusters, n_clusters, 1024),
		.help = "groups of domains that are one service"},
	{"rules", KEY_LIST, SUB(rule_table), .list = HEAP(conf, rules, n_rules, 1024),
		.help = "which domains keep which company, and on which hosts"},
};
const struct key_table schema_host = TABLE(root_keys);

/* Policies alone, as policyctl add-policy sends them. */
static const struct key policies_keys[] = {
	{"policies", KEY_LIST, KF_REQUIRED, SUB(policy_table), .list = HEAP(conf, policies, n_policies, 4096),
		.help = "one policy"},
};
const struct key_table schema_policies = TABLE(policies_keys);
/* The same file (or one with only these) when only its policy is asked for. */
static const struct key policy_root_keys[] = {
	{"migration", KEY_GROUP, SUB(migration_table), .help = "how domains are moved"},
	{"decide", KEY_GROUP, SUB(decide_table), .help = "how eager policy is"},
	{"policies", KEY_LIST, SUB(policy_table), .list = HEAP(conf, policies, n_policies, 4096),
		.help = "what domains should have"},
	{"clusters", KEY_LIST, SUB(clusterdef_table), .list = HEAP(conf, clusters, n_clusters, 1024),
		.help = "groups of domains that are one service"},
	{"rules", KEY_LIST, SUB(rule_table), .list = HEAP(conf, rules, n_rules, 1024),
		.help = "which domains keep which company, and on which hosts"},
};
const struct key_table schema_policy = TABLE(policy_root_keys);

/* ---- domain file ---- */

static const struct key dvcpus_keys[] = {
	{"min", KEY_UINT, AT(domain_spec, vcpus_min), RANGE(1, SPEC_VCPUS_MAX), .def = "1", .help = "never fewer"},
	{"boot", KEY_UINT, AT(domain_spec, vcpus_boot), RANGE(1, SPEC_VCPUS_MAX), .def = "1",
		.help = "starts with so many"},
	{"max", KEY_UINT, AT(domain_spec, vcpus_max), RANGE(1, SPEC_VCPUS_MAX), .def_text = "as boot",
		.help = "never more"},
};
static const struct key_table dvcpus_table = TABLE(dvcpus_keys);
static const struct key dmemory_keys[] = {
	{"min", KEY_SIZE, KF_MEMSTEP, AT(domain_spec, mem_min), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX),
		.def_text = "as boot", .help = "never less"},
	{"boot", KEY_SIZE, KF_MEMSTEP | KF_REQUIRED, AT(domain_spec, mem_boot), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX),
		.help = "starts with so much"},
	{"max", KEY_SIZE, KF_MEMSTEP, AT(domain_spec, mem_max), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX),
		.def_text = "as boot",
		.help = "never more; what is above boot comes with virtio-mem, for which a Linux guest sets 64M aside unless "
			"its command line says swiotlb=512"},
};
static const struct key_table dmemory_table = TABLE(dmemory_keys);
static const struct key disk_keys[] = {
	{"volume", KEY_NAME, KF_REQUIRED, AT(spec_disk, volume), .help = "a name under host.volumes"},
	{"readonly", KEY_BOOL, AT(spec_disk, readonly), .def = "false", .help = "the guest may not write it"},
	{"cache", KEY_WORD, AT(spec_disk, cache), .words = cache_words, .def = "none",
		.help = "none: past the host's page cache; writeback: through it"},
};
static const struct key_table disk_table = TABLE(disk_keys);
static const struct key net_keys[] = {
	{"switch", KEY_NAME, KF_REQUIRED, AT(spec_net, sw), .help = "a name under host.switches"},
	{"mac", KEY_MAC, AT(spec_net, mac), .def_text = "made from the uuid", .help = "hardware address"},
};
static const struct key_table net_table = TABLE(net_keys);

static const struct key domain_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(domain_spec, name), .help = "the domain's name, unique in the group"},
	{"uuid", KEY_UUID, AT(domain_spec, uuid), .def_text = "made once", .help = "its identity, stays for life"},
	{"vcpus", KEY_GROUP, SUB(dvcpus_table), .help = "processors"},
	{"memory", KEY_GROUP, KF_REQUIRED, SUB(dmemory_table), .help = "memory; a size is a multiple of 2M"},
	{"cpu-arch", KEY_WORD, AT(domain_spec, cpu_arch), .words = arch_words, .def = "generic",
		.help = "generic: a processor that every host of the group can offer; native: this host's own"},
	{"kernel", KEY_PATH, AT(domain_spec, kernel), .help = "boots this kernel; left out: boots from its first disk"},
	{"initrd", KEY_PATH, AT(domain_spec, initrd), .help = "with this initial RAM disk"},
	{"cmdline", KEY_TEXT, AT(domain_spec, cmdline), .help = "and this command line"},
	{"disks", KEY_LIST, SUB(disk_table), .list = MANY(domain_spec, disks, n_disks), .help = "in the guest's order"},
	{"networks", KEY_LIST, SUB(net_table), .list = MANY(domain_spec, nets, n_nets), .help = "in the guest's order"},
	{"console", KEY_NAME, AT(domain_spec, console), .def_text = "a unix socket only",
		.help = "a console group under host.consoles"},
	{"tags", KEY_STRINGS, TEXTS(domain_spec, tags, n_tags), .help = "words that policies match"},
	{"importance", KEY_UINT, AT(domain_spec, importance), RANGE(0, 100), .word = "unset", .word_value = CONF_UNSET,
		.def = "unset", .def_text = "the policy's, or 50", .help = "goes before the policy's"},
	{"cluster", KEY_NAME, AT(domain_spec, cluster), .help = "a name under clusters: it is a node of that service"},
};
static const struct key_table domain_table = TABLE(domain_keys);
static const struct key domain_root_keys[] = {
	{"domain", KEY_GROUP, KF_REQUIRED, SUB(domain_table), .help = "one domain"},
};
const struct key_table schema_domain = TABLE(domain_root_keys);
