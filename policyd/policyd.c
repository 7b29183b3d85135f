/* The root object's small change: clocks, log lines, who-asked texts, capacity, policies in force, reload.
 * Called from everywhere in policyd, loop thread. */
#include "policyd/policies.h"
#include "policyd/policyd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "domain/ram.h"
#include "policyd/act/qemu_probe.h"
#include "policyd/cluster/cluster.h"
#include "policyd/dom.h"

int64_t now_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t now_mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void origin_text(const struct origin *o, char out[96])
{
	switch (o->kind) {
	case BY_OPERATOR:
		snprintf(out, 96, "uid %u (pid %d)", (unsigned)o->uid, (int)o->pid);
		return;
	case BY_POLICY:
		snprintf(out, 96, "policy %s", o->name);
		return;
	case BY_PEER:
		snprintf(out, 96, "host %s", o->name);
		return;
	case BY_SELF:
		snprintf(out, 96, "policyd");
		return;
	}
	snprintf(out, 96, "?");
}

static void log_va(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void log_va(const char *fmt, va_list ap)
{
	char line[1024], when[32];
	int64_t now = now_wall_ms();
	time_t sec = (time_t)(now / 1000);
	struct tm tm;

	localtime_r(&sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	vsnprintf(line, sizeof(line), fmt, ap);
	for (char *c = line; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' '; /* one line each, whatever a guest or QEMU says */
	fprintf(stderr, "%s.%03d %s\n", when, (int)(now % 1000), line);
}

void plog(const struct policyd *p, const char *fmt, ...)
{
	va_list ap;

	(void)p;
	va_start(ap, fmt);
	log_va(fmt, ap);
	va_end(ap);
}

void plog_debug(const struct policyd *p, const char *fmt, ...)
{
	va_list ap;

	if (!p || !p->debug)
		return;
	va_start(ap, fmt);
	log_va(fmt, ap);
	va_end(ap);
}

void policyd_when(const struct policyd *p, struct policy_when *out)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	*out = (struct policy_when){
		p->conf->host.host_name, now, (unsigned)(tm.tm_hour * 60 + tm.tm_min), (unsigned)(tm.tm_wday + 6) % 7};
}

void policyd_policy(const struct policyd *p, const struct domain_spec *spec, struct policy_effective *out)
{
	struct policy_when when;

	policyd_when(p, &when);
	policy_for(p->conf->policies, p->conf->n_policies, spec, &when, out);
}

void policyd_capacity(const struct policyd *p, struct capacity *out)
{
	const struct host_services *h = &p->conf->host;
	const struct dom *d;

	memset(out, 0, sizeof(*out));
	out->vcpus_total = h->capacity_vcpus;
	out->mem_total = h->capacity_mem > h->keep_mem ? h->capacity_mem - h->keep_mem : 0;
	TAILQ_FOREACH(d, &p->doms, link) {
		unsigned cpu;
		uint64_t mem;

		dom_charge(d, &cpu, &mem);
		out->cpu_given += cpu;
		out->mem_given += mem;
	}
	out->vcpus_given = (out->cpu_given + 99) / 100;
}

uint64_t policyd_ram_page(const struct policyd *p)
{
	return ram_page_bytes(p->conf->host.paths.ram);
}

/* What @d was given and has not touched yet. */
static uint64_t untouched(const struct dom *d, uint64_t page_bytes)
{
	uint64_t mem, has;
	unsigned cpu;

	dom_charge(d, &cpu, &mem);
	if (!mem)
		return 0;
	mem = spec_ram_claim(dom_files_spec(d), page_bytes, mem);
	has = dom_resident(d);
	return mem > has ? mem - has : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What all together may still take, with what is reserved for @ours. */
static uint64_t room_bytes(const struct ram_room *r, uint64_t ours)
{
	uint64_t mine = less(r->reserved_bytes, ours), pool = r->pool_bytes, fs = r->free_bytes;

	if (pool != UINT64_MAX) /* what is reserved beyond ours is somebody else's */
		pool -= less(pool, r->reserved_bytes - mine);
	if (fs != UINT64_MAX)
		fs += mine;
	return less(pool, fs);
}

uint64_t policyd_ram_free(const struct policyd *p, const struct dom *but)
{
	uint64_t promised = 0, ours = 0, room, bytes;
	struct ram_room r;
	const struct dom *d;

	ram_room(p->conf->host.paths.ram, &r);
	TAILQ_FOREACH(d, &p->doms, link) {
		bytes = untouched(d, r.page_bytes);
		promised += d == but ? 0 : bytes;
		ours += d->launched.pid ? bytes : 0;
	}
	room = room_bytes(&r, ours);
	return room == UINT64_MAX ? room : room - less(room, promised);
}

/* What a running policyd cannot change without losing its domains. */
static const char *fixed_key(const struct conf *a, const struct conf *b)
{
	if (strcmp(a->host.host_name, b->host.host_name))
		return "host.name";
	if (strcmp(a->host.paths.run, b->host.paths.run))
		return "paths.run";
	if (strcmp(a->host.paths.state, b->host.paths.state))
		return "paths.state";
	if (strcmp(a->host.paths.ram, b->host.paths.ram))
		return "paths.ram";
	if (strcmp(a->control, b->control))
		return "control.socket";
	return NULL;
}

static void mistake_add(struct conf_mistakes *m, const char *file, const char *key)
{
	char **v = realloc(m->v, (m->n + 1) * sizeof(*v));
	char *text = NULL;

	if (!v)
		return;
	m->v = v;
	if (asprintf(&text, "%s: %s: cannot change while policyd runs; restart it (guests run on meanwhile)", file,
		    key) < 0)
		return;
	m->v[m->n++] = text;
}

int policyd_reload(struct policyd *p, struct conf_mistakes *m)
{
	struct conf *fresh = NULL, *old = p->conf;
	const char *key;
	int rc = conf_load(p->conf_path, &fresh, m);

	if (rc)
		return rc;
	key = fixed_key(old, fresh);
	if (key) {
		mistake_add(m, p->conf_path, key);
		conf_free(fresh);
		return -EINVAL;
	}
	if (policies_merge(p, fresh)) {
		conf_free(fresh);
		return -ENOMEM;
	}
	p->conf = fresh;
	qemu_probe_reload(p);
	cluster_reload(p);
	conf_free(old);
	plog(p, "configuration read again: %u policies, %u peers", fresh->n_policies, fresh->n_peers);
	return 0;
}
