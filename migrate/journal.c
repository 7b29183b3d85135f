/* The hand-off journal: see journal.h. Called by the workers and by 'policyd-migrate journal', blocking, any thread.
 *
 * A record is one line "1 STATE t_ms peer domain checksum\n", checksum = XXH64 of what stands before it and of the file's identity.
 * What a process reads here it acts upon, so everything that is read is made durable first: another process may have written
 * it and died before its fdatasync, and a power cut must not take back what the other host was told. */
#include "migrate/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define FILE_BYTES_MAX 65536 /* a journal has five records; more is not ours */
#define LINE_BYTES_MAX 256

struct jfile {
	int dir, fd;
	char path[PATH_MAX]; /* for messages */
	char leaf[96];
	off_t good; /* length of the good records */
	off_t size;
	enum handoff_state state;
	char peer[64], domain[64];
};

static const char *role_name(enum handoff_role role)
{
	return role == HO_SOURCE ? "source" : "target";
}

static bool uuid_valid(const char *uuid)
{
	size_t n = strlen(uuid);

	return n > 0 && n < 37 && strspn(uuid, "0123456789abcdefABCDEF-") == n;
}

static bool word_valid(const char *word)
{
	size_t n = strlen(word);

	return n < 64 && strcspn(word, " \t\r\n/") == n;
}

static uint64_t line_checksum(const char *leaf, const char *line, size_t n)
{
	return XXH64(line, n, XXH64(leaf, strlen(leaf), 0));
}

/* ---- one file -------------------------------------------------------------------------------------------- */

static void jfile_close(struct jfile *f)
{
	if (f->fd >= 0)
		close(f->fd); /* and unlocks */
	if (f->dir >= 0)
		close(f->dir);
	f->fd = f->dir = -1;
}

static int dir_open(const char *state_dir, bool create, int *out, struct err *e)
{
	char path[PATH_MAX];
	int fd, parent;

	if ((size_t)snprintf(path, sizeof(path), "%s/handoff", state_dir) >= sizeof(path))
		return err_set(e, ENAMETOOLONG, "journal: %s is too long", state_dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && create) {
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return err_set(e, errno, "journal: cannot make %s: %s", path, strerror(errno));
		parent = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0 || fsync(parent) != 0) {
			int code = errno;

			if (parent >= 0)
				close(parent);
			return err_set(e, code, "journal: cannot make %s durable: %s", path, strerror(code));
		}
		close(parent);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return err_set(e, errno, "journal: %s: %s", path, strerror(errno));
	*out = fd;
	return 0;
}

/* Open and lock; a file that was removed while we waited for its lock is opened anew. */
static int jfile_lock(struct jfile *f, bool create, struct err *e)
{
	struct stat st;

	for (;;) {
		f->fd = openat(f->dir, f->leaf, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0600);
		if (f->fd < 0)
			return err_set(e, errno, "journal: %s: %s", f->path, strerror(errno));
		while (flock(f->fd, LOCK_EX) != 0) {
			if (errno != EINTR)
				return err_set(e, errno, "journal: cannot lock %s: %s", f->path, strerror(errno));
		}
		if (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode))
			return err_set(e, EIO, "journal: %s is not a file", f->path);
		if (st.st_nlink > 0)
			break;
		close(f->fd);
		f->fd = -1;
	}
	f->size = st.st_size;
	return 0;
}

/* One whole line, without its end. */
static int line_parse(struct jfile *f, enum handoff_role role, const char *line, size_t n)
{
	char copy[LINE_BYTES_MAX], name[16], peer[64], domain[64];
	uint64_t t_ms, sum;
	enum handoff_state state;
	size_t body;
	int end = 0;

	if (n >= sizeof(copy) || n < 18 || memchr(line, 0, n))
		return -EBADMSG;
	memcpy(copy, line, n);
	copy[n] = 0;
	body = n - 17; /* " 0123456789abcdef" */
	if (sscanf(copy + body, " %16" SCNx64 "%n", &sum, &end) != 1 || end != 17)
		return -EBADMSG;
	if (sum != line_checksum(f->leaf, copy, body))
		return -EBADMSG;
	copy[body] = 0;
	if (sscanf(copy, "1 %15s %" SCNu64 " %63s %63s", name, &t_ms, peer, domain) != 4)
		return -EBADMSG;
	if (handoff_parse(name, &state) != 0 || handoff_step(role, f->state, state, NULL) != 0)
		return -EBADMSG;
	f->state = state;
	snprintf(f->peer, sizeof(f->peer), "%s", strcmp(peer, "-") ? peer : "");
	snprintf(f->domain, sizeof(f->domain), "%s", strcmp(domain, "-") ? domain : "");
	return 0;
}

/* Read all records. A last line without its end is a torn write and does not count; any other damage is an error, for a record
 * that was durable may be what we cannot read, and to guess could run a guest twice. */
static int jfile_load(struct jfile *f, enum handoff_role role, struct err *e)
{
	char *buf = NULL, *line, *end;
	ssize_t n = 0;
	int rc = 0;

	f->state = HO_NONE;
	f->good = 0;
	if (f->size > FILE_BYTES_MAX)
		return err_set(e, EBADMSG, "journal: %s is %jd bytes long and not ours", f->path, (intmax_t)f->size);
	buf = malloc((size_t)f->size + 1);
	if (!buf)
		return err_set(e, ENOMEM, "journal: no memory");
	while (n < f->size) {
		ssize_t got = pread(f->fd, buf + n, (size_t)(f->size - n), n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			rc = err_set(e, got ? errno : EIO, "journal: cannot read %s: %s", f->path,
				got ? strerror(errno) : "it shrank");
			goto out;
		}
		n += got;
	}
	for (line = buf; (end = memchr(line, '\n', (size_t)(buf + n - line))) != NULL; line = end + 1) {
		if (line_parse(f, role, line, (size_t)(end - line)) != 0) {
			rc = err_set(e, EBADMSG,
				"journal: %s is damaged at byte %zd; see 'policyd-migrate journal resolve --help'",
				f->path, line - buf);
			goto out;
		}
		f->good = end + 1 - buf;
	}
out:
	free(buf);
	return rc;
}

/* What we read may not have reached the disk yet: see the top. */
static int jfile_sync(struct jfile *f, struct err *e)
{
	if (fdatasync(f->fd) != 0 || fsync(f->dir) != 0)
		return err_set(e, errno, "journal: cannot make %s durable: %s", f->path, strerror(errno));
	return 0;
}

static int jfile_open(struct jfile *f, const char *state_dir, const char *uuid, uint64_t epoch, enum handoff_role role,
	bool create, struct err *e)
{
	int rc;

	memset(f, 0, sizeof(*f));
	f->dir = f->fd = -1;
	if (!uuid_valid(uuid))
		return err_set(e, EINVAL, "journal: \"%.40s\" is not a uuid", uuid);
	rc = dir_open(state_dir, create, &f->dir, e);
	if (rc)
		return rc;
	snprintf(f->leaf, sizeof(f->leaf), "%s.%" PRIu64 ".%s", uuid, epoch, role_name(role));
	if ((size_t)snprintf(f->path, sizeof(f->path), "%s/handoff/%s", state_dir, f->leaf) >= sizeof(f->path))
		return err_set(e, ENAMETOOLONG, "journal: %s is too long", state_dir);
	rc = jfile_lock(f, create, e);
	if (rc == 0)
		rc = jfile_load(f, role, e);
	return rc;
}

/* Append one record; on any failure the file is as it was, or ends in a torn line, which is the same. */
static int jfile_append(struct jfile *f, const struct journal_entry *entry, struct err *e)
{
	char line[LINE_BYTES_MAX];
	struct timespec now;
	size_t n, done = 0;
	int code;

	clock_gettime(CLOCK_REALTIME, &now);
	n = (size_t)snprintf(line, sizeof(line), "1 %s %lld %s %s", handoff_name(entry->state),
		(long long)now.tv_sec * 1000 + now.tv_nsec / 1000000, entry->peer[0] ? entry->peer : "-",
		entry->domain[0] ? entry->domain : "-");
	n += (size_t)snprintf(line + n, sizeof(line) - n, " %016" PRIx64 "\n", line_checksum(f->leaf, line, n));
	if (f->size > f->good && ftruncate(f->fd, f->good) != 0)
		return err_set(e, errno, "journal: cannot cut the torn end of %s: %s", f->path, strerror(errno));
	while (done < n) {
		ssize_t put = pwrite(f->fd, line + done, n - done, f->good + (off_t)done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			code = put ? errno : EIO;
			goto undo;
		}
		done += (size_t)put;
	}
	if (fdatasync(f->fd) == 0 && fsync(f->dir) == 0)
		return 0;
	code = errno;
undo:
	if (ftruncate(f->fd, f->good) != 0)
		code = code ? code : errno; /* a torn line stays; it counts as not written */
	return err_set(
		e, code, "journal: cannot record %s in %s: %s", handoff_name(entry->state), f->path, strerror(code));
}

/* ---- the interface --------------------------------------------------------------------------------------- */

int journal_record(
	const char *state_dir, const struct journal_entry *entry, enum handoff_state *found_out, struct err *e)
{
	struct jfile f;
	struct err why = {0};
	int rc;

	if (!word_valid(entry->peer) || !word_valid(entry->domain))
		return err_set(e, EINVAL, "journal: names may not hold spaces");
	rc = jfile_open(&f, state_dir, entry->uuid, entry->epoch, entry->role, true, e);
	if (rc)
		goto out;
	rc = handoff_step(entry->role, f.state, entry->state, &why);
	if (rc || f.state == entry->state) {
		int sync_rc = jfile_sync(&f, e); /* the caller acts on what is found, too */

		if (sync_rc)
			rc = sync_rc;
		else if (rc)
			err_set(e, EPROTO, "%s", why.msg);
	} else {
		rc = jfile_append(&f, entry, e);
	}
	if (found_out && (rc == 0 || rc == -EPROTO))
		*found_out = f.state;
out:
	jfile_close(&f);
	return rc;
}

static void entry_fill(
	struct journal_entry *out, const struct jfile *f, const char *uuid, uint64_t epoch, enum handoff_role role)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->uuid, sizeof(out->uuid), "%s", uuid);
	snprintf(out->peer, sizeof(out->peer), "%s", f->peer);
	snprintf(out->domain, sizeof(out->domain), "%s", f->domain);
	out->epoch = epoch;
	out->role = role;
	out->state = f->state;
}

int journal_read(const char *state_dir, const char *uuid, uint64_t epoch, enum handoff_role role,
	struct journal_entry *out, struct err *e)
{
	struct jfile f;
	int rc = jfile_open(&f, state_dir, uuid, epoch, role, false, e);

	if (rc == 0)
		rc = jfile_sync(&f, e);
	if (rc == 0 && f.state == HO_NONE)
		rc = err_set(e, ENOENT, "journal: %s holds no record", f.path);
	if (rc == 0)
		entry_fill(out, &f, uuid, epoch, role);
	jfile_close(&f);
	return rc;
}

static bool leaf_parse(const char *leaf, char uuid[37], uint64_t *epoch, enum handoff_role *role)
{
	char side[8];
	int end = 0;

	if (sscanf(leaf, "%36[0-9a-fA-F-].%" SCNu64 ".%7[a-z]%n", uuid, epoch, side, &end) != 3 || leaf[end])
		return false;
	*role = strcmp(side, "source") == 0 ? HO_SOURCE : HO_TARGET;
	return strcmp(side, role_name(*role)) == 0;
}

int journal_scan(
	const char *state_dir, void (*found)(void *arg, const struct journal_entry *entry), void *arg, struct err *e)
{
	char path[PATH_MAX];
	struct dirent *de;
	DIR *dir;
	int rc = 0;

	if ((size_t)snprintf(path, sizeof(path), "%s/handoff", state_dir) >= sizeof(path))
		return err_set(e, ENAMETOOLONG, "journal: %s is too long", state_dir);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : err_set(e, errno, "journal: %s: %s", path, strerror(errno));
	while ((errno = 0, de = readdir(dir)) != NULL) {
		struct journal_entry entry;
		char uuid[37];
		uint64_t epoch;
		enum handoff_role role;
		struct err why = {0};
		int one;

		if (!leaf_parse(de->d_name, uuid, &epoch, &role))
			continue;
		one = journal_read(state_dir, uuid, epoch, role, &entry, &why);
		if (one == 0)
			found(arg, &entry);
		else if (one != -ENOENT && rc == 0)
			rc = err_set(e, why.code, "%s", why.msg);
	}
	closedir(dir);
	return rc;
}

int journal_remove(const char *state_dir, const char *uuid, uint64_t epoch, enum handoff_role role, struct err *e)
{
	struct jfile f;
	int rc = jfile_open(&f, state_dir, uuid, epoch, role, false, e);

	if (rc == 0 && f.state != HO_NONE && !handoff_final(role, f.state))
		rc = err_set(e, EBUSY, "journal: %s is at %s; the hand-off is not over", f.path, handoff_name(f.state));
	if (rc == 0 && unlinkat(f.dir, f.leaf, 0) != 0)
		rc = err_set(e, errno, "journal: cannot remove %s: %s", f.path, strerror(errno));
	if (rc == 0 && fsync(f.dir) != 0)
		rc = err_set(e, errno, "journal: cannot make the removal of %s durable: %s", f.path, strerror(errno));
	jfile_close(&f);
	return rc;
}
