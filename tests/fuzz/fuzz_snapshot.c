/* Fuzz: snapshots and plans from JSON, and the decision on whatever could be read.
 * corpus: tests/unit/decide/cases */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/text.h"
#include "tests/fuzz/fuzz.h"

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fuzz_snapshot: %s\n", what);
		abort();
	}
}

static void try_plan(const json_t *j)
{
	struct plan p;
	struct err e = {0};
	json_t *back;
	char *text;

	if (plan_from_json(j, &p, &e)) {
		must(*e.msg, "a refusal without words");
		return;
	}
	back = plan_to_json(&p);
	text = plan_text(&p, NULL, "");
	must(back && text, "a plan that cannot be shown");
	json_decref(back);
	free(text);
	plan_fini(&p);
}

static void try_snapshot(const json_t *j)
{
	struct snapshot s, t;
	struct plan p;
	struct err e = {0};
	json_t *a, *b;

	if (snapshot_from_json(j, &s, &e)) {
		must(*e.msg, "a refusal without words");
		return;
	}
	must(decide(&s, &p) == 0, "no decision");
	a = plan_to_json(&p);
	plan_fini(&p);
	b = snapshot_to_json(&s);
	if (!a || !b || snapshot_from_json(b, &t, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		must(false, "a snapshot that does not survive JSON");
	}
	json_decref(b);
	must(decide(&t, &p) == 0, "no decision");
	b = plan_to_json(&p);
	must(json_equal(a, b), "a replay that differs");
	json_decref(a);
	json_decref(b);
	plan_fini(&p);
	snapshot_fini(&s);
	snapshot_fini(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, 0, NULL);

	try_snapshot(json_object_get(j, "snapshot") ? json_object_get(j, "snapshot") : j);
	try_plan(json_object_get(j, "plan") ? json_object_get(j, "plan") : j);
	json_decref(j);
	return 0;
}
