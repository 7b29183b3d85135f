/* docs/policy-reference.md is what the schema says (`make policy-reference` writes it), and the schema is sound: each default is
 * within its own range, each row has its help, no name is there twice. Runs in the project's folder. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/schema.h"
#include "conf/value.h"

#define REFERENCE "docs/policy-reference.md"

static void check_table(const struct key_table *t)
{
	static char base[sizeof(struct conf) > sizeof(struct policy) ? sizeof(struct conf) : sizeof(struct policy)];
	char reason[REASON_MAX];

	for (unsigned i = 0; i < t->n; i++) {
		const struct key *k = &t->keys[i];

		assert_non_null(k->help);
		assert_ptr_equal(schema_find(t, k->name), k);
		assert_true((k->type == KEY_GROUP || k->type == KEY_LIST) == (k->sub != NULL));
		assert_true((k->type == KEY_LIST) == (k->list != NULL));
		assert_true((k->type == KEY_WORD) == (k->words != NULL));
		if (k->type == KEY_UINT || k->type == KEY_REAL || k->type == KEY_MS || k->type == KEY_SECONDS ||
			k->type == KEY_SIZE || k->type == KEY_PORT)
			assert_true(k->max > k->min);
		if (k->def) {
			struct value v = value_of_text(k->def);

			if (value_store(k, &v, "", base, reason))
				fail_msg("%s: default %s: %s", k->name, k->def, reason);
		}
		if (k->sub)
			check_table(k->sub);
	}
}

static void test_schema(void **state)
{
	(void)state;
	check_table(&schema_host);
	check_table(&schema_domain);
	check_table(&schema_policy_tests);
}

static void test_reference(void **state)
{
	char *now = NULL, *file;
	size_t n = 0, got;
	FILE *f = open_memstream(&now, &n);

	(void)state;
	assert_non_null(f);
	schema_write_reference(f);
	fclose(f);
	if (getenv("BALLAST_REFERENCE_WRITE")) {
		f = fopen(REFERENCE, "w");
		assert_non_null(f);
		fputs(now, f);
		fclose(f);
	}
	f = fopen(REFERENCE, "r");
	if (!f)
		fail_msg("%s is missing; make policy-reference", REFERENCE);
	file = calloc(1, n + 2);
	got = fread(file, 1, n + 1, f);
	fclose(f);
	if (got != n || memcmp(file, now, n) != 0)
		fail_msg("%s is not what the schema says; make policy-reference", REFERENCE);
	free(file);
	free(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_schema), cmocka_unit_test(test_reference)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
