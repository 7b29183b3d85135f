/* A CPU bandwidth cap by cgroup: see cap.h. No state but the caller's struct cap and what is in the cgroup file system. */
#include "resize/cap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PERIOD_US 100000
#define MIN_QUOTA_US 1000 /* the kernel takes no less */
#define SHARES_100 1024   /* v1: what one task weighs */
#define TEXT_MAX 65536

/* ---- small files ----------------------------------------------------------------------------------------- */

static int write_text(const char *dir, const char *leaf, const char *text)
{
	char path[800];
	ssize_t n;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	if (n < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* The file's text, malloc'd; NULL and errno. */
static char *read_text(const char *dir, const char *leaf)
{
	char path[800], *text = malloc(TEXT_MAX);
	size_t have = 0;
	ssize_t n = 1;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !text) {
		free(text);
		return NULL;
	}
	while (have + 1 < TEXT_MAX && (n = read(fd, text + have, TEXT_MAX - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	text[have] = 0;
	return text;
}

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t len = strlen(word);

	for (const char *p = list; *p; p += strspn(p, separators)) {
		size_t n = strcspn(p, separators);

		if (n == len && !strncmp(p, word, len))
			return true;
		p += n;
	}
	return false;
}

/* ---- what this host has ------------------------------------------------------------------------------------ */

/* One line of mountinfo: "... mount-point options [tags] - type source super-options". */
static enum cap_kind mount_kind(char *line, char **mount_out, char **super_out)
{
	char *save = NULL, *dash = strstr(line, " - "), *type, *mount = NULL;

	if (!dash)
		return CAP_NONE;
	*dash = 0;
	for (int field = 0; field < 5; field++)
		mount = strtok_r(field ? NULL : line, " ", &save);
	type = strtok_r(dash + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	*super_out = strtok_r(NULL, " ", &save);
	*mount_out = mount;
	if (!mount || !type || !*super_out)
		return CAP_NONE;
	return !strcmp(type, "cgroup2") ? CAP_V2 : !strcmp(type, "cgroup") ? CAP_V1 : CAP_NONE;
}

/* Does the hierarchy that is mounted there have the cpu controller? */
static bool has_cpu(enum cap_kind kind, const char *mount, const char *super)
{
	char *text;
	bool has;

	if (kind == CAP_V1)
		return has_word(super, "cpu", ",") && !access(mount, R_OK);
	text = read_text(mount, "cgroup.controllers");
	has = text && has_word(text, "cpu", " \n");
	free(text);
	return has;
}

int cap_detect(const char *proc_root, struct cap_fs *out, struct err *e)
{
	struct cap_fs fs = {0};
	char *text, *save = NULL;

	snprintf(fs.proc_root, sizeof(fs.proc_root), "%s", proc_root ? proc_root : "/proc");
	snprintf(fs.base, sizeof(fs.base), "ballast");
	text = read_text(fs.proc_root, "self/mountinfo");
	if (!text)
		return err_set(e, ENOTSUP, "cpu cap: %s/self/mountinfo: %s", fs.proc_root, strerror(errno));
	for (char *line = strtok_r(text, "\n", &save); line && !fs.kind; line = strtok_r(NULL, "\n", &save)) {
		char *mount = NULL, *super = NULL;
		enum cap_kind kind = mount_kind(line, &mount, &super);

		if (kind == CAP_NONE || strlen(mount) >= sizeof(fs.mount) || !has_cpu(kind, mount, super))
			continue;
		fs.kind = kind;
		snprintf(fs.mount, sizeof(fs.mount), "%s", mount);
	}
	free(text);
	if (fs.kind == CAP_NONE)
		return err_set(e, ENOTSUP,
			"cpu cap: no cgroup hierarchy with the cpu controller is mounted (looked for cgroup2 with "
			"\"cpu\" in "
			"cgroup.controllers, and for a v1 mount with cpu)");
	*out = fs;
	return 0;
}

/* ---- groups ---------------------------------------------------------------------------------------------- */

static int move_pid(const char *group, pid_t pid)
{
	char text[24];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return write_text(group, "cgroup.procs", text);
}

/* v2: what a group's children may use is switched on in the group. */
static int enable_cpu(const struct cap_fs *fs, const char *dir)
{
	int rc = fs->kind == CAP_V2 ? write_text(dir, "cgroup.subtree_control", "+cpu") : 0;

	return rc == -ENOENT ? -ENOTSUP : rc;
}

/* The directory of the process's present group */
static int find_group(const struct cap_fs *fs, pid_t pid, char *out, size_t size)
{
	char leaf[32], *text, *save = NULL;
	int rc = -ESRCH;

	snprintf(leaf, sizeof(leaf), "%d/cgroup", (int)pid);
	text = read_text(fs->proc_root, leaf);
	if (!text)
		return errno == ENOENT ? -ESRCH : -errno;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		controllers++;
		if (fs->kind == CAP_V2 ? *controllers : !has_word(controllers, "cpu", ","))
			continue;
		rc = snprintf(out, size, "%s%s", fs->mount, strcmp(path, "/") ? path : "") < (int)size ? 0
												       : -ENAMETOOLONG;
	}
	free(text);
	return rc;
}

/* Is somebody else in it? */
static bool holds_others(const char *group, pid_t pid)
{
	char *text = read_text(group, "cgroup.procs");
	bool others = false;

	for (char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n')
		others |= atoi(p) > 0 && atoi(p) != pid;
	free(text);
	return others;
}

static int make_group(const struct cap_fs *fs, const char *base, const char *group)
{
	int rc = enable_cpu(fs, fs->mount);

	if (!rc && mkdir(base, 0755) && errno != EEXIST)
		rc = -errno;
	if (!rc)
		rc = enable_cpu(fs, base);
	if (!rc && mkdir(group, 0755) && errno != EEXIST)
		rc = -errno;
	return rc;
}

static int set_quota(const struct cap_fs *fs, const char *group, long quota_us)
{
	char text[48];
	int rc;

	if (fs->kind == CAP_V2) {
		if (quota_us < 0)
			snprintf(text, sizeof(text), "max %d", PERIOD_US);
		else
			snprintf(text, sizeof(text), "%ld %d", quota_us, PERIOD_US);
		return write_text(group, "cpu.max", text);
	}
	snprintf(text, sizeof(text), "%d", PERIOD_US);
	rc = write_text(group, "cpu.cfs_period_us", text);
	snprintf(text, sizeof(text), "%ld", quota_us);
	return rc ? rc : write_text(group, "cpu.cfs_quota_us", text);
}

static unsigned long clamp(unsigned long long v, unsigned long low, unsigned long high)
{
	return v < low ? low : v > high ? high : (unsigned long)v;
}

static int set_weight(const struct cap_fs *fs, const char *group, unsigned percent)
{
	char text[24];

	if (fs->kind == CAP_V2)
		snprintf(text, sizeof(text), "%lu", clamp(percent, 1, 10000));
	else
		snprintf(text, sizeof(text), "%lu", clamp((unsigned long long)percent * SHARES_100 / 100, 2, 262144));
	return write_text(group, fs->kind == CAP_V2 ? "cpu.weight" : "cpu.shares", text);
}

static long quota_of(unsigned percent)
{
	long quota_us = (long)percent * (PERIOD_US / 100);

	return quota_us < MIN_QUOTA_US ? MIN_QUOTA_US : quota_us;
}

static bool name_ok(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 64;
}

int cap_open(struct cap *c, const struct cap_fs *fs, const char *name, pid_t pid, struct err *e)
{
	struct cap n = {.fs = *fs, .pid = pid};
	char base[400];
	int rc = 0;
	bool there;

	if (fs->kind == CAP_NONE)
		return err_set(e, ENOTSUP, "cpu cap: this host has no cgroup cpu controller");
	if (!name_ok(name) || !name_ok(fs->base))
		return err_set(e, EINVAL, "cpu cap: \"%s\" is no name for a group", name);
	snprintf(base, sizeof(base), "%s/%s", fs->mount, fs->base);
	snprintf(n.group, sizeof(n.group), "%s/%s", base, name);
	rc = find_group(fs, pid, n.before, sizeof(n.before));
	if (rc)
		return err_set(e, -rc, "cpu cap: process %d: %s", (int)pid, strerror(-rc));
	rc = make_group(fs, base, n.group);
	if (rc)
		return err_set(e, -rc, "cpu cap: making %s: %s", n.group, strerror(-rc));
	if (holds_others(n.group, pid))
		return err_set(e, EEXIST, "cpu cap: %s holds another process", n.group);
	there = !strcmp(n.before, n.group);
	if (there)
		snprintf(n.before, sizeof(n.before), "%s", fs->mount);
	else
		rc = set_quota(fs, n.group, -1);
	if (!rc && !there)
		rc = move_pid(n.group, pid);
	if (rc) {
		rmdir(n.group);
		return err_set(e, -rc, "cpu cap: moving process %d into %s: %s", (int)pid, n.group, strerror(-rc));
	}
	*c = n;
	return 0;
}

int cap_set(struct cap *c, unsigned percent, struct err *e)
{
	int rc;

	if (!c->group[0] || !percent)
		return err_set(e, EINVAL, "cpu cap: %u %% cannot be set", percent);
	rc = set_quota(&c->fs, c->group, quota_of(percent));
	return rc ? err_set(e, -rc, "cpu cap: %s: setting %u %%: %s", c->group, percent, strerror(-rc)) : 0;
}

int cap_clear(struct cap *c, struct err *e)
{
	int rc = c->group[0] ? set_quota(&c->fs, c->group, -1) : 0;

	return rc ? err_set(e, -rc, "cpu cap: %s: lifting the limit: %s", c->group, strerror(-rc)) : 0;
}

int cap_weigh(struct cap *c, unsigned percent, struct err *e)
{
	int rc = c->group[0] ? set_weight(&c->fs, c->group, percent) : 0;

	return rc ? err_set(e, -rc, "cpu cap: %s: setting a weight of %u %%: %s", c->group, percent, strerror(-rc)) : 0;
}

int cap_weigh_base(const struct cap_fs *fs, unsigned percent, struct err *e)
{
	char base[400];
	int rc;

	snprintf(base, sizeof(base), "%s/%s", fs->mount, fs->base);
	rc = set_weight(fs, base, percent);
	if (rc == -ENOENT) /* nobody has a group */
		return 0;
	return rc ? err_set(e, -rc, "cpu cap: %s: setting a weight of %u %%: %s", base, percent, strerror(-rc)) : 0;
}

void cap_lift(const struct cap_fs *fs, const char *name, unsigned percent, char *path, size_t path_size, char *text,
	size_t text_size)
{
	bool v2 = fs->kind == CAP_V2;

	snprintf(path, path_size, "%s/%s/%s/%s", fs->mount, fs->base, name, v2 ? "cpu.max" : "cpu.cfs_quota_us");
	if (percent && v2)
		snprintf(text, text_size, "%ld %d", quota_of(percent), PERIOD_US);
	else if (percent)
		snprintf(text, text_size, "%ld", quota_of(percent));
	else if (v2)
		snprintf(text, text_size, "max %d", PERIOD_US);
	else
		snprintf(text, text_size, "-1");
}

/* Everything out of @group (to @to, else to the top), then remove it. */
static int dissolve(const struct cap_fs *fs, const char *group, const char *to)
{
	char *text = read_text(group, "cgroup.procs");

	if (!text)
		return errno == ENOENT ? 0 : -errno;
	set_quota(fs, group, -1);
	for (char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		pid_t pid = atoi(p);

		if (pid > 0 && (!to || move_pid(to, pid)))
			move_pid(fs->mount, pid); /* a process that ended meanwhile is no failure: rmdir will tell */
	}
	free(text);
	return rmdir(group) && errno != ENOENT ? -errno : 0;
}

int cap_close(struct cap *c, struct err *e)
{
	int rc = c->group[0] ? dissolve(&c->fs, c->group, c->before) : 0;
	char base[400];

	if (rc)
		return err_set(e, -rc, "cpu cap: removing %s: %s", c->group, strerror(-rc));
	snprintf(base, sizeof(base), "%s/%s", c->fs.mount, c->fs.base);
	if (c->group[0])
		rmdir(base); /* unless another cap is there */
	c->group[0] = 0;
	return 0;
}

int cap_sweep(const struct cap_fs *fs, bool (*keep)(void *arg, const char *name), void *arg, struct err *e)
{
	char base[400], group[700];
	struct dirent *d;
	int n = 0, rc = 0, rc2;
	DIR *dir;

	snprintf(base, sizeof(base), "%s/%s", fs->mount, fs->base);
	dir = opendir(base);
	if (!dir)
		return errno == ENOENT ? 0 : err_set(e, errno, "cpu cap: %s: %s", base, strerror(errno));
	while ((d = readdir(dir))) {
		if (d->d_type != DT_DIR || d->d_name[0] == '.' || (keep && keep(arg, d->d_name)))
			continue;
		snprintf(group, sizeof(group), "%s/%s", base, d->d_name);
		rc2 = dissolve(fs, group, NULL);
		n += !rc2;
		if (rc2)
			rc = err_set(e, -rc2, "cpu cap: removing %s: %s", group, strerror(-rc2));
	}
	closedir(dir);
	rmdir(base); /* where it is empty now */
	return rc ? rc : n;
}
