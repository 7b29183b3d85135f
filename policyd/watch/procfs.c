/* Reading and parsing /proc: see procfs.h. Parsers take any text, also a broken or a cut one, and change nothing on failure. */
#include "policyd/watch/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ssize_t read_whole(int fd, char *buf, size_t size)
{
	size_t have = 0;
	ssize_t n;

	while (have + 1 < size) {
		n = read(fd, buf + have, size - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	buf[have] = 0;
	return (ssize_t)have;
}

ssize_t procfs_read(char *buf, size_t size, const char *root, const char *fmt, ...)
{
	char path[512];
	va_list ap;
	ssize_t n;
	int fd, len, leaf;

	len = snprintf(path, sizeof(path), "%s/", root);
	if (len < 0 || (size_t)len >= sizeof(path))
		return -ENAMETOOLONG;
	va_start(ap, fmt);
	leaf = vsnprintf(path + len, sizeof(path) - (size_t)len, fmt, ap);
	va_end(ap);
	if (leaf < 0 || (size_t)leaf >= sizeof(path) - (size_t)len)
		return -ENAMETOOLONG;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read_whole(fd, buf, size);
	close(fd);
	return n;
}

uint64_t throttled_parse(const char *text)
{
	static const struct {
		const char *key;
		uint64_t ns;
	} keys[] = {{"throttled_usec ", 1000}, {"throttled_time ", 1}};
	uint64_t value;

	for (unsigned i = 0; i < 2; i++) {
		const char *at = strstr(text, keys[i].key);

		if (at && sscanf(at + strlen(keys[i].key), "%" SCNu64, &value) == 1)
			return value * keys[i].ns;
	}
	return UINT64_MAX;
}

int schedstat_parse(const char *text, struct schedstat *out)
{
	struct schedstat s;
	uint64_t slices;

	if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &s.run_ns, &s.delay_ns, &slices) != 3)
		return -EINVAL;
	*out = s;
	return 0;
}

static unsigned count_cpu_lines(const char *text)
{
	unsigned n = 0;

	for (const char *p = text; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		n += strncmp(p, "cpu", 3) == 0 && p[3] >= '0' && p[3] <= '9';
	}
	return n;
}

int cpu_times_parse(const char *text, struct cpu_times *out)
{
	/* user nice system idle iowait irq softirq steal; guest and guest_nice are within user and nice */
	uint64_t v[8] = {0};
	struct cpu_times t = {0};

	if (sscanf(text,
		    "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		    &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) < 4)
		return -EINVAL;
	for (unsigned i = 0; i < 8; i++)
		t.total += v[i];
	t.busy = t.total - v[3] - v[4];
	t.n_cpus = count_cpu_lines(text);
	*out = t;
	return 0;
}

/* "Key:   123 kB" at the beginning of a line */
static int meminfo_field(const char *text, const char *key, uint64_t *bytes_out)
{
	size_t len = strlen(key);
	uint64_t kb;

	for (const char *p = text; p && *p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, key, len) != 0 || p[len] != ':')
			continue;
		if (sscanf(p + len + 1, "%" SCNu64 " kB", &kb) != 1)
			return -EINVAL;
		*bytes_out = kb << 10;
		return 0;
	}
	return -ENOENT;
}

int meminfo_parse(const char *text, struct meminfo *out)
{
	struct meminfo m = {0};

	if (meminfo_field(text, "MemTotal", &m.total_bytes) || meminfo_field(text, "MemAvailable", &m.available_bytes))
		return -EINVAL;
	if (meminfo_field(text, "SwapTotal", &m.swap_total_bytes) ||
		meminfo_field(text, "SwapFree", &m.swap_free_bytes))
		m.swap_total_bytes = m.swap_free_bytes = 0; /* a kernel without swap */
	*out = m;
	return 0;
}

static bool psi_line_parse(const char *text, const char *word, struct psi_line *out)
{
	struct psi_line l = {.known = true};
	size_t len = strlen(word);

	if (strncmp(text, word, len) != 0)
		return false;
	if (sscanf(text + len, " avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, &l.avg10, &l.avg60, &l.avg300,
		    &l.total_us) != 4)
		return false;
	*out = l;
	return true;
}

int psi_parse(const char *text, struct psi *out)
{
	struct psi p = {0};
	const char *full = strchr(text, '\n');

	if (!psi_line_parse(text, "some", &p.some))
		return -EINVAL;
	if (full)
		psi_line_parse(full + 1, "full", &p.full);
	*out = p;
	return 0;
}
