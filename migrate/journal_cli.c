/* 'policyd-migrate journal ...': see journal_cli.h. One row a verb; each answer is one JSON object a line. */
#include "migrate/journal_cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/journal.h"

#define STATE_DIR_DEFAULT "/var/lib/policyd"

struct request {
	const char *state_dir, *peer, *domain;
	char **args; /* after the verb */
	int n_args;
	bool apply;
};

/* What a policyd (or an operator in its place) has to do about a domain whose worker has ended: docs/worker.md's last paragraph. */
struct advice {
	enum handoff_state then; /* to be recorded first; HO_NONE = nothing */
	const char *action, *text;
};

static const struct advice advice_source[HO_STATE_COUNT] = {
	[HO_NONE] = {HO_NONE, "none", "the guest was never touched"},
	[HO_RUN] = {HO_ABORT, "none", "the guest runs here and was never stopped"},
	[HO_PAUSED] = {HO_ABORT, "resume", "the guest is this host's: record ABORT, then cont"},
	[HO_OFFERED] = {HO_NONE, "ask",
		"in doubt: the guest must stay paused until the target has answered (handoff-query)"},
	[HO_GONE] = {HO_NONE, "quit", "the guest is the target's: end the QEMU here"},
	[HO_ABORT] = {HO_NONE, "resume", "the guest is this host's: cont"},
};

static const struct advice advice_target[HO_STATE_COUNT] = {
	[HO_NONE] = {HO_REFUSED, "quit", "nothing came here: record REFUSED, end the QEMU that waits"},
	[HO_PREPARED] = {HO_REFUSED, "quit", "the guest is not this host's: record REFUSED, then end the QEMU here"},
	[HO_LOADED] = {HO_REFUSED, "quit", "the guest is not this host's: record REFUSED, then end the QEMU here"},
	[HO_PARTIAL] = {HO_NONE, "fetch",
		"the guest runs here and waits for memory that is still at the source: start both workers again with \"resume\""},
	[HO_OWNER] = {HO_NONE, "resume", "the guest is this host's: cont"},
	[HO_REFUSED] = {HO_NONE, "quit", "the guest is not this host's: end the QEMU here"},
};

static const char *role_name(enum handoff_role role)
{
	return role == HO_SOURCE ? "source" : "target";
}

static int fail(const struct err *e)
{
	fprintf(stderr, "policyd-migrate: %s\n", err_msg(e));
	return EXIT_FAILURE;
}

static void print_json(const struct journal_entry *e, bool advice)
{
	const struct advice *a = e->role == HO_SOURCE ? &advice_source[e->state] : &advice_target[e->state];
	json_t *j = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:s}", "uuid", e->uuid, "epoch",
		(json_int_t)e->epoch, "role", role_name(e->role), "state", handoff_name(e->state), "domain", e->domain,
		"peer", e->peer, "may_run", handoff_may_run(e->role, e->state), "in_doubt",
		handoff_in_doubt(e->role, e->state), "final", handoff_final(e->role, e->state), "action", a->action);

	if (advice)
		json_object_set_new(j, "advice", json_string(a->text));
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(j);
}

static void on_entry(void *arg, const struct journal_entry *e)
{
	(void)arg;
	print_json(e, false);
}

/* UUID EPOCH ROLE from the arguments. */
static int parse_key(const struct request *rq, struct journal_entry *out, struct err *e)
{
	char *end = NULL;

	memset(out, 0, sizeof(*out));
	if (rq->n_args < 3 || strlen(rq->args[0]) >= sizeof(out->uuid))
		return err_set(e, EINVAL, "journal: UUID EPOCH source|target is missing or wrong");
	snprintf(out->uuid, sizeof(out->uuid), "%s", rq->args[0]);
	out->epoch = strtoull(rq->args[1], &end, 10);
	out->role = strcmp(rq->args[2], "source") == 0 ? HO_SOURCE : HO_TARGET;
	if (!*rq->args[1] || *end || strcmp(rq->args[2], role_name(out->role)) != 0)
		return err_set(e, EINVAL, "journal: UUID EPOCH source|target is missing or wrong");
	snprintf(out->peer, sizeof(out->peer), "%s", rq->peer ? rq->peer : "");
	snprintf(out->domain, sizeof(out->domain), "%s", rq->domain ? rq->domain : "");
	return 0;
}

static int cli_list(const struct request *rq)
{
	struct err e = {0};

	return journal_scan(rq->state_dir, on_entry, NULL, &e) == 0 ? EXIT_SUCCESS : fail(&e);
}

static int cli_show(const struct request *rq)
{
	struct journal_entry key, entry;
	struct err e = {0};
	int rc = parse_key(rq, &key, &e);

	if (rc == 0)
		rc = journal_read(rq->state_dir, key.uuid, key.epoch, key.role, &entry, &e);
	if (rc)
		return fail(&e);
	print_json(&entry, true);
	return EXIT_SUCCESS;
}

static int cli_record(const struct request *rq)
{
	struct journal_entry entry;
	struct err e = {0};
	int rc = parse_key(rq, &entry, &e);

	if (rc == 0 && (rq->n_args != 4 || handoff_parse(rq->args[3], &entry.state) != 0))
		rc = err_set(&e, EINVAL, "journal record: the state is missing or not one");
	if (rc == 0)
		rc = journal_record(rq->state_dir, &entry, NULL, &e);
	if (rc)
		return fail(&e);
	print_json(&entry, false);
	return EXIT_SUCCESS;
}

/* What is to be done; with --apply what can be recorded without asking anybody is recorded. */
static int cli_resolve(const struct request *rq)
{
	struct journal_entry key, entry;
	const struct advice *a;
	struct err e = {0};
	int rc = parse_key(rq, &key, &e);

	if (rc == 0) {
		rc = journal_read(rq->state_dir, key.uuid, key.epoch, key.role, &entry, &e);
		if (rc == -ENOENT) {
			entry = key;
			entry.state = HO_NONE;
			rc = 0;
		}
	}
	if (rc)
		return fail(&e);
	a = key.role == HO_SOURCE ? &advice_source[entry.state] : &advice_target[entry.state];
	if (rq->apply && a->then != HO_NONE) {
		entry.state = a->then;
		if (journal_record(rq->state_dir, &entry, &entry.state, &e) != 0)
			return fail(&e);
		entry.state = a->then;
	}
	print_json(&entry, true);
	return EXIT_SUCCESS;
}

static const struct {
	const char *name, *args, *help;
	int (*run)(const struct request *rq);
} verbs[] = {
	{"list", "", "every journal: its state, may_run, in_doubt, and what its policyd would do (action)", cli_list},
	{"show", "UUID EPOCH ROLE", "one of them, with the reason", cli_show},
	{"record", "UUID EPOCH ROLE STATE",
		"append a state, durably; the hand-off's table refuses what must not follow", cli_record},
	{"resolve", "[--apply] UUID EPOCH ROLE",
		"what to do when the worker has ended; --apply records ABORT or REFUSED", cli_resolve},
};

static int usage(FILE *out)
{
	fprintf(out, "usage: policyd-migrate journal VERB [--state-dir %s] [--peer NAME] [--domain NAME] ...\n",
		STATE_DIR_DEFAULT);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		fprintf(out, "  %-8s %-26s %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
	fprintf(out,
		"ROLE is source or target. States: RUN PAUSED OFFERED GONE ABORT at the source, PREPARED LOADED "
		"PARTIAL OWNER REFUSED at the target.\n"
		"A journal that is damaged is never guessed at: find out on which host the guest is (the other "
		"side's journal, 'policyctl list' on\n"
		"both), then move the damaged file away; the other side's answer decides.\n");
	return out == stdout ? EXIT_SUCCESS : 2;
}

int journal_cli_main(int argc, char **argv)
{
	static const struct option options[] = {{"state-dir", required_argument, NULL, 's'},
		{"peer", required_argument, NULL, 'p'}, {"domain", required_argument, NULL, 'd'},
		{"apply", no_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct request rq = {.state_dir = STATE_DIR_DEFAULT};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			rq.state_dir = optarg;
		else if (opt == 'p')
			rq.peer = optarg;
		else if (opt == 'd')
			rq.domain = optarg;
		else if (opt == 'a')
			rq.apply = true;
		else
			return usage(opt == 'h' ? stdout : stderr);
	}
	if (optind >= argc)
		return usage(stderr);
	rq.args = argv + optind + 1;
	rq.n_args = argc - optind - 1;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[optind], verbs[i].name) == 0)
			return verbs[i].run(&rq);
	return usage(stderr);
}
