/* Reading /proc/PID/maps; see maps.h. */
#include "migrate/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool parse_line(char *line, struct maps_line *m)
{
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m->start, &m->end, m->perms,
		    &m->offset, &m->dev_major, &m->dev_minor, &m->inode, &path_at) < 7)
		return false;
	line[strcspn(line, "\n")] = 0;
	m->path = path_at > 0 && (size_t)path_at < strlen(line) ? line + path_at : "";
	return true;
}

int maps_walk(pid_t pid, bool (*each)(void *arg, const struct maps_line *m), void *arg, struct err *e)
{
	struct maps_line m;
	char path[64], *line = NULL;
	bool more = true;
	size_t cap = 0, n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return err_set(e, errno == ENOENT ? ESRCH : errno, "%s: %s", path, strerror(errno));
	for (; more && getline(&line, &cap, f) > 0; n++)
		if (parse_line(line, &m))
			more = each(arg, &m);
	free(line);
	fclose(f);
	return n ? 0 : err_set(e, ESRCH, "process %d has no memory any more", (int)pid);
}

struct block_check {
	const struct ram_block *block;
	struct stat st;
	uint64_t covered;
	uint64_t stray; /* address of a mapping of this file that should not be there; 0 none */
};

struct check {
	struct block_check blocks[RAM_BLOCKS_MAX];
	unsigned n_blocks;
};

static bool on_line(void *arg, const struct maps_line *m)
{
	struct check *c = arg;

	for (unsigned i = 0; m->inode && i < c->n_blocks; i++) {
		struct block_check *b = &c->blocks[i];

		if (m->inode != b->st.st_ino || m->dev_major != major(b->st.st_dev) ||
			m->dev_minor != minor(b->st.st_dev))
			continue;
		if (m->perms[3] == 's' && m->perms[1] == 'w' && m->start == b->block->qemu_addr + b->covered &&
			m->offset == b->covered && m->end <= b->block->qemu_addr + b->block->bytes)
			b->covered += m->end - m->start;
		else
			b->stray = m->start;
	}
	return true;
}

int maps_check_blocks(pid_t pid, const struct ram_block *blocks, unsigned n_blocks, struct err *e)
{
	struct check c = {.n_blocks = n_blocks};
	int ret;

	for (unsigned i = 0; i < n_blocks; i++) {
		c.blocks[i].block = &blocks[i];
		if (stat(blocks[i].path, &c.blocks[i].st))
			return err_set(e, ESTALE, "RAM file %s: %s", blocks[i].path, strerror(errno));
	}
	ret = maps_walk(pid, on_line, &c, e);
	for (unsigned i = 0; !ret && i < n_blocks; i++) {
		if (c.blocks[i].stray)
			ret = err_set(e, ESTALE,
				"process %d maps %s at %" PRIx64 " too; writes through that are not seen", (int)pid,
				blocks[i].path, c.blocks[i].stray);
		else if (c.blocks[i].covered != blocks[i].bytes)
			ret = err_set(e, ESTALE, "process %d no longer maps all of %s at %" PRIx64, (int)pid,
				blocks[i].path, blocks[i].qemu_addr);
	}
	return ret;
}
