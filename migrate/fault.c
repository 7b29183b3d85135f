/* Faults on order: see fault.h. */
#include "migrate/fault.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static enum fault parse_what(const char *what)
{
	static const char *const names[] = {[FAULT_DIE] = "die",
		[FAULT_LOSE] = "lose",
		[FAULT_HOLD] = "hold",
		[FAULT_FAIL] = "fail",
		[FAULT_STOP] = "stop"};

	for (int f = FAULT_DIE; f <= FAULT_STOP; f++)
		if (strcmp(what, names[f]) == 0)
			return (enum fault)f;
	return FAULT_NONE;
}

enum fault fault_at(const char *spec, enum handoff_role role, const char *step)
{
	char r[16], what[16], name[32];

	while (spec && *spec) {
		if (sscanf(spec, "%15[a-z]:%15[a-z]:%31[a-z-]", r, what, name) == 3 && strcmp(name, step) == 0 &&
			strcmp(r, role == HO_SOURCE ? "source" : "target") == 0) {
			enum fault f = parse_what(what);

			if (f == FAULT_DIE)
				raise(SIGKILL);
			if (f == FAULT_STOP)
				raise(SIGSTOP);
			return f;
		}
		spec = strchr(spec, ',');
		spec = spec ? spec + 1 : NULL;
	}
	return FAULT_NONE;
}
