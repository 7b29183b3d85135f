/* Guest RAM seen from outside: /proc/PID/maps says which files QEMU has mapped and where, the files say where their holes are. Called by
 * the migration worker and by watch; any thread, nothing is kept. No byte of RAM is touched here. */
#include "domain/ram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct found { /* one file, as its mappings are read in order of address */
	struct ram_block block;
	uint64_t mapped; /* bytes from offset 0 so far, without a gap */
	bool shared, whole;
};

struct search {
	const char *dir;
	const char *uuid;
	struct found found[RAM_BLOCKS_MAX];
	unsigned n;
};

static bool is_ram_of(const struct search *s, const char *path)
{
	size_t dir = strlen(s->dir);
	const char *leaf;

	while (dir && s->dir[dir - 1] == '/')
		dir--;
	if (strncmp(path, s->dir, dir) || path[dir] != '/')
		return false;
	leaf = path + dir + 1;
	return !strncmp(leaf, s->uuid, strlen(s->uuid)) && leaf[strlen(s->uuid)] == '.';
}

static struct found *found_get(struct search *s, const char *path, struct err *e)
{
	struct found *f;
	unsigned i;

	for (i = 0; i < s->n; i++)
		if (!strcmp(s->found[i].block.path, path))
			return &s->found[i];
	if (s->n == RAM_BLOCKS_MAX || strlen(path) >= sizeof(f->block.path)) {
		err_set(e, ENOTSUP, "more than %d RAM files, or too long a path: %s", RAM_BLOCKS_MAX, path);
		return NULL;
	}
	f = &s->found[s->n++];
	memset(f, 0, sizeof(*f));
	memcpy(f->block.path, path, strlen(path) + 1);
	f->shared = f->whole = true;
	return f;
}

/* A mapping may be cut in pieces (madvise, userfaultfd): they must follow each other in memory and in the file. */
static void found_add(struct found *f, uint64_t start, uint64_t end, uint64_t offset, bool shared)
{
	if (!f->mapped)
		f->block.qemu_addr = start;
	if (offset != f->mapped || start != f->block.qemu_addr + f->mapped)
		f->whole = false;
	f->mapped += end - start;
	f->shared = f->shared && shared;
}

static int maps_line(struct search *s, const char *line, struct err *e)
{
	uint64_t start, end, offset;
	char perms[5];
	struct found *f;
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &start, &end, perms, &offset, &at) < 4 ||
		!at)
		return 0;
	if (!is_ram_of(s, line + at))
		return 0;
	f = found_get(s, line + at, e);
	if (!f)
		return -ENOTSUP;
	found_add(f, start, end, offset, perms[3] == 's');
	return 0;
}

static int read_maps(struct search *s, pid_t pid, struct err *e)
{
	char path[64], *line = NULL;
	size_t size = 0;
	int r = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	while (r == 0 && getline(&line, &size, maps) > 0) {
		line[strcspn(line, "\n")] = 0;
		r = maps_line(s, line, e);
	}
	free(line);
	fclose(maps);
	return r;
}

/* Size and page size of the file itself; and is the mapping fit for moving? */
static int found_finish(struct found *f, struct err *e)
{
	struct ram_block *b = &f->block;
	struct statfs fs;
	struct stat st;

	if (!f->shared)
		return err_set(e, ENOTSUP,
			"RAM file %s is mapped private: what the guest writes is not in it; start the domain with share=on",
			b->path);
	if (stat(b->path, &st) < 0 || statfs(b->path, &fs) < 0)
		return err_set(e, ENOTSUP, "RAM file %s cannot be reached (removed while its QEMU runs?): %s", b->path,
			strerror(errno));
	if (!f->whole || f->mapped != (uint64_t)st.st_size)
		return err_set(e, ENOTSUP, "RAM file %s is not mapped as a whole (%" PRIu64 " of %" PRIu64 " bytes)",
			b->path, f->mapped, (uint64_t)st.st_size);
	b->bytes = (uint64_t)st.st_size;
	b->page_bytes = fs.f_type == HUGETLBFS_MAGIC ? (uint32_t)fs.f_bsize : (uint32_t)sysconf(_SC_PAGESIZE);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->block.path, ((const struct found *)b)->block.path);
}

int ram_find(pid_t pid, const char *ram_dir, const char *uuid, struct ram_block out[RAM_BLOCKS_MAX], unsigned *n_out,
	struct err *e)
{
	struct search s = {.dir = ram_dir, .uuid = uuid};
	unsigned i;
	int r;

	r = read_maps(&s, pid, e);
	if (r < 0)
		return r;
	if (!s.n)
		return err_set(e, ENOENT, "process %d has no RAM file of %s below %s", (int)pid, uuid, ram_dir);
	qsort(s.found, s.n, sizeof(s.found[0]), by_path);
	for (i = 0; i < s.n; i++) {
		r = found_finish(&s.found[i], e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < s.n; i++)
		out[i] = s.found[i].block;
	*n_out = s.n;
	return 0;
}

/* ---- holes ---- */

static int extents_add(struct ram_extent **v, size_t *n, size_t *room, uint64_t start, uint64_t end)
{
	if (*n == *room) {
		size_t more = *room ? *room * 2 : 64;
		struct ram_extent *p = realloc(*v, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		*v = p;
		*room = more;
	}
	(*v)[(*n)++] = (struct ram_extent){.start = start, .end = end};
	return 0;
}

int ram_data_extents(int fd, uint64_t bytes, struct ram_extent **out, size_t *n_out, struct err *e)
{
	struct ram_extent *v = NULL;
	size_t n = 0, room = 0;
	off_t start, end = 0;
	int r = 0;

	while (r == 0 && (uint64_t)end < bytes) {
		start = lseek(fd, end, SEEK_DATA);
		if (start < 0 && errno == ENXIO) /* only a hole is left */
			break;
		end = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);
		if (end < 0)
			/* ENXIO here: the last data was punched or cut off between the two calls */
			r = errno == ENXIO ? 1 : -errno;
		else if ((uint64_t)start < bytes && end > start) /* equal: punched between the two calls */
			r = extents_add(&v, &n, &room, (uint64_t)start, (uint64_t)end < bytes ? (uint64_t)end : bytes);
	}
	if (r < 0) {
		free(v);
		return err_set(e, -r, "cannot read the holes of a RAM file: %s", strerror(-r));
	}
	*out = v;
	*n_out = n;
	return 0;
}

/* ---- room ---- */

static uint64_t pool_bytes(uint64_t page_bytes, const char *leaf)
{
	char path[128];
	uint64_t pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_bytes / 1024, leaf);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64, &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * page_bytes;
}

static uint64_t page_of(const struct statfs *fs)
{
	return fs->f_type == HUGETLBFS_MAGIC ? (uint64_t)fs->f_bsize : SPEC_PAGE_BYTES;
}

uint64_t ram_page_bytes(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) ? SPEC_PAGE_BYTES : page_of(&fs);
}

int ram_room(const char *dir, struct ram_room *out)
{
	struct statfs fs;

	*out = (struct ram_room){.page_bytes = SPEC_PAGE_BYTES, .free_bytes = UINT64_MAX, .pool_bytes = UINT64_MAX};
	if (statfs(dir, &fs))
		return -1;
	out->page_bytes = page_of(&fs);
	if (fs.f_blocks)
		out->free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	if (out->page_bytes > SPEC_PAGE_BYTES) {
		out->pool_bytes = pool_bytes(out->page_bytes, "free_hugepages");
		out->reserved_bytes = pool_bytes(out->page_bytes, "resv_hugepages");
	}
	return 0;
}

uint64_t ram_resident_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}
