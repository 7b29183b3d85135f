/* The hand-off journal on a real folder: durable order, idempotence, torn and damaged files, failing writes and syncs, and a
 * process that is killed before, in the middle of and after each system call that changes the file.
 *
 * pwrite, fdatasync, fsync and ftruncate are defined here in front of libc's, so that the nth call can fail, be short or be the end of the
 * process; what they do otherwise is the real thing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/journal.h"

#define UUID "0b9f4a52-1111-4222-8333-0123456789ab"

enum call { CALL_PWRITE, CALL_FDATASYNC, CALL_FSYNC, CALL_FTRUNCATE };
enum fault { FAULT_NONE, FAULT_FAIL, FAULT_SHORT, FAULT_KILL_BEFORE, FAULT_KILL_HALF, FAULT_KILL_AFTER };

static struct {
	unsigned n_calls, at; /* count of calls; the one (1..) that is hit, 0 = none */
	enum fault fault;
	int code;
	unsigned n_of[4];
} inject;

static enum fault hit(enum call c)
{
	inject.n_of[c]++;
	if (++inject.n_calls != inject.at)
		return FAULT_NONE;
	if (inject.fault == FAULT_KILL_BEFORE)
		raise(SIGKILL);
	return inject.fault;
}

static int after(enum fault f, int rc)
{
	if (f == FAULT_KILL_AFTER || f == FAULT_KILL_HALF)
		raise(SIGKILL);
	if (f == FAULT_FAIL) {
		errno = inject.code;
		return -1;
	}
	return rc;
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	enum fault f = hit(CALL_PWRITE);
	ssize_t put;

	if (f == FAULT_FAIL) {
		errno = inject.code;
		return -1;
	}
	if (f == FAULT_SHORT || f == FAULT_KILL_HALF)
		n /= 2;
	put = syscall(SYS_pwrite64, fd, buf, n, at);
	if (f == FAULT_KILL_HALF || f == FAULT_KILL_AFTER)
		raise(SIGKILL);
	if (f == FAULT_SHORT) { /* and the next one, for the rest, fails */
		inject.at = inject.n_calls + 1;
		inject.fault = FAULT_FAIL;
	}
	return put;
}

int fdatasync(int fd)
{
	enum fault f = hit(CALL_FDATASYNC);

	return after(f, (int)syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
	enum fault f = hit(CALL_FSYNC);

	return after(f, (int)syscall(SYS_fsync, fd));
}

int ftruncate(int fd, off_t n)
{
	enum fault f = hit(CALL_FTRUNCATE);

	return after(f, f == FAULT_FAIL ? 0 : (int)syscall(SYS_ftruncate, fd, n));
}

static void inject_set(unsigned at, enum fault fault, int code)
{
	memset(&inject, 0, sizeof(inject));
	inject.at = at;
	inject.fault = fault;
	inject.code = code;
}

/* ---- helpers --------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	char dir[] = "/tmp/handoff-journal-XXXXXX";

	inject_set(0, FAULT_NONE, 0);
	*state = mkdtemp(dir) ? strdup(dir) : NULL;
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[128];

	inject_set(0, FAULT_NONE, 0);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", (char *)*state);
	free(*state);
	return system(cmd);
}

static int record(
	const char *dir, enum handoff_role role, enum handoff_state to, enum handoff_state *found, struct err *e)
{
	struct journal_entry entry = {
		.uuid = UUID, .epoch = 7, .role = role, .state = to, .peer = "beta", .domain = "web1"};

	return journal_record(dir, &entry, found, e);
}

static enum handoff_state now(const char *dir, enum handoff_role role)
{
	struct journal_entry entry;
	struct err e = {0};
	int rc = journal_read(dir, UUID, 7, role, &entry, &e);

	if (rc == -ENOENT)
		return HO_NONE;
	assert_int_equal(rc, 0);
	return entry.state;
}

static void path_of(const char *dir, enum handoff_role role, char *out, size_t size)
{
	snprintf(out, size, "%s/handoff/%s.7.%s", dir, UUID, role == HO_SOURCE ? "source" : "target");
}

static void append_raw(const char *dir, enum handoff_role role, const void *buf, size_t n)
{
	char path[256];
	int fd;

	path_of(dir, role, path, sizeof(path));
	fd = open(path, O_WRONLY | O_APPEND);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, buf, n), n);
	close(fd);
}

/* ---- tests ----------------------------------------------------------------------------------------------- */

static void the_line_of_states(void **state)
{
	static const enum handoff_state source[] = {HO_RUN, HO_PAUSED, HO_OFFERED, HO_GONE};
	static const enum handoff_state target[] = {HO_PREPARED, HO_LOADED, HO_OWNER};
	struct journal_entry entry;
	struct err e = {0};

	assert_int_equal(journal_read(*state, UUID, 7, HO_SOURCE, &entry, &e), -ENOENT);
	for (size_t i = 0; i < 4; i++) {
		unsigned syncs = inject.n_of[CALL_FDATASYNC];

		assert_int_equal(record(*state, HO_SOURCE, source[i], NULL, &e), 0);
		assert_true(inject.n_of[CALL_FDATASYNC] > syncs);
		assert_int_equal(now(*state, HO_SOURCE), source[i]);
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(record(*state, HO_TARGET, target[i], NULL, &e), 0);
	assert_int_equal(journal_read(*state, UUID, 7, HO_TARGET, &entry, &e), 0);
	assert_int_equal(entry.state, HO_OWNER);
	assert_string_equal(entry.peer, "beta");
	assert_string_equal(entry.domain, "web1");
	assert_int_equal(entry.epoch, 7);
	assert_int_equal(journal_read(*state, UUID, 8, HO_TARGET, &entry, &e), -ENOENT);
}

static void the_second_illegal_step_is_refused(void **state)
{
	enum handoff_state found = HO_NONE;
	struct err e = {0};

	record(*state, HO_TARGET, HO_PREPARED, NULL, &e);
	record(*state, HO_TARGET, HO_LOADED, NULL, &e);
	assert_int_equal(record(*state, HO_TARGET, HO_REFUSED, &found, &e), 0);
	assert_int_equal(found, HO_LOADED);
	assert_int_equal(record(*state, HO_TARGET, HO_OWNER, &found, &e), -EPROTO);
	assert_int_equal(found, HO_REFUSED);
	assert_non_null(strstr(e.msg, "REFUSED already and cannot become OWNER"));
	assert_int_equal(now(*state, HO_TARGET), HO_REFUSED);
	/* again is allowed, and writes nothing, but makes sure that it is durable: the first writer may have died before its sync */
	inject_set(0, FAULT_NONE, 0);
	assert_int_equal(record(*state, HO_TARGET, HO_REFUSED, &found, &e), 0);
	assert_int_equal(inject.n_of[CALL_PWRITE], 0);
	assert_int_equal(inject.n_of[CALL_FDATASYNC], 1);
	/* what is answered to a refused step is durable, too */
	inject_set(0, FAULT_NONE, 0);
	assert_int_equal(record(*state, HO_TARGET, HO_OWNER, &found, &e), -EPROTO);
	assert_int_equal(inject.n_of[CALL_FDATASYNC], 1);
	inject_set(1, FAULT_FAIL, EIO);
	assert_int_equal(record(*state, HO_TARGET, HO_OWNER, &found, &e), -EIO);
}

static void bad_names(void **state)
{
	struct journal_entry entry = {.uuid = "../../etc/x", .epoch = 1, .role = HO_SOURCE, .state = HO_RUN};
	struct err e = {0};

	assert_int_equal(journal_record(*state, &entry, NULL, &e), -EINVAL);
	strcpy(entry.uuid, UUID);
	strcpy(entry.peer, "be ta");
	assert_int_equal(journal_record(*state, &entry, NULL, &e), -EINVAL);
	strcpy(entry.peer, "");
	assert_int_equal(journal_record(*state, &entry, NULL, &e), 0);
	assert_int_equal(journal_record("/nonexistent/dir", &entry, NULL, &e), -ENOENT);
}

/* The nth system call fails: the record is not there, nothing is damaged, and the same record succeeds afterwards. */
static void each_failing_call(void **state)
{
	static const enum handoff_state source[] = {HO_RUN, HO_PAUSED, HO_OFFERED, HO_GONE};
	struct err e = {0};

	for (size_t i = 0; i < 4; i++) {
		for (unsigned nth = 1; nth <= 3; nth++) {
			enum handoff_state before = now(*state, HO_SOURCE);

			inject_set(nth, FAULT_FAIL, ENOSPC);
			if (i == 0 && nth == 1)
				inject.at = 2; /* call 1 is the fsync of the new folder's parent */
			assert_int_equal(record(*state, HO_SOURCE, source[i], NULL, &e), -ENOSPC);
			inject_set(0, FAULT_NONE, 0);
			assert_int_equal(now(*state, HO_SOURCE), before);
		}
		inject_set(1, FAULT_SHORT, ENOSPC);
		assert_int_equal(record(*state, HO_SOURCE, source[i], NULL, &e), -ENOSPC);
		inject_set(0, FAULT_NONE, 0);
		assert_int_equal(record(*state, HO_SOURCE, source[i], NULL, &e), 0);
		assert_int_equal(now(*state, HO_SOURCE), source[i]);
	}
}

/* Killed at the nth call, in each of the three ways: afterwards the journal reads as before or as recorded, and the way on is open. */
static void each_kill(void **state)
{
	static const enum handoff_state target[] = {HO_PREPARED, HO_LOADED, HO_OWNER};
	struct err e = {0};
	unsigned n_killed = 0;

	for (size_t i = 0; i < 3; i++) {
		for (int how = FAULT_KILL_BEFORE; how <= FAULT_KILL_AFTER; how++) {
			for (unsigned nth = 1; nth <= 4; nth++) {
				enum handoff_state before = now(*state, HO_TARGET), then;
				int status = 0;
				pid_t pid = fork();

				if (pid == 0) {
					inject_set(nth, (enum fault)how, 0);
					_exit(record(*state, HO_TARGET, target[i], NULL, &e) != 0);
				}
				assert_int_equal(waitpid(pid, &status, 0), pid);
				n_killed += WIFSIGNALED(status);
				then = now(*state, HO_TARGET);
				assert_true(then == before || then == target[i]);
				if (!WIFSIGNALED(status))
					assert_int_equal(then, target[i]);
			}
		}
		assert_int_equal(record(*state, HO_TARGET, target[i], NULL, &e), 0);
		assert_int_equal(now(*state, HO_TARGET), target[i]);
	}
	assert_true(n_killed >= 12);
}

static void torn_and_damaged(void **state)
{
	char path[256], text[512];
	struct journal_entry entry;
	struct err e = {0};
	int fd;
	ssize_t n;

	record(*state, HO_SOURCE, HO_RUN, NULL, &e);
	record(*state, HO_SOURCE, HO_PAUSED, NULL, &e);
	append_raw(*state, HO_SOURCE, "1 OFFERED 17000", 15);
	assert_int_equal(now(*state, HO_SOURCE), HO_PAUSED);
	append_raw(*state, HO_SOURCE, "\0\0\0\0", 4);
	assert_int_equal(now(*state, HO_SOURCE), HO_PAUSED);
	assert_int_equal(record(*state, HO_SOURCE, HO_ABORT, NULL, &e), 0);
	assert_int_equal(now(*state, HO_SOURCE), HO_ABORT);

	/* every single changed byte of a finished file is noticed (the last '\n' makes it torn) */
	path_of(*state, HO_SOURCE, path, sizeof(path));
	fd = open(path, O_RDWR);
	n = pread(fd, text, sizeof(text), 0);
	assert_true(n > 100 && n < (ssize_t)sizeof(text));
	for (ssize_t i = 0; i < n; i++) {
		char c = text[i] ^ 1;
		int rc;

		assert_int_equal(pwrite(fd, &c, 1, i), 1);
		rc = journal_read(*state, UUID, 7, HO_SOURCE, &entry, &e);
		if (i == n - 1)
			assert_true(rc == 0 && entry.state == HO_PAUSED);
		else
			assert_int_equal(rc, -EBADMSG);
		assert_int_equal(pwrite(fd, &text[i], 1, i), 1);
	}
	assert_int_equal(now(*state, HO_SOURCE), HO_ABORT);
	close(fd);

	/* another domain's record under our name is not ours; a line that is too long neither */
	record(*state, HO_TARGET, HO_PREPARED, NULL, &e);
	path_of(*state, HO_TARGET, path, sizeof(path));
	append_raw(*state, HO_TARGET, text, (size_t)n);
	assert_int_equal(journal_read(*state, UUID, 7, HO_TARGET, &entry, &e), -EBADMSG);
	assert_int_equal(truncate(path, 70000), 0);
	assert_int_equal(journal_read(*state, UUID, 7, HO_TARGET, &entry, &e), -EBADMSG);
	assert_int_equal(record(*state, HO_TARGET, HO_REFUSED, NULL, &e), -EBADMSG);
}

static void count_found(void *arg, const struct journal_entry *entry)
{
	unsigned *seen = arg;

	*seen += entry->state == HO_OWNER ? 100 : 1;
}

static void scan_and_remove(void **state)
{
	struct journal_entry other = {.uuid = "aaaaaaaa-1111-4222-8333-0123456789ab", .epoch = 1, .role = HO_TARGET};
	struct err e = {0};
	unsigned seen = 0;
	char path[256];

	assert_int_equal(journal_scan(*state, count_found, &seen, &e), 0);
	assert_int_equal(seen, 0);
	record(*state, HO_SOURCE, HO_RUN, NULL, &e);
	for (int s = HO_PREPARED; s <= HO_OWNER; s++) {
		other.state = s;
		assert_int_equal(journal_record(*state, &other, NULL, &e), 0);
	}
	record(*state, HO_TARGET, HO_REFUSED, NULL, &e);
	snprintf(path, sizeof(path), "%s/handoff/notes.txt", (char *)*state);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(journal_scan(*state, count_found, &seen, &e), 0);
	assert_int_equal(seen, 102);
	/* a damaged one is reported, the others still found */
	append_raw(*state, HO_TARGET, "garbage that is no record\n", 26);
	seen = 0;
	assert_int_equal(journal_scan(*state, count_found, &seen, &e), -EBADMSG);
	assert_int_equal(seen, 101);

	assert_int_equal(journal_remove(*state, UUID, 7, HO_SOURCE, &e), -EBUSY);
	record(*state, HO_SOURCE, HO_ABORT, NULL, &e);
	assert_int_equal(journal_remove(*state, UUID, 7, HO_SOURCE, &e), 0);
	assert_int_equal(journal_remove(*state, UUID, 7, HO_SOURCE, &e), -ENOENT);
}

/* Two processes race LOADED -> OWNER and LOADED -> REFUSED: exactly one wins, each time. */
static void race_of_two(void **state)
{
	unsigned owner = 0;

	for (unsigned round = 0; round < 40; round++) {
		struct journal_entry entry = {
			.uuid = UUID, .epoch = 100 + round, .role = HO_TARGET, .state = HO_PREPARED};
		struct err e = {0};
		pid_t pid;
		int mine, status;

		assert_int_equal(journal_record(*state, &entry, NULL, &e), 0);
		entry.state = HO_LOADED;
		assert_int_equal(journal_record(*state, &entry, NULL, &e), 0);
		pid = fork();
		entry.state = pid == 0 ? HO_OWNER : HO_REFUSED;
		mine = journal_record(*state, &entry, NULL, &e);
		if (pid == 0)
			_exit(mine == 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal((mine == 0) + WEXITSTATUS(status), 1);
		owner += WEXITSTATUS(status);
	}
	print_message("owner won %u of 40\n", owner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_line_of_states, setup, teardown),
		cmocka_unit_test_setup_teardown(the_second_illegal_step_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_names, setup, teardown),
		cmocka_unit_test_setup_teardown(each_failing_call, setup, teardown),
		cmocka_unit_test_setup_teardown(each_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(torn_and_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(scan_and_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(race_of_two, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
