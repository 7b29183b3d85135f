/* The last line to policyd: how it ended, with the figures. Engine thread. */
#include "migrate/worker_int.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

static double since_ms(int64_t from_us, int64_t to_us)
{
	return from_us && to_us > from_us ? (double)(to_us - from_us) / 1000 : 0;
}

static double cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* What predictions learn from (policyd/decide/learn.h). */
static void add_rounds(const struct worker_stats *s, json_t *j)
{
	json_object_update_new(j,
		json_pack("{s:f, s:f, s:I, s:I, s:f, s:I}", "copy_ms", since_ms(s->setup_us, s->stop_us), "first_ms",
			(double)s->first.elapsed_us / 1000, "first_ram_bytes", (json_int_t)s->first.ram_bytes,
			"first_wire_bytes", (json_int_t)s->first.wire_bytes, "last_ms",
			(double)s->last.elapsed_us / 1000, "last_ram_bytes", (json_int_t)s->last.ram_bytes));
}

static json_t *stats_json(const struct worker *w)
{
	const struct worker_stats *s = &w->stats;
	char hex[2 * XFER_DIGEST_BYTES + 1] = "";
	json_t *j;

	for (unsigned i = 0; s->has_digest && i < XFER_DIGEST_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", s->digest[i]);
	j = json_pack("{s:f, s:i, s:f, s:i, s:I, s:I, s:s, s:b, s:i, s:I, s:I, s:f}", "total_ms",
		since_ms(s->start_us, worker_now_us()), "blackout_ms", (int)s->blackout_ms, "setup_ms",
		since_ms(s->start_us, s->setup_us), "rounds", (int)s->rounds, "ram_bytes", (json_int_t)s->sum.ram_bytes,
		"wire_bytes", (json_int_t)s->sum.wire_bytes, "digest", hex, "verified_full", s->verified_full,
		"channels", (int)w->n_channels, "dirty_bps", (json_int_t)s->dirty_bps, "device_bytes",
		(json_int_t)s->device_bytes, "cpu_ms", cpu_ms());
	json_object_update_new(j,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "pages_sent",
			(json_int_t)s->sum.pages_sent, "pages_zero", (json_int_t)s->sum.pages_zero, "pages_hole",
			(json_int_t)s->sum.pages_hole, "pages_raw", (json_int_t)s->sum.pages_raw, "pages_lz4",
			(json_int_t)s->sum.pages_lz4, "pages_zstd", (json_int_t)s->sum.pages_zstd, "pages_later",
			(json_int_t)s->sum.pages_later, "pages_delta", (json_int_t)s->sum.pages_delta, "harvest_ms",
			(double)s->sum.harvest_us / 1000, "drain_ms", (double)s->sum.drain_us / 1000));
	if (w->conf.role == HO_SOURCE && s->stop_us)
		add_rounds(s, j);
	if (s->postcopy_us)
		json_object_update_new(j,
			json_pack("{s:I, s:I}", "postcopy_pages", (json_int_t)s->postcopy_pages, "postcopy_faults",
				(json_int_t)s->postcopy_faults));
	if (w->throttle.most)
		json_object_update_new(j,
			json_pack("{s:i, s:f}", "throttle_percent", (int)w->throttle.most, "throttled_ms",
				(double)throttle_total_us(&w->throttle) / 1000));
	return j;
}

void worker_say_done(struct worker *w, enum outcome outcome, const struct err *e)
{
	static const char *const names[] = {
		[OUTCOME_STAYED] = "stayed", [OUTCOME_MOVED] = "moved", [OUTCOME_IN_DOUBT] = "in-doubt"};

	boss_send(w->boss,
		json_pack("{s:s, s:b, s:s, s:s, s:i, s:b, s:o}", "event", "done", "ok", outcome == OUTCOME_MOVED,
			"outcome", names[outcome], "error", e ? err_msg(e) : "", "code", e ? e->code : 0, "cancelled",
			outcome == OUTCOME_STAYED && worker_cancelled(w), "stats", stats_json(w)));
}
