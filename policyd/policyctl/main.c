/* policyctl: the table of commands, and what is made from it: parser, help, completion. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/units.h"
#include "policyd/policyctl/ctl.h"
#include "policyd/policyd.h"

#define OPTS_NAMED 4 /* so many options fit a line of the list of commands */
#define DEFAULT_SOCKET "/run/policyd/policyd.sock"

/* Limits of a move: the same words for migrate and set-migration, and in policyd.cfg. */
#define OPT_BANDWIDTH                                                                                                  \
	{                                                                                                              \
		0, "bandwidth", "RATE", "at most so many bytes a second (50M), or unlimited"                           \
	}
#define OPT_BLACKOUT                                                                                                   \
	{                                                                                                              \
		0, "max-blackout", "TIME", "the guest may stand so long (300ms)"                                       \
	}
#define OPT_THROTTLE                                                                                                   \
	{                                                                                                              \
		0, "throttle", "PERCENT", "the guest may be slowed by so much, so that the move converges (0 = never)" \
	}
#define OPT_DEADLINE                                                                                                   \
	{                                                                                                              \
		0, "deadline", "TIME", "from now (10m), or none; until then it goes on trying"                         \
	}
#define OPT_AT_DEADLINE                                                                                                \
	{                                                                                                              \
		0, "at-deadline", "WHAT", "what is done then: suspend the guest and finish, or cancel"                 \
	}

const struct verb verbs[] = {
	{"list-domain", "list", "[DOMAIN]", 0, 1,
		"domains of this host; -o status: operations under way; -o marks: holds, pins, preferences",
		{{'o', "output", "FORMAT", "status or marks"},
			{'a', "all-hosts", NULL, "domains of all hosts of the group"}},
		do_list},
	{"show-domain", "show", "DOMAIN", 1, 1, "all that is known of a domain", {{0}}, do_show},
	{"add-domain", "add", "FILE", 1, 1, "define a domain (- = standard input)", {{0}}, do_add},
	{"bind-domain", "bind", "DOMAIN", 1, 1, "reserve what it needs", {{0}}, do_simple},
	{"unbind-domain", "unbind", "DOMAIN", 1, 1, "give the reservation back", {{0}}, do_simple},
	{"start-domain", "start", "DOMAIN", 1, 1, "start it", {{0}}, do_simple},
	{"stop-domain", "stop", "DOMAIN", 1, 1, "press its power button and wait",
		{{'f', "force", NULL, "end it at once"}, {'t', "timeout", "TIME", "how long to wait (default 90s)"}},
		do_stop},
	{"remove-domain", "remove", "DOMAIN", 1, 1, "forget its definition", {{0}}, do_simple},
	{"restore-domain", "restore", "DOMAIN", 1, 1,
		"make a domain again of a definition that was kept (migrate --keep)",
		{{0, "lost", NULL, "the host to which it moved never runs again"}}, do_restore},
	{"suspend-domain", "suspend", "DOMAIN", 1, 1, "stop the guest's clock", {{0}}, do_simple},
	{"resume-domain", "resume", "DOMAIN", 1, 1, "let it run on", {{0}}, do_simple},
	{"set-vcpu", NULL, "DOMAIN N", 2, 2, "give it N vCPUs in all; 1.5: two, of which it may use one and a half",
		{{0}}, do_vcpu},
	{"add-vcpu", NULL, "DOMAIN N", 2, 2, "give it N more", {{0}}, do_vcpu},
	{"remove-vcpu", NULL, "DOMAIN N", 2, 2, "take N away", {{0}}, do_vcpu},
	{"set-memory", NULL, "DOMAIN SIZE", 2, 2, "give it SIZE in all (512M, 2G)", {{0}}, do_memory},
	{"add-memory", NULL, "DOMAIN SIZE", 2, 2, "give it SIZE more", {{0}}, do_memory},
	{"remove-memory", NULL, "DOMAIN SIZE", 2, 2, "take SIZE away", {{0}}, do_memory},
	{"migrate-domain", "migrate", "DOMAIN HOST[:NEWNAME]", 2, 2,
		"move it to another host, or to another QEMU on its own",
		{{'n', "dry-run", NULL, "only say whether it would work, and what it would cost"},
			{'w', "wait", NULL, "show progress until it is done; ^C cancels"},
			{'m', "method", "HOW", "live, warm (suspend, copy, resume) or cold"},
			{0, "suspend", NULL, "the same as --method warm"},
			{0, "paused", NULL, "leave it suspended there"},
			{0, "postcopy", NULL,
				"if it does not converge, run it there before all its memory has come; should the link fail then, it waits"},
			{0, "quiet-moment", "TIME",
				"wait so long at most (10m) until its guest writes little; then begin in any case"},
			{0, "keep", NULL, "keep its definition here, where nothing can start it"}, OPT_BANDWIDTH,
			OPT_BLACKOUT, OPT_THROTTLE, OPT_DEADLINE, OPT_AT_DEADLINE},
		do_migrate},
	{"set-migration", NULL, "DOMAIN", 1, 1, "change the limits of the move that is under way",
		{OPT_BANDWIDTH, OPT_BLACKOUT, OPT_THROTTLE, OPT_DEADLINE, OPT_AT_DEADLINE,
			{0, "quiet-moment", "TIME",
				"where it waits for one: so long from now at most; none: it begins now"}},
		do_set_migration},
	{"cancel-operation", "cancel", "[migration|memory|cpu|start] DOMAIN", 1, 2, "cancel what is under way on it",
		{{0}}, do_cancel},
	{"plan", NULL, "", 0, 0, "what policy would do now, and why",
		{{'a', "all-hosts", NULL, "the other hosts' plans as well"},
			{'w', "what-if", "WHAT",
				"add-host NAME [vcpus=N] [memory=SIZE], remove-host NAME, fail-host NAME, domain NAME load=PERCENT "
				"[available=PERCENT] (several with ;), or policy=FILE"}},
		do_plan},
	{"explain", NULL, "[ID|DOMAIN|HOST]", 0, 1,
		"why something was done with it, or not: every candidate and why it lost",
		{{'i', "id", "N", "that decision"},
			{0, "at", "TIME", "what was decided last by then: 10:30, \"2026-11-29 10:30\", 15m (ago)"},
			{'r', "record", NULL, "the decision with all its inputs, for policysim replay"}},
		do_explain},
	{"approve", NULL, "ID", 1, 1, "let a decision begin that waits for it (decide.automation = confirm)", {{0}},
		do_approve},
	{"evacuate", NULL, "HOST", 1, 1,
		"put a host of the group in maintenance and move away all that runs on it; says first what stays",
		{{'n', "dry-run", NULL, "only say what would leave, how, and what stays"},
			{0, "deadline", "TIME", "from now (10m): no move begins that would end later"}},
		do_evacuate},
	{"maintenance", NULL, "on|off HOST", 2, 2, "on: as evacuate, without a deadline; off: it takes domains again",
		{{0, "refill", NULL, "with off: what left comes back"}}, do_maintenance},
	{"hold", NULL, "DOMAIN", 1, 1, "policy leaves it alone; your commands still work",
		{{0, "for", "TIME", "at most so long (2h)"}, {0, "reason", "TEXT", "shown to whoever asks"}}, do_hold},
	{"pin", NULL, "DOMAIN", 1, 1, "policy does not move it away; resizing goes on",
		{{0, "for", "TIME", "at most so long (2h)"}, {0, "reason", "TEXT", "shown to whoever asks"}}, do_mark},
	{"unpin", NULL, "DOMAIN", 1, 1, "policy may move it again", {{0}}, do_simple},
	{"prefer", NULL, "DOMAIN HOST|none", 2, 2, "where policy had better have it when it moves it",
		{{0, "for", "TIME", "at most so long (2h)"}, {0, "reason", "TEXT", "shown to whoever asks"}}, do_mark},
	{"release", NULL, "DOMAIN", 1, 1, "policy may act on it again", {{0}}, do_simple},
	{"list-policy", "policies", "[NAME]", 0, 1,
		"policies, where they come from, how many domains they speak of; all keys of one", {{0}},
		do_policy_list},
	{"add-policy", NULL, "FILE | NAME KEY=VALUE...", 1, CTL_ARGS_MAX,
		"add a policy, as in policies.cfg (- = standard input), or by its keys; kept over restarts", {{0}},
		do_policy_put},
	{"set-policy", NULL, "FILE | NAME KEY=VALUE...", 1, CTL_ARGS_MAX,
		"change these keys of it (util-upper=90, tags=web,db, cpu=none), or put FILE in its place; also of the "
		"configuration's",
		{{0}}, do_policy_put},
	{"test-policy", NULL, "FILE", 1, 1,
		"what policies would do with loads written in FILE, against what is expected; needs no policyd", {{0}},
		do_policy_test},
	{"remove-policy", NULL, "NAME", 1, 1, "remove one that was given by command", {{0}}, do_policy_remove},
	{"list-history", "history", "[DOMAIN]", 0, 1, "what was done, by whom and why",
		{{'l', "limit", "N", "newest N (default 50)"}}, do_history},
	{"list-hosts", "hosts", "", 0, 0, "this host and its peers", {{0}}, do_hosts},
	{"reload", NULL, "", 0, 0, "read policyd's configuration again: whole, or not at all", {{0}}, do_reload},
	{"ping", NULL, "", 0, 0, "is policyd there?", {{0}}, do_ping},
	{"version", NULL, "", 0, 0, "versions of policyctl and policyd", {{0}}, do_version},
	{"help", NULL, "[COMMAND]", 0, 1, "this, or more about one command", {{0}}, do_help},
	{"completion", NULL, "", 0, 0, "a completion script for bash: eval \"$(policyctl completion)\"", {{0}},
		do_completion},
};
const unsigned n_verbs = sizeof(verbs) / sizeof(verbs[0]);

static const struct verb *verb_find(const char *name)
{
	for (unsigned i = 0; i < n_verbs; i++)
		if (!strcmp(verbs[i].name, name) || (verbs[i].alias && !strcmp(verbs[i].alias, name)))
			return &verbs[i];
	return NULL;
}

static const char *verb_nearest(const char *word)
{
	const char *names[2 * sizeof(verbs) / sizeof(verbs[0]) + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < n_verbs; i++) {
		names[n++] = verbs[i].name;
		if (verbs[i].alias)
			names[n++] = verbs[i].alias;
	}
	names[n] = NULL;
	return nearest(word, names);
}

static const char *shown_name(const struct verb *v)
{
	return v->alias ? v->alias : v->name;
}

int ctl_usage(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	fputs("policyctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (c->verb)
		fprintf(stderr, "usage: policyctl %s %s    (policyctl help %s)\n", shown_name(c->verb), c->verb->args,
			shown_name(c->verb));
	return 2;
}

/* ---- help and completion ---- */

/* "  migrate [-nw] [-m HOW] [--...] DOMAIN HOST[:NEWNAME]": those without a letter by name where there are few */
static void help_use(const struct verb *v, char *out, size_t size)
{
	char flags[CTL_OPTS_MAX + 1] = "";
	unsigned n_opts = 0;
	size_t n, k = 0;
	bool few;

	for (; n_opts < CTL_OPTS_MAX && v->opts[n_opts].name; n_opts++)
		if (v->opts[n_opts].letter && !v->opts[n_opts].value)
			flags[k++] = v->opts[n_opts].letter;
	few = n_opts <= OPTS_NAMED;
	n = (size_t)snprintf(out, size, "  %s%s%s%s", shown_name(v), k ? " [-" : "", flags, k ? "]" : "");
	for (unsigned i = 0; i < n_opts && n < size; i++) {
		const struct opt_row *o = &v->opts[i];
		char letter[3] = {'-', o->letter, 0};

		if (o->value && (o->letter || few))
			n += (size_t)snprintf(out + n, size - n, " [%s%s %s]", o->letter ? letter : "--",
				o->letter ? "" : o->name, o->value);
	}
	if (n < size)
		snprintf(out + n, size - n, "%s%s%s", few ? "" : " [--...]", v->args[0] ? " " : "", v->args);
}

static void help_all(FILE *f)
{
	struct table t;
	char use[128];

	fprintf(f, "usage: policyctl [--json] [-s SOCKET] COMMAND ...\n\n");
	table_init(&t, 2);
	for (unsigned i = 0; i < n_verbs; i++) {
		help_use(&verbs[i], use, sizeof(use));
		table_row(&t, use, verbs[i].help);
	}
	table_print(&t, f);
	table_fini(&t);
	fprintf(f,
		"\npolicyctl help COMMAND says more. Names as ldm has them (migrate-domain, list-domain, ...) work, too.\n"
		"--json prints the result as JSON, with every command. -s SOCKET or POLICYD_SOCKET: the control socket (default " DEFAULT_SOCKET
		")\n"
		"Exit status: 0 done, 1 refused or failed, 2 usage.\n");
}

static void help_one(const struct verb *v)
{
	printf("policyctl %s %s\n  %s\n", shown_name(v), v->args, v->help);
	if (v->alias)
		printf("  also: policyctl %s\n", v->name);
	for (unsigned i = 0; i < CTL_OPTS_MAX && v->opts[i].name; i++) {
		const struct opt_row *o = &v->opts[i];

		char use[64];

		snprintf(use, sizeof(use), "%s%c%s--%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ',
			o->letter ? ", " : "  ", o->name, o->value ? " " : "", o->value ? o->value : "");
		printf("  %-25s %s\n", use, o->help);
	}
}

static int no_verb(const struct ctl *c, const char *word)
{
	const char *near = verb_nearest(word);

	if (word[0] == '-')
		return ctl_usage(c, "no option %s before the command (policyctl help)", word);
	return ctl_usage(c, "no command \"%s\"%s%s%s (policyctl help lists them)", word,
		near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

int do_help(struct ctl *c)
{
	const struct verb *v = c->n_args ? verb_find(c->arg[0]) : NULL;

	if (c->n_args && !v)
		return no_verb(c, c->arg[0]);
	if (v)
		help_one(v);
	else
		help_all(stdout);
	return 0;
}

int do_completion(struct ctl *c)
{
	(void)c;
	printf("_policyctl() {\n  local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]}\n"
	       "  if [ $COMP_CWORD = 1 ]; then COMPREPLY=($(compgen -W '--json -s");
	for (unsigned i = 0; i < n_verbs; i++)
		printf(" %s%s%s", verbs[i].name, verbs[i].alias ? " " : "", verbs[i].alias ? verbs[i].alias : "");
	printf("' -- \"$cur\")); return; fi\n  case $cmd in\n");
	for (unsigned i = 0; i < n_verbs; i++) {
		printf("  %s%s%s) COMPREPLY=($(compgen -W \"", verbs[i].name, verbs[i].alias ? "|" : "",
			verbs[i].alias ? verbs[i].alias : "");
		for (unsigned k = 0; k < CTL_OPTS_MAX && verbs[i].opts[k].name; k++)
			printf("--%s ", verbs[i].opts[k].name);
		if (strstr(verbs[i].args, "DOMAIN"))
			printf("$(policyctl list 2>/dev/null | tail -n +2 | cut -d' ' -f1)");
		printf("\" %s-- \"$cur\"));;\n", strstr(verbs[i].args, "FILE") ? "-f " : "");
	}
	printf("  esac\n}\ncomplete -F _policyctl policyctl\n");
	return 0;
}

/* ---- parser ---- */

const char *ctl_opt(const struct ctl *c, const char *name)
{
	for (unsigned i = 0; i < CTL_OPTS_MAX && c->verb->opts[i].name; i++)
		if (!strcmp(c->verb->opts[i].name, name))
			return c->opt[i];
	return NULL;
}

/* "--name", "--name=value", "-l": index into the verb's options and the value behind "=", or -1. */
static int opt_index(const struct verb *v, const char *word, const char **value_out)
{
	const char *eq = strchr(word, '=');
	size_t n = eq ? (size_t)(eq - word) : strlen(word);

	*value_out = eq && word[1] == '-' ? eq + 1 : NULL;
	for (int i = 0; i < CTL_OPTS_MAX && v->opts[i].name; i++) {
		if (word[1] == '-' && n - 2 == strlen(v->opts[i].name) && !strncmp(word + 2, v->opts[i].name, n - 2))
			return i;
		if (word[1] != '-' && word[1] && word[1] == v->opts[i].letter && !word[2])
			return i;
	}
	return -1;
}

/* Options of the program, allowed anywhere. Number of words used, 0 = not one of them, -1 = a value is missing. */
static int global_opt(struct ctl *c, int left, char **argv)
{
	if (!strcmp(argv[0], "--json")) {
		c->json = true;
		return 1;
	}
	if (strcmp(argv[0], "-s") && strcmp(argv[0], "--socket"))
		return 0;
	if (left < 2)
		return -1;
	c->socket = argv[1];
	return 2;
}

static int verb_opt(struct ctl *c, int left, char **argv)
{
	const char *value;
	int i = opt_index(c->verb, argv[0], &value);

	if (i < 0) {
		ctl_usage(c, "%s has no option %s", shown_name(c->verb), argv[0]);
		return -1;
	}
	c->opt[i] = "";
	if (!c->verb->opts[i].value)
		return 1;
	c->opt[i] = value ? value : left > 1 ? argv[1] : NULL;
	if (!c->opt[i]) {
		ctl_usage(c, "--%s needs a %s", c->verb->opts[i].name, c->verb->opts[i].value);
		return -1;
	}
	return value ? 1 : 2;
}

static int parse(struct ctl *c, int argc, char **argv)
{
	bool only_args = false;
	int used;

	for (int i = 1; i < argc; i++)
		if (!utf8_valid(argv[i]))
			return ctl_usage(c, "word %d of the command is not valid UTF-8", i);
	for (int i = 1; i < argc; i += used) {
		used = only_args ? 0 : global_opt(c, argc - i, argv + i);
		if (used < 0)
			return ctl_usage(c, "%s needs a path", argv[i]);
		if (used)
			continue;
		used = 1;
		if (!only_args && !strcmp(argv[i], "--")) {
			only_args = true;
		} else if (!c->verb && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
			c->verb = verb_find("help");
		} else if (!c->verb && !strcmp(argv[i], "--version")) {
			printf("policyctl %s\n", POLICYD_VERSION);
			exit(0);
		} else if (!c->verb) {
			c->verb = argv[i][0] == '-' ? NULL : verb_find(argv[i]);
			if (!c->verb)
				return no_verb(c, argv[i]);
		} else if (!only_args && argv[i][0] == '-' && argv[i][1] && !strchr("0123456789", argv[i][1])) {
			if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
				help_one(c->verb);
				exit(0);
			}
			used = verb_opt(c, argc - i, argv + i);
			if (used < 0)
				return 2;
		} else if (c->n_args == c->verb->max_args) {
			return ctl_usage(c, "%s: \"%s\" is one word too many", shown_name(c->verb), argv[i]);
		} else {
			c->arg[c->n_args++] = argv[i];
		}
	}
	if (!c->verb) {
		help_all(stderr);
		return 2;
	}
	return c->n_args < c->verb->min_args ? ctl_usage(c, "%s needs %s", shown_name(c->verb), c->verb->args) : 0;
}

int main(int argc, char **argv)
{
	struct ctl c = {.socket = getenv("POLICYD_SOCKET")};
	int rc;

	if (!c.socket || !c.socket[0])
		c.socket = DEFAULT_SOCKET;
	rc = parse(&c, argc, argv);
	assert(rc || c.verb);
	return rc ? rc : c.verb->run(&c);
}
