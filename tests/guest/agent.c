/* Commands on the virtio-serial port "org.ballast.guest.0": one line in, one line out ("ok ..." or "error ..."). docs/guest.md.
 *
 * One table of commands; a handler appends to the answer and returns false when the answer is an error. The guest's first thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balguest.h"

#define PORT_NAME "org.ballast.guest.0"
#define ARGS_MAX 8
#define BUSYBOX "/bin/busybox"

struct args {
	const char *line; /* all that follows the command's name */
	char *v[ARGS_MAX + 1];
	unsigned n;
};

struct answer {
	char text[ANSWER_MAX];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) add(struct answer *a, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->text + a->len, sizeof(a->text) - a->len, fmt, ap);
	va_end(ap);
	a->len = n < (int)(sizeof(a->text) - a->len) ? a->len + (size_t)n : sizeof(a->text) - 1;
}

/* A whole number not above @max. */
static bool number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	*out = strtoul(text, &end, 10);
	return !*end && *out <= max;
}

static bool cmd_ping(struct args *args, struct answer *a)
{
	(void)args;
	add(a, "pong");
	return true;
}

static bool cmd_fill(struct args *args, struct answer *a)
{
	static const char *const kinds[] = {[KIND_HALF] = "half", [KIND_RAND] = "rand", [KIND_TEXT] = "text"};
	const char *want = args->n > 1 ? args->v[1] : "half", *why;
	struct memory_stat stat;
	uint64_t bytes;
	unsigned kind = 0;

	while (kind <= KIND_TEXT && strcmp(kinds[kind], want))
		kind++;
	if (!args->n || !size_parse(args->v[0], &bytes) || kind > KIND_TEXT) {
		add(a, "usage: fill BYTES [half | rand | text]");
		return false;
	}
	if (!memory_fill(bytes, kind, &why)) {
		add(a, "%s", why);
		return false;
	}
	memory_stat(&stat);
	add(a, "filled=%llu", (unsigned long long)stat.filled_bytes);
	return true;
}

static bool cmd_free(struct args *args, struct answer *a)
{
	uint64_t bytes = UINT64_MAX / 2;
	struct memory_stat stat;
	const char *why;

	if (args->n && !size_parse(args->v[0], &bytes)) {
		add(a, "usage: free [BYTES]");
		return false;
	}
	if (!memory_free(bytes, &why)) {
		add(a, "%s", why);
		return false;
	}
	memory_stat(&stat);
	add(a, "filled=%llu", (unsigned long long)stat.filled_bytes);
	return true;
}

static bool cmd_dirty(struct args *args, struct answer *a)
{
	unsigned long rate = 0, hot = 0;
	enum dirty_pattern pattern = DIRTY_UNIFORM;
	bool all = args->n && !strcmp(args->v[0], "max"), ok = all || (args->n && number(args->v[0], 1000000, &rate));
	bool whole = args->n > 1 && !strcmp(args->v[args->n - 1], "whole");

	args->n -= whole;
	if (ok && args->n > 1) {
		if (!strcmp(args->v[1], "seq"))
			pattern = DIRTY_SEQ;
		else if (!strcmp(args->v[1], "hot"))
			pattern = DIRTY_HOT;
		else
			ok = !strcmp(args->v[1], "uniform");
	}
	if (ok && pattern == DIRTY_HOT)
		ok = args->n > 2 && number(args->v[2], 100, &hot) && hot;
	if (!ok) {
		add(a, "usage: dirty MIB_PER_S|max [uniform | hot PERCENT | seq] [whole]");
		return false;
	}
	memory_dirty(all ? UINT64_MAX : rate, pattern, (unsigned)hot, whole);
	return true;
}

static bool cmd_verify(struct args *args, struct answer *a)
{
	(void)args;
	add(a, "verify %llu", (unsigned long long)memory_verify());
	return true;
}

static bool cmd_cpu(struct args *args, struct answer *a)
{
	unsigned long percent, n_threads = 0;

	if (!args->n || !number(args->v[0], 100, &percent) || (args->n > 1 && !number(args->v[1], 64, &n_threads))) {
		add(a, "usage: cpu PERCENT [THREADS]");
		return false;
	}
	burn_set((unsigned)percent, (unsigned)n_threads);
	return true;
}

static bool cmd_hb(struct args *args, struct answer *a)
{
	unsigned long hz;

	if (!args->n || !number(args->v[0], 200, &hz) || !hz) {
		add(a, "usage: hb HZ (1..200)");
		return false;
	}
	beat_rate((unsigned)hz);
	return true;
}

static unsigned long long number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static bool cmd_stat(struct args *args, struct answer *a)
{
	static char meminfo[2048], vmstat[16384];
	struct memory_stat stat;

	(void)args;
	memory_stat(&stat);
	if (!file_read("/proc/meminfo", meminfo, sizeof(meminfo)) ||
		!file_read("/proc/vmstat", vmstat, sizeof(vmstat))) {
		add(a, "no /proc: %s", strerror(errno));
		return false;
	}
	add(a, "cpus=%u memtotal_kb=%llu memavail_kb=%llu filled=%llu versions=%llu verified_pages=%llu hb=%llu",
		cpus_online(), number_after(meminfo, "MemTotal:"), number_after(meminfo, "MemAvailable:"),
		(unsigned long long)stat.filled_bytes, (unsigned long long)stat.versions,
		(unsigned long long)stat.verified_pages, (unsigned long long)beat_counter());
	add(a, " swapin=%llu majflt=%llu uptime_s=%.3f dirty_mib_s=%llu disk_reads=%llu",
		number_after(vmstat, "\npswpin "), number_after(vmstat, "\npgmajfault "), (double)now_ns() / NS_PER_S,
		(unsigned long long)stat.dirty_mib_s, (unsigned long long)disk_reads());
	return true;
}

static bool cmd_disk(struct args *args, struct answer *a, bool (*fn)(const char *dev, uint64_t bytes, const char **why))
{
	const char *why;
	uint64_t bytes;

	if (args->n < 2 || !size_parse(args->v[1], &bytes)) {
		add(a, "usage: diskfill DEV BYTES | readloop DEV BYTES (0 stops)");
		return false;
	}
	if (fn(args->v[0], bytes, &why))
		return true;
	add(a, "%s: %s", args->v[0], why);
	return false;
}

static bool cmd_diskfill(struct args *args, struct answer *a)
{
	return cmd_disk(args, a, disk_fill);
}

static bool cmd_readloop(struct args *args, struct answer *a)
{
	return cmd_disk(args, a, disk_readloop);
}

/* Whatever a later test needs that we do not have: busybox's shell, its output on one line. */
static bool cmd_sh(struct args *args, struct answer *a)
{
	char line[1024 + sizeof(BUSYBOX)];
	int status, c;
	FILE *f;

	snprintf(line, sizeof(line), "exec 2>&1; PATH=/bin; %s", args->line);
	f = popen(line, "re");
	if (!f) {
		add(a, "%s", strerror(errno));
		return false;
	}
	while ((c = getc(f)) != EOF)
		add(a, "%c", c == '\n' ? '|' : c);
	status = pclose(f);
	if (status)
		add(a, " (status %d)", status >> 8);
	return !status;
}

static bool cmd_poweroff(struct args *args, struct answer *a)
{
	(void)args;
	(void)a;
	guest_poweroff();
}

static const struct command {
	const char *name;
	bool (*run)(struct args *args, struct answer *a);
} commands[] = {
	{"ping", cmd_ping},
	{"fill", cmd_fill},
	{"free", cmd_free},
	{"dirty", cmd_dirty},
	{"verify", cmd_verify},
	{"cpu", cmd_cpu},
	{"hb", cmd_hb},
	{"stat", cmd_stat},
	{"diskfill", cmd_diskfill},
	{"readloop", cmd_readloop},
	{"sh", cmd_sh},
	{"poweroff", cmd_poweroff},
};

static void command_run(char *line, struct answer *a)
{
	struct args args = {.n = 0};
	char *save = NULL, *name = line + strspn(line, " "), *rest = name + strcspn(name, " "), copy[1024];
	struct answer body = {.len = 0};
	bool ok = false;

	if (*rest)
		*rest++ = 0;
	args.line = rest;
	snprintf(copy, sizeof(copy), "%s", rest);
	for (char *word = strtok_r(copy, " ", &save); word && args.n < ARGS_MAX; word = strtok_r(NULL, " ", &save))
		args.v[args.n++] = word;
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(commands[i].name, name)) {
			ok = commands[i].run(&args, &body);
			a->len = 0;
			add(a, "%s%s%s", ok ? "ok" : "error", body.len ? " " : "", body.text);
			return;
		}
	add(a, "error no command %s", name);
}

/* The port's device, by name. It is there when virtio_console is, a little later than the module's loading returns. */
static int port_open(void)
{
	char path[300], name[64];
	struct dirent *entry;
	DIR *dir;
	int fd = -1;

	dir = opendir("/sys/class/virtio-ports");
	while (dir && fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		if (!file_read(path, name, sizeof(name)) || strcmp(name, PORT_NAME))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static void answer_send(int fd, struct answer *a)
{
	size_t at = 0;

	if (a->len > sizeof(a->text) - 2)
		a->len = sizeof(a->text) - 2;
	a->text[a->len++] = '\n';
	while (at < a->len) {
		ssize_t n = write(fd, a->text + at, a->len - at);

		if (n <= 0)
			return; /* nobody is there any more */
		at += (size_t)n;
	}
}

/* Cut @buf into lines; returns what is left of an unfinished one. */
static size_t lines_run(int fd, char *buf, size_t len)
{
	static struct answer answer;
	char *begin = buf, *end;

	while ((end = memchr(begin, '\n', len - (size_t)(begin - buf)))) {
		*end = 0;
		answer.len = 0;
		if (*begin) {
			command_run(begin, &answer);
			answer_send(fd, &answer);
		}
		begin = end + 1;
	}
	len -= (size_t)(begin - buf);
	memmove(buf, begin, len);
	return len;
}

void agent_run(void)
{
	static char buf[1024];
	size_t len = 0;
	int fd;

	while ((fd = port_open()) < 0)
		sleep_ms(100);
	for (;;) {
		ssize_t n = read(fd, buf + len, sizeof(buf) - len);

		if (n <= 0) { /* nobody is connected to the port; it cannot be waited for */
			len = 0;
			sleep_ms(50);
			continue;
		}
		len = lines_run(fd, buf, len + (size_t)n);
		if (len == sizeof(buf))
			len = 0;
	}
}
