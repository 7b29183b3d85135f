/* policyctl: what its files share. One process, one request (or a few) over the control socket; blocking. */
#ifndef POLICYD_POLICYCTL_CTL_H
#define POLICYD_POLICYCTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "policyd/api/format.h"

#define CTL_OPTS_MAX 14
#define CTL_ARGS_MAX 32

struct opt_row {
	char letter;       /* 0 = none */
	const char *name;  /* long */
	const char *value; /* what it takes, for help; NULL = nothing */
	const char *help;
};

struct ctl;
struct verb {                     /* one row a command: feeds parser, help and completion */
	const char *name, *alias; /* as ldm has it; the short one or NULL */
	const char *args;         /* "DOMAIN HOST[:NEWNAME]": for help */
	unsigned min_args, max_args;
	const char *help;
	struct opt_row opts[CTL_OPTS_MAX];
	int (*run)(struct ctl *c); /* exit status */
};
extern const struct verb verbs[];
extern const unsigned n_verbs;

struct ctl {
	const char *socket;
	bool json;
	const struct verb *verb;
	const char *arg[CTL_ARGS_MAX];
	unsigned n_args;
	const char *opt[CTL_OPTS_MAX]; /* value, or "" for one without; NULL = not given; same index as verb->opts */
};

/* The value of option @name of the present verb, or NULL. */
const char *ctl_opt(const struct ctl *c, const char *name);
/* "policyctl: sentence" on stderr; returns 2. */
int ctl_usage(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- client.c ---- */
typedef void ctl_event_fn(void *arg, const json_t *event);
/* Ask, wait for the answer. 0 and *@result_out (a new reference), or the exit status, with the sentence printed. @args is stolen. @on_event may
 * be NULL. @cancel: the domain whose operation is cancelled on ^C (NULL: ^C ends policyctl, the operation goes on). */
int ctl_ask(struct ctl *c, const char *cmd, json_t *args, ctl_event_fn *on_event, void *arg, const char *cancel,
	json_t **result_out);

/* Ask, and with --json print the result as it is. Returns 0 with *@result_out set when there is something to print for a human; *@done_out
 * is the exit status else. */
bool ctl_get(struct ctl *c, const char *cmd, json_t *args, json_t **result_out, int *done_out);

/* {"text", "file"} of the file (- = standard input) that is the first argument; NULL: it was said why not. */
json_t *ctl_file_args(struct ctl *c);
/* All of a small text file, malloc'd; NULL: said why on stderr. */
char *ctl_read_text(const char *path);

/* ---- shorthands for results ---- */
const char *jstr(const json_t *o, const char *key);           /* "" when absent */
double jnum(const json_t *o, const char *key);                /* -1 when absent or null */
void js_size(const json_t *o, const char *key, char out[24]); /* "-" */

/* ---- the commands ---- */
int do_list(struct ctl *c), do_show(struct ctl *c), do_hosts(struct ctl *c), do_history(struct ctl *c),
	do_plan(struct ctl *c);
int do_explain(struct ctl *c), do_version(struct ctl *c), do_ping(struct ctl *c);
int do_add(struct ctl *c), do_simple(struct ctl *c), do_restore(struct ctl *c), do_stop(struct ctl *c),
	do_vcpu(struct ctl *c), do_memory(struct ctl *c);
int do_mark(struct ctl *c), do_approve(struct ctl *c);
int do_hold(struct ctl *c), do_cancel(struct ctl *c), do_reload(struct ctl *c), do_migrate(struct ctl *c);
int do_help(struct ctl *c), do_completion(struct ctl *c);
int do_set_migration(struct ctl *c);
int do_policy_put(struct ctl *c), do_policy_remove(struct ctl *c), do_policy_list(struct ctl *c),
	do_policy_test(struct ctl *c);
int do_evacuate(struct ctl *c), do_maintenance(struct ctl *c);

/* ---- host.c ---- */
/* Lines about a host in maintenance (docs/control.md, hosts); nothing where @m is none. */
void say_maintenance(const char *host, const json_t *m);

/* ---- limits.c ---- */
/* The limits among the options into @args, as docs/control.md has them. 0, or the exit status with the sentence printed. */
int limits_args(const struct ctl *c, json_t *args);
/* A time of an answer, milliseconds since the epoch: of today without the day. */
void when_text(double t_ms, char out[24]);
/* --quiet-moment 10m; @none: that word as well. */
int quiet_args(const struct ctl *c, json_t *args, bool none);

#endif
