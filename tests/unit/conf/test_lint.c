/* Warnings: each lint/X-bad.cfg has some, which are in lint/X-bad.out; the near miss beside it, lint/X-good.cfg, has none. The configurations of
 * examples/ have none either. BALLAST_CASES_WRITE=1 writes the .out files anew (then read the difference). Runs in the project's folder. */
#include <glob.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

#define CASES "tests/unit/conf/lint/"

static void warnings(const char *path, char *out, size_t size)
{
	struct conf_mistakes w;
	size_t n = 0;

	assert_int_equal(conf_lint(path, &w), 0);
	out[0] = 0;
	for (size_t i = 0; i < w.n; i++)
		n += (size_t)snprintf(out + n, size - n, "%s\n", w.v[i]);
	assert_true(n < size);
	conf_mistakes_fini(&w);
}

static void expect(const char *path)
{
	char out[512], got[32768], want[32768] = "";
	struct conf_mistakes m;
	struct conf *c = NULL;
	FILE *f;

	warnings(path, got, sizeof(got));
	if (!strstr(path, "with-mistakes")) { /* what is warned of is allowed */
		conf_load(path, &c, &m);
		if (m.n)
			fail_msg("%s", m.v[0]);
		conf_free(c);
	}
	if (strstr(path, "-good.cfg")) {
		if (*got)
			fail_msg("%s has warnings:\n%s", path, got);
		return;
	}
	snprintf(out, sizeof(out), "%.*s.out", (int)(strlen(path) - 4), path);
	if (getenv("BALLAST_CASES_WRITE")) {
		f = fopen(out, "w");
		assert_non_null(f);
		fputs(got, f);
		fclose(f);
	}
	f = fopen(out, "r");
	if (!f)
		fail_msg("%s is missing", out);
	want[fread(want, 1, sizeof(want) - 1, f)] = '\0';
	fclose(f);
	assert_true(*want);
	if (strcmp(got, want) != 0)
		fail_msg("%s\n---- got:\n%s---- expected:\n%s", path, got, want);
}

static void test_pairs(void **state)
{
	unsigned bad = 0;
	glob_t g;

	(void)state;
	assert_int_equal(glob(CASES "*.cfg", 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		expect(g.gl_pathv[i]);
		bad += strstr(g.gl_pathv[i], "-bad") != NULL;
	}
	assert_true(bad >= 7);
	globfree(&g);
}

static void test_examples(void **state)
{
	static const char *const paths[] = {"examples/policyd.cfg", "examples/policyd-beta.cfg",
		"examples/demo/alpha.cfg", "examples/demo/beta.cfg"};
	char got[8192];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		warnings(paths[i], got, sizeof(got));
		if (*got)
			fail_msg("%s has warnings:\n%s", paths[i], got);
	}
}

/* What conf_lint says of the policies of a file, conf_lint_policy says of them one by one, in the same words. */
static void of_one_policy(const char *path)
{
	char all[32768] = "", *reason;
	size_t n = 0, n_file = 0, n_one = 0;
	struct conf_mistakes w, m;
	struct conf *c = NULL;

	assert_int_equal(conf_load(path, &c, &m), 0);
	for (unsigned i = 0; i < c->n_policies; i++) {
		assert_int_equal(conf_lint_policy(c, c->policies[i].name, &w), 0);
		for (size_t k = 0; k < w.n; k++)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s\n", w.v[k]);
		n_one += w.n;
		conf_mistakes_fini(&w);
	}
	assert_int_equal(conf_lint(path, &w), 0);
	for (size_t k = 0; k < w.n; k++) {
		reason = strstr(w.v[k], "warning: ");
		if (!strstr(w.v[k], " policies["))
			continue;
		n_file++;
		if (!strstr(all, reason + strlen("warning: ")))
			fail_msg("%s: not said of one policy: %s", path, w.v[k]);
	}
	assert_true(n_one >= n_file);
	assert_int_equal(conf_lint_policy(c, "no such policy", &m), 0);
	assert_int_equal(m.n, 0);
	conf_mistakes_fini(&w);
	conf_free(c);
}

static void test_one_policy(void **state)
{
	glob_t g;

	(void)state;
	assert_int_equal(glob(CASES "*-bad.cfg", 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++)
		if (!strstr(g.gl_pathv[i], "with-mistakes"))
			of_one_policy(g.gl_pathv[i]);
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs), cmocka_unit_test(test_examples), cmocka_unit_test(test_one_policy)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
