/* The base folder of our CPU caps: see cap_name.h. */
#include "policyd/act/cap_name.h"

#include <stdio.h>
#include <string.h>

int cap_name_fs(const struct policyd *p, struct cap_fs *out, struct err *e)
{
	const char *run = p->conf->host.paths.run;
	uint32_t sum = 2166136261u;
	int r = cap_detect(NULL, out, e);

	if (r < 0 || !strcmp(run, "/run/policyd"))
		return r;
	for (; *run; run++)
		sum = (sum ^ (unsigned char)*run) * 16777619u; /* FNV-1a */
	snprintf(out->base, sizeof(out->base), "ballast-%08x", sum);
	return 0;
}
