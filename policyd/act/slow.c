/* Slowing a guest while it is moved: see slow.h. */
#include "policyd/act/slow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/act/cap_name.h"
#include "policyd/act/cpu_group.h"
#include "resize/cap.h"

struct slow {
	struct dom *d;
};

int slow_set(struct slow **s, struct dom *d, unsigned cpu_percent, struct err *e)
{
	if (!*s && !cpu_percent)
		return 0;
	if (!*s)
		*s = calloc(1, sizeof(**s));
	if (!*s)
		return err_set(e, ENOMEM, "out of memory");
	(*s)->d = d;
	return cpu_group_slow(d, cpu_percent, e);
}

json_t *slow_answer(unsigned percent, const struct err *e)
{
	if (e->code)
		return json_pack("{s:s, s:i, s:s}", "op", "throttled", "percent", 0, "why", e->msg);
	return json_pack("{s:s, s:i}", "op", "throttled", "percent", (int)percent);
}

void slow_tell(const struct dom *d, json_t *line)
{
	char path[sizeof(((struct cap *)0)->group) + NAME_MAX_LEN], text[32];
	struct cap_fs fs;
	struct err e;

	if (cap_name_fs(d->p, &fs, &e) < 0)
		return;
	cap_lift(&fs, d->spec.name, d->launched.cpu_cap, path, sizeof(path), text, sizeof(text));
	json_object_set_new(line, "lift_path", json_string(path));
	json_object_set_new(line, "lift_text", json_string(text));
}

void slow_free(struct slow *s, struct policyd *p)
{
	struct err e;

	if (!s)
		return;
	if (cpu_group_slow(s->d, 0, &e) < 0)
		plog(p, "%s: %s", s->d->spec.name, e.msg);
	free(s);
}
