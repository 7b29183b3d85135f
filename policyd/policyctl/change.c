/* Commands that change something. Each says in one line what was done. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/units.h"
#include "policyd/policyctl/ctl.h"

static json_t *domain_args(const struct ctl *c)
{
	return json_pack("{s:s}", "domain", c->arg[0]);
}

#define DOMAIN_FILE_MAX (512u << 10) /* of a domain file */

/* ---- add-domain ---- */

/* NULL with errno: EFBIG too large, EILSEQ not a text. */
static char *read_all(FILE *f)
{
	char *text = NULL, chunk[4096];
	size_t n = 0, got;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return NULL;
	while (n <= DOMAIN_FILE_MAX && (got = fread(chunk, 1, sizeof(chunk), f)) > 0) {
		fwrite(chunk, 1, got, out);
		fflush(out);
	}
	fclose(out);
	if (text && !ferror(f) && (n > DOMAIN_FILE_MAX || strlen(text) != n || !utf8_valid(text))) {
		free(text);
		text = NULL;
		errno = n > DOMAIN_FILE_MAX ? EFBIG : EILSEQ;
	}
	return text;
}

static const char *file_fault(int err)
{
	return err == EFBIG     ? "larger than 512K, which no domain file is"
		: err == EILSEQ ? "not a text file (UTF-8)"
				: strerror(err);
}

char *ctl_read_text(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = f ? read_all(f) : NULL;

	if (!text || ferror(f)) {
		fprintf(stderr, "policyctl: %s: %s\n", path, file_fault(errno));
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	return text;
}

json_t *ctl_file_args(struct ctl *c)
{
	bool from_stdin = !strcmp(c->arg[0], "-");
	FILE *f = from_stdin ? stdin : fopen(c->arg[0], "re");
	char *text = f ? read_all(f) : NULL, full[4096];
	json_t *args;

	if (!text || ferror(f)) {
		fprintf(stderr, "policyctl: %s: %s\n", c->arg[0], file_fault(errno));
		if (f && !from_stdin)
			fclose(f);
		free(text);
		return NULL;
	}
	if (!from_stdin)
		fclose(f);
	args = json_pack("{s:s, s:s}", "text", text, "file",
		from_stdin                          ? "stdin"
			: realpath(c->arg[0], full) ? full
						    : c->arg[0]);
	free(text);
	if (!args)
		fprintf(stderr, "policyctl: no memory\n");
	return args;
}

int do_add(struct ctl *c)
{
	json_t *r = NULL, *args = ctl_file_args(c);
	int rc;

	if (!args)
		return 1;
	if (!ctl_get(c, "add-domain", args, &r, &rc))
		return rc;
	printf("%s is defined (uuid %s)\n", jstr(r, "name"), jstr(r, "uuid"));
	json_decref(r);
	return 0;
}

/* ---- those that take a domain and nothing else ---- */

int do_simple(struct ctl *c)
{
	static const struct {
		const char *verb, *cmd, *done;
	} rows[] = {
		{"bind-domain", "bind", "is bound"},
		{"unbind-domain", "unbind", "is not bound any more"},
		{"start-domain", "start", "is running"},
		{"remove-domain", "remove", "is removed"},
		{"suspend-domain", "suspend", "is suspended"},
		{"resume-domain", "resume", "runs on"},
		{"release", "release", "is released: policy may act on it again"},
		{"unpin", "unpin", "is not pinned any more: policy may move it"},
	};
	json_t *r = NULL;
	unsigned i = 0;
	int rc;

	while (strcmp(rows[i].verb, c->verb->name))
		i++;
	if (!ctl_get(c, rows[i].cmd, domain_args(c), &r, &rc))
		return rc;
	printf("%s %s", c->arg[0], rows[i].done);
	if (jnum(r, "cons") > 0)
		printf(", console on 127.0.0.1:%.0f", jnum(r, "cons"));
	putchar('\n');
	json_decref(r);
	return 0;
}

int do_restore(struct ctl *c)
{
	json_t *r = NULL, *args = domain_args(c);
	int rc;

	if (ctl_opt(c, "lost"))
		json_object_set_new(args, "lost", json_true());
	if (!ctl_get(c, "restore-domain", args, &r, &rc))
		return rc;
	printf("%s is defined here again; policyctl start %s starts it\n", c->arg[0], c->arg[0]);
	json_decref(r);
	return 0;
}

int do_stop(struct ctl *c)
{
	const char *timeout = ctl_opt(c, "timeout");
	json_t *r = NULL, *args;
	uint64_t ms = 0;
	int rc;

	if (timeout && (duration_parse(timeout, &ms) || ms < 1000))
		return ctl_usage(c, "--timeout %s: a time such as 30s or 2m", timeout);
	args = domain_args(c);
	json_object_set_new(args, "force", json_boolean(ctl_opt(c, "force") != NULL));
	if (ms)
		json_object_set_new(args, "timeout_s", json_integer((json_int_t)(ms / 1000)));
	if (!ctl_get(c, "stop", args, &r, &rc))
		return rc;
	printf("%s is stopped\n", c->arg[0]);
	json_decref(r);
	return 0;
}

/* ---- CPU and memory ---- */

/* Bytes: set, add or remove; < 0: the exit status is in *@rc. */
static double new_memory(struct ctl *c, double amount, int *rc)
{
	char has[24], take[24];
	json_t *r = NULL;
	double now = -1;

	if (!strncmp(c->verb->name, "set-", 4))
		return amount;
	*rc = ctl_ask(c, "show", domain_args(c), NULL, NULL, NULL, &r);
	if (!*rc)
		now = jnum(r, "mem_bytes");
	json_decref(r);
	if (*rc || now < 0)
		return -1;
	if (c->verb->name[0] == 'a')
		return now + amount;
	if (now >= amount)
		return now - amount;
	size_format((uint64_t)now, has);
	size_format((uint64_t)amount, take);
	fprintf(stderr, "policyctl: %s has only %s; %s cannot be taken\n", c->arg[0], has, take);
	*rc = 1;
	return -1;
}

/* What it is entitled to, percent of one CPU: set, add or remove. < 0: the exit status is in *@rc. */
static double new_cpu(struct ctl *c, unsigned percent, int *rc)
{
	json_t *r = NULL;
	double now = -1;
	char has[16];

	if (!strncmp(c->verb->name, "set-", 4))
		return percent;
	*rc = ctl_ask(c, "show", domain_args(c), NULL, NULL, NULL, &r);
	if (!*rc)
		now = jnum(r, "cpu_cap") > 0 ? jnum(r, "cpu_cap") : jnum(r, "vcpus") * 100;
	json_decref(r);
	if (*rc)
		return -1;
	if (c->verb->name[0] == 'a')
		return now + percent;
	if (now >= percent)
		return now - percent;
	cpu_format((unsigned)now, has);
	fprintf(stderr, "policyctl: %s has only %s vcpus; %s cannot be taken\n", c->arg[0], has, c->arg[1]);
	*rc = 1;
	return -1;
}

int do_vcpu(struct ctl *c)
{
	json_t *r = NULL, *args;
	unsigned percent, cap;
	double total;
	int rc = 1;
	char after[16];

	if (cpu_parse(c->arg[1], &percent) || percent > 10000000)
		return ctl_usage(c, "\"%s\" is no number of vCPUs", c->arg[1]);
	total = new_cpu(c, percent, &rc);
	if (total < 0)
		return rc;
	args = domain_args(c);
	json_object_set_new(args, "n", json_integer(((json_int_t)total + 99) / 100));
	if ((json_int_t)total % 100)
		json_object_set_new(args, "cap", json_integer((json_int_t)total));
	if (!ctl_get(c, "set-vcpu", args, &r, &rc))
		return rc;
	cap = jnum(r, "cpu_cap") > 0 ? (unsigned)jnum(r, "cpu_cap") : 0;
	printf("%s %.0f -> %.0f vcpus", c->arg[0], jnum(r, "before"), jnum(r, "after"));
	cpu_format(cap, after);
	if (cap)
		printf(", of which it may use %s", after);
	puts(json_is_true(json_object_get(r, "definition")) ? " in its definition (it is not running)" : "");
	json_decref(r);
	return 0;
}

static void on_memory_event(void *arg, const json_t *ev)
{
	(void)arg;
	if (isatty(2) && jstr(ev, "text")[0])
		fprintf(stderr, "\r\033[K%s  %s  %.0f %%", jstr(ev, "domain"), jstr(ev, "text"), jnum(ev, "percent"));
}

int do_memory(struct ctl *c)
{
	uint64_t bytes;
	json_t *r = NULL, *args;
	char a[24], b[24];
	double total;
	int rc = 1;

	if (size_parse(c->arg[1], &bytes))
		return ctl_usage(c, "\"%s\" is no size; write 512M or 2G", c->arg[1]);
	total = new_memory(c, (double)bytes, &rc);
	if (total < 0)
		return rc;
	args = domain_args(c);
	json_object_set_new(args, "bytes", json_integer((json_int_t)total));
	rc = ctl_ask(c, "set-memory", args, c->json ? NULL : on_memory_event, NULL, NULL, &r);
	if (isatty(2) && !c->json)
		fprintf(stderr, "\r\033[K");
	if (rc)
		return rc;
	if (c->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		js_size(r, "before", a);
		js_size(r, "after", b);
		printf("%s %s -> %s%s\n", c->arg[0], a, b,
			json_is_true(json_object_get(r, "definition")) ? " in its definition (it is not running)" : "");
	}
	json_decref(r);
	return 0;
}

/* ---- hold, cancel, reload ---- */

/* {domain, for_ms, reason} of hold, pin and prefer; NULL: the usage was wrong, and *@rc says so. */
static json_t *mark_args(struct ctl *c, int *rc)
{
	const char *how_long = ctl_opt(c, "for"), *reason = ctl_opt(c, "reason");
	json_t *args;
	uint64_t ms = 0;

	if (how_long && (duration_parse(how_long, &ms) || !ms)) {
		*rc = ctl_usage(c, "--for %s: a time such as 30m or 2h", how_long);
		return NULL;
	}
	args = domain_args(c);
	if (ms)
		json_object_set_new(args, "for_ms", json_integer((json_int_t)ms));
	if (reason)
		json_object_set_new(args, "reason", json_string(reason));
	return args;
}

static void until_text(const json_t *r, const char *otherwise, char out[32])
{
	time_t sec = (time_t)(jnum(r, "until_ms") / 1000);
	struct tm tm;

	snprintf(out, 32, "%s", otherwise);
	if (sec <= 0)
		return;
	localtime_r(&sec, &tm);
	strftime(out, 32, sec - time(NULL) > 64800 ? "until %a %H:%M" : "until %H:%M", &tm);
}

int do_hold(struct ctl *c)
{
	json_t *r = NULL, *args;
	char until[32];
	int rc = 1;

	args = mark_args(c, &rc);
	if (!args || !ctl_get(c, "hold", args, &r, &rc))
		return rc;
	until_text(r, "until released", until);
	printf("%s is held %s (%s): policy leaves it alone; your commands still work\n", c->arg[0], until,
		jstr(r, "reason"));
	json_decref(r);
	return 0;
}

int do_mark(struct ctl *c)
{
	bool pin = !strcmp(c->verb->name, "pin");
	json_t *r = NULL, *args;
	char until[32];
	int rc = 1;

	args = mark_args(c, &rc);
	if (!args)
		return rc;
	if (!pin)
		json_object_set_new(args, "host", json_string(c->arg[1]));
	if (!ctl_get(c, c->verb->name, args, &r, &rc))
		return rc;
	until_text(r, pin ? "until unpinned" : "until taken back", until);
	if (pin)
		printf("%s is pinned %s (%s): policy does not move it; resizing goes on\n", c->arg[0], until,
			jstr(r, "reason"));
	else if (!jstr(r, "host")[0])
		printf("%s has no preferred host any more\n", c->arg[0]);
	else
		printf("%s is preferred on %s %s (%s): when policy moves it, there rather than elsewhere\n", c->arg[0],
			jstr(r, "host"), until, jstr(r, "reason"));
	json_decref(r);
	return 0;
}

int do_cancel(struct ctl *c)
{
	json_t *r = NULL, *args = json_pack("{s:s}", "domain", c->arg[c->n_args - 1]);
	int rc;

	if (c->n_args == 2)
		json_object_set_new(args, "kind", json_string(c->arg[0]));
	if (!ctl_get(c, "cancel-operation", args, &r, &rc))
		return rc;
	printf("%s: %s cancelled\n", c->arg[c->n_args - 1], jstr(r, "cancelled"));
	json_decref(r);
	return 0;
}

int do_reload(struct ctl *c)
{
	json_t *r = NULL;
	int rc;

	if (!ctl_get(c, "reload", json_object(), &r, &rc))
		return rc;
	printf("in force: %.0f polic%s, %.0f peer%s\n", jnum(r, "policies"), jnum(r, "policies") == 1 ? "y" : "ies",
		jnum(r, "peers"), jnum(r, "peers") == 1 ? "" : "s");
	json_decref(r);
	return 0;
}
