/* struct domain_spec: defaults, completion and the one check that every definition passes, wherever it comes from (file, store,
 * control socket, peer). Called from every room, any thread; pure but for the random uuid. JSON is in spec_json.c. */
#include "domain/spec.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define MEM_BOOT_DEFAULT (512ULL << 20)

void spec_init(struct domain_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	spec->vcpus_min = spec->vcpus_boot = spec->vcpus_max = 1;
	spec->mem_min = spec->mem_boot = spec->mem_max = MEM_BOOT_DEFAULT;
	spec->importance = UINT_MAX;
}

/* ---- names and addresses ---- */

bool name_valid(const char *name)
{
	size_t i;

	if (!isalnum((unsigned char)name[0]))
		return false;
	for (i = 1; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return i < NAME_MAX_LEN;
}

static bool lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool uuid_valid(const char *uuid)
{
	size_t i;

	for (i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? uuid[i] != '-' : !lower_hex(uuid[i]))
			return false;
	}
	return uuid[36] == 0;
}

bool mac_valid(const char *mac)
{
	unsigned first;
	size_t i;

	for (i = 0; i < 17; i++)
		if (i % 3 == 2 ? mac[i] != ':' : !lower_hex(mac[i]))
			return false;
	if (mac[17] || !strcmp(mac, "00:00:00:00:00:00"))
		return false;
	return sscanf(mac, "%2x", &first) == 1 && !(first & 1);
}

/* ---- completion ---- */

static int uuid_make(char out[37], struct err *e)
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return err_set(e, EIO, "uuid: no random numbers from the kernel: %s", strerror(errno));
	b[6] = (b[6] & 0x0f) | 0x40; /* version 4, variant 1 */
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

static bool mac_taken(const struct domain_spec *spec, unsigned self, const char *mac)
{
	unsigned i;

	for (i = 0; i < spec->n_nets; i++)
		if (i != self && !strcmp(spec->nets[i].mac, mac))
			return true;
	return false;
}

/* The same uuid and index always give the same address: it moves with the domain even where nobody stored it. */
static void mac_make(struct domain_spec *spec, unsigned i)
{
	char mac[18];
	uint64_t seed = i;

	do {
		uint64_t h = XXH64(spec->uuid, strlen(spec->uuid), seed);

		snprintf(mac, sizeof(mac), "52:54:00:%02x:%02x:%02x", (unsigned)(h >> 16) & 0xff,
			(unsigned)(h >> 8) & 0xff, (unsigned)h & 0xff);
		seed += SPEC_NETS_MAX;
	} while (mac_taken(spec, i, mac));
	memcpy(spec->nets[i].mac, mac, sizeof(mac));
}

int spec_complete(struct domain_spec *spec, struct err *e)
{
	unsigned i;
	int r;

	if (!spec->uuid[0]) {
		r = uuid_make(spec->uuid, e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < spec->n_nets && i < SPEC_NETS_MAX; i++)
		if (!spec->nets[i].mac[0])
			mac_make(spec, i);
	if (!spec->vcpus_boot)
		spec->vcpus_boot = spec->vcpus_min ? spec->vcpus_min : 1;
	if (!spec->vcpus_min)
		spec->vcpus_min = 1;
	if (!spec->vcpus_max)
		spec->vcpus_max = spec->vcpus_boot;
	if (!spec->mem_boot)
		spec->mem_boot = spec->mem_min ? spec->mem_min : MEM_BOOT_DEFAULT;
	if (!spec->mem_min)
		spec->mem_min = spec->mem_boot;
	if (!spec->mem_max)
		spec->mem_max = spec->mem_boot;
	return 0;
}

/* ---- the check ---- */

static int bad(struct err *e, const char *key, const char *reason)
{
	return err_set(e, EINVAL, "%s: %s", key, reason);
}

static int check_vcpus(const struct domain_spec *s, struct err *e)
{
	if (s->vcpus_min < 1)
		return bad(e, "vcpus.min", "must be at least 1");
	if (s->vcpus_boot < s->vcpus_min)
		return err_set(e, EINVAL, "vcpus.boot: %u is less than vcpus.min (%u)", s->vcpus_boot, s->vcpus_min);
	if (s->vcpus_max < s->vcpus_boot)
		return err_set(e, EINVAL, "vcpus.max: %u is less than vcpus.boot (%u)", s->vcpus_max, s->vcpus_boot);
	if (s->vcpus_max > SPEC_VCPUS_MAX)
		return err_set(e, EINVAL, "vcpus.max: %u is more than %u", s->vcpus_max, SPEC_VCPUS_MAX);
	return 0;
}

static int check_mem_size(const char *key, uint64_t bytes, struct err *e)
{
	if (bytes < SPEC_MEM_MIN)
		return err_set(e, EINVAL, "%s: %llu bytes is less than 16M", key, (unsigned long long)bytes);
	if (bytes > SPEC_MEM_MAX)
		return err_set(e, EINVAL, "%s: %llu bytes is more than 4T", key, (unsigned long long)bytes);
	if (bytes % MEM_STEP)
		return err_set(e, EINVAL, "%s: %llu bytes is not a multiple of 2M", key, (unsigned long long)bytes);
	return 0;
}

static int check_memory(const struct domain_spec *s, struct err *e)
{
	if (check_mem_size("memory.min", s->mem_min, e) || check_mem_size("memory.boot", s->mem_boot, e) ||
		check_mem_size("memory.max", s->mem_max, e))
		return -EINVAL;
	if (s->mem_boot < s->mem_min)
		return err_set(e, EINVAL, "memory.boot: %lluM is less than memory.min (%lluM)",
			(unsigned long long)s->mem_boot >> 20, (unsigned long long)s->mem_min >> 20);
	if (s->mem_max < s->mem_boot)
		return err_set(e, EINVAL, "memory.max: %lluM is less than memory.boot (%lluM)",
			(unsigned long long)s->mem_max >> 20, (unsigned long long)s->mem_boot >> 20);
	return 0;
}

static bool has_control_char(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

static int check_boot(const struct domain_spec *s, struct err *e)
{
	if (s->kernel[0] && s->kernel[0] != '/')
		return bad(e, "kernel", "must be an absolute path");
	if (s->initrd[0] && s->initrd[0] != '/')
		return bad(e, "initrd", "must be an absolute path");
	if (has_control_char(s->kernel) || has_control_char(s->initrd))
		return bad(e, has_control_char(s->kernel) ? "kernel" : "initrd", "has a control character in it");
	if (has_control_char(s->cmdline))
		return bad(e, "cmdline", "has a control character in it");
	if (!s->kernel[0] && s->initrd[0])
		return bad(e, "initrd", "is of no use without kernel");
	if (!s->kernel[0] && s->cmdline[0])
		return bad(e, "cmdline", "is of no use without kernel");
	if (!s->kernel[0] && !s->n_disks)
		return bad(e, "disks", "nothing to boot from: give a disk, or kernel (and initrd)");
	return 0;
}

static int check_disks(const struct domain_spec *s, struct err *e)
{
	unsigned i, j;

	if (s->n_disks > SPEC_DISKS_MAX)
		return err_set(e, EINVAL, "disks: %u are more than %d", s->n_disks, SPEC_DISKS_MAX);
	for (i = 0; i < s->n_disks; i++) {
		if (!name_valid(s->disks[i].volume))
			return err_set(e, EINVAL, "disks[%u].volume: \"%s\" is not a name (letters, digits, . _ -)", i,
				s->disks[i].volume);
		for (j = 0; j < i; j++)
			if (!strcmp(s->disks[i].volume, s->disks[j].volume))
				return err_set(e, EINVAL, "disks[%u].volume: \"%s\" is disks[%u] already", i,
					s->disks[i].volume, j);
	}
	return 0;
}

static int check_nets(const struct domain_spec *s, struct err *e)
{
	unsigned i;

	if (s->n_nets > SPEC_NETS_MAX)
		return err_set(e, EINVAL, "networks: %u are more than %d", s->n_nets, SPEC_NETS_MAX);
	for (i = 0; i < s->n_nets; i++) {
		if (!name_valid(s->nets[i].sw))
			return err_set(e, EINVAL, "networks[%u].switch: \"%s\" is not a name (letters, digits, . _ -)",
				i, s->nets[i].sw);
		if (!mac_valid(s->nets[i].mac))
			return err_set(e, EINVAL,
				"networks[%u].mac: \"%s\" is not a unicast address like 52:54:00:12:34:56 "
				"(lower case)",
				i, s->nets[i].mac);
		if (mac_taken(s, i, s->nets[i].mac))
			return err_set(e, EINVAL, "networks[%u].mac: %s is used twice", i, s->nets[i].mac);
	}
	return 0;
}

static int check_labels(const struct domain_spec *s, struct err *e)
{
	unsigned i;

	if (s->console[0] && !name_valid(s->console))
		return err_set(e, EINVAL, "console: \"%s\" is not a name (letters, digits, . _ -)", s->console);
	if (s->cluster[0] && !name_valid(s->cluster))
		return err_set(e, EINVAL, "cluster: \"%s\" is not a name (letters, digits, . _ -)", s->cluster);
	if (s->n_tags > SPEC_TAGS_MAX)
		return err_set(e, EINVAL, "tags: %u are more than %d", s->n_tags, SPEC_TAGS_MAX);
	for (i = 0; i < s->n_tags; i++)
		if (!name_valid(s->tags[i]))
			return err_set(
				e, EINVAL, "tags[%u]: \"%s\" is not a name (letters, digits, . _ -)", i, s->tags[i]);
	if (s->importance > 100 && s->importance != UINT_MAX)
		return err_set(e, EINVAL, "importance: %u is not in 0..100", s->importance);
	return 0;
}

int spec_check(const struct domain_spec *s, struct err *e)
{
	if (!name_valid(s->name))
		return err_set(e, EINVAL,
			"name: \"%s\" is not a name (a letter or digit, then letters, digits, . _ -; 63 at most)",
			s->name);
	if (!uuid_valid(s->uuid))
		return err_set(e, EINVAL, "uuid: \"%s\" is not a uuid (lower case, 8-4-4-4-12 hex digits)", s->uuid);
	if (check_vcpus(s, e) || check_memory(s, e) || check_disks(s, e) || check_boot(s, e) || check_nets(s, e) ||
		check_labels(s, e))
		return -EINVAL;
	return 0;
}

uint64_t spec_vmem_bytes(const struct domain_spec *spec)
{
	uint64_t above = spec->mem_max > spec->mem_boot ? spec->mem_max - spec->mem_boot : 0;

	return (above + VMEM_ALIGN - 1) / VMEM_ALIGN * VMEM_ALIGN;
}

uint64_t spec_ram_claim(const struct domain_spec *spec, uint64_t page_bytes, uint64_t mem_bytes)
{
	return page_bytes > SPEC_PAGE_BYTES ? spec->mem_boot + spec_vmem_bytes(spec) : mem_bytes;
}

int spec_check_pages(const struct domain_spec *spec, uint64_t page_bytes, struct err *e)
{
	unsigned long long page_mib = page_bytes >> 20;

	if (spec->mem_boot % page_bytes)
		return err_set(e, EINVAL,
			"memory.boot: %lluM is no multiple of %lluM, the size of this host's huge pages; change it, or run it where pages are smaller",
			(unsigned long long)spec->mem_boot >> 20, page_mib);
	if (spec_vmem_bytes(spec) && page_bytes > MEM_STEP)
		return err_set(e, EINVAL,
			"memory.max: above memory.boot it is given in steps of 2M, but this host's huge pages have %lluM; make both the same",
			page_mib);
	return 0;
}

bool spec_has_tag(const struct domain_spec *spec, const char *tag)
{
	unsigned i;

	for (i = 0; i < spec->n_tags; i++)
		if (!strcmp(spec->tags[i], tag))
			return true;
	return false;
}
