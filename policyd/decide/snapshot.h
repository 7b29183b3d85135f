/* All that a decision may look at: this host, its domains, its peers, what is under way, what was done lately, and the time.
 *
 * Made by watch once per decision, stored with the decision, turned to and from JSON without loss (so a replay decides the same).
 * Plain data; pure functions; any thread. Percentages are of one vCPU where a name says util, 0..100 per vCPU given. */
#ifndef POLICYD_DECIDE_SNAPSHOT_H
#define POLICYD_DECIDE_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "domain/spec.h"
#include "domain/state.h"

/* Why a move failed: what it is waited for before the next try (decide/calm.c). */
enum fail_kind {
	FAIL_NONE,
	FAIL_REFUSED,     /* the target, or a check, said no before anything was sent */
	FAIL_CANCELLED,   /* an operator did not want it */
	FAIL_CONVERGE,    /* it writes faster than the link carries */
	FAIL_LINK,        /* the target was not reached, or the connection broke */
	FAIL_FAULT,       /* anything else */
	FAIL_INTERRUPTED, /* policyd ended in the middle of it */
	FAIL_KIND_COUNT
};
extern const char *const fail_words[FAIL_KIND_COUNT + 1]; /* "refused", ...; NULL at the end */

struct snap_domain {
	struct domain_spec spec;
	enum domain_state state;
	bool busy; /* an operation is pending on it, or an action of an earlier plan is still to come for it */
	bool held; /* hold by an operator */
	char hold_reason[128];
	bool pinned; /* policy does not move it */
	char pin_reason[128];
	char prefer[NAME_MAX_LEN];    /* host, "" = none */
	char moving_to[NAME_MAX_LEN]; /* host that it is on its way to, "" = none */
	char wanted_on[NAME_MAX_LEN]; /* host that asks for it back after its maintenance, "" = none */
	int64_t wanted_since_ms;
	bool movable; /* as far as this host knows */
	char immovable_why[128];
	unsigned vcpus;          /* given now */
	unsigned cpu_cap;        /* of which it may use so much, percent of one CPU; 0 = all */
	bool cpu_cap_by_policy;  /* policy set that, and lifts it when nobody needs it any more */
	uint64_t mem_bytes;      /* given now (balloon's actual) */
	bool huge_pages;         /* its RAM is: what a balloon takes frees nothing */
	uint64_t resident_bytes; /* RAM file's blocks */
	/* demand: (run time + run delay) of the vCPU threads / (elapsed x what it is entitled to: vcpus, or cpu_cap), percent */
	double util_fast, util_slow; /* averages over about 5 s and 60 s; -1 = not known (yet) */
	double util_p95;             /* for 95 % of the last ten minutes it was at most that; -1 = not known (yet) */
	unsigned over_upper;         /* of the last sustain_window samples, how many were above util-upper */
	unsigned under_lower;        /* and below util-lower */
	bool mem_known;              /* statistics are there and fresh */
	uint64_t mem_available, mem_free;
	double swap_in_bps, major_faults_ps; /* rates */
	unsigned mem_short; /* of the last sustain_window samples, how many had available below free-lower */
	double dirty_bps;   /* bytes written a second where known, else < 0; beyond hot_bytes */
	/* as a measurement within the last ten minutes saw it (act/forecast.h); 0 = not known */
	double hot_bytes;   /* rewritten all the time */
	double send_bytes;  /* content of its RAM: neither holes nor zeros */
	double wire_ratio;  /* bytes on the wire per byte of that */
	double delta_share; /* what differs in a page that it rewrites, by the page */
	int64_t last_resize_ms, last_move_ms,
		started_ms;   /* wall clock, 0 = never; an arrival counts as a move, a try that failed does not */
	uint64_t mem_advised; /* what its use of days says that it needs (sizing.h); 0 = not known */
	int64_t unplug_frozen_until_ms; /* its guest refused to give up a vCPU; not asked again until then */
	int64_t shrink_frozen_until_ms; /* a shrink backed off; leave its memory alone until then */
	int64_t need_since_ms;          /* wall clock: it has been in need since then; 0 = is not, or not known */
	/* what was moved lately (decide/past.h) */
	unsigned moves_last_hour, blackout_last_hour_ms;
	uint64_t bytes_last_hour;
	char came_from[NAME_MAX_LEN]; /* host that it came from, "" = not lately */
	int64_t arrived_ms;
	unsigned fails; /* moves that failed since the last one that worked */
	enum fail_kind last_fail;
	int64_t last_fail_ms;
	char last_fail_peer[NAME_MAX_LEN];
	struct policy_effective policy;
	unsigned cluster_available; /* nodes of its cluster that run now, all hosts that we know of */
	unsigned cluster_min;
};

struct snap_peer {
	char name[NAME_MAX_LEN];
	bool up;       /* a fresh report is there */
	bool accepts;  /* not in maintenance */
	bool asleep;   /* policy has switched it off, or empties it for that (act/host_power.c) */
	bool excluded; /* decide.exclude-hosts */
	unsigned vcpus_total, vcpus_given;
	uint64_t mem_total, mem_given; /* bytes; total is what domains may have (capacity - keep) */
	double cpu_util;               /* percent of the host's capacity in use */
	unsigned moves;                /* under way there */
	uint64_t link_bps;             /* guest bytes a second that the last migrations to it made; 0 = unknown */
	double wire_bps;               /* what the link carries, by a probe or so; 0 = unknown, as the next three */
	double engine_bps;             /* content a second where the link is not the limit */
	double setup_s, dark_ms;       /* of a move to it: what does not depend on the guest */
	unsigned recent_failures;
};

/* A rule of company or place, and who it speaks of: all domains of the group that run, with their hosts. One that is on its way is at both ends. */
struct snap_member {
	char domain[NAME_MAX_LEN], host[NAME_MAX_LEN];
};
struct snap_name {
	char name[NAME_MAX_LEN];
};
struct snap_rule {
	char name[CONF_NAME];
	enum keep keep;
	bool hard;
	struct snap_name hosts[CONF_RULE_HOSTS_MAX]; /* KEEP_ON, KEEP_OFF */
	unsigned n_hosts;
	struct snap_member *members;
	unsigned n_members;
};

#define SNAPSHOT_VERSION 1

struct snapshot {
	uint32_t version;                /* of this shape: SNAPSHOT_VERSION */
	int64_t now_ms;                  /* wall clock, ms since 1970 */
	unsigned minute_of_day, weekday; /* local; 0 = Monday */
	char host[NAME_MAX_LEN];
	unsigned vcpus_total;
	uint64_t mem_total; /* for domains: capacity - keep */
	/* Taken of it now: policyd_capacity's given, so reservations of growing domains and of incoming ones are in it. Where
	 * the domains below add up to more, that counts. */
	unsigned vcpus_given;
	unsigned cpu_given; /* the same in percent of one CPU; 0 = vcpus_given x 100 */
	bool caps;          /* this host can give parts of vCPUs */
	uint64_t mem_given;
	double host_cpu_util, psi_cpu, psi_mem;                     /* percent; PSI some avg10; < 0 unknown */
	unsigned moves_now, moves_last_hour, blackout_last_hour_ms; /* of this host; arrivals are in moves_now only */
	uint64_t bytes_last_hour;
	bool emptying;                          /* maintenance: all that can leaves (leave.c) */
	int64_t emptying_since_ms, empty_by_ms; /* asked for then; no move begins that would end later (0 = any) */
	int64_t awake_since_ms;                 /* where policy switches hosts: on since then; 0 = does not matter */
	double caution; /* share of what earlier decisions promised that came (benefit.h); 1 = all, or nothing is known */
	struct conf_decide decide;
	/* migration's limits; 0 = none, the engine's own, not at all */
	uint64_t bandwidth_bps;
	unsigned max_rounds, throttle_max;
	unsigned max_blackout_ms;
	struct snap_domain *domains;
	unsigned n_domains;
	struct snap_peer *peers;
	unsigned n_peers;
	struct snap_rule *rules;
	unsigned n_rules;
};

void snapshot_init(struct snapshot *s); /* what a key that is absent in JSON means; no domains, no peers */
void snap_domain_init(struct snap_domain *d);
void snap_peer_init(struct snap_peer *p);
void snapshot_fini(struct snapshot *s);             /* frees the arrays (malloc'd) */
json_t *snapshot_to_json(const struct snapshot *s); /* new reference, NULL = no memory (or text that is not UTF-8) */
/* -EINVAL: the sentence names the key; unknown keys are refused, absent ones are as in the _init functions. @out is untouched on failure. */
int snapshot_from_json(const json_t *j, struct snapshot *out, struct err *e);

#endif
