/* The userfaultfd tracker on another process, a forked one that does what it is told (on a real QEMU: test_tracker_qemu.c). What is asserted: exactly the pages written are found; the process never notices; whatever breaks is said. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/inject.h"
#include "migrate/maps.h"
#include "tests/unit/support/xfer_rig.h"
#include "tests/unit/support/tracking.h"

#define MIB (1ULL << 20)
#define PAGES 16384u

/* ---- a process that does what it is told -------------------------------------------------------------------- */

enum op {
	OP_WRITE,
	OP_PUNCH,
	OP_REMAP,
	OP_ALIAS,
	OP_RANDOM,
	OP_SLEEP,
	OP_POLL,
	OP_SPIN,
	OP_SIGNALS,
	OP_PAUSE,
	OP_LEAVE
};

struct order {
	enum op op;
	uint32_t page, n;
};

struct child {
	pid_t pid;
	int sock;
	struct ram_block block;
};

static volatile sig_atomic_t n_alarms;

static void on_alarm(int sig)
{
	(void)sig;
	n_alarms++;
}

/* Answers 0 when nothing strange was seen. */
static int child_do(const struct order *o, volatile uint8_t *mem, int fd)
{
	unsigned seed = o->page;
	struct timespec a, b;
	uint64_t x = 1, y = 1;

	switch (o->op) {
	case OP_WRITE:
		for (uint32_t i = 0; i < o->n; i++)
			mem[(o->page + i) * 4096ULL]++;
		return 0;
	case OP_PUNCH:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, o->page * 4096LL, o->n * 4096LL);
	case OP_LEAVE: /* the page table, not the file: as pages do that are swapped out */
		return madvise((void *)(uintptr_t)(mem + o->page * 4096ULL), o->n * 4096ULL, MADV_DONTNEED);
	case OP_REMAP:
		return mmap((void *)(uintptr_t)mem, PAGES * 4096ULL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			       0) == MAP_FAILED;
	case OP_ALIAS:
		return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED;
	case OP_RANDOM: /* n writes of random length; 0: for ever */
		for (uint32_t i = 0; !o->n || i < o->n; i++) {
			uint64_t off = (uint64_t)rand_r(&seed) * 4096ULL % (PAGES * 4096ULL),
				 len = (uint64_t)rand_r(&seed) % 6000;

			for (uint64_t k = 0; k < len && off + k < PAGES * 4096ULL; k += 64)
				mem[off + k] = (uint8_t)rand_r(&seed);
		}
		return 0;
	case OP_SLEEP: /* must last as long as it was told */
		clock_gettime(CLOCK_MONOTONIC, &a);
		if (nanosleep(&(struct timespec){.tv_nsec = o->n * 1000000L}, NULL))
			return errno;
		clock_gettime(CLOCK_MONOTONIC, &b);
		return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < (long)o->n - 1;
	case OP_POLL:
		return poll(NULL, 0, (int)o->n) ? errno : 0;
	case OP_SPIN: /* computes; the registers must stay what they are */
		for (uint64_t i = 0; i < o->n * 1000000ULL; i++) {
			x = x * 6364136223846793005ULL + i;
			y = y * 6364136223846793005ULL + i;
		}
		return x != y;
	default:
		return ENOSYS;
	}
}

static void child_main(int sock, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t *mem = mmap(NULL, PAGES * 4096ULL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t addr = (uint64_t)(uintptr_t)mem;
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct order o;
	int answer;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &sa, NULL);
	if (write(sock, &addr, sizeof(addr)) != sizeof(addr))
		_exit(1);
	/* The read is a system call that is interrupted and must start again by itself: any other result is seen as a failure. */
	while (read(sock, &o, sizeof(o)) == sizeof(o)) {
		answer = child_do(&o, mem, fd);
		if (write(sock, &answer, sizeof(answer)) != sizeof(answer))
			_exit(1);
	}
	_exit(3);
}

static void child_start(struct child *c)
{
	int s[2], fd;
	uint64_t addr = 0;

	need_tracking();
	memset(c, 0, sizeof(*c));
	snprintf(c->block.path, sizeof(c->block.path), "/dev/shm/ballast-tracker-%d", (int)getpid());
	fd = open(c->block.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGES * 4096), 0);
	close(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (!c->pid)
		child_main(s[1], c->block.path);
	close(s[1]);
	c->sock = s[0];
	assert_int_equal(read(s[0], &addr, sizeof(addr)), sizeof(addr));
	c->block.bytes = PAGES * 4096ULL;
	c->block.page_bytes = 4096;
	c->block.qemu_addr = addr;
}

static void child_tell(struct child *c, enum op op, uint32_t page, uint32_t n)
{
	struct order o = {.op = op, .page = page, .n = n};

	assert_int_equal(write(c->sock, &o, sizeof(o)), sizeof(o));
}

static void child_answer(struct child *c)
{
	int answer = -1;

	assert_int_equal(read(c->sock, &answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(answer, 0);
}

static void child_run(struct child *c, enum op op, uint32_t page, uint32_t n)
{
	child_tell(c, op, page, n);
	child_answer(c);
}

static void child_end(struct child *c)
{
	int status;

	kill(c->pid, SIGKILL);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	close(c->sock);
	unlink(c->block.path);
}

static void track(struct child *c, struct tracker *t)
{
	struct err e = {0};

	if (tracker_open(c->pid, &c->block, 1, t, &e))
		fail_msg("tracker_open: %s", e.msg);
}

static int n_fds(pid_t pid)
{
	char path[64];
	int n = 0;

	for (int fd = 0; fd < 256; fd++) {
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		n += lstat(path, &st) == 0;
	}
	return n;
}

static void status_line(pid_t pid, const char *key, char out[128])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(out, 128, f) && strncmp(out, key, strlen(key)))
		;
	fclose(f);
}

/* ---- what is found ------------------------------------------------------------------------------------------ */

static void finds_exactly_what_was_written(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	child_start(&c);
	child_run(&c, OP_WRITE, 0, 100);
	track(&c, &t);
	assert_string_equal(t.ops->name, "uffd");
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	assert_int_equal(harvest(&t, &b), 0);
	/* A populated page, a hole, a run over a border. */
	child_run(&c, OP_WRITE, 7, 1);
	child_run(&c, OP_WRITE, 1500, 1);
	child_run(&c, OP_WRITE, 90, 20);
	assert_int_equal(t.ops->peek(&t, &e), 22);
	assert_int_equal(t.ops->peek(&t, &e), 22); /* looking changes nothing */
	assert_int_equal(harvest(&t, &b), 22);
	assert_true(bitmap_test(&b, 7) && bitmap_test(&b, 1500) && bitmap_test(&b, 90) && bitmap_test(&b, 109));
	assert_int_equal(bitmap_count(&b), 22);
	assert_int_equal(harvest(&t, &b), 0); /* re-armed */
	child_run(&c, OP_WRITE, 7, 1);
	assert_int_equal(harvest(&t, &b), 1);
	assert_int_equal(bitmap_count(&b), 22); /* ORed in */
	/* A punched page and then a write to it; a punched one that is left alone is not reported (facts). */
	child_run(&c, OP_PUNCH, 20, 2);
	child_run(&c, OP_WRITE, 20, 1);
	bitmap_clear(&b);
	assert_int_equal(harvest(&t, &b), 1);
	assert_true(bitmap_test(&b, 20));
	/* Any set of pages, many times. */
	for (int round = 0; round < 50; round++) {
		struct bitmap want;

		assert_int_equal(bitmap_init(&want, PAGES), 0);
		for (int i = rand_r(&seed) % 30; i > 0; i--) {
			uint32_t page = (uint32_t)rand_r(&seed) % PAGES, n = (uint32_t)rand_r(&seed) % 40 + 1;

			n = n < PAGES - page ? n : PAGES - page;
			child_run(&c, OP_WRITE, page, n);
			bitmap_set_range(&want, page, page + n);
		}
		bitmap_clear(&b);
		assert_int_equal(harvest(&t, &b), bitmap_count(&want));
		assert_memory_equal(b.words, want.words, PAGES / 8);
		bitmap_fini(&want);
	}
	t.ops->close(&t);
	child_run(&c, OP_WRITE, 0, PAGES); /* goes on without us */
	bitmap_fini(&b);
	child_end(&c);
}

/* All odd pages: 8192 regions, more than one PAGEMAP_SCAN returns. One that stops half-way must go on, and re-arm no more than it told. */
static void finds_scattered_pages(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};

	(void)state;
	child_start(&c);
	track(&c, &t);
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	/* More regions than one call tells, and the list full in the middle of a page table: each page counts once. */
	for (uint32_t p = 1; p < PAGES; p += 3)
		child_run(&c, OP_WRITE, p, 1);
	assert_int_equal(t.ops->peek(&t, &e), PAGES / 3);
	assert_int_equal(harvest(&t, &b), PAGES / 3);
	for (uint32_t p = 0; p < PAGES; p++)
		assert_int_equal(bitmap_test(&b, p), p % 3 == 1);
	t.ops->close(&t);
	bitmap_fini(&b);
	child_end(&c);
}

/* What was written and then left the page table (a page that is swapped out does) is reported all the same; what was not written is not. tracker_open refuses a host
 * with swap whose kernel does otherwise. */
static void finds_what_left_the_page_table(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};

	(void)state;
	child_start(&c);
	child_run(&c, OP_WRITE, 0, 600);
	track(&c, &t);
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	child_run(&c, OP_WRITE, 500, 20);
	child_run(&c, OP_LEAVE, 0, 1024);
	assert_int_equal(harvest(&t, &b), 20);
	assert_true(bitmap_test(&b, 500) && bitmap_test(&b, 519));
	assert_int_equal(harvest(&t, &b), 0);
	t.ops->close(&t);
	bitmap_fini(&b);
	child_end(&c);
}

/* A part of a block, looked at: that part only, and nothing changes. */
static void looks_at_a_part(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};

	(void)state;
	child_start(&c);
	track(&c, &t);
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	child_run(&c, OP_WRITE, 90, 20);
	child_run(&c, OP_WRITE, 5000, 1);
	assert_int_equal(t.ops->peek_part(&t, 0, 100, 5000, &b, &e), 0);
	assert_int_equal(bitmap_count(&b), 10);
	assert_true(bitmap_test(&b, 100) && bitmap_test(&b, 109));
	assert_int_equal(t.ops->peek_part(&t, 0, 0, PAGES, &b, &e), 0);
	assert_int_equal(bitmap_count(&b), 21);
	assert_int_equal(harvest(&t, &b), 21);
	t.ops->close(&t);
	bitmap_fini(&b);
	child_end(&c);
}

static bool is_hole(int fd, uint64_t page)
{
	return lseek(fd, (off_t)(page * 4096), SEEK_DATA) != (off_t)(page * 4096);
}

/* The last round asks the file for absent pages only: a hole that is not absent would be content for ever at the target. */
static void holes_are_absent(void **state)
{
	uint64_t from, start, end, n_absent = 0, n_holes = 0;
	unsigned seed = 5;
	struct bitmap absent;
	struct child c;
	struct tracker t;
	struct err e = {0};
	int fd, rc = 0;

	(void)state;
	child_start(&c);
	fd = open(c.block.path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	track(&c, &t);
	assert_int_equal(bitmap_init(&absent, PAGES), 0);
	child_run(&c, OP_WRITE, 0, 9000);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	for (int i = 0; i < 60; i++) {
		child_run(&c, i % 3 ? OP_PUNCH : OP_WRITE, (uint32_t)rand_r(&seed) % 12000,
			1 + (uint32_t)rand_r(&seed) % 70);
		if (i % 8 == 0)
			child_run(&c, OP_LEAVE, (uint32_t)rand_r(&seed) % 12000, 40);
	}
	child_run(&c, OP_PUNCH, 2048, 1024);                    /* whole page tables */
	assert_int_equal(pwrite(fd, "x", 1, 15000 * 4096L), 1); /* there, but nobody has touched it */
	for (from = 0; (rc = t.ops->next_absent(&t, 0, from, PAGES, &start, &end, &e)) > 0; from = end) {
		assert_true(start >= from && end > start && end <= PAGES);
		bitmap_set_range(&absent, start, end);
		n_absent += end - start;
	}
	assert_int_equal(rc, 0);
	for (uint64_t p = 0; p < PAGES; p++) {
		assert_true(!is_hole(fd, p) || bitmap_test(&absent, p));
		n_holes += is_hole(fd, p);
	}
	assert_true(n_holes > 7000 && n_absent >= n_holes && n_absent <= n_holes + 8 * 40 + 1);
	assert_true(bitmap_test(&absent, 15000));
	assert_int_equal(t.ops->next_absent(&t, 0, 2100, 2200, &start, &end, &e), 1); /* a part: not beyond it */
	assert_true(start == 2100 && end == 2200);
	child_run(&c, OP_WRITE, 2100, 100);
	assert_int_equal(t.ops->next_absent(&t, 0, 2100, 2200, &start, &end, &e), 0);
	child_run(&c, OP_REMAP, 0, 0);
	assert_int_equal(t.ops->next_absent(&t, 0, 0, PAGES, &start, &end, &e), -ESTALE);
	t.ops->close(&t);
	bitmap_fini(&absent);
	close(fd);
	child_end(&c);
}

/* ---- the process does not notice ------------------------------------------------------------------------------ */

/* Inject while it is in each kind of place; the answer says whether something strange was seen. */
static void process_never_notices(void **state)
{
	const struct {
		enum op op;
		uint32_t n;
		bool signals, stop;
	} cases[] = {
		{OP_SLEEP, 300, false, false},
		{OP_POLL, 300, false, false},
		{OP_SPIN, 300, false, false},
		{OP_SPIN, 300, true, false},
		{OP_WRITE, 0, true, false}, /* answers at once: the injection finds it in read() */
		{OP_WRITE, 0, false, true},
		{OP_SPIN, 300, false, true},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char mask_before[128], mask_after[128];
		struct child c;
		struct tracker t;
		struct err e = {0};
		pid_t hail = -1;
		int fds, status;

		child_start(&c);
		fds = n_fds(c.pid);
		status_line(c.pid, "SigBlk:", mask_before);
		child_tell(&c, cases[i].op, 0, cases[i].n);
		if (cases[i].op == OP_WRITE)
			child_answer(&c);
		if (cases[i].signals && !(hail = fork())) /* a hail of signals on it meanwhile */
			for (;;)
				kill(c.pid, SIGUSR1);
		if (cases[i].stop) {
			kill(c.pid, SIGSTOP);
			assert_int_equal(waitpid(c.pid, &status, WUNTRACED), c.pid);
		}
		for (int k = 0; k < 5; k++) {
			track(&c, &t);
			assert_int_equal(t.ops->arm(&t, &e), 0);
			t.ops->close(&t);
		}
		if (cases[i].stop) {
			char line[128];

			/* Let go by ptrace it passes through R on its way back into the stop. */
			for (int k = 0; k < 5000; k++) {
				status_line(c.pid, "State:", line);
				if (strstr(line, "T (stopped)"))
					break;
				nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			}
			if (!strstr(line, "T (stopped)"))
				fail_msg("case %u: it is no longer stopped: %s", i, line);
			kill(c.pid, SIGCONT);
		}
		if (cases[i].op != OP_WRITE)
			child_answer(&c);
		if (hail > 0) {
			kill(hail, SIGKILL);
			waitpid(hail, &status, 0);
		}
		child_run(&c, OP_WRITE, 3, 4);
		assert_int_equal(n_fds(c.pid), fds); /* no descriptor left behind */
		status_line(c.pid, "SigBlk:", mask_after);
		assert_string_equal(mask_before, mask_after);
		child_end(&c);
	}
}

/* ---- what breaks is said -------------------------------------------------------------------------------------- */

static void mapping_changes(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};

	(void)state;
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	for (int alias = 0; alias < 2; alias++) {
		child_start(&c);
		track(&c, &t);
		assert_int_equal(t.ops->arm(&t, &e), 0);
		child_run(&c, alias ? OP_ALIAS : OP_REMAP, 0, 0);
		assert_int_equal(t.ops->harvest(&t, &b, &e), -ESTALE);
		t.ops->close(&t);
		if (alias) {
			assert_int_equal(tracker_open(c.pid, &c.block, 1, &t, &e), -ESTALE);
			assert_non_null(strstr(e.msg, "writes through that are not seen"));
		}
		child_end(&c);
	}
	bitmap_fini(&b);
}

static void process_dies(void **state)
{
	struct child c;
	struct tracker t;
	struct bitmap b;
	struct err e = {0};
	int status;

	(void)state;
	assert_int_equal(bitmap_init(&b, PAGES), 0);
	child_start(&c);
	track(&c, &t);
	assert_int_equal(t.ops->arm(&t, &e), 0);
	kill(c.pid, SIGKILL);
	waitpid(c.pid, &status, 0);
	assert_int_equal(t.ops->harvest(&t, &b, &e), -ESRCH);
	t.ops->close(&t);
	assert_int_equal(tracker_open(c.pid, &c.block, 1, &t, &e), -ESRCH);
	assert_int_equal(tracker_probe(c.pid, &e), -ESRCH);
	close(c.sock);
	unlink(c.block.path);
	bitmap_fini(&b);
}

static void traced_already(void **state)
{
	struct child c;
	struct tracker t;
	struct err e = {0};
	int p[2], status;
	char ok = 0;
	pid_t tracer;

	(void)state;
	child_start(&c);
	assert_int_equal(pipe(p), 0);
	tracer = fork();
	if (!tracer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ok = !ptrace(PTRACE_SEIZE, c.pid, NULL, NULL);
		if (write(p[1], &ok, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(p[0], &ok, 1), 1);
	assert_true(ok);
	assert_int_equal(tracker_open(c.pid, &c.block, 1, &t, &e), -EPERM);
	assert_non_null(strstr(e.msg, "is being traced by process"));
	kill(tracer, SIGKILL);
	waitpid(tracer, &status, 0);
	track(&c, &t); /* and when that one is gone it works */
	t.ops->close(&t);
	close(p[0]), close(p[1]);
	child_end(&c);
}

static void second_tracker_is_refused(void **state)
{
	struct child c;
	struct tracker t, u;
	struct err e = {0};

	(void)state;
	child_start(&c);
	track(&c, &t);
	assert_int_equal(tracker_open(c.pid, &c.block, 1, &u, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "another userfaultfd"));
	t.ops->close(&t);
	child_run(&c, OP_WRITE, 0, 4);
	child_end(&c);
}

/* ---- with the engine ------------------------------------------------------------------------------------------- */

/* A process that writes without pause, moved over TLS, stopped for the last round. */
static void engine_copies_a_writing_process(void **state)
{
	const uint64_t bytes = PAGES * 4096ULL;
	struct xfer_rig r;
	struct child c;
	struct xfer_stats st;
	struct err e = {0};
	int status;

	(void)state;
	for (unsigned seed = 1; seed < 4; seed++) {
		child_start(&c);
		rig_init(&r, &bytes, 1, 2);
		munmap(r.src_map[0], bytes);
		close(r.src_fd[0]);
		r.src[0] = c.block; /* the child's file is the source */
		r.src_fd[0] = open(c.block.path, O_RDWR | O_CLOEXEC);
		r.src_map[0] = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (tracker_open(c.pid, r.src, 1, &r.tracker, &e))
			fail_msg("%s", e.msg);
		child_run(&c, OP_RANDOM, seed, 500);
		child_tell(&c, OP_RANDOM, seed + 7, 0);
		rig_start(&r);
		for (int i = 0; i < 4; i++) {
			/* On a busy machine the process may not run between two rounds: wait until it has written. */
			for (int k = 0; i && k < 10000 && r.tracker.ops->peek(&r.tracker, &e) == 0; k++)
				nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			assert_int_equal(xfer_tx_round(r.tx, false, &st, &e), 0);
			assert_true(st.dirty_pages > 0);
		}
		kill(c.pid, SIGSTOP);
		assert_int_equal(waitpid(c.pid, &status, WUNTRACED), c.pid);
		assert_int_equal(xfer_tx_round(r.tx, true, &st, &e), 0);
		rig_join(&r);
		assert_int_equal(r.rx_ret, 0);
		rig_assert_equal(&r);
		r.tracker.ops->close(&r.tracker);
		r.src[0].bytes = 4096; /* what rig_fini unmaps */
		rig_fini(&r);
		child_end(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_exactly_what_was_written),
		cmocka_unit_test(finds_scattered_pages),
		cmocka_unit_test(finds_what_left_the_page_table),
		cmocka_unit_test(looks_at_a_part),
		cmocka_unit_test(holes_are_absent),
		cmocka_unit_test(process_never_notices),
		cmocka_unit_test(mapping_changes),
		cmocka_unit_test(process_dies),
		cmocka_unit_test(traced_already),
		cmocka_unit_test(second_tracker_is_refused),
		cmocka_unit_test(engine_copies_a_writing_process),
	};

	return cmocka_run_group_tests_name("tracker", tests, NULL, NULL);
}
