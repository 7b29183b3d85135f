/* Worker processes and hooks: real children (shell scripts that say their part), their lines, their ends, kills, floods and time limits. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "policyd/act/hooks.h"
#include "policyd/act/offload.h"
#include "policyd/act/worker.h"
#include "tests/unit/support/certs.h"

struct fixture {
	struct policyd p;
	struct conf conf;
	char dir[64], script[128];
	unsigned events, ends;
	char last_event[64], how[200], outcome[32];
	struct worker *w;
	char output[HOOK_OUTPUT_MAX + 1];
	struct err e;
};

static struct fixture *fixture_new(const char *script)
{
	struct fixture *f = calloc(1, sizeof(*f));
	FILE *out;

	strcpy(f->dir, "/tmp/ballast-proc-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->script, sizeof(f->script), "%s/script", f->dir);
	out = fopen(f->script, "w");
	fprintf(out, "#!/bin/bash\n%s\n", script);
	fclose(out);
	assert_int_equal(chmod(f->script, 0755), 0);
	f->p.base = event_base_new();
	f->p.conf = &f->conf;
	snprintf(f->conf.host.paths.worker, sizeof(f->conf.host.paths.worker), "%s", f->script);
	snprintf(f->conf.host.paths.run, sizeof(f->conf.host.paths.run), "%s", f->dir);
	snprintf(f->conf.host.paths.state, sizeof(f->conf.host.paths.state), "%s", f->dir);
	signal(SIGPIPE, SIG_IGN);
	return f;
}

static void fixture_free(struct fixture *f)
{
	event_base_free(f->p.base);
	remove_tree(f->dir);
	free(f);
}

static void on_event(void *arg, struct worker *w, const char *event, const json_t *line)
{
	struct fixture *f = arg;

	(void)line;
	assert_ptr_equal(w, f->w);
	f->events++;
	snprintf(f->last_event, sizeof(f->last_event), "%s", event);
}

static void on_end(void *arg, const json_t *done, const char *how)
{
	struct fixture *f = arg;

	f->ends++;
	f->w = NULL;
	snprintf(f->how, sizeof(f->how), "%s", how);
	snprintf(f->outcome, sizeof(f->outcome), "%s",
		done ? json_string_value(json_object_get(done, "outcome")) : "none");
}

static const struct worker_ops ops = {on_event, on_end};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

#define until(f, cond)                                                                                                 \
	do {                                                                                                           \
		struct event *tick_ = event_new((f)->p.base, -1, EV_PERSIST, on_tick, NULL);                           \
		time_t end_ = time(NULL) + 20;                                                                         \
		event_add(tick_, &(struct timeval){0, 5000});                                                          \
		while (!(cond) && time(NULL) < end_)                                                                   \
			event_base_loop((f)->p.base, EVLOOP_ONCE);                                                     \
		event_free(tick_);                                                                                     \
		assert_true(cond);                                                                                     \
	} while (0)

static void start(struct fixture *f)
{
	struct worker_conf wc = {
		.p = &f->p, .verb = "run", .start = json_pack("{s:s}", "op", "start"), .ops = &ops, .arg = f};

	assert_int_equal(worker_start(&wc, &f->w, &f->e), 0);
}

static void test_worker_talks_and_ends(void **state)
{
	struct fixture *f = fixture_new(
		"read line <&3; [ \"$line\" = '{\"op\":\"start\"}' ] || exit 9; [ \"$*\" = 'run --fd 3' ] || exit 8\n"
		"echo '{\"event\":\"phase\",\"phase\":3}' >&3; echo garbage >&3; echo '{\"no\":1}' >&3\n"
		"read line <&3; echo '{\"event\":\"progress\"}' >&3; printf "
		"'{\"event\":\"done\",\"outcome\":\"moved\"}\\n' >&3");

	(void)state;
	start(f);
	until(f, f->events == 1);
	assert_int_equal(worker_send(f->w, json_pack("{s:s}", "op", "cancel")), 0);
	until(f, f->ends == 1);
	assert_int_equal(f->events, 2);
	assert_string_equal(f->outcome, "moved");
	fixture_free(f);
}

static void test_worker_killed(void **state)
{
	struct fixture *f = fixture_new("echo '{\"event\":\"phase\"}' >&3; read x <&3; read x <&3");

	(void)state;
	start(f);
	until(f, f->events == 1);
	worker_kill(f->w);
	until(f, f->ends == 1);
	assert_string_equal(f->outcome, "none");
	assert_non_null(strstr(f->how, "killed by signal 9"));
	fixture_free(f);
}

static void test_worker_dies_silently(void **state)
{
	struct fixture *f = fixture_new("exit 3");

	(void)state;
	start(f);
	until(f, f->ends == 1);
	assert_non_null(strstr(f->how, "status 3"));
	fixture_free(f);
}

static void test_worker_floods(void **state)
{
	struct fixture *f = fixture_new("head -c 300000 /dev/zero | tr '\\0' x >&3; sleep 100");

	(void)state;
	start(f);
	until(f, f->ends == 1);
	assert_non_null(strstr(f->how, "killed by signal 9"));
	fixture_free(f);
}

static void test_worker_not_there(void **state)
{
	struct fixture *f = fixture_new("exit 0");
	struct worker_conf wc = {.p = &f->p, .verb = "run", .start = json_object(), .ops = &ops, .arg = f};

	(void)state;
	strcpy(f->conf.host.paths.worker, "/nonexistent/policyd-migrate");
	assert_true(worker_start(&wc, &f->w, &f->e) < 0);
	assert_non_null(strstr(f->e.msg, "/nonexistent/policyd-migrate"));
	fixture_free(f);
}

/* policyd ends: the worker goes on and sees the end of its socket. */
static void test_worker_left(void **state)
{
	struct fixture *f = fixture_new(
		"echo '{\"event\":\"phase\"}' >&3; while read x <&3; do :; done; echo on > ${0%/*}/went-on");
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/went-on", f->dir);
	start(f);
	until(f, f->events == 1);
	worker_leave(f->w);
	until(f, access(path, F_OK) == 0);
	assert_int_equal(f->ends, 0);
	fixture_free(f);
}

static void test_worker_lines(void **state)
{
	static const char *const bad[] = {"", "{", "[]", "{\"event\": 5}", "null", "{\"event\":\"a\",\"event\":\"b\"}"};
	json_t *root = NULL;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(worker_line_parse(bad[i], strlen(bad[i]), &root, &e));
	assert_string_equal(worker_line_parse("{\"event\":\"x\"}", 13, &root, &e), "x");
	json_decref(root);
}

/* ---- hooks -------------------------------------------------------------------------------------------------------------- */

static void on_hook(void *arg, const char *output, const struct err *e)
{
	struct fixture *f = arg;

	f->ends++;
	f->e = *e;
	snprintf(f->output, sizeof(f->output), "%s", output);
}

static void start_hook(struct fixture *f, unsigned timeout_ms)
{
	struct hook_conf hc = {.p = &f->p,
		.path = f->script,
		.name = "drain",
		.domain = "db1",
		.uuid = "u",
		.cluster = "orders",
		.source = "alpha",
		.target = "beta",
		.timeout_ms = timeout_ms};
	struct hook *h;

	assert_int_equal(hook_run(&hc, on_hook, f, &h, &f->e), 0);
}

static struct fixture *run_hook(const char *script, unsigned timeout_ms)
{
	struct fixture *f = fixture_new(script);

	start_hook(f, timeout_ms);
	until(f, f->ends == 1);
	return f;
}

static void test_hooks(void **state)
{
	struct fixture *f = run_hook(
		"echo $BALLAST_HOOK $BALLAST_DOMAIN $BALLAST_CLUSTER $BALLAST_SOURCE $BALLAST_TARGET $#; "
		"readlink /proc/$$/fd/0; tr '\\0' '\\n' </proc/$$/environ | sed 's/=.*//' | sort | tr '\\n' ' '",
		5000);

	(void)state;
	assert_int_equal(f->e.code, 0);
	assert_string_equal(f->output,
		"drain db1 orders alpha beta 0\n/dev/null\nBALLAST_CLUSTER BALLAST_DOMAIN BALLAST_HOOK BALLAST_SOURCE "
		"BALLAST_TARGET BALLAST_UUID PATH ");
	fixture_free(f);
	f = run_hook("echo first; echo no quorum >&2; exit 4", 5000);
	assert_int_equal(f->e.code, ECONNREFUSED);
	assert_non_null(strstr(f->e.msg, "(exit status 4): no quorum"));
	fixture_free(f);
	f = run_hook("exit 75", 5000);
	assert_int_equal(f->e.code, EAGAIN);
	fixture_free(f);
	f = run_hook("kill -9 $$", 5000);
	assert_int_equal(f->e.code, EIO);
	fixture_free(f);
	f = run_hook("yes | head -c 100000; echo; echo the end", 5000);
	assert_true(strlen(f->output) <= HOOK_OUTPUT_MAX);
	assert_non_null(strstr(f->output, "the end"));
	fixture_free(f);
}

/* The limit ends the hook's children too, and a child that keeps the pipe does not hold us up. */
static void test_hook_limits(void **state)
{
	struct fixture *f = run_hook("echo waiting for godot; sleep 600 & echo $! > ${0%/*}/pid; wait", 400);
	char path[128];
	FILE *in;
	int pid = 0;

	(void)state;
	assert_int_equal(f->e.code, ETIMEDOUT);
	assert_non_null(strstr(f->e.msg, "waiting for godot"));
	snprintf(path, sizeof(path), "%s/pid", f->dir);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_int_equal(fscanf(in, "%d", &pid), 1);
	fclose(in);
	until(f, kill(pid, 0) < 0 || ({
		char st[64], b[256] = "";
		FILE *s;
		snprintf(st, sizeof(st), "/proc/%d/stat", pid);
		s = fopen(st, "r");
		bool z = !s || !fgets(b, sizeof(b), s) || strstr(b, ") Z");
		if (s)
			fclose(s);
		z;
	}));
	fixture_free(f);
	f = run_hook("sleep 3 & exit 0", 60000);
	assert_int_equal(f->e.code, 0);
	fixture_free(f);
}

static void test_hook_not_startable(void **state)
{
	struct fixture *f = fixture_new("exit 0");
	struct hook_conf hc = {.p = &f->p,
		.path = f->dir, /* a folder */
		.name = "check",
		.domain = "db1",
		.uuid = "u",
		.cluster = "orders",
		.source = "alpha",
		.target = "beta",
		.timeout_ms = 5000};
	struct hook *h = NULL;
	struct err e;

	(void)state;
	assert_int_equal(hook_run(&hc, on_hook, f, &h, &e), -EACCES);
	assert_non_null(strstr(e.msg, "check hook"));
	assert_non_null(strstr(e.msg, "cannot be started: Permission denied"));
	assert_null(h);
	fixture_free(f);
}

/* policyd is killed: its hook does not go on beside the next policyd's. */
static void test_hook_ends_with_policyd(void **state)
{
	struct fixture *f = fixture_new("exec 9>${0%/*}/here; flock 9; touch ${0%/*}/locked; exec sleep 600");
	char path[128], wait[192];
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		event_reinit(f->p.base);
		start_hook(f, 600000);
		for (;;)
			pause();
	}
	snprintf(path, sizeof(path), "%s/locked", f->dir);
	until(f, access(path, F_OK) == 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	snprintf(wait, sizeof(wait), "timeout 30 flock %s/here true",
		f->dir); /* it is held for as long as the hook lives */
	assert_int_equal(system(wait), 0);
	fixture_free(f);
}

/* ---- journals off the loop ------------------------------------------------------------------------------------------------- */

struct recorded {
	bool done;
	enum handoff_state found;
	struct err e;
};

static void on_recorded(void *arg, enum handoff_state found, const struct err *e)
{
	struct recorded *r = arg;

	r->done = true;
	r->found = found;
	r->e = *e;
}

static void test_journal_off_the_loop(void **state)
{
	struct fixture *f = fixture_new("");
	struct journal_entry en = {.uuid = "00000000-0000-4000-8000-000000000001",
		.epoch = 3,
		.role = HO_TARGET,
		.state = HO_PREPARED,
		.peer = "alpha",
		.domain = "web1"};
	struct recorded r = {.done = false};

	(void)state;
	assert_int_equal(journal_read_async(&f->p, en.uuid, 3, HO_TARGET, on_recorded, &r, &f->e), 0);
	until(f, r.done);
	assert_int_equal(r.e.code, 0);
	assert_int_equal(r.found, HO_NONE);
	for (enum handoff_state to = HO_PREPARED; to <= HO_OWNER; to++) {
		r.done = false;
		en.state = to;
		assert_int_equal(journal_record_async(&f->p, &en, on_recorded, &r, &f->e), 0);
		until(f, r.done);
		assert_int_equal(r.e.code, 0);
	}
	r.done = false;
	en.state = HO_REFUSED; /* too late: it is the owner, and we are told so */
	assert_int_equal(journal_record_async(&f->p, &en, on_recorded, &r, &f->e), 0);
	until(f, r.done);
	assert_int_equal(r.e.code, EPROTO);
	assert_int_equal(r.found, HO_OWNER);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_lines),
		cmocka_unit_test(test_worker_talks_and_ends),
		cmocka_unit_test(test_worker_killed),
		cmocka_unit_test(test_worker_dies_silently),
		cmocka_unit_test(test_worker_floods),
		cmocka_unit_test(test_worker_not_there),
		cmocka_unit_test(test_worker_left),
		cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_hook_limits),
		cmocka_unit_test(test_hook_not_startable),
		cmocka_unit_test(test_hook_ends_with_policyd),
		cmocka_unit_test(test_journal_off_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
