/* Plans in words and columns: see text.h. */
#include "policyd/decide/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/rules.h"

const char *verdict_text(enum verdict v)
{
	static const char *const texts[] = {
		[CAND_CHOSEN] = "<- chosen",
		[CAND_TOO_DEAR] = "too dear",
		[CAND_NOT_ALLOWED] = "not allowed",
		[CAND_NO_ROOM] = "no room",
		[CAND_NOT_ENOUGH] = "not enough",
		[CAND_LATER] = "later",
	};

	return texts[v];
}

static void resize_text(const struct action *a, const struct snap_domain *now, char *out, size_t size)
{
	char was[16] = "", to[16];

	if (a->kind == ACT_SET_VCPUS) {
		if (now)
			cpu_format(rule_cpu_entitled(now), was);
		cpu_format(action_cpu(a), to);
		snprintf(out, size, "%s %s%s-> %s vcpu%s", a->domain, was, *was ? " " : "", to,
			action_cpu(a) == 100 ? "" : "s");
		return;
	}
	size_format(a->mem_bytes, to);
	if (now)
		size_format(now->mem_bytes, was);
	snprintf(out, size, "%s memory %s%s-> %s", a->domain, was, *was ? " " : "", to);
}

static void move_text(const struct action *a, char *out, size_t size)
{
	char to[16], bytes[16], quiet[48] = "";

	size_format(a->mem_bytes, to);
	size_format(a->pred_bytes > 0 && a->pred_bytes < 0x1p63 ? (uint64_t)a->pred_bytes : 0, bytes);
	if (a->quiet_ms)
		snprintf(quiet, sizeof(quiet), ", at a quiet moment within %u s", a->quiet_ms / 1000);
	if (a->kind == ACT_COLD_MOVE)
		snprintf(out, size, "%s moves cold to %s: %.1f s", a->domain, a->target, a->pred_total_s);
	else if (a->kind == ACT_WARM_MOVE)
		snprintf(out, size, "%s%s%s moves warm to %s: %.1f s, %.0f ms, %s", a->domain,
			a->mem_bytes ? " is trimmed to " : "", a->mem_bytes ? to : "", a->target, a->pred_total_s,
			a->pred_blackout_ms, bytes);
	else
		snprintf(out, size, "%s%s%s%s live to %s: %.1f s, %.0f ms, %s%s%s", a->domain,
			a->kind == ACT_TRIM_MOVE ? " is trimmed to " : "", a->kind == ACT_TRIM_MOVE ? to : "",
			a->kind == ACT_TRIM_MOVE ? " and moves" : " moves", a->target, a->pred_total_s,
			a->pred_blackout_ms, bytes, a->postcopy ? ", by post-copy" : "", quiet);
}

void action_text(const struct action *a, const struct snap_domain *now, char *out, size_t size)
{
	if (a->kind == ACT_SET_VCPUS || a->kind == ACT_SET_MEMORY)
		resize_text(a, now, out, size);
	else
		move_text(a, out, size);
}

/* Is @name's need, or @name itself, what @about asks for? NULL asks for all. */
static bool wanted(const char *about, const char *name, const char *other)
{
	return !about || strcmp(about, name) == 0 || strcmp(about, other) == 0;
}

static bool name_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("._-", c));
}

/* Is @name in @text as a whole word? */
static bool mentions(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = text; (p = strstr(p, name)); p++)
		if ((p == text || !name_char(p[-1])) && !name_char(p[n]))
			return true;
	return false;
}

/* Does it want to see this need: its own, or one in which it is a candidate? */
static bool need_wanted(const struct plan *p, const char *need, const char *about)
{
	if (!about || strcmp(need, about) == 0)
		return true;
	for (unsigned i = 0; i < p->n_candidates; i++)
		if (strcmp(p->candidates[i].need, need) == 0 && mentions(p->candidates[i].text, about))
			return true;
	return false;
}

/* The first candidate of each need prints the need's line before it. */
static bool first_of_need(const struct plan *p, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (strcmp(p->candidates[j].need, p->candidates[i].need) == 0)
			return false;
	return true;
}

/* What that domain was found to need: the sentence of its own growth, else its note. */
static const char *need_sentence(const struct plan *p, const char *need)
{
	for (unsigned i = 0; i < p->n_actions; i++)
		if (strcmp(p->actions[i].domain, need) == 0 && p->actions[i].kind <= ACT_SET_MEMORY)
			return p->actions[i].why;
	for (unsigned i = 0; i < p->n_notes; i++)
		if (strcmp(p->notes[i].domain, need) == 0)
			return p->notes[i].text;
	return "is in need";
}

static unsigned column(const struct plan *p)
{
	unsigned w = 0;

	for (unsigned i = 0; i < p->n_candidates; i++)
		if (strlen(p->candidates[i].text) > w)
			w = (unsigned)strlen(p->candidates[i].text);
	return w > 80 ? 80 : w;
}

static void candidate_print(const struct candidate *c, unsigned row, int width, FILE *f)
{
	if (c->verdict == CAND_NOT_ALLOWED || c->verdict == CAND_NO_ROOM || (c->verdict == CAND_LATER && c->price <= 0))
		fprintf(f, "  %2u  %-*s  %-24s %s: %s\n", row, width, c->text, "-", verdict_text(c->verdict), c->why);
	else
		fprintf(f, "  %2u  %-*s  gain %-6.3g price %-6.3g %s%s%s\n", row, width, c->text, c->gain, c->price,
			verdict_text(c->verdict), *c->why ? ": " : "", c->why);
}

static unsigned needs_print(const struct plan *p, const char *about, FILE *f)
{
	unsigned n = 0, row, width = column(p);

	for (unsigned i = 0; i < p->n_candidates; i++) {
		const char *need = p->candidates[i].need;

		if (!first_of_need(p, i) || !need_wanted(p, need, about))
			continue;
		fprintf(f, "%s %s\n", need, need_sentence(p, need));
		row = 0;
		for (unsigned j = i; j < p->n_candidates; j++)
			if (strcmp(p->candidates[j].need, need) == 0)
				candidate_print(&p->candidates[j], ++row, (int)width, f);
		n += row;
	}
	return n;
}

static unsigned actions_print(const struct plan *p, const char *about, FILE *f)
{
	unsigned n = 0;
	char text[256];

	for (unsigned i = 0; i < p->n_actions; i++) {
		const struct action *a = &p->actions[i];

		if (!wanted(about, a->domain, a->for_domain))
			continue;
		action_text(a, NULL, text, sizeof(text));
		fprintf(f, "%u. %s", i + 1, text);
		if (a->after >= 0)
			fprintf(f, "  (after %d)", a->after + 1);
		fprintf(f, "\n   %s %s\n", a->domain, a->why);
		n++;
	}
	return n;
}

static unsigned notes_print(const struct plan *p, const char *about, FILE *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n_notes; i++) {
		const struct note *note = &p->notes[i];
		bool said = false;

		for (unsigned j = 0; j < p->n_candidates && !said; j++) /* it was the need's line above */
			said = strcmp(p->candidates[j].need, note->domain) == 0;
		if (said || !wanted(about, note->domain, note->domain))
			continue;
		fprintf(f, "%s %s\n", note->domain, note->text);
		n++;
	}
	return n;
}

char *plan_text(const struct plan *p, const char *domain, const char *time)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	unsigned n;

	if (!f)
		return NULL;
	if (*time)
		fprintf(f, "%s  ", time);
	n = needs_print(p, domain, f);
	n += actions_print(p, domain, f);
	if (!p->n_actions && !domain)
		n += (unsigned)(fprintf(f, "nothing to do\n") > 0);
	n += notes_print(p, domain, f);
	if (!n)
		fprintf(f, "%s plays no part in this decision\n", domain ? domain : "it");
	if (ferror(f) | fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
