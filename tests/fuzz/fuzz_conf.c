/* Fuzz: host files (with their policies written back, and their warnings), files of policy tests, and domain files: each input as each of them.
 * corpus: tests/unit/conf/cases tests/unit/conf/lint examples */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/policy_test.h"
#include "tests/fuzz/fuzz.h"

/* libconfig 1.5 loses the string before a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:strbuf_append\nleak:libconfig_yylex\n";
}

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fuzz_conf: %s\n", what);
		abort();
	}
}

static void check(int err, struct conf_mistakes *m)
{
	must(err == 0 || err == -EINVAL, "neither 0 nor -EINVAL");
	must((err == -EINVAL) == (m->n > 0), "mistakes and result disagree");
	for (size_t i = 0; i < m->n; i++) {
		json_t *j = json_string(m->v[i]); /* it is sent to policyctl */

		must(j, "not UTF-8");
		json_decref(j);
		must(strchr(m->v[i], ':') && !strchr(m->v[i], '\n'), "not one line of file:line: ...");
	}
	conf_mistakes_fini(m);
}

/* What was read can be written, and says the same when it is read again. */
static void policies_again(const struct conf *c)
{
	for (unsigned i = 0; i < c->n_policies; i++) {
		char *text = conf_policy_text(&c->policies[i]), *again;
		struct conf_mistakes m;
		struct policy *v = NULL;
		unsigned n = 0;

		must(text && conf_parse_policies(text, "again", c, &v, &n, &m) == 0 && n == 1,
			"a policy that is not read again");
		again = conf_policy_text(v);
		must(again && strcmp(text, again) == 0, "a policy that says something else when read again");
		free(again);
		free(text);
		free(v);
	}
}

static void host_file(const char *path)
{
	struct conf_mistakes m;
	struct conf *c = NULL;

	check(conf_load(path, &c, &m), &m);
	if (c)
		policies_again(c);
	conf_free(c);
	c = NULL;
	check(conf_load_policy(path, &c, &m), &m);
	if (c)
		policies_again(c);
	conf_free(c);
	must(conf_lint(path, &m) == 0, "lint");
	check(m.n ? -EINVAL : 0, &m);
}

static void tests_file(const char *path)
{
	struct conf_mistakes m;
	struct conf *c = NULL;
	struct ptests t;
	int err = ptests_load(path, &t, &c, &m);

	check(err, &m);
	if (!err)
		ptests_fini(&t);
	conf_free(c);
}

static void file(const uint8_t *data, size_t size)
{
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size, "memfd");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	host_file(path);
	tests_file(path);
	close(fd);
}

static void domain_text(const uint8_t *data, size_t size)
{
	struct conf_mistakes m;
	struct domain_spec s, again;
	char *text = malloc(size + 1);
	json_t *j;
	int err;

	must(text, "no memory");
	memcpy(text, data, size);
	text[size] = '\0';
	err = conf_parse_domain(text, "/srv/fuzz.cfg", &s, &m);
	check(err, &m);
	if (!err) { /* what conf takes, the rest of the program takes */
		must(spec_check(&s, NULL) == 0, "a spec that spec_check refuses");
		j = spec_to_json(&s);
		must(j && spec_from_json(j, &again, NULL) == 0, "a spec that JSON refuses");
		json_decref(j);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char word[32];
	uint64_t v;

	file(data, size);
	domain_text(data, size);
	snprintf(word, sizeof(word), "%.*s", (int)(size > 31 ? 31 : size), (const char *)data);
	size_parse(word, &v);
	duration_parse(word, &v);
	return 0;
}
