/* Tests of policies as an operator writes them (docs/policies.md): loads over time, and what policy is expected to do. What is in the file, checked;
 * policyd/policysim/policy_test.c runs it. Loop thread or any other; reads files. */
#ifndef CONF_POLICY_TEST_H
#define CONF_POLICY_TEST_H

#include "conf/conf.h"

struct ptest_sample { /* holds until the next one */
	unsigned at_ms;
	unsigned cpu_percent; /* of one vCPU; CONF_UNSET = as before */
	uint64_t used;        /* bytes; 0 = as before */
	uint64_t swap_in_bps;
};

struct ptest_domain {
	char name[NAME_MAX_LEN], cluster[NAME_MAX_LEN];
	char tags[SPEC_TAGS_MAX][NAME_MAX_LEN];
	unsigned n_tags;
	unsigned importance;      /* CONF_UNSET = not its own */
	unsigned nodes_elsewhere; /* of its cluster, that run */
	unsigned vcpus_min, vcpus, vcpus_max;
	uint64_t mem_min, mem, mem_max;
	struct ptest_sample *samples;
	unsigned n_samples;
};

struct ptest_peer {
	char name[NAME_MAX_LEN];
	unsigned vcpus; /* free */
	uint64_t mem;
};

enum ptest_action {
	PT_NONE, /* nothing is done with it */
	PT_NO_MOVE,
	PT_HAS, /* at the end of that time it has so much */
	PT_SET_VCPUS,
	PT_SET_MEMORY,
	PT_MOVE, /* any */
	PT_LIVE_MOVE,
	PT_TRIM_MOVE,
	PT_COLD_MOVE,
	PT_WARM_MOVE
};
extern const char *const ptest_action_words[]; /* NULL at the end */

struct ptest_expect {
	char domain[NAME_MAX_LEN];
	unsigned action;
	unsigned vcpus;            /* 0 = any */
	uint64_t mem;              /* 0 = any */
	char target[NAME_MAX_LEN]; /* "" = any */
	unsigned from_ms, to_ms;   /* to 0: to the end */
	bool dry;                  /* as a dry run says it, and does not do it */
};

struct ptest {
	char name[CONF_NAME];
	unsigned days, tod_min; /* when it begins; one bit of days, 0 = Monday */
	unsigned length_ms;
	char host[NAME_MAX_LEN];
	unsigned host_vcpus;
	uint64_t host_mem;
	struct ptest_domain *domains;
	unsigned n_domains;
	struct ptest_peer *peers;
	unsigned n_peers;
	struct ptest_expect *expects;
	unsigned n_expects;
};

struct ptests {
	char policies[SPEC_PATH_MAX];
	struct ptest *v;
	unsigned n;
};

/* -EINVAL with all mistakes and @out untouched, also those of the policies, which come as *@conf_out (conf_free). */
int ptests_load(const char *path, struct ptests *out, struct conf **conf_out, struct conf_mistakes *mistakes);
void ptests_fini(struct ptests *t);

#endif
