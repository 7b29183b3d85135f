/* Cross checks: mistakes that show only when two keys are seen together. Called by load.c after the schema's own checks, on
 * values that are at least of the right type (a refused value has its default here). Loop thread. */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "conf/reader.h"

#define KEY(buf, ...) (snprintf(buf, sizeof(buf), __VA_ARGS__), (buf))

/* The @i-th of elements of @size bytes beginning at @base: is the same text (at the start) in an earlier one? */
static const char *earlier(const char *base, size_t size, unsigned i)
{
	const char *me = base + i * size;

	for (unsigned j = 0; *me && j < i; j++)
		if (strcmp(base + j * size, me) == 0)
			return me;
	return NULL;
}

static void check_names(struct reader *r, const char *list, const void *base, size_t size, unsigned n)
{
	const char *dup;
	char key[KEY_PATH_MAX];

	for (unsigned i = 0; i < n; i++) {
		dup = earlier(base, size, i);
		if (dup)
			reader_mistake(r, KEY(key, "%s[%u].name", list, i), "\"%s\" is there already", dup);
	}
}

/* ---- ports of this host: none may be wanted twice ---- */

struct port_use {
	char key[64];
	unsigned first, last;
};

static const char *range_text(const struct port_use *u, char out[16])
{
	if (u->first == u->last)
		snprintf(out, 16, "%u", u->first);
	else
		snprintf(out, 16, "%u-%u", u->first, u->last);
	return out;
}

/* Said where the operator wrote something, not at a default. */
static void ports_overlap(struct reader *r, const struct port_use *a, const struct port_use *b)
{
	char x[16], y[16];

	if (!reader_has(r, a->key) && reader_has(r, b->key)) {
		ports_overlap(r, b, a);
		return;
	}
	reader_mistake(r, a->key, "%s overlaps with %s (%s)", range_text(a, x), b->key, range_text(b, y));
}

static void check_ports(struct reader *r, const struct conf *c)
{
	struct port_use use[SERVICES_MAX + 3];
	unsigned n = 0;

	use[n++] = (struct port_use){"host.port", c->port, c->port};
	use[n++] = (struct port_use){"http.port", c->http_port, c->http_port};
	use[n++] = (struct port_use){"migration.ports", c->migration.port_first, c->migration.port_last};
	for (unsigned i = 0; i < c->host.n_consoles; i++, n++) {
		use[n] = (struct port_use){"", c->host.consoles[i].port_first, c->host.consoles[i].port_last};
		snprintf(use[n].key, sizeof(use[n].key), "host.consoles[%u].ports", i);
	}
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			if (use[i].first && use[j].first && use[i].first <= use[j].last && use[j].first <= use[i].last)
				ports_overlap(r, &use[i], &use[j]);
}

static void check_host(struct reader *r, const struct conf *c)
{
	const struct host_services *h = &c->host;
	char size[16], keep[16], key[KEY_PATH_MAX];

	check_names(r, "host.volumes", h->volumes, sizeof(h->volumes[0]), h->n_volumes);
	check_names(r, "host.switches", h->switches, sizeof(h->switches[0]), h->n_switches);
	check_names(r, "host.consoles", h->consoles, sizeof(h->consoles[0]), h->n_consoles);
	for (unsigned i = 0; i < h->n_volumes; i++)
		for (unsigned j = 0; j < i; j++)
			if (*h->volumes[i].path && strcmp(h->volumes[i].path, h->volumes[j].path) == 0)
				reader_mistake(r, KEY(key, "host.volumes[%u].path", i),
					"is volume \"%s\" as well; two domains would write one disk",
					h->volumes[j].name);
	if (h->keep_mem >= h->capacity_mem) {
		size_format(h->capacity_mem, size);
		size_format(h->keep_mem, keep);
		reader_mistake(r, "host.capacity.keep-memory", "%s leaves nothing of %s for domains", keep, size);
	}
}

/* ---- folders and sockets ---- */

static void check_folder(struct reader *r, const char *key, const char *path)
{
	char parent[SPEC_PATH_MAX];
	struct stat st;

	if (!reader_has(r, key) || !*path)
		return;
	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			reader_mistake(r, key, "%s is not a folder", path);
		return;
	}
	snprintf(parent, sizeof(parent), "%s", path);
	if (stat(dirname(parent), &st)) {
		snprintf(parent, sizeof(parent), "%s", path);
		reader_mistake(r, key, "%s cannot be made: there is no folder %s", path, dirname(parent));
	}
}

static void check_program(struct reader *r, const char *key, const char *path)
{
	struct stat st;

	if (!reader_has(r, key) || !*path)
		return;
	if (stat(path, &st))
		reader_mistake(r, key, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		reader_mistake(r, key, "%s is not a program", path);
}

static void check_paths(struct reader *r, const struct conf *c)
{
	const struct host_paths *p = &c->host.paths;
	const char *key = reader_has(r, "control.socket") ? "control.socket" : "paths.run";

	check_folder(r, "paths.run", p->run);
	check_folder(r, "paths.state", p->state);
	check_folder(r, "paths.ram", p->ram);
	check_program(r, "paths.qemu", p->qemu);
	check_program(r, "paths.worker", p->worker);
	if (strlen(c->control) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		reader_mistake(r, key, "too long for a socket (%zu characters; at most %zu): %s", strlen(c->control),
			sizeof(((struct sockaddr_un *)0)->sun_path) - 1, c->control);
	if (strcmp(p->run, p->state) == 0 || strcmp(p->run, p->ram) == 0)
		reader_mistake(r, "paths.run", "must be a folder of its own, not paths.%s",
			strcmp(p->run, p->ram) == 0 ? "ram" : "state");
	if (strcmp(p->state, p->ram) == 0)
		reader_mistake(r, "paths.state", "must be a folder of its own, not paths.ram");
}

/* ---- the group ---- */

static void check_peers(struct reader *r, const struct conf *c)
{
	char key[KEY_PATH_MAX];
	static const char *const needed[] = {"security.certificate", "security.key", "security.trust"};

	check_names(r, "cluster.peers", c->peers, sizeof(*c->peers), c->n_peers);
	for (unsigned i = 0; i < c->n_peers; i++) {
		const struct conf_peer *p = &c->peers[i];

		if (*p->name && strcmp(p->name, c->host.host_name) == 0)
			reader_mistake(r, KEY(key, "cluster.peers[%u].name", i), "\"%s\" is this host", p->name);
		else if (*p->address && strcmp(p->address, c->address) == 0 && p->port == c->port)
			reader_mistake(r, KEY(key, "cluster.peers[%u].address", i), "%s port %u is this host",
				p->address, p->port);
		for (unsigned j = 0; j < i; j++)
			if (*p->address && strcmp(p->address, c->peers[j].address) == 0 && p->port == c->peers[j].port)
				reader_mistake(r, KEY(key, "cluster.peers[%u].address", i),
					"%s port %u is peer \"%s\" as well", p->address, p->port, c->peers[j].name);
	}
	for (unsigned i = 0; c->n_peers && i < 3; i++)
		if (!reader_has(r, needed[i]))
			reader_mistake(r, needed[i], "is missing; without it no peer can be trusted");
	if (reader_has(r, "security.certificate") != reader_has(r, "security.key") && !c->n_peers)
		reader_mistake(r, "security", "certificate and key belong together");
}

static void check_decide(struct reader *r, const struct conf_decide *d)
{
	if (d->sustain_samples > d->sustain_window)
		reader_mistake(r, "decide.sustain-samples", "%u of the last %u can never be", d->sustain_samples,
			d->sustain_window);
}

/* ---- policies ---- */

static void check_cpu(struct reader *r, const struct cpu_policy *p, unsigned i)
{
	char key[KEY_PATH_MAX];

	if (p->util_upper <= p->util_lower)
		reader_mistake(r, KEY(key, "policies[%u].cpu.util-upper", i),
			"%u is not above util-lower (%u); a domain would grow and shrink in turn", p->util_upper,
			p->util_lower);
	else if (p->util_upper <= p->util_lower + p->elastic_margin)
		reader_mistake(r, KEY(key, "policies[%u].cpu.util-upper", i),
			"%u is not above util-lower (%u) and elastic-margin (%u) together; a domain would grow and "
			"shrink in turn",
			p->util_upper, p->util_lower, p->elastic_margin);
	if (p->vcpu_min > p->vcpu_max)
		reader_mistake(r, KEY(key, "policies[%u].cpu.vcpu-min", i), "%u is above vcpu-max (%u)", p->vcpu_min,
			p->vcpu_max);
}

static void check_memory(struct reader *r, const struct mem_policy *p, unsigned i)
{
	char key[KEY_PATH_MAX], min[16], max[16];

	if (p->free_upper <= p->free_lower)
		reader_mistake(r, KEY(key, "policies[%u].memory.free-upper", i),
			"%u is not above free-lower (%u); a domain would grow and shrink in turn", p->free_upper,
			p->free_lower);
	else if (p->free_upper <= p->free_lower + p->step_percent)
		reader_mistake(r, KEY(key, "policies[%u].memory.free-upper", i),
			"%u is not above free-lower (%u) and step (%u) together; a domain would grow and shrink in "
			"turn",
			p->free_upper, p->free_lower, p->step_percent);
	if (p->reserve_percent >= p->free_upper)
		reader_mistake(r, KEY(key, "policies[%u].memory.reserve", i),
			"%u is not below free-upper (%u); it could never shrink", p->reserve_percent, p->free_upper);
	if (p->mem_min && p->mem_max && p->mem_min > p->mem_max) {
		size_format(p->mem_min, min);
		size_format(p->mem_max, max);
		reader_mistake(
			r, KEY(key, "policies[%u].memory.memory-min", i), "%s is above memory-max (%s)", min, max);
	}
}

static void check_window(struct reader *r, const struct policy *p, unsigned i)
{
	char begin[KEY_PATH_MAX], end[KEY_PATH_MAX];

	KEY(begin, "policies[%u].tod-begin", i);
	KEY(end, "policies[%u].tod-end", i);
	if (reader_has(r, begin) != reader_has(r, end))
		reader_mistake(r, reader_has(r, begin) ? end : begin, "is missing; a window has both");
	else if (reader_has(r, begin) && p->tod_begin_min == p->tod_end_min)
		reader_mistake(r, end, "is tod-begin as well; leave both out for always");
}

static void check_match(struct reader *r, const struct conf *c, unsigned i)
{
	const char *cluster = c->policies[i].cluster, *near = NULL;
	char key[KEY_PATH_MAX];
	unsigned best = 3, d;

	if (!*cluster)
		return;
	for (unsigned j = 0; j < c->n_clusters; j++) {
		d = edit_distance(cluster, c->clusters[j].name);
		if (d == 0)
			return;
		if (d < best) {
			best = d;
			near = c->clusters[j].name;
		}
	}
	reader_mistake(r, KEY(key, "policies[%u].match.cluster", i), "there is no cluster \"%s\" under clusters%s%s%s",
		cluster, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

void check_policies(struct reader *r, const struct conf *c)
{
	check_names(r, "policies", c->policies, sizeof(*c->policies), c->n_policies);
	for (unsigned i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		if (p->cpu.set)
			check_cpu(r, &p->cpu, i);
		if (p->memory.set)
			check_memory(r, &p->memory, i);
		check_window(r, p, i);
		check_match(r, c, i);
	}
}

static void check_clusters(struct reader *r, const struct conf *c)
{
	char key[KEY_PATH_MAX];

	check_names(r, "clusters", c->clusters, sizeof(*c->clusters), c->n_clusters);
	for (unsigned i = 0; i < c->n_clusters; i++)
		if (*c->clusters[i].drain && !*c->clusters[i].rejoin)
			reader_mistake(r, KEY(key, "clusters[%u].rejoin", i),
				"is missing; a node that was drained would stay out of service");
}

static void check_power(struct reader *r, const struct conf *c)
{
	const struct conf_decide *d = &c->decide;

	if (*d->power_off && !*d->power_on)
		reader_mistake(
			r, "decide.power-on", "is missing; what power-off switches off could not be switched on again");
	else if (*d->power_off && !d->power_off_below)
		reader_mistake(r, "decide.power-off-below", "is missing; power-off would never be called");
}

static void check_rules(struct reader *r, const struct conf *c)
{
	char key[KEY_PATH_MAX];

	check_names(r, "rules", c->rules, sizeof(*c->rules), c->n_rules);
	for (unsigned i = 0; i < c->n_rules; i++) {
		const struct conf_rule *rule = &c->rules[i];
		bool of_hosts = rule->keep == KEEP_ON || rule->keep == KEEP_OFF;

		KEY(key, "rules[%u].hosts", i);
		if (of_hosts && !rule->n_hosts)
			reader_mistake(r, key, "is missing; keep = \"%s\" speaks of hosts",
				rule->keep == KEEP_ON ? "on" : "off");
		if (!of_hosts && rule->n_hosts)
			reader_mistake(r, key, "means nothing with keep = \"%s\"",
				rule->keep == KEEP_APART ? "apart" : "together");
	}
}

void check_conf(struct reader *r, const struct conf *c)
{
	check_host(r, c);
	check_ports(r, c);
	check_paths(r, c);
	check_peers(r, c);
	check_decide(r, &c->decide);
	check_policies(r, c);
	check_clusters(r, c);
	check_power(r, c);
	check_rules(r, c);
}

void check_policy(struct reader *r, const struct conf *c)
{
	check_decide(r, &c->decide);
	check_policies(r, c);
	check_clusters(r, c);
	check_rules(r, c);
}

/* ---- a domain ---- */

static void check_sizes(struct reader *r, const struct domain_spec *s)
{
	char a[16], b[16];

	if (s->vcpus_boot < s->vcpus_min)
		reader_mistake(r, "domain.vcpus.boot", "%u is below min (%u)", s->vcpus_boot, s->vcpus_min);
	if (s->vcpus_boot > s->vcpus_max)
		reader_mistake(r, "domain.vcpus.boot", "%u is above max (%u)", s->vcpus_boot, s->vcpus_max);
	size_format(s->mem_boot, a);
	if (s->mem_boot && s->mem_boot < s->mem_min) {
		size_format(s->mem_min, b);
		reader_mistake(r, "domain.memory.boot", "%s is below min (%s)", a, b);
	}
	if (s->mem_boot && s->mem_boot > s->mem_max) {
		size_format(s->mem_max, b);
		reader_mistake(r, "domain.memory.boot", "%s is above max (%s)", a, b);
	}
}

void check_domain(struct reader *r, const struct domain_spec *s)
{
	char key[KEY_PATH_MAX];

	if (!reader_has(r, "domain"))
		return; /* which is said already */
	check_sizes(r, s);
	for (unsigned i = 0; i < s->n_disks; i++)
		if (earlier(s->disks[0].volume, sizeof(s->disks[0]), i))
			reader_mistake(r, KEY(key, "domain.disks[%u].volume", i), "\"%s\" is there already",
				s->disks[i].volume);
	for (unsigned i = 0; i < s->n_nets; i++)
		for (unsigned j = 0; j < i; j++)
			if (*s->nets[i].mac && strcmp(s->nets[i].mac, s->nets[j].mac) == 0)
				reader_mistake(r, KEY(key, "domain.networks[%u].mac", i), "%s is there already",
					s->nets[i].mac);
	for (unsigned i = 0; i < s->n_tags; i++)
		if (earlier(s->tags[0], sizeof(s->tags[0]), i))
			reader_mistake(r, KEY(key, "domain.tags[%u]", i), "\"%s\" is there already", s->tags[i]);
	if (!*s->kernel && !s->n_disks)
		reader_mistake(r, "domain.disks", "is missing; it needs a disk or a kernel to boot from");
	if (!*s->kernel && (*s->initrd || *s->cmdline))
		reader_mistake(r, "domain.kernel", "is missing; initrd and cmdline mean nothing without it");
}
