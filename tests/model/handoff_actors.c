/* The actors of the hand-off's model: each one's program is a small function that lists what it may do next; docs/wire.md tells the same in
 * words. See handoff_model.h. */
#include "tests/model/handoff_model_int.h"

#include <stddef.h>

/* ---- journals -------------------------------------------------------------------------------------------- */

/* Record as journal_record does, first half: written, not yet durable. False: the table refuses. */
static bool write_s(const struct model *m, struct st *n, enum handoff_state to)
{
	if (m->conf->mutation != MUT_ACT_ON_LIVE_WORKER && handoff_step(HO_SOURCE, n->sj, to, NULL) != 0)
		return false;
	n->sj = to;
	return true;
}

static bool write_t(const struct model *m, struct st *n, enum handoff_state to)
{
	if (m->conf->mutation != MUT_ACT_ON_LIVE_WORKER && handoff_step(HO_TARGET, n->tj, to, NULL) != 0)
		return false;
	n->tj = to;
	return true;
}

/* ---- source worker --------------------------------------------------------------------------------------- */

/* A program point that writes @to and goes on at @then. Refused by the table (policyd took over): does what the journal says. */
static void sw_record(struct model *m, const struct st *s, enum handoff_state to, int then)
{
	struct st n = *s;

	if (write_s(m, &n, to))
		n.sw = (uint8_t)then;
	else
		n.sw = s->sj == HO_ABORT ? SW_ABORT_SYNC : SW_DEAD;
	model_reach(m, &n, D_SW_RECORD);
}

static void sw_goto(struct model *m, const struct st *s, int pc, enum step how)
{
	struct st n = *s;

	n.sw = (uint8_t)pc;
	model_reach(m, &n, how);
}

static void sw_wait(struct model *m, const struct st *s, int msg, int then, enum step how)
{
	struct st n = *s;

	if (s->to_s == msg) {
		n.to_s = MSG_NONE;
		n.sw = (uint8_t)then;
		model_reach(m, &n, how);
	} else if (s->to_s == MSG_ABORT && s->sw != SW_SERVE) {
		n.to_s = MSG_NONE;
		n.sw = SW_ABORTING;
		model_reach(m, &n, D_SW_FAIL);
	} else if (s->to_s == MSG_RUNS && s->sw == SW_WAIT_OWNER) {
		n.to_s = MSG_NONE;
		n.sw = m->conf->mutation == MUT_GONE_WHILE_PARTIAL ? SW_GOING : SW_SERVE;
		model_reach(m, &n, D_SW_OWNER);
	} else if (!s->conn && s->sw == SW_SERVE) {
		sw_goto(m, s, SW_DEAD, D_SW_DOUBT);
	} else if (!s->conn && s->sw != SW_WAIT_OWNER) {
		sw_goto(m, s, SW_ABORTING, D_SW_LOST);
	} else if (!s->conn) {
		sw_goto(m, s, m->conf->mutation == MUT_SOURCE_RESUMES_IN_DOUBT ? SW_ABORTING : SW_DEAD, D_SW_DOUBT);
	}
}

static void sw_offer(struct model *m, const struct st *s)
{
	struct st n = *s;
	bool early = m->conf->mutation == MUT_COMMIT_BEFORE_OFFERED;

	if (s->sw == SW_OFFERED && !early && s->sj != s->sj_disk) {
		n.sj_disk = n.sj;
		model_reach(m, &n, D_SW_SYNC);
	} else if (s->sw == SW_OFFERED || early) {
		if (s->conn && !s->to_t)
			n.to_t = MSG_COMMIT;
		n.sw = early && s->sw == SW_OFFERING ? SW_OFFERED : SW_WAIT_OWNER;
		if (early && s->sw == SW_OFFERED && !write_s(m, &n, HO_OFFERED))
			n.sw = SW_DEAD;
		model_reach(m, &n, D_SW_COMMIT);
	} else {
		sw_record(m, s, HO_OFFERED, SW_OFFERED);
	}
}

void sw_steps(struct model *m, const struct st *s)
{
	struct st n = *s;

	/* cancel, or any failure of our own, at any point before OFFERED is recorded */
	if (s->sw >= SW_STARTED && s->sw <= SW_OFFERING)
		sw_goto(m, s, SW_ABORTING, D_SW_FAIL);
	switch (s->sw) {
	case SW_START:
		sw_record(m, s, HO_RUN, SW_STARTED);
		break;
	case SW_STARTED:
		n.sj_disk = n.sj;
		n.sw = SW_RUNNING;
		model_reach(m, &n, D_SW_SYNC);
		break;
	case SW_RUNNING:
		sw_record(m, s, HO_PAUSED, SW_PAUSING);
		break;
	case SW_PAUSING:
		n.sj_disk = n.sj;
		n.sw = SW_STOP;
		model_reach(m, &n, D_SW_SYNC);
		break;
	case SW_STOP:
		if (n.sq == QEMU_RUNS)
			n.sq = QEMU_PAUSED;
		n.sw = SW_SEND_LAST;
		model_reach(m, &n, D_SW_STOP);
		break;
	case SW_SEND_LAST:
		if (s->conn)
			n.to_t = MSG_LAST;
		n.sw = SW_WAIT_LOADED;
		model_reach(m, &n, D_SW_LAST);
		break;
	case SW_WAIT_LOADED:
		sw_wait(m, s, MSG_LOADED, SW_OFFERING, D_SW_LOADED);
		break;
	case SW_OFFERING:
	case SW_OFFERED:
		sw_offer(m, s);
		break;
	case SW_WAIT_OWNER:
		sw_wait(m, s, MSG_OWNER, SW_GOING, D_SW_OWNER);
		break;
	case SW_SERVE:
		sw_wait(m, s, MSG_OWNER, SW_GOING, D_SW_OWNER);
		break;
	case SW_GOING:
		sw_record(m, s, HO_GONE, SW_GONE);
		break;
	case SW_GONE:
		n.sj_disk = n.sj;
		n.sq = QEMU_GONE;
		n.sw = SW_DEAD;
		model_reach(m, &n, D_SW_QUIT);
		break;
	case SW_ABORTING:
		sw_record(m, s, HO_ABORT, SW_ABORT_SYNC);
		break;
	case SW_ABORT_SYNC:
		n.sj_disk = n.sj;
		n.sw = SW_ABORT;
		model_reach(m, &n, D_SW_SYNC);
		break;
	case SW_ABORT:
		if (n.sq == QEMU_PAUSED)
			n.sq = QEMU_RUNS;
		if (n.conn)
			n.to_t = MSG_ABORT;
		n.sw = SW_DEAD;
		model_reach(m, &n, D_SW_RESUME);
		break;
	}
}

/* ---- target worker --------------------------------------------------------------------------------------- */

static void tw_goto(struct model *m, const struct st *s, int pc, enum step how)
{
	struct st n = *s;

	n.tw = (uint8_t)pc;
	model_reach(m, &n, how);
}

static void tw_record(struct model *m, const struct st *s, enum handoff_state to, int then)
{
	struct st n = *s;

	n.tw = write_t(m, &n, to) ? (uint8_t)then : TW_DEAD;
	model_reach(m, &n, D_TW_RECORD);
}

static void tw_sync(struct model *m, const struct st *s, int then)
{
	struct st n = *s;

	n.tj_disk = n.tj;
	n.tw = (uint8_t)then;
	model_reach(m, &n, D_TW_SYNC);
}

static void tw_wait(struct model *m, const struct st *s, int msg, int then, enum step how)
{
	struct st n = *s;

	if (s->to_t == msg) {
		n.to_t = MSG_NONE;
		n.tw = (uint8_t)then;
		model_reach(m, &n, how);
	} else if (s->to_t == MSG_ABORT || !s->conn) {
		n.to_t = MSG_NONE;
		n.tw = m->conf->mutation == MUT_OWNER_WITHOUT_COMMIT && s->tw == TW_WAIT_COMMIT ? TW_OWNING
												: TW_REFUSING;
		model_reach(m, &n, D_TW_FAIL);
	}
}

static void tw_own(struct model *m, const struct st *s)
{
	struct st n = *s;
	bool early = m->conf->mutation == MUT_RUN_BEFORE_OWNER;

	if (s->tw == TW_OWNING && s->tq == QEMU_GONE) { /* looked at just before: no guest to become the owner of */
		tw_goto(m, s, TW_REFUSING, D_TW_FAIL);
	} else if (s->tw == TW_OWNING && early) {
		n.tq = QEMU_RUNS;
		n.tw = TW_OWNER;
		model_reach(m, &n, D_TW_RESUME);
	} else if (s->tw == TW_OWNING && m->conf->postcopy) {
		tw_record(m, s, HO_PARTIAL, TW_PARTIAL);
	} else if (s->tw == TW_OWNING) {
		tw_record(m, s, HO_OWNER, TW_OWNER);
	} else if (early && s->tj != HO_OWNER) {
		tw_record(m, s, HO_OWNER, TW_OWNER);
	} else if (s->tj != s->tj_disk) {
		tw_sync(m, s, TW_OWNER);
	} else {
		if (n.tq == QEMU_PAUSED)
			n.tq = QEMU_RUNS;
		n.tw = TW_SAY_OWNER;
		model_reach(m, &n, D_TW_RESUME);
	}
}

/* Post-copy: PARTIAL is durable, the guest runs, and what it lacks is fetched as long as the source serves. */
static void tw_fetch(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->tw == TW_PARTIAL && s->tj != s->tj_disk) {
		tw_sync(m, s, TW_PARTIAL);
	} else if (s->tw == TW_PARTIAL) {
		if (n.tq == QEMU_PAUSED)
			n.tq = QEMU_RUNS;
		n.tw = TW_SAY_RUNS;
		model_reach(m, &n, D_TW_RESUME);
	} else if (s->tw == TW_SAY_RUNS) {
		if (n.conn)
			n.to_s = MSG_RUNS;
		n.tw = TW_FETCH;
		model_reach(m, &n, D_TW_OWNER);
	} else if (!s->conn || s->tq == QEMU_GONE) {
		tw_goto(m, s, TW_DEAD, D_TW_FAIL);
	} else if (s->sw == SW_WAIT_OWNER || s->sw == SW_SERVE) {
		if (write_t(m, &n, HO_OWNER))
			n.tw = TW_OWNER; /* sync, run if it does not yet, say OWNER */
		else
			n.tw = TW_DEAD;
		model_reach(m, &n, D_TW_FETCHED);
	}
}

void tw_steps(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->tw >= TW_PREPARED && s->tw <= TW_LOADED)
		tw_goto(m, s, TW_REFUSING, D_TW_FAIL);
	switch (s->tw) {
	case TW_START:
		tw_record(m, s, HO_PREPARED, TW_PREPARED);
		break;
	case TW_PREPARED:
		tw_sync(m, s, TW_WAIT_LAST);
		break;
	case TW_WAIT_LAST:
		tw_wait(m, s, MSG_LAST, TW_LOADING, D_TW_LAST);
		break;
	case TW_LOADING:
		tw_record(m, s, HO_LOADED, TW_LOADED);
		break;
	case TW_LOADED:
		n.tj_disk = n.tj;
		if (n.conn)
			n.to_s = MSG_LOADED;
		n.tw = TW_WAIT_COMMIT;
		model_reach(m, &n, D_TW_LOADED);
		break;
	case TW_WAIT_COMMIT:
		tw_wait(m, s, MSG_COMMIT, TW_OWNING, D_TW_COMMIT);
		break;
	case TW_OWNING:
	case TW_OWNER:
		tw_own(m, s);
		break;
	case TW_SAY_OWNER:
		if (n.conn)
			n.to_s = MSG_OWNER;
		n.tw = TW_DEAD;
		model_reach(m, &n, D_TW_OWNER);
		break;
	case TW_PARTIAL:
	case TW_SAY_RUNS:
	case TW_FETCH:
		tw_fetch(m, s);
		break;
	case TW_REFUSING:
		tw_record(m, s, HO_REFUSED, TW_REFUSE_SYNC);
		break;
	case TW_REFUSE_SYNC:
		tw_sync(m, s, TW_REFUSED);
		break;
	case TW_REFUSED:
		if (n.conn)
			n.to_s = MSG_ABORT;
		n.tq = QEMU_GONE;
		n.tw = TW_DEAD;
		model_reach(m, &n, D_TW_QUIT);
		break;
	}
}

/* ---- policyds -------------------------------------------------------------------------------------------- */

/* The source's, when its worker has ended or died (docs/worker.md's last paragraph). */
static void sp_resolve(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->sj != s->sj_disk && m->conf->mutation != MUT_READ_WITHOUT_SYNC) {
		n.sj_disk = n.sj;
		model_reach(m, &n, D_SP_SYNC);
	} else if (s->sj == HO_RUN || s->sj == HO_PAUSED) {
		if (write_s(m, &n, HO_ABORT))
			model_reach(m, &n, D_SP_RECORD);
	} else if (handoff_may_run(HO_SOURCE, s->sj)) {
		n.sq = QEMU_RUNS; /* resumed, or started anew after a power cut */
		if (s->sq != QEMU_RUNS)
			model_reach(m, &n, D_SP_RUN);
	} else if (s->sj == HO_GONE && s->sq != QEMU_GONE) {
		n.sq = QEMU_GONE;
		model_reach(m, &n, D_SP_QUIT);
	} else if (handoff_in_doubt(HO_SOURCE, s->sj) && m->conf->mutation != MUT_NO_QUERY && !s->ask) {
		n.ask = ASK_QUERY;
		model_reach(m, &n, D_SP_ASK);
	}
}

void sp_steps(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->sp == P_DOWN) {
		n.sp = P_UP;
		model_reach(m, &n, D_SP_START);
		return;
	}
	if (s->ask ==
		ASK_PARTIAL) { /* the target waits for us: a worker that serves, if there is still something to serve from */
		n.ask = ASK_NONE;
		if (s->sw == SW_DEAD && s->sq != QEMU_GONE && s->sj == HO_OFFERED) {
			n.sw = SW_SERVE;
			n.s_knows = 1;
			n.conn = s->tw == TW_FETCH;
		}
		model_reach(m, &n, D_SP_ANSWER);
		return;
	}
	if (s->ask == ASK_OWNER || s->ask == ASK_REFUSED) {
		n.ask = ASK_NONE;
		/* an answer to what was asked before a restart finds GONE or ABORT already and changes nothing */
		write_s(m, &n, s->ask == ASK_OWNER ? HO_GONE : HO_ABORT);
		model_reach(m, &n, D_SP_ANSWER);
		return;
	}
	if (s->sw == SW_DEAD || !s->s_knows)
		sp_resolve(m, s);
	else if (m->conf->mutation == MUT_RESUME_BEFORE_ABORT && s->sj == HO_PAUSED && s->sq == QEMU_PAUSED) {
		n.sq = QEMU_RUNS;
		model_reach(m, &n, D_SP_RUN);
	}
}

/* The target's, when its worker has ended or died. */
static void tp_resolve(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->tj != s->tj_disk && m->conf->mutation != MUT_READ_WITHOUT_SYNC) {
		n.tj_disk = n.tj;
		model_reach(m, &n, D_TP_SYNC);
	} else if (s->tj == HO_OWNER) {
		n.tq = QEMU_RUNS;
		if (s->tq != QEMU_RUNS)
			model_reach(m, &n, D_TP_RUN);
	} else if (s->tj == HO_PARTIAL) {
		/* Its QEMU has ended as any guest's may, and with it what it had: nothing to fetch any more, it starts anew. Or the source's
		 * memory is gone by a power cut: no program may decide that the guest loses what it had. */
		if (s->tq == QEMU_GONE || s->sq == QEMU_GONE) {
			write_t(m, &n, HO_OWNER);
			model_reach(m, &n, s->tq == QEMU_GONE ? D_TP_RECORD : D_OPERATOR);
		}
	} else if (s->tj != HO_REFUSED) {
		if (write_t(m, &n, HO_REFUSED))
			model_reach(m, &n, D_TP_RECORD);
	} else if (s->tq != QEMU_GONE) {
		n.tq = QEMU_GONE;
		model_reach(m, &n, D_TP_QUIT);
	}
}

/* handoff-query: end the worker, record REFUSED unless OWNER, make it durable, answer: four steps, a crash between any two. */
static void tp_query(struct model *m, const struct st *s)
{
	struct st n = *s;
	enum mutation mut = m->conf->mutation;

	if (s->tp == P_QUERIED) {
		if (s->t_knows && mut != MUT_ACT_ON_LIVE_WORKER) {
			n.tw = TW_DEAD;
			n.conn = 0;
		}
		n.tp = P_ENDED;
		model_reach(m, &n, D_TP_END);
	} else if (s->tp == P_ENDED) {
		if (s->tj != HO_OWNER && s->tj != HO_PARTIAL && mut != MUT_ANSWER_BEFORE_REFUSED)
			write_t(m, &n, HO_REFUSED);
		n.tp = P_RECORDED;
		model_reach(m, &n, D_TP_RECORD);
	} else if (s->tj != s->tj_disk && mut != MUT_READ_WITHOUT_SYNC) {
		n.tj_disk = n.tj;
		model_reach(m, &n, D_TP_SYNC);
	} else {
		n.ask = s->tj == HO_OWNER                                  ? ASK_OWNER
			: s->tj == HO_PARTIAL && mut != MUT_REFUSE_PARTIAL ? ASK_PARTIAL
									   : ASK_REFUSED;
		if (s->tj == HO_PARTIAL && s->tw == TW_DEAD &&
			s->tq != QEMU_GONE) { /* started again, waiting for the source's */
			n.tw = TW_FETCH;
			n.t_knows = 1;
		}
		n.tp = P_UP;
		model_reach(m, &n, D_TP_ANSWER);
	}
}

void tp_steps(struct model *m, const struct st *s)
{
	struct st n = *s;

	if (s->tp == P_DOWN) {
		n.tp = P_UP;
		model_reach(m, &n, D_TP_START);
	} else if (s->tp != P_UP) {
		tp_query(m, s);
	} else {
		if (s->ask == ASK_QUERY) {
			/* the asker may lose patience and ask again meanwhile: both are answered alike */
			n.tp = P_QUERIED;
			n.ask = ASK_NONE;
			model_reach(m, &n, D_TP_QUERY);
		}
		if (s->tw == TW_DEAD || !s->t_knows)
			tp_resolve(m, s);
	}
}
