/* Guest memory statistics over time: are they fresh, and how fast do swap-in and major faults grow?
 *
 * Used by balloon.c (is it safe to take more?) and by policyd/watch. Pure; times are monotonic ms. Statistics are fresh when
 * their update time was seen to *change* lately: after a migration, or from a guest whose driver died, QEMU hands out
 * an old reading for ever, and the guest's or host's wall clock may jump. */
#ifndef RESIZE_STATS_H
#define RESIZE_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "resize/balloon.h"

struct stats_track {
	bool seen;  /* a first reading is there: not fresh yet */
	bool known; /* at least one change was seen */
	struct guest_mem_stats last;
	int64_t changed_ms; /* when the last change was seen (or the first reading) */
	unsigned n_changes;
	double swap_in_bps,
		major_faults_ps; /* between the last two changes; -1 unknown (one reading, or the counter fell) */
};

void stats_track_init(struct stats_track *t);
/* A reading; the same one again (same update time) changes nothing. True: it is a new one. */
bool stats_track_add(struct stats_track *t, const struct guest_mem_stats *s, int64_t now_ms);
/* UINT_MAX while none is known */
unsigned stats_track_age_ms(const struct stats_track *t, int64_t now_ms);

#endif
