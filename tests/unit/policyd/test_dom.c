/* Domains: the list, and that reservations never overcommit whatever is asked in whatever order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/act/lifecycle.h"
#include "tests/unit/support/host_rig.h"

#define MB (1ULL << 20)

static void test_list_is_sorted(void **state)
{
	static const char *const names[] = {"web2", "db1", "web10", "a", "zz", "web1"};
	struct host_rig r;
	struct dom *d, *before = NULL;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 8, 1024 * MB);
	for (int i = 0; i < 6; i++)
		host_rig_domain(&r, names[i], 1, 64 * MB);
	assert_int_equal(r.p.n_doms, 6);
	TAILQ_FOREACH(d, &r.p.doms, link) {
		if (before)
			assert_true(strcmp(before->spec.name, d->spec.name) < 0);
		before = d;
	}
	d = dom_find(&r.p, "db1");
	assert_ptr_equal(dom_find_uuid(&r.p, d->spec.uuid), d);
	assert_int_equal(dom_rename(d, "a", &e), -EEXIST);
	assert_int_equal(dom_rename(d, "no good", &e), -EINVAL);
	assert_int_equal(dom_rename(d, "zzz", &e), 0);
	assert_ptr_equal(TAILQ_LAST(&r.p.doms, dom_list), d);
	assert_null(dom_find(&r.p, "db1"));
	host_rig_stop(&r);
}

static void test_names_and_uuids_are_unique(void **state)
{
	struct host_rig r;
	struct dom *d, *out = NULL;
	struct domain_spec spec;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 8, 1024 * MB);
	d = host_rig_domain(&r, "web1", 1, 64 * MB);
	spec = d->spec;
	assert_int_equal(dom_new(&r.p, &spec, &out, &e), -EEXIST);
	assert_non_null(strstr(e.msg, "\"web1\""));
	snprintf(spec.name, sizeof(spec.name), "web2");
	assert_int_equal(dom_new(&r.p, &spec, &out, &e), -EEXIST);
	assert_non_null(strstr(e.msg, "uuid"));
	assert_null(out);
	host_rig_stop(&r);
}

static void total(struct host_rig *r, unsigned *vcpus, uint64_t *mem)
{
	struct dom *d;

	*vcpus = 0;
	*mem = 0;
	TAILQ_FOREACH(d, &r->p.doms, link) {
		unsigned v;
		uint64_t m;

		dom_charge(d, &v, &m);
		*vcpus += (v + 99) / 100;
		*mem += m;
	}
}

/* Reserve, take, shrink, unreserve, stop in any order: the sum stays within the capacity. */
static void test_reservations_never_overcommit(void **state)
{
	struct host_rig r;
	struct dom *d[5];
	unsigned vcpus, seed = 3, granted = 0, refused = 0;
	uint64_t mem;
	char name[8];
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 10, 700 * MB);
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		d[i] = host_rig_domain(&r, name, 1, 64 * MB);
	}
	for (int i = 0; i < 50000; i++) {
		struct dom *x = d[rand_r(&seed) % 5];
		unsigned want = 1 + (unsigned)rand_r(&seed) % 8;
		uint64_t bytes = (64 + 2 * ((uint64_t)rand_r(&seed) % 200)) * MB;

		switch (rand_r(&seed) % 4) {
		case 0:
			if (dom_reserve(x, want, bytes, &e))
				refused++;
			else
				granted++;
			break;
		case 1: /* the growth that was reserved has come */
			if (x->cpu_reserved) {
				if (x->state == DOM_INACTIVE)
					assert_int_equal(domain_state_step(&x->state, DEV_BIND, &e), 0);
				x->vcpus = x->cpu_reserved / 100;
				x->mem_bytes = x->mem_reserved;
			}
			break;
		case 2:
			dom_unreserve(x);
			break;
		case 3:
			if (x->state == DOM_BOUND && want == 1) {
				dom_unreserve(x);
				assert_int_equal(domain_state_step(&x->state, DEV_UNBIND, &e), 0);
			}
			break;
		}
		total(&r, &vcpus, &mem);
		assert_true(vcpus <= 10);
		assert_true(mem <= 700 * MB);
	}
	assert_true(granted > 1000 && refused > 1000); /* both happened */
	host_rig_stop(&r);
}

static void test_definition_bounds(void **state)
{
	struct host_rig r;
	struct dom *d;
	struct err e = {0};

	(void)state;
	host_rig_start(&r, 4, 512 * MB);
	d = host_rig_domain(&r, "web1", 2, 128 * MB);
	assert_int_equal(define_vcpus(d, 0, &e), -ERANGE);
	assert_int_equal(define_vcpus(d, 9, &e), -ERANGE);
	assert_int_equal(define_vcpus(d, 3, &e), 0);
	assert_int_equal(d->spec.vcpus_boot, 3);
	assert_int_equal(define_memory(d, 62 * MB, &e), -ERANGE);
	assert_int_equal(define_memory(d, 129 * MB, &e), -EINVAL);
	assert_int_equal(define_memory(d, 2048 * MB, &e), -ERANGE);
	assert_int_equal(define_memory(d, 256 * MB, &e), 0);
	assert_int_equal(dom_step(d, DEV_BIND, &e), 0);
	assert_int_equal(define_memory(d, 600 * MB, &e), -ENOSPC); /* bound: it would not fit */
	assert_int_equal(d->spec.mem_boot, 256 * MB);
	host_rig_stop(&r);
}

static void test_hold_ends_by_itself(void **state)
{
	struct host_rig r;
	struct dom *d;

	(void)state;
	host_rig_start(&r, 4, 512 * MB);
	d = host_rig_domain(&r, "web1", 1, 64 * MB);
	d->hold.on = true;
	assert_true(dom_held(d));
	d->hold.until_ms = now_wall_ms() + 60000;
	assert_true(dom_held(d));
	d->hold.until_ms = now_wall_ms() - 1;
	assert_false(dom_held(d));
	assert_false(d->hold.on);
	host_rig_stop(&r);
}

/* Marks: what is said of a domain goes through JSON unharmed, ends by itself, and what a peer made up is left out. */
static void test_marks(void **state)
{
	json_t *odd = json_loads("{\"pin\": 3, \"prefer\": {\"reason\": \"x\"}, \"dance\": {}}", 0, NULL), *j;
	struct host_rig r;
	struct dom *d;

	(void)state;
	host_rig_start(&r, 4, 512 * MB);
	d = host_rig_domain(&r, "web1", 1, 64 * MB);
	assert_null(dom_marked(d, MARK_PIN));
	assert_null(dom_marks_json(d));
	d->marks[MARK_PIN] =
		(struct dom_mark){.on = true, .reason = "licence", .by = "uid 0", .until_ms = now_wall_ms() + 60000};
	d->marks[MARK_PREFER] = (struct dom_mark){.on = true, .host = "beta"};
	j = dom_marks_json(d);
	memset(d->marks, 0, sizeof(d->marks));
	dom_marks_take(d, j);
	json_decref(j);
	assert_string_equal(dom_marked(d, MARK_PIN)->reason, "licence");
	assert_string_equal(dom_marked(d, MARK_PREFER)->host, "beta");
	d->marks[MARK_PIN].until_ms = now_wall_ms() - 1;
	assert_null(dom_marked(d, MARK_PIN));
	assert_non_null(dom_marked(d, MARK_PREFER));
	dom_marks_take(d, odd);
	assert_null(dom_marks_json(d));
	json_decref(odd);
	host_rig_stop(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_is_sorted),
		cmocka_unit_test(test_names_and_uuids_are_unique),
		cmocka_unit_test(test_reservations_never_overcommit),
		cmocka_unit_test(test_definition_bounds),
		cmocka_unit_test(test_hold_ends_by_itself),
		cmocka_unit_test(test_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
