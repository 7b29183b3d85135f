/* The decide tables: each cases/X.json is a snapshot, the actions that the rule wants (by hand), words that must be said, and the
 * whole plan as recorded. BALLAST_CASES_WRITE=1 records the plans anew (then read the difference). See make_cases.py. Also: every
 * case decides the same from JSON and back, and its text can be rendered. Runs in the project's folder. */
#include <glob.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/text.h"

#define CASES "tests/unit/decide/cases/"

/* "web1 set-vcpus 2 after batch1" */
static void in_short(const struct plan *p, const struct action *a, char out[256])
{
	int n = snprintf(out, 256, "%s %s", a->domain, action_kind_name(a->kind));

	if (a->kind == ACT_SET_VCPUS && a->cpu_cap)
		n += snprintf(out + n, 256 - (size_t)n, " %u at most %u %%", a->vcpus, a->cpu_cap);
	else if (a->kind == ACT_SET_VCPUS)
		n += snprintf(out + n, 256 - (size_t)n, " %u", a->vcpus);
	else if (a->kind != ACT_SET_MEMORY)
		n += snprintf(out + n, 256 - (size_t)n, " %s", a->target);
	if (a->kind == ACT_SET_MEMORY || a->kind == ACT_TRIM_MOVE)
		n += snprintf(out + n, 256 - (size_t)n, " %lluM", (unsigned long long)(a->mem_bytes >> 20));
	if (a->after >= 0)
		snprintf(out + n, 256 - (size_t)n, " after %s", p->actions[a->after].domain);
}

static void check_actions(const char *path, const json_t *expect, const struct plan *p)
{
	char text[256];

	for (unsigned i = 0; i < p->n_actions; i++) {
		const char *want = json_string_value(json_array_get(expect, i));

		in_short(p, &p->actions[i], text);
		if (!want || strcmp(want, text) != 0)
			fail_msg("%s: action %u is \"%s\", the rule wants \"%s\"", path, i, text, want ? want : "none");
	}
	if (json_array_size(expect) != p->n_actions)
		fail_msg("%s: %u actions, the rule wants %zu", path, p->n_actions, json_array_size(expect));
}

static bool is_said(const struct plan *p, const char *what)
{
	char line[512];

	for (unsigned i = 0; i < p->n_notes; i++) {
		snprintf(line, sizeof(line), "%s %s", p->notes[i].domain, p->notes[i].text);
		if (strstr(line, what))
			return true;
	}
	for (unsigned i = 0; i < p->n_candidates; i++)
		if (strstr(p->candidates[i].text, what) || strstr(p->candidates[i].why, what))
			return true;
	for (unsigned i = 0; i < p->n_actions; i++) {
		action_text(&p->actions[i], NULL, line, sizeof(line));
		if (strstr(p->actions[i].why, what) || strstr(line, what))
			return true;
	}
	return false;
}

static void check_says(const char *path, const json_t *says, const struct plan *p)
{
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)says, i, v)
		if (!is_said(p, json_string_value(v)))
			fail_msg("%s: nobody says \"%s\"", path, json_string_value(v));
}

/* What a move was predicted to cost follows from predict.c, which is tuned by measurements: not a matter of these tables. */
static json_t *without_predictions(const json_t *plan)
{
	static const char *const figures[] = {"pred_total_s", "pred_blackout_ms", "pred_bytes", "price", "text", "why"};
	static const char *const lists[] = {"actions", "candidates"};
	json_t *p = json_deep_copy(plan), *v;
	size_t i;

	for (unsigned l = 0; l < 2; l++) {
		json_array_foreach(json_object_get(p, lists[l]), i, v) {
			const char *text = json_string_value(json_object_get(v, "text"));
			const char *target = json_string_value(json_object_get(v, "target"));

			if (!json_integer_value(json_object_get(v, "cpu_cap"))) /* none */
				json_object_del(v, "cpu_cap");
			if ((target && *target) ||
				(text && (strncmp(text, "move ", 5) == 0 || strncmp(text, "leave:", 6) == 0)))
				for (unsigned f = 0; f < sizeof(figures) / sizeof(figures[0]); f++)
					json_object_del(v, figures[f]);
		}
	}
	return p;
}

static void check_recorded(const char *path, json_t *body, const json_t *plan)
{
	json_t *recorded = json_object_get(body, "plan"), *now = without_predictions(plan);
	char *a, *b;

	if (getenv("BALLAST_CASES_WRITE")) {
		json_object_set(body, "plan", now);
		assert_int_equal(json_dump_file(body, path, JSON_INDENT(1)), 0);
	} else if (!json_equal(recorded, now)) {
		a = json_dumps(recorded, JSON_INDENT(1) | JSON_ENCODE_ANY);
		b = json_dumps(now, JSON_INDENT(1));
		fail_msg("%s\n---- recorded:\n%s\n---- now:\n%s", path, a, b);
	}
	json_decref(now);
}

/* Through JSON text and back, the decision is the same and so is the plan. */
static void check_round_trip(const struct snapshot *s, json_t *plan_j)
{
	json_t *j = snapshot_to_json(s), *again, *j2;
	char *text = json_dumps(j, 0);
	struct snapshot s2;
	struct plan p2, p3;

	again = json_loads(text, 0, NULL);
	assert_int_equal(snapshot_from_json(again, &s2, NULL), 0);
	assert_int_equal(decide(&s2, &p2), 0);
	j2 = plan_to_json(&p2);
	assert_true(json_equal(plan_j, j2));
	assert_int_equal(plan_from_json(j2, &p3, NULL), 0);
	json_decref(j2);
	j2 = plan_to_json(&p3);
	assert_true(json_equal(plan_j, j2));
	json_decref(j2);
	json_decref(j);
	json_decref(again);
	free(text);
	plan_fini(&p2);
	plan_fini(&p3);
	snapshot_fini(&s2);
}

static void check_text(const char *path, const struct snapshot *s, const struct plan *p)
{
	char *text = plan_text(p, NULL, "14:02:10");

	assert_non_null(text);
	for (unsigned i = 0; i < s->n_domains; i++)
		if (s->domains[i].state != DOM_INACTIVE && !strstr(text, s->domains[i].spec.name))
			fail_msg("%s: the plan's text does not speak of %s:\n%s", path, s->domains[i].spec.name, text);
	assert_int_equal(text[strlen(text) - 1], '\n');
	free(text);
	text = plan_text(p, "nobody", "");
	assert_string_equal(text, "nobody plays no part in this decision\n");
	free(text);
}

static void check_case(const char *path)
{
	json_error_t je;
	json_t *body = json_load_file(path, JSON_REJECT_DUPLICATES, &je), *now;
	struct snapshot s;
	struct plan p;
	struct err e = {0};

	if (!body)
		fail_msg("%s:%d: %s", path, je.line, je.text);
	if (snapshot_from_json(json_object_get(body, "snapshot"), &s, &e))
		fail_msg("%s: %s", path, err_msg(&e));
	assert_int_equal(decide(&s, &p), 0);
	check_actions(path, json_object_get(body, "expect"), &p);
	check_says(path, json_object_get(body, "says"), &p);
	now = plan_to_json(&p);
	check_recorded(path, body, now);
	check_round_trip(&s, now);
	check_text(path, &s, &p);
	json_decref(now);
	json_decref(body);
	plan_fini(&p);
	snapshot_fini(&s);
}

static void test_tables(void **state)
{
	glob_t g;

	(void)state;
	assert_int_equal(glob(CASES "*.json", 0, NULL, &g), 0);
	assert_true(g.gl_pathc >= 50);
	for (size_t i = 0; i < g.gl_pathc; i++)
		check_case(g.gl_pathv[i]);
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
