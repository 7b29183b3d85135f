/* The soft-dirty tracker on a kernel that has soft-dirty marks: the only program of a tiny machine (test_soft_dirty.py), run as its init.
 *
 * A process with threads that come and go writes to a shared file, and punches it, as fast as it can; we track it as a worker tracks QEMU
 * and keep a copy by the rule of tracker.h. Again and again it is stopped and both are compared, byte by byte. Then the same without holding the
 * process still, which must be seen to lose writes: else this test would prove nothing. Prints "SOFT ..." lines. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/tracker.h"

#define PAGE 4096u
#define PAGES 8192u
#define BYTES ((size_t)PAGES * PAGE)
#define FILE_PATH "/ram/11111111-2222-3333-4444-555555555555.ram"
#define COMPARISONS 16
#define ROUNDS 4

#define WRITES_A_ROUND 256 /* between two looks, at least */
#define WRITES_AT_ONCE 32  /* then a pause: where every page is written in every round a lost write is not seen */

static unsigned char *mapped;      /* the writer's view */
static _Atomic uint64_t *n_writes; /* seen by both */
static int ram_fd;

static void die(const char *what)
{
	printf("SOFT failed: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	reboot(RB_AUTOBOOT); /* with panic or -no-reboot: the machine ends */
	_exit(1);
}

/* ---- the writer: what QEMU is to a worker -------------------------------------------------------------------------- */

static uint32_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static void *short_lived(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (unsigned i = 0; i < 200; i++) {
		size_t at = next(&seed) % BYTES;

		mapped[at] = (unsigned char)next(&seed); /* never read first: that is what tracker_soft.c cannot see */
	}
	return NULL;
}

static void *spawner(void *arg)
{
	pthread_t t;

	for (uint64_t n = 1;; n++)
		if (!pthread_create(&t, NULL, short_lived, (void *)(uintptr_t)n))
			pthread_join(t, NULL);
	return arg;
}

static void *writer(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (;;) {
		size_t at = next(&seed) % BYTES;

		mapped[at] = (unsigned char)next(&seed);
		if (++*n_writes % WRITES_AT_ONCE == 0)
			usleep(20);
		if (next(&seed) % 256 == 0)
			fallocate(ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(at / PAGE * PAGE),
				4 * PAGE);
	}
	return arg;
}

static pid_t writer_start(void)
{
	pid_t pid = fork();
	pthread_t t;

	if (pid)
		return pid;
	for (size_t i = 0; i < BYTES; i += 64)
		mapped[i] = (unsigned char)(i / PAGE);
	pthread_create(&t, NULL, spawner, NULL);
	pthread_create(&t, NULL, writer, (void *)3);
	writer((void *)5);
	_exit(0);
}

/* ---- the worker ---------------------------------------------------------------------------------------------------- */

static unsigned char *copy;
static struct bitmap dirty;
static uint64_t n_copied;

static void copy_dirty(void)
{
	uint64_t from = 0, to;

	for (; bitmap_next_run(&dirty, from, &from, &to); from = to) {
		size_t bytes = (size_t)(to - from) * PAGE;

		if (pread(ram_fd, copy + from * PAGE, bytes, (off_t)(from * PAGE)) != (ssize_t)bytes)
			die("pread");
		n_copied += to - from;
	}
	bitmap_clear(&dirty);
}

/* The rule of tracker.h for the last look: what is a hole then is one in the copy too. A page that was a hole at the last look but one, was written,
 * copied and punched since is not reported as written by any tracker. */
static void copy_holes(void)
{
	for (off_t from = 0, data; from < (off_t)BYTES; from = data) {
		off_t hole = lseek(ram_fd, from, SEEK_HOLE);

		if (hole < 0)
			die("lseek");
		data = lseek(ram_fd, hole, SEEK_DATA);
		if (data < 0)
			data = (off_t)BYTES; /* none after it */
		if (hole < data)
			memset(copy + hole, 0, (size_t)data - (size_t)hole);
	}
}

static unsigned stale_pages(void)
{
	static unsigned char now[PAGE];
	unsigned n = 0;

	for (unsigned i = 0; i < PAGES; i++) {
		if (pread(ram_fd, now, PAGE, (off_t)i * PAGE) != PAGE)
			die("pread");
		n += memcmp(now, copy + (size_t)i * PAGE, PAGE) != 0;
	}
	return n;
}

static void stop(pid_t pid)
{
	int status;

	kill(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		die("the writer did not stop");
}

/* Else a round with little to copy would leave the writer no time, and so on with the next one. */
static void wait_for_writes(void)
{
	uint64_t until = *n_writes + WRITES_A_ROUND;

	while (*n_writes < until)
		usleep(100);
}

/* Rounds while it writes, then a last one while it stands; how many pages are not what they should be. */
static unsigned compare(
	pid_t pid, struct tracker *t, int64_t (*harvest)(struct tracker *t, struct bitmap d[], struct err *e))
{
	struct err e = {0};
	unsigned stale;

	for (unsigned r = 0; r <= ROUNDS; r++) {
		if (r == ROUNDS)
			stop(pid);
		else
			wait_for_writes();
		if (harvest(t, &dirty, &e) < 0) {
			printf("SOFT failed: harvest: %s\n", e.msg);
			die("harvest");
		}
		copy_dirty();
	}
	copy_holes();
	stale = stale_pages();
	kill(pid, SIGCONT);
	return stale;
}

/* As a harvest would be that does not hold the process still: read the marks, clear them. */
static int64_t careless_harvest(struct tracker *t, struct bitmap d[], struct err *e)
{
	static uint64_t entries[PAGES];
	pid_t pid = *(pid_t *)t->priv;
	char path[64];
	int map, clear;

	(void)e;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	map = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)pid);
	clear = open(path, O_WRONLY);
	if (pread(map, entries, sizeof(entries), (off_t)((uintptr_t)mapped / PAGE * 8)) != sizeof(entries) ||
		write(clear, "4", 1) != 1)
		die("pagemap");
	for (unsigned i = 0; i < PAGES; i++)
		if (entries[i] & (1ULL << 55))
			bitmap_set_range(d, i, i + 1);
	close(map);
	close(clear);
	return 0;
}

static void track(pid_t pid)
{
	struct ram_block b = {.bytes = BYTES, .qemu_addr = (uintptr_t)mapped, .page_bytes = PAGE, .path = FILE_PATH};
	struct tracker t = {0}, careless = {.priv = &pid};
	unsigned stale = 0, lost = 0;
	struct err e = {0};

	if (tracker_open(pid, &b, 1, &t, &e) || t.ops->arm(&t, &e)) {
		printf("SOFT failed: %s\n", e.msg);
		die("tracker");
	}
	bitmap_set_range(&dirty, 0, PAGES);
	copy_dirty();
	for (unsigned i = 0; i < COMPARISONS; i++)
		stale += compare(pid, &t, t.ops->harvest);
	printf("SOFT tracker %s: %u comparisons, %llu pages copied, %u stale\n", t.ops->name, COMPARISONS,
		(unsigned long long)n_copied, stale);
	t.ops->close(&t);
	for (unsigned i = 0; i < COMPARISONS; i++)
		lost += compare(pid, &careless, careless_harvest);
	printf("SOFT without holding it still: %u stale\n", lost);
}

int main(void)
{
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	mkdir("/proc", 0755), mkdir("/ram", 0755), mkdir("/sys", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) ||
		mount("ram", "/ram", "tmpfs", 0, NULL))
		die("mount");
	ram_fd = open(FILE_PATH, O_RDWR | O_CREAT, 0600);
	if (ram_fd < 0 || ftruncate(ram_fd, (off_t)BYTES) || bitmap_init(&dirty, PAGES))
		die(FILE_PATH);
	mapped = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd, 0);
	n_writes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	copy = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapped == MAP_FAILED || copy == MAP_FAILED || n_writes == MAP_FAILED)
		die("mmap");
	pid = writer_start();
	track(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("SOFT end\n");
	reboot(RB_AUTOBOOT);
	return 0;
}
