/* What is learnt of a domain's use over days: advice only after a day, kept over a restart of policyd, and begun anew where what was kept is not whole, of
 * another shape, or of a clock that began anew since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "policyd/act/mem_sizing.h"
#include "tests/unit/support/host_rig.h"

#define MB (1ULL << 20)
#define STEP_MS 300000LL
#define DAY_MS 86400000LL
#define BEGAN_MS 5000LL

struct sizing_rig {
	struct host_rig host;
	struct dom *d;
	char folder[128], state[160];
};

static void begin(struct sizing_rig *r)
{
	host_rig_start(&r->host, 8, 4096 * MB);
	r->d = host_rig_domain(&r->host, "web1", 2, 1024 * MB);
	r->d->mem_bytes = 1024 * MB;
	snprintf(r->folder, sizeof(r->folder), "%s/web1", r->host.dir);
	assert_int_equal(mkdir(r->folder, 0700), 0);
	snprintf(r->state, sizeof(r->state), "%s/sizing.state", r->folder);
}

static void end(struct sizing_rig *r)
{
	mem_sizing_free(r->d);
	unlink(r->state);
	assert_int_equal(rmdir(r->folder), 0); /* nothing else was left in it */
	host_rig_stop(&r->host);
}

/* A sample each five minutes, from @from_ms to @to_ms. */
static void use(struct sizing_rig *r, int64_t from_ms, int64_t to_ms, double mib)
{
	for (int64_t t = from_ms; t <= to_ms; t += STEP_MS)
		mem_sizing_used(r->d, t, mib);
}

static void after_a_day(void **state)
{
	struct sizing_rig r = {0};
	uint64_t advice;

	(void)state;
	begin(&r);
	assert_int_equal(mem_sizing_advice(r.d), 0);
	use(&r, BEGAN_MS, BEGAN_MS + DAY_MS - STEP_MS, 200);
	assert_int_equal(mem_sizing_advice(r.d), 0);
	use(&r, BEGAN_MS + DAY_MS, BEGAN_MS + 2 * DAY_MS, 200);
	advice = mem_sizing_advice(r.d);
	assert_in_range(advice, 200 * MB, 600 * MB); /* of 1024 MiB that it does not need */
	end(&r);
}

static void over_a_restart(void **state)
{
	struct sizing_rig r = {0};
	uint64_t before;

	(void)state;
	begin(&r);
	use(&r, BEGAN_MS, BEGAN_MS + 2 * DAY_MS, 200);
	before = mem_sizing_advice(r.d);
	assert_true(before);
	mem_sizing_free(r.d); /* policyd ends; another one starts a minute later */
	assert_int_equal(mem_sizing_advice(r.d), 0);
	mem_sizing_used(r.d, BEGAN_MS + 2 * DAY_MS + 60000, 200);
	assert_int_equal(mem_sizing_advice(r.d), before);
	end(&r);
}

/* What lies there is changed by @spoil between the two; then nothing is known, and learning begins anew. */
static void not_usable(void (*spoil)(const char *path), int64_t restart_ms)
{
	struct sizing_rig r = {0};

	begin(&r);
	use(&r, BEGAN_MS, BEGAN_MS + 2 * DAY_MS, 200);
	mem_sizing_free(r.d);
	assert_int_equal(access(r.state, F_OK), 0);
	if (spoil)
		spoil(r.state);
	mem_sizing_used(r.d, restart_ms, 200);
	assert_int_equal(mem_sizing_advice(r.d), 0);
	use(&r, restart_ms, restart_ms + DAY_MS, 200);
	assert_true(mem_sizing_advice(r.d));
	end(&r);
}

static void cut_short(const char *path)
{
	assert_int_equal(truncate(path, 100), 0);
}

static void of_another_shape(const char *path)
{
	FILE *f = fopen(path, "r+");

	assert_non_null(f);
	fputs("ballast sizing 0", f);
	fclose(f);
}

static void damaged(const char *path)
{
	FILE *f = fopen(path, "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, 400, SEEK_SET), 0); /* a float of what was learnt, now not a number */
	assert_int_equal(fwrite("\xff\xff\xff\xff", 1, 4, f), 4);
	fclose(f);
}

static void a_link(const char *path)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/zero", path), 0);
}

static void what_is_not_usable(void **state)
{
	void (*const spoils[])(const char *) = {cut_short, of_another_shape, damaged, a_link};

	(void)state;
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++)
		not_usable(spoils[i], BEGAN_MS + 2 * DAY_MS + 60000);
	not_usable(NULL, BEGAN_MS + DAY_MS); /* the clock began anew */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_a_day), cmocka_unit_test(over_a_restart), cmocka_unit_test(what_is_not_usable)};

	return cmocka_run_group_tests_name("mem_sizing", tests, NULL, NULL);
}
