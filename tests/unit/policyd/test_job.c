/* The job framework: phases in order, one job a domain, cancel, listeners, and what is dropped when a job ends early. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/act/job.h"
#include "tests/unit/support/host_rig.h"

struct trace {
	char text[256];
	bool saved, end_in_second, ended;
	int code;
	char listened[ERR_MSG_MAX];
	struct job_listener listener;
	unsigned n_progress;
	size_t n_recorded; /* unfinished operations in the store when the first phase began */
};

static void mark(struct job *j, const char *what)
{
	struct trace *t = j->priv;

	snprintf(t->text + strlen(t->text), sizeof(t->text) - strlen(t->text), "%s ", what);
}

static int enter_one(struct job *j, struct err *e)
{
	struct trace *t = j->priv;
	json_t *rows = store_op_unfinished(j->p->store, e);

	t->n_recorded = json_array_size(rows);
	json_decref(rows);
	mark(j, "one");
	job_next(j);
	return 0;
}

static void on_saved(struct job *j, const struct err *e)
{
	struct trace *t = j->priv;

	t->saved = true;
	mark(j, e->code ? "unsaved" : "saved");
	job_next(j);
}

static int enter_two(struct job *j, struct err *e)
{
	struct trace *t = j->priv;

	mark(j, "two");
	assert_int_equal(job_save(j, on_saved), 0);
	if (t->end_in_second)
		return err_set(e, EIO, "two failed");
	return 0;
}

static int enter_three(struct job *j, struct err *e)
{
	(void)e;
	mark(j, "three");
	return 0; /* waits */
}

static void cancel_three(struct job *j)
{
	struct err e;

	mark(j, "stop");
	err_set(&e, ECANCELED, "stopped");
	job_end(j, &e);
}

static void trace_fini(struct job *j, const struct err *e)
{
	(void)e;
	mark(j, "fini");
}

static const struct job_phase phases[] = {
	{.name = "one", .enter = enter_one},
	{.name = "two", .enter = enter_two, .no_cancel = "it is two"},
	{.name = "three", .enter = enter_three, .cancel = cancel_three},
};
static const struct job_type type = {
	.kind = JOB_CPU, .operation = "test", .phases = phases, .n_phases = 3, .fini = trace_fini};

static void on_listened_end(struct job_listener *l, const struct job *j, const struct err *e)
{
	struct trace *t = (struct trace *)((char *)l - offsetof(struct trace, listener));

	assert_null(j->dom->job); /* who hears of the end may start the next */
	t->ended = true;
	t->code = e->code;
	snprintf(t->listened, sizeof(t->listened), "%s", err_msg(e));
}

static void on_listened_progress(struct job_listener *l, const struct job *j)
{
	struct trace *t = (struct trace *)((char *)l - offsetof(struct trace, listener));

	(void)j;
	t->n_progress++;
}

static struct job *begin(struct dom *d, struct trace *t)
{
	struct job_request rq = {.type = &type, .priv = t, .target = "beta"};
	struct job *j = NULL;
	struct err e = {0};

	assert_int_equal(job_start(d, &rq, &j, &e), 0);
	t->listener.on_end = on_listened_end;
	t->listener.on_progress = on_listened_progress;
	job_listen(j, &t->listener);
	assert_string_equal(t->text, ""); /* nothing runs before the caller could listen */
	return j;
}

static void test_phases_in_order(void **state)
{
	struct host_rig r;
	struct trace t = {0};
	struct job *j;
	struct dom *d;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	j = begin(d, &t);
	host_rig_until(&r, &t.saved);
	assert_string_equal(t.text, "one two saved three ");
	assert_int_equal(t.n_recorded, 1); /* a kill at any moment of the work leaves a record of it */
	assert_int_equal(t.n_progress, 3);
	job_end(j, NULL);
	job_end(j, &e); /* later calls do nothing */
	assert_true(t.ended);
	assert_int_equal(t.code, 0);
	assert_string_equal(t.text, "one two saved three fini ");
	assert_string_equal(d->last_error, "");
	t.saved = false;
	store_flush(r.p.store);
	host_rig_stop(&r);
}

static void test_one_at_a_time(void **state)
{
	struct host_rig r;
	struct trace t = {0}, t2 = {0};
	struct job_request rq = {.type = &type, .priv = &t2};
	struct job *j, *j2 = NULL;
	struct dom *d;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	j = begin(d, &t);
	assert_int_equal(job_start(d, &rq, &j2, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "test to beta"));
	assert_non_null(strstr(e.msg, "cancel-operation"));
	host_rig_until(&r, &t.saved);
	job_abandon(j);
	assert_null(d->job);
	assert_false(t.ended); /* no end is told nor stored */
	host_rig_stop(&r);
}

static void test_fails_in_a_phase(void **state)
{
	struct host_rig r;
	struct trace t = {.end_in_second = true};
	struct dom *d;
	struct domain_flags f;

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	assert_int_equal(dom_reserve(d, 3, 128 << 20, NULL), 0);
	begin(d, &t);
	host_rig_until(&r, &t.ended);
	assert_int_equal(t.code, EIO);
	assert_string_equal(t.listened, "two failed");
	store_flush(r.p.store);
	assert_false(t.saved); /* the save's callback was dropped with the job */
	assert_string_equal(t.text, "one two fini ");
	assert_string_equal(d->last_error, "two failed");
	dom_flags(d, &f);
	assert_true(f.error);
	assert_int_equal(d->cpu_reserved, 0);
	host_rig_stop(&r);
}

static void test_cancel(void **state)
{
	struct host_rig r;
	struct trace t = {0};
	struct job *j;
	struct dom *d;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	j = begin(d, &t);
	j->phase = 1;
	assert_int_equal(job_cancel(j, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "it is two"));
	j->phase = 0;
	host_rig_until(&r, &t.saved);
	assert_int_equal(job_cancel(j, &e), 0);
	assert_true(t.ended);
	assert_int_equal(t.code, ECANCELED);
	assert_string_equal(t.text, "one two saved three stop fini ");
	assert_string_equal(d->last_error, ""); /* a cancel is no fault */
	assert_int_equal(job_cancel(j, &e), 0); /* ended: nothing to do */
	host_rig_stop(&r);
}

/* Cancelled before the first phase is entered: ends, and nothing of it runs. */
static void test_cancel_at_once(void **state)
{
	struct host_rig r;
	struct trace t = {0};
	struct err e = {0};
	struct dom *d;

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	assert_int_equal(job_cancel(begin(d, &t), &e), 0);
	assert_int_equal(t.code, ECANCELED);
	assert_string_equal(t.text, "fini ");
	host_rig_stop(&r);
}

/* Its kind went on by itself (a peer's abort does that) before the record was there: the first phase is not entered after it. */
static void test_gone_on_before_recorded(void **state)
{
	struct host_rig r;
	struct trace t = {0};
	struct dom *d;

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	job_goto(begin(d, &t), 2);
	store_flush(r.p.store);
	assert_int_equal(event_base_loop(r.p.base, EVLOOP_NONBLOCK), 0);
	assert_string_equal(t.text, "three ");
	job_end(d->job, NULL);
	host_rig_stop(&r);
}

/* A domain that left: not found at once, gone from the store, freed by the loop. */
static void test_drop(void **state)
{
	struct host_rig r;
	struct trace t = {0};
	struct job *j;
	struct dom *d;

	(void)state;
	host_rig_start(&r, 4, 1 << 30);
	d = host_rig_domain(&r, "web1", 1, 64 << 20);
	j = begin(d, &t);
	host_rig_until(&r, &t.saved);
	j->drop = true;
	job_end(j, NULL);
	assert_null(dom_find(&r.p, "web1"));
	t.saved = false;
	while (r.p.n_doms)
		assert_int_equal(event_base_loop(r.p.base, EVLOOP_ONCE), 0);
	host_rig_stop(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases_in_order),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_fails_in_a_phase),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_at_once),
		cmocka_unit_test(test_gone_on_before_recorded),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
