/* Look-ups in what a host offers, and the paths of a domain on it. Called from every room, any thread; pure. */
#include "domain/services.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define FIND(array, n)                                                                                                 \
	do {                                                                                                           \
		unsigned i;                                                                                            \
                                                                                                                       \
		for (i = 0; i < (n); i++)                                                                              \
			if (!strcmp((array)[i].name, name))                                                            \
				return &(array)[i];                                                                    \
		return NULL;                                                                                           \
	} while (0)

const struct volume *services_volume(const struct host_services *s, const char *name)
{
	FIND(s->volumes, s->n_volumes);
}

const struct vswitch *services_switch(const struct host_services *s, const char *name)
{
	FIND(s->switches, s->n_switches);
}

const struct console_group *services_console(const struct host_services *s, const char *name)
{
	FIND(s->consoles, s->n_consoles);
}

static int path_join(char out[SPEC_PATH_MAX], struct err *e, const char *dir, const char *mid, const char *leaf)
{
	const char *sep = *mid && *leaf ? "/" : "";
	size_t need = strlen(dir) + 1 + strlen(mid) + strlen(sep) + strlen(leaf) + 1, n = strlen(leaf);

	if (need > SPEC_PATH_MAX)
		return err_set(e, ENAMETOOLONG, "path %s/%s%s%s: longer than %d characters", dir, mid, sep, leaf,
			SPEC_PATH_MAX - 1);
	if (n > 5 && !strcmp(leaf + n - 5, ".sock") && need > sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(e, ENAMETOOLONG,
			"path %s/%s%s%s: a unix socket's path may have 107 characters; choose a shorter host.paths.run or name",
			dir, mid, sep, leaf);
	snprintf(out, SPEC_PATH_MAX, "%s/%s%s%s", dir, mid, sep, leaf);
	return 0;
}

int rundir_path(
	const struct host_services *s, const char *name, const char *leaf, char out[SPEC_PATH_MAX], struct err *e)
{
	return path_join(out, e, s->paths.run, name, leaf);
}

static int ram_file(const struct host_services *s, const struct domain_spec *spec, const char *suffix,
	char out[SPEC_PATH_MAX], struct err *e)
{
	char leaf[sizeof(spec->uuid) + 8];

	snprintf(leaf, sizeof(leaf), "%s%s", spec->uuid, suffix);
	return path_join(out, e, s->paths.ram, "", leaf);
}

int ram_path(const struct host_services *s, const struct domain_spec *spec, char out[SPEC_PATH_MAX], struct err *e)
{
	return ram_file(s, spec, ".ram", out, e);
}

int vmem_path(const struct host_services *s, const struct domain_spec *spec, char out[SPEC_PATH_MAX], struct err *e)
{
	return ram_file(s, spec, ".vmem", out, e);
}
