/* Injecting system calls by ptrace; see inject.h.
 *
 * PTRACE_SEIZE and PTRACE_INTERRUPT stop a thread without a signal of ours. It stops on its way back to user mode, before the kernel has
 * decided whether an interrupted system call is to be restarted. So: save registers (with orig_rax and the -ERESTART.. in rax), run our calls
 * with orig_rax = -1, stop it once more by PTRACE_INTERRUPT, *in that same place*, put the registers back, and let the kernel do the restart
 * itself. Signals are blocked in the thread meanwhile (its mask is restored), so no handler ever sees our registers. SIGSTOP cannot be
 * blocked; it is kept and sent again at the end.
 * The `syscall` instruction that we use is the one the thread stands behind, else one of the vdso or libc. */
#include "migrate/inject.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/maps.h"
#include "migrate/ptrace_stop.h"

#define STOP_TRIES_MS 1000 /* per thread, until it stops */
#define CALL_MS 30000      /* the calls we make do not block */
#define KERNEL_SIGSET_BYTES 8
#define SYSCALL_STOP (SIGTRAP | 0x80)
#define TEXT_MAX (8u << 20) /* of one mapping searched for an instruction */

struct inject {
	pid_t pid, tid;
	struct user_regs_struct saved;
	uint64_t saved_mask;
	uint64_t syscall_at;
	bool stopped_again; /* a SIGSTOP came while we were at it */
};

#ifdef __x86_64__

static const uint8_t syscall_insn[2] = {0x0f, 0x05};

/* ---- stepping from system call to system call --------------------------------------------------------------- */

/* Resume until the next entry to or exit from a system call. */
static int to_syscall_stop(struct inject *in)
{
	int status, ret;

	do {
		if (ptrace(PTRACE_SYSCALL, in->tid, NULL, NULL))
			return -errno;
		ret = ptrace_wait_stop(in->tid, CALL_MS, &status);
		if (!ret && !ptrace_is_trap(status) && WSTOPSIG(status) == SIGSTOP)
			in->stopped_again = true;
	} while (!ret && WSTOPSIG(status) != SYSCALL_STOP);
	return ret;
}

/* ---- registers, mask, instruction -------------------------------------------------------------------------- */

static int regs_get(pid_t tid, struct user_regs_struct *regs)
{
	struct iovec iov = {.iov_base = regs, .iov_len = sizeof(*regs)};

	return ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &iov) ? -errno : 0;
}

static int regs_set(pid_t tid, struct user_regs_struct *regs)
{
	struct iovec iov = {.iov_base = regs, .iov_len = sizeof(*regs)};

	return ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &iov) ? -errno : 0;
}

struct text_search {
	int mem_fd;
	uint64_t found;
};

static bool on_text(void *arg, const struct maps_line *m)
{
	struct text_search *s = arg;
	size_t n = m->end - m->start < TEXT_MAX ? (size_t)(m->end - m->start) : TEXT_MAX;
	bool candidate = m->perms[2] == 'x' &&
		(!strcmp(m->path, "[vdso]") || strstr(m->path, "/libc.so") || strstr(m->path, "/libc-"));
	uint8_t *text = candidate ? malloc(n) : NULL;
	ssize_t got = text ? pread(s->mem_fd, text, n, (off_t)m->start) : 0;
	uint8_t *at = got > 1 ? memmem(text, (size_t)got, syscall_insn, sizeof(syscall_insn)) : NULL;

	if (at)
		s->found = m->start + (uint64_t)(at - text);
	free(text);
	return !s->found;
}

/* A `syscall` instruction of the process: where the thread stands, or anywhere in vdso or libc. */
static int find_syscall(struct inject *in, struct err *e)
{
	struct text_search s = {0};
	uint8_t here[2] = {0};
	char path[64];
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)in->pid);
	s.mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s.mem_fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	if (pread(s.mem_fd, here, sizeof(here), (off_t)(in->saved.rip - 2)) == sizeof(here) &&
		!memcmp(here, syscall_insn, sizeof(here)))
		s.found = in->saved.rip - 2;
	else
		ret = maps_walk(in->pid, on_text, &s, e);
	close(s.mem_fd);
	if (!ret && !s.found)
		ret = err_set(e, ENOTSUP, "no system call instruction found in process %d", (int)in->pid);
	in->syscall_at = s.found;
	return ret;
}

/* ---- choosing a thread ------------------------------------------------------------------------------------- */

static int stop_thread(pid_t tid)
{
	int ret;

	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD))
		return -errno;
	ret = ptrace_interrupt(tid, STOP_TRIES_MS);
	/* One that does not stop (in an uninterruptible sleep) cannot be detached from either; it is let go when we end. */
	return ret;
}

/* The main thread first: it mostly waits in ppoll. Another one if it does not stop. */
static int choose_thread(struct inject *in, struct err *e)
{
	char path[64];
	struct dirent *ent;
	int ret = stop_thread(in->pid);
	DIR *d;

	in->tid = in->pid;
	if (ret != -ETIMEDOUT)
		return ret ? ptrace_seize_failure(in->pid, -ret, e) : 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)in->pid);
	d = opendir(path);
	while (ret == -ETIMEDOUT && d && (ent = readdir(d))) {
		in->tid = (pid_t)atoi(ent->d_name);
		if (in->tid > 0 && in->tid != in->pid)
			ret = stop_thread(in->tid);
	}
	if (d)
		closedir(d);
	return ret ? err_set(e, -ret, "no thread of QEMU (process %d) can be stopped: %s", (int)in->pid, strerror(-ret))
		   : 0;
}

/* ---- public ------------------------------------------------------------------------------------------------ */

int inject_open(pid_t pid, struct inject **out, struct err *e)
{
	struct inject *in = calloc(1, sizeof(*in));
	uint64_t all = ~0ULL;
	int ret;

	if (!in)
		return err_set(e, ENOMEM, "out of memory");
	in->pid = pid;
	ret = choose_thread(in, e);
	if (ret) {
		free(in);
		return ret;
	}
	ret = regs_get(in->tid, &in->saved);
	if (!ret && ptrace(PTRACE_GETSIGMASK, in->tid, (void *)KERNEL_SIGSET_BYTES, &in->saved_mask))
		ret = -errno;
	if (ret)
		err_set(e, -ret, "cannot read the registers of QEMU: %s", strerror(-ret));
	else
		ret = find_syscall(in, e);
	if (!ret && ptrace(PTRACE_SETSIGMASK, in->tid, (void *)KERNEL_SIGSET_BYTES, &all))
		ret = err_set(e, errno, "cannot hold back the signals of QEMU: %s", strerror(errno));
	if (ret) { /* nothing was changed yet */
		ptrace(PTRACE_DETACH, in->tid, NULL, NULL);
		free(in);
		return ret;
	}
	*out = in;
	return 0;
}

int inject_call(struct inject *in, long nr, const uint64_t args[6], int64_t *result, struct err *e)
{
	struct user_regs_struct r = in->saved;
	int ret;

	r.rip = in->syscall_at;
	r.rax = (unsigned long)nr;
	r.orig_rax = ~0UL; /* nothing to restart */
	r.rdi = args[0], r.rsi = args[1], r.rdx = args[2], r.r10 = args[3], r.r8 = args[4], r.r9 = args[5];
	ret = regs_set(in->tid, &r);
	if (!ret)
		ret = to_syscall_stop(in); /* entry */
	if (!ret)
		ret = regs_get(in->tid, &r);
	if (!ret && r.orig_rax != (unsigned long)nr)
		ret = -EPROTO;
	if (!ret)
		ret = to_syscall_stop(in); /* exit */
	if (!ret)
		ret = regs_get(in->tid, &r);
	if (ret)
		return err_set(e, -ret, "cannot run system call %ld in QEMU: %s", nr, strerror(-ret));
	*result = (int64_t)r.rax;
	return 0;
}

void inject_close(struct inject *in)
{
	if (!in)
		return;
	/* Failures here mean that the process is gone. */
	if (!ptrace(PTRACE_INTERRUPT, in->tid, NULL, NULL) && !ptrace(PTRACE_CONT, in->tid, NULL, NULL)) {
		int status;

		while (!ptrace_wait_stop(in->tid, CALL_MS, &status) && !ptrace_is_trap(status)) {
			in->stopped_again |= WSTOPSIG(status) == SIGSTOP;
			ptrace(PTRACE_CONT, in->tid, NULL, NULL);
		}
	}
	regs_set(in->tid, &in->saved);
	ptrace(PTRACE_SETSIGMASK, in->tid, (void *)KERNEL_SIGSET_BYTES, &in->saved_mask);
	ptrace(PTRACE_DETACH, in->tid, NULL, NULL);
	if (in->stopped_again)
		kill(in->pid, SIGSTOP);
	free(in);
}

#else /* other machines */

int inject_open(pid_t pid, struct inject **out, struct err *e)
{
	(void)pid, (void)out;
	return err_set(e, ENOTSUP, "dirty-page tracking is not written for this processor yet");
}

int inject_call(struct inject *in, long nr, const uint64_t args[6], int64_t *result, struct err *e)
{
	(void)in, (void)nr, (void)args, (void)result;
	return err_set(e, ENOTSUP, "not on this processor");
}

void inject_close(struct inject *in)
{
	(void)in;
}

#endif
