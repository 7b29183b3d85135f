/* policysim decide and replay: the decision without a host. Reads recorded snapshots and decides again.
 *
 *     policysim decide FILE...   print the plan for each snapshot (a snapshot alone, or {"snapshot": ..})
 *     policysim replay FILE...   {"snapshot": .., "plan": ..}: decide again, print each difference; exit 1 on any
 *     policysim replay --policy FILE.cfg FILE...   decide again under that policy, and say what would be done otherwise
 *
 * A file may hold one object, a list of them, or one a line ("-" = standard input). */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policyd/decide/plan.h"
#include "policyd/decide/text.h"
#include "policyd/decide/whatif.h"
#include "policyd/policysim/sim.h"

struct run {
	const char *file;
	unsigned n; /* record, from 1 */
	bool replay, json;
	const struct conf *policy; /* NULL: as recorded */
	unsigned bad, good, differ;
};

static int complain(struct run *r, const char *what)
{
	fprintf(stderr, "policysim: %s:%u: %s\n", r->file, r->n, what);
	r->bad++;
	return -1;
}

/* Every place where @a and @b differ, as "actions[0].vcpus: 3, now 4". */
static unsigned differences(const json_t *a, const json_t *b, const char *path)
{
	char below[512], *x, *y;
	unsigned n = 0;
	size_t i, most;
	const char *key;
	json_t *v;

	if (a && b && json_equal((json_t *)a, (json_t *)b))
		return 0;
	if (json_is_object(a) && json_is_object(b)) {
		json_object_foreach((json_t *)a, key, v) {
			snprintf(below, sizeof(below), "%.400s%s%.80s", path, *path ? "." : "", key);
			n += differences(v, json_object_get(b, key), below);
		}
		json_object_foreach((json_t *)b, key, v) {
			snprintf(below, sizeof(below), "%.400s%s%.80s", path, *path ? "." : "", key);
			n += json_object_get(a, key) ? 0 : differences(NULL, v, below);
		}
		return n;
	}
	if (json_is_array(a) && json_is_array(b)) {
		most = json_array_size(a) > json_array_size(b) ? json_array_size(a) : json_array_size(b);
		for (i = 0; i < most; i++) {
			snprintf(below, sizeof(below), "%.400s[%zu]", path, i);
			n += differences(json_array_get(a, i), json_array_get(b, i), below);
		}
		return n;
	}
	x = a ? json_dumps(a, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	y = b ? json_dumps(b, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	printf("  %s: %s, now %s\n", path, x ? x : "nothing", y ? y : "nothing");
	free(x);
	free(y);
	return 1;
}

static int show(struct run *r, const struct plan *plan, const json_t *j)
{
	char *text = r->json ? json_dumps(j, JSON_INDENT(1)) : plan_text(plan, NULL, "");

	if (!text)
		return complain(r, "no memory");
	printf("%s%s", text, r->json ? "\n" : "");
	free(text);
	r->good++;
	return 0;
}

static int compare(struct run *r, const json_t *recorded, const json_t *now)
{
	if (json_equal((json_t *)recorded, (json_t *)now)) {
		r->good++;
		return 0;
	}
	printf("%s:%u: decides differently now\n", r->file, r->n);
	differences(recorded, now, "");
	r->bad++;
	return -1;
}

/* Each action of @a that is not in @b, as "  - web1 -> 3 vcpus". */
static unsigned only_in(const struct plan *a, const struct plan *b, char sign)
{
	char x[256], y[256];
	unsigned n = 0;

	for (unsigned i = 0; i < a->n_actions; i++) {
		bool there = false;

		action_text(&a->actions[i], NULL, x, sizeof(x));
		for (unsigned k = 0; k < b->n_actions && !there; k++) {
			action_text(&b->actions[k], NULL, y, sizeof(y));
			there = strcmp(x, y) == 0;
		}
		if (!there)
			printf("  %c %s (%s)\n", sign, x, a->actions[i].why);
		n += !there;
	}
	return n;
}

/* What would be done otherwise; reasons and figures do not count. */
static int compare_actions(struct run *r, const json_t *recorded, const struct plan *now)
{
	struct plan was;
	struct err e = {0};
	unsigned n;

	if (plan_from_json(recorded, &was, &e))
		return complain(r, err_msg(&e));
	n = only_in(&was, now, '-') + only_in(now, &was, '+');
	if (n)
		printf("%s:%u: %u action%s otherwise\n", r->file, r->n, n, n == 1 ? "" : "s");
	r->differ += n > 0;
	r->good += !n;
	plan_fini(&was);
	return 0;
}

static int one(struct run *r, const json_t *j)
{
	const json_t *snapshot = json_object_get(j, "snapshot"), *recorded = json_object_get(j, "plan");
	struct snapshot s;
	struct plan plan;
	struct err e = {0};
	json_t *now;
	int err;

	if (r->replay && (!snapshot || !recorded))
		return complain(r, "is not a recorded decision: {\"snapshot\": .., \"plan\": ..}");
	if (snapshot_from_json(snapshot ? snapshot : j, &s, &e))
		return complain(r, err_msg(&e));
	if ((r->policy && whatif_policy(&s, r->policy, &e)) || decide(&s, &plan)) {
		snapshot_fini(&s);
		return complain(r, "no memory");
	}
	now = plan_to_json(&plan);
	if (!now)
		err = complain(r, "no memory");
	else if (r->replay)
		err = r->policy ? compare_actions(r, recorded, &plan) : compare(r, recorded, now);
	else
		err = show(r, &plan, now);
	json_decref(now);
	plan_fini(&plan);
	snapshot_fini(&s);
	return err;
}

/* All of @f, or NULL. */
static char *slurp(FILE *f, size_t *n_out)
{
	char *text = NULL, *more;
	size_t n = 0, room = 0, got = 1;

	while (got > 0) {
		if (n == room) {
			room = room ? 2 * room : 65536;
			more = realloc(text, room);
			if (!more) {
				free(text);
				return NULL;
			}
			text = more;
		}
		got = fread(text + n, 1, room - n, f);
		n += got;
	}
	*n_out = n;
	return text;
}

static void each(struct run *r, json_t *j)
{
	json_t *v;
	size_t i;

	if (!json_is_array(j)) {
		r->n++;
		one(r, j);
		return;
	}
	json_array_foreach(j, i, v) {
		r->n++;
		one(r, v);
	}
}

static void run_text(struct run *r, const char *text, size_t n)
{
	json_error_t je;
	char what[256];
	size_t at = 0;
	json_t *j;

	for (;;) {
		while (at < n && strchr(" \t\r\n", text[at]))
			at++;
		if (at == n)
			break;
		j = json_loadb(text + at, n - at, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &je);
		if (!j) {
			snprintf(what, sizeof(what), "the record after this one is not JSON: line %d of it: %.160s",
				je.line, je.text);
			complain(r, what);
			return;
		}
		at += (size_t)je.position;
		each(r, j);
		json_decref(j);
	}
	if (!r->n)
		complain(r, "is empty");
}

static void run_file(struct run *r)
{
	FILE *f = strcmp(r->file, "-") == 0 ? stdin : fopen(r->file, "re");
	size_t n = 0;
	char *text = f ? slurp(f, &n) : NULL;

	r->n = 0;
	if (text)
		run_text(r, text, n);
	else
		complain(r, "cannot be read");
	free(text);
	if (f && f != stdin)
		fclose(f);
}

/* The policy of that file, or NULL and its mistakes said. */
static struct conf *policy_file(const char *path)
{
	struct conf_mistakes m;
	struct conf *c = NULL;

	if (!conf_load_policy(path, &c, &m))
		return c;
	for (size_t i = 0; i < m.n; i++)
		fprintf(stderr, "policysim: %s\n", m.v[i]);
	conf_mistakes_fini(&m);
	return NULL;
}

static void summary(const struct run *r)
{
	if (r->policy)
		printf("%u decision%s as recorded, %u otherwise\n", r->good, r->good == 1 ? "" : "s", r->differ);
	else if (r->replay)
		printf("%u decision%s as recorded, %u not\n", r->good, r->good == 1 ? "" : "s", r->bad);
}

static int run_all(int argc, char **argv, bool replay)
{
	struct run r = {.replay = replay};
	struct conf *policy = NULL;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			r.json = true;
		} else if (strcmp(argv[i], "--policy") == 0 && i + 1 < argc && !policy) {
			policy = policy_file(argv[++i]);
			if (!policy)
				return 1;
		} else {
			break;
		}
	}
	if (i >= argc || strncmp(argv[i], "--", 2) == 0) {
		conf_free(policy);
		return SIM_USAGE;
	}
	r.policy = policy;
	for (; i < argc; i++) {
		r.file = argv[i];
		run_file(&r);
	}
	summary(&r);
	conf_free(policy);
	return r.bad ? 1 : 0;
}

int sim_decide(int argc, char **argv)
{
	return run_all(argc, argv, false);
}

int sim_replay(int argc, char **argv)
{
	return run_all(argc, argv, true);
}
