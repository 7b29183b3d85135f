/* The worker's first line: a good one, each needed key missing, each kind of nonsense; and faults on order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/fault.h"
#include "migrate/worker_conf.h"

static json_t *good(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:{s:s, s:s, s:s, s:b}, s:s, "
			 "s:i, s:s, s:[i, i], s:I, s:b}",
		"op", "start", "role", "source", "domain", "web1", "uuid", "0b9f4a52-1111-4222-8333-0123456789ab",
		"epoch", 3, "host", "alpha", "peer", "beta", "state_dir", "/s", "ram_dir", "/r", "run_dir", "/run",
		"pid", 42, "qmp", "/run/q", "tls", "certificate", "c", "key", "k", "trust", "t", "fips", 1, "address",
		"127.0.0.1", "port", 49152, "token", "000102030405060708090a0b0c0d0eff", "ports", 49152, 49215,
		"bandwidth_bps", (json_int_t)1 << 33, "verify_full", 1);
}

static void a_good_line(void **state)
{
	struct worker_conf c;
	struct err e = {0};
	json_t *j = good();

	(void)state;
	assert_int_equal(worker_conf_parse(j, WORKER_RUN, &c, &e), 0);
	assert_int_equal(c.role, HO_SOURCE);
	assert_string_equal(c.domain, "web1");
	assert_int_equal(c.epoch, 3);
	assert_int_equal(c.pid, 42);
	assert_true(c.fips && c.verify_full && c.compress && !c.was_paused);
	assert_int_equal(c.token[1], 1);
	assert_int_equal(c.token[15], 0xff);
	assert_int_equal(c.port_last, 49215);
	assert_true(c.bandwidth_bps == 1ULL << 33);
	assert_int_equal(c.max_blackout_ms, 300);
	assert_int_equal(c.max_rounds, 30);
	json_decref(j);
}

static void missing_keys(void **state)
{
	static const char *const needed[] = {"op", "role", "domain", "uuid", "epoch", "peer", "state_dir", "ram_dir",
		"run_dir", "pid", "qmp", "tls", "address", "port", "token"};
	struct worker_conf c;

	(void)state;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		json_t *j = good();
		struct err e = {0};

		json_object_del(j, needed[i]);
		assert_int_equal(worker_conf_parse(j, WORKER_RUN, &c, &e), -EINVAL);
		assert_true(strlen(e.msg) > 10);
		json_decref(j);
	}
}

static void nonsense(void **state)
{
	static const struct {
		const char *key, *json;
	} bad[] = {{"role", "\"both\""}, {"epoch", "-1"}, {"epoch", "\"1\""}, {"port", "65536"}, {"port", "0"},
		{"pid", "0"}, {"pid", "1e9"}, {"compress", "1"}, {"channels", "17"}, {"max_rounds", "0"},
		{"ports", "[2, 1]"}, {"ports", "5"}, {"token", "\"00\""},
		{"token", "\"zz0102030405060708090a0b0c0d0eff\""}, {"domain", "7"}, {"op", "\"go\""},
		{"domain", "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""}};
	struct worker_conf c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *j = good();
		struct err e = {0};

		json_object_set_new(j, bad[i].key, json_loads(bad[i].json, JSON_DECODE_ANY, NULL));
		assert_int_equal(worker_conf_parse(j, WORKER_RUN, &c, &e), -EINVAL);
		json_decref(j);
	}
}

static void check_needs_less(void **state)
{
	struct err e = {0};
	struct worker_conf c;
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "op", "check", "domain", "d", "uuid", "u", "ram_dir",
		"/r", "qmp", "/q", "pid", 1);

	(void)state;
	assert_int_equal(worker_conf_parse(j, WORKER_CHECK, &c, &e), 0);
	assert_int_equal(worker_conf_parse(j, WORKER_RUN, &c, &e), -EINVAL);
	json_decref(j);
}

/* measure needs QEMU's side, and the way only where it shall probe one; sink needs the way and nothing of QEMU. */
static void measure_and_sink(void **state)
{
	struct err e = {0};
	struct worker_conf c;
	json_t *j = good(), *sink;

	(void)state;
	json_object_set_new(j, "op", json_string("measure"));
	assert_int_equal(worker_conf_parse(j, WORKER_MEASURE, &c, &e), 0);
	assert_true(c.port == 49152 && c.token[1] == 1 && c.pid == 42);
	assert_int_equal(worker_conf_parse(j, WORKER_RUN, &c, &e), -EINVAL);
	json_object_del(j, "token");
	assert_int_equal(worker_conf_parse(j, WORKER_MEASURE, &c, &e), -EINVAL);
	json_object_del(j, "port");
	json_object_del(j, "tls");
	json_object_del(j, "peer");
	assert_int_equal(worker_conf_parse(j, WORKER_MEASURE, &c, &e), 0);
	json_object_del(j, "pid");
	assert_int_equal(worker_conf_parse(j, WORKER_MEASURE, &c, &e), -EINVAL);
	json_decref(j);
	j = good();
	sink = json_pack("{s:s, s:O, s:O, s:O, s:O}", "op", "sink", "peer", json_object_get(j, "peer"), "tls",
		json_object_get(j, "tls"), "token", json_object_get(j, "token"), "ports", json_object_get(j, "ports"));
	assert_int_equal(worker_conf_parse(sink, WORKER_SINK, &c, &e), 0);
	assert_true(c.port_last == 49215 && !strcmp(c.peer, "beta"));
	json_object_del(sink, "token");
	assert_int_equal(worker_conf_parse(sink, WORKER_SINK, &c, &e), -EINVAL);
	json_object_del(sink, "tls");
	assert_int_equal(worker_conf_parse(sink, WORKER_SINK, &c, &e), -EINVAL);
	json_decref(sink);
	json_decref(j);
}

static void faults_on_order(void **state)
{
	(void)state;
	assert_int_equal(fault_at(NULL, HO_SOURCE, "offer"), FAULT_NONE);
	assert_int_equal(fault_at("", HO_SOURCE, "offer"), FAULT_NONE);
	assert_int_equal(fault_at("source:hold:offer", HO_TARGET, "offer"), FAULT_NONE);
	assert_int_equal(fault_at("target:fail:own,source:hold:last-round", HO_SOURCE, "last-round"), FAULT_HOLD);
	assert_int_equal(fault_at("target:fail:own,source:hold:last-round", HO_TARGET, "own"), FAULT_FAIL);
	assert_int_equal(fault_at("source:explode:offer", HO_SOURCE, "offer"), FAULT_NONE);
	assert_int_equal(fault_at(",,:::", HO_SOURCE, "offer"), FAULT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_line),
		cmocka_unit_test(missing_keys),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(check_needs_less),
		cmocka_unit_test(measure_and_sink),
		cmocka_unit_test(faults_on_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
