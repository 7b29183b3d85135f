/* Definitions: defaults, completion, the check's every refusal, JSON both ways and its strictness. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/spec.h"

#define MIB (1ULL << 20)

static void good(struct domain_spec *s)
{
	spec_init(s);
	strcpy(s->name, "web1");
	strcpy(s->kernel, "/boot/k");
	s->n_nets = 2;
	strcpy(s->nets[0].sw, "sw0");
	strcpy(s->nets[1].sw, "sw0");
	s->n_disks = 1;
	strcpy(s->disks[0].volume, "vol01");
	s->n_tags = 2;
	strcpy(s->tags[0], "web");
	strcpy(s->tags[1], "batch");
	assert_int_equal(spec_complete(s, NULL), 0);
}

static void test_complete(void **state)
{
	struct domain_spec a, b;

	(void)state;
	good(&a);
	good(&b);
	assert_int_equal(spec_check(&a, NULL), 0);
	assert_string_not_equal(a.uuid, b.uuid);
	assert_string_not_equal(a.nets[0].mac, a.nets[1].mac);
	b = a;
	b.nets[0].mac[0] = b.nets[1].mac[0] = 0;
	assert_int_equal(spec_complete(&b, NULL), 0); /* the same uuid gives the same addresses */
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(spec_complete(&a, NULL), 0);
	assert_memory_equal(&a, &b, sizeof(a)); /* nothing that is set changes */
}

static void test_complete_sizes(void **state)
{
	struct domain_spec s;

	(void)state;
	good(&s);
	s.vcpus_min = s.vcpus_max = 0;
	s.vcpus_boot = 4;
	s.mem_min = s.mem_max = 0;
	s.mem_boot = 2048 * MIB;
	assert_int_equal(spec_complete(&s, NULL), 0);
	assert_int_equal(s.vcpus_min, 1);
	assert_int_equal(s.vcpus_max, 4);
	assert_true(s.mem_min == 2048 * MIB && s.mem_max == 2048 * MIB);
	s.mem_boot = 0;
	s.mem_min = 256 * MIB;
	assert_int_equal(spec_complete(&s, NULL), 0);
	assert_true(s.mem_boot == 256 * MIB);
}

struct refusal {
	const char *starts; /* of the message: the key */
	void (*spoil)(struct domain_spec *s);
};

#define SPOIL(name, code)                                                                                              \
	static void spoil_##name(struct domain_spec *s)                                                                \
	{                                                                                                              \
		code;                                                                                                  \
	}
SPOIL(name_empty, s->name[0] = 0)
SPOIL(name_dots, strcpy(s->name, ".."))
SPOIL(name_slash, strcpy(s->name, "a/b"))
SPOIL(name_comma, strcpy(s->name, "a,b"))
SPOIL(uuid, s->uuid[3] = 'G')
SPOIL(uuid_upper, s->uuid[3] = 'A')
SPOIL(uuid_none, s->uuid[0] = 0)
SPOIL(vcpus_min, s->vcpus_min = 0)
SPOIL(vcpus_boot, s->vcpus_min = 2)
SPOIL(vcpus_max, s->vcpus_boot = 2)
SPOIL(vcpus_huge, s->vcpus_max = 241)
SPOIL(mem_min, s->mem_min = 2 * MIB)
SPOIL(mem_odd, s->mem_min -= 4096)
SPOIL(mem_boot, s->mem_boot = 256 * MIB)
SPOIL(mem_max, s->mem_max = 256 * MIB)
SPOIL(mem_huge, s->mem_max = 5ULL << 40)
SPOIL(kernel, strcpy(s->kernel, "boot/k"))
SPOIL(initrd, strcpy(s->initrd, "i"))
SPOIL(initrd_alone, (s->kernel[0] = 0, strcpy(s->initrd, "/i")))
SPOIL(cmdline_alone, (s->kernel[0] = 0, strcpy(s->cmdline, "x")))
SPOIL(cmdline_newline, strcpy(s->cmdline, "a\nb"))
SPOIL(nothing, (s->kernel[0] = 0, s->n_disks = 0))
SPOIL(disk_name, strcpy(s->disks[0].volume, "../x"))
SPOIL(disk_twice, (s->n_disks = 2, s->disks[1] = s->disks[0]))
SPOIL(net_name, s->nets[1].sw[0] = 0)
SPOIL(mac_multicast, strcpy(s->nets[0].mac, "53:54:00:00:00:01"))
SPOIL(mac_short, s->nets[0].mac[16] = 0)
SPOIL(mac_zero, strcpy(s->nets[0].mac, "00:00:00:00:00:00"))
SPOIL(mac_twice, strcpy(s->nets[0].mac, s->nets[1].mac))
SPOIL(tag, strcpy(s->tags[1], "a b"))
SPOIL(console, strcpy(s->console, "-x"))
SPOIL(cluster, strcpy(s->cluster, "a:b"))
SPOIL(importance, s->importance = 101)

static const struct refusal refusals[] = {
	{"name: ", spoil_name_empty},
	{"name: ", spoil_name_dots},
	{"name: ", spoil_name_slash},
	{"name: ", spoil_name_comma},
	{"uuid: ", spoil_uuid},
	{"uuid: ", spoil_uuid_upper},
	{"uuid: ", spoil_uuid_none},
	{"vcpus.min: ", spoil_vcpus_min},
	{"vcpus.boot: ", spoil_vcpus_boot},
	{"vcpus.max: ", spoil_vcpus_max},
	{"vcpus.max: ", spoil_vcpus_huge},
	{"memory.min: ", spoil_mem_min},
	{"memory.min: ", spoil_mem_odd},
	{"memory.boot: ", spoil_mem_boot},
	{"memory.max: ", spoil_mem_max},
	{"memory.max: ", spoil_mem_huge},
	{"kernel: ", spoil_kernel},
	{"initrd: ", spoil_initrd},
	{"initrd: ", spoil_initrd_alone},
	{"cmdline: ", spoil_cmdline_alone},
	{"cmdline: ", spoil_cmdline_newline},
	{"disks: ", spoil_nothing},
	{"disks[0].volume: ", spoil_disk_name},
	{"disks[1].volume: ", spoil_disk_twice},
	{"networks[1].switch: ", spoil_net_name},
	{"networks[0].mac: ", spoil_mac_multicast},
	{"networks[0].mac: ", spoil_mac_short},
	{"networks[0].mac: ", spoil_mac_zero},
	{"networks[0].mac: ", spoil_mac_twice},
	{"tags[1]: ", spoil_tag},
	{"console: ", spoil_console},
	{"cluster: ", spoil_cluster},
	{"importance: ", spoil_importance},
};

static void test_refusals(void **state)
{
	struct domain_spec s, out, untouched;
	struct err e;
	json_t *j;

	(void)state;
	memset(&untouched, 0x5a, sizeof(untouched));
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		good(&s);
		refusals[i].spoil(&s);
		assert_int_equal(spec_check(&s, &e), -EINVAL);
		if (strncmp(e.msg, refusals[i].starts, strlen(refusals[i].starts)))
			fail_msg("refusal %zu: \"%s\" does not start with \"%s\"", i, e.msg, refusals[i].starts);
		j = spec_to_json(&s);
		out = untouched;
		assert_int_equal(spec_from_json(j, &out, &e), -EINVAL); /* the same over JSON */
		assert_memory_equal(&out, &untouched, sizeof(out));
		json_decref(j);
	}
}

static void test_huge_pages(void **state)
{
	struct domain_spec s;
	struct err e;

	(void)state;
	good(&s);
	s.mem_boot = s.mem_max = 512 * MIB;
	assert_int_equal(spec_ram_claim(&s, 4096, 64 * MIB), 64 * MIB);
	s.mem_max = 600 * MIB; /* its device has 128 */
	assert_int_equal(spec_ram_claim(&s, 2 * MIB, 64 * MIB), 640 * MIB);
	assert_int_equal(spec_check_pages(&s, 4096, &e), 0);
	assert_int_equal(spec_check_pages(&s, 2 * MIB, &e), 0);
	assert_int_equal(spec_check_pages(&s, 1024 * MIB, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "memory.boot: 512M is no multiple of 1024M"));
	s.mem_boot = 1024 * MIB;
	s.mem_max = 2048 * MIB;
	assert_int_equal(spec_check_pages(&s, 1024 * MIB, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "memory.max: "));
	s.mem_max = s.mem_boot;
	assert_int_equal(spec_check_pages(&s, 1024 * MIB, &e), 0);
}

static void test_name_length(void **state)
{
	char name[80];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[63] = 0;
	assert_true(name_valid(name));
	name[63] = 'a';
	name[64] = 0;
	assert_false(name_valid(name));
}

/* ---- JSON ---- */

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static void random_spec(struct domain_spec *s, unsigned *seed)
{
	unsigned i;

	spec_init(s);
	snprintf(s->name, sizeof(s->name), "d%u", pick(seed, 100000));
	s->vcpus_min = 1 + pick(seed, 4);
	s->vcpus_boot = s->vcpus_min + pick(seed, 4);
	s->vcpus_max = s->vcpus_boot + pick(seed, 200);
	s->mem_min = (8 + pick(seed, 100)) * MEM_STEP;
	s->mem_boot = s->mem_min + pick(seed, 10000) * MEM_STEP;
	s->mem_max = s->mem_boot + pick(seed, 10000) * MEM_STEP;
	s->cpu_arch = pick(seed, 2) ? CPU_GENERIC : CPU_NATIVE;
	strcpy(s->kernel, "/boot/vm, \"linux\" \\ \xc3\xa9");
	strcpy(s->cmdline, pick(seed, 2) ? "console=hvc0 x=\"y\"" : "");
	s->n_disks = pick(seed, SPEC_DISKS_MAX + 1);
	for (i = 0; i < s->n_disks; i++) {
		snprintf(s->disks[i].volume, NAME_MAX_LEN, "v%u", i);
		s->disks[i].readonly = pick(seed, 2);
		s->disks[i].cache = pick(seed, 2) ? CACHE_NONE : CACHE_WRITEBACK;
	}
	s->n_nets = pick(seed, SPEC_NETS_MAX + 1);
	for (i = 0; i < s->n_nets; i++)
		snprintf(s->nets[i].sw, NAME_MAX_LEN, "s%u", pick(seed, 3));
	s->n_tags = pick(seed, SPEC_TAGS_MAX + 1);
	for (i = 0; i < s->n_tags; i++)
		snprintf(s->tags[i], NAME_MAX_LEN, "t%u", i);
	s->importance = pick(seed, 2) ? UINT_MAX : pick(seed, 101);
	strcpy(s->cluster, pick(seed, 2) ? "orders" : "");
	assert_int_equal(spec_complete(s, NULL), 0);
}

static void test_json_round_trip(void **state)
{
	unsigned seed = 7;
	struct domain_spec s, t;
	struct err e;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		json_t *j;
		char *text;

		random_spec(&s, &seed);
		j = spec_to_json(&s);
		text = json_dumps(j, 0);
		json_decref(j);
		j = json_loads(text, 0, NULL);
		if (spec_from_json(j, &t, &e))
			fail_msg("%s: %s", e.msg, text);
		assert_memory_equal(&s, &t, sizeof(s));
		assert_true(!json_object_get(j, "importance") == (s.importance == UINT_MAX));
		json_decref(j);
		free(text);
	}
}

static void refuse_text(const char *key, const char *value, const char *starts)
{
	struct domain_spec s, out;
	struct err e;
	json_t *j;

	good(&s);
	j = spec_to_json(&s);
	if (value)
		json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
	else
		json_object_del(j, key);
	assert_int_equal(spec_from_json(j, &out, &e), -EINVAL);
	if (strncmp(e.msg, starts, strlen(starts)))
		fail_msg("%s = %s: \"%s\" does not start with \"%s\"", key, value ? value : "(none)", e.msg, starts);
	json_decref(j);
}

static void test_json_strict(void **state)
{
	struct domain_spec out;
	struct err e;

	(void)state;
	refuse_text("colour", "1", "colour: unknown key");
	refuse_text("name", NULL, "name: missing");
	refuse_text("uuid", NULL, "uuid: missing");
	refuse_text("memory", NULL, "memory: missing");
	refuse_text("memory", "{\"min\": 1}", "memory.boot: missing");
	refuse_text("memory", "{\"min\": 1, \"boot\": 1, \"max\": 1, \"x\": 1}", "memory.x: unknown key");
	refuse_text("memory", "[]", "memory: must be an object");
	refuse_text("memory", "{\"min\": \"512M\", \"boot\": 1, \"max\": 1}", "memory.min: must be a whole number");
	refuse_text("memory", "{\"min\": -2097152, \"boot\": 1, \"max\": 1}", "memory.min: -2097152 is out of range");
	refuse_text("vcpus", "{\"min\": 1.0, \"boot\": 1, \"max\": 1}", "vcpus.min: must be a whole number");
	refuse_text("vcpus", "{\"min\": 1, \"boot\": 1, \"max\": 4294967297}", "vcpus.max: 4294967297 is out of range");
	refuse_text("name", "7", "name: must be a string");
	refuse_text("name", "\"web\\u0000x\"", "name: has a zero character");
	refuse_text("cpu-arch", "\"fast\"", "cpu-arch: must be \"generic\" or \"native\"");
	refuse_text("disks", "{}", "disks: must be a list");
	refuse_text("disks", "[1]", "disks[0]: must be an object");
	refuse_text("disks", "[{\"volume\": \"a\"}, {\"volume\": \"b\", \"readonly\": 1}]",
		"disks[1].readonly: must be true or false");
	refuse_text("disks", "[{},{},{},{},{},{},{},{},{}]", "disks: 9 are more than 8");
	refuse_text("networks", "[{\"switch\": \"a\"}]", "networks[0].mac: missing");
	refuse_text("tags", "[\"a\", 1]", "tags[1]: must be a string");
	refuse_text("importance", "4294967295",
		"importance: 4294967295 is out of range"); /* that is "not given", never a value */
	assert_int_equal(spec_from_json(NULL, &out, &e), -EINVAL);
	assert_string_equal(e.msg, "domain: must be an object");
}

static void test_json_too_long(void **state)
{
	char text[700];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[0] = '"';
	text[sizeof(text) - 2] = '"';
	text[sizeof(text) - 1] = 0;
	refuse_text("kernel", text, "kernel: longer than 511 characters");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_complete_sizes),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_name_length),
		cmocka_unit_test(test_json_round_trip),
		cmocka_unit_test(test_json_strict),
		cmocka_unit_test(test_json_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
