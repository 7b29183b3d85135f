/* What the files of domain/launch_*.c share. Not for others. */
#ifndef DOMAIN_LAUNCH_PRIV_H
#define DOMAIN_LAUNCH_PRIV_H

#include <limits.h>

#include "domain/launch.h"

#define LAUNCH_RECORD "launch.json"
#define LAUNCH_NEXT_RECORD "launch.next.json"

/* The record @leaf in the folder of domain @name. Reading: -ENOENT there is none; -EBADMSG it cannot be understood. */
int launch_record_read(
	const struct host_services *s, const char *name, const char *leaf, struct launched *out, struct err *e);
int launch_record_write(const struct host_services *s, const struct launched *l, const char *leaf, struct err *e);

/* "qmp.sock", as the command line of a QEMU of this generation names it: "qmp.sock.2". */
void launch_leaf(unsigned generation, const char *leaf, char out[64]);

/* Is the process that @l names by pid and start time the QEMU that it speaks of? Waits up to a second for one that has just been started. */
bool launch_is_qemu(const struct host_services *s, const struct launched *l);
/* launch_find_process, and again for a second. */
int launch_find_unrecorded(const struct host_services *s, struct launched *l);
/* @l is the owner, and may have one to replace yet: that one is ended. */
int launch_next_finish(const struct host_services *s, struct launched *l, struct err *e);

/* Field 22 of /proc/PID/stat; 0 when there is no such process or it is dead but for its parent's wait. */
uint64_t launch_start_time(pid_t pid);

#define LAUNCH_ANY_GENERATION UINT_MAX
/* The process whose command line names @l's uuid, run folder and generation: pid and start time are filled in. -ESRCH there is none. */
int launch_find_process(const struct host_services *s, struct launched *l);

/* A tap device in @bridge, up, closed on exec; it lives as long as its descriptor. Returns the descriptor or -errno. A few ioctls. */
int launch_tap_open(const char *bridge, struct err *e);

/* Like launch_cleanup, for whatever domain the folder of this name belonged to. */
int launch_clear_dead(const struct host_services *s, const struct domain_spec *spec, struct err *e);

/* Remove the files in @dir, and @dir. Not the folders below. */
void launch_remove_folder(const char *dir);

#endif
