/* What a domain is: the definition that an operator writes, that is stored, and that moves between hosts.
 *
 * Plain data with fixed sizes, so that it can be copied by value and compared. conf/ reads it from a libconfig file;
 * here it is checked and turned to and from JSON (store, control socket, peers: one shape everywhere, see
 * docs/objects.md). Pure functions, any thread. */
#ifndef DOMAIN_SPEC_H
#define DOMAIN_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "domain/err.h"

#define NAME_MAX_LEN 64 /* with the final 0; [A-Za-z0-9][A-Za-z0-9._-]* */
#define SPEC_DISKS_MAX 8
#define SPEC_NETS_MAX 8
#define SPEC_TAGS_MAX 16
#define SPEC_PATH_MAX 512
#define SPEC_PAGE_BYTES 4096u      /* larger ones are huge pages */
#define MEM_STEP (2ULL << 20)      /* every memory size is a multiple of this many bytes */
#define VMEM_ALIGN (128ULL << 20)  /* Linux's memory block on x86 */
#define SPEC_MEM_MIN (16ULL << 20) /* no guest boots in less */
#define SPEC_MEM_MAX (4ULL << 40)
#define SPEC_VCPUS_MAX 240 /* what QEMU's q35 gives without an IOMMU for interrupts is 255 */

enum cpu_arch { CPU_GENERIC, CPU_NATIVE }; /* generic: a baseline model that any host of the group runs */
enum disk_cache { CACHE_NONE, CACHE_WRITEBACK };

struct spec_disk {
	char volume[NAME_MAX_LEN]; /* a name under host.volumes, the same on every host that may run it */
	bool readonly;
	enum disk_cache cache; /* default none (O_DIRECT) */
};

struct spec_net {
	char sw[NAME_MAX_LEN]; /* a name under host.switches ("switch" in files and JSON) */
	char mac[18];          /* "52:54:00:.."; made from uuid and index when the file gives none */
};

struct domain_spec {
	char name[NAME_MAX_LEN];
	char uuid[37]; /* lower case; made once when the file gives none */
	unsigned vcpus_min, vcpus_boot, vcpus_max;
	uint64_t mem_min, mem_boot, mem_max; /* bytes; balloon works in [min, boot], virtio-mem above boot */
	enum cpu_arch cpu_arch;
	char kernel[SPEC_PATH_MAX]; /* direct boot; all three empty when it boots from its first disk */
	char initrd[SPEC_PATH_MAX];
	char cmdline[SPEC_PATH_MAX];
	struct spec_disk disks[SPEC_DISKS_MAX];
	unsigned n_disks;
	struct spec_net nets[SPEC_NETS_MAX];
	unsigned n_nets;
	char console[NAME_MAX_LEN]; /* a console group of the host, "" = none: the console is a unix socket only */
	char tags[SPEC_TAGS_MAX][NAME_MAX_LEN];
	unsigned n_tags;
	unsigned importance;        /* 0..100; UINT_MAX = not given, policy or 50 decides */
	char cluster[NAME_MAX_LEN]; /* a cluster of clusters = (...), "" = none */
};

/* All defaults (1 vCPU, 512 MiB, min = boot = max); name and uuid empty. */
void spec_init(struct domain_spec *spec);

/* Fill what the operator left out: uuid (random), MACs (from the uuid), and sizes that are 0 ("not given"): boot 1 vCPU and 512 MiB,
 * vcpus_min 1, mem_min = boot (memory is only taken where the operator gave a minimum), max = boot. Changes nothing that is set.
 * -EIO: no randomness. */
int spec_complete(struct domain_spec *spec, struct err *e);

/* Is it a definition that could run somewhere? Checks names, uuid, MACs, ranges, min <= boot <= max, sizes, something to boot from.
 * First fault in @e as "key: reason" (key as in files and JSON: "memory.min", "disks[1].volume"), -EINVAL. */
int spec_check(const struct domain_spec *spec, struct err *e);

/* New reference, or NULL when out of memory. */
json_t *spec_to_json(const struct domain_spec *spec);

/* Strict: unknown keys, wrong types, absent name, uuid, vcpus or memory, and anything that spec_check refuses are -EINVAL with
 * "key: reason"; @out untouched then. */
int spec_from_json(const json_t *j, struct domain_spec *out, struct err *e);

/* The size of the virtio-mem device (and of its RAM file), 0 = it has none: memory.max - memory.boot, rounded up to Linux's memory blocks,
 * for a guest can use whole blocks only. No more than memory.max - memory.boot of it is ever asked for. */
uint64_t spec_vmem_bytes(const struct domain_spec *spec);

/* Bytes that its RAM files, in pages of this size, may come to take while it has @mem_bytes. In huge pages that is all of them (memory.boot and the
 * virtio-mem device): what a balloon takes from a guest, 4 KiB by 4 KiB, rarely frees a huge page, and one that it frees has lost QEMU's reservation
 * and must be there when the guest touches it again. */
uint64_t spec_ram_claim(const struct domain_spec *spec, uint64_t page_bytes, uint64_t mem_bytes);

/* Can its RAM files be made of pages of this size? -EINVAL with "key: reason". */
int spec_check_pages(const struct domain_spec *spec, uint64_t page_bytes, struct err *e);

bool spec_has_tag(const struct domain_spec *spec, const char *tag);
bool name_valid(const char *name);
bool uuid_valid(const char *uuid); /* 8-4-4-4-12, lower case */
bool mac_valid(const char *mac);   /* six octets, lower case, unicast, not all zero */

#endif
