/* Plans to and from JSON: the table of members. See plan.h. */
#include "policyd/decide/plan.h"

#include <string.h>

#include "policyd/decide/fields.h"

#define M(type, member) .off = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define LIST(type, member, n)                                                                                          \
	.off = offsetof(struct type, member), .size = sizeof(*((struct type *)0)->member),                             \
	.off_n = offsetof(struct type, n)
#define END                                                                                                            \
	{                                                                                                              \
		.key = NULL                                                                                            \
	}

static const char *const kind_words[] = {
	"set-vcpus", "set-memory", "trim-move", "live-move", "cold-move", "warm-move", NULL};
static const char *const verdict_words[] = {
	"chosen", "too-dear", "not-allowed", "no-room", "not-enough", "later", NULL};

static const struct field action_fields[] = {
	{"kind", F_WORD, M(action, kind), .words = kind_words},
	{"domain", F_TEXT, M(action, domain)},
	{"for_domain", F_TEXT, M(action, for_domain)},
	{"vcpus", F_UINT, M(action, vcpus)},
	{"cpu_cap", F_UINT, M(action, cpu_cap)},
	{"mem_bytes", F_U64, M(action, mem_bytes)},
	{"dry", F_BOOL, M(action, dry)},
	{"target", F_TEXT, M(action, target)},
	{"policy", F_TEXT, M(action, policy)},
	{"why", F_TEXT, M(action, why)},
	{"after", F_INT, M(action, after), .def = -1},
	{"pred_total_s", F_REAL, M(action, pred_total_s)},
	{"pred_blackout_ms", F_REAL, M(action, pred_blackout_ms)},
	{"pred_bytes", F_REAL, M(action, pred_bytes)},
	{"quiet_ms", F_UINT, M(action, quiet_ms)},
	{"postcopy", F_BOOL, M(action, postcopy)},
	END,
};

static const struct field candidate_fields[] = {
	{"need", F_TEXT, M(candidate, need)},
	{"text", F_TEXT, M(candidate, text)},
	{"gain", F_REAL, M(candidate, gain)},
	{"price", F_REAL, M(candidate, price)},
	{"verdict", F_WORD, M(candidate, verdict), .words = verdict_words},
	{"why", F_TEXT, M(candidate, why)},
	END,
};

static const struct field note_fields[] = {
	{"domain", F_TEXT, M(note, domain)},
	{"text", F_TEXT, M(note, text)},
	END,
};

static const struct field plan_fields[] = {
	{"actions", F_LIST, LIST(plan, actions, n_actions), .sub = action_fields},
	{"candidates", F_LIST, LIST(plan, candidates, n_candidates), .sub = candidate_fields},
	{"notes", F_LIST, LIST(plan, notes, n_notes), .sub = note_fields},
	END,
};

const char *action_kind_name(enum action_kind k)
{
	return kind_words[k];
}

void plan_fini(struct plan *p)
{
	fields_fini(plan_fields, p);
}

json_t *plan_to_json(const struct plan *p)
{
	return fields_to_json(plan_fields, p);
}

int plan_from_json(const json_t *j, struct plan *out, struct err *e)
{
	struct plan p;
	int err;

	memset(&p, 0, sizeof(p));
	err = fields_from_json(plan_fields, j, &p, e);
	if (err)
		err_wrap(e, "plan");
	else
		*out = p;
	return err;
}
