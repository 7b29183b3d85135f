/* What a host offers to domains: volumes, switches and console groups by name (Oracle's vds, vsw, vcc), its paths and
 * its capacity. A domain names a service; each host maps the name to its own path, bridge or ports, which is what
 * lets a domain move. Plain data, filled by conf/, read everywhere; any thread while nobody writes. */
#ifndef DOMAIN_SERVICES_H
#define DOMAIN_SERVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/spec.h"

#define SERVICES_MAX 64

struct volume {
	char name[NAME_MAX_LEN];
	char path[SPEC_PATH_MAX];
};

struct vswitch {
	char name[NAME_MAX_LEN];
	char bridge[16];
};

struct console_group {
	char name[NAME_MAX_LEN];
	uint16_t port_first, port_last; /* TCP on 127.0.0.1 of the host */
};

struct host_paths {
	char run[SPEC_PATH_MAX];    /* one folder a domain: pid, sockets, logs; default /run/policyd */
	char state[SPEC_PATH_MAX];  /* SQLite store, hand-off journals; default /var/lib/policyd */
	char ram[SPEC_PATH_MAX];    /* tmpfs or hugetlbfs for RAM files; default /dev/shm/policyd */
	char qemu[SPEC_PATH_MAX];   /* default /usr/bin/qemu-system-x86_64 */
	char worker[SPEC_PATH_MAX]; /* policyd-migrate; default: beside policyd's own executable */
};

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

struct host_services {
	char host_name[NAME_MAX_LEN];
	struct host_paths paths;
	enum accel accel; /* "auto" = TCG until the probe (a guest that boots) is there; see docs/architecture.md */
	struct volume volumes[SERVICES_MAX];
	unsigned n_volumes;
	struct vswitch switches[SERVICES_MAX];
	unsigned n_switches;
	struct console_group consoles[SERVICES_MAX];
	unsigned n_consoles;
	unsigned capacity_vcpus;
	uint64_t capacity_mem; /* bytes */
	uint64_t keep_mem;     /* bytes of capacity that no domain gets */
};

const struct volume *services_volume(const struct host_services *s, const char *name);
const struct vswitch *services_switch(const struct host_services *s, const char *name);
const struct console_group *services_console(const struct host_services *s, const char *name);

/* A path below the run folder of domain @name: rundir_path(s, "web1", "qmp.sock", buf); leaf "" is the folder itself.
 * -ENAMETOOLONG (a unix socket's path must fit 107 characters; that is checked for leaves ending in .sock). */
int rundir_path(
	const struct host_services *s, const char *name, const char *leaf, char out[SPEC_PATH_MAX], struct err *e);

/* The domain's RAM file, "<ram>/<uuid>.ram", and "<ram>/<uuid>.vmem" for virtio-mem (only where memory.max > memory.boot). */
int ram_path(const struct host_services *s, const struct domain_spec *spec, char out[SPEC_PATH_MAX], struct err *e);
int vmem_path(const struct host_services *s, const struct domain_spec *spec, char out[SPEC_PATH_MAX], struct err *e);

#endif
