/* Pages that a running guest does not have yet, on another process: one that reads and writes what it is told. Who touches a page that is wanted
 * waits until it has come and sees nothing else; holes are zeros at once; a page that came is not put back; the death of whoever
 * serves the faults leaves the process waiting, and another one goes on. */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/missing.h"
#include "tests/unit/support/skip.h"

#define PAGES 1024u
#define PAGE 4096u
#define LONG_MS 10000 /* it never takes that long */

struct order {
	uint32_t page;
	uint64_t put; /* 0: read it; else written there */
};

struct fix {
	pid_t pid;
	int sock;
	char dir[64], map[96];
	struct ram_block block;
	struct missing_conf conf;
	struct missing *m;
};

/* Answers the page's first word as it was. */
static void child_main(int sock, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	volatile uint64_t *mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t word = (uint64_t)(uintptr_t)mem;
	struct order o;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(sock, &word, sizeof(word)) != sizeof(word))
		_exit(1);
	while (read(sock, &o, sizeof(o)) == sizeof(o)) {
		word = mem[o.page * (PAGE / 8)];
		if (o.put)
			mem[o.page * (PAGE / 8)] = o.put;
		if (write(sock, &word, sizeof(word)) != sizeof(word))
			_exit(1);
	}
	_exit(0);
}

static void child_start(struct fix *f)
{
	int s[2], fd = open(f->block.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	close(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (!f->pid)
		child_main(s[1], f->block.path);
	close(s[1]);
	f->sock = s[0];
	assert_int_equal(read(s[0], &f->block.qemu_addr, sizeof(f->block.qemu_addr)), sizeof(f->block.qemu_addr));
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	*state = f;
	snprintf(f->dir, sizeof(f->dir), "/dev/shm/ballast-missing-%d", (int)getpid());
	mkdir(f->dir, 0700);
	snprintf(f->map, sizeof(f->map), "%s/postcopy.map", f->dir);
	snprintf(f->block.path, sizeof(f->block.path), "%s/x.ram", f->dir);
	f->block.bytes = PAGES * PAGE;
	f->block.page_bytes = PAGE;
	child_start(f);
	f->conf = (struct missing_conf){.pid = f->pid, .blocks = &f->block, .n_blocks = 1, .run_dir = f->dir};
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	missing_free(f->m);
	close(f->sock);
	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
	unlink(f->block.path);
	unlink(f->map);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* Where the host does not allow it, that is said in words, and the test is skipped. */
static void open_or_skip(struct fix *f)
{
	struct err e = {0};

	if (missing_open(&f->conf, &f->m, &e) == 0)
		return;
	f->m = NULL;
	assert_true(e.code == EPERM || e.code == ENOTSUP);
	skip_because("%s", e.msg);
}

/* Armed, with pages 10 .. 19 wanted. */
static void begin(struct fix *f)
{
	struct err e = {0};

	open_or_skip(f);
	assert_int_equal(missing_arm(f->m, &e), 0);
	assert_int_equal(missing_want(f->m, 0, 10, 10, &e), 0);
	missing_seal(f->m);
	assert_int_equal(missing_left(f->m), 10);
}

static void tell(struct fix *f, uint32_t page, uint64_t put)
{
	struct order o = {page, put};

	assert_int_equal(write(f->sock, &o, sizeof(o)), sizeof(o));
}

static uint64_t answer(struct fix *f)
{
	struct pollfd p = {.fd = f->sock, .events = POLLIN};
	uint64_t word = 0;

	assert_int_equal(poll(&p, 1, LONG_MS), 1);
	assert_int_equal(read(f->sock, &word, sizeof(word)), sizeof(word));
	return word;
}

static bool answers(struct fix *f)
{
	struct pollfd p = {.fd = f->sock, .events = POLLIN};

	return poll(&p, 1, 100) == 1;
}

static void expect_fault(struct fix *f, uint64_t want)
{
	struct err e = {0};
	uint64_t page = UINT64_MAX;
	unsigned block = 9;

	assert_int_equal(missing_next_fault(f->m, LONG_MS, &block, &page, &e), 1);
	assert_true(block == 0 && page == want);
}

static void place(struct fix *f, uint64_t page, uint64_t word)
{
	uint64_t data[PAGE / 8] = {word};
	struct err e = {0};

	assert_int_equal(missing_place(f->m, 0, page, word ? data : NULL, &e), 0);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void waits_for_its_page(void **state)
{
	struct fix *f = *state;

	begin(f);
	tell(f, 12, 0);
	expect_fault(f, 12);
	assert_false(answers(f)); /* and nothing is read in its place */
	place(f, 11, 11);         /* another one does not help it */
	assert_false(answers(f));
	place(f, 12, 4712);
	assert_int_equal(answer(f), 4712);
	assert_int_equal(missing_left(f->m), 8);
	tell(f, 11, 0); /* was there before anybody wanted it */
	assert_int_equal(answer(f), 11);
	tell(f, 13, 77); /* a writer waits just the same, and its word stays */
	expect_fault(f, 13);
	place(f, 13, 0);
	assert_int_equal(answer(f), 0);
	place(f, 13, 5); /* once only: the guest has changed it */
	tell(f, 13, 0);
	assert_int_equal(answer(f), 77);
}

static void holes_are_zeros_at_once(void **state)
{
	struct fix *f = *state;
	struct err e = {0};
	uint64_t page;
	unsigned block;

	begin(f);
	tell(f, 500, 3);
	assert_int_equal(missing_next_fault(f->m, 500, &block, &page, &e), 0); /* filled there, and not reported */
	assert_int_equal(answer(f), 0);
	tell(f, 500, 0);
	assert_int_equal(answer(f), 3);
}

static void another_goes_on(void **state)
{
	struct fix *f = *state;
	struct err e = {0};

	begin(f);
	place(f, 10, 1);
	tell(f, 15, 0);
	expect_fault(f, 15);
	missing_free(f->m); /* as if it had died: it knew of that fault, nobody else does */
	f->m = NULL;
	assert_false(answers(f));
	assert_int_equal(missing_reopen(&f->conf, &f->m, &e), 0);
	assert_int_equal(missing_left(f->m), 9);
	expect_fault(f, 15);
	for (uint64_t p = 11; p < 20; p++)
		place(f, p, p);
	assert_int_equal(answer(f), 15);
	assert_int_equal(missing_finish(f->m, &e), 0);
	assert_int_equal(access(f->map, F_OK), -1);
	tell(f, 700, 0); /* nothing is guarded any more */
	assert_int_equal(answer(f), 0);
}

static void refusals(void **state)
{
	struct fix *f = *state;
	struct missing *other = NULL;
	struct err e = {0};
	struct missing_conf conf;

	assert_int_equal(missing_reopen(&f->conf, &other, &e), -ENOENT);
	conf = f->conf;
	f->block.page_bytes = 2 << 20;
	assert_int_equal(missing_open(&conf, &other, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "huge pages"));
	f->block.page_bytes = PAGE;
	open_or_skip(f);
	assert_int_equal(missing_arm(f->m, &e), 0);
	assert_int_equal(missing_want(f->m, 0, PAGES - 1, 2, &e), -EPROTO);
	assert_int_equal(missing_want(f->m, 1, 0, 1, &e), -EPROTO);
	assert_int_equal(missing_place(f->m, 0, PAGES, NULL, &e), -EPROTO);
	assert_int_equal(missing_want(f->m, 0, 10, 10, &e), 0);
	assert_int_equal(missing_finish(f->m, &e), -EBUSY);
	assert_int_equal(missing_reopen(&f->conf, &other, &e), -EINVAL); /* the list is not whole */
	missing_seal(f->m);
	conf.pid = getpid();
	assert_int_equal(missing_reopen(&conf, &other, &e), -EBADF); /* another QEMU */
	assert_int_equal(truncate(f->map, 100), 0);
	assert_int_equal(missing_reopen(&f->conf, &other, &e), -EINVAL);
	assert_null(other);
}

static void a_dead_guest_is_seen(void **state)
{
	struct fix *f = *state;
	struct err e = {0};
	uint64_t page;
	unsigned block;

	begin(f);
	missing_stop(f->m);
	assert_int_equal(missing_next_fault(f->m, LONG_MS, &block, &page, &e), 0);
	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
	e.code = 0;
	assert_true(missing_place(f->m, 0, 10, NULL, &e) < 0 && e.msg[0]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(waits_for_its_page),
		T(holes_are_zeros_at_once),
		T(another_goes_on),
		T(refusals),
		T(a_dead_guest_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
