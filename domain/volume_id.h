/* Is a volume's path here the same storage as a path of that name on another host? Not its path counts but what is behind it: a guest that were
 * given another disk of the same name would be destroyed by its own writes.
 *
 * Compared: kind and size; of a block device the identity that the disk itself gives (wwid, or device-mapper's uuid); of a file its inode, and the file
 * system where both sides say that it is one of one host (NFS and the like number their mounts as each client likes). What one side does not know
 * counts as the same. Reads /sys and stat(2) only, opens nothing. Any thread; as stat does, it waits where storage hangs. */
#ifndef DOMAIN_VOLUME_ID_H
#define DOMAIN_VOLUME_ID_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum volume_kind { VOLUME_UNKNOWN, VOLUME_FILE, VOLUME_BLOCK };

struct volume_id {
	enum volume_kind kind; /* UNKNOWN: nothing else counts */
	uint64_t bytes;        /* 0 = not known */
	uint64_t inode;        /* files */
	uint64_t fsid;         /* files on a file system of one host; 0 = may be shared */
	char wwid[96];         /* block devices; "" = it has none */
};

/* A path that cannot be looked at is UNKNOWN. */
void volume_id_read(const char *path, struct volume_id *out);
/* False: @why says in what they differ, as the end of a sentence: "it has 1024 bytes there and 2048 here". */
bool volume_id_same(const struct volume_id *there, const struct volume_id *here, char *why, size_t size);

/* {kind, bytes, inode, fsid, wwid}; new reference. And back: anything odd is UNKNOWN. */
json_t *volume_id_to_json(const struct volume_id *v);
void volume_id_from_json(const json_t *j, struct volume_id *out);

#endif
