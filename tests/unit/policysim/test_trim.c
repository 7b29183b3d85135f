/* policysim trim: the reader, the figures on a trace computed by hand, and what must hold of both laws on any trace. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/policysim/trim.h"

#define STEP_S 300
#define DAY 288 /* samples */
#define DAYS 7

/* ---- reading ---- */

static int read_text(const char *text, struct trace *t, struct err *e)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int err;

	assert_non_null(f);
	err = trace_read(f, "t.csv", t, e);
	fclose(f);
	return err;
}

static void test_read_cleans(void **state)
{
	static const char text[] = "# generated\n"
				   "mem_used_mib,vm,extra,t_s,mem_cap_mib\r\n"
				   "10,a,x,0,100\r\n"
				   "\n"
				   "7,b,x,0,0\n" /* not provisioned: left out */
				   "30,a,x,600,100\n"
				   "20,a,x,300,100\n" /* out of order */
				   "50,a,x,600,100\n" /* the same time twice: the larger use */
				   "40,a,x,600,100\n"
				   "120.5,b,x,300,100\n"; /* more than provisioned: stays */
	struct trace t;
	struct err e = {0};

	(void)state;
	assert_int_equal(read_text(text, &t, &e), 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.rows, 7);
	assert_int_equal(t.n_no_cap, 1);
	assert_int_equal(t.n_repeated, 2);
	assert_int_equal(t.n_unordered, 1);
	assert_string_equal(t.vms[0].name, "a");
	assert_int_equal(t.vms[0].n, 3);
	assert_int_equal(t.vms[0].samples[1].t_s, 300);
	assert_true(t.vms[0].samples[1].used_mib == 20);
	assert_true(t.vms[0].samples[2].used_mib == 50);
	assert_int_equal(t.vms[1].n, 1);
	assert_true(t.vms[1].samples[0].used_mib == 120.5);
	trace_fini(&t);
}

static void test_read_refuses(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "t.csv: holds no samples"},
		{"vm,t_s,mem_cap_mib,mem_used_mib\n", "t.csv: holds no samples"},
		{"vm,t_s,mem_cap_mib,mem_used_mib\na,0,0,5\n", "t.csv: holds no samples"},
		{"vm,t_s,mem_used_mib\na,0,5\n", "t.csv:1: the first line names no column \"mem_cap_mib\""},
		{"vm,t_s,mem_cap_mib,mem_used_mib\na,0,5\n", "t.csv:2: has only 3 columns"},
		{"vm,t_s,mem_cap_mib,mem_used_mib\na,0,5,1\na,300,5,nan\n", "t.csv:3: mem_used_mib: \"nan\""},
		{"vm,t_s,mem_cap_mib,mem_used_mib\na,0,5,-1\n", "t.csv:2: mem_used_mib: \"-1\""},
		{"vm,t_s,mem_cap_mib,mem_used_mib\na,0x,5,1\n", "t.csv:2: t_s: \"0x\""},
		{"vm,t_s,mem_cap_mib,mem_used_mib\n,0,5,1\n", "t.csv:2: vm: a name"},
	};
	struct trace t;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		e = (struct err){0};
		assert_true(read_text(cases[i].text, &t, &e) < 0);
		assert_non_null(strstr(err_msg(&e), cases[i].says));
		assert_int_equal(t.n, 0);
	}
}

/* ---- by hand ---- */

static struct trim_run run_of(enum trim_law law)
{
	return (struct trim_run){.law = law, .rules = trim_rules_default, .sizing = sizing_default, .parts = 1};
}

/* One sample every 12 hours of a domain of 1000 MiB; the law is 1.25 x the maximum of the last 24 h:
 *
 *     hour   used   size before   after
 *       0     100      1000        125    resize
 *      12     100       125        125
 *      24     200       125        250    violates; resize
 *      36     110       250        250
 *      48     110       250        137.5  200 is a day old; resize
 *      60     111       137.5      138.75 resize
 *      72      10       138.75     138.75
 *      84      10       138.75      64    at least 64; resize */
static void test_baseline_by_hand(void **state)
{
	static const double used[] = {100, 100, 200, 110, 110, 111, 10, 10};
	struct trim_run run = run_of(TRIM_PEAK24H);
	struct trim_result r;
	struct trace t = {0};
	unsigned i;

	(void)state;
	for (i = 0; i < 8; i++)
		assert_int_equal(trace_add(&t, "a", i * 12 * 3600, 1000, used[i]), 0);
	run.rules.warm_s = 0;
	assert_int_equal(trim_run(&t, &run, &r), 0);
	assert_int_equal(r.n_samples, 8);
	assert_int_equal(r.n_violating, 1);
	assert_int_equal(r.n_resizes, 5);
	assert_int_equal(r.n_grown, 2);
	assert_float_equal(r.alloc_over_prov, (1000 + 125 + 125 + 250 + 250 + 137.5 + 138.75 + 138.75) / 8000, 1e-12);
	assert_float_equal(r.violating_pct, 12.5, 1e-9);
	assert_float_equal(r.vms_hit_pct, 100, 1e-9);
	assert_float_equal(r.resizes_per_vm_day, 5 / 3.5, 1e-9);
	assert_float_equal(r.short_over_used_pct, 100 * 75 / 751.0, 1e-9);

	run.rules.warm_s = 86400; /* from hour 24 on */
	assert_int_equal(trim_run(&t, &run, &r), 0);
	assert_int_equal(r.n_samples, 6);
	assert_int_equal(r.n_resizes, 4);
	assert_float_equal(r.resizes_per_vm_day, 4 / 2.5, 1e-9);

	run.rules.warm_s = 1e6; /* nothing counts: no figure, no division by zero */
	assert_int_equal(trim_run(&t, &run, &r), 0);
	assert_int_equal(r.n_vms, 0);
	assert_true(r.alloc_over_prov == 0 && r.resizes_per_vm_day == 0);
	trace_fini(&t);
}

static void test_clamp(void **state)
{
	struct trim_run run = run_of(TRIM_PEAK24H);
	struct trim_result r;
	struct trace t = {0};
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(trace_add(&t, "a", i * STEP_S, 100, 90), 0);
	run.rules.warm_s = 0;
	assert_int_equal(trim_run(&t, &run, &r), 0);
	assert_float_equal(r.alloc_over_prov, 1, 1e-12);
	run.rules.clamp = false;
	assert_int_equal(trim_run(&t, &run, &r), 0);
	assert_float_equal(r.alloc_over_prov, (100 + 3 * 112.5) / 400, 1e-12);
	trace_fini(&t);
}

/* ---- generated traces ---- */

enum kind { STEADY, PERIODIC, BURSTY, GROWING, N_KINDS };

static double unit(unsigned *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) / 16777216.0;
}

static double use_of(enum kind kind, unsigned i, unsigned *burst, unsigned *seed)
{
	double noise = 0.95 + 0.05 * unit(seed), day = (double)(i % DAY) / DAY;

	switch (kind) {
	case PERIODIC:
		return (day > 0.5 && day < 0.7 ? 0.4 : 0.1) * noise;
	case BURSTY:
		if (!*burst && unit(seed) < 0.5 / DAY)
			*burst = 1 + (unsigned)(unit(seed) * 12);
		*burst -= *burst > 0;
		return (*burst ? 0.5 + 0.1 * unit(seed) : 0.05) * noise;
	case GROWING:
		return (0.1 + 0.7 * i / (DAYS * DAY)) * noise;
	default:
		return 0.3 * noise;
	}
}

static void generate(struct trace *t, enum kind kind, unsigned n_vms, double cap_mib, unsigned seed)
{
	char name[32];
	unsigned v, i, burst;

	for (v = 0; v < n_vms; v++) {
		snprintf(name, sizeof(name), "%d-%u-%g", kind, v, cap_mib);
		for (i = burst = 0; i < DAYS * DAY; i++)
			assert_int_equal(
				trace_add(t, name, i * STEP_S, cap_mib, cap_mib * use_of(kind, i, &burst, &seed)), 0);
	}
}

struct sizes {
	double mib[DAYS * DAY];
};

static void on_decision(void *arg, const struct trace_vm *vm, unsigned i, double size_mib)
{
	(void)vm;
	((struct sizes *)arg)->mib[i] = size_mib;
}

/* Whatever comes after sample k, what was decided up to k stays. */
static void test_never_looks_ahead(void **state)
{
	struct sizes *before = calloc(1, sizeof(*before)), *after = calloc(1, sizeof(*after));
	struct trim_run run;
	struct trim_result r;
	unsigned law, kind, k, i, seed = 7, differs = 0;

	(void)state;
	assert_true(before && after);
	for (law = 0; law < TRIM_N_LAWS; law++)
		for (kind = 0; kind < N_KINDS; kind++) {
			struct trace t = {0};

			generate(&t, kind, 1, 8192, 11 + kind);
			run = run_of(law);
			run.on_decision = on_decision;
			run.arg = before;
			assert_int_equal(trim_run(&t, &run, &r), 0);
			k = DAY + (unsigned)(unit(&seed) * 4 * DAY);
			for (i = k + 1; i < t.vms[0].n; i++)
				t.vms[0].samples[i].used_mib = 8192 * unit(&seed);
			run.arg = after;
			assert_int_equal(trim_run(&t, &run, &r), 0);
			assert_memory_equal(before->mib, after->mib, (k + 1) * sizeof(double));
			differs += memcmp(before, after, sizeof(*before)) != 0;
			trace_fini(&t);
		}
	assert_int_equal(differs, TRIM_N_LAWS * N_KINDS); /* the change was seen at all */
	free(before);
	free(after);
}

static struct trim_result result_of(enum trim_law law, enum kind kind, double cap_mib)
{
	struct trim_run run = run_of(law);
	struct trim_result r;
	struct trace t = {0};

	generate(&t, kind, 20, cap_mib, 3);
	assert_int_equal(trim_run(&t, &run, &r), 0);
	trace_fini(&t);
	return r;
}

static void test_steady_is_left_alone(void **state)
{
	struct trim_result r = result_of(TRIM_OURS, STEADY, 8192);

	(void)state;
	assert_int_equal(r.n_violating, 0);
	assert_int_equal(r.n_resizes, 0);
	assert_true(r.alloc_over_prov > 0.3 && r.alloc_over_prov < 0.3 * 1.3);
}

/* What comes every day at the same time is expected, at the latest on the third day. */
static void test_daily_use_is_expected(void **state)
{
	struct trim_result r = result_of(TRIM_OURS, PERIODIC, 2048);

	(void)state;
	assert_true(r.n_violating <= r.n_vms);
	assert_true(r.alloc_over_prov < 0.6);
	assert_true(r.resizes_per_vm_day <= 2.2);
}

static void test_growth_is_followed(void **state)
{
	struct trim_result r = result_of(TRIM_OURS, GROWING, 8192);

	(void)state;
	assert_true(r.violating_pct < 0.1);
	assert_true(r.alloc_over_prov < 1.35 * r.used_over_prov);
}

/* Small domains keep room for bursts, for it costs little; large ones do not hold it for a rare burst. */
static void test_room_is_worth_its_price(void **state)
{
	struct trim_result small = result_of(TRIM_OURS, BURSTY, 1024), large = result_of(TRIM_OURS, BURSTY, 262144);

	(void)state;
	assert_true(small.violating_pct < 0.6 * result_of(TRIM_PEAK24H, BURSTY, 1024).violating_pct);
	assert_true(large.alloc_over_prov < 0.7 * small.alloc_over_prov);
	assert_true(large.alloc_over_prov < 0.7 * result_of(TRIM_PEAK24H, BURSTY, 262144).alloc_over_prov);
}

/* The parts of a trace are all of it, each domain once. */
static void test_parts_add_up(void **state)
{
	struct trim_run run = run_of(TRIM_OURS);
	struct trim_result all, part;
	struct trace t = {0};
	unsigned long n_samples = 0, n_resizes = 0;
	unsigned n_vms = 0;

	(void)state;
	generate(&t, BURSTY, 7, 8192, 21);
	assert_int_equal(trim_run(&t, &run, &all), 0);
	for (run.parts = 3, run.part = 0; run.part < 3; run.part++) {
		assert_int_equal(trim_run(&t, &run, &part), 0);
		n_samples += part.n_samples;
		n_resizes += part.n_resizes;
		n_vms += part.n_vms;
	}
	assert_int_equal(n_vms, 7);
	assert_int_equal(all.n_vms, 7);
	assert_int_equal(n_samples, all.n_samples);
	assert_int_equal(n_resizes, all.n_resizes);
	trace_fini(&t);
}

/* ---- the law itself ---- */

static void feed(struct sizing *s, enum kind kind, double cap_mib, unsigned n, unsigned seed)
{
	unsigned i, burst = 0;

	sizing_init(s);
	for (i = 0; i < n; i++)
		sizing_add(s, &sizing_default, (int64_t)i * STEP_S * 1000, cap_mib * use_of(kind, i, &burst, &seed));
}

static void test_nothing_known_nothing_asked(void **state)
{
	struct sizing s;
	struct sizing_advice a;

	(void)state;
	sizing_init(&s);
	a = sizing_advise(&s, &sizing_default, 1234, 0);
	assert_true(a.target_mib == 1234 && a.best_mib == 1234);
}

static void test_beyond_the_last_level(void **state)
{
	struct sizing s;

	(void)state;
	sizing_init(&s);
	sizing_add(&s, &sizing_default, 0, 4e6);
	assert_true(sizing_advise(&s, &sizing_default, 64, 0).target_mib == 4e6);
}

static void test_holds_what_is_used(void **state)
{
	struct sizing_advice a;
	struct sizing s;
	unsigned kind, n;

	(void)state;
	for (kind = 0; kind < N_KINDS; kind++)
		for (n = 1; n < 3 * DAY; n += 37) {
			feed(&s, kind, 8192, n, n);
			a = sizing_advise(&s, &sizing_default, 64, 0);
			assert_true(a.best_mib >= s.used_mib && a.target_mib >= s.used_mib);
			a = sizing_advise(&s, &sizing_default, 8192, 0);
			assert_true(a.target_mib >= s.used_mib && a.target_mib <= 8192);
			assert_true(a.target_mib == 8192 || a.target_mib == a.best_mib);
			a = sizing_advise(&s, &sizing_default, 64, 500);
			assert_true(a.best_mib <= 500);
		}
}

static void test_dearer_shortage_more_room(void **state)
{
	struct sizing_rule r = sizing_default;
	struct sizing_advice a;
	double last = 0, risk = 1e9;
	struct sizing s;
	unsigned kind;

	(void)state;
	for (kind = 0; kind < N_KINDS; kind++, last = 0, risk = 1e9) {
		feed(&s, kind, 65536, 3 * DAY + 5, 5);
		for (r.price_mib = 10; r.price_mib < 1e7; r.price_mib *= 2) {
			a = sizing_advise(&s, &r, 65536, 0);
			assert_true(a.best_mib >= last && a.short_h_best <= risk);
			last = a.best_mib;
			risk = a.short_h_best;
		}
	}
}

/* A gap is no hour of low use: two days of silence do not make a steady domain look idle. */
static void test_gap_is_not_idle(void **state)
{
	struct sizing s;
	double before;

	(void)state;
	feed(&s, STEADY, 8192, 2 * DAY, 9);
	before = sizing_advise(&s, &sizing_default, 8192, 0).best_mib;
	sizing_add(&s, &sizing_default, 4LL * 86400 * 1000, 8192 * 0.29);
	assert_true(sizing_advise(&s, &sizing_default, 8192, 0).best_mib >= before / 1.13);
	sizing_add(&s, &sizing_default, 86400 * 1000, 8192 * 0.5); /* time goes back: counts for now */
	assert_true(sizing_advise(&s, &sizing_default, 8192, 0).best_mib >= 8192 * 0.5);
}

static void test_no_small_change(void **state)
{
	struct sizing_advice a;
	struct sizing s;

	(void)state;
	feed(&s, STEADY, 256, 2 * DAY, 1); /* 77 MiB used of 256: less to gain than a resize is worth */
	a = sizing_advise(&s, &sizing_default, 256, 0);
	assert_true(a.target_mib == 256);
	a = sizing_advise(&s, &sizing_default, 4096, 0);
	assert_true(a.target_mib < 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_cleans),
		cmocka_unit_test(test_read_refuses),
		cmocka_unit_test(test_baseline_by_hand),
		cmocka_unit_test(test_clamp),
		cmocka_unit_test(test_never_looks_ahead),
		cmocka_unit_test(test_steady_is_left_alone),
		cmocka_unit_test(test_daily_use_is_expected),
		cmocka_unit_test(test_growth_is_followed),
		cmocka_unit_test(test_room_is_worth_its_price),
		cmocka_unit_test(test_parts_add_up),
		cmocka_unit_test(test_beyond_the_last_level),
		cmocka_unit_test(test_nothing_known_nothing_asked),
		cmocka_unit_test(test_holds_what_is_used),
		cmocka_unit_test(test_dearer_shortage_more_room),
		cmocka_unit_test(test_gap_is_not_idle),
		cmocka_unit_test(test_no_small_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
