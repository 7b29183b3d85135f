/* Holding a process still; see freeze.h. A running thread may make new ones, so: seize and interrupt all that are there, wait for them, look
 * again, until a look finds nobody new. Then nobody is left who could make one. */
#include "migrate/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#include "migrate/ptrace_stop.h"

#define THREAD_MS 2000     /* for one thread to stop: it may be reading from a disk */
#define STRAGGLER_MS 30000 /* for one that did not, before it can be let go */

struct thread {
	pid_t tid;
	enum { STOPPING, STOPPED, ENDED } state;
};

struct freeze {
	pid_t pid;
	struct thread *v;
	size_t n, cap;
};

static bool known(const struct freeze *f, pid_t tid)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].tid == tid)
			return true;
	return false;
}

/* io_uring's workers are listed among the threads, cannot be traced, and may write into guest memory. */
static bool is_io_worker(pid_t pid, pid_t tid)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", (int)pid, (int)tid);
	f = fopen(path, "re");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = 0;
	if (f)
		fclose(f);
	return !strncmp(name, "iou-", 4);
}

/* A thread on its way out cannot be seized (EPERM) and runs no more of its program. */
static bool has_ended(pid_t pid, pid_t tid)
{
	char path[64], line[256], *at = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		at = strrchr(line, ')'); /* the name before it may hold anything */
	if (f)
		fclose(f);
	return !at || strlen(at) < 3 || strchr("ZX", at[2]);
}

static int add(struct freeze *f, pid_t tid, struct err *e)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 32;
		struct thread *v = realloc(f->v, cap * sizeof(*v));

		if (!v)
			return err_set(e, ENOMEM, "out of memory");
		f->v = v;
		f->cap = cap;
	}
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
		int code = errno;

		if (code == ESRCH || has_ended(f->pid, tid))
			return 0;
		if (is_io_worker(f->pid, tid))
			return err_set(e, ENOTSUP,
				"QEMU (process %d) uses io_uring, whose kernel threads cannot be held; give its disks aio=threads or "
				"native, or move the domain cold or warm",
				(int)f->pid);
		return ptrace_seize_failure(f->pid, code, e);
	}
	f->v[f->n++] =
		(struct thread){.tid = tid, .state = ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) ? ENDED : STOPPING};
	return 0;
}

/* Seize who is not known yet. Reading /proc/PID/task may pass over a thread when another one ends meanwhile; the folder's link count says how many there
 * are, and fewer seen than that is a reason to look again too. */
static int seize_new(struct freeze *f, bool *grew, struct err *e)
{
	size_t before = f->n, seen = 0;
	struct dirent *ent;
	struct stat st;
	char path[64];
	int ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)f->pid);
	d = opendir(path);
	if (!d)
		return err_set(e, ESRCH, "there is no process %d", (int)f->pid);
	while (!ret && (ent = readdir(d))) {
		pid_t tid = (pid_t)atoi(ent->d_name);

		seen += tid > 0;
		if (tid > 0 && !known(f, tid))
			ret = add(f, tid, e);
	}
	closedir(d);
	*grew = f->n > before || (!stat(path, &st) && st.st_nlink > seen + 2); /* . and .. */
	return ret;
}

static int wait_all(struct freeze *f, struct err *e)
{
	for (size_t i = 0; i < f->n; i++) {
		struct thread *t = &f->v[i];
		int ret = t->state == STOPPING ? ptrace_wait_trap(t->tid, THREAD_MS) : 0;

		if (ret == -ETIMEDOUT)
			return err_set(e, ETIMEDOUT, "a thread of QEMU (%d) does not stop: it waits in the kernel",
				(int)t->tid);
		if (t->state == STOPPING)
			t->state = ret ? ENDED : STOPPED;
	}
	return 0;
}

int freeze_open(pid_t pid, struct freeze **out, struct err *e)
{
	struct freeze *f = calloc(1, sizeof(*f));
	bool grew = true;
	int ret = 0;

	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	f->pid = pid;
	while (!ret && grew) {
		ret = seize_new(f, &grew, e);
		if (!ret)
			ret = wait_all(f, e);
	}
	if (ret)
		freeze_close(f);
	else
		*out = f;
	return ret;
}

void freeze_close(struct freeze *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++) {
		/* One that has not stopped yet would stop for good as soon as it can: only a stopped one can be detached. */
		if (f->v[i].state == STOPPING && ptrace_wait_trap(f->v[i].tid, STRAGGLER_MS))
			continue;
		if (f->v[i].state != ENDED)
			ptrace(PTRACE_DETACH, f->v[i].tid, NULL, NULL);
	}
	free(f->v);
	free(f);
}
