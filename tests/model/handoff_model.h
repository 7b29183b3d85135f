/* A model checker of the hand-off: every interleaving of both workers, both policyds, their journals and QEMUs, with crashes, power
 * cuts, cut connections, lost messages and a killed target QEMU, within a budget of faults. The legal steps and who may run are not
 * copied: the model calls migrate/handoff.c.
 *
 * Checked in every reachable state: not two QEMUs run. And from every reachable state, without any further fault, a state in
 * which exactly one runs for good can be reached (never none). A mutation takes one rule away, to show that the model notices. */
#ifndef TESTS_MODEL_HANDOFF_MODEL_H
#define TESTS_MODEL_HANDOFF_MODEL_H

#include <stdbool.h>
#include <stddef.h>

enum mutation {
	MUT_NONE,
	MUT_ANSWER_BEFORE_REFUSED,   /* the target's policyd answers REFUSED without recording it */
	MUT_COMMIT_BEFORE_OFFERED,   /* the source says COMMIT before it recorded OFFERED */
	MUT_RUN_BEFORE_OWNER,        /* the target resumes before it recorded OWNER */
	MUT_OWNER_WITHOUT_COMMIT,    /* the target becomes OWNER when the connection breaks after LOADED */
	MUT_SOURCE_RESUMES_IN_DOUBT, /* the source resumes when the connection breaks after OFFERED */
	MUT_RESUME_BEFORE_ABORT, /* the source's policyd resumes a PAUSED domain without recording ABORT, worker alive */
	MUT_READ_WITHOUT_SYNC,   /* what is read from a journal is acted upon though not durable */
	MUT_NO_QUERY,            /* nobody asks: in doubt for ever */
	MUT_ACT_ON_LIVE_WORKER,  /* policyd's query does not end the worker, and the journal has no table */
	MUT_GONE_WHILE_PARTIAL, /* post-copy: the source lets go when the guest runs at the target, not when that has all */
	MUT_REFUSE_PARTIAL,     /* post-copy: a target that is asked and lacks memory says that it has not the guest */
	MUT_COUNT
};

struct model_conf {
	enum mutation mutation;
	bool postcopy;
	unsigned n_crashes;    /* of a worker or a policyd, any of the four */
	unsigned n_power_cuts; /* of a whole host */
	unsigned n_cuts;       /* of the workers' connection, and of queries and answers between policyds */
	unsigned n_qemu_kills; /* of the target's QEMU */
};

struct model_result {
	size_t n_states, n_edges, n_good; /* good: final ones */
	bool two;                         /* found a state in which both run */
	bool lost; /* found a state in which memory is nowhere though its hosts stood: the source let go too early */
	bool none; /* found a state from which one copy cannot be reached */
	bool reached_moved, reached_stayed; /* both ends of the story exist */
	char trace[4096];                   /* how the first breach was reached, one step a line */
};

const char *mutation_name(enum mutation m);
/* 0, or -ENOMEM / -E2BIG (more states than fit). */
int model_run(const struct model_conf *conf, struct model_result *out);

#endif
