/* The law of shrinking: given what is known of a guest now, what is the next step? Pure; any thread.
 *
 * One step at a time, each followed by fresh statistics: step_percent of the size. While memory is free the next step is twice the last
 * healthy one, but never more than half of what the guest has to spare; what the guest would have to reclaim (its caches) goes by single
 * steps, for whether it needs that shows only afterwards. Never so far that its available memory would fall under the reserve, or its size
 * under used x (100 + headroom) %. At the first sign of pressure (available under the reserve, swap-in, major faults, tasks that wait for
 * memory where the guest can say so) at least twice the last step is given back. Without fresh statistics nothing is taken: those that never
 * came or are old stop it, those that stop coming after a step of ours make it give that step back, for a starved guest does not answer.
 * Growing needs no statistics and is not decided here. */
#ifndef RESIZE_SHRINK_H
#define RESIZE_SHRINK_H

#include <stdbool.h>
#include <stdint.h>

#define SHRINK_ALIGN (2ULL << 20)
/* MoM's rule (ovirt.org/mom, balloon.rules), for comparison only: 5 % a step while 20 % stay free; no look at pressure, nothing given back. */
#define FREE_RULE_STEP 5
#define FREE_RULE_KEEP 20

struct shrink_rules { /* from policy, or shrink_rules_default */
	bool free_rule;
	unsigned step_percent;     /* of the present size */
	unsigned reserve_percent;  /* available stays above this share of the size */
	unsigned headroom_percent; /* and the size above used x (100 + this) %; 0 = the reserve alone */
	double swap_in_bps;        /* more than this is pressure */
	double major_faults_ps;    /* and so much more than before the first step */
	double psi_percent;        /* of the time that its tasks wait for memory; 0 = is not looked at */
};
/* 2 %, 10 %, no headroom, 64 KiB/s, 50/s, 10 %. */
extern const struct shrink_rules shrink_rules_default;

struct shrink_view {
	uint64_t start_bytes;     /* size when it began: giving back never goes beyond it */
	uint64_t now_bytes;       /* the balloon's actual size */
	uint64_t asked_bytes;     /* what the guest was asked for last; = start_bytes before the first step */
	uint64_t wanted_bytes;    /* where the operator or policy wants it */
	uint64_t floor_bytes;     /* never below */
	uint64_t last_step_bytes; /* taken by the last step, 0 = none yet */
	struct shrink_rules rules;
	bool settled;                         /* the guest has answered the last step, or has stopped getting nearer */
	bool stats_known;                     /* statistics were seen to change at least once */
	bool stats_since;                     /* ... and were made after the last step settled */
	unsigned stats_age_ms;                /* since they last changed */
	unsigned stale_ms;                    /* older than this is stale */
	unsigned waited_ms;                   /* since the last step settled (or the beginning) */
	unsigned patience_ms;                 /* how long to wait for statistics */
	uint64_t available_bytes, free_bytes; /* UINT64_MAX = the guest does not say */
	double swap_in_bps, major_faults_ps;  /* rates now; < 0 = not known yet */
	double major_faults_before_ps;        /* rate before the first step; < 0 = not known */
	bool psi_known;                       /* the guest says how long its tasks wait for memory */
	bool psi_since;                       /* ... and the last word was measured after the last step settled */
	double psi_percent;                   /* share of the time between its last two words */
};

enum shrink_verdict {
	SHRINK_STEP,     /* ask for target_bytes < now */
	SHRINK_WAIT,     /* nothing to do yet */
	SHRINK_BACK_OFF, /* ask for target_bytes >= now, then end: the guest needs the rest */
	SHRINK_STOP,     /* end here: what was reached stays */
	SHRINK_DONE,     /* as wanted */
};

struct shrink_next {
	enum shrink_verdict verdict;
	uint64_t target_bytes; /* STEP and BACK_OFF */
	char reason[160];      /* for an operator, with figures */
};

struct shrink_next shrink_next(const struct shrink_view *v);

/* A shrink is over, and the guest is watched for a while: is it under pressure (of the view: sizes, statistics, rules)? BACK_OFF: grow to
 * target_bytes; else WAIT. Statistics that came and stopped are pressure here. */
struct shrink_next shrink_guard(const struct shrink_view *v);
const char *shrink_verdict_name(enum shrink_verdict v);

#endif
