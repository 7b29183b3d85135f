/* Looking at files and storage away from the loop: stat(2) on a hung NFS waits for ever, and policyd must not. Loop thread; the looking is done by a thread
 * (offload.h), which is left to itself where it hangs: so many at a time and no more. */
#ifndef POLICYD_ACT_LOOK_H
#define POLICYD_ACT_LOOK_H

#include "domain/spec.h"
#include "domain/volume_id.h"
#include "policyd/policyd.h"

#define LOOK_PATHS_MAX (SPEC_DISKS_MAX + 4)
#define LOOKS_HUNG_MAX 8

enum looked {
	LOOKED_HUNG,
	LOOKED_THERE,
	LOOKED_ABSENT
}; /* HUNG: it did not answer in time, or one before it did not */

struct look_path {
	char path[SPEC_PATH_MAX];
	bool storage; /* say what is behind it as well */
	enum looked found;
	struct volume_id id;
};

struct look_list {
	struct look_path v[LOOK_PATHS_MAX];
	unsigned n;
};
/* More than fit, and a path that is in it already, are left out. */
void look_add(struct look_list *l, const char *path, bool storage);
/* NULL: was not looked for. */
const struct look_path *look_find(const struct look_list *l, const char *path);

struct look;
/* Once, on the loop, never inside look_start. */
typedef void look_done_fn(void *arg, const struct look_list *l);
/* NULL: no memory or no thread. After LOOK_MS what has not answered is HUNG, and @done is called. */
#define LOOK_MS 5000
struct look *look_start(struct policyd *p, const struct look_list *paths, look_done_fn *done, void *arg);
/* @done will not be called. NULL does nothing. */
void look_forget(struct look *l);

#endif
