/* A policy as text says what the policy says, whatever its keys; and one key set as on a command line changes that key and nothing else. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static const struct {
	const char *key, *value, *line; /* line: NULL = the text has nothing of it */
} sets[] = {
	{"cpu.util-upper", "90", "util-upper = 90;"},
	{"util-lower", "30", "util-lower = 30;"},
	{"vcpu-max", "8", "vcpu-max = 8;"},
	{"vcpu-max", "unlimited", NULL},
	{"attack", "2", "attack = 2;"},
	{"cpu.sample-rate", "20s", "sample-rate = 20;"},
	{"memory.sample-rate", "7", "sample-rate = 7;"},
	{"memory-min", "512M", "memory-min = \"512M\";"},
	{"memory-max", "3000M", "memory-max = \"3000M\";"},
	{"memory-max", "own", NULL},
	{"swap-in", "1M", "swap-in = \"1M\";"},
	{"sizing", "yes", "sizing = true;"},
	{"law", "free-rule", "law = \"free-rule\";"},
	{"enable", "no", "enable = false;"},
	{"enable", "true", NULL},
	{"dry-run", "yes", "dry-run = true;"},
	{"priority", "10", "priority = 10;"},
	{"domain", "web*", "domain = \"web*\";"},
	{"match.domain", "a\"b\\c", "domain = \"a\\\"b\\\\c\";"},
	{"tags", "web,db", "tags = [ \"web\", \"db\" ];"},
	{"tags", "", NULL},
	{"hosts", "alpha", "hosts = [ \"alpha\" ];"},
	{"tod-begin", "22:00", "tod-begin = \"22:00\"; tod-end = \"00:00\";"},
	{"tod-end", "06:30", "tod-end = \"06:30\";"},
	{"days", "Mon-Fri", "days = \"Mon,Tue,Wed,Thu,Fri\";"},
	{"time-zone", "UTC", "time-zone = \"UTC\";"},
	{"relocate", "cold", "relocate = \"cold\";"},
	{"relocate", "unset", NULL},
	{"importance", "0", "importance = 0;"},
	{"cpu", "none", NULL},
	{"match", "none", NULL},
};

/* The text, read again, gives the same text. */
static char *round_trip(const struct policy *p)
{
	char *text = conf_policy_text(p), *again;
	struct conf_mistakes m;
	struct policy *v = NULL;
	struct conf base = {0};
	unsigned n = 0;

	assert_non_null(text);
	if (conf_parse_policies(text, "x", &base, &v, &n, &m))
		fail_msg("%s\n%s", m.n ? m.v[0] : "?", text);
	assert_int_equal(n, 1);
	again = conf_policy_text(&v[0]);
	assert_string_equal(text, again);
	free(again);
	free(v);
	return text;
}

static void test_keys(void **state)
{
	char reason[640], *text;
	struct policy p;

	(void)state;
	assert_int_equal(conf_policy_init(&p, "night", reason, sizeof(reason)), 0);
	text = round_trip(&p);
	assert_string_equal(text, "policies = (\n { name = \"night\"; }\n);\n");
	free(text);
	for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (conf_policy_set(&p, sets[i].key, sets[i].value, reason, sizeof(reason)))
			fail_msg("%s=%s: %s", sets[i].key, sets[i].value, reason);
		text = strcmp(sets[i].key, "match.domain") ? round_trip(&p) : conf_policy_text(&p);
		if (sets[i].line && !strstr(text, sets[i].line))
			fail_msg("%s=%s: no \"%s\" in %s", sets[i].key, sets[i].value, sets[i].line, text);
		free(text);
	}
	text = round_trip(&p);
	assert_null(strstr(text, "cpu"));
	assert_null(strstr(text, "match"));
	assert_non_null(strstr(text, "memory = {"));
	free(text);
}

static void test_one_key_only(void **state)
{
	char reason[640];
	struct policy p, q;

	(void)state;
	assert_int_equal(conf_policy_init(&p, "day", reason, sizeof(reason)), 0);
	assert_int_equal(conf_policy_set(&p, "util-upper", "80", reason, sizeof(reason)), 0);
	assert_int_equal(conf_policy_set(&p, "util-lower", "20", reason, sizeof(reason)), 0);
	q = p;
	assert_int_equal(conf_policy_set(&q, "util-upper", "90", reason, sizeof(reason)), 0);
	assert_int_equal(q.cpu.util_upper, 90);
	q.cpu.util_upper = 80;
	assert_memory_equal(&p, &q, sizeof(p));
}

static void test_refused(void **state)
{
	static const struct {
		const char *key, *value, *part;
	} rows[] = {{"util-uper", "90", "did you mean \"util-upper\"?"},
		{"cpu.util-uper", "90", "did you mean \"util-upper\"?"}, {"util-upper", "900", "allowed: 0..100 %"},
		{"util-upper", "much", "is not a whole number"},
		{"sample-rate", "5", "cpu.sample-rate or memory.sample-rate"}, {"name", "x", "keeps its name"},
		{"cpu", "all", "cpu=none"}, {"calendar", "x", "in a file"}, {"tags", "a,,b", "not a name"},
		{"tags", "web,-", "not a name"}, {"memory-min", "17M", "multiple of 2M"},
		{"enable", "maybe", "is not true or false"}, {"time-zone", "Mars/Base", "Europe/Berlin"},
		{"relocate", "fast", "allowed:"}, {"xyzzy", "1", "unknown key"}};
	char reason[640];
	struct policy p, was;

	(void)state;
	assert_int_equal(conf_policy_init(&p, "x", reason, sizeof(reason)), 0);
	was = p;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (conf_policy_set(&p, rows[i].key, rows[i].value, reason, sizeof(reason)) != -EINVAL)
			fail_msg("%s=%s was taken", rows[i].key, rows[i].value);
		if (!strstr(reason, rows[i].part))
			fail_msg("%s=%s: \"%s\" says nothing of \"%s\"", rows[i].key, rows[i].value, reason,
				rows[i].part);
		assert_memory_equal(&p, &was, sizeof(p));
	}
	assert_int_equal(conf_policy_init(&p, "-x", reason, sizeof(reason)), -EINVAL);
	assert_int_equal(conf_policy_init(&p, "", reason, sizeof(reason)), -EINVAL);
}

/* Policies of files, calendars among them. */
static void test_files(void **state)
{
	static const char *const files[] = {"examples/demo/policies.cfg", "tests/unit/conf/cases/full.cfg"};
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct conf_mistakes m;
		struct conf *c = NULL;

		if (conf_load_policy(files[i], &c, &m)) { /* programs that it names are elsewhere */
			conf_mistakes_fini(&m);
			continue;
		}
		for (unsigned k = 0; k < c->n_policies; k++, n++) {
			struct policy p = c->policies[k];

			p.cluster[0] = 0; /* is defined elsewhere in the file */
			free(round_trip(&p));
		}
		conf_free(c);
	}
	assert_true(n >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_one_key_only),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_files)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
