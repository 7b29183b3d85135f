/* Configurations and what must come of them: each cases/X.cfg beside cases/X.out, which holds either all mistakes or, for a good
 * file, every value of the schema as it arrived in memory. "domain-*" are domain files. BALLAST_CASES_WRITE=1 writes the .out
 * files anew (then read the difference). Runs in the project's folder. */
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/schema.h"

#define CASES "tests/unit/conf/cases/"

static void dump_value(FILE *f, const struct key *k, const char *at)
{
	uint64_t v = k->size == 1 ? *(const uint8_t *)at
		: k->size == 2    ? *(const uint16_t *)at
		: k->size == 4    ? *(const uint32_t *)at
				  : 0;

	switch (k->type) {
	case KEY_REAL:
		fprintf(f, "%g\n", *(const double *)at);
		break;
	case KEY_SIZE:
		fprintf(f, "%llu\n", (unsigned long long)*(const uint64_t *)at);
		break;
	case KEY_PORTS:
		fprintf(f, "%u", (unsigned)v);
		break;
	case KEY_BOOL:
	case KEY_UINT:
	case KEY_SECONDS:
	case KEY_MS:
	case KEY_PORT:
	case KEY_TOD:
	case KEY_DAYS:
	case KEY_WORD:
		fprintf(f, "%llu\n", (unsigned long long)v);
		break;
	default:
		at = strstr(at, "/policyd-migrate") ? "beside this program" : at;
		fprintf(f, "\"%s\"\n", at);
	}
}

static void dump(FILE *f, const char *prefix, const struct key_table *t, const char *base)
{
	char below[256];

	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];
		unsigned n;

		snprintf(below, sizeof(below), "%s%s%s", prefix, *prefix ? "." : "", k->name);
		if (k->type == KEY_GROUP) {
			if (k->off2)
				fprintf(f, "%s given: %d\n", below, *(const bool *)(base + k->off2));
			dump(f, below, k->sub, base);
		} else if (k->type == KEY_STRINGS) {
			for (unsigned j = 0; j < *(const unsigned *)(base + k->off2); j++)
				fprintf(f, "%s[%u] = \"%s\"\n", below, j, base + k->off + j * k->size);
		} else if (k->type == KEY_LIST) {
			const char *elems = k->list->heap ? *(char *const *)(base + k->list->off) : base + k->list->off;

			n = *(const unsigned *)(base + k->list->off_n);
			for (unsigned j = 0; j < n; j++) {
				snprintf(below, sizeof(below), "%s%s%s[%u]", prefix, *prefix ? "." : "", k->name, j);
				dump(f, below, k->sub, elems + j * k->list->elem_size);
			}
		} else {
			fprintf(f, "%s = ", below);
			dump_value(f, k, base + k->off);
			if (k->type == KEY_PORTS)
				fprintf(f, "-%u\n", *(const uint16_t *)(base + k->off2));
		}
	}
}

/* What came of @path, as text; this machine's folder is shown as $PWD. */
static char *outcome(const char *path)
{
	struct conf_mistakes m = {0};
	struct conf *c = NULL;
	struct domain_spec s;
	char *text = NULL, cwd[4096], *p, *tail;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	int err;

	assert_non_null(f);
	memset(&s, 0x5a, sizeof(s));
	if (strstr(path, "/domain-")) {
		err = conf_load_domain(path, &s, &m);
		if (!err)
			dump(f, "", &schema_domain, (const char *)&s);
		else
			for (size_t i = 0; i < sizeof(s); i++)
				assert_int_equal(((const unsigned char *)&s)[i], 0x5a); /* untouched */
	} else {
		err = conf_load(path, &c, &m);
		if (!err)
			dump(f, "", &schema_host, (const char *)c);
		else
			assert_null(c);
	}
	assert_true(err == 0 || err == -EINVAL);
	assert_int_equal(m.n != 0, err == -EINVAL);
	for (size_t i = 0; i < m.n; i++)
		fprintf(f, "%s\n", m.v[i]);
	if (m.n)
		fprintf(f, "%zu mistake%s\n", m.n, m.n == 1 ? "" : "s");
	fclose(f);
	conf_free(c);
	conf_mistakes_fini(&m);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	for (p = text; (p = strstr(p, cwd)); p += 4) {
		tail = p + strlen(cwd);
		memcpy(p, "$PWD", 4);
		memmove(p + 4, tail, strlen(tail) + 1);
	}
	return text;
}

static void expect(const char *path)
{
	char out[512], want[65536], *got = outcome(path);
	size_t n;
	FILE *f;

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
	n = fread(want, 1, sizeof(want) - 1, f);
	want[n] = '\0';
	fclose(f);
	if (strcmp(got, want) != 0)
		fail_msg("%s\n---- got:\n%s---- expected:\n%s", path, got, want);
	free(got);
}

static void test_cases(void **state)
{
	glob_t g;

	(void)state;
	assert_int_equal(glob(CASES "*.cfg", 0, NULL, &g), 0);
	assert_true(g.gl_pathc >= 15);
	for (size_t i = 0; i < g.gl_pathc; i++)
		expect(g.gl_pathv[i]);
	globfree(&g);
}

static void test_unreadable(void **state)
{
	static const char *const paths[] = {"/no/such/file.cfg", "/tmp", "/dev/null", ""};
	struct conf_mistakes m;
	struct conf *c = NULL;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(conf_load(paths[i], &c, &m), -EINVAL);
		assert_null(c);
		assert_int_equal(m.n, 1);
		assert_non_null(strstr(m.v[0], "cannot be read"));
		conf_mistakes_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_unreadable)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
