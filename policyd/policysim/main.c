/* policysim: the laws of policyd without a host, on recorded data. This file is the table of commands. */
#include <stdio.h>
#include <string.h>

#include "policyd/policysim/sim.h"

static const struct {
	const char *name, *args, *what;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"decide", "[--json] [--policy FILE.cfg] FILE...", "the plan for each snapshot", sim_decide},
	{"replay", "[--policy FILE.cfg] FILE...",
		"decide recorded snapshots again (under another policy), print what differs", sim_replay},
	{"test-policy", "[--json] FILE.cfg", "policies against expectations (docs/policies.md)", sim_test_policy},
	{"trim", "[--json] [--law NAME] [--rules K=V,..] [--set K=V,..] [--part I/N] FILE",
		"size each domain of a recorded memory trace by a law (docs/traces.md)", sim_trim},
};

#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

static int usage(FILE *to)
{
	size_t i;

	for (i = 0; i < N_COMMANDS; i++)
		fprintf(to, "%s policysim %s %s\n           %s\n", i ? "      " : "usage:", commands[i].name,
			commands[i].args, commands[i].what);
	return SIM_USAGE;
}

int main(int argc, char **argv)
{
	size_t i;
	int rc;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0))
		return usage(stdout) == SIM_USAGE ? 0 : 1;
	for (i = 0; argc > 1 && i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		rc = commands[i].run(argc - 1, argv + 1);
		return rc == SIM_USAGE ? usage(stderr) : rc;
	}
	return usage(stderr);
}
