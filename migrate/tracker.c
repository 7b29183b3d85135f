/* Which tracker works here; see tracker.h. Called by pre-checks and by the source's engine thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/tracker_int.h"
#include "migrate/uffd_abi.h"

struct trial { /* of a page of our own, in shared memory as a guest's is */
	int fd, pagemap;
	void *page;
	size_t bytes;
};

static void trial_begin(struct trial *t)
{
	t->bytes = (size_t)sysconf(_SC_PAGESIZE);
	t->page = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	t->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static void trial_end(struct trial *t)
{
	if (t->page != MAP_FAILED)
		munmap(t->page, t->bytes);
	if (t->fd >= 0)
		close(t->fd);
	if (t->pagemap >= 0)
		close(t->pagemap);
}

/* Asynchronous write protection: 0 or an errno. */
static int trial_arm(const struct trial *t)
{
	const struct uffdio_range all = {.start = (uint64_t)(uintptr_t)t->page, .len = t->bytes};
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_WANTED};
	struct uffdio_register reg = {.range = all, .mode = UFFDIO_REGISTER_MODE_WP};
	struct uffdio_writeprotect wp = {.range = all, .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	return ioctl(t->fd, UFFDIO_API, &api) || ioctl(t->fd, UFFDIO_REGISTER, &reg) ||
			ioctl(t->fd, UFFDIO_WRITEPROTECT, &wp)
		? errno
		: 0;
}

/* PAGEMAP_SCAN: is the page reported as written? -1: it cannot be asked. */
static int trial_written(const struct trial *t)
{
	struct pm_region region;
	struct pm_scan s = {.size = sizeof(s),
		.start = (uint64_t)(uintptr_t)t->page,
		.end = (uint64_t)(uintptr_t)t->page + t->bytes,
		.vec = (uint64_t)(uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PM_WRITTEN,
		.return_mask = PM_WRITTEN};

	return ioctl(t->pagemap, PM_IOCTL_SCAN, &s);
}

/* A page that was written and then left the page table, as one does that is swapped out: still reported? (6.18: it is.) Where it is not, a host with swap would
 * lose writes. */
static bool trial_forgets(const struct trial *t)
{
	*(volatile char *)t->page = 1;
	return trial_written(t) == 1 && madvise(t->page, t->bytes, MADV_DONTNEED) == 0 && trial_written(t) == 0;
}

/* Asynchronous write protection and PAGEMAP_SCAN, tried on a page of our own. */
static int probe_uffd(struct err *e)
{
	struct trial t;
	int ret = 0;

	trial_begin(&t);
	if (t.page == MAP_FAILED || t.pagemap < 0)
		ret = err_set(e, errno, "cannot try dirty-page tracking: %s", strerror(errno));
	else if (t.fd < 0)
		ret = err_set(e, ENOTSUP, "userfaultfd is not allowed here (%s); the worker must run as root",
			strerror(errno));
	else if (trial_arm(&t) || trial_written(&t) < 0)
		ret = err_set(
			e, ENOTSUP, "this kernel cannot track written pages from outside (needs Linux 6.7 or newer)");
	else if (tracker_has_swap() && trial_forgets(&t))
		ret = err_set(e, ENOTSUP, "this kernel forgets writes to pages that it swaps out; swapoff -a first");
	trial_end(&t);
	return ret;
}

/* The best one that works here: *@soft_out is which. */
static int probe_kernel(bool *soft_out, struct err *e)
{
	struct err uffd = {0}, soft = {0};
	int ret = probe_uffd(&uffd);

	*soft_out = ret == -ENOTSUP && tracker_soft_probe(&soft) == 0;
	if (!ret || *soft_out)
		return 0;
	if (ret != -ENOTSUP)
		return err_set(e, -ret, "%s", uffd.msg);
	return err_set(e, ENOTSUP, "%.200s; nor the older way: %.200s. The domain can be moved cold or warm", uffd.msg,
		soft.msg);
}

/* Opening /proc/PID/mem is judged by the kernel as attaching with ptrace would be. */
static int probe_process(pid_t pid, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ESRCH, "there is no process %d", (int)pid);
	if (fd < 0)
		return err_set(e, ENOTSUP,
			"QEMU (process %d) may not be traced from here (%s); the worker must run as root or as QEMU's user",
			(int)pid, strerror(errno));
	close(fd);
	return 0;
}

/* Injecting a system call knows one processor. */
static int probe(pid_t pid, bool *soft_out, struct err *e)
{
	int ret = probe_kernel(soft_out, e);

#ifndef __x86_64__
	if (!ret && !*soft_out)
		ret = err_set(e, ENOTSUP,
			"dirty-page tracking is not written for this processor yet; the domain can be moved cold or warm");
#endif
	return ret ? ret : probe_process(pid, e);
}

int tracker_probe(pid_t pid, struct err *e)
{
	bool soft;

	return probe(pid, &soft, e);
}

bool tracker_needs_digest(void)
{
	struct err e;
	bool soft;

	return !probe_kernel(&soft, &e) && soft;
}

int tracker_open(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct tracker *out, struct err *e)
{
	bool soft = false;
	int ret = !n_blocks || n_blocks > RAM_BLOCKS_MAX ? err_set(e, EINVAL, "%u blocks of RAM", n_blocks)
							 : probe(pid, &soft, e);

	if (ret)
		return ret;
	return soft ? tracker_soft_open(pid, blocks, n_blocks, out, e)
		    : tracker_uffd_open(pid, blocks, n_blocks, out, e);
}
