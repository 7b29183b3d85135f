/* Files of policy tests: their schema, and what one row cannot know. See policy_test.h. */
#include "conf/policy_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/reader.h"
#include "conf/rows.h"

#define KEY(buf, ...) (snprintf(buf, sizeof(buf), __VA_ARGS__), (buf))
#define DAY_MS 86400000

const char *const ptest_action_words[] = {"none", "no-move", "has", "set-vcpus", "set-memory", "move", "live-move",
	"trim-move", "cold-move", "warm-move", NULL};

static const struct key sample_keys[] = {
	{"at", KEY_MS, AT(ptest_sample, at_ms), RANGE(0, 7 * DAY_MS), .def = "0s", .help = "after the beginning"},
	{"cpu", KEY_UINT, AT(ptest_sample, cpu_percent), RANGE(0, 409600), .unit = "%", .word = "same",
		.word_value = CONF_UNSET, .def = "same", .help = "wanted, of one vCPU: 250 is two and a half"},
	{"used", KEY_SIZE, AT(ptest_sample, used), RANGE(1 << 20, 1ULL << 50), .word = "same", .def = "same",
		.help = "memory that its programs use"},
	{"swap-in", KEY_SIZE, AT(ptest_sample, swap_in_bps), RANGE(0, 1ULL << 40), .def = "0M",
		.help = "swapped in, a second"},
};
static const struct key_table sample_table = TABLE(sample_keys);

static const struct key vcpus_keys[] = {
	{"min", KEY_UINT, AT(ptest_domain, vcpus_min), RANGE(1, 4096), .def = "1", .help = "never fewer"},
	{"now", KEY_UINT, AT(ptest_domain, vcpus), RANGE(1, 4096), .def = "1", .help = "has at the beginning"},
	{"max", KEY_UINT, AT(ptest_domain, vcpus_max), RANGE(1, 4096), .def_text = "as now", .help = "never more"},
};
static const struct key_table vcpus_table = TABLE(vcpus_keys);
static const struct key mem_keys[] = {
	{"min", KEY_SIZE, KF_MEMSTEP, AT(ptest_domain, mem_min), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX),
		.def_text = "as now", .help = "never less"},
	{"now", KEY_SIZE, KF_MEMSTEP, AT(ptest_domain, mem), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX), .def = "1G",
		.help = "has at the beginning"},
	{"max", KEY_SIZE, KF_MEMSTEP, AT(ptest_domain, mem_max), RANGE(SPEC_MEM_MIN, SPEC_MEM_MAX),
		.def_text = "as now", .help = "never more"},
};
static const struct key_table mem_table = TABLE(mem_keys);

static const struct key domain_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(ptest_domain, name), .help = "its name"},
	{"tags", KEY_STRINGS, TEXTS(ptest_domain, tags, n_tags), .help = "words that policies match"},
	{"cluster", KEY_NAME, AT(ptest_domain, cluster), .help = "it is a node of that service"},
	{"nodes-elsewhere", KEY_UINT, AT(ptest_domain, nodes_elsewhere), RANGE(0, 10000), .def = "0",
		.help = "of its cluster, that run on other hosts"},
	{"importance", KEY_UINT, AT(ptest_domain, importance), RANGE(0, 100), .word = "unset", .word_value = CONF_UNSET,
		.def = "unset", .def_text = "the policy's", .help = "its own"},
	{"vcpus", KEY_GROUP, SUB(vcpus_table), .help = "processors"},
	{"memory", KEY_GROUP, SUB(mem_table), .help = "memory"},
	{"samples", KEY_LIST, KF_REQUIRED, SUB(sample_table), .list = HEAP(ptest_domain, samples, n_samples, 100000),
		.help = "its load over time"},
};
static const struct key_table domain_table = TABLE(domain_keys);

static const struct key peer_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(ptest_peer, name), .help = "another host of the group"},
	{"vcpus", KEY_UINT, AT(ptest_peer, vcpus), RANGE(0, 65536), .def = "16", .help = "free there"},
	{"memory", KEY_SIZE, AT(ptest_peer, mem), RANGE(0, 1ULL << 50), .def = "64G", .help = "free there"},
};
static const struct key_table peer_table = TABLE(peer_keys);

static const struct key expect_keys[] = {
	{"domain", KEY_NAME, KF_REQUIRED, AT(ptest_expect, domain), .help = "which domain"},
	{"action", KEY_WORD, KF_REQUIRED, AT(ptest_expect, action), .words = ptest_action_words,
		.help = "none: nothing is done with it; no-move: it is not moved; has: at the end of that time it has so much; the others: it is done once "
			"at least"},
	{"vcpus", KEY_UINT, AT(ptest_expect, vcpus), RANGE(1, 4096), .word = "any", .def = "any", .help = "to so many"},
	{"memory", KEY_SIZE, AT(ptest_expect, mem), RANGE(1 << 20, 1ULL << 50), .word = "any", .def = "any",
		.help = "to so much"},
	{"target", KEY_NAME, AT(ptest_expect, target), .def_text = "any", .help = "a move's host"},
	{"from", KEY_MS, AT(ptest_expect, from_ms), RANGE(0, 7 * DAY_MS), .def = "0s", .help = "not before"},
	{"to", KEY_MS, AT(ptest_expect, to_ms), RANGE(1000, 7 * DAY_MS), .def_text = "the end", .help = "not after"},
	{"dry-run", KEY_BOOL, AT(ptest_expect, dry), .def = "false",
		.help = "true: by a policy that is a dry run, so it is said and not done"},
};
static const struct key_table expect_table = TABLE(expect_keys);

static const struct key host_keys[] = {
	{"name", KEY_NAME, AT(ptest, host), .def = "alpha", .help = "this host"},
	{"vcpus", KEY_UINT, AT(ptest, host_vcpus), RANGE(1, 65536), .def = "16", .help = "for domains"},
	{"memory", KEY_SIZE, AT(ptest, host_mem), RANGE(16 << 20, 1ULL << 50), .def = "64G", .help = "for domains"},
};
static const struct key_table host_table = TABLE(host_keys);

static const struct key test_keys[] = {
	{"name", KEY_NAME, KF_REQUIRED, AT(ptest, name), .help = "shown with what fails"},
	{"day", KEY_DAYS, AT(ptest, days), .def = "Mon", .help = "one day, on which it begins"},
	{"time", KEY_TOD, AT(ptest, tod_min), .def = "12:00", .help = "and when (the host lives in UTC)"},
	{"length", KEY_MS, AT(ptest, length_ms), RANGE(1000, 7 * DAY_MS), .def = "10m", .help = "how long"},
	{"host", KEY_GROUP, SUB(host_table), .help = "where the domains are"},
	{"peers", KEY_LIST, SUB(peer_table), .list = HEAP(ptest, peers, n_peers, 1000), .help = "other hosts"},
	{"domains", KEY_LIST, KF_REQUIRED, SUB(domain_table), .list = HEAP(ptest, domains, n_domains, 1000),
		.help = "all domains of the host"},
	{"expect", KEY_LIST, KF_REQUIRED, SUB(expect_table), .list = HEAP(ptest, expects, n_expects, 10000),
		.help = "what policy does"},
};
static const struct key_table test_table = TABLE(test_keys);

static const struct key root_keys[] = {
	{"policies", KEY_PATH, KF_REQUIRED, AT(ptests, policies), .help = "a file of policies, or a whole policyd.cfg"},
	{"tests", KEY_LIST, KF_REQUIRED, SUB(test_table), .list = HEAP(ptests, v, n, 10000), .help = "each on its own"},
};
const struct key_table schema_policy_tests = TABLE(root_keys);

/* ---- checks ---- */

static void check_domain_of(struct reader *r, struct ptest_domain *d, unsigned i, unsigned k)
{
	char key[KEY_PATH_MAX];

	d->vcpus_max = d->vcpus_max ? d->vcpus_max : d->vcpus;
	d->mem_min = d->mem_min ? d->mem_min : d->mem;
	d->mem_max = d->mem_max ? d->mem_max : d->mem;
	if (d->vcpus < d->vcpus_min || d->vcpus > d->vcpus_max)
		reader_mistake(r, KEY(key, "tests[%u].domains[%u].vcpus.now", i, k),
			"%u is not within min (%u) and max (%u)", d->vcpus, d->vcpus_min, d->vcpus_max);
	if (d->mem < d->mem_min || d->mem > d->mem_max)
		reader_mistake(r, KEY(key, "tests[%u].domains[%u].memory.now", i, k), "is not within min and max");
	for (unsigned j = 1; j < d->n_samples; j++)
		if (d->samples[j].at_ms <= d->samples[j - 1].at_ms)
			reader_mistake(r, KEY(key, "tests[%u].domains[%u].samples[%u].at", i, k, j),
				"is not after the sample before it; write them in the order of time");
}

static bool has_domain(const struct ptest *t, const char *name)
{
	for (unsigned k = 0; k < t->n_domains; k++)
		if (strcmp(t->domains[k].name, name) == 0)
			return true;
	return false;
}

static void check_expect(struct reader *r, const struct ptest *t, struct ptest_expect *e, unsigned i, unsigned k)
{
	bool sized = e->vcpus || e->mem;
	char key[KEY_PATH_MAX];

	e->to_ms = e->to_ms ? e->to_ms : t->length_ms;
	if (*e->domain && !has_domain(t, e->domain))
		reader_mistake(
			r, KEY(key, "tests[%u].expect[%u].domain", i, k), "the test has no domain \"%s\"", e->domain);
	if (e->from_ms > e->to_ms || e->to_ms > t->length_ms)
		reader_mistake(r, KEY(key, "tests[%u].expect[%u].to", i, k),
			"is before from, or after the test's end (length)");
	if (sized && (e->action == PT_NONE || e->action == PT_NO_MOVE))
		reader_mistake(r, KEY(key, "tests[%u].expect[%u]", i, k),
			"vcpus and memory mean nothing with action = \"%s\"", ptest_action_words[e->action]);
	if (!sized && e->action == PT_HAS)
		reader_mistake(r, KEY(key, "tests[%u].expect[%u]", i, k), "\"has\" needs vcpus or memory");
}

static void check_tests(struct reader *r, struct ptests *t)
{
	char key[KEY_PATH_MAX];

	for (unsigned i = 0; i < t->n; i++) {
		struct ptest *test = &t->v[i];

		if (test->days & (test->days - 1))
			reader_mistake(r, KEY(key, "tests[%u].day", i), "must be one day; it is when the test begins");
		for (unsigned k = 0; k < i; k++)
			if (*test->name && strcmp(test->name, t->v[k].name) == 0)
				reader_mistake(r, KEY(key, "tests[%u].name", i), "\"%s\" is there already", test->name);
		for (unsigned k = 0; k < test->n_domains; k++)
			check_domain_of(r, &test->domains[k], i, k);
		for (unsigned k = 0; k < test->n_expects; k++)
			check_expect(r, test, &test->expects[k], i, k);
	}
}

int ptests_load(const char *path, struct ptests *out, struct conf **conf_out, struct conf_mistakes *mistakes)
{
	struct ptests t = {0};
	struct reader r;
	int err;

	if (reader_file(&r, path) == 0) {
		reader_fill(&r, &schema_policy_tests, &t);
		check_tests(&r, &t);
	}
	err = reader_result(&r, mistakes);
	reader_fini(&r);
	if (!err)
		err = conf_load_policy(t.policies, conf_out, mistakes);
	if (err)
		ptests_fini(&t);
	else
		*out = t;
	return err;
}

void ptests_fini(struct ptests *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		for (unsigned k = 0; k < t->v[i].n_domains; k++)
			free(t->v[i].domains[k].samples);
		free(t->v[i].domains);
		free(t->v[i].peers);
		free(t->v[i].expects);
	}
	free(t->v);
	*t = (struct ptests){0};
}
