/* The test guest's first process: mounts, loads modules, starts the jobs, and turns the power off.
 *
 * Everything is done here rather than in a shell script because each fork costs tens of milliseconds under emulation, and every
 * test waits for this boot. /etc/modules (made by mkinitrd.sh) is the list of modules, in order. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "balguest.h"

#define STACK_BYTES (256u << 10)
#define LINE_MAX_BYTES 1024
/* Free-page reporting in pieces of 128 KiB. The kernel's 2 MiB would need 64 MiB free before it reports anything at all. */
#define REPORTING_ORDER "/sys/module/page_reporting/parameters/page_reporting_order"

static atomic_int console_fd = 2;

static void __attribute__((format(printf, 2, 0))) vsay(const char *prefix, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	int n = snprintf(line, sizeof(line), "BG %s", prefix), m;

	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	n = m < (int)sizeof(line) - n - 1 ? n + m : (int)sizeof(line) - 2;
	line[n++] = '\n';
	if (write(console_fd, line, (size_t)n) < 0) /* one write: lines of several threads do not mix */
		return;
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay("", fmt, ap);
	va_end(ap);
}

static void __attribute__((noreturn)) power_off(void)
{
	reboot(RB_POWER_OFF);
	sleep_ms(5000);
	file_write("/proc/sys/kernel/sysrq", "1");
	file_write("/proc/sysrq-trigger", "c");
	for (;;)
		pause();
}

void guest_fail(const char *fmt, ...)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	va_list ap;

	if (atomic_flag_test_and_set(&said)) /* the first reason is the one that counts */
		for (;;)
			pause();
	va_start(ap, fmt);
	vsay("fail ", fmt, ap);
	va_end(ap);
	power_off();
}

/* What an archive beside ours brought (docs/guest.md): run by busybox's shell as an ordinary process. Its id, or -1 where there is none. */
static pid_t script_start(const char *path)
{
	char shell[] = "sh", script[64], search[] = "PATH=/bin";
	char *argv[] = {shell, script, NULL}, *env[] = {search, NULL};
	const struct sched_param ordinary = {0};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t at;
	pid_t pid = -1;
	int rc;

	if (access(path, R_OK) < 0)
		return -1;
	snprintf(script, sizeof(script), "%s", path);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, "/dev/hvc0", O_WRONLY | O_NOCTTY, 0);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	posix_spawnattr_init(&at);
	posix_spawnattr_setschedpolicy(&at, SCHED_OTHER);
	posix_spawnattr_setschedparam(&at, &ordinary);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSCHEDULER | POSIX_SPAWN_SETSCHEDPARAM);
	rc = posix_spawn(&pid, "/bin/busybox", &files, &at, argv, env);
	posix_spawnattr_destroy(&at);
	posix_spawn_file_actions_destroy(&files);
	if (rc)
		guest_fail("cannot run %s: %s", path, strerror(rc));
	return pid;
}

void guest_poweroff(void)
{
	pid_t pid;

	say("stop");
	pid = script_start("/etc/rc.stop");
	if (pid > 0)
		waitpid(pid, NULL, 0);
	sync();
	power_off();
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void sleep_until_ns(uint64_t when)
{
	struct timespec t = {.tv_sec = (time_t)(when / NS_PER_S), .tv_nsec = (long)(when % NS_PER_S)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

void sleep_ms(unsigned ms)
{
	sleep_until_ns(now_ns() + ms * 1000000ull);
}

void thread_start(void *(*fn)(void *), void *arg, unsigned rt_priority)
{
	struct sched_param param = {.sched_priority = (int)rt_priority};
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (rt_priority) {
		pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
		pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
		pthread_attr_setschedparam(&attr, &param);
	}
	rc = pthread_create(&thread, &attr, fn, arg);
	if (rc)
		guest_fail("cannot start a thread: %s", strerror(rc));
	pthread_attr_destroy(&attr);
}

bool file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return true;
}

bool file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text);
}

bool size_parse(const char *text, uint64_t *bytes_out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (end == text || *text == '-')
		return false;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return false;
		n <<= 10 * (unit - units + 1);
	}
	*bytes_out = n;
	return true;
}

static void mounts(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

static void module_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		say("note module %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void modules_load(void)
{
	char list[4096], *save = NULL;

	if (!file_read("/etc/modules", list, sizeof(list)))
		return;
	for (char *path = strtok_r(list, "\n", &save); path; path = strtok_r(NULL, "\n", &save))
		module_load(path);
}

static void console_open(void)
{
	for (unsigned i = 0; i < 100; i++) {
		int fd = open("/dev/hvc0", O_WRONLY | O_NOCTTY | O_CLOEXEC);

		if (fd >= 0) {
			console_fd = fd;
			return;
		}
		sleep_ms(20);
	}
}

/* "ballast.KEY=NUMBER" from the kernel's command line. */
static unsigned cmdline_number(const char *key, unsigned otherwise)
{
	char line[2048], *at;

	if (!file_read("/proc/cmdline", line, sizeof(line)) || !(at = strstr(line, key)))
		return otherwise;
	return (unsigned)strtoul(at + strlen(key), NULL, 10);
}

static unsigned long long memtotal_kb(void)
{
	char buf[256], *at;

	if (!file_read("/proc/meminfo", buf, sizeof(buf)) || !(at = strstr(buf, "MemTotal:")))
		return 0;
	return strtoull(at + 9, NULL, 10);
}

int main(void)
{
	mounts();
	modules_load();
	file_write(REPORTING_ORDER, "5"); /* after the balloon, which sets it */
	console_open();
	file_write("/sys/devices/system/memory/auto_online_blocks", "online_movable");
	file_write("/proc/sys/kernel/sched_rt_runtime_us", "-1"); /* the heartbeat is never throttled */
	beat_init(cmdline_number("ballast.hb=", 10));
	memory_init();
	say("ready %llu %u", memtotal_kb(), cpus_online());
	script_start("/etc/rc");
	agent_run();
}
