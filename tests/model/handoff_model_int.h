/* What the model's two halves share: the packed state, and how an actor says what may come next. The walk, the set of states and the faults
 * are in handoff_model.c, the actors' programs in handoff_actors.c. */
#ifndef TESTS_MODEL_HANDOFF_MODEL_INT_H
#define TESTS_MODEL_HANDOFF_MODEL_INT_H

#include <assert.h>
#include <stdint.h>

#include "migrate/handoff.h"
#include "tests/model/handoff_model.h"

enum { QEMU_GONE, QEMU_PAUSED, QEMU_RUNS };
enum { MSG_NONE, MSG_LAST, MSG_LOADED, MSG_COMMIT, MSG_OWNER, MSG_ABORT, MSG_RUNS };
enum { ASK_NONE, ASK_QUERY, ASK_OWNER, ASK_REFUSED, ASK_PARTIAL };

/* Programs: one value a point between two steps. DEAD = the process is not there. */
enum {
	SW_DEAD,
	SW_START,
	SW_STARTED,
	SW_RUNNING,
	SW_PAUSING,
	SW_STOP,
	SW_SEND_LAST,
	SW_WAIT_LOADED,
	SW_OFFERING,
	SW_OFFERED,
	SW_WAIT_OWNER,
	SW_GOING,
	SW_GONE,
	SW_ABORTING,
	SW_ABORT_SYNC,
	SW_ABORT,
	SW_SERVE /* post-copy: the guest runs at the target, which fetches */
};
enum {
	TW_DEAD,
	TW_START,
	TW_PREPARED,
	TW_WAIT_LAST,
	TW_LOADING,
	TW_LOADED,
	TW_WAIT_COMMIT,
	TW_OWNING,
	TW_OWNER,
	TW_SAY_OWNER,
	TW_REFUSING,
	TW_REFUSE_SYNC,
	TW_REFUSED,
	TW_PARTIAL, /* post-copy */
	TW_SAY_RUNS,
	TW_FETCH
};
enum { P_DOWN, P_UP, P_QUERIED, P_ENDED /* target: worker ended */, P_RECORDED };

struct st {
	uint8_t sj, sj_disk, tj, tj_disk; /* journals: as read, and as after a power cut */
	uint8_t sq, tq;                   /* QEMUs */
	uint8_t sw, tw, sp, tp;
	uint8_t conn;       /* the workers' connection */
	uint8_t to_t, to_s; /* the message in flight in each direction (the protocol never has two, but for ABORT) */
	uint8_t ask;        /* query or answer in flight between the policyds */
	uint8_t s_knows,
		t_knows; /* this policyd started the worker; one that was restarted cannot end it nor tell that it lives */
	uint8_t budget[4]; /* crashes, power cuts, cuts, QEMU kills left */
};
static_assert(sizeof(struct st) == 20, "packed, no holes: states are compared as bytes");

struct model {
	const struct model_conf *conf;
	struct st *states;
	uint32_t *parent;
	uint8_t *how; /* index into step_names */
	uint32_t *table, table_mask;
	uint32_t n_states, cap;
	uint64_t *edges; /* from << 32 | to, steps that are no fault */
	size_t n_edges, cap_edges;
	uint32_t from; /* the state being expanded */
	int rc;
};

enum step {
	D_SW_RECORD,
	D_SW_SYNC,
	D_SW_STOP,
	D_SW_LAST,
	D_SW_COMMIT,
	D_SW_LOADED,
	D_SW_OWNER,
	D_SW_QUIT,
	D_SW_FAIL,
	D_SW_LOST,
	D_SW_RESUME,
	D_SW_DOUBT,
	D_TW_RECORD,
	D_TW_SYNC,
	D_TW_LAST,
	D_TW_LOADED,
	D_TW_COMMIT,
	D_TW_RESUME,
	D_TW_OWNER,
	D_TW_FAIL,
	D_TW_QUIT,
	D_SP_SYNC,
	D_SP_RECORD,
	D_SP_RUN,
	D_SP_QUIT,
	D_SP_ASK,
	D_SP_ANSWER,
	D_SP_START,
	D_TP_SYNC,
	D_TP_RECORD,
	D_TP_RUN,
	D_TP_QUIT,
	D_TP_QUERY,
	D_TP_END,
	D_TP_ANSWER,
	D_TP_START,
	D_TW_FETCHED,
	D_OPERATOR,
	D_FAULTS,
	D_F_SW = D_FAULTS,
	D_F_TW,
	D_F_SP,
	D_F_TP,
	D_F_POWER_S,
	D_F_POWER_T,
	D_F_CUT,
	D_F_LOST,
	D_F_QEMU
};

/* @next is what the state being expanded may become. */
void model_reach(struct model *m, const struct st *next, enum step how);

/* What each actor may do next in @s: one model_reach for each possibility. */
void sw_steps(struct model *m, const struct st *s); /* source worker */
void tw_steps(struct model *m, const struct st *s);
void sp_steps(struct model *m, const struct st *s); /* source policyd */
void tp_steps(struct model *m, const struct st *s);

#endif
