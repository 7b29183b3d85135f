/* Plans in words: see words.h. The text is decide/text.c's; the time of day in front is put here. */
#include "policyd/act/words.h"

#include <stdlib.h>
#include <time.h>

#include "policyd/decide/text.h"

static json_t *words(int64_t t_ms, const struct plan *pl, const char *domain)
{
	time_t sec = (time_t)(t_ms / 1000);
	char when[16], *text;
	struct tm tm;
	json_t *j;

	localtime_r(&sec, &tm);
	strftime(when, sizeof(when), "%H:%M:%S", &tm);
	text = plan_text(pl, domain, when);
	j = text ? json_string(text) : NULL;
	free(text);
	return j;
}

json_t *plan_words(const struct snapshot *s, const struct plan *pl, const char *domain)
{
	return words(s->now_ms, pl, domain);
}

json_t *plan_words_stored(const json_t *row, const char *domain)
{
	struct plan pl = {0};
	struct err e = {0};
	json_t *j;

	if (plan_from_json(json_object_get(row, "plan"), &pl, &e))
		return json_string(err_msg(&e));
	j = words((int64_t)json_integer_value(json_object_get(row, "t")), &pl, domain);
	plan_fini(&pl);
	return j;
}
