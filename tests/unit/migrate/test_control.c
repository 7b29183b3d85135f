/* Frames of the control channel: every type there and back, every cut, every length over the limit, random octets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/control.h"

static struct control_msg sample(enum control_type type)
{
	static const uint8_t bytes[5] = {1, 0, 255, 7, 9};
	struct control_msg m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	switch (type) {
	case CT_HELLO:
		m.hello = (struct control_hello){.version_low = 1,
			.version_high = 3,
			.uuid = "0b9f4a52-1111-4222-8333-0123456789ab",
			.domain = "web1",
			.host = "alpha",
			.machine = "pc-q35-7.2-machine",
			.qemu = "7.2.22",
			.epoch = 1ULL << 40,
			.n_channels = 4,
			.compress = true,
			.was_paused = true,
			.postcopy = true,
			.max_blackout_ms = 300,
			.bandwidth_bps = UINT64_MAX,
			.n_blocks = 2,
			.blocks = {{"ram", 1ULL << 31, 4096}, {"vmem", 1ULL << 30, 2 << 20}}};
		break;
	case CT_WELCOME:
		m.welcome.version = 2;
		m.welcome.n_channels = 2;
		strcpy(m.welcome.qemu, "10.0.2");
		m.welcome.codecs = 6;
		break;
	case CT_NOTE:
		m.note = (struct control_note){3, 100, 1, 2, 3, UINT64_MAX, 5, 6};
		break;
	case CT_SUSPENDED:
		m.was_paused = true;
		break;
	case CT_DIGEST:
		memset(m.digest.root, 0xab, sizeof(m.digest.root));
		m.digest.want_full = true;
		break;
	case CT_LOADED:
		memset(m.digest.full, 0xcd, sizeof(m.digest.full));
		break;
	case CT_STATE:
		m.state.bytes = bytes;
		m.state.n = sizeof(bytes);
		break;
	case CT_STATE_END:
		m.state_bytes = 123456789;
		break;
	case CT_POSTPONED:
		m.n_postponed = 1ULL << 33;
		break;
	case CT_OWNER:
		m.owner.resume_us = 4711;
		m.owner.running = true;
		break;
	case CT_GONE:
		m.blackout_ms = 38;
		break;
	case CT_ABORT:
		strcpy(m.abort.reason, "beta: its QEMU ended: no such device");
		m.abort.cancelled = true;
		break;
	default:
		break;
	}
	return m;
}

static int decode(const uint8_t *buf, size_t n, struct control_msg *out)
{
	struct control_header h;
	struct err e = {0};
	int rc = control_header_decode(buf, &h, &e);

	if (rc)
		return rc;
	assert_true(CONTROL_HEADER_BYTES + h.length <= n);
	return control_decode(&h, buf + CONTROL_HEADER_BYTES, out, &e);
}

static void there_and_back(void **state)
{
	static uint8_t buf[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX], again[sizeof(buf)];

	(void)state;
	for (int t = CT_HELLO; t < CT_COUNT; t++) {
		if (t == 3)
			continue; /* never used */
		struct control_msg in = sample(t), out;
		int n = control_encode(&in, buf, sizeof(buf));

		assert_true(n >= CONTROL_HEADER_BYTES);
		memset(&out, 0, sizeof(out));
		assert_int_equal(decode(buf, (size_t)n, &out), 0);
		assert_int_equal(out.type, t);
		assert_int_equal(control_encode(&out, again, sizeof(again)), n);
		assert_memory_equal(buf, again, n);
		for (int size = 0; size < n; size++)
			assert_int_equal(control_encode(&in, again, (size_t)size), -EMSGSIZE);
	}
}

/* A payload that is too short is never accepted; one octet too many only where a later version may add. */
static void wrong_lengths(void **state)
{
	static uint8_t buf[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX];

	(void)state;
	for (int t = CT_HELLO; t < CT_COUNT; t++) {
		if (t == 3)
			continue; /* never used */
		struct control_msg in = sample(t), out;
		int n = control_encode(&in, buf, sizeof(buf)) - CONTROL_HEADER_BYTES;
		struct control_header h = {.type = (uint16_t)t};
		struct err e = {0};

		if (t == CT_STATE)
			continue; /* any length is one */
		for (h.length = 0; (int)h.length < n; h.length++)
			assert_int_equal(control_decode(&h, buf + CONTROL_HEADER_BYTES, &out, &e), -EBADMSG);
		h.length = (uint32_t)n + 1;
		assert_int_equal(control_decode(&h, buf + CONTROL_HEADER_BYTES, &out, &e),
			t == CT_HELLO || t == CT_WELCOME ? 0 : -EBADMSG);
	}
}

static void headers(void **state)
{
	struct control_header h;
	struct err e = {0};
	const uint8_t huge[8] = {0, CT_HELLO, 0, 0, 0xff, 0xff, 0xff, 0xff};
	const uint8_t unknown[8] = {0, 99, 0, 0, 0, 0, 0, 0}, zero[8] = {0};
	const uint8_t optional[8] = {0x80, 99, 0, 0, 0, 0, 0, 9}, too_long[8] = {0x80, 99, 0, 0, 0, 1, 0, 1};
	const uint8_t reserved[8] = {0, CT_PING, 0, 1, 0, 0, 0, 0};

	(void)state;
	assert_int_equal(control_header_decode(huge, &h, &e), -EBADMSG);
	assert_int_equal(control_header_decode(unknown, &h, &e), -EBADMSG);
	assert_int_equal(control_header_decode(zero, &h, &e), -EBADMSG);
	assert_int_equal(control_header_decode(reserved, &h, &e), -EBADMSG);
	assert_int_equal(control_header_decode(too_long, &h, &e), -EBADMSG);
	assert_int_equal(control_header_decode(optional, &h, &e), 0);
	assert_true(h.ignore && h.length == 9);
	assert_string_equal(control_type_name(CT_COMMIT), "COMMIT");
	assert_string_equal(control_type_name(0), "?");
}

static void hello_is_checked(void **state)
{
	static uint8_t buf[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX];
	struct control_msg in = sample(CT_HELLO), out;

	(void)state;
	in.hello.version_low = 4; /* above the highest */
	assert_true(control_encode(&in, buf, sizeof(buf)) > 0);
	assert_int_equal(decode(buf, sizeof(buf), &out), -EBADMSG);
	in = sample(CT_HELLO);
	in.hello.n_channels = XFER_CHANNELS_MAX + 1;
	control_encode(&in, buf, sizeof(buf));
	assert_int_equal(decode(buf, sizeof(buf), &out), -EBADMSG);
	in = sample(CT_HELLO);
	in.hello.blocks[1].bytes = 4095;
	control_encode(&in, buf, sizeof(buf));
	assert_int_equal(decode(buf, sizeof(buf), &out), -EBADMSG);
	in = sample(CT_HELLO);
	in.hello.blocks[0].page_bytes = 0;
	control_encode(&in, buf, sizeof(buf));
	assert_int_equal(decode(buf, sizeof(buf), &out), -EBADMSG);
	in = sample(CT_HELLO);
	in.hello.n_blocks = 0;
	control_encode(&in, buf, sizeof(buf));
	assert_int_equal(decode(buf, sizeof(buf), &out), -EBADMSG);
}

/* Octets as docs/wire.md has them, of the version that had no octet for codecs and of the one that has. */
static void welcome_of_both_versions(void **state)
{
	static const uint8_t one[] = {0, 2, 0, 0, 0, 0, 0, 9, 0, 1, 0, 3, 0, 3, '7', '.', '2'};
	static const uint8_t two[] = {0, 2, 0, 0, 0, 0, 0, 10, 0, 2, 0, 3, 0, 3, '7', '.', '2', 6};
	uint8_t buf[64];
	struct control_msg out;

	(void)state;
	assert_int_equal(decode(one, sizeof(one), &out), 0);
	assert_int_equal(out.welcome.version, 1);
	assert_int_equal(out.welcome.n_channels, 3);
	assert_int_equal(out.welcome.codecs, 2); /* lz4: all that version 1 had */
	out.welcome.codecs = 6;
	assert_int_equal(control_encode(&out, buf, sizeof(buf)), sizeof(one));
	assert_memory_equal(buf, one, sizeof(one));
	assert_int_equal(decode(two, sizeof(two), &out), 0);
	assert_int_equal(out.welcome.codecs, 6);
	assert_int_equal(control_encode(&out, buf, sizeof(buf)), sizeof(two));
	assert_memory_equal(buf, two, sizeof(two));
}

static void versions(void **state)
{
	static const struct {
		uint16_t low, high, chosen; /* 0: none */
	} cases[] = {{1, 1, 1}, {1, 2, 2}, {2, 2, 2}, {1, 9, 2}, {2, 9, 2}, {0, 1, 1}, {3, 9, 0}, {0, 0, 0},
		{65535, 65535, 0}};
	uint16_t v;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		v = 0;
		memset(&e, 0, sizeof(e));
		assert_int_equal(control_version_choose(cases[i].low, cases[i].high, &v, &e),
			cases[i].chosen ? 0 : -EPROTONOSUPPORT);
		assert_int_equal(v, cases[i].chosen);
		assert_true(!e.code == !!cases[i].chosen);
	}
	assert_non_null(strstr(e.msg, "versions 65535 to 65535"));
	assert_int_equal(control_version_check(0, &e), -EPROTONOSUPPORT);
	assert_int_equal(control_version_check(1, &e), 0);
	assert_int_equal(control_version_check(2, &e), 0);
	assert_int_equal(control_version_check(3, &e), -EPROTONOSUPPORT);
}

/* Damage single octets of good frames: decoded or refused, never read beyond (address sanitizer), and what decodes encodes again. */
static void damaged(void **state)
{
	static uint8_t buf[CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX], again[sizeof(buf)];

	(void)state;
	srand(4);
	for (unsigned round = 0; round < 200000; round++) {
		enum control_type t = CT_HELLO + (unsigned)rand() % (CT_COUNT - CT_HELLO);
		struct control_msg in = sample(t == 3 ? CT_NOTE : t), out;
		struct control_header h;
		struct err e = {0};
		size_t n = (size_t)control_encode(&in, buf, sizeof(buf));
		uint8_t *exact;

		for (int k = rand() % 3 + 1; k > 0; k--)
			buf[(size_t)rand() % n] = (uint8_t)rand();
		if (control_header_decode(buf, &h, &e) != 0 || h.ignore)
			continue;
		if (h.length > n - CONTROL_HEADER_BYTES)
			h.length = (uint32_t)(n - CONTROL_HEADER_BYTES);
		exact = malloc(h.length + 1);
		memcpy(exact, buf + CONTROL_HEADER_BYTES, h.length);
		exact = realloc(exact, h.length ? h.length : 1);
		if (control_decode(&h, exact, &out, &e) == 0)
			assert_true(control_encode(&out, again, sizeof(again)) > 0);
		else
			assert_true(e.code != 0);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(wrong_lengths),
		cmocka_unit_test(headers),
		cmocka_unit_test(hello_is_checked),
		cmocka_unit_test(welcome_of_both_versions),
		cmocka_unit_test(versions),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
