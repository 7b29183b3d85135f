/* Caps and weights on a host with cgroup v2: the only program of a tiny machine with one CPU (test_caps_v2.py), run as its init, for a machine that has
 * the cpu controller under v1 has none under v2. Two processes compute without end; we cap and weigh them as policyd does QEMUs, and print how much
 * of the CPU each of them got. Prints "CAP ..." lines. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "resize/cap.h"

#define LOOK_S 4

static void die(const char *what, const char *why)
{
	printf("CAP failed: %s: %s\n", what, why);
	fflush(stdout);
	reboot(RB_AUTOBOOT); /* with -no-reboot: the machine ends */
	_exit(1);
}

static pid_t burner(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork", strerror(errno));
	while (!pid)
		;
	return pid;
}

static double used_s(pid_t pid)
{
	char path[64], text[1024], *p;
	unsigned long user, system;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		die(path, "cannot be read");
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Percent of the CPU that each of them gets in the next seconds. */
static void look(const char *what, const pid_t pid[2])
{
	double t = now_s(), before[2] = {used_s(pid[0]), used_s(pid[1])};

	sleep(LOOK_S);
	t = now_s() - t;
	printf("CAP %s: %.0f %.0f\n", what, 100 * (used_s(pid[0]) - before[0]) / t,
		100 * (used_s(pid[1]) - before[1]) / t);
	fflush(stdout);
}

static void must(int rc, const struct err *e)
{
	if (rc < 0)
		die("cap", e->msg);
}

/* As a worker does it that only heard of it (cap_lift). */
static void lift(const struct cap_fs *fs, const char *name)
{
	char path[800], text[64];
	int fd;

	cap_lift(fs, name, 0, path, sizeof(path), text, sizeof(text));
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path, strerror(errno));
	close(fd);
}

static void say_gone(const struct cap_fs *fs)
{
	char base[400];

	snprintf(base, sizeof(base), "%s/%s", fs->mount, fs->base);
	printf("CAP groups %s\n", access(base, F_OK) ? "gone" : "left");
}

int main(void)
{
	pid_t pid[2];
	struct cap c[2];
	struct cap_fs fs;
	struct err e = {0};

	mkdir("/proc", 0755);
	mkdir("/cg", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("cgroup2", "/cg", "cgroup2", 0, NULL))
		die("mount", strerror(errno));
	must(cap_detect(NULL, &fs, &e), &e);
	printf("CAP kind %s at %s\n", fs.kind == CAP_V2 ? "v2" : "v1", fs.mount);
	pid[0] = burner();
	pid[1] = burner();
	look("free", pid);
	must(cap_open(&c[0], &fs, "web1", pid[0], &e), &e);
	must(cap_open(&c[1], &fs, "web2", pid[1], &e), &e);
	must(cap_set(&c[0], 30, &e), &e);
	look("first capped to 30", pid);
	lift(&fs, "web1");
	look("lifted", pid);
	must(cap_weigh(&c[0], 300, &e), &e);
	must(cap_weigh(&c[1], 100, &e), &e);
	look("weighed 3 to 1", pid);
	must(cap_set(&c[1], 10, &e), &e);
	must(cap_close(&c[0], &e), &e);
	must(cap_close(&c[1], &e), &e);
	say_gone(&fs);
	look("closed", pid);
	must(cap_open(&c[0], &fs, "left", pid[0], &e), &e);
	must(cap_set(&c[0], 5, &e), &e);
	printf("CAP swept %d\n", cap_sweep(&fs, NULL, NULL, &e));
	say_gone(&fs);
	look("swept", pid);
	printf("CAP end\n");
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	return 0;
}
