/* make bench-xfer: the data plane alone, beside what this machine can do at best in the same run.
 *
 * For each kind of RAM a source and a target process (real TLS over loopback, RAM files on /dev/shm) move it in one round; printed are MB of
 * guest RAM a second, and CPU seconds per GiB at either end. Before that, in the same run, what each part costs one thread alone: so a figure
 * on a busy machine still says which part grew. Medians. Compare two builds by their CPU seconds and ratios, never by wall time of two runs.
 *
 *   bench_xfer [-m MIB] [-r RUNS] [-c CHANNELS] [-b LIMIT_MB_S] [-l (lz4 allowed)] [-t (transfers only)] [-o FILE.json] [KIND...]     KIND: half random zero */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <lz4.h>
#include <openssl/evp.h>

#include "migrate/codec.h"
#include "migrate/digest.h"
#include "migrate/ram_io.h"
#include "migrate/wire.h"
#include "migrate/xfer.h"
#include "tests/unit/support/certs.h"
#include "tests/unit/support/tracker_fake.h"

#define CHUNK WIRE_CONTENT_MAX
#define RUNS_MAX 32
#define TIMEOUT_MS 10000

enum kind { HALF, RANDOM, ZERO, N_KINDS };
static const char *const kinds[] = {"half", "random", "zero"};

struct bench {
	uint64_t bytes;
	unsigned runs, n_channels;
	uint64_t limit_bps;
	bool compress, no_parts;
	char dir[64], certs[64];
	struct ram_block src, dst;
};

struct sample {                                            /* of one transfer */
	double seconds, wire_bytes, cpu_tx, cpu_rx, waits; /* waits: how often a thread had to sleep, both ends */
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_xfer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* ---- data ------------------------------------------------------------------------------------------------- */

/* As the test guest's own pages: half = 64 octets of chance, 64 of the same. */
static void page_fill(uint64_t *w, enum kind kind, uint64_t *seed)
{
	for (unsigned i = 0; i < WIRE_PAGE_BYTES / 8; i++) {
		*seed = *seed * 6364136223846793005ULL + 1;
		w[i] = kind == ZERO ? 0 : kind == RANDOM || !(i & 8) ? *seed ^ *seed >> 29 : 0x2020202020202020ULL;
	}
}

static int ram_file(struct ram_block *b, const char *dir, const char *name, uint64_t bytes)
{
	int fd;

	*b = (struct ram_block){.bytes = bytes, .page_bytes = WIRE_PAGE_BYTES};
	snprintf(b->path, sizeof(b->path), "%s/%s", dir, name);
	unlink(b->path);
	fd = open(b->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0 && !ftruncate(fd, (off_t)bytes), b->path);
	return fd;
}

static void fill(struct bench *b, enum kind kind)
{
	int fd = ram_file(&b->src, b->dir, "src", b->bytes);
	uint64_t *p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), seed = 42;

	must(p != MAP_FAILED, "mmap");
	for (uint64_t i = 0; i < b->bytes / WIRE_PAGE_BYTES; i++)
		page_fill(p + i * WIRE_PAGE_BYTES / 8, kind, &seed);
	munmap(p, b->bytes);
	close(fd);
}

/* ---- the parts, one thread --------------------------------------------------------------------------------- */

struct part {
	const char *name;
	void (*run)(struct bench *b, uint8_t *chunk, uint8_t *out);
};

static volatile uint64_t sink; /* what is computed must not be optimised away */

static void each_chunk(const struct bench *b, int fd, uint8_t *buf, bool write)
{
	for (uint64_t off = 0; off < b->bytes; off += CHUNK)
		must((write ? pwrite(fd, buf, CHUNK, (off_t)off) : pread(fd, buf, CHUNK, (off_t)off)) == CHUNK,
			"RAM file");
}

static void part_read(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = open(b->src.path, O_RDONLY | O_CLOEXEC);

	(void)chunk;
	each_chunk(b, fd, out, false);
	close(fd);
}

static void part_zero_test(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	memset(out, 0, CHUNK);
	for (uint64_t n = 0; n < b->bytes; n += WIRE_PAGE_BYTES)
		sink += page_is_zero(out + n % CHUNK);
	(void)chunk;
}

static void part_digest(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	(void)out;
	for (uint64_t n = 0; n < b->bytes; n += WIRE_PAGE_BYTES)
		sink += page_digest(chunk + n % CHUNK);
}

static void part_pack(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	for (uint64_t n = 0; n < b->bytes; n += CHUNK)
		sink += (uint64_t)LZ4_compress_default((char *)chunk, (char *)out, CHUNK, CHUNK - CHUNK / 16);
}

static void part_unpack(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	char *packed = malloc(LZ4_COMPRESSBOUND(CHUNK));
	int n = LZ4_compress_default((char *)chunk, packed, CHUNK, LZ4_COMPRESSBOUND(CHUNK));

	for (uint64_t i = 0; i < b->bytes; i += CHUNK)
		sink += (uint64_t)LZ4_decompress_safe(packed, (char *)out, n, CHUNK);
	free(packed);
}

static void part_encrypt(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t key[16] = {1}, iv[12] = {2}, tag[16];
	int len;

	EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, iv);
	for (uint64_t n = 0; n < b->bytes; n += 16384) {
		EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, iv);
		EVP_EncryptUpdate(ctx, out, &len, chunk + n % CHUNK, 16384);
		EVP_EncryptFinal_ex(ctx, out + len, &len);
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag);
	}
	EVP_CIPHER_CTX_free(ctx);
}

static void part_write_fresh(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = ram_file(&b->dst, b->dir, "dst", b->bytes);

	(void)out;
	each_chunk(b, fd, chunk, true);
	close(fd);
}

/* After part_write_fresh: the same file again. */
static void part_write_again(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = open(b->dst.path, O_RDWR | O_CLOEXEC);

	(void)out;
	each_chunk(b, fd, chunk, true);
	close(fd);
}

static void part_allocate(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = ram_file(&b->dst, b->dir, "dst", b->bytes);

	(void)chunk, (void)out;
	must(!fallocate(fd, 0, 0, (off_t)b->bytes), "fallocate");
	close(fd);
}

/* After part_allocate: map what is allocated. */
static void part_map(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = open(b->dst.path, O_RDWR | O_CLOEXEC);
	void *p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	(void)chunk, (void)out;
	must(p != MAP_FAILED, "mmap");
	munmap(p, b->bytes);
	close(fd);
}

static void part_copy(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = open(b->dst.path, O_RDWR | O_CLOEXEC);
	static uint8_t *p;

	(void)out;
	p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	for (uint64_t n = 0; n < b->bytes; n += CHUNK)
		memcpy(p + n, chunk, CHUNK);
	munmap(p, b->bytes);
	close(fd);
}

/* A fresh file through a mapping: allocate and map a chunk in one call, then copy. */
static void part_place_fresh(struct bench *b, uint8_t *chunk, uint8_t *out)
{
	int fd = ram_file(&b->dst, b->dir, "dst", b->bytes);
	uint8_t *p = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	(void)out;
	for (uint64_t n = 0; n < b->bytes; n += CHUNK) {
		must(!madvise(p + n, CHUNK, MADV_POPULATE_WRITE), "populate");
		memcpy(p + n, chunk, CHUNK);
	}
	munmap(p, b->bytes);
	close(fd);
}

static const struct part parts[] = {
	{"read", part_read},
	{"zero-test", part_zero_test},
	{"digest", part_digest},
	{"lz4", part_pack},
	{"un-lz4", part_unpack},
	{"aes-gcm", part_encrypt},
	{"write-fresh", part_write_fresh},
	{"write-again", part_write_again},
	{"place-fresh", part_place_fresh},
	{"allocate", part_allocate},
	{"map", part_map},
	{"map+copy", part_copy},
};

/* CPU seconds per GiB of each part, on this kind of data. */
static void measure_parts(struct bench *b, enum kind kind, FILE *json)
{
	uint8_t *chunk = aligned_alloc(4096, CHUNK), *out = aligned_alloc(4096, 2 * CHUNK);
	double s[RUNS_MAX];
	uint64_t seed = 7;

	for (unsigned i = 0; i < WIRE_PAGES_MAX; i++)
		page_fill((uint64_t *)(void *)(chunk + i * WIRE_PAGE_BYTES), kind, &seed);
	printf("  parts, CPU s/GiB on one thread:");
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (unsigned r = 0; r < b->runs; r++) {
			double t0 = now_s(CLOCK_PROCESS_CPUTIME_ID);

			parts[i].run(b, chunk, out);
			s[r] = (now_s(CLOCK_PROCESS_CPUTIME_ID) - t0) / (double)b->bytes * (1 << 30);
		}
		printf(" %s %.3f", parts[i].name, median(s, b->runs));
		fprintf(json, "%s\"%s\": %.4f", i ? ", " : "", parts[i].name, median(s, b->runs));
	}
	printf("\n");
	free(chunk);
	free(out);
}

/* ---- processes --------------------------------------------------------------------------------------------- */

static int listen_on(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(fd >= 0 && !bind(fd, (struct sockaddr *)at, sizeof(*at)) && !listen(fd, 16) &&
			!getsockname(fd, (struct sockaddr *)at, &len),
		"listen");
	return fd;
}

static int connect_to(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && !connect(fd, (const struct sockaddr *)at, sizeof(*at)), "connect");
	return fd;
}

static void fail(const char *side, const struct err *e)
{
	fprintf(stderr, "bench_xfer: %s: %s\n", side, e->msg);
	_exit(1);
}

struct figures { /* what one end reports: CPU and waits of the transfer alone, without the start of the process and the handshakes */
	double seconds, wire_bytes, cpu, waits;
};

static void use_now(struct figures *f)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	f->cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - f->cpu;
	f->waits = (double)use.ru_nvcsw - f->waits;
	f->seconds = now_s(CLOCK_MONOTONIC) - f->seconds;
}

static void run_target(struct bench *b, int listener, int report)
{
	struct tls_ctx *ctx = cert_ctx(b->certs, "beta");
	struct xfer_limits limits = {0};
	struct xfer_rx_conf conf = {.blocks = &b->dst, .n_blocks = 1, .n_channels = b->n_channels, .limits = &limits};
	struct xfer_stats st;
	struct xfer_rx *rx;
	struct err e = {0};
	struct figures f = {0};
	bool last;

	prctl(PR_SET_NAME, "bench-target"); /* for perf */
	for (unsigned i = 0; i < b->n_channels; i++)
		if (tls_accept(ctx, accept(listener, NULL, NULL), "alpha", TIMEOUT_MS, &conf.channels[i], &e))
			fail("target", &e);
	use_now(&f);
	if (xfer_rx_open(&conf, &rx, &e) || xfer_rx_round(rx, &last, &st, &e))
		fail("target", &e);
	use_now(&f);
	must(write(report, &f, sizeof(f)) == sizeof(f), "report");
	_exit(0);
}

static void run_source(struct bench *b, const struct sockaddr_in *at, int report)
{
	struct tls_ctx *ctx = cert_ctx(b->certs, "alpha");
	struct xfer_limits limits = {.bandwidth_bps = b->limit_bps};
	struct tracker_fake fake;
	struct tracker tracker;
	struct xfer_tx_conf conf = {.blocks = &b->src,
		.n_blocks = 1,
		.n_channels = b->n_channels,
		.tracker = &tracker,
		.limits = &limits,
		.codecs = b->compress ? CODEC_ALL : 0};
	struct xfer_stats st;
	struct xfer_tx *tx;
	struct err e = {0};
	struct figures f = {0};

	prctl(PR_SET_NAME, "bench-source"); /* for perf */
	tracker_fake_init(&fake, &b->src, 1, &tracker);
	for (unsigned i = 0; i < b->n_channels; i++)
		if (tls_connect(ctx, connect_to(at), "beta", TIMEOUT_MS, &conf.channels[i], &e))
			fail("source", &e);
	use_now(&f);
	if (xfer_tx_open(&conf, &tx, &e) || xfer_tx_round(tx, true, &st, &e))
		fail("source", &e);
	use_now(&f);
	f.wire_bytes = (double)st.wire_bytes;
	must(write(report, &f, sizeof(f)) == sizeof(f), "report");
	_exit(0);
}

static double reap(pid_t pid, double *waits)
{
	struct rusage use;
	int status;

	must(wait4(pid, &status, 0, &use) == pid && WIFEXITED(status) && !WEXITSTATUS(status), "a process failed");
	if (waits)
		*waits += (double)use.ru_nvcsw;
	return (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6 + (double)use.ru_stime.tv_sec +
		(double)use.ru_stime.tv_usec / 1e6;
}

static void transfer(struct bench *b, struct sample *out)
{
	struct sockaddr_in at;
	int listener = listen_on(&at), tx_report[2], rx_report[2];
	struct figures tx, rx;
	pid_t source, target;

	close(ram_file(&b->dst, b->dir, "dst", b->bytes));
	must(!pipe(tx_report) && !pipe(rx_report), "pipe");
	fflush(stdout);
	target = fork();
	if (!target)
		run_target(b, listener, rx_report[1]);
	source = fork();
	if (!source)
		run_source(b, &at, tx_report[1]);
	close(tx_report[1]);
	close(rx_report[1]);
	must(read(tx_report[0], &tx, sizeof(tx)) == sizeof(tx), "the source failed");
	must(read(rx_report[0], &rx, sizeof(rx)) == sizeof(rx), "the target failed");
	reap(source, NULL);
	reap(target, NULL);
	*out = (struct sample){.seconds = tx.seconds,
		.wire_bytes = tx.wire_bytes,
		.cpu_tx = tx.cpu,
		.cpu_rx = rx.cpu,
		.waits = tx.waits + rx.waits};
	close(tx_report[0]);
	close(rx_report[0]);
	close(listener);
}

/* As many octets over plain loopback TCP, two processes, CHUNK at a time: seconds; CPU of both in @cpu_out. */
static double raw_tcp(const struct bench *b, double *cpu_out, double *waits)
{
	uint8_t *buf = calloc(1, CHUNK);
	struct sockaddr_in at;
	int listener = listen_on(&at), fd;
	double t0 = now_s(CLOCK_MONOTONIC), s;
	pid_t reader, writer;

	reader = fork();
	if (!reader) {
		fd = accept(listener, NULL, NULL);
		while (recv(fd, buf, CHUNK, 0) > 0)
			;
		_exit(0);
	}
	writer = fork();
	if (!writer) {
		fd = connect_to(&at);
		for (uint64_t n = 0; n < b->bytes; n += CHUNK)
			must(send(fd, buf, CHUNK, 0) == CHUNK, "send");
		_exit(0);
	}
	*waits = 0;
	*cpu_out = reap(writer, waits);
	*cpu_out += reap(reader, waits);
	s = now_s(CLOCK_MONOTONIC) - t0;
	close(listener);
	free(buf);
	return s;
}

/* ---- report ------------------------------------------------------------------------------------------------ */

static void measure_kind(struct bench *b, enum kind kind, FILE *json)
{
	double mb_s[RUNS_MAX], tx[RUNS_MAX], rx[RUNS_MAX], tcp[RUNS_MAX], tcp_cpu[RUNS_MAX], w[RUNS_MAX],
		tcp_w[RUNS_MAX], gib = (double)b->bytes / (1 << 30);
	struct sample s = {0};

	printf("%s, %lu MiB, %u channels%s\n", kinds[kind], (unsigned long)(b->bytes >> 20), b->n_channels,
		b->compress ? ", lz4 allowed" : "");
	fill(b, kind);
	fprintf(json, "\"%s\": {\"parts_cpu_s_gib\": {", kinds[kind]);
	if (!b->no_parts)
		measure_parts(b, kind, json);
	transfer(b, &s); /* warm-up */
	for (unsigned r = 0; r < b->runs; r++) {
		transfer(b, &s);
		mb_s[r] = (double)b->bytes / s.seconds / 1e6;
		tx[r] = s.cpu_tx / gib;
		rx[r] = s.cpu_rx / gib;
		tcp[r] = (double)b->bytes / raw_tcp(b, &tcp_cpu[r], &tcp_w[r]) / 1e6;
		w[r] = s.waits / gib;
		tcp_w[r] /= gib;
		tcp_cpu[r] /= gib;
	}
	printf("  %.0f MB/s (%.0f..%.0f), wire %.2f; CPU s/GiB source %.3f, target %.3f, both %.3f, waits %.0f; plain TCP %.0f MB/s, both %.3f, waits %.0f\n",
		median(mb_s, b->runs), mb_s[0], mb_s[b->runs - 1], s.wire_bytes / (double)b->bytes, median(tx, b->runs),
		median(rx, b->runs), median(tx, b->runs) + median(rx, b->runs), median(w, b->runs),
		median(tcp, b->runs), median(tcp_cpu, b->runs), median(tcp_w, b->runs));
	fprintf(json,
		"}, \"mb_s\": %.1f, \"wire_ratio\": %.4f, \"cpu_tx_s_gib\": %.4f, \"cpu_rx_s_gib\": %.4f, \"tcp_mb_s\": %.1f, \"tcp_cpu_s_gib\": %.4f}",
		median(mb_s, b->runs), s.wire_bytes / (double)b->bytes, median(tx, b->runs), median(rx, b->runs),
		median(tcp, b->runs), median(tcp_cpu, b->runs));
}

static bool wanted(enum kind kind, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], kinds[kind]))
			return true;
	return argc == 0;
}

int main(int argc, char **argv)
{
	struct bench b = {.bytes = 512ULL << 20, .runs = 5, .n_channels = 2, .dir = "/dev/shm/ballast-bench-XXXXXX"};
	const char *out = "/dev/null";
	FILE *json;
	bool first = true;
	int opt;

	while ((opt = getopt(argc, argv, "m:r:c:b:lto:")) != -1) {
		if (opt == 'm')
			b.bytes = strtoull(optarg, NULL, 10) << 20;
		else if (opt == 'r')
			b.runs = (unsigned)atoi(optarg);
		else if (opt == 'c')
			b.n_channels = (unsigned)atoi(optarg);
		else if (opt == 'b')
			b.limit_bps = strtoull(optarg, NULL, 10) * 1000000;
		else if (opt == 'l')
			b.compress = true;
		else if (opt == 't')
			b.no_parts = true;
		else if (opt == 'o')
			out = optarg;
		else
			return 2;
	}
	if (!b.bytes || b.runs < 1 || b.runs > RUNS_MAX || b.n_channels < 1 || b.n_channels > XFER_CHANNELS_MAX)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	must(mkdtemp(b.dir) != NULL, b.dir);
	cert_pair(b.certs, "alpha", "beta");
	json = fopen(out, "w");
	must(json != NULL, out);
	fputc('{', json);
	for (enum kind k = 0; k < N_KINDS; k++)
		if (wanted(k, argc - optind, argv + optind)) {
			fputs(first ? "" : ",\n ", json);
			first = false;
			measure_kind(&b, k, json);
		}
	fputs("}\n", json);
	fclose(json);
	remove_tree(b.dir);
	remove_tree(b.certs);
	return 0;
}
