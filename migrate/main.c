/* policyd-migrate: one end of one live migration (run), the source's pre-checks (check), and the hand-off journals (journal). Started by
 * policyd or by hand; docs/worker.md. One row a command. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/checks.h"
#include "migrate/journal_cli.h"
#include "migrate/measure.h"
#include "migrate/worker.h"

#define VERSION "0.1"
#define EXIT_USAGE 2

struct command {
	const char *name, *args, *help;
	int (*run)(int argc, char **argv);
};

static int usage(FILE *out);

/* --fd N, the only option that run and check share. */
static int parse_fd(int argc, char **argv, const char **fault_out)
{
	static const struct option options[] = {
		{"fd", required_argument, NULL, 'f'}, {"fault", required_argument, NULL, 'x'}, {NULL, 0, NULL, 0}};
	int fd = -1, opt;
	char *end;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'f') {
			long n = strtol(optarg, &end, 10);

			fd = *end || n < 0 || n > 65535 ? -1 : (int)n;
		} else if (opt == 'x' && fault_out) {
			*fault_out = optarg;
		} else {
			return -1;
		}
	}
	return optind == argc ? fd : -1;
}

/* A start line that cannot be read is told as a "done" line: policyd hears one sentence in every case. */
static int refuse(struct boss *boss, const struct err *e)
{
	boss_send(boss,
		json_pack("{s:s, s:b, s:s, s:s, s:b, s:{}}", "event", "done", "ok", 0, "outcome", "stayed", "error",
			err_msg(e), "cancelled", 0, "stats"));
	boss_free(boss);
	return EXIT_SUCCESS;
}

static int run_main(int argc, char **argv)
{
	const char *faults = getenv("POLICYD_MIGRATE_FAULT");
	int fd = parse_fd(argc, argv, &faults);
	struct worker_conf *conf = NULL;
	struct boss *boss = NULL;
	json_t *line = NULL;
	struct err e = {0};
	sigset_t set;
	int rc;

	if (fd < 0)
		return usage(stderr);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	conf = calloc(1, sizeof(*conf));
	rc = boss_new(fd, &boss, &e);
	if (rc || !conf) {
		free(conf);
		fprintf(stderr, "policyd-migrate: no memory\n");
		return EXIT_FAILURE;
	}
	rc = boss_first_line(boss, &line, &e);
	if (rc == 0)
		rc = worker_conf_parse(line, WORKER_RUN, conf, &e);
	json_decref(line);
	if (rc)
		rc = refuse(boss, &e);
	else
		rc = worker_run(conf, boss, faults) ? EXIT_FAILURE : EXIT_SUCCESS;
	free(conf);
	return rc;
}

static int check_main(int argc, char **argv)
{
	int fd = parse_fd(argc, argv, NULL);

	return fd < 0 ? usage(stderr) : checks_main(fd);
}

static int measure_cmd(int argc, char **argv)
{
	int fd = parse_fd(argc, argv, NULL);

	return fd < 0 ? usage(stderr) : measure_main(fd);
}

static int sink_cmd(int argc, char **argv)
{
	int fd = parse_fd(argc, argv, NULL);

	return fd < 0 ? usage(stderr) : sink_main(fd);
}

static const struct command commands[] = {
	{"run", "--fd N [--fault ROLE:WHAT:STEP,..]",
		"one end of a migration; the first line read from N says which (docs/worker.md). --fault is for tests",
		run_main},
	{"check", "--fd N", "may the domain be moved from here? Touches nothing; tells every reason against it",
		check_main},
	{"measure", "--fd N",
		"what would a move have to do? Watches and samples the guest, probes the link; sends nothing of it",
		measure_cmd},
	{"sink", "--fd N", "the other end of measure's probe: takes octets for a moment and throws them away",
		sink_cmd},
	{"journal", "list|show|record|resolve ...", "read and write hand-off journals; see 'journal --help'",
		journal_cli_main},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int usage(FILE *out)
{
	fprintf(out, "usage: policyd-migrate COMMAND ...\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-8s %-36s %s\n", commands[i].name, commands[i].args, commands[i].help);
	fprintf(out,
		"  --help, --version\nStarted by policyd; 'policyctl migrate' is what you want in the ordinary "
		"course.\n");
	return out == stdout ? EXIT_SUCCESS : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return usage(stdout);
	if (strcmp(name, "--version") == 0) {
		printf("policyd-migrate %s\n", VERSION);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (*name)
		fprintf(stderr, "policyd-migrate: there is no command \"%s\"\n", name);
	return usage(stderr);
}
