/* How long deciding takes: groups of 10, 100 and 1,000 hosts with 20 domains each, every host short of CPU and with no donor, so that each
 * domain is weighed against each other host. One row a size: "ms" is one decision of one host, the median of "decisions" of them; "moves" says
 * how many of these decided to move something. CPU time of this process, one thread. Prints a table, and with -o FILE the rows.
 *
 *     bench_decide [-o FILE] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policyd/decide/plan.h"

#define DOMAINS 20u
#define DECISIONS 20u
#define GIB (1ULL << 30)
#define NOW 1800000000000LL

static uint64_t seed = 88172645463325252ULL;

static unsigned rnd(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 20) % n;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* of this process: another one's load is not deciding */
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_decide: %s\n", what);
	exit(1);
}

static void make_domain(struct snap_domain *d, unsigned i)
{
	bool needy = i < 2;

	snap_domain_init(d);
	snprintf(d->spec.name, sizeof(d->spec.name), "d%02u", i);
	d->spec.vcpus_min = d->vcpus = 1 + rnd(3);
	d->spec.vcpus_max = 8;
	d->spec.mem_min = GIB / 2;
	d->spec.mem_boot = d->spec.mem_max = 8 * GIB;
	d->mem_bytes = (1 + rnd(4)) * GIB;
	d->resident_bytes = d->mem_bytes - rnd(512) * (GIB / 1024);
	d->util_fast = d->util_slow = needy ? 96 : 50 + rnd(25);
	d->over_upper = needy ? 5 : 0;
	d->mem_known = true;
	d->mem_available = d->mem_bytes / 10 * (3 + rnd(4));
	d->dirty_bps = 1e6 * rnd(30);
	d->started_ms = NOW - 86400000;
	d->need_since_ms = needy ? NOW - 600000 : 0;
	d->policy.cpu.set = d->policy.memory.set = true;
	d->policy.importance = rnd(101);
}

static void make_peer(struct snap_peer *p, unsigned i)
{
	snap_peer_init(p);
	snprintf(p->name, sizeof(p->name), "host%04u", i);
	p->vcpus_total = 48;
	p->vcpus_given = 30 + rnd(19);
	p->mem_total = 96 * GIB;
	p->mem_given = (40 + rnd(57)) * GIB;
	p->cpu_util = 30 + rnd(60);
	p->link_bps = 100000000ULL + rnd(1000) * 1000000ULL;
}

/* A large rule: two domains of each host are kept apart from all the others that it speaks of. */
static void make_rules(struct snapshot *s, unsigned hosts)
{
	struct snap_rule *r = calloc(1, sizeof(*r));

	if (!r || !(r->members = calloc(2 * hosts, sizeof(*r->members))))
		die("no memory");
	snprintf(r->name, sizeof(r->name), "apart");
	r->hard = true;
	r->n_members = 2 * hosts;
	for (unsigned i = 0; i < 2 * hosts; i++) {
		snprintf(r->members[i].domain, NAME_MAX_LEN, i < 2 ? "d1%u" : "x%u", i);
		snprintf(r->members[i].host, NAME_MAX_LEN, "host%04u", i / 2);
	}
	s->rules = r;
	s->n_rules = 1;
}

static void make_host(struct snapshot *s, unsigned self, unsigned hosts)
{
	snapshot_init(s);
	s->now_ms = NOW;
	snprintf(s->host, sizeof(s->host), "host%04u", self);
	s->domains = calloc(DOMAINS, sizeof(*s->domains));
	s->peers = calloc(hosts, sizeof(*s->peers));
	if (!s->domains || !s->peers)
		die("no memory");
	for (unsigned i = 0; i < DOMAINS; i++) {
		make_domain(&s->domains[i], i);
		s->vcpus_total += s->domains[i].vcpus;
		s->mem_total += s->domains[i].mem_bytes;
	}
	s->n_domains = DOMAINS;
	for (unsigned i = 0; i < hosts; i++)
		if (i != self)
			make_peer(&s->peers[s->n_peers++], i);
	make_rules(s, hosts);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static json_t *measure(unsigned hosts)
{
	double each[DECISIONS];
	unsigned n = hosts < DECISIONS ? hosts : DECISIONS, moves = 0;

	for (unsigned h = 0; h < n; h++) {
		struct snapshot s;
		struct plan p;
		double began;

		make_host(&s, h, hosts);
		began = now_ms();
		if (decide(&s, &p))
			die("no memory");
		each[h] = now_ms() - began;
		for (unsigned i = 0; i < p.n_actions; i++)
			moves += p.actions[i].kind > ACT_SET_MEMORY;
		plan_fini(&p);
		snapshot_fini(&s);
	}
	qsort(each, n, sizeof(each[0]), by_value);
	printf("%6u %8u %10.3f %10.3f %10u %6u\n", hosts, hosts * DOMAINS, each[n / 2], each[n - 1], n, moves);
	fflush(stdout);
	return json_pack("{s:i, s:i, s:f, s:f, s:i, s:i}", "hosts", (int)hosts, "domains", (int)(hosts * DOMAINS), "ms",
		each[n / 2], "worst_ms", each[n - 1], "decisions", (int)n, "moves", (int)moves);
}

int main(int argc, char **argv)
{
	static const unsigned sizes[] = {10, 100, 1000};
	const char *path = argc == 3 && strcmp(argv[1], "-o") == 0 ? argv[2] : NULL;
	json_t *rows = json_array();
	int rc = 0;

	if (argc != 1 && !path) {
		fprintf(stderr, "usage: bench_decide [-o FILE]\n");
		return 2;
	}
	printf("%6s %8s %10s %10s %12s %8s %6s\n", "hosts", "domains", "ms", "worst ms", "group ms", "actions",
		"moves");
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		json_array_append_new(rows, measure(sizes[i]));
	if (path && json_dump_file(rows, path, JSON_INDENT(1)))
		rc = (perror(path), 1);
	json_decref(rows);
	return rc;
}
