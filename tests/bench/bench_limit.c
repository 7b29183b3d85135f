/* What this machine could do at best, for bench_migrate.py to compare with: run between the moves, in the same run.
 *
 *   bench_limit parts DIR MIB CHANNELS     one JSON line: loopback TCP, writing fresh shared memory, AES-128-GCM, each alone (MB/s, one
 *                                          pair or one thread), and "copy": all of them together and nothing else, two processes of CHANNELS
 *                                          threads: read a file of shared memory, encrypt, send; receive, decrypt, write into a fresh file
 *   bench_limit listen ADDRESS             print a port, take what comes until it ends, answer with one octet
 *   bench_limit send ADDRESS PORT MIB      plain TCP to such a listener; prints MB/s
 *   bench_limit punch FILE                 make holes of the pages of zeros in a RAM file (its guest must stand), as free-page reporting does */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <openssl/evp.h>

#include "migrate/digest.h"

#define PAGE 4096
#define CHUNK (256u << 10)
#define RECORD (16u << 10)
#define TAG 16
#define CHANNELS_MAX 16

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_limit: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- sockets ---------------------------------------------------------------------------------------------- */

static int listen_on(const char *address, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET};
	must(inet_pton(AF_INET, address, &at->sin_addr) == 1, address);
	must(fd >= 0 && !bind(fd, (struct sockaddr *)at, sizeof(*at)) && !listen(fd, CHANNELS_MAX) &&
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

static void send_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL);

		must(done > 0, "send");
		p += done, n -= (size_t)done;
	}
}

/* Take all that comes on one connection, and say so. */
static void drink(int listener)
{
	static uint8_t buf[CHUNK];
	int fd = accept(listener, NULL, NULL);

	must(fd >= 0, "accept");
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	send_all(fd, (const uint8_t *)"!", 1);
	close(fd);
}

/* MB/s until the listener has all of it. */
static double pour(const struct sockaddr_in *at, uint64_t bytes)
{
	static uint8_t buf[CHUNK];
	int fd = connect_to(at);
	double t0 = now_s();

	for (uint64_t n = 0; n < bytes; n += CHUNK)
		send_all(fd, buf, CHUNK);
	must(!shutdown(fd, SHUT_WR) && recv(fd, buf, 1, MSG_WAITALL) == 1, "the listener's answer");
	close(fd);
	return (double)bytes / (now_s() - t0) / 1e6;
}

static double loopback(uint64_t bytes)
{
	struct sockaddr_in at;
	int listener = listen_on("127.0.0.1", &at), status;
	pid_t child = fork();
	double mb_s;

	must(child >= 0, "fork");
	if (!child) {
		drink(listener);
		_exit(0);
	}
	mb_s = pour(&at, bytes);
	must(waitpid(child, &status, 0) == child && !status, "the listener");
	close(listener);
	return mb_s;
}

/* ---- shared memory, AES ----------------------------------------------------------------------------------- */

static int fresh_file(const char *dir, const char *name, uint64_t bytes)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0 && !unlink(path) && !ftruncate(fd, (off_t)bytes), path);
	return fd;
}

static double write_fresh(int fd, uint64_t bytes)
{
	static uint8_t buf[CHUNK];
	double t0 = now_s();

	memset(buf, 0x5a, sizeof(buf));
	for (uint64_t off = 0; off < bytes; off += CHUNK)
		must(pwrite(fd, buf, CHUNK, (off_t)off) == CHUNK, "write");
	return (double)bytes / (now_s() - t0) / 1e6;
}

struct cipher {
	EVP_CIPHER_CTX *ctx;
	uint8_t iv[12];
	bool encrypt;
};

static void cipher_init(struct cipher *c, bool encrypt)
{
	static const uint8_t key[16] = {1};

	*c = (struct cipher){.ctx = EVP_CIPHER_CTX_new(), .iv = {2}, .encrypt = encrypt};
	must(EVP_CipherInit_ex(c->ctx, EVP_aes_128_gcm(), NULL, key, c->iv, encrypt) == 1, "AES-128-GCM");
}

/* One record as TLS would make it: RECORD octets and a tag. */
static void cipher_record(struct cipher *c, const uint8_t *in, uint8_t *out)
{
	int len = 0;
	bool ok;

	ok = EVP_CipherInit_ex(c->ctx, NULL, NULL, NULL, c->iv, c->encrypt) == 1;
	if (!c->encrypt)
		ok &= EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_TAG, TAG, (void *)(uintptr_t)(in + RECORD)) == 1;
	ok &= EVP_CipherUpdate(c->ctx, out, &len, in, RECORD) == 1 && EVP_CipherFinal_ex(c->ctx, out + len, &len) == 1;
	if (c->encrypt)
		ok &= EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + RECORD) == 1;
	must(ok, "AES-128-GCM");
}

static double aes_gcm(uint64_t bytes)
{
	static uint8_t in[CHUNK], out[RECORD + TAG];
	struct cipher c;
	double t0 = now_s();

	cipher_init(&c, true);
	for (uint64_t n = 0; n < bytes; n += RECORD)
		cipher_record(&c, in + n % CHUNK, out);
	EVP_CIPHER_CTX_free(c.ctx);
	return (double)bytes / (now_s() - t0) / 1e6;
}

/* ---- all of it, and nothing else --------------------------------------------------------------------------- */

#define SEALED (CHUNK / RECORD * (RECORD + TAG))

struct lane { /* one thread of either end: every n-th chunk of the file */
	int file, sock;
	uint64_t first, step, bytes;
	pthread_t thread;
};

static void *lane_send(void *arg)
{
	struct lane *l = arg;
	uint8_t *in = aligned_alloc(PAGE, CHUNK), *out = malloc(SEALED);
	struct cipher c;

	cipher_init(&c, true);
	for (uint64_t off = l->first; off < l->bytes; off += l->step) {
		must(pread(l->file, in, CHUNK, (off_t)off) == CHUNK, "read");
		for (unsigned i = 0; i < CHUNK / RECORD; i++)
			cipher_record(&c, in + i * RECORD, out + i * (RECORD + TAG));
		send_all(l->sock, out, SEALED);
	}
	EVP_CIPHER_CTX_free(c.ctx);
	free(in);
	free(out);
	return NULL;
}

static void *lane_receive(void *arg)
{
	struct lane *l = arg;
	uint8_t *in = malloc(SEALED), *out = aligned_alloc(PAGE, CHUNK);
	struct cipher c;

	cipher_init(&c, false);
	for (uint64_t off = l->first; off < l->bytes; off += l->step) {
		must(recv(l->sock, in, SEALED, MSG_WAITALL) == SEALED, "receive");
		for (unsigned i = 0; i < CHUNK / RECORD; i++)
			cipher_record(&c, in + i * (RECORD + TAG), out + i * RECORD);
		must(pwrite(l->file, out, CHUNK, (off_t)off) == CHUNK, "write");
	}
	EVP_CIPHER_CTX_free(c.ctx);
	free(in);
	free(out);
	return NULL;
}

static void lanes_run(struct lane *lanes, unsigned n, void *(*run)(void *))
{
	for (unsigned i = 0; i < n; i++)
		must(!pthread_create(&lanes[i].thread, NULL, run, &lanes[i]), "thread");
	for (unsigned i = 0; i < n; i++)
		pthread_join(lanes[i].thread, NULL);
}

static double copy(int from, int to, uint64_t bytes, unsigned n)
{
	struct lane lanes[CHANNELS_MAX];
	struct sockaddr_in at;
	int listener = listen_on("127.0.0.1", &at), status;
	pid_t child = fork();
	double t0 = now_s();

	must(child >= 0, "fork");
	for (unsigned i = 0; i < n; i++)
		lanes[i] = (struct lane){.file = child ? from : to,
			.first = (uint64_t)i * CHUNK,
			.step = (uint64_t)n * CHUNK,
			.bytes = bytes};
	/* The child accepts in the order in which we connect. */
	for (unsigned i = 0; i < n; i++)
		lanes[i].sock = child ? connect_to(&at) : accept(listener, NULL, NULL);
	lanes_run(lanes, n, child ? lane_send : lane_receive);
	if (!child)
		_exit(0);
	must(waitpid(child, &status, 0) == child && !status, "the receiving end");
	for (unsigned i = 0; i < n; i++)
		close(lanes[i].sock);
	close(listener);
	return (double)bytes / (now_s() - t0) / 1e6;
}

static int parts(const char *dir, uint64_t bytes, unsigned n)
{
	int from = fresh_file(dir, "limit-from", bytes), to = fresh_file(dir, "limit-to", bytes);
	double fresh = write_fresh(from, bytes), copied = copy(from, to, bytes, n);

	close(from);
	close(to);
	printf("{\"loopback_tcp_mb_s\": %.1f, \"write_fresh_mb_s\": %.1f, \"aes_128_gcm_mb_s\": %.1f, \"copy_mb_s\": %.1f}\n",
		loopback(bytes), fresh, aes_gcm(bytes), copied);
	return 0;
}

/* ---- holes ------------------------------------------------------------------------------------------------- */

static int punch(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	off_t at = 0, end;
	uint64_t page[PAGE / 8], punched = 0;

	must(fd >= 0 && !fstat(fd, &st), path);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		for (; at < end; at += PAGE) {
			must(pread(fd, page, PAGE, at) == PAGE, path);
			if (!page_is_zero(page))
				continue;
			must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE), path);
			punched++;
		}
	}
	printf("%lu\n", (unsigned long)punched);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};

	if (argc == 5 && !strcmp(argv[1], "parts") && atoi(argv[4]) >= 1 && atoi(argv[4]) <= CHANNELS_MAX)
		return parts(argv[2], strtoull(argv[3], NULL, 10) << 20, (unsigned)atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[1], "listen")) {
		int listener = listen_on(argv[2], &at);

		printf("%u\n", ntohs(at.sin_port));
		fflush(stdout);
		drink(listener);
		return 0;
	}
	if (argc == 5 && !strcmp(argv[1], "send")) {
		at.sin_port = htons((uint16_t)atoi(argv[3]));
		must(inet_pton(AF_INET, argv[2], &at.sin_addr) == 1, argv[2]);
		printf("%.2f\n", pour(&at, strtoull(argv[4], NULL, 10) << 20));
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "punch"))
		return punch(argv[2]);
	fprintf(stderr,
		"usage: bench_limit parts DIR MIB CHANNELS | listen ADDRESS | send ADDRESS PORT MIB | punch FILE\n");
	return 2;
}
