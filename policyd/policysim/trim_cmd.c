/* policysim trim: the memory sizing laws on a recorded trace. Options are tables; the figures are trim.c's. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/policysim/sim.h"
#include "policyd/policysim/trim.h"

struct setting { /* KEY=VALUE of --rules and --set */
	const char *key;
	size_t off;
	double least, most;
};

struct options {
	struct trim_run run;
	double clamp;
	bool json;
	const char *file;
};

#define RULE(key, least, most)                                                                                         \
	{                                                                                                              \
#key, offsetof(struct options, run.rules.key), least, most                                             \
	}
#define SIZING(key, least, most)                                                                                       \
	{                                                                                                              \
#key, offsetof(struct options, run.sizing.key), least, most                                            \
	}

static const struct setting rules[] = {RULE(min_mib, 0, 1e9), RULE(shrink_below, 0, 1), RULE(warm_s, 0, 1e9),
	{"clamp", offsetof(struct options, clamp), 0, 1}, {0}};
static const struct setting sizing[] = {SIZING(price_mib, 0, 1e9), SIZING(resize_mib, 0, 1e9),
	SIZING(fast_h, 0.01, 1e4), SIZING(slow_h, 0.01, 1e4), SIZING(fast_weight, 0, 1), SIZING(jump, 1e-4, 10),
	SIZING(jump_h, 0.1, 1e4), {0}};

static int set_one(struct options *o, const struct setting *table, const char *option, char *word)
{
	char *value = strchr(word, '='), *end;
	const struct setting *s;
	double x;

	if (value)
		*value++ = '\0';
	for (s = table; s->key && strcmp(s->key, word) != 0; s++)
		;
	x = value ? strtod(value, &end) : 0;
	if (!s->key || !value || end == value || *end || !(x >= s->least && x <= s->most)) {
		fprintf(stderr, "policysim: trim: %s: \"%s\" is none of:", option, word);
		for (s = table; s->key; s++)
			fprintf(stderr, " %s=%g..%g", s->key, s->least, s->most);
		fprintf(stderr, "\n");
		return -EINVAL;
	}
	*(double *)((char *)o + s->off) = x;
	return 0;
}

static int set_all(struct options *o, const struct setting *table, const char *option, char *words)
{
	char *word;

	while ((word = strsep(&words, ",")))
		if (set_one(o, table, option, word))
			return -EINVAL;
	return 0;
}

static int set_law(struct trim_run *run, const char *name)
{
	unsigned law;

	for (law = 0; law < TRIM_N_LAWS; law++)
		if (strcmp(name, trim_law_name(law)) == 0) {
			run->law = law;
			return 0;
		}
	fprintf(stderr, "policysim: trim: --law: \"%s\" is neither peak24h nor ours\n", name);
	return -EINVAL;
}

static int set_part(struct trim_run *run, const char *text)
{
	char tail;

	if (sscanf(text, "%u/%u%c", &run->part, &run->parts, &tail) == 2 && run->part >= 1 && run->part <= run->parts) {
		run->part--;
		return 0;
	}
	fprintf(stderr, "policysim: trim: --part: \"%s\" is not like 1/2 (the first of two: each second domain)\n",
		text);
	return -EINVAL;
}

static int set_option(struct options *o, int c)
{
	switch (c) {
	case 'j':
		o->json = true;
		return 0;
	case 'l':
		return set_law(&o->run, optarg);
	case 'r':
		return set_all(o, rules, "--rules", optarg);
	case 's':
		return set_all(o, sizing, "--set", optarg);
	case 'p':
		return set_part(&o->run, optarg);
	default:
		return -EINVAL;
	}
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"law", required_argument, NULL, 'l'},
		{"rules", required_argument, NULL, 'r'}, {"set", required_argument, NULL, 's'},
		{"part", required_argument, NULL, 'p'}, {0}};
	int c;

	*o = (struct options){
		.run = {.law = TRIM_OURS, .rules = trim_rules_default, .sizing = sizing_default, .parts = 1},
		.clamp = trim_rules_default.clamp};
	optind = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (set_option(o, c))
			return -EINVAL;
	if (optind != argc - 1)
		return -EINVAL;
	o->run.rules.clamp = o->clamp != 0;
	o->file = argv[optind];
	return 0;
}

static int show_json(const struct options *o, const struct trace *t, const struct trim_result *r)
{
	json_t *j = json_pack(
		"{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:{s:I, s:I, s:I, s:I}}", "law",
		trim_law_name(o->run.law), "alloc_over_prov", r->alloc_over_prov, "violating_pct", r->violating_pct,
		"vms_hit_pct", r->vms_hit_pct, "resizes_per_vm_day", r->resizes_per_vm_day, "used_over_prov",
		r->used_over_prov, "short_over_used_pct", r->short_over_used_pct, "vms", (json_int_t)r->n_vms,
		"samples", (json_int_t)r->n_samples, "violating", (json_int_t)r->n_violating, "resizes",
		(json_int_t)r->n_resizes, "grown", (json_int_t)r->n_grown, "vm_days", r->vm_days, "trace", "rows",
		(json_int_t)t->rows, "no_cap", (json_int_t)t->n_no_cap, "repeated", (json_int_t)t->n_repeated,
		"unordered", (json_int_t)t->n_unordered);
	char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
	int err = text ? 0 : -ENOMEM;

	if (text)
		puts(text);
	free(text);
	json_decref(j);
	return err;
}

static void show(const struct options *o, const struct trace *t, const struct trim_result *r)
{
	printf("law                 %s\n"
	       "allocated/provided  %.3f   (used %.3f)\n"
	       "violating samples   %.4f %%   (%lu of %lu; %.3f %% of the memory used)\n"
	       "domains hit         %.0f %%   (%u of %u)\n"
	       "resizes             %.2f per domain and day   (%lu, %lu of them up)\n"
	       "trace               %lu rows; left out: %lu without a size, %lu repeated; %lu out of order\n",
		trim_law_name(o->run.law), r->alloc_over_prov, r->used_over_prov, r->violating_pct, r->n_violating,
		r->n_samples, r->short_over_used_pct, r->vms_hit_pct, r->n_hit, r->n_vms, r->resizes_per_vm_day,
		r->n_resizes, r->n_grown, t->rows, t->n_no_cap, t->n_repeated, t->n_unordered);
}

int sim_trim(int argc, char **argv)
{
	struct trim_result r;
	struct trace t = {0};
	struct err e = {0};
	struct options o;
	FILE *f;
	int err;

	if (parse(&o, argc, argv))
		return SIM_USAGE;
	f = strcmp(o.file, "-") == 0 ? stdin : fopen(o.file, "re");
	err = f ? trace_read(f, o.file, &t, &e) : err_set(&e, errno, "%s: %s", o.file, strerror(errno));
	if (!err && trim_run(&t, &o.run, &r))
		err = err_set(&e, ENOMEM, "no memory");
	if (!err && o.json)
		err = show_json(&o, &t, &r) ? err_set(&e, ENOMEM, "no memory") : 0;
	else if (!err)
		show(&o, &t, &r);
	if (err)
		fprintf(stderr, "policysim: trim: %s\n", err_msg(&e));
	trace_fini(&t);
	if (f && f != stdin)
		fclose(f);
	return err ? 1 : 0;
}
