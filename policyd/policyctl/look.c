/* Commands that look: list, status, show, hosts, history, version, ping. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "policyd/policyctl/ctl.h"
#include "policyd/policyd.h"

static const char *dash(const char *s)
{
	return s[0] ? s : "-";
}

static void count_text(const json_t *o, const char *key, char out[24])
{
	double v = jnum(o, key);

	if (v < 0)
		snprintf(out, 24, "-");
	else
		snprintf(out, 24, "%.0f", v);
}

static void list_row(struct table *t, const json_t *d)
{
	char cons[24], vcpus[24], mem[24], util[24], up[24];

	count_text(d, "cons", cons);
	count_text(d, "vcpus", vcpus);
	if (jnum(d, "cpu_cap") > 0) /* "1.5" of two */
		cpu_format((unsigned)jnum(d, "cpu_cap"), vcpus);
	js_size(d, "mem_bytes", mem);
	fmt_percent(jnum(d, "util"), util);
	fmt_uptime((int64_t)jnum(d, "uptime_s"), up);
	table_row(t, jstr(d, "name"), jstr(d, "state"), jstr(d, "flags"), cons, vcpus, mem, util, up, jstr(d, "host"),
		dash(jstr(d, "need")));
}

/* ---- marks: what operators said ---- */

static void until_text(const json_t *mark, char out[32])
{
	time_t sec = (time_t)(jnum(mark, "until_ms") / 1000);
	struct tm tm;

	snprintf(out, 32, "taken back");
	if (sec <= 0)
		return;
	localtime_r(&sec, &tm);
	strftime(out, 32, "%a %H:%M", &tm);
}

static int list_marks(struct ctl *c)
{
	json_t *r = NULL, *d, *m;
	struct table t;
	char until[32];
	const char *kind;
	size_t i;
	int rc;

	if (!ctl_get(c, "list", c->n_args ? json_pack("{s:s}", "domain", c->arg[0]) : json_object(), &r, &rc))
		return rc;
	table_init(&t, 6);
	table_row(&t, "NAME", "MARK", "HOST", "UNTIL", "BY", "REASON");
	json_array_foreach(json_object_get(r, "domains"), i, d) {
		json_object_foreach(json_object_get(d, "marks"), kind, m) {
			until_text(m, until);
			table_row(&t, jstr(d, "name"), kind, dash(jstr(m, "host")), until, jstr(m, "by"),
				jstr(m, "reason"));
		}
	}
	table_print(&t, stdout);
	table_fini(&t);
	json_decref(r);
	return 0;
}

static int list_status(struct ctl *c)
{
	json_t *r = NULL, *o;
	struct table t;
	char phase[96], percent[24], left[24], ms[24], blackout[40];
	size_t i;
	int rc;

	if (!ctl_get(c, "status", c->n_args ? json_pack("{s:s}", "domain", c->arg[0]) : json_object(), &r, &rc))
		return rc;
	table_init(&t, 7);
	table_row(&t, "NAME", "OPERATION", "PHASE", "PROGRESS", "LEFT", "BLACKOUT", "TARGET/SOURCE");
	json_array_foreach(json_object_get(r, "operations"), i, o) {
		snprintf(phase, sizeof(phase), "%.0f %s", jnum(o, "phase"), jstr(o, "phase_name"));
		fmt_percent(jnum(o, "percent"), percent);
		fmt_seconds(jnum(o, "left_s"), left);
		fmt_ms(jnum(o, "blackout_ms"), ms);
		snprintf(blackout, sizeof(blackout), "%s%s", ms, jnum(o, "blackout_ms") >= 0 ? " (est)" : "");
		table_row(&t, jstr(o, "domain"), jstr(o, "operation"), phase, percent, left, blackout,
			dash(jstr(o, "target")[0] ? jstr(o, "target") : jstr(o, "source")));
	}
	table_print(&t, stdout);
	json_array_foreach(json_object_get(r, "operations"), i, o)
		if (jstr(o, "text")[0])
			printf("%s: %s\n", jstr(o, "domain"), jstr(o, "text"));
	json_array_foreach(json_object_get(r, "immovable"), i, o)
		printf("%s cannot be moved: %s\n", jstr(o, "domain"), jstr(o, "why"));
	table_fini(&t);
	json_decref(r);
	return 0;
}

int do_list(struct ctl *c)
{
	const char *format = ctl_opt(c, "output");
	json_t *r = NULL, *args, *d;
	struct table t;
	size_t i;
	int rc;

	if (format && !strcmp(format, "marks"))
		return list_marks(c);
	if (format && strcmp(format, "status"))
		return ctl_usage(c, "list -o %s: formats are status and marks", format);
	if (format)
		return list_status(c);
	args = json_pack("{s:b}", "all_hosts", ctl_opt(c, "all-hosts") != NULL);
	if (c->n_args)
		json_object_set_new(args, "domain", json_string(c->arg[0]));
	if (!ctl_get(c, "list", args, &r, &rc))
		return rc;
	table_init(&t, 10);
	table_row(&t, "NAME", "STATE", "FLAGS", "CONS", "VCPU", "MEMORY", "UTIL", "UPTIME", "HOST", "NEED");
	json_array_foreach(json_object_get(r, "domains"), i, d)
		list_row(&t, d);
	table_print(&t, stdout);
	say_maintenance("this host", json_object_get(r, "maintenance"));
	table_fini(&t);
	json_decref(r);
	return 0;
}

/* ---- show ---- */

static void show_spec(const json_t *s)
{
	const json_t *v = json_object_get(s, "vcpus"), *m = json_object_get(s, "memory"), *o;
	char a[24], b[24], x[24];
	size_t i;

	js_size(m, "min", a);
	js_size(m, "boot", b);
	js_size(m, "max", x);
	printf("  definition   vcpus %.0f / %.0f / %.0f, memory %s / %s / %s (min / boot / max), cpu %s\n",
		jnum(v, "min"), jnum(v, "boot"), jnum(v, "max"), a, b, x, jstr(s, "cpu-arch"));
	printf("  uuid         %s\n", jstr(s, "uuid"));
	if (json_array_size(json_object_get(s, "tags"))) {
		printf("  tags        ");
		json_array_foreach(json_object_get(s, "tags"), i, o)
			printf(" %s", json_string_value(o));
		putchar('\n');
	}
	if (jstr(s, "cluster")[0])
		printf("  cluster      %s\n", jstr(s, "cluster"));
	json_array_foreach(json_object_get(s, "disks"), i, o)
		printf("  disk         volume %s%s\n", jstr(o, "volume"),
			json_is_true(json_object_get(o, "readonly")) ? ", read only" : "");
	json_array_foreach(json_object_get(s, "networks"), i, o)
		printf("  network      switch %s, %s\n", jstr(o, "switch"), jstr(o, "mac"));
}

static void show_cap(const json_t *r)
{
	bool policy = json_is_true(json_object_get(json_object_get(r, "entitlement"), "cpu_cap_by_policy"));
	char cap[16];

	if (jnum(r, "cpu_cap") <= 0)
		return;
	cpu_format((unsigned)jnum(r, "cpu_cap"), cap);
	printf("  cpu cap      it may use %s of its %.0f vcpus, set by %s\n", cap, jnum(r, "vcpus"),
		policy ? "policy" : "an operator");
}

static void show_policy(const json_t *p)
{
	const json_t *cpu = json_object_get(p, "cpu"), *mem = json_object_get(p, "memory");
	char quiet[24];

	if (json_is_object(cpu))
		printf("  cpu policy   %s: util %.0f-%.0f %%, vcpus from %.0f\n", jstr(cpu, "from"),
			jnum(cpu, "util-lower"), jnum(cpu, "util-upper"), jnum(cpu, "vcpu-min"));
	if (json_is_object(mem))
		printf("  mem policy   %s: available %.0f-%.0f %%\n", jstr(mem, "from"), jnum(mem, "free-lower"),
			jnum(mem, "free-upper"));
	printf("  moves        %s%s%s%s, importance %.0f\n", jstr(p, "relocate"),
		jstr(p, "relocate_from")[0] ? " (policy " : "", jstr(p, "relocate_from"),
		jstr(p, "relocate_from")[0] ? ")" : "", jnum(p, "importance"));
	if (jnum(p, "quiet_ms") > 0) {
		fmt_ms(jnum(p, "quiet_ms"), quiet);
		printf("  quiet moment waited for, %s at most\n", quiet);
	}
	if (json_is_true(json_object_get(p, "postcopy")))
		printf("  post-copy    allowed where a move would not converge\n");
	printf("  automation   %s%s%s%s\n", jstr(p, "automation"), jstr(p, "automation_from")[0] ? " (policy " : "",
		jstr(p, "automation_from"), jstr(p, "automation_from")[0] ? ")" : "");
}

static void show_hold(const json_t *h)
{
	char until[32] = "until released";
	time_t sec = (time_t)(jnum(h, "until_ms") / 1000);
	struct tm tm;

	if (!json_is_object(h))
		return;
	if (sec > 0) {
		localtime_r(&sec, &tm);
		strftime(until, sizeof(until), "until %a %H:%M", &tm);
	}
	printf("  held         %s, by %s: %s\n", until, jstr(h, "by"), jstr(h, "reason"));
}

static void show_marks(const json_t *marks)
{
	const char *kind;
	char until[32];
	json_t *m;

	json_object_foreach((json_t *)marks, kind, m) {
		if (!strcmp(kind, "hold"))
			continue;
		until_text(m, until);
		printf("  %-12s %s%suntil %s, by %s: %s\n", strcmp(kind, "pin") ? "preferred" : "pinned",
			jstr(m, "host")[0] ? "on " : "", jstr(m, "host")[0] ? jstr(m, "host") : "", until,
			jstr(m, "by"), jstr(m, "reason"));
	}
}

static void show_running(const json_t *r)
{
	const json_t *l = json_object_get(r, "launched"), *s = json_object_get(r, "statistics"),
		     *op = json_object_get(r, "operation");
	char a[24], b[24], p95[24];

	if (json_is_object(l)) {
		printf("  qemu         %s, pid %.0f, %s, %s", jstr(l, "qemu"), jnum(l, "pid"), jstr(l, "machine"),
			jstr(l, "run"));
		if (jnum(l, "console_port") > 0)
			printf(", console 127.0.0.1:%.0f", jnum(l, "console_port"));
		if (jnum(l, "ram_page_bytes") > SPEC_PAGE_BYTES)
			printf(", RAM in huge pages of %.0fM", jnum(l, "ram_page_bytes") / (1 << 20));
		printf("%s\n", json_is_true(json_object_get(l, "answers")) ? "" : ", does not answer");
		if (jstr(l, "qemu")[0] && jstr(l, "qemu_here")[0] && strcmp(jstr(l, "qemu"), jstr(l, "qemu_here")) != 0)
			printf("               this host has QEMU %s now: policyctl migrate %s %s moves it there\n",
				jstr(l, "qemu_here"), jstr(r, "name"), jstr(r, "host"));
	}
	if (json_is_object(s)) {
		fmt_percent(jnum(s, "util_p95"), p95);
		fmt_percent(jnum(s, "util_slow"), a);
		js_size(s, "resident_bytes", b);
		printf("  last minute  util %s", a);
		if (jnum(s, "util_p95") >= 0)
			printf(" (for 95 %% of ten minutes at most %s)", p95);
		printf(", holds %s of host memory", b);
		if (jnum(s, "mem_available") >= 0) {
			js_size(s, "mem_available", a);
			printf(", guest has %s available", a);
		}
		if (json_is_array(json_object_get(r, "guest_load")))
			printf(", its load is %.2f",
				json_number_value(json_array_get(json_object_get(r, "guest_load"), 0)));
		putchar('\n');
	}
	if (json_is_object(op))
		printf("  operation    %s, phase %.0f %s, %.0f %%, by %s%s%s\n", jstr(op, "operation"),
			jnum(op, "phase"), jstr(op, "phase_name"), jnum(op, "percent"), jstr(op, "who"),
			jstr(op, "text")[0] ? ": " : "", jstr(op, "text"));
}

static void show_kept(const json_t *k)
{
	time_t sec = (time_t)(jnum(k, "moved_ms") / 1000);
	char when[32] = "?";
	struct tm tm;

	if (localtime_r(&sec, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	printf("  kept         it moved to %s as %s at %s; nothing can start it here\n", jstr(k, "host"),
		jstr(k, "name"), when);
}

int do_show(struct ctl *c)
{
	json_t *r = NULL, *last;
	struct table t;
	int rc;

	if (!ctl_get(c, "show", json_pack("{s:s}", "domain", c->arg[0]), &r, &rc))
		return rc;
	table_init(&t, 10);
	table_row(&t, "NAME", "STATE", "FLAGS", "CONS", "VCPU", "MEMORY", "UTIL", "UPTIME", "HOST", "NEED");
	list_row(&t, r);
	table_print(&t, stdout);
	table_fini(&t);
	show_spec(json_object_get(r, "spec"));
	if (json_is_object(json_object_get(r, "kept_for"))) {
		show_kept(json_object_get(r, "kept_for"));
		json_decref(r);
		return 0;
	}
	show_cap(r);
	show_policy(json_object_get(r, "policy"));
	show_running(r);
	show_hold(json_object_get(r, "hold"));
	show_marks(json_object_get(r, "marks"));
	if (jstr(r, "immovable")[0])
		printf("  cannot move  %s\n", jstr(r, "immovable"));
	last = json_object_get(r, "last");
	if (jstr(last, "error")[0])
		printf("  last error   %s\n", jstr(last, "error"));
	if (jstr(r, "in_doubt_with")[0])
		printf("  in doubt     whether it runs on %s, only %s can say; it settles by itself\n",
			jstr(r, "in_doubt_with"), jstr(r, "in_doubt_with"));
	if (jstr(r, "qemu_stderr")[0])
		printf("  qemu says    %s\n", jstr(r, "qemu_stderr"));
	json_decref(r);
	return 0;
}

/* ---- hosts, history ---- */

static void host_row(struct table *t, const json_t *h, bool self)
{
	char vcpus[64], mem[64], util[24], moves[24], link[24], a[24], b[24];
	bool up = self || json_is_true(json_object_get(h, "up"));

	js_size(h, "mem_given", a);
	js_size(h, "mem_total", b);
	snprintf(vcpus, sizeof(vcpus), up ? "%.0f of %.0f" : "-", jnum(h, "vcpus_given"), jnum(h, "vcpus_total"));
	snprintf(mem, sizeof(mem), up ? "%s of %s" : "-", a, b);
	fmt_percent(jnum(h, "cpu_util"), util);
	count_text(h, "moves", moves);
	fmt_rate(jnum(h, "link_bps") > 0 ? jnum(h, "link_bps") : -1, link);
	table_row(t, jstr(h, "name"),
		up && json_is_true(json_object_get(h, "maintenance")) ? "maintenance"
			: self                                        ? "this host"
			: up                                          ? "up"
			: json_is_true(json_object_get(h, "asleep"))  ? "asleep"
								      : "down",
		vcpus, mem, util, moves, link, dash(jstr(h, "error")));
}

int do_hosts(struct ctl *c)
{
	json_t *r = NULL, *h;
	struct table t;
	size_t i;
	int rc;

	if (!ctl_get(c, "hosts", json_object(), &r, &rc))
		return rc;
	table_init(&t, 8);
	table_row(&t, "NAME", "STATE", "VCPU", "MEMORY", "UTIL", "MOVES", "LINK", "ERROR");
	host_row(&t, json_object_get(r, "self"), true);
	json_array_foreach(json_object_get(r, "hosts"), i, h)
		host_row(&t, h, false);
	table_print(&t, stdout);
	h = json_object_get(r, "self");
	say_maintenance(jstr(h, "name"), json_object_get(r, "maintenance"));
	table_fini(&t);
	json_decref(r);
	return 0;
}

void when_text(double t_ms, char out[24])
{
	time_t sec = (time_t)(t_ms / 1000), now = time(NULL);
	struct tm tm;

	localtime_r(&sec, &tm);
	strftime(out, 24, now - sec < 43200 ? "%H:%M:%S" : "%d %b %H:%M", &tm);
}

/* "; 1.7 s, blackout 68 ms (predicted 1.7 s, 63 ms)" where it was a move; it was predicted anew when it had been trimmed: "; 1.7 s after a trim of 6.9 s, .." */
static void move_figures(const json_t *e, char *out, size_t size)
{
	const json_t *a = json_object_get(e, "actual"), *p = json_object_get(e, "predicted");
	char total[24], dark[24], ptotal[24], pdark[24], trim[24], after[48] = "";
	double trim_ms = jnum(a, "trim_ms") > 0 ? jnum(a, "trim_ms") : 0;
	bool live = jnum(a, "blackout_ms") >= 0;

	out[0] = 0;
	if (!json_is_object(a) || !json_is_object(p) || jnum(a, "total_ms") < 0)
		return;
	fmt_seconds((jnum(a, "total_ms") - trim_ms) / 1000, total);
	fmt_seconds(trim_ms / 1000, trim);
	if (trim_ms > 0)
		snprintf(after, sizeof(after), " after a trim of %s", trim);
	fmt_ms(jnum(a, "blackout_ms"), dark);
	fmt_seconds(jnum(p, "total_s"), ptotal);
	fmt_ms(jnum(p, "blackout_ms"), pdark);
	snprintf(out, size, "; %s%s%s%s (predicted %s%s%s)", total, after, live ? ", blackout " : "", live ? dark : "",
		ptotal, live ? ", " : "", live ? pdark : "");
}

int do_history(struct ctl *c)
{
	const char *limit = ctl_opt(c, "limit");
	json_t *r = NULL, *args = json_object(), *e, *all;
	struct table t;
	char when[24], figures[160], what[1024];
	bool ok;
	int rc;

	if (c->n_args)
		json_object_set_new(args, "domain", json_string(c->arg[0]));
	if (limit && atoi(limit) <= 0) {
		json_decref(args);
		return ctl_usage(c, "--limit %s: a whole number above 0", limit);
	}
	if (limit)
		json_object_set_new(args, "limit", json_integer(atoi(limit)));
	if (!ctl_get(c, "history", args, &r, &rc))
		return rc;
	table_init(&t, 5);
	table_row(&t, "TIME", "DOMAIN", "BY", "RESULT", "WHAT");
	all = json_object_get(r, "entries");
	for (size_t i = json_array_size(all); i-- > 0;) { /* oldest first, as one reads */
		e = json_array_get(all, i);
		when_text(jnum(e, "t"), when);
		ok = json_is_true(json_object_get(e, "ok"));
		move_figures(e, figures, sizeof(figures));
		snprintf(what, sizeof(what), "%s%s", ok ? jstr(e, "text") : jstr(e, "error"), ok ? figures : "");
		table_row(&t, when, dash(jstr(e, "domain")), jstr(e, "who"), ok ? "done" : "failed", what);
	}
	table_print(&t, stdout);
	table_fini(&t);
	json_decref(r);
	return 0;
}

/* ---- version, ping ---- */

int do_version(struct ctl *c)
{
	json_t *r = NULL;
	char up[24];
	int rc;

	if (!ctl_get(c, "version", json_object(), &r, &rc))
		return rc;
	fmt_uptime((int64_t)jnum(r, "uptime_s"), up);
	printf("policyctl %s, policyd %s on %s (pid %.0f, up %s)\n", POLICYD_VERSION, jstr(r, "version"),
		jstr(r, "host"), jnum(r, "pid"), up);
	json_decref(r);
	return 0;
}

int do_ping(struct ctl *c)
{
	json_t *r = NULL;
	int rc;

	if (!ctl_get(c, "ping", json_object(), &r, &rc))
		return rc;
	puts("policyd is there");
	json_decref(r);
	return 0;
}
