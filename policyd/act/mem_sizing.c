/* Sizing in the daemon: see mem_sizing.h. */
#include "policyd/act/mem_sizing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "policyd/act/brain.h"
#include "policyd/decide/sizing.h"

#define EVERY_MS 300000      /* as in the traces that its law was made on: one sample, the peak of five minutes */
#define LEARNS_MS 86400000LL /* no advice before: what comes once a day was not seen yet */
#define MIB ((double)(1 << 20))

#define SHAPE "ballast sizing 2" /* another one for another meaning of what is kept */

struct dom_sizing {
	struct sizing s;
	int64_t began_ms, last_ms; /* monotonic */
	double peak_mib;
};

/* ---- kept ---- */

/* As it is in memory: read by the same program on the same machine, or by another one that then knows SHAPE and the size. */
struct kept {
	char shape[32];
	uint64_t size, digest; /* digest: XXH3 of z; what is damaged is not advised by */
	struct dom_sizing z;
};

static void keep(const struct dom *d, const struct dom_sizing *z)
{
	struct kept k;
	char path[SPEC_PATH_MAX], fresh[SPEC_PATH_MAX];
	const struct host_services *h = &d->p->conf->host;
	int fd;
	bool whole;

	if (rundir_path(h, d->spec.name, "sizing.state", path, NULL) ||
		rundir_path(h, d->spec.name, "sizing.new", fresh, NULL))
		return;
	memset(&k, 0, sizeof(k));
	snprintf(k.shape, sizeof(k.shape), "%s", SHAPE);
	k.size = sizeof(k);
	memcpy(&k.z, z, sizeof(k.z));
	k.digest = XXH3_64bits(&k.z, sizeof(k.z));
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	whole = write(fd, &k, sizeof(k)) == (ssize_t)sizeof(k);
	close(fd);
	if (!whole || rename(fresh, path))
		unlink(fresh); /* learning goes on; the next one may be kept */
}

/* What an earlier policyd learnt of this QEMU. False: nothing that can be used. */
static bool take_kept(const struct dom *d, int64_t now_ms, struct dom_sizing *out)
{
	struct kept k;
	char path[SPEC_PATH_MAX];
	ssize_t n = -1;
	int fd;

	if (rundir_path(&d->p->conf->host, d->spec.name, "sizing.state", path, NULL))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	n = read(fd, &k, sizeof(k));
	close(fd);
	if (n != (ssize_t)sizeof(k) || k.size != sizeof(k) || strncmp(k.shape, SHAPE, sizeof(k.shape)) != 0 ||
		k.digest != XXH3_64bits(&k.z, sizeof(k.z)) || k.z.began_ms > k.z.last_ms ||
		k.z.last_ms > now_ms) /* its clock began anew: another boot */
		return false;
	*out = k.z;
	return true;
}

/* ---- fed ---- */

/* In use now, MiB; < 0 = its guest does not say. */
static double used_mib(const struct dom *d)
{
	struct shrink_view v = {0};

	if (!brain_mem_health(d, &v) || !v.stats_known || v.stats_age_ms > v.stale_ms ||
		v.available_bytes > d->mem_bytes)
		return -1;
	return (double)(d->mem_bytes - v.available_bytes) / MIB;
}

void mem_sizing_used(struct dom *d, int64_t now_ms, double used)
{
	struct dom_sizing *z = d->sizing;

	if (!z) {
		z = d->sizing = calloc(1, sizeof(*z));
		if (!z)
			return;
		if (!take_kept(d, now_ms, z)) {
			sizing_init(&z->s);
			z->began_ms = z->last_ms = now_ms;
		}
	}
	z->peak_mib = used > z->peak_mib ? used : z->peak_mib;
	if (now_ms - z->last_ms < EVERY_MS)
		return;
	sizing_add(&z->s, &sizing_default, now_ms, z->peak_mib);
	z->last_ms = now_ms;
	z->peak_mib = 0;
	keep(d, z);
}

void mem_sizing_sample(struct dom *d)
{
	double used = d->state == DOM_ACTIVE ? used_mib(d) : -1;

	if (used >= 0)
		mem_sizing_used(d, now_mono_ms(), used);
}

uint64_t mem_sizing_advice(const struct dom *d)
{
	const struct dom_sizing *z = d->sizing;
	struct sizing_advice a;

	if (!z || z->last_ms - z->began_ms < LEARNS_MS)
		return 0;
	a = sizing_advise(&z->s, &sizing_default, (double)d->mem_bytes / MIB, (double)d->spec.mem_max / MIB);
	return ((uint64_t)(a.target_mib * MIB) + MEM_STEP - 1) / MEM_STEP * MEM_STEP;
}

void mem_sizing_free(struct dom *d)
{
	free(d->sizing);
	d->sizing = NULL;
}
