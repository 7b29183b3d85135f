/* The hand-off table: every pair of states of both roles against a list written out by hand, names, and who may run. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/handoff.h"

struct edge {
	enum handoff_role role;
	enum handoff_state from, to;
};

/* docs/wire.md's picture, once more and independently of the table. */
static const struct edge legal[] = {
	{HO_SOURCE, HO_NONE, HO_RUN},
	{HO_SOURCE, HO_RUN, HO_PAUSED},
	{HO_SOURCE, HO_RUN, HO_ABORT},
	{HO_SOURCE, HO_PAUSED, HO_OFFERED},
	{HO_SOURCE, HO_PAUSED, HO_ABORT},
	{HO_SOURCE, HO_OFFERED, HO_GONE},
	{HO_SOURCE, HO_OFFERED, HO_ABORT},
	{HO_TARGET, HO_NONE, HO_PREPARED},
	{HO_TARGET, HO_NONE, HO_REFUSED},
	{HO_TARGET, HO_PREPARED, HO_LOADED},
	{HO_TARGET, HO_PREPARED, HO_REFUSED},
	{HO_TARGET, HO_LOADED, HO_OWNER},
	{HO_TARGET, HO_LOADED, HO_REFUSED},
	{HO_TARGET, HO_LOADED, HO_PARTIAL},
	{HO_TARGET, HO_PARTIAL, HO_OWNER},
};

static bool is_source(enum handoff_state s)
{
	return s == HO_NONE || (s >= HO_RUN && s <= HO_ABORT);
}

static bool is_target(enum handoff_state s)
{
	return s == HO_NONE || (s >= HO_PREPARED && s <= HO_REFUSED);
}

static bool expected(enum handoff_role role, enum handoff_state from, enum handoff_state to)
{
	bool (*member)(enum handoff_state) = role == HO_SOURCE ? is_source : is_target;

	if (!member(from) || !member(to))
		return false;
	if (from == to)
		return true;
	for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		if (legal[i].role == role && legal[i].from == from && legal[i].to == to)
			return true;
	return false;
}

static void every_pair(void **state)
{
	(void)state;
	for (int role = HO_SOURCE; role <= HO_TARGET; role++) {
		for (int from = 0; from < HO_STATE_COUNT; from++) {
			for (int to = 0; to < HO_STATE_COUNT; to++) {
				struct err e = {0};
				int rc = handoff_step(role, from, to, &e);

				assert_int_equal(rc, expected(role, from, to) ? 0 : -EPROTO);
				assert_int_equal(e.code, rc ? EPROTO : 0);
			}
		}
	}
	assert_int_equal(handoff_step(HO_SOURCE, HO_STATE_COUNT, HO_RUN, NULL), -EPROTO);
	assert_int_equal(handoff_step(HO_SOURCE, HO_RUN, (enum handoff_state)99, NULL), -EPROTO);
	assert_int_equal(handoff_step((enum handoff_role)7, HO_RUN, HO_RUN, NULL), -EPROTO);
}

/* Any two final states that both sides can reach together: at most one may run. Whether they can reach them is tests/model's. */
static void who_may_run(void **state)
{
	(void)state;
	static const enum handoff_state source_runs[] = {HO_NONE, HO_RUN, HO_ABORT};

	for (int s = 0; s < HO_STATE_COUNT; s++) {
		bool want = false;

		for (size_t i = 0; i < 3; i++)
			want |= source_runs[i] == (enum handoff_state)s;
		assert_int_equal(handoff_may_run(HO_SOURCE, s), want);
		assert_int_equal(handoff_may_run(HO_TARGET, s), s == HO_OWNER || s == HO_PARTIAL);
		assert_int_equal(handoff_in_doubt(HO_SOURCE, s), s == HO_OFFERED);
		assert_false(handoff_in_doubt(HO_TARGET, s));
		assert_int_equal(handoff_final(HO_SOURCE, s), s == HO_GONE || s == HO_ABORT);
		assert_int_equal(handoff_final(HO_TARGET, s), s == HO_OWNER || s == HO_REFUSED);
	}
}

static void names_round_trip(void **state)
{
	enum handoff_state out = HO_NONE;

	(void)state;
	for (int s = 0; s < HO_STATE_COUNT; s++) {
		assert_int_equal(handoff_parse(handoff_name(s), &out), 0);
		assert_int_equal(out, s);
	}
	out = HO_GONE;
	assert_int_equal(handoff_parse("owner", &out), -EINVAL);
	assert_int_equal(handoff_parse("", &out), -EINVAL);
	assert_int_equal(out, HO_GONE);
	assert_string_equal(handoff_name(HO_STATE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair),
		cmocka_unit_test(who_may_run),
		cmocka_unit_test(names_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
