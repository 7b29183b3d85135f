/* What storage a path stands for; see volume_id.h. */
#include "domain/volume_id.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* File systems that one host mounts for itself: <linux/magic.h>, and XFS's own. Two of them with different ids are two. */
static const uint64_t local_file_systems[] = {
	0xEF53 /* ext2, 3, 4 */,
	0x58465342 /* xfs */,
	0x9123683E /* btrfs */,
	0xF2F52010 /* f2fs */,
	0x01021994 /* tmpfs */,
	0x794c7630 /* overlayfs */,
};

static bool is_local(uint64_t magic)
{
	for (size_t i = 0; i < sizeof(local_file_systems) / sizeof(local_file_systems[0]); i++)
		if (local_file_systems[i] == magic)
			return true;
	return false;
}

/* The first line of a file in /sys; "" when it is not there. */
static void sys_line(const struct stat *st, const char *leaf, char *out, size_t size)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(st->st_rdev), minor(st->st_rdev), leaf);
	f = fopen(path, "re");
	if (!f || !fgets(out, (int)size, f))
		out[0] = 0;
	if (f)
		fclose(f);
	out[strcspn(out, "\n")] = 0;
}

static void read_block(const struct stat *st, struct volume_id *out)
{
	static const char *const leaves[] = {"dm/uuid", "wwid", "device/wwid", "serial", "device/serial"};
	unsigned long long sectors = 0;
	char text[32];

	out->kind = VOLUME_BLOCK;
	sys_line(st, "size", text, sizeof(text));
	if (sscanf(text, "%llu", &sectors) == 1)
		out->bytes = sectors * 512;
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]) && !out->wwid[0]; i++)
		sys_line(st, leaves[i], out->wwid, sizeof(out->wwid));
}

static void read_file(const char *path, const struct stat *st, struct volume_id *out)
{
	struct statfs fs;

	out->kind = VOLUME_FILE;
	out->bytes = (uint64_t)st->st_size;
	out->inode = (uint64_t)st->st_ino;
	if (!statfs(path, &fs) && is_local((uint64_t)fs.f_type))
		memcpy(&out->fsid, &fs.f_fsid, sizeof(out->fsid));
}

void volume_id_read(const char *path, struct volume_id *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (stat(path, &st))
		return;
	if (S_ISBLK(st.st_mode))
		read_block(&st, out);
	else if (S_ISREG(st.st_mode))
		read_file(path, &st, out);
}

bool volume_id_same(const struct volume_id *there, const struct volume_id *here, char *why, size_t size)
{
	why[0] = 0;
	if (there->kind == VOLUME_UNKNOWN || here->kind == VOLUME_UNKNOWN)
		return true;
	if (there->kind != here->kind) {
		snprintf(why, size, "it is a %s there and a %s here",
			there->kind == VOLUME_FILE ? "file" : "block device",
			here->kind == VOLUME_FILE ? "file" : "block device");
	} else if (there->bytes && here->bytes && there->bytes != here->bytes) {
		snprintf(why, size, "it has %llu bytes there and %llu here", (unsigned long long)there->bytes,
			(unsigned long long)here->bytes);
	} else if (there->kind == VOLUME_BLOCK && there->wwid[0] && here->wwid[0] &&
		strcmp(there->wwid, here->wwid) != 0) {
		snprintf(why, size, "it is the disk %.60s there and %.60s here", there->wwid, here->wwid);
	} else if (there->kind == VOLUME_FILE && there->inode != here->inode) {
		snprintf(why, size, "it is file number %llu of its file system there and %llu here",
			(unsigned long long)there->inode, (unsigned long long)here->inode);
	} else if (there->kind == VOLUME_FILE && there->fsid && here->fsid && there->fsid != here->fsid) {
		snprintf(why, size, "each is on a file system of its own host");
	}
	return !why[0];
}

static const char *const kind_names[] = {
	[VOLUME_UNKNOWN] = "unknown", [VOLUME_FILE] = "file", [VOLUME_BLOCK] = "block"};

/* 64 bits as text: JSON's numbers end at 63. */
json_t *volume_id_to_json(const struct volume_id *v)
{
	char bytes[24], inode[24], fsid[24];

	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)v->bytes);
	snprintf(inode, sizeof(inode), "%llu", (unsigned long long)v->inode);
	snprintf(fsid, sizeof(fsid), "%llu", (unsigned long long)v->fsid);
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "kind", kind_names[v->kind], "bytes", bytes, "inode", inode,
		"fsid", fsid, "wwid", v->wwid);
}

static uint64_t number_of(const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));
	unsigned long long n = 0;

	return text && sscanf(text, "%llu", &n) == 1 ? n : 0;
}

void volume_id_from_json(const json_t *j, struct volume_id *out)
{
	const char *kind = json_string_value(json_object_get(j, "kind")),
		   *wwid = json_string_value(json_object_get(j, "wwid"));

	memset(out, 0, sizeof(*out));
	if (kind && !strcmp(kind, kind_names[VOLUME_FILE]))
		out->kind = VOLUME_FILE;
	else if (kind && !strcmp(kind, kind_names[VOLUME_BLOCK]))
		out->kind = VOLUME_BLOCK;
	out->bytes = number_of(j, "bytes");
	out->inode = number_of(j, "inode");
	out->fsid = number_of(j, "fsid");
	snprintf(out->wwid, sizeof(out->wwid), "%s", wwid ? wwid : "");
}
