/* The source's pre-checks: see checks.h. A table of checks, each of which may fail more than once. */
#include "migrate/checks.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "migrate/boss.h"
#include "migrate/tracker.h"

struct checks {
	const struct worker_conf *conf;
	struct vm *vm; /* NULL: the monitor does not answer */
	struct ram_block blocks[RAM_BLOCKS_MAX];
	unsigned n_blocks;
	check_fail_fn *fail;
	void *arg;
	unsigned n_failed;
	char devices[2048]; /* ids that QEMU has */
};

static void failed(struct checks *c, const char *what, const char *why)
{
	c->n_failed++;
	c->fail(c->arg, what, why);
}

/* ---- the process ----------------------------------------------------------------------------------------- */

static void check_tracker(struct checks *c)
{
	struct err e = {0};

	if (tracker_probe(c->conf->pid, &e) != 0)
		failed(c, "tracker", err_msg(&e));
}

static void check_ram_files(struct checks *c)
{
	struct err e = {0};

	if (ram_find(c->conf->pid, c->conf->ram_dir, c->conf->uuid, c->blocks, &c->n_blocks, &e) != 0) {
		c->n_blocks = 0;
		failed(c, "memory-file", err_msg(&e));
	}
}

/* Does this line of /proc/PID/maps map one of our files so that it can be written? */
static bool line_writes(const struct checks *c, const struct stat st[], const char *line)
{
	unsigned maj, min;
	uint64_t ino;
	char perms[8];

	if (sscanf(line, "%*x-%*x %7s %*x %x:%x %" SCNu64, perms, &maj, &min, &ino) != 4 || perms[1] != 'w' ||
		perms[3] != 's')
		return false;
	for (unsigned i = 0; i < c->n_blocks; i++)
		if (ino == st[i].st_ino && major(st[i].st_dev) == maj && minor(st[i].st_dev) == min)
			return true;
	return false;
}

static bool process_writes(const struct checks *c, const struct stat st[], const char *pid)
{
	char path[300], line[1024];
	bool writes = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return false; /* gone, or not ours to look into: that is another user's, who cannot map a file of mode 0600 */
	while (!writes && fgets(line, sizeof(line), f))
		writes = line_writes(c, st, line);
	fclose(f);
	return writes;
}

static void say_writer(struct checks *c, const char *pid)
{
	char path[300], comm[32] = "?", why[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (f) {
		if (fgets(comm, sizeof(comm), f))
			comm[strcspn(comm, "\n")] = 0;
		fclose(f);
	}
	snprintf(why, sizeof(why),
		"process %s (%s) maps the guest's RAM file too: what it writes would not be seen; end it, or move cold",
		pid, comm);
	failed(c, "shared-memory", why);
}

/* What another process writes through its own mapping is not tracked (vhost-user back ends, debuggers). */
static void check_other_writers(struct checks *c)
{
	struct stat st[RAM_BLOCKS_MAX];
	struct dirent *de;
	DIR *proc;

	for (unsigned i = 0; i < c->n_blocks; i++)
		if (stat(c->blocks[i].path, &st[i]) != 0)
			return; /* check_ram_files has said it */
	proc = c->n_blocks ? opendir("/proc") : NULL;
	while (proc && (de = readdir(proc)) != NULL) {
		char *end;
		long pid = strtol(de->d_name, &end, 10);

		if (*end || pid < 1 || pid == c->conf->pid || pid == getpid())
			continue;
		if (process_writes(c, st, de->d_name))
			say_writer(c, de->d_name);
	}
	if (proc)
		closedir(proc);
}

/* ---- QEMU ------------------------------------------------------------------------------------------------ */

static bool may_move(const char *status)
{
	static const char *const may[] = {"running", "paused", "postmigrate", "prelaunch"};

	for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++)
		if (strcmp(status, may[i]) == 0)
			return true;
	return false;
}

static void check_state(struct checks *c)
{
	char status[32], why[160];
	struct err e = {0};

	if (vm_status(c->vm, status, &e) != 0) {
		failed(c, "state", err_msg(&e));
	} else if (!may_move(status)) {
		snprintf(why, sizeof(why), "the guest is %s; only one that runs or is paused can be moved", status);
		failed(c, "state", why);
	}
}

static void check_memory(struct checks *c)
{
	struct err e = {0};

	if (c->n_blocks && vm_memory_check(c->vm, c->blocks, c->n_blocks, &e) != 0)
		failed(c, "memory", err_msg(&e));
}

static void on_blocker(void *arg, const char *why)
{
	failed(arg, "device", why);
}

static void check_blockers(struct checks *c)
{
	struct err e = {0};

	if (vm_blockers(c->vm, on_blocker, c, &e) != 0)
		failed(c, e.code == EBUSY ? "migration" : "qmp", err_msg(&e));
}

static bool is_word(const char *text, const char *word, size_t len)
{
	for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
		if ((at == text || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

/* What every QEMU of ours has beside the devices of its definition: hot-plugged vCPUs (re-created by their core ids), and pvpanic. */
static bool is_expected(const struct checks *c, const char *id, const char *type)
{
	if (!c->conf->devices[0]) /* by hand: nobody says what there should be */
		return true;
	if (!id[0])
		return !strcmp(type, "pvpanic");
	return (!strncmp(id, "cpu-", 4) && strstr(type, "-x86_64-cpu")) || is_word(c->conf->devices, id, strlen(id));
}

static void on_device(void *arg, const char *id, const char *type)
{
	struct checks *c = arg;
	char why[320];
	size_t n = strlen(c->devices);

	snprintf(c->devices + n, sizeof(c->devices) - n, "%s ", id);
	if (strstr(type, "vfio-") || strstr(type, "vhost-user-"))
		snprintf(why, sizeof(why),
			"device \"%.60s\" (%.60s) writes to guest memory by itself; take it out, or move cold", id,
			type);
	else if (!is_expected(c, id, type))
		snprintf(why, sizeof(why),
			"device \"%.60s\" (%.60s) was added by hand: its definition lacks it, so the target would too; take it out, or move cold",
			id, type);
	else
		return;
	failed(c, "device", why);
}

static void check_missing(struct checks *c)
{
	char why[320], *save = NULL, expected[sizeof(c->conf->devices)];

	snprintf(expected, sizeof(expected), "%s", c->conf->devices);
	for (const char *id = strtok_r(expected, " ", &save); id; id = strtok_r(NULL, " ", &save)) {
		if (is_word(c->devices, id, strlen(id)))
			continue;
		snprintf(why, sizeof(why),
			"device \"%.60s\" of its definition is not in its QEMU: taken out by hand, or the definition changed since it was started; "
			"stop and start it, or move cold",
			id);
		failed(c, "device", why);
	}
}

static void check_devices(struct checks *c)
{
	struct err e = {0};

	if (vm_devices(c->vm, on_device, c, &e) != 0)
		failed(c, "qmp", err_msg(&e));
	else
		check_missing(c);
}

static const struct {
	void (*run)(struct checks *c);
	bool needs_vm;
} table[] = {
	{check_tracker, false},
	{check_ram_files, false},
	{check_other_writers, false},
	{check_state, true},
	{check_memory, true},
	{check_blockers, true},
	{check_devices, true},
};

unsigned checks_run(const struct worker_conf *conf, struct loop *loop, struct vm *vm, check_fail_fn *fail, void *arg)
{
	struct checks c = {.conf = conf, .vm = vm, .fail = fail, .arg = arg};
	struct vm own = {0};
	struct err e = {0};

	if (!vm) {
		if (vm_open(&own, loop, conf->qmp, 5000, &e) == 0)
			c.vm = &own;
		else
			failed(&c, "qmp", err_msg(&e));
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (c.vm || !table[i].needs_vm)
			table[i].run(&c);
	vm_close(&own);
	return c.n_failed;
}

/* ---- the program's "check" ------------------------------------------------------------------------------- */

static void on_failure(void *arg, const char *what, const char *why)
{
	json_array_append_new(arg, json_pack("{s:s, s:s}", "what", what, "why", why));
}

int checks_main(int fd)
{
	struct worker_conf conf;
	struct boss *boss = NULL;
	struct loop loop = {.wake_fd = -1};
	json_t *line = NULL, *failures = json_array();
	struct err e = {0};
	int rc = boss_new(fd, &boss, &e);

	if (rc == 0)
		rc = boss_first_line(boss, &line, &e);
	if (rc == 0)
		rc = worker_conf_parse(line, WORKER_CHECK, &conf, &e);
	if (rc == 0)
		rc = loop_init(&loop, &e);
	if (rc == 0)
		checks_run(&conf, &loop, NULL, on_failure, failures);
	else
		on_failure(failures, "start", err_msg(&e));
	if (boss)
		boss_send(boss,
			json_pack("{s:s, s:b, s:O}", "event", "check", "ok", json_array_size(failures) == 0, "failures",
				failures));
	loop_fini(&loop);
	json_decref(failures);
	json_decref(line);
	boss_free(boss);
	return 0;
}
