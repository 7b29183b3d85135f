/* What the files of domain/launch_*.c share. Not for others. */
#ifndef DOMAIN_LAUNCH_PRIV_H
#define DOMAIN_LAUNCH_PRIV_H

#include "domain/launch.h"

/* launch.json of the folder of domain @name. Reading: -ENOENT there is none; -EBADMSG it cannot be understood. */
int launch_record_read(const struct host_services *s, const char *name, struct launched *out, struct err *e);
int launch_record_write(const struct host_services *s, const struct launched *l, struct err *e);

/* Field 22 of /proc/PID/stat; 0 when there is no such process or it is dead but for its parent's wait. */
uint64_t launch_start_time(pid_t pid);

/* The process whose command line names @l's uuid and run folder: pid and start time are filled in. -ESRCH there is none. */
int launch_find_process(const struct host_services *s, struct launched *l);

/* A tap device in @bridge, up, closed on exec; it lives as long as its descriptor. Returns the descriptor or -errno. A few ioctls. */
int launch_tap_open(const char *bridge, struct err *e);

/* Like launch_cleanup, for whatever domain the folder of this name belonged to. */
int launch_clear_dead(const struct host_services *s, const struct domain_spec *spec, struct err *e);

/* Remove the files in @dir, and @dir. Not the folders below. */
void launch_remove_folder(const char *dir);

#endif
