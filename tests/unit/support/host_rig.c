/* See host_rig.h. */
#include "tests/unit/support/host_rig.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "policyd/act/job.h"

void host_rig_start(struct host_rig *r, unsigned vcpus, uint64_t mem_bytes)
{
	struct err e = {0};
	char path[128];
	struct store_conf sc = {.path = path};

	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/ballast-rig-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(path, sizeof(path), "%s/policyd.db", r->dir);
	TAILQ_INIT(&r->p.doms);
	TAILQ_INIT(&r->p.ended);
	r->p.lock_fd[0] = r->p.lock_fd[1] = r->p.lock_fd[2] = -1;
	r->p.base = event_base_new();
	r->p.conf = calloc(1, sizeof(*r->p.conf));
	assert_non_null(r->p.base);
	assert_non_null(r->p.conf);
	snprintf(r->p.conf->host.host_name, sizeof(r->p.conf->host.host_name), "alpha");
	snprintf(r->p.conf->host.paths.run, sizeof(r->p.conf->host.paths.run), "%s", r->dir);
	snprintf(r->p.conf->host.paths.state, sizeof(r->p.conf->host.paths.state), "%s", r->dir);
	snprintf(r->p.conf->host.paths.ram, sizeof(r->p.conf->host.paths.ram), "%s", r->dir);
	r->p.conf->host.capacity_vcpus = vcpus;
	r->p.conf->host.capacity_mem = mem_bytes;
	if (store_open(r->p.base, &sc, &r->p.store, &e))
		fail_msg("store: %s", err_msg(&e));
}

void host_rig_stop(struct host_rig *r)
{
	char cmd[128];

	jobs_reap(&r->p);
	store_close(r->p.store);
	while (!TAILQ_EMPTY(&r->p.doms))
		dom_free(TAILQ_FIRST(&r->p.doms));
	event_base_free(r->p.base);
	free(r->p.conf);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", r->dir);
	assert_int_equal(system(cmd), 0);
}

struct dom *host_rig_domain(struct host_rig *r, const char *name, unsigned vcpus, uint64_t mem_bytes)
{
	struct domain_spec spec;
	struct err e = {0};
	struct dom *d = NULL;

	spec_init(&spec);
	snprintf(spec.name, sizeof(spec.name), "%s", name);
	snprintf(spec.kernel, sizeof(spec.kernel), "/boot/vmlinuz");
	spec.vcpus_min = 1;
	spec.vcpus_boot = vcpus;
	spec.vcpus_max = 8;
	spec.mem_min = 64ULL << 20;
	spec.mem_boot = mem_bytes;
	spec.mem_max = 1ULL << 30;
	assert_int_equal(spec_complete(&spec, &e), 0);
	if (spec_check(&spec, &e) || dom_new(&r->p, &spec, &d, &e))
		fail_msg("%s: %s", name, err_msg(&e));
	return d;
}

void host_rig_until(struct host_rig *r, const bool *flag)
{
	int64_t end = now_mono_ms() + 10000;
	struct timeval tv = {0, 100000};

	while (!*flag) {
		if (now_mono_ms() > end)
			fail_msg("nothing happened for 10 s");
		event_base_loopexit(r->p.base, &tv);
		event_base_loop(r->p.base, EVLOOP_ONCE);
	}
}
