/* The heartbeat, and two watchers: CPUs and the power button.
 *
 * The heartbeat's thread has real-time priority, so that a gap between two beats means that the guest did not run (or that its
 * host did not let it), and not that it was busy. The watchers sleep in read(2) on what the kernel tells. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/netlink.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balguest.h"

#define BEAT_PRIORITY 50
#define WATCH_PRIORITY 40
#define HZ_MAX 200
#define CPU_DEVICE "/devices/system/cpu/cpu"
#define CPU_DIR "/sys/devices/system/cpu"

static struct {
	atomic_uint hz;
	atomic_uint_fast64_t counter;
} beat;

void beat_rate(unsigned hz)
{
	beat.hz = hz < 1 ? 1 : hz > HZ_MAX ? HZ_MAX : hz;
}

uint64_t beat_counter(void)
{
	return beat.counter;
}

/* A fixed grid of times; beats that the guest slept through are left out, not made up for in a burst. */
static void *beater(void *arg)
{
	uint64_t next = now_ns();

	for (;;) {
		uint64_t period = NS_PER_S / beat.hz, now = now_ns();

		say("hb %llu %llu", (unsigned long long)++beat.counter, (unsigned long long)now);
		next += period;
		if (next < now)
			next = now + period;
		sleep_until_ns(next);
	}
	return arg;
}

static void cpu_bring_online(const char *name)
{
	char path[64 + NAME_MAX], state[8];

	snprintf(path, sizeof(path), CPU_DIR "/%s/online", name);
	if (file_read(path, state, sizeof(state)) && !strcmp(state, "0"))
		file_write(path, "1");
}

static void cpus_bring_online(void)
{
	struct dirent *entry;
	DIR *dir = opendir(CPU_DIR);

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "cpu", 3) && entry->d_name[3] >= '0' && entry->d_name[3] <= '9')
			cpu_bring_online(entry->d_name);
	if (dir)
		closedir(dir);
}

/* The kernel says "add@/devices/system/cpu/cpuN" when one is plugged. Only then: a CPU that goes offline is on its way out. */
static void *cpu_watcher(void *arg)
{
	static const char added[] = "add@" CPU_DEVICE;
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	char msg[4096];

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		guest_fail("no kernel events: %s", strerror(errno));
	cpus_bring_online();
	for (;;) {
		ssize_t n = recv(fd, msg, sizeof(msg) - 1, 0);

		if (n > 0 && (msg[n] = 0, !strncmp(msg, added, sizeof(added) - 1)))
			cpus_bring_online();
	}
	return arg;
}

/* By name: a PC's keyboard has a power key too. */
static bool is_power_button(int fd)
{
	char name[64] = "";

	return ioctl(fd, EVIOCGNAME(sizeof(name) - 1), name) >= 0 && !strcmp(name, "Power Button");
}

static int button_open(void)
{
	char path[32];

	for (unsigned i = 0; i < 8; i++) {
		int fd;

		snprintf(path, sizeof(path), "/dev/input/event%u", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && is_power_button(fd))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static void *button_watcher(void *arg)
{
	struct input_event ev;
	int fd = button_open();

	if (fd < 0) {
		say("note no power button");
		return arg;
	}
	while (read(fd, &ev, sizeof(ev)) == (ssize_t)sizeof(ev))
		if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value)
			guest_poweroff();
	return arg;
}

void beat_init(unsigned hz)
{
	beat_rate(hz);
	thread_start(cpu_watcher, NULL, WATCH_PRIORITY);
	thread_start(button_watcher, NULL, WATCH_PRIORITY);
	thread_start(beater, NULL, BEAT_PRIORITY);
}
