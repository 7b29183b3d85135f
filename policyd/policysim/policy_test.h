/* Policy tests run by the real decide() on made-up hosts (conf/policy_test.h has the file, docs/policies.md what it means). No daemon, no guest. */
#ifndef POLICYD_POLICYSIM_POLICY_TEST_H
#define POLICYD_POLICYSIM_POLICY_TEST_H

#include <jansson.h>

#include "conf/policy_test.h"
#include "domain/err.h"

struct ptest_result {
	unsigned passed, failed; /* expectations */
	json_t *failures;        /* texts: one sentence for each that failed */
};

/* Run all tests of @t under @conf. 0 or -ENOMEM; the caller owns out->failures. */
int ptests_run(const struct ptests *t, const struct conf *conf, struct ptest_result *out);

/* Load, run and print: a sentence for each expectation that failed, last "N passed, N failed" (or all as JSON). Exit status: 0 all passed, 1 some
 * failed, 2 the file cannot be used (mistakes on stderr). */
int ptests_main(const char *path, bool json);

#endif
