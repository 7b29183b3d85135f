/* Admission: every reason is found, all at once, and each says what to do; and the cost formula. Pure. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policyd/act/admit.h"
#include "policyd/decide/predict.h"

#define MIB (1ULL << 20)

struct setup {
	struct host_services services;
	struct domain_spec others[2];
	const struct domain_spec *list[2];
	struct admit_host host;
	struct admit_request rq;
	const char *missing; /* the one path that is not there */
	const char *hung;    /* the one that does not answer */
	bool with_volume;
};

static enum looked look(void *arg, const char *path, struct volume_id *id)
{
	const struct setup *s = arg;

	if (id &&
		s->with_volume) { /* what is behind "vol01" here; what the request says of the source's is set by each test */
		assert_string_equal(path, "/srv/vol01.img");
		*id = (struct volume_id){.kind = VOLUME_FILE, .bytes = 1 << 20, .inode = 77};
	}
	if (s->hung && !strcmp(s->hung, path))
		return LOOKED_HUNG;
	return s->missing && !strcmp(s->missing, path) ? LOOKED_ABSENT : LOOKED_THERE;
}

static void spec_web(struct domain_spec *spec, const char *name, const char *uuid)
{
	spec_init(spec);
	strcpy(spec->name, name);
	strcpy(spec->uuid, uuid);
	spec->vcpus_min = 1;
	spec->vcpus_boot = 2;
	spec->vcpus_max = 4;
	spec->mem_min = 64 * MIB;
	spec->mem_boot = spec->mem_max = 256 * MIB;
	strcpy(spec->kernel, "/boot/vmlinuz");
	strcpy(spec->initrd, "/boot/initrd");
}

/* A host that takes the domain gladly. */
static void good(struct setup *s)
{
	memset(s, 0, sizeof(*s));
	strcpy(s->services.host_name, "beta");
	strcpy(s->services.paths.qemu, "/usr/bin/qemu");
	strcpy(s->services.paths.worker, "/usr/bin/policyd-migrate");
	strcpy(s->services.paths.ram, "/dev/shm/policyd");
	strcpy(s->services.volumes[0].name, "vol01");
	strcpy(s->services.volumes[0].path, "/srv/vol01.img");
	s->services.n_volumes = 1;
	strcpy(s->services.switches[0].name, "vsw0");
	strcpy(s->services.switches[0].bridge, "br0");
	s->services.n_switches = 1;
	strcpy(s->services.consoles[0].name, "vcc0");
	s->services.n_consoles = 1;
	spec_web(&s->others[0], "old1", "00000000-0000-4000-8000-000000000001");
	spec_web(&s->others[1], "old2", "00000000-0000-4000-8000-000000000002");
	s->others[1].n_nets = 1;
	strcpy(s->others[1].nets[0].mac, "52:54:00:aa:bb:cc");
	s->list[0] = &s->others[0];
	s->list[1] = &s->others[1];
	s->host = (struct admit_host){.services = &s->services,
		.accepts = true,
		.accepts_why = "maintenance",
		.vcpus_total = 8,
		.vcpus_given = 4,
		.mem_total = 1024 * MIB,
		.mem_given = 512 * MIB,
		.ram_free_bytes = UINT64_MAX,
		.ram_page_bytes = SPEC_PAGE_BYTES,
		.domains = s->list,
		.n_domains = 2,
		.look = look,
		.arg = s};
	spec_web(&s->rq.spec, "web1", "00000000-0000-4000-8000-000000000009");
	strcpy(s->rq.name, "web1");
	s->rq.vcpus = 2;
	s->rq.mem_bytes = 256 * MIB;
	s->rq.live = s->rq.running = true;
	s->rq.spec.n_disks = 1;
	strcpy(s->rq.spec.disks[0].volume, "vol01");
	s->rq.spec.n_nets = 1;
	strcpy(s->rq.spec.nets[0].sw, "vsw0");
	strcpy(s->rq.spec.nets[0].mac, "52:54:00:11:22:33");
	strcpy(s->rq.spec.console, "vcc0");
}

static void expect_one(struct setup *s, const char *from, const char *what, const char *why)
{
	struct admit_failures f = {.n = 0};

	admit_check(&s->host, from, &s->rq, &f);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.v[0].what, what);
	if (!strstr(f.v[0].why, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", what, f.v[0].why, why);
}

static void test_good(void **state)
{
	struct admit_failures f = {.n = 0};
	struct setup s;

	(void)state;
	good(&s);
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
	s.with_volume = true;
	admit_check(&s.host, "alpha", &s.rq, &f); /* a source that does not tell what its volumes are */
	assert_int_equal(f.n, 0);
	s.rq.volumes[0] = (struct volume_id){.kind = VOLUME_FILE, .bytes = 1 << 20, .inode = 77};
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
}

static void test_each_reason(void **state)
{
	struct setup s;

	(void)state;
	good(&s);
	expect_one(&s, "beta", "host", "name another host");
	good(&s);
	s.host.accepts = false;
	expect_one(&s, "alpha", "host", "takes no domains now: maintenance");
	good(&s);
	strcpy(s.rq.spec.uuid, s.others[0].uuid);
	expect_one(&s, "alpha", "uuid", "old1");
	good(&s);
	strcpy(s.rq.name, "old1");
	expect_one(&s, "alpha", "name", "beta:NEWNAME");
	good(&s);
	strcpy(s.rq.spec.nets[0].mac, "52:54:00:AA:BB:CC");
	expect_one(&s, "alpha", "mac", "old2");
	good(&s);
	strcpy(s.rq.spec.disks[0].volume, "vol02");
	expect_one(&s, "alpha", "volume", "host.volumes");
	good(&s);
	s.missing = "/srv/vol01.img";
	expect_one(&s, "alpha", "volume", "attach the storage");
	good(&s);
	s.with_volume = true;
	s.rq.volumes[0] = (struct volume_id){.kind = VOLUME_FILE, .bytes = 2 << 20, .inode = 77};
	expect_one(&s, "alpha", "volume", "not the same storage on alpha");
	good(&s);
	strcpy(s.rq.spec.nets[0].sw, "vsw1");
	expect_one(&s, "alpha", "switch", "host.switches");
	good(&s);
	s.missing = "/sys/class/net/br0";
	expect_one(&s, "alpha", "switch", "bridge br0");
	good(&s);
	strcpy(s.rq.spec.console, "vcc1");
	expect_one(&s, "alpha", "console", "host.consoles");
	good(&s);
	s.missing = "/boot/vmlinuz";
	expect_one(&s, "alpha", "kernel", "/boot/vmlinuz");
	good(&s);
	s.missing = "/boot/initrd";
	expect_one(&s, "alpha", "initrd", "/boot/initrd");
	good(&s);
	s.missing = "/usr/bin/qemu";
	expect_one(&s, "alpha", "qemu", "host.paths.qemu");
	good(&s);
	s.missing = "/usr/bin/policyd-migrate";
	expect_one(&s, "alpha", "worker", "policyd-migrate");
	good(&s);
	s.host.mem_given = 900 * MIB;
	expect_one(&s, "alpha", "memory", "124M free");
	good(&s);
	s.host.ram_free_bytes = 100 * MIB;
	expect_one(&s, "alpha", "memory", "/dev/shm/policyd");
	good(&s);
	s.host.ram_page_bytes = 2 * MIB; /* the whole file, whatever a balloon has of it */
	s.rq.mem_bytes = 64 * MIB;
	s.host.ram_free_bytes = s.rq.spec.mem_boot - MIB;
	expect_one(&s, "alpha", "memory", "vm.nr_hugepages");
	good(&s);
	s.host.ram_page_bytes = 1024 * MIB;
	expect_one(&s, "alpha", "memory", "no multiple of 1024M");
	good(&s);
	s.host.vcpus_given = 7;
	expect_one(&s, "alpha", "vcpus", "1 of 8");
	good(&s);
	s.host.moves = s.host.max_moves = 2;
	expect_one(&s, "alpha", "moves", "max-moves");
	good(&s);
	strcpy(s.rq.accel, "kvm");
	expect_one(&s, "alpha", "accel", "move it cold");
	good(&s);
	s.hung = "/srv/vol01.img";
	expect_one(&s, "alpha", "storage", "its storage hangs");
	good(&s);
	s.host.console_why = "console group \"vcc0\" of beta has no free port";
	expect_one(&s, "alpha", "console", "no free port");
	good(&s);
	s.host.ports_why = "all ports of beta from 1 to 2 are in use";
	expect_one(&s, "alpha", "ports", "in use");
	good(&s);
	s.rq.fips_said = s.rq.fips = true;
	expect_one(&s, "alpha", "fips", "alpha is in FIPS mode, beta is not");
	good(&s);
	s.rq.fips_said = s.host.fips = true;
	expect_one(&s, "alpha", "fips", "beta is in FIPS mode, alpha is not");
}

static void test_clock(void **state)
{
	struct admit_failures f = {.n = 0};
	struct setup s;

	(void)state;
	good(&s);
	s.host.now_ms = 1000000;
	s.rq.time_ms = s.host.now_ms + ADMIT_SKEW_MAX_MS;
	admit_check(&s.host, "alpha", &s.rq, &f);
	s.rq.time_ms = s.host.now_ms - ADMIT_SKEW_MAX_MS;
	admit_check(&s.host, "alpha", &s.rq, &f);
	s.rq.time_ms = 0; /* a release that does not tell */
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
	s.rq.time_ms = s.host.now_ms + ADMIT_SKEW_MAX_MS + 1000;
	expect_one(&s, "alpha", "clock", "alpha is 31 s ahead of that of beta");
	s.rq.time_ms = s.host.now_ms - ADMIT_SKEW_MAX_MS - 5000;
	expect_one(&s, "alpha", "clock", "alpha is 35 s behind that of beta");
}

/* What QEMU says of itself, as QMP has it. */
static void qemu_of(struct qemu_facts *q, const char *version, const char *unavailable, const char *features)
{
	json_t *v = json_loads(version, 0, NULL), *m, *d, *x;

	m = json_pack("[{s:s, s:s}, {s:s}]", "name", "pc-q35-7.2", "alias", "q35", "name", "pc-i440fx-7.2");
	d = json_pack("[{s:s, s:[]}, {s:s, s:o}]", "name", "qemu64-v1", "unavailable-features", "name", "Nehalem-v1",
		"unavailable-features", json_loads(unavailable, 0, NULL));
	x = json_pack("{s:{s:s, s:o}}", "model", "name", "max", "props", json_loads(features, 0, NULL));
	qemu_facts_take(q, v, m, d, x);
	json_decref(v);
	json_decref(m);
	json_decref(d);
	json_decref(x);
}

#define V72 "{\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 22}}"

static void test_qemu(void **state)
{
	struct qemu_facts q = {.major = 0}, unknown = {.major = 0};
	struct admit_failures f = {.n = 0};
	struct setup s;

	(void)state;
	good(&s);
	qemu_of(&q, V72, "[]", "{\"aes\": true, \"avx2\": false, \"realized\": true}");
	s.host.qemu = &q;
	strcpy(s.rq.machine, "pc-q35-7.2");
	admit_check(&s.host, "alpha", &s.rq, &f);
	s.host.qemu = &unknown; /* it did not answer */
	admit_check(&s.host, "alpha", &s.rq, &f);
	s.host.qemu = &q;
	assert_int_equal(f.n, 0);
	strcpy(s.rq.machine, "pc-q35-10.0");
	strcpy(s.rq.qemu, "10.0.2");
	expect_one(&s, "alpha", "machine", "which QEMU 7.2.22 of beta does not have; it comes from QEMU 10.0.2");
	s.rq.live = false; /* it starts anew there */
	f.n = 0;
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);

	qemu_of(&q, "{\"qemu\": {\"major\": 7, \"minor\": 1, \"micro\": 0}}", "[]", "{}");
	expect_one(&s, "alpha", "qemu", "beta has QEMU 7.1.0; 7.2 or newer");
	qemu_of(&q, V72, "[\"sse4.2\", \"popcnt\"]", "{}");
	expect_one(&s, "alpha", "cpu", "cannot run cpu-arch \"generic\" (Nehalem-v1): sse4.2, popcnt");
	qemu_facts_fini(&q);
}

static void test_native_cpu(void **state)
{
	struct qemu_facts q = {.major = 0};
	struct admit_failures f = {.n = 0};
	struct setup s;

	(void)state;
	good(&s);
	s.rq.spec.cpu_arch = CPU_NATIVE;
	qemu_of(&q, V72, "[\"popcnt\"]", "{\"aes\": true, \"sse3\": true, \"avx2\": false, \"realized\": true}");
	s.host.qemu = &q;
	admit_check(&s.host, "alpha", &s.rq, &f); /* a source that does not tell */
	s.rq.cpu_features = qemu_feature_list(&q);
	assert_int_equal(json_array_size(s.rq.cpu_features), 2); /* no "realized" */
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
	json_array_append_new(s.rq.cpu_features, json_string("avx2"));
	json_array_append_new(s.rq.cpu_features, json_string("check")); /* what is no feature is not missed */
	json_array_append_new(s.rq.cpu_features, json_integer(5));
	expect_one(&s, "alpha", "cpu", "lacks what it may be using: avx2; move it cold");
	for (unsigned i = 0; i < 10; i++)
		json_array_append_new(s.rq.cpu_features, json_string("avx512f"));
	expect_one(&s, "alpha", "cpu", "avx512f and 5 more; move it cold");
	s.rq.live = false;
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
	admit_request_fini(&s.rq);
	qemu_facts_fini(&q);
}

/* Given more than there is: no wrap-around of unsigned figures. */
static void test_overcommitted_host(void **state)
{
	struct admit_failures f = {.n = 0};
	struct setup s;

	(void)state;
	good(&s);
	s.host.mem_given = s.host.mem_total + 5 * MIB;
	s.host.vcpus_given = 100;
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 2);
	s.rq.running = s.rq.live = false; /* a definition alone needs no room */
	f.n = 0;
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 0);
}

static void test_all_at_once(void **state)
{
	struct admit_failures f = {.n = 0}, back = {.n = 0};
	struct setup s;
	json_t *j;
	char text[64], longer[300];

	(void)state;
	good(&s);
	s.services.n_volumes = s.services.n_switches = s.services.n_consoles = 0;
	s.host.mem_given = s.host.mem_total;
	s.host.vcpus_given = s.host.vcpus_total;
	strcpy(s.rq.name, "old2");
	admit_check(&s.host, "alpha", &s.rq, &f);
	assert_int_equal(f.n, 6);
	j = admit_to_json(&f);
	admit_from_json(j, &back);
	assert_memory_equal(&f, &back, sizeof(f));
	json_decref(j);
	admit_text(&f, text, sizeof(text)); /* cut, never overrun */
	assert_true(strlen(text) < sizeof(text));
	admit_text(&f, longer, sizeof(longer)); /* whole reasons, and the number of those left out */
	assert_non_null(strstr(longer, "; and "));
	assert_string_equal(longer + strlen(longer) - 32, " more, see: policyctl migrate -n");
	for (int i = 0; i < 100; i++)
		admit_fail(&f, "x", "%d", i);
	assert_int_equal(f.n, ADMIT_FAILURES_MAX);
}

static void test_request_json(void **state)
{
	static const struct {
		const char *key, *json;
	} bad[] = {
		{"spec", "{}"},
		{"name", "\"../x\""},
		{"name", "5"},
		{"vcpus", "0"},
		{"vcpus", "9"},
		{"vcpus", "\"2\""},
		{"mem_bytes", "0"},
		{"mem_bytes", "-5"},
		{"mem_bytes", "99999999999999"},
		{"method", "\"warm\""},
		{"method", "1"},
	};
	struct admit_request back;
	struct setup s;
	struct err e;
	json_t *j, *v;

	(void)state;
	good(&s);
	strcpy(s.rq.machine, "pc-q35-7.2");
	strcpy(s.rq.qemu, "7.2.22");
	s.rq.time_ms = 1790000000000;
	s.rq.fips = true;
	s.rq.cpu_features = json_pack("[s]", "aes");
	j = admit_request_json(&s.rq);
	assert_int_equal(admit_request_parse(j, &back, &e), 0);
	assert_memory_equal(&back.spec, &s.rq.spec, sizeof(back.spec));
	assert_int_equal(back.mem_bytes, s.rq.mem_bytes);
	assert_string_equal(back.machine, "pc-q35-7.2");
	assert_string_equal(back.qemu, "7.2.22");
	assert_int_equal(back.time_ms, s.rq.time_ms);
	assert_true(back.fips_said && back.fips);
	assert_int_equal(json_array_size(back.cpu_features), 1);
	admit_request_fini(&back);
	admit_request_fini(&s.rq);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *copy = json_deep_copy(j);

		v = json_loads(bad[i].json, JSON_DECODE_ANY, NULL);
		json_object_set_new(copy, bad[i].key, v);
		assert_int_equal(admit_request_parse(copy, &back, &e), -EINVAL);
		assert_non_null(strstr(e.msg, bad[i].key));
		json_decref(copy);
	}
	json_decref(j);
}

static void test_cluster_rule(void **state)
{
	struct admit_failures f = {.n = 0};

	(void)state;
	admit_cluster("orders", 3, true, 2, &f);
	assert_int_equal(f.n, 0);
	admit_cluster("orders", 1, false, 2, &f); /* it does not run: nothing is taken away */
	assert_int_equal(f.n, 0);
	admit_cluster("orders", 2, true, 2, &f);
	assert_int_equal(f.n, 1);
	assert_non_null(strstr(f.v[0].why, "min-available 2"));
}

/* ---- predict ---------------------------------------------------------------------------------------------------------- */

static void test_predict_orders(void **state)
{
	struct predict_in in = {.resident_bytes = 200 * MIB,
		.mem_bytes = 256 * MIB,
		.dirty_bps = 5e6,
		.link_bps = 200000000,
		.max_blackout_ms = 300};
	struct predict_out a, b;

	(void)state;
	predict(&in, &a);
	assert_true(a.fits && !a.link_assumed && !a.dirty_assumed);
	assert_true(a.total_s > 200 * 1048576 / 2e8 && a.total_s < 4);
	assert_true(a.total_low_s < a.total_s && a.total_s < a.total_high_s);
	in.link_bps *=
		2; /* a faster link: sooner, and not darker, but for the 10 ms that are not worth another round (precopy.c) */
	predict(&in, &b);
	assert_true(b.total_s < a.total_s && b.blackout_ms <= a.blackout_ms + 10);
	in.link_bps /= 2;
	in.resident_bytes *= 2; /* more to send: longer, more bytes */
	predict(&in, &b);
	assert_true(b.total_s > a.total_s && b.bytes > a.bytes);
	in.trim_bytes = 100 * MIB; /* trimmed: fewer bytes, and the trim takes its time */
	predict(&in, &b);
	assert_true(b.bytes < a.bytes && b.trim_s > 1);
	in.dirty_bps = 1e9; /* dirties faster than the link: does not fit, and says so */
	predict(&in, &b);
	assert_false(b.fits);
	in.link_bps = 0;
	in.dirty_bps = -1;
	predict(&in, &b);
	assert_true(b.link_assumed && b.dirty_assumed && strstr(b.why, "assumed"));
}

/* Any input gives finite, positive figures with low <= expected <= high. */
static void test_predict_any(void **state)
{
	(void)state;
	srandom(7);
	for (int i = 0; i < 20000; i++) {
		struct predict_in in = {.resident_bytes = (uint64_t)random() << (random() % 12),
			.mem_bytes = (uint64_t)random() << (random() % 12),
			.trim_bytes = random() % 2 ? (uint64_t)random() : 0,
			.dirty_bps = random() % 3 ? (double)random() : -1,
			.link_bps = random() % 3 ? (uint64_t)random() : 0,
			.max_blackout_ms = (unsigned)random() % 1000,
			.max_rounds = (unsigned)random() % 40,
			.cold = random() % 5 == 0,
			.running = random() % 2};
		struct predict_out p;
		json_t *j;

		predict(&in, &p);
		assert_true(isfinite(p.total_s) && isfinite(p.blackout_ms) && isfinite(p.bytes));
		assert_true(p.total_s > 0 && p.blackout_ms >= 0 && p.bytes >= 0);
		assert_true(p.total_low_s <= p.total_s && p.total_s <= p.total_high_s);
		j = predict_to_json(&p);
		assert_non_null(j);
		json_decref(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_each_reason),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_qemu),
		cmocka_unit_test(test_native_cpu),
		cmocka_unit_test(test_overcommitted_host),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_request_json),
		cmocka_unit_test(test_cluster_rule),
		cmocka_unit_test(test_predict_orders),
		cmocka_unit_test(test_predict_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
