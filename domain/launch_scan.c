/* Finding QEMU again, telling whether it lives, and clearing away what it left. Called by policyd at its start and when a pidfd says that a
 * QEMU has ended; loop thread. Identity is pid + start time; where only a name is known, the uuid and the run folder in the command line
 * (the same uuid runs twice on one machine when both hosts of a migration are network namespaces of it). */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/launch_priv.h"

/* ---- is it alive? ---- */

static ssize_t read_proc(pid_t pid, const char *leaf, char *out, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, leaf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, out, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	out[n] = 0;
	return n;
}

uint64_t launch_start_time(pid_t pid)
{
	char text[1024], *p, state;
	uint64_t start;

	if (pid <= 0 || read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return 0;
	p = strrchr(text, ')'); /* the name before it may contain anything */
	if (!p ||
		sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
			&state, &start) != 2)
		return 0;
	return strchr("ZXx", state) ? 0 : start;
}

bool launch_alive(const struct launched *l)
{
	if (l->pid <= 0 || !l->start_time)
		return false;
	if (launch_start_time(l->pid) == l->start_time)
		return true;
	waitpid(l->pid, NULL, WNOHANG); /* no effect unless it is our dead child */
	return false;
}

int launch_pidfd(const struct launched *l)
{
	int fd;

	if (!launch_alive(l))
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, l->pid, 0);
	if (fd < 0)
		return -errno;
	if (launch_alive(l)) /* the pid was not reused in between, so this is the one */
		return fd;
	close(fd);
	return -ESRCH;
}

/* ---- who is it? ---- */

/* @or_more: or one that goes on with a dot after it. */
static bool has_argument(const char *args, size_t n, const char *what, bool or_more)
{
	size_t len = strlen(what);
	const char *p;

	for (p = args; p < args + n; p += strlen(p) + 1)
		if (!strncmp(p, what, len) && (!p[len] || (or_more && p[len] == '.')))
			return true;
	return false;
}

static bool is_qemu_of(pid_t pid, const struct launched *l, const char *pidfile)
{
	bool any = l->generation == LAUNCH_ANY_GENERATION;
	char args[16384];
	ssize_t n = read_proc(pid, "cmdline", args, sizeof(args));

	return n > 0 && has_argument(args, (size_t)n, l->spec.uuid, false) &&
		has_argument(args, (size_t)n, pidfile, any);
}

static int pidfile_path(const struct host_services *s, const struct launched *l, char out[SPEC_PATH_MAX])
{
	char leaf[64];

	launch_leaf(l->generation == LAUNCH_ANY_GENERATION ? 0 : l->generation, "qemu.pid", leaf);
	return rundir_path(s, l->spec.name, leaf, out, NULL);
}

/* A process is known by its command line, and has none of its own until exec is nearly through: before, it shows its launcher's, and for a moment
 * an empty one (the kernel lets posix_spawn return before it has set the new one). One that was started a moment ago must not be taken for a
 * leftover, or the guest would be started twice; so where the record leaves it open, it is looked at for a second. */
#define LOOKS 100
static const struct timespec look_pause = {.tv_nsec = 10 * 1000 * 1000};

bool launch_is_qemu(const struct host_services *s, const struct launched *l)
{
	char pidfile[SPEC_PATH_MAX];

	if (pidfile_path(s, l, pidfile))
		return false;
	for (unsigned i = 0; i < LOOKS && launch_alive(l); i++) {
		if (is_qemu_of(l->pid, l, pidfile))
			return true;
		nanosleep(&look_pause, NULL);
	}
	return false;
}

int launch_find_process(const struct host_services *s, struct launched *l)
{
	char pidfile[SPEC_PATH_MAX];
	struct dirent *d;
	int r = -ESRCH;
	DIR *proc;

	if (pidfile_path(s, l, pidfile))
		return -ESRCH;
	proc = opendir("/proc");
	while (proc && r < 0 && (d = readdir(proc))) {
		pid_t pid = isdigit((unsigned char)d->d_name[0]) ? atoi(d->d_name) : 0;

		if (!pid || !is_qemu_of(pid, l, pidfile))
			continue;
		l->start_time = launch_start_time(pid);
		l->pid = pid;
		if (l->start_time)
			r = 0;
	}
	if (proc)
		closedir(proc);
	return r;
}

int launch_find_unrecorded(const struct host_services *s, struct launched *l)
{
	int r = launch_find_process(s, l);

	for (unsigned i = 0; i < LOOKS && r < 0; i++) {
		nanosleep(&look_pause, NULL);
		r = launch_find_process(s, l);
	}
	return r;
}

/* The record and the process it speaks of. pid = 0 in @l: dead. */
static int look_up(const struct host_services *s, const char *name, struct launched *l, struct err *e)
{
	int r = launch_next_settle(s, name, e);

	l->pid = 0;
	if (!r)
		r = launch_record_read(s, name, LAUNCH_RECORD, l, e);
	if (!r)
		r = launch_next_finish(s, l, e);
	if (r)
		return r;
	if (l->pid && launch_is_qemu(s, l))
		return 0;
	/* no pid: its launcher died after starting it, or before */
	if (l->pid || launch_find_unrecorded(s, l) < 0)
		l->pid = 0;
	else
		launch_record_write(s, l, LAUNCH_RECORD, NULL);
	return 0;
}

int launch_scan(
	const struct host_services *s, void (*found)(void *arg, const struct launched *l), void *arg, struct err *e)
{
	struct launched l;
	struct dirent *d;
	int r = 0;
	DIR *run = opendir(s->paths.run);

	if (!run)
		return errno == ENOENT ? 0 : err_set(e, errno, "%s: %s", s->paths.run, strerror(errno));
	while ((d = readdir(run))) {
		struct err one = {0};
		int r1 = name_valid(d->d_name) ? look_up(s, d->d_name, &l, &one) : -ENOENT;

		if (!r1)
			found(arg, &l);
		else if (r1 != -ENOENT && r1 != -ENOTDIR)
			r = err_set(e, -r1, "%s", one.msg);
	}
	closedir(run);
	return r;
}

int launch_update(const struct host_services *s, const struct launched *l, struct err *e)
{
	return launch_record_write(s, l, LAUNCH_RECORD, e);
}

/* ---- its last words ---- */

static void tail_of(const char *path, char *out, size_t size)
{
	char text[4096], *line, *save = NULL;
	size_t used = 0, want = size - size / 8; /* "; " is longer than what it stands for */
	ssize_t n = -1;
	off_t end;
	int fd;

	out[0] = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	if (want > sizeof(text) - 1)
		want = sizeof(text) - 1;
	if (end > 0)
		n = pread(fd, text, want, end > (off_t)want ? end - (off_t)want : 0);
	close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	line = end > (off_t)want ? strchr(text, '\n')
				 : NULL; /* begins inside a line: from the next one on, if there is one */
	line = strtok_r(line && line[1] ? line : text, "\n", &save);
	for (; line && used < size; line = strtok_r(NULL, "\n", &save))
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "; " : "", line);
}

void launch_stderr_tail(const struct host_services *s, const char *name, char *out, size_t size)
{
	char path[SPEC_PATH_MAX];

	out[0] = 0;
	if (!rundir_path(s, name, "qemu.log", path, NULL))
		tail_of(path, out, size);
}

void launch_next_stderr_tail(const struct host_services *s, const struct launched *next, char *out, size_t size)
{
	char path[SPEC_PATH_MAX];

	out[0] = 0;
	if (!launch_next_path(s, next, "qemu.log", path, NULL))
		tail_of(path, out, size);
}

/* ---- clearing away ---- */

void launch_remove_folder(const char *dir)
{
	struct dirent *d;
	DIR *folder = opendir(dir);

	if (!folder)
		return;
	while ((d = readdir(folder)))
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
			unlinkat(dirfd(folder), d->d_name, 0);
	closedir(folder);
	rmdir(dir);
}

static int remove_file(const char *path, struct err *e)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(e, errno, "cannot remove %s: %s", path, strerror(errno));
	return 0;
}

static int remove_all(const struct host_services *s, const struct domain_spec *spec, struct err *e)
{
	char dir[SPEC_PATH_MAX], ram[SPEC_PATH_MAX], vmem[SPEC_PATH_MAX];
	int r = rundir_path(s, spec->name, "", dir, e);

	if (!r)
		r = ram_path(s, spec, ram, e);
	if (!r)
		r = vmem_path(s, spec, vmem, e);
	if (!r)
		r = remove_file(ram, e);
	if (!r)
		r = remove_file(vmem, e);
	if (!r)
		launch_remove_folder(dir); /* last: while it is there, the RAM files are known to be ours */
	return r;
}

/* Whose folder it is, and that nothing runs there. -ENOENT: nothing was ever started here, so that a RAM file would not be ours. */
static int look_up_dead(
	const struct host_services *s, const struct domain_spec *spec, struct launched *l, struct err *e)
{
	int r = look_up(s, spec->name, l, NULL);

	if (r == -ENOENT || r == -ENAMETOOLONG)
		return r;
	if (r < 0) { /* a record that cannot be read: command lines decide */
		*l = (struct launched){.spec = *spec, .generation = LAUNCH_ANY_GENERATION};
		if (launch_find_unrecorded(s, l) < 0)
			l->pid = 0;
	}
	if (l->pid)
		return err_set(e, EBUSY, "QEMU of domain \"%s\" still runs (pid %d)", spec->name, (int)l->pid);
	return 0;
}

int launch_clear_dead(const struct host_services *s, const struct domain_spec *spec, struct err *e)
{
	struct launched l;
	int r = look_up_dead(s, spec, &l, e);

	return r < 0 ? (r == -ENOENT ? 0 : r) : remove_all(s, &l.spec, e);
}

int launch_cleanup(const struct host_services *s, const struct domain_spec *spec, struct err *e)
{
	struct launched l;
	int r = look_up_dead(s, spec, &l, e);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (strcmp(l.spec.uuid, spec->uuid))
		return err_set(e, EEXIST, "the run folder of \"%s\" belongs to another domain (uuid %s)", spec->name,
			l.spec.uuid);
	return remove_all(s, spec, e);
}
