/* Every file below examples/ that an operator would copy is taken without a mistake, and the policies do what their comments
 * say. Copies them into a folder of its own with the certificates that a host would have. Runs in the project's folder. */
#include <glob.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

static char dir[] = "/tmp/ballast-examples-XXXXXX";

static int setup(void **state)
{
	char cmd[2048];

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(cmd, sizeof(cmd),
		"set -e; cp -r examples/. %s; cd %s; : >host.crt; : >host.key; mkdir trust; "
		"for h in alpha beta; do mkdir -p demo/$h/trust; : >demo/$h/host.crt; : >demo/$h/host.key; done; "
		"for e in haproxy/web etcd/orders; do f=${e%%/*}; cp -r host.crt host.key trust $f; "
		"sed s,policies.cfg,${e#*/}.cfg, policyd.cfg >$f/policyd.cfg; done; "
		": >policyd-migrate; chmod +x policyd-migrate; sed -i -e 's/@NET@/10.99.0/; s,@BUILD@,%s,' demo/*.cfg",
		dir, dir, dir);
	return system(cmd);
}

static int teardown(void **state)
{
	char cmd[256];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static void no_mistakes(struct conf_mistakes *m)
{
	for (size_t i = 0; i < m->n; i++)
		print_error("%s\n", m->v[i]);
	assert_int_equal(m->n, 0);
}

static struct conf *load(const char *name)
{
	struct conf_mistakes m;
	struct conf *c = NULL;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	conf_load(path, &c, &m);
	no_mistakes(&m);
	assert_non_null(c);
	return c;
}

static void test_hosts(void **state)
{
	static const char *const names[] = {"policyd.cfg", "policyd-beta.cfg", "demo/alpha.cfg", "demo/beta.cfg"};

	(void)state;
	for (unsigned i = 0; i < 4; i += 2) {
		struct conf *a = load(names[i]), *b = load(names[i + 1]);

		assert_string_equal(a->host.host_name, "alpha");
		assert_string_equal(b->host.host_name, "beta");
		assert_string_equal(a->peers[0].name, "beta"); /* they mean each other */
		assert_string_equal(a->peers[0].address, b->address);
		assert_string_equal(b->peers[0].address, a->address);
		assert_int_equal(a->peers[0].port, b->port);
		assert_int_equal(a->n_policies, b->n_policies);
		conf_free(a);
		conf_free(b);
	}
}

static void test_domains(void **state)
{
	static const char *const patterns[] = {"domains/*.cfg", "demo/*[0-9].cfg"};
	struct conf_mistakes m;
	struct domain_spec s;
	char path[512];
	unsigned n = 0;
	glob_t g;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, patterns[i]);
		assert_int_equal(glob(path, 0, NULL, &g), 0);
		for (size_t j = 0; j < g.gl_pathc; j++, n++) {
			conf_load_domain(g.gl_pathv[j], &s, &m);
			no_mistakes(&m);
			assert_int_equal(strncmp(strrchr(g.gl_pathv[j], '/') + 1, s.name, strlen(s.name)), 0);
		}
		globfree(&g);
	}
	assert_true(n >= 6);
}

static void effective(const struct conf *c, const char *domain, unsigned hour, unsigned day, struct policy_effective *e)
{
	struct conf_mistakes m;
	struct domain_spec s;
	char path[512];

	snprintf(path, sizeof(path), "%s/domains/%s.cfg", dir, domain);
	conf_load_domain(path, &s, &m);
	no_mistakes(&m);
	policy_for(c->policies, c->n_policies, &s, &(struct policy_when){"alpha", 0, hour * 60, day}, e);
}

static void test_policies(void **state)
{
	struct conf *c = load("policyd.cfg");
	struct policy_effective e;

	(void)state;
	effective(c, "web1", 12, 0, &e);
	assert_string_equal(e.cpu_from, "web-by-day");
	assert_int_equal(e.importance, 70);
	effective(c, "web1", 12, 6, &e); /* Sunday */
	assert_string_equal(e.cpu_from, "web-at-night");
	effective(c, "web1", 22, 0, &e);
	assert_int_equal(e.cpu.vcpu_max, 2);
	effective(c, "db3", 12, 0, &e);
	assert_int_equal(e.relocate, RELOCATE_COLD);
	effective(c, "batch1", 12, 0, &e);
	assert_int_equal(e.importance, 10);
	assert_int_equal(e.memory.mem_min, 256ULL << 20);
	assert_false(e.cpu.set);
	conf_free(c);
}

/* The worked examples: an operator includes the file and copies the hooks. */
static void test_worked(void **state)
{
	static const char *const names[][3] = {
		{"haproxy/policyd.cfg", "web", "hooks/haproxy"}, {"etcd/policyd.cfg", "orders", "hooks/etcd"}};
	struct domain_spec s = {.name = "node1"};
	struct policy_effective e;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct conf *c = load(names[i][0]);

		assert_int_equal(c->n_clusters, 1);
		assert_string_equal(c->clusters[0].name, names[i][1]);
		assert_non_null(strstr(c->clusters[0].drain, names[i][2]));
		assert_int_equal(c->clusters[0].min_available, 2);
		snprintf(s.cluster, sizeof(s.cluster), "%s", names[i][1]);
		policy_for(c->policies, c->n_policies, &s, &(struct policy_when){"alpha", 0, 0, 0}, &e);
		assert_int_equal(e.relocate, RELOCATE_COLD);
		conf_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hosts), cmocka_unit_test(test_domains),
		cmocka_unit_test(test_policies), cmocka_unit_test(test_worked)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
