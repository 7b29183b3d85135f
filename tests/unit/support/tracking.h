/* For tests of the trackers on a process. */
#ifndef TESTS_UNIT_SUPPORT_TRACKING_H
#define TESTS_UNIT_SUPPORT_TRACKING_H

#include "migrate/tracker.h"

/* Where the kernel cannot, the pre-check must say so in words, and the test is skipped. */
void need_tracking(void);
/* How many pages; fails the test where it fails. */
int64_t harvest(struct tracker *t, struct bitmap *b);

#endif
