/* The wire as docs/wire.md has it: known octets, and whole recorded streams given to tests/lib/wirecheck.py, which was written from the text alone.
 * And that the checker finds what is wrong: a checker that says yes to everything would prove nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/postcopy.h"
#include "migrate/wire.h"
#include "tests/unit/support/xfer_rig.h"

#define MIB (1ULL << 20)

static void known_octets(void **state)
{
	const struct wire_header h = {
		.type = WIRE_DATA, .flags = WIRE_LZ4, .count = 2, .length = 0x01020, .round = 7, .block = 1};
	const uint8_t want[16] = {2, 1, 0, 2, 0, 0, 0x10, 0x20, 0, 0, 0, 7, 0, 1, 0, 0};
	const struct wire_run runs[2] = {{0x01020304, 3}, {0x01020308, 61}};
	const uint8_t want_runs[16] = {1, 2, 3, 4, 0, 0, 0, 3, 1, 2, 3, 8, 0, 0, 0, 61};
	struct wire_run back[WIRE_RUNS_MAX];
	struct wire_header h2;
	struct err e = {0};
	uint8_t buf[16];
	uint64_t n;

	(void)state;
	wire_header_encode(&h, buf);
	assert_memory_equal(buf, want, 16);
	assert_int_equal(wire_header_decode(want, &h2, &e), 0);
	memset(buf, 0xff, sizeof(buf));
	wire_header_encode(&h2, buf);
	assert_memory_equal(buf, want, 16);
	wire_runs_encode(runs, 2, buf);
	assert_memory_equal(buf, want_runs, 16);
	assert_int_equal(wire_runs_decode(&h, buf, 0x01020308 + 61, back, &n, &e), 0);
	assert_int_equal(n, 64);
	assert_memory_equal(runs, back, sizeof(runs));
	assert_int_equal(wire_runs_decode(&h, buf, 0x01020308 + 60, back, &n, &e), -EPROTO);
}

/* ---- recording ------------------------------------------------------------------------------------------------ */

struct recorder {
	struct tls_conn *conn;
	char path[128];
	pthread_t thread;
	struct err e;
};

/* A target that only writes down what comes and answers barriers. */
static void *record(void *arg)
{
	struct recorder *r = arg;
	uint8_t *buf = malloc(WIRE_HEADER_BYTES + WIRE_BODY_MAX);
	FILE *f = fopen(r->path, "w");
	struct wire_header h = {0};
	int ret = 0;

	while (!ret && !(h.type == WIRE_BARRIER && h.flags)) {
		ret = tls_read(r->conn, buf, WIRE_HEADER_BYTES, &r->e);
		if (!ret)
			ret = wire_header_decode(buf, &h, &r->e);
		if (!ret && h.length)
			ret = tls_read(r->conn, buf + WIRE_HEADER_BYTES, h.length, &r->e);
		if (ret)
			break;
		fwrite(buf, 1, WIRE_HEADER_BYTES + h.length, f);
		if (h.type != WIRE_BARRIER)
			continue;
		buf[0] = WIRE_LANDED; /* the same body and flags */
		ret = tls_write(r->conn, buf, WIRE_HEADER_BYTES + h.length, &r->e);
	}
	fclose(f);
	free(buf);
	return NULL;
}

struct recording {
	struct xfer_rig rig;
	struct recorder rec[3];
	uint8_t root[XFER_DIGEST_BYTES];
};

/* Three channels, four rounds, all kinds of pages. */
static void make_rounds(struct recording *k, unsigned seed, bool postpone)
{
	const uint64_t sizes[] = {3 * MIB, 1 * MIB};
	struct xfer_stats st;
	struct err e = {0};

	rig_init(&k->rig, sizes, 2, 3);
	k->rig.codecs = seed % 2 ? CODEC_ALL : CODEC_ZSTD;
	for (int i = 0; i < 3; i++) {
		k->rec[i] = (struct recorder){.conn = k->rig.in[i]};
		snprintf(k->rec[i].path, sizeof(k->rec[i].path), "%s/stream.%d", k->rig.dir, i);
		assert_int_equal(pthread_create(&k->rec[i].thread, NULL, record, &k->rec[i]), 0);
	}
	for (int i = 0; i < 700; i++)
		rig_write(&k->rig, i % 3 == 2, (uint64_t)rand_r(&seed) % 256 * (i % 3 == 2 ? 1 : 3),
			(enum fill)(i % FILLS), &seed);
	atomic_store(&k->rig.tx_limits.bandwidth_bps, 30 * MIB);
	rig_start_tx(&k->rig);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 60; i++)
			rig_write(&k->rig, i % 2, (uint64_t)rand_r(&seed) % 256, (enum fill)(rand_r(&seed) % FILLS),
				&seed);
		rig_punch(&k->rig, 0, (uint64_t)rand_r(&seed) % 700, 20);
		if (postpone && round == 3)
			xfer_tx_postpone(k->rig.tx);
		if (xfer_tx_round(k->rig.tx, round == 3, &st, &e))
			fail_msg("%s", e.msg);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(k->rec[i].thread, NULL);
		assert_int_equal(k->rec[i].e.code, 0);
	}
	xfer_tx_digest(k->rig.tx, k->root);
}

static void make_recording(struct recording *k, unsigned seed)
{
	make_rounds(k, seed, false);
}

/* ---- post-copy: what follows the last round on channel 0 ---- */

struct rest {
	struct recorder *rec;
	uint64_t left; /* pages */
};

/* The list, then so many pages. */
static void *record_rest(void *arg)
{
	struct rest *r = arg;
	uint8_t *buf = malloc(WIRE_HEADER_BYTES + WIRE_BODY_MAX);
	FILE *f = fopen(r->rec->path, "a");
	struct wire_run runs[WIRE_RUNS_MAX];
	struct wire_header h;
	uint64_t n;
	int ret = 0;

	while (!ret && r->left) {
		ret = tls_read(r->rec->conn, buf, WIRE_HEADER_BYTES, &r->rec->e);
		if (!ret)
			ret = wire_header_decode(buf, &h, &r->rec->e);
		if (!ret && h.length)
			ret = tls_read(r->rec->conn, buf + WIRE_HEADER_BYTES, h.length, &r->rec->e);
		if (!ret)
			fwrite(buf, 1, WIRE_HEADER_BYTES + h.length, f);
		if (ret || (h.type != WIRE_DATA && h.type != WIRE_ZERO))
			continue;
		ret = wire_runs_decode(&h, buf + WIRE_HEADER_BYTES, 1 << 20, runs, &n, &r->rec->e);
		r->left -= n < r->left ? n : r->left;
	}
	fclose(f);
	free(buf);
	return NULL;
}

static void ignore_end(void *arg)
{
	(void)arg;
}

/* make_recording's, but the last round postpones what is dirty, zeros among it. */
static void make_postcopy_recording(struct recording *k, unsigned seed)
{
	struct rest rest = {.rec = &k->rec[0]};
	struct bitmap todo[RAM_BLOCKS_MAX] = {0};
	struct postcopy_tx *ptx;
	struct postcopy_conf conf;
	struct err e = {0};
	pthread_t thread;

	make_rounds(k, seed, true);
	xfer_tx_take_postponed(k->rig.tx, todo);
	for (unsigned b = 0; b < k->rig.n_blocks; b++)
		rest.left += bitmap_count(&todo[b]);
	assert_true(rest.left > 20);
	assert_int_equal(pthread_create(&thread, NULL, record_rest, &rest), 0);
	conf = (struct postcopy_conf){.conn = k->rig.out[0], .limits = &k->rig.tx_limits, .on_end = ignore_end};
	assert_int_equal(postcopy_send_list(conf.conn, todo, k->rig.n_blocks, &e), 0);
	assert_int_equal(postcopy_tx_start(&conf, k->rig.src, k->rig.n_blocks, todo, &ptx, &e), 0);
	pthread_join(thread, NULL);
	assert_true(rest.left == 0 && k->rec[0].e.code == 0);
	postcopy_tx_free(ptx);
	for (unsigned b = 0; b < RAM_BLOCKS_MAX; b++)
		bitmap_fini(&todo[b]);
}

static int run_checker(const struct recording *k)
{
	char cmd[2048], hex[XFER_DIGEST_BYTES * 2 + 1];
	int status;

	for (int i = 0; i < XFER_DIGEST_BYTES; i++)
		sprintf(hex + 2 * i, "%02x", k->root[i]);
	snprintf(cmd, sizeof(cmd), "python3 -B tests/lib/wirecheck.py --root %s --block %s --block %s %s %s %s", hex,
		k->rig.src[0].path, k->rig.src[1].path, k->rec[0].path, k->rec[1].path, k->rec[2].path);
	fflush(stdout);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void recorded_stream_is_as_documented(void **state)
{
	struct recording k;

	(void)state;
	assert_int_equal(access("tests/lib/wirecheck.py", R_OK), 0); /* run it from the project's folder */
	for (unsigned seed = 1; seed < 3; seed++) {
		make_recording(&k, seed);
		assert_int_equal(run_checker(&k), 0);
		rig_fini(&k.rig);
	}
}

static void damage(const char *path, long at, uint8_t flip);

static void postcopy_is_as_documented(void **state)
{
	struct recording k;
	struct stat st;

	(void)state;
	make_postcopy_recording(&k, 11);
	assert_int_equal(run_checker(&k), 0);
	assert_int_equal(stat(k.rec[0].path, &st), 0);
	damage(k.rec[0].path, st.st_size - 7, 1); /* an octet of the last page */
	assert_int_equal(run_checker(&k), 1);
	damage(k.rec[0].path, st.st_size - 7, 1);
	assert_int_equal(run_checker(&k), 0);
	assert_int_equal(truncate(k.rec[0].path, st.st_size - 1), 0); /* it does not come whole */
	assert_int_equal(run_checker(&k), 1);
	rig_fini(&k.rig);
}

static void damage(const char *path, long at, uint8_t flip)
{
	FILE *f = fopen(path, "r+");
	int c;

	assert_non_null(f);
	fseek(f, at, SEEK_SET);
	c = fgetc(f);
	fseek(f, at, SEEK_SET);
	fputc(c ^ flip, f);
	fclose(f);
}

static void checker_finds_mistakes(void **state)
{
	unsigned seed = 9;
	struct recording k;

	(void)state;
	make_recording(&k, 5);
	assert_int_equal(run_checker(&k), 0);
	k.root[3] ^= 1; /* another root */
	assert_int_equal(run_checker(&k), 1);
	k.root[3] ^= 1;
	rig_write(&k.rig, 1, 17, FILL_RANDOM, &seed); /* a page that was not sent */
	assert_int_equal(run_checker(&k), 1);
	damage(k.rec[1].path, 16 + 16 + 16 + 100, 4); /* content, or a run */
	assert_int_equal(run_checker(&k), 1);
	damage(k.rec[0].path, 16 + 16 + 11, 1); /* the round of the first record after GEOMETRY */
	assert_int_equal(run_checker(&k), 1);
	rig_fini(&k.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_octets),
		cmocka_unit_test(recorded_stream_is_as_documented),
		cmocka_unit_test(postcopy_is_as_documented),
		cmocka_unit_test(checker_finds_mistakes),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
