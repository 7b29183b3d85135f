/* Memory above boot size: reading the device, dividing a size, and memory jobs on a fake QEMU whose guest plugs and unplugs. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "resize/balloon.h"
#include "resize/vmem.h"
#include "tests/unit/support/fake_qmp.h"

#define M(n) ((uint64_t)(n) << 20)
#define BOOT M(256)
#define MOST M(512)

/* ---- pure ---- */

static json_t *device(const char *id, uint64_t plugged, uint64_t requested)
{
	return json_pack("{s:s, s:{s:s, s:I, s:I, s:I, s:I}}", "type", "virtio-mem", "data", "id", id, "size",
		(json_int_t)plugged, "requested-size", (json_int_t)requested, "max-size", (json_int_t)M(256),
		"block-size", (json_int_t)M(2));
}

static void test_parse(void **state)
{
	json_t *list = json_pack("[o, o]", device("dimm0", M(1), M(2)), device("vmem0", M(64), M(96)));
	json_t *event = json_pack("{s:s, s:I}", "id", "vmem0", "size", (json_int_t)M(10));
	struct vmem v;
	uint64_t plugged = 7;

	(void)state;
	vmem_parse(list, &v);
	assert_true(v.there && v.plugged == M(64) && v.requested == M(96) && v.max == M(256));
	json_array_remove(list, 1);
	vmem_parse(list, &v);
	assert_false(v.there);
	vmem_parse(NULL, &v);
	assert_true(!v.there && !v.plugged);
	assert_true(vmem_event(event, &plugged) && plugged == M(10));
	json_object_set_new(event, "id", json_string("other"));
	assert_false(vmem_event(event, &plugged));
	assert_false(vmem_event(NULL, &plugged));
	json_decref(list);
	json_decref(event);
}

static void test_split(void **state)
{
	static const struct {
		unsigned balloon, vmem, total; /* MiB */
		bool stuck;
		unsigned to_balloon, to_vmem;
	} rows[] = {
		{128, 0, 200, false, 200, 0},                                 /* below boot size: the balloon alone */
		{128, 0, 300, false, 256, 44},                                /* over it: both */
		{256, 44, 300, false, 256, 44},                               /* as it is */
		{256, 44, 270, false, 256, 14},                               /* the device gives first */
		{256, 44, 200, false, 200, 0}, {256, 44, 200, true, 156, 44}, /* it cannot: the balloon stands in */
		{156, 44, 300, false, 256, 44},                               /* and is what grows first */
		{156, 44, 210, false, 166, 44},
		{156, 44, 180, false, 156, 24}, /* the next one tries the device again */
		{256, 200, 230, true, 64, 166}, /* a quarter of the boot memory stays with the guest */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mem_parts now = {M(rows[i].balloon), M(rows[i].vmem)};
		struct mem_parts to = mem_split(&now, M(rows[i].total), BOOT, rows[i].stuck);

		if (to.balloon != M(rows[i].to_balloon) || to.vmem != M(rows[i].to_vmem))
			fail_msg("row %u: %llu + %llu", i, (unsigned long long)to.balloon >> 20,
				(unsigned long long)to.vmem >> 20);
	}
}

/* Any way through sizes: the sum is what was wanted, each part in its range, whole blocks only, growing takes from nobody. */
static void test_split_walks(void **state)
{
	struct mem_parts now = {BOOT, 0}, to;
	uint64_t total;

	(void)state;
	srand(7);
	for (int i = 0; i < 20000; i++) {
		total = M(16 + 2 * (rand() % 248));
		now.balloon -= now.balloon > M(20) && rand() % 4 == 0 ? 4096 : 0; /* balloons work in pages */
		to = mem_split(&now, total, BOOT, rand() % 3 == 0);
		assert_true(to.balloon + to.vmem == total || total == now.balloon + now.vmem);
		assert_true(to.balloon <= BOOT && to.balloon && to.vmem <= MOST - BOOT && to.vmem % M(2) == 0);
		assert_true(total <= now.balloon + now.vmem || (to.balloon >= now.balloon && to.vmem >= now.vmem));
		now = to;
	}
}

/* ---- jobs ---- */

struct fix {
	char dir[64], sock[96];
	struct event_base *base;
	struct fake_qmp *peer;
	struct qmp *q;
	struct balloon_job *job;
	/* the guest */
	uint64_t balloon, balloon_to, plugged, requested, used;
	uint64_t stuck_at; /* unplugs nothing below it.. */
	bool kick_helps;   /* .. until it is asked anew */
	bool no_vmem_driver;
	unsigned requests, updates;
	/* the result */
	bool done;
	uint64_t cancel_below;
	struct balloon_result r;
	struct err e;
};

static json_t *on_balloon(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;

	(void)p;
	(void)desc;
	f->balloon_to = (uint64_t)json_integer_value(json_object_get(args, "value"));
	return json_object();
}

static json_t *on_set(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(args, "value"));

	(void)p;
	(void)desc;
	if (strcmp(json_string_value(json_object_get(args, "property")), "requested-size") != 0)
		return json_object(); /* the statistics' interval */
	assert_string_equal(json_string_value(json_object_get(args, "path")), VMEM_QOM_PATH);
	assert_true(bytes % M(2) == 0 && bytes <= MOST - BOOT);
	if (f->kick_helps && bytes > f->requested && f->plugged <= f->stuck_at)
		f->stuck_at = 0;
	f->requested = bytes;
	f->requests++;
	return json_object();
}

static json_t *on_devices(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;
	uint64_t goal = f->requested < f->stuck_at && f->plugged > f->requested ? f->stuck_at : f->requested;

	(void)p;
	(void)args;
	(void)desc;
	if (!f->no_vmem_driver && f->plugged > goal)
		f->plugged -= f->plugged - goal > M(16) ? M(16) : f->plugged - goal;
	else if (!f->no_vmem_driver && f->plugged < f->requested)
		f->plugged = f->requested;
	return json_pack("[o]", device("vmem0", f->plugged, f->requested));
}

static json_t *on_query(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;

	(void)p;
	(void)args;
	(void)desc;
	if (f->balloon > f->balloon_to)
		f->balloon -= f->balloon - f->balloon_to > M(24) ? M(24) : f->balloon - f->balloon_to;
	else
		f->balloon = f->balloon_to;
	return json_pack("{s:I}", "actual", (json_int_t)f->balloon);
}

static json_t *on_stats(void *arg, struct fake_qmp *p, const json_t *args, const char **desc)
{
	struct fix *f = arg;
	uint64_t has = f->balloon + f->plugged;

	(void)p;
	(void)args;
	(void)desc;
	f->updates++;
	return json_pack("{s:I, s:{s:I, s:I, s:I, s:i, s:i}}", "last-update", (json_int_t)f->updates + 1000, "stats",
		"stat-total-memory", (json_int_t)has, "stat-available-memory",
		(json_int_t)(has > f->used ? has - f->used : 0), "stat-free-memory",
		(json_int_t)(has > f->used ? has - f->used : 0), "stat-swap-in", 0, "stat-major-faults", 0);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct err e;

	snprintf(f->dir, sizeof(f->dir), "/tmp/vmem-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->sock, sizeof(f->sock), "%s/qmp.sock", f->dir);
	f->balloon = f->balloon_to = BOOT;
	f->used = M(60);
	f->base = event_base_new();
	f->peer = fake_qmp_new(f->base, f->sock);
	fake_qmp_handle(f->peer, "balloon", on_balloon, f);
	fake_qmp_handle(f->peer, "query-balloon", on_query, f);
	fake_qmp_handle(f->peer, "query-memory-devices", on_devices, f);
	fake_qmp_handle(f->peer, "qom-get", on_stats, f);
	fake_qmp_handle(f->peer, "qom-set", on_set, f);
	f->q = qmp_new(f->base, f->sock, false, NULL, NULL);
	assert_int_equal(qmp_wait_ready(f->q, 5000, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	qmp_free(f->q);
	fake_qmp_free(f->peer);
	event_base_free(f->base);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void on_progress(void *arg, uint64_t now_bytes, uint64_t wanted_bytes)
{
	struct fix *f = arg;

	(void)wanted_bytes;
	if (now_bytes < f->cancel_below)
		balloon_cancel(f->job);
}

static void on_done(void *arg, const struct balloon_result *r, const struct err *e)
{
	struct fix *f = arg;

	f->done = true;
	f->job = NULL;
	f->r = *r;
	f->e = *e;
}

static void run(struct fix *f, uint64_t wanted)
{
	struct balloon_limits l = {.min_bytes = M(64),
		.max_bytes = MOST,
		.boot_bytes = BOOT,
		.rules = shrink_rules_default,
		.patience_ms = 1500};
	struct timeval most = {.tv_sec = 40};

	l.rules.step_percent = 25;
	f->done = false;
	f->job = balloon_set(f->base, f->q, wanted, &l, on_progress, on_done, f);
	event_base_loopexit(f->base, &most);
	while (!f->done && !event_base_got_exit(f->base))
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(f->done);
	for (int i = 0; i < 10; i++) /* a last word to the guest */
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void expect(const struct fix *f, int code, uint64_t balloon, uint64_t vmem)
{
	if (f->e.code != code || f->r.after != balloon + vmem || f->r.vmem_after != vmem || f->balloon_to != balloon ||
		f->requested != vmem)
		fail_msg("code %d (%s): %lluM, %lluM of it plugged; asked for %lluM + %lluM", f->e.code, f->e.msg,
			(unsigned long long)f->r.after >> 20, (unsigned long long)f->r.vmem_after >> 20,
			(unsigned long long)f->balloon_to >> 20, (unsigned long long)f->requested >> 20);
}

static void test_up_and_down(void **state)
{
	struct fix *f = *state;

	run(f, M(400));
	expect(f, 0, BOOT, M(144));
	assert_int_equal(f->requests, 1); /* growing: at once */
	run(f, M(128));
	expect(f, 0, M(128), 0);
	assert_true(f->requests >= 4); /* shrinking: in steps, the device first */
	run(f, M(512));
	expect(f, 0, BOOT, M(256));
}

static void test_kick(void **state)
{
	struct fix *f = *state;

	run(f, M(400));
	f->stuck_at = M(100);
	f->kick_helps = true;
	run(f, M(256));
	expect(f, 0, BOOT, 0);
	assert_int_equal(f->stuck_at, 0);
}

static void test_balloon_stands_in(void **state)
{
	struct fix *f = *state;

	run(f, M(400));
	f->stuck_at = M(100);
	run(f, M(256));
	expect(f, 0, M(156), M(100));
	f->stuck_at = 0; /* later it could */
	run(f, M(200));
	expect(f, 0, M(156), M(44));
	run(f, M(300));
	expect(f, 0, BOOT, M(44));
}

static void test_no_driver(void **state)
{
	struct fix *f = *state;

	f->no_vmem_driver = true;
	run(f, M(400));
	expect(f, ENODEV, BOOT, 0); /* nothing is left asked for that a driver loaded later would take */
	assert_non_null(strstr(f->e.msg, "virtio-mem driver"));
}

static void test_cancel_stays(void **state)
{
	struct fix *f = *state;

	run(f, M(400));
	f->cancel_below = M(380);
	run(f, M(256));
	expect(f, ECANCELED, BOOT, f->plugged);
	assert_true(f->plugged > M(64) && f->plugged < M(144));
}

static void test_pressure(void **state)
{
	struct fix *f = *state;

	run(f, M(400));
	f->used = M(300);
	run(f, M(128));
	assert_int_equal(f->e.code, EAGAIN);
	assert_true(f->r.after >= M(330) && f->r.after == f->balloon + f->plugged && f->balloon == BOOT);
}

static void test_no_device(void **state)
{
	struct fix *f = *state;

	fake_qmp_reply(f->peer, "query-memory-devices", json_array());
	run(f, M(400));
	assert_int_equal(f->e.code, ENODEV);
	assert_int_equal(f->requests, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_walks),
		T(test_up_and_down),
		T(test_kick),
		T(test_balloon_stands_in),
		T(test_no_driver),
		T(test_cancel_stays),
		T(test_pressure),
		T(test_no_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
