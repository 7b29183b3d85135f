/* migrate: dry run, start, or wait with progress; ^C cancels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/units.h"
#include "policyd/policyctl/ctl.h"

#define BAR 25
#define PLAIN_EVERY_S 2

struct progress {
	const char *domain, *host;
	bool tty;
	bool figures; /* the line on the screen shows how far it is: it stays when the phase changes */
	char phase[32];
	time_t said;
};

/* "  [####----]  50 %  104 MB/s  round 1, dirties 2 MB/s  0.5 s left"; "" where a phase has nothing to measure. */
static void progress_figures(const struct progress *p, const json_t *ev, char *out, size_t size)
{
	char bar[BAR + 3] = "", left[24], tail[48] = "";
	double percent = jnum(ev, "percent");
	bool far = !strcmp(p->phase, "trim") || !strcmp(p->phase, "transfer");

	out[0] = 0;
	if (far && percent > 0) {
		if (p->tty)
			fmt_bar((unsigned)percent, BAR, bar);
		if (jnum(ev, "left_s") >= 0.05) {
			fmt_seconds(jnum(ev, "left_s"), left);
			snprintf(tail, sizeof(tail), "  %s left", left);
		}
		snprintf(out, size, "  %s%s%3.0f %%  %s%s", bar, bar[0] ? "  " : "", percent, jstr(ev, "text"), tail);
	} else if (jstr(ev, "text")[0]) {
		snprintf(out, size, "  %s", jstr(ev, "text"));
	}
}

/* A terminal: one line, written again and again; those with figures stay. Else: a line now and then. */
static void on_progress(void *arg, const json_t *ev)
{
	struct progress *p = arg;
	bool fresh = strcmp(p->phase, jstr(ev, "phase_name")) != 0;
	char figures[320];

	snprintf(p->phase, sizeof(p->phase), "%s", jstr(ev, "phase_name"));
	progress_figures(p, ev, figures, sizeof(figures));
	if (!p->tty && time(NULL) - p->said < PLAIN_EVERY_S)
		return;
	p->said = time(NULL);
	if (p->tty && fresh && p->figures)
		fputc('\n', stdout);
	p->figures = figures[0];
	printf("%s%s -> %s  %-8s%s%s", p->tty ? "\r\033[K" : "", p->domain, p->host, p->phase, figures,
		p->tty ? "" : "\n");
	fflush(stdout);
}

/* "0.5G sent (holes 0.9G, zero 0.3G, differences of 0.2G, lz4 1.6x)" */
static void shares(const json_t *r, char *out, size_t size)
{
	char sent[24], holes[16], zero[16], size_of[16], differences[48] = "";
	double ram = jnum(r, "ram_bytes"), wire = jnum(r, "wire_bytes");
	bool lz4 = jnum(r, "pages_lz4") > 0, zstd = jnum(r, "pages_zstd") > jnum(r, "pages_lz4");

	js_size(r, "wire_bytes", sent);
	size_format((uint64_t)(jnum(r, "pages_hole") > 0 ? jnum(r, "pages_hole") * 4096 : 0), holes);
	size_format((uint64_t)(jnum(r, "pages_zero") > 0 ? jnum(r, "pages_zero") * 4096 : 0), zero);
	if (jnum(r, "pages_delta") > 0) {
		size_format((uint64_t)(jnum(r, "pages_delta") * 4096), size_of);
		snprintf(differences, sizeof(differences), "differences of %s, ", size_of);
	}
	snprintf(out, size, "%s sent (holes %s, zero %s, %s%s %.1fx)", sent, holes, zero, differences,
		zstd          ? "zstd"
			: lz4 ? "lz4"
			      : "raw",
		wire > 0 && ram > 0 ? ram / wire : 1.0);
}

static void say_done(const struct ctl *c, const json_t *r)
{
	const json_t *pred = json_object_get(r, "predicted");
	char total[24], blackout[24], what[128], ptotal[24], pblackout[24];

	fmt_seconds(jnum(r, "total_ms") / 1000, total);
	fmt_ms(jnum(r, "blackout_ms"), blackout);
	printf("%s -> %s  done in %s", c->arg[0], c->arg[1], total);
	if (jnum(r, "blackout_ms") >= 0)
		printf("; blackout %s", blackout);
	if (jstr(r, "qemu_after")[0])
		printf("; QEMU %s -> %s", jstr(r, "qemu_before"), jstr(r, "qemu_after"));
	if (jnum(r, "down_ms") > 0) {
		fmt_ms(jnum(r, "down_ms"), blackout);
		printf("; down for %s and its boot", blackout);
	}
	if (jnum(r, "wire_bytes") >= 0) {
		shares(r, what, sizeof(what));
		printf("; %s", what);
	}
	if (jnum(r, "throttle_percent") > 0) {
		fmt_ms(jnum(r, "throttled_ms"), blackout);
		printf("; slowed by up to %.0f %% for %s", jnum(r, "throttle_percent"), blackout);
	}
	if (json_is_true(json_object_get(r, "kept")))
		printf("; its definition is kept here");
	if (json_is_object(pred) && jnum(pred, "total_s") >= 0) {
		fmt_seconds(jnum(pred, "total_s"), ptotal);
		fmt_ms(jnum(pred, "blackout_ms"), pblackout);
		printf("; predicted %s%s%s", ptotal, jnum(r, "blackout_ms") >= 0 ? ", " : "",
			jnum(r, "blackout_ms") >= 0 ? pblackout : "");
	}
	putchar('\n');
}

static int say_check(const struct ctl *c, const json_t *r)
{
	bool ok = json_is_true(json_object_get(r, "ok"));
	const json_t *pred = json_object_get(r, "predicted");
	char a[24], b[24], size[24];
	struct table t;
	json_t *f;
	size_t i;

	if (!ok || !jstr(r, "text")[0])
		printf("%s -> %s would %s\n", c->arg[0], c->arg[1], ok ? "work." : "fail:");
	if (!ok) {
		table_init(&t, 2);
		json_array_foreach(json_object_get(r, "failures"), i, f) {
			char what[64];

			snprintf(what, sizeof(what), "  %s", jstr(f, "what"));
			table_row(&t, what, jstr(f, "why"));
		}
		table_print(&t, stdout);
		table_fini(&t);
		return 1;
	}
	if (jstr(r, "text")[0]) {
		printf("%s%s", jstr(r, "text"), jstr(r, "text")[strlen(jstr(r, "text")) - 1] == '\n' ? "" : "\n");
		return 0;
	}
	fmt_seconds(jnum(pred, "total_s"), a);
	fmt_ms(jnum(pred, "blackout_ms"), b);
	js_size(pred, "bytes", size);
	printf("  method     %s\n  time       %s     blackout  %s     bytes  %s\n", jstr(r, "method"), a, b, size);
	return 0;
}

static json_t *move_args(const struct ctl *c)
{
	json_t *args = json_pack("{s:s}", "domain", c->arg[0]);
	const char *colon = strchr(c->arg[1], ':');

	json_object_set_new(
		args, "host", json_stringn(c->arg[1], colon ? (size_t)(colon - c->arg[1]) : strlen(c->arg[1])));
	if (colon)
		json_object_set_new(args, "name", json_string(colon + 1));
	if (ctl_opt(c, "method") || ctl_opt(c, "suspend"))
		json_object_set_new(args, "method", json_string(ctl_opt(c, "suspend") ? "warm" : ctl_opt(c, "method")));
	if (ctl_opt(c, "paused"))
		json_object_set_new(args, "paused", json_true());
	if (ctl_opt(c, "postcopy"))
		json_object_set_new(args, "postcopy", json_true());
	if (ctl_opt(c, "keep"))
		json_object_set_new(args, "keep", json_true());
	return args;
}

static int migrate_wait(struct ctl *c, json_t *args)
{
	struct progress p = {.domain = c->arg[0], .host = c->arg[1], .tty = isatty(1), .said = time(NULL)};
	json_t *r = NULL;
	int rc;

	json_object_set_new(args, "wait", json_true());
	rc = ctl_ask(c, "migrate", args, c->json ? NULL : on_progress, &p, c->arg[0], &r);
	if (p.phase[0] && p.tty)
		fputs(p.figures ? "\n" : "\r\033[K", stdout);
	fflush(stdout);
	if (rc)
		return rc;
	if (c->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		say_done(c, r);
	}
	json_decref(r);
	return 0;
}

int do_migrate(struct ctl *c)
{
	const char *method = ctl_opt(c, "method");
	json_t *r = NULL, *args;
	int rc;

	if (method && strcmp(method, "live") && strcmp(method, "cold") && strcmp(method, "warm"))
		return ctl_usage(c, "--method %s: live, warm or cold", method);
	if (method && ctl_opt(c, "suspend") && strcmp(method, "warm"))
		return ctl_usage(c, "--suspend is --method warm, not %s", method);
	if (c->arg[1][0] == ':' || c->arg[1][0] == 0)
		return ctl_usage(c, "\"%s\" names no host", c->arg[1]);
	args = move_args(c);
	rc = quiet_args(c, args, false);
	if (!rc)
		rc = limits_args(c, args);
	if (rc) {
		json_decref(args);
		return rc;
	}
	if (ctl_opt(c, "wait") && !ctl_opt(c, "dry-run"))
		return migrate_wait(c, args);
	if (!ctl_opt(c, "dry-run")) {
		if (!ctl_get(c, "migrate", args, &r, &rc))
			return rc;
		printf("%s -> %s has begun (operation %.0f); policyctl list -o status %s shows it\n", c->arg[0],
			c->arg[1], jnum(r, "operation"), c->arg[0]);
		json_decref(r);
		return 0;
	}
	json_object_set_new(args, "dry_run", json_true());
	rc = ctl_ask(c, "migrate", args, NULL, NULL, NULL, &r);
	if (rc)
		return rc;
	if (c->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		putchar('\n');
		rc = json_is_true(json_object_get(r, "ok")) ? 0 : 1;
	} else {
		rc = say_check(c, r);
	}
	json_decref(r);
	return rc;
}
