/* What became of a decision: looked at when it is due, once, said in the history, kept over a restart of policyd, and told to the next decisions. The
 * snapshot is a case of the decide tests, the store a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "policyd/act/benefit_watch.h"
#include "policyd/store.h"
#include "tests/unit/support/host_rig.h"

#define CASE "tests/unit/decide/cases/cpu-free.json" /* web1 loses 25 % of its service; nothing is to be left of that */
#define MIN_MS 60000LL

struct watch_rig {
	struct host_rig host;
	struct benefit_watch *w;
	struct snapshot s;
	struct plan pl;
	json_t *body, *rows;
	bool answered;
};

static void watch_open(struct watch_rig *r)
{
	struct err e = {0};

	r->w = benefit_watch_new(&r->host.p, &e);
	if (!r->w)
		fail_msg("%s", err_msg(&e));
}

static void begin(struct watch_rig *r)
{
	memset(r, 0, sizeof(*r));
	host_rig_start(&r->host, 8, 1ULL << 30);
	watch_open(r);
	r->body = json_load_file(CASE, 0, NULL);
	assert_int_equal(snapshot_from_json(json_object_get(r->body, "snapshot"), &r->s, NULL), 0);
	assert_int_equal(decide(&r->s, &r->pl), 0);
}

static void end(struct watch_rig *r)
{
	benefit_watch_free(r->w);
	plan_fini(&r->pl);
	snapshot_fini(&r->s);
	json_decref(r->body);
	host_rig_stop(&r->host);
}

/* policyd ends and starts again. */
static void restart(struct watch_rig *r)
{
	struct err e = {0};
	char path[128];
	struct store_conf sc = {.path = path};

	benefit_watch_free(r->w);
	store_close(r->host.p.store);
	snprintf(path, sizeof(path), "%s/policyd.db", r->host.dir);
	if (store_open(r->host.p.base, &sc, &r->host.p.store, &e))
		fail_msg("%s", err_msg(&e));
	watch_open(r);
}

static int64_t decided(struct watch_rig *r)
{
	const char *const domains[] = {"web1"};
	int64_t id = store_decision_add(r->host.p.store, r->s.now_ms, domains, 1, json_object(), json_object());

	benefit_watch_begun(r->w, &r->s, &r->pl, id);
	return id;
}

static void on_rows(void *arg, json_t *rows, const struct err *e)
{
	struct watch_rig *r = arg;

	assert_int_equal(e->code, 0);
	r->rows = json_incref(rows);
	r->answered = true;
}

/* How many looks the history of web1 tells of; the newest must say @text. */
static size_t told(struct watch_rig *r, const char *text)
{
	size_t n;

	r->answered = false;
	store_history_get(r->host.p.store, "web1", 100, on_rows, r);
	host_rig_until(&r->host, &r->answered);
	n = json_array_size(r->rows);
	if (n && !strstr(json_string_value(json_object_get(json_array_get(r->rows, 0), "text")), text))
		fail_msg("%s", json_string_value(json_object_get(json_array_get(r->rows, 0), "text")));
	json_decref(r->rows);
	return n;
}

/* The domain that was in need is stopped. */
static void stop_it(struct watch_rig *r)
{
	for (unsigned i = 0; i < r->s.n_domains; i++)
		if (!strcmp(r->s.domains[i].spec.name, "web1"))
			r->s.domains[i].state = DOM_INACTIVE;
}

static void looked_at_when_due(void **state)
{
	struct watch_rig r;
	int64_t t0;

	(void)state;
	begin(&r);
	t0 = r.s.now_ms;
	assert_int_equal(decided(&r), 1);
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, ""), 0); /* not yet */
	r.s.now_ms = t0 + 15 * MIN_MS;
	benefit_watch_look(r.w, &r.s);
	benefit_watch_look(r.w, &r.s); /* once */
	assert_int_equal(
		told(&r, "decision 1: it lost 25 % of its service, 0 % was predicted to be left, 25 % is after 15 min"),
		1);
	restart(&r); /* and is not looked at anew, but an hour after it */
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, "after 15 min"), 1);
	r.s.now_ms = t0 + 60 * MIN_MS;
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, "25 % is after 60 min"), 2);
	restart(&r);
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, "after 60 min"), 2);
	end(&r);
}

/* A domain that is stopped, or nowhere: nothing is known of what the decision brought. */
static void what_cannot_be_looked_at(void **state)
{
	struct watch_rig r;

	(void)state;
	begin(&r);
	decided(&r);
	r.s.now_ms += 15 * MIN_MS;
	stop_it(&r);
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, ""), 0);
	r.s.now_ms += 11 * MIN_MS; /* too late for the first look */
	benefit_watch_look(r.w, &r.s);
	assert_int_equal(told(&r, ""), 0);
	end(&r);
}

static void makes_cautious(void **state)
{
	struct watch_rig r;
	double before;

	(void)state;
	begin(&r);
	assert_true(benefit_watch_caution(r.w) == 1);
	for (int i = 0; i < 8; i++) {
		decided(&r);
		r.s.now_ms += 15 * MIN_MS;
		benefit_watch_look(r.w, &r.s); /* each time nothing came of it */
	}
	before = benefit_watch_caution(r.w);
	assert_true(before < 0.5 && before >= BENEFIT_CAUTION_MIN);
	restart(&r);
	assert_true(benefit_watch_caution(r.w) == before);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(looked_at_when_due),
		cmocka_unit_test(what_cannot_be_looked_at), cmocka_unit_test(makes_cautious)};

	return cmocka_run_group_tests_name("benefit_watch", tests, NULL, NULL);
}
