/* Rounds while the guest runs: see transfer.h. The figures that the rule decides by are kept in w->view. */
#include "migrate/transfer.h"

#include <errno.h>

#include "migrate/delta.h"

#define FIXED_BLACKOUT_MS 60 /* stop, device state, four durable records: for the prediction */
#define PROGRESS_US 250000
#define LOOK_US 250000
#define COMPARED_MIN 32             /* pages that prove something */
#define PEEK_BYTES_MAX (4ULL << 30) /* looking while a round runs holds up a cancel: 15 to 35 ms a GiB */

/* ---- while a round runs ------------------------------------------------------------------------------------- */

/* The first pass is 90 % of the bar; each round after it takes a part of the rest. */
static uint8_t percent_of(const struct worker *w, uint64_t done, uint64_t left)
{
	double part = done + left ? (double)done / (double)(done + left) : 1;
	double base = w->round == 0 ? 0 : 99 - 9.0 / w->round,
	       width = w->round == 0 ? 90 : 9.0 / w->round - 9.0 / (w->round + 1);

	return (uint8_t)(base + width * part);
}

static uint64_t ram_bytes(const struct worker *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->n_blocks; i++)
		n += w->blocks[i].bytes;
	return n;
}

/* Once in a round that takes longer: how much is written in a fraction of a second tells how fast the guest rewrites what it has written. */
static void look(struct worker *w, uint64_t elapsed_us)
{
	int64_t dirty;

	if (w->looked || elapsed_us < LOOK_US || ram_bytes(w) > PEEK_BYTES_MAX)
		return;
	w->looked = true;
	dirty = w->tracker.ops->peek(&w->tracker, NULL);
	if (dirty >= 0)
		precopy_add_sample(&w->view, elapsed_us, (uint64_t)dirty);
}

/* In the middle of a round: the rest of it and the next one, the last, are sent while the guest stands. */
static void stop_early(struct worker *w)
{
	int rc = 0;

	if (w->stopped || w->was_paused || worker_cancelled(w))
		return;
	worker_phase(w, PHASE_SUSPEND);
	rc = worker_record(w, HO_PAUSED, &w->stop_err);
	if (rc == 0)
		rc = source_stop(w, &w->stop_err);
	if (rc == 0)
		w->stop_err.code = 0;
}

void transfer_progress(void *arg, const struct xfer_stats *now, uint64_t pages_left)
{
	struct worker *w = arg;
	const struct xfer_stats *sum = &w->stats.sum;
	uint64_t done = now->pages_sent + now->pages_zero + now->pages_hole;
	struct control_msg msg = {.type = CT_NOTE};
	struct control_note *n = &msg.note;
	double left_ms;

	if (!w->stopped)
		look(w, now->elapsed_us);
	if (atomic_load(&w->suspend))
		stop_early(w);
	if (worker_now_us() - w->said_us < PROGRESS_US)
		return;
	w->said_us = worker_now_us();
	n->round = (uint16_t)w->round;
	n->percent = percent_of(w, done, pages_left);
	n->ram_bytes = sum->ram_bytes + now->ram_bytes;
	n->wire_bytes = sum->wire_bytes + now->wire_bytes;
	n->rate_bps = now->elapsed_us ? (uint64_t)((double)now->ram_bytes * 1e6 / (double)now->elapsed_us) : 0;
	n->dirty_bps = w->round ? w->stats.dirty_bps : precopy_dirty_bps(&w->view);
	left_ms = n->rate_bps ? (double)pages_left * w->blocks[0].page_bytes * 1000 / (double)n->rate_bps : 0;
	n->left_ms = left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX;
	n->blackout_ms = w->stats.blackout_ms;
	worker_say_progress(w, n);
	session_send(w->session, &msg, NULL);
}

/* ---- after a round ------------------------------------------------------------------------------------------ */

/* @no_slow: why the guest could not be slowed; NULL: it was not tried */
static int will_not_converge(struct worker *w, const char *no_slow, struct err *e)
{
	char why[400];

	precopy_why(&w->view, atomic_load(&w->limits.bandwidth_bps), no_slow, why, sizeof(why));
	return err_set(e, EAGAIN, "%s", why);
}

/* The second round has compared a sample of its pages with what the target holds (migrate/xfer_tx_chunk.c); the third will compare all. */
static bool differences_pay(const struct xfer_stats *st)
{
	return st->pages_compared >= COMPARED_MIN &&
		(double)st->compared_bytes < DELTA_PAYS * (double)(st->pages_compared * WIRE_PAGE_BYTES);
}

/* What the round showed, into the figures. */
static void take_figures(struct worker *w, const struct xfer_stats *st, uint64_t dirty)
{
	struct precopy_view *v = &w->view;

	v->round = w->round;
	v->max_blackout_ms = atomic_load(&w->max_blackout_ms);
	v->slow_max = atomic_load(&w->throttle_max);
	v->patient = atomic_load(&w->patient);
	v->dirty_prev = w->round ? v->dirty_pages : UINT64_MAX;
	v->dirty_pages = dirty;
	if (!st->elapsed_us)
		return;
	if (st->ram_bytes > (1 << 20) || w->round == 0) /* a nearly empty round measures nothing */
		v->rate_bps = (uint64_t)((double)st->ram_bytes * 1e6 / (double)st->elapsed_us);
	v->faster_next = w->round == 1 && differences_pay(st);
	v->dirty_rate_bps = (uint64_t)((double)dirty * (double)v->page_bytes * 1e6 / (double)st->elapsed_us);
	precopy_add_sample(v, st->elapsed_us, dirty);
}

static int slow_down(struct worker *w, unsigned percent, struct err *e)
{
	struct err why = {0};

	if (throttle_set(w, percent, &why)) {
		w->view.slow_max = w->view.slow_percent;
		return will_not_converge(w, why.msg, e);
	}
	w->view.n_stuck = 0;
	return 1;
}

/* Policy allows less than before. */
static void slow_within(struct worker *w)
{
	unsigned most = atomic_load(&w->throttle_max);

	if (w->view.slow_percent > most)
		throttle_set(w, most, NULL);
}

static int send_round(struct worker *w, struct xfer_stats *st, struct err *e)
{
	int64_t dirty, began_us;
	int rc;

	w->looked = false;
	throttle_mark(w);
	rc = xfer_tx_round(w->tx, false, st, e);
	if (rc)
		return rc;
	throttle_measure(w);
	worker_add_round(w, st);
	if (!w->round)
		w->stats.first = *st;
	began_us = worker_now_us();
	dirty = w->tracker.ops->peek(&w->tracker, e);
	if (dirty < 0)
		return (int)dirty;
	/* The guest stands while the last harvest looks through its pages once more: some milliseconds a GiB. */
	w->view.fixed_blackout_ms = FIXED_BLACKOUT_MS + (unsigned)((worker_now_us() - began_us) / 1000);
	take_figures(w, st, (uint64_t)dirty);
	return 0;
}

/* One round and what to do after it: 1 again, 0 stop now. */
static int transfer_round(struct worker *w, struct err *e)
{
	struct precopy_view *v = &w->view;
	struct xfer_stats st = {0};
	unsigned blackout_ms = 0;
	enum precopy_verdict verdict;
	int rc;

	slow_within(w);
	rc = send_round(w, &st, e);
	if (rc == 0 && w->stop_err.code)
		rc = err_set(e, w->stop_err.code, "%s", w->stop_err.msg);
	if (rc)
		return rc;
	w->stats.dirty_bps = v->dirty_rate_bps;
	verdict = precopy_next(v, &blackout_ms);
	w->stats.blackout_ms = blackout_ms; /* predicted, until it is measured */
	v->n_stuck = precopy_stuck(v) ? v->n_stuck + 1 : 0;
	v->n_fit += blackout_ms <= v->max_blackout_ms;
	w->round++;
	if (atomic_load(&w->suspend))
		return 0;
	rc = 0;
	if (verdict == PRECOPY_SLOW)
		rc = slow_down(w, precopy_slow(v), e);
	else if (verdict == PRECOPY_WILL_NOT_CONVERGE)
		rc = will_not_converge(w, NULL, e);
	if (rc == -EAGAIN && w->postcopy) { /* what is left is sent after it */
		w->lazy = true;
		return 0;
	}
	if (rc)
		return rc;
	return verdict == PRECOPY_AGAIN;
}

int transfer_run(struct worker *w, struct err *e)
{
	int rc;

	w->view = (struct precopy_view){.max_rounds = w->conf.max_rounds,
		.fixed_blackout_ms = FIXED_BLACKOUT_MS,
		.page_bytes = w->blocks[0].page_bytes};
	if (atomic_load(&w->suspend)) /* warm: there is nothing to be gained by copying before */
		return worker_check_end(w, e);
	do {
		rc = worker_check_end(w, e);
		if (rc)
			return rc;
		rc = transfer_round(w, e);
	} while (rc == 1);
	return rc;
}
