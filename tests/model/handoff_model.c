/* See handoff_model.h. Breadth-first over packed states (20 bytes each), a hash table of indices, reversed edges for the second
 * check. */
#include "tests/model/handoff_model_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATES_MAX (1u << 23)
#define NO_STATE UINT32_MAX

static const char *const step_names[] = {"source worker: record", "source worker: sync, or go on",
	"source worker: stop QEMU", "source worker: send LAST", "source worker: send COMMIT",
	"source worker: got LOADED", "source worker: got OWNER", "source worker: quit QEMU, end",
	"source worker: cancel or failure", "source worker: connection lost", "source worker: resume QEMU, end",
	"source worker: ends in doubt", "target worker: record", "target worker: sync, or go on",
	"target worker: got LAST", "target worker: send LOADED", "target worker: got COMMIT",
	"target worker: resume QEMU", "target worker: send OWNER, end", "target worker: failure or abort",
	"target worker: quit QEMU, end", "source policyd: sync", "source policyd: record",
	"source policyd: resume or start QEMU", "source policyd: quit QEMU", "source policyd: ask",
	"source policyd: got answer", "source policyd: starts", "target policyd: sync",
	"target policyd: record REFUSED", "target policyd: resume or start QEMU", "target policyd: quit QEMU",
	"target policyd: got query", "target policyd: ends worker", "target policyd: answers", "target policyd: starts",
	"target worker: has all", "operator: the memory is lost, starts the guest anew at the target",
	"FAULT source worker dies", "FAULT target worker dies", "FAULT source policyd dies",
	"FAULT target policyd dies", "FAULT power cut at the source", "FAULT power cut at the target",
	"FAULT connection cut", "FAULT query or answer lost", "FAULT target QEMU killed"};

static const char *const mutation_names[MUT_COUNT] = {"none", "answer before REFUSED is durable",
	"COMMIT before OFFERED", "run before OWNER", "OWNER without COMMIT", "source resumes in doubt",
	"resume before ABORT", "read without sync", "no query", "journal without table", "source gone while PARTIAL",
	"PARTIAL refused"};

const char *mutation_name(enum mutation m)
{
	return mutation_names[m];
}

/* ---- the set of states ----------------------------------------------------------------------------------- */

static uint64_t st_hash(const struct st *s)
{
	uint64_t h = 1469598103934665603ULL;

	for (size_t i = 0; i < sizeof(*s); i++)
		h = (h ^ ((const uint8_t *)s)[i]) * 1099511628211ULL;
	return h ^ (h >> 29);
}

static uint32_t *table_slot(const struct model *m, const struct st *s)
{
	uint32_t i = (uint32_t)st_hash(s) & m->table_mask;

	while (m->table[i] != NO_STATE && memcmp(&m->states[m->table[i]], s, sizeof(*s)) != 0)
		i = (i + 1) & m->table_mask;
	return &m->table[i];
}

static void edge_add(struct model *m, uint32_t to)
{
	if (m->n_edges == m->cap_edges) {
		size_t cap = m->cap_edges ? 2 * m->cap_edges : 1 << 16;
		uint64_t *edges = realloc(m->edges, cap * sizeof(*edges));

		if (!edges) {
			m->rc = -ENOMEM;
			return;
		}
		m->edges = edges;
		m->cap_edges = cap;
	}
	m->edges[m->n_edges++] = (uint64_t)m->from << 32 | to;
}

static int model_grow(struct model *m)
{
	uint32_t cap = m->cap ? 2 * m->cap : 1 << 16;
	struct st *states = realloc(m->states, cap * sizeof(*states));
	uint32_t *parent, *table;
	uint8_t *how;

	if (states)
		m->states = states;
	parent = realloc(m->parent, cap * sizeof(*parent));
	if (parent)
		m->parent = parent;
	how = realloc(m->how, cap);
	if (how)
		m->how = how;
	table = malloc(2 * (size_t)cap * sizeof(*table));
	if (!states || !parent || !how || !table || cap > STATES_MAX) {
		free(table);
		return m->rc = cap > STATES_MAX ? -E2BIG : -ENOMEM;
	}
	free(m->table);
	m->table = table;
	m->table_mask = 2 * cap - 1;
	m->cap = cap;
	memset(table, 0xff, 2 * (size_t)cap * sizeof(*table));
	for (uint32_t i = 0; i < m->n_states; i++)
		*table_slot(m, &m->states[i]) = i;
	return 0;
}

void model_reach(struct model *m, const struct st *next, enum step how)
{
	uint32_t *slot;

	if (m->rc || (m->n_states == m->cap && model_grow(m) != 0))
		return;
	slot = table_slot(m, next);
	if (*slot == NO_STATE) {
		*slot = m->n_states;
		m->states[m->n_states] = *next;
		m->parent[m->n_states] = m->from;
		m->how[m->n_states] = (uint8_t)how;
		m->n_states++;
	}
	if (how < D_FAULTS)
		edge_add(m, *slot);
}

/* ---- faults ---------------------------------------------------------------------------------------------- */

static void fault_crash(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (!s->budget[0])
		return;
	n.budget[0]--;
	if (s->sw != SW_DEAD) {
		struct st w = n;

		w.sw = SW_DEAD;
		w.conn = 0;
		model_reach(m, &w, D_F_SW);
	}
	if (s->tw != TW_DEAD) {
		struct st w = n;

		w.tw = TW_DEAD;
		w.conn = 0;
		model_reach(m, &w, D_F_TW);
	}
	if (s->sp != P_DOWN) {
		struct st p = n;

		p.sp = P_DOWN;
		p.s_knows = 0;
		p.ask = s->ask == ASK_QUERY ? ASK_QUERY : ASK_NONE;
		model_reach(m, &p, D_F_SP);
	}
	if (s->tp != P_DOWN) {
		struct st p = n;

		p.tp = P_DOWN;
		p.t_knows = 0;
		model_reach(m, &p, D_F_TP);
	}
}

/* A whole host: processes and QEMU gone, the journal as it was durable; or, as the file system likes, with what was written. */
static void fault_power(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (!s->budget[1])
		return;
	n.budget[1]--;
	n.conn = n.ask = 0;
	for (int kept = 0; kept < 2; kept++) {
		struct st a = n, b = n;

		a.sq = QEMU_GONE, a.sw = SW_DEAD, a.sp = P_DOWN;
		a.sj = a.sj_disk = kept ? s->sj : s->sj_disk;
		model_reach(m, &a, D_F_POWER_S);
		b.tq = QEMU_GONE, b.tw = TW_DEAD, b.tp = P_DOWN;
		b.tj = b.tj_disk = kept ? s->tj : s->tj_disk;
		model_reach(m, &b, D_F_POWER_T);
	}
}

static void faults(struct model *m, const struct st *s)
{
	struct st n = *s;

	fault_crash(m, s);
	fault_power(m, s);
	if (s->budget[2]) {
		n.budget[2]--;
		if (s->conn) { /* what was in flight may have arrived or not */
			struct st c = n;

			c.conn = 0;
			model_reach(m, &c, D_F_CUT);
			c.to_t = c.to_s = MSG_NONE;
			model_reach(m, &c, D_F_CUT);
		}
		if (s->ask) {
			struct st l = n;

			l.ask = ASK_NONE;
			model_reach(m, &l, D_F_LOST);
		}
	}
	if (s->budget[3] && s->tq != QEMU_GONE) {
		struct st k = *s;

		k.budget[3]--;
		k.tq = QEMU_GONE;
		model_reach(m, &k, D_F_QEMU);
	}
}

/* When one worker has ended the other sees the connection close, after what was sent. */
static struct st settle(struct st s)
{
	if (s.sw == SW_DEAD || s.tw == TW_DEAD) {
		s.conn = 0;
		if (s.sw == SW_DEAD)
			s.to_s = MSG_NONE;
		if (s.tw == TW_DEAD)
			s.to_t = MSG_NONE;
	}
	return s;
}

/* ---- the walk -------------------------------------------------------------------------------------------- */

static bool is_good(const struct st *s)
{
	bool moved = s->tq == QEMU_RUNS && s->sq == QEMU_GONE && s->tj == HO_OWNER && s->sj == HO_GONE;
	bool stayed = s->sq == QEMU_RUNS && s->tq == QEMU_GONE && (s->sj == HO_ABORT || s->sj == HO_NONE) &&
		s->tj == HO_REFUSED;

	return (moved || stayed) && s->sw == SW_DEAD && s->tw == TW_DEAD;
}

static void trace_write(const struct model *m, uint32_t at, char *out, size_t size)
{
	uint32_t path[256];
	size_t n = 0, len = 0;

	for (; at != 0 && n < 256; at = m->parent[at])
		path[n++] = at;
	out[0] = 0;
	while (n-- > 0 && len < size - 1) {
		const struct st *s = &m->states[path[n]];
		int put = snprintf(out + len, size - len, "%-44s source %s %s  target %s %s\n",
			step_names[m->how[path[n]]], handoff_name(s->sj),
			(const char *[]){"gone", "paused", "RUNS"}[s->sq], handoff_name(s->tj),
			(const char *[]){"gone", "paused", "RUNS"}[s->tq]);

		if (put < 0)
			return;
		len += (size_t)put;
	}
}

/* Mark what reaches a good state by steps that are no faults; the first that does not is the breach. */
static int check_never_none(struct model *m, struct model_result *out)
{
	uint32_t *first = calloc((size_t)m->n_states + 1, sizeof(*first)),
		 *back = malloc(m->n_edges * sizeof(*back) + 1);
	uint32_t *queue = malloc(m->n_states * sizeof(*queue));
	uint8_t *ok = calloc(m->n_states, 1);
	uint32_t head = 0, tail = 0;

	if (!first || !back || !queue || !ok) {
		m->rc = -ENOMEM;
		goto out;
	}
	for (size_t i = 0; i < m->n_edges; i++)
		first[(uint32_t)m->edges[i]]++;
	for (uint32_t i = 0, sum = 0; i <= m->n_states; i++) {
		uint32_t n = i < m->n_states ? first[i] : 0;

		sum += n;
		first[i] = sum;
	}
	for (size_t i = 0; i < m->n_edges; i++)
		back[--first[(uint32_t)m->edges[i]]] = (uint32_t)(m->edges[i] >> 32);
	for (uint32_t i = 0; i < m->n_states; i++) {
		ok[i] = is_good(&m->states[i]);
		if (ok[i])
			queue[tail++] = i;
	}
	out->n_good = tail;
	while (head < tail) {
		uint32_t at = queue[head++];

		for (uint32_t k = first[at]; k < first[at + 1]; k++)
			if (!ok[back[k]])
				ok[back[k]] = 1, queue[tail++] = back[k];
	}
	for (uint32_t i = 0; i < m->n_states && !out->none; i++) {
		if (!ok[i]) {
			out->none = true;
			trace_write(m, i, out->trace, sizeof(out->trace));
		}
	}
out:
	free(first);
	free(back);
	free(queue);
	free(ok);
	return m->rc;
}

static void expand(struct model *m, const struct st *state)
{
	struct st s = settle(*state);

	sw_steps(m, &s);
	tw_steps(m, &s);
	sp_steps(m, &s);
	tp_steps(m, &s);
	faults(m, &s);
}

int model_run(const struct model_conf *conf, struct model_result *out)
{
	struct model m = {.conf = conf};
	struct st start = {.sj = HO_NONE,
		.tj = HO_NONE,
		.sq = QEMU_RUNS,
		.tq = QEMU_PAUSED,
		.sw = SW_START,
		.tw = TW_START,
		.sp = P_UP,
		.tp = P_UP,
		.s_knows = 1,
		.t_knows = 1,
		.conn = 1};

	memset(out, 0, sizeof(*out));
	start.budget[0] = (uint8_t)conf->n_crashes;
	start.budget[1] = (uint8_t)conf->n_power_cuts;
	start.budget[2] = (uint8_t)conf->n_cuts;
	start.budget[3] = (uint8_t)conf->n_qemu_kills;
	model_reach(&m, &start, D_SW_RECORD);
	m.n_edges = 0;
	for (m.from = 0; m.from < m.n_states && !m.rc; m.from++) {
		const struct st s = m.states[m.from];

		out->reached_moved |= is_good(&s) && s.tq == QEMU_RUNS;
		out->reached_stayed |= is_good(&s) && s.sq == QEMU_RUNS;
		if (s.sq == QEMU_RUNS && s.tq == QEMU_RUNS) {
			out->two = true;
			trace_write(&m, m.from, out->trace, sizeof(out->trace));
			break;
		}
		if (s.tj == HO_PARTIAL && s.sj == HO_GONE) {
			out->lost = true;
			trace_write(&m, m.from, out->trace, sizeof(out->trace));
			break;
		}
		expand(&m, &s);
	}
	if (!m.rc && !out->two && !out->lost)
		check_never_none(&m, out);
	out->n_states = m.n_states;
	out->n_edges = m.n_edges;
	free(m.states);
	free(m.parent);
	free(m.how);
	free(m.table);
	free(m.edges);
	return m.rc;
}
