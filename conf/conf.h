/* Configuration in memory: what the host file (policyd.cfg, with its includes) and domain files say, checked.
 *
 * conf_load reads, checks everything, and either hands out a whole new struct conf or all mistakes at once; nothing is changed
 * in between, so a reload is a pointer swap. libconfig is used in conf/ only. Loop thread (file reading is short and local). */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/zone.h"
#include "domain/services.h"
#include "domain/spec.h"

#define CONF_NAME 64
#define CONF_UNSET 0xffffffffu /* an unsigned that the file does not give */

struct conf_security {
	char certificate[SPEC_PATH_MAX], key[SPEC_PATH_MAX], trust[SPEC_PATH_MAX]; /* trust: a folder of PEM files */
	bool fips;
};

struct conf_peer {
	char name[CONF_NAME];
	char address[64]; /* IPv4 or IPv6 literal (canonical, no brackets) or host name */
	uint16_t port;
	uint16_t address_port; /* from "ADDRESS:PORT"; 0 = not written so. In port as well, when loaded */
};

struct conf_migration {
	unsigned max_blackout_ms; /* default 300 */
	uint64_t bandwidth_bps;   /* bytes a second, 0 = unlimited */
	unsigned channels;        /* 0 = auto */
	uint16_t port_first, port_last;
	unsigned max_rounds; /* default 30 */
	unsigned
		throttle_max; /* percent by which a guest may be slowed so that its move converges; default 30, 0 = never */
	bool verify_full;     /* re-read all RAM on both sides after the stop */
	unsigned boost; /* by so many steps of nice(2) a worker comes before policyd and its guests; 0 = does not */
};

#define CONF_QUIET_MAX_MS 3600000 /* the longest wait for a quiet moment */
enum relocate { RELOCATE_UNSET, RELOCATE_LIVE, RELOCATE_COLD, RELOCATE_NEVER, RELOCATE_WARM };
enum postcopy { POSTCOPY_UNSET, POSTCOPY_NEVER, POSTCOPY_ALLOW };
enum automation { AUTO_FULL, AUTO_CONFIRM, AUTO_MANUAL, AUTO_UNSET }; /* UNSET: as decide has it, policies only */

struct cpu_policy { /* meanings and defaults as in ldm add-policy; percentages 0..100 */
	bool set;
	unsigned util_lower, util_upper; /* 60, 85 */
	unsigned vcpu_min, vcpu_max;     /* 1, unlimited */
	unsigned attack, decay;          /* vCPUs per step; 0 = unlimited */
	unsigned elastic_margin;         /* 5: dead band around the bounds, percent */
	unsigned sample_rate_s;          /* 10 */
};

enum mem_law { LAW_PRESSURE, LAW_FREE_RULE };

struct mem_policy {
	bool set;
	enum mem_law law;
	bool sizing; /* give back what the use of days says that it does not need; false */
	unsigned free_lower,
		free_upper;        /* percent of the guest's memory that is available: grow below, give above; 15, 40 */
	uint64_t mem_min, mem_max; /* bytes; 0 = the domain's own */
	unsigned step_percent;     /* of the present size, per shrink step; 2 */
	unsigned reserve_percent;  /* stop shrinking when available falls under this; 10 */
	uint64_t swap_in_bps;      /* more is pressure; 64K */
	unsigned major_faults_ps;  /* above what it had before a shrink; more is pressure; 50 */
	unsigned psi_percent;   /* of the time that tasks of the guest wait for memory; more is pressure; 0 = any; 10 */
	unsigned freeze_s;      /* watched after a shrink, and not shrunk after one that was given back; 120 */
	unsigned sample_rate_s; /* 5 */
};

#define CONF_WINDOWS_MAX 8
#define CONF_RULE_HOSTS_MAX 16
#define CONF_EXCLUDE_MAX 32

/* When moves of a domain may run: windows of a calendar. Where there are allow windows, only in one of them; never in a deny window. */
enum window_kind { WINDOW_ALLOW, WINDOW_DENY };
struct move_window {
	enum window_kind kind;
	unsigned begin_min, end_min; /* of the day, local; begin == end = the whole day; may go over midnight */
	unsigned days;               /* on which it begins; bit 0 = Monday */
	bool finish;                 /* a move whose predicted end is outside is not begun */
};

struct policy {
	char name[CONF_NAME];
	bool enable;
	bool dry_run;      /* decides as any other, but nothing is done */
	unsigned priority; /* lower number wins, as in ldm; default 99 */
	/* match: all that are given must hold; none given = every domain */
	char tags[SPEC_TAGS_MAX][NAME_MAX_LEN]; /* any of them */
	unsigned n_tags;
	char domain_glob[CONF_NAME]; /* shell pattern on the name, "" = any */
	char cluster[CONF_NAME];
	char hosts[CONF_RULE_HOSTS_MAX][NAME_MAX_LEN]; /* where it holds: while the domain is on one of these */
	unsigned n_hosts;
	/* window of time of day, minutes after midnight local; begin == end = always; may go over midnight */
	unsigned tod_begin_min, tod_end_min;
	unsigned days;    /* bit 0 = Monday .. bit 6 = Sunday; 0x7f = all */
	struct zone zone; /* whose local time the window and the calendar go by; name "" = the host's */
	struct cpu_policy cpu;
	struct mem_policy memory;
	enum relocate relocate;
	unsigned quiet_ms; /* how long its live moves may wait for a quiet moment, or CONF_UNSET */
	enum postcopy postcopy;
	enum automation automation;
	unsigned importance; /* 0..100 or CONF_UNSET */
	struct move_window windows[CONF_WINDOWS_MAX];
	unsigned n_windows;
};

/* Which domains keep which company, and on which hosts. */
enum keep { KEEP_APART, KEEP_TOGETHER, KEEP_ON, KEEP_OFF };
struct conf_rule {
	char name[CONF_NAME];
	/* match: as a policy's */
	char tags[SPEC_TAGS_MAX][NAME_MAX_LEN];
	unsigned n_tags;
	char domain_glob[CONF_NAME];
	char cluster[CONF_NAME];
	enum keep keep;
	bool hard;                                     /* never broken; else it has a price */
	char hosts[CONF_RULE_HOSTS_MAX][NAME_MAX_LEN]; /* KEEP_ON, KEEP_OFF */
	unsigned n_hosts;
};
/* Does the rule speak of this domain? Name, tags and cluster of @spec are looked at. Pure. */
bool rule_matches(const struct conf_rule *r, const struct domain_spec *spec);

struct conf_cluster_def { /* clusters = (...): groups of guests that are one service */
	char name[CONF_NAME];
	unsigned min_available;
	char drain[SPEC_PATH_MAX], check[SPEC_PATH_MAX], rejoin[SPEC_PATH_MAX];
	unsigned timeout_ms; /* per hook; default 120 s */
};

struct conf_decide { /* decide = {...}: how eager policy is */
	enum automation automation;
	unsigned interval_ms;     /* between decisions; default 2000 */
	unsigned sustain_samples; /* k of the last n samples over the bound before anything is done; defaults 3 of 5 */
	unsigned sustain_window;
	unsigned dwell_s;        /* nothing else for this domain after a resize; default 15 */
	unsigned cooldown_s;     /* no second move of a domain; default 3600 */
	unsigned boot_grace_s;   /* a domain that booted less than this ago is left alone; default 60 */
	unsigned move_after_s;   /* a need must have lasted this long before anything is moved for it; default 60 */
	unsigned return_after_s; /* a domain does not go back to where it came from, but for a new need; default 6 h */
	/* budgets: what policy may spend in any hour, by this host and by one domain; 0 = unlimited, but for the numbers of moves */
	unsigned moves_per_hour; /* default 12 */
	uint64_t bytes_per_hour; /* on the wire */
	unsigned blackout_per_hour_ms;
	unsigned domain_moves_per_hour; /* default 2 */
	uint64_t domain_bytes_per_hour;
	unsigned domain_blackout_per_hour_ms;
	unsigned max_moves;       /* at a time; default 1 */
	unsigned power_off_below; /* percent that the others may use; 0 = never recommended */
	unsigned power_rest_ms;   /* calm for so long before a host is switched off; default 1 h */
	char power_off[SPEC_PATH_MAX], power_on[SPEC_PATH_MAX]; /* programs; "" = it is only recommended */
	double min_gain_ratio;                                  /* gain / price must exceed this; default 1.2 */
	char exclude[CONF_EXCLUDE_MAX][NAME_MAX_LEN];           /* hosts to which policy moves nothing */
	unsigned n_exclude;
};

struct conf {
	struct host_services host;
	char address[64];
	uint16_t port;               /* peers; default 8101 */
	uint16_t address_port;       /* as in conf_peer */
	char control[SPEC_PATH_MAX]; /* control socket; default <run>/policyd.sock */
	char http_address[64];
	uint16_t http_port; /* 0 = off */
	struct conf_security security;
	struct conf_peer *peers;
	unsigned n_peers;
	struct conf_migration migration;
	struct conf_decide decide;
	struct policy *policies; /* in force */
	unsigned n_policies;
	struct policy *file_policies; /* as the file has them, where others were laid over them; NULL = nothing was */
	unsigned n_file_policies;
	struct conf_cluster_def *clusters;
	unsigned n_clusters;
	struct conf_rule *rules;
	unsigned n_rules;
};

/* All mistakes of one run. A text is "file:line: key: reason". */
struct conf_mistakes {
	char **v;
	size_t n;
};
void conf_mistakes_fini(struct conf_mistakes *m);

/* Read @path and its includes. 0 and a new *@out (free with conf_free); -EINVAL with one or more mistakes and *@out untouched. */
int conf_load(const char *path, struct conf **out, struct conf_mistakes *mistakes);
void conf_free(struct conf *conf);
/* What in that file is allowed and yet hardly meant: policies that never come into force, contradict each other or swing (conf/lint.c). Texts
 * as of mistakes, "file:line: key: warning: reason". 0 or -ENOMEM. */
int conf_lint(const char *path, struct conf_mistakes *warnings);

/* The same of policy @name as it stands in @conf, which may not be what any file says: of its own, and of others that speak of it. Texts as
 * "key: reason", without a place. 0 or -ENOMEM. */
int conf_lint_policy(const struct conf *conf, const char *name, struct conf_mistakes *warnings);

/* Only what policy says - decide, policies, clusters, rules, migration - from a file of its own or from a whole host file, whose other groups are
 * not looked at. To ask "what if". Same result rules. */
int conf_load_policy(const char *path, struct conf **out, struct conf_mistakes *mistakes);
int conf_parse_policy(const char *text, const char *name, struct conf **out, struct conf_mistakes *mistakes);

/* A domain file ("domain = {...}"). Missing uuid and MACs are completed. Same result rules. */
int conf_load_domain(const char *path, struct domain_spec *out, struct conf_mistakes *mistakes);
/* The same from text (policyctl sends the text, so that the daemon need not read the operator's files); @name is used in messages. */
int conf_parse_domain(const char *text, const char *name, struct domain_spec *out, struct conf_mistakes *mistakes);

/* "policies = ( { ... }, ... );" alone, checked against @base (its clusters). @out is malloc'd, for the caller to free. */
int conf_parse_policies(const char *text, const char *name, const struct conf *base, struct policy **out,
	unsigned *n_out, struct conf_mistakes *mistakes);

/* A moment at a host: what windows and match.hosts look at. */
struct policy_when {
	const char *host;                /* NULL: policies for certain hosts do not hold */
	int64_t now_s;                   /* since 1970, UTC: for policies with a time zone of their own */
	unsigned minute_of_day, weekday; /* the host's local time; weekday 0 = Monday */
};

/* One policy as text that conf_parse_policies takes, with the keys that differ from their defaults. malloc'd; NULL = no memory. */
char *conf_policy_text(const struct policy *p);
/* A policy of that name with nothing but defaults. -EINVAL: it is no name, with a reason for "name: ". */
int conf_policy_init(struct policy *p, const char *name, char *reason, size_t reason_size);
/* Set one key as an operator writes it on a command line: "cpu.util-upper" or, where no other group has it, "util-upper"; names in a list are
 * separated by commas; "cpu=none" takes a whole group out. -EINVAL with the whole sentence; @p is untouched then. What one key cannot know is checked
 * by conf_parse_policies of the text. */
int conf_policy_set(struct policy *p, const char *key, const char *value, char *reason, size_t reason_size);

/* What holds for @spec at that moment: the policies that match, best priority first, merged key group by key group (cpu, memory,
 * relocate, quiet-moment, postcopy, automation, importance, calendar each from the first that gives it). Pure. */
struct policy_effective {
	struct cpu_policy cpu;
	struct mem_policy memory;
	enum relocate relocate;     /* live where nobody says */
	enum postcopy postcopy;     /* never where nobody says */
	unsigned quiet_ms;          /* 0 = its live moves begin at once, also where nobody says */
	unsigned importance;        /* the domain's own, else policy's, else 50 */
	enum automation automation; /* AUTO_UNSET where nobody says */
	struct move_window windows[CONF_WINDOWS_MAX];
	unsigned n_windows;
	int windows_shift_min;    /* what the windows' local time is ahead of the host's */
	bool cpu_dry, memory_dry; /* the policies that these come from are dry runs */
	char cpu_from[CONF_NAME], memory_from[CONF_NAME], relocate_from[CONF_NAME], automation_from[CONF_NAME],
		windows_from[CONF_NAME]; /* names of the policies, for explain */
};
void policy_for(const struct policy *policies, unsigned n, const struct domain_spec *spec,
	const struct policy_when *when, struct policy_effective *out);
/* Which of two goes first: the lowest priority number, then the name; the order in the file plays no part. Pure. */
bool policy_before(const struct policy *a, const struct policy *b);
/* Is its window open? Pure. */
bool policy_open(const struct policy *p, const struct policy_when *when);
/* Does it speak of this domain on this host (NULL: on none in particular)? Windows and enable are not looked at. Pure. */
bool policy_matches(const struct policy *p, const struct domain_spec *spec, const char *host);

/* "512M", "2G", "64K", plain bytes -> bytes; "300ms", "5s", "2h", "1m", "7d" -> ms; 0 or -EINVAL. Shared with policyctl. */
int size_parse(const char *text, uint64_t *bytes_out);
int duration_parse(const char *text, uint64_t *ms_out);
/* CPUs with at most two decimals of use, "2", "1.5", "0.25" -> percent of one CPU. 0 or -EINVAL. */
int cpu_parse(const char *text, unsigned *percent_out);
void cpu_format(unsigned percent, char out[16]);
void size_format(uint64_t bytes, char out[16]); /* "1.5G", "640M": three digits at most */

#endif
