/* The state table, every pair of it, against the picture written down independently here; names; flags. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/state.h"
#include "migrate/handoff.h"

/* A row a state, a column an event in the order of the enum; the letter is where it leads, '.' = no edge:
 * Inactive Bound sTarting Active sUspended tRansition stOpping */
static const char letters[] = "IBTAURO";
static const char *const expected[DOM_STATE_COUNT] = {
	/*  bind unbind start running suspend resume migrate stay held gone stop exited */
	[DOM_INACTIVE] = "B...........",
	[DOM_BOUND] = ".IT...R..I..",
	[DOM_STARTING] = "...AU.R...OB",
	[DOM_ACTIVE] = "....U.R...OB",
	[DOM_SUSPENDED] = ".....ARA.IOB",
	[DOM_TRANSITION] = ".......AUI.B",
	[DOM_STOPPING] = "...A......OB",
};

static void test_every_pair(void **state)
{
	(void)state;
	for (int s = 0; s < DOM_STATE_COUNT; s++) {
		assert_int_equal(strlen(expected[s]), DOM_EVENT_COUNT);
		for (int ev = 0; ev < DOM_EVENT_COUNT; ev++) {
			enum domain_state now = (enum domain_state)s;
			struct err e = {0};
			int r = domain_state_step(&now, (enum domain_event)ev, &e);

			if (expected[s][ev] == '.') {
				assert_int_equal(r, -EPROTO);
				assert_int_equal(now, s);
				assert_non_null(strstr(e.msg, domain_state_name((enum domain_state)s)));
			} else {
				assert_int_equal(r, 0);
				assert_int_equal(letters[now], expected[s][ev]);
			}
		}
	}
}

/* From everywhere a domain can come to rest: no state is a trap. */
static void test_no_trap(void **state)
{
	(void)state;
	for (int s = 0; s < DOM_STATE_COUNT; s++) {
		bool reach[DOM_STATE_COUNT] = {false};

		reach[s] = true;
		for (int round = 0; round < DOM_STATE_COUNT; round++)
			for (int from = 0; from < DOM_STATE_COUNT; from++)
				for (int ev = 0; reach[from] && ev < DOM_EVENT_COUNT; ev++) {
					enum domain_state to = (enum domain_state)from;

					if (!domain_state_step(&to, (enum domain_event)ev, NULL))
						reach[to] = true;
				}
		assert_true(reach[DOM_INACTIVE] && reach[DOM_ACTIVE]);
	}
}

static void test_out_of_range(void **state)
{
	enum domain_state s = DOM_ACTIVE, bad = (enum domain_state)DOM_STATE_COUNT;

	(void)state;
	assert_int_equal(domain_state_step(&s, DOM_EVENT_COUNT, NULL), -EPROTO);
	assert_int_equal(domain_state_step(&bad, DEV_BIND, NULL), -EPROTO);
	assert_string_equal(domain_state_name(bad), "?");
	assert_string_equal(domain_event_name(DOM_EVENT_COUNT), "?");
}

static void test_names(void **state)
{
	(void)state;
	for (int s = 0; s < DOM_STATE_COUNT; s++) {
		enum domain_state out = DOM_STATE_COUNT;

		assert_int_equal(domain_state_parse(domain_state_name((enum domain_state)s), &out), 0);
		assert_int_equal(out, s);
	}
	for (int ev = 0; ev < DOM_EVENT_COUNT; ev++)
		assert_non_null(domain_event_name((enum domain_event)ev));
	assert_int_equal(domain_state_parse("Active", &(enum domain_state){0}), -EINVAL);
}

static void assert_flags(struct domain_flags f, const char *text)
{
	char out[7];

	domain_flags_text(&f, out);
	assert_string_equal(out, text);
}

static void test_flags(void **state)
{
	(void)state;
	assert_flags((struct domain_flags){0}, "------");
	assert_flags((struct domain_flags){.normal = true}, "-n----");
	assert_flags((struct domain_flags){.transition = true, .source = true}, "-t---s");
	assert_flags((struct domain_flags){.transition = true, .target = true, .error = true}, "-t---t");
	assert_flags((struct domain_flags){.normal = true, .transition = true}, "-t----");
	assert_flags((struct domain_flags){.held = true, .normal = true, .error = true}, "hn---e");
}

/* docs/states.md is made from the tables and compared with them: BALLAST_STATES_WRITE=1 writes it anew. */
static void domain_rows(FILE *f)
{
	for (int s = 0; s < DOM_STATE_COUNT; s++) {
		const char *sep = "";

		fprintf(f, "| %s | ", domain_state_name((enum domain_state)s));
		for (int ev = 0; ev < DOM_EVENT_COUNT; ev++) {
			enum domain_state to = (enum domain_state)s;

			if (domain_state_step(&to, (enum domain_event)ev, NULL))
				continue;
			fprintf(f, "%s%s -> %s", sep, domain_event_name((enum domain_event)ev), domain_state_name(to));
			sep = ", ";
		}
		fprintf(f, " |\n");
	}
}

static void handoff_rows(FILE *f, enum handoff_role role)
{
	for (int s = 0; s < HO_STATE_COUNT; s++) {
		const char *sep = "";

		for (int to = 0; to < HO_STATE_COUNT; to++) {
			if (s == to || handoff_step(role, (enum handoff_state)s, (enum handoff_state)to, NULL))
				continue;
			if (!*sep)
				fprintf(f, "| %s | ", handoff_name((enum handoff_state)s));
			fprintf(f, "%s%s", sep, handoff_name((enum handoff_state)to));
			sep = ", ";
		}
		fprintf(f, "%s", *sep ? " |\n" : "");
	}
}

static void test_docs(void **state)
{
	char *made = NULL, *kept = calloc(1, 1 << 16);
	size_t n = 0, n_kept = 0;
	FILE *f = open_memstream(&made, &n);

	(void)state;
	fprintf(f,
		"# States\n\nMade from the tables in domain/state.c and migrate/handoff.c; a unit test compares them (tests/unit/domain/"
		"test_state.c).\n\n## A domain (STATE of policyctl list)\n\n| state | on -> becomes |\n| --- | --- |\n");
	domain_rows(f);
	fprintf(f, "\n## The hand-off, at the source\n\n| recorded | may be followed by |\n| --- | --- |\n");
	handoff_rows(f, HO_SOURCE);
	fprintf(f, "\n## The hand-off, at the target\n\n| recorded | may be followed by |\n| --- | --- |\n");
	handoff_rows(f, HO_TARGET);
	fclose(f);
	f = fopen("docs/states.md", getenv("BALLAST_STATES_WRITE") ? "w+" : "r");
	assert_non_null(f);
	if (getenv("BALLAST_STATES_WRITE"))
		assert_int_equal(fwrite(made, 1, n, f), n);
	rewind(f);
	n_kept = fread(kept, 1, (1 << 16) - 1, f);
	fclose(f);
	assert_int_equal(n_kept, n);
	assert_string_equal(kept, made);
	free(made);
	free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pair),
		cmocka_unit_test(test_no_trap),
		cmocka_unit_test(test_out_of_range),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_docs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
